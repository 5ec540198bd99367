"""`python -m vibe_ray.evaluate`: measure checkpoints on held-out data, beside published numbers."""

import argparse
import sys
from collections.abc import Sequence

from vibe_ray import cli, storage


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
    parser.add_argument(
        "--split",
        default="test",
        metavar="NAME",
        help="test, validation (the checkpoint's), or a folder below the data root (test)",
    )
    parser.add_argument("--protocol", default="open", help="see evaluation/protocols.py (open)")
    parser.add_argument(
        "--baseline",
        metavar="CHECKPOINT",
        nargs="?",
        const="open",
        help="compare with a frame baseline: the packaged one, or this checkpoint",
    )
    parser.add_argument(
        "--videos",
        metavar="LABELS",
        help="measure one checkpoint as it is run: predict the videos of this label data set, "
        "detector and tracking included, and say how many of its people were found",
    )
    parser.add_argument(
        "--raw", metavar="P", help="with --videos: where they are, if not where the labels say"
    )
    cli.add_changes_flag(
        parser, "with --videos: a setting of vibe_ray/prediction/settings.py, such as fit=false"
    )
    parser.add_argument("--json", metavar="PATH", help="write the metrics as JSON")
    parser.add_argument("--report", metavar="PATH", help="write a self-contained HTML report")
    cli.run(parser, _evaluate, argv)


def _evaluate(args: argparse.Namespace) -> None:
    if args.videos:
        if len(args.checkpoints) > 1 or args.baseline or args.report:
            raise ValueError("--videos measures one checkpoint, without --baseline and --report")
        if args.data or args.split != "test":
            raise ValueError("--videos names the data itself: leave out --data and --split")
        _evaluate_videos(args)
    else:
        if args.raw or args.changes:
            raise ValueError("--raw and --set go with --videos, which is not given")
        _evaluate_features(args)


def _evaluate_features(args: argparse.Namespace) -> None:
    """Measure checkpoints on features that are stored."""
    from rich.console import Console

    from vibe_ray.evaluation.tables import published_rich_table, rich_table
    from vibe_ray.reports.evaluation_page import write_report
    from vibe_ray.reports.measuring import measure_checkpoints

    measured = measure_checkpoints(
        args.checkpoints, args.baseline, args.data, args.split, args.protocol
    )
    comparison = measured.comparison
    Console().print(rich_table(comparison), published_rich_table(comparison))
    if args.json:
        storage.write_json(args.json, measured.to_dict())
    if args.report:
        command = " ".join(["python -m vibe_ray.evaluate", *sys.argv[1:]])
        write_report(args.report, measured.report(command))
        print(f"report: {args.report}")


def _evaluate_videos(args: argparse.Namespace) -> None:
    """Measure a checkpoint with everything that comes before it in the loop."""
    from rich.console import Console

    from vibe_ray.evaluation.tables import rich_table
    from vibe_ray.prediction.as_run import measure_videos, predicts_with
    from vibe_ray.prediction.job import Tools
    from vibe_ray.prediction.settings import PredictConfig
    from vibe_ray.settings import override

    settings = {"checkpoint": args.checkpoints[0], **cli.read_changes(args)}
    tools = Tools(override(PredictConfig(), settings))
    body = tools.estimator.predictor.body
    found = measure_videos(args.videos, predicts_with(tools), body, args.protocol, args.raw)
    Console().print(rich_table(found.comparison))
    print(found.told())
    if args.json:
        storage.write_json(args.json, found.to_dict())


if __name__ == "__main__":
    main()
