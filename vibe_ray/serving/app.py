"""The HTTP interface around a predictor: routes, limits, errors. No Ray, so it is tested without.

Shapes: N frames of one person, F features.
"""

from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from vibe_ray import __version__
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.params import SmplParams
from vibe_ray.inference import Predictor
from vibe_ray.serving.schemas import (
    MAX_BODY_BYTES,
    MAX_FRAMES,
    MAX_MESH_FRAMES,
    InferReply,
    InferRequest,
    ModelInfo,
    PackedArray,
    Problem,
)

PLUMBING = ("body", "packed", "lists")
"""Parts of an error's location that say nothing about the request."""
ERRORS: dict[int | str, dict[str, Any]] = {413: {"model": Problem}, 422: {"model": Problem}}


def create_app(predictor: Predictor, info: ModelInfo) -> FastAPI:
    """Return the application that answers with this predictor."""
    app = FastAPI(title="vibe_ray", version=__version__)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_exception_handler(RequestValidationError, _refuse)
    skeleton = BodyJoints.skeleton(predictor.body).to(predictor.device)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Say that the model is loaded and requests are taken."""
        return {"status": "ok"}

    @app.get("/v1/model")
    def model() -> ModelInfo:
        """Say which model answers, and what it takes."""
        return info

    @app.post("/v1/infer", responses=ERRORS, response_model_exclude_none=True)
    def infer(request: InferRequest) -> InferReply:
        """Turn one person's frame features into SMPL parameters, and joints or vertices."""
        features = request.to_array()
        check_size(features.shape, info.feature_dim, request.verts)
        with torch.no_grad():
            params = predictor.predict(torch.from_numpy(features), request.chunking)
            joints = skeleton(params.betas, params.rotmat) if request.joints else None
            verts = predictor.verts(params) if request.verts else None
        return reply(request, params, joints, verts)

    return app


def check_size(shape: tuple[int, ...], feature_dim: int, with_verts: bool) -> None:
    """Refuse too many frames (413) and features of another width (422)."""
    num_frames, width = shape
    if width != feature_dim:
        raise HTTPException(
            422,
            f"features are {width} wide, this model takes {feature_dim}: use the frame encoder "
            "that it was trained on, see /v1/model",
        )
    limit = MAX_MESH_FRAMES if with_verts else MAX_FRAMES
    if num_frames > limit:
        what = " with vertices" if with_verts else ""
        raise HTTPException(
            413, f"{num_frames} frames, at most {limit}{what} in one request: send them in pieces"
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


def _refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer 422 in words, without sending the features back as FastAPI would."""
    assert isinstance(error, RequestValidationError)
    found = []
    for problem in error.errors()[:5]:
        place = ".".join(str(part) for part in problem["loc"] if part not in PLUMBING)
        text = str(problem["msg"]).removeprefix("Value error, ")
        found.append(f"{place}: {text}" if place else text)
    return JSONResponse({"detail": "; ".join(found)}, status_code=422)


class BodyLimit:
    """Answers 413 to bodies that are too large, whether they say so first or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what arrives."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if int(headers.get(b"content-length", b"0")) > self.max_bytes:
            await self._too_large(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, self._detail())
            return message

        await self.app(scope, counted, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"detail": self._detail()}, status_code=413)(scope, receive, send)

    def _detail(self) -> str:
        return (
            f"the body is larger than {self.max_bytes} bytes: pack the features as float16, or "
            "send them in pieces"
        )
