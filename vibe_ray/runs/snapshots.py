"""A checkpoint: a learner's state at one step, in memory, and as a directory of files.

This module alone knows the names of what every checkpoint has, and of VIBE's networks:

    config.json                 the whole `TrainConfig`
    generator.safetensors       what inference needs: the moving average, where there is one
    discriminator.safetensors   absent when the run had none
    trainer.pt                  step, optimizers, schedulers, epochs so far, every rank's meter,
                                beside an average the generator itself (tensors and plain values
                                only)
    manifest.json               code version, data hashes, metrics at the time of writing, and the
                                hash of every other file (`integrity.py`)

A motion prior's has networks of its own (`training/prior.py`), a frame encoder's its own beside the
frame baseline's generator:

    encoder.safetensors         the frame encoder
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import vibe_ray
from vibe_ray import storage
from vibe_ray.body.model import load_body
from vibe_ray.config import TrainConfig, from_json, json_object
from vibe_ray.models.generator import Generator
from vibe_ray.pretrained import packaged
from vibe_ray.runs.integrity import FILES, file_hashes, opened
from vibe_ray.settings import to_dict

CONFIG_FILE = "config.json"
GENERATOR_FILE = "generator.safetensors"
DISCRIMINATOR_FILE = "discriminator.safetensors"
PRIOR_FILE = "prior.safetensors"
ENCODER_FILE = "encoder.safetensors"
TRAINER_FILE = "trainer.pt"

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A checkpoint in memory, to be written while training goes on."""

    config: TrainConfig
    networks: dict[str, Weights]
    """Weights by the name of their file."""
    trainer: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.trainer["step"])

    @property
    def history(self) -> list[dict[str, float]]:
        """Metrics of every finished epoch."""
        return list(self.trainer["history"])

    def write(self, directory: Path) -> None:
        """Write the checkpoint's files into an existing, empty directory."""
        path = directory / TRAINER_FILE
        with (
            storage.room_for(path),
            path.open("wb") as file,  # of a path PyTorch would not tell why
        ):
            torch.save(self.trainer, file)
        save_networks(directory, self.config, self.networks, self.manifest)


def save_networks(
    directory: Path, config: TrainConfig, networks: Mapping[str, Weights], manifest: dict[str, Any]
) -> None:
    """Write a checkpoint that can be used and started from, though not resumed.

    Args:
        directory: Exists.
        config: Of the networks; its other sections say how they were trained.
        networks: State dicts by the name of their file; stored in the type they come in.
        manifest: Joined by the versions that wrote it.
    """
    storage.write_json(directory / CONFIG_FILE, to_dict(config))
    for name, weights in networks.items():
        with storage.room_for(directory / name, told_by=SafetensorError):
            save_file(contiguous(weights), directory / name)
    about = {
        "written_by": {"vibe_ray": vibe_ray.__version__, "torch": torch.__version__},
        **manifest,
        FILES: file_hashes(directory),
    }
    storage.write_json(directory / storage.MANIFEST, about)


def load_config(directory: Path) -> TrainConfig:
    """Read the config of a checkpoint directory.

    Raises:
        FileNotFoundError: The directory holds no checkpoint.
        ValueError: Its config is damaged, or of another version.
    """
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no {CONFIG_FILE} in {directory}: expected a checkpoint directory, or a run's folder "
            "written by `python -m vibe_ray.train`"
        )
    return from_json(path.read_bytes(), str(path))


def load_manifest(directory: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself: versions, data, frame encoder, step and metrics."""
    path = directory / storage.MANIFEST
    return json_object(path.read_bytes(), str(path))


def load_weights(directory: Path, name: str) -> Weights:
    """Read one network's weights in float32 (packaged ones are stored in half precision)."""
    path = directory / name
    if not path.is_file():
        raise FileNotFoundError(
            f"no {name} in {directory}: the checkpoint is incomplete or foreign"
        )
    try:
        weights: Weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or take another") from None
    return {key: value.float() for key, value in weights.items()}


def load_generator(directory: Path) -> tuple[TrainConfig, Generator]:
    """Rebuild the generator of a checkpoint directory, in eval mode on the CPU.

    Raises:
        FileNotFoundError: The directory holds no checkpoint, or an incomplete one, or its body file
            is missing, which a generator with feedback has in it.
        ValueError: It is of a motion prior, or of a frame encoder in training.
    """
    config = load_config(directory)
    if config.task == "motion_prior":
        raise ValueError(
            f"{directory} holds a motion prior, which estimates no bodies: a generator is trained "
            "with it by motion_prior=PATH and losses.motion_prior"
        )
    if config.task == "frame_encoder":
        raise ValueError(
            f"{directory} holds a frame encoder in training: `python -m vibe_ray.prepare export` "
            "makes packages of it and of its frame baseline, `prepare open --encoder` features"
        )
    weights = load_weights(directory, GENERATOR_FILE)
    body = load_body(config.body) if config.generator.feedback else None
    return config, Generator.from_weights(config.generator, weights, body).eval()


def load_regressor(generator: Generator, source: str) -> None:
    """Start the regressor from a checkpoint's, as the paper's starts from HMR's.

    Args:
        generator: Its regressor is overwritten; its temporal encoder is not touched.
        source: `open` for the packaged frame baseline, or the path of a checkpoint directory.
    """
    path = str(packaged("frame_baseline")) if source == "open" else source
    with opened(path) as directory:
        weights = load_weights(directory, GENERATOR_FILE)
    prefix = "regressor."
    found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    own = generator.regressor.state_dict()
    wrong = sorted(k for k in own if k not in found or found[k].shape != own[k].shape)
    if wrong:
        shapes = {k: tuple(found[k].shape) if k in found else "missing" for k in wrong[:3]}
        raise ValueError(
            f"the regressor in {path} does not fit: {shapes}, expected "
            f"{ {k: tuple(own[k].shape) for k in wrong[:3]} }; set generator.regressor.hidden_dim "
            "to its width or initial_regressor=scratch"
        )
    generator.regressor.load_state_dict(found)


def contiguous(weights: Weights) -> Weights:
    """Detach and pack tensors as safetensors wants them."""
    return {key: value.detach().cpu().contiguous() for key, value in weights.items()}


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Keep what `weights_only` loading accepts."""
    return {k: v for k, v in values.items() if isinstance(v, int | float | str | bool | list)}


def copied(value: Any) -> Any:
    """Copy nested values, tensors to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
