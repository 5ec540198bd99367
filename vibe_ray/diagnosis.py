"""Is all here that vibe_ray needs, and does it work? Each check tries what it speaks of.

A check imports what it needs when it runs: an installation in which something cannot even be
imported has to be told of, too. Ray's own check is in `distributed/diagnosis.py`.
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "vibe_ray"
FOR_DEVELOPERS = "dev"
"""The extra that no user misses."""
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "prores")
"""What videos mostly come in, as FFmpeg calls it."""
TRIAL = (96, 64, 8)
"""Width, height and number of frames of the video that is written and read again."""

State = Literal["ok", "missing", "broken", "skipped"]
"""`missing` is what one can do without; only `broken` has to be mended."""


@dataclass(frozen=True)
class Finding:
    subject: str
    state: State
    found: str
    advice: str = ""
    """What to do, where there is something."""


Check = Callable[[], Finding]


def examine(subject: str, check: Check) -> Finding:
    """Run a check; whatever it fails of is told."""
    try:
        return check()
    except Exception as error:  # an installation may be broken in any way
        return Finding(subject, "broken", f"{type(error).__name__}: {error}")


def examine_all(body: str = "open", store: str = "") -> Iterator[Finding]:
    """Run all checks that need no Ray, one after another.

    Args:
        body: Path of a licensed body, or "open".
        store: A folder, local or of an object store, that has to be writable; empty for none.
    """
    checks: dict[str, Check] = {
        "packages": check_packages,
        **{f"extra {name}": partial(check_extra, name) for name in extras()},
        "devices": check_devices,
        "weights": check_weights,
        "body": partial(check_body, body),
        "videos": check_videos,
        "storage": partial(check_storage, store),
    }
    for subject, check in checks.items():
        yield examine(subject, check)


def _requirements(package: str, extra: str = "") -> "list[Requirement]":
    """What a package asks for by itself, or for one of its extras alone."""
    from packaging.requirements import Requirement

    found = []
    for text in importlib.metadata.requires(package) or []:
        item = Requirement(text)
        always = item.marker is None or item.marker.evaluate({"extra": ""})
        for_extra = item.marker is not None and item.marker.evaluate({"extra": extra})
        if for_extra and not always if extra else always:
            found.append(item)
    return found


def extras() -> list[str]:
    """Names of this package's extras for users; none where it is not installed."""
    try:
        names = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(name for name in names if name != FOR_DEVELOPERS)


def check_packages() -> Finding:
    """Compare what is installed with what vibe_ray asks for."""
    try:
        wanted = _requirements(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "skipped", "it runs from its folder", "pip install -e .")
    if wrong := _unmet(wanted):
        return Finding("packages", "broken", "; ".join(wrong), "pip install --upgrade vibe_ray")
    shown = ("vibe_ray", "ray", "torch", "numpy")
    return Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in shown))


def check_extra(name: str) -> Finding:
    """Look for the packages of an extra."""
    wanted = _requirements(PACKAGE, name)
    subject, install = f"extra {name}", f"pip install 'vibe_ray[{name}]'"
    if wrong := _unmet(wanted):
        return Finding(subject, "missing", "; ".join(wrong), install)
    return Finding(subject, "ok", ", ".join(f"{r.name} {_version(r.name)}" for r in wanted))


def _unmet(wanted: "list[Requirement]") -> list[str]:
    """Say what is not installed, or not in the version wanted; extras such as ray[serve] too."""
    problems = []
    for requirement in wanted:
        version = _version(requirement.name)
        if not version:
            problems.append(f"no {requirement.name}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version}, needed: {requirement.specifier}")
        for extra in requirement.extras:
            problems += _unmet(_requirements(requirement.name, extra))
    return list(dict.fromkeys(problems))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_devices() -> Finding:
    """Multiply matrices on each device."""
    import psutil
    import torch

    memory = psutil.virtual_memory().total / 2**30
    found = [f"{os.cpu_count()} CPUs, {memory:.0f} GiB"]
    devices = [torch.device("cpu")]
    for index in range(torch.cuda.device_count()):
        devices.append(torch.device("cuda", index))
        facts = torch.cuda.get_device_properties(index)
        found.append(f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    if len(devices) == 1:
        found.append(f"no CUDA device for torch {torch.__version__}")
    for device in devices:
        ones = torch.ones(32, 32, device=device)
        if (ones @ ones).sum().item() != 32**3:
            advice = "install the PyTorch that is made for this machine: https://pytorch.org"
            return Finding("devices", "broken", f"{device} multiplies wrongly", advice)
    return Finding("devices", "ok", "; ".join(found))


def check_weights() -> Finding:
    """Open all weights that ship with the package."""
    from safetensors import safe_open

    from vibe_ray.pretrained import Packaged, packaged

    num_arrays = 0
    for name in get_args(Packaged):
        for path in sorted(packaged(name).glob("*.safetensors")):
            with safe_open(path, "np") as weights:  # refuses a file that was cut off
                num_arrays += len(weights.keys())
    return Finding("weights", "ok", f"{len(get_args(Packaged))} networks, {num_arrays} arrays")


def check_body(path: str) -> Finding:
    """Load the body."""
    from vibe_ray.body.model import BodyConfig, load_body

    body = load_body(BodyConfig(path=path))
    return Finding("body", "ok", f"{path}: {body.num_verts} vertices")


def check_videos() -> Finding:
    """Write a video and read it again."""
    import numpy as np

    from vibe_ray.video.reader import open_video

    try:
        import av

        from vibe_ray.video.writing import VideoWriter
    except ImportError as error:
        return Finding("videos", "missing", str(error), "pip install 'vibe_ray[video]'")
    width, height, num_frames = TRIAL
    with TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "trial.mp4"
        with VideoWriter(path, width, height) as writer:
            for number in range(num_frames):
                shade = np.full((height, width, 3), 20 * number, np.uint8)
                writer.write(shade, number / 30)
        video = stack.enter_context(open_video(str(path)))
        num_read = sum(1 for _ in video.frames())
    if num_read != num_frames:
        return Finding("videos", "broken", f"of {num_frames} frames written {num_read} came back")
    readable = [name for name in CODECS if name in av.codecs_available]
    return Finding("videos", "ok", f"av {av.__version__} reads {', '.join(readable)}")


def check_storage(path: str) -> Finding:
    """Write a file below a folder, and delete it."""
    if not path:
        return Finding("storage", "skipped", "not asked for", "--storage s3://bucket/prefix")
    from vibe_ray import storage

    storage.check_writable(path)
    return Finding("storage", "ok", f"{path} can be written")
