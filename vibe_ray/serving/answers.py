"""From a request's bytes to the reply's: of features, and of key-points. One thread calls this.

Shapes: N frames of one person, F features, D key-points, V vertices.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import SmplParams
from vibe_ray.export import EXPORTS
from vibe_ray.fitting.contacts import CONTACTS
from vibe_ray.inference import Predictor
from vibe_ray.prediction.job import Prediction, Tools
from vibe_ray.prediction.keypoints import KeypointClip, predict_keypoints
from vibe_ray.prediction.outputs import write_export
from vibe_ray.prediction.person import Person, WorldMotion
from vibe_ray.serving.admission import Limits, RefusedError
from vibe_ray.serving.schemas import (
    MAX_FRAMES,
    MAX_MESH_FRAMES,
    InferReply,
    InferRequest,
    KeypointsReply,
    KeypointsRequest,
    World,
)
from vibe_ray.serving.wire import Asked, Encoding, FloatArray, PackedArray, parse_request, written
from vibe_ray.video.frames import FocalWish, VideoFacts

NOBODY = "no body is found that these key-points could be of: they hardly differ, or make no person"


class FeatureAnswerer:
    """Answers `/v1/infer`."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor = predictor
        self._limits = limits
        self._skeleton = BodyJoints.skeleton(predictor.body).to(predictor.device)

    def answer(self, body: bytes) -> bytes:
        """Return the reply as JSON.

        Raises:
            RefusedError: The request is malformed, or asks for too much.
        """
        request = parsed(body, self._limits, InferRequest)
        features = request.to_array()
        check_width(features.shape[1], self._predictor.config.generator.input_dim)
        check_length(len(features), request.verts)
        return (
            self._infer(request, torch.from_numpy(features))
            .model_dump_json(exclude_none=True)
            .encode()
        )

    @torch.no_grad()
    def _infer(self, request: InferRequest, features: Tensor) -> InferReply:
        params = self._predictor.predict(features, request.chunking)
        joints = self._skeleton(params.betas, params.rotmat) if request.joints else None
        verts = self._predictor.verts(params) if request.verts else None
        given = (params.rotmat, params.betas, params.cam, joints, verts)
        check_finite([tensor for tensor in given if tensor is not None])
        return reply(request, params, joints, verts)


class KeypointAnswerer:
    """Answers `/v1/keypoints`."""

    def __init__(self, tools: Tools, limits: Limits) -> None:
        self._tools = tools
        self._limits = limits

    def answer(self, body: bytes) -> bytes:
        """Return the reply as JSON.

        Raises:
            RefusedError: The request is malformed, or asks for too much; or nobody is seen, or
                joints are called as nothing that is known.
        """
        request = parsed(body, self._limits, KeypointsRequest)
        values = request.to_array()
        check_length(len(values))
        try:
            clip = KeypointClip(
                values=values,
                names=request.names,
                width=request.width,
                height=request.height,
                fps=request.fps,
                focal=FocalWish(focal_px=request.focal_px),
                camera=request.camera or "",
            )
            _ = clip.track  # what is wrong with it is told here, and nothing else is
        except ValueError as error:
            raise RefusedError(422, str(error)) from None
        try:
            made = predict_keypoints(clip, self._tools)
        except (np.linalg.LinAlgError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            raise RefusedError(422, NOBODY) from None
        check_person(made.people[0])
        files = self._files(request.files, made.people[0], clip.facts)
        return described(request, made, files).model_dump_json(exclude_none=True).encode()

    def _files(self, kinds: Sequence[str], person: Person, facts: VideoFacts) -> dict[str, str]:
        """Return files in base64, by their kind."""
        found, body = {}, self._tools.estimator.predictor.body
        with TemporaryDirectory() as folder:
            for export in EXPORTS:
                if export.name in kinds:
                    path = Path(folder) / export.name
                    write_export(str(path), export, person, facts, body)
                    found[export.name] = base64.b64encode(path.read_bytes()).decode()
        return found


def parsed(body: bytes, limits: Limits, kind: type[Asked]) -> Asked:
    """Read a request.

    Raises:
        RefusedError: It is malformed (422), or has too many numbers as lists (413).
    """
    try:
        return parse_request(body, limits.list_numbers, kind)
    except OverflowError as error:
        raise RefusedError(413, str(error)) from None
    except ValueError as error:
        raise RefusedError(422, str(error)) from None


def check_width(width: int, feature_dim: int) -> None:
    """Refuse features of another width (422)."""
    if width != feature_dim:
        raise RefusedError(
            422,
            f"features are {width} wide, this model takes {feature_dim}: use the frame encoder "
            "that it was trained on, see /v1/model",
        )


def check_length(num_frames: int, with_verts: bool = False) -> None:
    """Refuse too many frames (413)."""
    limit = MAX_MESH_FRAMES if with_verts else MAX_FRAMES
    if num_frames > limit:
        what = " with vertices" if with_verts else ""
        raise RefusedError(
            413, f"{num_frames} frames, at most {limit}{what} in one request: send them in pieces"
        )


def check_person(person: Person) -> None:
    """Refuse key-points (422) that lie so that what comes of them is no number."""
    arrays = [person.rotmat, person.betas, person.transl, person.joints]
    if (world := person.world) is not None:
        arrays += [world.rotmat, world.transl, world.camera_rotmat, world.camera_transl]
    if not all(np.isfinite(array).all() for array in arrays):
        raise RefusedError(422, NOBODY)


def check_finite(answer: Sequence[Tensor]) -> None:
    """Refuse features (422) that no frame encoder gives, so large that the answer is none.

    Args:
        answer: Tensors with leading (N,).
    """
    is_finite = torch.stack([tensor.isfinite().flatten(1).all(dim=1) for tensor in answer]).all(0)
    if not is_finite.all():
        frame = int(is_finite.int().argmin())
        raise RefusedError(
            422,
            f"features around frame {frame} are too large for the model to answer with finite "
            "numbers: send them as the frame encoder gives them",
        )


def reply(
    request: InferRequest, params: SmplParams, joints: Tensor | None, verts: Tensor | None
) -> InferReply:
    """Encode parameters, joints (N, 24, 3) and vertices (N, V, 3) as the request asks."""
    return InferReply(
        num_frames=len(params.betas),
        fps=request.fps,
        pose=written(_numbers(params.pose), request.encoding),
        betas=written(_numbers(params.betas), request.encoding),
        cam=written(_numbers(params.cam), request.encoding),
        joints=None if joints is None else written(_numbers(joints), request.encoding),
        verts=None if verts is None else PackedArray.pack(_numbers(verts)),
    )


def described(request: KeypointsRequest, made: Prediction, files: dict[str, str]) -> KeypointsReply:
    """Encode a person's motion as the request asks."""
    (person,) = made.people
    encoding, track, world = request.encoding, person.track, person.world
    return KeypointsReply(
        first_frame=int(track.frames[0]),
        num_frames=person.num_frames,
        fps=request.fps,
        is_filled=track.filled.tolist(),
        pose=written(person.pose, encoding),
        betas=person.betas.tolist(),
        transl=written(person.transl, encoding),
        joints=written(person.joints, encoding) if request.joints else None,
        world=None if world is None else _world(world, encoding),
        assumed=made.assumed,
        notes=list(person.notes),
        warnings=made.warnings,
        quality=person.quality,
        files=files,
    )


def _world(world: WorldMotion, encoding: Encoding) -> World:
    return World(
        pose=written(world.pose, encoding),
        transl=written(world.transl, encoding),
        contacts=np.asarray(world.contacts).tolist(),
        contact_names=list(CONTACTS),
        camera_rotmat=world.camera_rotmat.tolist(),
        camera_transl=world.camera_transl.tolist(),
    )


def _numbers(tensor: Tensor) -> FloatArray:
    numbers: FloatArray = tensor.float().cpu().numpy()
    return numbers
