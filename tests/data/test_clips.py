"""A data set's files are looked at before they are read: damaged or gone, they are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import noise
from vibe_ray.data.clips import check_content
from vibe_ray.data.mixing import DataConfig, make_plan
from vibe_ray.data.reading import read_shares
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import read_manifest


def read_steps(root: str) -> None:
    config = DataConfig(root=root, window_length=5, batch_size=4, motion_batch_size=3)
    plan = make_plan(config, seed=0)
    read_shares(plan, [plan.share(step, 0, 1) for step in range(20)])


def read_sequences(root: str) -> None:
    list(read_pose_sequences(f"{root}/open_3d/train"))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    noise.write_all(str(tmp_path))
    folder = tmp_path / "open_3d/train"
    return folder / read_manifest(str(folder)).files[0].name


@pytest.mark.parametrize("read", [read_steps, read_sequences])
@pytest.mark.parametrize("where", [0.02, 0.5, 0.999])
def test_a_flipped_bit_is_noticed_wherever_it_is(
    part: Path, tmp_path: Path, read: Callable[[str], None], where: float
) -> None:
    content = bytearray(part.read_bytes())
    content[int(where * len(content))] ^= 4
    part.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{part} is damaged: its content has the SHA-256"):
        read(str(tmp_path))


@pytest.mark.parametrize("read", [read_steps, read_sequences])
def test_what_is_gone_is_named(part: Path, tmp_path: Path, read: Callable[[str], None]) -> None:
    """By an error of a kind that is not tried again: it would be gone again."""
    part.unlink()
    with pytest.raises(ValueError, match=rf"{part} is gone, which the manifest names"):
        read(str(tmp_path))


def test_what_is_whole_is_read_once(part: Path, tmp_path: Path) -> None:
    read_steps(str(tmp_path))
    before = check_content.cache_info().misses
    read_steps(str(tmp_path))
    assert check_content.cache_info().misses == before
