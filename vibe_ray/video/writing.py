"""Writing a video at the times of another, with that one's sound.

Frames keep their timestamps, so what was filmed at a varying rate plays as it was filmed. The sound
is copied as it is, packet by packet between the frames.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vibe_ray import storage
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.frames import Video

TICKS_PER_S = 90_000
"""Of the timestamps: what MPEG counts by, a multiple of all usual frame rates."""
COARSE_TICKS_PER_S = 1000
MAX_TICKS = 2**31
"""Of a pause between two frames in an MP4: a video that is longer in all gets coarse ticks."""
CODECS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qscale": "3"}))
"""The first that this FFmpeg has."""
SOUND_IN_MP4 = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")


class VideoWriter:
    """Writes an MP4 frame by frame; use it as a context.

    with VideoWriter(path, width, height, sound_of=video) as writer:
        writer.write(pixels, time_s)
    """

    def __init__(self, path: Path, width: int, height: int, sound_of: Video | None = None) -> None:
        """Open the file.

        Args:
            path: On this machine's disk.
            width: Of all frames, even.
            height: Likewise.
            sound_of: The video whose sound is taken over, if it has any that an MP4 can hold; its
                length decides how fine the timestamps are, so no frame may be later.

        Raises:
            ValueError: A side is odd, which no usual video can be.
            OSError: The file cannot be written.
        """
        if width % 2 or height % 2:
            raise ValueError(f"frames of {width} x {height} pixels; both must be even")
        self._path = path
        self._stack = ExitStack()
        self._output = self._stack.enter_context(av.open(str(path), "w"))
        codec, options = next(c for c in CODECS if c[0] in av.codecs_available)
        self._stream: VideoStream = self._output.add_stream(codec, rate=30, options=options)  # type: ignore[assignment]
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        duration_s = 0.0
        if sound_of is not None:  # what its header says, and what was read of it
            duration_s = max(sound_of.facts.duration_s, sound_of.reading.duration_s)
        is_long = duration_s * TICKS_PER_S >= MAX_TICKS
        self._ticks_per_s = COARSE_TICKS_PER_S if is_long else TICKS_PER_S
        self._stream.codec_context.time_base = Fraction(1, self._ticks_per_s)
        self._sound: Iterator[Packet[AudioStream]] = iter(())
        self._next_sound: Packet[AudioStream] | None = None
        if sound_of is not None:
            self._take_sound(sound_of)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Write what is still held back, unless something failed, and close the file.

        Raises:
            storage.DiskFullError: There is no room for it.
        """
        with storage.room_for(self._path):
            try:
                if failure[0] is None:
                    self._output.mux(self._stream.encode())
                    self._mux_sound_until(float("inf"))
            finally:
                self._stack.close()

    def write(self, pixels: Array, time_s: float) -> None:
        """Add an RGB frame (height, width, 3), uint8, at its time in seconds from the first's.

        Raises:
            storage.DiskFullError: There is no room for it.
        """
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts = round(time_s * self._ticks_per_s)
        picture.time_base = Fraction(1, self._ticks_per_s)
        with storage.room_for(self._path):
            self._mux_sound_until(time_s)
            self._output.mux(self._stream.encode(picture))

    def _take_sound(self, video: Video) -> None:
        source = self._stack.enter_context(video.sound())
        if source is None or source.codec_context.name not in SOUND_IN_MP4:
            return
        target = self._output.add_stream_from_template(source)
        self._sound = _shifted(source, target, video.reading.start_s)
        self._next_sound = next(self._sound, None)

    def _mux_sound_until(self, time_s: float) -> None:
        while (packet := self._next_sound) is not None:
            if float((packet.pts or 0) * packet.time_base) > time_s:
                return
            self._output.mux(packet)
            self._next_sound = next(self._sound, None)


def _shifted(source: AudioStream, target: Any, start_s: float) -> "Iterator[Packet[AudioStream]]":
    """Yield the sound's packets in step with the first frame; what was heard before is left out."""
    try:
        container: InputContainer = source.container  # type: ignore[assignment]
        for packet in container.demux(source):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue  # the end's empty packet, and what has no time
            shift = round(start_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts >= 0:
                packet.stream = target
                yield packet
    except av.error.FFmpegError:
        return  # a damaged end: the frames are what matters
