"""Released weights as checkpoint directories, so that every command takes them."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.features.frame_encoder import FrameEncoder, load_encoder
from vibe_ray.features.with_keypoints import given_keypoints
from vibe_ray.models.official import read_spin_encoder, read_spin_regressor, read_vibe
from vibe_ray.recipes import released
from vibe_ray.runs.packages import replaceable
from vibe_ray.runs.snapshots import DISCRIMINATOR_FILE, GENERATOR_FILE, save_networks
from vibe_ray.settings import override

Source = Literal["vibe", "spin", "resnet50"]


def import_checkpoint(
    raw: str, out: str, source: Source, overwrite: bool = False
) -> dict[str, Any]:
    """Write a file of the authors as a checkpoint directory and return its manifest.

    Args:
        raw: A VIBE checkpoint, local or remote, or SPIN's.
        out: Directory to write, local or remote: a new or empty one, or with `overwrite` one that
            holds what was imported or exported before.
        source: What becomes of it: of VIBE's the generator (and discriminator) as a checkpoint, of
            SPIN's the regressor as a frame baseline that `initial_regressor` can name (`spin`), or
            the image network as a frame encoder (`resnet50`).
        overwrite: Replace that.

    Raises:
        FileExistsError: Something else is in `out`, or what may not be replaced.
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or of another architecture.
    """
    replaced = replaceable(out, overwrite)
    if source == "resnet50":
        return _import_encoder(raw, out, replaced)
    config = released()
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


def load_frame_encoder(
    source: str, weights: str | None = None, *, keypoints: bool = False
) -> FrameEncoder:
    """Load a frozen encoder from where it is ours or from the authors' file.

    Args:
        source: As of `load_encoder`, or `resnet50`: SPIN's image network.
        weights: SPIN's checkpoint, local or remote, for `resnet50` alone.
        keypoints: Whether it gives key-points beside its features.

    Returns:
        The encoder; one of crops on a GPU if this process has one.

    Raises:
        FileNotFoundError: There is no encoder, or no file.
        ValueError: They are of another kind, or weights are missing or not needed.
    """
    if source != "resnet50":
        if weights:
            raise ValueError(f"--weights are for --encoder resnet50; {source} has its own")
        encoder = load_encoder(source)
    elif weights:
        with storage.local_copy(weights) as file:
            encoder = read_spin_encoder(file)
    else:
        raise ValueError(
            "--encoder resnet50 needs --weights FILE: spin_model_checkpoint.pth.tar of VIBE's "
            "vibe_data, see https://github.com/mkocabas/VIBE"
        )
    has_use_of_gpu = encoder.needs == "crops" and torch.cuda.is_available()
    encoder = encoder.to("cuda" if has_use_of_gpu else "cpu")
    return given_keypoints(encoder, keypoints)


def _import_encoder(raw: str, out: str, replaced: set[str]) -> dict[str, Any]:
    manifest = {"imported_from": Path(raw).name, "architecture": "resnet50"}
    with storage.local_copy(raw) as file, TemporaryDirectory() as directory:
        encoder = read_spin_encoder(file)
        encoder.save(Path(directory), manifest)
        storage.put_files(Path(directory), out, replaced)
    return {**manifest, "encoder_id": encoder.id}


def frame_baseline(config: TrainConfig) -> TrainConfig:
    """The same without a temporal encoder and a discriminator: each frame by itself."""
    return override(config, {"generator.temporal_encoder.kind": "none", "losses.adversarial": 0.0})
