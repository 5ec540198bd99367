"""The one config tree: sections live beside the code they configure, this file composes them.

A checkpoint's `config.json` is read again by `from_saved`; settings change by name through
`settings.override`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import vibe_ray
from vibe_ray.body.model import BodyConfig
from vibe_ray.data.mixing import DataConfig
from vibe_ray.data.synthetic.frames import FramesConfig
from vibe_ray.data.synthetic.windows import WindowsConfig
from vibe_ray.features.keypoint_encoder import KeypointEncoderConfig
from vibe_ray.losses.prior import PriorWeights
from vibe_ray.losses.weights import LossWeights
from vibe_ray.models.generator import GeneratorConfig
from vibe_ray.models.gru_encoder import GruEncoderConfig
from vibe_ray.models.motion_discriminator import MotionDiscriminatorConfig
from vibe_ray.models.motion_prior import MotionPriorConfig
from vibe_ray.settings import flatten, override, to_dict

FLAT_GRU = "generator.temporal_encoder."
"""Where the GRU's settings stood before they had a section of their own, `gru`."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Adam and its learning rates: the paper's two (Sec. 3.3), and what is trained before has."""

    generator_lr: float = 5e-5
    regressor_lr_share: float = 1.0
    """The regressor's rate over the temporal encoder's, or the frame encoder's that it is trained
    with. VIBE has one rate; a regressor that starts trained wants a smaller one than an encoder
    that starts from nothing."""
    frame_encoder_lr_share: float = 1.0
    """Likewise, of a frame encoder of a generator's own, which may start trained, too."""
    generator_weight_decay: float = 0.0
    discriminator_lr: float = 1e-4
    discriminator_weight_decay: float = 1e-4
    prior_lr: float = 1e-3
    """Of a motion prior in training."""
    frame_encoder_lr: float = 5e-4
    """Of a frame encoder in training."""
    discriminator_every: int = 1
    """The discriminator is updated at every so many steps of the generator."""
    one_pass: bool = True
    """Run the discriminator once a step over generated and captured motion together and take both
    players' gradients from one backward pass; without, each player has its own pass, with dropout
    masks of its own, as released."""
    gradient_clip: float = 0.0
    """Largest norm of a network's gradient, each network by itself; 0 sets no bound."""
    accumulate: int = 1
    """Parts in which a rank computes its share of a step, one after the other: the same windows
    and the same gradient in less memory."""
    average_decay: float = 0.0
    """Share that a moving average of the generator's weights, and of the frame encoder's in
    training, keeps per step, less in the first steps. Above 0 the average is what is validated and
    what a checkpoint's networks hold."""
    lr_schedule: Literal["plateau", "cosine"] = "plateau"
    """`plateau` cuts rates when validation gets no better, as VIBE does; `cosine` lets them rise
    for some steps, and fall along a cosine to the run's end."""
    lr_factor: float = 0.1
    lr_patience: int = 5
    """Plateau: epochs without a better validation score before the rates are cut by the factor."""
    warmup_steps: int = 0
    """Cosine: steps in which rates rise from nothing."""
    final_lr_share: float = 0.01
    """Cosine: share of its rate at which each network ends."""

    def __post_init__(self) -> None:
        rates = ("generator_lr", "discriminator_lr", "prior_lr", "frame_encoder_lr")
        bounds = (
            *((name, getattr(self, name) >= 0, "must be >= 0") for name in rates),
            ("discriminator_every", self.discriminator_every >= 1, "must be >= 1"),
            ("accumulate", self.accumulate >= 1, "must be >= 1"),
            ("gradient_clip", self.gradient_clip >= 0, "must be >= 0"),
            ("warmup_steps", self.warmup_steps >= 0, "must be >= 0"),
            ("lr_patience", self.lr_patience >= 0, "must be >= 0"),
            ("lr_factor", 0 < self.lr_factor < 1, "expected 0 < factor < 1"),
            ("final_lr_share", 0 <= self.final_lr_share <= 1, "expected a share of 0 to 1"),
            ("average_decay", 0 <= self.average_decay < 1, "expected 0 <= decay < 1"),
        )
        for name, is_right, expected in bounds:
            if not is_right:  # NaN neither
                raise ValueError(f"optim.{name} is {getattr(self, name)}, {expected}")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    protocol: str = "joints"
    """A name in `evaluation/protocols.py`."""
    max_sequences: int = 0
    """Validate a generator on the first so many sequences; 0 means all of them."""

    def __post_init__(self) -> None:
        if self.max_sequences < 0:
            raise ValueError(f"validation.max_sequences is {self.max_sequences}, must be >= 0")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run computes; where it runs and writes is `launch`'s."""

    task: Literal["generator", "motion_prior", "frame_encoder"] = "generator"
    """What is trained: VIBE; the motion prior MPoser, which then may help to train VIBE; or the
    open frame encoder, with a regressor of its own, whose features VIBE then learns from."""
    seed: int = 0
    epochs: int = 30
    steps_per_epoch: int = 500
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "fp32"
    """In which the networks' matrix products are taken. `tf32` is for NVIDIA GPUs; `bf16` pays on
    devices that multiply it faster; `auto` measures which is fastest when the run begins, and the
    run stays with it. Weights, bodies, losses and optimizers stay in float32."""
    compile: bool = False
    """Compile the networks and the losses with `torch.compile` when the run starts; on the CPU it
    needs a C++ compiler."""
    initial_regressor: str = "scratch"
    """`scratch`, `open` (the packaged frame baseline's) or a checkpoint directory's path."""
    initial_frame_encoder: str = "scratch"
    """Of a frame encoder in training, a generator's own or one with its baseline: `scratch`, `open`
    (the packaged ones) or the folder into which `prepare export` wrote both."""
    motion_prior: str = ""
    """`open` (the packaged one) or the path of a trained motion prior, its checkpoint or its run's
    folder, for the term that `losses.motion_prior` weighs. It learns no more, and is no part of the
    checkpoint."""
    checkpoints_kept: int = 2
    """How many checkpoints stay in the run's folder; the best and the last always do."""
    data: DataConfig = field(default_factory=DataConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: MotionDiscriminatorConfig = field(default_factory=MotionDiscriminatorConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    prior: MotionPriorConfig = field(default_factory=MotionPriorConfig)
    prior_losses: PriorWeights = field(default_factory=PriorWeights)
    frame_encoder: KeypointEncoderConfig = field(default_factory=KeypointEncoderConfig)
    """Of a frame encoder in training; elsewhere the data say which one made their features."""
    frames: FramesConfig = field(default_factory=FramesConfig)
    """What a frame encoder learns from."""
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    """What a generator learns from, if windows are captured as it learns."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "checkpoints_kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")

    @property
    def num_steps(self) -> int:
        """Updates of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def is_adversarial(self) -> bool:
        """Whether a discriminator takes part at all."""
        return self.losses.adversarial > 0


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a config from `to_dict`; names that no longer exist are errors, as in `override`."""
    return override(TrainConfig(), dict(flatten(values)))


def from_json(content: bytes, source: str) -> TrainConfig:
    """Rebuild a config from a file's content.

    Args:
        content: `to_dict`'s values as JSON.
        source: Path of the file, for errors.

    Raises:
        ValueError: The file is damaged, or names or values in it are no longer settings'.
    """
    return from_saved(json_object(content, source), source)


def from_saved(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Rebuild a config from values that a file holds, likely an older one.

    Settings that have moved since are found where they are now.

    Raises:
        ValueError: Names or values that are no longer settings'; says in which file they stand.
    """
    try:
        return override(TrainConfig(), {_moved(name): v for name, v in flatten(values)})
    except ValueError as error:
        raise ValueError(
            f"{source} does not fit this vibe_ray {vibe_ray.__version__}: {error}; change it in "
            "that file, or use the vibe_ray that wrote it"
        ) from None


def _moved(name: str) -> str:
    """Return the name that an older setting has now."""
    of_gru = {FLAT_GRU + item.name for item in dataclasses.fields(GruEncoderConfig)}
    return name.replace(FLAT_GRU, f"{FLAT_GRU}gru.") if name in of_gru else name


def json_object(content: bytes, source: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        content: Of a file.
        source: Path of the file, for errors.

    Raises:
        ValueError: It is something else.
    """
    try:
        values = json.loads(content)
    except ValueError as error:
        found = f"{len(content)} bytes that are no JSON ({error})"
    else:
        if isinstance(values, dict):
            return values
        found = f"a {type(values).__name__}"
    raise ValueError(
        f"{source} is damaged: expected a JSON object, found {found}; restore it, or give another "
        "path"
    )


def differences(a: TrainConfig, b: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two configs differ, by dotted name."""
    left, right = dict(flatten(to_dict(a))), dict(flatten(to_dict(b)))
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}
