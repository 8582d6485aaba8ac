"""Names people mistype, and the nearest ones that exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice closest to ``name``, or None when nothing is close."""
    found = difflib.get_close_matches(str(name), [str(c) for c in choices], n=1, cutoff=0.5)
    return found[0] if found else None


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """One sentence for a name that does not exist, ending in the nearest one that does."""
    choices = [str(c) for c in choices]
    near = nearest(str(name), choices)
    if near is not None:
        return f"no {kind} {str(name)!r}; did you mean {near!r}?"
    shown = ", ".join(choices[:8]) + (", …" if len(choices) > 8 else "")
    return f"no {kind} {str(name)!r}; there is {shown or 'none'}"
