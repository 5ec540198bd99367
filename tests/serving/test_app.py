"""The HTTP interface without Ray: answers equal the predictor's, and every refusal says why."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from vibe_ray.body.mesh import BodyModel
from vibe_ray.distributed.serving import describe
from vibe_ray.inference import Predictor
from vibe_ray.serving import app as app_module
from vibe_ray.serving.app import create_app
from vibe_ray.serving.schemas import MAX_FRAMES, MAX_MESH_FRAMES, ModelInfo, PackedArray

F = 2048


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path, predictor: Predictor) -> TestClient:
    return TestClient(create_app(predictor, describe(str(tiny_checkpoint), predictor)))


def features(num_frames: int, width: int = F) -> np.ndarray:
    return np.random.default_rng(num_frames).normal(size=(num_frames, width)).astype(np.float16)


def packed(array: np.ndarray) -> dict[str, Any]:
    return PackedArray.pack(array).model_dump()


def unpack(value: dict[str, Any]) -> np.ndarray:
    return PackedArray.model_validate(value).unpack()


def detail(client: TestClient, body: Any, status: int) -> str:
    reply = client.post("/v1/infer", json=body)
    assert reply.status_code == status, reply.text
    text: str = reply.json()["detail"]
    assert isinstance(text, str)
    return text


def test_it_says_that_it_is_alive_and_what_it_serves(
    client: TestClient, tiny_checkpoint: Path
) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    info = client.get("/v1/model").json()
    assert info["feature_dim"] == F
    assert info["checkpoint"] == str(tiny_checkpoint)
    assert info["manifest"] == json.loads((tiny_checkpoint / "manifest.json").read_text())


@pytest.mark.parametrize("chunking", ["windows", "sequence"])
def test_packed_answers_are_the_predictors_bit_for_bit(
    client: TestClient, predictor: Predictor, chunking: Any
) -> None:
    array = features(21)
    body = {
        "features": packed(array),
        "fps": 30,
        "verts": True,
        "encoding": "packed",
        "chunking": chunking,
    }
    reply = client.post("/v1/infer", json=body).json()
    params = predictor.predict(torch.from_numpy(array.astype(np.float32)), chunking)
    mesh = BodyModel(predictor.body)(params.betas, params.rotmat)
    assert (reply["num_frames"], reply["fps"]) == (21, 30)
    np.testing.assert_array_equal(unpack(reply["pose"]), params.pose)
    np.testing.assert_array_equal(unpack(reply["betas"]), params.betas)
    np.testing.assert_array_equal(unpack(reply["cam"]), params.cam)
    np.testing.assert_allclose(unpack(reply["verts"]), mesh.verts, atol=1e-6)
    np.testing.assert_allclose(unpack(reply["joints"]), mesh.joints, atol=1e-5)


def test_lists_are_the_packed_answer_to_six_decimals(client: TestClient) -> None:
    body = {"features": features(3).astype(float).tolist()}
    listed = client.post("/v1/infer", json=body).json()
    exact = client.post("/v1/infer", json={**body, "encoding": "packed"}).json()
    for name in ("pose", "betas", "cam", "joints"):
        np.testing.assert_allclose(listed[name], unpack(exact[name]), atol=5.1e-7, rtol=0)
    assert np.shape(listed["joints"]) == (3, 24, 3)
    assert "verts" not in listed


def test_joints_are_left_out_when_not_wanted(client: TestClient) -> None:
    reply = client.post("/v1/infer", json={"features": packed(features(1)), "joints": False})
    assert set(reply.json()) == {"num_frames", "fps", "pose", "betas", "cam"}


def test_features_of_another_width_are_refused(client: TestClient) -> None:
    text = detail(client, {"features": packed(features(2, 1024))}, 422)
    assert "features are 1024 wide, this model takes 2048" in text


def test_too_many_frames_are_refused(client: TestClient) -> None:
    mesh = {"features": zeros(MAX_MESH_FRAMES + 1), "verts": True}
    assert f"at most {MAX_MESH_FRAMES} with vertices" in detail(client, mesh, 413)
    text = detail(client, {"features": zeros(MAX_FRAMES + 1)}, 413)
    assert f"{MAX_FRAMES + 1} frames, at most {MAX_FRAMES} in one request" in text


def zeros(num_frames: int) -> dict[str, Any]:
    data = base64.b64encode(bytes(2 * num_frames * F)).decode()
    return {"dtype": "float16", "shape": [num_frames, F], "data": data}


def test_errors_name_the_field_and_do_not_echo_the_features(client: TestClient) -> None:
    text = detail(client, {"features": [[1.0] * 50_000 + ["x"]]}, 422)
    assert text.startswith("features.0.50000: ")
    assert len(text) < 200
    assert detail(client, {"fps": 25}, 422) == "features: Field required"
    assert "fps: " in detail(client, {"features": [[0.0]], "fps": -1}, 422)


def test_text_that_is_no_json_is_refused(client: TestClient) -> None:
    reply = client.post("/v1/infer", content=b"{", headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert "JSON" in reply.json()["detail"]


@pytest.mark.parametrize("says_so", [True, False])
def test_a_body_that_is_too_large_is_cut_off(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, says_so: bool
) -> None:
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 1000)
    info = ModelInfo(checkpoint="", manifest={}, feature_dim=F, window_length=16, num_verts=0)
    small = TestClient(create_app(predictor, info))
    body = json.dumps({"features": [[0.0] * 400]}).encode()
    chunks = [body[:600], body[600:]]
    reply = small.post(
        "/v1/infer",
        content=body if says_so else iter(chunks),
        headers={"content-type": "application/json"},
    )
    assert reply.status_code == 413
    assert "larger than 1000 bytes" in reply.json()["detail"]


def test_the_interface_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/healthz", "/v1/model", "/v1/infer"}
    assert set(paths["/v1/infer"]["post"]["responses"]) >= {"200", "413", "422"}
