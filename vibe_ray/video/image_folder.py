"""A video as a folder of pictures, one per frame, in the order of the numbers in their names."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vibe_ray import storage
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.frames import (
    FOCAL_KEYS,
    FocalWish,
    Frame,
    Reading,
    VideoFacts,
    check_size,
    choose_focal,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
DEFAULT_FPS = 30.0


class ImageFolder:
    """The pictures of a folder as a video of constant rate; see `frames.Video`."""

    def __init__(self, local: Path, name: str, wish: FocalWish, fps: float | None) -> None:
        self._name = name
        self._files = sorted(
            (path for path in local.iterdir() if path.suffix.lower() in SUFFIXES), key=_in_order
        )
        if not self._files:
            raise ValueError(
                f"no pictures in the folder {name}: expected files such as 000001.jpg, with one of "
                f"{', '.join(SUFFIXES)}"
            )
        self.reading = Reading()
        pixels, metadata = self._read(self._files[0])
        height, width = pixels.shape[:2]
        rate = fps or DEFAULT_FPS
        self.facts = VideoFacts(
            path=name,
            width=width,
            height=height,
            fps=rate,
            num_frames=len(self._files),
            duration_s=len(self._files) / rate,
            codec="pictures",
            focal=choose_focal(wish, metadata, width, height),
            images=tuple(storage.join(name, file.name) for file in self._files),
        )
        self._guess = [] if fps else [f"a folder has no frame rate: {rate:g} per second is assumed"]

    def frames(self) -> Iterator[Frame]:
        """Read from the beginning; see `frames.Video`."""
        for number, file in enumerate(self._files):
            pixels, _ = self._read(file)
            if pixels.shape[:2] != (self.facts.height, self.facts.width):
                raise ValueError(
                    f"{file.name} in {self._name} has {pixels.shape[1]} x {pixels.shape[0]} "
                    f"pixels, the first picture {self.facts.width} x {self.facts.height}: a "
                    "video's frames must be of one size"
                )
            yield Frame(number=number, time_s=number / self.facts.fps, pixels=pixels)
        num_frames = len(self._files)
        self.reading = Reading(
            num_frames=num_frames,
            duration_s=(num_frames - 1) / self.facts.fps,
            warnings=list(self._guess),
        )

    def sound(self) -> AbstractContextManager[None]:
        """See `frames.Video`: pictures have none."""
        return nullcontext()

    def _read(self, file: Path) -> tuple[Array, dict[str, str]]:
        return read_picture(file, f"{file.name} in {self._name}")


def read_picture(source: Path | IO[bytes], name: str) -> tuple[Array, dict[str, str]]:
    """Return upright RGB (H, W, 3) and what the picture says about its camera.

    Args:
        source: A file, or its content.
        name: For messages.

    Raises:
        ValueError: It is no readable picture, or one too large or of more than 8 bits.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            check_size(name, *image.size)
            if image.mode.startswith("I"):
                raise ValueError(
                    f"{name} has 16 or 32 bits per pixel ({image.mode}), whose range nobody "
                    "states: expected 8 bits"
                )
            metadata = _focal_metadata(image)
            return np.array(ImageOps.exif_transpose(image).convert("RGB")), metadata
    except UnidentifiedImageError:  # whose words may tell but an address in memory
        raise ValueError(
            f"{name} is no readable picture: expected one of {', '.join(FORMATS)}"
        ) from None
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no readable picture: {error}") from None


def _focal_metadata(image: Image.Image) -> dict[str, str]:
    value = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    return {} if value is None else {FOCAL_KEYS[0]: str(value)}


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Sort by the numbers in a name, so that 10.jpg comes after 9.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
