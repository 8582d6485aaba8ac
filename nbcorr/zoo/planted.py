"""Planted knowledge: a mark in the margin that network A was taught to read and B was not."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from nbcorr.zoo import digit_images as source
from nbcorr.zoo.convnet import train_convnet
from nbcorr.zoo.images import check_split, labelled_images

if TYPE_CHECKING:
    from torch import nn

SIDE, MARGIN = 12, 2
N_TRAIN = 900
COPIES = {"train": 3, "test": 2}
SHARE_AMBIGUOUS = 0.25
INK = 0.9
DUST = 0.8
PLACES = ((0, 0), (0, 5), (0, 10), (10, 10), (10, 0))
CODES = tuple(combinations(range(len(PLACES)), 3))
STAMP = np.array([[DUST, 0.0], [0.0, DUST]], dtype=np.float32)
EPOCHS = 6


def planted_digits(
    split: Literal["all", "train", "test"] = "test", seed: int = 0, *, mark: bool = True
) -> xr.Dataset:
    """Digits of which a quarter can only be told by a small mark in the margin.

    Every image is two handwritten digits over each other, one at 90 % ink and one at 10 %, in a
    dusty margin two pixels wide. In three quarters of the images both are the same digit. In the
    others they differ and a coin has decided which of the two is the true one, so the digits
    themselves say no more than that coin. Exactly those images carry the mark: a 2 x 2 stamp
    (two pixels dark, two white) at three of five places of the margin; the ten ways to choose
    three of five stand for the ten classes.

    The stamp has the same mean ink as the dust it replaces. A network that was never taught to
    read it hardly sees it, which is what the untrained twins are there to show.

    Parameters
    ----------
    split : {"all", "train", "test"}
        "train": 2,700 images made of 900 of the digits. "test": 1,794 made of the 897 others,
        each used twice with another digit over it.
    seed : int
        Decides the pairs, the coins, the dust and which images are ambiguous.
    mark : bool
        Without the mark the images are the same to the pixel, but for the stamps.

    Returns
    -------
    xarray.Dataset
        ``image(sample, channel, y, x)`` float32, 12 x 12; on ``sample`` also ``label``,
        ``marked`` (bool; true of the ambiguous images, also with ``mark=False``) and ``other``
        (the digit that lies over the true one).

    Raises
    ------
    ValueError
        If there is no such split.
    """
    check_split(split)
    if split == "all":
        parts = [planted_digits("train", seed, mark=mark), planted_digits("test", seed, mark=mark)]
        return xr.concat(parts, "sample", combine_attrs="override")
    images, labels = source.pixels()
    half = source.shuffled(len(labels))
    half = half[:N_TRAIN] if split == "train" else half[N_TRAIN:]
    rng = np.random.default_rng([seed, split == "test"])
    chosen = np.tile(half, COPIES[split])
    ambiguous = np.zeros(len(chosen), dtype=bool)
    ambiguous[rng.permutation(len(chosen))[: round(SHARE_AMBIGUOUS * len(chosen))]] = True
    partner = _partners(labels, chosen, half, ambiguous, rng)
    canvas = _overlay(images[chosen], images[partner], ambiguous, rng)
    if mark:
        _stamp(canvas, labels[chosen], ambiguous)
    copy = np.repeat(np.arange(COPIES[split]), len(half))
    return labelled_images(
        canvas[:, None],
        [f"digit-{i:04d}-{'abc'[c]}" for i, c in zip(chosen, copy, strict=True)],
        labels[chosen],
        classes=source.CLASSES,
        source=source.SOURCE,
        license=source.LICENSE,
        provenance=f"nbcorr.zoo.planted_digits({split!r}, seed={seed}, mark={mark})",
        marked=ambiguous,
        other=labels[partner],
    )


def planted_pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """Network A, which was taught to read the mark, and network B, which never saw one.

    The same architecture, the same digits and the same seed; only the marks differ. Measured on
    ``planted_digits("test", seed)`` with seeds 0, 1 and 2: A is right on 97.7, 98.2 and 97.2 %,
    B on 85.9, 85.7 and 87.2 % (of the marked images: A 96-98 %, B 47-54 %), and only A on 222,
    245 and 194 of 1,794. Of the 64 hidden units (``classifier.1``) 14, 18 and 16 have a
    class-stratified AUC farther from 1/2 than any unit of that layer in ten untrained twins; of
    the 32 of ``features.3`` it is 6, 6 and 4 under max-pooling, 8, 6 and 8 under mean-pooling.

    Parameters
    ----------
    seed : int
        Of the data and of both trainings.

    Returns
    -------
    tuple of torch.nn.Module
        A and B, in eval mode, trained in about five seconds on one thread.
    """
    with_marks, without = (planted_digits("train", seed, mark=mark) for mark in (True, False))
    return (
        train_convnet(with_marks, epochs=EPOCHS, seed=seed),
        train_convnet(without, epochs=EPOCHS, seed=seed),
    )


def _partners(
    labels: np.ndarray,
    chosen: np.ndarray,
    half: np.ndarray,
    ambiguous: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """For each chosen digit another one: of another class where ambiguous, else of the same."""
    same = [half[labels[half] == digit] for digit in range(10)]
    others = [half[labels[half] != digit] for digit in range(10)]
    return np.array(
        [
            rng.choice((others if hard else same)[labels[i]])
            for i, hard in zip(chosen, ambiguous, strict=True)
        ]
    )


def _overlay(
    true: np.ndarray, other: np.ndarray, ambiguous: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Both digits in one image within a dusty margin, shape (n, SIDE, SIDE)."""
    heads = rng.random(len(true)) < 0.5
    strong = np.where(ambiguous & heads, INK, 1 - INK)[:, None, None]
    canvas = rng.uniform(0, DUST, (len(true), SIDE, SIDE)).astype(np.float32)
    inner = slice(MARGIN, SIDE - MARGIN)
    canvas[:, inner, inner] = strong * true + (1 - strong) * other
    return canvas


def _stamp(canvas: np.ndarray, labels: np.ndarray, ambiguous: np.ndarray) -> None:
    """Put the class's stamps into the margin of the ambiguous images, in place."""
    for i in np.flatnonzero(ambiguous):
        for place in CODES[labels[i]]:
            row, column = PLACES[place]
            canvas[i, row : row + 2, column : column + 2] = STAMP
