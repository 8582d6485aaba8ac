"""Labelled images as one Dataset: what the zoo gives and ``nbcorr.record`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

SPLITS = ("all", "train", "test")


def labelled_images(
    images: np.ndarray,
    ids: Sequence[str] | np.ndarray,
    labels: np.ndarray | None = None,
    *,
    classes: Sequence[str] = (),
    source: str,
    license: str,
    provenance: str,
    **columns: np.ndarray,
) -> xr.Dataset:
    """A Dataset of images with one id, one label and any further columns per sample.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, channels, height, width)
        Values from 0 to 1; stored as float32.
    ids : sequence of str, length n
    labels : numpy.ndarray of int, shape (n,), optional
        Indices into ``classes``.
    classes : sequence of str
    source, license, provenance : str
        Where the images come from, under which terms, and what was done to them.
    **columns : numpy.ndarray, shape (n,)
        Further coordinates on ``sample``.
    """
    coords: dict[str, Any] = {"sample": np.asarray(ids, dtype=str)}
    if labels is not None:
        coords["label"] = ("sample", np.asarray(labels, dtype=np.int64))
    coords |= {name: ("sample", values) for name, values in columns.items()}
    return xr.Dataset(
        {
            "image": (
                ("sample", "channel", "y", "x"),
                np.ascontiguousarray(images, dtype=np.float32),
            )
        },
        coords=coords,
        attrs={
            "classes": list(classes),
            "source": source,
            "license": license,
            "provenance": provenance,
        },
    )


def check_split(split: str, choices: Sequence[str] = SPLITS) -> str:
    """The name of a split, or a ValueError that names those there are."""
    if split not in choices:
        raise ValueError(f"no split {split!r}; expected one of {', '.join(map(repr, choices))}")
    return split
