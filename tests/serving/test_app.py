"""The HTTP interface without Ray: answers equal the predictor's, and every refusal says why."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from vibe_ray.body.mesh import BodyModel
from vibe_ray.distributed.serving import describe
from vibe_ray.inference import Predictor
from vibe_ray.serving.admission import Limits, token_digest
from vibe_ray.serving.app import create_app
from vibe_ray.serving.schemas import MAX_FRAMES, MAX_MESH_FRAMES, ModelInfo
from vibe_ray.serving.wire import PackedArray

F = 2048


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return Predictor.from_checkpoint(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def client(tiny_checkpoint: Path, predictor: Predictor) -> TestClient:
    return TestClient(
        create_app(predictor, describe(str(tiny_checkpoint), predictor, False, Limits()))
    )


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


@pytest.fixture(scope="module")
def info(tiny_checkpoint: Path, predictor: Predictor) -> ModelInfo:
    return describe(str(tiny_checkpoint), predictor, False, Limits())


def test_a_body_that_is_too_large_is_cut_off(predictor: Predictor, info: ModelInfo) -> None:
    small = TestClient(create_app(predictor, info, limits=Limits(body_bytes=1000)))
    reply = small.post("/v1/infer", json={"features": [[0.0] * 400]})
    assert reply.status_code == 413
    assert "larger than 1000 bytes" in reply.json()["detail"]


def test_too_many_numbers_as_lists_are_refused_and_packed_are_not(
    predictor: Predictor, info: ModelInfo
) -> None:
    small = TestClient(create_app(predictor, info, limits=Limits(list_numbers=1000)))
    text = detail(small, {"features": features(1).astype(float).tolist()}, 413)
    assert text.startswith("more than 1000 numbers as lists: pack the arrays")
    assert small.post("/v1/infer", json={"features": packed(features(1))}).status_code == 200


def test_a_token_guards_all_but_health(predictor: Predictor, info: ModelInfo) -> None:
    guarded = TestClient(create_app(predictor, info, digest=token_digest("a-secret")))
    assert guarded.get("/healthz").status_code == 200
    for path in ("/v1/model", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers={"Authorization": "Bearer a-secret"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_refused(client: TestClient, kind: str) -> None:
    reply = client.post("/v1/infer", content=b"{}", headers={"content-type": kind})
    assert reply.status_code == 415
    assert "expected 'application/json'" in reply.json()["detail"]


@pytest.mark.parametrize("number", ["1e39", "-1e300", "1e999", "NaN", "Infinity", "1" + "0" * 400])
def test_a_number_beyond_float32_is_refused(client: TestClient, number: str) -> None:
    body = '{"features": [[' + ",".join(["0.5"] * (F - 1) + [number]) + "]]}"
    reply = client.post("/v1/infer", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert "features of frame 0 are not finite" in reply.json()["detail"]


@pytest.mark.parametrize("encoding", ["lists", "packed"])
@pytest.mark.parametrize("verts", [False, True])
def test_no_answer_holds_what_is_no_number(client: TestClient, encoding: str, verts: bool) -> None:
    """The network's arithmetic overflows on what float32 holds."""
    array = features(3).astype(np.float32)
    array[1] = 3.4e38
    body = {"features": packed(array), "encoding": encoding, "verts": verts}
    assert "too large for the model" in detail(client, body, 422)


def test_a_million_wrong_numbers_are_one_error(client: TestClient) -> None:
    text = detail(client, {"features": [["x"] * F] * 400}, 422)
    assert text.startswith("features.0.0: ")
    assert ";" not in text


def test_every_schema_that_the_interface_names_is_there(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert "InferRequest" in named
    assert named <= set(described["components"]["schemas"])
    body = described["paths"]["/v1/infer"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/InferRequest")


def test_the_interface_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/healthz", "/v1/model", "/v1/infer", "/v1/keypoints"}
    assert set(paths["/v1/infer"]["post"]["responses"]) >= {"200", "413", "422"}
