"""``%neurcorr``: a line that only parses, calls a verb, keeps the result and prints the Python."""

from __future__ import annotations

import ast
import dis
import sys
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope

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
        self.in_cells = commands.build_cell()
        self.matcher = completer(self.session, self.parsers)

    # Not @output_can_be_silenced: that reads the line as Python, which a glob need not be.
    @needs_local_scope
    @line_cell_magic
    def neurcorr(
        self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None
    ) -> Any:
        """Record, correlate and look at neurons, a verb of nbcorr per subcommand.

        ::

            %neurcorr attach model --data digits --baseline heuristic
            %neurcorr record
            %neurcorr correlate
            %neurcorr top

        ``%neurcorr --help`` lists the subcommands, ``%neurcorr SUBCOMMAND --help`` the options of
        one. ``x = %neurcorr record`` gives the result; a ``;`` at the end shows nothing of it.

        ``%%neurcorr record`` on top of a cell records whatever forward passes the model makes
        while the cell runs.
        """
        line, quiet = _without_semicolon(line)
        self.session.local_ns = self.session.user_ns if local_ns is None else local_ns
        try:
            result = self._run(line, quiet) if cell is None else self._run_cell(line, cell)
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

    def _run_cell(self, line: str, cell: str) -> Any:
        parser, parsers, cell_commands = self.in_cells
        args = parse(parser, parsers, split(line))
        call = cell_commands[args.subcommand](args, self.session)
        assert call is not None, "what stands on top of a cell gives something"
        self.session.check_target(call)
        model = args.model if args.model in self.session.attached else None
        watched = None
        try:
            with call.run() as watched:
                self._execute(cell)
        finally:
            # Where the cell ended in an error, what was recorded before it is kept.
            if watched is not None and watched.count:
                self.session.keep(call, watched.recording(), model)
        result = watched.recording()
        self.session.say_line(call, call.block())
        if result.attrs["training"]:
            self.session.say("the model was in training mode; model.eval() first, to see it answer")
        return result

    def _execute(self, cell: str) -> None:
        """Run code as a cell of its own would be; errors are the caller's to see."""
        shell: Any = self.shell
        code = shell.transform_cell(cell)
        name = shell.compile.cache(code)
        statements = shell.compile.ast_parse(code, filename=name).body
        last = [statements.pop()] if statements and isinstance(statements[-1], ast.Expr) else []
        local = self.session.local_ns
        exec(shell.compile(ast.Module(statements, []), name, "exec"), shell.user_ns, local)
        # A last expression is shown.
        exec(shell.compile(ast.Interactive(last), name, "single"), shell.user_ns, local)

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
