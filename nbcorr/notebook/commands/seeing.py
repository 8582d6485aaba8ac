"""The subcommands that look into one layer: a semantic dictionary, groups, an atlas, responses."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

from nbcorr.notebook.commands.calls import Call, Ref, given
from nbcorr.notebook.commands.session import Attachment, Session
from nbcorr.notebook.commands.verbs import data_of, pictures_of, preprocess_of


def dictionary(args: Namespace, session: Session) -> Call:
    """The neurons that answer most at each position of one image."""
    attachment = session.attachment(args.model)
    positional = [session.model(attachment), _image(args, session, attachment), args.layer]
    options = _named(args, session) | given(k=args.k) | _target(args, of="attribution")
    return Call("SemanticDictionary", positional, options, "dictionary", args.name)


def groups(args: Namespace, session: Session) -> Call:
    """The neurons of a layer that go together on one image."""
    attachment = session.attachment(args.model)
    positional = [session.model(attachment), _image(args, session, attachment), args.layer]
    options = _named(args, session) | given(k=args.k) | _target(args)
    return Call("NeuronGroups", positional, options, "groups", args.name)


def atlas(args: Namespace, session: Session) -> Call:
    """What a layer says of many images, on one map."""
    attachment = session.attachment(args.model)
    model, data = session.model(attachment), data_of(args, session, attachment)
    options = given(
        grid=args.grid,
        steps=args.steps,
        projection=args.projection,
        preprocess=preprocess_of(args, session),
        seed=args.seed,
    )
    return Call("activation_atlas", [model, data, args.layer], options, "atlas", args.name, _map)


def responses(args: Namespace, session: Session) -> Call:
    """The neurons that respond most to one picture."""
    attachment = session.attachment(args.model)
    positional = [session.model(attachment), _image(args, session, attachment)]
    options = given(
        layers=_layers(args, attachment),
        recording=session.find("recording", None, args.model),
    )
    return Call("responses", positional, options, "responses", args.name, _strongest)


def _named(args: Namespace, session: Session) -> dict[str, Any]:
    found = pictures_of(args, session)
    return given(
        pictures=found.get("visualizations"),
        exemplars=found.get("exemplars"),
        preprocess=preprocess_of(args, session),
    )


def _target(args: Namespace, **with_it: Any) -> dict[str, Any]:
    """A class, or one and the one it is told from, as for ``nc.attribute``."""
    if args.target is None:
        return {}
    target = args.target[0] if len(args.target) == 1 else tuple(args.target)
    return {"target": target} | with_it


def _layers(args: Namespace, attachment: Attachment) -> Any:
    layers = args.layers or attachment.layers
    return layers[0] if layers is not None and len(layers) == 1 else layers


def _image(args: Namespace, session: Session, attachment: Attachment) -> Ref:
    """The image this line names, else a sample of the attached data by its place."""
    if args.image is not None:
        return session.variable(args.image)
    return sample_of(data_of(args, session, attachment), args.sample)


def sample_of(data: Ref, place: int) -> Ref:
    """One sample of data that can be indexed, and the expression that gives it.

    Raises
    ------
    ValueError
        If the data cannot be indexed, or have fewer samples.
    """
    text, value = data
    if "image" in getattr(value, "data_vars", ()):
        text, value = f'{text}["image"].values', value["image"].values
    elif isinstance(value, tuple | list) and np.ndim(value[0]) > 1:
        text, value = f"{text}[0]", value[0]
    if isinstance(value, Iterator) or not hasattr(value, "__getitem__"):
        raise ValueError(
            f"{text} is a {type(value).__name__}, which has no samples by number; expected "
            "--image with a variable that holds one"
        )
    if not 0 <= place < len(value):
        raise ValueError(f"--sample is {place}; {text} has samples 0 to {len(value) - 1}")
    text, one = f"{text}[{place}]", value[place]
    return Ref(f"{text}[0]", one[0]) if isinstance(one, tuple | list) else Ref(text, one)


def _map(result: Any) -> None:
    from IPython.display import display

    import nbcorr

    display(nbcorr.ActivationAtlas(result))


def _strongest(result: Any) -> None:
    print(result.isel(neuron=slice(10)).to_dataframe().to_string())
