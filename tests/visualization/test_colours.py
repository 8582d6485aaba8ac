"""Statistics of images against loops, and what is made of them."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nbcorr.visualization.colours import colour_root, image_statistics
from nbcorr.visualization.parametrization import parametrization


def images(count: int = 4, channels: int = 2, height: int = 4, width: int = 5) -> np.ndarray:
    """Channels that vary together, in no particular range."""
    generator = np.random.default_rng(0)
    independent = generator.normal(size=(count, channels, height, width))
    mixing = generator.normal(size=(channels, channels))
    return (3 + np.einsum("dc,nchw->ndhw", mixing, independent)).astype(np.float32)


def literal_statistics(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count, _, height, width = data.shape
    pixels = [data[n, :, y, x] for n, y, x in np.ndindex(count, height, width)]
    mean = sum(pixels) / len(pixels)
    return mean, sum(np.outer(p - mean, p - mean) for p in pixels) / len(pixels)


def literal_magnitude(data: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    count, channels, height, width = data.shape
    found = np.zeros((channels, height, width // 2 + 1))
    for n in range(count):
        white = np.linalg.solve(root, (data[n] - mean[:, None, None]).reshape(channels, -1))
        white = white.reshape(channels, height, width)
        for c, row, column in np.ndindex(found.shape):
            total = sum(
                white[c, y, x] * cmath.exp(-2j * math.pi * (row * y / height + column * x / width))
                for y, x in np.ndindex(height, width)
            )
            found[c, row, column] += abs(total) / math.sqrt(height * width) / count
    return found


@pytest.mark.parametrize("shape", [(4, 2, 4, 5), (3, 3, 5, 4), (5, 6, 3, 3), (2, 1, 6, 1)])
def test_statistics_are_what_they_say(shape):
    data = images(*shape)
    found = image_statistics(data)
    mean, covariance = literal_statistics(data.astype(np.float64))
    root = found["colours"].values.astype(np.float64)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(root @ root.T, covariance, rtol=2e-2, atol=2e-3)
    products = root.T @ root
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-4)
    assert (np.diff(np.diag(products)) <= 1e-6).all()
    np.testing.assert_allclose(
        found["magnitude"], literal_magnitude(data.astype(np.float64), mean, root), rtol=1e-3
    )
    assert found.attrs == {"n_images": shape[0], "height": shape[2], "width": shape[3]}
    np.testing.assert_allclose(found["fx"], np.fft.rfftfreq(shape[3]))


def test_any_source_and_batches_give_the_same():
    data = images(70)
    tensor = torch.tensor(data)
    sources = [data, tensor, (data, np.zeros(70)), DataLoader(TensorDataset(tensor), batch_size=9)]
    first, *others = [image_statistics(source) for source in sources]
    for other in others:
        for name in ("colours", "magnitude", "mean"):
            np.testing.assert_allclose(other[name], first[name], rtol=1e-4, atol=1e-5)


def test_the_scale_of_images_does_not_matter():
    bytes_ = np.random.default_rng(1).integers(0, 256, (6, 3, 8, 8)).astype(np.uint8)
    small, large = image_statistics(bytes_ / 255), image_statistics(bytes_)
    np.testing.assert_allclose(large["magnitude"], small["magnitude"], rtol=1e-3)
    np.testing.assert_allclose(large["colours"], 255 * small["colours"], rtol=1e-3, atol=1e-2)


def test_a_channel_that_never_varies_can_still_be_painted():
    data = images(6, 3, 8, 8)
    data[:, 1] = 0.7
    root = image_statistics(data)["colours"].values
    assert np.linalg.norm(root[1]) == pytest.approx(np.linalg.norm(root, axis=0).max() / 100)


def test_roots_do_not_depend_on_the_signs_a_machine_chooses():
    root = colour_root(np.array([[2.0, 1.9], [1.9, 2.0]]))
    np.testing.assert_allclose(np.abs(root), [[1.39642, 0.22361], [1.39642, 0.22361]], rtol=1e-4)
    largest = np.abs(root).argmax(axis=0)
    assert (root[largest, [0, 1]] > 0).all()


def test_pictures_get_the_colours_and_the_spectrum_of_the_images():
    """Phases drawn at random under statistics learnt from images give images with those."""
    data = images(64, 6, 16, 16)
    smooth = torch.nn.functional.avg_pool2d(torch.tensor(data), 3, 1, 1)
    found = image_statistics(smooth)
    of = parametrization(
        "maco",
        (6, 16, 16),
        torch.device("cpu"),
        colours=found["colours"],
        magnitude=found["magnitude"],
    )
    stack = torch.stack([of.start(torch.Generator().manual_seed(seed)) for seed in range(64)])
    painted = image_statistics(of.image(stack).logit())
    ours, theirs = (
        (root := each["colours"].values) @ root.T / np.trace(root @ root.T)
        for each in (painted, found)
    )
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    flat = painted["magnitude"].values / found["magnitude"].values
    assert np.median(flat) == pytest.approx(1, abs=0.3)
    assert flat.std() / flat.mean() < 0.3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 3, 8, 8), np.float32), "there are no images"),
        (np.zeros((4, 3, 8, 8), np.float32), "all images are of one value"),
        (np.full((4, 3, 8, 8), 0.3, np.float32), "all images are of one value"),
        (np.zeros((4, 8), np.float32), r"shape \(4, 8\); expected \(n, channels"),
        (np.full((4, 3, 8, 8), np.nan, np.float32), "sample 0 has NaN"),
        ([torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 9)], "images differ in size"),
        (iter([torch.rand(2, 3, 8, 8)]), "list_iterator, which can be run through once"),
    ],
)
def test_images_that_have_no_statistics(data, message):
    with pytest.raises(ValueError, match=message):
        image_statistics(data)
