"""What the Tab key offers on a ``%neurcorr`` line."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter
from torch import nn

from nbcorr.network.pooling import POOLINGS
from tests.notebook.shells import attached, recorded, shell, trained

__all__ = ["attached", "recorded", "shell", "trained"]

SUBCOMMANDS = [
    *("attach", "layers", "record", "correlate", "probe", "top", "exemplars"),
    *("render", "dictionary", "groups", "atlas", "responses"),
    *("explore", "report", "status", "detach"),
]


def offered(shell, line: str) -> list[str]:
    """The lines that a choice among the completions would make, less what is there already."""
    with provisionalcompleter():
        found = list(shell.ip.Completer.completions(line, len(line)))
    kept = line[: found[0].start] if found else line
    assert all(line[: c.start] == kept for c in found)
    return [c.text for c in found]


def test_subcommands(shell):
    assert offered(shell, "%neurcorr ") == [*SUBCOMMANDS, "--help"]
    beginning = ["record", "render", "responses", "report"]
    assert offered(shell, "%neurcorr re") == beginning
    assert offered(shell, "x = %neurcorr re") == beginning
    assert offered(shell, "a = 1\nif a:\n    %neurcorr re") == beginning


def test_options(attached):
    assert offered(attached, "%neurcorr record --p") == ["--pool"]
    assert "--layers" in offered(attached, "%neurcorr record --")
    assert offered(attached, "x = %neurcorr top --b") == ["--by"]
    assert "--name" in offered(attached, "%neurcorr record --layers act --")
    assert "--layers" in offered(attached, "%neurcorr record ")


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("record --pool ", POOLINGS),
        ("record --pool=m", ["mean", "max"]),
        ("record --dtype ", ["float32", "float16"]),
        ("correlate --controls ", ["untrained", "input", "replication", "none"]),
        ("correlate --controls untrained r", ["replication"]),
        ("correlate --strata a", ["auto"]),
        ("correlate --signal relative", ["relative_performance"]),
        ("correlate --signal lo", ["loss"]),
        ("top --by e", ["excess"]),
        ("correlate ", ["recording"]),
        ("explore --correlates ", ["correlates"]),
        ("record --model ", ["model"]),
        ("record --data d", ["digits"]),
        ("detach ", ["model"]),
    ],
)
def test_values(recorded, line, values):
    assert offered(recorded, f"%neurcorr {line}") == list(values)
    assert offered(recorded, f"%%neurcorr {line}") == list(values)


def test_models(shell):
    shell.ns.update(mine=nn.Linear(1, 1), more=3)
    assert offered(shell, "%neurcorr attach m") == ["model", "mine"]


def test_layers(attached):
    assert offered(attached, "%neurcorr record --layers f") == [
        "features",
        "features.0",
        "features.1",
        "features.2",
    ]
    assert offered(attached, "%neurcorr record --layers act h") == ["hidden"]
    assert offered(attached, "%neurcorr record --layers au") == ["auto"]


def test_layers_of_the_model_the_line_names(attached):
    attached.ns["other"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    attached.ok("%neurcorr attach other --data digits")
    assert "hidden" not in offered(attached, "%neurcorr record --layers h")
    assert offered(attached, "%neurcorr record --model model --layers h") == ["hidden"]


def test_neurons_by_layer_then_by_unit(recorded):
    assert offered(recorded, "%neurcorr render ") == ["features.2:", "act:", "act#2:"]
    assert offered(recorded, "%neurcorr render f") == ["features.2:"]
    assert offered(recorded, "%neurcorr render act:1 features.2:") == [
        f"features.2:{unit}" for unit in range(6)
    ]
    assert offered(recorded, "%neurcorr exemplars act#2:7") == ["act#2:7"]


def test_neurons_before_anything_is_recorded(attached):
    assert offered(attached, "%neurcorr render features.2:5") == ["features.2:5"]


def test_names_with_spaces_and_quotes(shell):
    odd = nn.Sequential()
    odd.add_module("we ird", nn.Linear(64, 2))
    odd.add_module('qu"ote', nn.Linear(2, 2))
    shell.ns["odd"] = odd
    shell.ok("%neurcorr attach odd --layers all")
    assert offered(shell, "%neurcorr record --layers we") == ['"we ird"']
    assert offered(shell, '%neurcorr record --layers "we i') == ['"we ird"']
    assert offered(shell, "%neurcorr record --layers qu") == ["'qu\"ote'"]
    assert offered(shell, '%neurcorr render "we ') == ['"we ird:']
    assert offered(shell, '%neurcorr render "we ird:') == ['"we ird:0"', '"we ird:1"']
    with provisionalcompleter():
        (found, *_) = shell.ip.Completer.completions('%neurcorr render "we ird:', 25)
    assert found.start == len("%neurcorr render ")


def test_nothing_attached_is_no_error(shell, capsys):
    for line in ("record --layers ", "render ", "correlate --signal ", "zzz "):
        offered(shell, f"%neurcorr {line}")
    shell.ok("%neurcorr attach model\ndel model")
    offered(shell, "%neurcorr record --layers ")
    assert "Traceback" not in capsys.readouterr().err


def test_the_older_interface_too(attached):
    text, found = attached.ip.complete("", "%neurcorr record --po", 21)
    assert (text, found) == ("--po", ["--pool"])


def test_paths_are_left_to_ipython(shell, tmp_path, monkeypatch):
    (tmp_path / "my_report.html").touch()
    monkeypatch.chdir(tmp_path)
    assert "my_report.html" in offered(shell, "%neurcorr report my_")
    assert "my_report.html" in offered(shell, "%neurcorr report ")


def test_other_lines_are_left_alone(attached):
    assert "record" not in offered(attached, "re")
    attached.ok("%unload_ext nbcorr")
    assert offered(attached, "%neurcorr re") != ["record", "render", "responses", "report"]
