"""The plots of a search: what is drawn, in which color."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.tuning.made_up import made_up
from vibe_ray.tuning.plots import (
    BASELINE_COLOR,
    PALETTE,
    REST_COLOR,
    colors,
    curves_of,
    parallel_coordinates,
    seed_plot,
)
from vibe_ray.tuning.spaces import load_space, log_uniform, make_space


def lines(svg: bytes, color: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    paths = root.iter("{http://www.w3.org/2000/svg}path")
    return [
        path.get("d", "")
        for path in paths
        if f"stroke: {color}" in path.get("style", "") and "fill: none" in path.get("style", "")
    ]


def test_the_best_have_colors_of_their_own_and_the_baseline_has_the_darkest(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, load_space("sequence_length"), stopped=1)
    shades = colors(ranked)
    assert [shades[row.candidate.number] for row in ranked] == [
        *(PALETTE[0], BASELINE_COLOR, PALETTE[1], PALETTE[2]),
        REST_COLOR,
    ]


def test_a_line_goes_through_every_axis_and_ends_early_without_a_score(tmp_path: Path) -> None:
    space = make_space({"losses.pose": log_uniform(1, 100), "losses.adversarial": [0.5, 1.0]})
    ranked = made_up(tmp_path, space, stopped=12)
    svg = parallel_coordinates(ranked, space, "score")
    (best,) = lines(svg, PALETTE[0])
    assert best.count("L") == 2
    assert {line.count("L") for line in lines(svg, REST_COLOR)} == {1}
    assert svg == parallel_coordinates(ranked, space, "score"), "the same every time"


def test_a_recipe_outside_the_space_has_a_place(tmp_path: Path) -> None:
    space = make_space({"losses.pose": log_uniform(1, 2), "optim.lr_patience": [7, 8]})
    ranked = made_up(tmp_path, space)
    assert lines(parallel_coordinates(ranked, space, "score"), BASELINE_COLOR)


def test_a_search_without_results_is_drawn(tmp_path: Path) -> None:
    space = load_space("motion_prior")
    ranked = made_up(tmp_path, space, failed=4)
    assert parallel_coordinates(ranked, space, "score").startswith(b"<?xml")


def test_every_seed_and_every_median_is_drawn(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, load_space("attention"))
    svg = seed_plot(ranked, "score").decode()
    root = ElementTree.fromstring(svg)
    uses = [item.get("style", "") for item in root.iter("{http://www.w3.org/2000/svg}use")]
    assert sum(f"fill: {BASELINE_COLOR}" in style for style in uses) == 4


def test_curves_are_those_of_all_trials_the_nameless_below(tmp_path: Path) -> None:
    ranked = made_up(tmp_path, load_space("attention"), stopped=1)
    runs = curves_of(ranked, str(tmp_path))
    assert len(runs) == 4 * 3 + 1
    assert runs[0].color == REST_COLOR
    assert len(runs[0].rows) == 2
    assert runs[-1].label == ranked[0].candidate.label
