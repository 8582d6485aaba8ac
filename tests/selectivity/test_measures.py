"""The verb around the numbers: measures, intervals, streaming, and what it refuses."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import nbcorr as nc
from nbcorr.recording.opening import open_recording
from nbcorr.stats.tuning import class_auroc, mutual_information, precision_at, sparseness
from tests.conftest import planted_recording
from tests.recording.clusters import two_workers

ALL = ("class_mean", "auroc", "mutual_information", "sparseness", "precision")


def changed(recording, **samples):
    return recording.assign_coords({n: ("sample", v) for n, v in samples.items()})


def test_measures_are_those_of_stats_under_their_names(recording):
    result = nc.selectivity(recording, ALL, k=30, n_bins=5, n_resamples=0)
    x, codes = recording.activation.values.T, recording.label.values
    means = np.stack([x[:, codes == c].mean(axis=1) for c in range(4)], axis=1)
    np.testing.assert_allclose(result["class_mean"], means, rtol=1e-5)
    np.testing.assert_array_equal(result["auroc"], class_auroc(x, codes))
    told = mutual_information(x, codes, 5)
    np.testing.assert_array_equal(result["mutual_information"], told.bits - told.bias)
    np.testing.assert_allclose(result["sparseness"], sparseness(means), rtol=1e-4)
    np.testing.assert_array_equal(result["sparseness_samples"], sparseness(x))
    share = precision_at(x, codes, 30)
    np.testing.assert_array_equal(result["precision"], share.max(axis=1))
    assert result["precision_class"].values.tolist() == share.argmax(axis=1).tolist()
    assert result["class"].values.tolist() == [0, 1, 2, 3]
    assert (result.attrs["k"], result.attrs["n_bins"]) == (30, 5)
    assert "selectivity_low" not in result


def test_a_neuron_of_two_classes_is_found_where_the_index_misses_it():
    label = np.repeat(np.arange(10), 30)
    rng = np.random.default_rng(0)
    one, two = (0.2 * rng.random(300) + np.isin(label, own) for own in ([3], [3, 4, 5, 6, 7]))
    recording = nc.from_arrays(np.stack([one, two], axis=1), layer="a", label=label)
    result = nc.selectivity(recording, ("mutual_information", "auroc"))
    assert result["selectivity"].values[0] > 0.8
    assert result["selectivity"].values[1] < 0.45
    assert result["mutual_information"].values[1] > result["mutual_information"].values[0]
    assert (result["auroc"].values[1, 3:8] > 0.75).all()


def test_intervals_hold_the_index_are_seeded_and_nan_where_dead(recording):
    recording = recording.copy(deep=True)
    recording["activation"][:, 3] = 0
    result = nc.selectivity(recording, seed=1)
    alive = ~result["dead"].values
    low, high = result["selectivity_low"].values, result["selectivity_high"].values
    index = result["selectivity"].values
    assert result.attrs["n_dead"] == 1
    assert np.isnan([low[3], high[3], index[3]]).all()
    assert ((low <= index) & (index <= high))[alive].all()
    again = nc.selectivity(recording, seed=1)
    xr.testing.assert_identical(result, again)
    assert not np.array_equal(nc.selectivity(recording, seed=2)["selectivity_low"], low)
    narrow = nc.selectivity(recording, seed=1, level=0.5)
    assert (narrow["selectivity_low"].values > low)[alive].all()


def test_rectified_on_request():
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(90, 7)), np.arange(90) % 3
    recording = nc.from_arrays(x, layer="a", label=label)
    with pytest.raises(ValueError, match=r"neuron a:\d is negative .* rectify=True"):
        nc.selectivity(recording)
    rectified = nc.from_arrays(np.maximum(x, 0), layer="a", label=label)
    found, expected = nc.selectivity(recording, ALL, rectify=True), nc.selectivity(rectified, ALL)
    assert found.attrs.pop("rectify") is True
    assert expected.attrs.pop("rectify") is False
    xr.testing.assert_allclose(found, expected)


def test_layers_by_name_and_glob(recording):
    whole = nc.selectivity(recording, n_resamples=0)
    for chosen in ("late", "la*", ["late"]):
        part = nc.selectivity(recording, layers=chosen, n_resamples=0)
        xr.testing.assert_allclose(part, whole.isel(neuron=slice(30, None)))
    with pytest.raises(ValueError, match="no layer 'lat'; did you mean 'late'"):
        nc.selectivity(recording, layers="lat")


@pytest.mark.parametrize("chunks", [(600, 7), (100, 60), (64, 16)])
def test_from_disk_block_by_block(tmp_path, chunks):
    recording = planted_recording()
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(600, 60), chunks=chunks, dtype="float32", compressors=None
    )
    array[:] = recording.activation.values
    lazy = nc.from_arrays(array, layer="a", label=recording.label.values)
    in_memory = nc.from_arrays(recording.activation.values, layer="a", label=recording.label.values)
    found, expected = nc.selectivity(lazy, ALL), nc.selectivity(in_memory, ALL)
    xr.testing.assert_allclose(found, expected, rtol=1e-5)


def test_on_a_cluster_of_processes(recording):
    expected = nc.selectivity(recording, ALL)
    with two_workers():
        lazy = recording.chunk({"sample": 100, "neuron": 20})
        xr.testing.assert_allclose(nc.selectivity(lazy, ALL), expected, rtol=1e-5)


def test_a_recording_that_was_stored_gives_the_same(tmp_path, model, images, labels):
    data = (images, labels)
    nc.record(model, data, "auto", store=tmp_path / "store.zarr", progress=False)
    lazy = open_recording(tmp_path / "store.zarr")
    assert lazy.activation.chunks is not None
    here = nc.record(model, data, "auto", progress=False)
    xr.testing.assert_allclose(nc.selectivity(lazy, ALL), nc.selectivity(here, ALL), rtol=1e-5)


def test_class_means_of_a_store_take_no_more_memory_for_more_samples():
    """Four times the samples in as large blocks: the peak is of blocks and sums, not of samples."""
    peaks = []
    for n in (4_000, 16_000):
        # Nothing is kept of such an array but how its blocks are made.
        lazy = dask.array.random.default_rng(0).random((n, 2048), chunks=(500, 512))
        recording = nc.from_arrays(lazy.astype(np.float32), layer="a", label=np.arange(n) % 4)
        with dask.config.set(scheduler="synchronous"):
            nc.selectivity(recording.isel(neuron=slice(512)), n_resamples=0)
            tracemalloc.start()
            nc.selectivity(recording, n_resamples=0)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6
    assert peaks[1] < 16_000 * 2048 * 4 / 4


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda r: changed(r, label=np.where(r.sample < 2, np.nan, r.label)),
            {},
            "2 of 600 samples have no label, first 0",
        ),
        (
            lambda r: changed(r, label=np.where(r.sample == 0, 9, r.label)),
            {},
            "class 9 has one sample; an interval needs two or more",
        ),
        (lambda r: r, {"measures": "aurok"}, "no measure 'aurok'; did you mean 'auroc'"),
        (lambda r: r, {"n_resamples": 1}, "n_resamples is 1; expected 2 or more"),
        (lambda r: r, {"level": 1.0}, "level is 1; expected a coverage"),
        (lambda r: r, {"measures": "precision", "k": 601}, "k is 601; expected 1 to 600"),
        (lambda r: r.isel(neuron=slice(0)), {}, "no neurons"),
        (lambda r: r.isel(sample=[0]), {}, "all samples have label"),
    ],
)
def test_refuses(recording, change, options, message):
    with pytest.raises(ValueError, match=message):
        nc.selectivity(change(recording), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_what_is_not_finite_and_names_it(recording, value):
    recording = recording.copy(deep=True)
    recording["activation"][4, 31] = value
    message = r"1 of 60 neurons are NaN or infinite for some samples, first late:1"
    for options in ({}, {"rectify": True}):
        with pytest.raises(ValueError, match=message):
            nc.selectivity(recording, **options)


def test_a_class_of_one_sample_has_an_index_without_interval(recording):
    recording = changed(recording, label=np.where(recording.sample == 0, 9, recording.label))
    result = nc.selectivity(recording, n_resamples=0)
    assert result.attrs["class_count"][-1] == 1
    assert np.isfinite(result["selectivity"]).all()
