import pytest
import torch
from torch.multiprocessing.spawn import spawn

from tests.data import noise
from tests.training.ranks import NUM_RANKS, Outcome, work


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of two small data sets of motion, to train on and held out."""
    root = str(tmp_path_factory.mktemp("motion"))
    noise.write(root, "motion/train", (30, 17, 8))
    noise.write(root, "motion/val", (13, 4, 21, 5))
    return root


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory, shards: str, motion: str) -> list[Outcome]:
    """What two processes saw that trained together over gloo, one dict per rank."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(work, (folder, shards, motion), nprocs=NUM_RANKS)
    return [torch.load(folder / f"rank_{rank}.pt") for rank in range(NUM_RANKS)]
