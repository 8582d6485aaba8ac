"""The committed front end is what its sources build: by rebuilding where Node is, else by hash."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "js" / "widgets"
STATIC = ROOT / "nbcorr" / "static"


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (
        f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )


@pytest.fixture(scope="module")
def node() -> str | None:
    """Node, its packages installed from the lock file; None on a machine without it."""
    found = shutil.which("node") if shutil.which("npm") else None
    if found and not (SOURCES / "node_modules").is_dir():
        run("npm", "ci", "--no-audit", "--no-fund")
    return found


def test_manifest_names_every_source_and_what_was_built() -> None:
    manifest = json.loads((STATIC / "build.json").read_text())
    paths = [p for p in (SOURCES / "src").rglob("*") if p.is_file()]
    named = ("build.mjs", "package.json", "package-lock.json", "tsconfig.json")
    paths += [SOURCES / name for name in named]
    sources = {p.relative_to(SOURCES).as_posix(): sha256(p) for p in paths}
    message = "js/widgets changed since nbcorr/static was built; run npm run build there"
    assert manifest["sources"] == dict(sorted(sources.items())), message
    for name, digest in manifest["built"].items():
        assert sha256(STATIC / name) == digest, f"nbcorr/static/{name} is not what was built"


def test_rebuilding_gives_the_committed_files(node: str | None, tmp_path: Path) -> None:
    if node is None:
        test_manifest_names_every_source_and_what_was_built()
        return
    run(node, "build.mjs", str(tmp_path))
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(built) == {path.name for path in STATIC.iterdir()} - {"report.html"}
    for name, content in built.items():
        assert content == (STATIC / name).read_bytes(), f"nbcorr/static/{name} is stale"


def test_types_and_unit_tests_of_the_front_end(node: str | None) -> None:
    if node is None:
        test_manifest_names_every_source_and_what_was_built()
        return
    run("npm", "run", "check")
    run("npm", "test")


def test_the_lock_names_no_registry() -> None:
    lock = (SOURCES / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_nothing_built_reaches_for_the_network() -> None:
    script = (STATIC / "report.js").read_text()
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML", "eval("):
        assert word not in script
    assert "url(" not in (STATIC / "report.css").read_text()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
