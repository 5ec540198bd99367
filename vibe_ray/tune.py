"""`python -m vibe_ray.tune`: try a space of settings over several seeds and rank the candidates."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from vibe_ray import cli
from vibe_ray.tuning.spaces import load_space, plan_trials


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and search."""
    parser = cli.make_parser(
        "tune",
        "Train every candidate of a search space with several seeds, on Ray Tune over Ray Train, "
        "and rank them by median validation score.",
        "python -m vibe_ray.tune --space tune_spaces/attention.py --seeds 3 --set epochs=5",
    )
    cli.add_config_flags(parser)
    parser.add_argument(
        "--space",
        default="tune_spaces/attention.py",
        help="Python file with SPACE = {setting name: [values]} (tune_spaces/attention.py)",
    )
    parser.add_argument("--storage", default="runs", help="folder or s3:// of all runs (runs)")
    parser.add_argument("--name", help="name of this search (tune_ and the space's)")
    parser.add_argument("--trials", type=int, default=0, help="try only N candidates; 0 is all (0)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every candidate (3)")
    parser.add_argument(
        "--workers-per-trial",
        type=int,
        default=1,
        help="Ray Train workers of a trial; 0 trains in the trial's own process (1)",
    )
    cli.run(parser, _tune, argv)


def _tune(args: argparse.Namespace) -> None:
    space = load_space(args.space)
    trials = plan_trials(cli.read_config(args), space, args.seeds, args.trials)
    if args.dry_run:
        print(json.dumps({trial.name: trial.settings for trial in trials}, indent=2))
        return
    from vibe_ray.training.loop import SCORE
    from vibe_ray.tuning.ranking import format_table
    from vibe_ray.tuning.search import Search, run_search

    search = Search(
        name=args.name or f"tune_{Path(args.space).stem}",
        storage=args.storage,
        workers_per_trial=args.workers_per_trial,
    )
    result = run_search(trials, search)
    print(format_table(result.ranked, SCORE))
    print(f"ranking: {result.path}\nbest checkpoint: {result.ranked[0].checkpoint}")


if __name__ == "__main__":
    main()
