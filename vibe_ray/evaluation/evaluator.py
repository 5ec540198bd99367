"""How good is a network on a set of sequences? Runs it over them and scores what comes out.

Predictions and truth live for some frames of one sequence, meshes for fewer, so memory grows
neither with the data set nor with the length of a sequence that is left where it is stored. The
network's mode is the caller's business: pass it in eval mode.

Shapes: N frames of one sequence, B windows, T frames of a window, F features, K joints, V vertices.
"""

import dataclasses
from collections.abc import Iterable
from functools import cached_property
from itertools import chain, zip_longest

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS, indices
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.sequences import StoredSequence
from vibe_ray.evaluation.metrics import center_on, pve_mm
from vibe_ray.evaluation.passes import BATCH_WINDOWS, PIECE_FRAMES, Predict, predict_pieces
from vibe_ray.evaluation.protocols import MESH_METRIC, Protocol
from vibe_ray.evaluation.scores import (
    EvaluationResult,
    Motion,
    SequenceScore,
    Sums,
    TrackScore,
    Truth,
    combine,
)

EvaluatedSequence = PoseSequence | StoredSequence

MESH_CHUNK = 128
"""Frames whose meshes exist at the same time: some 20 MB for both sides."""


def true_params(sequence: PoseSequence) -> SmplParams:
    """The true bodies (N,) of a sequence, on the CPU. The camera, which no metric uses, is zero."""
    pose = torch.tensor(sequence.pose, dtype=torch.float32)
    betas = torch.tensor(sequence.betas, dtype=torch.float32)
    return SmplParams(pose_to_rotmat(pose), betas, cam=betas.new_zeros(len(betas), 3))


def evaluate(
    predict: Predict,
    sequences: Iterable[EvaluatedSequence],
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

    def add(self, predict: Predict, sequence: EvaluatedSequence) -> None:
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
    def _score(self, predict: Predict, sequence: EvaluatedSequence) -> SequenceScore:
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
        if truth == "kp_3d":
            self._check_joints(sequence)
        window = len(frames) if self.protocol.windowing == "sequence" else self.window_length
        features = _Features(sequence, frames)
        track = TrackScore(self.protocol)
        for params in predict_pieces(predict, features, window, self.device, self.batch_windows):
            _check_finite(params, sequence)
            piece = slice(track.num_frames, track.num_frames + len(params.betas))
            true, usable_here = sequence.take(frames[piece].numpy()), usable[piece].to(self.device)
            track.add(self._motion(params, true, truth), usable_here)
            if truth == "smpl" and self.protocol.needs_mesh:
                self._add_pve(track.sums, params, self._true_params(true), usable_here)
        return dataclasses.replace(
            empty,
            truth=truth,
            num_frames=int(usable.sum()),
            sums=track.sums,
            head=track.head,
            tail=track.tail.cpu() if track.tail else None,
        )

    def _frames(self, usable: Tensor) -> Tensor:
        """Numbers of the frames that the network sees."""
        if self.protocol.boundaries == "per_sequence":
            return torch.arange(len(usable))
        # VIBE's preprocessing removes bad rows and its windows close over the gap.
        left = usable.nonzero().squeeze(-1)
        return left[: len(left) - len(left) % self.window_length]

    def _motion(self, params: SmplParams, sequence: PoseSequence, truth: Truth) -> Motion:
        """Predicted and true joints of those frames, centered (n, K, 3)."""
        if truth == "smpl":
            true = self._true_params(sequence)
            joints = self._evaluation_joints(params.betas, params.rotmat)
            target = self._evaluation_joints(true.betas, true.rotmat)
        else:
            rows = indices(self._names, KEYPOINTS)
            if self.protocol.truth == "kp_3d":
                joints = self._evaluation_joints(params.betas, params.rotmat)
            else:
                joints = self._keypoints(params.betas, params.rotmat)[:, rows]
            target = torch.tensor(sequence.kp_3d[:, rows], dtype=torch.float32).to(self.device)
        return Motion(self._centered(joints), self._centered(target))

    def _centered(self, joints: Tensor) -> Tensor:
        """Center joints (N, K or more, 3) and leave out those that only say where the origin is."""
        origin = indices(self.protocol.centered_on, self._names)
        return center_on(joints, origin)[:, : len(self.protocol.joints)]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The protocol's joints, and then those that are needed for the origin beside them."""
        return tuple(dict.fromkeys((*self.protocol.joints, *self.protocol.centered_on)))

    def _check_joints(self, sequence: EvaluatedSequence) -> None:
        """Refuse to measure joints that the data set does not have: their place is zero there."""
        may_be_zero = (*COMMON_14, *self.protocol.centered_on)  # known, or the origin
        asked = [name for name in self.protocol.joints if name not in may_be_zero]
        is_known = np.zeros(len(asked), bool)
        frames = torch.tensor(sequence.has_kp_3d).nonzero().squeeze(-1)
        for some in frames.split(PIECE_FRAMES):
            if is_known.all():
                break
            kp_3d = sequence.take(some.numpy()).kp_3d[:, indices(asked, KEYPOINTS)]
            is_known |= kp_3d.any(axis=(0, 2))
        for name in np.array(asked)[~is_known].tolist():
            raise ValueError(
                f"sequence {sequence.sequence!r} of {sequence.dataset!r} has no 3D joint "
                f"{name!r}, which protocol {self.protocol.name!r} measures: evaluate by "
                "another protocol, or prepare the data set anew"
            )

    def _true_params(self, sequence: PoseSequence) -> SmplParams:
        return true_params(sequence).map(lambda x: x.to(self.device))

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


@dataclasses.dataclass(frozen=True)
class _Features:
    """Features of some frames of a sequence, copied when they are asked for."""

    sequence: EvaluatedSequence
    frames: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, some: slice | Tensor, /) -> Tensor:
        frames = self.frames[some]
        taken = self.sequence.take(frames.flatten().numpy()).features
        return torch.from_numpy(taken).unflatten(0, frames.shape)


def _check_finite(params: SmplParams, sequence: EvaluatedSequence) -> None:
    if not (params.rotmat.isfinite().all() and params.betas.isfinite().all()):
        raise FloatingPointError(
            f"the prediction for sequence {sequence.sequence!r} of {sequence.dataset!r} is not "
            "finite: check the checkpoint, and the features with `prepare validate`"
        )
