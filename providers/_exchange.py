"""One request and its answer over a connection of our own, and what goes wrong there as exceptions of httpx2.

Whatever happens, the connection is given back once: when the body has been read to its end and is closed, when it
fails, or when its reader is cancelled. Its place is free at that instant, in plain code; closing it may take until
later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol, final

import anyio
import httpx2

from ._http1 import ProtocolError
from ._pool import Connection, ConnectTimeoutError, Origin, PlaceTimeoutError, Pool

PIECE = 64 * 1024
"""Bytes that one read takes from a connection (R-LS-4)."""

SMALL = 16 * 1024
"""Bytes of a request that a connection takes at once; only for larger ones the limit of writing is set (chosen: below
what the buffers of a socket hold)."""

POOL_TIMEOUT = 2.0
"""Seconds for a place in the pool, should it ever be full (as for a place at a full endpoint): that is our own trouble,
and must not end as a slow answer of the provider's."""

NO_ANSWER = "Server disconnected without sending a response."
CUT_SHORT = "peer closed connection without sending complete message body"


@final
class CutError(httpx2.RemoteProtocolError):
    """The connection was closed in the middle of an answer."""


@final
class Answer(httpx2.AsyncByteStream):
    """The body of an answer, as it was sent; its head is in the connection's `reader`. One task at a time reads it."""

    __slots__ = ("_connection", "_pool", "is_at_end")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self.is_at_end = False

    async def read(self) -> bytes:
        """Wait until something has come, or the end: then there is nothing.

        Raises:
            httpx2.TransportError: The connection failed; `CutError` if it was closed in the middle.
        """
        connection = self._connection
        if connection is None:
            raise httpx2.ReadError("the answer is closed")
        reader = connection.reader
        part = reader.take()
        while not part and not reader.is_at_end:
            if reader.failed is not None:
                raise httpx2.RemoteProtocolError(str(reader.failed)) from reader.failed
            await received(connection)
            part = reader.take()
        self.is_at_end = reader.is_at_end
        return part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.is_at_end:
            if part := await self.read():
                yield part

    @property
    def is_reusable(self) -> bool:
        """Say whether the connection can be used again."""
        return self._connection is not None and self._connection.reader.may_follow

    def check_end(self) -> bool:
        """Say whether nothing came after the end."""
        return self._connection is None or not self._connection.reader.has_extra

    def drop(self) -> None:
        """Shut the connection down without waiting."""
        if self._connection is not None:
            self._connection.drop()

    async def finish(self) -> None:
        """Leave nothing behind: there is nothing."""

    async def aclose(self) -> None:
        """Give the connection back: to be used again, or closed. Closing twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)


class Watch(Protocol):
    """Is told of a request whether its connection was a new one, and that an answer has come."""

    is_new: bool
    is_answered: bool


async def exchanged(
    pool: Pool,
    origin: Origin,
    data: bytes,
    *,
    watch: Watch | None,
    place_within: float,
    write_within: float | None,
    fresh: bool = False,
) -> tuple[Connection, Answer]:
    """Send a request, on a new connection if it has to be a `fresh` one, and wait for the head of its answer.

    After cancellation the connection is closed, and its place free.

    Raises:
        httpx2.TransportError: As the library's own transport.
    """
    connection = await opened(pool, origin, place_within, fresh=fresh)
    if watch is not None:
        watch.is_new = connection.uses == 1
    try:
        await sent(connection, data, write_within)
        reader = connection.reader
        while not reader.is_headed:
            if reader.failed is not None:
                raise httpx2.RemoteProtocolError(str(reader.failed)) from reader.failed
            await received(connection)
            if watch is not None:
                watch.is_answered = True
    except BaseException:
        pool.keep(connection)
        await connection.close()
        raise
    return connection, Answer(pool, connection)


async def opened(pool: Pool, origin: Origin, place_within: float, *, fresh: bool = False) -> Connection:
    """Return a connection to a server.

    Raises:
        httpx2.TransportError: There is none.
    """
    try:
        return await pool.acquire(origin, wait_for=place_within, fresh=fresh)
    except PlaceTimeoutError as error:
        raise httpx2.PoolTimeout("no connection became free") from error
    except ConnectTimeoutError as error:
        raise httpx2.ConnectTimeout("the connection was not opened in time") from error
    except anyio.ClosedResourceError as error:
        raise httpx2.ConnectError("the client is closed") from error
    except anyio.BrokenResourceError as error:
        raise httpx2.ConnectError(str(error.__cause__ or error)) from error
    except anyio.EndOfStream as error:
        raise httpx2.ConnectError("the connection was closed in the TLS handshake") from error
    except OSError as error:
        raise httpx2.ConnectError(str(error)) from error


async def sent(connection: Connection, data: bytes, within: float | None) -> None:
    """Send a request. What a server says while it does not take all of it is read afterwards: it may say why.

    Raises:
        httpx2.TransportError: It could not be sent.
    """
    try:
        if within is None or len(data) <= SMALL:
            await connection.stream.send(data)
            return
        with anyio.move_on_after(within) as limit:
            await connection.stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError) as error:
        with suppress(httpx2.TransportError):  # an answer that was given early counts (RFC 9112 section 9.5)
            while not connection.reader.is_headed and connection.reader.failed is None:
                await received(connection)
        if not connection.reader.is_headed:
            raise httpx2.WriteError(str(error.__cause__ or error)) from error
        return
    if limit.cancelled_caught:
        raise httpx2.WriteTimeout("the server did not take the request in time")


async def received(connection: Connection) -> None:
    """Wait until something has come, and take it in.

    Raises:
        httpx2.TransportError: Nothing more comes.
    """
    reader = connection.reader
    try:
        reader.feed(await connection.stream.receive(PIECE))
    except anyio.EndOfStream:
        if reader.feed_eof():
            return
        if not reader.is_headed:
            raise httpx2.RemoteProtocolError(NO_ANSWER) from None
        raise CutError(CUT_SHORT) from ProtocolError(CUT_SHORT)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:  # an alert of TLS among them
        raise httpx2.ReadError(str(error.__cause__ or error)) from error
