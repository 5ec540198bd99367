"""Who is let in: every limit refuses in words, and gives back what a request held."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from vibe_ray.serving.admission import Admission, Limits, token_digest

TOKEN = "correct-horse"


@dataclass
class Echo:
    """An application that answers with the length of what it received, when it may."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, is_more = b"", scope["method"] == "POST"
        while is_more:
            message = await receive()
            body += message["body"]
            is_more = message["more_body"]
        self.bodies.append(body)
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    detail: str = ""


def chunk(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def sender(messages: Sequence[Message | asyncio.Event]) -> Receive:
    """A client's side: events are waited for, and after the last message nothing comes."""
    left = list(messages)

    async def receive() -> Message:
        while left:
            item = left.pop(0)
            if not isinstance(item, asyncio.Event):
                return item
            await item.wait()
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def ask(app: Admission, receive: Receive, *, path: str = "/", **headers: str) -> Answer:
    answer = Answer()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif answer.status != 200:
            answer.detail = json.loads(message["body"])["detail"]

    names = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(names.items())}
    await app(scope, receive, send)
    return answer


def run(
    test: Callable[[Admission, Echo], Awaitable[Any]], digest: str | None = None, **limits: Any
) -> Any:
    """Run a test against an application with these limits; nothing may be held at its end."""

    async def body() -> Any:
        echo = Echo()
        app = Admission(echo, Limits(**limits), digest)
        found = await asyncio.wait_for(test(app, echo), 30)
        assert (app._arriving, app._waiting, app._held_bytes) == (0, 0, 0)
        return found

    return asyncio.run(body())


async def settle() -> None:
    """Let all tasks come as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_body_arrives_as_it_was_sent() -> None:
    async def test(app: Admission, echo: Echo) -> Answer:
        echo.may_answer.set()
        return await ask(app, sender([chunk(b"ab", True), chunk(b"", True), chunk(b"c")]))

    assert run(test).status == 200


def test_a_slow_body_is_given_up_and_holds_nothing() -> None:
    async def test(app: Admission, echo: Echo) -> Answer:
        answer = await ask(app, sender([chunk(b"a", True)]))
        assert not echo.bodies
        return answer

    answer = run(test, body_seconds=0.05)
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert answer.detail.startswith("1 bytes of the body came in 0 seconds")


def test_a_byte_now_and_then_does_not_win_time() -> None:
    async def dribble() -> Message:
        await asyncio.sleep(0.01)
        return chunk(b" ", True)

    async def test(app: Admission, echo: Echo) -> Answer:
        return await ask(app, dribble)

    assert run(test, body_seconds=0.2).status == 408


def test_a_large_body_may_take_as_long_as_its_bytes_allow() -> None:
    """At 1000 bytes a second 900 bytes win 0.9 s, so a pause of twice the first limit is none."""

    async def test(app: Admission, echo: Echo) -> Answer:
        echo.may_answer.set()
        more = asyncio.Event()
        task = asyncio.create_task(ask(app, sender([chunk(bytes(90_000), True), more, chunk(b"")])))
        await asyncio.sleep(0.2)
        more.set()
        return await task

    assert run(test, body_seconds=0.1, body_bytes_per_s=1000).status == 200


@pytest.mark.parametrize("says_so", [True, False])
def test_a_body_that_is_too_large_is_cut_off(says_so: bool) -> None:
    async def test(app: Admission, echo: Echo) -> Answer:
        headers = {"content_length": "101"} if says_so else {}
        answer = await ask(app, sender([chunk(bytes(60), True), chunk(bytes(41))]), **headers)
        assert not echo.bodies
        return answer

    answer = run(test, body_bytes=100)
    assert answer.status == 413
    assert "larger than 100 bytes" in answer.detail


def test_what_is_refused_is_read_off_so_that_the_client_sees_why() -> None:
    async def test(app: Admission, echo: Echo) -> list[Answer]:
        rest = asyncio.Event()
        receive = sender([chunk(bytes(101), True), rest, chunk(b"", True), chunk(b"")])
        refused = asyncio.create_task(ask(app, receive))
        await settle()
        assert not refused.done()
        rest.set()
        endless = ask(app, sender([chunk(bytes(60), True)] * 1000))
        return [await refused, await endless]

    assert [answer.status for answer in run(test, body_bytes=100)] == [413, 413]


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "0x10"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    async def test(app: Admission, echo: Echo) -> Answer:
        return await ask(app, sender([chunk(b"a")]), content_length=length)

    answer = run(test)
    assert answer.status == 400
    assert f"content-length is {length!r}" in answer.detail


def test_a_queue_that_is_full_sends_away() -> None:
    async def test(app: Admission, echo: Echo) -> list[Answer]:
        asked = [asyncio.create_task(ask(app, sender([chunk(b"a")]))) for _ in range(3)]
        await settle()
        echo.may_answer.set()
        return list(await asyncio.gather(*asked))

    answers = run(test, waiting=2, retry_seconds=7)
    assert [answer.status for answer in answers] == [200, 200, 503]
    assert answers[2].headers["retry-after"] == "7"
    assert "2 requests wait already" in answers[2].detail


def test_bodies_on_their_way_are_counted_apart() -> None:
    async def test(app: Admission, echo: Echo) -> list[Answer]:
        echo.may_answer.set()
        more = asyncio.Event()
        slow = [
            asyncio.create_task(ask(app, sender([chunk(b"a", True), more, chunk(b"")])))
            for _ in range(2)
        ]
        await settle()
        late = await ask(app, sender([chunk(b"a")]))
        more.set()
        return [late, *(await asyncio.gather(*slow)), await ask(app, sender([chunk(b"a")]))]

    answers = run(test, arriving=2)
    assert [answer.status for answer in answers] == [503, 200, 200, 200]
    assert "2 requests are on their way already" in answers[0].detail


def test_bytes_held_are_bounded_over_all_requests() -> None:
    async def test(app: Admission, echo: Echo) -> list[Answer]:
        first = asyncio.create_task(ask(app, sender([chunk(bytes(70))])))
        await settle()
        second = await ask(app, sender([chunk(bytes(20), True), chunk(bytes(20))]))
        third = asyncio.create_task(ask(app, sender([chunk(bytes(30))])))
        await settle()
        echo.may_answer.set()
        return [await first, second, await third]

    answers = run(test, held_bytes=100)
    assert [answer.status for answer in answers] == [200, 503, 200]
    assert "90 bytes of requests are held already" in answers[1].detail


def test_a_client_that_leaves_frees_its_place() -> None:
    async def test(app: Admission, echo: Echo) -> None:
        await ask(app, sender([chunk(b"a", True), {"type": "http.disconnect"}]))
        waiting = asyncio.create_task(ask(app, sender([chunk(b"a")])))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(test)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer \xe9", 401),
        ("", 401),
    ],
)
def test_a_token_is_asked_for(given: str, status: int) -> None:
    async def test(app: Admission, echo: Echo) -> Answer:
        echo.may_answer.set()
        answer = await ask(app, sender([chunk(b"a")]), authorization=given)
        assert bool(echo.bodies) == (status == 200)
        return answer

    answer = run(test, digest=token_digest(TOKEN))
    assert answer.status == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_health_is_told_without_a_token() -> None:
    async def test(app: Admission, echo: Echo) -> list[Answer]:
        echo.may_answer.set()
        receive = sender([chunk(b""), chunk(b"")])
        return [await ask(app, receive, path="/healthz"), await ask(app, receive, path="/healthzz")]

    assert [answer.status for answer in run(test, digest=token_digest(TOKEN))] == [200, 401]


def test_a_digest_does_not_hold_the_token() -> None:
    assert TOKEN not in token_digest(TOKEN)
    assert token_digest(TOKEN) != token_digest(TOKEN + "x")


@pytest.mark.parametrize("token", ["", " ", "two words", "line\n", "gr\xfc\xdfe"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty or holds more than ASCII"):
        token_digest(token)


@pytest.mark.parametrize("name", ["waiting", "body_seconds", "held_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_of_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*, expected more than 0"):
        Limits(**{name: value})
