"""``%%neurcorr record``: the forward passes of somebody's own cell."""

from __future__ import annotations

import numpy as np
import torch

import nbcorr as nc
from nbcorr.notebook.commands.session import hook_count
from tests.notebook.shells import attached, shell, trained

__all__ = ["attached", "shell", "trained"]


def test_a_cell_is_recorded_as_its_own_loop_runs(attached):
    ran = attached.ok(
        "%%neurcorr record --layers features.2 hidden --pool mean max --name seen\n"
        "import torch\n"
        "_ = model.eval()\n"
        "with torch.no_grad():\n"
        "    for start in range(0, 90, 32):\n"
        "        last = model(torch.tensor(digits[0][start:min(start + 32, 90)]))\n"
        "last.shape"
    )
    assert "[26, 10]" in ran.out
    options = 'layers=["features.2", "hidden"], pool=["mean", "max"]'
    assert f"with nc.watch(model, {options}) as watched: ..." in ran.out
    assert "seen = watched.recording()" in ran.out
    seen, model = attached.ns["seen"], attached.ns["model"]
    expected = nc.record(
        model,
        attached.ns["digits"][0][:90],
        ["features.2", "hidden"],
        ["mean", "max"],
        progress=False,
    )
    np.testing.assert_allclose(seen["activation"], expected["activation"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["prediction"], expected["prediction"])
    assert hook_count(model) == 0


def test_a_recording_of_several_poolings_is_made_anew_and_asked_for_one(attached):
    for _ in range(2):
        attached.ok("%neurcorr record --pool mean max --twins 0")
    assert "recording.sel(pool='mean')" in attached.refused("%neurcorr correlate")


def test_a_cell_that_fails_keeps_what_it_had_recorded(attached):
    ran = attached.run("%%neurcorr record\nimport torch\nmodel(torch.tensor(digits[0][:7]))\n1 / 0")
    attached.ns["last"] = torch.tensor(attached.ns["digits"][0][:3])
    assert isinstance(ran.error, ZeroDivisionError)
    assert attached.ns["recording"].sizes["sample"] == 7
    assert "was in training mode" in attached.ok("%%neurcorr record\nmodel(last)").out
    assert hook_count(attached.ns["model"]) == 0


def test_a_cell_without_a_forward_pass_is_refused(attached):
    message = attached.refused("%%neurcorr record\nx = 1")
    assert "made no forward pass in the block" in message
    assert attached.ns["x"] == 1
    assert "no subcommand 'top'" in attached.refused("%%neurcorr top\nx = 1")
