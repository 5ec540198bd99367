"""How good is a network on a set of sequences? Runs it over them and scores what comes out.

Predictions live for one sequence only, meshes for one chunk of frames, so memory does not grow with
the data set. The network's mode is the caller's business: pass it in eval mode.

Shapes: N frames of one sequence, B windows, T frames of a window, F features, K joints, V vertices.
"""

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain, zip_longest

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, indices
from vibe_ray.data.schema import PoseSequence
from vibe_ray.evaluation.metrics import center_on, pve_mm
from vibe_ray.evaluation.protocols import MESH_METRIC, Protocol
from vibe_ray.evaluation.scores import (
    EvaluationResult,
    Motion,
    SequenceScore,
    Sums,
    Truth,
    add_joint_metrics,
    combine,
)

Predict = Callable[[Tensor], SmplParams]
"""Features (B, T, F) -> parameters with leading (B, T); a `Generator` is one."""

BATCH_WINDOWS = 64
MESH_CHUNK = 128
"""Frames whose meshes exist at the same time: some 20 MB for both sides."""
SEAM_FRAMES = 2
"""Frames on each side of a seam that its accelerations reach."""


@torch.no_grad()
def predict_sequence(
    predict: Predict,
    features: Tensor,
    window_length: int,
    device: torch.device | str = "cpu",
    batch_windows: int = BATCH_WINDOWS,
) -> SmplParams:
    """Predict every frame of one person once.

    Windows of T frames do not overlap, except that the last one ends with the sequence and only its
    frames not yet covered are used. A sequence shorter than T is one short window.

    Args:
        predict: The network, in eval mode.
        features: (N, F) of any float type, on any device; N at least 1.
        window_length: T; N or more runs the whole sequence in one piece.
        device: Where the network is.
        batch_windows: Windows per call.

    Returns:
        Parameters with leading (N,), on `device`.
    """
    num_frames = len(features)
    length = min(window_length, num_frames)
    whole = num_frames - num_frames % length
    starts = torch.arange(0, whole, length)
    if whole < num_frames:
        starts = torch.cat([starts, torch.tensor([num_frames - length])])
    windows = starts[:, None] + torch.arange(length)  # (windows, T) frame numbers
    parts = [
        predict(features[batch].to(device, torch.float32)).map(lambda x: x.flatten(0, 1))
        for batch in windows.split(batch_windows)
    ]
    # In the flat order, `whole` new frames, then the last window, of which the end is new.
    flat = torch.arange(windows.numel(), device=device)
    new = torch.cat([flat[:whole], flat[len(flat) - (num_frames - whole) :]])
    return SmplParams(
        rotmat=torch.cat([part.rotmat for part in parts])[new],
        betas=torch.cat([part.betas for part in parts])[new],
        cam=torch.cat([part.cam for part in parts])[new],
    )


def true_params(sequence: PoseSequence) -> SmplParams:
    """The true bodies (N,) of a sequence, on the CPU; the camera, which no metric uses, is zero."""
    pose = torch.tensor(sequence.pose, dtype=torch.float32)
    betas = torch.tensor(sequence.betas, dtype=torch.float32)
    return SmplParams(pose_to_rotmat(pose), betas, cam=betas.new_zeros(len(betas), 3))


def evaluate(
    predict: Predict,
    sequences: Iterable[PoseSequence],
    body: BodyArrays,
    protocol: Protocol,
    window_length: int,
    device: torch.device | str = "cpu",
) -> EvaluationResult:
    """Score a network on sequences, one at a time; see `Evaluator` for arguments and errors."""
    evaluator = Evaluator(body, protocol, window_length, device)
    for sequence in sequences:
        evaluator.add(predict, sequence)
    return evaluator.result()


class Evaluator:
    """Adds up scores sequence by sequence."""

    def __init__(
        self,
        body: BodyArrays,
        protocol: Protocol,
        window_length: int,
        device: torch.device | str = "cpu",
        batch_windows: int = BATCH_WINDOWS,
    ) -> None:
        """Prepare for scoring.

        Args:
            body: The body of both the prediction and the truth.
            protocol: What is measured.
            window_length: T, the frames that the network sees at once.
            device: Where the network is and the scoring happens.
            batch_windows: Windows per call of the network.

        Raises:
            ValueError: A window would be empty.
        """
        if window_length < 1:
            raise ValueError(f"window_length is {window_length}, must be at least 1 frame")
        self.protocol = protocol
        self.window_length = window_length
        self.device = torch.device(device)
        self.batch_windows = batch_windows
        self.scores: list[SequenceScore] = []
        self._body = body

    def add(self, predict: Predict, sequence: PoseSequence) -> None:
        """Predict one sequence and keep its score.

        Raises:
            FloatingPointError: The prediction is not finite.
        """
        self.scores.append(self._score(predict, sequence))

    def all_reduce(self) -> None:
        """Gather the scores of all ranks, which were dealt the sequences in turn.

        Rank r of W must have been given the sequences r, r + W, r + 2 W, ...: their order is
        restored, so the result is the same on every rank and for every number of ranks.
        """
        gathered: list[list[SequenceScore]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(gathered, self.scores)
        dealt = chain.from_iterable(zip_longest(*gathered))
        self.scores = [score for score in dealt if score is not None]

    def result(self) -> EvaluationResult:
        """Average over everything added so far.

        Raises:
            ValueError: No frame could be evaluated, or sequences differ in where their truth is
                from.
        """
        return combine(self.scores, self.protocol, self.window_length)

    @torch.no_grad()
    def _score(self, predict: Predict, sequence: PoseSequence) -> SequenceScore:
        empty = SequenceScore(
            dataset=sequence.dataset, sequence=sequence.sequence, person=sequence.person
        )
        if self.protocol.sequences not in sequence.sequence:
            return empty
        by_smpl = self.protocol.truth == "smpl" and sequence.has_smpl.any()
        truth: Truth = "smpl" if by_smpl else "kp_3d"
        has_truth = sequence.has_smpl if truth == "smpl" else sequence.has_kp_3d
        usable = torch.tensor(sequence.valid) & torch.tensor(has_truth)
        frames = self._frames(usable)
        usable = usable[frames]
        if not usable.any():
            return empty
        features = torch.tensor(sequence.features)[frames]
        window = len(features) if self.protocol.windowing == "sequence" else self.window_length
        params = predict_sequence(predict, features, window, self.device, self.batch_windows)
        _check_finite(params, sequence)
        usable = usable.to(self.device)
        sums = Sums()
        motion = self._motion(params, sequence, frames, truth)
        add_joint_metrics(sums, motion, usable, self.protocol)
        if truth == "smpl" and self.protocol.needs_mesh:
            self._add_pve(sums, params, self._true_params(sequence, frames), usable)
        return dataclasses.replace(
            empty,
            truth=truth,
            num_frames=int(usable.sum()),
            sums=sums,
            head=motion.select(slice(None, SEAM_FRAMES)).cpu(),
            tail=motion.select(slice(-SEAM_FRAMES, None)).cpu(),
        )

    def _frames(self, usable: Tensor) -> Tensor:
        """Numbers of the frames that the network sees."""
        if self.protocol.boundaries == "per_sequence":
            return torch.arange(len(usable))
        # VIBE's preprocessing removes bad rows and its windows close over the gap.
        left = usable.nonzero().squeeze(-1)
        return left[: len(left) - len(left) % self.window_length]

    def _motion(
        self, params: SmplParams, sequence: PoseSequence, frames: Tensor, truth: Truth
    ) -> Motion:
        """Predicted and true joints of those frames, centered (N, K, 3)."""
        if truth == "smpl":
            true = self._true_params(sequence, frames)
            joints = self._evaluation_joints(params.betas, params.rotmat)
            target = self._evaluation_joints(true.betas, true.rotmat)
        else:
            rows = indices(self._names, KEYPOINTS)
            if self.protocol.truth == "kp_3d":
                joints = self._evaluation_joints(params.betas, params.rotmat)
            else:
                joints = self._keypoints(params.betas, params.rotmat)[:, rows]
            self._check_joints(sequence)
            kp_3d = torch.tensor(sequence.kp_3d[:, rows], dtype=torch.float32)
            target = kp_3d[frames].to(self.device)
        return Motion(self._centered(joints), self._centered(target))

    def _centered(self, joints: Tensor) -> Tensor:
        """Center joints (N, K or more, 3) and leave out those that only say where the origin is."""
        origin = indices(self.protocol.centered_on, self._names)
        return center_on(joints, origin)[:, : len(self.protocol.joints)]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The protocol's joints, and then those that are needed for the origin beside them."""
        return tuple(dict.fromkeys((*self.protocol.joints, *self.protocol.centered_on)))

    def _check_joints(self, sequence: PoseSequence) -> None:
        """Refuse to measure joints that the data set does not have: their place is zero there."""
        known = sequence.kp_3d[sequence.has_kp_3d]
        for name in self.protocol.joints:
            may_be_zero = name in (*COMMON_14, *self.protocol.centered_on)  # known, or the origin
            if not may_be_zero and not known[:, KEYPOINTS.index(name)].any():
                raise ValueError(
                    f"sequence {sequence.sequence!r} of {sequence.dataset!r} has no 3D joint "
                    f"{name!r}, which protocol {self.protocol.name!r} measures: evaluate by "
                    "another protocol, or prepare the data set anew"
                )

    def _true_params(self, sequence: PoseSequence, frames: Tensor) -> SmplParams:
        return true_params(sequence).map(lambda x: x[frames].to(self.device))

    def _add_pve(self, sums: Sums, params: SmplParams, target: SmplParams, usable: Tensor) -> None:
        for frames in usable.nonzero().squeeze(-1).to(self.device).split(MESH_CHUNK):
            verts = self._mesh(params.betas[frames], params.rotmat[frames]).verts
            truth = self._mesh(target.betas[frames], target.rotmat[frames]).verts
            sums.add_values(MESH_METRIC, pve_mm(verts, truth))

    @cached_property
    def _evaluation_joints(self) -> BodyJoints:
        return BodyJoints.evaluation(self._body, names=self._names).to(self.device)

    @cached_property
    def _keypoints(self) -> BodyJoints:
        return BodyJoints.keypoints(self._body).to(self.device)

    @cached_property
    def _mesh(self) -> BodyModel:
        return BodyModel(self._body).to(self.device)


def _check_finite(params: SmplParams, sequence: PoseSequence) -> None:
    if not (params.rotmat.isfinite().all() and params.betas.isfinite().all()):
        raise FloatingPointError(
            f"the prediction for sequence {sequence.sequence!r} of {sequence.dataset!r} is not "
            "finite: check the checkpoint, and the features with `prepare validate`"
        )
