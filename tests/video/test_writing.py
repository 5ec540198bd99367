"""What a written video holds, as PyAV reads it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibe_ray import storage
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.reader import open_video

av = pytest.importorskip("av")
from vibe_ray.video.writing import VideoWriter  # noqa: E402

TIMES_S = [0.0, 0.04, 0.1, 0.22, 0.24, 0.6]


def shades(count: int) -> list[Array]:
    return [np.full((48, 64, 3), 30 * i, np.uint8) for i in range(count)]


def write_with_tone(path: Path, start_s: float, duration_s: float) -> Path:
    """Write a video whose frames begin at a time, with a tone that begins at 0."""
    rate = 16_000
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("aac", rate=rate, layout="mono")
        for i in range(int(duration_s * 25)):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            picture.pts = i + round(start_s * 25)
            picture.time_base = Fraction(1, 25)
            output.mux(video.encode(picture))
        for i in range(int((start_s + duration_s) * rate) // 1024):
            tone = np.sin(2 * np.pi * 440 / rate * (1024 * i + np.arange(1024)))
            part = av.AudioFrame.from_ndarray(
                tone[None].astype(np.float32), format="fltp", layout="mono"
            )
            part.sample_rate, part.pts, part.time_base = rate, 1024 * i, Fraction(1, rate)
            output.mux(sound.encode(part))
        output.mux(video.encode())
        output.mux(sound.encode())
    return path


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (float(p.pts * p.time_base), bytes(p))
            for p in container.demux(stream)
            if p.pts is not None and p.size
        ]


def test_three_frames_in_ten_hours_keep_their_times(tmp_path: Path, write_video: Any) -> None:
    """A pause of five hours is more than an MP4 holds of the ticks of usual videos."""
    hours_ms = [0, 18_000_000, 36_000_000]
    source = write_video(tmp_path / "source.mkv", shades(3), times_ms=hours_ms)
    path = tmp_path / "a.mp4"
    with open_video(str(source)) as video, VideoWriter(path, 64, 48, sound_of=video) as writer:
        for pixels, time_ms in zip(shades(3), hours_ms, strict=True):
            writer.write(pixels, time_ms / 1000)
    assert sorted(time_s for time_s, _ in packets(path, "video")) == [0, 18_000, 36_000]


def test_frames_keep_their_times_and_colors(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 64, 48) as writer:
        for pixels, time_s in zip(shades(6), TIMES_S, strict=True):
            writer.write(pixels, time_s)
    with open_video(str(tmp_path / "a.mp4")) as video:
        frames = list(video.frames())
    np.testing.assert_allclose([frame.time_s for frame in frames], TIMES_S, atol=1e-4)
    for i, frame in enumerate(frames):
        assert abs(float(frame.pixels.mean()) - 30 * i) < 6


@pytest.mark.parametrize("start_s", [0.0, 0.4])
def test_the_sound_is_taken_over_in_step(tmp_path: Path, start_s: float) -> None:
    source = write_with_tone(tmp_path / "in.mp4", start_s, 1.2)
    with open_video(str(source)) as video:
        times_s = [frame.time_s for frame in video.frames()]
        with VideoWriter(tmp_path / "out.mp4", 64, 48, sound_of=video) as writer:
            for time_s in times_s:
                writer.write(shades(1)[0], time_s)
    shift = packets(source, "video")[0][0]
    heard = {content: time_s - shift for time_s, content in packets(source, "audio")}
    copied = packets(tmp_path / "out.mp4", "audio")
    assert len(copied) >= 0.8 * sum(time_s >= 0 for time_s in heard.values())
    first = copied[0][0]
    for time_s, content in copied:
        # A file's first packet of sound may carry the encoder's delay: all are moved alike.
        assert time_s - first == pytest.approx(heard[content] - heard[copied[0][1]], abs=2e-3)
    assert first == pytest.approx(heard[copied[0][1]], abs=0.07)


def test_a_silent_video_stays_silent(tmp_path: Path, write_video: Any, noise: Any) -> None:
    source = write_video(tmp_path / "in.mkv", noise(3, 48, 64))
    with (
        open_video(str(source)) as video,
        VideoWriter(tmp_path / "out.mp4", 64, 48, sound_of=video) as writer,
    ):
        for frame in video.frames():
            writer.write(frame.pixels, frame.time_s)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams) == 1


def test_odd_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="63 x 48 pixels; both must be even"):
        VideoWriter(tmp_path / "a.mp4", 63, 48)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is full")
@pytest.mark.parametrize("num_frames", [1, 300])
def test_a_full_disk_is_told(tmp_path: Path, num_frames: int) -> None:
    """A few frames are held back and written at the end."""
    path = tmp_path / "a.mp4"
    path.symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)

    def write() -> None:
        with VideoWriter(path, 64, 48) as writer:
            for number in range(num_frames):
                writer.write(np.roll(noise, 7 * number, axis=0), number / 25)

    with pytest.raises(storage.DiskFullError, match=f"no room for {path} "):
        write()


def test_what_fails_within_comes_out(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 64, 48)
    writer.write(shades(1)[0], 0.0)
    with pytest.raises(KeyError), writer:
        raise KeyError
