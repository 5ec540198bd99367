"""What do a plan and its first batch take of a data set of millions of clips?

The manifest says so many, in files as ours are; all of its files are the same real one.
"""

import multiprocessing
import pickle
import time
from multiprocessing.connection import Connection
from pathlib import Path

from tests.benchmarks.measuring import Options, Report, Row
from tests.data import noise
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.data.schema import MAX_CLIP_FRAMES
from vibe_ray.data.shards import read_manifest

MILLIONS = (1, 10)
CLIPS_PER_FILE = 22
"""Of 512 frames each, in a file of 64 MB; features here are narrower."""
NAME = "open_3d/train"
FIGURES = {
    "manifest": "MB",
    "plan": "CPU s",
    "plan, resident": "MB",
    "first batch of 32 windows": "CPU s",
    "plan, as it is sent to readers": "MB",
    "a reader receives it": "CPU s",
    "a reader, resident": "MB",
}
Figures = dict[str, float]


def scale(folder: Path, options: Options) -> Report:
    """Time and memory of a driver and of a reader."""
    report = Report(title="Scale: plan and first batch of millions of clips, simulated")
    noise.write(str(folder), NAME, (MAX_CLIP_FRAMES,) * CLIPS_PER_FILE)
    one = read_manifest(str(folder / NAME))
    for millions in MILLIONS:
        number = millions * 1_000_000 // CLIPS_PER_FILE
        whole = one.model_copy(update={"files": one.files * number})
        (folder / NAME / "manifest.json").write_text(whole.text(indent=1))
        sent = folder / "plan"
        found: Figures = {"manifest": (folder / NAME / "manifest.json").stat().st_size / 1e6}
        found |= _in_process(_drive, folder, sent) | _in_process(_receive, folder, sent)
        report.rows += [
            Row(name=f"{millions} M clips: {name}", unit=unit, values=[found[name]])
            for name, unit in FIGURES.items()
        ]
    report.notes.append(
        f"Resident is what a process of its own grows by. A million clips of {MAX_CLIP_FRAMES} "
        "frames are 2.9 TB of features."
    )
    return report


def _in_process(work: object, folder: Path, sent: Path) -> Figures:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(folder, sent, theirs))
    process.start()
    found: Figures = ours.recv()
    process.join()
    return found


def _drive(folder: Path, sent: Path, connection: Connection) -> None:
    before, start = _resident_mb(), time.process_time()
    one_set = {"pose_3d": (NAME,), "batch_size": 32, "ratio_2d": 0.0, "motion_batch_size": 0}
    plan = make_plan(DataConfig(root=str(folder), **one_set), seed=0)
    planned, resident = time.process_time(), _resident_mb() - before
    read_shares(plan, [plan.share(0, 0, 1)])
    found = {
        "plan": planned - start,
        "plan, resident": resident,
        "first batch of 32 windows": time.process_time() - planned,
    }
    sent.write_bytes(pickle.dumps(plan, protocol=5))
    connection.send(found | {"plan, as it is sent to readers": sent.stat().st_size / 1e6})


def _receive(_: Path, sent: Path, connection: Connection) -> None:
    content = sent.read_bytes()
    before, start = _resident_mb(), time.process_time()
    plan = pickle.loads(content)
    received = time.process_time() - start
    plan.share(0, 0, 1)
    found = {"a reader receives it": received, "a reader, resident": _resident_mb() - before}
    connection.send(found)


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(size) * 1024 / 1e6
