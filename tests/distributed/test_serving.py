"""Serving on Ray: one replica answers over HTTP; what a user can mend is found before it starts."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve

from tests.training.tiny import tiny, tiny_prior, tiny_prior_state, tiny_state
from vibe_ray.distributed.serving import (
    Server,
    check_port,
    check_unused,
    is_loopback,
    make_application,
    stop,
)
from vibe_ray.serving.app import load


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_missing_checkpoint_is_found_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        make_application(Server(checkpoint=str(tmp_path / "nothing")))
    assert not ray.is_initialized() or not serve.status().applications


def test_a_motion_prior_is_refused_before_ray_starts(tmp_path: Path) -> None:
    tiny_prior_state(tiny_prior()).snapshot({}).write(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} holds a motion prior"):
        make_application(Server(checkpoint=str(tmp_path)))


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1:{port}"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.0.7", False),
        ("no such host", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_others_are_let_in_with_a_token_or_when_forced() -> None:
    with pytest.raises(ValueError, match=r"--host 0\.0\.0\.0 lets other machines in: set VIBE_RAY"):
        Server(checkpoint="open", host="0.0.0.0")
    for changes in ({"token": "a-secret"}, {"is_insecure": True}):
        server = Server(checkpoint="open", host="0.0.0.0", **changes)
        assert "a-secret" not in repr(server)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"waitign": "5"}, "no setting 'waitign'; did you mean 'waiting'"),
        ({"waiting": "many"}, "waiting is 'many', expected int"),
        ({"waiting": "0"}, "waiting is 0, expected more than 0"),
    ],
)
def test_a_wrong_limit_is_told_before_ray_starts(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_application(Server(checkpoint="open", changes=changes))


def test_key_points_are_taken_with_the_checkpoints_own_encoder(tmp_path: Path) -> None:
    """The packaged one is taken by itself where the checkpoint names it; any other is given."""
    predictor, tools = load("open", None)
    assert tools is not None
    assert tools.estimator.predictor is predictor  # the weights are held once
    state = tiny_state(tiny())
    (tmp_path / "checkpoint").mkdir()
    state.snapshot({"encoder_id": "keypoints-of-another"}).write(tmp_path / "checkpoint")
    alone, nothing = load(str(tmp_path / "checkpoint"), None)
    assert nothing is None
    assert alone.encoder_id == "keypoints-of-another"
    with pytest.raises(ValueError, match=r"trained on features of encoder keypoints-of-another"):
        load(str(tmp_path / "checkpoint"), "open")
    state.snapshot({}).write(tmp_path / "checkpoint")  # does not say whose features it knows
    assert load(str(tmp_path / "checkpoint"), None)[1] is None
    with pytest.raises(ValueError, match=r"takes features of width 16, those of open have 2048"):
        load(str(tmp_path / "checkpoint"), "open")
    with pytest.raises(FileNotFoundError, match=r"expected a frame encoder's directory"):
        load("open", str(tmp_path / "none"))


@pytest.fixture
def address(tiny_checkpoint: Path, ray_cluster: None) -> Iterator[str]:
    port = free_port()
    server = Server(
        checkpoint=str(tiny_checkpoint),
        encoder="open",
        token="a-secret",
        changes={"drain_seconds": 9},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(make_application(server), name="vibe_ray", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    stop(is_own=False)


@pytest.mark.ray
@pytest.mark.slow
def test_a_replica_answers_over_http(address: str, tiny_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"this cluster serves already \(vibe_ray\)"):
        check_unused()
    assert httpx.get(f"{address}/v1/model").status_code == 401
    bearer = {"Authorization": "Bearer a-secret"}
    with httpx.Client(base_url=address, timeout=60, headers=bearer) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/v1/model").json()["checkpoint"] == str(tiny_checkpoint)
        reply = client.post("/v1/infer", json={"features": [[0.1] * 2048] * 5})
        assert reply.status_code == 200
        assert len(reply.json()["pose"]) == 5
        assert len(reply.json()["pose"][0]) == 72
        seen = {"keypoints": [[[100.0 + i, 50.0 * i, 1.0] for i in range(17)]] * 3}
        reply = client.post("/v1/keypoints", json=seen | {"width": 640, "height": 900, "fps": 25})
        assert reply.status_code == 200, reply.text
        assert len(reply.json()["world"]["pose"]) == 3
        refused = client.post("/v1/infer", json={"features": [[0.1] * 5]})
        assert refused.status_code == 422
        assert "5 wide" in refused.json()["detail"]
