"""The open world on disk: captures of motion, seen through a frame encoder, as shards."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence

import numpy as np

from vibe_ray.body.detected import OFFSETS
from vibe_ray.body.model import BodyArrays
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.recordings import Recording, Recordings, refuse_skip
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.shards import ShardWriter, read_finished
from vibe_ray.data.synthetic.captures import CapturedBody
from vibe_ray.data.synthetic.dataset import (
    NamedClip,
    OpenCapturesConfig,
    Split,
    captures,
    split_motion,
)
from vibe_ray.data.synthetic.labels import NAMES, Truth, label_capture
from vibe_ray.features.encoding import encoded
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.storage import join

logger = logging.getLogger(__name__)

CONVERTER = "open_captures"
CONVERTER_VERSION = 1
STREAMS: tuple[tuple[str, Split], ...] = (
    ("open_2d", "train"),
    ("open_3d", "train"),
    ("open_3d", "val"),
    ("open_3d", "test"),
    ("open_3d", "unseen"),
)
MOTION_SPLITS: tuple[Split, ...] = ("train", "val", "test", "unseen")


def open_recordings(
    motion: Sequence[MotionSequence], stream: str, config: OpenCapturesConfig, body: CapturedBody
) -> Recordings[LabelledSequence]:
    """Return one stream's captures, which are made when they are read.

    Args:
        motion: The split's clips, from `split_motion`.
        stream: Data set and split, such as `open_3d/train`. `open_3d` has the truth, `open_2d` no
            more than what the detector found.
        config: What is captured.
        body: Where its key-points are, and where the detector aims.
    """
    dataset = stream.split("/")[0]
    truth: Truth = "3d" if dataset == "open_3d" else "2d"

    def recording(clip: NamedClip) -> Recording[LabelledSequence]:
        def read() -> list[LabelledSequence]:
            known = {"dataset": dataset, "sequence": clip.name}
            return [label_capture(clip.capture(), **known, fps=config.fps, truth=truth)]

        return Recording(clip.name, clip.name, read)

    found = [recording(clip) for clip in captures(motion, stream, config, body)]
    return Recordings(stream, found, refuse_skip, names=NAMES[truth], fps=config.fps)


def write_open_world(
    out: str,
    motion: Sequence[MotionSequence],
    encoder: FrameEncoder,
    config: OpenCapturesConfig,
    body: BodyArrays,
) -> None:
    """Write `open_2d/train`, `open_3d/{train,val,test}` and `motion/{train,val,test}` below `out`.

    Beside them `unseen`, where there is motion of those kinds. What was captured before, of the
    same clips with the same settings, is not captured again.

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
    source = _source(motion, config, body)
    for split in MOTION_SPLITS:
        if not splits[split]:
            continue
        header = _header("motion", split, source, config)
        with ShardWriter(join(out, f"motion/{split}"), header) as writer:
            for clip in splits[split]:
                writer.write(clip)
    captured = CapturedBody.of(body)
    for dataset, split in STREAMS:
        stream = f"{dataset}/{split}"
        if not splits[split] or not config.captures_of(stream):
            continue
        header = _header(dataset, split, source, config).model_copy(
            update={
                "kind": "pose",
                "encoder_id": encoder.id,
                "feature_dim": encoder.feature_dim,
            }
        )
        manifest = read_finished(join(out, stream), header)
        if manifest is None:
            found = open_recordings(splits[split], stream, config, captured)
            manifest = encoded(found, encoder).write_to(join(out, stream), header).manifest
        logger.info("%s: %d frames", stream, manifest.num_frames)


def _source(motion: Sequence[MotionSequence], config: OpenCapturesConfig, body: BodyArrays) -> str:
    """Say what the data are of, so that nothing made of other motion or settings is taken up."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    for clip in sorted(motion, key=lambda clip: clip.name):
        digest.update(f"{clip.name} {clip.fps}".encode())
        for array in (clip.pose, clip.trans):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    digest.update(np.ascontiguousarray(body.v_template, "<f4").tobytes())
    digest.update(repr(OFFSETS).encode())
    datasets = ", ".join(sorted({clip.dataset for clip in motion}))
    return f"{len(motion)} motion clips of {datasets}; digest {digest.hexdigest()[:12]}"


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
