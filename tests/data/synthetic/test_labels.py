import numpy as np
import pytest
import torch

from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS
from vibe_ray.data.boxes import track_boxes
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.synthetic.captures import (
    CaptureConfig,
    CapturedBody,
    CapturedClips,
    capture,
)
from vibe_ray.data.synthetic.detector import DETECTED
from vibe_ray.data.synthetic.labels import Truth, label_capture

N = 30


@pytest.fixture(scope="module")
def clip(captured_body: CapturedBody) -> CapturedClips:
    generator = torch.Generator().manual_seed(1)
    phase = torch.linspace(0, 4, N)[:, None]
    rotmat = pose_to_rotmat(0.4 * torch.randn(1, 1, 72, generator=generator) * torch.sin(phase))
    trans = torch.cat([phase, torch.ones(N, 1), phase / 3], dim=1)[None]
    return capture(rotmat, trans, 25.0, captured_body, CaptureConfig(), generator)


def labelled(clip: CapturedClips, truth: Truth) -> LabelledSequence:
    return label_capture(clip, dataset="made_up", sequence="a", fps=25.0, truth=truth)


def test_a_pinhole_maps_the_body_to_its_keypoints(clip: CapturedClips) -> None:
    """Fit the body's place by least squares in float64: with the true camera nothing is left."""
    labels = labelled(clip, "3d")
    assert labels.has_camera.all()
    for frame in range(0, N, 7):
        fx, fy, cx, cy = labels.camera[frame].astype(np.float64)
        x, y = labels.kp_2d[frame].astype(np.float64).T
        X, Y, Z = labels.kp_3d[frame].astype(np.float64).T
        u, v = (x - cx) / fx, (y - cy) / fy
        zeros, ones = np.zeros_like(u), np.ones_like(u)
        A = np.concatenate([np.stack([ones, zeros, -u], 1), np.stack([zeros, ones, -v], 1)])
        b = np.concatenate([u * Z - X, v * Z - Y])
        place, *_ = np.linalg.lstsq(A, b)
        left = np.stack([fx * (X + place[0]), fy * (Y + place[1])]) / (Z + place[2])
        np.testing.assert_allclose(left, [x - cx, y - cy], atol=0.02)


def test_the_box_is_that_of_the_detections(clip: CapturedClips) -> None:
    labels = labelled(clip, "3d")
    boxes = track_boxes(torch.tensor(labels.detected), torch.tensor(labels.detected_conf))
    np.testing.assert_array_equal(labels.box, boxes)
    assert labels.names.detected == DETECTED


def test_time_and_size_are_told(clip: CapturedClips) -> None:
    labels = labelled(clip, "3d")
    np.testing.assert_allclose(np.diff(labels.timestamps), 0.04)
    np.testing.assert_array_equal(labels.frame_index, range(N))
    assert [labels.width, labels.height] == clip.image_size[0].tolist()
    assert (labels.video, labels.images) == ("", ())


def test_truth_is_given_where_it_is_asked_for(clip: CapturedClips) -> None:
    full, poor = labelled(clip, "3d"), labelled(clip, "2d")
    assert full.names.kp_2d == KEYPOINTS
    np.testing.assert_array_equal(full.pose, clip.pose[0])
    assert full.has_smpl.all()
    assert full.has_kp_3d.all()
    assert poor.names.kp_2d == poor.names.detected
    np.testing.assert_array_equal(poor.kp_2d, full.detected)
    np.testing.assert_array_equal(poor.kp_2d_conf, full.detected_conf)
    for name in ("pose", "betas", "has_smpl", "has_kp_3d", "kp_3d"):
        assert not getattr(poor, name).any(), name
