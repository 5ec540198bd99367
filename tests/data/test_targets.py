import dataclasses

import numpy as np
import pytest

from tests.data import noise
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.targets import pose_targets


@pytest.fixture
def labels() -> LabelledSequence:
    """Twelve frames: two without a box, some key-points and bodies unknown."""
    labels = noise.labelled_sequence("walk", 12)
    labels.box[[3, 4], 2] = 0.0
    labels.kp_2d_conf[5, 2] = 0.0
    return labels


def test_keypoints_agree_with_a_loop(labels: LabelledSequence) -> None:
    found = pose_targets(labels)
    for frame in range(12):
        cx, cy, size = (float(value) for value in labels.box[frame])
        for number, name in enumerate(KEYPOINTS):
            conf, place = 0.0, (0.0, 0.0)
            if name in noise.NAMES.kp_2d and size > 0:
                source = noise.NAMES.kp_2d.index(name)
                conf = float(labels.kp_2d_conf[frame, source])
                x, y = labels.kp_2d[frame, source].astype(float)
                if conf > 0:
                    place = ((x - cx) / (size / 2), (y - cy) / (size / 2))
            np.testing.assert_allclose(found["kp_2d"][frame, number], place, atol=1e-5)
            np.testing.assert_allclose(found["kp_2d_conf"][frame, number], conf)
            body = np.zeros(3)
            if name in noise.NAMES.kp_3d and size > 0 and labels.has_kp_3d[frame]:
                body = labels.kp_3d[frame, noise.NAMES.kp_3d.index(name)]
            np.testing.assert_array_equal(found["kp_3d"][frame, number], body)


def test_a_frame_without_a_box_counts_for_nothing(labels: LabelledSequence) -> None:
    found = pose_targets(labels)
    for name, values in found.items():
        assert not values[[3, 4]].any(), name
    shown = np.setdiff1d(np.arange(12), [3, 4])
    for name in ("has_kp_3d", "has_smpl", "valid"):
        np.testing.assert_array_equal(found[name][shown], getattr(labels, name)[shown])
    known = shown[labels.has_smpl[shown]]
    np.testing.assert_array_equal(found["pose"][known], labels.pose[known])
    np.testing.assert_array_equal(found["betas"][known], labels.betas[known])
    assert not found["pose"][~found["has_smpl"]].any()


def test_a_keypoint_that_is_unknown_may_be_nan(labels: LabelledSequence) -> None:
    labels.kp_2d[5, 2] = np.nan
    assert np.isfinite(pose_targets(labels)["kp_2d"]).all()


def test_labels_without_keypoints_have_targets_all_the_same() -> None:
    labels = noise.labelled_sequence(
        "walk", 4, names=LabelNames(), has_kp_3d=np.zeros(4, bool), has_smpl=np.ones(4, bool)
    )
    found = pose_targets(labels)
    assert not found["kp_2d_conf"].any()
    assert found["has_smpl"].all()


def test_keypoints_of_unknown_names_are_told() -> None:
    labels = noise.labelled_sequence("walk", 4, names=LabelNames(kp_2d=("Nose", "LKnee")))
    with pytest.raises(ValueError, match=r"walk: none of the key-points Nose, LKnee is one of"):
        pose_targets(labels)


def test_3d_without_a_supervised_joint_is_told(labels: LabelledSequence) -> None:
    kept = [i for i, name in enumerate(noise.NAMES.kp_3d) if name != "headtop"]
    names = dataclasses.replace(noise.NAMES, kp_3d=tuple(noise.NAMES.kp_3d[i] for i in kept))
    less = dataclasses.replace(labels, names=names, kp_3d=labels.kp_3d[:, kept])
    with pytest.raises(ValueError, match="walk: no headtop among the 3D key-points hip, "):
        pose_targets(less)
    unknown = dataclasses.replace(less, has_kp_3d=np.zeros(12, bool))
    assert not pose_targets(unknown)["kp_3d"].any()
    assert set(COMMON_14) <= set(noise.NAMES.kp_3d)
