"""Many videos as a Ray Data job."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prediction.filmed import FPS, HEIGHT, WIDTH, walk, write_keypoints
from vibe_ray.prediction.many import Job, plan
from vibe_ray.prediction.outputs import _checkpoint_id
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.settings import to_dict


def clips(root: Path, count: int, num_frames: int = 16) -> tuple[list[str], PredictConfig]:
    gray = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    for i in range(count):
        folder = root / f"clip_{i}"
        folder.mkdir(parents=True)
        for frame in range(num_frames):
            gray.save(folder / f"{frame}.png")
    keypoints = write_keypoints(root / "keypoints", walk(num_frames))
    # Without the fit, whose steps make much of how many threads add up a sum.
    config = PredictConfig(keypoints=str(keypoints), fps=FPS, files=("npz",), fit=False)
    return [str(root / f"clip_{i}") for i in range(count)], config


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_is_what_one_process_does_and_repeats_nothing(
    ray_cluster: None, tmp_path: Path
) -> None:
    from vibe_ray.distributed import videos
    from vibe_ray.prediction.job import Tools
    from vibe_ray.prediction.many import predict_here

    paths, config = clips(tmp_path / "in", 3)
    (tmp_path / "in/clip_1/0.png").write_bytes(b"no picture")
    here = list(predict_here(plan(paths, str(tmp_path / "here")), Tools(config)))
    jobs = plan(paths, str(tmp_path / "out"))
    first = {outcome.job.folder: outcome for outcome in videos.predict_videos(jobs, config, 2)}
    assert sorted(first) == [job.folder for job in jobs]
    reasons = {folder[-1]: outcome.reason for folder, outcome in first.items()}
    assert "is no readable picture" in reasons["1"]
    assert reasons["0"] == reasons["2"] == ""
    for outcome in here:
        if outcome.summary:
            name = Path(outcome.job.folder).name
            with (
                np.load(tmp_path / "here" / name / "people.npz") as a,
                np.load(tmp_path / "out" / name / "people.npz") as b,
            ):
                assert set(a) == set(b)
                assert len(a["pose"]) == 16
                np.testing.assert_allclose(b["pose"], a["pose"], atol=1e-5)
                np.testing.assert_allclose(b["transl"], a["transl"], atol=1e-5)
    gray = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    gray.save(tmp_path / "in/clip_1/0.png")
    before = (tmp_path / "out/clip_0/summary.json").stat().st_mtime_ns
    again = list(videos.predict_videos(jobs, config, 2))
    assert all(outcome.summary for outcome in again)
    assert (tmp_path / "out/clip_0/summary.json").stat().st_mtime_ns == before


def test_a_job_of_finished_videos_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vibe_ray.distributed import videos

    monkeypatch.setattr(videos, "run_job", None)  # would fail
    config = PredictConfig()
    folder = tmp_path / "out/a"
    folder.mkdir(parents=True)
    summary = {
        "video": {"path": "/a.mp4"},
        "settings": to_dict(config),
        "checkpoint": _checkpoint_id(config),
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    jobs = [Job("/a.mp4", str(folder))]
    (outcome,) = videos.predict_videos(jobs, config, 2)
    assert outcome.summary == summary
