import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data import noise
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import KEYPOINTS
from vibe_ray.data.labels import LabelledSequence, LabelNames
from vibe_ray.data.schema import Kind, MotionSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.data.twins import DIM, MAX_DIFFERENCE, TwinSearch, _hits
from vibe_ray.data.validate import validate

FPS = 25.0


def motion(name: str, seed: int, seconds: float = 12, fps: float = FPS) -> MotionSequence:
    """Every joint swings with a few periods of its own, which time alone decides."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * fps)) / fps
    pose = np.zeros((len(times), 72))
    for _ in range(3):
        rate, phase, size = (rng.uniform(*r, 72) for r in ((1, 6), (0, 6), (0, 0.2)))
        pose += size * np.sin(rate * times[:, None] + phase)
    return MotionSequence(
        dataset="made_up", name=name, fps=fps, pose=pose.astype(np.float32),
        trans=np.zeros((len(times), 3), np.float32), betas=np.zeros(10, np.float32),
    )  # fmt: skip


def messages(*met: tuple[str, str, Kind, Any]) -> list[str]:
    search = TwinSearch()
    for split, folder, kind, sequence in met:
        search.meet(folder, split, kind, sequence)
    return [finding.message for finding in search.findings()]


def test_different_motions_are_no_twins() -> None:
    met: list[Any] = [("train", "a", "motion", motion(f"m{seed}", seed)) for seed in range(8)]
    assert messages(*met, ("test", "b", "motion", motion("other", 99))) == []


def test_one_recording_under_two_names_is_found() -> None:
    (found,) = messages(
        ("train", "a", "motion", motion("salsa/01", 1)),
        ("train", "a", "motion", motion("walk", 2)),
        ("train", "a", "motion", motion("60/60_01", 1)),
    )
    assert found.startswith("a: salsa/01 moves as a: 60/60_01 does, in 100% of its seconds")
    assert "one recording under two names" in found


@pytest.mark.parametrize("first", [0, 7, 38])
@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_a_piece_at_another_rate_turned_and_of_another_shape_is_found(
    first: int, fps: float
) -> None:
    whole = motion("whole", 3, seconds=30)
    piece = motion("piece", 3, seconds=14, fps=fps)
    pose = piece.pose[first:].copy()
    pose[:, :3] = [0.3, 2.0, -1.0]
    piece = replace(piece, pose=pose, trans=piece.trans[first:] + 5, betas=np.ones(10))
    (found,) = messages(("train", "a", "motion", whole), ("test", "b", "motion", piece))
    assert "b: piece moves as a: whole does" in found
    assert "an evaluation on 'test' and 'train'" in found


@pytest.mark.parametrize("seconds", [1.5, 2.0, 3.1, 4.0, 5.1, 5.3, 7.0])
@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_short_clip_out_of_a_long_one_is_found(seconds: float, fps: float) -> None:
    whole = motion("whole", 3, seconds=30)
    first, N = round(7.3 * fps), math.ceil(seconds * fps) + 1
    long = motion("", 3, seconds=30, fps=fps)
    clip = replace(
        long, name="clip", pose=long.pose[first : first + N], trans=long.trans[first : first + N]
    )
    others: list[Any] = [
        ("train", "a", "motion", motion(f"m{seed}", seed)) for seed in range(10, 14)
    ]
    (found,) = messages(*others, ("train", "a", "motion", whole), ("test", "b", "motion", clip))
    assert found.startswith("b: clip moves as a: whole does, in 100% of its seconds")


def test_a_clip_of_less_than_a_second_and_a_half_is_not_asked_for() -> None:
    whole = motion("whole", 3)
    clip = replace(whole, name="clip", pose=whole.pose[:38], trans=whole.trans[:38])
    assert (len(clip.pose) - 1) / FPS == 1.48
    assert messages(("train", "a", "motion", whole), ("test", "b", "motion", clip)) == []


def test_noise_of_a_capture_does_not_hide_it() -> None:
    one = motion("one", 4)
    noisy = one.pose + np.random.default_rng(0).normal(0, 0.005, one.pose.shape).astype(np.float32)
    (found,) = messages(
        ("train", "a", "motion", one),
        ("test", "b", "motion", replace(one, name="noisy", pose=noisy)),
    )
    assert "in 100% of its seconds" in found


def test_who_stands_still_is_nobodys_twin() -> None:
    still = replace(motion("a", 0), pose=np.zeros((300, 72), np.float32))
    met = [("train", "a", "motion", still), ("test", "b", "motion", replace(still, name="b"))]
    assert messages(*met) == []  # type: ignore[arg-type]


def test_one_name_at_two_rates_is_one_recording() -> None:
    met = [("train", f"amass_{fps:g}", "motion", motion("walk", 5, fps=fps)) for fps in (25.0, 30)]
    assert messages(*met) == []  # type: ignore[arg-type]


def test_of_a_set_prepared_at_two_rates_one_is_compared() -> None:
    """Whoever is met in a third set is told once, and the second rate costs nothing."""
    search, names = TwinSearch(), ("walk", "run")
    for fps in (25.0, 30.0):
        for seed, name in enumerate(names):
            search.meet(f"amass_{fps:g}", "train", "motion", motion(name, seed, fps=fps))
    assert [twin.folder for twin in search._windows["pose"].owners] == ["amass_25"] * 2
    search.meet("other", "test", "motion", motion("copy", 0))
    (finding,) = search.findings()
    assert "amass_25: walk moves as other: copy does" in finding.message


def test_one_name_of_two_recordings_hides_neither() -> None:
    """Two folders of files called alike: of another length, or of another split, it is compared."""
    (found,) = messages(
        ("train", "a", "motion", motion("01", 1)),
        ("train", "b", "motion", motion("01", 2, seconds=9)),
        ("test", "c", "motion", motion("x", 2)),
    )
    assert "b: 01 moves as c: x does" in found
    (found,) = messages(
        ("train", "a", "motion", motion("01", 1)),
        ("test", "b", "motion", motion("01", 2)),
        ("train", "c", "motion", motion("x", 2)),
    )
    assert "b: 01 moves as c: x does" in found


def labels_of(clip: MotionSequence, turn: float, name: str) -> LabelledSequence:
    """What a camera sees of a motion: joints alone, of a body that stands before it, turned."""
    pose = torch.tensor(clip.pose)
    pose[:, :3] = torch.tensor([0.0, turn, 0.0])
    with torch.no_grad():
        joints = BodyJoints.keypoints(load_body(BodyConfig()))
        kp_3d = joints(torch.zeros(len(pose), 10), pose_to_rotmat(pose)).numpy()
    names = LabelNames(kp_3d=KEYPOINTS)
    N = len(pose)
    return noise.labelled_sequence(
        name, N, names=names, kp_3d=kp_3d + np.array([0, 0, 4]), has_kp_3d=np.ones(N, bool),
        kp_2d=np.zeros((N, 0, 2)), kp_2d_conf=np.zeros((N, 0)), detected=np.zeros((N, 0, 2)),
        detected_conf=np.zeros((N, 0)), has_smpl=np.zeros(N, bool),
    )  # fmt: skip


def test_joints_before_two_cameras_are_one_motion_and_a_leak_across_splits_alone() -> None:
    clip = motion("m", 6)
    views = [labels_of(clip, turn, f"view_{turn}") for turn in (0.2, 1.5)]
    other = labels_of(motion("n", 7), 0.0, "other")
    assert messages(*(("train", "a", "labels", one) for one in (*views, other))) == []
    (found,) = messages(
        ("train", "a", "labels", views[0]),
        ("train", "a", "labels", other),
        ("test", "b", "labels", views[1]),
    )
    assert "a: view_0.2 moves as b: view_1.5 does" in found


def test_near_windows_are_those_that_a_plain_search_finds() -> None:
    rng = np.random.default_rng(0)
    kept = rng.standard_normal((3000, DIM + 1)) * rng.uniform(0.01, 0.1, (3000, 1))
    asked = kept[rng.integers(0, 3000, 1500)]
    asked = asked + asked[:, DIM:] * rng.uniform(0, 0.05, (1500, 1)) * rng.standard_normal(DIM + 1)
    for windows in (kept, asked):
        windows[:, DIM] = np.linalg.norm(windows[:, :DIM], axis=1)
    owner, groups = rng.integers(0, 40, 3000), rng.integers(0, 200, 1500)
    expected = set()
    for window, group in zip(asked, groups, strict=True):
        apart = np.linalg.norm(kept[:, :DIM] - window[:DIM], axis=1)
        near = owner[apart < MAX_DIFFERENCE * window[DIM]]
        expected |= {(int(group), int(one)) for one in near}
    assert len(expected) > 500
    assert set(map(tuple, _hits(asked, groups, kept, owner).tolist())) == expected


def test_validate_tells_it(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        with ShardWriter(str(tmp_path / split), noise.header(f"motion/{split}")) as writer:
            writer.write(motion(name, 8))
    found = [finding for finding in validate(str(tmp_path)) if "moves as" in finding.message]
    assert [finding.level for finding in found] == ["warning"]
