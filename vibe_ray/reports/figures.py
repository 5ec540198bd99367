"""How did training go, and how smooth is a motion? Line plots for the report, as SVG.

One plot a file, so that a page can lay them out in one column on a phone and in three on a desk.

Shapes: N frames of one sequence, J joints.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#1f2933"
FAINT = "#7b8794"
GRID = "#e4e7eb"
TRUTH_COLOR = "#9aa6b2"
BASELINE_COLOR = "#e0872f"
VIBE_COLOR = "#2f6fd0"

CURVES: dict[str, tuple[str, ...]] = {
    "PA-MPJPE, validation (mm)": ("val/pa_mpjpe_mm",),
    "Reconstruction, validation (mm)": ("val/reconstruction_mm",),
    "MPJPE, validation (mm)": ("val/mpjpe_mm",),
    "Accel. error, validation (mm/frame²)": ("val/accel_error_mm_per_frame2",),
    "Generator: 2D key-points": ("train/generator/kp_2d",),
    "Generator: 3D key-points": ("train/generator/kp_3d",),
    "Generator: pose": ("train/generator/pose",),
    "Generator: shape": ("train/generator/betas",),
    "Generator: adversarial": ("train/generator/adversarial",),
    "Discriminator: real, fake (- -)": (
        "train/discriminator/real",
        "train/discriminator/fake",
    ),
    "Learning rate: G, D (- -)": (
        "lr/generator",
        "lr/discriminator",
    ),
}
"""Title of a plot -> the metrics drawn in it."""
LINE_STYLES = ("-", "--")
NARROW, WIDE = (3.7, 2.2), (9.0, 2.6)
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "path",
    "svg.hashsalt": "vibe_ray",
}


@dataclass(frozen=True)
class Run:
    """One training run: what its `metrics.jsonl` holds."""

    label: str
    color: str
    rows: Sequence[Mapping[str, float]]
    """One per epoch, in order, each with `step` and metrics by path."""


@dataclass(frozen=True)
class Trace:
    """A number per frame of one sequence, by one method."""

    label: str
    color: str
    values: NDArray[np.float32]
    """(N,)."""


def learning_curves(runs: Sequence[Run], has_legend: bool = True) -> dict[str, bytes]:
    """Draw every plot of `CURVES` for which a run has a metric.

    Runs with the same label (seeds of one method) share a color and an entry in the legend. More
    labels than a narrow plot can name want a legend elsewhere.

    Returns:
        Title -> SVG.
    """
    plots = {}
    for title, names in CURVES.items():
        with mpl.rc_context(STYLE):
            figure, axes = new_axes(NARROW)
            axes.ticklabel_format(axis="y", scilimits=(-3, 5))
            if _draw_curves(axes, runs, names):
                axes.set(xlabel="step")
                if has_legend:
                    _legend(axes, "lower right")
                plots[title] = to_svg(figure)
    return plots


def trace_plot(traces: Sequence[Trace], fps: float, ylabel: str) -> bytes:
    """Draw numbers over time, the first trace (the truth) below the others; returns an SVG."""
    with mpl.rc_context(STYLE):
        figure, axes = new_axes(WIDE)
        for order, trace in enumerate(traces):
            seconds = np.arange(len(trace.values)) / fps
            width = 2.4 if order == 0 else 1.2
            axes.plot(seconds, trace.values, color=trace.color, label=trace.label, linewidth=width)
        axes.set(xlabel="seconds", ylabel=ylabel, xmargin=0.01)
        _legend(axes, "lower left")
        return to_svg(figure)


def _draw_curves(axes: Axes, runs: Sequence[Run], names: Sequence[str]) -> bool:
    """Draw the metrics of all runs; whether there was any."""
    seen: set[str] = set()
    for run in runs:
        for name, style in zip(names, LINE_STYLES, strict=False):
            points = [(row["step"], row[name]) for row in run.rows if name in row]
            if not points:
                continue
            label = None if run.label in seen else run.label
            seen.add(run.label)
            marker = "o" if len(points) == 1 else None
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, color=run.color, label=label, marker=marker)
    return bool(seen)


def new_axes(inches: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure of one plot; in `STYLE`, if that is the context."""
    figure = Figure(figsize=inches, facecolor="white", layout="constrained")
    return figure, figure.add_subplot()


def _legend(axes: Axes, side: Literal["lower left", "lower right"]) -> None:
    """Put the labels in one line above the plot, where they hide nothing."""
    axes.legend(
        loc=side,
        bbox_to_anchor=(0 if side == "lower left" else 1, 0.98),
        ncols=4,
        handlelength=1.2,
        columnspacing=1.2,
        borderpad=0,
        fontsize=8.5,
    )


def to_svg(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
