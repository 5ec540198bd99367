import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.export.conftest import wild_motion
from tests.export.posed import assert_t_pose, posed
from tests.export.test_glb import camera
from vibe_ray import storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS
from vibe_ray.export.animation import Animation
from vibe_ray.geometry.cameras import project_perspective

pytest.importorskip("pxr")

from pxr import Usd, UsdGeom, UsdSkel, UsdValidation

from vibe_ray.export.usda import write_usda

FLOAT32 = 1e-5


class Skinned:
    """What USD itself makes of a file."""

    def __init__(self, path: Path) -> None:
        self.stage = Usd.Stage.Open(str(path))
        root = UsdSkel.Root(self.stage.GetDefaultPrim())
        self.cache = UsdSkel.Cache()
        self.cache.Populate(root, Usd.PrimDefaultPredicate)
        (binding,) = self.cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
        self.query = self.cache.GetSkelQuery(binding.GetSkeleton())
        (self.skin,) = binding.GetSkinningTargets()

    def joints(self, code: float) -> np.ndarray:
        moves = self.query.ComputeJointSkelTransforms(Usd.TimeCode(code))
        return np.array(moves)[:, 3, :3]

    def verts(self, code: float) -> np.ndarray:
        moves = self.query.ComputeSkinningTransforms(Usd.TimeCode(code))
        points = UsdGeom.Mesh(self.skin.GetPrim()).GetPointsAttr().Get()
        assert self.skin.ComputeSkinnedPoints(moves, points, Usd.TimeCode(code))
        return np.array(points)

    def codes(self) -> list[float]:
        return list(self.query.GetAnimQuery().GetJointTransformTimeSamples())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, wild: Animation, open_body: BodyArrays) -> Path:
    path = tmp_path_factory.mktemp("usda") / "walker.usda"
    write_usda(str(path), wild, open_body, camera=camera())
    return path


def test_joints_and_skin_are_the_body_models(
    path: Path, wild: Animation, open_body: BodyArrays
) -> None:
    file = Skinned(path)
    joints, verts = posed(wild, open_body)
    codes = file.codes()
    assert len(codes) == len(joints)
    for frame, code in enumerate(codes):
        np.testing.assert_allclose(file.joints(code), joints[frame], atol=FLOAT32)
    for frame in (0, 17):
        np.testing.assert_allclose(file.verts(codes[frame]), verts[frame], atol=2 * FLOAT32)


def test_skin_of_another_body(made_up: BodyArrays, tmp_path: Path) -> None:
    motion = wild_motion(3)
    write_usda(str(tmp_path / "a.usda"), motion, made_up)
    file = Skinned(tmp_path / "a.usda")
    _, verts = posed(motion, made_up)
    np.testing.assert_allclose(file.verts(file.codes()[2]), verts[2], atol=2 * FLOAT32)


def test_times_are_those_of_the_frames(path: Path, wild: Animation) -> None:
    file = Skinned(path)
    rate = file.stage.GetTimeCodesPerSecond()
    np.testing.assert_allclose(np.array(file.codes()) / rate, wild.times_s, atol=1e-9)
    assert rate == file.stage.GetFramesPerSecond() == round(1 / np.median(np.diff(wild.times_s)))
    assert file.stage.GetStartTimeCode() == file.codes()[0]
    assert file.stage.GetEndTimeCode() == file.codes()[-1]


def test_rest_is_a_t_pose_of_named_joints(path: Path) -> None:
    file = Skinned(path)
    skeleton = file.query.GetSkeleton()
    names = [joint.split("/")[-1] for joint in skeleton.GetJointsAttr().Get()]
    assert names == list(SMPL_JOINTS)
    bind = np.array(skeleton.GetBindTransformsAttr().Get())[:, 3, :3]
    assert_t_pose(bind)
    rest = np.array(file.query.ComputeJointSkelTransforms(Usd.TimeCode(0), atRest=True))
    np.testing.assert_allclose(rest[:, 3, :3], bind, atol=1e-9)


def test_units_and_axes_are_said(path: Path) -> None:
    stage = Skinned(path).stage
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert UsdGeom.GetStageUpAxis(stage) == "Y"


def test_usds_own_validators_find_no_fault(path: Path) -> None:
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20
    found = UsdValidation.ValidationContext(validators).Validate(Skinned(path).stage)
    assert [error.GetMessage() for error in found] == []


def test_the_camera_sees_what_ours_does(path: Path, wild: Animation, open_body: BodyArrays) -> None:
    stage = Skinned(path).stage
    prim = stage.GetDefaultPrim().GetChild("camera")
    frustum = UsdGeom.Camera(prim).GetCamera(Usd.TimeCode.Default()).frustum
    ours = camera()
    verts = posed(wild, open_body)[1][5] - wild.transl[5]
    seen = torch.tensor(verts @ ours.rotmat.T + ours.transl)
    assert (seen[:, 2] > 0.5).all()
    center = torch.tensor([ours.width / 2, ours.height / 2], dtype=torch.float64)
    expected = project_perspective(seen, ours.focal, center).numpy()
    matrix = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
    clip = np.c_[verts, np.ones(len(verts))] @ matrix
    x, y = clip[:, 0] / clip[:, 3], clip[:, 1] / clip[:, 3]
    pixels = np.stack([(x + 1) / 2 * ours.width, (1 - y) / 2 * ours.height], axis=1)
    np.testing.assert_allclose(pixels, expected, atol=1e-2)


@pytest.mark.parametrize("name", ["1 of 2", "人", 'a"b</x>', "a\n\x00", "\ud800", "../x"])
def test_odd_names_make_no_odd_file(name: str, open_body: BodyArrays, tmp_path: Path) -> None:
    write_usda(str(tmp_path / "a.usda"), replace(wild_motion(2), name=name), open_body)
    assert len(Skinned(tmp_path / "a.usda").codes()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.usda"]


def test_one_frame_is_a_motion_too(open_body: BodyArrays, tmp_path: Path) -> None:
    write_usda(str(tmp_path / "a.usda"), wild_motion(1), open_body)
    assert len(Skinned(tmp_path / "a.usda").codes()) == 1


def test_a_store_takes_it_too(s3: str, open_body: BodyArrays) -> None:
    write_usda(storage.join(s3, "a.usda"), wild_motion(2), open_body)
    assert storage.read_bytes(storage.join(s3, "a.usda")).startswith(b"#usda 1.0")


def test_without_usd_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = sys.modules["vibe_ray.export.usda"]
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ImportError, match=r"usd-core: pip install 'vibe_ray\[usd\]'"):
        importlib.reload(module)
