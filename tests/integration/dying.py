"""A conversion that is killed at a moment of its own: in a process that it ends by SIGKILL.

A moment is when a recording is about to be read, a file about to be written, or its finished
content about to get its name. What a process did is in a file, as far as it came.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from vibe_ray import prepare, storage
from vibe_ray.data import journal, recordings, shards
from vibe_ray.data.sources import SOURCES

NEVER = -1
FILE_BYTES = 20_000
"""Of a file of shards: a data set of a few recordings has several."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        __name__,
        *("cdflib", "h5py", "matplotlib.path", "pandas", "rich.progress"),
        "vibe_ray.runs.imports",
        "vibe_ray.features.encoding",
        *(f"vibe_ray.data.sources.{source.name}" for source in SOURCES),
    ]
)
"""What takes seconds to be imported, which a conversion does when it comes to it."""


@dataclass(frozen=True)
class Life:
    """What a process did."""

    moments: tuple[str, ...]
    was_killed: bool

    @property
    def decoded(self) -> list[str]:
        """Names of the recordings that it began to read."""
        found = (moment.partition(" ") for moment in self.moments)
        return [name for kind, _, name in found if kind == "read"]


def convert(argv: list[str], log: Path, fatal: int = NEVER) -> Life:
    """Run `prepare` in a process of its own, which dies at its `fatal`-th moment."""
    log.write_text("")
    process = CONTEXT.Process(target=_live, args=(argv, log, fatal))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return Life(tuple(log.read_text().splitlines()), process.exitcode != 0)


def _live(argv: list[str], log: Path, fatal: int) -> None:
    numbers = count()

    def before(original: Callable[..., Any], told: Callable[..., str]) -> Callable[..., Any]:
        def noted(*args: Any, **named: Any) -> Any:
            if next(numbers) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            with log.open("a") as file:
                file.write(f"{told(*args)}\n")
            return original(*args, **named)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "SAVE_S", 0.0)
        patch.setattr(shards, "FILE_BYTES", FILE_BYTES)
        for module, name, told in (
            (recordings, "read_recording", lambda item: f"read {item.name}"),
            (storage, "write_bytes_atomic", lambda path, *_: f"write {Path(path).name}"),
            (os, "replace", lambda _, path: f"name {Path(path).name}"),
        ):
            patch.setattr(module, name, before(getattr(module, name), told))
        prepare.main(argv)
