"""The open world on disk: captures of motion, seen through the frame encoder, as shards.

Shapes: N frames, F features, K = 49 key-points.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence

import torch

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.data.schema import Manifest, MotionSequence, PoseSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.data.synthetic.captures import CapturedClips
from vibe_ray.data.synthetic.dataset import (
    NamedClip,
    OpenCapturesConfig,
    Split,
    captures,
    split_motion,
)
from vibe_ray.data.synthetic.detector import DETECTED, DETECTED_AMONG_49
from vibe_ray.features.keypoint_encoder import KeypointEncoder
from vibe_ray.storage import join

logger = logging.getLogger(__name__)

CONVERTER = "open_captures"
CONVERTER_VERSION = 1
STREAMS: tuple[tuple[str, Split], ...] = (
    ("open_2d", "train"),
    ("open_3d", "train"),
    ("open_3d", "val"),
    ("open_3d", "test"),
)
MOTION_SPLITS: tuple[Split, ...] = ("train", "val")


def captures_to_sequences(
    captured: Iterable[NamedClip],
    encoder: KeypointEncoder,
    *,
    dataset: str,
    fps: float,
    with_3d: bool,
) -> Iterator[PoseSequence]:
    """Encode captured clips as sequences for pose shards.

    Args:
        captured: Clips, each a batch of one.
        encoder: Makes the features.
        dataset: Name of the data set.
        fps: Frames per second.
        with_3d: Give the truth: exact 2D key-points, 3D key-points, pose and shape. Otherwise only
            what the detector found, at its place among the 49, as a 2D data set has it.
    """
    encoder_id = encoder.encoder_id
    for clip in captured:
        clips = clip.clips
        N = clips.box.shape[1]
        shown = clips.has_box[0]
        kp_2d, kp_2d_conf = _true_kp_2d(clips) if with_3d else _detected_kp_2d(clips)
        known = shown if with_3d else torch.zeros_like(shown)
        features = encoder.encode(
            DETECTED, clips.detected, clips.detected_conf, clips.box, clips.image_size[:, None]
        )
        yield PoseSequence(
            dataset=dataset,
            sequence=clip.name,
            person="0",
            fps=fps,
            encoder_id=encoder_id,
            features=features[0].half().numpy(),
            kp_2d=kp_2d.numpy(),
            kp_2d_conf=kp_2d_conf.numpy(),
            kp_3d=_where(known, clips.kp_3d[0]).numpy(),
            has_kp_3d=known.numpy(),
            pose=_where(known, clips.pose[0]).numpy(),
            betas=_where(known, clips.betas.expand(N, -1)).numpy(),
            has_smpl=known.numpy(),
            valid=shown.numpy(),
        )


def write_open_world(
    out: str,
    motion: Sequence[MotionSequence],
    encoder: KeypointEncoder,
    config: OpenCapturesConfig,
    body: BodyArrays,
) -> None:
    """Write `open_2d/train`, `open_3d/{train,val,test}` and `motion/{train,val}` below `out`.

    Args:
        out: Folder, local or remote.
        motion: All clips; they are split by name.
        encoder: The frozen frame encoder.
        config: What is captured.
        body: Whose key-points are seen.

    Raises:
        ValueError: No motion is left for one of the splits.
    """
    splits = split_motion(motion, config)
    source = _source(motion, config)
    for split in MOTION_SPLITS:
        with ShardWriter(
            join(out, f"motion/{split}"), _header("motion", split, source, config)
        ) as w:
            for clip in splits[split]:
                w.write(clip)
    keypoints = BodyJoints.keypoints(body)
    for dataset, split in STREAMS:
        stream = f"{dataset}/{split}"
        header = _header(dataset, split, source, config).model_copy(
            update={
                "kind": "pose",
                "encoder_id": encoder.encoder_id,
                "feature_dim": encoder.config.feature_dim,
            }
        )
        found = captures(splits[split], stream, config, keypoints)
        with ShardWriter(join(out, stream), header) as writer:
            for sequence in captures_to_sequences(
                found, encoder, dataset=dataset, fps=config.fps, with_3d=dataset == "open_3d"
            ):
                writer.write(sequence)
        logger.info("%s: %d frames", stream, writer.manifest.num_frames)


def _source(motion: Sequence[MotionSequence], config: OpenCapturesConfig) -> str:
    """Say what the data are of, so that a run cut off is not taken up with other settings."""
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    clips = sorted((clip.name, len(clip.pose), clip.fps) for clip in motion)
    digest = hashlib.sha256(f"{settings}{clips}".encode()).hexdigest()[:12]
    datasets = ", ".join(sorted({clip.dataset for clip in motion}))
    return f"{len(motion)} motion clips of {datasets}; settings {digest}"


def _header(dataset: str, split: str, source: str, config: OpenCapturesConfig) -> Manifest:
    return Manifest(
        kind="motion",
        dataset=dataset,
        split=split,
        source=source,
        converter=CONVERTER,
        converter_version=CONVERTER_VERSION,
        fps=config.fps,
    )


def _true_kp_2d(clips: CapturedClips) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact key-points (N, K, 2) of a batch of one, and their weight (N, K)."""
    kp_2d = clips.kp_2d[0]
    return kp_2d, clips.kp_2d_conf[0, :, None].expand(kp_2d.shape[:-1])


def _detected_kp_2d(clips: CapturedClips) -> tuple[torch.Tensor, torch.Tensor]:
    """Detected key-points (N, K, 2) of a batch of one at their names' places, and confidences."""
    kp_2d = torch.zeros_like(clips.kp_2d[0])
    conf = kp_2d.new_zeros(kp_2d.shape[:-1])
    seen = clips.detected_conf[0] * clips.has_box[0, :, None]
    kp_2d[:, DETECTED_AMONG_49] = _where(seen > 0, clips.detected_in_box[0])
    conf[:, DETECTED_AMONG_49] = seen
    return kp_2d, conf


def _where(known: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Zero what is not known; `known` has the leading dimensions of `values`."""
    spread = known.reshape(known.shape + (1,) * (values.ndim - known.ndim))
    return torch.where(spread, values, 0.0)
