"""Local paths, and a real server that speaks S3, which may go away."""

import gc
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from tests.integration.object_server import ObjectServer
from vibe_ray import storage
from vibe_ray.storage import buckets, paths, retrying
from vibe_ray.storage.object_store import RetryingS3

Place = Callable[[str], str]
OBJECT = bytes(range(250)) * 4


@dataclass(frozen=True)
class Object:
    tag: str = "1"


Answer = Object | tuple[int, str]


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give paths in a new folder, once on this disk and once in an object store."""
    root = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3")
    return lambda name: storage.join(root, name)


@pytest.mark.parametrize(
    ("path", "names", "joined"),
    [
        ("runs", ("a", "b.json"), "runs/a/b.json"),
        ("runs/", ("/a/", "b"), "runs/a/b"),
        ("/", ("a",), "/a"),
        ("s3://bucket", ("a/b", "c"), "s3://bucket/a/b/c"),
        ("s3://bucket/", (), "s3://bucket"),
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


def test_a_listing_holds_a_folder_and_not_what_is_called_alike(s3: str) -> None:
    for name in ("run/a", "run/b/", "run2/c", "run.json"):  # one stands for a folder
        boto3.client("s3").put_object(Bucket=s3.removeprefix("s3://"), Key=name, Body=b"")
    assert storage.list_files(f"{s3}/run") == [f"{s3}/run/a"]
    assert storage.list_files(f"{s3}/run/") == [f"{s3}/run/a"]
    assert storage.list_files(f"{s3}/run.json") == [f"{s3}/run.json"]


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
    with filesystem.open_input_file(inner) as file:
        assert file.size() == len(content)
        assert file.read_at(10, 300) == content[300:310]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
        assert file.read_at(100, len(content) - 7) == content[-7:]
        assert file.read_at(1, len(content)) == b""


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


def test_a_replaced_folder_is_never_half_of_each(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest goes first and comes last; what only the old one had is gone."""
    for name in ("a.bin", "manifest.json", "only_old.bin"):
        (tmp_path / name).write_bytes(b"old")
    storage.upload_directory(tmp_path, s3)
    (tmp_path / "only_old.bin").unlink()
    (tmp_path / "z.bin").write_bytes(b"new")
    there: list[tuple[str, bool]] = []
    write = storage.write_bytes_atomic

    def record(path: str, content: bytes) -> None:
        there.append((path.rsplit("/", 1)[-1], storage.exists(f"{s3}/manifest.json")))
        write(path, content)

    monkeypatch.setattr(paths, "write_bytes_atomic", record)
    storage.upload_directory(tmp_path, s3)
    assert sorted(there) == [("a.bin", False), ("manifest.json", False), ("z.bin", False)]
    assert there[-1][0] == "manifest.json"
    names = [path.removeprefix(f"{s3}/") for path in storage.list_files(s3)]
    assert names == ["a.bin", "manifest.json", "z.bin"]


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
    monkeypatch.setattr(paths, "list_files", lambda path: [f"{path}/../../outside"])
    with (
        pytest.raises(ValueError, match=r"outside would be copied out of its folder"),
        storage.local_copy(f"{s3}/folder"),
    ):
        pass


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.write_bytes_atomic(str(path), b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_a_stream_that_is_given_up_leaves_nothing_in_the_store(s3: str) -> None:
    filesystem, inner = storage.resolve(f"{s3}/file")
    stream = filesystem.open_output_stream(inner)
    stream.write(b"half")
    del stream
    gc.collect()
    assert not storage.exists(f"{s3}/file")


def test_writable_places_are_found_so_and_left_clean(place: Place) -> None:
    storage.check_writable(place("runs"))
    assert storage.list_files(place("runs")) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(PermissionError, match=r"cannot write to .*runs.*another --storage"):
        storage.check_writable(str(tmp_path / "runs"))


def test_a_missing_bucket_is_told(s3: str) -> None:
    with pytest.raises(FileNotFoundError, match="no bucket 'absent-bucket': create it first"):
        storage.check_writable("s3://absent-bucket/runs")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("s3://absent-bucket/file")
    with pytest.raises(FileNotFoundError, match="no bucket 'absent-bucket'"):
        storage.list_files("s3://absent-bucket/runs")


class Scripted(BaseHTTPRequestHandler):
    """Answers as told: a status with a code, an object of 1000 bytes, or a part of it."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[Answer]] = []
    """What is answered, one after the other, and then the object."""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.command)
        answer = self.script.pop(0) if self.script else Object()
        if isinstance(answer, Object):
            self._send(206, OBJECT, {"ETag": answer.tag, "Content-Type": "binary/octet-stream"})
            return
        status, code = answer
        if status == 206:
            self._send(206, OBJECT, {"ETag": "1"}, length=300)
            self.connection.close()
            return
        self._send(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"", {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:length])
            self.wfile.flush()
        self.close_connection = length is not None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def scripted(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scripted]]:
    """A store that answers as a test says; for everything else, a stand-in for `s3`."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.01)
    Scripted.script, Scripted.asked = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield Scripted
        server.shutdown()


def test_wrong_credentials_are_told_without_repeating_them(scripted: type[Scripted]) -> None:
    scripted.script = [(403, "")]
    with pytest.raises(PermissionError, match="status 403: check AWS_ACCESS_KEY_ID") as error:
        storage.check_writable("s3://bucket/runs")
    assert "a-secret-of-the-tests" not in str(error.value)
    assert "AKIATESTONLY" not in str(error.value)


def test_what_is_no_store_is_told(scripted: type[Scripted]) -> None:
    scripted.script = [(503, "")] * 10
    with pytest.raises(ConnectionError, match="status 503: it is busy, starting, or no object"):
        storage.check_reachable("s3://bucket/runs")


def test_an_endpoint_that_is_no_address_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with pytest.raises(ValueError, match=r"is '127\.0\.0\.1:9000', expected http://HOST"):
        storage.check_reachable(s3)


def test_missing_credentials_are_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(PermissionError, match="no credentials for bucket"):
        storage.check_reachable(s3)


def test_a_bucket_in_another_region_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"x-amz-bucket-region": "eu-west-1"}
    buckets._check_region("bucket", headers)  # another store's regions mean nothing
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(ValueError, match="set AWS_REGION=eu-west-1"):
        buckets._check_region("bucket", headers)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    buckets._check_region("bucket", headers)


@pytest.mark.parametrize(
    ("at", "failure"),
    [("GET", (500, "")), ("GET", (500, "InternalError")), ("GET", (503, "SlowDown")),
     ("HEAD", (502, "")), ("HEAD", (503, "SlowDown")), ("HEAD", (504, "")), ("GET", (429, "")),
     ("HEAD", (408, ""))],
)  # fmt: skip
def test_busy_stores_are_asked_again(
    scripted: type[Scripted], at: str, failure: tuple[int, str]
) -> None:
    failures = [failure] * buckets.ATTEMPTS  # more often than pyarrow does by itself
    scripted.script = [*([Object()] if at == "GET" else []), *failures]
    assert storage.read_bytes("s3://bucket/key") == OBJECT


def test_listing_is_repeated_and_refused_as_reading_is(scripted: type[Scripted]) -> None:
    scripted.script = [(503, "SlowDown")] * buckets.ATTEMPTS + [(403, "AccessDenied")] * 9
    with pytest.raises(OSError, match=r"HTTP status 403.* during ListObjectsV2"):
        storage.list_files("s3://bucket/folder")
    assert len(scripted.asked) == buckets.ATTEMPTS + 1


@pytest.mark.parametrize(
    "failure",
    [(403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"),
     (404, "NoSuchBucket"), (404, "NoSuchKey"), (400, "ExpiredToken"), (301, "")],
)  # fmt: skip
def test_what_will_not_pass_is_asked_once(
    scripted: type[Scripted], failure: tuple[int, str]
) -> None:
    scripted.script = [Object(), *[failure] * 9]
    with pytest.raises(OSError, match="during GetObject"):
        storage.read_bytes("s3://bucket/AWS Error SLOW_DOWN during Get operation: key")
    assert scripted.asked == ["HEAD", "GET"]


def test_a_cut_off_object_is_fetched_again(scripted: type[Scripted]) -> None:
    cut = (206, "cut")
    scripted.script = [Object(), cut, cut]
    assert storage.read_bytes("s3://bucket/key") == OBJECT
    filesystem, inner = storage.resolve("s3://bucket/key")
    with filesystem.open_input_file(inner) as file:
        scripted.script = [cut, cut]
        assert file.read_at(1000, 0) == OBJECT


def test_an_object_replaced_while_it_is_read_is_read_again(scripted: type[Scripted]) -> None:
    """Else the size is the old one's and the content the new one's."""
    scripted.script = [Object("1"), Object("2"), Object("2")]
    assert storage.read_bytes("s3://bucket/key") == OBJECT
    assert scripted.asked == ["HEAD", "GET", "HEAD"] * 2


def test_a_store_that_is_not_there_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:word@127.0.0.1:{_free_port()}")
    with pytest.raises(ConnectionError, match=r"cannot reach bucket .* AWS_ENDPOINT_URL") as error:
        storage.check_writable(f"{s3}/runs")
    assert "word" not in str(error.value)


def test_a_pickled_filesystem_holds_no_credentials_and_works(s3: str) -> None:
    storage.write_bytes_atomic(f"{s3}/file", b"content")
    filesystem, inner = storage.resolve(f"{s3}/file")
    filesystem.get_file_info(inner)
    pickled = pickle.dumps(filesystem)
    assert b"a-secret-of-the-tests" not in pickled
    assert b"AKIATESTONLY" not in pickled
    again = pickle.loads(pickled)
    assert again == filesystem
    assert again.open_input_stream(inner).read() == b"content"


class Gate:
    """Hands connections on to a server while it is open."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections: list[socket.socket] = []
        self.listener: socket.socket | None = None

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        assert self.listener is not None
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        self.connections = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.connections += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def gate(s3: str, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The only way to the object store."""
    gate = Gate(object_server.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    gate.open()
    yield gate
    if gate.listener is not None and gate.listener.fileno() != -1:
        gate.close()


def test_a_store_that_comes_back_loses_nothing(s3: str, gate: Gate) -> None:
    storage.write_bytes_atomic(f"{s3}/before", b"before")
    filesystem, inner = storage.resolve(f"{s3}/before")
    file = filesystem.open_input_file(inner)

    def outage(request: Callable[[], object]) -> object:
        gate.close()
        timer = threading.Timer(0.5, gate.open)
        timer.start()
        found = request()
        timer.join()
        return found

    assert outage(lambda: storage.read_bytes(f"{s3}/before")) == b"before"
    assert outage(lambda: file.read_at(3, 2)) == b"for"
    outage(lambda: storage.write_bytes_atomic(f"{s3}/during", b"during"))
    assert outage(lambda: storage.list_files(s3)) == [f"{s3}/before", f"{s3}/during"]
    assert storage.read_bytes(f"{s3}/during") == b"during"


def test_a_store_that_stays_away_is_an_error_in_the_end(s3: str, gate: Gate) -> None:
    gate.close()
    filesystem = pafs.PyFileSystem(RetryingS3(retry_seconds=0.5))
    with pytest.raises(ConnectionError, match=rf"{gate.url} has failed .*NETWORK_CONNECTION"):
        filesystem.open_input_stream(f"{s3.removeprefix('s3://')}/file")


def test_only_what_is_no_secret_goes_to_other_machines(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    found = storage.shared_environment()
    assert found.keys() == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}


def test_objects_neither_grow_nor_vanish_all_at_once(s3: str) -> None:
    filesystem, inner = storage.resolve(f"{s3}/file")
    with pytest.raises(NotImplementedError):
        filesystem.open_append_stream(inner)
    with pytest.raises((NotImplementedError, pa.ArrowException)):
        filesystem.delete_dir_contents("", accept_root_dir=True)
    filesystem.create_dir(inner, recursive=True)
    assert boto3.client("s3").list_objects_v2(Bucket=inner.split("/")[0])["KeyCount"] == 0


def test_objects_can_be_moved_and_copied(s3: str) -> None:
    storage.write_bytes_atomic(f"{s3}/a/one", b"1")
    filesystem, root = storage.resolve(s3)
    filesystem.copy_file(f"{root}/a/one", f"{root}/b/two")
    filesystem.move(f"{root}/a/one", f"{root}/c/three")
    assert storage.list_files(s3) == [f"{s3}/b/two", f"{s3}/c/three"]
    filesystem.delete_dir_contents(f"{root}/c")
    assert storage.list_files(s3) == [f"{s3}/b/two"]
    assert filesystem.normalize_path(f"{root}/b") == f"{root}/b"
    assert filesystem.type_name == "py::retrying-s3"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
