"""The application on Ray Serve: replicas that each hold the model, one HTTP proxy before them."""

import ipaddress
import json
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from vibe_ray import storage
from vibe_ray.distributed.cluster import check_alive, check_room, connect
from vibe_ray.inference import Predictor
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.serving.admission import Limits, token_digest
from vibe_ray.serving.app import create_app, load
from vibe_ray.serving.schemas import ModelInfo
from vibe_ray.settings import override

logger = logging.getLogger(__name__)

APPLICATION = "vibe_ray"
REPLICAS_FLAG = "--replicas"
SEND_SECONDS = 1.0
"""In which the proxy sends the last answers on their way, when all replicas have ended."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a checkpoint is served."""

    checkpoint: str
    """A checkpoint directory, a run's folder (its best is taken), or `open`."""
    encoder: str | None = None
    """For requests of key-points; as of `serving.app.load`."""
    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is this machine alone."""
    port: int = 8000
    replicas: int = 1
    """Copies of the model, of one CPU each."""
    token: str | None = field(default=None, repr=False)
    """What clients must bear; None lets everyone in."""
    is_insecure: bool = False
    """Whether others than this machine are let in without a token."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the limits, by name."""

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"{REPLICAS_FLAG} is {self.replicas}, expected 1 or more")
        if self.token is None and not self.is_insecure and not is_loopback(self.host):
            raise ValueError(
                f"--host {self.host} lets other machines in: set VIBE_RAY_TOKEN, or --token, to "
                "what they must send as `Authorization: Bearer TOKEN`; --insecure serves without"
            )

    @property
    def limits(self) -> Limits:
        """What a replica takes at once."""
        return override(Limits(), self.changes)


class VibeReplica:
    """One copy of a checkpoint's model. The application is built in the replica, around it."""

    def __init__(
        self, checkpoint: str, encoder: str | None, limits: Limits, digest: str | None
    ) -> None:
        self.checkpoint = checkpoint
        self.limits = limits
        self.digest = digest
        self.predictor, self.tools = load(checkpoint, encoder)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application; Serve calls this after the constructor."""
        takes_keypoints = self.tools is not None
        info = describe(self.checkpoint, self.predictor, takes_keypoints, self.limits)
        return create_app(self.predictor, info, self.tools, self.limits, self.digest)


def serve_checkpoint(server: Server) -> None:
    """Serve a checkpoint until interrupted; then answer what is in flight, and end.

    Raises:
        FileNotFoundError: No checkpoint there.
        ValueError: A setting that is wrong, a port that is taken, or a cluster that serves already.
        ConnectionError: No cluster where RAY_ADDRESS says.
        ChildProcessError: The cluster, one of our own, died.
    """
    limits = server.limits
    check_room(server.replicas, REPLICAS_FLAG)
    application = make_application(server)
    check_port(server.host, server.port)
    is_own = connect(server.replicas, "cpu", REPLICAS_FLAG)
    check_unused()
    try:
        serve.start(
            http_options=HTTPOptions(
                host=server.host,
                port=server.port,
                request_timeout_s=limits.answer_seconds,
                keep_alive_timeout_s=limits.idle_seconds,
            )
        )
        # Of every request the proxy's log tells already.
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        serve.run(application, name=APPLICATION, route_prefix="/", logging_config=quiet)
        logger.info("serving %s at http://%s:%d", server.checkpoint, server.host, server.port)
        while True:  # until a signal
            time.sleep(1)
            check_alive()
    except ChildProcessError:
        raise  # nothing is left that could be ended
    except BaseException:
        stop(is_own)
        raise


def stop(is_own: bool) -> None:
    """Take no more requests, wait for those in flight, and end Serve. A second signal cuts it off.

    Ray Serve ends its proxy at once, with all that it was about to pass on, when asked to shut
    down; an application that is deleted first is waited for.

    Args:
        is_own: Whether the cluster ends with this process, and Serve with it.
    """
    try:
        if APPLICATION in serve.status().applications:
            logger.info("no more requests are taken; those in flight are answered")
            serve.delete(APPLICATION)
            time.sleep(SEND_SECONDS)
    finally:
        if not is_own:
            serve.shutdown()


def make_application(server: Server) -> serve.Application:
    """Return the Serve application of a checkpoint, having loaded it once to know that it loads.

    Raises:
        FileNotFoundError: No checkpoint there, or no encoder.
        ValueError: They do not belong together.
    """
    # A replica's current folder is another.
    checkpoint = storage.absolute(find_checkpoint(server.checkpoint))
    encoder = server.encoder
    if encoder not in (None, "open"):
        encoder = storage.absolute(encoder)
    load(checkpoint, encoder)
    limits = server.limits
    deployment = serve.deployment(
        num_replicas=server.replicas,
        max_ongoing_requests=limits.ongoing,
        max_queued_requests=limits.ongoing,
        graceful_shutdown_timeout_s=limits.drain_seconds,
        graceful_shutdown_wait_loop_s=0.5,
    )
    digest = None if server.token is None else token_digest(server.token)
    return deployment(serve.ingress()(VibeReplica)).bind(checkpoint, encoder, limits, digest)


def describe(
    checkpoint: str, predictor: Predictor, takes_keypoints: bool, limits: Limits
) -> ModelInfo:
    """Return what `/v1/model` says of a checkpoint."""
    manifest = json.loads(storage.read_bytes(storage.join(checkpoint, storage.MANIFEST)))
    return ModelInfo(
        checkpoint=checkpoint,
        manifest=manifest,
        feature_dim=predictor.config.generator.input_dim,
        takes_keypoints=takes_keypoints,
        window_length=predictor.config.data.window_length,
        num_verts=len(predictor.body.v_template),
        max_body_bytes=limits.body_bytes,
        max_list_numbers=limits.list_numbers,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address, or a name, that is listened on."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host or "0.0.0.0", None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address)).is_loopback for address in found)


def check_port(host: str, port: int) -> None:
    """Raise ValueError when nothing can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"cannot listen on {host}:{port}: {error}; --port takes another"
            ) from None


def check_unused() -> None:
    """Refuse a cluster that serves already: Ray Serve would replace its model without a word.

    Raises:
        ValueError: It does.
    """
    status = serve.status()
    if status.proxies or status.applications:
        names = ", ".join(sorted(status.applications)) or "no application yet"
        raise ValueError(
            f"this cluster serves already ({names}), and has one HTTP address: unset RAY_ADDRESS "
            "for a cluster of its own, or end the other first (`serve shutdown` ends what was left)"
        )
