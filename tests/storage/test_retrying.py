"""Which failures are waited for, and what is said meanwhile."""

import logging
from collections.abc import Callable

import pytest

from vibe_ray.storage import retrying
from vibe_ray.storage.retrying import is_passing, reason, retry

STORE = "the object store http://host"
AWAY = "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7, Couldn't connect"


def failing(times: int, text: str = AWAY) -> Callable[[], str]:
    """A request that succeeds after so many failures."""
    failures = iter([OSError(text)] * times)

    def request() -> str:
        for failure in failures:
            raise failure
        return "content"

    return request


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retrying, "MAX_PAUSE_SECONDS", 0.02)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (AWAY, True),
        ("AWS Error SLOW_DOWN during PutObject operation: ", True),
        ("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response", True),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadObject operation: No response", False),
        ("AWS Error ACCESS_DENIED during HeadObject operation: Timeout", False),
        ("When reading 'Timeout 503 NETWORK_CONNECTION': AWS Error ACCESS_DENIED during "
         "HeadObject operation: no", False),
        ("disk full", False),
    ],
)  # fmt: skip
def test_what_the_store_said_decides(text: str, passes: bool) -> None:
    assert is_passing(OSError(text)) == passes


def test_a_missing_file_stays_missing_whatever_it_is_called() -> None:
    assert not is_passing(FileNotFoundError(AWAY))


def test_a_short_outage_is_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    assert retry(failing(5), STORE) == "content"
    first, last = (record.getMessage() for record in caplog.records)
    assert first == (
        f"{STORE} has failed for 0 s (NETWORK_CONNECTION, curlCode: 7, Couldn't connect): "
        "trying for up to 600 s"
    )
    assert last == f"{STORE} answers again after 0 s"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_long_outage_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrying, "TELL_SECONDS", 0.05)
    retry(failing(20), STORE)
    assert 3 <= len(caplog.records) <= 12


def test_several_requests_that_wait_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def request() -> str:
        return retry(failing(2), STORE)

    first = iter([OSError(AWAY)])

    def outer() -> str:
        for failure in first:
            raise failure
        return request()

    assert retry(outer, STORE) == "content"
    assert len(caplog.records) == 2


def test_a_store_that_stays_away_is_an_error_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConnectionError, match=r"has failed for 0 s: NETWORK_CONNECTION"):
        retry(failing(10**6), STORE, seconds=0.1)
    assert len(caplog.records) == 1, "it does not answer again"


def test_what_does_not_pass_ends_the_waiting() -> None:
    failures = iter([OSError(AWAY), OSError("AWS Error ACCESS_DENIED during X operation: no")])

    def request() -> None:
        raise next(failures)

    with pytest.raises(OSError, match="ACCESS_DENIED"):
        retry(request, STORE)


def test_no_keys_are_told() -> None:
    text = f"{AWAY} to http://user:word@host/key?X-Amz-Signature=secret&more"
    assert reason(OSError(text)).endswith("Couldn't connect to http://host/key")
    assert reason(OSError("http://host/key?a=secret\nsecret")) == "http://host/key"
