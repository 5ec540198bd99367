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
    parser.add_argument("--json", metavar="PATH", help="write the metrics as JSON")
    parser.add_argument("--report", metavar="PATH", help="write a self-contained HTML report")
    cli.run(parser, _evaluate, argv)


def _evaluate(args: argparse.Namespace) -> None:
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


if __name__ == "__main__":
    main()
