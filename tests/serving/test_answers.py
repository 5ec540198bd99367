"""Key-points over HTTP: answers equal the prediction's, and every refusal says why."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.prediction.filmed import FOCAL, FPS, HEIGHT, WIDTH, walk
from vibe_ray.distributed.serving import describe
from vibe_ray.export import EXPORTS
from vibe_ray.inference import Predictor
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.keypoints import KeypointClip, predict_keypoints
from vibe_ray.prediction.outputs import write_export
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.pretrained import packaged
from vibe_ray.serving import answers
from vibe_ray.serving.admission import Limits
from vibe_ray.serving.app import create_app
from vibe_ray.serving.schemas import MAX_FRAMES, MAX_KEYPOINTS
from vibe_ray.serving.wire import PackedArray
from vibe_ray.video.frames import FocalWish

PICTURE = {"width": WIDTH, "height": HEIGHT, "fps": FPS}


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools(PredictConfig(), "cpu")


@pytest.fixture(scope="module")
def client(tools: Tools) -> TestClient:
    predictor = tools.estimator.predictor
    info = describe(str(packaged("vibe")), predictor, True, Limits())
    return TestClient(create_app(predictor, info, tools))


def seen(num_frames: int = 12) -> np.ndarray:
    kp_2d = walk(num_frames).kp_2d
    return np.concatenate([kp_2d, np.full((num_frames, 17, 1), 0.9)], axis=-1).astype(np.float32)


def unpack(value: dict[str, Any]) -> np.ndarray:
    return PackedArray.model_validate(value).unpack()


def asked(keypoints: Any, **changes: Any) -> dict[str, Any]:
    return {"keypoints": keypoints, **PICTURE, "focal_px": FOCAL, **changes}


def refusal(client: TestClient, body: Any, status: int = 422) -> str:
    reply = client.post("/v1/keypoints", json=body)
    assert reply.status_code == status, reply.text
    text: str = reply.json()["detail"]
    assert len(text) < 300
    return text


def test_a_packed_answer_is_the_predictions_bit_for_bit(client: TestClient, tools: Tools) -> None:
    values = seen()
    values[:2, :, 2] = 0  # not seen yet
    clip = KeypointClip(values=values, **PICTURE, focal=FocalWish(focal_px=FOCAL))
    made = predict_keypoints(clip, tools)
    (person,) = made.people
    packed = PackedArray.pack(values).model_dump()
    reply = client.post("/v1/keypoints", json=asked(packed, encoding="packed")).json()
    assert (reply["first_frame"], reply["num_frames"], reply["fps"]) == (2, 10, FPS)
    assert reply["is_filled"] == [False] * 10
    for name in ("pose", "transl", "joints"):
        np.testing.assert_array_equal(unpack(reply[name]), getattr(person, name), err_msg=name)
    np.testing.assert_array_equal(np.float32(reply["betas"]), person.betas)
    world = person.world
    assert world is not None
    for name in ("pose", "transl"):
        np.testing.assert_array_equal(unpack(reply["world"][name]), getattr(world, name))
    np.testing.assert_array_equal(reply["world"]["contacts"], world.contacts)
    np.testing.assert_array_equal(reply["world"]["camera_rotmat"], world.camera_rotmat)
    assert reply["notes"] == list(person.notes)
    assert reply["assumed"] == made.assumed
    assert reply["quality"]["coverage"] == person.quality["coverage"] == round(10 / 12, 4)


def test_lists_are_the_packed_answer_to_six_decimals(client: TestClient) -> None:
    values = seen(4)
    exact = asked(PackedArray.pack(values).model_dump(), encoding="packed")
    listed = client.post("/v1/keypoints", json=asked(values.tolist())).json()
    packed = client.post("/v1/keypoints", json=exact).json()
    for name in ("pose", "transl", "joints"):
        np.testing.assert_allclose(listed[name], unpack(packed[name]), atol=5.1e-7, rtol=0)
    assert np.shape(listed["joints"]) == (4, 24, 3)


def test_what_is_not_wanted_or_not_known_is_left_out(client: TestClient) -> None:
    body = asked(seen(3).tolist(), camera="moves", joints=False)
    body.pop("focal_px")
    assert (
        client.post("/v1/keypoints", json=asked(seen(3).tolist()))
        .json()["assumed"]["camera"]
        .startswith("nothing says")
    )
    reply = client.post("/v1/keypoints", json=body).json()
    assert not {"joints", "world"} & set(reply)
    assert reply["assumed"]["focal_px"] == pytest.approx(np.hypot(WIDTH, HEIGHT))
    assert "diagonal" in reply["assumed"]["focal"]


def test_motion_comes_as_files_too(client: TestClient, tools: Tools, tmp_path: Path) -> None:
    values = seen(6)
    clip = KeypointClip(values=values, **PICTURE, focal=FocalWish(focal_px=FOCAL))
    (person,) = predict_keypoints(clip, tools).people
    reply = client.post("/v1/keypoints", json=asked(values.tolist(), files=["glb", "bvh"])).json()
    assert set(reply["files"]) == {"glb", "bvh"}
    for export in EXPORTS:
        if export.name in reply["files"]:
            path = tmp_path / export.name
            write_export(str(path), export, person, clip.facts, tools.estimator.predictor.body)
            assert base64.b64decode(reply["files"][export.name]) == path.read_bytes()
    assert base64.b64decode(reply["files"]["glb"]).startswith(b"glTF")
    assert "files.0: " in refusal(client, asked(values.tolist(), files=["exe"]))


def test_wrong_key_points_are_refused_in_words(client: TestClient) -> None:
    values = seen(2).tolist()
    assert refusal(client, {"keypoints": values, "fps": 25}).startswith("width: Field required")
    assert "expected (frames, key-points, 3)" in refusal(client, asked([[[1.0, 2.0]]]))
    assert "shape (0,)" in refusal(client, asked([]))
    assert "rows of [16, 17] numbers" in refusal(client, asked([values[0][:16], values[1]]))
    assert "rows of [2, 3] numbers" in refusal(client, asked([[[1, 2, 3], [1, 2]]]))
    assert "keypoints.0.0.0: " in refusal(client, asked([[["x"] * 3] * 17] * 900))
    assert f"at most {MAX_KEYPOINTS}" in refusal(client, asked([[[1, 1, 1]] * 257]))
    assert "keypoints of frame 1 lie over 48000 pixels away" in refusal(
        client, asked([[[9, 9, 1]] * 17, [[9, 9, 1], [1e6, 9, 1]] + [[9, 9, 1]] * 15])
    )
    assert "nobody is in" in refusal(client, asked([[[0, 0, 0]] * 17]))
    assert "does not name them" in refusal(client, asked([[[5, 9, 1], [50, 60, 1]]]))
    assert "no known key-point" in refusal(client, asked([[[5, 9, 1]]], names=["horn"]))
    twice = asked([[[5, 9, 1], [5, 9, 1]]], names=["nose", "nose"])
    assert "names nose more than once" in refusal(client, twice)
    assert "names: " in refusal(client, asked(values, names=[]))
    assert "width: " in refusal(client, {**asked(values), "width": 2**14})
    assert "camera: " in refusal(client, asked(values, camera="shakes"))
    assert "Extra inputs" in refusal(client, asked(values, fits=True))
    many = PackedArray.pack(np.ones((MAX_FRAMES + 1, 17, 3), np.float32)).model_dump()
    assert f"at most {MAX_FRAMES} in one request" in refusal(client, asked(many), 413)


def odd_key_points() -> dict[str, np.ndarray]:
    """What no person looks like, and what a careless client may send."""
    made = np.random.default_rng(0)
    point = np.full((6, 17, 3), [200.0, 150.0, 0.9])
    line = point.copy()
    line[..., 0] += np.arange(17)
    one = seen(6).astype(float)
    one[:, 1:, 2] = 0
    now_and_then = seen(6).astype(float)
    now_and_then[1::2, :, 2] = 0
    return {
        "one point": point,
        "a line": line,
        "one joint": one,
        "now and then": now_and_then,
        "anywhere": made.uniform(-4e4, 4e4, (6, 17, 3)).clip([-np.inf] * 2 + [0.5]),
        "anywhere in the picture": made.uniform(0, 400, (6, 17, 3)),
        "hardly sure": np.dstack([seen(6)[..., :2], np.full((6, 17), 1e-30)]),
        "one frame": seen(6)[:1],
    }


@pytest.mark.parametrize("focal_px", [1, 1e6, None])
@pytest.mark.parametrize("fps", [0.1, 1000])
@pytest.mark.parametrize("name", odd_key_points())
def test_whatever_comes_is_answered_with_numbers_or_refused(
    client: TestClient, name: str, fps: float, focal_px: float | None
) -> None:
    body = asked(odd_key_points()[name].tolist(), fps=fps, focal_px=focal_px, files=["glb", "bvh"])
    reply = client.post("/v1/keypoints", json=body)
    if name in ("one joint", "now and then", "anywhere in the picture", "one frame"):
        assert reply.status_code == 200, reply.text
    assert reply.status_code in (200, 422), reply.text
    if reply.status_code == 200:
        answer = reply.json()
        for part in (answer, answer.get("world", {})):
            for array in ("pose", "betas", "transl", "joints", "camera_rotmat", "camera_transl"):
                numbers = np.array(
                    part.get(array, 0.0), float
                )  # nothing, which is no number, fails
                assert np.isfinite(numbers).all(), array


def test_what_fails_by_our_own_fault_is_a_problem_too(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no client's business")

    monkeypatch.setattr(answers, "predict_keypoints", fails)
    quiet = TestClient(client.app, raise_server_exceptions=False)
    text = refusal(quiet, asked(seen(2).tolist()), 500)
    assert text == "the server failed at this request; its log says why"


def test_a_model_of_other_features_says_so(tiny_checkpoint: Path) -> None:
    predictor = Predictor.from_checkpoint(str(tiny_checkpoint))
    info = describe(str(tiny_checkpoint), predictor, False, Limits())
    alone = TestClient(create_app(predictor, info))
    assert alone.get("/v1/model").json()["takes_keypoints"] is False
    assert "takes features, at /v1/infer" in refusal(alone, asked(seen(2).tolist()), 501)


def test_it_is_described(client: TestClient) -> None:
    assert client.get("/v1/model").json()["takes_keypoints"] is True
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    assert {"KeypointsRequest", "KeypointsReply", "World", "PackedArray"} <= set(schemas)
    body = described["paths"]["/v1/keypoints"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/KeypointsRequest")
