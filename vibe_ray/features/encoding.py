"""Labels to pose shards: the one way in which any data set's frames, or a video's, get features.

Shapes: N frames, F features.
"""

from torch import Tensor

from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.manifest import Manifest
from vibe_ray.data.recordings import ReadEach, Recording, Recordings, Walk, Written
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.sequences import stored_labels
from vibe_ray.data.shards import read_finished, read_manifest
from vibe_ray.data.targets import pose_targets
from vibe_ray.features.frame_encoder import FrameEncoder

CONVERTER = "features"


def features_of(
    labels: LabelledSequence, encoder: FrameEncoder, *, mirrored: bool = False
) -> Tensor:
    """Encode a person's frames: features (N, F) float16, as shards have them.

    Args:
        labels: Of the frames.
        encoder: Frozen.
        mirrored: Look at the frames in a mirror.

    Raises:
        ValueError: The frames have not what the encoder needs, or it cannot be read.
    """
    has_pixels = bool(labels.video or labels.images)
    encoder.check_has(labels.sequence, labels.names, has_pixels=has_pixels)
    return encoder.encode(labels, mirrored=mirrored).half()


def encode(labels: LabelledSequence, encoder: FrameEncoder) -> PoseSequence:
    """Encode a person's frames: features for what is seen, targets for what is known.

    Raises:
        ValueError: The frames have not what the encoder needs, or their key-points are called as
            nothing that is known (`pose_targets`).
    """
    features = features_of(labels, encoder)
    return PoseSequence(
        dataset=labels.dataset,
        sequence=labels.sequence,
        person=labels.person,
        fps=labels.fps,
        start_frame=labels.start_frame,
        encoder_id=encoder.id,
        features=features.numpy(),
        **pose_targets(labels),
    )


def encoded(
    recordings: Recordings[LabelledSequence], encoder: FrameEncoder
) -> Recordings[PoseSequence]:
    """Return recordings that are encoded when they are read."""

    def one(recording: Recording[LabelledSequence]) -> Recording[PoseSequence]:
        def read() -> list[PoseSequence]:
            return [encode(labels, encoder) for labels in recording.read()]

        return Recording(recording.name, recording.path, read)

    return Recordings(recordings.root, [one(item) for item in recordings.items], recordings.on_skip)


def encoded_labels(
    labels: str, encoder: FrameEncoder, raw: str | None = None
) -> Recordings[PoseSequence]:
    """Return a label data set's sequences, to be encoded when they are read."""
    return encoded(stored_labels(labels, raw), encoder)


def encode_labels(
    labels: str,
    out: str,
    encoder: FrameEncoder,
    *,
    raw: str | None = None,
    walk: Walk = iter,
    read: ReadEach[PoseSequence] | None = None,
) -> Written:
    """Encode a label data set as a pose data set.

    What an interrupted run has encoded is not encoded again, and nothing is where these labels were
    encoded by this encoder already.

    Args:
        labels: Folder of the label data set.
        out: Folder of the pose data set.
        encoder: Frozen.
        raw: Where videos and images are, if not where they were when the labels were made.
        walk: As of `Recordings.write_to`.
        read: As of `Recordings.write_to`; of `encoded_labels`.

    Raises:
        FileNotFoundError: There are no labels.
        ValueError: They are of another kind, or have not what the encoder needs.
    """
    source = read_manifest(labels, "labels")
    names, has_pixels = source.names or LabelNames(), bool(raw or source.raw)
    encoder.check_has(labels, names, has_pixels=has_pixels)
    recordings, header = encoded_labels(labels, encoder, raw), pose_header(labels, encoder)
    if found := read_finished(out, header):
        return Written(found, {}, len(recordings))
    return recordings.write_to(out, header, walk, read)


def pose_header(labels: str, encoder: FrameEncoder) -> Manifest:
    """Return the manifest, without files, of a label data set that is encoded."""
    source = read_manifest(labels, "labels")
    return Manifest(
        kind="pose",
        dataset=source.dataset,
        split=source.split,
        source=f"{source.source}; labels {source.hash()[:12]}",
        converter=CONVERTER,
        fps=source.fps,
        encoder_id=encoder.id,
        feature_dim=encoder.feature_dim,
    )
