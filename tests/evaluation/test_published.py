from vibe_ray.evaluation.protocols import METRICS
from vibe_ray.evaluation.published import (
    ANCHOR,
    HUMAN36M,
    MPI_INF_3DHP,
    PAPER_TABLES,
    PUBLISHED,
)


def test_the_anchor_is_the_released_checkpoint_without_3dpw() -> None:
    assert not ANCHOR.withdrawn
    assert [round(value, 1) for value in ANCHOR.metrics.values()] == [93.6, 56.6, 113.4, 27.1, 28.0]


def test_all_that_trained_on_3dpw_is_withdrawn_and_nothing_else() -> None:
    for result in (*PUBLISHED, *MPI_INF_3DHP, *HUMAN36M):
        assert result.withdrawn == (result.training == "with 3DPW")
    assert {51.9, 52.0, 54.1} == {r.metrics["pa_mpjpe_mm"] for r in PUBLISHED if r.withdrawn}


def test_each_number_has_a_known_metric_and_a_source() -> None:
    for result in (
        *PUBLISHED,
        *MPI_INF_3DHP,
        *HUMAN36M,
        *(row for rows in PAPER_TABLES.values() for row in rows),
    ):
        assert set(result.metrics) <= set(METRICS)
        assert result.source


def test_the_papers_ablations_are_withdrawn_and_followed_by_what_is_not() -> None:
    for name, rows in PAPER_TABLES.items():
        withdrawn = [row.withdrawn for row in rows]
        assert withdrawn == sorted(withdrawn, reverse=True), name
        assert rows[-1] == ANCHOR
    best = [min(rows, key=lambda row: row.metrics["pa_mpjpe_mm"]) for rows in PAPER_TABLES.values()]
    assert {row.metrics["pa_mpjpe_mm"] for row in best} == {51.9}, "the same run, in both tables"
