from __future__ import annotations

import numpy as np
import pytest
import torch

from nbcorr import zoo
from nbcorr.zoo.histogram import colour_histograms
from nbcorr.zoo.images import labelled_images


def coloured(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Reddish, greenish and bluish noise of 6 by 5 pixels."""
    labels = rng.integers(0, 3, n)
    images = rng.uniform(0, 0.6, (n, 3, 6, 5))
    images[np.arange(n), labels] += 0.4
    return images.astype(np.float32), labels


def dataset(images: np.ndarray, labels: np.ndarray):
    ids = [f"noise-{i}" for i in range(len(labels))]
    return labelled_images(images, ids, labels, source="made", license="none", provenance="noise")


def test_it_tells_colours_apart_and_takes_tensors():
    rng = np.random.default_rng(0)
    baseline = zoo.colour_histogram_baseline(dataset(*coloured(rng, 150)))
    images, labels = coloured(rng, 60)
    answers = baseline(torch.tensor(images))
    assert answers.dtype == np.int64
    assert (answers == labels).mean() > 0.9


def test_it_knows_nothing_of_shapes():
    rng = np.random.default_rng(1)
    images, _ = coloured(rng, 4)
    pixels = images.reshape(4, 3, 30)
    shuffled = pixels[..., rng.permutation(30)].reshape(images.shape)
    np.testing.assert_array_equal(colour_histograms(images), colour_histograms(shuffled))


def test_histograms_count_one_pixel_at_a_time():
    rng = np.random.default_rng(2)
    images, _ = coloured(rng, 3)
    slow = np.zeros((3, 64))
    for i, image in enumerate(images):
        for y in range(6):
            for x in range(5):
                red, green, blue = (min(int(value * 4), 3) for value in image[:, y, x])
                slow[i, red * 16 + green * 4 + blue] += 1 / 30
    np.testing.assert_allclose(colour_histograms(images) ** 2, slow, atol=1e-6)


def test_grey_images_and_missing_labels_are_refused():
    with pytest.raises(ValueError, match="expected"):
        zoo.colour_histogram_baseline(zoo.digits("test"))
    with pytest.raises(ValueError, match="'label'"):
        zoo.colour_histogram_baseline(zoo.digits("test").drop_vars("label"))
