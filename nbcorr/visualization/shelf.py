"""Where finished pictures are looked for before they are made, and put afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nbcorr.visualization.cache import PictureCache, picture_key
from nbcorr.visualization.jobs import Job
from nbcorr.visualization.objective import Layer
from nbcorr.visualization.render import Pictures

Numbered = tuple[int, Job]
Made = dict[tuple[int, str], Pictures]


class Shelf:
    """Pictures of one way to make them.

    Parameters
    ----------
    cache : PictureCache or None
        None: nothing is kept.
    behaviour : mapping of layer to str
        What tells that a layer does as it did: what it calls by name leaves no other trace.
    what : Any
        All else that a picture depends on, but for its objective.
    """

    def __init__(
        self, cache: PictureCache | None, behaviour: Mapping[Layer, str], **what: Any
    ) -> None:
        self._cache, self._behaviour, self._what = cache, behaviour, what

    def get(self, job: Job) -> Pictures | None:
        """The pictures of a job, if they are there."""
        arrays = None if self._cache is None else self._cache.get(self._key(job))
        if arrays is None:
            return None
        images, reached, fresh = (torch.from_numpy(arrays[n]) for n in Pictures._fields[:3])
        return Pictures(images, reached, fresh, sound=True)

    def put(self, job: Job, pictures: Pictures) -> None:
        """Keep the pictures of a job, unless there was something to be said of them."""
        if self._cache is not None and pictures.sound:
            arrays = {name: getattr(pictures, name).numpy() for name in Pictures._fields[:3]}
            self._cache.put(self._key(job), arrays)

    def sorted(self, jobs: Sequence[Sequence[Job]]) -> tuple[Made, list[Numbered]]:
        """The pictures that are there, and the jobs that are left."""
        made: Made = {}
        left: list[Numbered] = []
        for place, of_one in enumerate(jobs):
            for job in of_one:
                pictures = self.get(job)
                if pictures is None:
                    left.append((place, job))
                else:
                    made[place, job.kind] = pictures
        return made, left

    def _key(self, job: Job) -> str:
        objectives = [job.objective.key(), job.measure.key()]
        behaviour = [self._behaviour[layer] for layer in job.objective.layers]
        labels = job.labels()
        return picture_key(objectives=objectives, labels=labels, behaviour=behaviour, **self._what)


def cache_of(cache: Any) -> PictureCache | None:
    """The cache that ``nc.visualize`` was given: None the user's own, False none, or a folder.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if cache is None:
        return PictureCache()
    if cache is False:
        return None
    if isinstance(cache, PictureCache):
        return cache
    if isinstance(cache, str | os.PathLike):
        return PictureCache(cache)
    raise ValueError(f"cache is {cache!r}; expected None, False, a folder or a PictureCache")
