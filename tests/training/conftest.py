import pytest
import torch
from torch.multiprocessing.spawn import spawn

from tests.training.ranks import NUM_RANKS, Outcome, work


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory, shards: str) -> list[Outcome]:
    """What two processes saw that trained together over gloo, one dict per rank."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(work, (folder, shards), nprocs=NUM_RANKS)
    return [torch.load(folder / f"rank_{rank}.pt") for rank in range(NUM_RANKS)]
