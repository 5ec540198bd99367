from collections.abc import Callable

import numpy as np
import pytest

from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.synthetic.captures import CapturedBody


@pytest.fixture(scope="session")
def captured_body() -> CapturedBody:
    return CapturedBody.of(load_body(BodyConfig()))


@pytest.fixture(scope="session")
def made_up_motion() -> Callable[..., MotionSequence]:
    return _made_up_motion


def _made_up_motion(name: str, num_frames: int, seed: int = 0) -> MotionSequence:
    """Somebody who waves the limbs about while walking."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(num_frames)[:, None] / 25
    swing = rng.normal(size=72) * 0.3
    pose = swing * np.sin(2 * np.pi * seconds * rng.uniform(0.3, 1.0, 72))
    trans = np.concatenate([0.8 * seconds, 0.9 + 0 * seconds, 0.1 * seconds], axis=1)
    return MotionSequence(
        dataset="made_up",
        name=name,
        fps=25.0,
        pose=pose.astype(np.float32),
        trans=trans.astype(np.float32),
        betas=np.zeros(10, np.float32),
    )
