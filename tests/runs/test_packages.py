"""Exports and imports take nothing from a folder that a user names."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.data import noise
from tests.models.test_official import DISCRIMINATOR, GENERATOR, released_vibe, save
from tests.training.tiny import (
    State,
    tiny,
    tiny_frames,
    tiny_frames_state,
    tiny_prior,
    tiny_prior_state,
    tiny_state,
)
from vibe_ray import storage
from vibe_ray.config import TrainConfig
from vibe_ray.runs.exports import export_checkpoint
from vibe_ray.runs.imports import import_checkpoint
from vibe_ray.runs.packages import replaceable
from vibe_ray.runs.snapshots import save_networks

Write = Callable[[str, bool], Any]


@pytest.fixture(params=["export", "import", "export of an encoder"])
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a package into a folder."""
    if request.param == "import":
        config = TrainConfig(generator=GENERATOR, discriminator=DISCRIMINATOR)
        monkeypatch.setattr("vibe_ray.runs.imports.released", lambda: config)
        raw = str(save(released_vibe(), tmp_path / "vibe.pth.tar"))
        return lambda out, overwrite: import_checkpoint(raw, out, "vibe", overwrite)
    state: State = tiny_prior_state(tiny_prior())
    if request.param != "export":
        for split in ("train", "val"):
            noise.write(str(tmp_path), f"motion/{split}", (12,))
        state = tiny_frames_state(tiny_frames(data__root=str(tmp_path)))
    run = tmp_path / "run"
    run.mkdir()
    state.snapshot({"step": 3}).write(run)
    return lambda out, overwrite: export_checkpoint(str(run), out, overwrite)


@pytest.fixture(params=["disk", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    is_local = request.param == "disk"
    return str(tmp_path / "out") if is_local else f"memory://packages/{tmp_path.name}"


def contents(folder: str) -> dict[str, bytes]:
    names = storage.visible_files(folder)
    return {name: storage.read_bytes(storage.join(folder, name)) for name in names}


def fill(folder: str) -> dict[str, bytes]:
    for name in ("thesis.tex", "runs/old/metrics.jsonl", "manifest.json"):
        content = json.dumps({"files": ["thesis.tex"], "name": "mine"}).encode()
        storage.write_bytes_atomic(storage.join(folder, name), content)
    return contents(folder)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("within", ["keypoint_encoder", "frame_baseline"])
def test_a_folder_of_the_users_is_refused_and_stays(
    write: Write, out: str, overwrite: bool, within: str
) -> None:
    before = fill(storage.join(out, within))
    with pytest.raises(FileExistsError, match="is not empty, and no exported checkpoint"):
        write(out, overwrite)
    assert contents(storage.join(out, within)) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_beside_a_package_is_lost(write: Write, out: str, overwrite: bool) -> None:
    before = fill(out)
    with suppress(FileExistsError):  # an encoder's packages have folders of their own
        write(out, overwrite)
    assert contents(out).items() >= before.items()


def test_a_package_is_replaced_when_the_user_says_so(write: Write, out: str) -> None:
    write(out, False)
    written = contents(out)
    with pytest.raises(FileExistsError, match=r"stands in .* already: --overwrite replaces it"):
        write(out, False)
    assert contents(out) == written
    folder = next(name for name in written if name.endswith("manifest.json"))
    mine = folder.replace("manifest.json", "notes.txt")
    storage.write_bytes_atomic(storage.join(out, mine), b"mine")
    write(out, True)
    assert contents(out) == {**written, mine: b"mine"}


def test_what_a_run_goes_on_from_is_never_replaced(tmp_path: Path) -> None:
    tiny_state(tiny()).snapshot({"step": 3}).write(tmp_path)
    with pytest.raises(FileExistsError, match="no exported checkpoint"):
        replaceable(str(tmp_path), overwrite=True)


def test_only_what_an_export_writes_is_replaced(tmp_path: Path) -> None:
    state = tiny_prior_state(tiny_prior())
    snapshot = state.snapshot({"step": 3})
    save_networks(tmp_path, snapshot.config, snapshot.networks, snapshot.manifest)
    (tmp_path / "notes.txt").write_text("mine")
    found = replaceable(str(tmp_path), overwrite=True)
    assert found == {"config.json", "manifest.json", "prior.safetensors", "frame.safetensors"}


def test_a_network_that_the_manifest_does_not_name_stays(tmp_path: Path) -> None:
    state = tiny_prior_state(tiny_prior())
    snapshot = state.snapshot({"step": 3})
    save_networks(tmp_path, snapshot.config, snapshot.networks, snapshot.manifest)
    (tmp_path / "generator.safetensors").write_bytes(b"mine")
    assert "generator.safetensors" not in replaceable(str(tmp_path), overwrite=True)
