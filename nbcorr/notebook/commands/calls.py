"""A verb called with variables of the user: the same thing as Python text and as a call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple


class Ref(NamedTuple):
    """A value, and the Python expression that gives it in the user's namespace."""

    text: str
    value: Any


@dataclasses.dataclass
class Call:
    """``nc.verb(*positional, **options)``, to be kept as a variable.

    ``kind`` is what comes out, and also the variable's name unless ``name`` says another. A
    positional or option that is a `Ref` is written as its text; any other is a Python literal.
    ``show`` is given the result, to display more of it than its own repr.
    """

    verb: str
    positional: list[Any]
    options: dict[str, Any]
    kind: str
    name: str | None = None
    show: Callable[[Any], None] | None = None

    @property
    def target(self) -> str:
        """The variable that holds the result."""
        return self.name or self.kind

    def line(self) -> str:
        """The call as the line of Python a person would write."""
        return f"{self.target} = {self._expression()}"

    def block(self) -> str:
        """The call as a ``with`` block around somebody's own code."""
        return f"with {self._expression()} as watched: ...\n{self.target} = watched.recording()"

    def _expression(self) -> str:
        parts = [_text(value) for value in self.positional]
        parts += [f"{name}={_text(value)}" for name, value in self.options.items()]
        return f"nc.{self.verb}({', '.join(parts)})"

    def run(self) -> Any:
        """What the verb gives."""
        import nbcorr

        options = {name: _value(value) for name, value in self.options.items()}
        return getattr(nbcorr, self.verb)(*map(_value, self.positional), **options)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; the verb has its own defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def literal(value: Any) -> str:
    """A string, number, bool, None, tuple or list of them as Python text."""
    if isinstance(value, str):
        text = repr(value)
        if text[0] == "'" and '"' not in text:
            text = '"' + text[1:-1].replace("\\'", "'") + '"'
        return text
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def printable(text: str) -> str:
    """The text on one line, with no character that would steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text(value: Any) -> str:
    return value.text if isinstance(value, Ref) else literal(value)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Ref) else value
