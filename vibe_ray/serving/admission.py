"""Who is let in, and how many at once: the bearer's token, limits of bodies, a queue that ends.

A request's whole body is received here, against the clock and within a budget of bytes, before the
application hears of it: one that arrives slowly holds nothing that others need. Of Ray Serve's own
limits none knows how a body arrives.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/healthz",)
"""Answered without a token, for whoever watches over the server."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one replica takes; `python -m vibe_ray.serve --set NAME=VALUE` changes one."""

    body_bytes: int = 36 * 2**20
    """Of one request: `schemas.MAX_FRAMES` packed as float32, and some."""
    list_numbers: int = 1_000_000
    """Numbers of one request that come as nested lists: each takes 30 times its size in memory."""
    body_seconds: float = 10.0
    """A body has so long to arrive, and longer by what has arrived, at `body_bytes_per_s`."""
    body_bytes_per_s: int = 128 * 2**10
    held_bytes: int = 256 * 2**20
    """Of all bodies that have arrived and are not answered yet."""
    arriving: int = 256
    """Requests whose bodies are on their way."""
    waiting: int = 128
    """Requests that have arrived and wait for the model, the one that it works on included."""
    retry_seconds: int = 1
    """After which a client that was sent away may ask again."""
    answer_seconds: float = 300.0
    """From a request's first byte to its answer's last, a body that arrives slowly included."""
    idle_seconds: int = 30
    """A connection that asks nothing is closed after so long."""
    drain_seconds: float = 30.0
    """On SIGTERM, requests in flight have so long to be answered."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}, expected more than 0")

    @property
    def ongoing(self) -> int:
        """Requests that Ray Serve hands to a replica at once: all that it knows how to refuse."""
        return 4 * (self.arriving + self.waiting)


class RefusedError(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: int, detail: str, retry_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_seconds = retry_seconds

    def response(self) -> JSONResponse:
        """Return what the client is told. The connection ends where a body may be on its way."""
        headers = {}
        if self.retry_seconds is not None:
            headers["Retry-After"] = str(self.retry_seconds)
        if self.status in (408, 413, 503):
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"detail": self.detail}, self.status, headers)


def token_digest(token: str) -> str:
    """Return what a replica keeps of a token, which is enough to know it again.

    Raises:
        ValueError: The token is empty, or cannot stand in a header.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token is empty or holds more than ASCII letters, digits and signs")
    return hashlib.sha256(token.encode()).hexdigest()


class Arriving:
    """A request's `receive` that knows whether all has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_over = False

    async def __call__(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self.is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message


class Admission:
    """Middleware: refuses in words, or passes a request on with all of its body."""

    def __init__(self, app: ASGIApp, limits: Limits, digest: str | None = None) -> None:
        """Set up.

        Args:
            app: What is guarded.
            limits: How much is let in.
            digest: Of the token that clients must bear; None lets everyone in.
        """
        self._app = app
        self._limits = limits
        self._digest = digest
        self._arriving = 0
        self._waiting = 0
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arriving = Arriving(receive)
        try:
            headers = Headers(scope=scope)
            self._check_token(scope["path"], headers)
            if scope["method"] in ("GET", "HEAD"):
                await self._app(scope, receive, send)
                return
            async with self._received(headers, arriving) as messages:
                await self._app(scope, _replayed(messages, receive), send)
        except RefusedError as refusal:
            if refusal.status != 408:
                await self._read_off(arriving)
            await refusal.response()(scope, receive, send)

    async def _read_off(self, arriving: "Arriving") -> None:
        """Let a client come to an end of sending, within bounds: else it may not see the answer.

        What is closed with something unread is reset, and an answer on its way is lost.
        """
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.body_seconds):
                while not arriving.is_over and size < 2 * self._limits.body_bytes:
                    size += len((await arriving()).get("body", b""))

    def _check_token(self, path: str, headers: Headers) -> None:
        if self._digest is None or path in OPEN_PATHS:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).hexdigest()
        is_equal = hmac.compare_digest(given, self._digest)  # takes as long wherever they differ
        if scheme.lower() != "bearer" or not is_equal:
            raise RefusedError(
                401, "expected the header `Authorization: Bearer TOKEN` with the token"
            )

    @asynccontextmanager
    async def _received(self, headers: Headers, receive: Receive) -> AsyncIterator[list[Message]]:
        """Receive a body and count it as held, as long as the application works on it."""
        self._check_length(headers.get("content-length", "0"))
        messages: list[Message] = []
        size = 0
        try:
            async with aclosing(self._arriving_messages(receive)) as arriving:
                async for message in arriving:
                    chunk = len(message.get("body", b""))
                    self._check_length(size + chunk)
                    if self._held_bytes + chunk > self._limits.held_bytes:
                        raise self._busy(f"{self._held_bytes} bytes of requests are held already")
                    size += chunk
                    self._held_bytes += chunk
                    messages.append(message)
            if self._waiting >= self._limits.waiting:
                raise self._busy(f"{self._waiting} requests wait already")
            self._waiting += 1
            try:
                yield messages
            finally:
                self._waiting -= 1
        finally:
            self._held_bytes -= size

    async def _arriving_messages(self, receive: Receive) -> AsyncGenerator[Message, None]:
        """Yield what a body consists of, as long as it comes fast enough."""
        limits = self._limits
        if self._arriving >= limits.arriving:
            raise self._busy(f"{self._arriving} requests are on their way already")
        self._arriving += 1
        begun, size, is_more = asyncio.get_running_loop().time(), 0, True
        try:
            while is_more:
                seconds = limits.body_seconds + size / limits.body_bytes_per_s
                async with asyncio.timeout_at(begun + seconds):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the connection ended before the body did")
                size += len(message.get("body", b""))
                is_more = message.get("more_body", False)
                yield message
        except TimeoutError:
            raise RefusedError(
                408,
                f"{size} bytes of the body came in {seconds:.0f} seconds, expected all of it, or "
                f"{limits.body_bytes_per_s} bytes per second",
            ) from None
        finally:
            self._arriving -= 1

    def _check_length(self, length: int | str) -> None:
        if not str(length).isdecimal():
            raise RefusedError(400, f"content-length is {str(length)[:40]!r}, expected a number")
        if int(length) > self._limits.body_bytes:
            raise RefusedError(
                413,
                f"the body is larger than {self._limits.body_bytes} bytes: pack the arrays as "
                "float16, or send them in pieces",
            )

    def _busy(self, found: str) -> RefusedError:
        return RefusedError(503, f"too busy, {found}: ask again later", self._limits.retry_seconds)


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives away what has come, then what else comes: the client's end."""
    messages.reverse()

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
