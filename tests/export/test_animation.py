from dataclasses import replace

import numpy as np
import pytest

from vibe_ray.export.animation import Animation, ViewCamera

REST = {
    "name": "a",
    "times_s": np.array([0.0, 0.1]),
    "rotmat": np.tile(np.eye(3), (2, 24, 1, 1)),
    "transl": np.zeros((2, 3)),
    "betas": np.zeros(10),
}
CAMERA = {"rotmat": np.eye(3), "transl": np.zeros(3), "width": 640, "height": 480, "focal": 500.0}


def spoiled(name: str, where: tuple[int, ...], value: float) -> np.ndarray:
    array = np.array(REST[name], np.float64)
    array[where] = value
    return array


def test_arrays_are_kept_in_float64() -> None:
    single = {k: v.astype(np.float32) for k, v in REST.items() if isinstance(v, np.ndarray)}
    animation = Animation("a", **single)
    kept = (animation.times_s, animation.rotmat, animation.transl, animation.betas)
    assert {array.dtype for array in kept} == {np.dtype(np.float64)}
    assert Animation("a", **{k: v.tolist() for k, v in single.items()}).rotmat.shape == (
        2,
        24,
        3,
        3,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_s": [0.0, 0.0]}, r"does not rise from frame 0 \(0.000000 s\) to the next"),
        ({"times_s": [0.2, 0.1]}, "does not rise from frame 0"),
        ({"times_s": [-0.1, 0.1]}, "begins at -0.1 s: expected 0 or later"),
        ({"times_s": [0.0, np.nan]}, r"times_s \(2,\) holds NaN or infinity, first at \[1\]"),
        ({"times_s": [0.0]}, r"rotmat is \(2, 24, 3, 3\), expected \(1, 24, 3, 3\)"),
        ({"times_s": 0.0}, "times_s is .*expected"),
        ({"transl": np.zeros((2, 2))}, r"transl is \(2, 2\), expected \(2, 3\)"),
        ({"transl": spoiled("transl", (1, 2), np.inf)}, r"transl .* first at \[1, 2\]"),
        ({"betas": np.zeros((2, 10))}, r"betas is \(2, 10\), expected \(10,\)"),
        ({"betas": "no shape"}, "betas is no array of numbers"),
        ({"rotmat": np.zeros((2, 24, 3))}, r"rotmat is \(2, 24, 3\)"),
        ({"rotmat": spoiled("rotmat", (1, 5, 0, 0), np.nan)}, r"rotmat .*first at \[1, 5, 0, 0\]"),
        ({"rotmat": spoiled("rotmat", (1, 5, 0, 0), -1)}, r"no rotations, first at \[1, 5\]: \[\["),
        ({"rotmat": spoiled("rotmat", (1, 7, 0, 1), 0.1)}, r"no rotations, first at \[1, 7\]"),
    ],
)
def test_what_is_no_motion_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Animation(**{**REST, **change})  # type: ignore[arg-type]


def test_no_frames_are_no_motion() -> None:
    none = {name: REST[name][:0] for name in ("times_s", "rotmat", "transl")}  # type: ignore[index]
    with pytest.raises(ValueError, match="no frames"):
        Animation(**{**REST, **none})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("person 1", "person 1"),
        ("Zoë 人", "Zoë 人"),
        ("a\n\x00\x1bb", "a___b"),
        ("\ud800", "_"),
        ("", "person"),
        (" \t ", "_"),
    ],
)
def test_names_become_readable(name: str, readable: str) -> None:
    assert replace(Animation(**REST), name=name).name == readable  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focal": 0.0}, "640 x 480 pixels and a focal length of 0"),
        ({"focal": np.inf}, "focal length of inf"),
        ({"focal": np.nan}, "focal length of nan"),
        ({"width": 0}, "0 x 480"),
        ({"rotmat": np.diag([1.0, 1, -1])}, "no rotations: "),
        ({"rotmat": np.full((3, 3), np.nan)}, "the camera's rotmat .* NaN"),
        ({"transl": np.zeros(2)}, r"transl is \(2,\), expected \(3,\)"),
    ],
)
def test_what_is_no_camera_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewCamera(**{**CAMERA, **change})  # type: ignore[arg-type]


def test_a_camera_looks_from_where_it_is() -> None:
    # Two meters before the person, who is at the origin and faces +z: x of the picture is -x.
    camera = ViewCamera(np.diag([-1.0, -1, 1]), np.array([0.0, 1.0, 2.0]), 640, 480, 500.0)
    rotmat, position = camera.pose_in_world()
    np.testing.assert_allclose(position, [0, 1, -2])
    np.testing.assert_allclose(rotmat @ [0, 0, -1], [0, 0, 1])  # what it looks along
    np.testing.assert_allclose(rotmat @ [0, 1, 0], [0, 1, 0])
    np.testing.assert_allclose(rotmat @ [1, 0, 0], [-1, 0, 0])
