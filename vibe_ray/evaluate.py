"""`python -m vibe_ray.evaluate`: measure checkpoints on held-out data, beside published numbers."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vibe_ray import cli, storage

if TYPE_CHECKING:
    from vibe_ray.data.manifest import Manifest
    from vibe_ray.evaluation.comparison import Comparison
    from vibe_ray.evaluation.scores import EvaluationResult
    from vibe_ray.inference import Predictor
    from vibe_ray.reports.report import Picture

BASELINE_NAME = "Frame baseline"
BASELINE_KEY = "frame_baseline"
VIBE_NAME = "VIBE"
VIBE_KEY = "vibe"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and evaluate."""
    parser = cli.make_parser(
        "evaluate",
        "Evaluate checkpoints: MPJPE, PA-MPJPE, PVE, acceleration error, PCK and AUC.",
        "python -m vibe_ray.evaluate runs/demo --data data/open --baseline "
        "--report runs/demo/report.html",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="checkpoint directory, a run's folder (its best), or `open` (the packaged one); "
        "several are seeds of one method and give medians",
    )
    parser.add_argument("--data", metavar="P", help="data root (the checkpoint's)")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--protocol", default="open", help="see evaluation/protocols.py (open)")
    parser.add_argument(
        "--baseline",
        metavar="CHECKPOINT",
        nargs="?",
        const="open",
        help="compare with a frame baseline: the packaged one, or this checkpoint",
    )
    parser.add_argument("--json", metavar="PATH", help="write the metrics as JSON")
    parser.add_argument("--report", metavar="PATH", help="write a self-contained HTML report")
    cli.run(parser, _evaluate, argv)


@dataclass(frozen=True)
class Measured:
    """One checkpoint, loaded and measured."""

    run_dir: str
    predictor: "Predictor"
    result: "EvaluationResult"


def _evaluate(args: argparse.Namespace) -> None:
    from rich.console import Console

    from vibe_ray.data.shards import read_manifest
    from vibe_ray.evaluation.comparison import Comparison, Method
    from vibe_ray.evaluation.tables import published_rich_table, rich_table

    data, runs = "", []
    for checkpoint in args.checkpoints:
        predictor = _load(checkpoint, "vibe")
        data = data or _data_path(args, predictor)
        runs.append(_measure(checkpoint, predictor, data, args.protocol))
    baseline = None
    if args.baseline:
        predictor = _load(args.baseline, "frame_baseline")
        baseline = _measure(args.baseline, predictor, data, args.protocol)
    manifest = read_manifest(data, "pose")
    methods = [Method(name=VIBE_NAME, runs=tuple(run.result.metrics for run in runs))]
    if baseline:
        methods.insert(0, Method(name=BASELINE_NAME, runs=(baseline.result.metrics,)))
    name = f"{manifest.dataset} {manifest.split}"
    comparison = Comparison(dataset=name, protocol=args.protocol, methods=tuple(methods))
    console = Console()
    console.print(rich_table(comparison), published_rich_table(comparison))
    if args.json:
        storage.write_json(args.json, _to_json(runs, baseline, comparison, manifest))
    if args.report:
        _write_report(args.report, runs, baseline, comparison, data)


def _load(checkpoint: str, packaged_name: Literal["vibe", "frame_baseline"]) -> "Predictor":
    from vibe_ray.inference import Predictor
    from vibe_ray.runs.checkpoints import find_checkpoint

    return Predictor.from_checkpoint(find_checkpoint(checkpoint, packaged_name=packaged_name))


def _data_path(args: argparse.Namespace, predictor: "Predictor") -> str:
    data = predictor.config.data
    return storage.join(args.data or data.root, getattr(data, args.split))


def _measure(checkpoint: str, predictor: "Predictor", data: str, protocol: str) -> Measured:
    from rich.progress import track

    from vibe_ray.data.sequences import read_pose_sequences
    from vibe_ray.data.shards import read_manifest
    from vibe_ray.evaluation.evaluator import Evaluator
    from vibe_ray.evaluation.protocols import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    manifest, config = read_manifest(data, "pose"), predictor.config
    if manifest.feature_dim != config.generator.feature_dim:
        raise ValueError(
            f"{data} has features of width {manifest.feature_dim}, {checkpoint} was trained on "
            f"{config.generator.feature_dim}: evaluate on data of the same frame encoder"
        )
    if predictor.encoder_id not in ("", manifest.encoder_id):
        raise ValueError(
            f"{data} has features of frame encoder {manifest.encoder_id!r}, {checkpoint} was "
            f"trained on those of {predictor.encoder_id!r}: evaluate on data of the same one"
        )
    evaluator = Evaluator(predictor.body, PROTOCOLS[protocol], config.data.window_length)
    sequences = track(
        read_pose_sequences(data), f"evaluating {checkpoint}", total=None, disable=not _is_tty()
    )
    for sequence in sequences:
        evaluator.add(predictor.generator, sequence)
    return Measured(checkpoint, predictor, evaluator.result())


def _is_tty() -> bool:
    return sys.stderr.isatty()


def _to_json(
    runs: Sequence[Measured],
    baseline: Measured | None,
    comparison: "Comparison",
    manifest: "Manifest",
) -> dict[str, object]:
    from vibe_ray.evaluation import tables
    from vibe_ray.evaluation.comparison import summarize

    medians = {
        key: {m: s.median for m in comparison.metrics if (s := summarize(method, m))}
        for key, method in zip(
            (BASELINE_KEY, VIBE_KEY) if baseline else (VIBE_KEY,), comparison.methods, strict=True
        )
    }
    return {
        **medians,
        "checkpoints": [run.run_dir for run in runs],
        "data_hash": manifest.hash(),
        "num_frames": runs[0].result.num_frames,
        "comparison": tables.to_dict(comparison),
    }


def _write_report(
    path: str,
    runs: Sequence[Measured],
    baseline: Measured | None,
    comparison: "Comparison",
    data: str,
) -> None:
    from vibe_ray.data.shards import read_manifest
    from vibe_ray.reports.figures import VIBE_COLOR, Run, learning_curves
    from vibe_ray.reports.report import Report, environment_facts, write_report
    from vibe_ray.runs.log import read_metrics

    manifest = read_manifest(data)
    curves = [Run(VIBE_NAME, VIBE_COLOR, read_metrics(run.run_dir)) for run in runs]
    results = {BASELINE_NAME: baseline.result} if baseline else {}
    report = Report(
        title="VIBE on held-out motion",
        summary=f"{len(runs)} training run(s) evaluated on {runs[0].result.num_frames} frames of "
        f"{comparison.dataset}.",
        facts={
            "Command": " ".join(["python -m vibe_ray.evaluate", *sys.argv[1:]]),
            "Checkpoints": ", ".join(run.run_dir for run in runs),
            "Seeds": ", ".join(str(run.predictor.config.seed) for run in runs),
            "Data": f"{data} ({manifest.num_clips} clips, {manifest.num_frames} frames)",
            "Data hash": manifest.hash(),
            "Frame encoder": manifest.encoder_id,
            **environment_facts(),
        },
        comparison=comparison,
        curves=learning_curves([run for run in curves if run.rows]),
        pictures=_pictures(runs[0], baseline, data),
        results={**results, VIBE_NAME: runs[0].result},
    )
    write_report(path, report)
    print(f"report: {path}")


def _pictures(run: Measured, baseline: Measured | None, data: str) -> list["Picture"]:
    """Picture the sequences of median and of worst error."""
    import torch

    from vibe_ray.data.sequences import read_pose_sequences
    from vibe_ray.reports.figures import BASELINE_COLOR, VIBE_COLOR
    from vibe_ray.reports.gallery import Prediction, sequence_pictures

    scored = sorted(run.result.per_sequence, key=lambda s: s.metrics["pa_mpjpe_mm"])
    chosen = {scored[len(scored) // 2].sequence, scored[-1].sequence}
    pictures: list[Picture] = []
    for sequence in read_pose_sequences(data):
        if sequence.sequence not in chosen or not sequence.has_smpl.all():
            continue
        pairs = [(BASELINE_NAME, BASELINE_COLOR, baseline), (VIBE_NAME, VIBE_COLOR, run)]
        predictions = [
            Prediction(name, color, measured.predictor.predict(torch.tensor(sequence.features)))
            for name, color, measured in pairs
            if measured
        ]
        pictures += sequence_pictures(sequence, predictions, run.predictor.body)
    return pictures


if __name__ == "__main__":
    main()
