"""What the optional extra ``imagenet`` brings, and the error where it is missing."""

from __future__ import annotations

INSTALL_COMMAND = 'pip install "nbcorr[imagenet]"'


def missing(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise instead of ``error``: which package is missing and how to get it."""
    return ModuleNotFoundError(
        f"{what} needs the package {error.name}: {INSTALL_COMMAND}", name=error.name
    )
