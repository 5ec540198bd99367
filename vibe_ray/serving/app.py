"""The HTTP interface around a predictor: routes, limits, errors. No Ray, so it is tested without.

A request is parsed, predicted and encoded in one thread, one after the other: the model takes all
of a replica's processor, and the event loop stays free to say that the server is alive.

Shapes: N frames of one person, F features.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, Request, Response
from torch import Tensor

from vibe_ray import __version__
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import SmplParams
from vibe_ray.inference import Predictor
from vibe_ray.serving.admission import Admission, Limits, RefusedError
from vibe_ray.serving.schemas import (
    MAX_FRAMES,
    MAX_MESH_FRAMES,
    InferReply,
    InferRequest,
    ModelInfo,
    PackedArray,
    Problem,
    parse_request,
)

JSON_TYPE = "application/json"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (401, 408, 413, 415, 422, 503)
}
REQUEST = {
    "required": True,
    "content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/InferRequest"}}},
}


class Application(FastAPI):
    """Describes a request that its route reads by itself, outside of the event loop."""

    def openapi(self) -> dict[str, Any]:
        """Return the interface's description."""
        described = super().openapi()
        schema = InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = described["components"]["schemas"]
        schemas |= {**schema.pop("$defs"), "InferRequest": schema}
        return described


def create_app(
    predictor: Predictor, info: ModelInfo, limits: Limits | None = None, digest: str | None = None
) -> FastAPI:
    """Return the application that answers with this predictor.

    Args:
        predictor: The model.
        info: What `/v1/model` says of it.
        limits: What is taken at once.
        digest: Of the token that clients must bear (`admission.token_digest`); None: no token.
    """
    limits = limits or Limits()
    app = Application(title="vibe_ray", version=__version__)
    app.add_middleware(Admission, limits=limits, digest=digest)
    thread = ThreadPoolExecutor(1, thread_name_prefix="model")
    answerer = Answerer(predictor, limits)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the model is loaded and requests are taken."""
        return {"status": "ok"}

    @app.get("/v1/model")
    async def model() -> ModelInfo:
        """Say which model answers, and what it takes."""
        return info

    @app.post(
        "/v1/infer",
        response_model=InferReply,
        responses=ERRORS,
        openapi_extra={"requestBody": REQUEST},
    )
    async def infer(request: Request) -> Response:
        """Turn one person's frame features into SMPL parameters, and joints or vertices."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        try:
            if kind != JSON_TYPE:
                raise RefusedError(
                    415, f"content-type is {kind[:40]!r}, expected 'application/json'"
                )
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(thread, answerer.answer, body)
        except RefusedError as refusal:
            return refusal.response()
        return Response(content, media_type=JSON_TYPE)

    return app


class Answerer:
    """From a request's bytes to the reply's, in one thread."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor = predictor
        self._limits = limits
        self._skeleton = BodyJoints.skeleton(predictor.body).to(predictor.device)

    def answer(self, body: bytes) -> bytes:
        """Return the reply as JSON.

        Raises:
            RefusedError: The request is malformed, or asks for too much.
        """
        try:
            request = parse_request(body, self._limits.list_numbers)
        except OverflowError as error:
            raise RefusedError(413, str(error)) from None
        except ValueError as error:
            raise RefusedError(422, str(error)) from None
        features = request.to_array()
        check_size(features.shape, self._predictor.config.generator.input_dim, request.verts)
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


def check_size(shape: tuple[int, ...], feature_dim: int, with_verts: bool) -> None:
    """Refuse too many frames (413) and features of another width (422)."""
    num_frames, width = shape
    if width != feature_dim:
        raise RefusedError(
            422,
            f"features are {width} wide, this model takes {feature_dim}: use the frame encoder "
            "that it was trained on, see /v1/model",
        )
    limit = MAX_MESH_FRAMES if with_verts else MAX_FRAMES
    if num_frames > limit:
        what = " with vertices" if with_verts else ""
        raise RefusedError(
            413, f"{num_frames} frames, at most {limit}{what} in one request: send them in pieces"
        )


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

    def encode(tensor: Tensor) -> PackedArray | list[Any]:
        array = tensor.float().cpu().numpy()
        if request.encoding == "packed":
            return PackedArray.pack(array)
        rounded: list[Any] = np.round(array.astype(np.float64), 6).tolist()  # micrometers
        return rounded

    return InferReply(
        num_frames=len(params.betas),
        fps=request.fps,
        pose=encode(params.pose),
        betas=encode(params.betas),
        cam=encode(params.cam),
        joints=None if joints is None else encode(joints),
        verts=None if verts is None else PackedArray.pack(verts.float().cpu().numpy()),
    )
