"""Folders of pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vibe_ray.video.reader import open_video


def picture(value: int, size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.fromarray(np.full((*size[::-1], 3), value, np.uint8))


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        picture(number).save(tmp_path / f"img_{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_video(str(tmp_path), fps=5) as video:
        frames = list(video.frames())
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert [frame.time_s for frame in frames] == [0, 0.2, 0.4, pytest.approx(0.6)]
    assert video.facts.num_frames == video.reading.num_frames == 4
    assert video.reading.warnings == []


def test_an_assumed_rate_is_said(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "1.png")
    with open_video(str(tmp_path)) as video:
        list(video.frames())
    assert video.facts.fps == 30
    assert video.reading.warnings == ["a folder has no frame rate: 30 per second is assumed"]


def test_a_camera_s_turn_and_lens_are_read(tmp_path: Path) -> None:
    image = picture(0)
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    exif.get_ifd(0x8769)[0xA405] = 28
    image.save(tmp_path / "1.png", exif=exif)
    with open_video(str(tmp_path)) as video:
        (frame,) = video.frames()
    assert (video.facts.width, video.facts.height) == (10, 20)
    assert frame.pixels[0, -1].tolist() == [255, 255, 255]
    assert video.facts.focal.source == "the file's 28 mm (35 mm equivalent)"


def test_pictures_must_be_of_one_size(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "1.png")
    picture(1, (22, 10)).save(tmp_path / "2.png")
    with (
        open_video(str(tmp_path)) as video,
        pytest.raises(ValueError, match=r"2\.png in .* has 22 x 10 pixels, the first picture 20"),
    ):
        list(video.frames())


@pytest.mark.parametrize("kind", ["text", "cut", "deep", "vector"])
def test_what_is_no_picture_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.png"
    if kind == "deep":
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)
    elif kind == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n" if kind == "vector" else "hello")
    with pytest.raises(ValueError, match=r"1\.png in ") as caught, open_video(str(tmp_path)):
        pass
    assert "object at" not in str(caught.value)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures in the folder"), open_video(str(tmp_path)):
        pass
