"""How good is the generator on the validation split? Asked at the end of every epoch."""

import torch.distributed as dist

from vibe_ray.data.shards import read_pose_sequences
from vibe_ray.evaluation.evaluator import Evaluator
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.storage import join
from vibe_ray.training.meter import rank_and_world_size
from vibe_ray.training.state import TrainState


def validate_generator(state: TrainState) -> dict[str, float]:
    """Evaluate the generator on the validation split, each rank on its share of the sequences."""
    config = state.config
    rank, world_size = rank_and_world_size()
    evaluator = Evaluator(
        state.body, PROTOCOLS[config.validation.protocol], config.data.window_length, state.device
    )
    limit = config.validation.max_sequences
    sequences = read_pose_sequences(join(config.data.root, config.data.validation))
    predict = state.best_generator.folded()
    for index, sequence in enumerate(sequences):
        if limit and index >= limit:
            break
        if index % world_size == rank:
            evaluator.add(predict, sequence)
    if dist.is_initialized():
        evaluator.all_reduce()
    return evaluator.result().metrics
