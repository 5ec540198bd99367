from tests.serving.conftest import tiny_checkpoint
from tests.tuning.conftest import noise_data

__all__ = ["noise_data", "tiny_checkpoint"]
