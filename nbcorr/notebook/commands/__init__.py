"""The subcommands of ``%neurcorr``: what each is called, takes and does."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from nbcorr.notebook.commands import attaching, seeing, verbs
from nbcorr.notebook.commands.calls import Call
from nbcorr.notebook.commands.parsing import Parser
from nbcorr.notebook.commands.session import Session

Command = Callable[[argparse.Namespace, Session], Call | None]

_ABOUT = """Which neurons of your network know what the baseline does not. Every line calls the
verb of the same name, keeps the result in a variable, and prints the Python line that does the
same (after import nbcorr as nc)."""

_ABOUT_CELLS = """What happens in a cell, recorded: the rest of the cell is run as it is."""


def build() -> tuple[Parser, dict[str, Parser], dict[str, Command]]:
    """The parser of the whole line, those of the subcommands, and what each subcommand does."""
    whole = Parser(prog="%neurcorr", description=_ABOUT)
    group = whole.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", parser_class=Parser)
    parsers, commands = {}, {}
    for name, about, describe, command in _TABLE:
        parsers[name] = group.add_parser(
            name, help=about, description=f"{about[:1].upper()}{about[1:]}."
        )
        describe(parsers[name])
        commands[name] = command
    return whole, parsers, commands


def build_cell() -> tuple[Parser, dict[str, Parser], dict[str, Command]]:
    """As `build`, of what can stand in the first line of a cell, ``%%neurcorr``."""
    whole = Parser(prog="%%neurcorr", description=_ABOUT_CELLS)
    group = whole.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", parser_class=Parser)
    about = "record whatever forward passes the model makes while the cell runs"
    parser = group.add_parser("record", help=about, description=f"{about[:1].upper()}{about[1:]}.")
    _watch(parser)
    return whole, {"record": parser}, {"record": verbs.watch}


def image_shape(text: str) -> tuple[int, int, int]:
    """``C,H,W`` as three numbers."""
    try:
        channels, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; expected C,H,W") from None
    return channels, height, width


def _attach(p: Parser) -> None:
    p.add("model", metavar="MODEL", completes="models", help="variable that holds the model")
    p.add("--data", metavar="DATA", completes="variables", help="variable that holds the samples")
    p.add("--baseline", metavar="B", completes="variables", help="variable that holds system B")
    _layers_option(p)


def _layers(p: Parser) -> None:
    p.add("model", nargs="?", metavar="MODEL", completes="models", help="default: the current one")
    _name(p, "layers")


def _record(p: Parser) -> None:
    _layers_option(p)
    _pool_option(p)
    p.add("--twins", type=int, default=5, help="untrained copies (default: %(default)s)")
    p.add("--batch-size", type=int, metavar="N", help="(default: 64)")
    p.add("--store", metavar="PATH", completes="paths", help="Zarr store (default: in memory)")
    p.add(
        "--columns",
        nargs="+",
        metavar="COLUMNS",
        completes="variables",
        help="table by sample id, or names of entries of the batches (default: none)",
    )
    p.add("--seed", type=int, help="of the untrained copies (default: 0)")
    p.add("--data", metavar="DATA", completes="variables", help="default: the attached")
    p.add("--baseline", metavar="B", completes="variables", help="default: the attached")
    _model_option(p)
    _name(p, "recording")


def _watch(p: Parser) -> None:
    _layers_option(p)
    _pool_option(p)
    _model_option(p)
    _name(p, "recording")


def _correlate(p: Parser) -> None:
    p.add(
        "recording", nargs="?", metavar="RECORDING", completes="recording", help="default: latest"
    )
    p.add(
        "--signal",
        nargs="+",
        metavar="SIGNAL",
        completes="signals",
        help="columns of the recording, or a variable (default: relative_performance)",
    )
    p.add("--strata", completes="strata", help="column, variable, auto or none (default: auto)")
    p.add(
        "--controls",
        nargs="+",
        metavar="CONTROL",
        completes="controls",
        help="untrained, input, replication, or none (default: all)",
    )
    p.add(
        "--covariates",
        nargs="+",
        metavar="COLUMN",
        completes="signals",
        help="columns, or a variable, to hold fixed (default: none)",
    )
    p.add(
        "--groups",
        metavar="COLUMN",
        completes="signals",
        help="column or variable: samples that hang together (default: none)",
    )
    p.add("--pearson", action="store_true", default=None, help="also Pearson's r")
    p.add("--correction", completes="corrections", help="bh or by (default: bh)")
    p.add("--permutations", type=int, metavar="N", help="for family-wise p-values (default: 0)")
    p.add("--seed", type=int, help="of the split and the permutations (default: 0)")
    _model_option(p)
    _name(p, "correlates")


def _probe(p: Parser) -> None:
    p.add(
        "recording", nargs="?", metavar="RECORDING", completes="recording", help="default: latest"
    )
    p.add(
        "--signal",
        completes="signals",
        help="column of the recording, or variable (default: relative_performance)",
    )
    p.add("--strata", completes="strata", help="column, variable, auto or none (default: auto)")
    p.add("--groups", metavar="COLUMN", completes="signals", help="samples that hang together")
    _layers_option(p)
    p.add("--seed", type=int, help="of the folds and the control task (default: 0)")
    _model_option(p)
    _name(p, "probe")


def _top(p: Parser) -> None:
    p.add(
        "correlates",
        nargs="?",
        metavar="CORRELATES",
        completes="correlates",
        help="default: latest",
    )
    p.add("-n", type=int, help="rows (default: 20)")
    p.add("--by", completes="orders", help="what strongest means (default: auc_selection)")
    _model_option(p)
    _name(p, "table")


def _exemplars(p: Parser) -> None:
    _neurons(p)
    p.add("-k", type=int, help="exemplars of each neuron (default: 15)")
    p.add("--data", metavar="DATA", completes="variables", help="default: the attached")
    _model_option(p)
    _name(p, "exemplars")


def _render(p: Parser) -> None:
    _neurons(p)
    p.add("--steps", type=int, help="of the optimisation (default: 256)")
    p.add("--size", type=int, metavar="PIXELS", help="side of the image (default: of the data)")
    p.add("--shape", type=image_shape, metavar="C,H,W", help="of the image, instead of --size")
    p.add("--preprocess", completes="variables", help="from images in 0..1 to the model's input")
    p.add(
        "--transforms",
        completes="transforms",
        help="robust, crop (keeps single pixels) or none (default: robust)",
    )
    p.add(
        "--parametrization",
        completes="parametrizations",
        help="fourier, pixel, maco or cppn (default: fourier)",
    )
    p.add("--negative", action="store_true", default=None, help="also what they answer to least")
    p.add("--diverse", type=int, metavar="N", help="also so many different ones each (default: 1)")
    p.add("--engine", completes="engines", help="nbcorr or lucent (default: nbcorr)")
    p.add("--seed", type=int, help="(default: 0)")
    _model_option(p)
    _name(p, "visualizations")


def _dictionary(p: Parser) -> None:
    _layer_of_an_image(p)
    p.add("-k", type=int, help="neurons at each position (default: 4)")
    _name(p, "dictionary")


def _groups(p: Parser) -> None:
    _layer_of_an_image(p)
    p.add("-k", type=int, help="groups (default: 6)")
    _name(p, "groups")


def _atlas(p: Parser) -> None:
    p.add("layer", metavar="LAYER", completes="layers", help="one with maps or patches")
    p.add("--grid", type=int, help="cells along each side (default: 10)")
    p.add("--steps", type=int, help="of each picture (default: 64)")
    p.add("--projection", completes="projections", help="auto, umap or pca (default: auto)")
    p.add("--preprocess", completes="variables", help="from images in 0..1 to the model's input")
    p.add("--seed", type=int, help="(default: 0)")
    p.add("--data", metavar="DATA", completes="variables", help="default: the attached")
    _model_option(p)
    _name(p, "atlas")


def _responses(p: Parser) -> None:
    _image_options(p)
    _layers_option(p)
    _model_option(p)
    _name(p, "responses")


def _layer_of_an_image(p: Parser) -> None:
    p.add("layer", metavar="LAYER", completes="layers", help="one with maps or patches")
    _image_options(p)
    p.add(
        "--target",
        type=int,
        nargs="+",
        metavar="CLASS",
        help="what is contributed to this class, or to the first rather than the second",
    )
    p.add("--preprocess", completes="variables", help="from images in 0..1 to the model's input")
    _model_option(p)


def _image_options(p: Parser) -> None:
    p.add("--image", metavar="IMAGE", completes="variables", help="variable that holds one image")
    p.add(
        "--sample", type=int, default=0, metavar="N", help="else this one of the data (default: 0)"
    )
    p.add("--data", metavar="DATA", completes="variables", help="default: the attached")


def _explore(p: Parser) -> None:
    _results(p)
    _name(p, "explorer")


def _report(p: Parser) -> None:
    p.add("path", metavar="PATH", completes="paths", help="the HTML file to write")
    _results(p)
    _name(p, "page")


def _detach(p: Parser) -> None:
    p.add(
        "model", nargs="?", metavar="MODEL", completes="attached", help="default: the current one"
    )


def _nothing(p: Parser) -> None:
    pass


def _layers_option(p: Parser) -> None:
    p.add(
        "--layers",
        nargs="+",
        action="extend",
        metavar="GLOB",
        completes="layers",
        help="names, globs, kinds, all or auto (default: auto, the activation modules)",
    )


def _pool_option(p: Parser) -> None:
    p.add(
        "--pool",
        nargs="+",
        completes="pools",
        help="how a map becomes one number, one way or several (default: mean)",
    )
    p.add("--dtype", completes="dtypes", help="float32 or float16 (default: float32)")


def _neurons(p: Parser) -> None:
    p.add(
        "neurons",
        nargs="*",
        metavar="NEURON",
        completes="neurons",
        help=f"layer:unit (default: the top {verbs.TOP_NEURONS} of the correlates)",
    )


def _results(p: Parser) -> None:
    p.add("--recording", metavar="RECORDING", completes="recording", help="default: the latest")
    p.add("--correlates", metavar="CORRELATES", completes="correlates", help="default: the latest")
    _model_option(p)


def _model_option(p: Parser) -> None:
    p.add("--model", metavar="MODEL", completes="attached", help="default: the last attached")


def _name(p: Parser, default: str) -> None:
    p.add("--name", "-o", metavar="NAME", help=f"variable for the result (default: {default})")


_TABLE: list[tuple[str, str, Callable[[Parser], None], Command]] = [
    ("attach", "remember a model, its data and its baseline", _attach, attaching.attach),
    ("layers", "show the layers of a model", _layers, verbs.layers),
    ("record", "record every neuron over the data", _record, verbs.record),
    ("correlate", "correlate the neurons with a signal", _correlate, verbs.correlate),
    ("probe", "ask several neurons together", _probe, verbs.probe),
    ("top", "show the strongest correlates", _top, verbs.top),
    ("exemplars", "find the samples that drive neurons most", _exemplars, verbs.exemplars),
    ("render", "make the images that drive neurons most", _render, verbs.render),
    ("dictionary", "ask a layer about each place of an image", _dictionary, seeing.dictionary),
    ("groups", "find neurons that go together on an image", _groups, seeing.groups),
    ("atlas", "map what a layer says of many images", _atlas, seeing.atlas),
    ("responses", "find the neurons that respond to an image", _responses, seeing.responses),
    ("explore", "open the explorer", _explore, verbs.explore),
    ("report", "write one self-contained HTML page", _report, verbs.report),
    ("status", "say what is attached", _nothing, attaching.status),
    ("detach", "forget a model", _detach, attaching.detach),
]
