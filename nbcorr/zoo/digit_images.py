"""The 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from nbcorr.zoo.images import check_split, labelled_images

CLASSES = tuple("0123456789")
N_TRAIN = 1200
SOURCE = (
    "E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine "
    "Learning Repository, doi:10.24432/C50P49; the copy in scikit-learn (load_digits)"
)
LICENSE = "CC BY 4.0 (UCI); scikit-learn's copy BSD-3-Clause"


def digits(split: Literal["all", "train", "test"] = "all") -> xr.Dataset:
    """Handwritten digits, 8 by 8 pixels, by 13 people (UCI's test set, as in scikit-learn).

    Parameters
    ----------
    split : {"all", "train", "test"}
        All 1,797 images in the file's order, 1,200 of them, or the 597 others: a fixed shuffle
        decides. The same 13 people wrote both, so a test image is a new digit by a known hand.

    Returns
    -------
    xarray.Dataset
        ``image(sample, channel, y, x)`` float32 from 0 (paper) to 1 (ink), one channel;
        ``label(sample)``; ids ``digit-0000`` …; ``attrs["classes"]``.

    Raises
    ------
    ValueError
        If there is no such split.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998). Cascading classifiers. Kybernetika 34(4), 369-374.
    """
    check_split(split)
    images, labels = pixels()
    order = shuffled(len(labels))
    part = {"all": np.arange(len(labels)), "train": order[:N_TRAIN], "test": order[N_TRAIN:]}[split]
    ids = np.array([f"digit-{i:04d}" for i in range(len(labels))])
    return labelled_images(
        images[part, None],
        ids[part],
        labels[part],
        classes=CLASSES,
        source=SOURCE,
        license=LICENSE,
        provenance="grey values of 0 to 16 divided by 16; otherwise unchanged",
    )


def pixels() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 8, 8) float32 in 0..1 and their labels (1797,) int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


def shuffled(n: int) -> np.ndarray:
    """The fixed order (n,) that decides what is for training and what is held out."""
    return np.random.default_rng(0).permutation(n)
