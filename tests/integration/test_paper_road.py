"""From small raw sets in their true formats to a trained and measured VIBE, by the documented road.

The commands are those of `docs/data.md`, word for word; what is put behind them only makes them
short. Every set has people of its own, so that nothing of a test is in a training.
"""

import importlib
import json
import pickle
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.body.made_up_bodies import smpl_entries, write_tables
from tests.data.sources import (
    test_human36m,
    test_insta_variety,
    test_mpi_inf_3dhp,
    test_penn_action,
    test_posetrack,
    test_threedpw,
)
from tests.data.sources.filmed_person import Filmed, film, write_frames
from tests.data.sources.test_amass import make_npz
from tests.features.resnets import random_encoder, spin_checkpoint
from tests.prediction.filmed import walk
from tests.test_predict import film as film_walk
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.shards import read_manifest
from vibe_ray.features import image_encoder
from vibe_ray.recipes import RECIPES

DOCUMENT = Path(__file__).parents[2] / "docs/data.md"
N = 20
"""Frames of most sets: a window and some."""
SHORT = {
    "epochs": 1,
    "steps_per_epoch": 2,
    "device": "cpu",
    "data.batch_size": 5,
    "data.motion_batch_size": 4,
    "generator.temporal_encoder.gru.hidden_dim": 32,
    "discriminator.hidden_dim": 32,
}


def documented_commands() -> list[list[str]]:
    """All commands of the document's consoles, as bash understands them, loops unrolled."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    script = re.sub(r"^\$ ", "", "".join(blocks), flags=re.MULTILINE)
    told = "python() { printf '%q ' \"$@\"; echo; }\n" + script
    run = subprocess.run(["bash", "-ec", told], capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in run.stdout.splitlines()]


def test_the_document_names_every_set_of_the_recipes() -> None:
    written = {
        argv[argv.index("--out") + 1].removeprefix("data/vibe/")
        for argv in documented_commands()
        if "--out" in argv
    }
    for recipe in ("released", "paper"):
        data = RECIPES[recipe]().data
        read = {*data.pose_2d, *data.pose_3d, *data.motion, data.validation, data.test}
        assert read <= written


def write_raw(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every set's download, as small as windows allow."""
    people = (film(N, seed) for seed in count())
    for module in (test_penn_action, test_insta_variety, test_mpi_inf_3dhp, test_threedpw):
        monkeypatch.setattr(module, "N", N)
    monkeypatch.setattr(test_mpi_inf_3dhp, "OUTSIDE", 0)
    write_2d(root, people)
    mpi = root / "mpi_inf_3dhp"
    test_mpi_inf_3dhp.write_training(mpi, "S1/Seq1", [next(people), next(people)])
    test_mpi_inf_3dhp.write_test(mpi, "TS1", next(people))
    write_human36m(root / "human36m")
    for split in ("train", "validation", "test"):
        name = f"walk_{split}"
        content = test_threedpw.content([next(people), next(people)])
        test_threedpw.write(root / "3DPW", pickle.dumps(content, protocol=2), split, name)
        frames = [f"image_{n:05d}.jpg" for n in range(N)]
        write_frames(root / f"3DPW/imageFiles/{name}", frames)
    (root / "AMASS/KIT").mkdir(parents=True)
    (root / "AMASS/KIT/walk_poses.npz").write_bytes(make_npz())


def write_2d(root: Path, people: Iterator[Filmed]) -> None:
    penn = root / "Penn_Action"
    (penn / "labels").mkdir(parents=True)
    (penn / "labels/0001.mat").write_bytes(test_penn_action.mat(next(people)))
    write_frames(penn / "frames/0001", [f"{n + 1:06d}.jpg" for n in range(N)])
    tracks = [test_insta_variety.track(next(people)) for _ in range(2)]
    for one in tracks:
        one["image/encoded"] = [test_insta_variety.picture(10 * n) for n in range(N)]
    test_insta_variety.write(root / "insta_variety", *tracks)
    crowd = [film(test_posetrack.N, 50), film(test_posetrack.N, 51)]
    content = test_posetrack.annotations(crowd, test_posetrack.POSETRACK_CATEGORIES)
    test_posetrack.write(root / "posetrack", content)
    pictures = root / f"posetrack/images/train/{test_posetrack.NAME}"
    write_frames(pictures, [f"{n:06d}.jpg" for n in range(test_posetrack.NUM_PICTURES)])
    (root / "kinetics").mkdir()
    film_walk(root / "kinetics/walk.mp4", walk())


def write_human36m(root: Path) -> None:
    number = test_human36m.N
    for seed, subject in ((60, "S1"), (61, "S9")):
        person, name = film(number, seed), "Walking.60457274"
        test_human36m.write(root, subject, name, person)
        video = root / f"{subject}/Videos/{name}.mp4"
        video.unlink()
        test_human36m.write_video(video, number)
        folder = root / f"neutrMosh/neutrSMPL_H3.6/{subject}"
        folder.mkdir(parents=True)
        told = pickle.dumps(test_human36m.mosh(person), protocol=2)
        (folder / "Walking_cam3_aligned.pkl").write_bytes(told)


def write_licensed(root: Path) -> None:
    """The open body as SMPL's file, random weights as SPIN's."""
    body = load_body(BodyConfig())
    entries = smpl_entries(body)
    if entries["posedirs"] is None:
        entries["posedirs"] = np.zeros((len(body.v_template), 3, 207), np.float32)
    (root / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(entries, protocol=2))
    write_tables(body, root)
    torch.save(spin_checkpoint(), root / "spin_model_checkpoint.pth.tar")


def run(argv: list[str]) -> None:
    assert argv[0] == "-m"
    short = [f"--set={name}={value}" for name, value in SHORT.items()]
    if argv[1] == "vibe_ray.train":
        argv = [*argv, "--workers", "0", *short]
    importlib.import_module(argv[1]).main(argv[2:])


@pytest.mark.slow
def test_the_documented_road_ends_in_a_trained_and_measured_vibe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_encoder, "CROP_SIZE", 64)  # which the network sees in milliseconds
    write_raw(tmp_path, monkeypatch)
    write_licensed(tmp_path)
    commands = documented_commands()
    assert len({argv[2] for argv in commands if argv[1] == "vibe_ray.prepare"}) == 12
    for argv in commands:
        run(argv)
    printed = capsys.readouterr().out
    assert "left out" not in printed
    assert "data/vibe: no errors" in printed
    assert "MPI-INF-3DHP test" in printed
    for recipe in ("released", "paper"):
        data = RECIPES[recipe]().data
        for name in (*data.pose_2d, *data.pose_3d, data.validation, data.test):
            manifest = read_manifest(f"data/vibe/{name}", "pose")
            assert manifest.encoder_id == random_encoder().id
        lines = Path(f"runs/{recipe}/metrics.jsonl").read_text().splitlines()
        row = json.loads(lines[-1])
        assert all(np.isfinite(v) for v in row.values() if isinstance(v, float))
    assert Path("sheets/sheet.png").stat().st_size > 10_000
    measured = json.loads(Path("3dpw.json").read_text())
    assert "vibe_compat" in json.dumps(measured)
