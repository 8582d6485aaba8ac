"""The subcommands that are about the session: attach, status, detach."""

from __future__ import annotations

from argparse import Namespace

from nbcorr.notebook.commands.calls import Ref
from nbcorr.notebook.commands.session import (
    Attachment,
    Session,
    hook_count,
    look,
    remembered,
)

_NAMES_SHOWN = 6


def attach(args: Namespace, session: Session) -> None:
    """Remember a model and what belongs to it; the last one attached is the current one."""
    refs = {"model": session.variable(args.model, "model")}
    for role in ("data", "baseline"):
        if getattr(args, role) is not None:
            refs[role] = session.variable(getattr(args, role))
    attachment = Attachment({role: ref.text for role, ref in refs.items()}, args.layers)
    attachment.seen = {role: remembered(ref.value) for role, ref in refs.items()}
    look(attachment, refs["model"], refs.get("data"))
    before = session.attached.pop(args.model, None)
    if before is not None and before.seen["model"]() is refs["model"].value:
        attachment.results, attachment.recordings = before.results, before.recordings
    session.attached[args.model] = attachment
    session.current = args.model
    session.say(f"attached {_described(attachment, refs['model'])}")


def status(args: Namespace, session: Session) -> None:
    """What is attached, what was recorded with it, and that nothing is left hooked."""
    if not session.attached:
        session.say("nothing is attached; first: %neurcorr attach MODEL --data DATA")
    for name, attachment in session.attached.items():
        try:
            model = session.model(attachment)
        except (ValueError, TypeError) as error:
            session.say(f"{name}: {error}")
            continue
        current = " (current)" if name == session.current and len(session.attached) > 1 else ""
        session.say(f"{_described(attachment, model)}{current}")
        session.say(f"    recordings: {', '.join(_recordings(attachment, session)) or 'none yet'}")
        session.say(f"    hooks: {_hooks(attachment, model)}")


def detach(args: Namespace, session: Session) -> None:
    """Forget a model; its results stay in their variables."""
    name = args.model or session.current
    session.attachment(name)
    del session.attached[str(name)]
    if name == session.current:
        session.current = next(reversed(session.attached), None)
    now = f"; current is now {session.current}" if session.current else ""
    session.say(f"detached {name}{now}")


def _described(attachment: Attachment, model: Ref) -> str:
    chosen = list(attachment.units)
    shown = ", ".join([*chosen[:_NAMES_SHOWN], *["…"] * (len(chosen) > _NAMES_SHOWN)])
    parts = [f"{len(chosen)} of {attachment.total} layers ({shown})"]
    if min(attachment.units.values(), default=-1) >= 0:
        least = "at least " if attachment.reused else ""
        parts.append(f"{least}{sum(attachment.units.values())} neurons")
    parts += [
        f"{role} {attachment.variables[role]}"
        for role in ("data", "baseline")
        if role in attachment.variables
    ]
    return f"{model.text}, a {type(model.value).__name__}: {', '.join(parts)}"


def _recordings(attachment: Attachment, session: Session) -> list[str]:
    held = {**session.user_ns, **session.local_ns}
    return [
        f"{name} ({seen().sizes['sample']} samples x {seen().sizes['neuron']} neurons)"
        for name, seen in attachment.recordings.items()
        if seen() is not None and held.get(name) is seen()
    ]


def _hooks(attachment: Attachment, model: Ref) -> str:
    now = hook_count(model.value)
    if now == attachment.hooks:
        return "none left on it" if now == 0 else f"{now}, as when it was attached"
    return f"{now}, and {attachment.hooks} when it was attached"
