"""A mock upstream that is fast enough not to be the limit: a process of its own, hardly any parsing.

`python -m benchmarks.upstream` prints its port. What a POST is answered with is told by the model that it names:

| model | answer |
| --- | --- |
| `down`, `limited` | 500, 429 |
| `hold` | none, ever |
| `slow` | the completion after 50 ms |
| any other | the completion at once; a stream of 100 chunks in one burst, where a stream is wanted |
| `open` | of a stream the first chunk, and nothing more |
| `trickle` | a stream of 50 chunks, one every 20 ms |
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, final

from understudy.simulation._answers import Said, Wire, answer
from understudy.simulation._sse import events

DELAY, PACE = 0.05, 0.02
"""Seconds before a slow answer, and between the chunks of a trickle; chosen: a quick vendor, and 50 words a second."""

CHUNKS, TRICKLE = 100, 50
"""Chunks of a burst, and of a trickle."""

HEAD = b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\nx-request-id: r-1\r\ncontent-length: %d\r\n\r\n%s"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: r-1\r\ntransfer-encoding: chunked\r\n\r\n"
)
MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')
STREAMED = re.compile(rb'"stream"\s*:\s*true')


class Reply(NamedTuple):
    """What is sent: the parts in order, the first after a while, each of the others after a pause."""

    parts: tuple[bytes, ...]
    after: float = 0.0
    pause: float = 0.0


def _whole(wire: Wire) -> bytes:
    body = answer(wire, "a-model", "Johann Wolfgang von Goethe wrote Faust. " * 6, "Who wrote Faust?")
    return HEAD % (200, len(body), body)


def _chunks(wire: Wire, count: int) -> tuple[bytes, ...]:
    """Return the parts of a stream: its head with the first chunk, the others, its end; each a chunk of HTTP, too."""
    sent = events(wire, "a-model", Said("word " * count, given=4), usage=True)
    assert len(sent.pieces) == count
    opening, *pieces = [b"%x\r\n%s\r\n" % (len(event), event) for event in (sent.opening, *sent.pieces)]
    end = sent.closing + sent.terminator
    return STREAM + opening + pieces[0], *pieces[1:], b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end)


def _replies(wire: Wire) -> dict[tuple[bytes, bool], Reply]:
    whole, burst = _whole(wire), _chunks(wire, CHUNKS)
    return {
        (b"", False): Reply((whole,)),
        (b"", True): Reply((b"".join(burst),)),
        (b"slow", False): Reply((whole,), after=DELAY),
        (b"open", True): Reply(burst[:1]),
        (b"trickle", True): Reply(_chunks(wire, TRICKLE), pause=PACE),
        **{(b"hold", streamed): Reply(()) for streamed in (False, True)},
        **{
            (model, streamed): Reply((HEAD % (status, 2, b"{}"),))
            for model, status in ((b"down", 500), (b"limited", 429))
            for streamed in (False, True)
        },
    }


REPLIES: dict[Wire, dict[tuple[bytes, bool], Reply]] = {
    "openai": _replies("openai"),
    "anthropic": _replies("anthropic"),
}
"""For each wire, by the model that is named and whether a stream is wanted; an empty name is any other model."""


def reply(request: bytes) -> Reply:
    """Return what a request is answered with."""
    replies = REPLIES["anthropic" if b"/messages" in request[:80] else "openai"]
    named, streamed = MODEL.search(request), STREAMED.search(request) is not None
    return replies.get((named[1] if named else b"", streamed)) or replies[b"", streamed]


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            request = bytes(self._buffer[: end + 4 + length])
            del self._buffer[: end + 4 + length]
            said = reply(request)
            if said.after:
                asyncio.get_running_loop().call_later(said.after, self._send, said, 0)
            else:
                self._send(said, 0)

    def _send(self, said: Reply, number: int) -> None:
        if number < len(said.parts) and not self._transport.is_closing():
            self._transport.write(said.parts[number])
            if number + 1 < len(said.parts):
                asyncio.get_running_loop().call_later(said.pause, self._send, said, number + 1)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    asyncio.get_running_loop().add_reader(sys.stdin, os._exit, 0)  # who started it has ended, however that came
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@final
@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the upstream is, which process it is, and where nobody listens."""

    url: str
    process: int
    refused: str


@contextmanager
def running() -> Iterator[Upstream]:
    """Run the upstream in a process of its own for the body of a `with`."""
    command = [sys.executable, "-m", "benchmarks.upstream"]
    with (
        socket.socket() as closed,  # bound, and not listened on: nobody else takes the port
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        closed.bind(("127.0.0.1", 0))
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            refused = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
            yield Upstream(f"http://127.0.0.1:{port}/v1", process.pid, refused)
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
