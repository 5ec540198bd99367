"""Released weights as checkpoint directories, so that every command takes them."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from vibe_ray import storage
from vibe_ray.config import TrainConfig, override
from vibe_ray.models.official import read_spin_regressor, read_vibe
from vibe_ray.recipes import released
from vibe_ray.runs.packages import replaceable
from vibe_ray.runs.snapshots import DISCRIMINATOR_FILE, GENERATOR_FILE, save_networks

Source = Literal["vibe", "spin"]


def import_checkpoint(
    raw: str, out: str, source: Source, overwrite: bool = False
) -> dict[str, Any]:
    """Write a file of the authors as a checkpoint directory and return its manifest.

    Args:
        raw: A VIBE checkpoint, local or remote, or SPIN's, of which the regressor becomes a frame
            baseline that `initial_regressor` can name.
        out: Directory to write, local or remote: a new or empty one, or with `overwrite` one that
            holds what was imported or exported before.
        source: Which of the two it is.
        overwrite: Replace that.

    Raises:
        FileExistsError: Something else is in `out`, or what may not be replaced.
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or of another architecture.
    """
    config, replaced = released(), replaceable(out, overwrite)
    manifest: dict[str, Any] = {"imported_from": Path(raw).name, "architecture": source}
    with storage.local_copy(raw) as file:
        if source == "vibe":
            vibe = read_vibe(file, config.generator, config.discriminator)
            config = dataclasses.replace(config, generator=vibe.config)
            networks = {GENERATOR_FILE: vibe.generator}
            if vibe.discriminator is not None:
                networks[DISCRIMINATOR_FILE] = vibe.discriminator
            manifest["stated_pa_mpjpe_mm"] = vibe.pa_mpjpe_mm
        else:
            config = frame_baseline(config)
            generator, weights = read_spin_regressor(file, config.generator)
            config = dataclasses.replace(config, generator=generator)
            networks = {GENERATOR_FILE: weights}
    with TemporaryDirectory() as directory:
        save_networks(Path(directory), config, networks, manifest)
        storage.put_files(Path(directory), out, replaced)
    return manifest


def frame_baseline(config: TrainConfig) -> TrainConfig:
    """The same without a temporal encoder and a discriminator: each frame by itself."""
    return override(config, {"generator.temporal_encoder.kind": "none", "losses.adversarial": 0.0})
