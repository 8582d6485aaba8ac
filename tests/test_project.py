"""What holds of the project as a whole: its rooms, its public face, its files and its wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbcorr

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nbcorr"

# Every room with the rooms it may import from (design.md, section 5), itself aside.
BELOW_THE_MIDDLE = {"recording", "network", "stats"}
MIDDLE = {"correlation", "visualization", "description", "selectivity"}
MAY_IMPORT = {
    "stats": set(),
    "network": {"stats"},
    "recording": {"network", "stats"},
    **dict.fromkeys(MIDDLE, BELOW_THE_MIDDLE),
    "notebook": MIDDLE | BELOW_THE_MIDDLE,
    "zoo": {"recording", "network"},
}
VERBS = sorted(name for name in nbcorr.__all__ if not inspect.ismodule(getattr(nbcorr, name)))


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def python(*arguments: str, **options) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


# Rooms


def stub_names() -> dict[str, str]:
    """Every public name with the module it comes from, as the stub has them."""
    names = {}
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                source = f"nbcorr.{node.module}" if node.module else f"nbcorr.{alias.name}"
                names[alias.asname or alias.name] = source
    return names


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Full names of all modules that a file imports, inside functions too.

    What is reached through the package itself (``nbcorr.correlate``, ``from nbcorr import
    correlate``) counts as the module it comes from.
    """
    public = stub_names()
    tree = ast.parse(source)
    top_names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                if alias.name == "nbcorr":
                    top_names.add(alias.asname or "nbcorr")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, node.module] if node.module else parts)
            for alias in node.names:
                found = public.get(alias.name) if base == "nbcorr" else None
                yield found or f"{base}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = public.get(node.attr) if node.value.id in top_names else None
            if found:
                yield found


def files_and_imports() -> Iterator[tuple[Path, str, set[str]]]:
    """Every file of a room, with the room and all it imports."""
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        yield path, parts[1], set(imports(path.read_text("utf-8"), module, is_package))


def room(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "nbcorr" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


def test_how_imports_are_read():
    source = (
        "import nbcorr as nc\nfrom . import pooling\nfrom ..stats import ranks\nnc.correlate(1)"
    )
    found = set(imports(source, "nbcorr.network.layers", is_package=False))
    assert {"nbcorr.network.pooling", "nbcorr.stats.ranks"} <= found
    assert "nbcorr.correlation.correlate" in found
    found = set(imports("from nbcorr import report, __version__", "nbcorr.zoo.a", False))
    assert {room(name) for name in found} == {"notebook", None}


def test_imports_run_downward_only():
    wrong, rooms = [], set()
    for path, here, names in files_and_imports():
        rooms.add(here)
        for name in sorted(names):
            there = room(name)
            if there not in {None, here, *MAY_IMPORT[here]}:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert rooms == set(MAY_IMPORT)
    assert wrong == []


def test_stats_is_numbers_only_and_the_notebook_alone_knows_jupyter():
    jupyter = {"IPython", "ipywidgets", "bqplot", "anywidget", "traitlets", "ipykernel"}
    kept_out = {name: jupyter for name in MAY_IMPORT if name != "notebook"}
    kept_out["stats"] = jupyter | {"torch", "xarray", "pandas", "sklearn", "matplotlib"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, here, names in files_and_imports()
        for name in sorted(names)
        if name.split(".")[0] in kept_out.get(here, ())
    ]
    assert wrong == []


# The public face


def test_importing_loads_nothing_heavy_and_every_name_is_there():
    heavy = [
        "torch",
        "IPython",
        "ipywidgets",
        "bqplot",
        "matplotlib",
        "xarray",
        "pandas",
        "sklearn",
    ]
    program = (
        "import sys, nbcorr\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "print(all(getattr(nbcorr, name) is not None for name in nbcorr.__all__))"
    )
    assert python("-c", program).splitlines() == ["[]", "True"]


def test_the_stub_names_what_is_public():
    assert sorted(stub_names()) == sorted(nbcorr.__all__)
    assert set(nbcorr.__all__) <= set(dir(nbcorr))


def test_the_version_comes_from_one_place():
    assert importlib.metadata.version("nbcorr") == nbcorr.__version__
    number = re.escape(nbcorr.__version__)
    again = [
        str(path.relative_to(ROOT))
        for path in tracked("nbcorr/*.py", "pyproject.toml")
        if re.search(rf"version[\"_]*\s*[=:]\s*[\"']{number}[\"']", path.read_text("utf-8"))
    ]
    assert again == ["nbcorr/__init__.py"]


def sections(doc: str) -> dict[str, list[str]]:
    """The numpydoc sections of a cleaned docstring, each with its lines."""
    lines = doc.splitlines()
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", below) and len(below) == len(line):
            current = found.setdefault(line, [])
        elif not re.fullmatch("-{3,}", line):
            current.append(line)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_takes_gives_and_refuses(verb):
    function = getattr(nbcorr, verb)
    doc = inspect.getdoc(function) or ""
    parts = sections(doc)
    assert doc.splitlines()[0].endswith(".")
    entries = [line for line in parts.get("Parameters", []) if line and not line.startswith(" ")]
    named = [name.strip() for line in entries for name in line.partition(" : ")[0].split(",")]
    starred = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    taken = inspect.signature(function).parameters.values()
    assert named == [starred.get(p.kind, "") + p.name for p in taken]
    wanted = [{"Parameters"}, {"Raises"}]
    if not inspect.isclass(function):
        wanted.append({"Returns", "Yields"})
    assert [names for names in wanted if not names & set(parts)] == []


# The files


def test_no_file_is_too_long_for_one_sitting():
    long = [p for p in tracked("*.py", "*.ts") if len(p.read_text("utf-8").splitlines()) > 450]
    assert long == []


# Put together here, so that this file does not hold what it looks for.
MACHINE_PATHS = "|".join(("work", "farm", "opt/wheels", "opt/pypi", "root", "tmp/w"))
UNWANTED = {
    "a package registry": r'"resolved"\s*:\s*"http|--(extra-)?index' + r"-url|find" + "-links"
    r"|^registry\s*=|pypi\." + r"org|python" + r"hosted|npmjs\." + "(org|com)",
    "a path of one machine": rf"(^|[^A-Za-z0-9_./])/({MACHINE_PATHS})/",
    "unfinished work": r"\bTO" + r"DO\b|\bFIX" + r"ME\b|\bX" + r"XX\b|NotImplemented" + "Error"
    r"|not " + r"implemented|pytest\.sk" + r"ip|mark\.sk" + r"ip|mark\.xf" + "ail",
}


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_names(what):
    pattern = re.compile(UNWANTED[what], re.MULTILINE | re.IGNORECASE)
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for line in content.decode("utf-8").splitlines():
            # Pictures inside notebooks are no text.
            if '"image/png"' not in line and pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}: {line.strip()[:100]}")
    assert found == []


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built offline from what git tracks, on a machine without Node."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    folders = os.environ["PATH"].split(os.pathsep)
    tools = ("node", "npm", "npx")
    bare = [f for f in folders if not any((Path(f) / tool).exists() for tool in tools)]
    out = tmp_path_factory.mktemp("wheel")
    python(
        *("-m", "hatchling", "build", "-t", "wheel", "-d", str(out)),
        cwd=source,
        env={**os.environ, "PATH": os.pathsep.join(bare)},
    )
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode("utf-8")
    packaged = {path.relative_to(ROOT).as_posix() for path in tracked("nbcorr")}
    assert {name for name in names if ".dist-info/" not in name} == packaged
    assert {"nbcorr/static/report.js", "nbcorr/zoo/data/imagenet_classes.txt"} <= packaged
    licences = {path.name for path in (PACKAGE / "zoo" / "licenses").iterdir()} | {"LICENSE"}
    assert licences <= {Path(name).name for name in names if ".dist-info/licenses/" in name}
    assert f"Version: {nbcorr.__version__}\n" in text


def test_the_wheel_installs_and_works_without_the_repository(wheel, tmp_path):
    target = tmp_path / "site"
    python(
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
        *("--no-deps", "--target", str(target), str(wheel)),
    )
    program = (
        "import json, nbcorr\n"
        "from importlib.resources import files\n"
        "import numpy as np\n"
        "recording = nbcorr.from_arrays(np.eye(12), layer='a')\n"
        "print(json.dumps([nbcorr.__file__, recording.sizes['neuron'],\n"
        "    len(nbcorr.zoo.imagenet_classes()),\n"
        "    files('nbcorr').joinpath('static/report.js').is_file()]))"
    )
    shown = python("-c", program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)})
    file, neurons, classes, has_script = json.loads(shown)
    assert Path(file).is_relative_to(target)
    assert (neurons, classes, has_script) == (12, 1000, True)
