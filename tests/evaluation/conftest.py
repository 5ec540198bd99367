import pytest

from tests.evaluation.toy_sequences import MakeSequence, Noise, sequence_maker
from vibe_ray.body.model import BodyArrays, BodyConfig, load_body


@pytest.fixture(scope="session")
def body() -> BodyArrays:
    return load_body(BodyConfig())


@pytest.fixture
def network() -> Noise:
    return Noise()


@pytest.fixture(scope="session")
def make_sequence(body: BodyArrays) -> MakeSequence:
    return sequence_maker(body)
