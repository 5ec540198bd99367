import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from tests.data.perfect import PERFECT
from tests.geometry.crops import crop_to_pixels
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS, indices
from vibe_ray.data.boxes import track_boxes
from vibe_ray.data.synthetic.captures import (
    MAX_BETA,
    CaptureConfig,
    CapturedBody,
    CapturedClips,
    capture,
    draw_betas,
)
from vibe_ray.data.synthetic.detector import DETECTED, DETECTED_AMONG_49, DetectorConfig
from vibe_ray.data.synthetic.virtual_cameras import draw_cameras
from vibe_ray.geometry.cameras import project_weak_perspective

C, N = 6, 40


def motion() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    amplitude = 0.4 * torch.randn(C, 1, 72, generator=generator)
    phase = torch.linspace(0, 4, N)[:, None]
    trans = torch.cat([phase, torch.ones(N, 1), phase / 3], dim=1).expand(C, -1, -1)
    return pose_to_rotmat(amplitude * torch.sin(phase)), trans


def captured(body: CapturedBody, config: CaptureConfig, seed: int = 0) -> CapturedClips:
    rotmat, trans = motion()
    return capture(rotmat, trans, 25.0, body, config, torch.Generator().manual_seed(seed))


def test_keypoints_are_projected_as_a_naive_camera_does(captured_body: CapturedBody) -> None:
    config = CaptureConfig(detector=PERFECT)
    rotmat, trans = motion()
    clips = captured(captured_body, config)
    generator = torch.Generator().manual_seed(0)
    betas = draw_betas(C, generator)
    cameras = draw_cameras(trans, 25.0, config.camera, generator)
    model = BodyModel(load_body(BodyConfig()))
    for clip, frame in ((0, 0), (3, 17), (5, 39)):
        pose = rotmat[clip, frame].clone()
        turn = Rotation.from_matrix(cameras.rotation[clip, frame].double().numpy())
        root = turn * Rotation.from_matrix(pose[0].double().numpy())
        pose[0] = torch.from_numpy(root.as_matrix()).float()
        mesh = model(betas[clip][None], pose[None])
        points = model.keypoints(mesh)[0].numpy()
        np.testing.assert_allclose(clips.kp_3d[clip, frame], points, atol=1e-5)
        place = points - mesh.joints[0, 0].numpy() + cameras.root[clip, frame].numpy()
        width, height = cameras.image_size[clip].tolist()
        focal = float(cameras.focal[clip, frame])
        pixels = [(focal * x / z + width / 2, focal * y / z + height / 2) for x, y, z in place]
        cx, cy, size = clips.box[clip, frame].tolist()
        crop = [((x - cx) / (size / 2), (y - cy) / (size / 2)) for x, y in pixels]
        np.testing.assert_allclose(clips.kp_2d[clip, frame], crop, atol=2e-3)


def test_pose_and_shape_give_the_keypoints(captured_body: CapturedBody) -> None:
    clips = captured(captured_body, CaptureConfig())
    rotmat = pose_to_rotmat(clips.pose)
    betas = clips.betas[:, None].expand(-1, N, -1)
    found = captured_body.keypoints(betas, rotmat)
    torch.testing.assert_close(found, clips.kp_3d, atol=1e-4, rtol=0.0)


def test_a_perfect_detector_sees_the_true_keypoints(captured_body: CapturedBody) -> None:
    clips = captured(captured_body, CaptureConfig(detector=PERFECT))
    seen = clips.detected_conf > 0
    true = crop_to_pixels(clips.kp_2d, clips.box)[..., DETECTED_AMONG_49, :]
    torch.testing.assert_close(clips.detected[seen], true[seen], atol=1e-2, rtol=1e-5)
    outside = ((true < 0) | (true > clips.image_size[:, None, None])).any(dim=-1)
    assert (seen | outside).all()


def test_a_perfect_detector_sees_joints_where_it_marks_them(captured_body: CapturedBody) -> None:
    """Cameras, people and boxes are the same; only what is seen moves, as far as it is marked."""
    own = captured(captured_body, CaptureConfig(detector=PERFECT))
    detector = dataclasses.replace(PERFECT, own_joints=True)
    marked = captured(captured_body, CaptureConfig(detector=detector))
    assert torch.equal(own.kp_px, marked.kp_px)
    points = captured_body.detected(own.betas[:, None].expand(C, N, -1), own.rotmat)
    cameras = draw_cameras(motion()[1], 25.0, CaptureConfig().camera, seeded_after_betas())
    hip = own.kp_3d[..., KEYPOINTS.index("OP MidHip"), None, :]
    placed = (points - hip + cameras.root[:, :, None]).double()
    pixels = cameras.focal[..., None, None] * placed[..., :2] / placed[..., 2:]
    expected = pixels + cameras.image_size[:, None, None] / 2
    seen = marked.detected_conf > 0
    torch.testing.assert_close(marked.detected[seen].double(), expected[seen], atol=2e-3, rtol=0)
    assert (marked.detected - own.detected)[seen & (own.detected_conf > 0)].abs().max() > 5


def seeded_after_betas() -> torch.Generator:
    generator = torch.Generator().manual_seed(0)
    draw_betas(C, generator)
    return generator


def test_boxes_are_those_of_an_inference_pipeline(captured_body: CapturedBody) -> None:
    clips = captured(captured_body, CaptureConfig())
    assert torch.equal(clips.box, track_boxes(clips.detected, clips.detected_conf))


def test_people_stand_upright_in_camera_axes(captured_body: CapturedBody) -> None:
    clips = captured(captured_body, CaptureConfig())
    head, hip = (clips.kp_3d[:, :, i, 1] for i in indices(("headtop", "hip"), KEYPOINTS))
    assert (head < hip).float().mean() > 0.95  # y points down


def test_some_weak_perspective_camera_explains_the_crop(captured_body: CapturedBody) -> None:
    """The generator's camera can fit what a real camera saw: the two conventions agree."""
    clips = captured(captured_body, CaptureConfig(detector=PERFECT))
    x, y = clips.kp_3d[..., :2].double(), clips.kp_2d.double()
    x_mean, y_mean = x.mean(dim=-2, keepdim=True), y.mean(dim=-2, keepdim=True)
    scale = ((x - x_mean) * (y - y_mean)).sum(dim=(-1, -2)) / (x - x_mean).square().sum(
        dim=(-1, -2)
    )
    shift = (y_mean / scale[..., None, None] - x_mean)[..., 0, :]
    cam = torch.cat([scale[..., None], shift], dim=-1).float()
    error = (project_weak_perspective(clips.kp_3d, cam) - clips.kp_2d).norm(dim=-1)
    shown = clips.kp_2d_conf == 1
    assert (scale > 0).all()
    assert error[shown].mean() < 0.06


def test_weight_falls_where_a_person_reaches_far_beyond_its_box(
    captured_body: CapturedBody,
) -> None:
    clips = captured(captured_body, CaptureConfig(detector=PERFECT))
    far = dataclasses.replace(
        clips, kp_px=crop_to_pixels(torch.full_like(clips.kp_px, -6.0), clips.box)
    )
    torch.testing.assert_close(far.kp_2d_conf, torch.full((C, N), 1 / 16))
    near = dataclasses.replace(
        clips, kp_px=crop_to_pixels(torch.full_like(clips.kp_px, 1.2), clips.box)
    )
    assert (near.kp_2d_conf == 1).all()


def test_an_empty_clip_has_no_box_and_no_weight(captured_body: CapturedBody) -> None:
    clips = captured(captured_body, CaptureConfig(detector=DetectorConfig(miss_prob=0.999999)))
    assert not clips.has_box.any()
    assert not clips.kp_2d_conf.any()
    assert not clips.kp_2d.any()


def test_capture_is_a_function_of_its_seed(captured_body: CapturedBody) -> None:
    first, again, other = (captured(captured_body, CaptureConfig(), seed) for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.kp_2d, other.kp_2d)


def test_single_frames_are_captured_like_long_clips(captured_body: CapturedBody) -> None:
    """Misses, confidences and box sizes have the same statistics: one code serves both."""
    config = CaptureConfig()
    rest = torch.eye(3).expand(1, 1, 24, 3, 3)
    generator = torch.Generator().manual_seed(0)
    shapes = ((4000, 1), (400, 40))
    single, long = (
        capture(
            rest.expand(c, n, -1, -1, -1),
            torch.zeros(c, n, 3),
            25.0,
            captured_body,
            config,
            generator,
        )
        for c, n in shapes
    )
    for value in (
        lambda clips: (clips.detected_conf[..., :17] == 0).float().mean(),
        lambda clips: clips.detected_conf[..., :17].mean(),
        lambda clips: clips.box[..., 2][clips.has_box].log().mean() / math.log(300),
    ):
        assert float(value(single)) == pytest.approx(float(value(long)), rel=0.08)


def test_shapes_are_standard_normal_and_clipped() -> None:
    betas = draw_betas(20_000, torch.Generator().manual_seed(0))
    assert betas.abs().max() == MAX_BETA
    assert abs(float(betas.std()) - 0.98) < 0.02


def test_detected_order_is_known() -> None:
    assert tuple(KEYPOINTS[i] for i in DETECTED_AMONG_49) == DETECTED
