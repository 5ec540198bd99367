import pytest

from vibe_ray.body.model import BodyArrays


@pytest.fixture(params=["open_body", "made_up"])
def body(request: pytest.FixtureRequest) -> BodyArrays:
    arrays: BodyArrays = request.getfixturevalue(request.param)
    return arrays
