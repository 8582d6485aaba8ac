"""The explorer's two small plots: how the neurons spread, and how strong and sure each is."""

from __future__ import annotations

import bqplot
import numpy as np

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"

# bqplot draws one SVG element a point; beyond this a page gets slow.
MAX_POINTS = 2000
_MARGIN = {"top": 8, "bottom": 34, "left": 46, "right": 12}


class Spread:
    """A histogram over the scale of the threshold, with the largest possible value marked."""

    def __init__(self) -> None:
        self.x = bqplot.LinearScale(min=0.0, max=1.0)
        count = bqplot.LinearScale(min=0.0)
        scales = {"x": self.x, "y": count}
        self.bars = bqplot.Bars(
            x=[0.0], y=[0.0], scales=scales, colors=[BLUE], opacities=[0.7], padding=0.0
        )
        unit = {"x": self.x, "y": bqplot.LinearScale(min=0.0, max=1.0)}
        self.limit = bqplot.Lines(
            x=[0.0, 0.0], y=[0.0, 1.0], scales=unit, colors=[ORANGE], stroke_width=2
        )
        self.largest = bqplot.Lines(
            x=[0.0, 0.0],
            y=[0.0, 1.0],
            scales=unit,
            colors=[GREEN],
            line_style="dashed",
            stroke_width=2,
        )
        self.axis = bqplot.Axis(scale=self.x, num_ticks=5, label="")
        counts = bqplot.Axis(scale=count, orientation="vertical", num_ticks=3, grid_lines="none")
        self.figure = bqplot.Figure(
            marks=[self.bars, self.limit, self.largest],
            axes=[self.axis, counts],
            fig_margin=_MARGIN,
            layout={"height": "170px", "width": "100%"},
        )

    def show(self, values: np.ndarray, low: float, high: float, largest: float | None) -> None:
        """Draw finite ``values`` between ``low`` and ``high``; mark the largest possible one."""
        counts, edges = np.histogram(values[np.isfinite(values)], bins=30, range=(low, high))
        self.x.min, self.x.max = float(low), float(high)
        with self.bars.hold_sync():
            self.bars.x, self.bars.y = (edges[:-1] + edges[1:]) / 2, counts.astype(float)
        self.largest.x = [largest, largest] if largest is not None else [low, low]
        self.largest.visible = largest is not None

    def mark(self, threshold: float) -> None:
        """Move the line of the threshold."""
        self.limit.x = [threshold, threshold]


class Map:
    """Neurons by effect (AUC) and by how sure it is (-log10 q), to be brushed."""

    def __init__(self) -> None:
        x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0.0)
        shape = bqplot.ColorScale(colors=[GREY, ORANGE], min=0.0, max=1.0)
        scales = {"x": x, "y": y, "color": shape}
        self.points = bqplot.Scatter(
            x=[0.5],
            y=[0.0],
            color=[0.0],
            scales=scales,
            default_size=36,
            stroke="#555555",
            selected_style={"stroke": BLUE, "stroke-width": "2"},
            unselected_style={"opacity": "0.25"},
        )
        self.brush = bqplot.interacts.BrushSelector(
            x_scale=x, y_scale=y, marks=[self.points], color=BLUE
        )
        self.figure = bqplot.Figure(
            marks=[self.points],
            axes=[
                bqplot.Axis(scale=x, label="AUC", num_ticks=5, tick_format=".2f"),
                bqplot.Axis(
                    scale=y, orientation="vertical", label="-log10 q", num_ticks=4, tick_format="~g"
                ),
            ],
            interaction=self.brush,
            fig_margin={**_MARGIN, "bottom": 44},
            layout={"height": "330px", "width": "100%"},
        )

    def show(self, auc: np.ndarray, q: np.ndarray, holds: np.ndarray) -> None:
        """Draw these neurons; those that pass every control in orange."""
        self.points.selected = None
        with self.points.hold_sync():
            self.points.x, self.points.y = auc, -np.log10(np.maximum(q, 1e-300))
            self.points.color = holds.astype(float)
