"""Released weights: how do the authors' checkpoints become ours?

VIBE's hold a generator, sometimes a discriminator, and a score; SPIN's hold a ResNet-50 with the
regressor that VIBE starts from. Their names for our weights are our names. A VIBE checkpoint also
carries the SMPL model itself, under SMPL's license: those buffers are dropped, a body is chosen by
path (`body/model.py`). Files are untrusted: only tensors and plain numbers are ever unpickled.
"""

import dataclasses
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar as numpy_scalar
from torch import Tensor, nn

from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig

Weights = dict[str, Tensor]

_NOT_OURS = ("regressor.smpl.", "hmr.")
"""The SMPL layer of every VIBE generator, and the image network of its demo."""

# `performance` is a numpy number. numpy renamed the module of its constructor in version 2.
_NUMBERS: list[Any] = [
    (numpy_scalar, "numpy.core.multiarray.scalar"),
    (numpy_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
]


@dataclass(frozen=True)
class ReleasedVibe:
    """The content of a released VIBE checkpoint, as our state dicts in float32."""

    generator: Weights
    discriminator: Weights | None
    """None where the file holds a generator alone."""
    pa_mpjpe_mm: float | None
    """The validation error that the file states for itself."""


def read_vibe(
    path: str | Path, generator: GeneratorConfig, discriminator: MotionDiscriminatorConfig
) -> ReleasedVibe:
    """Read a VIBE checkpoint (`vibe_model_w_3dpw.pth.tar` and its like).

    Args:
        path: The file.
        generator: Architecture of the file's generator; the released ones are the defaults.
        discriminator: Architecture of its discriminator; the released run used the defaults.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or of another architecture.
    """
    content = _load(Path(path))
    found = {
        name: value
        for name, value in _weights(content, "gen_state_dict", path).items()
        if not name.startswith(_NOT_OURS)
    }
    expected = _generator_shapes(generator)
    _check(found, expected, f"the generator in {path}")
    motion: Weights | None = None
    if "disc_motion_state_dict" in content:
        motion = _weights(content, "disc_motion_state_dict", path)
        _check(motion, _discriminator_shapes(discriminator), f"the discriminator in {path}")
    score = content.get("performance")
    return ReleasedVibe(found, motion, None if score is None else float(score))


def read_spin_regressor(path: str | Path, generator: GeneratorConfig) -> Weights:
    """Read the regressor out of a SPIN checkpoint (`spin_model_checkpoint.pth.tar`).

    The names of the result have no prefix: it is a state dict of `Generator(...).regressor`. The
    other weights of the file are the image network's and are left where they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or its regressor is of another architecture.
    """
    prefix = "regressor."
    expected = {
        name.removeprefix(prefix): shape
        for name, shape in _generator_shapes(generator).items()
        if name.startswith(prefix)
    }
    weights = _weights(_load(Path(path)), "model", path)
    found = {name: value for name, value in weights.items() if name in expected}
    _check(found, expected, f"the regressor in {path}")
    return found


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a file of the authors' vibe_data folder, see "
            "https://github.com/mkocabas/VIBE"
        )
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused, it holds more than tensors and plain numbers, and loading it "
            f"could run its code: {error}"
        ) from error
    except Exception as error:  # what garbage makes the unpickler raise is not defined
        raise ValueError(f"{path} is no readable PyTorch checkpoint: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of state dicts")
    return content


def _weights(content: Mapping[str, Any], key: str, path: str | Path) -> Weights:
    """Return a state dict of the file in float32, the training precision."""
    weights = content.get(key)
    if not isinstance(weights, Mapping):
        raise ValueError(f"{path} has no state dict {key!r}; found {sorted(map(str, content))}")
    return {name: v.float() for name, v in weights.items() if isinstance(v, Tensor)}


def _generator_shapes(config: GeneratorConfig) -> dict[str, torch.Size]:
    # The checkpoint brings its mean parameters: their file need not be here.
    regressor = dataclasses.replace(config.regressor, mean_params="rest")
    with torch.device("meta"):
        return _shapes(Generator(dataclasses.replace(config, regressor=regressor)))


def _discriminator_shapes(config: MotionDiscriminatorConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return _shapes(MotionDiscriminator(config))


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def _check(found: Weights, expected: Mapping[str, torch.Size], what: str) -> None:
    """Raise ValueError that names every weight which is missing, unexpected or misshapen."""
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(expected[name])}"
        for name in sorted(found.keys() & expected.keys())
        if found[name].shape != expected[name]
    ]
    if problems:
        raise ValueError(
            f"{what} does not fit the config: {'; '.join(problems)}. Change the config to the "
            "file's architecture"
        )
