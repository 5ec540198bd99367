"""Features that are encoded while they are read are those of the whole."""

import pytest
import torch

from tests.prediction.filmed import walk
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.features import blocks
from vibe_ray.features.blocks import BLOCKS_KEPT, FeaturesInBlocks
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.video.labels import label_track


class Places(FrameEncoder):
    """Says of a frame when and where it is, and remembers which frames it was shown."""

    kind = "places"

    def __init__(self, needs: str) -> None:
        super().__init__(None)
        self.needs = needs  # type: ignore[misc, assignment]
        self.shown: list[int] = []

    @property
    def feature_dim(self) -> int:
        return 3

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> torch.Tensor:
        self.shown += labels.frame_index.tolist()
        sign = -1.0 if mirrored else 1.0
        return sign * torch.from_numpy(labels.frame_index).float()[:, None].expand(-1, 3)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_FRAMES", 5)


def features(encoder: FrameEncoder, *, mirrored: bool = False) -> FeaturesInBlocks:
    labels = label_track(walk().track, walk().facts, dataset="d", sequence="s")
    return FeaturesInBlocks(labels, encoder, mirrored=mirrored)


@pytest.mark.parametrize("needs", ["keypoints", "crops"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_any_frames_may_be_asked_for(needs: str, mirrored: bool) -> None:
    some = features(Places(needs), mirrored=mirrored)
    frames = torch.arange(24).half() * (-1 if mirrored else 1)
    for asked in (slice(None), slice(3, 4), slice(4, 17), slice(20, 99), slice(-3, None)):
        assert some[asked][:, 0].tolist() == frames[asked].tolist()
    windows = torch.tensor([[7, 8, 9], [21, 22, 23]])
    assert some[windows][..., 0].tolist() == frames[windows].tolist()
    assert some[:].dtype == torch.float16
    assert len(some) == 24


def test_a_pass_looks_at_every_frame_once() -> None:
    encoder = Places("keypoints")
    some = features(encoder)
    for start in range(0, 24, 5):  # pieces with frames around them
        some[max(0, start - 2) : start + 7]
    assert sorted(encoder.shown) == list(range(24))


def test_a_few_blocks_are_held() -> None:
    some = features(Places("keypoints"))
    for frame in (0, 6, 12, 18, 23, 0):
        some[frame : frame + 1]
        assert len(some._blocks) <= BLOCKS_KEPT
