"""A tab with JupyterLab or Notebook 7 in it, and a notebook a test can talk to."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import nbformat
from playwright.sync_api import Locator, Page

from .server import Server

T = TypeVar("T")

#: The notebook panel of that path in the page.
PANEL = """const panel = [...window.jupyterapp.shell.widgets('main')]
    .find(widget => widget.context?.path === path);"""

#: Runs all cells, waits for the last, and tells the errors among their outputs.
RUN_ALL = f"""async path => {{
  {PANEL}
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  return panel.content.model.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === 'error')
    .map(output => `${{output.ename}}: ${{output.evalue}}`);
}}"""

#: Runs an expression in the notebook's kernel and brings its value back as its repr.
EVALUATE = f"""async ({{path, code}}) => {{
  {PANEL}
  const kernel = panel.sessionContext.session.kernel;
  const future = kernel.requestExecute({{
    code: '', silent: true, store_history: false, user_expressions: {{value: code}}
  }});
  const reply = await future.done;
  const value = reply.content.user_expressions?.value ?? reply.content;
  return value.status === 'ok'
    ? {{ok: true, text: value.data['text/plain']}}
    : {{ok: false, text: `${{value.ename}}: ${{value.evalue}}`}};
}}"""


class Notebook:
    """A notebook open in a tab, with a kernel of its own."""

    def __init__(self, tab: JupyterTab, path: str) -> None:
        self.tab = tab
        self.page = tab.page
        self.path = path

    @property
    def panel(self) -> Locator:
        """The notebook's part of the page; look for everything inside it."""
        return self.page.locator(".jp-NotebookPanel:visible").first

    def cell(self, number: int) -> Locator:
        return self.panel.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-OutputArea")

    def run_all(self) -> None:
        """Run every cell and come back when the last has ended; an error in one is raised here."""
        errors = self.page.evaluate(RUN_ALL, self.path)
        if errors:
            raise AssertionError("a cell failed:\n" + "\n".join(errors))

    def python(self, expression: str) -> Any:
        """The value of an expression in the kernel: as JSON where it can be, else its repr."""
        code = f"__import__('json').dumps(({expression}), default=repr)"
        reply = self.page.evaluate(EVALUATE, {"path": self.path, "code": code})
        if not reply["ok"]:
            raise AssertionError(f"{expression} raised {reply['text']}")
        return json.loads(_text_of(reply["text"]))

    def close(self) -> None:
        """Close it and end its kernel."""
        self.tab.close(self)


class JupyterTab:
    """One browser tab with the whole application; notebooks open and close in it."""

    def __init__(self, page: Page, server: Server, shots: Path) -> None:
        self.page = page
        self.server = server
        self.shots = shots
        self.console_errors: list[str] = []
        self.opened = 0
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        if server.app == "lab":
            page.goto(f"{server.url}/lab?reset&token={server.token}")
            self._ready()
            self.page.evaluate("() => { window.jupyterapp.shell.collapseLeft(); }")

    def open_notebook(self, source: Sequence[str] | str | Path) -> Notebook:
        """A fresh copy of a notebook file, or of cells (code; those starting '# %%md' are text)."""
        self.opened += 1
        name = f"notebook-{self.opened}.ipynb"
        (self.server.root / name).write_text(_content(source), encoding="utf-8")
        if self.server.app == "notebook":
            address = f"{self.server.url}/notebooks/{name}?token={self.server.token}"
            self.page.goto(address)
            self._ready()
        else:
            self.command("docmanager:open", path=name, factory="Notebook")
        notebook = Notebook(self, name)
        eventually(lambda: notebook.python("1 + 1") == 2, seconds=60)
        return notebook

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of the application's commands and wait for it."""
        self.page.evaluate(
            """async ({name, args}) => { await window.jupyterapp.commands.execute(name, args); }""",
            {"name": name, "args": arguments},
        )

    def close(self, notebook: Notebook) -> None:
        self.page.evaluate(
            """async path => {
              const app = window.jupyterapp;
              for (const panel of [...app.shell.widgets('main')]) {
                if (panel.context?.path !== path) continue;
                await panel.sessionContext.shutdown();
                if (panel.title.closable) panel.dispose();
              }
            }""",
            notebook.path,
        )

    def theme(self, name: str) -> None:
        """``"light"`` or ``"dark"``: Jupyter's own themes, and the browser's preference with it."""
        self.page.emulate_media(color_scheme="dark" if name == "dark" else "light")
        theme = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.command("apputils:change-theme", theme=theme)
        light = json.dumps(name == "light")
        self.page.locator(f"body[data-jp-theme-light='{light}']").wait_for(state="attached")
        self._no_splash()

    def drag(self, of: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse over an element, from one place in it to another (shares of its size)."""
        of.wait_for()
        of.scroll_into_view_if_needed()
        box = of.bounding_box()
        assert box is not None
        (x0, y0), (x1, y1) = (
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
        )
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move(x1, y1, steps=5)
        self.page.mouse.up()

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Keep a picture of the tab, or of a part, in out/screenshots/ to be looked at."""
        file = self.shots / f"{name}.png"
        (of or self.page).screenshot(path=file)
        return file

    def _ready(self) -> None:
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")
        self._no_splash()

    def _no_splash(self) -> None:
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)

    def _note(self, message: Any) -> None:
        # Closing a notebook cancels what Lab's own debugger was still asking its kernel.
        if message.type == "error" and "Canceled future for debug_request" not in message.text:
            self.console_errors.append(message.text)


def eventually(check: Callable[[], T], seconds: float = 20) -> T:
    """What ``check`` returns once it is true; its last answer or error is the failure."""
    deadline = time.monotonic() + seconds
    while True:
        answer: Any = None
        try:
            answer = check()
            if answer:
                return answer
        except Exception as error:
            answer = error
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {seconds} s: {answer!r}")
        time.sleep(0.05)


def _content(source: Sequence[str] | str | Path) -> str:
    if isinstance(source, (str, Path)):
        return Path(source).read_text(encoding="utf-8")
    cells = [
        nbformat.v4.new_markdown_cell(cell.removeprefix("# %%md").lstrip())
        if cell.startswith("# %%md")
        else nbformat.v4.new_code_cell(cell.strip())
        for cell in source
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}))


def _text_of(representation: str) -> str:
    """The string whose repr this is (the kernel sends text/plain)."""
    return str(ast.literal_eval(representation))
