"""Completion of ``%neurcorr`` lines: what the argument under the cursor can be."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from nbcorr.notebook.commands.parsing import Parser, option_names
from nbcorr.notebook.commands.session import Session

# The line up to the cursor, also as the right-hand side of an assignment.
_LINE = re.compile(r"^\s*(?:(?:[\w.,\[\]'\" ]+=\s*)?%%?)?neurcorr\s+(?P<rest>.*)$")


def completer(session: Session, parsers: dict[str, Parser]) -> Callable[..., Any]:
    """A matcher for IPython (API version 2) that knows one session."""

    @context_matcher(identifier="nbcorr.neurcorr")
    def neurcorr_matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = _LINE.match(context.text_until_cursor)
        if line is None:
            return SimpleMatcherResult(completions=[])
        word, choices = complete(line["rest"], session, parsers)
        return SimpleMatcherResult(
            completions=[SimpleCompletion(text=text, type="magic") for text in choices],
            matched_fragment=word,
            ordered=True,
            suppress=True,
        )

    return neurcorr_matcher


def complete(rest: str, session: Session, parsers: dict[str, Parser]) -> tuple[str, list[str]]:
    """The word under the cursor and what it can become.

    Parameters
    ----------
    rest : str
        The line after ``%neurcorr``, up to the cursor.
    session : Session
    parsers : dict of subcommand to its parser
    """
    *before, word = _words(rest)
    if not before:
        choices: Iterable[str] = [*parsers, "--help"]
    elif before[0] not in parsers:
        choices = []
    else:
        word, choices = _argument(word, before[1:], session, parsers[before[0]])
    start = word.lstrip("\"'")
    return word, [text for text in choices if text.lstrip("\"'").startswith(start)]


def _argument(
    word: str, before: list[str], session: Session, parser: Parser
) -> tuple[str, Iterable[str]]:
    model = _model_named(before)
    if word.startswith("--") and "=" in word:
        name, word = word.split("=", 1)
        return word, _values(parser, _option(parser, name), word, session, model)
    if word.startswith("-"):
        return word, option_names(parser)
    option = _option_taking_more(parser, before)
    if option is not None:
        return word, _values(parser, option, word, session, model)
    positional = next((a for a in parser._actions if not a.option_strings), None)
    values = _values(parser, positional, word, session, model)
    if positional is None or (positional.nargs is not None and not word and not values):
        return word, option_names(parser)
    return word, values


def _words(rest: str) -> list[str]:
    """The words up to the cursor; the last is the one being typed, with its quote, maybe empty."""
    words, quote = [""], ""
    for character in rest:
        if quote or not character.isspace():
            words[-1] += character
        elif words[-1]:
            words.append("")
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
    return words


def _model_named(before: list[str]) -> str | None:
    """The model that ``--model`` names earlier in the line."""
    pairs = itertools.pairwise(before)
    return next((value for option, value in pairs if option == "--model"), None)


def _option(parser: Parser, name: str) -> argparse.Action | None:
    return next((a for a in parser._actions if name in a.option_strings), None)


def _option_taking_more(parser: Parser, before: list[str]) -> argparse.Action | None:
    """The option whose value comes next, if one does."""
    for distance, word in enumerate(reversed(before)):
        if word.startswith("-"):
            option = _option(parser, word)
            several = option is not None and option.nargs == "+"
            takes = option is not None and option.nargs is None
            return option if several or (takes and distance == 0) else None
    return None


def _values(
    parser: Parser,
    action: argparse.Action | None,
    word: str,
    session: Session,
    model: str | None,
) -> list[str]:
    kind = parser.completes.get(action.dest, "") if action is not None else ""
    try:
        values = list(_VALUES[kind](session, model)) if kind in _VALUES else []
    except (ValueError, TypeError):
        # Nothing is attached, or its variable is gone: there is nothing to offer.
        return []
    if kind == "neurons":
        return _layers_first(values, word.lstrip("\"'"))
    return [_quoted(value) for value in values]


def _layers_first(neurons: list[str], word: str) -> list[str]:
    """``layer:`` of every layer until the word names one, then that layer's neurons."""
    layers = dict.fromkeys(neuron.rpartition(":")[0] + ":" for neuron in neurons)
    if any(word.startswith(layer) for layer in layers):
        return [_quoted(neuron) for neuron in neurons]
    return [_quoted(layer).rstrip("\"'") for layer in layers]


def _quoted(value: str) -> str:
    if not re.search(r"""[\s"';]""", value):
        return value
    return f'"{value}"' if '"' not in value else f"'{value}'"


def _layers(session: Session, model: str | None) -> list[str]:
    name = session.attachment(model).variables["model"]
    modules = session.variable(name, "model").value.named_modules()
    return ["auto", "all", *(name for name, _ in modules if name)]


def _neurons(session: Session, model: str | None) -> list[str]:
    recording = session.find("recording", None, model)
    if recording is not None:
        return [f"{layer}:{unit}" for layer, unit in recording.value["neuron"].values]
    units = session.attachment(model).units
    return [f"{layer}:{unit}" for layer, count in units.items() for unit in range(count)]


def _columns(session: Session, model: str | None) -> list[str]:
    recording = session.need("recording", None, model).value
    return [str(name) for name, column in recording.variables.items() if column.dims == ("sample",)]


def _pools(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.network.pooling import POOLINGS

    return POOLINGS


def _dtypes(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.recording.passes import DTYPES

    return DTYPES


def _controls(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.correlation.controls import CONTROLS

    return [*CONTROLS, "none"]


def _parametrizations(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.visualization.parametrization import PARAMETRIZATIONS

    return PARAMETRIZATIONS


def _transforms(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.visualization.transforms import TRANSFORMS

    return TRANSFORMS


def _orders(session: Session, model: str | None) -> Iterable[str]:
    from nbcorr.correlation.table import ORDERS

    return ORDERS


_VALUES: dict[str, Callable[[Session, str | None], Iterable[str]]] = {
    "models": lambda session, model: session.names("model"),
    "attached": lambda session, model: session.attached,
    "variables": lambda session, model: session.names(),
    "recording": lambda session, model: session.names("recording"),
    "correlates": lambda session, model: session.names("correlates"),
    "layers": _layers,
    "neurons": _neurons,
    "signals": _columns,
    "strata": lambda session, model: ["auto", "none", *_columns(session, model)],
    "pools": _pools,
    "dtypes": _dtypes,
    "controls": _controls,
    "corrections": lambda session, model: ["bh", "by"],
    "orders": _orders,
    "transforms": _transforms,
    "parametrizations": _parametrizations,
    "engines": lambda session, model: ["nbcorr", "lucent"],
    "projections": lambda session, model: ["auto", "umap", "pca"],
}
