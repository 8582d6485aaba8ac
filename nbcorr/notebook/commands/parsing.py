"""The line after ``%neurcorr``, argparse style: help as text, errors as one sentence."""

from __future__ import annotations

import argparse
import functools
import shlex
from typing import Any, NoReturn

from nbcorr.network.names import unknown


class HelpShown(Exception):
    """``--help`` was asked for and has been printed."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving Python.

    ``completes`` tells, by argument, what its values are ("models", "layers" …), for completion.
    """

    def __init__(self, **options: Any):
        layout = functools.partial(argparse.HelpFormatter, max_help_position=28)
        super().__init__(allow_abbrev=False, formatter_class=layout, **options)
        self.completes: dict[str, str] = {}

    def add(self, *names: str, completes: str = "", **options: Any) -> None:
        """Add an argument and say what its values are."""
        self.completes[self.add_argument(*names, **options).dest] = completes

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Called by argparse when it has printed the help."""
        raise HelpShown

    def error(self, message: str) -> NoReturn:
        """A ValueError with argparse's own sentence."""
        raise ValueError(f"{message}; see {self.prog} --help")


def split(line: str) -> list[str]:
    """The words of a line: quotes group, backslashes are themselves.

    Raises
    ------
    ValueError
        If a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise ValueError(f"a quote is not closed in {line.strip()!r}") from None


def parse(parser: Parser, subcommands: dict[str, Parser], words: list[str]) -> argparse.Namespace:
    """The arguments of a line.

    Raises
    ------
    ValueError
        If a subcommand, option or value does not fit; the nearest one is named.
    HelpShown
        After ``--help``.
    """
    if not words:
        parser.parse_args(["--help"])
    if not words[0].startswith("-") and words[0] not in subcommands:
        raise ValueError(unknown("subcommand", words[0], subcommands))
    arguments, extra = parser.parse_known_args(words)
    if extra:
        raise ValueError(_too_much(subcommands.get(words[0], parser), extra))
    return arguments


def option_names(parser: Parser) -> list[str]:
    """The options of a parser, long forms first."""
    names = [name for action in parser._actions for name in action.option_strings]
    return sorted(names, key=lambda name: (not name.startswith("--"), names.index(name)))


def _too_much(parser: Parser, extra: list[str]) -> str:
    options = [word for word in extra if word.startswith("-")]
    if options:
        return unknown("option", options[0].split("=")[0], option_names(parser))
    return f"{extra[0]!r} is one argument too many; see {parser.prog} --help"
