"""Serving on Ray: one replica answers over HTTP; what a user can mend is found before it starts."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve

from tests.training.tiny import tiny_prior, tiny_prior_state
from vibe_ray.distributed.serving import check_port, make_application


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_missing_checkpoint_is_found_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        make_application(str(tmp_path / "nothing"))
    assert not ray.is_initialized() or not serve.status().applications


def test_a_motion_prior_is_refused_before_ray_starts(tmp_path: Path) -> None:
    tiny_prior_state(tiny_prior()).snapshot({}).write(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} holds a motion prior"):
        make_application(str(tmp_path))


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{port}"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


@pytest.fixture
def address(tiny_checkpoint: Path, ray_cluster: None) -> Iterator[str]:
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(make_application(str(tiny_checkpoint)), name="vibe_ray", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_a_replica_answers_over_http(address: str, tiny_checkpoint: Path) -> None:
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/v1/model").json()["checkpoint"] == str(tiny_checkpoint)
        reply = client.post("/v1/infer", json={"features": [[0.1] * 2048] * 5})
        assert reply.status_code == 200
        assert len(reply.json()["pose"]) == 5
        assert len(reply.json()["pose"][0]) == 72
        refused = client.post("/v1/infer", json={"features": [[0.1] * 5]})
        assert refused.status_code == 422
        assert "5 wide" in refused.json()["detail"]
