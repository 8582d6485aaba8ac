"""Every subcommand: what it keeps, prints and gives, and that its Python line does the same."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import nbcorr as nc
from tests.conftest import assert_same_traces, traces
from tests.notebook.shells import Digits, attached, recorded, shell, trained

__all__ = ["attached", "recorded", "shell", "trained"]

SUBCOMMANDS = [
    *("attach", "layers", "record", "correlate", "top", "exemplars"),
    *("render", "dictionary", "groups", "atlas", "responses"),
    *("explore", "report", "status", "detach"),
]


def test_attach_says_what_there_is_and_keeps_the_model_as_it_was(shell):
    before = traces(shell.ns["model"])
    said = shell.ok("%neurcorr attach model --data digits --baseline heuristic").out
    assert said == (
        "# attached model, a Digits: 2 of 6 layers (features.2, act), at least 102 neurons, "
        "data digits, baseline heuristic\n"
    )
    assert_same_traces(before, traces(shell.ns["model"]))


def test_attach_counts_the_neurons(shell):
    said = shell.ok("%neurcorr attach model --data digits --layers features.* hidden").out
    assert said == (
        "# attached model, a Digits: 4 of 6 layers (features.0, features.1, features.2, hidden), "
        "26 neurons, data digits\n"
    )
    # Without data nothing tells how many units an activation module has.
    assert "neurons" not in shell.ok("%neurcorr attach model").out


def test_layers(attached):
    ran = attached.ok("%neurcorr layers")
    assert ran.line.startswith("layers = nc.layers(model, digits)")
    assert ran.value.sel(layer="features.2")["output_shape"] == "6x8x8"
    attached.assert_line_gives_the_same(ran)


def test_layers_of_a_model_that_is_not_attached(shell):
    ran = shell.ok("%neurcorr layers model --name them")
    assert ran.line.startswith("them = nc.layers(model)")
    shell.assert_line_gives_the_same(ran)


def test_record_keeps_what_its_line_makes(attached):
    ran = attached.ok("%neurcorr record")
    assert ran.line == (
        'recording = nc.record(model, digits, layers="auto", baseline=heuristic, twins=5)'
        "  # import nbcorr as nc"
    )
    assert attached.ns["recording"] is ran.value
    assert ran.value.sizes["twin"] == 5
    attached.assert_line_gives_the_same(ran)


def test_record_with_every_option(attached):
    attached.ns["sites"] = pd.DataFrame({"site": np.arange(200) % 3})
    ran = attached.ok(
        "%neurcorr record --layers features.* hidden --pool max --twins 1 --batch-size 50 "
        "--dtype float16 --columns sites --seed 3 -o other --baseline heuristic --data digits "
        "--model model"
    )
    assert ran.line == (
        'other = nc.record(model, digits, layers=["features.*", "hidden"], pool="max", '
        "baseline=heuristic, columns=sites, twins=1, batch_size=50, "
        'dtype="float16", seed=3)  # import nbcorr as nc'
    )
    assert "recording" not in attached.ns
    attached.assert_line_gives_the_same(ran)


def test_layers_given_when_attaching_hold_for_recordings(shell):
    shell.ok("%neurcorr attach model --data digits --layers hidden")
    assert 'layers="hidden"' in shell.ok("%neurcorr record --twins 0").line
    assert set(shell.ns["recording"]["layer"].values) == {"hidden"}


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ("", ""),
        ("recording --strata none", ", strata=None"),
        ("--strata prediction --controls replication", ', strata="prediction", controls=["repl'),
        ("--controls none --seed 1", ", controls=[], seed=1"),
        ("--signal loss", ', signal="loss"'),
        ("--signal difficulty", ", signal=difficulty"),
        ("--signal loss confidence", ', signal=["loss", "confidence"]'),
        ("--covariates confidence", ', covariates="confidence"'),
        ("--covariates loss confidence --pearson", ', covariates=["loss", "confidence"], pear'),
        ("--correction by --permutations 20", ', correction="by", permutations=20'),
        ("--strata none --groups patient --controls none", ", strata=None, controls=[], groups=p"),
    ],
)
def test_correlate(attached, options, written):
    attached.ok("%neurcorr record --twins 1;")
    attached.ns["difficulty"] = np.arange(200.0)
    attached.ns["patient"] = np.arange(200) // 4
    ran = attached.ok(f"%neurcorr correlate {options}")
    assert ran.line.startswith(f"correlates = nc.correlate(recording{written}")
    attached.assert_line_gives_the_same(ran)


def test_probe(recorded):
    ran = recorded.ok("%neurcorr probe --seed 3 --layers act")
    assert ran.line == 'probe = nc.probe(recording, layers="act", seed=3)'
    assert "A sparse score of" in ran.out
    assert "tested against relative_performance" in recorded.ok("%neurcorr correlate").out
    recorded.assert_line_gives_the_same(ran)


def test_top_shows_the_table_once(recorded):
    ran = recorded.ok("%neurcorr top -n 3 --by excess")
    assert ran.line == 'table = nc.top(correlates, n=3, by="excess")'
    assert ran.out.count("AUC [95 %]") == 1
    recorded.assert_line_gives_the_same(ran)


def test_exemplars_of_named_neurons(attached):
    ran = attached.ok("%neurcorr exemplars features.2:1 act#2:0 -k 4")
    assert ran.line.startswith(
        'exemplars = nc.exemplars(model, digits, ["features.2:1", "act#2:0"], k=4)'
    )
    attached.assert_line_gives_the_same(ran)


def test_exemplars_of_the_top_correlates(recorded):
    ran = recorded.ok("%neurcorr exemplars -k 2")
    assert ran.line == (
        "exemplars = nc.exemplars(model, digits, nc.top(correlates, n=5).neurons, k=2)"
    )
    assert ran.value.sizes["neuron"] == 5
    recorded.assert_line_gives_the_same(ran)


def test_render_shows_the_pictures_with_their_names(recorded):
    recorded.ok("%neurcorr exemplars features.2:1 -k 2;")
    ran = recorded.ok("%neurcorr render features.2:1 features.2:0 --steps 2 --seed 1")
    assert ran.line == (
        'visualizations = nc.visualize(model, ["features.2:1", "features.2:0"], '
        "shape=(1, 8, 8), steps=2, exemplars=exemplars, seed=1)"
    )
    (shown,) = ran.shown
    assert shown.data["image/png"].startswith(b"\x89PNG")
    assert shown.data["text/plain"].startswith("features.2:1  reached ")
    drawn = np.asarray(Image.open(io.BytesIO(shown.data["image/png"])).convert("L"))
    left, right = np.array_split(drawn, 2, axis=1)
    assert min((half < 250).mean() for half in (left, right)) > 0.3
    recorded.assert_line_gives_the_same(ran)


@pytest.mark.parametrize(
    ("options", "shape"), [("--size 12", (1, 12, 12)), ("--shape 1,8,10", (1, 8, 10))]
)
def test_render_at_another_size(shell, options, shape):
    shell.ok("%neurcorr attach model --data digits")
    ran = shell.ok(f"%neurcorr render features.2:0 --steps 1 {options};")
    assert f"shape={shape}" in ran.line
    assert not ran.shown
    assert shell.ns["visualizations"].sizes["x"] == shape[2]


def test_render_with_what_the_model_wants_done_first(attached):
    attached.ns["darker"] = lambda images: images / 2
    ran = attached.ok("%neurcorr render features.2:0 --steps 1 --preprocess darker")
    assert "preprocess=darker" in ran.line
    attached.assert_line_gives_the_same(ran)


def test_explore_is_given_all_there_is(recorded):
    recorded.ok("%neurcorr exemplars -k 2;")
    ran = recorded.ok("%neurcorr explore;")
    assert ran.line == (
        "explorer = nc.explore(recording, correlates, exemplars=exemplars, "
        "model=model, data=digits)"
    )
    assert type(recorded.ns["explorer"]).__name__ == "Explorer"


def test_explore_a_recording_without_a_model(shell):
    activations = np.random.default_rng(0).random((50, 3))
    shell.ns["recording"] = nc.from_arrays(activations, layer="a", score=np.arange(50.0))
    ran = shell.ok("%neurcorr correlate --signal score;")
    shell.assert_line_gives_the_same(ran)
    ran = shell.ok("%neurcorr explore;")
    assert ran.line == "explorer = nc.explore(recording, correlates)"


def test_report(recorded, tmp_path):
    recorded.ok("%neurcorr exemplars -k 2;")
    ran = recorded.ok(f'%neurcorr report "{tmp_path}/my page.html"')
    assert ran.line == (
        f'page = nc.report("{tmp_path}/my page.html", recording, correlates, exemplars=exemplars)'
    )
    assert recorded.ns["page"].read_text().startswith("<!doctype html>")
    recorded.assert_line_gives_the_same(ran)


def test_status_and_detach(recorded):
    recorded.ns["other"] = Digits()
    recorded.ok("%neurcorr attach other --data digits")
    recorded.ok("%neurcorr record --model model --twins 0 -o second")
    lines = recorded.ok("%neurcorr status").out.splitlines()
    assert lines == [
        "# model, a Digits: 2 of 6 layers (features.2, act), at least 102 neurons, data digits, "
        "baseline heuristic",
        "#     recordings: recording (200 samples x 110 neurons), "
        "second (200 samples x 110 neurons)",
        "#     hooks: none left on it",
        "# other, a Digits: 2 of 6 layers (features.2, act), at least 102 neurons, data digits "
        "(current)",
        "#     recordings: none yet",
        "#     hooks: none left on it",
    ]
    assert recorded.ok("%neurcorr detach").out == "# detached other; current is now model\n"
    assert recorded.ok("%neurcorr detach model").out == "# detached model\n"
    assert "nothing is attached" in recorded.ok("%neurcorr status").out
    assert "recording" in recorded.ns


def test_status_tells_of_the_users_own_hooks(shell):
    handle = shell.ns["model"].act.register_forward_hook(lambda *_: None)
    shell.ok("%neurcorr attach model --data digits")
    assert "hooks: 1, as when it was attached" in shell.ok("%neurcorr status").out
    handle.remove()
    assert "hooks: 0, and 1 when it was attached" in shell.ok("%neurcorr status").out


def test_results_belong_to_their_model(recorded):
    recorded.ns["other"] = Digits()
    recorded.ok("%neurcorr attach other --data digits")
    assert "no correlates yet" in recorded.refused("%neurcorr top")
    assert "nc.top(correlates" in recorded.ok("%neurcorr top --model model").line
    recorded.ok("%neurcorr attach model --data digits")
    assert "nc.top(correlates" in recorded.ok("%neurcorr top").line


def test_a_model_that_was_assigned_anew(recorded):
    fresh = recorded.ns["model"] = Digits()
    ran = recorded.ok("%neurcorr record --twins 0;")
    assert "# model holds another object than when it was attached" in ran.out
    assert (
        recorded.ns["recording"].attrs["fingerprint"]
        == nc.record(fresh, recorded.ns["digits"], progress=False).attrs["fingerprint"]
    )
    assert "another" not in recorded.ok("%neurcorr record --twins 0;").out


def test_what_is_attached_follows_a_model_that_was_assigned_anew(recorded):
    recorded.ns["model"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU())
    lines = recorded.ok("%neurcorr status").out.splitlines()
    assert lines[1].startswith("# model, a Sequential: 1 of 2 layers (2), 10 neurons")
    assert lines[2] == "#     recordings: none yet"


def test_explore_leaves_out_a_model_that_did_not_make_the_recording(recorded):
    with torch.no_grad():
        recorded.ns["model"].out.bias += 1
    ran = recorded.ok("%neurcorr explore;")
    assert ran.line == "explorer = nc.explore(recording, correlates)"
    assert "# without model: recording is of another, or other weights" in ran.out


def test_assignment_and_silence(attached):
    ran = attached.ok("x = %neurcorr record --twins 0")
    assert attached.ns["x"] is attached.ns["recording"]
    assert "<xarray.Dataset>" not in ran.out
    ran = attached.ok("%neurcorr correlate;")
    assert ran.value is None
    assert "<xarray.Dataset>" not in ran.out
    assert attached.ok("%neurcorr correlate").out.count("<xarray.Dataset>") == 1


def test_inside_a_function(shell):
    ran = shell.ok(
        "def work(net, samples):\n"
        "    recording = None\n"
        "    %neurcorr attach net --data samples\n"
        "    mine = %neurcorr record --twins 0\n"
        "    return mine\n"
        "given = work(model, digits)"
    )
    assert shell.ns["given"] is shell.ns["recording"]
    assert "inside a function write recording = %neurcorr record …" in ran.out


def test_variables_expand(attached):
    attached.ok("chosen, name = 'hidden', 'mine'")
    attached.ok("%neurcorr record --layers {chosen} --twins 0 --name $name")
    assert set(attached.ns["mine"]["layer"].values) == {"hidden"}


def test_attributes_stand_for_variables(shell):
    shell.ok("class setting: pass\nsetting.net, setting.data = model, digits")
    shell.ok("%neurcorr attach setting.net --data setting.data")
    ran = shell.ok("%neurcorr record --twins 0")
    assert ran.line.startswith("recording = nc.record(setting.net, setting.data, ")
    shell.assert_line_gives_the_same(ran)


def test_the_import_is_said_once_and_only_where_it_is_needed(attached):
    assert attached.ok("%neurcorr layers;").line.endswith("# import nbcorr as nc")
    assert "import" not in attached.ok("%neurcorr layers;").line


def test_a_stream_of_batches_loses_nothing_to_attaching(shell):
    images, labels = shell.ns["digits"]
    shell.ns["stream"] = iter([(images[:20], labels[:20]), (images[20:30], labels[20:30])])
    shell.ok("%neurcorr attach model --data stream")
    shell.ok("%neurcorr layers;")
    assert shell.ok("%neurcorr record --twins 0").value.sizes["sample"] == 30


@pytest.mark.parametrize("subcommand", ["", *SUBCOMMANDS])
def test_help(shell, subcommand):
    said = shell.ok(f"%neurcorr {subcommand} --help")
    assert said.out.startswith(f"usage: %neurcorr {subcommand}".rstrip())
    assert said.err == ""
    assert said.value is None


def test_the_line_alone_lists_the_subcommands(shell):
    said = shell.ok("%neurcorr").out
    assert all(re.search(rf"^    {name}\b", said, re.M) for name in SUBCOMMANDS)


@pytest.mark.parametrize(
    ("subcommand", "verb", "options"),
    [
        ("record", "record", ["pool", "batch_size", "seed"]),
        ("correlate", "correlate", ["signal", "strata", "seed"]),
        ("top", "top", ["n"]),
        ("exemplars", "exemplars", ["k"]),
        ("render", "visualize", ["steps", "seed"]),
    ],
)
def test_help_tells_the_verbs_defaults(shell, subcommand, verb, options):
    parser = shell.ip.magics_manager.registry["NeurcorrMagics"].parsers[subcommand]
    told = {action.dest: action.help for action in parser._actions}
    parameters = inspect.signature(getattr(nc, verb)).parameters
    for name in options:
        assert f"(default: {parameters[name].default})" in told[name]


def test_hostile_layer_names(shell):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ('we ird "<b>"', "a;b", "\x1b[2J", "line\nbreak", "x'y", "$z_{1}$"):
                self.add_module(name, nn.Linear(64, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return sum(layer(x.flatten(1)) for layer in self.children())

    shell.ns["odd"] = Odd()
    ran = shell.ok("%neurcorr attach odd --data digits")
    assert ran.out.count("\n") == 1
    assert "\x1b" not in ran.out
    ran = shell.ok("""%neurcorr record --twins 0 --layers 'we ird "<b>"' a;b "x'y" "*z*";""")
    assert set(shell.ns["recording"]["layer"].values) == {
        'we ird "<b>"',
        "a;b",
        "x'y",
        "$z_{1}$",
    }
    shell.assert_line_gives_the_same(ran)
    neurons = [f"{layer}:0" for layer in shell.ns["recording"]["layer"].values]
    shell.ns["digits"] = shell.ns["digits"][0]
    shell.ns["exemplars"] = nc.exemplars(shell.ns["odd"], shell.ns["digits"], neurons, k=1)
    shell.ok("%neurcorr attach odd --data digits --layers all")
    ran = shell.ok("""%neurcorr render 'we ird "<b>":0' '$z_{1}$:1' --steps 1""")
    assert ran.shown[0].data["text/plain"].startswith('we ird "<b>":0  reached')
    assert "text/html" not in ran.shown[0].data
    shell.assert_line_gives_the_same(ran)


def test_load_twice_and_unload(recorded):
    recorded.ok("%reload_ext nbcorr")
    assert len(recorded.ip.Completer.custom_matchers) == 1
    assert "nothing is attached" in recorded.ok("%neurcorr status").out
    recorded.ok("%unload_ext nbcorr")
    assert recorded.ip.Completer.custom_matchers == []
    assert recorded.ip.find_line_magic("neurcorr") is None
    assert "recording" in recorded.ns


def test_loading_imports_no_torch():
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance()\n"
        "ip.run_line_magic('load_ext', 'nbcorr')\n"
        "ip.run_line_magic('neurcorr', '--help')\n"
        "ip.Completer.completions('%neurcorr record --', 19)\n"
        "assert not {'torch', 'xarray', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_percent_sign_too(attached):
    assert "Digits" in attached.ok("neurcorr status").out
