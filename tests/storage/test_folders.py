"""Folders as wholes: what of a folder is replaced, and what stays."""

from pathlib import Path

import pytest

from vibe_ray import storage


@pytest.fixture
def root(anywhere: str) -> str:
    return anywhere


def put(root: str, *names: str) -> None:
    for name in names:
        storage.write_bytes_atomic(storage.join(root, name), name.encode())


def test_hidden_files_are_nobodys(root: str) -> None:
    assert storage.visible_files(root) == []
    put(root, "b", "a/c", ".gitkeep", ".old.1234/x", "a/.hidden")
    assert storage.visible_files(root) == ["a/c", "b"]


def test_files_are_put_beside_others_and_in_the_place_of_those_named(
    root: str, tmp_path: Path
) -> None:
    put(root, "manifest.json", "weights", "gone", "users/own", "notes.txt")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("manifest.json", "weights", "more"):
        (source / name).write_text("new")
    storage.put_files(source, root, replaced={"manifest.json", "weights", "gone"})
    found = {
        name: storage.read_bytes(storage.join(root, name)).decode()
        for name in storage.visible_files(root)
    }
    new = dict.fromkeys(("manifest.json", "more", "weights"), "new")
    assert found == {**new, "notes.txt": "notes.txt", "users/own": "users/own"}
