"""Which vertices are the nose, the eyes, the finger tips, the heels?

They are found on MakeHuman's neutral shape before any vertex is dropped, and then protected.

Shapes: V vertices of the base mesh.
"""

from dataclasses import dataclass

import numpy as np

from vibe_ray.body.open_body.makehuman import Bones, MakeHuman
from vibe_ray.body.open_body.rest_pose import unit
from vibe_ray.body.skeletons import mirrored_name

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True, kw_only=True)
class _Neutral:
    """The neutral shape, and how to pick a vertex from a part of it."""

    verts: np.ndarray
    bones: Bones
    body: np.ndarray
    middle: np.ndarray
    """Vertices of the body on the plane of symmetry."""

    def height(self, bone: str) -> float:
        return float(self.bones[bone][0][1])

    def front(self, bone: str) -> float:
        return float(self.bones[bone][0][2])

    def most(self, pool: np.ndarray, score: np.ndarray) -> int:
        """The vertex of the pool with the highest score."""
        return int(pool[np.argmax(score)])

    def around(self, pool: np.ndarray, point: np.ndarray, radius: float) -> np.ndarray:
        return pool[np.linalg.norm(self.verts[pool] - point, axis=1) < radius]

    def at_height(self, pool: np.ndarray, height: float) -> int:
        return self.most(pool, -np.abs(self.verts[pool, 1] - height))


def find_landmarks(makehuman: MakeHuman, verts: np.ndarray, mirror: np.ndarray) -> dict[str, int]:
    """Name vertices of the neutral shape (V, 3) in A-pose; `mirror` (V,) pairs left and right."""
    body = makehuman.group_verts["body"]
    middle = body[mirror[body] == body]
    neutral = _Neutral(verts=verts, bones=makehuman.bones(verts), body=body, middle=middle)
    paired = (
        _eye_and_ear(neutral, makehuman.group_verts["helper-l-eye"])
        | _finger_tips(neutral)
        | _foot(neutral)
    )
    mirrored = {mirrored_name(name): int(mirror[vertex]) for name, vertex in paired.items()}
    return _head(neutral) | _trunk(neutral) | paired | mirrored


def _head(neutral: _Neutral) -> dict[str, int]:
    verts, middle = neutral.verts, neutral.middle
    head = middle[verts[middle, 1] > neutral.height("head") - 0.02]
    nose = neutral.most(head, verts[head, 2])
    is_chin = (
        (verts[middle, 1] > neutral.height("neck03") - 0.06)
        & (verts[middle, 1] < verts[nose, 1] - 0.03)
        & (verts[middle, 2] > neutral.front("head"))
    )
    chin = middle[is_chin]
    return {
        "head_top": neutral.most(head, verts[head, 1]),
        "nose": nose,
        "chin": neutral.most(chin, 0.5 * verts[chin, 2] - verts[chin, 1]),
    }


def _trunk(neutral: _Neutral) -> dict[str, int]:
    verts, middle = neutral.verts, neutral.middle
    trunk = middle[verts[middle, 1] < neutral.height("neck01") + 0.02]
    front = trunk[verts[trunk, 2] > neutral.front("spine01")]
    back = trunk[verts[trunk, 2] < neutral.front("spine01")]
    return {
        "sternal_notch": neutral.at_height(front, neutral.height("clavicle.L") + 0.012),
        "navel_front": neutral.at_height(front, neutral.height("spine04")),
        "c7": neutral.at_height(back, neutral.height("neck01")),
    }


def _eye_and_ear(neutral: _Neutral, eyeball: np.ndarray) -> dict[str, int]:
    verts, body = neutral.verts, neutral.body
    is_left_head = (verts[body, 1] > neutral.height("head") - 0.01) & (verts[body, 0] > 0)
    head = body[is_left_head]
    widest = neutral.most(head, verts[head, 0])
    outer = head[verts[head, 0] > 0.93 * verts[widest, 0]]
    ear = verts[outer].mean(axis=0) + np.array([0, 0, 0.005])
    return {
        "leye": neutral.most(eyeball, verts[eyeball, 2]),
        "lear": neutral.most(head, -np.linalg.norm(verts[head] - ear, axis=1)),
        "left_ear_side": widest,
    }


def _finger_tips(neutral: _Neutral) -> dict[str, int]:
    """The vertices farthest along the last bones, and near their lines."""
    tips = {}
    for number, name in enumerate(_FINGERS, start=1):
        start, end = neutral.bones[f"finger{number}-3.L"]
        along = unit(end - start)
        pool = neutral.around(neutral.body, end, 0.03)
        offset = neutral.verts[pool] - start
        reach = offset @ along
        aside = np.linalg.norm(offset - reach[:, None] * along, axis=1)
        tips["l" + name] = neutral.most(pool, reach - 2 * aside)
    return tips


def _foot(neutral: _Neutral) -> dict[str, int]:
    verts, body = neutral.verts, neutral.body
    floor = verts[body, 1].min()
    foot = body[(verts[body, 1] < floor + 0.09) & (verts[body, 0] > 0)]
    heel = foot[verts[foot, 1] < floor + 0.04]
    big = neutral.around(foot, neutral.bones["toe1-2.L"][1], 0.03)
    small = neutral.around(foot, neutral.bones["toe5-3.L"][1], 0.025)
    return {
        "LBigToe": neutral.most(big, verts[big, 2]),
        "LSmallToe": neutral.most(small, verts[small, 2] + 0.3 * verts[small, 0]),
        "LHeel": neutral.most(heel, -verts[heel, 2]),
    }
