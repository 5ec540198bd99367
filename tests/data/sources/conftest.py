"""A skeleton of our own, so that no test needs a data set."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.data.sources.conversion import Conversion, ConversionConfig

# name, parent, offset in centimeters: a person with arms a bit down and legs a bit apart.
JOINTS = (
    ("Hips", None, (0, 0, 0)),
    ("LeftUpLeg", "Hips", (9, -3, 1)),
    ("LeftLeg", "LeftUpLeg", (6, -40, 2)),
    ("LeftFoot", "LeftLeg", (5, -41, -3)),
    ("LeftToeBase", "LeftFoot", (1, -6, 14)),
    ("RightUpLeg", "Hips", (-9, -3, 1)),
    ("RightLeg", "RightUpLeg", (-6, -40, 2)),
    ("RightFoot", "RightLeg", (-5, -41, -3)),
    ("RightToeBase", "RightFoot", (-1, -6, 14)),
    ("Spine", "Hips", (0, 11, -1)),
    ("Spine1", "Spine", (0, 13, -1)),
    ("Spine2", "Spine1", (0, 12, 0)),
    ("Neck", "Spine2", (0, 20, 2)),
    ("Head", "Neck", (0, 9, 1)),
    ("LeftShoulder", "Spine2", (5, 15, 1)),
    ("LeftArm", "LeftShoulder", (13, 1, -1)),
    ("LeftForeArm", "LeftArm", (20, -17, -2)),
    ("LeftHand", "LeftForeArm", (18, -16, 3)),
    ("RightShoulder", "Spine2", (-5, 15, 1)),
    ("RightArm", "RightShoulder", (-13, 1, -1)),
    ("RightForeArm", "RightArm", (-20, -17, -2)),
    ("RightHand", "RightForeArm", (-18, -16, 3)),
)
NAMES = [name for name, _, _ in JOINTS]


def bvh_text(num_frames: int = 90, fps: float = 30.0, scale: float = 1.0, seed: int = 0) -> str:
    """Write smooth random motion as BVH; each joint has its own rotation order."""
    rng = np.random.default_rng(seed)
    orders = ["ZXY", "XYZ", "ZYX", "YXZ"]
    lines = ["HIERARCHY"]

    def write(name: str, depth: int) -> None:
        index = NAMES.index(name)
        _, parent, offset = JOINTS[index]
        pad = "\t" * depth
        order = orders[index % 4]
        positions = "" if parent else "Xposition Yposition Zposition "
        rotations = " ".join(f"{axis}rotation" for axis in order)
        lines.extend(
            [
                f"{pad}{'JOINT' if parent else 'ROOT'} {name}",
                pad + "{",
                f"{pad}\tOFFSET " + " ".join(f"{scale * value:.4f}" for value in offset),
                f"{pad}\tCHANNELS {3 if parent else 6} {positions}{rotations}",
            ]
        )
        children = [child for child, above, _ in JOINTS if above == name]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 0 1", pad + "\t}"])
        lines.append(pad + "}")

    write("Hips", 0)
    times = np.arange(num_frames) / fps
    phase = rng.uniform(0, 2 * np.pi, (len(NAMES), 3))
    angles = 25 * np.sin(2 * times[:, None, None] + phase)  # (N, S, 3) degrees
    root = scale * np.stack([10 * times, 90 + 0 * times, 3 * times], axis=1)
    values = np.concatenate([root, angles.reshape(num_frames, -1)], axis=1)
    lines += ["MOTION", f"Frames: {num_frames}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in values]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def make_bvh() -> Callable[..., str]:
    return bvh_text


@pytest.fixture(scope="session")
def conversion() -> Conversion:
    return Conversion(ConversionConfig())


def naive_forward(
    parents: list[int], offsets: np.ndarray, turns: list[list[Rotation]], roots: np.ndarray
) -> np.ndarray:
    """Joint positions (N, S, 3), frame by frame and joint by joint, from the textbook."""
    frames = []
    for frame, root in enumerate(roots):
        matrices, positions = [], []
        for joint, parent in enumerate(parents):
            local = np.eye(4)
            local[:3, :3] = turns[frame][joint].as_matrix()
            local[:3, 3] = root if parent < 0 else offsets[joint]
            matrices.append(local if parent < 0 else matrices[parent] @ local)
            positions.append(matrices[-1][:3, 3])
        frames.append(positions)
    return np.array(frames)


@pytest.fixture(scope="session")
def forward() -> Callable[..., np.ndarray]:
    return naive_forward
