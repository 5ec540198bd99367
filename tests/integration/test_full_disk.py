"""A disk that is full: one line, what had no room, and the last good checkpoint; nothing half-made.

The disk is a small one in memory, in a name space of its own.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.test_videos import clips
from tests.integration.survival import Trial
from vibe_ray.runs.step_folders import last_step

ROOT = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size="$1" none "$2"'
FILLED_AFTER_A_CHECKPOINT = """
(until ls "$2"/run/step_*/manifest.json > /dev/null 2>&1; do sleep 0.2; done
cat /dev/zero > "$2/filler" 2> /dev/null; {}) &
filling=$!
(shift 3; exec "$@")
code=$?
kill $filling 2> /dev/null
(exit $code)
"""
A_LITTLE_IS_LEFT = 'truncate -s -16K "$2/filler"'
"""Room for a note, and for no checkpoint."""
REPORT = 'echo "exit code $?" >&2; rm -f "$2/filler"; cp -r "$2/." "$3"'
"""What is on the disk goes with its name space."""
OF_A_WORKER = re.compile(r"(\x1b\[\d+m)?\(\w+ pid=\d+")
"""A line that Ray brings; it shows what its own processes raised."""


def on_a_small_disk(
    script: str, disk: Path, left: Path, command: list[str], size: str = "64m"
) -> subprocess.CompletedProcess[str]:
    """Run a shell script whose arguments are the size, the disk, where to copy it, the command."""
    disk.mkdir()
    left.mkdir()
    able = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", size, str(disk)]
    try:
        subprocess.run(able, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be made here: {error}")
    whole = f"{MOUNT}\n{script.strip()}\n{REPORT}"
    arguments = [size, str(disk), str(left), *command]
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", whole, "sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def own_files(folder: Path) -> list[str]:
    hidden = sorted(path.name for path in folder.rglob("*") if path.name.startswith("."))
    return [name for name in hidden if name != ".validate_storage_marker"]  # which is Ray's


@pytest.mark.slow
def test_a_run_says_what_had_no_room_and_where_it_can_go_on(shards: str, tmp_path: Path) -> None:
    disk, left = tmp_path / "disk", tmp_path / "left"
    trial = Trial(data=Path(shards), storage=disk, workers=0, epochs=10_000)
    command = trial.command("run", resume=False)
    done = on_a_small_disk(FILLED_AFTER_A_CHECKPOINT.format(":"), disk, left, command)
    check_told(done, disk, left)


def check_told(done: "subprocess.CompletedProcess[str]", disk: Path, left: Path) -> None:
    assert "exit code 2" in done.stderr, done.stderr
    told = [line for line in done.stderr.splitlines() if not OF_A_WORKER.match(line)]
    assert not any("Traceback" in line for line in told), done.stderr
    (line,) = [line for line in told if line.startswith("python -m vibe_ray")]
    assert f"no room for {disk}/run/" in line
    assert f"last checkpoint: {disk}/run/step_" in line
    assert last_step(str(left / "run")) > 0
    assert not own_files(left)


@pytest.mark.slow
def test_an_export_that_has_no_room_leaves_nothing(checkpoints: list[str], tmp_path: Path) -> None:
    command = ["-m", "vibe_ray.prepare", "export", "--checkpoint", checkpoints[0], "--out"]
    disk, left = tmp_path / "disk", tmp_path / "left"
    whole = [sys.executable, *command, str(disk / "out")]
    done = on_a_small_disk('(shift 3; exec "$@")', disk, left, whole, size="24k")
    assert "exit code 2" in done.stderr, done.stderr
    assert f"no room for {disk}/out/" in done.stderr
    assert not own_files(left)
    assert not list(left.rglob("manifest.json"))


@pytest.mark.slow
def test_a_prediction_that_has_no_room_keeps_what_is_whole_and_is_not_called_done(
    tmp_path: Path,
) -> None:
    (clip,), _ = clips(tmp_path / "in", 1)
    flags = ["--keypoints", str(tmp_path / "in/keypoints"), "--fps", "25", "--set", "fit=false"]
    command = [sys.executable, "-m", "vibe_ray.predict", clip, *flags, "--files", "npz,glb"]
    disk, left = tmp_path / "disk", tmp_path / "left"
    done = on_a_small_disk(
        '(shift 3; exec "$@")', disk, left, [*command, "--out", str(disk / "out")], size="64k"
    )
    assert "exit code 2" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert f"no room for {disk}/out/clip_0/person_0.glb" in done.stderr
    assert [path.name for path in left.rglob("*") if path.is_file()] == ["people.npz"]
