"""What is told of bad input: `docs/data.md` quotes it, and here the program is made to say it."""

import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.data.sources import test_human36m, test_mpi_inf_3dhp, test_penn_action
from tests.data.sources.filmed_person import film, write_frames
from tests.data.sources.test_amass import make_npz
from tests.integration import raw_sets
from tests.integration.test_full_disk import on_a_small_disk, own_files
from vibe_ray import prepare
from vibe_ray.data.sources import SOURCES

DOCUMENT = Path(__file__).parents[2] / "docs/data.md"
HOME = "/home/me"
"""Where the document has its downloads."""
OWN = ("left out ", "python -m vibe_ray.prepare")
OF_STORES, OF_DISKS = "bucket '", "no room for"


def comparable(line: str) -> str:
    """Without numbers, such as sizes of files, which hang on who has written them."""
    return re.sub(r"part-\d+-[0-9a-f]+|\d+", "#", line)


def quoted() -> list[str]:
    section = DOCUMENT.read_text().partition("\n## Bad input\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def own_lines(text: str, home: Path) -> list[str]:
    """What a command told, but for its sums."""
    lines = [line.replace(str(home), HOME) for line in text.splitlines() if line.startswith(OWN)]
    return [line for line in lines if not re.fullmatch(r"left out \d+ of \d+ recordings", line)]


def check_all_quoted(told: list[str], expected: list[str]) -> None:
    """Each line that was told is quoted, and each that is quoted was told."""
    patterns = [re.escape(comparable(line)).replace("…", ".+") for line in expected]
    fits = [[re.fullmatch(pattern, comparable(line)) for pattern in patterns] for line in told]
    assert not [line for line, found in zip(told, fits, strict=True) if not any(found)]
    missing = [not any(found) for found in zip(*fits, strict=True)]
    assert len(missing) == len(expected), "nothing was told"
    assert not [line for line, lacks in zip(expected, missing, strict=True) if lacks]


class Hostile:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def cut_off_and_others() -> None:
    """Downloads of which some files are whole: a set is made of those."""
    for name in ("cut_off", "other", "frames_gone", "no_jpeg"):
        write_frames(
            Path("Penn_Action/frames") / name,
            [f"{n + 1:06d}.jpg" for n in range(test_penn_action.N)],
        )
    labels = Path("Penn_Action/labels")
    labels.mkdir()
    for name in ("cut_off", "frames_gone", "no_jpeg", "whole"):
        (labels / f"{name}.mat").write_bytes(test_penn_action.mat(film(test_penn_action.N)))
    raw_sets.cut_off(labels / "cut_off.mat")
    Path("Penn_Action/frames/frames_gone/000003.jpg").unlink()
    Path("Penn_Action/frames/no_jpeg/000001.jpg").write_text("<html>")
    write_frames(
        Path("Penn_Action/frames/whole"), [f"{n + 1:06d}.jpg" for n in range(test_penn_action.N)]
    )
    person = film(test_mpi_inf_3dhp.N)
    scipy.io.savemat(labels / "other.mat", test_mpi_inf_3dhp.annotation([person]))

    tests = Path("mpi_inf_3dhp/mpi_inf_3dhp_test_set")
    for number in (1, 2, 3):
        test_mpi_inf_3dhp.write_test(Path("mpi_inf_3dhp"), f"TS{number}", person)
    raw_sets.cut_off(tests / "TS1/annot_data.mat")
    (tests / "TS2/annot_data.mat").write_bytes(test_penn_action.mat(film(test_penn_action.N)))

    amass = {"cut_off": make_npz()[:5000], "hostile": make_npz(poses=np.array([Hostile()]))}
    amass |= {"pickle": pickle.dumps(Hostile()), "still": make_npz(mocap_framerate=np.array(0.0))}
    Path("AMASS").mkdir()
    for name, content in (amass | {"whole": make_npz()}).items():
        Path(f"AMASS/{name}.npz").write_bytes(content)

    raw_sets.threedpw(Path("3DPW"))
    pickles = Path("3DPW/sequenceFiles/validation")
    (pickles / "walk_03.pkl").write_bytes(pickle.dumps({"poses": Hostile()}, protocol=2))
    (pickles / "walk_04.pkl").write_bytes(pickle.dumps({"pose": np.zeros(3)}, protocol=2))

    raw_sets.insta_variety(Path("insta_variety"))
    for number in (0, 1):
        test_human36m.write(
            Path("human36m"), "S1", f"Eating {number}.54138969", film(test_human36m.N)
        )
    raw_sets.cut_off(Path("human36m/S1/MyPoseFeatures/D3_Positions_mono/Eating 0.54138969.cdf"))
    raw_sets.posetrack(Path("posetrack"))
    Path("empty").mkdir()


IN_PART = (
    ("penn_action", "Penn_Action"),
    ("mpi_inf_3dhp", "mpi_inf_3dhp", "--split", "test"),
    ("amass", "AMASS"),
    ("threedpw", "3DPW", "--split", "val"),
    ("insta_variety", "insta_variety"),
    ("human36m", "human36m"),
    ("posetrack", "posetrack"),
)
"""What to convert of which something is left."""
NOTHING = (
    ("amass", "AMASS", "--fps", "0"),
    *((source.name, "empty") for source in SOURCES),
    ("videos", "empty"),
)


def refused(source: str, raw: str, out: str, *flags: str) -> None:
    with pytest.raises(SystemExit) as end:
        prepare.main([source, "--raw", raw, "--out", out, *flags])
    assert end.value.code == 2


@pytest.mark.slow
def test_the_document_says_what_is_told_of_bad_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cut_off_and_others()
    for source, raw, *flags in IN_PART:
        prepare.main([source, "--raw", raw, "--out", f"out/{source}", *flags])
    for source, raw, *flags in NOTHING:
        refused(source, raw, "out/nothing", *flags)
    assert not Path("out/nothing").exists()
    assert not Path("executed").exists()
    out, err = capsys.readouterr()
    expected = [line for line in quoted() if OF_STORES not in line and OF_DISKS not in line]
    check_all_quoted(own_lines(f"{out}\n{err}", tmp_path), expected)


def test_the_document_says_what_is_told_of_a_bucket(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "walk.npz").write_bytes(make_npz())
    refused("amass", str(tmp_path), "s3://nowhere/amass")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused("amass", f"{s3}/AMASS", str(tmp_path / "out"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    refused("amass", str(tmp_path), f"{s3}/amass")
    text = capsys.readouterr().err.replace(s3.removeprefix("s3://"), "mine")
    check_all_quoted(own_lines(text, tmp_path), [line for line in quoted() if OF_STORES in line])


@pytest.mark.slow
def test_the_document_says_what_is_told_of_a_full_disk(tmp_path: Path) -> None:
    """And nothing is left that is half-written, or looks like a data set."""
    (tmp_path / "AMASS").mkdir()
    (tmp_path / "AMASS/walk.npz").write_bytes(make_npz())
    disk, left, raw = tmp_path / "disk", tmp_path / "left", str(tmp_path / "AMASS")
    flags = ["-m", "vibe_ray.prepare", "amass", "--raw", raw, "--out", str(disk / "amass")]
    command = [sys.executable, *flags]
    done = on_a_small_disk('(shift 3; exec "$@")', disk, left, command, size="24k")
    assert "exit code 2" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    check_all_quoted(own_lines(done.stderr, disk), [line for line in quoted() if OF_DISKS in line])
    assert not own_files(left)
    assert not list(left.rglob("manifest.json"))
