import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prediction.filmed import FPS, HEIGHT, WIDTH, body, walk, write_keypoints
from tests.prediction.test_person import true_person
from vibe_ray import storage
from vibe_ray.body.joints import BodyJoints
from vibe_ray.prediction.job import Tools
from vibe_ray.prediction.outputs import animation, finished, predict_video, view_camera
from vibe_ray.prediction.settings import PredictConfig

NUM_FRAMES = 12
FOLDER_FILES = ["overlay.mp4", "people.npz", "person_0.bvh", "person_0.glb", "summary.json"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, PredictConfig]:
    """A folder of gray pictures, and exact key-points of who walks through them.

    Without the fit: what is asked is what is written, and where.
    """
    folder = tmp_path_factory.mktemp("clip")
    gray = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    for i in range(NUM_FRAMES):
        gray.save(folder / f"{i:03d}.png")
    keypoints = write_keypoints(tmp_path_factory.mktemp("keypoints") / "k", walk(NUM_FRAMES))
    return str(folder), PredictConfig(keypoints=str(keypoints), fps=FPS, fit=False)


@pytest.fixture(scope="module")
def done(clip: tuple[str, PredictConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "clip"
    predict_video(clip[0], str(folder), Tools(clip[1]))
    return folder


def test_a_folder_has_all_files_and_says_so(done: Path) -> None:
    assert sorted(file.name for file in done.iterdir()) == FOLDER_FILES
    summary = json.loads((done / "summary.json").read_text())
    assert sorted([*summary["files"], "summary.json"]) == FOLDER_FILES
    (person,) = summary["people"]
    assert (person["num_frames"], person["coverage"]) == (NUM_FRAMES, 1.0)
    assert summary["video"]["num_frames"] == NUM_FRAMES
    assert "assumed" in summary["assumed"]["focal"]
    with np.load(done / "people.npz", allow_pickle=False) as data:
        assert data["pose"].shape == (NUM_FRAMES, 72)


def test_what_is_done_is_not_done_again(
    done: Path, clip: tuple[str, PredictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in done.iterdir()}
    monkeypatch.setattr("vibe_ray.prediction.outputs.open_video", None)  # would fail
    summary = predict_video(clip[0], str(done), Tools(clip[1]))
    assert summary == json.loads((done / "summary.json").read_text())
    assert before == {file.name: file.stat().st_mtime_ns for file in done.iterdir()}


def test_what_was_cut_off_is_done_anew(
    done: Path, clip: tuple[str, PredictConfig], tmp_path: Path
) -> None:
    (tmp_path / "people.npz").write_bytes((done / "people.npz").read_bytes()[:100])
    only = dataclasses.replace(clip[1], files=("npz",))
    predict_video(clip[0], str(tmp_path), Tools(only))
    with np.load(tmp_path / "people.npz") as again, np.load(done / "people.npz") as first:
        for name in first:
            np.testing.assert_array_equal(again[name], first[name])


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({"summary.json": "{}"}, "summary.json is no summary of a prediction"),
        ({"summary.json": "nonsense"}, "is no summary of a prediction"),
        ({"thesis.docx": "x"}, "holds other files, as thesis.docx"),
        ({"people.npz": "x", "cat.jpg": "x"}, "holds other files, as cat.jpg"),
    ],
)
def test_nothing_of_others_is_written_over(
    other: dict[str, str], found: str, tmp_path: Path, clip: tuple[str, PredictConfig]
) -> None:
    for name, text in other.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(FileExistsError, match=found):
        finished(str(tmp_path), clip[0], clip[1])


def test_other_settings_are_another_result(done: Path, clip: tuple[str, PredictConfig]) -> None:
    path, config = clip
    assert finished(str(done), path, config) is not None
    with pytest.raises(FileExistsError, match="or of other settings"):
        finished(str(done), path, dataclasses.replace(config, flip=False))
    with pytest.raises(FileExistsError, match=r"holds results of .*clip"):
        finished(str(done), "another.mp4", config)


def test_overwriting_leaves_what_is_new_and_what_is_not_ours(
    done: Path, clip: tuple[str, PredictConfig], tmp_path: Path
) -> None:
    path, config = clip
    folder = str(tmp_path / "r")
    shutil.copytree(done, folder)
    (tmp_path / "r/person_7.usda").write_text("of an earlier result")
    only = dataclasses.replace(config, files=("npz",))
    with pytest.raises(FileExistsError, match="or --overwrite"):
        predict_video(path, folder, Tools(only))
    predict_video(path, folder, Tools(only), overwrite=True)
    assert sorted(f.name for f in (tmp_path / "r").iterdir()) == ["people.npz", "summary.json"]
    (tmp_path / "r/person_walk.bvh").write_text("a user's")
    with pytest.raises(FileExistsError, match=r"other files, as person_walk\.bvh"):
        predict_video(path, folder, Tools(config), overwrite=True)
    assert (tmp_path / "r/person_walk.bvh").read_text() == "a user's"


def test_what_a_kill_left_half_written_is_in_nobodys_way(
    clip: tuple[str, PredictConfig], tmp_path: Path
) -> None:
    left = tmp_path / f".overlay.mp4.0123abcd{storage.TEMPORARY[0]}"
    left.write_bytes(b"half")
    predict_video(clip[0], str(tmp_path), Tools(clip[1]))
    assert sorted(file.name for file in tmp_path.iterdir()) == FOLDER_FILES


def test_a_checkpoint_that_was_trained_on_is_another(
    done: Path, clip: tuple[str, PredictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibe_ray.prediction.outputs._checkpoint_id", lambda config: "other")
    with pytest.raises(FileExistsError, match="or of other settings"):
        finished(str(done), *clip)


def test_results_may_go_into_a_store(clip: tuple[str, PredictConfig]) -> None:
    path, config = clip
    predict_video(path, "memory://results/clip", Tools(config))
    names = [file.rsplit("/", 1)[-1] for file in storage.list_files("memory://results/clip")]
    assert names == FOLDER_FILES


def test_an_export_without_a_world_is_the_cameras_view() -> None:
    """Its joints, seen by its camera, are where the person's are in the picture."""
    filmed = walk()
    person = true_person(filmed)
    moved, camera = animation(person, body()), view_camera(filmed.facts, person)
    skeleton = BodyJoints.skeleton(body())
    import torch

    betas = torch.from_numpy(filmed.betas).expand(24, -1)
    true = skeleton(betas, torch.from_numpy(filmed.rotmat)).numpy() + filmed.transl[:, None]
    turned = skeleton(betas, torch.from_numpy(moved.rotmat).float()).numpy()
    world = turned - turned[:, :1] + moved.transl[:, None]
    back = world @ camera.rotmat.T + camera.transl
    np.testing.assert_allclose(back, true, atol=1e-4)
    assert world[:, 15, 1].mean() > world[:, 7, 1].mean()  # the head is above the ankle
