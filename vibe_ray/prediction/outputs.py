"""The folder of a video's results: what is written into it, and when it is there already.

`summary.json` is written last: a folder without it is unfinished, one that has it is known by what
it says. Nothing else is ever written over, unless the user says so.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vibe_ray import storage
from vibe_ray.body.model import BodyArrays
from vibe_ray.export import EXPORTS, Export
from vibe_ray.export.animation import Animation, ViewCamera
from vibe_ray.geometry.arrays import Array
from vibe_ray.prediction.job import Prediction, Tools, Watch, Watched, predict_people
from vibe_ray.prediction.overlay import write_overlay
from vibe_ray.prediction.person import Person, save_people
from vibe_ray.prediction.settings import PredictConfig
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.settings import to_dict
from vibe_ray.video.frames import Video, VideoFacts
from vibe_ray.video.reader import open_video, video_writer_class
from vibe_ray.video.rtmpose import check_rtmpose

SUMMARY_FILE = "summary.json"
PEOPLE_FILE = "people.npz"
OVERLAY_FILE = "overlay.mp4"
OWN_FILES = re.compile(
    "|".join(
        [
            *map(re.escape, (SUMMARY_FILE, PEOPLE_FILE, OVERLAY_FILE)),
            *(rf"person_\d+{re.escape(export.suffix)}" for export in EXPORTS),
        ]
    )
)
"""All that a prediction writes."""

CAMERA_UP = np.diag([1.0, -1.0, -1.0])
"""From camera axes to y up, z towards the viewer: the world of a camera that looks ahead."""


def finished(
    folder: str, path: str, config: PredictConfig, *, overwrite: bool = False
) -> dict[str, Any] | None:
    """Return the summary of results that are there, if they are of this video and these settings.

    Args:
        folder: Where the results belong.
        path: Of the video.
        config: The settings.
        overwrite: Results of another video, or of other settings, may be replaced.

    Raises:
        FileExistsError: Something else is in the folder.
    """
    names = storage.visible_files(folder)
    if foreign := [name for name in names if not OWN_FILES.fullmatch(name)]:
        raise FileExistsError(f"{folder} holds other files, as {foreign[0]}: give another --out")
    if SUMMARY_FILE not in names:
        return None  # none yet, or of a run that was cut off
    summary = read_summary(folder)
    is_same = summary["video"]["path"] == path and summary["settings"] == to_dict(config)
    if is_same and summary.get("checkpoint") == _checkpoint_id(config):
        return summary
    if overwrite:
        return None
    raise FileExistsError(
        f"{folder} holds results of {summary['video']['path']}, or of other settings, another "
        "checkpoint or another version of vibe_ray: give another --out, or --overwrite"
    )


def clear(folder: str) -> None:
    """Delete what an earlier prediction left in a folder that `finished` has looked at.

    The summary goes first: what is left by a power cut is an unfinished result.
    """
    names = storage.visible_files(folder)
    for name in sorted(names, key=lambda name: name != SUMMARY_FILE):
        storage.delete_file(storage.join(folder, name))
    storage.sweep(folder)


def read_summary(folder: str) -> dict[str, Any]:
    """Read what a prediction says of itself.

    Raises:
        FileNotFoundError: There is no summary.
        FileExistsError: What is there is not one of ours.
    """
    path = storage.join(folder, SUMMARY_FILE)
    try:
        summary: dict[str, Any] = json.loads(storage.read_bytes(path))
        if {"path"} <= set(summary["video"]) and isinstance(summary["settings"], dict):
            return summary
    except (ValueError, KeyError, TypeError):
        pass
    raise FileExistsError(f"{path} is no summary of a prediction: give another --out")


def predict_video(
    path: str, folder: str, tools: Tools, watch: Watch | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Predict a video's people and write everything into a folder.

    Args:
        path: Of the video, local or in a store.
        folder: Of the results of this video alone, local or in a store.
        tools: Loaded once for any number of videos.
        watch: Is told how far it is.
        overwrite: Replace results of other settings.

    Returns:
        The summary, as `summary.json` has it. Results that are there already are not made again.

    Raises:
        FileNotFoundError: There is no video.
        FileExistsError: Something else is where the results belong.
        ValueError: The video cannot be read.
    """
    config = tools.config
    if (done := finished(folder, path, config, overwrite=overwrite)) is not None:
        return done
    with open_video(path, focal=config.focal, fps=config.fps) as video:
        made = predict_people(video, tools, watch)
        clear(folder)
        files = _write_files(folder, video, made, tools, watch)
        summary = _summary(video, made, files, tools)
    storage.write_json(storage.join(folder, SUMMARY_FILE), summary)
    return summary


def _write_files(
    folder: str, video: Video, made: Prediction, tools: Tools, watch: Watch | None
) -> list[str]:
    """Write all but the summary; return the files' names."""
    config, facts, files = tools.config, video.facts, []
    body = tools.estimator.predictor.body
    with made.timed("files"):
        if "npz" in config.files:
            size = {"width": facts.width, "height": facts.height, "focal": facts.focal.pixels}
            save_people(storage.join(folder, PEOPLE_FILE), made.people, size)
            files.append(PEOPLE_FILE)
        for export, person in product(chosen_exports(config), made.people):
            files.append(f"person_{person.track.person}{export.suffix}")
            path = storage.join(folder, files[-1])
            write_export(path, export, person, facts, body, names=config.bvh_names)
    if "overlay" in config.files:
        watched = Watched(video, watch or (lambda stage, done, total: None), stage="overlay")
        with made.timed("overlay"), TemporaryDirectory() as scratch:
            local = Path(scratch) / OVERLAY_FILE
            write_overlay(local, watched, made.people, tools.estimator.predictor, config.overlay)
            storage.move_file(local, storage.join(folder, OVERLAY_FILE))
        files.append(OVERLAY_FILE)
    return files


def write_export(
    path: str,
    export: Export,
    person: Person,
    facts: VideoFacts,
    body: BodyArrays,
    *,
    names: str = "smpl",
) -> None:
    """Write a person's motion as a file for other programs.

    Args:
        path: Of the file, local or in a store.
        export: Of which kind.
        person: Whose.
        facts: Of the video, or of what stands for one.
        body: The model.
        names: As `PredictConfig.bvh_names`.

    Raises:
        ValueError: The motion cannot be told in this format.
    """
    camera = view_camera(facts, person)
    export.write(path, animation(person, body), body, camera=camera, fps=facts.fps, names=names)


def check_installed(config: PredictConfig) -> None:
    """Make sure, before the work begins, that what is asked for can be done here.

    Raises:
        FileNotFoundError: There is no such network as `detection.rtmpose` names.
        ImportError: A package is missing; says which extra brings it.
        ValueError: rtmlib is missing.
    """
    if config.detection.rtmpose:
        check_rtmpose(config.detection.rtmpose)
    for export in chosen_exports(config):
        export.writer()
    if "overlay" in config.files:
        video_writer_class()


def chosen_exports(config: PredictConfig) -> list[Export]:
    """The exports among the files that are asked for."""
    return [export for export in EXPORTS if export.name in config.files]


def animation(person: Person, body: BodyArrays) -> Animation:
    """A person's motion for export: in the world where there is one, else before the camera."""
    rest = _pelvis_at_rest(body, person.betas)
    if person.world is not None:
        rotmat, transl = person.world.rotmat, person.world.transl + rest
    else:
        rotmat = person.rotmat.copy()
        rotmat[:, 0] = CAMERA_UP @ rotmat[:, 0]
        transl = (person.transl + rest) @ CAMERA_UP.T
    return Animation(
        name=f"person_{person.track.person}",
        times_s=person.track.times_s,
        rotmat=rotmat,
        transl=transl,
        betas=person.betas,
    )


def view_camera(facts: VideoFacts, person: Person) -> ViewCamera:
    """The camera of the video, in the world of `animation`."""
    world = person.world
    rotmat, transl = (
        (CAMERA_UP, np.zeros(3)) if world is None else (world.camera_rotmat, world.camera_transl)
    )
    return ViewCamera(
        rotmat=rotmat,
        transl=transl,
        width=facts.width,
        height=facts.height,
        focal=facts.focal.pixels,
    )


def _pelvis_at_rest(body: BodyArrays, betas: Array) -> Array:
    """Where the shape puts the pelvis (3,), around which the root turns."""
    rest, dirs = body.rest_joints()
    return rest[0] + dirs[0] @ betas


def _summary(video: Video, made: Prediction, files: Sequence[str], tools: Tools) -> dict[str, Any]:
    facts, reading = video.facts, video.reading
    total = sum(made.seconds.values())
    return {
        "video": {
            "path": facts.path,
            "width": facts.width,
            "height": facts.height,
            "fps": facts.fps,
            "num_frames": reading.num_frames,
            "duration_s": reading.duration_s,
            "codec": facts.codec,
        },
        "assumed": {"focal_px": facts.focal.pixels, "focal": facts.focal.source, **made.assumed},
        "people": [
            {
                "person": person.track.person,
                "first_frame": int(person.track.frames[0]),
                "num_frames": person.num_frames,
                "betas": person.betas.tolist(),
                "notes": list(person.notes),
                **person.quality,
            }
            for person in made.people
        ],
        "files": list(files),
        "warnings": made.warnings,
        "seconds": {name: round(value, 2) for name, value in made.seconds.items()},
        "frames_per_second": reading.num_frames / total if total else None,
        "settings": to_dict(tools.config),
        "checkpoint": _checkpoint_id(tools.config),
        "encoder_id": tools.estimator.encoder.id,
        "vibe_ray": version("vibe_ray"),
    }


def _checkpoint_id(config: PredictConfig) -> str:
    """Tell apart what lay at one path at different times."""
    manifest = storage.join(find_checkpoint(config.checkpoint), storage.MANIFEST)
    return hashlib.sha256(storage.read_bytes(manifest)).hexdigest()[:12]
