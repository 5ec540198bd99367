import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vibe_ray.body.model import BodyArrays
from vibe_ray.export.animation import Animation

BETAS = np.array([1.5, -1.0, 0.5, 0, 0, 2, 0, 0, 0, -0.5])


@pytest.fixture(params=["open_body", "made_up"])
def body(request: pytest.FixtureRequest) -> BodyArrays:
    arrays: BodyArrays = request.getfixturevalue(request.param)
    return arrays


def wild_motion(num_frames: int = 40, seed: int = 0) -> Animation:
    """Joints that turn smoothly and far, at a frame rate that is not constant."""
    rng = np.random.default_rng(seed)
    times_s = 0.7 + np.cumsum(rng.uniform(0.005, 0.06, num_frames))
    start, speed, wave = rng.normal(size=(3, 1, 24, 3))
    phase = times_s[:, None, None]
    rotvec = start + 2 * speed * phase + wave * np.sin(5 * phase)
    rotmat = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix()
    path = np.array([3, 1, -8]) + np.cumsum(rng.normal(0, 0.05, (num_frames, 3)), axis=0)
    return Animation("walker", times_s, rotmat.reshape(num_frames, 24, 3, 3), path, BETAS)


def captured_motion() -> Animation:
    """Somebody who walks, at 30 frames per second: the package's own recording."""
    from vibe_ray.data.sources import open_motion

    folder = open_motion.__path__[0]
    with np.load(f"{folder}/open_motion.npz") as npz:
        pose, trans, fps = npz["01/01_01/pose"], npz["01/01_01/trans"], float(npz["fps"])
    rotmat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(len(pose), 24, 3, 3)
    return Animation("01_01", np.arange(len(pose)) / fps, rotmat, trans, BETAS)


@pytest.fixture(scope="session")
def wild() -> Animation:
    return wild_motion()


@pytest.fixture(scope="session")
def captured() -> Animation:
    return captured_motion()
