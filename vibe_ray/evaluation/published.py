"""What have others reported? The one place that knows published numbers, each with its source.

Numbers marked as withdrawn were retracted by VIBE's own authors (README of their repository,
"Correction": a preprocessing mistake in all experiments that trained on 3DPW). They stay here so
that they are not chased by accident. What to reach with the licensed data is `ANCHOR`.

All were measured on licensed data with SMPL, so none is comparable with a number on open data.
"""

from dataclasses import dataclass

from vibe_ray.evaluation.protocols import AS_SPIN, VIBE_EVAL

DATASET = "3DPW test"
TITLES = {"threedpw": "3DPW", "mpi_inf_3dhp": "MPI-INF-3DHP", "human36m": "Human3.6M"}
"""What papers call the data sets that `prepare` calls otherwise."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    method: str
    training: str
    metrics: dict[str, float]
    """Metric -> number; only those printed."""
    source: str
    note: str = ""
    dataset: str = DATASET
    protocol: str = VIBE_EVAL
    """A name of which `protocols.Protocol.same_as` speaks, or words."""
    withdrawn: bool = False


PAPER = "VIBE paper (CVPR 2020, arXiv 1912.05656)"

ANCHOR = PublishedResult(
    method="VIBE",
    training="without 3DPW",
    metrics={
        "mpjpe_mm": 93.5881,
        "pa_mpjpe_mm": 56.5608,
        "pve_mm": 113.4118,
        "accel_mm_per_frame2": 27.1242,
        "accel_error_mm_per_frame2": 27.9877,
    },
    source="mkocabas/VIBE, doc/eval.md, checkpoint vibe_model_wo_3dpw",
    note="the reproducible anchor; targets had passed through float16",
)


def _withdrawn(method: str, table: str, **metrics: float) -> PublishedResult:
    return PublishedResult(
        method=method,
        training="with 3DPW",
        metrics=metrics,
        source=f"{PAPER}, {table}",
        note="same flawed training setting",
        withdrawn=True,
    )


MPOSER = _withdrawn("G + MPoser", "Table 2", mpjpe_mm=87.0, pa_mpjpe_mm=54.1, pve_mm=103.9)
WITH_D = PublishedResult(
    method="VIBE, best of its seeds, with D",
    training="without 3DPW",
    metrics={"pa_mpjpe_mm": 55.9},
    source="VIBE's author, mkocabas/VIBE issue 99",
    note="same seeds with and without the motion discriminator, 25 experiments",
)
WITHOUT_D = PublishedResult(
    method="VIBE, best of its seeds, without D",
    training="without 3DPW",
    metrics={"pa_mpjpe_mm": 56.8},
    source="VIBE's author, mkocabas/VIBE issue 99",
    note="so D is worth about 1 mm; one config trained three times gave 56.8, 57.8 and 58.6 "
    "(issue 191)",
)

PAPER_TABLES = {
    "Table 2": (
        _withdrawn("G", "Table 2", mpjpe_mm=90.2, pa_mpjpe_mm=56.9, pve_mm=109.5),
        MPOSER,
        _withdrawn("G + D", "Table 2", mpjpe_mm=82.9, pa_mpjpe_mm=51.9, pve_mm=99.1),
        WITHOUT_D,
        WITH_D,
        ANCHOR,
    ),
    "Table 3": (
        _withdrawn("concatenation", "Table 3", mpjpe_mm=85.9, pa_mpjpe_mm=53.7),
        _withdrawn("attention, 2 layers of 512", "Table 3", mpjpe_mm=86.6, pa_mpjpe_mm=54.2),
        _withdrawn("attention, 2 layers of 1024", "Table 3", mpjpe_mm=82.9, pa_mpjpe_mm=51.9),
        _withdrawn("attention, 3 layers of 512", "Table 3", mpjpe_mm=85.3, pa_mpjpe_mm=53.6),
        _withdrawn("attention, 3 layers of 1024", "Table 3", mpjpe_mm=82.7, pa_mpjpe_mm=52.4),
        ANCHOR,
    ),
}
"""VIBE's ablations (the rows with SPIN's features), then what its authors have since put in their
place. No corrected Table 3 has been published: the anchor is all that stands of it."""

PUBLISHED = (
    ANCHOR,
    PublishedResult(
        method="VIBE",
        training="without 3DPW",
        metrics={
            "mpjpe_mm": 93.5,
            "pa_mpjpe_mm": 56.5,
            "pve_mm": 113.4,
            "accel_mm_per_frame2": 27.1,
        },
        source=f'{PAPER}, Table 1, row "VIBE (direct comp.)"',
        note="printed as mm/s², yet mm/frame²; the size of the acceleration, not its error",
    ),
    PublishedResult(
        method="SPIN (single frame)",
        training="without 3DPW",
        metrics={"mpjpe_mm": 96.9, "pa_mpjpe_mm": 59.2, "pve_mm": 116.4},
        source=f"{PAPER}, Table 1",
        protocol="not stated",
        note="its acceleration is left out: the table does not say which of the two it is",
    ),
    WITH_D,
    WITHOUT_D,
    PublishedResult(
        method="VIBE (mmhuman3d), no D at all",
        training="its own config",
        metrics={"mpjpe_mm": 94.89, "pa_mpjpe_mm": 57.08},
        source="open-mmlab/mmhuman3d, configs/vibe",
        protocol="mmhuman3d's own",
    ),
    PublishedResult(
        method="VIBE",
        training="with 3DPW",
        metrics={
            "mpjpe_mm": 82.9,
            "pa_mpjpe_mm": 51.9,
            "pve_mm": 99.1,
            "accel_error_mm_per_frame2": 23.4,
        },
        source=f'{PAPER}, Table 1, row "VIBE"',
        note='its "Accel" agrees with the error in the row below, not with the size',
        withdrawn=True,
    ),
    PublishedResult(
        method="VIBE",
        training="with 3DPW",
        metrics={
            "mpjpe_mm": 82.97,
            "pa_mpjpe_mm": 52.00,
            "pve_mm": 99.11,
            "accel_mm_per_frame2": 22.37,
            "accel_error_mm_per_frame2": 23.43,
        },
        source="mkocabas/VIBE, doc/eval.md before commit 6e70f5f, vibe_model_w_3dpw",
        note="removed by the authors",
        withdrawn=True,
    ),
    MPOSER,
)


def _of_table_1(dataset: str, method: str, training: str, **metrics: float) -> PublishedResult:
    is_withdrawn = training == "with 3DPW"
    return PublishedResult(
        method=method,
        training=training,
        metrics=metrics,
        source=f"{PAPER}, Table 1",
        dataset=dataset,
        protocol=AS_SPIN,
        note="same flawed training setting" if is_withdrawn else "",
        withdrawn=is_withdrawn,
    )


MPI_INF_3DHP = (
    PublishedResult(
        method="VIBE",
        training="without 3DPW",
        metrics={"mpjpe_mm": 97.7, "pa_mpjpe_mm": 63.4, "pck_150mm_percent": 89.0},
        source=f'{PAPER}, Table 1, row "VIBE (direct comp.)"',
        dataset="MPI-INF-3DHP test",
        protocol=AS_SPIN,
        note="users of the released weights measure 99.2 to 101.2 and 64.9 to 65.2, and doubt the "
        "PCK (mkocabas/VIBE issue 151)",
    ),
    _of_table_1(
        "MPI-INF-3DHP test",
        "SPIN (single frame)",
        "without 3DPW",
        mpjpe_mm=105.2,
        pa_mpjpe_mm=67.5,
        pck_150mm_percent=76.4,
    ),
    _of_table_1(
        "MPI-INF-3DHP test",
        "VIBE",
        "with 3DPW",
        mpjpe_mm=96.6,
        pa_mpjpe_mm=64.6,
        pck_150mm_percent=89.3,
    ),
)
HUMAN36M = (
    _of_table_1(
        "Human3.6M test", "VIBE (direct comp.)", "without 3DPW", mpjpe_mm=65.9, pa_mpjpe_mm=41.5
    ),
    _of_table_1("Human3.6M test", "SPIN (single frame)", "without 3DPW", pa_mpjpe_mm=41.1),
    _of_table_1("Human3.6M test", "VIBE", "with 3DPW", mpjpe_mm=65.6, pa_mpjpe_mm=41.4),
)


def title_of(dataset: str, split: str) -> str:
    """Return what tables call a split of a data set; published numbers go by it."""
    return f"{TITLES.get(dataset, dataset)} {split}"


def published_on(title: str) -> tuple[PublishedResult, ...]:
    """The numbers to show beside those on a data set: its own, or 3DPW's where it has none."""
    own = [result for result in (*PUBLISHED, *MPI_INF_3DHP, *HUMAN36M) if result.dataset == title]
    return tuple(own) or PUBLISHED
