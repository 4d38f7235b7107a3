"""A load generator for gateways: so many kept connections, each of which asks again as soon as it is answered.

A closed loop, hardly parsing, so that its process is not the limit: what is slow is asked less often, and no queue
grows beside it. Every answer is looked at: an error is no figure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections.abc import Mapping
from operator import sub
from typing import NamedTuple, cast, final

from .measure import cpu_of

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
"""Where each dialect is asked."""

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END = b"\r\n0\r\n\r\n"
"""The end of an answer whose length was not told; a client that asks only once answered can look for it alone."""

WORDS = 100
"""Chunks of a stream, each a word; see `benchmarks.upstream.CHUNKS`."""


class Load(NamedTuple):
    """So many connections, each of which asks so many times in a round, and the rounds that count."""

    connections: int
    each: int
    rounds: int


class Side(NamedTuple):
    """Who is asked: the port, the process whose CPU counts (0: nobody's), the request, whether a stream answers it."""

    port: int
    process: int
    request: bytes
    streamed: bool = False


class Spent(NamedTuple):
    """What a round took: seconds of CPU of the one asked, of the upstream and of this process, and of the wall; and
    how long each answer took.
    """

    asked: float
    upstream: float
    load: float
    wall: float
    waits: tuple[float, ...] = ()


def request(dialect: str, model: str, headers: Mapping[str, str], *, streamed: bool = False) -> bytes:
    """Return a request of one message, as it goes over the wire."""
    asked = {"model": model, "messages": [{"role": "user", "content": "Who wrote Faust?"}], "max_tokens": 100}
    body = json.dumps({**asked, "stream": True} if streamed else asked).encode()
    given = {"host": "127.0.0.1", "content-type": "application/json", **headers, "content-length": str(len(body))}
    head = [f"POST {PATHS[dialect]} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


def is_whole(answer: bytes | bytearray) -> bool:
    """Say whether all of an answer has come."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    if length := LENGTH.search(answer, 0, end):
        return len(answer) >= end + 4 + int(length[1])
    return answer.endswith(END)


def is_right(answer: bytes | bytearray, *, streamed: bool) -> bool:
    """Say whether an answer is the one that the upstream gives."""
    said = answer.count(b"word") >= WORDS if streamed else b"Johann Wolfgang" in answer
    return said and answer.startswith(b"HTTP/1.1 200 ")


@final
class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._answer = bytearray()
        self._left = 0
        self._sent_at = 0.0
        self._done: asyncio.Future[None] | None = None
        self.waits: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, times: int) -> None:
        """Ask so many times, one after the other.

        Raises:
            ConnectionError: It was closed before all was answered.
            ValueError: Something else was answered.
        """
        self.waits, self._left = [], times
        self._done = asyncio.get_running_loop().create_future()
        self._send()
        await self._done

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def _send(self) -> None:
        self._answer.clear()
        self._sent_at = time.perf_counter()
        self._transport.write(self._side.request)

    def data_received(self, data: bytes) -> None:
        """Ask again, once all of an answer has come."""
        self._answer += data
        if self._done is None or self._done.done() or not is_whole(self._answer):
            return
        self.waits.append(time.perf_counter() - self._sent_at)
        self._left -= 1
        if not is_right(self._answer, streamed=self._side.streamed):
            self._done.set_exception(ValueError(f"answered: {bytes(self._answer[:1000])!r}"))
        elif self._left:
            self._send()
        else:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("closed before all was answered"))


async def loaded(side: Side, load: Load, upstream: int) -> Spent:
    """Ask for one round; return what it took. Connections are opened, and asked once, before the clocks start."""
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Client(side), "127.0.0.1", side.port) for _ in range(load.connections)
    ]
    clients = [client for _, client in opened]
    try:
        await asyncio.gather(*(client.ask(1) for client in clients))
        gc.collect()  # what the side before has left is not this one's
        begun = _clocks(side, upstream)
        await asyncio.gather(*(client.ask(load.each) for client in clients))
        asked, spent, load_took, wall = map(sub, _clocks(side, upstream), begun)
        return Spent(asked, spent, load_took, wall, tuple(wait for client in clients for wait in client.waits))
    finally:
        for client in clients:
            client.close()


def _clocks(side: Side, upstream: int) -> tuple[float, float, float, float]:
    return cpu_of(side.process), cpu_of(upstream), time.process_time(), time.perf_counter()


async def in_turn(sides: Mapping[str, Side], load: Load, upstream: int) -> dict[str, list[Spent]]:
    """Return what the rounds of each side took, the sides taking turns; a first round is not counted."""
    spent: dict[str, list[Spent]] = {name: [] for name in sides}
    for number in range(load.rounds + 1):
        for name, side in sides.items():
            took = await loaded(side, load, upstream)
            if number:
                spent[name].append(took)
    return spent
