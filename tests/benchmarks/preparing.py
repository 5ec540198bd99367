"""How fast are raw recordings converted and pictures encoded, and how much memory does it take?

Workers are processes of a cluster, so conversions are timed by the wall clock, which says something
on a machine that nobody else uses.
"""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tests.benchmarks.measuring import Goal, Options, Report, Row, largest, over, take_turns
from tests.benchmarks.processes import peak_mib
from tests.data import noise
from tests.data.sources.filmed_person import write_frames
from tests.data.sources.test_amass import make_npz
from tests.features.resnets import random_encoder
from vibe_ray import prepare
from vibe_ray.data import shards
from vibe_ray.features.image_encoder import CROP_SIZE, ImageEncoder, labelled_crops, normalize

NUM_FRAMES = 1200
"""Of a recording: ten seconds."""
SIZES = (25, 200)
"""Numbers of recordings."""
FILE_BYTES = 2**20
"""Of a file of shards, of which memory holds one: small ones, that a small data set has several."""
NUM_PICTURES = 32
THREADS = (1, 2)
"""Of one process that encodes."""


def conversion(folder: Path, options: Options) -> Report:
    """Files per second in this process and on workers; memory of one and of eight times as many."""
    from vibe_ray.distributed.cluster import connect

    report = Report(title=f"Conversion of AMASS files of {NUM_FRAMES} frames each")
    for number in SIZES:
        write_recordings(folder / f"raw_{number}", number)
    connect(2, "cpu")
    seconds: dict[int, list[tuple[float, float]]] = {workers: [] for workers in (0, 1, 2)}
    written: dict[int, bytes] = {}
    for turn in range(options.repetitions):
        for workers, found in seconds.items():
            outs = [folder / f"out_{workers}_{turn}_{number}" for number in SIZES]
            few, many = (
                convert(folder / f"raw_{number}", out, workers)
                for number, out in zip(SIZES, outs, strict=True)
            )
            found.append((few, many))
            files = sorted(outs[1].glob("*.parquet"))
            written[workers] = b"".join(file.read_bytes() for file in files)
    report.require("shards that differ", float(len(set(written.values())) - 1), 0)
    report.rows = [row for workers in seconds for row in _rate_rows(workers, seconds)]
    peaks = [peak_of_process(folder, number) for number in SIZES]
    for number, peak in zip(SIZES, peaks, strict=True):
        name = f"peak of a plain process, {number} files"
        report.rows.append(Row(name=name, unit="MiB", values=[peak]))
    name = "growth from 1 to 8 times the data"
    report.rows.append(Row(name=name, unit="MiB", values=[peaks[1] - peaks[0]], goal=Goal(most=16)))
    report.notes.append(
        f"A start is what {SIZES[0]} files take beyond their share of what {SIZES[1]} take more; "
        "the cluster is running already. The wall clock, on two cores for all processes."
    )
    return report


def _rate_rows(workers: int, seconds: Mapping[int, Sequence[tuple[float, float]]]) -> list[Row]:
    """Rates beyond the start, and the start."""
    name = f"{workers} workers" if workers else "a plain process"
    each = {
        number: [(many - few) / (SIZES[1] - SIZES[0]) for few, many in found]
        for number, found in seconds.items()
    }
    starts = [
        few - SIZES[0] * one for (few, _), one in zip(seconds[workers], each[workers], strict=True)
    ]
    rates = [1 / one for one in each[workers]]
    ratios = over(each[0], each[workers]) if workers else []
    return [
        Row(name=name, unit="files/s", values=rates, ratios=ratios),
        Row(name=f"{name}, start", unit="s", values=starts),
    ]


def encoding(folder: Path, options: Options) -> Report:
    """Pictures per second through ResNet-50, from files to features, and through it alone."""
    report = Report(title=f"ResNet-50: pictures to features, {CROP_SIZE} pixels")
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
    for threads in (1,) if options.is_cuda else THREADS:
        torch.set_num_threads(threads)
        by = dataclasses.replace(options, by_wall=threads > 1)
        times = take_turns(variants, by)
        for name, found in times.items():
            report.rows.append(
                Row(
                    name=f"{name}, {threads} threads" if threads > 1 else name,
                    unit="pictures/s",
                    values=[NUM_PICTURES / second for second in found],
                    ratios=over(times[names[0]], found) if name == names[1] else [],
                )
            )
    report.notes.append("One thread by its processor time, several by the wall clock.")
    return report


def write_recordings(folder: Path, number: int) -> None:
    content = make_npz(num_frames=NUM_FRAMES)
    folder.mkdir()
    for one in range(number):
        (folder / f"walk_{one:05d}_poses.npz").write_bytes(content)


def convert(raw: Path, out: Path, workers: int) -> float:
    """Return the seconds that the command takes."""
    began = time.perf_counter()
    with redirect_stdout(StringIO()):
        flags = ["--raw", str(raw), "--out", str(out), "--workers", str(workers)]
        prepare.main(["amass", *flags])
    return time.perf_counter() - began


def peak_of_process(folder: Path, number: int) -> float:
    """Peak, in MiB, of a process of its own that converts so many recordings."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = folder / f"raw_{number}", folder / f"out_{number}", theirs
    process = context.Process(target=_measured, args=arguments)
    process.start()
    found: float = ours.recv()
    process.join()
    return found


def _measured(raw: Path, out: Path, connection: Connection) -> None:
    shards.FILE_BYTES = FILE_BYTES
    convert(raw, out, 0)
    connection.send(peak_mib(os.getpid()))
