from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from tests.export.conftest import BETAS, wild_motion
from tests.export.gltf_reader import Gltf, local_matrix, read
from tests.export.posed import assert_t_pose, posed
from vibe_ray import __version__, storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.export.animation import Animation, ViewCamera
from vibe_ray.export.glb import write_glb
from vibe_ray.geometry.cameras import project_perspective

FLOAT32 = 1e-5
"""Meters: what float32 leaves of positions some ten meters from the origin."""


def camera() -> ViewCamera:
    """Looks at the origin from four meters before and above, a little rolled."""
    rotmat = Rotation.from_euler("zxy", [10, 160, 25], degrees=True).as_matrix()
    return ViewCamera(rotmat, np.array([0.3, 0.2, 4.0]), 1280, 720, 900.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, wild: Animation, open_body: BodyArrays) -> Gltf:
    path = tmp_path_factory.mktemp("glb") / "walker.glb"
    write_glb(str(path), wild, open_body, camera=camera())
    return read(path)


def test_joints_are_the_body_models_in_every_frame(
    file: Gltf, wild: Animation, open_body: BodyArrays
) -> None:
    joints, _ = posed(wild, open_body)
    for frame in range(len(wild.times_s)):
        np.testing.assert_allclose(file.joints(frame), joints[frame], atol=FLOAT32)
        np.testing.assert_allclose(file.joints(frame)[0], wild.transl[frame], atol=FLOAT32)


def test_joints_of_captured_motion(
    captured: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_glb(str(tmp_path / "a.glb"), captured, open_body)
    joints, _ = posed(captured, open_body)
    file = read(tmp_path / "a.glb")
    found = np.array([file.joints(frame) for frame in range(0, len(joints), 20)])
    np.testing.assert_allclose(found, joints[::20], atol=FLOAT32)


def test_the_surface_is_that_of_skinning_without_correctives(
    body: BodyArrays, wild: Animation, tmp_path: Path
) -> None:
    write_glb(str(tmp_path / "a.glb"), wild, body)
    _, verts = posed(wild, body)
    file = read(tmp_path / "a.glb")
    for frame in range(0, len(verts), 9):
        np.testing.assert_allclose(file.verts(frame), verts[frame], atol=FLOAT32)


def test_the_open_body_loses_nothing(wild: Animation, open_body: BodyArrays) -> None:
    """It has no correctives, which skinning in glTF would leave out."""
    assert open_body.posedirs is None
    np.testing.assert_array_equal(
        posed(wild, open_body)[1], posed(wild, open_body, with_correctives=True)[1]
    )


def test_six_joints_a_vertex_are_all_told(
    wild: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    weights = np.zeros_like(open_body.weights)
    rng = np.random.default_rng(0)
    for row in weights:
        row[rng.choice(24, 6, replace=False)] = rng.dirichlet(np.ones(6))
    body = replace(open_body, weights=weights)
    write_glb(str(tmp_path / "a.glb"), wild, body)
    _, verts = posed(wild, body)
    np.testing.assert_allclose(read(tmp_path / "a.glb").verts(11), verts[11], atol=FLOAT32)


def test_at_rest_it_stands_in_a_t_pose(file: Gltf, open_body: BodyArrays) -> None:
    assert_t_pose(file.joints(None))
    assert file.verts(None)[:, 1].min() == pytest.approx(0, abs=FLOAT32)
    np.testing.assert_allclose(file.verts(None), file.attribute("POSITION"), atol=FLOAT32)
    height = open_body.v_template[:, 1].max() - open_body.v_template[:, 1].min()
    assert file.verts(None)[:, 1].max() == pytest.approx(height, abs=0.3)


def test_joints_have_smpls_names_and_tree(file: Gltf) -> None:
    (skin,) = file.document["skins"]
    assert [file.nodes[n]["name"] for n in skin["joints"]] == list(SMPL_JOINTS)
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        assert (
            file.number_of(SMPL_JOINTS[joint])
            in file.nodes[file.number_of(SMPL_JOINTS[parent])]["children"]
        )
    assert skin["skeleton"] == file.number_of("pelvis")


def test_times_are_those_of_the_frames(file: Gltf, wild: Animation) -> None:
    np.testing.assert_array_equal(file.times(), wild.times_s.astype(np.float32))
    assert np.ptp(np.diff(file.times())) > 0.01  # no constant rate


def test_quaternions_of_neighbors_have_one_sign(file: Gltf) -> None:
    (animation,) = file.document["animations"]
    rotations = [c for c in animation["channels"] if c["target"]["path"] == "rotation"]
    assert len(rotations) == 24
    for channel in rotations:
        curve = file.array(animation["samplers"][channel["sampler"]]["output"])
        assert ((curve[1:] * curve[:-1]).sum(axis=1) >= 0).all()


def test_the_camera_sees_the_body_where_ours_does(
    file: Gltf, wild: Animation, open_body: BodyArrays
) -> None:
    """By glTF's own definition of projection, in pixels."""
    ours = camera()
    verts = posed(wild, open_body)[1][5] + [0, 0, 8] - wild.transl[5] * [1, 1, 0]
    seen = torch.tensor(verts @ ours.rotmat.T + ours.transl)
    center = torch.tensor([ours.width / 2, ours.height / 2], dtype=torch.float64)
    expected = project_perspective(seen, ours.focal, center).numpy()
    (lens,) = (c["perspective"] for c in file.document["cameras"])
    node = file.nodes[file.number_of("camera")]
    assert file.number_of("camera") in file.document["scenes"][0]["nodes"]
    view = np.linalg.inv(local_matrix(node))
    at = np.c_[verts, np.ones(len(verts))] @ view.T
    assert (at[:, 2] < 0).any()
    before = at[:, 2] < -0.5
    assert (seen[:, 2].numpy()[before] > 0).all()
    tangent = np.tan(lens["yfov"] / 2)
    x = at[:, 0] / (lens["aspectRatio"] * tangent) / -at[:, 2]
    y = at[:, 1] / tangent / -at[:, 2]
    pixels = np.stack([(x + 1) / 2 * ours.width, (1 - y) / 2 * ours.height], axis=1)
    np.testing.assert_allclose(pixels[before], expected[before], atol=1e-3)
    assert before.sum() > 1000


def test_another_reader_sees_the_same_rest(
    wild: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_glb(str(tmp_path / "a.glb"), wild, open_body)
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    file = read(tmp_path / "a.glb")
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, file.attribute("POSITION"), atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, open_body.faces)
    np.testing.assert_allclose(mesh.vertex_normals, file.attribute("NORMAL"), atol=1e-3)
    assert mesh.is_watertight
    rest = file.joints(None)
    for joint, name in enumerate(SMPL_JOINTS):
        np.testing.assert_allclose(scene.graph[name][0][:3, 3], rest[joint], atol=1e-6)


def test_the_file_says_what_wrote_it(file: Gltf) -> None:
    assert file.document["asset"] == {"version": "2.0", "generator": f"vibe_ray {__version__}"}
    assert file.document["animations"][0]["name"] == "walker"
    assert "cameras" in file.document


def test_without_a_camera_there_is_none(
    wild: Animation, open_body: BodyArrays, tmp_path: Path
) -> None:
    write_glb(str(tmp_path / "a.glb"), wild, open_body)
    assert "cameras" not in read(tmp_path / "a.glb").document


def test_one_frame_is_a_motion_too(open_body: BodyArrays, tmp_path: Path) -> None:
    motion = wild_motion(1)
    write_glb(str(tmp_path / "a.glb"), motion, open_body)
    file = read(tmp_path / "a.glb")
    np.testing.assert_allclose(file.joints(0), posed(motion, open_body)[0][0], atol=FLOAT32)


@pytest.mark.parametrize(
    "name", ['</script>"\\', "../../etc", "a\x00\n", "\ud800", "人", "x" * 5000]
)
def test_odd_names_make_no_odd_file(name: str, open_body: BodyArrays, tmp_path: Path) -> None:
    write_glb(str(tmp_path / "a.glb"), replace(wild_motion(2), name=name), open_body)
    document = read(tmp_path / "a.glb").document
    found = document["animations"][0]["name"]
    assert found.isprintable()
    assert len(found) == len(name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]


def test_times_that_the_format_cannot_tell_apart_leave_what_was_there(
    open_body: BodyArrays, tmp_path: Path
) -> None:
    path = tmp_path / "a.glb"
    path.write_bytes(b"of yesterday")
    motion = wild_motion(3)
    late = replace(motion, times_s=1e6 + np.array([0, 0.01, 0.02]))
    with pytest.raises(ValueError, match=r"frames 0 and 1 at 1000000.000000 s are too near"):
        write_glb(str(path), late, open_body)
    assert path.read_bytes() == b"of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_disk_leaves_nothing_half_written(
    open_body: BodyArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.glb"
    path.write_bytes(b"of yesterday")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_glb(str(path), wild_motion(3), open_body)
    assert path.read_bytes() == b"of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_takes_it_too(s3: str, open_body: BodyArrays, tmp_path: Path) -> None:
    motion = wild_motion(2)
    write_glb(storage.join(s3, "out/a.glb"), motion, open_body)
    write_glb(str(tmp_path / "a.glb"), motion, open_body)
    stored = storage.read_bytes(storage.join(s3, "out/a.glb"))
    assert stored == (tmp_path / "a.glb").read_bytes()


def test_betas_make_the_shape(open_body: BodyArrays, tmp_path: Path) -> None:
    tall = replace(wild_motion(1), betas=np.eye(10)[0] * 3)
    write_glb(str(tmp_path / "a.glb"), tall, open_body)
    write_glb(str(tmp_path / "b.glb"), replace(tall, betas=0 * BETAS), open_body)
    heights = [read(tmp_path / f"{n}.glb").attribute("POSITION")[:, 1].max() for n in "ab"]
    assert heights[0] > heights[1] + 0.05
