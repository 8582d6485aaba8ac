from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from PIL import Image

from nbcorr.selectivity.figure import NEUTRAL, colours, sweep_figure

ALPHAS = [2.0, -1.0, 0.0, -4.0, 1.0]


@pytest.fixture
def sweep():
    rng = np.random.default_rng(0)
    runs = ("alpha", "seed")
    return xr.Dataset(
        {
            "accuracy": (runs, rng.random((5, 3))),
            "selectivity": ((*runs, "layer"), rng.random((5, 3, 2))),
            "accuracy_corrupted": ((*runs, "corruption", "severity"), rng.random((5, 3, 4, 5))),
            "accuracy_attacked": ((*runs, "attack", "eps"), rng.random((5, 3, 2, 2))),
        },
        {"alpha": ALPHAS, "attack": ["fgsm", "pgd"], "eps": [1 / 255, 8 / 255]},
    )


def test_every_network_is_a_point_in_every_panel(sweep):
    figure = sweep_figure(sweep)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "clean images",
        "4 corruptions x 5 severities",
        "FGSM, eps 1, 8 / 255",
        "PGD, eps 1, 8 / 255",
    ]
    expected = [
        sweep["accuracy"],
        sweep["accuracy_corrupted"].mean(("corruption", "severity")),
        *(sweep["accuracy_attacked"].sel(attack=a).mean("eps") for a in ("fgsm", "pgd")),
    ]
    x = sweep["selectivity"].mean("layer")
    for axes, y in zip(figure.axes, expected, strict=True):
        assert len(axes.collections) == 5
        for alpha, points in zip(sorted(ALPHAS), axes.collections, strict=True):
            own = np.stack([x.sel(alpha=alpha), y.sel(alpha=alpha)], axis=1)
            np.testing.assert_allclose(points.get_offsets(), own)
            assert points.get_label() == f"{alpha:g}"
            grey = tuple(points.get_facecolor()[0][:3]) == to_rgb(NEUTRAL)
            assert grey == (alpha == 0)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["-4", "-1", "0", "1", "2"]


def luminance(colour):
    return np.dot([0.2126, 0.7152, 0.0722], to_rgb(colour))


def test_colours_tell_the_sign_by_blue_or_orange_and_the_strength_by_darkness():
    found = dict(zip(ALPHAS, colours(ALPHAS), strict=True))
    for alpha, colour in found.items():
        red, _, blue = to_rgb(colour)
        assert np.sign(red - blue) == np.sign(alpha)
    assert luminance(found[-4]) < luminance(found[-1]) - 0.2
    assert luminance(found[2]) < luminance(found[1]) - 0.2
    assert len(set(colours([0.0]))) == len(set(colours([-1.0]))) == 1


def test_it_is_a_picture_also_with_nan_and_without_the_other_tests(sweep):
    few = sweep[["accuracy", "selectivity"]].copy(deep=True)
    few["selectivity"][0, 0] = np.nan
    file = io.BytesIO()
    figure = sweep_figure(few)
    figure.savefig(file, format="png")
    assert len(figure.axes) == 1
    assert np.asarray(Image.open(file).convert("RGB")).std() > 0


def test_refuses_what_is_no_sweep():
    with pytest.raises(ValueError, match="expected what nc.selectivity_sweep gives"):
        sweep_figure(xr.Dataset())
