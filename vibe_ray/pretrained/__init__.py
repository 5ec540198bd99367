"""Weights that ship with the package, each with a manifest of data, seed and metrics."""

from pathlib import Path
from typing import Literal

Packaged = Literal[
    "keypoint_encoder",
    "frame_baseline",
    "vibe",
    "motion_prior",
    "movenet_multipose",
    "movenet_thunder",
]


def packaged(name: Packaged) -> Path:
    """Return the directory of packaged weights.

    Raises:
        FileNotFoundError: This installation carries no such weights.
    """
    directory = Path(__file__).parent / name
    if not directory.is_dir():
        raise FileNotFoundError(f"no packaged weights {name!r} in {directory.parent}")
    return directory
