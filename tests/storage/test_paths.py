"""What a path means, the same on a disk, in a real S3 server, and in another store of fsspec's."""

import gc
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs
import pytest

from vibe_ray import storage
from vibe_ray.storage import folders, remote

Place = Callable[[str], str]


@pytest.fixture(params=["disk", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give paths in a new folder: on this disk, in an S3 store, and in one of another scheme."""
    if request.param == "disk":
        root = str(tmp_path)
    elif request.param == "s3":
        root = request.getfixturevalue("s3")
    else:
        root = f"memory://bucket-{uuid.uuid4().hex[:8]}"
    return lambda name: storage.join(root, name)


@pytest.mark.parametrize(
    ("path", "names", "joined"),
    [
        ("runs", ("a", "b.json"), "runs/a/b.json"),
        ("runs/", ("/a/", "b"), "runs/a/b"),
        ("/", ("a",), "/a"),
        ("s3://bucket", ("a/b", "c"), "s3://bucket/a/b/c"),
        ("s3://bucket/", (), "s3://bucket"),
        ("gs://bucket/", ("a",), "gs://bucket/a"),
    ],
)
def test_join(path: str, names: tuple[str, ...], joined: str) -> None:
    assert storage.join(path, *names) == joined


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filesystem, inner = storage.resolve("a/b")
    assert isinstance(filesystem, pafs.LocalFileSystem)
    assert inner == str(tmp_path / "a/b")
    assert storage.resolve("~/a")[1] == str(Path.home() / "a")
    assert storage.absolute(f"file://{tmp_path}/a") == str(tmp_path / "a")
    assert not storage.is_remote(f"file://{tmp_path}/a")
    assert storage.absolute("s3://bucket/a") == "s3://bucket/a"


def test_every_form_of_a_path_in_a_store_is_listed_alike(place: Place) -> None:
    storage.write_bytes_atomic(place("folder/file"), b"")
    for form in (place("folder"), place("folder/")):
        root = storage.absolute(form).rstrip("/")
        assert storage.list_files(form) == [f"{root}/file"]


def test_a_scheme_that_nothing_knows_is_told() -> None:
    with pytest.raises(ValueError, match=r"nothing://bucket/a: .*nothing"):
        storage.check_reachable("nothing://bucket/a")


def test_a_scheme_whose_package_is_missing_names_it() -> None:
    fsspec.register_implementation("rare", "rare_package.Store", errtxt="Please install rare")
    with pytest.raises(ImportError, match=r"rare://bucket/a: .*install rare"):
        storage.check_writable("rare://bucket/a")


def test_what_was_written_is_read(place: Place) -> None:
    path = place("folder/below/file.bin")
    assert not storage.exists(path)
    storage.write_bytes_atomic(path, b"first")
    storage.write_bytes_atomic(path, b"\x00second")
    assert storage.read_bytes(path) == b"\x00second"
    assert storage.exists(path)
    assert storage.exists(place("folder"))
    assert storage.list_files(place("folder")) == [path]
    storage.delete_file(path)
    storage.delete_file(path)
    assert not storage.exists(path)


def test_compressed_files_are_read_as_they_are(place: Place) -> None:
    storage.write_bytes_atomic(place("file.gz"), b"not really gzip")
    assert storage.read_bytes(place("file.gz")) == b"not really gzip"


def test_a_missing_file_is_told_as_such(place: Place) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        storage.read_bytes(place("absent"))
    filesystem, inner = storage.resolve(place("absent"))
    with pytest.raises(FileNotFoundError):
        filesystem.open_input_file(inner)


def test_files_are_listed_at_all_depths_in_order(place: Place) -> None:
    for name in ("b/x.npz", "a/c/y.NPZ", "a/z.txt", "q.npz"):
        storage.write_bytes_atomic(place(name), b"")
    listed = [path.removeprefix(place("")) for path in storage.list_files(place(""), ".npz")]
    assert listed == ["a/c/y.NPZ", "b/x.npz", "q.npz"]
    assert storage.list_files(place("q.npz"), ".npz") == [place("q.npz")]
    assert storage.list_files(place("q.npz"), ".txt") == []
    assert storage.list_files(place("absent")) == []


def test_parts_of_a_file_can_be_read(place: Place) -> None:
    content = bytes(range(256)) * 100
    storage.write_bytes_atomic(place("file"), content)
    filesystem, inner = storage.resolve(place("file"))
    assert storage.read_bytes(place("file"), 300, 310) == content[300:310]
    assert storage.read_bytes(place("file"), start=-5) == content[-5:]
    assert storage.read_bytes(place("file"), start=-2 * len(content)) == content
    assert storage.read_bytes(place("file"), end=7) == content[:7]
    with filesystem.open_input_file(inner) as file:
        assert file.size() == len(content)
        assert file.read_at(10, 300) == content[300:310]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
        assert file.read_at(100, len(content) - 7) == content[-7:]
        assert file.read_at(1, len(content)) == b""


def test_ranges_that_are_named_before_are_read_at_once(place: Place) -> None:
    content = bytes(range(256)) * 1000
    storage.write_bytes_atomic(place("file"), content)
    with storage.open_ranges(place("file"), [200_000, 10], [200_100, 30]) as file:
        assert file.read_at(20, 10) == content[10:30]
        assert file.read_at(60, 200_010) == content[200_010:200_070]


def test_a_file_that_ends_before_its_range_does_is_told(s3: str) -> None:
    storage.write_bytes_atomic(f"{s3}/file", b"short")
    with pytest.raises(OSError, match=r"file: 3 bytes came of 18 from byte 2 on"):
        storage.open_ranges(f"{s3}/file", [2], [20])


def test_of_many_who_create_a_file_one_does(place: Place) -> None:
    def create(number: int) -> bool:
        return storage.create_exclusive(place("runs/claim"), b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, is_mine in enumerate(pool.map(create, range(8))) if is_mine]
    assert len(won) == 1
    assert storage.read_bytes(place("runs/claim")) == b"%d" % won[0]
    assert not create(9)
    assert storage.read_bytes(place("runs/claim")) == b"%d" % won[0]
    assert storage.list_files(place("runs")) == [place("runs/claim")], "nothing is left beside it"


def test_a_moved_file_is_where_it_was_sent_and_only_there(place: Place, tmp_path: Path) -> None:
    storage.write_bytes_atomic(place("runs/file"), b"old")
    source = tmp_path / "source"
    source.write_bytes(b"content")
    storage.move_file(source, place("runs/file"))
    assert storage.read_bytes(place("runs/file")) == b"content"
    assert storage.list_files(place("runs")) == [place("runs/file")]
    assert not source.exists()


def test_folders_go_up_and_come_down(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    files = {"manifest.json": b"{}", "weights.bin": b"\x01" * 1000, "deep/more.txt": b"text"}
    for name, content in files.items():
        (source / name).write_bytes(content)
    for _ in range(2):  # the second replaces the first
        storage.upload_directory(source, place("checkpoint"))
        with storage.local_copy(place("checkpoint")) as directory:
            found = {
                str(path.relative_to(directory)): path.read_bytes()
                for path in directory.rglob("*")
                if path.is_file()
            }
        assert found == files
    storage.delete_directory(place("checkpoint"))
    storage.delete_directory(place("checkpoint"))
    assert not storage.exists(place("checkpoint"))


def test_a_home_folder_is_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source/manifest.json").write_bytes(b"{}")
    storage.upload_directory(tmp_path / "source", "~/runs/step")
    assert (tmp_path / "home/runs/step/manifest.json").is_file()
    assert storage.list_files("~/runs") == [f"{tmp_path}/home/runs/step/manifest.json"]


def test_others_may_read_what_was_written_in_private(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o700)
    (source / "manifest.json").write_bytes(b"{}")
    (source / "manifest.json").chmod(0o600)
    before = os.umask(0o022)
    try:
        storage.upload_directory(source, str(tmp_path / "runs/step"))
    finally:
        os.umask(before)
    assert (tmp_path / "runs/step").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "runs/step/manifest.json").stat().st_mode & 0o777 == 0o644


def test_a_copy_of_nothing_is_an_error(s3: str) -> None:
    with pytest.raises(FileNotFoundError, match="nothing at"), storage.local_copy(f"{s3}/gone"):
        pass


def test_a_file_is_copied_as_a_folder_is(place: Place) -> None:
    storage.write_bytes_atomic(place("folder/body.pkl"), b"content")
    with storage.local_copy(place("folder/body.pkl")) as file:
        assert (file.name, file.read_bytes()) == ("body.pkl", b"content")
    assert storage.beside(place("folder/body.pkl"), "table.npy") == place("folder/table.npy")
    assert storage.beside("body.pkl", "table.npy") == "table.npy"


def test_many_small_files_go_up_and_come_down(s3: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    contents = {f"{number % 7}/{number:03d}": bytes([number % 256]) * 50 for number in range(60)}
    for name, content in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    storage.upload_directory(source, f"{s3}/many")
    assert len(storage.list_files(f"{s3}/many")) == 60
    with storage.local_copy(f"{s3}/many") as directory:
        assert {name: (directory / name).read_bytes() for name in contents} == contents
    storage.delete_directory(f"{s3}/many")
    assert storage.list_files(s3) == []


def test_large_objects_arrive_whole(s3: str) -> None:
    """Larger than what one request takes: pyarrow sends parts."""
    content = bytes(range(256)) * (25 * 2**20 // 256)
    storage.write_bytes_atomic(f"{s3}/large", content)
    assert storage.read_bytes(f"{s3}/large") == content
    filesystem, inner = storage.resolve(f"{s3}/large")
    with filesystem.open_input_file(inner) as file:
        assert file.read_at(2**20, 11 * 2**20 + 3) == content[11 * 2**20 + 3 :][: 2**20]


def test_a_key_cannot_lead_out_of_a_copied_folder(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes_atomic(f"{s3}/folder/file", b"")
    monkeypatch.setattr(folders, "list_files", lambda path: [f"{path}/../../outside"])
    with (
        pytest.raises(ValueError, match=r"outside would be copied out of its folder"),
        storage.local_copy(f"{s3}/folder"),
    ):
        pass


@pytest.mark.parametrize("place", ["s3", "memory"], indirect=True)
def test_a_stream_that_is_given_up_leaves_nothing(place: Place) -> None:
    filesystem, inner = storage.resolve(place("file"))
    stream = filesystem.open_output_stream(inner)
    stream.write(b"half")
    del stream
    gc.collect()
    assert not storage.exists(place("file"))


def test_stores_of_any_scheme_are_written_through_pyarrow(place: Place) -> None:
    filesystem, inner = storage.resolve(place("folder/file"))
    filesystem.create_dir(inner.rpartition("/")[0], recursive=True)
    with filesystem.open_output_stream(inner) as stream:
        stream.write(b"one, ")
        stream.write(b"two")
    assert storage.read_bytes(place("folder/file")) == b"one, two"
    assert filesystem.open_input_stream(inner).read() == b"one, two"


def test_writable_places_are_found_so_and_left_clean(place: Place) -> None:
    storage.check_writable(place("runs"))
    assert storage.list_files(place("runs")) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(PermissionError, match=r"cannot write to .*runs.*another folder"):
        storage.check_writable(str(tmp_path / "runs"))


def test_a_large_file_comes_down_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(250)) * 10
    storage.write_bytes_atomic(place("large"), content)
    monkeypatch.setattr(remote, "PIECE_BYTES", 1000)
    with storage.local_copy(place("large")) as file:
        assert file.read_bytes() == content


def test_memory_holds_a_piece_of_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes_atomic("memory://bucket/large", bytes(2500))
    filesystem, _ = remote.connect("memory://bucket/large")
    read, lengths = type(filesystem).cat_file, []

    def cat_file(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        lengths.append(len(found := read(self, path, start=start, end=end)))
        return bytes(found)

    monkeypatch.setattr(type(filesystem), "cat_file", cat_file)
    monkeypatch.setattr(remote, "PIECE_BYTES", 1000)
    with storage.local_copy("memory://bucket/large"):
        assert lengths == [1000, 1000, 500]


def test_a_file_replaced_while_it_is_copied_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes_atomic("memory://bucket/large", bytes(2500))
    filesystem, _ = remote.connect("memory://bucket/large")
    versions = iter(["one", "another"])
    monkeypatch.setattr(type(filesystem), "ukey", lambda self, path: next(versions))
    monkeypatch.setattr(remote, "PIECE_BYTES", 1000)
    with (
        pytest.raises(OSError, match="memory://bucket/large was replaced while it was copied"),
        storage.local_copy("memory://bucket/large"),
    ):
        pass
