from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

import nbcorr as nc


def literal(model, images, layer, unit, k, quantile):
    """Exemplars of one neuron from its definition: all maps in memory, one sort."""
    maps = []
    model.eval()
    with torch.no_grad():
        for image in images:
            out = getattr(model, layer)(
                torch.tensor(image[None]) if layer == "conv1" else middle(model, image)
            )
            maps.append(out[0, unit])
    maps = torch.stack(maps)
    scores = maps.flatten(1).amax(1)
    order = np.argsort(-scores.numpy(), kind="stable")[:k]
    limit = np.quantile(maps.numpy(), quantile)
    big = functional.interpolate(maps[order][:, None], (8, 8), mode="bilinear", align_corners=True)
    return order, scores.numpy()[order], (big[:, 0] > limit).numpy(), limit


def middle(model, image):
    return torch.relu(model.norm(model.conv1(torch.tensor(image[None]))))


@pytest.mark.parametrize(("layer", "unit"), [("conv1", 2), ("conv2", 5)])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_exemplars_equal_their_definition(model, images, layer, unit, batch_size):
    order, scores, masks, limit = literal(model, images, layer, unit, 4, 0.9)
    found = nc.exemplars(
        model, images, (layer, unit), 4, quantile=0.9, batch_size=batch_size, progress=False
    )
    np.testing.assert_array_equal(found["sample"].values[0], order)
    np.testing.assert_allclose(found["activation"].values[0], scores, rtol=1e-5)
    np.testing.assert_allclose(found["threshold"].values[0], limit, rtol=1e-4, atol=1e-6)
    assert (found["mask"].values[0] == masks).mean() > 0.99
    np.testing.assert_array_equal(found["image"].values[0, ..., 0], images[order, 0])


def test_order_labels_and_other_layers(untouched, images, labels):
    ids = np.array([f"s{i}" for i in range(40)])
    wanted = ["hidden:3", "act#2:1", "conv1:0", "act:1"]
    found = nc.exemplars(untouched, (images, labels, ids), wanted, 3, progress=False)
    assert [f"{a}:{b}" for a, b in found.indexes["neuron"]] == wanted
    rows = [int(s[1:]) for s in found["sample"].values.ravel()]
    np.testing.assert_array_equal(found["label"].values.ravel(), labels[rows])
    np.testing.assert_array_equal(found["label_count"], np.bincount(labels))
    assert found.attrs["fingerprint"]


def test_a_unit_that_is_always_negative_has_exemplars(model, images):
    with torch.no_grad():
        model.conv1.bias[1] = -100.0
    found = nc.exemplars(model, images, "conv1:1", 5, progress=False)
    assert (found["activation"].values < -50).all()
    assert len(set(found["sample"].values[0].tolist())) == 5


def test_fewer_samples_than_k_and_vectors(model):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    x = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    found = nc.exemplars(net, x, "0:2", 15, progress=False)
    assert found.sizes["rank"] == 6
    assert "image" not in found
    assert (np.diff(found["activation"].values[0]) <= 0).all()


def test_images_outside_0_to_1_are_brought_there(model, images):
    found = nc.exemplars(model, images * 10 - 5, "conv1:0", 3, progress=False)
    assert float(found["image"].min()) == 0
    assert float(found["image"].max()) == 1


@pytest.mark.parametrize(
    ("neurons", "arguments", "message"),
    [
        ("conv1:4", {}, "no neuron 'conv1:4': layer 'conv1' has 4 units, 0 to 3"),
        ("convv1:0", {}, "no layer 'convv1'; did you mean 'conv1'"),
        ("unused:0", {}, "layer 'unused' did not run"),
        ("act#3:0", {}, "layer 'act#3' did not run"),
        ("conv1:0", {"k": 0}, "k is 0"),
        ("conv1:0", {"quantile": 1.0}, "quantile is 1.0"),
    ],
)
def test_bad_requests_are_named(untouched, images, neurons, arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.exemplars(untouched, images, neurons, progress=False, **arguments)


def test_empty_data_and_interrupt(untouched, images):
    with pytest.raises(ValueError, match="the data is empty"):
        nc.exemplars(untouched, images[:0], "conv1:0", progress=False)

    def interrupted():
        yield torch.tensor(images[:4])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nc.exemplars(untouched, interrupted(), "conv1:0", progress=False)


def test_inputs_that_are_not_finite_are_named(untouched, images):
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="sample 3 has NaN or infinite values"):
        nc.exemplars(untouched, images, "conv1:0", progress=False)


def test_the_threshold_stands_on_a_bounded_number_of_values(model, images, monkeypatch):
    whole = nc.exemplars(model, np.tile(images, (8, 1, 1, 1)), "conv1:0", progress=False)
    monkeypatch.setattr("nbcorr.recording.exemplars._VALUES", 2000)
    thinned = nc.exemplars(model, np.tile(images, (8, 1, 1, 1)), "conv1:0", progress=False)
    np.testing.assert_allclose(thinned["threshold"], whole["threshold"], atol=0.1)
    xr.testing.assert_equal(thinned["sample"], whole["sample"])
