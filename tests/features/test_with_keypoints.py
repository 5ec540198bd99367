"""Key-points beside features: which they are, and where there are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data import noise
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.features.encoding import encode, encode_labels, features_of
from vibe_ray.features.frame_encoder import FrameEncoder, load_encoder
from vibe_ray.features.keypoint_encoder import (
    INPUT_KEYPOINTS,
    NUM_INPUTS,
    KeypointEncoder,
    KeypointEncoderConfig,
    mirrored_labels,
    split_inputs,
)
from vibe_ray.features.with_keypoints import (
    WithKeypoints,
    check_has_keypoints,
    given_keypoints,
    has_keypoints,
    without_keypoints,
)


class Crops(FrameEncoder):
    """Looks at pixels, and finds one everywhere."""

    kind = "crops"
    needs = "crops"

    def __init__(self) -> None:
        super().__init__(None)

    @property
    def feature_dim(self) -> int:
        return 2

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> Tensor:
        return torch.full((labels.num_frames, 2), -1.0 if mirrored else 1.0)


@pytest.fixture
def inner() -> KeypointEncoder:
    torch.manual_seed(0)
    return KeypointEncoder(KeypointEncoderConfig(feature_dim=5, hidden_dim=8, num_blocks=1))


def test_features_end_with_what_was_detected_in_half_boxes(inner: KeypointEncoder) -> None:
    labels = noise.labelled_sequence("a", 4)
    labels.detected_conf[2, 3] = 0
    found = features_of(labels, WithKeypoints(inner.freeze())).float()
    assert found.shape == (4, 5 + NUM_INPUTS)
    torch.testing.assert_close(found[:, :5], inner.encode(labels).half().float(), rtol=0, atol=0)
    kp, conf = split_inputs(found[:, 5:])
    for n in range(4):
        x, y, size = labels.box[n].tolist()
        for i, name in enumerate(INPUT_KEYPOINTS):
            known = name in COCO_17 and labels.detected_conf[n, COCO_17.index(name)] > 0
            point = labels.detected[n, COCO_17.index(name)] if known else np.array([x, y])
            expected = np.clip((point - [x, y]) / (size / 2), -3, 3)
            np.testing.assert_allclose(kp[n, i].numpy(), expected, atol=2e-3)  # half precision
            sure = labels.detected_conf[n, COCO_17.index(name)] if known else 0
            np.testing.assert_allclose(conf[n, i], sure, atol=1e-3)


def test_what_supervises_is_not_looked_at(inner: KeypointEncoder) -> None:
    encoder = WithKeypoints(inner.freeze())
    labels = noise.labelled_sequence("a", 6)
    expected = encode(labels, encoder).features
    for array in (labels.kp_2d, labels.kp_3d, labels.pose, labels.betas):
        array += 1
    labels.kp_2d_conf[:] = 1
    assert np.array_equal(encode(labels, encoder).features, expected)
    labels.detected[:] += 5
    assert not np.array_equal(encode(labels, encoder).features[:, 5:], expected[:, 5:])


def test_in_a_mirror_key_points_are_those_of_mirrored_labels(inner: KeypointEncoder) -> None:
    encoder, labels = WithKeypoints(inner.freeze()), noise.labelled_sequence("a", 3)
    mirrored = encoder.encode(mirrored_labels(labels))
    torch.testing.assert_close(encoder.encode(labels, mirrored=True), mirrored)


def test_an_encoder_of_crops_may_have_key_points_beside_it() -> None:
    encoder, labels = WithKeypoints(Crops()), noise.labelled_sequence("a", 3)
    found = encoder.encode(labels, mirrored=True)
    assert encoder.needs == "crops"
    assert found.shape == (3, encoder.feature_dim) == (3, 2 + NUM_INPUTS)
    assert (found[:, :2] == -1).all()
    assert found[:, 2:].any()
    bare = LabelNames(kp_2d=noise.NAMES.kp_2d)
    with pytest.raises(ValueError, match=r"x: no detected key-points, which --keypoints puts"):
        encoder.check_has("x", bare, has_pixels=True)
    with pytest.raises(ValueError, match="x: no video or images"):
        encoder.check_has("x", noise.NAMES, has_pixels=False)


def test_its_id_is_the_encoders_with_a_mark_and_the_encoder_is_what_is_saved(
    inner: KeypointEncoder, tmp_path: Path
) -> None:
    encoder = WithKeypoints(inner)
    encoder.save(tmp_path, {})
    again = load_encoder(str(tmp_path))
    assert encoder.id == again.id + "+keypoints"
    assert without_keypoints(encoder.id) == without_keypoints(again.id) == again.id
    assert has_keypoints(encoder.id)
    assert not has_keypoints(again.id)
    assert given_keypoints(again, wanted=False) is again
    assert given_keypoints(again, wanted=True).id == encoder.id


def test_shards_say_that_they_have_key_points(inner: KeypointEncoder, tmp_path: Path) -> None:
    encoder, labels = WithKeypoints(inner.freeze()), str(tmp_path / "labels")
    with ShardWriter(labels, noise.header("labels/train")) as writer:
        writer.write(noise.labelled_sequence("a", 9))
    for name, made_by in (("plain", inner), ("wide", encoder)):
        encode_labels(labels, str(tmp_path / name), made_by)
    manifest = read_manifest(str(tmp_path / "wide"))
    assert (manifest.encoder_id, manifest.feature_dim) == (encoder.id, 5 + NUM_INPUTS)
    (plain,), (wide,) = (list(read_pose_sequences(str(tmp_path / n))) for n in ("plain", "wide"))
    assert np.array_equal(wide.features[:, :5], plain.features)
    check_has_keypoints("wide", manifest.encoder_id)
    with pytest.raises(ValueError, match=r"plain has .*no key-points beside them.*--keypoints"):
        check_has_keypoints("plain", read_manifest(str(tmp_path / "plain")).encoder_id)


@pytest.mark.parametrize("names", [LabelNames(), LabelNames(kp_2d=noise.NAMES.kp_2d)])
def test_an_annotation_is_never_taken_for_a_detection(names: LabelNames, tmp_path: Path) -> None:
    source, unknown = str(tmp_path / "labels"), {"has_kp_3d": np.zeros(5, bool)}
    known: dict[str, Any] = {"names": names, **unknown}
    with ShardWriter(source, noise.header("labels/train", names=names)) as writer:
        writer.write(noise.labelled_sequence("a", 5, **known))
    with pytest.raises(ValueError, match="labels: no detected key-points, which --keypoints puts"):
        encode_labels(source, str(tmp_path / "out"), WithKeypoints(Crops()), raw=str(tmp_path))
    assert not (tmp_path / "out").exists()
