"""The gateway's HTTP server: connections taken, connections ended. One for asyncio and trio.

    async with serve(application, "127.0.0.1", 8080) as server:
        ...
        await server.drain(30)

What is said on a connection stands in `_connection.py`, what a request is in `_http1.py`. Everything that runs is a
task of the `async with`: none is left when it has ended.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, final

import anyio
from anyio.abc import ByteStream, Listener, TaskGroup

from ..providers import Socket
from ..supervisor import background_tasks
from ._connection import Connection
from ._house import House
from ._limits import Limits
from ._sockets import BACKLOG, Refused, bind
from ._values import Application
from ._wire import Gone, Wire

DRAIN_FOR = 30.0
"""Seconds in which what is in flight may end (R-SD-1)."""

CUT_WITHIN = 2.0
"""Seconds in which a client is told that its answer was cut off (R-CX-3)."""

ACCEPT_AGAIN_AFTER = 0.1
"""Seconds until a server that could open no file for a connection tries again (as trio's `serve_listeners` does)."""

REFUSED_FOR = 1.0
"""Seconds that a connection is kept which was one too many, at least (chosen)."""

_AT_ONCE = 64
"""Connections that are accepted in one go (chosen: the others have their turn between)."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@final
class Server:
    """A server that runs; `serve` and `serve_listeners` make one. `addresses` are where it listens: host and port."""

    def __init__(self, house: House, tasks: TaskGroup, addresses: tuple[tuple[str, int], ...]) -> None:
        self._house, self._tasks, self.addresses = house, tasks, addresses
        self._connections: dict[Connection, None] = {}
        self._accepting: list[anyio.CancelScope] = []
        self._open = 0  # connections, those that have no task yet among them
        self._refused = Refused(house.limits.refusals)
        self._turned = anyio.Event()
        self._is_cut = False

    @property
    def address(self) -> tuple[str, int]:
        """The first of the addresses."""
        return self.addresses[0]

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._open

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._house.admission.in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait until others are answered."""
        return self._house.admission.waiting

    @property
    def is_draining(self) -> bool:
        """Say whether new requests are refused, because the server ends."""
        return self._house.is_draining

    async def drain(self, drain_for: float = DRAIN_FOR) -> None:
        """Take nothing new, answer what was asked, and return when every connection is closed.

        Nobody is listened to any more, idle connections are closed, and who asks on another gets a 503. What is not
        answered in so many seconds is cut off: its client is told so by the answer's own `cut`, or by a 503. A second
        call, while one waits, cuts off now. Cancelled, it leaves the server as it is: it takes nothing new.
        """
        if self._house.is_draining:
            self._is_cut = True
            self._turn()
        else:
            self._house.is_draining = True
            for scope in self._accepting:
                scope.cancel()
            for connection in self._connections:
                connection.drain()
        with anyio.move_on_after(drain_for):
            while not (self._is_empty or self._is_cut):
                await self._turned.wait()
        if not self._is_empty:
            await self._cut_off()
        self._refused.expire()

    @property
    def _is_empty(self) -> bool:
        return not (self._open or self._accepting)

    async def _cut_off(self) -> None:
        """Cut every answer off; who does not take even that is dropped."""
        self._is_cut = True
        for connection in self._connections:
            connection.cut()
        with anyio.move_on_after(CUT_WITHIN):
            while not self._is_empty:
                await self._turned.wait()
        for connection in self._connections:
            connection.drop()
        while not self._is_empty:
            await self._turned.wait()

    def _turn(self) -> None:
        """Let whoever drains look again."""
        self._turned.set()
        self._turned = anyio.Event()

    # ---- connections

    async def accept_from(self, own: socket.socket) -> None:
        """Accept what comes at a socket until the server drains; then take those that have come, and close it."""
        try:
            with self._until_drained() as scope:
                while True:
                    await anyio.wait_readable(own)
                    if not self._accept(own):
                        await anyio.sleep(ACCEPT_AGAIN_AFTER)
            for _ in range(BACKLOG // _AT_ONCE):
                self._accept(own)
        finally:
            own.close()
            self._stopped(scope)

    async def serve_from(self, listener: Listener[Any]) -> None:
        """Serve what comes to a listener of anyio's until the server drains; then close it."""
        try:
            with self._until_drained() as scope:
                await listener.serve(self._serve_stream, self._tasks)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
            self._stopped(scope)

    def _until_drained(self) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        self._accepting.append(scope)
        return scope

    def _stopped(self, scope: anyio.CancelScope) -> None:
        self._accepting.remove(scope)
        self._turn()

    def _accept(self, own: socket.socket) -> bool:
        """Accept those who wait at a socket, without waiting; say whether this process could open them."""
        for _ in range(_AT_ONCE):
            try:
                accepted, address = own.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    return False
                continue  # whoever it was has left already: accept(2) tells of that here
            accepted.setblocking(False)
            if self._open >= self._house.limits.connections:
                self._refused.refuse(accepted, self._house.crowded())
                self._house.watch.arm(self._refused, anyio.current_time() + REFUSED_FOR)
            else:
                self._open += 1
                self._tasks.start_soon(self._serve, Wire(Socket(accepted, address)))
        return True

    async def _serve_stream(self, stream: ByteStream) -> None:
        """Serve a connection that a listener has accepted; tell it, if it is one too many."""
        wire = Wire(stream)
        if self._open < self._house.limits.connections:
            self._open += 1
            await self._serve(wire)
            return
        try:
            with anyio.move_on_after(REFUSED_FOR), suppress(Gone):
                await wire.send(self._house.crowded())
                await wire.send_end()
                await wire.receive()
        finally:
            await wire.aclose()

    async def _serve(self, wire: Wire) -> None:
        """Serve a connection that is counted already."""
        connection = Connection(wire, self._house)
        self._connections[connection] = None
        if self._is_cut:
            connection.cut()
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends this connection, and no other
            self._house.crashed(error)
        finally:
            del self._connections[connection]
            self._open -= 1
            self._turn()


@asynccontextmanager
async def serve(
    application: Application,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[Server]:
    """Serve an application at each address of a host, for the body of an `async with`.

    Args:
        port: 0 is a free one; see the server's `address`.
        wall_clock: Gives Unix time, for `date`.

    When the block is left, also by an exception, whatever is still being answered is cut off (see `Server.drain`).
    Where the block is cancelled, so is everything in it, and nobody is told.

    Raises:
        ConfigurationError: Nobody can listen there, or somebody else does.
    """
    sockets = await bind(host, port, limits.send_buffer)
    addresses = tuple(own.getsockname()[:2] for own in sockets)
    async with _running(House(application, limits, wall_clock), addresses) as (server, tasks):
        for own in sockets:
            tasks.start_soon(server.accept_from, own)
        yield server


@asynccontextmanager
async def serve_listeners(
    application: Application,
    listeners: Iterable[Listener[Any]],
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[Server]:
    """Serve an application on what listeners of anyio's bring, streams of bytes, for the body of an `async with`.

    See `serve`. The listeners are closed at the end. A socket's own has to cope by itself with a process that can open
    no more files; `serve` does.
    """
    async with _running(House(application, limits, wall_clock), ()) as (server, tasks):
        for listener in listeners:
            tasks.start_soon(server.serve_from, listener)
        yield server


@asynccontextmanager
async def _running(house: House, addresses: tuple[tuple[str, int], ...]) -> AsyncIterator[tuple[Server, TaskGroup]]:
    async with background_tasks() as tasks:
        server = Server(house, tasks, addresses)
        tasks.start_soon(house.watch.run)
        try:
            yield server, tasks
        finally:
            with anyio.CancelScope(shield=True):
                await server.drain(0)
