"""What one shell's ``%neurcorr`` remembers: the attached models, and the names of their results."""

from __future__ import annotations

import dataclasses
import keyword
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from nbcorr.network.names import unknown
from nbcorr.notebook.commands.calls import Call, Ref, printable
from nbcorr.notebook.commands.kinds import KINDS

Remembered = Callable[[], Any]


@dataclasses.dataclass
class Attachment:
    """A model the user works on, with what later lines need not repeat.

    ``variables`` are names in the user's namespace by role (model, data, baseline), ``seen`` what
    they held. ``units`` counts the units of each chosen layer, -1 where unknown, and ``total`` the
    layers there are; ``reused`` tells that a chosen one runs more than once and so has more.
    ``results`` names the latest result of each kind, ``recordings`` holds all.
    """

    variables: dict[str, str]
    layers: list[str] | None = None
    total: int = 0
    reused: bool = False
    units: dict[str, int] = dataclasses.field(default_factory=dict)
    hooks: int = 0
    seen: dict[str, Remembered] = dataclasses.field(default_factory=dict)
    results: dict[str, str] = dataclasses.field(default_factory=dict)
    recordings: dict[str, Remembered] = dataclasses.field(default_factory=dict)


class Session:
    """The state of the magics of one shell. Variables are looked up anew every time."""

    def __init__(self, user_ns: MutableMapping[str, Any], hidden: MutableMapping[str, Any]):
        self.user_ns, self.hidden = user_ns, hidden
        self.local_ns: MutableMapping[str, Any] = user_ns
        self.attached: dict[str, Attachment] = {}
        self.current: str | None = None
        self._unattached = Attachment({})
        self._import_said = False

    # variables

    def names(self, kind: str = "any") -> list[str]:
        """The user's variables of a kind."""
        everything = {**self.user_ns, **self.local_ns}
        return [
            name
            for name, value in everything.items()
            if not name.startswith("_") and name not in self.hidden and KINDS[kind].test(value)
        ]

    def variable(self, name: str, kind: str = "any") -> Ref:
        """A variable of the user, or an attribute of one (``setting.model``).

        Raises
        ------
        ValueError
            If there is none of that name; the nearest is offered.
        TypeError
            If it is not of this kind.
        """
        head, *attributes = name.split(".")
        namespace = self.local_ns if head in self.local_ns else self.user_ns
        if head not in namespace:
            raise ValueError(unknown("variable", head, self.names(kind) or self.names()))
        value = namespace[head]
        for attribute in attributes:
            if not hasattr(value, attribute):
                public = [a for a in dir(value) if not a.startswith("_")]
                raise ValueError(unknown("attribute", attribute, public))
            value = getattr(value, attribute)
        if not KINDS[kind].test(value):
            fitting = ", ".join(self.names(kind)[:8])
            raise TypeError(
                f"{name!r} is of type {type(value).__name__}; expected {KINDS[kind].words}"
                + (f"; there is {fitting}" if fitting else "")
            )
        return Ref(name, value)

    # attached models

    def attachment(self, name: str | None = None) -> Attachment:
        """The attached model of that name, or the current one."""
        if not self.attached:
            raise ValueError("no model is attached; first: %neurcorr attach MODEL --data DATA")
        name = name or self.current
        if name not in self.attached:
            raise ValueError(unknown("attached model", name, self.attached))
        return self.attached[name]

    def used(self, attachment: Attachment, role: str) -> Ref | None:
        """What an attachment's variable holds now; said where that has changed."""
        if role not in attachment.variables:
            return None
        name = attachment.variables[role]
        ref = self.variable(name, "model" if role == "model" else "any")
        if attachment.seen[role]() is not ref.value:
            self.say(f"{name} holds another object than when it was attached: using what it is now")
            if role == "model":
                look(attachment, ref, self.used(attachment, "data"))
                attachment.recordings = {}
            attachment.seen[role] = remembered(ref.value)
        return ref

    def model(self, attachment: Attachment) -> Ref:
        """An attachment's model."""
        ref = self.used(attachment, "model")
        assert ref is not None, "an attachment always has a model"
        return ref

    # results

    def find(self, kind: str, name: str | None, model: str | None = None) -> Ref | None:
        """A result by name; without one the latest of the model, or the one of the usual name."""
        if name is not None:
            return self.variable(name, kind)
        mine = self._results_of(model)
        for candidate in (mine.results.get(kind), kind):
            if candidate is None or self._belongs_elsewhere(candidate, kind, mine):
                continue
            if candidate in self.names(kind):
                return self.variable(candidate, kind)
        return None

    def need(self, kind: str, name: str | None, model: str | None = None) -> Ref:
        """As `find`, but its absence is an error that says which line makes one."""
        found = self.find(kind, name, model)
        if found is None:
            verb = {"recording": "record", "correlates": "correlate"}[kind]
            raise ValueError(f"no {kind} yet; %neurcorr {verb} makes {KINDS[kind].it}")
        return found

    def check_target(self, call: Call) -> None:
        """A ValueError where keeping the result would be impossible, or lose something else."""
        if call.name is not None:
            if not call.name.isidentifier() or keyword.iskeyword(call.name):
                raise ValueError(f"{call.name!r} cannot be the name of a variable")
        elif call.kind in self.user_ns and not KINDS[call.kind].test(self.user_ns[call.kind]):
            held = type(self.user_ns[call.kind]).__name__
            raise ValueError(
                f"the variable {call.kind!r} holds a {held}; choose another name with --name"
            )

    def keep(self, call: Call, result: Any, model: str | None = None) -> None:
        """Put a result into the user's namespace and remember its name."""
        self.user_ns[call.target] = result
        mine = self._results_of(model)
        mine.results[call.kind] = call.target
        if call.kind == "recording":
            mine.recordings[call.target] = remembered(result)
        if self.local_ns is not self.user_ns and call.target in self.local_ns:
            self.say(
                f"the result is the global {call.target}; inside a function write "
                f"{call.target} = %neurcorr {call.verb} …"
            )

    # words

    def say(self, text: str) -> None:
        """One line to the user; a comment, so that what is printed stays Python."""
        print(f"# {printable(text)}")

    def say_line(self, call: Call, text: str = "") -> None:
        """The Python that does the same, with the import it needs the first time."""
        import nbcorr

        known = self._import_said or self.local_ns.get("nc", self.user_ns.get("nc")) is nbcorr
        self._import_said = True
        print((text or call.line()) + ("" if known else "  # import nbcorr as nc"))

    def _results_of(self, model: str | None) -> Attachment:
        if model is None and self.current is None:
            return self._unattached
        return self.attachment(model)

    def _belongs_elsewhere(self, name: str, kind: str, mine: Attachment) -> bool:
        others = (a for a in self.attached.values() if a is not mine)
        return mine.results.get(kind) != name and any(a.results.get(kind) == name for a in others)


def remembered(value: Any) -> Remembered:
    """Something that gives the value back, without keeping it alive where Python allows."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def look(attachment: Attachment, model: Ref, data: Ref | None) -> None:
    """Resolve the chosen layers and count their units, running one sample where there is one."""
    import nbcorr
    from nbcorr.network.layers import resolve_layers

    chosen = resolve_layers(model.value, attachment.layers or "auto")
    example = None if data is None or isinstance(data.value, Iterator) else data.value
    table = nbcorr.layers(model.value, example)
    units = dict(zip(table["layer"].values.tolist(), table["units"].values.tolist(), strict=True))
    calls = dict(zip(table["layer"].values.tolist(), table["calls"].values.tolist(), strict=True))
    attachment.total = len(units)
    attachment.units = {name: units.get(name, -1) for name in chosen}
    attachment.reused = any(calls.get(name, 1) > 1 for name in chosen)
    attachment.hooks = hook_count(model.value)


def hook_count(model: Any) -> int:
    """How many hooks of any kind are on a model and its modules."""
    return sum(sum(map(len, _hooks(module))) for module in model.modules())


def _hooks(module: Any) -> Iterator[Any]:
    for name in (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    ):
        yield getattr(module, name, ())
