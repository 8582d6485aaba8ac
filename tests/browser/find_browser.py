"""Find a Chromium to drive, or with --install get one; never go on quietly without.

``python tests/browser/find_browser.py`` prints the browser's path or fails with one sentence.
With ``--install`` it first tries Debian's package (as root, with apt-get), else Playwright's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = "Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MISSING = (
    "no Chromium or Chrome was found and none could be installed; install one "
    "(apt-get install chromium, or python -m playwright install chromium) and run again"
)


def find() -> str | None:
    """The first browser that starts, or None."""
    return next((path for path in _candidates() if _starts(path)), None)


def install() -> None:
    """Debian's Chromium where this is root and has apt-get, else Playwright's own."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(command, env=environment, check=False)
        if find() is not None:
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def _candidates() -> Iterator[str]:
    for name in NAMES:
        path = shutil.which(name)
        if path:
            yield path
    yield os.path.join(os.sep, MAC)
    yield from _of_playwright()


def _of_playwright() -> Iterator[str]:
    """Browsers in Playwright's cache, newest first."""
    default = {
        "darwin": Path.home() / "Library" / "Caches" / "ms-playwright",
        "win32": Path.home() / "AppData" / "Local" / "ms-playwright",
    }.get(sys.platform, Path.home() / ".cache" / "ms-playwright")
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or default)
    patterns = ("chrome-*/chrome", "chrome-*/chrome.exe", "chrome-*/*.app/Contents/MacOS/*")
    for folder in sorted(cache.glob("chromium-*"), reverse=True):
        for pattern in patterns:
            yield from map(str, folder.glob(pattern))


def _starts(path: str) -> bool:
    """Whether it runs at all (Ubuntu's chromium-browser can be a stub that only asks for snap)."""
    if not os.access(path, os.X_OK):
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    found = find()
    if found is None and "--install" in arguments:
        install()
        found = find()
    if found is None:
        print(MISSING, file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
