from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.prediction.filmed import HEIGHT, WIDTH, pixels, walk
from tests.prediction.test_person import true_person
from vibe_ray.geometry.arrays import Array
from vibe_ray.inference import Predictor
from vibe_ray.prediction.overlay import BACKGROUND, OverlayConfig, Painter, painted, write_overlay
from vibe_ray.prediction.person import Person
from vibe_ray.video.frames import Frame
from vibe_ray.video.reader import open_video

GRAY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
PLAIN = OverlayConfig(side_view=False, opacity=1)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_checkpoint("open")


def frame(number: int, picture: Array = GRAY) -> Frame:
    return Frame(number=number, time_s=number / 25, pixels=picture)


def paint(predictor: Predictor, people: list[Person], number: int, config: OverlayConfig) -> Array:
    return Painter(walk().facts, people, predictor, config).paint(frame(number))


def test_the_body_covers_the_person(predictor: Predictor) -> None:
    """Drawn by the renderer that filmed them, it covers the same pixels but for their edges."""
    filmed = walk()
    painted = paint(predictor, [true_person(filmed)], 5, PLAIN)
    drawn = (painted != GRAY).any(axis=-1)
    drawn[: int(filmed.kp_2d[5, :, 1].min()) - 20] = False  # the number over the head
    for x, y in filmed.kp_2d[5, 5:]:  # shoulders and below lie within the body
        assert drawn[int(y), int(x)]
    rows, columns = np.nonzero(drawn)
    assert abs(columns.min() - filmed.kp_2d[5, :, 0].min()) < 25
    assert abs(rows.max() - filmed.kp_2d[5, :, 1].max()) < 25


def test_frames_painted_beside_each_other_are_those_painted_one_by_one(
    predictor: Predictor,
) -> None:
    painter = Painter(walk().facts, [true_person(walk())], predictor, OverlayConfig())
    frames = [frame(number, picture) for number, picture in enumerate(pixels(walk(5)))]
    together = list(painted(painter, iter(frames)))
    assert [time_s for time_s, _ in together] == [one.time_s for one in frames]
    for (_, picture), one in zip(together, frames, strict=True):
        np.testing.assert_array_equal(picture, painter.paint(one))
    assert (together[0][1] != together[4][1]).any()


def test_a_frame_that_cannot_be_painted_ends_it(predictor: Predictor) -> None:
    painter = Painter(walk().facts, [], predictor, OverlayConfig())
    broken = frame(1, np.zeros((HEIGHT, WIDTH, 3)))  # no 8 bits
    with pytest.raises(ValueError, match="of uint8"):
        list(painted(painter, [frame(0), broken, frame(2), frame(3)]))


def test_frames_without_anybody_are_left_alone(predictor: Predictor) -> None:
    person = true_person(walk())
    late = replace(person, track=replace(person.track, frames=np.arange(100, 124)))
    np.testing.assert_array_equal(paint(predictor, [late], 5, PLAIN), GRAY)
    np.testing.assert_array_equal(paint(predictor, [], 5, PLAIN), GRAY)


def test_who_is_nearer_hides_who_is_behind(predictor: Predictor) -> None:
    near = true_person(walk())
    far = replace(near, transl=near.transl * 2, track=replace(near.track, person=1))
    alone = paint(predictor, [near], 0, PLAIN)
    both = paint(predictor, [near, far], 0, PLAIN)
    middle = tuple(walk().kp_2d[0, [11, 12]].mean(axis=0).astype(int)[::-1])
    np.testing.assert_array_equal(both[middle], alone[middle])


def test_from_the_side_depth_becomes_breadth(predictor: Predictor) -> None:
    """Who stands farther from the camera stands farther to the left in the side view."""
    near = true_person(walk())
    behind = np.float32([0, 0, 3])
    far = replace(
        near,
        transl=near.transl + behind,
        joints=near.joints + behind,
        track=replace(near.track, person=1),
    )
    config = OverlayConfig(opacity=1)
    picture = paint(predictor, [near, far], 0, config)
    side = picture[:, WIDTH:].astype(int)
    assert side.shape == (HEIGHT, round(HEIGHT * 0.6), 3)
    blue = np.nonzero(side[..., 2] > side[..., 0] + 25)[1].mean()
    orange = np.nonzero(side[..., 0] > side[..., 2] + 25)[1].mean()
    assert orange < blue - 20
    assert (side[0, 0] == BACKGROUND).all()


def test_a_large_video_is_scaled_down(predictor: Predictor) -> None:
    config = OverlayConfig(long_side=200, side_view=False)
    painted = paint(predictor, [true_person(walk())], 0, config)
    assert painted.shape == (168, 200, 3)  # 400 / 2.4 = 166.7, padded to an even number


def test_the_video_has_the_frames_of_its_source(tmp_path: Path, predictor: Predictor) -> None:
    source = tmp_path / "in.mkv"
    times_ms = [0, 40, 80, 160, 200]
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for time_ms, picture in zip(times_ms, pixels(walk(5)), strict=True):
            coded = av.VideoFrame.from_ndarray(picture, format="rgb24")
            coded.pts, coded.time_base = time_ms, Fraction(1, 1000)
            output.mux(stream.encode(coded))
        output.mux(stream.encode())
    with open_video(str(source)) as video:
        write_overlay(tmp_path / "out.mp4", video, [true_person(walk(5))], predictor,
                      OverlayConfig())  # fmt: skip
    with open_video(str(tmp_path / "out.mp4")) as written:
        frames = list(written.frames())
    np.testing.assert_allclose([f.time_s for f in frames], np.array(times_ms) / 1000, atol=1e-3)
    assert frames[0].pixels.shape == (HEIGHT, WIDTH + round(HEIGHT * 0.6), 3)


@pytest.mark.parametrize("wrong", [{"long_side": 2}, {"samples": 0}, {"opacity": 0.0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected at least 16"):
        OverlayConfig(**wrong)  # type: ignore[arg-type]
