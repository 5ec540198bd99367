"""Video files of every kind, good, damaged and hostile."""

import http.server
import struct
import threading
import tracemalloc
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("av")

from vibe_ray.video.frames import FOCAL_KEYS, Frame, Reading, VideoFacts
from vibe_ray.video.reader import open_video

Noise = Callable[..., list[npt.NDArray[np.uint8]]]
WriteVideo = Callable[..., Path]
HOUR_MS = 3_600_000


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{target}'\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1"><BaseURL>{target}'
    "</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5 RTP/AVP 96\n"
PLAYLISTS = {
    **{"a.m3u8": HLS, "b.mp4": HLS, "c.txt": CONCAT, "d.mkv": CONCAT, "e.mpd": DASH, "f.sdp": SDP}
}
REFUSED = r" (is of a kind that is not read|\(\d+ bytes\) could not be read as a video)"


def read(path: Path) -> tuple[VideoFacts, list[Frame], Reading]:
    with open_video(str(path)) as video:
        frames = list(video.frames())
        return video.facts, frames, video.reading


def start_of(path: Path, frame: int) -> int:
    """Return where in a file the data of a frame begin."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        packets = [packet.pos for packet in container.demux(video=0) if packet.size]
    return int(packets[frame])


def smooth(num_frames: int, height: int, width: int) -> list[npt.NDArray[np.uint8]]:
    """A gradient that moves: what a lossy codec keeps."""
    y, x = np.mgrid[:height, :width]
    channels = [
        np.stack([128 + 100 * np.sin((x + 3 * i) / 20), 2 * y + i, x + y], axis=-1)
        for i in range(num_frames)
    ]
    return [c.clip(0, 255).astype(np.uint8) for c in channels]


def test_frames_come_back_as_they_were_also_of_odd_size(
    tmp_path: Path, write_video: WriteVideo, noise: Noise
) -> None:
    expected = noise(5, 17, 33)
    facts, frames, reading = read(write_video(tmp_path / "clip.mkv", expected))
    assert (facts.width, facts.height) == (33, 17)
    assert reading == Reading(num_frames=5, duration_s=frames[-1].time_s)
    for i, frame in enumerate(frames):
        assert frame.number == i
        np.testing.assert_array_equal(frame.pixels, expected[i])


def test_a_second_reading_begins_anew(
    tmp_path: Path, write_video: WriteVideo, noise: Noise
) -> None:
    with open_video(str(write_video(tmp_path / "clip.mkv", noise(4, 16, 16)))) as video:
        next(video.frames())
        assert [frame.number for frame in video.frames()] == [0, 1, 2, 3]


def test_time_is_the_file_s_own(tmp_path: Path, write_video: WriteVideo, noise: Noise) -> None:
    times_ms = [500, 520, 600, 1600, 1601]
    _, frames, reading = read(
        write_video(tmp_path / "clip.mkv", noise(5, 16, 16), times_ms=times_ms)
    )
    expected = [(time - 500) / 1000 for time in times_ms]
    assert [frame.time_s for frame in frames] == pytest.approx(expected, abs=1e-9)
    assert reading.start_s == pytest.approx(0.5)


def test_three_frames_in_ten_hours_are_three_frames(
    tmp_path: Path, write_video: WriteVideo, noise: Noise
) -> None:
    times_ms = [0, 5 * HOUR_MS, 10 * HOUR_MS]
    facts, frames, _ = read(write_video(tmp_path / "clip.mkv", noise(3, 16, 16), times_ms=times_ms))
    assert [frame.time_s for frame in frames] == [0, 5 * 3600, 10 * 3600]
    assert facts.duration_s >= 36000


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("vflip", [False, True])
def test_a_turned_camera_is_turned_back(
    tmp_path: Path, write_video: WriteVideo, degrees: int, hflip: bool, vflip: bool
) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255, 0, 0  # red above at the left, green below at the right
    picture[16:, 32:] = 0, 255, 0

    def turn(stream: Any) -> None:
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)

    path = write_video(
        tmp_path / "clip.mp4", [picture] * 2, codec=("libx264", "yuv444p"), prepare=turn
    )
    expected = np.rot90(picture, degrees // 90)  # counter-clockwise, as the file states it
    expected = expected[:, ::-1] if hflip else expected
    expected = expected[::-1] if vflip else expected
    facts, frames, _ = read(path)
    assert (facts.height, facts.width) == expected.shape[:2]
    inner = np.abs(frames[0].pixels.astype(int) - expected).max(axis=-1)
    assert np.median(inner) < 10
    assert (inner < 60).mean() > 0.95


def test_ten_bits_become_eight(tmp_path: Path, write_video: WriteVideo) -> None:
    expected = smooth(3, 48, 64)
    path = write_video(tmp_path / "clip.mkv", expected, codec=("ffv1", "yuv444p10le"))
    for frame, pixels in zip(read(path)[1], expected, strict=True):
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - pixels).max() <= 3


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, write_video: WriteVideo) -> None:
    def widen(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = 2

    pixels = smooth(2, 48, 64)
    path = write_video(tmp_path / "clip.mp4", pixels, codec=("libx264", "yuv444p"), prepare=widen)
    facts, frames, _ = read(path)
    assert (facts.width, facts.height) == (128, 48)
    error = frames[0].pixels[:, ::2].astype(int) - pixels[0]
    assert np.abs(error).mean() < 6


def test_memory_holds_a_few_frames_of_a_long_video(tmp_path: Path, write_video: WriteVideo) -> None:
    picture = smooth(1, 120, 160)[0]
    path = write_video(tmp_path / "long.mkv", [picture] * 400, codec=("mpeg4", "yuv420p"))
    with open_video(str(path)) as video:
        tracemalloc.start()
        count = sum(1 for _ in video.frames())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 400
    assert peak < 20 * picture.nbytes


def test_a_file_cut_short_is_read_as_far_as_it_goes(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    pixels = smooth(100, 48, 64)
    fast = {"movflags": "faststart"}
    paths = [
        write_video(tmp_path / "a.mp4", pixels, codec=("mpeg4", "yuv420p"), options=fast),
        write_video(tmp_path / "a.mkv", pixels, codec=("mpeg4", "yuv420p")),
    ]
    for path in paths:
        # How many bytes a frame takes hangs on the encoder's threads: cut in the middle of one.
        path.write_bytes(path.read_bytes()[: start_of(path, 50) + 9])
        _, frames, reading = read(path)
        assert 30 < len(frames) <= 51
        assert reading.num_frames == len(frames)
        assert any("cut off: its header speaks of" in warning for warning in reading.warnings)


def test_a_file_without_its_index_is_named(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", smooth(20, 48, 64), codec=("mpeg4", "yuv420p"))
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ValueError, match=r"a\.mp4 \(\d+ bytes\) could not be read as a video"):
        read(path)


def test_damage_in_the_middle_is_said_and_skipped(
    tmp_path: Path, write_video: WriteVideo, noise: Noise
) -> None:
    path = write_video(tmp_path / "a.mp4", noise(20, 48, 64), codec=("libx264", "yuv420p"))
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(bytes(content))
    _, frames, reading = read(path)
    assert 8 <= len(frames) < 20
    assert any("damaged" in warning for warning in reading.warnings)


def test_a_video_without_a_frame_is_an_error(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", smooth(5, 48, 64), codec=("libx264", "yuv420p"))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"no frame of .*a\.mp4 could be decoded \(h264\)"):
        read(path)


def test_frames_without_timestamps_follow_each_other(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    path = write_video(tmp_path / "raw.h264", smooth(6, 48, 64), codec=("libx264", "yuv420p"))
    facts, frames, _ = read(path)
    times = np.array([frame.time_s for frame in frames])
    assert len(times) == 6
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(5 / facts.fps, rel=0.5)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    with pytest.raises(ValueError, match=r"a\.wav has no video, only audio \(pcm_s16le\)"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4096), b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_what_is_no_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="notes.mp4" + REFUSED):
        read(path)


def test_a_header_of_65535_pixels_asks_for_no_memory(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    path = write_video(tmp_path / "huge.avi", smooth(2, 48, 64), codec=("rawvideo", "yuv420p"))
    content = path.read_bytes()
    content = content.replace(struct.pack("<2i", 64, 48), struct.pack("<2i", 65535, 65535))
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"huge\.avi states no size of its frames, or more than 67108864"
    ):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server and the list of what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_nothing(
    tmp_path: Path,
    write_video: WriteVideo,
    noise: Noise,
    server: tuple[str, list[str]],
    name: str,
) -> None:
    secret = write_video(tmp_path / "secret.mkv", noise(2, 16, 16))
    address, asked = server
    for target in (str(secret), f"file:{secret}", f"{address}/clip.mp4", f"concat:{secret}"):
        path = tmp_path / name
        path.write_text(PLAYLISTS[name].format(target=target))
        with pytest.raises(ValueError, match=name + REFUSED):
            read(path)
    assert not asked


@pytest.mark.parametrize("path", ["http://127.0.0.1/a.mp4", "concat:{clip}|{clip}", "file:{clip}"])
def test_a_path_is_a_path_and_no_address(
    tmp_path: Path, write_video: WriteVideo, noise: Noise, path: str
) -> None:
    clip = write_video(tmp_path / "clip.mkv", noise(2, 16, 16))
    with pytest.raises(FileNotFoundError), open_video(path.format(clip=clip)):
        pass


def test_a_film_s_own_focal_length_is_taken(tmp_path: Path, write_video: WriteVideo) -> None:
    def tell(stream: Any) -> None:
        stream.container.metadata[FOCAL_KEYS[0]] = "26"

    path = write_video(
        tmp_path / "phone.mov",
        smooth(2, 72, 96),
        codec=("libx264", "yuv420p"),
        options={"movflags": "use_metadata_tags"},
        prepare=tell,
    )
    focal = read(path)[0].focal
    assert focal.pixels == pytest.approx(26 / np.hypot(36, 24) * 120)
    assert focal.source == "the file's 26 mm (35 mm equivalent)"
