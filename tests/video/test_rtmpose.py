"""RTMPose's place among the detectors, with a network of its kind that finds the brightest pixels.

rtmlib is an extra: without it, the tests that run a network are skipped.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.video.made_up_network import NETWORK, NUM_KEYPOINTS
from vibe_ray.body.skeletons import HALPE_26
from vibe_ray.prediction.outputs import check_installed
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.video.detection import DetectionConfig, track_people
from vibe_ray.video.networks import Networks
from vibe_ray.video.reader import open_video
from vibe_ray.video.rtmpose import CROP_SIZE, RtmPose


@pytest.fixture
def rtmlib() -> None:
    pytest.importorskip(
        "rtmlib", reason="the extra `rtmpose` is not installed", exc_type=ImportError
    )
    pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("rtmlib")
def test_key_points_are_where_each_color_is_brightest() -> None:
    """Red's, green's and blue's dots: the network sees the colors in the order it learned."""
    network = RtmPose(str(NETWORK))
    assert network.names == HALPE_26
    places = np.array([[[60, 200], [300, 90], [190, 340]], [[20, 20], [191, 191], [361, 24]]])
    crops = torch.zeros(2, CROP_SIZE, CROP_SIZE, 3, dtype=torch.uint8)
    for crop, dots in zip(crops, places, strict=True):
        for color, (x, y) in enumerate(dots):
            crop[y - 5 : y + 6, x - 5 : x + 6, color] = 255
    kp, conf = network(crops)
    assert kp.shape == (2, NUM_KEYPOINTS, 2)
    # The crop is seen with a quarter of its pixels, four of them to one.
    np.testing.assert_allclose(kp, places[:, np.arange(NUM_KEYPOINTS) % 3], atol=6)
    assert conf.shape == (2, NUM_KEYPOINTS)


@pytest.mark.slow
@pytest.mark.usefixtures("rtmlib")
def test_a_track_has_the_networks_key_points(tmp_path: Path) -> None:
    picture = Image.open(Path(__file__).parent / "movenet" / "two_bodies.png").convert("RGB")
    for i in range(8):
        picture.save(tmp_path / f"{i}.png")
    networks = Networks.load(rtmpose=str(NETWORK))
    config = DetectionConfig(every_s=0.25, min_coverage=0.0)
    with open_video(str(tmp_path), fps=10) as video:
        tracks = track_people(video, networks, config=config)
    assert len(tracks) == 2
    for track in tracks:
        assert track.names == HALPE_26
        assert track.kp_2d.shape == (8, len(HALPE_26), 2)


@pytest.mark.usefixtures("rtmlib")
def test_what_is_no_network_is_told(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"network\.onnx cannot be loaded"):
        RtmPose(str(path))


def test_a_missing_file_is_told_whether_or_not_rtmlib_is_there() -> None:
    with pytest.raises(FileNotFoundError, match=r"no network at nowhere\.onnx, expected an \.onnx"):
        RtmPose("nowhere.onnx")


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(ValueError, match=r"cannot be imported .*pip install 'vibe_ray\[rtmpose\]'"):
        RtmPose(str(NETWORK))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([(1, 17, 192)], r"answers \[\(1, 17, 192\)\]; RTMPose takes"),
        ([(7,), (1, 17, 256)], r"answers \[\(7,\), \(1, 17, 256\)\]; RTMPose takes"),
        ([(1, 17, 192), (1, 17, 256), (1,)], "RTMPose takes"),
        ([(1, 19, 192), (1, 19, 256)], "finds 19 key-points, whose names are not known"),
        (TypeError("expected float16"), "cannot be computed: expected float16"),
    ],
)
def test_what_another_network_answers_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: Any, told: str
) -> None:
    """Whether or not rtmlib is there: one made up takes its place."""

    class Tool:
        def __init__(self, *_: Any, **__: Any) -> None:
            pixels = SimpleNamespace(shape=["batch", 3, 128, 96])
            self.session = SimpleNamespace(get_inputs=lambda: [pixels])

        def inference(self, picture: np.ndarray) -> list[np.ndarray]:
            assert (picture.shape, picture.dtype) == ((128, 96, 3), np.float32)
            if isinstance(answer, Exception):
                raise answer
            return [np.zeros(shape, np.float32) for shape in answer]

    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(RTMPose=Tool))
    with pytest.raises(ValueError, match=told):
        RtmPose(str(NETWORK))


def test_it_is_told_before_any_video() -> None:
    config = PredictConfig(detection=DetectionConfig(rtmpose="nowhere.onnx"))
    with pytest.raises(FileNotFoundError, match=r"no network at nowhere\.onnx"):
        check_installed(config)


def test_key_points_are_given_or_found() -> None:
    with pytest.raises(ValueError, match=r"keypoints and detection\.rtmpose are both set"):
        PredictConfig(keypoints="kp.json", detection=DetectionConfig(rtmpose="network.onnx"))
