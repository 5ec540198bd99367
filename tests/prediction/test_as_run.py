"""Predictions of videos whose people are known: who is who, who was found, and how wrong."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from vibe_ray import evaluate
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.prediction import as_run
from vibe_ray.prediction.as_run import MIN_OVERLAP, NOBODY, AsRun, match, measure_videos
from vibe_ray.prediction.job import Prediction
from vibe_ray.prediction.person import Person
from vibe_ray.video.people import Track

N = 12
PLACES = ((150.0, 100.0, 90.0), (300.0, 110.0, 80.0), (450.0, 90.0, 100.0))


def painted_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union by counting points of a fine grid."""
    y, x = np.mgrid[0:400:0.5, 0:400:0.5] + 0.25

    def inside(box: np.ndarray) -> np.ndarray:
        return (abs(x - box[0]) < box[2] / 2) & (abs(y - box[1]) < box[2] / 2)

    a, b = inside(one), inside(other)
    return float((a & b).sum() / (a | b).sum())


def test_boxes_overlap_as_painted_squares_do() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.uniform([120, 120, 40], [220, 220, 150], (40, 2, 3))
    inner = [np.array([[200, 200, 100], [210, 190, 20]]), np.array([[90, 90, 50], [300, 90, 50]])]
    for one, other in [*pairs, *inner]:
        assert as_run._overlap(one, other) == pytest.approx(painted_overlap(one, other), abs=0.02)


def test_people_are_matched_as_the_best_of_all_pairings() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for frame in range(30):
        known, found = rng.uniform([100, 100, 60], [160, 160, 120], (2, 3, 3))
        overlap = np.array([[painted_overlap(k, f) for f in found] for k in known])
        overlap[overlap < MIN_OVERLAP] = 0
        best = max(
            itertools.permutations(range(3)),
            key=lambda of: sum(overlap[i, of[i]] for i in range(3)),
        )
        expected = [j if overlap[i, j] >= MIN_OVERLAP else NOBODY for i, j in enumerate(best)]
        answer = match([{frame: box} for box in known], [{frame: box} for box in found])
        assert [int(of[0]) for of in answer] == expected
        seen |= set(expected)
    assert NOBODY in seen


def test_frames_in_which_somebody_is_missing() -> None:
    box, far = np.array(PLACES[0]), np.array(PLACES[2])
    known = [{0: box, 1: box, 2: box}, {1: far}]
    found = [{1: box, 2: far}, {1: far, 3: box}]
    one, two = match(known, found)
    assert one.tolist() == [NOBODY, 0, NOBODY]
    assert two.tolist() == [1]
    assert match([{5: box}], [])[0].tolist() == [NOBODY]


def labelled(number: int, **changes: Any) -> LabelledSequence:
    """A person at one place, of whom all is known."""
    known = dict.fromkeys(("has_smpl", "has_kp_3d", "valid"), np.ones(N, bool))
    box = np.tile(np.array(PLACES[number], np.float32), (N, 1))
    return noise.labelled_sequence(
        "video", N, number, person=str(number), box=box, video="/raw/video.mp4",
        frame_index=np.arange(N), timestamps=np.arange(N) / noise.FPS, **(known | changes),
    )  # fmt: skip


def person(number: int, of: LabelledSequence, frames: range, **changes: Any) -> Person:
    """Found in some frames, with the true pose."""
    rotmat = pose_to_rotmat(torch.tensor(of.pose)).numpy()[frames.start : frames.stop]
    count = len(frames)
    track = Track(
        person=number,
        names=("nose",),
        frames=np.array(frames),
        times_s=np.array(frames) / noise.FPS,
        boxes=of.box[frames.start : frames.stop] + np.float32(2.0),
        kp_2d=np.zeros((count, 1, 2), np.float32),
        kp_2d_conf=np.ones((count, 1), np.float32),
        filled=np.array([frame in changes.get("filled", ()) for frame in frames]),
    )
    zeros = np.zeros((count, 3), np.float32)
    joints = np.zeros((count, 24, 3), np.float32)
    betas = changes.get("betas", of.betas[0])
    return Person(
        track=track, rotmat=rotmat, betas=betas, cam=zeros, transl=zeros, joints=joints
    )  # fmt: skip


@pytest.fixture
def known() -> list[LabelledSequence]:
    """Two people, each with one body in all frames; one is not to be counted in two frames."""
    people = []
    for number in range(2):
        betas = np.tile(np.linspace(-1, 1, 10, dtype=np.float32) * (number + 1), (N, 1))
        valid = np.ones(N, bool)
        valid[:2] = number == 0
        people.append(labelled(number, betas=betas, valid=valid))
    return people


@pytest.fixture
def labels(known: list[LabelledSequence], tmp_path: Path) -> str:
    path = f"{tmp_path}/labels/test"
    with ShardWriter(path, noise.header("labels/test")) as writer:
        for sequence in known:
            writer.write(sequence)
    return path


def measured(labels: str, people: list[Person], body: BodyArrays) -> AsRun:
    asked = []

    def predict(path: str, fps: float) -> Prediction:
        asked.append((path, fps))
        return Prediction(people)

    found = measure_videos(labels, predict, body, "sequence")
    assert asked == [("/raw/video.mp4", noise.FPS)]
    return found


def test_errors_are_of_those_who_were_found(
    known: list[LabelledSequence], labels: str, open_body: BodyArrays
) -> None:
    """One is found in eight frames and right, one in all but one with another body; one is new."""
    other = np.zeros(10, np.float32)
    people = [
        person(0, labelled(2), range(3, 9)),
        person(1, known[1], range(N), betas=other, filled=(7,)),
        person(2, known[0], range(4, N)),
    ]
    found = measured(labels, people, open_body)
    assert (found.num_frames, found.num_found) == (12 + 10, 8 + 9)
    assert found.num_strangers == 6  # the one at the third place; a filled frame shows nobody
    assert found.coverage == pytest.approx(17 / 22)
    per_person = {result.person: result for result in found.result.per_sequence}
    assert per_person["0"].metrics["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert per_person["0"].num_frames == 8
    joints = BodyJoints.evaluation(open_body)
    rotmat = pose_to_rotmat(torch.tensor(known[1].pose))
    pair = [joints(torch.tensor(np.tile(b, (N, 1))), rotmat) for b in (other, known[1].betas[0])]
    hips = [j - (j[:, 2:3] + j[:, 3:4]) / 2 for j in pair]
    error = (hips[0] - hips[1]).norm(dim=-1).mean(-1) * 1000
    counted = [i for i in range(2, N) if i != 7]
    assert per_person["1"].metrics["mpjpe_mm"] == pytest.approx(float(error[counted].mean()), 1e-4)
    assert "found in 17 of 22 frames" in found.told()
    assert found.to_dict()["coverage"] == pytest.approx(17 / 22)


def test_frames_without_labels_show_no_strangers(tmp_path: Path, open_body: BodyArrays) -> None:
    """A data set may label every second frame of a video."""
    every = labelled(0)
    path = f"{tmp_path}/labels/test"
    with ShardWriter(path, noise.header("labels/test")) as writer:
        writer.write(replace(every, frame_index=2 * np.arange(N)))
    doubled = {name: getattr(every, name).repeat(2, axis=0) for name in ("pose", "betas", "box")}
    twice = noise.labelled_sequence("video", 2 * N, **doubled)
    found = measured(path, [person(0, twice, range(2 * N))], open_body)
    assert (found.num_found, found.num_strangers) == (N, 0)


def test_nobody_found_is_an_error(labels: str, open_body: BodyArrays) -> None:
    with pytest.raises(ValueError, match="of 22 frames in which somebody's truth is known the det"):
        measured(labels, [], open_body)


def test_the_command(
    known: list[LabelledSequence],
    labels: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = {}

    def predicts_with(tools: Any) -> as_run.Predict:
        asked["config"] = tools.config
        return lambda path, fps: Prediction([person(0, known[0], range(N))])

    monkeypatch.setattr(as_run, "predicts_with", predicts_with)
    path = tmp_path / "as_run.json"
    evaluate.main(["open", "--videos", labels, "--set", "fit=false", "--json", str(path)])
    assert "found in 12 of 22 frames" in capsys.readouterr().out
    assert json.loads(path.read_text())["metrics"]["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert (asked["config"].checkpoint, asked["config"].fit) == ("open", False)
    with pytest.raises(SystemExit):
        evaluate.main(["open", "--videos", labels, "--baseline"])
    assert "--videos measures one checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["open", "--videos", labels, "--split", "validation"])
    assert "leave out --data and --split" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["open", "--set", "fit=false"])
    assert "--raw and --set go with --videos" in capsys.readouterr().err


def test_labels_without_pixels_are_refused(tmp_path: Path, open_body: BodyArrays) -> None:
    path = f"{tmp_path}/labels/test"
    with ShardWriter(path, noise.header("labels/test")) as writer:
        writer.write(noise.labelled_sequence("s", 5, video=""))
    with pytest.raises(ValueError, match="'s' has neither a video nor images"):
        measure_videos(path, lambda path, fps: Prediction([]), open_body)
