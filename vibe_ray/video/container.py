"""Video files, by FFmpeg through PyAV, with every way out of the file closed.

An uploaded "video" may be a playlist that names other files and addresses. So the file is opened by
Python and handed over as a stream, FFmpeg may use no protocol of its own, and only formats that
hold their frames themselves are known to it.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Never

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from vibe_ray.geometry.arrays import Array
from vibe_ray.video.frames import (
    MAX_PIXELS,
    FocalWish,
    Frame,
    Reading,
    VideoFacts,
    check_size,
    choose_focal,
    oriented,
)

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "gif"),
    *("h264", "hevc", "m4v", "dv", "ivf", "obu", "nut", "mjpeg", "yuv4mpegpipe", "rm", "apng"),
    *("mp3", "wav", "flac", "aac"),
)
"""FFmpeg's names of the formats that are read. The last are audio, to be named in an error."""
OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "none",
    "max_pixels": str(MAX_PIXELS),
}
DISPLAY_MATRIX = struct.Struct("=9i")
UPRIGHT = (1, 0, 0, 1)
DEFAULT_FPS = 30.0
SHORT_SHARE = 0.9
SHORT_S = 1.0
"""A video that ends before this share of the promised length, and this much earlier, is cut off."""


class VideoFile:
    """A video in one file on this machine; see `frames.Video`."""

    def __init__(self, local: Path, name: str, wish: FocalWish) -> None:
        self._local, self._name = local, name
        self.reading = Reading()
        with local.open("rb") as file, self._open(file) as container:
            stream = self._video_stream(container)
            width, height = self._displayed_size(container, stream)
            metadata = {**container.metadata, **stream.metadata}
            self.facts = VideoFacts(
                path=name,
                width=width,
                height=height,
                fps=float(_rate(stream)),
                num_frames=stream.frames,
                duration_s=max(container.duration or 0, 0) / av.time_base,
                codec=stream.codec_context.name,
                focal=choose_focal(wish, metadata, width, height),
            )

    def frames(self) -> Iterator[Frame]:
        """Read from the beginning; see `frames.Video`."""
        reading, clock = Reading(), _Clock(1 / self.facts.fps)
        with self._local.open("rb") as file, self._open(file) as container:
            stream = self._video_stream(container)
            stream.thread_type = "AUTO"
            for picture in self._decode(container, stream, reading):
                number = reading.num_frames
                time_s = clock.time_of(picture.time)
                pixels = self._pixels(picture, stream)
                if pixels.shape[:2] != (self.facts.height, self.facts.width):
                    reading.warnings.append(self._resized(pixels, number))
                    break
                yield Frame(number=number, time_s=time_s, pixels=pixels)
                reading.num_frames, reading.duration_s = number + 1, time_s
        self._finish(reading, clock)

    @contextmanager
    def sound(self) -> Iterator[AudioStream | None]:
        """Open the file for its sound, or nothing if it has none, for as long as the block."""
        with self._local.open("rb") as file, self._open(file) as container:
            yield next(iter(container.streams.audio), None)

    def _resized(self, pixels: Array, number: int) -> str:
        return (
            f"frame {number} has {pixels.shape[1]} x {pixels.shape[0]} pixels, those before "
            f"{self.facts.width} x {self.facts.height}: read up to there"
        )

    def _finish(self, reading: Reading, clock: "_Clock") -> None:
        if reading.num_frames == 0:
            raise ValueError(f"no frame of {self._name} could be decoded ({self.facts.codec})")
        reading.start_s = clock.start_s
        promised, fps = self.facts.num_frames, self.facts.fps
        missing_s = self.facts.duration_s - reading.duration_s - 1 / fps
        is_short = missing_s > max(SHORT_S, (1 - SHORT_SHARE) * self.facts.duration_s)
        if reading.num_frames < promised * SHORT_SHARE or (promised == 0 and is_short):
            length = f"{promised} frames" if promised else f"{self.facts.duration_s:.1f} s"
            reading.warnings.append(
                f"cut off: its header speaks of {length}, {reading.num_frames} frames of "
                f"{reading.duration_s + 1 / fps:.1f} s could be read"
            )
        if clock.num_guessed:
            reading.warnings.append(
                f"{clock.num_guessed} frames had no timestamp or an earlier one than the frame "
                f"before; they follow it at {fps:g} frames per second"
            )
        self.reading = reading

    def _open(self, file: Any) -> InputContainer:
        def refuse(url: str, *_: Any) -> Never:
            raise PermissionError(f"{self._name} asks for another file, {url}: not opened")

        try:
            return av.open(file, options=OPTIONS, io_open=refuse, metadata_errors="replace")
        except av.error.ArgumentError:
            raise ValueError(
                f"{self._name} is of a kind that is not read: expected a video file such as MP4, "
                "MOV, MKV, WebM or AVI; playlists and lists of other files are never followed"
            ) from None
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(
                f"{self._name} ({self._local.stat().st_size} bytes) could not be read as a video "
                f"({_reason(error)}): it is none, or it was cut off before its index was written"
            ) from None

    def _video_stream(self, container: InputContainer) -> VideoStream:
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            others = ", ".join(f"{s.type} ({s.name})" for s in container.streams) or "no stream"
            raise ValueError(f"{self._name} has no video, only {others}")
        streams = [s for s in streams if s.codec_context is not None]
        if not streams:
            raise ValueError(
                f"the frames of {self._name} are coded in a way that FFmpeg does not know: convert "
                "it to H.264, or its header is damaged"
            )
        stream = max(streams, key=lambda s: (s.width or 0) * (s.height or 0))
        if not (stream.width and stream.height):
            raise ValueError(
                f"{self._name} states no size of its frames, or more than {MAX_PIXELS} pixels: "
                "scale the video down, or its header is damaged"
            )
        return stream

    def _displayed_size(self, container: InputContainer, stream: VideoStream) -> tuple[int, int]:
        """Return width and height of the first frame, or the header's where there is none."""
        check_size(self._name, stream.width, stream.height)
        for picture in self._decode(container, stream, Reading()):
            height, width = self._pixels(picture, stream).shape[:2]
            return width, height
        return stream.width, stream.height

    def _decode(
        self, container: InputContainer, stream: VideoStream, reading: Reading
    ) -> Iterator[av.VideoFrame]:
        """Decode what can be decoded; what cannot is skipped and counted."""
        num_damaged = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                pictures = packet.decode()
            except StopIteration:
                break
            except av.error.InvalidDataError:
                num_damaged += 1
                continue  # demuxing itself ends with the next one if it broke
            except av.error.FFmpegError as error:
                reading.warnings.append(f"reading ended early: {_reason(error)}")
                break
            for picture in pictures:
                num_damaged += picture.is_corrupt
                yield picture
        if num_damaged:
            reading.warnings.append(f"{num_damaged} frames or pieces of the file are damaged")

    def _pixels(self, picture: av.VideoFrame, stream: VideoStream) -> Array:
        """Convert a frame of any depth, color space and pixel shape to upright RGB."""
        width = round(picture.width * _pixel_aspect(stream))
        check_size(self._name, max(width, picture.width), picture.height)
        rgb = picture.to_ndarray(format="rgb24", width=width, height=picture.height)
        return oriented(rgb, _turn(picture))


class _Clock:
    """Seconds since the first frame, growing whatever the file says."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._last_s: float | None = None
        self.start_s = 0.0
        self.num_guessed = 0

    def time_of(self, stamp: float | None) -> float:
        if self._last_s is None:
            self.start_s = stamp or 0.0
            self.num_guessed += stamp is None
            self._last_s = 0.0
            return 0.0
        time_s = None if stamp is None else stamp - self.start_s
        if time_s is None or time_s <= self._last_s:
            self.num_guessed += 1
            time_s = self._last_s + self._step_s
        self._last_s = time_s
        return time_s


def _rate(stream: VideoStream) -> Fraction | float:
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate and rate > 0 else DEFAULT_FPS


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _turn(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return the display matrix as right angles and mirrors; other angles are left alone."""
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return UPRIGHT
    a, b, _, c, d = DISPLAY_MATRIX.unpack(bytes(side_data))[:5]  # type: ignore[call-overload]
    largest = max(map(abs, (a, b, c, d)))
    if largest == 0:
        return UPRIGHT
    turn = (round(a / largest), round(b / largest), round(c / largest), round(d / largest))
    is_right_angle = sorted(map(abs, turn)) == [0, 0, 1, 1] and abs(turn[0]) == abs(turn[3])
    return turn if is_right_angle else UPRIGHT


def _pixel_aspect(stream: VideoStream) -> float:
    """Return how much wider than high a pixel is shown; 1 where the file says nothing sensible."""
    aspect = stream.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
