"""Small downloads of every data set, in its own format: some recordings each, of which one is bad.

Each set is what `prepare` is told to read of it; the people are as many as there are recordings.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data import noise
from tests.data.sources import (
    test_amass,
    test_amc,
    test_deepmimic,
    test_human36m,
    test_insta_variety,
    test_mpi_inf_3dhp,
    test_penn_action,
    test_posetrack,
    test_threedpw,
)
from tests.data.sources.conftest import bvh_text
from tests.data.sources.filmed_person import film, write_frames
from tests.prediction import filmed
from tests.test_predict import film as film_video
from vibe_ray.body.model import OPEN_BODY
from vibe_ray.data.shards import ShardWriter

NUM = 5
"""Recordings of most sets that are whole."""


@dataclass(frozen=True)
class RawSet:
    write: Callable[[Path], None]
    """Write it into a folder that is not there yet."""
    num_recordings: int
    flags: tuple[str, ...] = ()
    num_bad: int = 1
    """Recordings that cannot be used."""
    command: str = ""
    """Of `prepare`, where it is not called as the set."""

    def argv(self, name: str, raw: Path, out: Path) -> list[str]:
        """The command's arguments."""
        of = "--labels" if name == "features" else "--raw"
        return [self.command or name, of, str(raw), "--out", str(out), *self.flags]


def cut_off(path: Path) -> None:
    """Leave of a file what a download that was interrupted would."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def threedpw(root: Path) -> None:
    for number in range(NUM + 1):
        name = f"walk_{number:02d}"
        content = test_threedpw.content([film(test_threedpw.N, seed) for seed in (number, 9)])
        test_threedpw.write(root, pickle.dumps(content, protocol=2), name=name)
        names = [f"image_{frame:05d}.jpg" for frame in range(test_threedpw.N)]
        write_frames(root / "imageFiles" / name, names)
    cut_off(root / "sequenceFiles/validation/walk_02.pkl")


def penn_action(root: Path) -> None:
    (root / "labels").mkdir(parents=True)
    for number in range(NUM + 1):
        name, person = f"{number:04d}", film(test_penn_action.N, number)
        (root / f"labels/{name}.mat").write_bytes(test_penn_action.mat(person))
        frames = [f"{frame + 1:06d}.jpg" for frame in range(test_penn_action.N)]
        write_frames(root / "frames" / name, frames)
    for frame in (root / "frames/0002").iterdir():
        frame.unlink()


def posetrack(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for number in range(NUM + 1):
            name = f"{number:06d}_bonn_train"
            patch.setattr(test_posetrack, "NAME", name)
            people = [film(test_posetrack.N, seed) for seed in (number, 9)]
            content = test_posetrack.annotations(people, test_posetrack.POSETRACK_CATEGORIES)
            path = test_posetrack.write(root, content)
            frames = [f"{frame:06d}.jpg" for frame in range(test_posetrack.NUM_PICTURES)]
            write_frames(root / f"images/train/{name}", frames)
    cut_off(path)


def insta_variety(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for number in range(NUM + 1):
            patch.setattr(test_insta_variety, "FILE", f"insta_variety_00_copy00_{number:06d}")
            people = [film(test_insta_variety.N, seed) for seed in (number, 9)]
            path = test_insta_variety.write(root, *map(test_insta_variety.track, people))
    cut_off(path)


def mpi_inf_3dhp(root: Path) -> None:
    test_mpi_inf_3dhp.write_training(
        root, "S1/Seq1", [film(test_mpi_inf_3dhp.N, n) for n in (0, 1)]
    )
    (root / "S1/Seq1/imageSequence/video_4/frame_000007.jpg").unlink()


def human36m(root: Path) -> None:
    for number in range(NUM + 1):
        person = film(test_human36m.N, number)
        test_human36m.write(root, "S1", f"Directions {number}.54138969", person)
    cut_off(root / "S1/MyPoseFeatures/D3_Positions_mono/Directions 2.54138969.cdf")


def amass(root: Path) -> None:
    root.mkdir()
    for number in range(NUM + 1):
        (root / f"walk_{number}_poses.npz").write_bytes(test_amass.make_npz())
    cut_off(root / "walk_2_poses.npz")


def bvh(root: Path) -> None:
    root.mkdir()
    for number in range(NUM + 1):
        (root / f"dance_{number}.bvh").write_text(bvh_text(seed=number))
    cut_off(root / "dance_2.bvh")


def amc(root: Path) -> None:
    root.mkdir()
    (root / "01.asf").write_text(test_amc.make_asf())
    for number in range(NUM + 1):
        (root / f"01_{number:02d}.amc").write_text(test_amc.make_amc(seed=number))
    (root / "01_02.amc").write_text("<html>")


def deepmimic(root: Path) -> None:
    root.mkdir()
    for number in range(NUM + 1):
        (root / f"walk_{number}.txt").write_text(test_deepmimic.make_clip(40 + number))
    cut_off(root / "walk_2.txt")


def videos(root: Path) -> None:
    root.mkdir()
    for number in range(3):
        film_video(root / f"walk_{number}.mp4", filmed.walk(12, start=12 * number))
    cut_off(root / "walk_1.mp4")


def label_shards(root: Path) -> None:
    """Sequences with what a detector saw, which the packaged encoder takes."""
    with ShardWriter(str(root), noise.header("labels/train")) as writer:
        for number in range(NUM + 1):
            writer.write(noise.labelled_sequence(f"s{number}", 20 + number, number))


RAW_SETS = {
    "threedpw": RawSet(threedpw, NUM + 1, ("--split", "val", "--body", str(OPEN_BODY))),
    "penn_action": RawSet(penn_action, NUM + 1),
    "posetrack": RawSet(posetrack, NUM + 1),
    "insta_variety": RawSet(insta_variety, NUM + 1),
    "mpi_inf_3dhp": RawSet(mpi_inf_3dhp, 8),
    "human36m": RawSet(human36m, NUM + 1),
    "amass": RawSet(amass, NUM + 1),
    "bvh": RawSet(bvh, NUM + 1),
    "amc": RawSet(amc, NUM + 1),
    "deepmimic": RawSet(deepmimic, NUM + 1),
    "videos": RawSet(videos, 3),
    "features": RawSet(label_shards, NUM + 1, num_bad=0),
}
