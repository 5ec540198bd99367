"""`python -m tests.benchmarks.people`: how good are predictions of videos? Tables of numbers.

`round_trip` films people whose motion is known and finds them again; `views` compares with four
calibrated views of a real person, where VIBE_RAY_TEST_DATA has them; `as_run` does so with nothing
but their videos given, the four of `Pose2Sim/Demo_SinglePerson` in the wheel `pose2sim`; `videos`
reports on videos of which nobody knows the truth, for each way to estimate.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.round_trip import CLIPS, Clip, measure_clip
from tests.fitting.motions import skeleton
from tests.fitting.real_views import LIMBS, pa_mm, views, views_file
from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.skeletons import COCO_17, indices
from vibe_ray.fitting.motion import Motion
from vibe_ray.fitting.observation import Observation
from vibe_ray.fitting.picture import fit_to_picture
from vibe_ray.fitting.smoothing import smooth_rotations
from vibe_ray.prediction.job import Prediction, Tools, estimate_people, look
from vibe_ray.prediction.person import Person
from vibe_ray.prediction.refine import BETA, MIN_CUTOFF_HZ, motion_of
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.pretrained import packaged
from vibe_ray.settings import override
from vibe_ray.video.reader import find_videos, open_video

Row = dict[str, Any]

BASELINE, VIBE = str(packaged("frame_baseline")), "open"
METHODS: dict[str, dict[str, Any]] = {
    "frame baseline": {"checkpoint": BASELINE, "fit": False},
    "VIBE": {"checkpoint": VIBE, "fit": False},
    "VIBE + fit": {"checkpoint": VIBE, "fit": True},
}
SHOWN = (
    *("coverage", "reprojection_percent", "world_reprojection_percent", "acceleration_m_s2"),
    *("foot_slide_cm_s", "deepest_cm"),
)
"""Of a person's report in `summary.json`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print and write tables."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.people", description=__doc__)
    parts = ("round_trip", "views", "as_run", "videos")
    parser.add_argument("--only", nargs="+", choices=parts)
    parser.add_argument("--videos", nargs="+", default=[], metavar="PATH", help="videos or folders")
    parser.add_argument("--clips", nargs="+", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--json", type=Path, default=Path("runs/bench/people.json"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    chosen = args.only or [
        "round_trip",
        *(["views"] if views_file() else []),
        *(["videos"] if args.videos else []),
    ]
    rows: dict[str, Callable[[], Iterator[Row]]] = {
        "round_trip": lambda: round_trip(args.clips),
        "views": real_views,
        "as_run": lambda: views_as_run(args.videos),
        "videos": lambda: own_quality(args.videos),
    }
    document = json.loads(args.json.read_text()) if args.json.exists() else {}
    for name in chosen:
        document[name] = list(rows[name]())
        print_rows(name, document[name])
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1) + "\n")


def round_trip(names: Sequence[str]) -> Iterator[Row]:
    """Yield a row for every clip and every kind of input."""
    for name in names:
        with TemporaryDirectory() as folder:
            found = measure_clip(Clip.of(CLIPS[name]()), Path(folder))
        for kind, numbers in found.items():
            yield {"clip": name, "from": kind, **numbers}


def real_views() -> Iterator[Row]:
    """Yield PA-MPJPE of each method in each view, and its mean.

    The truth is triangulated from what a detector saw: joints are compared where a detector sees
    those of the body, and for older tables where the body has them, too.
    """
    arrays = skeleton().arrays
    own, detected = (BodyJoints.keypoints(arrays, as_detected=flag) for flag in (False, True))
    ways: dict[str, tuple[str, Callable[[Motion, Observation], Motion]]] = {
        "frame baseline": (BASELINE, lambda motion, seen: motion),
        "VIBE": (VIBE, lambda motion, seen: motion),
        "VIBE + smoothing": (VIBE, lambda motion, seen: smoothed(motion)),
        "VIBE + fit": (VIBE, fitted),
        "VIBE + fit + smoothing": (VIBE, lambda motion, seen: smoothed(fitted(motion, seen))),
    }
    for exact in (False, True):
        for name, (checkpoint, way) in ways.items():
            shown = views(checkpoint, exact=exact)
            made = [(way(motion, seen), points) for motion, seen, points in shown]
            errors = [[pa_mm(*one, body) for one in made] for body in (detected, own)]
            yield {
                "key-points": "exact" if exact else "detected",
                "method": name,
                "pa_mpjpe_mm": float(np.mean(errors[0])),
                **{f"view {i}": number for i, number in enumerate(errors[0])},
                "at the body's joints": float(np.mean(errors[1])),
            }


def views_as_run(paths: Sequence[str]) -> Iterator[Row]:
    """Yield PA-MPJPE of each method in each view's video, of the person of whom the truth is known.

    That is whoever is nearest to the true key-points in a frame; each second frame has a truth.
    """
    arrays = skeleton().arrays
    own, detected = (BodyJoints.keypoints(arrays, as_detected=flag) for flag in (False, True))
    if (file := views_file()) is None:
        raise FileNotFoundError("VIBE_RAY_TEST_DATA names no folder with real_views/views.npz")
    with np.load(file) as data:
        truth, points = data["kp_2d_px"], torch.from_numpy(data["points_3d_m"]).float()
    videos = [found for given in paths for found in find_videos(given)]
    if len(videos) != len(truth):
        raise ValueError(
            f"{len(videos)} videos, expected those of the {len(truth)} views, in order"
        )
    for (path, name), kp in zip(videos, truth, strict=True):
        with open_video(path) as video:
            seen = look(video, Tools(PredictConfig(), "cpu"))
            for method, settings in METHODS.items():
                made = Prediction([])
                tools = Tools(override(PredictConfig(), settings), "cpu")
                estimate_people(made, seen, video.facts, video.reading.num_frames, tools)
                shown = _nearest(made.people, kp)
                seen_in = sum(int((~one.track.filled[at]).sum()) for one, _, at in shown)
                yield {
                    "video": name,
                    "method": method,
                    "found, %": 100 * seen_in / len(kp),
                    "pa_mpjpe_mm": _mean_error(shown, points, detected),
                    "at the body's joints": _mean_error(shown, points, own),
                }


Shown = list[tuple[Person, np.ndarray, np.ndarray]]
"""People, numbers (n,) of true frames in which they are nearest, and their own rows (n,)."""


def _nearest(people: Sequence[Person], kp: np.ndarray) -> Shown:
    """Find who is nearest to the true key-points (M, 17, 3) in each frame: of all, on average."""
    apart, places = np.full((len(people), len(kp)), np.inf), []
    for i, person in enumerate(people):
        at = 2 * np.arange(len(kp)) - int(person.track.frames[0])
        is_there = (at >= 0) & (at < person.num_frames)
        off = person.track.kp_2d[at[is_there]] - kp[is_there, :, :2]
        apart[i, is_there] = np.linalg.norm(off, axis=-1).mean(axis=-1)
        places.append(at)
    best = apart.min(axis=0, initial=np.inf)
    rows = [np.flatnonzero((row == best) & np.isfinite(row)) for row in apart]
    return [(one, r, places[i][r]) for i, (one, r) in enumerate(zip(people, rows, strict=True))]


def _mean_error(shown: Shown, points: torch.Tensor, body: BodyJoints) -> float:
    """PA-MPJPE over all true frames that are shown."""
    errors, counts = [], []
    for person, rows, at in shown:
        true = points[rows]
        limbs = true[:, indices(LIMBS, COCO_17)]
        if count := int(limbs.isfinite().all(dim=-1).all(dim=-1).sum()):
            motion = replace(motion_of(person), **_frames(motion_of(person), at))
            errors.append(pa_mm(motion, true, body))
            counts.append(count)
    return float(np.average(errors, weights=counts)) if counts else float("nan")


def _frames(motion: Motion, at: np.ndarray) -> dict[str, Any]:
    """What a motion has of each frame, of some of its frames."""
    return {name: getattr(motion, name)[at] for name in ("rotmat", "transl", "times_s")}


def fitted(motion: Motion, seen: Observation) -> Motion:
    """Lay it on the picture, where held-out key-points do not contradict it."""
    return fit_to_picture(motion, seen, skeleton().arrays).motion


def smoothed(motion: Motion) -> Motion:
    """Smooth rotations as a prediction does."""
    rotmat = smooth_rotations(motion.rotmat, motion.times_s, min_cutoff=MIN_CUTOFF_HZ, beta=BETA)
    return replace(motion, rotmat=rotmat)


def own_quality(paths: Sequence[str]) -> Iterator[Row]:
    """Yield what a prediction says of itself, for each method, feet free and locked.

    People are found once per video: all methods are shown the same key-points.
    """
    for path, name in (found for given in paths for found in find_videos(given)):
        with open_video(path) as video:
            seen = look(video, Tools(PredictConfig(), "cpu"))
            for method, settings in METHODS.items():
                for feet in ("free", "lock"):
                    made = Prediction([])
                    config = override(PredictConfig(), {**settings, "feet": feet})
                    num_frames, tools = video.reading.num_frames, Tools(config, "cpu")
                    estimate_people(made, seen, video.facts, num_frames, tools)
                    for person in made.people:
                        numbers = {
                            key: person.quality[key] for key in SHOWN if key in person.quality
                        }
                        who = {"video": name, "person": person.track.person}
                        yield {**who, "method": method, "feet": feet, **numbers}


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print a table of rows, whose columns are all that any of them has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=220).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
