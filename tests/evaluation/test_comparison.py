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
from vibe_ray.evaluation.published import (
    DATASET,
    HUMAN36M,
    MPI_INF_3DHP,
    PUBLISHED,
    published_on,
    title_of,
)


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
        ("pa_mpjpe_mm", (40.0,), (39.3,), "unsure"),
        ("pa_mpjpe_mm", (40.0,), (39.0,), "better"),
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


def comparison(dataset: str = "open_3d/test", protocol: str = "open") -> Comparison:
    return Comparison(
        dataset=dataset,
        protocol=protocol,
        published=published_on(dataset),
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
    assert "One seed: a difference below 2 % may be chance (≈)." in comparison().notes


def notes(dataset: str, protocol: str) -> str:
    return " ".join(comparison(dataset, protocol).notes)


def test_each_protocol_names_the_published_rows_that_it_can_be_compared_with() -> None:
    rows = "Comparable with the published rows VIBE without 3DPW, VIBE, best of its seeds, with D"
    assert rows in notes(DATASET, "vibe_compat")
    assert "save for" not in notes(DATASET, "vibe_compat")
    assert "SPIN" not in notes(DATASET, "vibe_compat"), "by what protocol is not stated"
    for protocol in ("open", "joints"):
        assert rows in notes(DATASET, protocol)
        assert "save for Accel. error (mm/frame²), Accel. (mm/frame²)" in notes(DATASET, protocol)
    told = notes("MPI-INF-3DHP test", "mpi_inf_3dhp")
    expected = "VIBE without 3DPW, SPIN (single frame) without 3DPW, VIBE with 3DPW."
    assert f"Comparable with the published rows {expected}" in told
    assert "VIBE (direct comp.) without 3DPW" in notes("Human3.6M test", "human36m_p2")


@pytest.mark.parametrize(
    ("dataset", "protocol", "instead"),
    [
        ("MPI-INF-3DHP test", "open", "mpi_inf_3dhp"),
        ("MPI-INF-3DHP test", "vibe_compat", "mpi_inf_3dhp"),
        ("Human3.6M test", "mpi_inf_3dhp", "human36m_p2"),
        (DATASET, "human36m_p2", "open or joints or vibe_compat"),
    ],
)
def test_another_protocol_on_published_data_is_not_comparable(
    dataset: str, protocol: str, instead: str
) -> None:
    told = notes(dataset, protocol)
    assert f"they are NOT comparable; take --protocol {instead}." in told
    assert not comparison(dataset, protocol).is_comparable
    assert comparison(dataset, protocol).is_of_published_data


def test_a_protocol_of_one_data_set_on_another_is_told() -> None:
    assert "Protocol mpi_inf_3dhp is defined on MPI-INF-3DHP test." in notes(
        "x test", "mpi_inf_3dhp"
    )
    assert "is defined on" not in notes("Human3.6M test", "human36m_p2")


def test_the_numbers_beside_a_data_set_are_its_own() -> None:
    assert title_of("threedpw", "test") == DATASET
    assert title_of("open_3d", "test") == "open_3d test"
    assert published_on(title_of("mpi_inf_3dhp", "test")) == MPI_INF_3DHP
    assert published_on(title_of("human36m", "test")) == HUMAN36M
    assert published_on("open_3d test") == published_on(DATASET) == PUBLISHED
