"""Key-points that another program found: OpenPose, COCO, AlphaPose, MMPose and what looks like them.

| who | what it writes |
|---|---|
| OpenPose | a folder with `{"people": [{"pose_keypoints_2d": [x, y, c, ...]}]}` per frame |
| COCO | `[{"image_id", "keypoints": [x, y, c, ...]}]`, or annotations with images and categories |
| AlphaPose | as COCO's list, the image's name for an id, `idx` for a person; or `bodies` per image |
| MMPose | `[{"frame_id", "instances": [{"keypoints": [[x, y]], "keypoint_scores"}]}]`, bare or under `instance_info` with the joints' names in `meta_info` |

Shapes: P people in a frame, D key-points.
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vibe_ray import storage
from vibe_ray.body.skeletons import COCO_17, HALPE_26, OPENPOSE_18, OPENPOSE_25, WHOLEBODY_23
from vibe_ray.geometry.arrays import Array
from vibe_ray.video.keypoint_formats import ListedPerson, Listing, read_file, read_folder
from vibe_ray.video.people import FramePeople, Track, boxes_of_keypoints
from vibe_ray.video.tracking import People, Sightings, TrackingConfig, choose, fill, link

ORDERS = {
    17: COCO_17,
    18: OPENPOSE_18,
    25: OPENPOSE_25,
    26: HALPE_26,
    133: WHOLEBODY_23,
    136: HALPE_26,
}
"""Which joints a file means that does not name them, by their number."""
MIN_CONF = 0.05
"""Key-points below this do not count as seen when a person's box is drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keypoints:
    """What a file says, frame by frame."""

    names: tuple[str, ...]
    """Of the D key-points, as `body.skeletons` has them."""
    frames: list[FramePeople]
    """In order; frames without anybody may be missing."""


def read_keypoints(
    path: str, names: Sequence[str] | None = None, first_frame: int | None = None
) -> Keypoints:
    """Read key-points in pixels from a file or folder, local or in an object store.

    Confidences over 1, as some programs write, are divided by the file's largest.

    Args:
        path: See the table above.
        names: Of the joints; else the file's own, else by their number.
        first_frame: The number by which the file means the video's first frame: 0 or 1 as a rule.
            Without it the first listed where every frame is listed (OpenPose, MMPose), else 0.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is none of the known formats, joints are not named and not known by their
            number, or coordinates are no pixels.
    """
    with storage.local_copy(path) as local:
        if not local.exists():
            raise FileNotFoundError(f"no key-points at {path}")
        found = read_folder(local, path) if local.is_dir() else read_file(local, path)
    if not found.people:
        raise ValueError(f"nobody is in {path}: expected people with key-points")
    first = first_frame
    if first is None:
        first = found.first if found.has_every_frame else 0
    return _by_frame(path, found, names, first)


def track_keypoints(
    keypoints: Keypoints,
    times_s: Array,
    people: People = "all",
    tracking: TrackingConfig | None = None,
) -> list[Track]:
    """Follow the people of a file over a video's frames.

    Args:
        keypoints: What the file says.
        times_s: Seconds of all the video's frames, by their number.
        people: Everybody, the largest, or the N largest.
        tracking: When a person is the same, where the file does not say.

    Raises:
        ValueError: The file speaks of more frames than the video has.
    """
    last = keypoints.frames[-1].frame
    if last >= len(times_s):
        raise ValueError(
            f"the key-points speak of frame {last}, counted from 0, the video has {len(times_s)} "
            "frames: they are another video's, or count from another first frame"
        )
    sightings = link(keypoints.frames, times_s, tracking)
    return choose([fill(s, i, keypoints.names, times_s) for i, s in enumerate(sightings)], people)


def follow(values: Array, names: Sequence[str] | None, times_s: Array) -> Track:
    """Return the track of one person, whose key-points in every frame are known or missed.

    Args:
        values: (N, D, 3): x and y in pixels, and a confidence, 0 for what was missed.
        names: Of the D key-points; else by their number.
        times_s: Of the frames (N,).

    Raises:
        ValueError: Nobody is seen in any frame, joints are not named and not known by their number,
            or coordinates are no pixels.
    """
    seen = np.flatnonzero((values[..., 2] > 0).any(axis=1))
    if not len(seen):
        raise ValueError("nobody is in the key-points: all confidences are 0")
    people = [ListedPerson(int(frame), values[frame], 0) for frame in seen]
    listing = Listing(people=people, names=None, has_every_frame=False)
    found = _by_frame("the track", listing, names, 0)
    frames = [person.frame for person in found.frames]
    return fill(Sightings(frames=frames, people=found.frames), 0, found.names, times_s)


def _by_frame(path: str, found: Listing, names: Sequence[str] | None, first: int) -> Keypoints:
    values = _stacked(path, found.people)  # (people, D, 3)
    order = _order(path, values.shape[1], found.names if names is None else names)
    values = values[:, : len(order)]
    _check_pixels(path, values)
    numbers = np.array([person.frame for person in found.people]) - first
    if numbers.min() < 0:
        raise ValueError(f"{path} speaks of frame {numbers.min() + first}, before frame {first}")
    frames = []
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        kp, conf = values[rows, :, :2], values[rows, :, 2]
        identities = [found.people[row].identity for row in rows]
        frames.append(
            FramePeople(
                frame=int(number),
                boxes=boxes_of_keypoints(kp, conf, MIN_CONF),
                scores=conf.mean(axis=1),
                kp_2d=kp,
                kp_2d_conf=conf,
                identities=None if None in identities else np.array(identities),
            )
        )
    return Keypoints(names=tuple(order), frames=frames)


def _stacked(path: str, people: Sequence[ListedPerson]) -> Array:
    """Join people's key-points (people, D, 3); what is not finite becomes unknown."""
    counts = {len(person.values) for person in people}
    if len(counts) > 1:
        raise ValueError(f"people in {path} have {sorted(counts)} key-points, expected one number")
    values = np.stack([person.values for person in people]).astype(np.float32)
    values[~np.isfinite(values).all(axis=-1)] = 0
    values[..., 2] = values[..., 2].clip(min=0) / max(values[..., 2].max(initial=0), 1.0)
    return values


def _check_pixels(path: str, values: Array) -> None:
    known = values[values[..., 2] > 0][:, :2]
    if len(known) and np.abs(known).max() <= 1:
        raise ValueError(
            f"coordinates in {path} lie between -1 and 1: they are shares of the image; expected "
            "pixels (OpenPose writes them with --keypoint_scale 0)"
        )


def _order(path: str, count: int, names: Sequence[str] | None) -> Sequence[str]:
    if names is None:
        if count not in ORDERS:
            raise ValueError(
                f"{path} has {count} key-points and does not name them; known by their number are "
                f"{sorted(ORDERS)}: give the names"
            )
        return ORDERS[count]
    if len(names) != count:
        raise ValueError(f"{path} has {count} key-points, {len(names)} names are given")
    order = [house_name(name) for name in names]
    if twice := sorted({name for name in order if order.count(name) > 1}):
        raise ValueError(f"{path} names {', '.join(twice[:5])} more than once")
    return order


def house_name(name: str) -> str:
    """Turn a data set's name of a joint into ours: `left_big_toe` into `OP LBigToe`."""
    side, _, part = name.replace(" ", "_").partition("_")
    letter = {"left": "l", "right": "r"}.get(side.lower())
    if letter is None or not part:
        return name
    if part.lower() in ("big_toe", "small_toe", "heel"):
        return f"OP {letter.upper()}{part.title().replace('_', '')}"
    return letter + part.lower()
