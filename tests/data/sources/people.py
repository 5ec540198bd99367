"""A person who walks, written as BVH in all the ways that people's files have.

The truth is the textbook's forward kinematics, frame by frame and joint by joint, and knows nothing
of files: `walk` poses a skeleton that stands in SMPL's axes (y up, facing +z, centimeters), and
`write_bvh` tells the same motion with other names, other zero poses, other axes, other channels.

Shapes: N frames, S joints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

JOINTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "pelvis": ("", (0, 0, 0)),
    "spine1": ("pelvis", (0, 11, -1)),
    "spine2": ("spine1", (0, 13, -1)),
    "spine3": ("spine2", (0, 12, 1)),
    "neck": ("spine3", (0, 20, 1)),
    "head": ("neck", (0, 9, 2)),
}
"""Joint: what it hangs on, and where it is from there when the body stands with its arms out."""
for _side, _x in (("left", 1), ("right", -1)):
    JOINTS |= {
        f"{_side}_hip": ("pelvis", (9 * _x, -5, 1)),
        f"{_side}_knee": (f"{_side}_hip", (1 * _x, -42, 1)),
        f"{_side}_ankle": (f"{_side}_knee", (0, -41, -2)),
        f"{_side}_foot": (f"{_side}_ankle", (1 * _x, -7, 14)),
        f"{_side}_collar": ("spine3", (4 * _x, 15, 0)),
        f"{_side}_shoulder": (f"{_side}_collar", (14 * _x, 1, -1)),
        f"{_side}_elbow": (f"{_side}_shoulder", (27 * _x, -1, -1)),
        f"{_side}_wrist": (f"{_side}_elbow", (25 * _x, 0, 1)),
    }


@dataclass(frozen=True, kw_only=True)
class Person:
    """A motion: joints, where they hang, and how each is turned in the world."""

    parents: Mapping[str, str]
    offsets: Mapping[str, np.ndarray]
    turns: Mapping[str, np.ndarray]
    """(N, 3, 3) by joint, in the world; identities are the stance."""
    path: np.ndarray
    """(N, 3) of the root."""
    fps: float = 60.0
    shown: Mapping[str, str] = field(default_factory=dict)
    """What the file calls a joint, where not as here."""

    def positions(self) -> dict[str, np.ndarray]:
        """The textbook: a joint is where its parent is, and its offset turned with that."""
        places: dict[str, np.ndarray] = {}
        for joint, parent in self.parents.items():
            if not parent:
                places[joint] = self.path
                continue
            frames = [turn @ self.offsets[joint] for turn in self.turns[parent]]
            places[joint] = places[parent] + np.array(frames)
        return places

    def without(self, *joints: str) -> "Person":
        """The same motion on a skeleton without some joints: what hung on them hangs further up."""
        person = self
        for gone in joints:
            above = person.parents[gone]
            parents = {
                joint: above if parent == gone else parent
                for joint, parent in person.parents.items()
                if joint != gone
            }
            offsets = {
                joint: person.offsets[joint]
                + (person.offsets[gone] if person.parents[joint] == gone else 0)
                for joint in parents
            }
            turns = {joint: person.turns[joint] for joint in parents}
            person = replace(person, parents=parents, offsets=offsets, turns=turns)
        return person

    def with_joint(
        self,
        name: str,
        parent: str,
        offset: Sequence[float],
        turn: np.ndarray | None = None,
        bears: Sequence[str] = (),
    ) -> "Person":
        """With one joint more, turned by `turn` (N, 3, 3) against its parent, that bears others."""
        parents: dict[str, str] = {}
        for joint, above in self.parents.items():
            parents[joint] = name if joint in bears else above
            if joint == parent:
                parents[name] = parent
        offsets = {**self.offsets, name: np.array(offset, float)}
        offsets |= {joint: offsets[joint] - offsets[name] for joint in bears}
        turns = dict(self.turns)
        turns[name] = turns[parent] @ (np.eye(3) if turn is None else turn)
        return replace(self, parents=parents, offsets=offsets, turns=turns)

    def called(self, names: Mapping[str, str] | Callable[[str], str]) -> "Person":
        get = names if callable(names) else lambda joint: names.get(joint, joint)
        return replace(self, shown={joint: get(joint) for joint in self.parents})


def walk(num_frames: int = 150, fps: float = 60.0, stride: float = 120.0) -> Person:
    """Two steps a second, arms swinging, the head looking about; `stride` cm in a second."""
    times = np.arange(num_frames) / fps
    swing = np.sin(2 * np.pi * times)
    local = {
        "pelvis": euler("yx", 6 * swing, 3 + 2 * np.cos(4 * np.pi * times)),
        "spine1": euler("x", 2 + swing),
        "spine2": euler("yx", -4 * swing, 3 + 0 * times),
        "spine3": euler("yz", -5 * swing, 2 * swing),
        "neck": euler("xz", -4 + 3 * swing, 2 * swing),
        "head": euler("yx", 15 * np.sin(3 * times), 5 * np.cos(2 * times)),
    }
    for side, sign in (("left", 1), ("right", -1)):
        phase = 2 * np.pi * times + (0 if side == "left" else np.pi)
        local |= {
            f"{side}_hip": euler(
                "xyz", -30 * np.sin(phase), 4 * sign * swing, 3 * sign + 0 * times
            ),
            f"{side}_knee": euler("x", 25 - 22 * np.cos(phase + 0.6)),
            f"{side}_ankle": euler("x", -5 + 8 * np.sin(phase + 1)),
            f"{side}_foot": euler("x", 6 * np.sin(phase)),
            f"{side}_collar": euler("zy", -3 * sign + 0 * times, 5 * swing),
            # Seen from arms out: down to the side, then the swing.
            f"{side}_shoulder": euler("xz", 28 * np.sin(phase), -68 * sign + 3 * swing),
            f"{side}_elbow": euler("y", -sign * (25 - 15 * np.sin(phase))),
            f"{side}_wrist": euler("xz", 10 * np.sin(phase), 5 * sign * swing),
        }
    turns: dict[str, np.ndarray] = {}
    for joint, (parent, _) in JOINTS.items():
        turns[joint] = turns[parent] @ local[joint] if parent else local[joint]
    path = np.stack([8 * np.sin(times), 95 + 2 * np.cos(4 * np.pi * times), stride * times], axis=1)
    return Person(
        parents={joint: parent for joint, (parent, _) in JOINTS.items()},
        offsets={joint: np.array(offset, float) for joint, (_, offset) in JOINTS.items()},
        turns=turns,
        path=path,
        fps=fps,
    )


def euler(order: str, *degrees: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3), each turn about axes that turn along."""
    angles = np.stack(degrees, axis=1)
    return Rotation.from_euler(order.upper(), angles, degrees=True).as_matrix()


def along_own_x(person: Person) -> dict[str, np.ndarray]:
    """Axes (3, 3) of each joint, as columns in the stance, of which x lies along its bone."""
    zero = {}
    for joint in person.parents:
        ends = [child for child, above in person.parents.items() if above == joint]
        ends = [child for child in ends if child.rpartition("_")[2] not in ("hip", "collar")]
        bone = person.offsets[ends[0]] if ends else person.offsets[joint]
        x = bone / max(np.linalg.norm(bone), 1e-9)
        y = np.cross([1.0, 0, 0] if abs(x[0]) < 0.9 else [0, 0, 1.0], x)
        y /= np.linalg.norm(y)
        zero[joint] = np.stack([x, y, np.cross(x, y)], axis=1)
    return zero


def anyhow(person: Person, seed: int = 0) -> dict[str, np.ndarray]:
    """Axes (3, 3) of each joint that mean nothing at all."""
    random = Rotation.random(len(person.parents), rng=np.random.default_rng(seed)).as_matrix()
    return dict(zip(person.parents, random, strict=True))


def write_bvh(
    person: Person,
    *,
    zero: Mapping[str, np.ndarray] | None = None,
    world: np.ndarray | None = None,
    bones_in_channels: bool = False,
    order: str = "ZXY",
    scale: float = 1.0,
) -> str:
    """Write a motion as BVH.

    Args:
        person: The motion.
        zero: Axes (3, 3) of each joint, as columns in the stance: what the file's rotations turn.
        world: Rows are the file's axes (3, 3) in ours; of the other handedness, a mirror image.
        bones_in_channels: Offsets are zero and each joint has its bone in position channels.
        order: Of the Euler angles.
        scale: The file's units in a centimeter.
    """
    world = np.eye(3) if world is None else world
    flip = world if np.linalg.det(world) < 0 else np.eye(3)  # a mirrored body in its own axes
    zero = {joint: np.eye(3) for joint in person.parents} if zero is None else zero
    offsets, turns = {}, {}
    for joint, parent in person.parents.items():
        above = zero[parent] if parent else np.eye(3)
        offsets[joint] = scale * flip @ above.T @ person.offsets[joint]
        turns[joint] = world @ person.turns[joint] @ zero[joint] @ flip.T
    lines, columns = ["HIERARCHY"], []
    three = " ".join(f"{axis}rotation" for axis in order)

    def write(joint: str, depth: int) -> None:
        parent, pad = person.parents[joint], "\t" * depth
        moves = bones_in_channels or not parent
        shown = person.shown.get(joint, joint)
        offset = np.zeros(3) if moves else offsets[joint]
        lines.append(f"{pad}{'JOINT' if parent else 'ROOT'} {shown}")
        lines.append(f"{pad}{{\n{pad}\tOFFSET " + " ".join(f"{value:.6f}" for value in offset))
        channels = f"6 Xposition Yposition Zposition {three}" if moves else f"3 {three}"
        lines.append(f"{pad}\tCHANNELS {channels}")
        if not parent:
            columns.append(scale * person.path @ world.T)
        elif moves:
            columns.append(np.tile(offsets[joint], (len(person.path), 1)))
        local = np.swapaxes(turns[parent], -1, -2) @ turns[joint] if parent else turns[joint]
        columns.append(Rotation.from_matrix(local).as_euler(order, degrees=True))
        children = [child for child, above in person.parents.items() if above == joint]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.append(f"{pad}\tEnd Site\n{pad}\t{{\n{pad}\t\tOFFSET 0 0 1\n{pad}\t}}")
        lines.append(pad + "}")

    write(next(joint for joint, parent in person.parents.items() if not parent), 0)
    lines += ["MOTION", f"Frames: {len(person.path)}", f"Frame Time: {1 / person.fps:.8f}"]
    for row in np.concatenate(columns, axis=1):
        lines.append(" ".join(f"{value:.6f}" for value in row))
    return "\n".join(lines) + "\n"
