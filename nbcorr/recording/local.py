"""The batches of a recording, run in this process one after the other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from nbcorr.network.batches import Batch, batches
from nbcorr.network.hooks import device_and_dtype
from nbcorr.recording.answers import baseline_answers
from nbcorr.recording.group import SLAB
from nbcorr.recording.passes import Networks
from nbcorr.recording.rows import Rows


@dataclasses.dataclass(frozen=True)
class Passed:
    """Some batches that went through the networks.

    Attributes
    ----------
    size : int
        Samples.
    digests : sequence of str
        One per batch; empty text where there is no store.
    rows : Rows or None
        What they gave; None of batches that were recorded before.
    answer : array, shape (size,), or None
        Of a baseline that is asked while they pass.
    in_place : bool
        Whether the numbers are in the store already, and the rows are without them.
    """

    size: int
    digests: Sequence[str]
    rows: Rows | None
    answer: np.ndarray | None = None
    in_place: bool = False


class Local:
    """Runs batches in this process; the same methods as `distributed.Cluster`.

    Parameters
    ----------
    networks : Networks
    data : as for ``nc.record``
    batch_size : int
    answer : callable or None
        The baseline, where it is asked.
    named : sequence of str
        Entries of dict batches that are columns.
    """

    def __init__(
        self,
        networks: Networks,
        data: Any,
        batch_size: int,
        answer: Callable[..., Any] | None,
        named: Sequence[str],
    ):
        self._networks, self._answer, self._named = networks, answer, named
        self._data, self._batch_size = data, batch_size

    def slab(self, store: str | os.PathLike[str], expected: int | None) -> int:
        """Samples per chunk of a new store."""
        return SLAB

    def passed(
        self, known: int | None, on_disk: bool, announce: Callable[[], None]
    ) -> Generator[Passed, None, None]:
        """Every batch, in order.

        Parameters
        ----------
        known : int or None
            Samples that were recorded before and are only looked at; None for all.
        on_disk : bool
            Whether the batches' digests are wanted.
        announce : callable
            Called once the networks' layout is known, before anything is kept.
        """
        first, announced = 0, False
        for at, batch in enumerate(batches(self._data, self._batch_size)):
            batch = batch.sorted_out(self._networks.model, self._named)
            if at == 0:
                self._networks.start(batch)
            digest = batch.digest() if on_disk else ""
            if known is None or first < known:
                yield Passed(len(batch), [digest], None, self._asked(batch, first))
            else:
                rows = self._networks.rows(batch, self._answer, first)
                if not announced:
                    announce()
                    announced = True
                answer = rows.columns.get("baseline") if self._answer is not None else None
                yield Passed(len(batch), [digest], rows, answer)
            first += len(batch)

    def _asked(self, batch: Batch, first: int) -> np.ndarray | None:
        if self._answer is None:
            return None
        own = batch.to(*device_and_dtype(self._networks.model))
        return baseline_answers(self._answer, own, first)
