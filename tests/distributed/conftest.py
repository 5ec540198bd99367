import pytest

from vibe_ray.data.mixing import DataConfig, StepPlan, make_plan


@pytest.fixture
def plan(config: DataConfig) -> StepPlan:
    """Of a file's own `config`."""
    return make_plan(config, seed=1)
