"""How do other programs write key-points down? One function per shape of JSON.

Shapes: D key-points.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vibe_ray.geometry.arrays import Array


@dataclass(frozen=True)
class ListedPerson:
    """One person in one image of a listing."""

    frame: int
    """As the listing counts."""
    values: Array
    """(D, 3): x, y, confidence."""
    identity: int | None
    """Where the program followed people itself."""


@dataclass(frozen=True)
class Listing:
    """All that a file or folder says."""

    people: list[ListedPerson]
    names: list[str] | None
    """Of the joints, in the program's words, where it gives them."""
    has_every_frame: bool
    """Whether frames without people are listed too, so that the first listed is the first."""
    first: int = 0
    """Number of the first frame listed."""


def read_folder(folder: Path, name: str) -> Listing:
    """Read a folder with a JSON file per frame, as OpenPose writes it.

    Raises:
        ValueError: There is none, or one is of another shape.
    """
    files = [file for file in folder.iterdir() if file.suffix == ".json"]
    if not files:
        raise ValueError(
            f"no JSON files in {name}: expected one per frame, as OpenPose writes them"
        )
    people: list[ListedPerson] = []
    numbers: list[int] = []
    for file in sorted(files, key=lambda file: re.sub(r"\d+", _padded, file.name)):
        with _named(f"{file.name} in {name}"):
            numbers.append(_number(file.name.removesuffix("_keypoints.json")))
            people += _of_image(_load(file), numbers[-1])
    return Listing(people, None, has_every_frame=True, first=min(numbers))


def read_file(file: Path, name: str) -> Listing:
    """Read one JSON file with the key-points of a whole video, or of a picture.

    Raises:
        ValueError: It is no JSON or of no known shape.
    """
    with _named(name):
        content = _load(file)
        if isinstance(content, list):
            return _of_list(content)
        if isinstance(content, dict):
            return _of_dict(content)
        raise _unknown()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let what is wrong within the block speak of the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{name} begins like a known format of key-points and does not go on like it: "
            f"{type(error).__name__} {error}"
        ) from None


def _of_dict(content: dict[str, Any]) -> Listing:
    if "instance_info" in content:
        ids = content.get("meta_info", {}).get("keypoint_id2name")
        names = None if ids is None else [ids[str(i)] for i in range(len(ids))]
        return _of_instances(content["instance_info"], names)
    if "annotations" in content:
        return _of_annotations(content)
    if "people" in content or "bodies" in content:
        return Listing(list(_of_image(content, 0)), None, has_every_frame=True)
    images = {key: value for key, value in content.items() if isinstance(value, dict)}
    if not images:
        raise _unknown()
    people = [p for key, value in images.items() for p in _of_image(value, _number(key))]
    return Listing(people, None, has_every_frame=False)


def _of_list(content: list[Any]) -> Listing:
    if content and "instances" in content[0]:
        return _of_instances(content, None)
    if content and "keypoints" in content[0]:
        people = [
            ListedPerson(_number(item["image_id"]), _triples(item["keypoints"]), _identity(item))
            for item in content
        ]
        return Listing(people, None, has_every_frame=False)
    raise _unknown()


def _of_instances(frames: list[dict[str, Any]], names: list[str] | None) -> Listing:
    people = []
    for frame in frames:
        for item in frame["instances"]:
            points, conf = np.array(item["keypoints"], float), np.array(item["keypoint_scores"])
            values = np.concatenate([points[:, :2], conf.reshape(-1, 1)], axis=1)
            people.append(ListedPerson(int(frame["frame_id"]), values, _identity(item)))
    first = min((int(frame["frame_id"]) for frame in frames), default=0)
    return Listing(people, names, has_every_frame=True, first=first)


def _of_annotations(content: dict[str, Any]) -> Listing:
    """COCO's own annotations: images in the order of their names are the frames."""
    images = sorted(content["images"], key=lambda image: (_number(image["file_name"]), image["id"]))
    frame_of = {image["id"]: i for i, image in enumerate(images)}
    named = [c["keypoints"] for c in content.get("categories", []) if c.get("keypoints")]
    people = []
    for item in content["annotations"]:
        if item.get("num_keypoints", 1) and "keypoints" in item:
            values = _triples(item["keypoints"])
            values[:, 2] /= 2  # 2 is visible, 1 is known though hidden, 0 is unknown
            people.append(ListedPerson(frame_of[item["image_id"]], values, _identity(item)))
    return Listing(people, named[0] if named else None, has_every_frame=True)


def _of_image(content: Any, frame: int) -> Iterator[ListedPerson]:
    """OpenPose's people, or AlphaPose's bodies, of one image."""
    if not isinstance(content, dict) or not ("people" in content or "bodies" in content):
        raise _unknown()
    for item in content["people" if "people" in content else "bodies"]:
        values = item.get("pose_keypoints_2d", item.get("joints"))
        if values is None:
            raise _unknown()
        yield ListedPerson(frame, _triples(values), _identity(item))


def _triples(values: Sequence[Any]) -> Array:
    """Turn [x, y, c, x, y, c, ...] or [[x, y, c], ...] into (D, 3)."""
    flat = np.array(values, float).reshape(-1)
    if len(flat) % 3:
        raise ValueError(f"a person has {len(flat)} numbers, expected x, y, confidence by turns")
    return flat.reshape(-1, 3)


def _identity(item: dict[str, Any]) -> int | None:
    """Return a person's number under any of the names for it; a negative one says nothing."""
    for key in ("track_id", "idx", "person_id"):
        value = item.get(key)
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, int | float) and value >= 0:
            return int(value)
    return None


def _number(image: Any) -> int:
    """Return the last number in an image's name, or the number that it is."""
    digits = re.findall(r"\d+", Path(str(image)).stem)
    if not digits:
        raise ValueError(
            f"{str(image)!r} names no frame: expected a number in it, as in 000017.jpg"
        )
    return int(digits[-1])


def _padded(digits: re.Match[str]) -> str:
    """Write a number such that names sort as their numbers do."""
    return digits.group().zfill(20)


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None


def _unknown() -> ValueError:
    return ValueError(
        "key-points of no known format; expected OpenPose's folder, or JSON as COCO, AlphaPose or "
        "MMPose write it"
    )
