"""The report's Python side: an honest payload and a page that holds all of it and nothing else."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

from nbcorr.notebook import report as room
from nbcorr.notebook.report import payload, report
from nbcorr.recording.arrays import from_arrays, neuron_coords


def plain(n_neurons: int = 4, **per_sample: Any) -> xr.Dataset:
    values = np.random.default_rng(0).normal(size=(8, n_neurons))
    return from_arrays(values, layer=["a", "a", "b", "b"][:n_neurons], **per_sample)


def numbers(recording: xr.Dataset, **attrs: Any) -> xr.Dataset:
    names, units = zip(*recorded_neurons(recording), strict=True)
    auc = np.array([0.9, 0.5, 0.2, np.nan])[: len(names)]
    q = np.array([1e-9, 0.8, 0.01, np.nan])[: len(names)]
    variables = {
        "auc": ("neuron", auc),
        "rho": ("neuron", auc - 0.5),
        "q": ("neuron", q),
        "q_unstratified": ("neuron", q),
    }
    return xr.Dataset(variables, coords=neuron_coords(names, units), attrs={"n": 200} | attrs)


def recorded_neurons(recording: xr.Dataset) -> list[tuple[str, int]]:
    return list(recording["neuron"].values)


def answers() -> dict[str, list[int]]:
    return {
        "label": [0, 1, 0, 1, 0, 1, 0, 1],
        "prediction": [0, 1, 0, 1, 0, 0, 1, 1],
        "baseline": [0, 1, 0, 0, 1, 1, 1, 1],
    }


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def test_the_page_carries_the_payload_and_its_own_script(tmp_path: Path) -> None:
    recorded = plain(**answers())
    correlated = numbers(recorded, sentence="One neuron, one sentence.")
    page = report(tmp_path / "page.html", recorded, correlated)
    assert page == tmp_path / "page.html"
    assert data_of(page) == json.loads(json.dumps(payload(recorded, correlated)))
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert stat.S_IMODE(page.stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_four_cells_and_strips_add_up() -> None:
    recorded = plain(**answers())
    made = payload(recorded, numbers(recorded))
    counts = {"both": 4, "only_a": 2, "only_b": 1, "neither": 1}
    assert made["outcomes"] == {**counts, "mcnemar_p": 1.0}
    strip = made["strips"][0]
    assert [len(quantiles) for quantiles in strip] == [7, 7, 7, 7]
    only_b = recorded["activation"].values[5, 0]
    assert strip[2] == pytest.approx([only_b] * 7, rel=1e-4)


def test_an_empty_cell_is_none() -> None:
    columns = answers() | {"prediction": answers()["label"]}
    recorded = plain(**columns)
    made = payload(recorded, numbers(recorded))
    assert made["outcomes"]["neither"] == 0
    assert made["strips"][0][3] is None


def test_without_both_systems_there_is_no_table() -> None:
    recorded = plain()
    made = payload(recorded, numbers(recorded))
    assert made["outcomes"] is None
    assert [(g["key"], g["n"]) for g in made["groups"]] == [("all", 8)]
    recorded = plain(relative_performance=[0, 0, 1, 1, 0, 0, 0, 0])
    made = payload(recorded, numbers(recorded))
    assert [(g["key"], g["n"]) for g in made["groups"]] == [("only_a", 2), ("rest", 6)]


def test_nan_becomes_none_everywhere() -> None:
    recorded = plain()
    made = payload(recorded, numbers(recorded))
    assert made["neurons"]["auc"] == [0.9, 0.5, 0.2, None]
    assert made["neurons"]["excess"] == [None] * 4
    json.dumps(made, allow_nan=False)


def test_missing_controls_are_named_with_their_reason() -> None:
    recorded = plain()
    reasons = ["untrained: no twins were recorded", "oracle: out of town"]
    made = payload(recorded, numbers(recorded, controls_missing=reasons))
    steps = {step["key"]: step for step in made["steps"]}
    assert steps["beyond_untrained"]["missing"] == "no twins were recorded"
    assert steps["replicated"]["missing"] == "not asked for"
    assert steps["stratified"]["missing"] == "the correlates are not stratified"
    assert steps["associated"]["missing"] is None
    assert steps["associated"]["state"] == [1, 0, 1, None]
    assert made["missing"] == ["out of town"]


def test_controls_present_are_states_per_neuron() -> None:
    recorded = plain()
    correlated = numbers(recorded, strata="label").assign(
        replicated=("neuron", [True, False, False, False]),
        excess=("neuron", [0.2, -0.1, -0.05, np.nan]),
    )
    steps = {step["key"]: step for step in payload(recorded, correlated)["steps"]}
    assert steps["stratified"]["state"] == [1, 0, 1, None]
    assert steps["replicated"]["state"] == [1, 0, 0, None]
    assert steps["beyond_untrained"]["state"] == [1, 0, 0, None]
    assert [step["gate"] for step in steps.values()] == [False, True, True, True, True]


def test_correlates_without_their_statistics_are_refused() -> None:
    recorded = plain()
    with pytest.raises(ValueError, match=r"have no q, no q_unstratified; expected what nc\.corr"):
        payload(recorded, numbers(recorded).drop_vars(["q", "q_unstratified"]))


def test_one_layer_selected_is_enough() -> None:
    recorded = plain(**answers())
    made = payload(recorded.sel(layer="a"), numbers(recorded).sel(layer="a"))
    assert made["layers"] == ["a"]
    assert len(made["strips"]) == 2


def test_rows_follow_the_correlates_not_the_recording() -> None:
    recorded = plain(**answers())
    correlated = numbers(recorded).isel(neuron=[2, 0])
    made = payload(recorded, correlated)
    assert made["layers"] == ["b", "a"]
    assert made["neurons"]["unit"] == [0, 0]
    least = recorded["activation"].values[[0, 1, 2, 7], 2].min()
    assert made["strips"][0][0][0] == pytest.approx(least, rel=1e-4)


def test_correlates_of_another_recording_are_refused() -> None:
    correlated = numbers(plain())
    with pytest.raises(ValueError, match=r"1 neurons .* not in the recording, the first is b:1"):
        payload(plain(3), correlated)


def test_several_signals_are_refused() -> None:
    recorded = plain()
    correlated = numbers(recorded).expand_dims(signal=["loss", "age"])
    with pytest.raises(ValueError, match=r"several signals \(loss, age\).*sel\(signal='loss'\)"):
        payload(recorded, correlated)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    recorded = plain()
    with pytest.raises(FileNotFoundError, match="no folder"):
        report(tmp_path / "nowhere" / "page.html", recorded, numbers(recorded))


def test_a_failed_write_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = plain()
    page = tmp_path / "page.html"
    page.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(room.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        report(page, recorded, numbers(recorded))
    assert page.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_hostile_text_ends_nothing(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)><!--<script>"
    values = np.random.default_rng(0).normal(size=(8, 1))
    recorded = from_arrays(values, layer=hostile)
    correlated = numbers(recorded, sentence=hostile, model="{{script}} \u2028")
    page = report(tmp_path / "page.html", recorded, correlated, title=hostile)
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert data_of(page)["layers"] == [hostile]
    assert ["Model", "{{script}} \u2028"] in data_of(page)["facts"]


def test_pictures_are_stored_once_and_cards_point_to_them(synthetic: ModuleType) -> None:
    recorded = synthetic.recording(n=200, units=8)
    correlated = synthetic.correlates(recorded)
    top = synthetic.strongest(correlated, 3)
    shown = synthetic.exemplars(top, ranks=2)
    shown["image"][:] = shown["image"][0, 0]
    made = payload(
        recorded, correlated, exemplars=shown, visualizations=synthetic.visualizations(top[:1])
    )
    row = [f"{layer}:{unit}" for layer, unit in correlated["neuron"].values].index(
        f"{top[0][0]}:{top[0][1]}"
    )
    card = made["cards"][row]
    assert len(made["cards"]) == 3
    assert len({one["image"] for card in made["cards"].values() for one in card["exemplars"]}) == 1
    assert made["images"][card["visualization"]["image"]].startswith("data:image/png;base64,")
    assert card["exemplars"][0]["activation"] >= card["exemplars"][1]["activation"]
    assert card["visualization"]["reached"] > 0


def test_exemplars_without_masks_and_of_other_neurons(synthetic: ModuleType) -> None:
    recorded = synthetic.recording(n=200, units=8)
    correlated = synthetic.correlates(recorded).isel(neuron=slice(0, 2))
    shown = synthetic.exemplars([("features.0", 1), ("classifier.1", 1)], ranks=2)
    cards = payload(recorded, correlated, exemplars=shown.drop_vars("mask"))["cards"]
    assert list(cards) == [1]
    assert cards[1]["exemplars"][0]["mask"] is None


def test_two_thousand_neurons_and_a_hundred_cards(synthetic: ModuleType, tmp_path: Path) -> None:
    recorded = synthetic.recording(n=500, units=500)
    correlated = synthetic.correlates(recorded)
    top = synthetic.strongest(correlated, 100)
    shown = synthetic.exemplars(top, ranks=15, side=112, channels=3)
    seen = synthetic.visualizations(top, side=128, channels=3)
    start = time.perf_counter()
    page = report(
        tmp_path / "page.html", recorded, correlated, exemplars=shown, visualizations=seen
    )
    assert time.perf_counter() - start < 20
    assert page.stat().st_size < 10e6
