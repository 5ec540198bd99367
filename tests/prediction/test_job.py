import numpy as np
import pytest
from PIL import Image

from tests.prediction.filmed import FOCAL, FPS, HEIGHT, WIDTH, walk, write_keypoints
from vibe_ray.prediction.job import Tools, people_in, predict_people
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.video.frames import FocalWish
from vibe_ray.video.reader import open_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    folder = tmp_path_factory.mktemp("clip")
    gray = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    for i in range(16):
        gray.save(folder / f"{i:03d}.png")
    keypoints = write_keypoints(tmp_path_factory.mktemp("keypoints") / "k", walk(16))
    return str(folder), {"keypoints": str(keypoints), "fps": FPS}


def test_a_program_gets_people_in_one_call(clip: tuple[str, dict[str, object]]) -> None:
    path, settings = clip
    (person,) = people_in(path, **settings, **{"focal.focal_px": FOCAL})
    assert person.pose.shape == (16, 72)
    off = np.abs(person.transl - walk(16).transl).max(axis=0)
    assert (off < [0.05, 0.05, 0.45]).all()  # depth is read off a size
    assert person.world is not None  # a gray wall does not say that the camera moves
    with pytest.raises(ValueError, match="no setting 'feets'; did you mean 'feet'"):
        people_in(path, feets="free")


def test_every_part_is_watched_timed_and_can_be_left_out(
    clip: tuple[str, dict[str, object]],
) -> None:
    path, settings = clip
    tools = Tools(
        PredictConfig(
            keypoints=str(settings["keypoints"]), fit=False, smooth=False, flip=False,
            focal=FocalWish(focal_px=FOCAL),
        )
    )  # fmt: skip
    told: list[tuple[str, int, int]] = []
    with open_video(path, fps=FPS) as video:
        made = predict_people(video, tools, lambda *what: told.append(what))
        plain = tools.estimator.estimate(made.people[0].track, video.facts, flip=False)
    assert told == [("people", i + 1, 16) for i in range(16)]
    assert {"detection", "bodies", "refinement"} == set(made.seconds)
    np.testing.assert_array_equal(made.people[0].rotmat, plain.rotmat)
    np.testing.assert_array_equal(made.people[0].transl, plain.transl)
    assert "bare" in made.assumed["camera"]
    assert any("taken to stand still" in warning for warning in made.warnings)


@pytest.mark.slow
def test_a_video_of_nobody_is_no_error(clip: tuple[str, dict[str, object]]) -> None:
    tools = Tools(PredictConfig())
    with open_video(clip[0], fps=FPS) as video:
        made = predict_people(video, tools)
    assert made.people == []
    assert "no people were found" in made.warnings
