from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.prediction.filmed import Filmed, walk
from vibe_ray import storage
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import COCO_17, SMPL_JOINTS
from vibe_ray.prediction.person import CONTACTS, Person, WorldMotion, save_people


def true_person(filmed: Filmed, number: int = 0) -> Person:
    N = len(filmed.rotmat)
    return Person(
        track=replace(filmed.track, person=number, frames=filmed.track.frames + 10 * number),
        rotmat=filmed.rotmat,
        betas=filmed.betas,
        cam=np.ones((N, 3), np.float32),
        transl=filmed.transl,
        joints=np.zeros((N, 24, 3), np.float32) + filmed.transl[:, None],
    )


def test_a_file_holds_everybody_row_by_row(tmp_path: Path) -> None:
    people = [true_person(walk()), true_person(walk(12), 1)]
    path = str(tmp_path / "people.npz")
    save_people(path, people, {"width": 480, "height": 400, "focal": 500.0})
    with np.load(path, allow_pickle=False) as data:
        assert data["person"].tolist() == [0] * 24 + [1] * 12
        second = data["person"] == 1
        np.testing.assert_array_equal(data["frame"][second], np.arange(10, 22))
        np.testing.assert_allclose(data["time_s"][second], np.arange(12) / 25)
        back = pose_to_rotmat(torch.from_numpy(data["pose"][second])).numpy()
        np.testing.assert_allclose(back, walk(12).rotmat, atol=1e-5)
        np.testing.assert_array_equal(data["betas"][0], walk().betas)
        np.testing.assert_array_equal(data["transl"][:24], walk().transl)
        np.testing.assert_allclose(data["kp_2d"][second], walk(12).kp_2d, rtol=1e-5)
        assert np.isnan(data["world_pose"]).all()
        assert tuple(data["joint_names"]) == SMPL_JOINTS
        assert tuple(data["kp_names"]) == COCO_17
        assert tuple(data["contact_names"]) == CONTACTS
        assert data["focal"] == 500


def test_every_array_is_documented(tmp_path: Path) -> None:
    save_people(str(tmp_path / "a.npz"), [true_person(walk())], {"width": 1})
    with np.load(tmp_path / "a.npz") as data:
        undocumented = [name for name in data if f"`{name}`" not in (save_people.__doc__ or "")]
    assert not undocumented


def test_a_video_of_nobody_has_a_table_of_no_rows(tmp_path: Path) -> None:
    save_people(str(tmp_path / "a.npz"), [], {})
    save_people(str(tmp_path / "b.npz"), [true_person(walk())], {})
    with np.load(tmp_path / "a.npz") as empty, np.load(tmp_path / "b.npz") as full:
        assert set(empty) == set(full)
        for name in full:
            assert empty[name].dtype.kind == full[name].dtype.kind
            if not name.endswith("_names"):
                assert (len(full[name]), len(empty[name])) == (24, 0)


def test_a_motion_in_the_world_is_in_it(tmp_path: Path) -> None:
    filmed = walk()
    contacts = np.zeros((24, 4), bool)
    contacts[3, 1] = True
    world = WorldMotion(
        rotmat=filmed.rotmat, transl=filmed.transl + 1, contacts=contacts,
        camera_rotmat=np.eye(3), camera_transl=np.zeros(3),
    )  # fmt: skip
    path = "memory://people/people.npz"
    save_people(path, [replace(true_person(filmed), world=world)], {})
    with storage.local_copy(path) as file, np.load(file) as data:
        np.testing.assert_array_equal(data["contacts"], contacts)
        np.testing.assert_allclose(data["world_transl"], filmed.transl + 1)
        assert np.isfinite(data["world_pose"]).all()


def test_pose_is_the_rotations_as_axis_angle() -> None:
    person = true_person(walk())
    expected = Rotation.from_matrix(person.rotmat.reshape(-1, 3, 3)).as_rotvec()
    assert person.pose == pytest.approx(expected.reshape(24, 72), abs=1e-5)
