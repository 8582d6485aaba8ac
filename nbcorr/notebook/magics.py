"""``%neurcorr``: a line that only parses, calls a verb, keeps the result and prints the Python."""

from __future__ import annotations

import dis
import sys
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope

from nbcorr.notebook import commands
from nbcorr.notebook.commands.calls import Call, printable
from nbcorr.notebook.commands.parsing import HelpShown, parse, split
from nbcorr.notebook.commands.session import Session
from nbcorr.notebook.completion import completer


@magics_class
class NeurcorrMagics(Magics):
    """The magics of one shell; all their state is in ``session``."""

    def __init__(self, shell: Any):
        super().__init__(shell)
        self.session = Session(shell.user_ns, shell.user_ns_hidden)
        self.parser, self.parsers, self.commands = commands.build()
        self.matcher = completer(self.session, self.parsers)

    # Not @output_can_be_silenced: that reads the line as Python, which a glob need not be.
    @needs_local_scope
    @line_magic
    def neurcorr(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Record, correlate and look at neurons, a verb of nbcorr per subcommand.

        ::

            %neurcorr attach model --data digits --baseline heuristic
            %neurcorr record
            %neurcorr correlate
            %neurcorr top

        ``%neurcorr --help`` lists the subcommands, ``%neurcorr SUBCOMMAND --help`` the options of
        one. ``x = %neurcorr record`` gives the result; a ``;`` at the end shows nothing of it.
        """
        line, quiet = _without_semicolon(line)
        self.session.local_ns = self.session.user_ns if local_ns is None else local_ns
        try:
            result = self._run(line, quiet)
        except HelpShown:
            return None
        except Exception as error:
            if not is_input_error(error):
                raise
            raise UsageError(_message(error)) from None
        finally:
            self.session.local_ns = self.session.user_ns
        return None if quiet else result

    def _run(self, line: str, quiet: bool) -> Any:
        args = parse(self.parser, self.parsers, split(line))
        call = self.commands[args.subcommand](args, self.session)
        if call is None:
            return None
        self.session.check_target(call)
        model = args.model if args.model in self.session.attached else None
        result = self._called(call, model)
        self.session.keep(call, result, model)
        self.session.say_line(call)
        if call.show is not None and not quiet:
            call.show(result)
        return result

    def _called(self, call: Call, model: str | None) -> Any:
        """What the verb gives; where Ctrl-C cut it short, what there is kept and the cell ended."""
        try:
            result = call.run()
        except KeyboardInterrupt as interrupt:
            partial = getattr(interrupt, "recording", None)
            if partial is None:
                raise
            done = str(interrupt).split(";")[0]
        else:
            if not getattr(result, "attrs", {}).get("interrupted"):
                return result
            partial, done = result, f"interrupted at {result.sizes['neuron']} neurons"
        self.session.keep(call, partial, model)
        raise UsageError(f"{done}; they are kept as {call.target}")


def is_input_error(error: Exception) -> bool:
    """Whether an exception tells the user what was wrong with what they gave.

    So it is where nbcorr itself raises, in a ``raise`` statement, an exception about a value or a
    name, and where the system refuses nbcorr a file. What the user's model, data or baseline
    raises, or a library beneath, is a fault in a program, and its traceback says where.
    """
    places = _places(error)
    if isinstance(error, OSError):
        while places and _package(places[-1]) in sys.stdlib_module_names:
            places.pop()
        return bool(places) and _package(places[-1]) == "nbcorr"
    if not places or not isinstance(error, ValueError | TypeError | LookupError | ImportError):
        return False
    instruction = places[-1].tb_frame.f_code.co_code[places[-1].tb_lasti]
    return _package(places[-1]) == "nbcorr" and dis.opname[instruction] == "RAISE_VARARGS"


def _places(error: Exception) -> list[TracebackType]:
    """The traceback of an exception, from the caller to where it was raised."""
    places, place = [], error.__traceback__
    while place is not None:
        places.append(place)
        place = place.tb_next
    return places


def _package(place: TracebackType) -> str:
    return str(place.tb_frame.f_globals.get("__name__", "")).split(".")[0]


def _message(error: Exception) -> str:
    # str() of a KeyError is the repr of its message.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return printable(" ".join(str(text).split()))


def _without_semicolon(line: str) -> tuple[str, bool]:
    stripped = line.rstrip()
    return (stripped[:-1], True) if stripped.endswith(";") else (stripped, False)
