"""The networks, the body, the batches and the shards on which everything is measured.

Sizes are those of the `released` recipe: 32 windows of 16 frames, 19 of them with 2D labels only,
features 2048 wide. Numbers are random; what they cost does not depend on what they say.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.data import noise
from vibe_ray.body.model import OPEN_BODY
from vibe_ray.config import TrainConfig
from vibe_ray.data.batches import MotionBatch, PoseBatch, StepBatch
from vibe_ray.data.schema import FEATURE_DIM
from vibe_ray.data.shards import ShardWriter
from vibe_ray.recipes import released
from vibe_ray.settings import override
from vibe_ray.training.state import TrainState

NO_DROPOUT = {"generator.regressor.dropout": 1e-12, "discriminator.attention_dropout": 1e-12}
"""Off, and yet by the path of training: at zero exactly the regressor takes a shortcut."""
CLIP_FRAMES = 400
CLIPS = {
    "open_2d/train": 36,
    "open_3d/train": 24,
    "open_3d/val": 1,
    "open_3d/test": 1,
    "motion/train": 60,
}


def config_with(folder: Path, **changes: Any) -> TrainConfig:
    """The released recipe on our body; `__` stands for dots in names of settings."""
    known: dict[str, Any] = {"body.path": str(body_file(folder)), "data.root": str(folder / "data")}
    known |= {f"data.{kind}": f"open_{kind[-2:]}/train" for kind in ("pose_2d", "pose_3d")}
    known |= {"data.motion": "motion/train", "data.validation": "open_3d/val"}
    known |= {name.replace("__", "."): value for name, value in changes.items()}
    return override(released(), known)


def body_file(folder: Path) -> Path:
    """The open body with pose correctives, which it has not: SMPL has, and they take time."""
    path = folder / "body.npz"
    if not path.exists():
        with np.load(OPEN_BODY) as npz:
            arrays = {name: npz[name] for name in npz.files}
        rng = np.random.default_rng(0)
        shape = (len(arrays["v_template"]), 3, 9 * 23)
        arrays["posedirs"] = 0.002 * rng.standard_normal(shape, np.float32)
        np.savez(path, **arrays)
    return path


def new_state(config: TrainConfig, device: str = "cpu", rank: int = 0) -> TrainState:
    """A state whose networks do something, as trained ones do.

    Freshly drawn the generator hardly leaves its T-pose, and the discriminator's attention is so
    even that gradients of its biases are but the rounding errors of sums that cancel.
    """
    state = TrainState.create(config, torch.device(device), rank)
    with torch.no_grad():
        state.generator.regressor.decpose.weight.mul_(20)
        for name, weight in state.discriminator.attention.named_parameters():
            if name.endswith("weight"):
                weight.mul_(4)
    return state


def step_batch(config: TrainConfig, device: str = "cpu", seed: int = 0) -> StepBatch:
    """One step's windows, 2D first; of the 3D ones some frames know their SMPL parameters."""
    made = torch.Generator().manual_seed(seed)
    data = config.data
    B, T = data.batch_size, data.window_length

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=made)

    is_3d = (torch.arange(B) >= data.num_2d)[:, None].expand(B, T)
    pose = PoseBatch(
        features=normal(B, T, config.generator.feature_dim, scale=0.5).abs(),
        kp_2d=normal(B, T, 49, 2, scale=0.5),
        kp_2d_conf=torch.rand(B, T, 49, generator=made),
        kp_3d=normal(B, T, 49, 3, scale=0.5),
        has_kp_3d=is_3d.float(),
        pose=normal(B, T, 72, scale=0.4),
        betas=normal(B, T, 10),
        has_smpl=(is_3d & (torch.rand(B, T, generator=made) < 0.6)).float(),
    )
    motion = MotionBatch(normal(data.motion_batch_size, T, 72, scale=0.4))
    return StepBatch(pose, motion).to(torch.device(device))


def write_shards(root: Path) -> None:
    """Write data sets with features as wide as real ones, some 400 MB."""
    for name, num_clips in CLIPS.items():
        is_pose = not name.startswith("motion")
        header = noise.header(name, **({"feature_dim": FEATURE_DIM} if is_pose else {}))
        with ShardWriter(str(root / name), header) as writer:
            for number in range(num_clips):
                writer.write(_sequence(f"{name}/{number}", number, is_pose))


def _sequence(name: str, number: int, is_pose: bool) -> Any:
    if not is_pose:
        return noise.motion_sequence(name, CLIP_FRAMES, number)
    rng = np.random.default_rng([number, 2])
    features = rng.standard_normal((CLIP_FRAMES, FEATURE_DIM), np.float32)
    return noise.pose_sequence(name, CLIP_FRAMES, number, features=features.astype(np.float16))
