"""`python -m vibe_ray.train`: train a recipe with Ray Train, or in this process."""

import argparse
from collections.abc import Sequence

from vibe_ray import cli, storage


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = cli.make_parser(
        "train",
        "Train VIBE. Checkpoints, metrics.jsonl and TensorBoard files go to STORAGE/NAME.",
        "python -m vibe_ray.train --workers 2 --data data/open --set losses.adversarial=0\n"
        "  python -m vibe_ray.train --workers 2..8 --data s3://bucket/open --storage s3://bucket/runs",
    )
    cli.add_config_flags(parser)
    parser.add_argument(
        "--workers",
        type=_workers,
        default=(2, None),
        metavar="N",
        help="Ray Train workers; 0 trains in this process; 2..8 takes what the cluster has (2)",
    )
    parser.add_argument("--storage", default="runs", help="folder or s3:// of all runs (runs)")
    parser.add_argument("--name", help="name of this run (the recipe's)")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run of this name, with any workers"
    )
    parser.add_argument(
        "--checkpoint-steps",
        type=int,
        default=0,
        metavar="N",
        help="a checkpoint at every N steps within an epoch, instead of by the clock",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=10.0,
        metavar="M",
        help="a checkpoint about every M minutes within an epoch (10); 0: at its end only",
    )
    parser.add_argument(
        "--hang-minutes",
        type=float,
        default=30.0,
        metavar="M",
        help="start the workers again if a step, or a validation, takes so long (30)",
    )
    cli.run(parser, _train, argv)


def _train(args: argparse.Namespace) -> None:
    config = cli.read_config(args)
    if args.dry_run:
        cli.print_config(config)
        return
    from vibe_ray.training.launch import Launch
    from vibe_ray.training.recorder import Cadence

    workers, max_workers = args.workers
    launch = Launch(
        name=args.name or args.recipe,
        storage=args.storage,
        workers=workers,
        max_workers=max_workers,
        resume=args.resume,
        cadence=Cadence(steps=args.checkpoint_steps, minutes=args.checkpoint_minutes),
        hang_minutes=args.hang_minutes,
    )
    if workers:
        from vibe_ray.distributed.launch import train
    else:
        from vibe_ray.training.launch import train_here as train
    try:
        result = train(config, launch)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(_what_is_left(launch.run_dir))
        raise
    except storage.DiskFullError as error:
        raise storage.DiskFullError(f"{error}; {_what_is_left(launch.run_dir)}") from error
    if config.task == "generator" and config.data.test != config.data.validation:
        print(
            f"chosen by validation on {config.data.validation}; `python -m vibe_ray.evaluate` "
            f"measures on {config.data.test}, another data set: the numbers differ"
        )
    print(f"best checkpoint: {result.best}\nlast checkpoint: {result.last}")


def _what_is_left(run_dir: str) -> str:
    from vibe_ray.runs.step_folders import last_checkpoint

    last = last_checkpoint(run_dir)
    if last is None:
        return f"no checkpoint in {run_dir} yet"
    return f"last checkpoint: {last}, --resume goes on from it"


def _workers(text: str) -> tuple[int, int | None]:
    """Read `4`, or `2..8`: the fewest and the most."""
    least, separator, most = text.partition("..")
    return cli.num_workers(least), cli.num_workers(most) if separator else None


if __name__ == "__main__":
    main()
