import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from tests.data.perfect import PERFECT
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS, indices
from vibe_ray.data import journal
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sequences import read_motion_sequences, read_pose_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.data.sources.open_motion import load_open_motion
from vibe_ray.data.synthetic.captures import CaptureConfig, CapturedBody
from vibe_ray.data.synthetic.dataset import OpenCapturesConfig, captures, split_motion
from vibe_ray.data.synthetic.detector import DETECTED
from vibe_ray.data.synthetic.labels import label_capture
from vibe_ray.data.validate import validate
from vibe_ray.features import open_world
from vibe_ray.features.encoding import encode, encode_labels
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig
from vibe_ray.features.open_world import open_recordings, write_open_world

CONFIG = OpenCapturesConfig(
    test_clips=("*part00",),
    validation_clips=("*part01",),
    captures_2d=1,
    captures_3d=1,
    captures_heldout=1,
    max_frames=60,
)
STREAMS = ("open_2d/train", "open_3d/train", "open_3d/val", "open_3d/test")


@pytest.fixture(scope="module")
def encoder() -> KeypointEncoder:
    torch.manual_seed(0)
    return KeypointEncoder(KeypointEncoderConfig(hidden_dim=16, num_blocks=1)).freeze()


@pytest.fixture(scope="module")
def motion() -> list[MotionSequence]:
    clips = {clip.name: clip for clip in load_open_motion()}
    return [clips[f"01/01_03_part{part:02d}"] for part in (0, 1, 3, 5)]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    body: BodyArrays,
    encoder: KeypointEncoder,
    motion: list[MotionSequence],
) -> Path:
    out = tmp_path_factory.mktemp("world")
    write_open_world(str(out), motion, encoder, CONFIG, body)
    return out


def test_every_data_set_is_written(world: Path, encoder: KeypointEncoder) -> None:
    for stream in STREAMS:
        manifest = read_manifest(str(world / stream), "pose")
        assert f"{manifest.dataset}/{manifest.split}" == stream
        assert manifest.encoder_id == encoder.id
        assert manifest.feature_dim == 2048
        assert manifest.fps == 25.0
    for split in ("train", "val"):
        assert read_manifest(str(world / "motion" / split), "motion").fps == 25.0


def test_held_out_motion_is_in_no_training_set(world: Path) -> None:
    for stream in ("open_2d/train", "open_3d/train"):
        names = {s.sequence.split("@")[0] for s in read_pose_sequences(str(world / stream))}
        assert names == {"01/01_03_part03", "01/01_03_part05"}
    motion = {clip.name for clip in read_motion_sequences(str(world / "motion/train"))}
    assert motion == {"01/01_03_part03", "01/01_03_part05"}


def test_3d_sequences_carry_consistent_truth(world: Path, body: BodyArrays) -> None:
    keypoints = BodyJoints.keypoints(body)
    for sequence in read_pose_sequences(str(world / "open_3d/train")):
        assert (sequence.has_smpl == sequence.valid).all()
        assert (sequence.has_kp_3d == sequence.valid).all()
        pose = torch.from_numpy(sequence.pose.copy())
        joints = keypoints(torch.from_numpy(sequence.betas.copy()), pose_to_rotmat(pose))
        found = torch.from_numpy(sequence.kp_3d.copy())
        shown = torch.from_numpy(sequence.valid.copy())
        torch.testing.assert_close(joints[shown], found[shown], atol=1e-4, rtol=0.0)
        assert ((sequence.kp_2d_conf > 0).all(axis=1) == sequence.valid).all()


def test_2d_sequences_have_detections_at_their_names_and_nothing_else(world: Path) -> None:
    detected = indices(DETECTED, KEYPOINTS)
    others = [i for i in range(len(KEYPOINTS)) if i not in detected]
    for sequence in read_pose_sequences(str(world / "open_2d/train")):
        for name in ("has_kp_3d", "has_smpl", "kp_3d", "pose", "betas"):
            assert not getattr(sequence, name).any()
        assert not sequence.kp_2d_conf[:, others].any()
        assert not sequence.kp_2d[sequence.kp_2d_conf == 0].any()
        assert (sequence.kp_2d_conf[:, detected] > 0).any()


def test_perfect_detections_are_the_true_keypoints(
    body: BodyArrays, encoder: KeypointEncoder, motion: list[MotionSequence]
) -> None:
    config = dataclasses.replace(CONFIG, capture=CaptureConfig(detector=PERFECT))
    clip = next(captures(motion[:1], "open_3d/test", config, CapturedBody.of(body))).capture()
    known: dict[str, Any] = {"dataset": "x", "sequence": "x", "fps": 25.0}
    true, detected = (
        encode(label_capture(clip, **known, truth=truth), encoder) for truth in ("3d", "2d")
    )
    seen = detected.kp_2d_conf > 0
    assert abs(true.kp_2d[seen] - detected.kp_2d[seen]).max() < 1e-3
    assert (true.features == detected.features).all()


def test_writing_again_gives_the_same_shards(
    world: Path,
    tmp_path: Path,
    body: BodyArrays,
    encoder: KeypointEncoder,
    motion: list[MotionSequence],
) -> None:
    write_open_world(str(tmp_path), motion[::-1], encoder, CONFIG, body)
    for stream in (*STREAMS, "motion/train", "motion/val"):
        first, again = (read_manifest(str(root / stream)) for root in (world, tmp_path))
        assert again.hash() == first.hash()


@pytest.mark.parametrize("stream", STREAMS)
def test_labels_kept_on_disk_encode_to_the_same_shards(
    world: Path,
    tmp_path: Path,
    body: BodyArrays,
    encoder: KeypointEncoder,
    motion: list[MotionSequence],
    stream: str,
) -> None:
    dataset, split = stream.split("/")
    clips = split_motion(motion, CONFIG)[split]  # type: ignore[index]
    found = open_recordings(clips, stream, CONFIG, CapturedBody.of(body))
    header = noise.header("labels/x", dataset=dataset, split=split, names=found.names, raw=None)
    found.write_to(str(tmp_path / "labels"), header)
    assert not [f for f in validate(str(tmp_path / "labels")) if f.level == "error"]
    written = encode_labels(str(tmp_path / "labels"), str(tmp_path / "out"), encoder)
    assert written.manifest.files == read_manifest(str(world / stream)).files


def test_motion_of_other_content_is_captured_anew(
    world: Path,
    tmp_path: Path,
    body: BodyArrays,
    encoder: KeypointEncoder,
    motion: list[MotionSequence],
) -> None:
    """Clips of the same names and lengths, as another version of a reader gives them."""
    shutil.copytree(world, tmp_path / "world")
    turned = [dataclasses.replace(clip, pose=clip.pose * np.float32(0.9)) for clip in motion]
    write_open_world(str(tmp_path / "world"), turned, encoder, CONFIG, body)
    write_open_world(str(tmp_path / "fresh"), turned, encoder, CONFIG, body)
    for stream in STREAMS:
        ours, fresh = (read_manifest(str(tmp_path / root / stream)) for root in ("world", "fresh"))
        assert ours == fresh != read_manifest(str(world / stream))


class Dying(KeypointEncoder):
    """Encodes so many clips, then dies."""

    num_left = 0

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> torch.Tensor:
        if not self.num_left:
            raise KeyboardInterrupt
        self.num_left -= 1
        return super().encode(labels, mirrored=mirrored)


def test_a_world_cut_off_is_taken_up_without_capturing_again_what_is_done(
    world: Path,
    tmp_path: Path,
    body: BodyArrays,
    encoder: KeypointEncoder,
    motion: list[MotionSequence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    captured: list[str] = []
    original = open_world.label_capture

    def counted(*args: Any, **known: Any) -> LabelledSequence:
        captured.append(f"{known['truth']}/{known['sequence']}")
        return original(*args, **known)

    monkeypatch.setattr(open_world, "label_capture", counted)
    dying = Dying(encoder.config)
    dying.load_state_dict(encoder.state_dict())
    dying.freeze().num_left = 5
    with pytest.raises(KeyboardInterrupt):
        write_open_world(str(tmp_path), motion, dying, CONFIG, body)
    done = captured[:5]
    captured.clear()
    write_open_world(str(tmp_path), motion, encoder, CONFIG, body)
    assert len(done) == 5
    assert not set(done) & set(captured)
    for stream in STREAMS:
        ours, whole = (read_manifest(str(root / stream)) for root in (tmp_path, world))
        assert ours == whole


def test_kinds_held_out_are_a_split_of_their_own(
    tmp_path: Path, body: BodyArrays, encoder: KeypointEncoder
) -> None:
    names = ("a", "b_unseen", "c_val", "d_test")
    clips = [noise.motion_sequence(name, 40, seed) for seed, name in enumerate(names)]
    patterns = {"test_clips": ("*test",), "validation_clips": ("*val",)}
    numbers = {"captures_2d": 0, "captures_3d": 0, "captures_heldout": 1}
    config = OpenCapturesConfig(**patterns, unseen_clips=("*unseen",), **numbers)  # type: ignore[arg-type]
    write_open_world(str(tmp_path / "all"), clips, encoder, config, body)
    found = {
        split: [clip.name for clip in read_motion_sequences(str(tmp_path / "all/motion" / split))]
        for split in ("train", "val", "test", "unseen")
    }
    assert found == {"train": ["a"], "val": ["c_val"], "test": ["d_test"], "unseen": ["b_unseen"]}
    captured = sorted(path.name for path in (tmp_path / "all/open_3d").iterdir())
    assert captured == ["test", "unseen", "val"]  # nothing to train on: a run may capture that
    assert not (tmp_path / "all/open_2d").exists()
    without = [clip for clip in clips if "unseen" not in clip.name]
    motion_alone = dataclasses.replace(config, captures_heldout=0)
    write_open_world(str(tmp_path / "none"), without, encoder, motion_alone, body)
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["motion"]
    assert not (tmp_path / "none/motion/unseen").exists()
