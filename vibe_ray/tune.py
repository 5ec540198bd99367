"""`python -m vibe_ray.tune`: try a space of settings over several seeds and rank the candidates."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_ray import cli

if TYPE_CHECKING:
    from vibe_ray.tuning.plan import Search
    from vibe_ray.tuning.spaces import Space

DEFAULT_SPACE = "motion_prior"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and search."""
    parser = cli.make_parser(
        "tune",
        "Train every candidate of a search space with several seeds, on Ray Tune over Ray Train, "
        "and\nrank them by median validation score, each compared with the baseline seed by seed.",
        "python -m vibe_ray.tune --space attention --seeds 5\n"
        "  python -m vibe_ray.tune --space my_space.py --search optuna --scheduler asha",
    )
    cli.add_config_flags(parser, recipe="ablation")
    parser.add_argument(
        "--space",
        default=DEFAULT_SPACE,
        metavar="S",
        help="Python file with SPACE = {setting name: values}, or one of the package's in "
        "tune_spaces/ (motion_prior)",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="per candidate (3)")
    parser.add_argument(
        "--trials",
        type=int,
        default=0,
        metavar="N",
        help="candidates to try (all of a grid, else 16, the recipe among them)",
    )
    parser.add_argument(
        "--scheduler",
        choices=("asha", "none"),
        default="none",
        help="asha stops what is behind after a few epochs (none)",
    )
    parser.add_argument(
        "--search",
        choices=("grid", "random", "optuna"),
        help="how candidates are found (grid; random for a space with ranges)",
    )
    parser.add_argument(
        "--workers-per-trial",
        type=int,
        default=0,
        metavar="W",
        help="Ray Train workers of a trial; 0 trains in the trial's own process (0)",
    )
    parser.add_argument("--storage", default="runs", help="folder or s3:// of all runs (runs)")
    parser.add_argument("--name", help="name of this search (tune_ and the space's)")
    parser.add_argument(
        "--resume", action="store_true", help="continue the search of this name where it stands"
    )
    cli.run(parser, _tune, argv)


def _tune(args: argparse.Namespace) -> None:
    from vibe_ray.tuning.spaces import load_space

    base, space = cli.read_config(args), load_space(args.space)
    if args.dry_run:
        _print_plan(args, space)
        return
    os.environ.setdefault("RAY_LOG_TO_DRIVER", "0")  # lines of many trials at once tell nothing
    from vibe_ray.distributed.search import run_search
    from vibe_ray.tuning.answer import write_answer

    search = _search(args, space)
    try:
        result = run_search(base, space, search)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("--resume goes on where it stands")
        raise
    command = " ".join(["python -m vibe_ray.tune", *sys.argv[1:]])
    write_answer(search.directory, result.ranked, result.subject, command)


def _search(args: argparse.Namespace, space: "Space") -> "Search":
    from vibe_ray.tuning.plan import Search

    return Search(
        name=args.name or f"tune_{Path(args.space).stem}",
        storage=args.storage,
        num_seeds=args.seeds,
        num_trials=args.trials,
        scheduler=args.scheduler,
        search=args.search or ("random" if space.has_ranges else "grid"),
        workers_per_trial=args.workers_per_trial,
        resume=args.resume,
    )


def _print_plan(args: argparse.Namespace, space: "Space") -> None:
    """Print the trials that are known beforehand."""
    from vibe_ray.tuning.candidates import plan_trials
    from vibe_ray.tuning.plan import first_candidates

    base, search = cli.read_config(args), _search(args, space)
    trials = plan_trials(base, first_candidates(base, space, search), search.num_seeds)
    print(json.dumps({trial.name: trial.candidate.settings for trial in trials}, indent=2))


if __name__ == "__main__":
    main()
