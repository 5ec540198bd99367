"""SMPL regressor: which body, pose and camera does a feature describe?

VIBE Sec. 3.1, after HMR. The estimate starts at mean parameters and is corrected a few times by the
same small network. That network has no non-linearity, only dropout: without dropout the whole loop
is one affine map, which `SmplRegressor.folded` computes. If it is told of its estimates' errors in
the picture (`keypoints.ReprojectionFeedback`), a correction is affine in features, estimate and
errors.

Shapes: F features, H hidden units, S = 157 numbers of the estimate (pose in 6D, betas, camera),
R numbers that errors have.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vibe_ray import storage
from vibe_ray.body.params import NUM_CAM, SmplParams
from vibe_ray.body.skeletons import NUM_BETAS, SMPL_JOINTS
from vibe_ray.geometry.rotations import rot6d_to_rotmat
from vibe_ray.models.dropout import Dropout
from vibe_ray.models.keypoints import Errors, ReprojectionFeedback

ROT6D_SHAPE = (len(SMPL_JOINTS), 6)
ESTIMATE_SIZES = (len(SMPL_JOINTS) * 6, NUM_BETAS, NUM_CAM)
"""Widths of pose, betas and camera inside an estimate, in the order of the weights' columns."""


@dataclass(frozen=True, kw_only=True)
class SmplRegressorConfig:
    hidden_dim: int = 1024
    num_iterations: int = 3
    dropout: float = 0.5
    mean_params: str = "rest"
    """`rest` starts at an upright T-pose that faces the camera; else the path of a
    `smpl_mean_params.npz` with `pose` (144,), `shape` (10,) and `cam` (3,)."""
    start: Literal["small", "one_layer"] = "small"
    """Weights before training. `small`, as HMR's: layers at random, heads so small that estimates
    start at the mean. `one_layer`: see `SmplRegressor.start_as_one_layer`; beside a frame encoder,
    `fc1` alone then learns."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "num_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"regressor.{name} is {getattr(self, name)}, must be >= 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"regressor.dropout is {self.dropout}, expected 0 <= dropout < 1")
        needed = sum(ESTIMATE_SIZES)
        if self.start == "one_layer" and self.hidden_dim < needed:
            raise ValueError(
                f"regressor.hidden_dim is {self.hidden_dim}, too narrow for regressor.start="
                f"one_layer: the estimate has {needed} numbers; widen it, or set start to small"
            )


class SmplRegressor(nn.Module):
    """Iterative regressor; names of weights and buffers are those of VIBE, SPIN and HMR.

    `fc1` reads features and estimate side by side. Its part for the features is the same in every
    iteration and computed once.
    """

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, config: SmplRegressorConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        self.feature_dim = feature_dim
        self.fc1 = nn.Linear(feature_dim + sum(ESTIMATE_SIZES), config.hidden_dim)
        self.fc2 = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.drop1 = Dropout(config.dropout)
        self.drop2 = Dropout(config.dropout)
        self.decpose, self.decshape, self.deccam = (
            nn.Linear(config.hidden_dim, size) for size in ESTIMATE_SIZES
        )
        for head in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(head.weight, gain=0.01)  # so that it starts at the mean
        pose, betas, cam = mean_estimate(config.mean_params)
        self.register_buffer("init_pose", pose)
        self.register_buffer("init_shape", betas)
        self.register_buffer("init_cam", cam)
        if config.start == "one_layer":
            self.start_as_one_layer()

    @torch.no_grad()
    def start_as_one_layer(self) -> None:
        """Set the weights so that `fc1`'s columns for the features act as one linear layer.

        `fc1` takes the estimate away again, `fc2` and the heads pass on what they are given: each
        iteration ends at W f + b, whatever the estimate before it was, where W and b are the first
        S rows of `fc1`'s part for the features and of its bias. b starts at the mean, W at zero.
        With `fc2` and the heads fixed, W learns much as a linear layer does, though `fc1`'s columns
        for the estimate learn beside it; three random matrices in a row learn less in as many
        steps: docs/results/open_world.md.
        """
        size = sum(ESTIMATE_SIZES)
        self.fc1.weight[:size] = 0
        self.fc1.weight[:size, self.feature_dim :] = -torch.eye(size)
        self.fc1.bias[:size] = self._mean()[0]
        nn.init.eye_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)
        heads = (self.decpose, self.decshape, self.deccam)
        passed_on = torch.eye(size, self.config.hidden_dim).split(ESTIMATE_SIZES)
        for head, rows in zip(heads, passed_on, strict=True):
            head.weight.copy_(rows)
            nn.init.zeros_(head.bias)

    @torch.no_grad()
    def start_at(self, rot6d: Tensor) -> None:
        """Let estimates start at a pose (J, 3, 2) or (144,)."""
        self.init_pose.copy_(rot6d.flatten())
        if self.config.start == "one_layer":
            self.start_as_one_layer()

    def fix_behind_fc1(self) -> None:
        """Let `fc1` alone learn."""
        for layer in (self.fc2, self.decpose, self.decshape, self.deccam):
            layer.requires_grad_(False)

    def forward(self, features: Tensor, errors: Errors | None = None) -> SmplParams:
        """Regress features (..., F) to SMPL parameters with the same leading dimensions.

        Args:
            features: (..., F).
            errors: Of what each iteration is told; of as many frames.
        """
        if self.training and self.config.dropout > 0:
            return decode(self._iterate(features, errors))
        return decode(self._iterate_folded(features, errors))

    def _iterate(self, features: Tensor, errors: Errors | None = None) -> Tensor:
        """Estimate (..., S) layer by layer, as dropout between the layers demands."""
        feature_weight, estimate_weight = self.fc1.weight.split(
            [self.feature_dim, sum(ESTIMATE_SIZES)], dim=1
        )
        feature_part = F.linear(features, feature_weight, self.fc1.bias)  # (..., H)
        head_weight, head_bias = self._heads()
        estimate = self._mean()  # (1, S); one row serves the whole first iteration
        for _ in range(self.config.num_iterations):
            hidden = feature_part + F.linear(estimate, estimate_weight)  # (..., H)
            if errors is not None:
                hidden = hidden + F.linear(errors.of(decode(estimate)), errors.feedback.weight)
            hidden = self.drop2(self.fc2(self.drop1(hidden)))
            estimate = estimate + F.linear(hidden, head_weight, head_bias)  # (..., S)
        return estimate

    def _iterate_folded(self, features: Tensor, errors: Errors | None = None) -> Tensor:
        """Estimate (..., S) without dropout, the layers multiplied once per call, not per frame.

        The same function, gradients to every weight included, at a fraction of the cost for a
        batch of windows.
        """
        feedback = None if errors is None else errors.feedback
        correction = self._correction(self.fc1.weight.dtype, feedback)
        return correction.iterate(self._mean(), self.config.num_iterations, features, errors)

    @torch.no_grad()
    def folded(
        self, feedback: ReprojectionFeedback | None = None
    ) -> "FoldedSmplRegressor | IteratedSmplRegressor":
        """Return this moment's regressor without dropout, folded in float64.

        It is one affine map, or with feedback one for each iteration.
        """
        dtype, correction = self.fc1.weight.dtype, self._correction(torch.float64, feedback)
        if feedback is not None:
            return IteratedSmplRegressor(
                correction.map(lambda x: x.to(dtype)), self._mean(), self.config.num_iterations
            )
        grow = torch.eye(sum(ESTIMATE_SIZES)).to(correction.constant) + correction.from_estimate
        weight, bias = torch.zeros_like(correction.from_features), self._mean()[0].double()
        for _ in range(self.config.num_iterations):
            weight = grow @ weight + correction.from_features
            bias = grow @ bias + correction.constant
        return FoldedSmplRegressor(weight.to(dtype), bias.to(dtype))

    def _correction(
        self, dtype: torch.dtype, feedback: ReprojectionFeedback | None
    ) -> "Correction":
        """Multiply the layers of one iteration: what it adds to an estimate, without dropout."""
        heads, head_bias = (part.to(dtype) for part in self._heads())
        step = heads @ self.fc2.weight.to(dtype)  # (S, H)
        from_features, from_estimate = (step @ self.fc1.weight.to(dtype)).split(
            [self.feature_dim, len(heads)], dim=1
        )
        constant = step @ self.fc1.bias.to(dtype) + heads @ self.fc2.bias.to(dtype) + head_bias
        from_errors = None if feedback is None else step @ feedback.weight.to(dtype)
        return Correction(from_features, from_estimate, constant, from_errors)

    def _heads(self) -> tuple[Tensor, Tensor]:
        """Return the three heads as one: weight (S, H) and bias (S,)."""
        heads = (self.decpose, self.decshape, self.deccam)
        return torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])

    def _mean(self) -> Tensor:
        return torch.cat([self.init_pose, self.init_shape, self.init_cam], dim=-1)  # (1, S)


@dataclass(frozen=True)
class Correction:
    """What one iteration adds to an estimate, without dropout: an affine map."""

    from_features: Tensor
    """(S, F)."""
    from_estimate: Tensor
    """(S, S)."""
    constant: Tensor
    """(S,)."""
    from_errors: Tensor | None = None
    """(S, R)."""

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Correction":
        """Apply `fn` to each tensor."""
        from_errors = None if self.from_errors is None else fn(self.from_errors)
        return Correction(
            fn(self.from_features), fn(self.from_estimate), fn(self.constant), from_errors
        )

    def iterate(
        self,
        estimate: Tensor,
        num_iterations: int,
        features: Tensor,
        errors: Errors | None,
    ) -> Tensor:
        """Correct an estimate (1, S), the mean, again and again: (..., S); see `SmplRegressor`."""
        drive = F.linear(features, self.from_features, self.constant)  # (..., S), always the same
        for _ in range(num_iterations):
            corrected = estimate + drive + F.linear(estimate, self.from_estimate)
            if self.from_errors is not None and errors is not None:
                corrected = corrected + F.linear(errors.of(decode(estimate)), self.from_errors)
            estimate = corrected
        return estimate


class IteratedSmplRegressor(nn.Module):
    """The regressor for inference, if it is told of its errors: a small matrix per iteration."""

    def __init__(self, correction: Correction, mean: Tensor, num_iterations: int) -> None:
        super().__init__()
        self.num_iterations = num_iterations
        self.register_buffer("mean", mean)  # (1, S)
        for name, matrix in vars(correction).items():
            self.register_buffer(name, matrix)

    def forward(self, features: Tensor, errors: Errors | None = None) -> SmplParams:
        """Regress features (..., F), as `SmplRegressor` does."""
        buffers = dict(self.named_buffers(recurse=False))
        mean = buffers.pop("mean")
        return decode(Correction(**buffers).iterate(mean, self.num_iterations, features, errors))


class FoldedSmplRegressor(nn.Module):
    """The regressor for inference: one matrix, a thirtieth of the arithmetic."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)  # (S, F)
        self.register_buffer("bias", bias)  # (S,)

    def forward(self, features: Tensor, errors: Errors | None = None) -> SmplParams:
        """Regress features (..., F), as a `SmplRegressor` does that knows of no errors."""
        return decode(F.linear(features, self.weight, self.bias))


def decode(estimate: Tensor) -> SmplParams:
    """Split estimates (..., S) and turn their 6D rotations into matrices."""
    rot6d, betas, cam = estimate.split(ESTIMATE_SIZES, dim=-1)
    return SmplParams(
        rotmat=rot6d_to_rotmat(rot6d.unflatten(-1, ROT6D_SHAPE)), betas=betas, cam=cam
    )


def mean_estimate(source: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the iteration starts: pose (1, 144) in 6D, betas (1, 10), camera (1, 3).

    Args:
        source: `rest`, or the path of a `smpl_mean_params.npz`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file lacks an array or one has another size.
    """
    if source == "rest":
        # 6D rotations are stored as (3, 2): the first two columns of the matrix, interleaved.
        rot6d = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).repeat(len(SMPL_JOINTS), 1)
        rot6d[0] = torch.tensor([1.0, 0.0, 0.0, -1.0, 0.0, 0.0])  # half a turn about x: y is down
        return rot6d.view(1, -1), torch.zeros(1, NUM_BETAS), torch.tensor([[0.9, 0.0, 0.0]])
    if not storage.exists(source):
        raise FileNotFoundError(
            f"no mean parameters at {source}: expected a smpl_mean_params.npz as SPIN and VIBE "
            "ship it; set generator.regressor.mean_params to its path, or to rest"
        )
    with np.load(io.BytesIO(storage.read_bytes(source))) as npz:
        found = {name: npz[name] for name in ("pose", "shape", "cam") if name in npz}
    sizes = tuple(found[name].size if name in found else 0 for name in ("pose", "shape", "cam"))
    if sizes != ESTIMATE_SIZES:
        raise ValueError(
            f"{source} holds pose, shape and cam of {sizes} numbers, expected {ESTIMATE_SIZES}"
        )
    pose, betas, cam = (torch.from_numpy(found[n]).float().view(1, -1) for n in found)
    return pose, betas, cam
