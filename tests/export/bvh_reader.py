"""BVH read naively: word by word, one elementary rotation at a time."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Joint:
    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[str] = field(default_factory=list)


@dataclass
class Bvh:
    joints: list[Joint]
    """End sites are called "End Site"."""
    frame_time: float
    values: np.ndarray

    def names(self) -> list[str]:
        return [joint.name for joint in self.joints if joint.name != "End Site"]

    def angles(self) -> np.ndarray:
        """The rotation channels' degrees (N, number)."""
        names = [channel for joint in self.joints for channel in joint.channels]
        return self.values[:, [n for n, name in enumerate(names) if name.endswith("rotation")]]

    def world(self, frame: int | None) -> tuple[np.ndarray, np.ndarray]:
        """World rotations and positions of all joints; of the zero pose without a frame."""
        numbers = iter(self.values[frame] if frame is not None else np.zeros_like(self.values[0]))
        rotations, positions = [], []
        for joint in self.joints:
            turn, move = np.eye(3), joint.offset.copy()
            for channel in joint.channels:
                value, axis = next(numbers), "XYZ".index(channel[0])
                if channel.endswith("position"):
                    move[axis] += value
                else:
                    turn = turn @ elementary(axis, value)
            if joint.parent >= 0:
                positions.append(positions[joint.parent] + rotations[joint.parent] @ move)
                rotations.append(rotations[joint.parent] @ turn)
            else:
                positions.append(move)
                rotations.append(turn)
        return np.array(rotations), np.array(positions)


def elementary(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def read(path: str | Path) -> Bvh:
    words = iter(Path(path).read_text(encoding="ascii").split())
    assert next(words) == "HIERARCHY"
    joints: list[Joint] = []
    stack: list[int] = []
    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            name = next(words)
            joints.append(Joint("End Site" if word == "End" else name, stack[-1] if stack else -1))
        elif word == "{":
            stack.append(len(joints) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            joints[stack[-1]].offset = np.array([float(next(words)) for _ in range(3)])
        elif word == "CHANNELS":
            joints[stack[-1]].channels = [next(words) for _ in range(int(next(words)))]
        else:
            assert word == "MOTION"
            break
    assert next(words) == "Frames:"
    num_frames = int(next(words))
    assert [next(words), next(words)] == ["Frame", "Time:"]
    frame_time = float(next(words))
    values = np.array([float(word) for word in words]).reshape(num_frames, -1)
    assert values.shape[1] == sum(len(joint.channels) for joint in joints)
    return Bvh(joints, frame_time, values)
