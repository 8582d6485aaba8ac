"""The card of one neuron as HTML: what it sees, its four cells, and the checks it passed."""

from __future__ import annotations

import html
import math

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import RUNGS, ladder
from nbcorr.correlation.outcomes import CELLS
from nbcorr.correlation.table import rounded, rounded_p
from nbcorr.network.neurons import neuron_label
from nbcorr.notebook import pictures

SHOWN_EXEMPLARS = 8

# Colours only from the theme, and Okabe and Ito's palette where two things must differ.
STYLE = """<style>
.nbcorr-card{font:13px/1.45 var(--jp-ui-font-family,system-ui);color:var(--jp-ui-font-color1,#222);
 max-width:560px}
.nbcorr-card h3{font:600 15px/1.3 var(--jp-code-font-family,monospace);margin:0 0 6px}
.nbcorr-card .pictures{display:grid;grid-template-columns:repeat(auto-fill,64px);gap:6px;
 align-items:start;margin:8px 0}
.nbcorr-card figure{margin:0}
.nbcorr-card figure.seen{grid-area:span 2/span 2}
.nbcorr-card img{width:100%;display:block;border-radius:3px;image-rendering:pixelated;
 border:1px solid var(--jp-border-color2,#ccc);box-sizing:border-box}
.nbcorr-card figcaption,.nbcorr-card .quiet{font-size:11px;color:var(--jp-ui-font-color2,#666);
 overflow-wrap:anywhere}
.nbcorr-card ul{list-style:none;margin:6px 0;padding:0;display:flex;flex-wrap:wrap;gap:6px}
.nbcorr-card li{border:1px solid var(--jp-border-color1,#bbb);border-radius:11px;padding:0 9px;
 font-size:12px}
.nbcorr-card li.passed{border-color:#009E73;box-shadow:inset 0 0 0 1px #009E73}
.nbcorr-card li.missed{color:var(--jp-ui-font-color2,#666);border-style:dashed}
.nbcorr-card svg text{font:11px var(--jp-ui-font-family,system-ui);
 fill:var(--jp-ui-font-color1,#222)}
</style>"""


def card_html(
    neuron: tuple[str, int],
    correlates: xr.Dataset,
    activation: np.ndarray,
    cell: np.ndarray | None,
    exemplars: xr.Dataset | None = None,
    visualizations: xr.Dataset | None = None,
    note: str = "",
) -> str:
    """The card of one neuron.

    Parameters
    ----------
    neuron : (layer, unit)
    correlates : xarray.Dataset
        Holding this neuron.
    activation : array, shape (n_samples,)
    cell : array of str, shape (n_samples,), optional
        The cell of the 2x2 table of each sample.
    exemplars, visualizations : xarray.Dataset, optional
        What is known of this neuron; other neurons in them are ignored.
    note : str
        A line of text below the name, such as that something is being computed.
    """
    one = _only(correlates, neuron)
    seen, driven = _only(visualizations, neuron), _only(exemplars, neuron)
    parts = [STYLE, f"<h3>{html.escape(neuron_label(*neuron))}</h3>"]
    parts += [f'<div class="quiet" role="status">{html.escape(note)}</div>'] if note else []
    if one is not None:
        parts += [_badges(one), _numbers(one)]
    parts += [_pictures(seen, driven), _strip(activation, cell)]
    return f'<div class="nbcorr-card">{"".join(parts)}</div>'


def _only(dataset: xr.Dataset | None, neuron: tuple[str, int]) -> xr.Dataset | None:
    if dataset is None or neuron not in dataset.indexes["neuron"]:
        return None
    return dataset.isel(neuron=dataset.indexes["neuron"].get_loc(neuron))


def _badges(one: xr.Dataset) -> str:
    checks = ladder(one)
    values = {
        "associated": f"q {rounded_p(float(one['q_unstratified']))}",
        "stratified": f"q {rounded_p(float(one['q']))}",
        "replicated": _number(one, "auc_heldout"),
        "beyond_covariates": f"ρ {_signed(one, 'rho_partial')}",
        "beyond_untrained": f"{_signed(one, 'excess')}",
        "beyond_input": f"{_signed(one, 'excess_input')}",
    }
    items = []
    for rung, name in RUNGS.items():
        if rung == "beyond_covariates" and rung not in checks:
            continue  # a choice of whoever asks, not a control that is missing
        if rung not in checks:
            items.append(f'<li class="missed">{name}: not computed</li>')
            continue
        passed = bool(checks[rung])
        mark, kind = ("✓", "passed") if passed else ("✗", "missed")
        items.append(f'<li class="{kind}">{mark} {name} ({values[rung]})</li>')
    return f'<ul aria-label="checks">{"".join(items)}</ul>'


def _numbers(one: xr.Dataset) -> str:
    error = (float(one["auc_high"]) - float(one["auc_low"])) / (2 * 1.96)
    auc, low, high = (rounded(float(one[k]), error) for k in ("auc", "auc_low", "auc_high"))
    return (
        f"<div>AUC <b>{auc}</b> [{low}, {high}] · "
        f"ρ {float(one['rho']):.2f}, at most {float(one['rho_max']):.2f} · "
        f"exact zeros {100 * float(one['zeros']):.0f} %</div>"
    )


def _pictures(seen: xr.Dataset | None, driven: xr.Dataset | None) -> str:
    figures = []
    if seen is not None and "image" in seen:
        figures.append(
            '<figure class="seen"><img alt="image optimised to drive this neuron" src="'
            f'{pictures.data_uri(seen["image"].values)}">'
            f"<figcaption>made to drive it{_reach(seen, driven)}</figcaption></figure>"
        )
    if driven is not None and "image" in driven:
        for rank in range(min(SHOWN_EXEMPLARS, driven.sizes["rank"])):
            figures.append(_exemplar(driven.isel(rank=rank)))
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _reach(seen: xr.Dataset, driven: xr.Dataset | None) -> str:
    best = float(seen["best_exemplar"])
    if not math.isfinite(best) and driven is not None:
        best = float(driven["activation"][0])
    if not math.isfinite(best) or best <= 0:
        return ""
    return f": {float(seen['reached']) / best:.1f} × the best exemplar"


def _exemplar(one: xr.Dataset) -> str:
    name = html.escape(str(one["sample"].item()))
    picture = pictures.with_mask(one["image"].values, one["mask"].values)
    label = f" ({html.escape(str(one['label'].item()))})" if "label" in one else ""
    return (
        f'<figure><img alt="exemplar {name}" src="{pictures.data_uri(picture)}">'
        f"<figcaption>{name}{label}</figcaption></figure>"
    )


def _strip(activation: np.ndarray, cell: np.ndarray | None) -> str:
    """Boxes (5, 25, 50, 75, 95 %) of the activation in each cell of the 2x2 table."""
    groups = (
        [(name, activation[cell == name]) for name in CELLS]
        if cell is not None
        else [("all samples", activation)]
    )
    low, high = float(np.min(activation)), float(np.max(activation))
    span = (high - low) or 1.0
    rows = []
    for i, (name, values) in enumerate(groups):
        y = 14 + 22 * i
        rows.append(f'<text x="0" y="{y + 4}">{name} ({len(values)})</text>')
        if len(values):
            rows.append(_box(values, y, low, span, name == "only A"))
    height = 22 * len(groups) + 22
    return (
        f'<svg viewBox="0 0 460 {height}" width="100%" role="img" '
        'aria-label="activation in each cell of the table of both systems">'
        f"{''.join(rows)}"
        f'<text x="150" y="{height - 4}">{low:.3g}</text>'
        f'<text x="450" y="{height - 4}" text-anchor="end">{high:.3g} activation</text></svg>'
    )


def _box(values: np.ndarray, y: int, low: float, span: float, marked: bool) -> str:
    a, b, c, d, e = (150 + 300 * (q - low) / span for q in np.quantile(values, _QUANTILES))
    colour = "#D55E00" if marked else "#0072B2"
    return (
        f'<g stroke="{colour}" stroke-width="1.5" fill="{colour}" fill-opacity="0.25">'
        f'<path d="M{a:.1f} {y}H{b:.1f}M{d:.1f} {y}H{e:.1f}" fill="none"/>'
        f'<rect x="{b:.1f}" y="{y - 6}" width="{max(d - b, 1):.1f}" height="12"/>'
        f'<path d="M{c:.1f} {y - 7}V{y + 7}" stroke-width="3" fill="none"/></g>'
    )


_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def _number(one: xr.Dataset, name: str) -> str:
    return f"AUC {float(one[name]):.2f}" if name in one else ""


def _signed(one: xr.Dataset, name: str) -> str:
    return f"{float(one[name]):+.2f}" if name in one else ""
