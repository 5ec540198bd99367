import pytest

from vibe_ray.evaluation.comparison import (
    Comparison,
    Method,
    Summary,
    change_percent,
    header,
    judge,
    rows,
    summarize,
)
from vibe_ray.evaluation.published import DATASET


def runs(metric: str, *values: float) -> tuple[dict[str, float], ...]:
    return tuple({metric: value} for value in values)


def summary(*values: float) -> Summary:
    found = summarize(Method(name="m", runs=runs("pa_mpjpe_mm", *values)), "pa_mpjpe_mm")
    assert found is not None
    return found


def test_seeds_are_summed_up_by_median_and_range() -> None:
    assert summary(58.6, 56.8, 57.8) == Summary(57.8, 56.8, 58.6, 3)
    assert summary(58.6, 56.8, 57.8).text == "57.8 (56.8 to 58.6)"
    assert summary(57.84).text == "57.8"
    assert summarize(Method(name="m", runs=runs("pa_mpjpe_mm", 1.0)), "pve_mm") is None


def test_a_method_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="'m' has no runs"):
        Method(name="m", runs=())


@pytest.mark.parametrize(
    ("metric", "baseline", "other", "verdict"),
    [
        ("pa_mpjpe_mm", (50.0,), (40.0,), "better"),
        ("pa_mpjpe_mm", (40.0,), (50.0,), "worse"),
        ("pa_mpjpe_mm", (40.0,), (40.0,), "same"),
        ("pck_150mm_percent", (40.0,), (50.0,), "better"),
        ("accel_mm_per_frame2", (40.0,), (5.0,), ""),
        ("pa_mpjpe_mm", (50, 52, 54), (47, 48, 49), "better"),
        ("pa_mpjpe_mm", (50, 52, 54), (47, 48, 51), "unsure"),
    ],
)
def test_a_difference_within_the_spread_of_seeds_is_no_difference(
    metric: str, baseline: tuple[float, ...], other: tuple[float, ...], verdict: str
) -> None:
    assert judge(metric, summary(*baseline), summary(*other)) == verdict


def test_changes_are_relative_to_the_baselines_median() -> None:
    assert change_percent("pa_mpjpe_mm", summary(40, 50, 60), summary(45)) == pytest.approx(-10)
    assert change_percent("pa_mpjpe_mm", summary(0.0), summary(45)) is None
    assert change_percent("pa_mpjpe_mm", None, summary(45)) is None
    assert change_percent("true_accel_mm_per_frame2", summary(1), summary(2)) is None


def comparison(dataset: str = "open_3d/test") -> Comparison:
    return Comparison(
        dataset=dataset,
        protocol="open",
        methods=(
            Method(name="baseline", runs=({"pa_mpjpe_mm": 50.0, "pve_mm": 70.0},)),
            Method(name="VIBE", runs=({"pa_mpjpe_mm": 40.0},)),
        ),
    )


def test_rows_follow_the_order_of_metrics_and_mark_what_is_missing() -> None:
    table = [(row.metric, row.values, row.changes) for row in rows(comparison())]
    assert table == [
        ("pa_mpjpe_mm", ["50.0", "40.0"], ["-20.0 %"]),
        ("pve_mm", ["70.0", "-"], ["-"]),
    ]
    assert header(comparison()) == ["Metric", "baseline", "VIBE", "Change"]


def test_published_numbers_are_only_comparable_on_their_own_data() -> None:
    assert any("NOT comparable" in note for note in comparison().notes)
    assert not any("NOT comparable" in note for note in comparison(DATASET).notes)
    assert any("One seed" in note for note in comparison().notes)
