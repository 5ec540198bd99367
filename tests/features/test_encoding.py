from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data import noise
from vibe_ray.data import journal
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.recordings import Recordings
from vibe_ray.data.sequences import read_label_sequences, read_pose_sequences, stored_labels
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.data.targets import pose_targets
from vibe_ray.features.encoding import encode, encode_labels, encoded
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig

LENGTHS = (30, 5, 700, 12)


class Counting(KeypointEncoder):
    """Notes what it encodes, and dies where it is told to."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(KeypointEncoderConfig(hidden_dim=16, num_blocks=1, feature_dim=24))
        self.freeze()
        self.seen: list[str] = []
        self.die_at = ""

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        if labels.sequence == self.die_at:
            raise KeyboardInterrupt
        self.seen.append(labels.sequence)
        return super().encode(labels, mirrored=mirrored)


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> str:
    return noise.write_labels(str(tmp_path_factory.mktemp("labels")), LENGTHS)


def test_features_and_targets_come_together(encoder: Counting) -> None:
    labels = noise.labelled_sequence("walk", 9, 2, person="left")
    found = encode(labels, encoder)
    assert (found.key, found.fps, found.start_frame) == (("walk", "left"), noise.FPS, 200)
    assert found.encoder_id == encoder.id
    np.testing.assert_array_equal(found.features, encoder.encode(labels).half().numpy())
    for name, expected in pose_targets(labels).items():
        np.testing.assert_array_equal(getattr(found, name), expected)


def test_labels_become_pose_shards(labels: str, encoder: Counting, tmp_path: Path) -> None:
    written = encode_labels(labels, str(tmp_path), encoder)
    manifest = read_manifest(str(tmp_path), "pose")
    assert written.manifest == manifest
    assert (manifest.dataset, manifest.split, manifest.fps) == ("labels", "train", noise.FPS)
    assert (manifest.encoder_id, manifest.feature_dim) == (encoder.id, 24)
    assert (written.num_recordings, written.skipped) == (4, {})
    assert encoder.seen == ["s0", "s1", "s2", "s3"]
    sequences = zip(read_pose_sequences(str(tmp_path)), read_label_sequences(labels), strict=True)
    for found, source in sequences:
        expected = vars(encode(source, encoder))
        for name, value in vars(found).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("die_at", ["s0", "s2", "s3"])
def test_a_rerun_encodes_nothing_that_is_finished_and_ends_the_same(
    labels: str, encoder: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: str
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    encode_labels(labels, str(tmp_path / "whole"), encoder)
    out = tmp_path / "killed"
    encoder.die_at, encoder.seen = die_at, []
    with pytest.raises(KeyboardInterrupt):
        encode_labels(labels, str(out), encoder)
    encoder.die_at = ""
    encode_labels(labels, str(out), encoder)
    assert encoder.seen == ["s0", "s1", "s2", "s3"]
    assert noise.contents(out) == noise.contents(tmp_path / "whole")


def test_what_is_finished_is_encoded_again_only_for_other_labels_or_another_encoder(
    labels: str, encoder: Counting, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    encode_labels(labels, out, encoder)
    encoder.seen = []
    again = encode_labels(labels, out, encoder)
    assert (encoder.seen, again.num_recordings) == ([], 4)
    other = str(tmp_path / "labels")
    with ShardWriter(other, noise.header("labels/train")) as writer:
        writer.write(noise.labelled_sequence("s9", 6, 9))
    encode_labels(other, out, encoder)
    assert encoder.seen == ["s9"]
    with torch.no_grad():
        encoder.output.bias += 1
    encode_labels(other, out, encoder.freeze())
    assert encoder.seen == ["s9", "s9"]


def test_a_recording_that_cannot_be_encoded_is_left_out_with_its_reason(
    labels: str, encoder: Counting, tmp_path: Path
) -> None:
    def broken(found: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        if found.sequence == "s1":
            raise ValueError("its video is cut off")
        return KeypointEncoder.encode(encoder, found)

    encoder.encode = broken  # type: ignore[method-assign]
    written = encode_labels(labels, str(tmp_path), encoder)
    assert written.skipped == {"s1/0": "its video is cut off"}
    assert [s.sequence for s in read_pose_sequences(str(tmp_path))] == ["s0", "s2", "s3"]


@pytest.mark.parametrize("names", [LabelNames(), LabelNames(kp_2d=noise.NAMES.kp_2d)])
def test_labels_without_detections_are_refused_before_any_is_read(
    encoder: Counting, tmp_path: Path, names: LabelNames
) -> None:
    source = str(tmp_path / "labels")
    unknown: dict[str, Any] = {"has_kp_3d": np.zeros(5, bool)}
    sequence = noise.labelled_sequence("a", 5, names=names, **unknown)
    with ShardWriter(source, noise.header("labels/train", names=names)) as writer:
        writer.write(sequence)
    with pytest.raises(ValueError, match="labels: no detected key-points, which encoder keypoints"):
        encode_labels(source, str(tmp_path / "out"), encoder)
    with pytest.raises(ValueError, match="a: no detected key-points"):
        encode(sequence, encoder)
    assert not (tmp_path / "out").exists()


def test_shards_of_another_kind_are_no_labels(shards: str, encoder: Counting) -> None:
    with pytest.raises(ValueError, match="holds pose shards, expected labels shards"):
        encode_labels(f"{shards}/open_3d/train", "out", encoder)


def test_nothing_is_read_or_encoded_before_its_turn(labels: str, encoder: Counting) -> None:
    found: Recordings[Any] = encoded(stored_labels(labels), encoder)
    assert [recording.name for recording in found.items] == ["s0/0", "s1/0", "s2/0", "s3/0"]
    assert encoder.seen == []
    (sequence,) = found.items[2].read()
    assert (encoder.seen, sequence.num_frames) == (["s2"], 700)
