import io

import numpy as np
from matplotlib.image import imread

from tests.evaluation.toy_sequences import MakeSequence
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.evaluation.evaluator import true_params
from vibe_ray.reports.figures import INK
from vibe_ray.reports.pictures import (
    HEADER_HEIGHT,
    LABEL_WIDTH,
    MARGIN,
    PIXELS_PER_METER,
    BodyRow,
    KeypointRow,
    body_row,
    mesh_strip,
    spread_frames,
)

SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5
JOINTS = np.zeros((1, 24, 3), np.float32)


def image(png: bytes) -> np.ndarray:
    return (255 * imread(io.BytesIO(png), format="png")[..., :3]).round().astype(int)


def squares(*depths: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Squares that face the camera, at a depth (left edge, right edge) each."""
    verts = [np.column_stack([SQUARE, [left, right, right, left]]) for left, right in depths]
    faces = [[[0, 3, 2], [0, 2, 1]] for _ in depths]
    offsets = 4 * np.arange(len(depths))[:, None, None]
    return np.concatenate(verts)[None].astype(np.float32), (np.array(faces) + offsets).reshape(
        -1, 3
    )


def center(verts: np.ndarray, faces: np.ndarray, **options: str) -> np.ndarray:
    """The color where the pelvis is."""
    picture = image(mesh_strip([BodyRow("x", "#808080", verts, JOINTS)], faces, [0.0], **options))
    points = verts if options.get("view") != "side" else verts[..., [2, 1, 0]]
    x = LABEL_WIDTH + np.abs(points[..., 0]).max() + MARGIN
    y = HEADER_HEIGHT - points[..., 1].min() + MARGIN
    return picture[int(y * PIXELS_PER_METER), int(x * PIXELS_PER_METER)]


def test_what_is_near_hides_what_is_far() -> None:
    flat, tilted = (0.0, 0.0), (1.5, 2.5)
    near = center(*squares(flat))
    far = center(*squares(tilted))
    assert np.abs(near - far).max() > 10
    np.testing.assert_array_equal(center(*squares(flat, tilted)), near)
    np.testing.assert_array_equal(center(*squares(tilted, flat)), near)


def test_what_faces_away_is_not_drawn() -> None:
    verts, faces = squares((0.0, 0.0))
    np.testing.assert_array_equal(center(verts, faces[:, ::-1]), [255, 255, 255])


def test_the_side_view_is_from_the_right_of_the_picture() -> None:
    # A wall that runs away from the camera to the right turns its front to the right.
    assert center(*squares((-0.5, 0.5)), view="side").max() < 255
    assert center(*squares((0.5, -0.5)), view="side").max() == 255


def test_a_body_is_upright_centered_and_in_its_color(
    body: BodyArrays, make_sequence: MakeSequence
) -> None:
    pose = np.zeros((2, 72), np.float32)
    pose[:, 0] = np.pi  # upright in camera axes
    sequence = make_sequence(2, pose=pose, betas=np.zeros((2, 10), np.float32))
    row = body_row(BodyModel(body), true_params(sequence), "x", "#2f6fd0", ["1 mm", "2 mm"])
    assert row.verts.shape == (2, body.num_verts, 3)
    head, feet = row.verts[0, :, 1].min(), row.verts[0, :, 1].max()
    assert head < -0.5
    assert feet > 0.7
    np.testing.assert_allclose(row.joints[:, 0], 0, atol=1e-6)
    picture = image(mesh_strip([row], body.faces, [0.0, 0.5]))
    blue = (picture[..., 2] - picture[..., 0] > 60).nonzero()
    assert abs((blue[0].max() - blue[0].min()) / PIXELS_PER_METER - (feet - head)) < 0.02


def test_the_truths_skeleton_lies_over_predictions_only() -> None:
    verts, faces = squares((0.0, 0.0))
    joints = np.zeros((1, 24, 3), np.float32)
    joints[:, 1:, 0] = 0.4  # a bone from the pelvis to the right
    rows = [BodyRow("truth", "#808080", verts, joints), BodyRow("x", "#808080", verts, joints)]
    picture = image(mesh_strip(rows, faces, [0.0]))
    ink = np.array([int(INK[i : i + 2], 16) for i in (1, 3, 5)])
    dark = (np.abs(picture - ink).max(axis=-1) < 12) & (
        np.arange(picture.shape[1]) > 0.35 * PIXELS_PER_METER
    )
    assert not dark[: len(dark) // 2].any()
    assert dark[len(dark) // 2 :].any()


def test_keypoints_that_were_not_seen_are_not_drawn(make_sequence: MakeSequence) -> None:
    verts, faces = squares((0.0, 0.0))
    sequence = make_sequence(1)
    row = BodyRow("x", "#808080", verts, JOINTS)

    def dark(conf: np.ndarray) -> int:
        inputs = KeypointRow("Input", sequence.kp_2d, conf)
        picture = image(mesh_strip([row], faces, [0.0], "front", inputs))
        return int((picture[..., 0] < 60)[:, int(LABEL_WIDTH * PIXELS_PER_METER) :].sum())

    assert dark(sequence.kp_2d_conf) > dark(np.zeros_like(sequence.kp_2d_conf)) + 100


def test_keypoints_beyond_the_crop_stay_in_their_row(make_sequence: MakeSequence) -> None:
    verts, faces = squares((0.0, 0.0))
    sequence = make_sequence(1)
    row = BodyRow("x", "#808080", verts, JOINTS)

    def header(reach: float, conf: np.ndarray) -> np.ndarray:
        inputs = KeypointRow("Input", reach * sequence.kp_2d, conf)
        picture = image(mesh_strip([row], faces, [0.0], "front", inputs))
        return picture[: int((HEADER_HEIGHT + MARGIN - 0.03) * PIXELS_PER_METER)]  # less the dots

    reach = 4 / np.abs(sequence.kp_2d).max()
    empty = header(reach, np.zeros_like(sequence.kp_2d_conf))
    np.testing.assert_array_equal(header(reach, np.ones_like(sequence.kp_2d_conf)), empty)


def test_frames_are_spread_from_first_to_last() -> None:
    assert spread_frames(101, 6) == [0, 20, 40, 60, 80, 100]
    assert spread_frames(3, 6) == [0, 1, 2]
    assert spread_frames(1, 6) == [0]
