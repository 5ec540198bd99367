from tests.tuning.conftest import noise_data

__all__ = ["noise_data"]
