"""Files on a disk are whole or not there, whatever fails and whenever the power goes."""

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vibe_ray import storage

Event = tuple[str, Path]


class Disk:
    """What is asked of a disk, in order: `sync` of files and folders, and new names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        sync, replace, link, mkdir = os.fsync, os.replace, os.link, os.mkdir

        def named(act: Callable[..., None], target: int) -> Callable[..., None]:
            def do(*args: object, **named: object) -> None:
                act(*args, **named)
                self.events.append(("name", Path(str(args[target]))))

            return do

        def fsync(handle: int) -> None:
            sync(handle)
            self.events.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", named(replace, 1))
        monkeypatch.setattr(os, "link", named(link, 1))
        monkeypatch.setattr(os, "mkdir", named(mkdir, 0))

    def when(self, kind: str, path: Path) -> list[int]:
        return [index for index, event in enumerate(self.events) if event == (kind, path)]

    def survives(self, path: Path, root: Path) -> bool:
        """Whether a power cut now would leave a path: every new name's folder was synced after."""
        while path != root:
            given = self.when("name", path)
            if given and not any(index > given[-1] for index in self.when("sync", path.parent)):
                return False
            path = path.parent
        return True


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    return Disk(monkeypatch)


def test_the_watch_sees_what_is_not_synced(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "a").replace(tmp_path / "folder/b")
    assert not disk.survives(tmp_path / "folder/b", tmp_path)
    handle = os.open(tmp_path / "folder", os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    assert not disk.survives(tmp_path / "folder/b", tmp_path), "the folder's own name is not"


@pytest.mark.parametrize("act", ["write", "create", "move"])
def test_a_files_content_is_on_the_disk_before_its_name(
    act: str, disk: Disk, tmp_path: Path
) -> None:
    target, source = tmp_path / "new/deep/file", tmp_path / "source"
    source.write_bytes(b"content")
    if act == "write":
        storage.write_bytes_atomic(str(target), b"content")
    elif act == "create":
        assert storage.create_exclusive(str(target), b"content")
    else:
        storage.move_file(source, str(target))
    assert target.read_bytes() == b"content"
    (named,) = disk.when("name", target)
    synced = [event for event in disk.events[:named] if event[0] == "sync" and event[1] != target]
    written = [path for _, path in synced if path.name == "source" or path.suffix == ".tmp"]
    assert len(written) == 1, "the content, under the name that it had before"
    assert disk.survives(target, tmp_path)


def test_a_folder_is_on_the_disk_before_its_name(disk: Disk, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("manifest.json", "deep/er/weights.bin", "deep/other.bin"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    target = tmp_path / "runs/step"
    for _ in range(2):
        disk.events.clear()
        storage.upload_directory(source, str(target))
        named = disk.when("name", target)[-1]
        before = {path for kind, path in disk.events[:named] if kind == "sync"}
        (temporary,) = {path for path in before if path.suffix == ".tmp"}
        for path in source.rglob("*"):
            assert temporary / path.relative_to(source) in before
        assert disk.survives(target, tmp_path)
        assert [path.name for path in target.parent.iterdir()] == ["step"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        storage.write_bytes_atomic(str(path), b"new")
    with pytest.raises(OSError, match="disk full"):
        storage.create_exclusive(str(tmp_path / "claim"), b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_a_failed_move_leaves_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, source = tmp_path / "runs/file", tmp_path / "source"
    for file in (path, source):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(file.name.encode())

    def refuse(old: object, new: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="broken"):
        storage.move_file(source, str(path))
    assert (path.read_bytes(), source.read_bytes()) == (b"file", b"source")


def test_a_file_moves_from_one_disk_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "runs/file"
    source.write_bytes(b"content")
    replace = os.replace

    def between(old: object, new: object) -> None:
        if Path(str(old)) == source:
            raise OSError(errno.EXDEV, "another disk")
        replace(str(old), str(new))

    monkeypatch.setattr(os, "replace", between)
    storage.move_file(source, str(target))
    assert target.read_bytes() == b"content"
    assert sorted(tmp_path.rglob("*")) == [target.parent, target]


def test_where_there_are_no_links_a_file_is_created_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "no links here")

    monkeypatch.setattr(os, "link", unable)
    path = tmp_path / "claim"
    assert storage.create_exclusive(str(path), b"first")
    assert not storage.create_exclusive(str(path), b"second")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("claim", b"first")]


def test_filesystems_that_cannot_sync_folders_are_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fsync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "not of folders")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write_bytes_atomic(str(tmp_path / "a/file"), b"content")
    assert (tmp_path / "a/file").read_bytes() == b"content"


def written(folder: Path, new: Path) -> None:
    storage.write_bytes_atomic(str(folder / "file"), b"new")


def created(folder: Path, new: Path) -> None:
    storage.create_exclusive(str(folder / "other"), b"new")


def copied(folder: Path, new: Path) -> None:
    storage.upload_directory(new, str(folder / "sub"))


def joined(folder: Path, new: Path) -> None:
    storage.put_files(new, str(folder / "sub"))


def moved(folder: Path, new: Path) -> None:
    storage.move_file(new / "file", str(folder / "file"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("act", [written, created, copied, joined, moved])
def test_a_full_disk_is_told_by_what_has_no_room(
    act: Callable[[Path, Path], None],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is full when content is to reach it, as behind a cache it is."""
    folder, new = tmp_path / "full", tmp_path / "new"
    for path, text in ((folder / "file", "old"), (folder / "sub/file", "old"), (new / "file", "")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        storage.DiskFullError, match=rf"no room for {folder}.*\({os.strerror(number)}\)"
    ):
        act(folder, new)
    left = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert set(left) == {"file", "sub/file"}
    assert {path.read_text() for path in left.values()} == {"old"}


def test_what_else_a_disk_says_is_handed_on() -> None:
    words = os.strerror(errno.ENOSPC)
    others = (RuntimeError(words), ValueError(f"what no library for this path says: {words}"))
    for error in (OSError(errno.EIO, "broken"), RuntimeError("no space"), ValueError("x"), *others):
        with pytest.raises(type(error)) as raised, storage.room_for("here"):
            raise error
        assert raised.value is error


def test_a_full_disk_is_known_by_the_systems_words() -> None:
    told = functools.partial(storage.room_for, "here", told_by=RuntimeError)
    words = f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"  # as safetensors has them
    with pytest.raises(storage.DiskFullError, match="no room for here"), told():
        raise RuntimeError(words)


def test_the_libraries_error_that_met_a_full_disk_is_not_lost() -> None:
    full = OSError(errno.ENOSPC, "full")
    for error in (full, RuntimeError("closed before its end")):
        error.__context__ = None if error is full else full
        with pytest.raises(storage.DiskFullError) as raised, storage.room_for("here"):
            raise error
        assert raised.value.__cause__ is error
