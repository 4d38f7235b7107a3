"""Streams as bytes: what a server of either wire sends, in frames of HTTP, and a place that sends it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import AnyByteStream
from pydantic import SecretStr

from understudy.providers import AttemptError, Request, Target, connect, user
from understudy.providers._sdk import SDKProvider
from understudy.providers._stream import ContentEvent
from understudy.providers._upstream import Incoming
from understudy.simulation._answers import Wire, answer

from .over_sockets import KEY, Behave, Place, listening

REQUEST = Request("a-model", (user("Who wrote Faust?"),))
WIRES: tuple[Wire, ...] = ("openai", "anthropic")


def _openai(choices: list[Any], **more: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "a-model", "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _anthropic(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def beginning(wire: Wire) -> list[bytes]:
    """What a stream begins with, before any content."""
    if wire == "openai":
        return [_openai([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])]
    message = {
        **{"id": "m", "type": "message", "role": "assistant", "model": "a-model", "content": []},
        **{"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}},
    }
    return [
        _anthropic("message_start", message=message),
        _anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]


def said(wire: Wire, text: str) -> bytes:
    """More of the text."""
    if wire == "openai":
        return _openai([{"index": 0, "delta": {"content": text}, "finish_reason": None}])
    return _anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def ending(wire: Wire) -> list[bytes]:
    """What a stream ends with: the reason, the usage, the mark of the end."""
    if wire == "openai":
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        finish = _openai([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        return [finish, _openai([], usage=usage), b"data: [DONE]\n\n"]
    return [
        _anthropic("content_block_stop", index=0),
        _anthropic("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        _anthropic("message_stop"),
    ]


def failing(wire: Wire, kind: str, message: str) -> bytes:
    """An error in the middle of a stream."""
    error = {"type": kind, "message": message}
    return (
        _anthropic("error", error=error)
        if wire == "anthropic"
        else b"data: %b\n\n" % json.dumps({"error": {**error, "code": kind}}).encode()
    )


def stream_of(wire: Wire, *texts: str) -> list[bytes]:
    """A whole stream, event by event."""
    return [*beginning(wire), *(said(wire, text) for text in texts), *ending(wire)]


def head(content_type: str | None = "text/event-stream; charset=utf-8", *more: str) -> bytes:
    """The head of an answer in HTTP chunks."""
    kind = [] if content_type is None else [f"content-type: {content_type}"]
    lines = ["HTTP/1.1 200 OK", *kind, "transfer-encoding: chunked", "x-request-id: r1", "request-id: r1", *more]
    return "\r\n".join([*lines, "\r\n"]).encode()


def chunk(part: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(part), part)


LAST = b"0\r\n\r\n"
"""The end of a body in HTTP chunks."""


def framed(parts: Iterable[bytes]) -> list[bytes]:
    """A whole answer, part by part."""
    return [head(), *map(chunk, parts), LAST]


async def keep(stream: AnyByteStream) -> None:
    """Go on to the next request."""


async def close(stream: AnyByteStream) -> None:
    """Close the connection as one does."""
    await stream.aclose()


async def silence(stream: AnyByteStream) -> None:
    """Say nothing more; the next that comes in is that the client has left."""
    await stream.receive()


@dataclass
class Played:
    """What a place does with a request for a stream: it sends `parts` and then does `after`.

    `pause` are seconds after each part; `serves` is how many requests a connection answers. `bodies` are the requests;
    `left` counts the clients that went in the middle.
    """

    wire: Wire
    parts: Sequence[bytes]
    after: Callable[[AnyByteStream], Awaitable[None]] = keep
    pause: float = 0.0
    serves: int | None = None
    bodies: list[Any] = field(default_factory=list)
    left: int = 0

    async def __call__(self, stream: AnyByteStream) -> None:
        """Answer the requests of one connection; one for a whole answer gets it."""
        for served in itertools.count():
            received = b""
            while not received.endswith(b"}"):
                received += await stream.receive()
            if served == self.serves:
                return
            body = json.loads(received.partition(b"\r\n\r\n")[2])
            self.bodies.append(body)
            if not body.get("stream"):
                whole = answer(self.wire, "a-model", "whole", "hi")
                await stream.send(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(whole), whole)
                )
                continue
            try:
                await self._play(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.left += 1
                raise

    async def _play(self, stream: AnyByteStream) -> None:
        for part in self.parts:
            await stream.send(part)
            await anyio.sleep(self.pause)
        await self.after(stream)


def provider_at(place: Place, wire: Wire, key: str = KEY) -> SDKProvider:
    """Make the provider of a place."""
    provider = connect(Target(wire, place.base_url(wire), SecretStr(key)))
    assert isinstance(provider, SDKProvider)
    return provider


def busy(provider: SDKProvider) -> int:
    """How many connections, or places for one, are taken."""
    if provider._http.pool is not None:
        return provider._http.pool.taken
    client: Any = provider._client
    pool = client._client._transport._pool
    return len(pool._requests) + sum(not connection.is_idle() for connection in pool.connections)


@asynccontextmanager
async def played(wire: Wire, behave: Behave, key: str = KEY) -> AsyncIterator[tuple[SDKProvider, Place]]:
    """Open a provider of a place; check at the end that it has no connection that is busy."""
    async with listening(behave) as place:
        provider = provider_at(place, wire, key)
        try:
            yield provider, place
            assert busy(provider) == 0
        finally:
            await provider.aclose()


async def opened(provider: SDKProvider, request: Request = REQUEST) -> Incoming:
    """Ask for a stream."""
    upstream = await provider.stream(request)
    assert isinstance(upstream, Incoming)
    return upstream


async def events_of(upstream: Incoming, into: list[ContentEvent]) -> None:
    """Read a stream to its end."""
    while True:
        while (event := upstream.take()) is not None:
            into.append(event)
        if upstream.response is not None:
            return
        await upstream.read()


@dataclass
class Got:
    """What came of a stream."""

    events: list[ContentEvent]
    upstream: Incoming | None = None
    error: AttemptError | None = None

    @property
    def text(self) -> str:
        """The text that came."""
        return "".join(getattr(event, "text", "") for event in self.events)


async def got(provider: SDKProvider, request: Request = REQUEST) -> Got:
    """Ask for a stream and read it to its end, whatever that is."""
    result = Got([])
    try:
        result.upstream = await opened(provider, request)
        await events_of(result.upstream, result.events)
    except AttemptError as error:
        result.error = error
    return result
