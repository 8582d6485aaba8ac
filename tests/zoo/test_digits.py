from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nbcorr import zoo


def test_the_splits_share_nothing_and_make_up_the_whole():
    everything, train, test = zoo.digits(), zoo.digits("train"), zoo.digits("test")
    assert (everything.sizes["sample"], train.sizes["sample"], test.sizes["sample"]) == (
        1797,
        1200,
        597,
    )
    ids = set(train["sample"].values) | set(test["sample"].values)
    assert ids == set(everything["sample"].values)
    assert len(ids) == 1797


def test_an_id_names_the_same_image_in_every_split_and_in_the_file():
    test = zoo.digits("test")
    bunch = load_digits()
    for k in (0, 100, 596):
        one = test.isel(sample=k)
        position = int(str(one["sample"].item()).removeprefix("digit-"))
        np.testing.assert_array_equal(one["image"].values[0] * 16, bunch.images[position])
        assert one["label"].item() == bunch.target[position]


def test_images_are_what_models_eat():
    data = zoo.digits("train")
    assert data["image"].dims == ("sample", "channel", "y", "x")
    assert data["image"].dtype == np.float32
    assert data["label"].dtype == np.int64
    assert (data["image"].min(), data["image"].max()) == (0, 1)
    assert data.attrs["classes"] == list("0123456789")
    assert all(data.attrs[name] for name in ("source", "license", "provenance"))


def test_both_splits_hold_every_class_in_like_numbers():
    for split in ("train", "test"):
        counts = np.bincount(zoo.digits(split)["label"].values, minlength=10)
        assert counts.min() > 0.8 * counts.mean()


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match=r"no split 'validation'.*'train'"):
        zoo.digits("validation")
