"""How fast are raw recordings converted and pictures encoded, and how much memory does it take?

Workers are processes of a cluster, so conversions are timed by the wall clock, which says something
on a machine that nobody else uses.
"""

import dataclasses
import multiprocessing
import resource
import time
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tests.benchmarks.measuring import Options, Report, Row, largest, over, take_turns
from tests.data import noise
from tests.data.sources.filmed_person import write_frames
from tests.data.sources.test_amass import make_npz
from tests.features.resnets import random_encoder
from vibe_ray import prepare
from vibe_ray.features.image_encoder import CROP_SIZE, ImageEncoder, labelled_crops, normalize

NUM_FILES, NUM_FRAMES = 200, 1200
"""Recordings of ten seconds."""
SMALL, LARGE = 25, 200
"""Recordings of which memory is compared."""
FILE_BYTES = 2**20
"""Of a file of shards, of which memory holds one: small ones, that a small data set has several."""
NUM_PICTURES = 32
MIB = 1024
"""Kilobytes."""


def conversion(folder: Path, options: Options) -> Report:
    """Files per second in this process and on workers; memory of one and of eight times as many."""
    from vibe_ray.distributed.cluster import connect

    report = Report(title=f"Conversion of {NUM_FILES} AMASS files of {NUM_FRAMES} frames each")
    write_recordings(folder / "raw", NUM_FILES)
    connect(2, "cpu")
    seconds: dict[int, list[float]] = {workers: [] for workers in (0, 1, 2)}
    shards: dict[int, bytes] = {}
    for turn in range(options.repetitions):
        for workers, found in seconds.items():
            out = folder / f"out_{workers}_{turn}"
            began = time.perf_counter()
            convert(folder / "raw", out, workers)
            found.append(time.perf_counter() - began)
            shards[workers] = b"".join(path.read_bytes() for path in sorted(out.glob("*.parquet")))
    report.require("shards that differ", float(len(set(shards.values())) - 1), 0)
    for workers, found in seconds.items():
        rates = [NUM_FILES / second for second in found]
        name = f"{workers} workers, their start included" if workers else "a plain process"
        ratios = over(seconds[0], found) if workers else []
        report.rows.append(Row(name=name, unit="files/s", values=rates, ratios=ratios))
    peaks = [peak_mib(folder, number) for number in (SMALL, LARGE)]
    for number, peak in zip((SMALL, LARGE), peaks, strict=True):
        name = f"peak of a plain process, {number} files"
        report.rows.append(Row(name=name, unit="MiB", values=[peak]))
    grown = Row(name="growth from 1 to 8 times the data", unit="MiB", values=[peaks[1] - peaks[0]])
    report.rows.append(grown)
    return report


def encoding(folder: Path, options: Options) -> Report:
    """Pictures per second through ResNet-50, from files to features, and through it alone."""
    report = Report(title=f"ResNet-50: pictures to features, {CROP_SIZE} pixels, one thread")
    write_frames(folder / "raw", [f"{number:03d}.jpg" for number in range(NUM_PICTURES)])
    labels = dataclasses.replace(
        noise.labelled_sequence("pictures", NUM_PICTURES),
        video="",
        images=tuple(str(folder / f"raw/{number:03d}.jpg") for number in range(NUM_PICTURES)),
        width=320,
        height=240,
    )
    encoder: ImageEncoder = random_encoder().to(options.device)
    pixels = [torch.from_numpy(crop) for _, crop in labelled_crops(labels, CROP_SIZE)]
    crops = normalize(torch.stack(pixels).to(options.device))

    @torch.inference_mode()
    def bare() -> torch.Tensor:
        return encoder(crops).cpu()

    report.require("features", largest(encoder.encode(labels), bare()), 1e-3)
    names = ("the bare network, crops in memory", "pictures read, cut out and encoded")
    variants = {names[0]: bare, names[1]: lambda: encoder.encode(labels)}
    times = take_turns(variants, options)
    for name, found in times.items():
        rates = [NUM_PICTURES / second for second in found]
        ratios = over(times[names[0]], found) if name == names[1] else []
        report.rows.append(Row(name=name, unit="pictures/s", values=rates, ratios=ratios))
    return report


def write_recordings(folder: Path, number: int) -> None:
    content = make_npz(num_frames=NUM_FRAMES)
    folder.mkdir()
    for one in range(number):
        (folder / f"walk_{one:05d}_poses.npz").write_bytes(content)


def convert(raw: Path, out: Path, workers: int) -> None:
    with redirect_stdout(StringIO()):
        flags = ["--raw", str(raw), "--out", str(out), "--workers", str(workers)]
        prepare.main(["amass", *flags])


def peak_mib(folder: Path, number: int) -> float:
    """Peak of a process of its own that converts so many recordings."""
    raw = folder / f"raw_{number}"
    write_recordings(raw, number)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(raw, folder / f"out_{number}", theirs))
    process.start()
    found: float = ours.recv()
    process.join()
    return found


def _measured(raw: Path, out: Path, connection: Connection) -> None:
    from vibe_ray.data import shards

    shards.FILE_BYTES = FILE_BYTES
    convert(raw, out, 0)
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB)
