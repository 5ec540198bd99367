"""The HTTP interface around a predictor: routes, limits, errors. No Ray, so it is tested without.

A request is parsed, predicted and encoded in one thread, one after the other: the model takes all
of a replica's processor, and the event loop stays free to say that the server is alive.

Shapes: N frames of one person, F features.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from vibe_ray import __version__
from vibe_ray.features.frame_encoder import load_encoder
from vibe_ray.features.keypoint_encoder import load_keypoint_encoder
from vibe_ray.features.with_keypoints import without_keypoints
from vibe_ray.inference import Predictor
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.serving.admission import Admission, Limits, RefusedError
from vibe_ray.serving.answers import FeatureAnswerer, KeypointAnswerer
from vibe_ray.serving.schemas import (
    InferReply,
    InferRequest,
    KeypointsReply,
    KeypointsRequest,
    ModelInfo,
    Problem,
)

logger = logging.getLogger(__name__)

JSON_TYPE = "application/json"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (401, 408, 413, 415, 422, 500, 503)
}
NO_KEYPOINTS: dict[int | str, dict[str, Any]] = {501: {"model": Problem}}
SCHEMAS = "#/components/schemas/"
REQUESTS: tuple[type[BaseModel], ...] = (InferRequest, KeypointsRequest)


class Application(FastAPI):
    """Describes requests that their routes read by themselves, outside of the event loop."""

    def openapi(self) -> dict[str, Any]:
        """Return the interface's description."""
        described = super().openapi()
        for kind in REQUESTS:
            schema = kind.model_json_schema(ref_template=SCHEMAS + "{model}")
            schemas = described["components"]["schemas"]
            schemas |= {**schema.pop("$defs"), kind.__name__: schema}
        return described


def load(checkpoint: str, encoder: str | None) -> tuple[Predictor, Tools | None]:
    """Load a checkpoint, and what makes motions of key-points with it.

    Args:
        checkpoint: Its directory.
        encoder: Of key-points, whose features the checkpoint was trained on: `open` or a folder;
            None takes the packaged one if the checkpoint names it, and else goes without.

    Raises:
        FileNotFoundError: There is no such checkpoint, or no such encoder.
        ValueError: The encoder that is named is another than the checkpoint's, or of pixels.
    """
    predictor = Predictor.from_checkpoint(checkpoint)
    if encoder is None:
        packaged = load_encoder("open").id
        if without_keypoints(predictor.encoder_id) != packaged:
            logger.warning(
                "%s was trained on features of encoder %r, and --encoder does not say where it is: "
                "requests of key-points are not answered, only those of features",
                checkpoint,
                predictor.encoder_id or "unknown",
            )
            return predictor, None
    named = encoder or "open"
    load_keypoint_encoder(named, "--encoder")
    tools = Tools(PredictConfig(checkpoint=checkpoint, encoder=named), "cpu")
    return tools.estimator.predictor, tools


def create_app(
    predictor: Predictor,
    info: ModelInfo,
    tools: Tools | None = None,
    limits: Limits | None = None,
    digest: str | None = None,
) -> FastAPI:
    """Return the application that answers with this predictor.

    Args:
        predictor: The model.
        info: What `/v1/model` says of it.
        tools: Of the same model, for key-points; None: it takes features alone.
        limits: What is taken at once.
        digest: Of the token that clients must bear (`admission.token_digest`); None: no token.
    """
    limits = limits or Limits()
    app = Application(title="vibe_ray", version=__version__)
    app.add_middleware(Admission, limits=limits, digest=digest)
    thread = ThreadPoolExecutor(1, thread_name_prefix="model")
    of_features = FeatureAnswerer(predictor, limits)
    of_keypoints = None if tools is None else KeypointAnswerer(tools, limits)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        """Answer what is our own fault; the error itself is logged by whoever runs the server."""
        return RefusedError(500, "the server failed at this request; its log says why").response()

    async def answered(request: Request, answer: Callable[[bytes], bytes]) -> Response:
        """Answer JSON with JSON in the model's thread, or say why not."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        try:
            if kind != JSON_TYPE:
                raise RefusedError(
                    415, f"content-type is {kind[:40]!r}, expected 'application/json'"
                )
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(thread, answer, body)
        except RefusedError as refusal:
            return refusal.response()
        return Response(content, media_type=JSON_TYPE)

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
        openapi_extra=_takes(InferRequest),
    )
    async def infer(request: Request) -> Response:
        """Turn one person's frame features into SMPL parameters, and joints or vertices."""
        return await answered(request, of_features.answer)

    @app.post(
        "/v1/keypoints",
        response_model=KeypointsReply,
        responses=ERRORS | NO_KEYPOINTS,
        openapi_extra=_takes(KeypointsRequest),
    )
    async def keypoints(request: Request) -> Response:
        """Turn what a detector saw of one person into their motion, as `predict` does."""
        if of_keypoints is None:
            await request.body()
            return RefusedError(
                501,
                "this model is served without an encoder of key-points: it takes features, at "
                "/v1/infer; `python -m vibe_ray.serve --encoder` names the one it was trained with",
            ).response()
        return await answered(request, of_keypoints.answer)

    return app


def _takes(kind: type[BaseModel]) -> dict[str, Any]:
    """Describe the body of a route that reads it by itself."""
    schema = {"$ref": SCHEMAS + kind.__name__}
    return {"requestBody": {"required": True, "content": {JSON_TYPE: {"schema": schema}}}}
