"""Motion -> USD as text: the skinned mesh of a body and its animation by UsdSkel.

Needs `usd-core`, the extra `usd`. Frames keep their times: a time code is a frame at about the
motion's own rate, and those of a variable one are no whole numbers.

Shapes: N frames, V vertices, J = 24 joints.
"""

from typing import Any

import numpy as np

from vibe_ray import __version__, storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_PARENTS
from vibe_ray.export.animation import Animation, ViewCamera
from vibe_ray.export.curves import rotmat_to_quaternions
from vibe_ray.export.rest import RestBody, rest_body

try:
    from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdSkel, Vt
except ImportError as error:
    raise ImportError(
        "USD files need the package usd-core: pip install 'vibe_ray[usd]' (or export .glb)"
    ) from error

FILM_WIDTH_MM = 36.0
"""A camera's focal length is told against this width, that of a full-frame film."""
NEAREST, FARTHEST = 0.01, 1e4
"""Meters before the camera between which things are seen."""
SKIN_COLOR = (0.72, 0.55, 0.46)


def write_usda(
    path: str, animation: Animation, body: BodyArrays, *, camera: ViewCamera | None = None
) -> None:
    """Write a person's motion as USD.

    Args:
        path: File to write, local or of a store; complete or not there.
        animation: The motion.
        body: The body that it moves, whose pose correctives are left out (`rest.py`).
        camera: What saw it.
    """
    rest = rest_body(body, animation.betas)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    codes = _time_codes(stage, animation.times_s)
    root = UsdSkel.Root.Define(stage, f"/{Tf.MakeValidIdentifier(animation.name)}")
    root.GetPrim().SetDisplayName(animation.name)
    stage.SetDefaultPrim(root.GetPrim())
    at = root.GetPath()
    skeleton = _skeleton(stage, at.AppendChild("skeleton"), rest)
    moves = _animation(stage, at.AppendChild("motion"), animation, rest.offsets(), codes)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([moves.GetPath()])
    _mesh(stage, at.AppendChild("body"), rest, skeleton)
    if camera is not None:
        _camera(stage, at.AppendChild("camera"), camera)
    stage.SetMetadata("documentation", f"vibe_ray {__version__}")
    storage.write_bytes_atomic(path, stage.GetRootLayer().ExportToString().encode())


def _time_codes(stage: Any, times_s: np.ndarray) -> np.ndarray:
    """Set the stage's rate to about the motion's, and return when its frames are (N,)."""
    steps = np.diff(times_s)
    rate = max(1.0, float(np.round(1 / np.median(steps)))) if len(steps) else 1.0
    codes: np.ndarray = times_s * rate
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(codes[0])
    stage.SetEndTimeCode(codes[-1])
    return codes


def _joint_paths() -> list[str]:
    """UsdSkel tells the tree by names: "pelvis/left_hip/left_knee"."""
    paths = [SMPL_JOINTS[0]]
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        paths.append(f"{paths[parent]}/{SMPL_JOINTS[joint]}")
    return paths


def _skeleton(stage: Any, path: Any, rest: RestBody) -> Any:
    skeleton = UsdSkel.Skeleton.Define(stage, path)
    skeleton.CreateJointsAttr(_joint_paths())
    skeleton.CreateBindTransformsAttr(_moves(rest.joints))
    skeleton.CreateRestTransformsAttr(_moves(rest.offsets()))
    return skeleton


def _moves(points: np.ndarray) -> Any:
    """Matrices that move the origin to points (J, 3). USD's vectors are rows."""
    return Vt.Matrix4dArray([Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(*p)) for p in points.tolist()])


def _animation(
    stage: Any, path: Any, animation: Animation, offsets: np.ndarray, codes: np.ndarray
) -> Any:
    """Joints' rotations and where they are on their parents, the root in the world."""
    moves = UsdSkel.Animation.Define(stage, path)
    moves.CreateJointsAttr(_joint_paths())
    moves.CreateScalesAttr(Vt.Vec3hArray([Gf.Vec3h(1.0)] * len(SMPL_JOINTS)))
    rotations, translations = moves.CreateRotationsAttr(), moves.CreateTranslationsAttr()
    steps = np.tile(offsets.astype(np.float32), (len(codes), 1, 1))
    steps[:, 0] = animation.transl
    curves = rotmat_to_quaternions(animation.rotmat).astype(np.float32)  # x y z w, as in memory
    with Sdf.ChangeBlock():  # USD takes samples frame by frame
        for code, turn, step in zip(codes.tolist(), curves, steps, strict=True):
            rotations.Set(Vt.QuatfArray.FromNumpy(turn), code)
            translations.Set(Vt.Vec3fArray.FromNumpy(step), code)
    return moves


def _mesh(stage: Any, path: Any, rest: RestBody, skeleton: Any) -> None:
    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(rest.verts.astype(np.float32)))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(rest.normals.astype(np.float32)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateFaceVertexCountsAttr([3] * len(rest.faces))
    indices = np.ascontiguousarray(rest.faces.ravel(), np.int32)
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(indices))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*SKIN_COLOR)])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    per_vertex = rest.weights.shape[1]
    influences = np.ascontiguousarray(rest.influences.ravel(), np.int32)
    binding.CreateJointIndicesPrimvar(False, per_vertex).Set(Vt.IntArray.FromNumpy(influences))
    weights = np.ascontiguousarray(rest.weights.ravel())
    binding.CreateJointWeightsPrimvar(False, per_vertex).Set(Vt.FloatArray.FromNumpy(weights))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1.0))


def _camera(stage: Any, path: Any, camera: ViewCamera) -> None:
    lens = UsdGeom.Camera.Define(stage, path)
    mm_per_pixel = FILM_WIDTH_MM / camera.width
    lens.CreateHorizontalApertureAttr(FILM_WIDTH_MM)
    lens.CreateVerticalApertureAttr(camera.height * mm_per_pixel)
    lens.CreateFocalLengthAttr(camera.focal * mm_per_pixel)
    lens.CreateClippingRangeAttr(Gf.Vec2f(NEAREST, FARTHEST))
    rotmat, position = camera.pose_in_world()
    to_world = np.eye(4)
    to_world[:3, :3], to_world[3, :3] = rotmat.T, position  # vectors are rows
    lens.AddTransformOp().Set(Gf.Matrix4d(to_world.tolist()))
