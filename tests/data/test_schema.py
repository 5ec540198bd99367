import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.data import noise


def test_readers_load_no_torch_and_reading_needs_no_ray() -> None:
    code = (
        "import sys\n"
        "import vibe_ray.data.reading\n"
        "print([name for name in ('torch', 'scipy', 'ray', 'boto3') if name in sys.modules])\n"
        "import vibe_ray.distributed.streams\n"
        "print('torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\nFalse\n"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("kp_2d", (5, 49, 3)), ("kp_3d", (4, 49, 3)), ("betas", (5, 11)), ("has_smpl", (5, 1))],
)
def test_a_pose_sequence_of_other_shapes_is_refused(name: str, shape: tuple[int, ...]) -> None:
    changes: dict[str, Any] = {name: np.zeros(shape)}
    with pytest.raises(ValueError, match=rf"walk: {name} has shape .*expected \(5,"):
        noise.pose_sequence("walk", 5, **changes)


def test_a_motion_sequence_of_other_shapes_or_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run: trans has shape \(5, 2\), expected \(5, 3\)"):
        noise.motion_sequence("run", 5, trans=np.zeros((5, 2)))
    with pytest.raises(ValueError, match="run plays at 0"):
        noise.motion_sequence("run", 5, fps=0.0)


def test_sequences_know_their_length_and_what_tells_them_apart() -> None:
    sequence = noise.pose_sequence("walk", 5, person="left")
    assert (sequence.num_frames, sequence.key) == (5, ("walk", "left"))
    assert noise.motion_sequence("run", 5).key == ("run", "")


def test_resampling_keeps_the_duration() -> None:
    motion = noise.motion_sequence("run", 101, fps=100.0)  # one second
    slower = motion.resampled(25.0)
    assert (slower.fps, len(slower.pose), len(slower.trans)) == (25.0, 26, 26)
    np.testing.assert_allclose(slower.trans[::5], motion.trans[::20], atol=1e-6)
    assert motion.resampled(100.0).pose is motion.pose
