"""The body of an answer: unpacked, of bounded length, and read straight from the connection.

The HTTP library would hand each part through six generators, of which every one would be left to the garbage collector
when an answer is not read to its end, and trio warns about each. So the parser of the connection is asked directly:
one read takes all that has come. Nothing public leads to it; where it is not found, the library's generators serve.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol, final

import anyio
import h11
import httpcore2
import httpx2
from anyio.lowlevel import checkpoint

from ._exchange import PIECE, Answer, CutError
from ._wait import Wait

CLOSE_WITHIN = 1.0
"""Seconds to close a connection whose answer was not read to its end; nothing is said in closing."""

_GZIP = 16 + zlib.MAX_WBITS


@final
class BodyError(Exception):
    """The body of an answer is too long, or not encoded as it says."""


class _Source(Protocol):
    """Where the parts of a body come from, as they were sent."""

    @property
    def is_at_end(self) -> bool:
        """Say whether no more comes."""

    @property
    def is_reusable(self) -> bool:
        """Say whether the connection can be used again."""

    async def read(self) -> bytes:
        """Wait until something has come, or the end."""

    def check_end(self) -> bool:
        """Say whether nothing came after the end that the next request would take for its answer."""

    def drop(self) -> None:
        """Shut the connection down without waiting. A read that waits ends with an exception."""

    async def finish(self) -> None:
        """Leave nothing behind, once the connection is closed."""


def _shut_down(number: int) -> None:
    """Shut a socket down by its number: what uvloop gives as the socket of a connection cannot be.

    Raises:
        OSError: It is not connected any more.
        ValueError: It is closed.
    """
    same = socket.socket(fileno=number)
    try:
        same.shutdown(socket.SHUT_RDWR)
    finally:
        same.detach()


@final
class _Connection:
    """The parser of a connection, and the stream that feeds it."""

    __slots__ = ("_failed", "_is_cut", "_network", "_parser", "_wait", "is_at_end")

    def __init__(self, parser: h11.Connection, network: httpcore2.AsyncNetworkStream) -> None:
        self._parser, self._network, self._wait = parser, network, Wait()
        self._failed: h11.RemoteProtocolError | None = None
        self._is_cut = self.is_at_end = False

    async def read(self) -> bytes:
        part = self._parsed()
        while not part and not self.is_at_end:
            if self._failed is not None:
                kind = CutError if self._is_cut else httpx2.RemoteProtocolError
                raise kind(str(self._failed)) from self._failed
            try:
                came = await self._wait.until(self._network.read(PIECE))
            except httpcore2.NetworkError as error:
                raise httpx2.ReadError(str(error)) from error
            self._is_cut = not came
            self._parser.receive_data(came)
            part = self._parsed()
        return part

    def _parsed(self) -> bytes:
        """Return all that is here. What comes before a violation of the protocol counts, however it was cut up."""
        parts: list[bytes] = []
        try:
            while isinstance(event := self._parser.next_event(), h11.Data):
                parts.append(event.data)
        except h11.RemoteProtocolError as error:
            self._failed = self._failed or error  # asked again, the parser no more says what it was
        else:
            self.is_at_end = event is not h11.NEED_DATA
        return b"".join(parts)

    @property
    def is_reusable(self) -> bool:
        return self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE

    def check_end(self) -> bool:
        return not self._parser.trailing_data[0]

    def drop(self) -> None:
        own: Any = self._network.get_extra_info("socket")
        if own is not None:
            with suppress(OSError, ValueError):  # it is gone already
                _shut_down(own.fileno())
        self._wait.end()

    async def finish(self) -> None:
        """There is nothing."""


@final
class _Generators:
    """The library's own way to hand out a body."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._parts, self._wait, self.is_at_end = aiter(stream), Wait(), False
        self.is_reusable = False

    def check_end(self) -> bool:
        return True

    def drop(self) -> None:
        """End what waits: nothing leads to the connection."""
        self._wait.end()

    async def read(self) -> bytes:
        with suppress(StopAsyncIteration):
            return await self._wait.until(anext(self._parts))
        self.is_at_end = True
        return b""

    async def finish(self) -> None:
        """Let the generators run into the closed connection, to their end: no more can arrive."""
        with suppress(Exception):
            async for _ in self._parts:
                pass


@final
class Body(httpx2.AsyncByteStream):
    """A body, unpacked, of at most `limit` bytes: what is longer is an error, or is cut where only evidence is wanted.

    It unpacks gzip itself, so that a small body cannot become a large one.

    Args:
        inner: The body as it was sent, in the `encoding` that its head names.
        network: The connection that the library has read it from.
    """

    def __init__(
        self, inner: httpx2.AsyncByteStream, encoding: str, limit: int, *, cut: bool, network: Any = None
    ) -> None:
        self._inner, self._limit, self._cut = inner, limit, cut
        self._encoding = encoding.strip().lower()
        self._unpacker = zlib.decompressobj(_GZIP) if self._encoding == "gzip" else None
        self._came = self._read = 0
        self._has_more = False
        self._failed: BodyError | None = None
        self._source = _source(inner, network)
        self.is_at_end = False

    async def read(self) -> bytes:
        """Wait until something has come, and return it, unpacked: at most `PIECE` bytes, or none.

        Raises:
            BodyError: It is longer than may be, or not packed as it says.
            httpx2.TransportError: The connection failed; `CutError` if it was closed in the middle.
        """
        if self.is_at_end:
            return b""
        try:
            return await self._next()
        except BodyError:
            if not self._cut:
                raise
            self.is_at_end = True
            return b""

    async def _next(self) -> bytes:
        if self._encoding not in {"", "identity", "gzip"}:
            raise BodyError("the answer is packed in a way that was not asked for")
        if self._failed is not None:
            raise self._failed
        part = await self._more()
        self._came += len(part)
        if self._unpacker is not None:
            part = self._unpacked(part)
        self._read += len(part)
        if max(self._came, self._read) > self._limit:  # gzip can also be long and say nothing
            raise BodyError(f"the answer is longer than {self._limit} bytes")
        if self._source.is_at_end and not self._has_more:
            self._end()
        return part

    async def _more(self) -> bytes:
        """Return what has come, as it was sent. While more is to be unpacked that is nothing, but others get a turn."""
        if not self._has_more:
            return await self._source.read()
        await checkpoint()  # little that comes may be much, and limits and other requests wait meanwhile
        return b""

    def _unpacked(self, part: bytes) -> bytes:
        unpacker = self._unpacker
        assert unpacker is not None  # noqa: S101 - said by the caller
        if unpacker.eof:  # what follows the end is not fed: it would be kept, and copied with every further part
            return b""
        try:
            part = unpacker.decompress(unpacker.unconsumed_tail + part, PIECE)
        except zlib.error:
            raise BodyError("the answer is not the gzip that it says it is") from None
        self._has_more = len(part) == PIECE and not unpacker.eof
        return part

    def _end(self) -> None:
        """End, or fail with the next read: what came before counts."""
        if not self._source.check_end():  # the next request would take what came for its answer
            self.drop()
        if self._unpacker is not None and not self._unpacker.eof:
            self._failed = BodyError("the answer is gzip that was cut short")
        self.is_at_end = self._failed is None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.is_at_end:
            if part := await self.read():
                yield part

    def drop(self) -> None:
        """Shut the connection down: the other side sees it at once, and the pool before it would use it again."""
        self._source.drop()

    async def aclose(self) -> None:
        """Close the connection, unless the body was read to its end and it can be used again.

        A task of its own closes it: asyncio's own cancellation knows no shield, and in the middle of closing it would
        cost the pool a place for good. Being cancelled so, this still ends after the connection is closed.
        """
        if self._source.is_reusable:  # which waits for nothing
            await self._inner.aclose()
            return
        failed: list[Exception] = []
        async with anyio.create_task_group() as closing:
            closing.start_soon(self._close, failed)
        if failed:
            raise failed[0]

    async def _close(self, failed: list[Exception]) -> None:
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            try:
                await self._inner.aclose()
                await self._source.finish()
            except Exception as error:  # noqa: BLE001 - it goes on in the task that waits, and in no group
                failed.append(error)


def unpacked(response: httpx2.Response, limit: int, *, cut: bool) -> Body:
    """Return the body of an answer that the HTTP library gave, to be put in the place of its own."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous client has no other
    encoding, network = response.headers.get("content-encoding", ""), response.extensions.get("network_stream")
    return Body(response.stream, encoding, limit, cut=cut, network=network)


class HasBody(Protocol):
    """An answer that our HTTP client gave, or that came directly."""

    @property
    def stream(self) -> object:
        """Its body: one of ours."""


def body_of(response: HasBody) -> Body:
    """Return the body of an answer that our HTTP client gave."""
    assert isinstance(response.stream, Body)  # noqa: S101 - its hook has put it there
    return response.stream


_TO_PARSER = ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state")
"""The way from a body to the parser of its connection. A test sees when it is not there any more."""


def _source(body: httpx2.AsyncByteStream, network: Any) -> _Source:
    """Return where the parts of a body come from: a connection of our own, the parser of the library's, or itself."""
    inner = getattr(body, "_stream", body)  # what the client has put around it
    if isinstance(inner, Answer):
        return inner
    parser = _parser_of(body)
    return _Generators(body) if parser is None or network is None else _Connection(parser, network)


def _parser_of(body: object) -> h11.Connection | None:
    for name in _TO_PARSER:
        body = getattr(body, name, None)
    return body if isinstance(body, h11.Connection) else None
