"""The application on Ray Serve: replicas that each hold the model, one HTTP proxy before them."""

import json
import logging
import socket
from pathlib import Path

import ray
from fastapi import FastAPI
from ray import serve

from vibe_ray import storage
from vibe_ray.inference import Predictor
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.step_folders import MANIFEST_FILE
from vibe_ray.serving.app import create_app
from vibe_ray.serving.schemas import ModelInfo


class VibeReplica:
    """One copy of a checkpoint's model. The application is built in the replica, around it."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.predictor = Predictor.from_checkpoint(checkpoint)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application; Serve calls this after the constructor."""
        return create_app(self.predictor, describe(self.checkpoint, self.predictor))


def serve_checkpoint(path: str, host: str, port: int, *, replicas: int = 1) -> None:
    """Serve a checkpoint until interrupted.

    Args:
        path: A checkpoint directory, a run's folder (its best is taken), or `open`.
        host: Address to listen on; 127.0.0.1 is this machine alone.
        port: Port to listen on.
        replicas: Copies of the model, of one CPU each.

    Raises:
        FileNotFoundError: No checkpoint there.
        ValueError: The port is taken.
    """
    application = make_application(path, replicas)
    check_port(host, port)
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)
    serve.start(http_options={"host": host, "port": port})
    serve.run(application, name="vibe_ray", route_prefix="/", blocking=True)


def make_application(path: str, replicas: int = 1) -> serve.Application:
    """Return the Serve application of a checkpoint, having loaded it once to know that it loads.

    Raises:
        FileNotFoundError: No checkpoint there.
    """
    checkpoint = find_checkpoint(path)
    if not storage.is_remote(checkpoint):
        checkpoint = str(Path(checkpoint).absolute())  # a replica's current folder is another
    Predictor.from_checkpoint(checkpoint)
    deployed = serve.deployment(num_replicas=replicas)(serve.ingress()(VibeReplica))
    return deployed.bind(checkpoint)


def describe(checkpoint: str, predictor: Predictor) -> ModelInfo:
    """Return what `/v1/model` says of a checkpoint."""
    manifest = json.loads(storage.read_bytes(storage.join(checkpoint, MANIFEST_FILE)))
    return ModelInfo(
        checkpoint=checkpoint,
        manifest=manifest,
        feature_dim=predictor.config.generator.feature_dim,
        window_length=predictor.config.data.window_length,
        num_verts=len(predictor.body.v_template),
    )


def check_port(host: str, port: int) -> None:
    """Raise ValueError when nothing can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"cannot listen on {host}:{port}: {error}; --port takes another"
            ) from None
