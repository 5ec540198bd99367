"""S3 as a run meets it: stores that are busy, go away, refuse, answer half or not at all."""

import asyncio
import logging
import multiprocessing
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.integration.object_server import ObjectServer
from vibe_ray import storage
from vibe_ray.storage import folders
from vibe_ray.storage import s3 as module

OBJECT = bytes(range(250)) * 4
SECRET = b"a-secret-of-the-tests"


@dataclass(frozen=True)
class Object:
    """An answer: the object, or as much of it as is sent before the connection is cut."""

    sent: int = len(OBJECT)


@dataclass(frozen=True)
class Lost:
    """No answer to a request that was obeyed."""


Answer = Object | Lost | tuple[int, str]


class Scripted(BaseHTTPRequestHandler):
    """Answers as told, and then with an object of 1000 bytes."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[Answer]] = []
    asked: ClassVar[list[str]] = []
    mark: ClassVar[str] = ""
    """Of the object that was put last."""

    def do_GET(self) -> None:
        self.asked.append(self.command)
        answer = self.script.pop(0) if self.script else Object()
        if isinstance(answer, Lost):
            self.close_connection = True
        elif isinstance(answer, Object):
            self._send(200, OBJECT, {"x-amz-meta-mark": self.mark}, answer.sent)
        else:
            status, code = answer
            content = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
            self._send(status, content, {}, len(content))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.script or isinstance(self.script[0], Lost):
            Scripted.mark = self.headers.get("x-amz-meta-mark", "")
        self.do_GET()

    def _send(self, status: int, content: bytes, headers: dict[str, str], sent: int) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content)), "ETag": '"1"'} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
            self.wfile.flush()
        self.close_connection = sent < len(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def scripted(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scripted]]:
    """A store that answers as a test says; for everything else, a stand-in for `s3`."""
    Scripted.script, Scripted.asked, Scripted.mark = [], [], ""
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield Scripted
        server.shutdown()


def read_part(path: str) -> bytes:
    """The whole of an object, through a file of pyarrow's from which ranges are read."""
    filesystem, inner = storage.resolve(path)
    with filesystem.open_input_file(inner) as file:
        return bytes(file.read_at(len(OBJECT), 0))


@pytest.mark.parametrize(
    ("ask", "failure"),
    [(storage.read_bytes, (500, "InternalError")), (storage.read_bytes, (503, "SlowDown")),
     (storage.read_bytes, (400, "RequestTimeout")), (storage.read_bytes, (409, "OperationAborted")),
     *((ask, (status, "")) for ask in (storage.read_bytes, storage.exists)
       for status in (408, 429, 500, 502, 503, 504))],
)  # fmt: skip
def test_busy_stores_are_asked_again(
    scripted: type[Scripted], ask: Callable[[str], object], failure: tuple[int, str]
) -> None:
    scripted.script = [failure] * (module.ATTEMPTS + 1)  # more often than a client does by itself
    assert ask("s3://bucket/key") in (OBJECT, True)


@pytest.mark.parametrize(
    "failure",
    [(403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"),
     (404, "NoSuchBucket"), (404, "NoSuchKey"), (400, "ExpiredToken"), (412, "")],
)  # fmt: skip
def test_what_will_not_pass_is_asked_once(
    scripted: type[Scripted], failure: tuple[int, str]
) -> None:
    scripted.script = [failure] * 9
    with pytest.raises(OSError, match=r"GetObject|no bucket"):
        storage.read_bytes("s3://bucket/SlowDown 503 ConnectTimeoutError")
    assert scripted.asked == ["GET"]


def test_an_object_that_lies_elsewhere_is_not_waited_for(scripted: type[Scripted]) -> None:
    """The client asks where, which it is told no more than before."""
    scripted.script = [(301, "PermanentRedirect")] * 9
    with pytest.raises(OSError, match="s3://bucket/key"):
        storage.read_bytes("s3://bucket/key")
    assert scripted.asked.count("GET") == 1


def test_listing_is_repeated_and_refused_as_reading_is(scripted: type[Scripted]) -> None:
    scripted.script = [(503, "SlowDown")] * module.ATTEMPTS + [(403, "AccessDenied")] * 9
    with pytest.raises(PermissionError, match=r"s3://bucket/folder/: .*AccessDenied.*ListObjects"):
        storage.list_files("s3://bucket/folder")
    assert len(scripted.asked) == module.ATTEMPTS + 1


@pytest.mark.parametrize("read", [storage.read_bytes, read_part])
def test_a_cut_off_object_is_fetched_again(
    scripted: type[Scripted], read: Callable[[str], bytes]
) -> None:
    heads = [Object()] if read is read_part else []
    scripted.script = [*heads, Object(300), Object(0), Object(999)]
    assert read("s3://bucket/key") == OBJECT
    assert scripted.asked.count("GET") == 4


def test_an_object_is_read_by_one_request_however_large(
    scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object that is replaced meanwhile, two would bring a part each."""
    monkeypatch.setattr(module.connect(), "default_block_size", 100)
    assert storage.read_bytes("s3://bucket/key") == OBJECT
    assert scripted.asked == ["GET"]


def test_an_object_is_put_by_one_request_however_large(s3: str) -> None:
    content = bytes(range(256)) * (120 * 2**20 // 256)
    storage.write_bytes_atomic(f"{s3}/large", content)
    tag = boto3.client("s3").head_object(Bucket=s3.removeprefix("s3://"), Key="large")["ETag"]
    assert "-" not in tag, "no parts"
    assert storage.read_bytes(f"{s3}/large") == content


def test_a_file_is_created_though_the_answer_was_lost(scripted: type[Scripted]) -> None:
    absent = (404, "")
    scripted.script = [absent, Lost(), (412, "PreconditionFailed")]
    assert storage.create_exclusive("s3://bucket/claim", b"mine")
    assert scripted.asked == ["HEAD", "PUT", "PUT", "HEAD"]


def test_a_file_that_another_creates_meanwhile_is_the_others(scripted: type[Scripted]) -> None:
    scripted.mark = "of another"
    scripted.script = [(404, ""), (412, "PreconditionFailed")]
    assert not storage.create_exclusive("s3://bucket/claim", b"mine")


def test_a_store_that_cannot_create_says_so(scripted: type[Scripted]) -> None:
    scripted.script = [(404, ""), (501, "NotImplemented")]
    with pytest.raises(OSError, match=r"s3://bucket/claim: .*NotImplemented"):
        storage.create_exclusive("s3://bucket/claim", b"mine")


def test_an_upload_that_nobody_takes_has_failed(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands, and not a byte moves: only we can see that."""
    for name in ("CONNECT_SECONDS", "SILENCE_SECONDS"):
        monkeypatch.setattr(module, name, 0.2)
    monkeypatch.setattr(module, "LEAST_UPLOAD_RATE", 2**30)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and reads nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ConnectionError, match="TimeoutError"):
            storage.write_bytes_atomic(f"{s3}/file", bytes(64 * 2**20))


def test_a_pickled_filesystem_holds_no_credentials_and_works(s3: str) -> None:
    storage.write_bytes_atomic(f"{s3}/file", b"content")
    filesystem, inner = storage.resolve(f"{s3}/file")
    filesystem.get_file_info(inner)
    pickled = pickle.dumps(filesystem)
    assert SECRET not in pickled
    assert b"AKIATESTONLY" not in pickled
    assert b"127.0.0.1" not in pickled, "nor of the address, which may hold a password"
    again = pickle.loads(pickled)
    assert again == filesystem
    assert again.open_input_stream(inner).read() == b"content"


def test_whoever_unpickles_connects_by_its_own_environment(
    s3: str, monkeypatch: pytest.MonkeyPatch, scripted: type[Scripted]
) -> None:
    filesystem, inner = storage.resolve(f"{s3}/file")
    pickled = pickle.dumps(filesystem)
    assert pickle.loads(pickled).open_input_stream(inner).read() == OBJECT
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_free_port()}")
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    with pytest.raises(ConnectionError):
        pickle.loads(pickled).open_input_stream(inner)


def test_no_secret_is_logged_even_when_all_is(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        storage.write_bytes_atomic(f"{s3}/file", b"content")
        assert storage.list_files(s3) == [f"{s3}/file"]
    assert "CALL: put_object" in caplog.text
    assert SECRET.decode() not in caplog.text


def _read_in(path: str, answers: "multiprocessing.Queue[bytes]") -> None:
    answers.put(storage.read_bytes(path))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_are_started_read_too(
    s3: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forked one has no thread for its parent's connections."""
    storage.write_bytes_atomic(f"{s3}/file", b"content")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    context = multiprocessing.get_context(start)
    answers: multiprocessing.Queue[bytes] = context.Queue()
    process = context.Process(target=_read_in, args=(f"{s3}/file", answers))
    process.start()
    try:
        assert answers.get(timeout=60) == b"content"
    finally:
        process.kill()
        process.join()


def test_threads_and_event_loops_read_too(s3: str) -> None:
    for number in range(20):
        storage.write_bytes_atomic(f"{s3}/{number}", b"%d" % number)

    async def within_a_loop() -> bytes:
        return storage.read_bytes(f"{s3}/3")

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda number: storage.read_bytes(f"{s3}/{number}"), range(20)))
    assert found == [b"%d" % number for number in range(20)]
    assert asyncio.run(within_a_loop()) == b"3"


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
    assert outage(lambda: storage.exists(f"{s3}/before"))
    outage(lambda: storage.write_bytes_atomic(f"{s3}/during", b"during"))
    assert outage(lambda: storage.list_files(s3)) == [f"{s3}/before", f"{s3}/during"]
    assert outage(lambda: storage.create_exclusive(f"{s3}/claim", b"")) is True
    outage(lambda: storage.delete_file(f"{s3}/claim"))
    assert storage.read_bytes(f"{s3}/during") == b"during"
    assert not storage.exists(f"{s3}/claim")


def test_a_store_that_stays_away_is_an_error_in_the_end(
    s3: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.close()
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    filesystem, inner = storage.resolve(f"{s3}/file")
    with pytest.raises(ConnectionError, match=rf"{gate.url} has failed .*Could not connect"):
        filesystem.open_input_stream(inner)


def test_objects_neither_grow_nor_vanish_all_at_once(s3: str) -> None:
    filesystem, inner = storage.resolve(f"{s3}/file")
    bucket = inner.split("/")[0]
    storage.write_bytes_atomic(f"{s3}/other", b"")
    with pytest.raises(NotImplementedError):
        filesystem.open_append_stream(inner)
    with pytest.raises((NotImplementedError, pa.ArrowException)):
        filesystem.delete_dir_contents("", accept_root_dir=True)
    with pytest.raises(NotImplementedError, match="whole bucket"):
        filesystem.delete_dir(bucket)
    filesystem.create_dir(inner, recursive=True)
    filesystem.create_dir("new-bucket/folder", recursive=True)
    assert boto3.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    names = [found["Name"] for found in boto3.client("s3").list_buckets()["Buckets"]]
    assert "new-bucket" not in names


def test_objects_can_be_moved_and_copied(s3: str) -> None:
    storage.write_bytes_atomic(f"{s3}/a/one", b"1")
    filesystem, root = storage.resolve(s3)
    filesystem.copy_file(f"{root}/a/one", f"{root}/b/two")
    filesystem.move(f"{root}/a/one", f"{root}/c/three")
    assert storage.list_files(s3) == [f"{s3}/b/two", f"{s3}/c/three"]
    filesystem.delete_dir_contents(f"{root}/c")
    assert storage.list_files(s3) == [f"{s3}/b/two"]


def test_a_listing_holds_a_folder_and_not_what_is_called_alike(s3: str) -> None:
    for name in ("run/a", "run/b/", "run2/c", "run.json"):  # one stands for a folder
        boto3.client("s3").put_object(Bucket=s3.removeprefix("s3://"), Key=name, Body=b"")
    assert storage.list_files(f"{s3}/run") == [f"{s3}/run/a"]
    assert storage.list_files(f"{s3}/run/") == [f"{s3}/run/a"]
    assert storage.list_files(f"{s3}/run.json") == [f"{s3}/run.json"]
    storage.delete_directory(f"{s3}/run")
    assert not storage.exists(f"{s3}/run"), "nor what stood for a folder"
    assert storage.list_files(s3) == [f"{s3}/run.json", f"{s3}/run2/c"]


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

    monkeypatch.setattr(folders, "write_bytes_atomic", record)
    storage.upload_directory(tmp_path, s3)
    assert sorted(there) == [("a.bin", False), ("manifest.json", False), ("z.bin", False)]
    assert there[-1][0] == "manifest.json"
    names = [path.removeprefix(f"{s3}/") for path in storage.list_files(s3)]
    assert names == ["a.bin", "manifest.json", "z.bin"]


def refused(status: int, code: str, message: str = "") -> ClientError:
    said = {"Error": {"Code": code, "Message": message}}
    return ClientError(said | {"ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # type: ignore[arg-type]


AWAY = EndpointConnectionError(endpoint_url="http://user:word@host/key?X-Amz-Signature=secret&more")


@dataclass
class Failing:
    """A request that succeeds after so many failures."""

    times: int
    error: Exception = field(default_factory=lambda: AWAY)

    async def __call__(self) -> str:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return "content"


def wait_for(request: Callable[[], object]) -> object:
    return asyncio.run(module.patiently(request))  # type: ignore[arg-type]


def test_a_short_outage_is_told_twice(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://host")
    assert wait_for(Failing(5)) == "content"
    first, last = (record.getMessage() for record in caplog.records)
    assert first == (
        "the object store http://host has failed for 0 s (Could not connect to the endpoint URL: "
        '"http://host/key"): trying for up to 600 s'
    )
    assert last == "the object store http://host answers again after 0 s"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_long_outage_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(module, "TELL_SECONDS", 0.0)
    wait_for(Failing(20))
    assert len(caplog.records) == 21
    caplog.clear()
    monkeypatch.setattr(module, "TELL_SECONDS", 3600.0)
    wait_for(Failing(20))
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("end", "is_answer"),
    [(FileNotFoundError("s3://b/k"), True), (ConnectionError("time is up"), False)],
)
def test_that_something_is_not_there_is_an_answer_too(
    end: Exception, is_answer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    errors = iter([AWAY, AWAY, end])

    async def request() -> str:
        raise next(errors)

    with pytest.raises(type(end)):
        wait_for(request)
    assert ("answers again after" in caplog.text) == is_answer


def test_several_requests_that_wait_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    inner, outer = Failing(2), Failing(1)

    async def both() -> str:
        await outer()
        return await module.patiently(inner)

    assert wait_for(both) == "content"
    assert len(caplog.records) == 2


def test_time_is_up_once_however_requests_are_nested(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    begun: list[int] = []

    async def outer() -> str:
        begun.append(1)
        return await module.patiently(Failing(10**6, refused(503, "SlowDown", "less")))

    with pytest.raises(ConnectionError, match=r"has failed for 0 s: .*SlowDown.*less"):
        wait_for(outer)
    assert begun == [1]
    assert len(caplog.records) == 1, "it does not answer again"


def test_what_does_not_pass_ends_the_waiting() -> None:
    failures = iter([AWAY, refused(403, "AccessDenied")])

    async def request() -> None:
        raise next(failures)

    with pytest.raises(ClientError, match="AccessDenied"):
        wait_for(request)


def test_what_went_wrong_is_one_short_line() -> None:
    text = module.reason(OSError(f"http://host/key?a=secret\nsecret {'x' * 999}"))
    assert text == "http://host/key"
    assert len(module.reason(OSError("x" * 999))) == 200
    assert module.reason(TimeoutError()) == "TimeoutError"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
