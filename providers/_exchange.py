"""One request and its answer over a connection of our own, and what goes wrong there as exceptions of httpx2.

Whatever happens, the connection is given back once: when the body has been read to its end and is closed, when it
fails, or when its reader is cancelled. Its place is free at that instant, in plain code; closing it may take until
later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, final

import anyio
import anyio.lowlevel
import httpx2

from ._http1 import ProtocolError
from ._judge import EVIDENCE_LIMIT
from ._pool import Connection, ConnectTimeoutError, Origin, PlaceTimeoutError, Pool

PIECE = 64 * 1024
"""Bytes that one read takes from a connection (R-LS-4)."""

SMALL = 16 * 1024
"""Bytes of a request that a connection takes at once; only for larger ones the limit of writing is set (chosen: below
what the buffers of a socket hold). What is larger than its connection's buffer is sent with an ear to the answer."""

NO_MORE = 300
"""From this status on an answer says that the rest of a request is not wanted; below, it may be needed."""

POOL_TIMEOUT = 2.0
"""Seconds for a place in the pool, should it ever be full (as for a place at a full endpoint): that is our own trouble,
and must not end as a slow answer of the provider's."""

NO_ANSWER = "Server disconnected without sending a response."
CUT_SHORT = "peer closed connection without sending complete message body"

UNSENT = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
"""What a connection raises that takes no more."""


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
    """Is told of a request whether its connection was a new one, that an answer has come, and that this was none to it
    but has crossed it.
    """

    is_new: bool
    is_answered: bool
    has_crossed: bool


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
        await sent(connection, data, write_within, watch)
        reader = connection.reader
        while not reader.is_headed:
            if reader.failed is not None:
                raise httpx2.RemoteProtocolError(str(reader.failed)) from reader.failed
            await received(connection)
            if watch is not None:
                watch.is_answered = True
    except BaseException:
        connection.drop()  # it is not kept, however far its answer has come
        await pool.release(connection)
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


async def sent(connection: Connection, data: bytes, within: float | None, watch: Watch | None = None) -> None:
    """Send a request; nothing by whoever is cancelled. What a server answers before it has all of it counts, and an
    error ends the sending.

    Such an answer is here as far as it is evidence, and its connection is not used again.

    Raises:
        httpx2.TransportError: It could not be sent.

    Source: RFC 9112 section 9.5.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    if within is None or len(data) <= SMALL:
        await _sent_at_once(connection, data, watch)
        return
    with anyio.move_on_after(within) as limit:
        if len(data) <= connection.takes:
            await _sent_at_once(connection, data, watch)
        else:
            await _Upload(connection, watch).send(data)
    if limit.cancelled_caught:
        connection.reader.cut()
        if connection.reader.status < NO_MORE:
            raise httpx2.WriteTimeout("the server did not take the request in time")


async def _sent_at_once(connection: Connection, data: bytes, watch: Watch | None) -> None:
    """Send what the connection takes without waiting for its other end."""
    try:
        await connection.stream.send(data)
    except UNSENT as error:
        upload = _Upload(connection, watch)
        await upload.listen()
        upload.conclude(error)


@final
class _Upload:
    """Sends a request that its server may not want to the end, and listens meanwhile.

    The listener reads an error to its end before the sending is cancelled: a TLS stream whose sending was cancelled
    cannot be read any more, and asyncio forgets what has come when it finds that it cannot write.
    """

    __slots__ = ("_connection", "_failed", "_watch")

    def __init__(self, connection: Connection, watch: Watch | None) -> None:
        self._connection, self._watch = connection, watch
        self._failed: Exception | None = None

    async def send(self, data: bytes) -> None:
        """Send, and stop when an answer makes the rest useless.

        Raises:
            httpx2.TransportError: It could not be sent, and there is no answer that says why.
        """
        failed: Exception | None = None
        async with anyio.create_task_group() as both:
            both.start_soon(self._listen_for, both.cancel_scope)
            try:
                await self._connection.stream.send(data)
            except UNSENT as error:
                failed = error  # the listener reads what came before
            else:
                both.cancel_scope.cancel()
        self.conclude(failed)

    async def _listen_for(self, sending: anyio.CancelScope) -> None:
        await self.listen()
        if self._connection.reader.has_extra or self._failed is not None:
            sending.cancel()

    async def listen(self) -> None:
        """Wait for the head of an answer; read it to its end if it is an error."""
        connection, read = self._connection, 0
        reader = connection.reader
        try:
            while not reader.is_headed and reader.failed is None:
                await received(connection)
                if self._watch is not None:
                    self._watch.is_answered = True
            while reader.status >= NO_MORE and not reader.is_at_end and read < EVIDENCE_LIMIT:
                read += await received(connection)
        except Exception as error:  # noqa: BLE001 - it goes on in the task that sends, and in no group
            self._failed = error
        if reader.failed is not None or reader.status >= NO_MORE:
            reader.cut()

    def conclude(self, failed: Exception | None) -> None:
        """Say how it ended, where there is no answer.

        Args:
            failed: Why it could not be sent.
        """
        reader = self._connection.reader
        if failed is not None:
            reader.has_extra = True  # the request was not sent to its end, and nothing can follow it
        if reader.is_headed or reader.failed is not None:
            return
        if failed is not None:
            raise httpx2.WriteError(str(failed.__cause__ or failed)) from failed
        if self._failed is not None:
            raise self._failed


async def received(connection: Connection) -> int:
    """Wait until something has come, and take it in; return how many bytes came.

    Raises:
        httpx2.TransportError: Nothing more comes.
    """
    reader = connection.reader
    try:
        come = connection.stream.receive(PIECE)
        data = await (come if connection.wait is None else connection.wait.until(come))
    except anyio.EndOfStream:
        if reader.feed_eof():
            return 0
        if not reader.is_headed:
            raise httpx2.RemoteProtocolError(NO_ANSWER) from None
        raise CutError(CUT_SHORT) from ProtocolError(CUT_SHORT)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:  # an alert of TLS among them
        raise httpx2.ReadError(str(error.__cause__ or error)) from error
    reader.feed(data)
    return len(data)
