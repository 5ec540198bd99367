import pytest

from tests.body.made_up_bodies import made_up_body
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body


@pytest.fixture(scope="session")
def open_body() -> BodyArrays:
    return load_body(BodyConfig())


@pytest.fixture(scope="session")
def made_up() -> BodyArrays:
    """Has pose correctives, which the open body lacks."""
    return made_up_body()


@pytest.fixture(params=["open_body", "made_up"])
def body(request: pytest.FixtureRequest) -> BodyArrays:
    arrays: BodyArrays = request.getfixturevalue(request.param)
    return arrays
