"""The page that shows what a search found. No Ray."""

from collections.abc import Mapping, Sequence
from html import escape

from vibe_ray.config import TrainConfig
from vibe_ray.evaluation.comparison import NOT_MEASURED, Comparison, Method
from vibe_ray.evaluation.protocols import TITLES
from vibe_ray.evaluation.published import DATASET, PAPER_TABLES, PublishedResult
from vibe_ray.reports.figures import learning_curves
from vibe_ray.reports.markup import div, image, section, table
from vibe_ray.reports.report import (
    curves_section,
    environment_facts,
    facts_section,
    page,
    published_section,
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

MORE_METRICS = {
    "val/mpjpe_mm": TITLES["mpjpe_mm"],
    "val/accel_error_mm_per_frame2": TITLES["accel_error_mm_per_frame2"],
    "val/frame/reconstruction_mm": "Frame by frame (mm)",
}
"""Shown beside the score where they were measured."""
PAPER_METRIC = SCORE.removeprefix("val/")
CSS = {"better": "better", "worse": "worse"}
SWATCH = '<span style="color:{color}">&#9644;</span>&nbsp;{label}'


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
    score = score_title(subject.base)
    has_scores = any(row.median is not None for row in ranked)
    sections = [
        section("Candidates, best first", _results(ranked, score, published), "results candidates"),
        _plot("Every seed", SEEDS_CAPTION, seed_plot(ranked, score)) if has_scores else "",
        _plot(
            "Settings and scores",
            COORDINATES_CAPTION,
            parallel_coordinates(ranked, subject.space, score),
        ),
        curves_section(
            learning_curves(curves_of(ranked, directory), has_legend=False), _key(ranked)
        ),
        published_section(_comparison(ranked, subject.base, published)) if published else "",
        facts_section(_facts(ranked, subject, directory, command)),
    ]
    return page(_title(subject), summary(ranked), sections)


SEEDS_CAPTION = (
    "A dot is a seed, a bar the median, the shade the baseline's range. On the validation split; "
    "each seed by the best of its epochs."
)
PAPER_NOTE = (
    f"The paper's numbers are for {DATASET}: other data, another body, not to be compared with "
    "ours. Crossed out: withdrawn by its authors; what stands in their place is listed below."
)
COORDINATES_CAPTION = (
    "A line is a candidate, from its settings to its median score. Dotted lines have none: they "
    "failed or were stopped."
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


def _results(ranked: Sequence[Ranked], score: str, published: Sequence[PublishedResult]) -> str:
    """The ranked table; the paper's numbers stand beside ours where a row has the same name."""
    paper = {result.method: result for result in published}
    has_paper = any(row.candidate.label in paper for row in ranked)
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
    notes = [RULE, *_notes(ranked), *([PAPER_NOTE] if has_paper else []), *failures(ranked)]
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    results = table([escape(title) for title in titles], body, num_text_columns=2)
    return results + _without_result(ranked) + f'<ul class="notes">{items}</ul>'


def _without_result(ranked: Sequence[Ranked]) -> str:
    """Candidates that were stopped or failed, folded away."""
    rows = [[escape(r.candidate.label), escape(r.state)] for r in ranked if r.median is None]
    if not rows:
        return ""
    found = f"<summary>{len(rows)} of {len(ranked)} candidates have no result</summary>"
    return f"<details>{found}{table(['Candidate', 'Why'], rows, num_text_columns=2)}</details>"


def _cells(row: Ranked, more: Sequence[str]) -> list[str]:
    spread = f"{number(row.lowest)} to {number(row.highest)}" if row.num_seeds > 1 else ""
    paired = row.paired
    against = NOT_MEASURED if paired.difference is None else f"{paired.difference:+.2f}"
    if paired.threshold is not None:
        against += div("small", f"noise up to &plusmn;{number(paired.threshold)}")
    verdict = ", ".join(part for part in (verdict_text(row), row.state) if part)
    medians = median_metrics(row)
    values = [medians.get(name) for name in more]
    return [
        escape(row.candidate.label),
        f'<span class="{CSS.get(paired.verdict, "")}">{escape(verdict)}</span>',
        number(row.median) + (div("small", spread) if spread else ""),
        against,
        str(row.num_seeds),
        *(NOT_MEASURED if value is None else f"{value:.1f}" for value in values),
    ]


def _paper_cell(result: PublishedResult | None) -> str:
    if result is None or PAPER_METRIC not in result.metrics:
        return NOT_MEASURED
    value = f"{result.metrics[PAPER_METRIC]}"
    if not result.withdrawn:
        return value
    return f"<s>{value}</s>" + div("small", "withdrawn")


def _notes(ranked: Sequence[Ranked]) -> list[str]:
    notes = []
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
    return notes


def _key(ranked: Sequence[Ranked]) -> str:
    """What the colors of all plots mean."""
    shades = colors(ranked)
    named = [row for row in ranked if shades[row.candidate.number] != REST_COLOR]
    parts = [
        SWATCH.format(color=shades[row.candidate.number], label=escape(row.candidate.label))
        for row in named
    ]
    if len(named) < len(ranked):
        parts.append(SWATCH.format(color=REST_COLOR, label="others"))
    return f'<p class="small">{" &emsp; ".join(parts)}</p>'


def _plot(title: str, caption: str, svg: bytes) -> str:
    text = f'<p class="small">{escape(caption)}</p>'
    return section(escape(title), text + div("scroll", image(svg, "svg", title)), "plot")


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
