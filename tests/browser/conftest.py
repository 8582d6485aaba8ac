"""A real Chromium, a real JupyterLab and Notebook 7, and local pages that may reach for nothing.

Fixtures: ``browser``, ``lab`` and ``notebook7`` (`jupyter.JupyterTab`), ``static_page``.
Pictures are kept in out/screenshots/ of the repository, to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from . import find_browser
from .jupyter import JupyterTab
from .server import Server

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SIZE = {"width": 1360, "height": 1000}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright keeps an event loop running in this thread once started."""
    items.sort(key=lambda item: HERE in item.path.parents)


@pytest.fixture(scope="session")
def shots() -> Path:
    folder = ROOT / "out" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_browser.find()
    if path is None:
        pytest.fail(
            "no Chromium or Chrome found; run: python tests/browser/find_browser.py --install"
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield running
        running.close()


@pytest.fixture(scope="session")
def lab(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, shots: Path
) -> Iterator[JupyterTab]:
    """JupyterLab 4 in a tab; ``lab.open_notebook(cells)`` and go on from there."""
    yield from _served("lab", browser, tmp_path_factory.mktemp("lab"), shots)


@pytest.fixture(scope="session")
def notebook7(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, shots: Path
) -> Iterator[JupyterTab]:
    """Notebook 7 in a tab. It prints page errors of its own: do not assert an empty console."""
    yield from _served("notebook", browser, tmp_path_factory.mktemp("notebook"), shots)


@pytest.fixture
def static_page(browser: Browser) -> Iterator[Callable[[Path], Page]]:
    """Open a local HTML file; a request for anything else or a console error fails the test."""
    context = browser.new_context(viewport=SIZE)
    context.set_default_timeout(10_000)
    wrong: list[str] = []

    def opened(path: Path) -> Page:
        page = context.new_page()
        address = path.resolve().as_uri()
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "data:"))
                else wrong.append(f"asked for {request.url}")
            ),
        )
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("a dialog opened"), dialog.dismiss()))
        page.goto(address)
        return page

    yield opened
    context.close()
    assert wrong == []


def _served(app: str, browser: Browser, folder: Path, shots: Path) -> Iterator[JupyterTab]:
    server = Server(app, folder)
    context = browser.new_context(viewport=SIZE)
    try:
        server.wait()
        yield JupyterTab(context.new_page(), server, shots)
    finally:
        context.close()
        server.stop()
