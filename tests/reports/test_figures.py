import xml.etree.ElementTree as ElementTree

import numpy as np

from vibe_ray.reports.figures import Run, Trace, learning_curves, trace_plot

ROWS = [{"step": 10.0 * i, "val/pa_mpjpe_mm": 50.0 / i, "lr/generator": 1e-4} for i in range(1, 5)]


def num_lines(svg: bytes, color: str) -> int:
    root = ElementTree.fromstring(svg)
    paths = root.iter("{http://www.w3.org/2000/svg}path")
    return sum(
        color in path.get("style", "") and "fill: none" in path.get("style", "") for path in paths
    )


def test_only_metrics_that_a_run_has_are_drawn() -> None:
    plots = learning_curves([Run("VIBE", "#0000ff", ROWS)])
    assert list(plots) == ["PA-MPJPE, validation (mm)", "Learning rate: G, D (- -)"]


def test_seeds_of_a_method_share_one_entry_of_the_legend() -> None:
    one = learning_curves([Run("VIBE", "#0000ff", ROWS)])["PA-MPJPE, validation (mm)"]
    two = learning_curves([Run("VIBE", "#0000ff", ROWS)] * 2)["PA-MPJPE, validation (mm)"]
    assert num_lines(one, "#0000ff") == 2  # the curve and the legend's line
    assert num_lines(two, "#0000ff") == 3


def test_a_run_of_one_epoch_is_drawn_as_a_point() -> None:
    plots = learning_curves([Run("VIBE", "#0000ff", ROWS[:1])])
    assert b"<use" in plots["PA-MPJPE, validation (mm)"]


def test_traces_are_drawn_in_their_colors_and_the_same_every_time() -> None:
    traces = [Trace("Truth", "#aaaaaa", np.zeros(9)), Trace("VIBE", "#0000ff", np.ones(9))]
    svg = trace_plot(traces, fps=30.0, ylabel="mm")
    assert num_lines(svg, "#aaaaaa") == num_lines(svg, "#0000ff") == 2
    assert svg == trace_plot(traces, fps=30.0, ylabel="mm")
