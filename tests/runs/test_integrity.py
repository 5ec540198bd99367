"""A flipped bit in any file of a checkpoint is noticed by all who load it, and named."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.tiny import tiny, tiny_state
from vibe_ray import storage
from vibe_ray.inference import Predictor
from vibe_ray.runs.checkpoints import sweep
from vibe_ray.runs.exports import export_checkpoint
from vibe_ray.runs.integrity import DamagedError, fall_back, opened
from vibe_ray.runs.snapshots import load_regressor
from vibe_ray.runs.step_folders import checkpoint_name, complete_steps, last_step
from vibe_ray.settings import override
from vibe_ray.training.launch import Launch, train_here
from vibe_ray.training.recorder import Cadence

FILES = ("config.json", "generator.safetensors", "discriminator.safetensors", "trainer.pt")


def flip(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    state = tiny_state(tiny())
    state.snapshot({"step": 3}).write(folder)
    return folder


def load_into_another(path: str) -> None:
    load_regressor(tiny_state(tiny()).generator, path)


READERS: dict[str, Callable[[str], object]] = {
    "evaluate and serve": Predictor.from_checkpoint,
    "export": lambda path: export_checkpoint(path, f"{path}_exported"),
    "initial_regressor": load_into_another,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str, reader: str) -> None:
    path = checkpoint(tmp_path / "checkpoint")
    READERS[reader](str(path))
    flip(path / name)
    where = rf"{path}/{name} is damaged: its \d+ bytes have the SHA-256 .* restore it"
    (tmp_path / "again").mkdir()
    with pytest.raises(DamagedError, match=where):
        READERS[reader](str(path))


def test_a_missing_file_and_a_damaged_manifest_are_named(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a")
    (path / "trainer.pt").unlink()
    with pytest.raises(DamagedError, match=r"a/trainer\.pt is missing"), opened(str(path)):
        pass
    (path / "manifest.json").write_text('{"files": {"../x": "0"}}')
    with pytest.raises(DamagedError, match=r"a/manifest\.json is damaged"), opened(str(path)):
        pass


def test_one_without_hashes_is_taken_as_it_is(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "manifest.json", {"step": 3})
    with opened(str(tmp_path)) as directory:
        assert directory == tmp_path


def begun(folder: Path, shards: str) -> tuple[Launch, Path]:
    """A run with four checkpoints, not at its end."""
    config = tiny(data__root=shards, checkpoints_kept=9, epochs=1, steps_per_epoch=4)
    launch = Launch(name="run", storage=str(folder), workers=0, cadence=Cadence(steps=1))
    train_here(config, launch)
    return launch, folder / "run"


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_run_goes_on_from_the_last_good_one_and_says_so(
    shards: str, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    launch, run = begun(tmp_path, shards)
    expected = (run / checkpoint_name(4) / "generator.safetensors").read_bytes()
    if name == "manifest.json":
        (run / checkpoint_name(4) / name).write_text("")
    else:
        flip(run / checkpoint_name(4) / name)
    flip(run / checkpoint_name(3) / "trainer.pt")
    config = tiny(data__root=shards, checkpoints_kept=9, epochs=1, steps_per_epoch=4)
    with caplog.at_level(logging.WARNING):
        train_here(config, Launch(**{**vars(launch), "resume": True}))
    assert f"{checkpoint_name(3)} is set aside: the run goes on from {run}/step_0000002" in (
        caplog.text
    )
    assert f"{checkpoint_name(4)}" in caplog.text
    assert complete_steps(str(run)) == [1, 2, 3, 4]
    assert (run / checkpoint_name(4) / "generator.safetensors").read_bytes() == expected


def test_what_was_set_aside_is_kept(shards: str, tmp_path: Path) -> None:
    _, run = begun(tmp_path, shards)
    flip(run / checkpoint_name(4) / "trainer.pt")
    fall_back(str(run))
    sweep(str(run))
    assert last_step(str(run)) == 3
    assert (run / checkpoint_name(4) / "generator.safetensors").is_file()


def test_a_run_of_which_nothing_is_whole_does_not_begin_anew_unasked(
    shards: str, tmp_path: Path
) -> None:
    launch, run = begun(tmp_path, shards)
    for path in run.glob("step_*/trainer.pt"):
        flip(path)
    config = tiny(data__root=shards, checkpoints_kept=9, epochs=1, steps_per_epoch=4)
    again = Launch(**{**vars(launch), "resume": True})
    with pytest.raises(DamagedError, match=r"no checkpoint in .*run is whole .*--name NAME"):
        train_here(override(config, {}), again)
    assert complete_steps(str(run)) == [1, 2, 3, 4]


@pytest.mark.parametrize("steps", [(4,), (1, 2, 3, 4)])
def test_a_checkpoint_whose_manifest_is_cut_off_keeps_its_files(
    steps: tuple[int, ...], shards: str, tmp_path: Path
) -> None:
    _, run = begun(tmp_path, shards)
    for step in steps:
        (run / checkpoint_name(step) / "manifest.json").write_bytes(b'{"step"')
    if len(steps) == 4:
        with pytest.raises(DamagedError, match=r"no checkpoint in .* is whole"):
            fall_back(str(run))
    else:
        fall_back(str(run))
        assert last_step(str(run)) == 3
        sweep(str(run))
    assert (run / checkpoint_name(4) / "trainer.pt").is_file()
