"""Planted knowledge: a mark in the margin that network A was taught to read and B was not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from nbcorr.zoo import digit_images as source
from nbcorr.zoo.convnet import train_convnet
from nbcorr.zoo.images import check_split, labelled_images

if TYPE_CHECKING:
    from torch import nn

SIDE, MARGIN = 16, 4
N_TRAIN = 900
# The training digits are used twice, each time over another; the test digits once, so that the
# samples that are correlated are independent.
COPIES = {"train": 2, "test": 1}
SHARE_AMBIGUOUS = 0.25
INK = 0.9
EPOCHS = 8

# Glyphs of equal ink, 3 x 3: the mark is the cross, the others stand everywhere else.
MARK = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=np.float32)
PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.float32)
CORNER = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=np.float32)
OTHERS = (PLUS, *(np.rot90(CORNER, turns) for turns in range(4)))

# Twelve places around the digit, clockwise from the top left; the first ten are the classes'.
PLACES = (
    *((0, x) for x in (0, 4, 8, 12)),
    *((y, 12) for y in (4, 8, 12)),
    *((12, x) for x in (8, 4, 0)),
    *((y, 0) for y in (8, 4)),
)


def planted_digits(
    split: Literal["all", "train", "test"] = "test", seed: int = 0, *, mark: bool = True
) -> xr.Dataset:
    """Digits of which a quarter can only be told by a small mark in the margin.

    Every image is two handwritten digits over each other, one at 90 % ink and one at 10 %, within
    a frame of twelve small glyphs. In three quarters of the images both digits are of the same
    class. In the others they differ and a coin has decided which of the two is the true one, so
    the digits themselves say no more than that coin. In exactly those images one of the glyphs is
    a cross, and its place, one of ten, says the true class.

    A cross has as much ink as a plus or a corner. A network that was never taught to tell them
    apart hardly does, which is what the untrained twins are there to show.

    Parameters
    ----------
    split : {"all", "train", "test"}
        "train": 1,800 images made of 900 of the digits. "test": 897 made of the others.
    seed : int
        Decides the pairs, the coins, the glyphs and which images are ambiguous.
    mark : bool
        Without the mark the images are the same to the pixel, but for the crosses, where another
        glyph stands.

    Returns
    -------
    xarray.Dataset
        ``image(sample, channel, y, x)`` float32, 16 x 16; on ``sample`` also ``label``,
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
    _frame(canvas, labels[chosen], ambiguous & mark, rng)
    copy = np.repeat(np.arange(COPIES[split]), len(half))
    return labelled_images(
        canvas[:, None],
        [f"digit-{i:04d}-{'ab'[c]}" for i, c in zip(chosen, copy, strict=True)],
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
    ``planted_digits("test", seed)`` with seeds 0, 1 and 2: A is right on 96.4, 98.4 and 98.1 %, B
    on 83.8, 83.5 and 83.7 % (of the marked images: A 96-100 %, B 47-50 %), and only A on 121, 138
    and 134 of 897. Of the 32 units of ``features.3`` 4, 6 and 8 are associated with that within
    class, replicate in a held-out half, and have an AUC farther from 1/2 than any unit of that
    layer in ten untrained twins under max-pooling (2, 5 and 4 under mean-pooling); of the 64
    hidden units none.

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
    """Both digits in the middle of one image, shape (n, SIDE, SIDE)."""
    heads = rng.random(len(true)) < 0.5
    strong = np.where(ambiguous & heads, INK, 1 - INK)[:, None, None]
    canvas = np.zeros((len(true), SIDE, SIDE), dtype=np.float32)
    inner = slice(MARGIN, SIDE - MARGIN)
    canvas[:, inner, inner] = strong * true + (1 - strong) * other
    return canvas


def _frame(
    canvas: np.ndarray, labels: np.ndarray, marked: np.ndarray, rng: np.random.Generator
) -> None:
    """Put glyphs around the digits, in place; the class's cross in the marked images."""
    drawn = rng.integers(len(OTHERS), size=(len(canvas), len(PLACES)))
    for place, (row, column) in enumerate(PLACES):
        glyphs = np.stack(OTHERS)[drawn[:, place]]
        glyphs[marked & (labels == place)] = MARK
        canvas[:, row : row + 3, column : column + 3] = glyphs
