import pytest

from vibe_ray.body.joints import BodyJoints
from vibe_ray.body.model import BodyConfig, load_body


@pytest.fixture(scope="session")
def keypoints() -> BodyJoints:
    return BodyJoints.keypoints(load_body(BodyConfig()))
