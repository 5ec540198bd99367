import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.data import noise
from vibe_ray.body import params
from vibe_ray.data import schema
from vibe_ray.data.schema import Manifest, ShardFile


def test_the_numbers_of_the_format_are_those_of_the_body() -> None:
    assert (schema.POSE_DIM, schema.NUM_BETAS) == (params.POSE_DIM, params.NUM_BETAS)


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


def test_a_manifest_counts_and_survives_json() -> None:
    files = [
        ShardFile(name="a", num_bytes=1, sha256="x", clip_frames=[512, 3]),
        ShardFile(name="b", num_bytes=1, sha256="y", clip_frames=[7]),
    ]
    manifest = noise.header("open_3d/train", files=files)
    assert (manifest.num_clips, manifest.num_frames) == (3, 522)
    again = Manifest.model_validate_json(manifest.model_dump_json(indent=1))
    assert again == manifest
    assert again.hash() == manifest.hash()


def test_the_hash_tells_other_files_and_other_headers_apart() -> None:
    file = ShardFile(name="a", num_bytes=1, sha256="x", clip_frames=[512, 3])
    manifest = noise.header("open_3d/train", files=[file])
    other_file = manifest.model_copy(update={"files": [file.model_copy(update={"sha256": "y"})]})
    other_encoder = manifest.model_copy(update={"encoder_id": "better"})
    assert len({item.hash() for item in (manifest, other_file, other_encoder)}) == 3
    assert manifest.has_header_of(other_file)
    assert not manifest.has_header_of(other_encoder)


def test_a_manifest_with_unknown_entries_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        noise.header("open_3d/train", colour="red")
