import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data import noise
from vibe_ray.body.skeletons import COCO_17, OPENPOSE_25, indices
from vibe_ray.data.boxes import track_boxes
from vibe_ray.features.keypoint_encoder import (
    INPUT_KEYPOINTS,
    MAX_COORDINATE,
    KeypointEncoder,
    KeypointEncoderConfig,
    canonical_name,
    encoder_inputs,
    mirrored_labels,
)

SMALL = KeypointEncoderConfig(hidden_dim=16, num_blocks=1)
SIZE = torch.tensor([1280.0, 720.0])


def detections(num_joints: int = 17) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    kp = 300 + 200 * torch.rand(6, num_joints, 2, generator=generator)
    conf = 0.3 + 0.7 * torch.rand(6, num_joints, generator=generator)
    return kp, conf, track_boxes(kp, conf)


def keypoint_part(inputs: Tensor) -> Tensor:
    return inputs[..., :-3].unflatten(-1, (-1, 3))


def test_inputs_agree_with_a_loop() -> None:
    kp, conf, box = detections()
    conf[2, 4] = 0.0
    inputs = encoder_inputs(COCO_17, kp, conf, box, SIZE)
    diagonal = math.hypot(1280, 720)
    for frame in range(6):
        cx, cy, size = box[frame].tolist()
        expected = []
        for name in INPUT_KEYPOINTS:
            if name not in COCO_17 or conf[frame, COCO_17.index(name)] == 0:
                expected += [0.0, 0.0, 0.0]
                continue
            joint = COCO_17.index(name)
            x, y = kp[frame, joint].tolist()
            expected += [(x - cx) / (size / 2), (y - cy) / (size / 2), float(conf[frame, joint])]
        expected += [(cx - 640) / diagonal, (cy - 360) / diagonal, size / diagonal]
        torch.testing.assert_close(inputs[frame], torch.tensor(expected))


def test_keypoint_part_does_not_depend_on_place_and_size_in_the_image() -> None:
    kp, conf, box = detections()
    shift = torch.tensor([55.0, -20.0])
    moved = encoder_inputs(
        COCO_17,
        1.7 * kp + shift,
        conf,
        torch.cat([1.7 * box[:, :2] + shift, 1.7 * box[:, 2:]], dim=1),
        SIZE,
    )
    still = encoder_inputs(COCO_17, kp, conf, box, SIZE)
    torch.testing.assert_close(moved[:, :-3], still[:, :-3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(moved[:, -3:], still[:, -3:])


def test_inputs_do_not_depend_on_the_resolution() -> None:
    kp, conf, box = detections()
    half = encoder_inputs(COCO_17, kp / 2, conf, box / 2, SIZE / 2)
    torch.testing.assert_close(half, encoder_inputs(COCO_17, kp, conf, box, SIZE))


def test_25_joints_are_placed_by_name() -> None:
    kp, conf, box = detections(25)
    found = keypoint_part(encoder_inputs(OPENPOSE_25, kp, conf, box, SIZE))
    for name in ("OP LHeel", "OP RShoulder", "OP Nose"):
        (source,) = indices((name,), OPENPOSE_25)
        target = INPUT_KEYPOINTS.index(canonical_name(name))
        assert torch.equal(found[:, target, 2], conf[:, source])
    assert (found[..., 2] > 0).all()  # 23 of the 25 are known, and they fill all inputs


def test_a_17_joint_detector_leaves_the_feet_at_confidence_zero() -> None:
    found = keypoint_part(encoder_inputs(COCO_17, *detections(), SIZE))
    assert (found[:, :17, 2] > 0).all()
    assert not found[:, 17:].any()


def test_order_of_the_detector_does_not_matter() -> None:
    kp, conf, box = detections()
    order = torch.randperm(17)
    names = [COCO_17[i] for i in order]
    shuffled = encoder_inputs(names, kp[:, order], conf[:, order], box, SIZE)
    assert torch.equal(shuffled, encoder_inputs(COCO_17, kp, conf, box, SIZE))


def test_missed_keypoints_may_be_nan() -> None:
    kp, conf, box = detections()
    conf[:, 3] = 0.0
    expected = encoder_inputs(COCO_17, kp, conf, box, SIZE)
    kp[:, 3] = math.nan
    assert torch.equal(encoder_inputs(COCO_17, kp, conf, box, SIZE), expected)


def test_without_a_box_everything_is_zero() -> None:
    kp, conf, box = detections()
    assert not encoder_inputs(COCO_17, kp, conf, torch.zeros_like(box), SIZE).any()


def test_wild_keypoints_are_clipped() -> None:
    kp, conf, box = detections()
    kp[0, 0] = 1e6
    inputs = encoder_inputs(COCO_17, kp, conf, box, SIZE)
    assert inputs.abs().max() == MAX_COORDINATE


def test_unknown_names_are_an_error() -> None:
    kp, conf, box = detections(2)
    with pytest.raises(ValueError, match="no known key-point among"):
        encoder_inputs(["tail", "snout"], kp, conf, box, SIZE)


def test_features_are_those_of_the_detections() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(SMALL)
    labels = noise.labelled_sequence("walk", 6, width=1280, height=720)
    features = encoder.encode(labels)
    assert features.shape == (6, 2048)
    assert (features >= 0).all()
    assert features.any()
    arrays = [torch.tensor(a) for a in (labels.detected, labels.detected_conf, labels.box)]
    assert torch.equal(features, encoder(encoder_inputs(COCO_17, *arrays, SIZE)))


def test_what_is_known_of_the_body_is_not_looked_at() -> None:
    encoder = KeypointEncoder(SMALL)
    labels = noise.labelled_sequence("walk", 6)
    blind = {"kp_2d": 0 * labels.kp_2d, "pose": 0 * labels.pose, "valid": ~labels.valid}
    assert torch.equal(encoder.encode(labels), encoder.encode(dataclasses.replace(labels, **blind)))


def test_default_size_fits_its_share_of_the_package() -> None:
    num = sum(p.numel() for p in KeypointEncoder(KeypointEncoderConfig()).parameters())
    assert 2 * num < 13e6


def test_mirroring_swaps_sides_about_the_picture_s_middle_and_twice_changes_nothing() -> None:
    labels = noise.labelled_sequence("a", 6)
    labels.box[2] = 0
    once = mirrored_labels(labels)
    left, right = once.names.detected.index("lwrist"), COCO_17.index("rwrist")
    np.testing.assert_allclose(once.detected[:, left, 0], 640 - labels.detected[:, right, 0])
    np.testing.assert_array_equal(once.detected[:, left, 1], labels.detected[:, right, 1])
    np.testing.assert_array_equal(once.detected_conf[:, left], labels.detected_conf[:, right])
    np.testing.assert_allclose(once.box[[0, 1, 3], 0], 640 - labels.box[[0, 1, 3], 0])
    assert not once.box[2].any()
    twice = mirrored_labels(once)
    assert twice.names == labels.names
    for name in ("detected", "detected_conf", "box"):
        np.testing.assert_allclose(getattr(twice, name), getattr(labels, name), rtol=1e-4)


def test_encoding_in_a_mirror_is_encoding_mirrored_labels() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(SMALL)
    labels = noise.labelled_sequence("a", 6)
    found = encoder.encode(labels, mirrored=True)
    assert torch.equal(found, encoder.encode(mirrored_labels(labels)))
    assert not torch.equal(found, encoder.encode(labels))
