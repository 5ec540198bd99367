"""What is wrong with a bucket is said at the start, within seconds."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from vibe_ray import storage
from vibe_ray.storage import buckets


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with one status."""

    status: ClassVar[int] = 200

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    """A store that answers with the status that a test sets."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield Refusing
        server.shutdown()


def test_a_missing_bucket_is_told(s3: str) -> None:
    with pytest.raises(FileNotFoundError, match="no bucket 'absent-bucket': create it first"):
        storage.check_writable("s3://absent-bucket/runs")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("s3://absent-bucket/file")
    with pytest.raises(FileNotFoundError, match="no bucket 'absent-bucket'"):
        storage.list_files("s3://absent-bucket/runs")


def test_what_is_no_name_of_a_bucket_is_told(s3: str) -> None:
    with pytest.raises(ValueError, match="'a b' is no name of a bucket: expected s3://BUCKET"):
        storage.check_reachable("s3://a b/runs")
    with pytest.raises(ValueError, match="s3://a b/runs is no path"):
        storage.read_bytes("s3://a b/runs")


def test_wrong_credentials_are_told_without_repeating_them(refusing: type[Refusing]) -> None:
    refusing.status = 403
    with pytest.raises(PermissionError, match="status 403: check AWS_ACCESS_KEY_ID") as error:
        storage.check_writable("s3://bucket/runs")
    assert "a-secret-of-the-tests" not in str(error.value)
    assert "AKIATESTONLY" not in str(error.value)


def test_what_is_no_store_is_told(refusing: type[Refusing]) -> None:
    refusing.status = 503
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
    for ask in (storage.check_reachable, storage.read_bytes):
        with pytest.raises(PermissionError, match="no credentials for bucket"):
            ask(f"{s3}/file")


def test_a_bucket_in_another_region_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"x-amz-bucket-region": "eu-west-1"}
    buckets._check_region("bucket", headers)  # another store's regions mean nothing
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(ValueError, match="set AWS_REGION=eu-west-1"):
        buckets._check_region("bucket", headers)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    buckets._check_region("bucket", headers)


def test_a_store_that_is_not_there_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:word@127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match=r"cannot reach bucket .* AWS_ENDPOINT_URL") as error:
        storage.check_writable(f"{s3}/runs")
    assert "word" not in str(error.value)


def test_only_what_is_no_secret_goes_to_other_machines(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    found = storage.shared_environment()
    assert found.keys() == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
