"""How may a generator look at key-points themselves, beside the feature that was made of them?

As a second input of the temporal encoder, and as the reprojection error of its own estimate, which
the regressor is told in every iteration. Both start with weights of zero: training begins at the
network without them.

Shapes: I = the open frame encoder's key-points, W its inputs (`features.keypoint_encoder`), F
features, H hidden units of the regressor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams
from vibe_ray.body.skeletons import KEYPOINTS, WHOLEBODY_23, indices
from vibe_ray.features.keypoint_encoder import (
    INPUT_KEYPOINTS,
    MAX_COORDINATE,
    NUM_INPUTS,
    split_inputs,
)
from vibe_ray.geometry.cameras import project_weak_perspective


class KeypointInput(nn.Module):
    """Adds to a frame's feature what two small layers make of its key-points."""

    def __init__(self, hidden_dim: int, feature_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(NUM_INPUTS, hidden_dim)
        self.output = nn.Linear(hidden_dim, feature_dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """Return features (..., F), of features (..., F) and what a detector saw (..., W)."""
        added: Tensor = self.output(self.hidden(seen).relu())
        return features + added.to(features.dtype)


class ReprojectionFeedback(nn.Module):
    """What the regressor is told of an estimate: how far it is from what a detector saw.

    The idea is that of learned gradient descent (Song et al. 2020) and of ReFit (Wang & Daniilidis
    2023). No gradient goes back through the body: an iteration is told where the estimate was.
    """

    rows: Tensor

    def __init__(self, hidden_dim: int, body: BodyArrays) -> None:
        super().__init__()
        self.joints = BodyJoints.keypoints(body, as_detected=True)
        rows = torch.tensor(indices(WHOLEBODY_23, KEYPOINTS))  # INPUT_KEYPOINTS by their own names
        self.register_buffer("rows", rows, persistent=False)
        self.weight = nn.Parameter(torch.zeros(hidden_dim, 2 * len(INPUT_KEYPOINTS)))

    def forward(self, params: SmplParams, seen: Tensor) -> Tensor:
        """Return errors (..., 2 I) in half boxes, each times its confidence: 0 for what is missed.

        Args:
            params: Estimates (...), or one (1,) for all frames.
            seen: What a detector saw (..., W).
        """
        dtype = self.weight.dtype
        with torch.no_grad(), torch.autocast(seen.device.type, enabled=False):
            params = params.map(lambda x: x.to(dtype))
            kp, conf = split_inputs(seen.to(dtype))
            points = self.joints(params.betas, params.rotmat).index_select(-2, self.rows)
            found = project_weak_perspective(points, params.cam)
            error = kp - found.clamp(-MAX_COORDINATE, MAX_COORDINATE)
            return (conf.unsqueeze(-1) * error).flatten(-2)


@dataclass(frozen=True)
class Errors:
    """What some frames' estimates are told: feedback, and what a detector saw in them (..., W)."""

    feedback: ReprojectionFeedback
    seen: Tensor

    def of(self, params: SmplParams) -> Tensor:
        """Return the errors (..., 2 I) of estimates (...), or of one for all frames (1,)."""
        errors: Tensor = self.feedback(params, self.seen)
        return errors
