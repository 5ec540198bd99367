"""Puts `python -m vibe_ray.serve` under load: a crowd, slow senders, broken and huge requests.

    python -m tests.integration.serving_load --seconds 10 --out /tmp/load.json
    python -m tests.integration.serving_load --code OTHER_CHECKOUT ...    # another version of it

It starts the server itself, on 127.0.0.1, and ends it; every part is bounded in number and time.
Memory is what the replica and the HTTP proxy hold of their own (`RssAnon`).
"""

import argparse
import asyncio
import base64
import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.integration.processes import descendants, started

HOST = "127.0.0.1"
CLIENTS = (1, 8, 32, 64)
NUM_FRAMES, WIDTH = 16, 2048
NUM_SLOW = 50
HUGE_BYTES = 63_000_000
SERVING = ("ServeReplica", "ProxyActor")


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    def memory_mb(self) -> float:
        """Return what replica and proxy hold now."""
        serving = [p for p in descendants(self.pid) if any(name in p.title for name in SERVING)]
        return sum(_own_memory_kb(process.pid) for process in serving) / 1024

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


@dataclass
class Answers:
    """What one group of clients saw."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return requests answered with 200 per second, and their latencies in ms."""
        good = self.statuses["200"]
        found: dict[str, Any] = {"requests_per_s": round(good / max(self.seconds, 1e-9), 1)}
        if self.latencies:
            p50, p99 = 1000 * np.percentile(self.latencies, [50, 99])
            found |= {"p50_ms": round(float(p50)), "p99_ms": round(float(p99))}
        return {**found, "statuses": dict(self.statuses)}


def request_body(num_frames: int = NUM_FRAMES) -> bytes:
    """Return a good request: frames packed as float16."""
    features = np.random.default_rng(0).normal(size=(num_frames, WIDTH)).astype("<f2")
    packed = {
        "dtype": "float16",
        "shape": [num_frames, WIDTH],
        "data": base64.b64encode(features.tobytes()).decode(),
    }
    return json.dumps({"features": packed, "encoding": "packed"}).encode()


async def crowd(server: Server, num_clients: int, seconds: float) -> Answers:
    """Let so many clients ask, each again as soon as it is answered."""
    answers, body = Answers(), request_body()
    begun = time.monotonic()
    async with client(server) as http:

        async def ask_on() -> None:
            while time.monotonic() - begun < seconds:
                await ask(http, body, answers)

        await asyncio.gather(*(ask_on() for _ in range(num_clients)))
    answers.seconds = time.monotonic() - begun
    return answers


async def beside_slow_senders(server: Server, num_slow: int, seconds: float) -> dict[str, Any]:
    """Let one good client ask, and one look at /healthz, while others send a byte a second."""
    good, health = Answers(), Answers()
    outcomes: Counter[str] = Counter()
    stop = asyncio.Event()
    slow = [asyncio.create_task(send_slowly(server, stop, outcomes)) for _ in range(num_slow)]
    await asyncio.sleep(2)
    begun = time.monotonic()
    async with client(server, timeout=seconds) as http:
        body = request_body()

        async def ask_on(answers: Answers, path: str, body: bytes | None) -> None:
            while time.monotonic() - begun < seconds:
                await ask(http, body, answers, path)
                await asyncio.sleep(0.1)

        await asyncio.gather(ask_on(good, "/v1/infer", body), ask_on(health, "/healthz", None))
    good.seconds = health.seconds = time.monotonic() - begun
    stop.set()
    await asyncio.gather(*slow)
    return {"good": good.summary(), "healthz": health.summary(), "slow senders": dict(outcomes)}


async def send_slowly(server: Server, stop: asyncio.Event, outcomes: Counter[str]) -> None:
    """Send a request's body a byte a second until answered, or told to stop."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    head = f"POST /v1/infer HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    answer = asyncio.create_task(reader.readline())
    with suppress(ConnectionError):
        writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode())
        while not stop.is_set() and not answer.done():
            writer.write(b" ")
            await writer.drain()
            await asyncio.wait([answer], timeout=1)
    line = b""
    if answer.done():
        with suppress(ConnectionError):
            line = answer.result()
    answer.cancel()
    writer.close()
    outcomes[line.decode().strip() or "no answer"] += 1


def malformed(chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """Return one of several kinds of broken request."""
    good = json.loads(request_body(2))
    listed = [[0.1] * 64, [0.2] * 63]
    kinds: list[bytes] = [
        b"{" * chance.randrange(1, 500),
        chance.randbytes(200),
        json.dumps({**good, "fps": "fast"}).encode(),
        json.dumps({"features": listed}).encode(),
        json.dumps({"features": [["x"] * 500]}).encode(),
        json.dumps({"features": {**good["features"], "shape": [3, WIDTH]}}).encode(),
        json.dumps({"features": {**good["features"], "data": "*"}}).encode(),
        json.dumps({"features": [[1e39] * WIDTH]}).encode(),
        json.dumps({"features": [[0.5] * 7] * 3}).encode(),
    ]
    return chance.choice(kinds), {
        "content-type": chance.choice(["application/json"] * 9 + ["text/x"])
    }


async def broken(server: Server, num_requests: int, num_clients: int = 8) -> dict[str, Any]:
    """Send broken requests and return the memory before and after, and how they were answered."""
    await crowd(server, num_clients, 3)  # whatever memory answering takes at all
    before, chance, answers = server.memory_mb(), random.Random(0), Answers()
    left = iter(range(num_requests))
    async with client(server) as http:

        async def ask_on() -> None:
            for _ in left:
                body, headers = malformed(chance)
                await ask(http, body, answers, headers=headers)

        await asyncio.gather(*(ask_on() for _ in range(num_clients)))
    after = server.memory_mb()
    statuses = dict(answers.statuses)
    return {"before_mb": round(before), "after_mb": round(after), "statuses": statuses}


async def huge(server: Server, num_requests: int = 3) -> dict[str, Any]:
    """Send bodies of 63 MB at once: nested lists that are not numbers."""
    row = "[" + ",".join(['"x"'] * WIDTH) + "]"
    num_rows = HUGE_BYTES // (len(row) + 1)
    body = ('{"features":[' + ",".join([row] * num_rows) + "]}").encode()
    answers, peak = Answers(), server.memory_mb()
    before, begun = peak, time.monotonic()
    async with client(server) as http:
        asked = [asyncio.create_task(ask(http, body, answers)) for _ in range(num_requests)]
        while not all(task.done() for task in asked):
            await asyncio.sleep(0.2)
            peak = max(peak, server.memory_mb())
    seconds = round(time.monotonic() - begun, 1)
    statuses = dict(answers.statuses)
    return {"seconds": seconds, "more_mb": round(peak - before), "statuses": statuses}


async def ask(
    http: httpx.AsyncClient,
    body: bytes | None,
    answers: Answers,
    path: str = "/v1/infer",
    headers: dict[str, str] | None = None,
) -> None:
    """Send one request and note what became of it; the latency of good answers only."""
    begun = time.monotonic()
    headers = headers or {"content-type": "application/json"}
    try:
        method = "GET" if body is None else "POST"
        reply = await http.request(method, path, content=body, headers=headers)
    except httpx.HTTPError as error:
        answers.statuses[type(error).__name__] += 1
        return
    answers.statuses[str(reply.status_code)] += 1
    if reply.status_code == 200:
        answers.latencies.append(time.monotonic() - begun)
    elif retry_after := reply.headers.get("retry-after"):
        await asyncio.sleep(min(float(retry_after), 2.0))


@asynccontextmanager
async def client(server: Server, timeout: float = 300) -> AsyncIterator[httpx.AsyncClient]:
    """A client with no limit but a time-out."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=timeout, limits=limits) as http:
        yield http


@contextmanager
def served(code: Path, log: Path, *arguments: str, seconds: float = 180) -> Iterator[Server]:
    """Start the server of a checkout and wait until it answers."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "vibe_ray.serve", "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    with (
        log.open("ab") as output,
        started(command, stdout=output, stderr=output, cwd=code, env=environment) as process,
    ):
        deadline = time.monotonic() + seconds
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: see {log}")
            time.sleep(0.5)
        yield Server(url, process.pid)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    return False


def _own_memory_kb(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0


def measure(server: Server, seconds: float, num_broken: int) -> dict[str, Any]:
    """Run all parts, one after the other."""
    asyncio.run(crowd(server, 2, 2))  # warm
    found: dict[str, Any] = {}

    def note(name: str, value: dict[str, Any]) -> None:
        found[name] = {**value, "load_average": round(os.getloadavg()[0], 1)}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)

    for number in CLIENTS:
        note(f"{number} clients", asyncio.run(crowd(server, number, seconds)).summary())
    note("slow senders", asyncio.run(beside_slow_senders(server, NUM_SLOW, 2 * seconds)))
    note("broken requests", asyncio.run(broken(server, num_broken)))
    note("huge requests", asyncio.run(huge(server)))
    return found


def main() -> None:
    """Parse, start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, default=Path.cwd(), help="checkout that is served")
    parser.add_argument("--seconds", type=float, default=10, help="of each crowd (10)")
    parser.add_argument("--broken", type=int, default=10_000, help="broken requests (10000)")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="the server's output")
    args = parser.parse_args()
    with served(args.code.absolute(), args.log) as server:
        print(json.dumps(measure(server, args.seconds, args.broken), indent=2))


if __name__ == "__main__":
    main()
