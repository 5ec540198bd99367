"""A run's networks in half precision, without what only training needs: to use and to ship."""

from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.data.mixing import DataConfig
from vibe_ray.features.keypoint_encoder import KeypointEncoder
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.claims import ENCODERS, NO_PATHS, STARTS
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.packages import replaceable
from vibe_ray.runs.snapshots import (
    DISCRIMINATOR_FILE,
    ENCODER_FILE,
    GENERATOR_FILE,
    PRIOR_FILE,
    Weights,
    load_config,
    load_manifest,
    load_weights,
    save_networks,
)
from vibe_ray.settings import override

EXPORTED = (GENERATOR_FILE, DISCRIMINATOR_FILE, PRIOR_FILE)
KEPT = ("step", "data_hash", "encoder_id", "started_from")
"""Of a checkpoint's manifest."""
ELSEWHERE = "elsewhere"
"""Stands for the path of a network with which a run began. A body's path stays, for whoever uses
the package to put it right."""
ENCODER_DIR = "keypoint_encoder"
BASELINE_DIR = "frame_baseline"
"""What becomes of a frame encoder's checkpoint: packages of the encoder and of its baseline."""


def export_checkpoint(path: str, out: str, overwrite: bool = False) -> dict[str, Any]:
    """Write a checkpoint's networks in half precision; every command takes it, none resumes it.

    Data and the frame encoder are named by hashes, not by where they lay; of other networks that it
    began with the config says no more than that they lay elsewhere. Of a frame encoder in training
    two packages are written: the encoder, for `prepare open --encoder` and the like, and the frame
    baseline, a checkpoint like others.

    Args:
        path: A checkpoint directory, or the folder of a run or search, of which the best is taken.
        out: Directory to write, local or remote: a new or empty one, or with `overwrite` one that
            holds what was exported before.
        overwrite: Replace that.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: Neither a checkpoint nor a run with one.
        FileExistsError: Something else is in `out`, or what may not be replaced.
    """
    with opened(find_checkpoint(path)) as source, TemporaryDirectory() as directory:
        config, of_run = load_config(source), load_manifest(source)
        networks = {
            name: _half(load_weights(source, name))
            for name in EXPORTED
            if (source / name).is_file()
        }
        manifest = {
            **{name: of_run[name] for name in KEPT if of_run.get(name, "") != ""},
            "seed": config.seed,
            "validation_metrics": {
                name: value
                for name, value in of_run.get("metrics", {}).items()
                if not name.startswith("system/")
            },
        }
        config = _without_places(config)
        target = Path(directory)
        if config.task == "frame_encoder":
            of_encoder = storage.join(out, ENCODER_DIR)
            config, out = _of_baseline(config), storage.join(out, BASELINE_DIR)
            replaced = {path: replaceable(path, overwrite) for path in (of_encoder, out)}
            encoder = KeypointEncoder(config.frame_encoder)
            encoder.load_state_dict(load_weights(source, ENCODER_FILE))
            encoder.save(target / ENCODER_DIR, manifest)  # rounds the weights in use as well
            storage.put_files(target / ENCODER_DIR, of_encoder, replaced[of_encoder])
            manifest = {"encoder_id": encoder.id, **manifest}
            target /= BASELINE_DIR
            target.mkdir()
        else:
            replaced = {out: replaceable(out, overwrite)}
        save_networks(target, config, networks, manifest)
        storage.put_files(target, out, replaced[out])
    return manifest


def _without_places(config: TrainConfig) -> TrainConfig:
    """Return the config without where data and networks lay, for nobody else finds them there."""
    changes = {"data.root": DataConfig().root}
    for name in (*STARTS, *ENCODERS):
        path: Any = reduce(getattr, name.split("."), config)
        if path not in NO_PATHS:
            changes[name] = ELSEWHERE
    return override(config, changes)


def _of_baseline(config: TrainConfig) -> TrainConfig:
    """Return the config of a frame encoder's baseline, which is a generator."""
    defaults = DataConfig()
    return override(
        config,
        {
            "task": "generator",
            "data.validation": defaults.validation,
            "data.batch_size": config.frames.batch_size,
            "data.ratio_2d": 0.0,
            "data.pose_3d": defaults.pose_3d,
        },
    )


def _half(weights: Weights) -> Weights:
    return {name: value.half() for name, value in weights.items()}
