"""What a user gets wrong is one line; what a program gets wrong keeps its traceback."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import nbcorr as nc
from tests.conftest import assert_same_traces, traces
from tests.notebook.shells import Digits, attached, recorded, shell, trained

__all__ = ["attached", "recorded", "shell", "trained"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recrd", "no subcommand 'recrd'; did you mean 'record'?"),
        ("zzz", "no subcommand 'zzz'; there is attach, layers,"),
        ("record --layer act", "no option '--layer'; did you mean '--layers'?"),
        ("record --layer=act", "no option '--layer'; did you mean '--layers'?"),
        ("record --layers", "argument --layers: expected at least one argument"),
        ("record --layers featurs.2", "no layer 'featurs.2'; did you mean 'features.2'?"),
        ("record --pool men", "no pooling 'men'; did you mean 'mean'?"),
        ("record --twins many", "argument --twins: invalid int value: 'many'"),
        ("record --twins -1", "twins is -1; expected 0 or more"),
        ("record --data digts", "no variable 'digts'; did you mean 'digits'?"),
        ("record --model modle", "no attached model 'modle'; did you mean 'model'?"),
        ("record act", "'act' is one argument too many; see %neurcorr record --help"),
        ("record --name 2nd", "'2nd' cannot be the name of a variable"),
        ("record --name class", "'class' cannot be the name of a variable"),
        ("record --layers 'act", "a quote is not closed in "),
        ("attach", "the following arguments are required: MODEL; see %neurcorr attach --help"),
        ("attach modle", "no variable 'modle'; did you mean 'model'?"),
        ("attach digits", "'digits' is of type tuple; expected a torch.nn.Module; there is model"),
        ("attach model.hiden", "no attribute 'hiden'; did you mean 'hidden'?"),
        ("attach model --layers Conv3d", "no layer 'Conv3d'"),
        ("attach model --data heuristic", "data is a function; expected an array"),
        ("correlate", "no recording yet; %neurcorr record makes one"),
        ("top", "no correlates yet; %neurcorr correlate makes them"),
        ("top model", "'model' is of type Digits; expected correlates"),
        ("exemplars", "name neurons, like features.3:17; there are no correlates"),
        ("exemplars features.2", "'features.2' is no neuron; expected 'layer:unit'"),
        ("exemplars features.2:6", "no neuron 'features.2:6': layer 'features.2' has 6 units"),
        ("render featurs.2:0 --steps 1", "no layer 'featurs.2'; did you mean 'features.2'?"),
        ("render features.2:0 --shape 8", "argument --shape: '8' is no shape; expected C,H,W"),
        ("report page.html", "no recording yet"),
        ("explore", "no recording yet"),
        ("detach modle", "no attached model 'modle'; did you mean 'model'?"),
        ("status now", "'now' is one argument too many"),
    ],
)
def test_one_helpful_line(attached, line, said):
    before = traces(attached.ns["model"])
    assert attached.refused(f"%neurcorr {line}").startswith(said)
    assert_same_traces(before, traces(attached.ns["model"]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("correlate --signal los", "no signal 'los'; did you mean 'loss'?"),
        ("correlate --strata labl", "no strata 'labl'; did you mean 'label'?"),
        ("correlate --controls untraind", "no control 'untraind'; did you mean 'untrained'?"),
        ("correlate --signal los lossy", "no signal 'los'; did you mean 'loss'?"),
        ("correlate --covariates los", "no covariate 'los'; did you mean 'loss'?"),
        ("correlate --groups labl", "no groups 'labl'; did you mean 'label'?"),
        ("correlate --correction bonferroni", "no correction 'bonferroni'"),
        ("probe --layers akt", "no layer 'akt'; did you mean 'act'?"),
        ("correlate recordin", "no variable 'recordin'; did you mean 'recording'?"),
        ("correlate correlates", "'correlates' is of type Dataset; expected a recording"),
        ("top --by acu", "no order 'acu'; did you mean 'auc'?"),
        ("top -n 0", "n is 0; expected at least 1"),
        ("report no/such/folder/page.html", "there is no folder 'no/such/folder' to write"),
    ],
)
def test_one_helpful_line_about_results(recorded, line, said):
    assert recorded.refused(f"%neurcorr {line}").startswith(said)


def test_a_page_cannot_replace_a_folder(recorded, tmp_path):
    recorded.refused(f"%neurcorr report '{tmp_path}'")


@pytest.mark.parametrize("subcommand", ["record", "layers", "exemplars act:0", "render act:0"])
def test_nothing_attached(shell, subcommand):
    said = shell.refused(f"%neurcorr {subcommand}")
    assert said == "no model is attached; first: %neurcorr attach MODEL --data DATA"


@pytest.mark.parametrize("subcommand", ["record", "exemplars act:0"])
def test_no_data_attached(shell, subcommand):
    shell.ok("%neurcorr attach model")
    said = shell.refused(f"%neurcorr {subcommand}")
    assert said.startswith("no data is attached; %neurcorr attach model --data DATA")


def test_a_variable_that_is_gone(attached):
    attached.ok("other = model\ndel model")
    assert attached.refused("%neurcorr record") == "no variable 'model'; there is other"
    assert "# model: no variable 'model'" in attached.ok("%neurcorr status").out


def test_an_attached_model_is_not_kept_alive(attached):
    seen = weakref.ref(attached.ns["model"])
    attached.ok("del model")
    gc.collect()
    assert seen() is None


def test_another_thing_of_the_usual_name_is_not_lost(attached):
    attached.ns["recording"] = ["of", "birds"]
    said = attached.refused("%neurcorr record")
    assert said == "the variable 'recording' holds a list; choose another name with --name"
    assert attached.ns["recording"] == ["of", "birds"]
    attached.ok("%neurcorr record --twins 0 --name ours;")
    assert attached.ok("%neurcorr correlate;").line.startswith("correlates = nc.correlate(ours)")


def test_top_neurons_of_another_model_are_refused(recorded):
    with torch.no_grad():
        recorded.ns["model"].out.bias += 1
    said = recorded.refused("%neurcorr render --steps 1")
    assert said.startswith("correlates was made with another model, or other weights, than model")


def test_no_sample_where_only_the_model_is_right(attached):
    attached.ns["perfect"] = np.asarray(attached.ns["digits"][1])
    attached.ok("%neurcorr record --baseline perfect --twins 0;")
    assert attached.refused("%neurcorr correlate").startswith("no sample where only the model is")


def test_samples_that_are_not_finite(attached):
    attached.ns["digits"][0][7, 0, 0, 0] = np.nan
    assert attached.refused("%neurcorr record").startswith("sample 7 has NaN or infinite values")


def raises(error: Exception):
    def baseline(images: torch.Tensor) -> torch.Tensor:
        raise error

    return baseline


@pytest.mark.parametrize(
    "error", [KeyError("a"), ValueError("b"), TypeError("c"), AssertionError("d")]
)
def test_the_users_own_errors_keep_their_traceback(attached, error):
    attached.ns["heuristic"] = raises(error)
    ran = attached.run("%neurcorr record")
    assert ran.error is error
    assert "Traceback" in ran.out + ran.err
    assert "raise error" in ran.out + ran.err


def test_the_models_own_errors_keep_their_traceback(attached):
    before = traces(attached.ns["model"])
    attached.ns["wide"] = np.zeros((3, 1, 12, 12), np.float32)
    ran = attached.run("%neurcorr record --data wide")
    assert isinstance(ran.error, RuntimeError)
    assert "Traceback" in ran.out + ran.err
    assert_same_traces(before, traces(attached.ns["model"]))


def test_a_fault_of_nbcorr_keeps_its_traceback(attached, monkeypatch):
    def broken(*args, **options):
        return int("no number")

    broken = type(broken)(broken.__code__, {**nc.__dict__, "int": int})
    assert broken.__globals__["__name__"] == "nbcorr"
    monkeypatch.setattr(nc, "record", broken)
    ran = attached.run("%neurcorr record")
    assert isinstance(ran.error, ValueError)
    assert "Traceback" in ran.out + ran.err


class Interrupted(Digits):
    """Somebody presses Ctrl-C during a batch."""

    batch, last = 0, 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batch += 1
        if self.batch == self.last:
            raise KeyboardInterrupt
        return super().forward(x)


@pytest.fixture
def interrupted(shell):
    shell.ns["model"] = Interrupted()
    shell.ok("%neurcorr attach model --data digits")
    shell.ns["model"].batch = 0
    return shell


def test_an_interrupt_keeps_what_was_recorded(interrupted):
    model = interrupted.ns["model"]
    before = traces(model)
    said = interrupted.refused("%neurcorr record --twins 0 --batch-size 30")
    assert said == "interrupted after 60 of 200 samples; they are kept as recording"
    assert interrupted.ns["recording"].sizes["sample"] == 60
    assert_same_traces(before, traces(model))
    assert "recording (60 samples" in interrupted.ok("%neurcorr status").out
    assert "hooks: none left on it" in interrupted.ok("%neurcorr status").out


def test_an_interrupt_stops_the_cell(interrupted):
    interrupted.refused("%neurcorr record --twins 0 --batch-size 30\nafterwards = 1")
    assert "afterwards" not in interrupted.ns


def test_an_interrupt_before_the_first_batch(interrupted):
    interrupted.ns["model"].last = 1
    before = traces(interrupted.ns["model"])
    ran = interrupted.run("%neurcorr record --twins 0")
    assert isinstance(ran.error, KeyboardInterrupt)
    assert "recording" not in interrupted.ns
    assert_same_traces(before, traces(interrupted.ns["model"]))


def test_an_interrupt_keeps_the_pictures_there_are(interrupted):
    model = interrupted.ns["model"]
    model.last = 8
    before = traces(model)
    said = interrupted.refused("%neurcorr render out:0 out:1 --steps 50")
    assert said == "interrupted at 2 neurons; they are kept as visualizations"
    assert interrupted.ns["visualizations"].sizes["neuron"] == 2
    assert_same_traces(before, traces(model))
