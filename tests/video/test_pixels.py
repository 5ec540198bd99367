"""The pictures of labels: the right ones, in the right rows, and none that is not needed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data import noise
from tests.video.conftest import Frames, WriteVideo
from vibe_ray import storage
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.video import container
from vibe_ray.video.pixels import labelled_pictures

SIZE = {"width": 30, "height": 20}


def numbered(num_frames: int) -> Frames:
    """Gray frames, each of its own number."""
    return [np.full((20, 30, 3), number, np.uint8) for number in range(num_frames)]


def labels(num_frames: int, **changes: Any) -> LabelledSequence:
    frames = np.arange(num_frames)
    known = {"frame_index": frames, "timestamps": frames / 25, **SIZE}
    return noise.labelled_sequence("a", num_frames, **(known | changes))


def seen(of: LabelledSequence) -> list[tuple[int, int]]:
    """Rows, and the number that is painted on each picture."""
    return [(row, int(pixels[10, 15, 1])) for row, pixels in labelled_pictures(of)]


def test_frames_of_a_video_are_found_by_their_numbers(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    clip = str(write_video(tmp_path / "clip.mkv", numbered(12)))
    assert seen(labels(12, video=clip)) == [(i, i) for i in range(12)]
    late = labels(3, video=clip, frame_index=np.array([4, 7, 8]))
    assert seen(late) == [(0, 4), (1, 7), (2, 8)]
    late.box[1] = 0
    assert seen(late) == [(0, 4), (2, 8)]
    twice = labels(4, video=clip, frame_index=np.array([2, 2, 3, 3]))  # played slower
    assert seen(twice) == [(0, 2), (1, 2), (2, 3), (3, 3)]
    late.box[:] = 0
    assert seen(dataclasses.replace(late, video="nowhere.mp4")) == []


def test_a_video_is_decoded_no_further_than_its_last_label(
    tmp_path: Path, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = str(write_video(tmp_path / "clip.mkv", numbered(40)))
    decoded: list[int] = []
    frames = container.VideoFile.frames

    def noted(self: container.VideoFile) -> Any:
        for frame in frames(self):
            decoded.append(frame.number)
            yield frame

    monkeypatch.setattr(container.VideoFile, "frames", noted)
    assert seen(labels(2, video=clip, frame_index=np.array([3, 5]))) == [(0, 3), (1, 5)]
    assert decoded == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("where", ["local", "memory"])
def test_images_are_read_one_by_one_wherever_they_are(tmp_path: Path, where: str) -> None:
    root = str(tmp_path) if where == "local" else "memory://pixels"
    paths = []
    for number, pixels in enumerate(numbered(4)):
        local = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(local)
        paths.append(f"{root}/{number}.png")
        if where == "memory":
            storage.write_bytes_atomic(paths[-1], local.read_bytes())
    of = labels(4, video="", images=tuple(paths[i] for i in (3, 0, 2, 1)))
    assert seen(of) == [(0, 3), (1, 0), (2, 2), (3, 1)]


def test_what_is_missing_cut_off_or_of_another_size_is_told(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    clip = str(write_video(tmp_path / "clip.mkv", numbered(5)))
    with pytest.raises(ValueError, match=r"ended after 5 frames, its labels speak of frame 6"):
        seen(labels(7, video=clip))
    with pytest.raises(ValueError, match=r"no video at .*gone.mp4: if it was moved.*--raw"):
        seen(labels(2, video=str(tmp_path / "gone.mp4")))
    with pytest.raises(ValueError, match=r"no image at .*1.png: if it was moved.*--raw"):
        seen(labels(1, video="", images=(str(tmp_path / "1.png"),)))
    (tmp_path / "2.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"2.png is no readable picture"):
        seen(labels(1, video="", images=(str(tmp_path / "2.png"),)))
    with pytest.raises(ValueError, match=r"clip.mkv has 30 x 20 pixels, its labels are of 60 x 40"):
        seen(labels(5, video=clip, width=60, height=40))
