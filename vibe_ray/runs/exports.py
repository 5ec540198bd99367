"""A run's networks in half precision, without what only training needs: to use and to ship."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vibe_ray import storage
from vibe_ray.config import override
from vibe_ray.data.mixing import DataConfig
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.snapshots import (
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    PRIOR_FILE,
    load_config,
    load_manifest,
    load_weights,
    save_networks,
)

EXPORTED = (GENERATOR_FILE, DISCRIMINATOR_FILE, PRIOR_FILE)
KEPT = ("step", "data_hash", "encoder_id")
"""Of a checkpoint's manifest."""


def export_checkpoint(path: str, out: str) -> dict[str, Any]:
    """Write a checkpoint's networks in half precision; every command takes it, none resumes it.

    The data are named by their hash, not by where they lay.

    Args:
        path: A checkpoint directory, or the folder of a run or search, of which the best is taken.
        out: Directory to write, local or remote.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: Neither a checkpoint nor a run with one.
    """
    with storage.local_copy(find_checkpoint(path)) as source, TemporaryDirectory() as directory:
        config, of_run = load_config(source), load_manifest(source)
        networks = {
            name: {key: value.half() for key, value in load_weights(source, name).items()}
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
        config = override(config, {"data.root": DataConfig().root})
        save_networks(Path(directory), config, networks, manifest)
        storage.upload_directory(Path(directory), out)
    return manifest
