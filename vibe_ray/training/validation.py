"""How good are the networks on the validation split? Asked at the end of every epoch.

Shapes: B windows, T frames, J body joints (23).
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.data.sequences import read_motion_sequences, read_pose_sequences
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.models.motion_prior import Reconstruction
from vibe_ray.storage import join
from vibe_ray.training.meter import rank_and_world_size
from vibe_ray.training.prior import PRIOR, PriorState
from vibe_ray.training.state import TrainState

MM_PER_METER = 1000.0


def validate_generator(state: TrainState) -> dict[str, float]:
    """Evaluate the generator on the validation split, each rank on its share of the sequences."""
    config = state.config
    evaluator = Evaluator(
        state.body, PROTOCOLS[config.validation.protocol], config.data.window_length, state.device
    )
    path = join(config.data.root, config.data.validation)
    predict = state.best_generator.folded()
    for sequence in read_pose_sequences(path, _share(config.validation.max_sequences)):
        evaluator.add(predict, sequence)
    if dist.is_initialized():
        evaluator.all_reduce()
    return evaluator.result().metrics


@torch.no_grad()
def validate_prior(state: PriorState) -> dict[str, float]:
    """Measure what is lost of held-out motion, each rank on its share of the sequences.

    Windows of the config's length, one after the other; what is left at a sequence's end is not
    seen. Decoded is the posterior's mean. `reconstruction_mm` is the mean distance of SMPL's 24
    joints, the pelvis included, on a body of mean shape; `latent` the mean square of the latent's
    numbers, one if they were standard normal.

    Raises:
        ValueError: No held-out sequence is as long as a window.
    """
    data = state.config.data
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in state.networks}
    for body in _held_out_windows(join(data.root, data.validation), data.window_length):
        body = body.to(state.device)
        target = state.skeleton(body)
        for name, network in state.networks.items():
            found: Reconstruction = network(body)
            distance = (state.skeleton(found.rotmat) - target).norm(dim=-1).mean(dim=(1, 2))
            latent = found.posterior.mean.square().mean(dim=(1, 2))
            row = torch.stack([distance * MM_PER_METER, latent, torch.ones_like(latent)])
            sums[name] += row.sum(dim=1).cpu().double()
    table = torch.stack(list(sums.values())).to(state.device)  # NCCL reduces no other
    if dist.is_initialized():
        dist.all_reduce(table)
    if not table[0, 2]:
        raise ValueError(
            f"no sequence of {join(data.root, data.validation)} has {data.window_length} frames: "
            "set data.window_length lower"
        )
    means = (table[:, :2] / table[:, 2:]).tolist()
    return {
        metric if name == PRIOR else f"{name}/{metric}": value
        for name, row in zip(sums, means, strict=True)
        for metric, value in zip(("reconstruction_mm", "latent"), row, strict=True)
    }


def _held_out_windows(path: str, length: int) -> Iterator[Tensor]:
    """Yield this rank's sequences, each as windows (B, T, J, 3, 3)."""
    for sequence in read_motion_sequences(path, _share()):
        num_windows = len(sequence.pose) // length
        if num_windows:
            pose = torch.from_numpy(sequence.pose[: num_windows * length].copy())
            yield pose_to_rotmat(pose.view(num_windows, length, -1))[..., 1:, :, :]


def _share(limit: int = 0) -> slice:
    """This rank's of the first `limit` sequences, or of all: the others' it does not read."""
    rank, world_size = rank_and_world_size()
    return slice(rank, limit or None, world_size)
