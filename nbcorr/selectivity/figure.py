"""The figure of the paper: what networks can do against how selective their neurons are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue discourages and orange encourages selectivity: told apart by all kinds of colour vision.
LESS, MORE, NEUTRAL = ("#9ecae1", "#08519c"), ("#fdbe85", "#a63603"), "#7f7f7f"


def sweep_figure(sweep: xr.Dataset) -> Figure:
    """Accuracy, and robustness to corruptions and attacks, against mean selectivity.

    One point a network, one panel a kind of test; coloured by alpha, grey for the neutral ones
    (alpha 0), and a line through the means of each alpha. Selectivity is the mean over layers, as
    the term of the loss has it.

    Parameters
    ----------
    sweep : xarray.Dataset
        As ``nc.selectivity_sweep`` gives it. Panels of tests that were not made are left out.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If this is no sweep.
    """
    missing = [name for name in ("accuracy", "selectivity") if name not in sweep]
    if missing or not {"alpha", "seed"} <= set(sweep.dims):
        raise ValueError(
            f"the Dataset is over {', '.join(map(str, sweep.dims)) or 'nothing'} and has no "
            f"{', '.join(missing) or 'alpha and seed'}; expected what nc.selectivity_sweep gives"
        )
    from matplotlib.figure import Figure

    panels = _panels(sweep)
    figure = Figure((1.2 + 3.4 * len(panels), 3.4), layout="constrained", facecolor="white")
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    selectivity = sweep["selectivity"].mean("layer", skipna=True)
    for own, (title, accuracy) in zip(axes, panels.items(), strict=True):
        _draw(own, selectivity, accuracy)
        own.set_title(title, fontsize=10, loc="left")
        own.set_xlabel("class selectivity, mean over layers")
    axes[0].set_ylabel("accuracy")
    points, words = axes[0].get_legend_handles_labels()
    figure.legend(
        points, words, title="alpha", fontsize=8, frameon=False, loc="outside right center"
    )
    return figure


def _panels(sweep: xr.Dataset) -> dict[str, xr.DataArray]:
    panels = {"clean images": sweep["accuracy"]}
    if "accuracy_corrupted" in sweep:
        kinds, severities = sweep.sizes["corruption"], sweep.sizes["severity"]
        title = f"{kinds} corruptions x {severities} severities"
        panels[title] = sweep["accuracy_corrupted"].mean(("corruption", "severity"))
    if "accuracy_attacked" in sweep:
        for attack in sweep["attack"].values:
            told = ", ".join(f"{255 * eps:.3g}" for eps in sweep["eps"].values)
            title = f"{str(attack).upper()}, eps {told} / 255"
            panels[title] = sweep["accuracy_attacked"].sel(attack=attack).mean("eps")
    return panels


def _draw(axes: Any, selectivity: xr.DataArray, accuracy: xr.DataArray) -> None:
    alphas = sorted(float(alpha) for alpha in selectivity["alpha"].values)
    for alpha, colour in zip(alphas, colours(alphas), strict=True):
        x, y = (array.sel(alpha=alpha).values for array in (selectivity, accuracy))
        axes.scatter(x, y, s=22, color=colour, label=f"{alpha:g}", zorder=2, linewidths=0)
    means = [array.mean("seed", skipna=True).sel(alpha=alphas) for array in (selectivity, accuracy)]
    axes.plot(*means, color="#444444", linewidth=0.8, zorder=1)
    axes.spines[["top", "right"]].set_visible(False)


def colours(alphas: list[float]) -> list[str]:
    """A colour for each alpha: stronger where it is further from 0, grey at 0."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    scales = {
        sign: LinearSegmentedColormap.from_list("", pair) for sign, pair in ((-1, LESS), (1, MORE))
    }
    found = []
    for alpha in alphas:
        # By rank: alphas often double from one to the next.
        beside = sorted({abs(other) for other in alphas if other * alpha > 0})
        at = beside.index(abs(alpha)) / max(1, len(beside) - 1) if alpha else 0.0
        found.append(to_hex(scales[int(np.sign(alpha))](at)) if alpha else NEUTRAL)
    return found
