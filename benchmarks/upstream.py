"""A mock upstream that is fast enough not to be the limit: a process of its own, hardly any parsing.

`python -m benchmarks.upstream` prints its port. Every POST is answered with the same chat completion; one that wants a
stream with a burst of 100 chunks, on either wire; one to the model `open` with the first of them, and nothing more. The
model `down` answers 500, the model `hold` never.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from understudy.simulation._answers import Said, Wire, answer
from understudy.simulation._sse import events

HEAD = b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\nx-request-id: r-1\r\ncontent-length: %d\r\n\r\n%s"


def _whole(wire: Wire) -> bytes:
    body = answer(wire, "a-model", "Johann Wolfgang von Goethe wrote Faust. " * 6, "Who wrote Faust?")
    return HEAD % (200, len(body), body)


ANSWERS = {"openai": _whole("openai"), "anthropic": _whole("anthropic")}
DOWN = HEAD % (500, 2, b"{}")

CHUNKS = 100

STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: r-1\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _burst(wire: Wire) -> tuple[bytes, bytes]:
    """Return the head of a stream with its first chunk, and the rest: each event a chunk of the HTTP body, too."""
    sent = events(wire, "a-model", Said("word " * CHUNKS, given=4), usage=True)
    assert len(sent.pieces) == CHUNKS
    first, *rest = [b"%x\r\n%s\r\n" % (len(event), event) for event in (sent.opening, *sent.pieces)]
    end = sent.closing + sent.terminator
    return STREAM + first + rest[0], b"".join([*rest[1:], b"%x\r\n%s\r\n" % (len(end), end), b"0\r\n\r\n"])


BURSTS = {"openai": _burst("openai"), "anthropic": _burst("anthropic")}


SPECIAL = {b'"model":"down"': DOWN, b'"model":"hold"': b""}
"""What whole answers are for some models: an error; none at all."""


def _answer(request: bytes) -> bytes:
    wire: Wire = "anthropic" if b"/messages" in request[:80] else "openai"
    if b'"stream":true' not in request and b'"stream": true' not in request:
        special = next((said for model, said in SPECIAL.items() if model in request), None)
        return ANSWERS[wire] if special is None else special
    first, rest = BURSTS[wire]
    return first if b'"model":"open"' in request else first + rest


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
            self._transport.write(_answer(request))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running() -> Iterator[str]:
    """Run the upstream in a process of its own; gives its base URL."""
    command = [sys.executable, "-m", "benchmarks.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
