"""What the commands share: flags, logging, and errors a user can mend told in one line."""

import argparse
import json
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.recipes import RECIPES
from vibe_ray.settings import override, to_dict

USER_ERRORS = (
    *(ValueError, FileNotFoundError, FileExistsError, PermissionError, ImportError),
    storage.DiskFullError,
    ConnectionError,  # an object store that does not answer
    FloatingPointError,  # a run that diverged, or a network that answers with NaN
    ChildProcessError,  # workers that failed too often
)

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}


def make_parser(command: str, description: str, example: str) -> argparse.ArgumentParser:
    """Return a parser whose help ends in an example."""
    return argparse.ArgumentParser(
        prog=f"python -m vibe_ray.{command}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_config_flags(parser: argparse.ArgumentParser, recipe: str = "open_world") -> None:
    """Add the flags from which `read_config` makes a config."""
    parser.add_argument(
        "--recipe", default=recipe, choices=sorted(RECIPES), help=f"named run ({recipe})"
    )
    parser.add_argument("--data", metavar="P", help="data root, a path or s3://bucket/prefix")
    add_changes_flag(parser, "change one setting by its dotted name")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved config as JSON and stop"
    )


def rate(text: str) -> float:
    """Read a flag's frames per second."""
    fps = float(text)
    if not 0 < fps < math.inf:
        raise argparse.ArgumentTypeError(f"{text} frames per second: expected a positive number")
    return fps


def add_job_workers(parser: argparse.ArgumentParser, items: str) -> None:
    """Add `--workers` of a command that does so many things one by one, or all as a job on Ray."""
    parser.add_argument(
        "--workers",
        type=num_workers,
        default=0,
        metavar="N",
        help=f"of a Ray Data job over {items}; 0: one after the other, here (0)",
    )


def num_workers(text: str) -> int:
    """Read a number of workers.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it is {text!r}, expected 0 (in this process) or more")
    return int(text)


def add_changes_flag(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--set`, from which `read_changes` makes changes."""
    parser.add_argument(
        "--set",
        metavar="a.b=v",
        dest="changes",
        action="append",
        default=[],
        help=f"{what}; may be repeated",
    )


def read_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return every `--set`, by the setting's name.

    Raises:
        ValueError: No `=` in a change.
    """
    changes = {}
    for change in args.changes:
        name, separator, value = change.partition("=")
        if not separator:
            raise ValueError(f"--set {change!r} has no '=': expected a.b=value")
        changes[name.strip()] = value.strip()
    return changes


def read_config(args: argparse.Namespace) -> TrainConfig:
    """Return the recipe with `--data` and every `--set` applied.

    Raises:
        ValueError: An unknown setting, a value of a wrong type, or no `=` in a change.
    """
    data = {"data.root": args.data} if args.data else {}
    return override(RECIPES[args.recipe](), data | read_changes(args))


def print_config(config: TrainConfig) -> None:
    """Print a config as JSON, for `--dry-run`."""
    print(json.dumps(to_dict(config), indent=2))


def run(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse, set logging up and call the command.

    What a user can mend ends in one line and exit code 2; Ctrl-C in one line and 130, SIGTERM in
    one and 143. Whoever knows what is left then says so in a note on the `KeyboardInterrupt`.
    """
    args = parser.parse_args(argv)
    set_ray_defaults()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("botocore", "aiobotocore"):  # they tell where they find credentials
        logging.getLogger(name).setLevel(logging.WARNING)
    with interruptible() as received:
        try:
            for path in _given_paths(args):
                storage.check_reachable(path)
            command(args)
        except USER_ERRORS as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        except KeyboardInterrupt as interrupt:
            number = received[0] if received else signal.SIGINT
            said = "; ".join([SIGNALS[number], *getattr(interrupt, "__notes__", [])])
            parser.exit(128 + number, f"{parser.prog}: {said}\n")


@contextmanager
def interruptible() -> Iterator[list[signal.Signals]]:
    """Within, SIGTERM raises KeyboardInterrupt as Ctrl-C does; yields which of them came.

    Which one it was must be noted: Ray replaces an exception that comes while it waits by a
    `KeyboardInterrupt` of its own. After one came, what is left of this process is its orderly end,
    which must not be cut off: that would leave Ray's processes behind.
    """
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if received else handler)


def _given_paths(args: argparse.Namespace) -> Iterator[str]:
    """Yield all of a command's arguments that are paths in object storage and will be used."""
    if getattr(args, "dry_run", False):
        return
    for value in vars(args).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and storage.is_remote(item):
                yield item


def set_ray_defaults() -> None:
    """Set how Ray behaves and how much it says, where the environment does not say otherwise.

    Ray reads most of it when it is imported.
    """
    if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
        # Named for the systems where it is off by default: a cluster that never grows beyond this
        # machine, and therefore listens on the loopback address alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    for name, value in {
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_DATA_LOG_LEVEL": "ERROR",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its new behavior, without the notice
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # else workers read relative paths from another folder
    }.items():
        os.environ.setdefault(name, value)
