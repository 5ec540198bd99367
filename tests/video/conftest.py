"""Videos made on the spot."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest

Frames = Sequence[npt.NDArray[np.uint8]]


class WriteVideo(Protocol):
    def __call__(self, path: Path, frames: Frames, **settings: Any) -> Path: ...


@pytest.fixture
def write_video() -> WriteVideo:
    """Return a writer of RGB frames (H, W, 3); lossless unless another codec is named."""
    av = pytest.importorskip("av")

    def write(
        path: Path,
        frames: Frames,
        *,
        times_ms: Sequence[int] | None = None,
        codec: tuple[str, str] = ("ffv1", "bgr0"),
        options: dict[str, str] | None = None,
        prepare: Callable[[Any], None] = lambda stream: None,
    ) -> Path:
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec[0], rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = codec[1]
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            prepare(stream)
            for i, pixels in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture.pts = 40 * i if times_ms is None else times_ms[i]
                picture.time_base = stream.time_base
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def noise() -> Callable[..., list[npt.NDArray[np.uint8]]]:
    """Return a maker of frames of noise, each different."""

    def make(num_frames: int, height: int, width: int) -> list[npt.NDArray[np.uint8]]:
        generator = np.random.default_rng(0)
        shape = (num_frames, height, width, 3)
        return list(generator.integers(0, 256, shape, dtype=np.uint8))

    return make
