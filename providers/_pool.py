"""Connections of our own to servers: opened when they are needed, kept alive, taken up again, never shared.

    acquire ──▶ Connection ──▶ exchange ──▶ release ──▶ idle, if another request may follow; else closed
                    ▲                                     │
                    └─────────────────────────────────────┘ unless it is old, or the server has closed it meanwhile

What a call costs does not depend on how many there are: an idle connection is the last one that was used, and nobody
walks through a list. A place is taken and given back in plain code, without an await, so that no cancellation, not even
asyncio's own, can lose one. Those who find no place wait in the order in which they came.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from ._addresses import WHY, is_forbidden
from ._http1 import Reader
from ._loop import Loop
from ._sockets import open_stream
from ._wait import Wait

IDLE_FOR = 30.0
"""Seconds that a connection is kept that nobody uses (chosen: below the 60 s of common load balancers)."""

CLOSE_WITHIN = 1.0
"""Seconds to close a connection; nothing is said in closing."""

Origin: TypeAlias = tuple[bytes, bytes, int]
"""Scheme, host and port."""


@final
class Connection:
    """One connection. It belongs to whoever has acquired it; `uses` counts the requests that it was given.

    Whoever reads does so by its `wait` where there is no socket, which would tell of being shut down.
    """

    __slots__ = ("_is_dropped", "_poll", "_socket", "idle_since", "origin", "reader", "stream", "uses", "wait")

    def __init__(self, origin: Origin, stream: ByteStream) -> None:
        self.origin, self.stream, self.reader = origin, stream, Reader()
        self.uses, self.idle_since, self._is_dropped = 0, 0.0, False
        self._socket: Any = stream.extra(SocketAttribute.raw_socket, None)
        self.wait = Wait() if self._socket is None else None
        self._poll = select.poll()
        if self._socket is not None and self._socket.fileno() >= 0:
            self._poll.register(self._socket.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    @property
    def is_quiet(self) -> bool:
        """Say whether nothing has come since the last answer: no end, and no word that nobody asked for. Where there is
        no socket to look at, nobody can tell.
        """
        if self._socket is None:
            return True
        return self._socket.fileno() >= 0 and not self._poll.poll(0) and not is_holding(self.stream)

    @property
    def takes(self) -> int:
        """Bytes that it takes without waiting, nothing being under way; 0 where there is no socket to ask.

        Half of what its buffer may hold: the kernel counts its own overhead, too (tcp(7), socket(7)).
        """
        if self._socket is None or self._socket.fileno() < 0:
            return 0
        buffer: int = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return buffer // 2

    def drop(self) -> None:
        """Shut it down without waiting: the other side sees it at once."""
        self.reader.has_extra = True  # it is not used again
        if not self._is_dropped:
            self._is_dropped = True
            shut_down(self.stream)
            if self.wait is not None:
                self.wait.end()

    async def close(self) -> None:
        """Close it, also when cancelled."""
        self.drop()
        self.reader.close()
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await anyio.aclose_forcefully(self.stream)


@final
class ConnectTimeoutError(Exception):
    """A connection could not be opened in time."""


@final
class PlaceTimeoutError(Exception):
    """No place became free in time."""


@final
@dataclass(slots=True)
class _Waiter:
    """Somebody who waits for a place; `has_place` once one is theirs."""

    event: anyio.Event
    has_place: bool = False


@final
class Pool:
    """The connections of one endpoint.

    Args:
        most: Connections at once, idle ones among them.
        connect_within: Seconds to open one, its TLS handshake included.
        tls: Makes what TLS needs, when it is first needed.
    """

    def __init__(self, most: int, connect_within: float, tls: Callable[[], ssl.SSLContext]) -> None:
        self._most, self._connect_within, self._make_tls = most, connect_within, tls
        self._tls: ssl.SSLContext | None = None
        self._connect = open_stream
        self._idle: dict[Origin, deque[Connection]] = {}
        self._in_use = set[Connection]()  # or an answer that is dropped in a knot would take its socket along
        self._taken = self._kept = self._opening = 0
        self._waiting: deque[_Waiter] = deque()
        self._is_closed = False
        self._now: Callable[[], float] = anyio.current_time

    @property
    def taken(self) -> int:
        """Places that are taken by calls."""
        return self._taken

    @property
    def kept(self) -> int:
        """Connections that are kept alive, and used by nobody."""
        return self._kept

    async def acquire(self, origin: Origin, *, wait_for: float, fresh: bool = False) -> Connection:
        """Return a connection to a server, one that is kept alive if there is one and it need not be `fresh`.

        Raises:
            PlaceTimeoutError: No place became free within `wait_for` seconds.
            ConnectTimeoutError: It could not be opened in time.
            OSError: It could not be opened.
            anyio.ClosedResourceError: The pool is closed.
        """
        if self._is_closed:
            raise anyio.ClosedResourceError
        if self._taken >= self._most:
            await self._wait(wait_for)
        else:
            self._taken += 1
        try:
            now = self._now()
            await self._close_old(origin, now)
            connection = None if fresh else await self._reusable(origin, now)
            if connection is None:
                connection = await self._opened(origin)
            await self._check_open(connection)
        except BaseException:
            self._give_back()
            raise
        connection.uses += 1
        self._in_use.add(connection)
        return connection

    async def release(self, connection: Connection) -> None:
        """Take a connection back: it is kept if another request may follow, and otherwise closed."""
        if self.keep(connection):
            return
        await connection.close()

    def keep(self, connection: Connection) -> bool:
        """Take a connection back; say whether it is kept. If not, it is dropped, and has to be closed."""
        self._in_use.discard(connection)
        self._give_back()
        if self._is_closed or not connection.reader.may_follow or self._connections >= self._most:
            connection.drop()
            return False
        connection.reader.begin()
        connection.idle_since = self._now()
        self._idle.setdefault(connection.origin, deque()).append(connection)
        self._kept += 1
        return True

    async def aclose(self) -> None:
        """Close every connection; whoever uses one learns it from its next read."""
        self._is_closed = True
        connections = [*self._in_use, *(connection for found in self._idle.values() for connection in found)]
        for found in self._idle.values():
            found.clear()  # whoever is looking through one finds nothing more there
        self._kept = 0
        for waiter in self._waiting:
            waiter.event.set()
        for connection in connections:
            connection.drop()
        async with anyio.create_task_group() as closing:  # tasks of their own: asyncio's cancellation knows no shield
            for connection in connections:
                closing.start_soon(connection.close)

    async def _reusable(self, origin: Origin, now: float) -> Connection | None:
        """Return the connection that was used last, if it can be used again; those that cannot are closed."""
        found = self._idle.get(origin)
        while found:
            connection = found.pop()
            self._kept -= 1
            if now - connection.idle_since < IDLE_FOR and connection.is_quiet:
                return connection
            await connection.close()
        return None

    async def _check_open(self, connection: Connection) -> None:
        """Close a connection that was got while the pool was closed."""
        if self._is_closed:
            await connection.close()
            raise anyio.ClosedResourceError

    async def _close_old(self, origin: Origin, now: float) -> None:
        """Close what has been idle for too long, two at most: after a burst few are needed, and nobody would look."""
        found = self._idle.get(origin)
        for _ in range(2):
            if not found or now - found[0].idle_since < IDLE_FOR:
                return
            self._kept -= 1
            await found.popleft().close()

    @property
    def _connections(self) -> int:
        return len(self._in_use) + self._opening + self._kept

    async def _opened(self, origin: Origin) -> Connection:
        """Return a new connection; where there are as many as may be, one that is idle is closed for it."""
        self._now = Loop().now
        self._opening += 1
        try:
            if self._connections > self._most:
                await self._make_room()
            return await self._open(origin)
        finally:
            self._opening -= 1

    async def _make_room(self) -> None:
        """Close the connection that was idle for longest, whichever server it leads to."""
        oldest = min((found for found in self._idle.values() if found), key=lambda found: found[0].idle_since)
        self._kept -= 1
        await oldest.popleft().close()

    async def _open(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        with anyio.move_on_after(self._connect_within):
            stream = await self._connect(host.decode("ascii"), port)
            await _check_peer(stream)
            if scheme == b"https":
                stream = await self._secured(stream, host.decode("ascii"))
            return Connection(origin, stream)
        raise ConnectTimeoutError

    async def _secured(self, stream: ByteStream, host: str) -> ByteStream:
        """Make the TLS handshake. A connection whose handshake fails, or is cancelled, is closed at once (R-CX-3)."""
        try:
            if self._tls is None:
                self._tls = self._make_tls()
            return await TLSStream.wrap(stream, hostname=host, ssl_context=self._tls, standard_compatible=False)
        except BaseException:
            shut_down(stream)
            with anyio.move_on_after(CLOSE_WITHIN, shield=True):
                await anyio.aclose_forcefully(stream)
            raise

    async def _wait(self, wait_for: float) -> None:
        waiter = _Waiter(anyio.Event())
        self._waiting.append(waiter)
        try:
            with anyio.move_on_after(wait_for):
                await waiter.event.wait()
            if not waiter.has_place:
                raise anyio.ClosedResourceError if self._is_closed else PlaceTimeoutError
        except BaseException:
            if waiter.has_place:  # given and left at the same moment
                self._give_back()
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _give_back(self) -> None:
        """Give a place to whoever waits for longest, or back."""
        if self._waiting:
            waiter = self._waiting.popleft()
            waiter.has_place = True
            waiter.event.set()
        else:
            self._taken -= 1


def is_holding(stream: Any) -> bool:
    """Say whether a stream holds bytes that were read from its socket and by nobody from it: records of TLS that have
    come together. Nothing public leads there; a test sees when this does not.
    """
    incoming = getattr(stream, "_read_bio", None)
    return incoming is not None and bool(incoming.pending or stream._ssl_object.pending())


async def _check_peer(stream: ByteStream) -> None:
    """Close a connection that leads where nobody is asked, whatever its name said (R-GW-9).

    Raises:
        OSError: It does.
    """
    peer: Any = stream.extra(SocketAttribute.remote_address, None)
    if isinstance(peer, tuple) and is_forbidden(peer[0]):
        await anyio.aclose_forcefully(stream)
        raise OSError(WHY)


def shut_down(stream: ByteStream) -> None:
    """Shut a connection down without waiting."""
    own: Any = stream.extra(SocketAttribute.raw_socket, None)
    if own is not None and own.fileno() >= 0:
        with suppress(OSError):  # it is gone already
            own.shutdown(socket.SHUT_RDWR)
