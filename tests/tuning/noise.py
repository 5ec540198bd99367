"""A data set of noise, small enough that a run over it takes a second."""

from pathlib import Path

import numpy as np

from vibe_ray.data.manifest import Manifest
from vibe_ray.data.schema import Kind, MotionSequence, PoseSequence
from vibe_ray.data.shards import ShardWriter

F, N = 32, 24


def write_noise(root: Path) -> Path:
    """Write data sets under the names that the open recipes expect; features are 32 wide."""
    rng = np.random.default_rng(0)
    for name in ("open_2d/train", "open_3d/train", "open_3d/val"):
        with ShardWriter(str(root / name), header(name, "pose")) as writer:
            for number in range(3):
                writer.write(captured(rng, f"clip_{number}"))
    with ShardWriter(str(root / "motion/train"), header("motion/train", "motion")) as writer:
        for number in range(3):
            writer.write(motion(rng, f"clip_{number}"))
    return root


def header(name: str, kind: Kind) -> Manifest:
    dataset, split = name.split("/")
    pose = {"encoder_id": "noise", "feature_dim": F} if kind == "pose" else {}
    known = {"dataset": dataset, "split": split, "source": "noise", "converter": "noise"}
    return Manifest.model_validate({"kind": kind, "fps": 25.0, **known, **pose})


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.2 * rng.normal(size=shape)).astype(np.float32)


def captured(rng: np.random.Generator, name: str) -> PoseSequence:
    return PoseSequence(
        dataset="noise",
        sequence=name,
        person="0",
        fps=25.0,
        encoder_id="noise",
        features=floats(rng, N, F).astype(np.float16),
        kp_2d=floats(rng, N, 49, 2),
        kp_2d_conf=np.ones((N, 49), np.float32),
        kp_3d=floats(rng, N, 49, 3),
        has_kp_3d=np.ones(N, bool),
        pose=floats(rng, N, 72),
        betas=floats(rng, N, 10),
        has_smpl=np.ones(N, bool),
        valid=np.ones(N, bool),
    )


def motion(rng: np.random.Generator, name: str) -> MotionSequence:
    return MotionSequence(
        dataset="noise",
        name=name,
        fps=25.0,
        pose=floats(rng, N, 72),
        trans=np.zeros((N, 3), np.float32),
        betas=np.zeros(10, np.float32),
    )
