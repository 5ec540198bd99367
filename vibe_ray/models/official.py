"""Released weights: how do the authors' checkpoints become ours?

VIBE's hold a generator, sometimes a discriminator, and a score; SPIN's hold a ResNet-50 with the
regressor that VIBE starts from. Their names for our weights are our names, but for the `module.`
that DataParallel puts before them. What an architecture's weights say of it, their shapes, is read
from the file. A VIBE checkpoint also carries the SMPL model itself, under SMPL's license: those
buffers are dropped, a body is chosen by path (`body/model.py`). Files are untrusted: only tensors
and plain numbers are ever unpickled.
"""

import dataclasses
import logging
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vibe_ray.features.image_encoder import ImageEncoder, ImageEncoderConfig
from vibe_ray.models.generator import Generator, GeneratorConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminator, MotionDiscriminatorConfig
from vibe_ray.storage.foreign import NUMPY_ARRAY, NUMPY_NUMBER, check_download

logger = logging.getLogger(__name__)

Weights = dict[str, Tensor]

NUM_LISTED = 5
"""Weights that an error names."""

_NOT_OURS = ("regressor.smpl.", "hmr.")
"""The SMPL layer of every VIBE generator, and the image network of its demo."""

# `performance` is a numpy number or an array of one, SPIN's `dataset_perm` an array of numbers. The
# module of numpy's constructors was renamed in its version 2.
_NUMBERS: list[Any] = [
    (NUMPY_NUMBER, "numpy.core.multiarray.scalar"),
    (NUMPY_NUMBER, "numpy._core.multiarray.scalar"),
    (NUMPY_ARRAY, "numpy.core.multiarray._reconstruct"),
    (NUMPY_ARRAY, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in "bBhHiIlLqQefd?"),
]


@dataclass(frozen=True)
class ReleasedVibe:
    """The content of a released VIBE checkpoint, as our state dicts in float32."""

    config: GeneratorConfig
    """The architecture that the weights have."""
    generator: Weights
    discriminator: Weights | None
    """None where the file holds a generator alone, or a discriminator of another architecture."""
    pa_mpjpe_mm: float | None
    """The validation error that the file states for itself."""


def read_vibe(
    path: str | Path, generator: GeneratorConfig, discriminator: MotionDiscriminatorConfig
) -> ReleasedVibe:
    """Read a VIBE checkpoint (`vibe_model_w_3dpw.pth.tar` and its like), or a generator's weights.

    Args:
        path: The file.
        generator: Gives what no weight's shape tells, such as the residual: as released.
        discriminator: The architecture that is wanted; another one is left out, with a warning,
            since a generator is served and started from without.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or its generator is none of VIBE's.
    """
    content = _load(Path(path))
    found = {
        name: value
        for name, value in _weights(content, "gen_state_dict", path).items()
        if not name.startswith(_NOT_OURS)
    }
    config = generator_config_of(found, generator)
    _check(found, _generator_shapes(config), f"the generator in {path}")
    motion: Weights | None = None
    if "disc_motion_state_dict" in content:
        motion = _weights(content, "disc_motion_state_dict", path)
        problems = _problems(motion, _discriminator_shapes(discriminator))
        if problems:
            logger.warning(
                "the discriminator in %s is left out, it is of another architecture: %s",
                *(path, _listed(problems)),
            )
            motion = None
    score = content.get("performance")
    return ReleasedVibe(config, found, motion, None if score is None else float(score))


def generator_config_of(weights: Mapping[str, Tensor], base: GeneratorConfig) -> GeneratorConfig:
    """Read a generator's architecture from the shapes of its weights.

    Args:
        weights: Named as VIBE's are; where there is no encoder, of the frame-by-frame baseline.
        base: Gives what shapes do not tell.

    Returns:
        A config that the weights may still not fit: an incomplete state dict has no architecture.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    regressor = base.regressor
    if "regressor.fc1.weight" in shapes:
        regressor = dataclasses.replace(regressor, hidden_dim=shapes["regressor.fc1.weight"][0])
    states = [name for name in shapes if name.startswith("encoder.gru.weight_hh_l")]
    if "encoder.gru.weight_ih_l0" not in shapes or not states:
        encoder = dataclasses.replace(base.temporal_encoder, kind="none")
        return dataclasses.replace(base, temporal_encoder=encoder, regressor=regressor)
    hidden, feature_dim = shapes[states[0]][-1], shapes["encoder.gru.weight_ih_l0"][-1]
    backward = [name for name in states if name.endswith("_reverse")]
    gru = dataclasses.replace(
        base.temporal_encoder.gru,
        hidden_dim=hidden,
        num_layers=len(states) - len(backward),
        bidirectional=bool(backward),
        add_linear=any(name.startswith("encoder.linear.") for name in shapes),
    )
    encoder = dataclasses.replace(base.temporal_encoder, kind="gru", gru=gru)
    return dataclasses.replace(
        base, feature_dim=feature_dim, temporal_encoder=encoder, regressor=regressor
    )


def read_spin_regressor(
    path: str | Path, generator: GeneratorConfig
) -> tuple[GeneratorConfig, Weights]:
    """Read the regressor out of a SPIN checkpoint (`spin_model_checkpoint.pth.tar`).

    The other weights of the file are the image network's and are left where they are.

    Returns:
        The architecture of the frame baseline that the regressor makes, and its weights, named as
        a generator's.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or its regressor is of another architecture.
    """
    weights = _weights(_load(Path(path)), "model", path)
    named = {f"regressor.{name}": value for name, value in weights.items()}
    config = generator_config_of(named, generator)
    expected = _generator_shapes(config)
    found = {name: value for name, value in named.items() if name in expected}
    _check(found, expected, f"the regressor in {path}")
    return config, found


def read_spin_encoder(path: str | Path) -> ImageEncoder:
    """Read the image network out of a SPIN checkpoint, frozen, as a frame encoder.

    Its regressor (`read_spin_regressor`), the SMPL model and a classifier are left where they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is unsafe, unreadable, or its network is no ResNet-50.
    """
    encoder = ImageEncoder(ImageEncoderConfig())
    expected = _shapes(encoder)
    found = {
        name.removeprefix("hmr.").removeprefix("model."): value
        for name, value in _weights(_load(Path(path)), "model", path).items()
    }
    # Counts of training steps, which old files have not, and which change no feature.
    counts = {name: value for name, value in encoder.state_dict().items() if value.ndim == 0}
    kept = counts | {name: value for name, value in found.items() if name in expected}
    if problems := _problems(kept, expected):
        raise ValueError(
            f"the image network in {path} is not SPIN's: {_listed(problems)}. Expected are the "
            "names and shapes of a ResNet-50, as in spin_model_checkpoint.pth.tar"
        )
    encoder.load_state_dict(kept)
    return encoder.freeze()


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a file of the authors' vibe_data folder, see "
            "https://github.com/mkocabas/VIBE"
        )
    check_download(path)
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} is refused: it holds more than tensors and plain numbers"
            + (f" ({asked[1]})" if asked else "")
            + ", and loading it could run its code. Take the authors' file, or save its state "
            "dicts alone"
        ) from error
    except Exception as error:  # what garbage makes the unpickler raise is not defined
        raise ValueError(
            f"{path} is no readable PyTorch checkpoint, it is damaged or was cut off "
            f"({str(error).splitlines()[0].partition('. ')[0]}): download it again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of state dicts")
    return content


def _weights(content: Mapping[str, Any], key: str, path: str | Path) -> Weights:
    """Return a state dict of the file in float32, the training precision.

    A file may be the state dict itself. Names lose DataParallel's prefix.
    """
    is_bare = key not in content and any(isinstance(v, Tensor) for v in content.values())
    weights = content if is_bare else content.get(key)
    if not isinstance(weights, Mapping):
        raise ValueError(f"{path} has no state dict {key!r}; found {_listed(map(str, content))}")
    return {
        str(name).removeprefix("module."): value.float()
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }


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
    """Raise ValueError that names weights which are missing, unexpected or misshapen."""
    problems = _problems(found, expected)
    if problems:
        raise ValueError(
            f"{what} is none of VIBE's: {_listed(problems)}. Expected are the names and shapes of "
            "the authors' networks, whatever their width, depth and direction"
        )


def _problems(found: Weights, expected: Mapping[str, torch.Size]) -> list[str]:
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(expected[name])}"
        for name in sorted(found.keys() & expected.keys())
        if found[name].shape != expected[name]
    ]
    return problems


def _listed(items: Iterable[str]) -> str:
    """Join the first items, and say how many more there are."""
    texts = list(items)
    more = len(texts) - NUM_LISTED
    return "; ".join(texts[:NUM_LISTED]) + (f"; and {more} more" if more > 0 else "")
