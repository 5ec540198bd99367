"""`python -m vibe_ray.train`: train a recipe with Ray Train, or in this process."""

import argparse
from collections.abc import Sequence

from vibe_ray import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = cli.make_parser(
        "train",
        "Train VIBE. Checkpoints, metrics.jsonl and TensorBoard files go to STORAGE/NAME.",
        "python -m vibe_ray.train --workers 2 --data data/open --set losses.adversarial=0",
    )
    cli.add_config_flags(parser)
    parser.add_argument(
        "--workers", type=int, default=2, help="Ray Train workers; 0 trains in this process (2)"
    )
    parser.add_argument("--storage", default="runs", help="folder or s3:// of all runs (runs)")
    parser.add_argument("--name", help="name of this run (the recipe's)")
    parser.add_argument("--resume", action="store_true", help="continue the run of this name")
    cli.run(parser, _train, argv)


def _train(args: argparse.Namespace) -> None:
    config = cli.read_config(args)
    if args.dry_run:
        cli.print_config(config)
        return
    from vibe_ray.training.launch import Launch, train

    launch = Launch(
        name=args.name or args.recipe,
        storage=args.storage,
        workers=args.workers,
        resume=args.resume,
    )
    result = train(config, launch)
    print(f"best checkpoint: {result.best}\nlast checkpoint: {result.last}")


if __name__ == "__main__":
    main()
