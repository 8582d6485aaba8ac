"""The subcommands that are one verb each: arguments to a `Call`, nothing computed here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from nbcorr.notebook.commands.calls import Call, Ref, given, printable
from nbcorr.notebook.commands.session import Attachment, Session

#: How many of the top correlates stand in where no neuron is named.
TOP_NEURONS = 5


def layers(args: Namespace, session: Session) -> Call:
    """The table of a model's layers, with shapes where there is data to run one sample of."""
    if args.model is not None and args.model not in session.attached:
        positional = [session.variable(args.model, "model")]
    else:
        attachment = session.attachment(args.model)
        positional = [session.model(attachment)]
        data = session.used(attachment, "data")
        if data is not None and not isinstance(data.value, Iterator):
            positional.append(data)
    return Call("layers", positional, {}, "layers", args.name)


def record(args: Namespace, session: Session) -> Call:
    """Samples through the model."""
    attachment = session.attachment(args.model)
    baseline = _variable(args, session, attachment, "baseline")
    options = given(
        layers=_one_or_more(args.layers or attachment.layers or ["auto"]),
        pool=_one_or_more(args.pool) if args.pool else None,
        baseline=baseline,
        store=args.store,
        columns=_table(args.columns, session),
        twins=args.twins,
        batch_size=args.batch_size,
        dtype=args.dtype,
        seed=args.seed,
    )
    positional = [session.model(attachment), data_of(args, session, attachment)]
    return Call("record", positional, options, "recording", args.name)


def watch(args: Namespace, session: Session) -> Call:
    """The forward passes that the model makes in a cell."""
    attachment = session.attachment(args.model)
    options = given(
        layers=_one_or_more(args.layers or attachment.layers or ["auto"]),
        pool=_one_or_more(args.pool) if args.pool else None,
        dtype=args.dtype,
    )
    return Call("watch", [session.model(attachment)], options, "recording", args.name)


def correlate(args: Namespace, session: Session) -> Call:
    """Every neuron of a recording with a signal."""
    recording = session.need("recording", args.recording, args.model)
    options = given(
        signal=_columns(args.signal, recording, session),
        strata=_column(args.strata, recording, session),
        controls=args.controls,
        covariates=_columns(args.covariates, recording, session),
        groups=_column(args.groups, recording, session),
        pearson=args.pearson,
        correction=args.correction,
        permutations=args.permutations,
        seed=args.seed,
    )
    if args.strata == "none":
        options["strata"] = None
    if args.controls == ["none"]:
        options["controls"] = []
    return Call("correlate", [recording], options, "correlates", args.name, _say_sentence)


def probe(args: Namespace, session: Session) -> Call:
    """Several neurons together against a signal."""
    recording = session.need("recording", args.recording, args.model)
    options = given(
        signal=_column(args.signal, recording, session),
        strata=_column(args.strata, recording, session),
        groups=_column(args.groups, recording, session),
        layers=_one_or_more(args.layers) if args.layers else None,
        seed=args.seed,
    )
    if args.strata == "none":
        options["strata"] = None
    return Call("probe", [recording], options, "probe", args.name, _say_sentence)


def top(args: Namespace, session: Session) -> Call:
    """The table of the strongest correlates."""
    correlates = session.need("correlates", args.correlates, args.model)
    return Call("top", [correlates], given(n=args.n, by=args.by), "table", args.name)


def exemplars(args: Namespace, session: Session) -> Call:
    """The samples that drive neurons most."""
    attachment = session.attachment(args.model)
    model = session.model(attachment)
    neurons = _neurons(args, session, model)
    positional = [model, data_of(args, session, attachment), neurons]
    options = given(k=args.k)
    return Call("exemplars", positional, options, "exemplars", args.name, _shows(None))


def render(args: Namespace, session: Session) -> Call:
    """The images that maximise neurons."""
    attachment = session.attachment(args.model)
    model = session.model(attachment)
    neurons = _neurons(args, session, model)
    exemplars = session.find("exemplars", None, args.model)
    options = given(
        shape=_shape(args, session, attachment),
        steps=args.steps,
        preprocess=preprocess_of(args, session),
        transforms=args.transforms,
        parametrization=args.parametrization,
        negative=args.negative,
        diverse=args.diverse,
        engine=args.engine,
        exemplars=exemplars,
        seed=args.seed,
    )
    return Call(
        "visualize", [model, neurons], options, "visualizations", args.name, _shows(exemplars)
    )


def explore(args: Namespace, session: Session) -> Call:
    """The linked explorer."""
    recording = session.need("recording", args.recording, args.model)
    correlates = session.find("correlates", args.correlates, args.model)
    positional = [recording] if correlates is None else [recording, correlates]
    options = pictures_of(args, session)
    if session.attached:
        attachment = session.attachment(args.model)
        model = session.model(attachment)
        if _is_of(recording, model):
            options |= given(model=model, data=session.used(attachment, "data"))
        else:
            session.say(f"without {model.text}: {recording.text} is of another, or other weights")
    return Call("explore", positional, options, "explorer", args.name)


def report(args: Namespace, session: Session) -> Call:
    """One HTML page."""
    recording = session.need("recording", args.recording, args.model)
    correlates = session.need("correlates", args.correlates, args.model)
    positional = [args.path, recording, correlates]
    return Call("report", positional, pictures_of(args, session), "page", args.name)


def _say_sentence(result: Any) -> None:
    """What was found, in words: a Dataset shows its attributes folded."""
    print(printable(result.attrs["sentence"]))


def _shows(exemplars: Ref | None) -> Callable[[Any], None]:
    """What displays pictures once they are made: visualisations, or exemplars alone."""

    def show(result: Any) -> None:
        from nbcorr.notebook.commands import gallery

        if "reached" in result:
            gallery.show(result, None if exemplars is None else exemplars.value)
        else:
            gallery.show(None, result)

    return show


def _variable(args: Namespace, session: Session, attachment: Attachment, role: str) -> Ref | None:
    """The variable this line names for a role, else the attached one."""
    named = getattr(args, role)
    return session.variable(named) if named else session.used(attachment, role)


def data_of(args: Namespace, session: Session, attachment: Attachment) -> Ref:
    """The data this line names, else the attached."""
    data = _variable(args, session, attachment, "data")
    if data is None:
        name = attachment.variables["model"]
        raise ValueError(
            f"no data is attached; %neurcorr attach {name} --data DATA, or --data here"
        )
    return data


def _one_or_more(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _column(name: str | None, recording: Ref, session: Session) -> Any:
    """A column of the recording by name, else a variable of the user that holds one."""
    if name in (None, "auto", "none") or name in recording.value.variables:
        return name
    return session.variable(name) if name in session.names() else name


def _table(names: list[str] | None, session: Session) -> Any:
    """A table of the user's by its variable, else the names of entries of the batches."""
    if names is None:
        return None
    if len(names) == 1 and names[0] in session.names():
        return session.variable(names[0])
    return names


def _columns(names: list[str] | None, recording: Ref, session: Session) -> Any:
    """One column or variable, or the names of several columns."""
    if names is None:
        return None
    return names if len(names) > 1 else _column(names[0], recording, session)


def _neurons(args: Namespace, session: Session, model: Ref) -> Any:
    """The neurons that were named, else the top ones of the model's correlates."""
    if args.neurons:
        return args.neurons
    correlates = session.find("correlates", None, args.model)
    if correlates is None:
        raise ValueError("name neurons, like features.3:17; there are no correlates to take from")
    if not _is_of(correlates, model):
        raise ValueError(
            f"{correlates.text} was made with another model, or other weights, than {model.text}; "
            "name neurons, or record and correlate again"
        )
    import nbcorr

    table = nbcorr.top(correlates.value, n=TOP_NEURONS)
    return Ref(f"nc.top({correlates.text}, n={TOP_NEURONS}).neurons", table.neurons)


def _is_of(result: Ref, model: Ref) -> bool:
    """Whether a result can have come from this model: as far as it tells, it has its weights."""
    from nbcorr.recording.record import fingerprint

    return result.value.attrs.get("fingerprint") in (None, fingerprint(model.value))


def _shape(args: Namespace, session: Session, attachment: Attachment) -> tuple[int, ...] | None:
    if args.shape is not None:
        return args.shape
    found = _image_shape(session.used(attachment, "data"))
    if args.size is None:
        return found
    return ((found or (3,))[0], args.size, args.size)


def _image_shape(data: Ref | None) -> tuple[int, ...] | None:
    """Channels, height and width of the attached images; None where there are none."""
    if data is None or isinstance(data.value, Iterator):
        return None
    from nbcorr.network.batches import batches

    inputs = next(batches(data.value, batch_size=1)).inputs
    shape = tuple(getattr(inputs, "shape", ()))
    return shape[1:] if len(shape) == 4 else None


def preprocess_of(args: Namespace, session: Session) -> Ref | None:
    """The function that brings images to the model's input, where this line names one."""
    return session.variable(args.preprocess) if args.preprocess else None


def pictures_of(args: Namespace, session: Session) -> dict[str, Ref]:
    """The latest exemplars and visualisations of the model."""
    return given(
        exemplars=session.find("exemplars", None, args.model),
        visualizations=session.find("visualizations", None, args.model),
    )
