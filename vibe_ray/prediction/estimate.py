"""From a track to a person: features, parameters, one body, and a place before the camera.

Shapes: N frames of a track, D key-points of the detector, J = 24 SMPL joints, K points of the body.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import roma
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import SmplParams, mirror_pose, pose_to_rotmat
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.features.blocks import FeaturesInBlocks
from vibe_ray.features.frame_encoder import FrameEncoder, load_encoder
from vibe_ray.features.with_keypoints import given_keypoints
from vibe_ray.fitting.observation import Observation
from vibe_ray.geometry.cameras import crop_camera_to_translation, locate
from vibe_ray.inference import Predictor
from vibe_ray.prediction.person import Person
from vibe_ray.video.frames import VideoFacts
from vibe_ray.video.labels import label_track
from vibe_ray.video.people import Track

FRAMES_AT_A_TIME = 1024
"""That are put in their place together; so memory holds little more than what is kept of them."""
MIN_LOCATED = 4
"""So many key-points must be seen for a body to be put where they are."""


@dataclass(frozen=True)
class Estimator:
    """A checkpoint and its frame encoder."""

    predictor: Predictor
    encoder: FrameEncoder

    @classmethod
    def load(
        cls, checkpoint: str = "open", encoder: str = "open", device: str = "cpu"
    ) -> "Estimator":
        """Load both.

        Args:
            checkpoint: As of `Predictor.from_checkpoint`.
            encoder: As of `load_encoder`.
            device: As PyTorch names it.

        Raises:
            FileNotFoundError: One of them is not there.
            ValueError: The checkpoint was trained on another encoder's features, or on features of
                another width.
        """
        predictor = Predictor.from_checkpoint(checkpoint, device)
        generator = predictor.config.generator
        frozen = given_keypoints(
            load_encoder(encoder),
            generator.sees_keypoints,
            is_read=not generator.learns_features,
        )
        if predictor.encoder_id not in ("", frozen.id):
            raise ValueError(
                f"checkpoint {checkpoint} was trained on features of encoder "
                f"{predictor.encoder_id}, {encoder} is {frozen.id}: give its own with --encoder"
            )
        if not generator.takes(frozen.feature_dim):
            raise ValueError(
                f"checkpoint {checkpoint} takes features of width "
                f"{generator.input_dim}, those of {encoder} have "
                f"{frozen.feature_dim}: give its own with --encoder"
            )
        return cls(predictor, frozen.to(device))

    @torch.no_grad()
    def estimate(self, track: Track, facts: VideoFacts, *, flip: bool = True) -> Person:
        """Estimate a person's body in every frame of a track, in one pass whatever its length.

        Args:
            track: Of the video.
            facts: The video's.
            flip: Look at the mirrored track, too, and average: slower and a little better.

        Raises:
            ValueError: The encoder needs what a track does not have.
        """
        labels = label_track(track, facts, dataset="video", sequence="")
        params = SmplParams.joined(self._pieces(labels))
        if flip:
            mirrored = self._pieces(labels, mirrored=True)
            params = SmplParams.joined(self._averaged(params, mirrored))
        return self._placed(track, facts, params)

    def _pieces(self, labels: LabelledSequence, *, mirrored: bool = False) -> Iterator[SmplParams]:
        features = FeaturesInBlocks(labels, self.encoder, mirrored=mirrored)
        return (piece.map(Tensor.cpu) for piece in self.predictor.pieces(features))

    def _averaged(self, params: SmplParams, mirrored: Iterator[SmplParams]) -> Iterator[SmplParams]:
        """Average estimates with those of the mirrored track, piece by piece."""
        first = 0
        for piece in mirrored:
            rows = slice(first, first + len(piece.betas))
            yield average(params.map(lambda x, rows=rows: x[rows]), mirrored_params(piece))  # type: ignore[misc]
            first = rows.stop

    def _placed(self, track: Track, facts: VideoFacts, params: SmplParams) -> Person:
        seen = torch.from_numpy(~track.filled)
        betas = params.betas[seen if seen.any() else slice(None)].median(dim=0).values
        body = BodyInPieces(betas, params.rotmat)
        transl = place(track, facts, params.cam, body.of(self.keypoints))
        moved = zip(body.of(self.skeleton), transl.split(FRAMES_AT_A_TIME), strict=True)
        joints = torch.cat([points + shift[:, None] for points, shift in moved])
        return Person(
            track=track,
            rotmat=params.rotmat.numpy(),
            betas=betas.numpy(),
            cam=params.cam.numpy(),
            transl=transl.numpy(),
            joints=joints.numpy(),
        )

    @cached_property
    def keypoints(self) -> BodyJoints:
        """The 49 key-points where a detector sees them, on the CPU."""
        return BodyJoints.keypoints(self.predictor.body, as_detected=True)

    @cached_property
    def skeleton(self) -> BodyJoints:
        """SMPL's joints, on the CPU."""
        return BodyJoints.skeleton(self.predictor.body)


@dataclass(frozen=True)
class BodyInPieces:
    """A body in all frames of a track, whose points are computed some frames at a time."""

    betas: Tensor
    """(10,)."""
    rotmat: Tensor
    """(N, J, 3, 3)."""

    def of(self, points: BodyJoints) -> Iterator[Tensor]:
        """Yield points (n, R, 3) in the order of the frames."""
        for rotmat in self.rotmat.split(FRAMES_AT_A_TIME):
            yield points.of_sequence(self.betas.expand(len(rotmat), -1), rotmat)


def observed(track: Track, facts: VideoFacts) -> Observation:
    """What the video shows of a track's person."""
    return Observation(
        kp_2d=torch.from_numpy(track.kp_2d),
        conf=torch.from_numpy(track.kp_2d_conf),
        names=track.names,
        box_size=torch.from_numpy(track.boxes[:, 2]),
        focal=facts.focal.pixels,
        center=(facts.width / 2, facts.height / 2),
    )


def place(track: Track, facts: VideoFacts, cam: Tensor, pieces: Iterable[Tensor]) -> Tensor:
    """Put the body where its key-points were seen; the network's own camera knows only the crop.

    Args:
        track: Of the video.
        facts: The video's, with the focal length.
        cam: The network's (N, 3), used where too little was seen in the whole track.
        pieces: The body's 49 key-points, some frames (n, 49, 3) at a time, meters, camera axes, at
            the origin.

    Returns:
        (N, 3) meters. Frames that show too little are drawn between their neighbors.
    """
    seen, principal = observed(track, facts), torch.tensor([facts.width / 2, facts.height / 2])
    parts, first = [], 0
    for points in pieces:
        rows = slice(first, first + len(points))
        target, weight = seen.target[rows], seen.weight[rows]
        part = locate(points[:, seen.body_rows], target, weight, seen.focal, principal)
        part[(weight > 0).sum(dim=1) < MIN_LOCATED] = torch.nan
        parts.append(part)
        first = rows.stop
    found = torch.cat(parts)
    if not found.isfinite().all(dim=1).any():
        boxes = torch.from_numpy(track.boxes).float()
        return crop_camera_to_translation(cam, boxes, facts.focal.pixels, principal)
    return torch.from_numpy(_without_gaps(found.numpy(), track.times_s))


def _without_gaps(values: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Draw the rows (N, 3) that are NaN between their neighbors."""
    known = np.isfinite(values).all(axis=1)
    columns = [np.interp(times_s, times_s[known], values[known, axis]) for axis in range(3)]
    return np.stack(columns, axis=1).astype(np.float32)


def mirrored_params(params: SmplParams) -> SmplParams:
    """Mirror bodies and their cameras: left becomes right. A shape is its own mirror image."""
    flip = torch.tensor([1.0, -1.0, 1.0])
    return SmplParams(pose_to_rotmat(mirror_pose(params.pose)), params.betas, params.cam * flip)


def average(one: SmplParams, other: SmplParams) -> SmplParams:
    """Average two estimates; rotations by the rotation nearest to their mean matrix."""
    rotmat = roma.special_procrustes((one.rotmat + other.rotmat) / 2)
    return SmplParams(rotmat, (one.betas + other.betas) / 2, (one.cam + other.cam) / 2)
