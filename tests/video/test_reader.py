"""What lies where, and what is missing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vibe_ray import storage
from vibe_ray.video.frames import FocalWish
from vibe_ray.video.reader import open_video


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no video at .*clip\.mp4"):  # noqa: SIM117
        with open_video(str(tmp_path / "clip.mp4")):
            pass


def test_a_device_is_no_video() -> None:
    with pytest.raises(ValueError, match="neither a file nor a folder"), open_video("/dev/zero"):
        pass


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_one(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="frames per second"), open_video(str(tmp_path), fps=fps):
        pass


def test_a_video_in_an_object_store_is_read_from_a_copy(
    tmp_path: Path, write_video: Callable[..., Path], noise: Callable[..., list],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clip = write_video(tmp_path / "clip.mkv", noise(2, 16, 16))

    @contextmanager
    def local_copy(path: str) -> Iterator[Path]:
        assert path == "s3://bucket/clip.mkv"
        yield clip

    monkeypatch.setattr(storage, "local_copy", local_copy)
    with open_video("s3://bucket/clip.mkv", focal=FocalWish(focal_px=700)) as video:
        assert len(list(video.frames())) == 2
        assert video.facts.path == "s3://bucket/clip.mkv"
        assert video.facts.focal.pixels == 700


def test_what_to_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"any")
    monkeypatch.delitem(sys.modules, "vibe_ray.video.container", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'vibe_ray\[video\]'"):  # noqa: SIM117
        with open_video(str(tmp_path / "clip.mp4")):
            pass
