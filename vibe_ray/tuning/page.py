"""The page that shows what a search found. No Ray."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vibe_ray.config import TrainConfig
from vibe_ray.evaluation.comparison import NOT_MEASURED, Comparison, Method
from vibe_ray.evaluation.protocols import TITLES
from vibe_ray.evaluation.published import DATASET, PAPER_TABLES, PublishedResult
from vibe_ray.reports.figures import learning_curves
from vibe_ray.reports.pages import (
    Cell,
    Picture,
    Table,
    environment_facts,
    published_table,
    render_page,
)
from vibe_ray.runs.log import SCORE, score_name
from vibe_ray.tuning.noise import RULE
from vibe_ray.tuning.plots import (
    REST_COLOR,
    colors,
    curves_of,
    parallel_coordinates,
    seed_plot,
)
from vibe_ray.tuning.ranking import (
    Ranked,
    failures,
    median_metrics,
    number,
    score_title,
    verdict_text,
)
from vibe_ray.tuning.records import BEST, Subject
from vibe_ray.tuning.spaces import short_names

TEMPLATE = Path(__file__).parent / "templates" / "search.html"
MORE_METRICS = {
    "val/mpjpe_mm": TITLES["mpjpe_mm"],
    "val/accel_error_mm_per_frame2": TITLES["accel_error_mm_per_frame2"],
    "val/frame/reconstruction_mm": "Frame by frame (mm)",
}
"""Shown beside the score where they were measured."""
PAPER_METRIC = SCORE.removeprefix("val/")
CSS = {"better": "better", "worse": "worse"}
PAPER_NOTE = (
    f"The paper's numbers are for {DATASET}: other data, another body, not to be compared with "
    "ours. Crossed out: withdrawn by its authors; what stands in their place is listed below."
)
CAPTIONS = {
    "Every seed": "A dot is a seed, a bar the median, the shade the baseline's range. On the "
    "validation split; each seed by the best of its epochs.",
    "Settings and scores": "A line is a candidate, from its settings to its median score. Dotted "
    "lines have none: they failed or were stopped.",
}


def render(ranked: Sequence[Ranked], subject: Subject, directory: str, command: str) -> str:
    """Return the page.

    Args:
        ranked: Candidates, best first.
        subject: What was searched.
        directory: The search's folder; its runs' metrics are read.
        command: By which it was run.
    """
    is_of_paper = subject.base.task == "generator"
    published = PAPER_TABLES.get(subject.space.paper, ()) if is_of_paper else ()
    return render_page(
        TEMPLATE,
        title=_title(subject),
        summary=summary(ranked),
        results=_results(ranked, score_title(subject.base), published),
        without_result=_without_result(ranked),
        num_candidates=len(ranked),
        notes=_notes(ranked, published),
        pictures=_pictures(ranked, subject),
        curves=learning_curves(curves_of(ranked, directory), has_legend=False),
        key=_key(ranked),
        published=published_table(_comparison(ranked, subject.base, published)),
        facts=_facts(ranked, subject, directory, command),
    )


def summary(ranked: Sequence[Ranked]) -> str:
    """What came out, in a sentence or two."""
    best = ranked[0]
    if best.median is None:
        return "No trial finished."
    text = (
        f"Best of {len(ranked)} candidates by the median of {best.num_seeds} seed(s): "
        f"{best.candidate.label}, {number(best.median)} mm."
    )
    verdicts = [row.paired.verdict for row in ranked]
    if best.paired.verdict == "baseline":
        text += " That is the baseline itself."
    elif best.paired.verdict == "better":
        text += f" It beats the baseline by {number(-(best.paired.difference or 0.0))} mm."
    elif best.paired.verdict == "within seed noise":
        text += " Its difference from the baseline is within seed noise."
    told = verdicts.count("better") + verdicts.count("worse")
    judged = told + verdicts.count("within seed noise")
    if judged:
        text += f" {told} of {judged} candidates can be told from the baseline."
    else:
        text += " Nothing can be told from the baseline: that takes two seeds or more of both."
    return text


def _title(subject: Subject) -> str:
    paper = f" (paper, {subject.space.paper})" if subject.space.paper else ""
    return f"Search over {', '.join(short_names(subject.space.names).values())}{paper}"


def _results(ranked: Sequence[Ranked], score: str, published: Sequence[PublishedResult]) -> Table:
    """The ranked table; the paper's numbers stand beside ours where a row has the same name."""
    paper = {result.method: result for result in published}
    has_paper = _is_in_paper(ranked, published)
    measured = {name for row in ranked for name in median_metrics(row)}
    more = [name for name in MORE_METRICS if name in measured]
    titles = ["Candidate", "Verdict", score, "Against baseline", "Seeds"]
    titles += [MORE_METRICS[name] for name in more]
    titles += [f"{TITLES[PAPER_METRIC]}, paper's"] if has_paper else []
    body = []
    for row in ranked:
        if row.median is not None:
            paper_cell = _paper_cell(paper.get(row.candidate.label))
            body.append(_cells(row, more) + ([paper_cell] if has_paper else []))
    return Table(titles=titles, rows=body, num_text_columns=2)


def _is_in_paper(ranked: Sequence[Ranked], published: Sequence[PublishedResult]) -> bool:
    return bool({result.method for result in published} & {row.candidate.label for row in ranked})


def _without_result(ranked: Sequence[Ranked]) -> Table:
    """Candidates that were stopped or failed."""
    rows = [[row.candidate.label, row.state] for row in ranked if row.median is None]
    return Table(titles=["Candidate", "Why"], rows=rows, num_text_columns=2)


def _cells(row: Ranked, more: Sequence[str]) -> list[str | Cell]:
    spread = f"{number(row.lowest)} to {number(row.highest)}" if row.num_seeds > 1 else ""
    paired = row.paired
    against = NOT_MEASURED if paired.difference is None else f"{paired.difference:+.2f}"
    noise = "" if paired.threshold is None else f"noise up to ±{number(paired.threshold)}"
    verdict = ", ".join(part for part in (verdict_text(row), row.state) if part)
    medians = median_metrics(row)
    values = [medians.get(name) for name in more]
    return [
        row.candidate.label,
        Cell(verdict, css=CSS.get(paired.verdict, "")),
        Cell(number(row.median), small=spread),
        Cell(against, small=noise),
        str(row.num_seeds),
        *(NOT_MEASURED if value is None else f"{value:.1f}" for value in values),
    ]


def _paper_cell(result: PublishedResult | None) -> Cell:
    if result is None or PAPER_METRIC not in result.metrics:
        return Cell(NOT_MEASURED)
    small = "withdrawn" if result.withdrawn else ""
    return Cell(str(result.metrics[PAPER_METRIC]), small=small, is_struck=result.withdrawn)


def _notes(ranked: Sequence[Ranked], published: Sequence[PublishedResult]) -> list[str]:
    notes = [RULE]
    noises = [row.paired.noise for row in ranked if row.paired.noise is not None]
    if noises:
        least = min(noises, key=lambda noise: noise.freedom)
        notes.append(
            f"Seed noise of the better half: {least.deviation:.2f} mm (standard deviation of a "
            f"score, candidate and seed taken out; {least.freedom} degrees of freedom)."
        )
    if any(outcome.state == "stopped" for row in ranked for outcome in row.outcomes):
        notes.append(
            "Candidates were tried with one seed and stopped when they were behind; those that got "
            "to the end were repeated with the other seeds."
        )
    if _is_in_paper(ranked, published):
        notes.append(PAPER_NOTE)
    return [*notes, *failures(ranked)]


def _pictures(ranked: Sequence[Ranked], subject: Subject) -> list[Picture]:
    score = score_title(subject.base)
    plots = {"Settings and scores": parallel_coordinates(ranked, subject.space, score)}
    if any(row.median is not None for row in ranked):
        plots = {"Every seed": seed_plot(ranked, score), **plots}
    return [
        Picture(title=title, caption=CAPTIONS[title], data=svg, kind="svg")
        for title, svg in plots.items()
    ]


def _key(ranked: Sequence[Ranked]) -> list[tuple[str, str]]:
    """What the colors of all plots mean: label and color."""
    shades = colors(ranked)
    named = [row for row in ranked if shades[row.candidate.number] != REST_COLOR]
    key = [(row.candidate.label, shades[row.candidate.number]) for row in named]
    return key + [("others", REST_COLOR)] * (len(named) < len(ranked))


def _comparison(
    ranked: Sequence[Ranked], base: TrainConfig, published: Sequence[PublishedResult]
) -> Comparison:
    methods = tuple(
        Method(name=row.candidate.label, runs=tuple(o.metrics for o in row.finished))
        for row in ranked
        if row.finished
    )
    return Comparison(
        dataset=base.data.validation,
        protocol=base.validation.protocol,
        methods=methods,
        published=tuple(published),
    )


def _facts(
    ranked: Sequence[Ranked], subject: Subject, directory: str, command: str
) -> Mapping[str, str]:
    base, is_generator = subject.base, subject.base.task == "generator"
    protocol = f", protocol {base.validation.protocol}" if is_generator else ""
    seeds = sorted({o.trial.seed for row in ranked for o in row.outcomes})
    facts = {
        "Command": command,
        "Size of a trial": f"{base.epochs} epochs of {base.steps_per_epoch} steps of "
        f"{_step_size(base)}, where the space does not say otherwise",
        "Seeds": ", ".join(map(str, seeds)),
        "Search": f"{subject.search}, scheduler {subject.scheduler}",
        "Score": f"{score_name(base)} on {base.data.validation}{protocol}, best epoch of each seed",
        "Data": base.data.root,
        **{f"Hash of {name}": value for name, value in subject.data_hashes.items()},
        **environment_facts(),
    }
    if ranked[0].best is not None:
        use = {
            "generator": "evaluate ",
            "motion_prior": "train --set motion_prior=",
            "frame_encoder": f"prepare export --out {directory}/exported --checkpoint ",
        }[base.task]
        facts["Use the best"] = f"python -m vibe_ray.{use}{directory}/{BEST}"
        facts["Its run"] = ranked[0].best.trial.name
    return facts


def _step_size(base: TrainConfig) -> str:
    if base.task == "frame_encoder":
        return f"{base.frames.batch_size} captured frames"
    num_windows = base.data.batch_size or base.data.motion_batch_size
    return f"{num_windows} windows of {base.data.window_length} frames"
