"""A gateway's server in memory, for virtual time: connections that are no sockets, and applications that do as told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import h11
from anyio.abc import ByteStream, Listener, TaskGroup

from understudy.gateway import Head, HTTPAnswer, HTTPRequest, Limits, Server, serve_listeners

ASKED = b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
"""A small request."""


class Pipe:
    """Bytes one way, `room` of them at once. `is_broken` is a connection that was torn down."""

    def __init__(self, room: int) -> None:
        self._room, self._held = room, bytearray()
        self._changed = anyio.Event()
        self.is_ended = self.is_broken = False

    def change(self) -> None:
        """Let those who wait look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def send(self, data: bytes) -> None:
        """Send bytes, as fast as they are read."""
        await anyio.lowlevel.checkpoint()
        while data:
            if self.is_broken or self.is_ended:
                raise anyio.BrokenResourceError
            if len(self._held) < self._room:
                taken = self._room - len(self._held)
                self._held += data[:taken]
                data = data[taken:]
                self.change()
            else:
                await self._changed.wait()

    async def receive(self, most: int) -> bytes:
        """Return what has come, or wait for it."""
        await anyio.lowlevel.checkpoint()
        while not self._held:
            if self.is_broken:
                raise anyio.BrokenResourceError
            if self.is_ended:
                raise anyio.EndOfStream
            await self._changed.wait()
        data = bytes(self._held[:most])
        del self._held[:most]
        self.change()
        return data


class MemoryStream(ByteStream):
    """One side of a connection."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.is_closed = False

    async def send(self, item: bytes) -> None:
        """Send bytes."""
        if self.is_closed:
            raise anyio.ClosedResourceError
        await self._outgoing.send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what has come."""
        if self.is_closed:
            raise anyio.ClosedResourceError
        return await self._incoming.receive(max_bytes)

    async def send_eof(self) -> None:
        """Say that no more is coming."""
        self._outgoing.is_ended = True
        self._outgoing.change()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close both ways."""
        self.is_closed = self._outgoing.is_ended = self._incoming.is_broken = True
        self._outgoing.change()
        self._incoming.change()
        await anyio.lowlevel.checkpoint()


class MemoryListener(Listener[ByteStream]):
    """Where connections in memory are made; `sides` are the server's."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[ByteStream](1000)
        self.sides: list[MemoryStream] = []

    async def connect(self, room: int = 64 * 1024) -> MemoryStream:
        """Connect."""
        there, back = Pipe(room), Pipe(room)
        side = MemoryStream(there, back)
        await self._send.send(side)
        self.sides.append(side)
        return MemoryStream(back, there)

    async def serve(self, handler: Callable[[ByteStream], Any], task_group: TaskGroup | None = None) -> None:
        """Hand each connection to the server."""
        assert task_group is not None
        async for stream in self._receive:
            task_group.start_soon(handler, stream)

    async def aclose(self) -> None:
        """Take no more."""
        self._send.close()
        self._receive.close()
        await anyio.lowlevel.checkpoint()

    @property
    def extra_attributes(self) -> dict[Any, Any]:
        """None."""
        return {}


Answering: TypeAlias = Callable[[HTTPRequest], Awaitable[HTTPAnswer]]


@dataclass
class Told:
    """An application that does as told, and remembers: what it was `asked`, what it called `broken`, and which requests
    were `cancelled`. `open` counts the answers that are being given.
    """

    answering: Answering | None = None
    refusing: Callable[[Head], HTTPAnswer | None] = lambda head: None
    asked: list[HTTPRequest] = field(default_factory=list)
    said: list[tuple[int, str]] = field(default_factory=list)
    cancelled: list[tuple[str, float]] = field(default_factory=list)
    open: int = 0

    def refuse(self, head: Head) -> HTTPAnswer | None:
        """Refuse as told."""
        return self.refusing(head)

    def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
        """Say what is said."""
        self.said.append((status, said))
        return HTTPAnswer(status, (("content-type", "text/plain"),), said.encode())

    @asynccontextmanager
    async def answer(self, request: HTTPRequest) -> AsyncIterator[HTTPAnswer]:
        """Answer as told: the target and the body, if nothing was told."""
        self.asked.append(request)
        self.open += 1
        answer = text(f"{request.head.target} {len(request.body)}")
        try:
            if self.answering is not None:
                answer = await self.answering(request)
            yield answer
        except anyio.get_cancelled_exc_class():
            self.cancelled.append((request.head.target, anyio.current_time()))
            raise
        finally:
            self.open -= 1
            if isinstance(answer.parts, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await answer.parts.aclose()


def text(said: str, status: int = 200, **more: Any) -> HTTPAnswer:
    """Make an answer of a text."""
    return HTTPAnswer(status, (("content-type", "text/plain"),), said.encode(), **more)


async def parts_of(parts: Iterable[bytes | float]) -> AsyncIterator[bytes]:
    """Give parts one after the other; a number is so many seconds between."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            await anyio.sleep(part)


@dataclass
class Got:
    """An answer as a client read it; `is_whole` if it was all there."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False


class Client:
    """A client of one connection, which reads with h11."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream, self._left = stream, b""

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send(data)

    async def ask(self, data: bytes = ASKED, method: str = "POST") -> Got:
        """Send bytes, and return the answer to them."""
        await self.send(data)
        return await self.read(method)

    async def read(self, method: str = "POST") -> Got:
        """Read an answer; a connection that ends, ends it."""
        state = h11.Connection(h11.CLIENT)
        state.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        state.send(h11.EndOfMessage())
        got = Got()
        if self._left:
            state.receive_data(self._left)
        while True:
            try:
                event: Any = state.next_event()
            except h11.RemoteProtocolError:
                return got
            if event is h11.NEED_DATA:
                try:
                    state.receive_data(await self.stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    state.receive_data(b"")
            elif isinstance(event, h11.Response):
                got.status = event.status_code
                got.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                got.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                got.is_whole = True
                self._left = state.trailing_data[0]
                return got
            elif isinstance(event, h11.ConnectionClosed):
                return got

    async def is_closed(self) -> bool:
        """Wait until the server has closed the connection; say whether nothing came before."""
        try:
            return not await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True

    async def leave(self) -> None:
        """Close the connection."""
        await self.stream.aclose()


@dataclass
class Place:
    """A server in memory."""

    server: Server
    listener: MemoryListener
    application: Told

    async def connect(self, room: int = 64 * 1024) -> Client:
        """Connect."""
        return Client(await self.listener.connect(room))


@asynccontextmanager
async def in_memory(
    application: Told | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> AsyncIterator[Place]:
    """Run a server in memory; check at the end that it has let go of everything."""
    told = Told() if application is None else application
    listener = MemoryListener()
    async with serve_listeners(told, [listener], limits=limits, wall_clock=lambda: 0.0) as server:
        yield Place(server, listener, told)
    assert (server.connections, server.in_flight, server.waiting, told.open) == (0, 0, 0, 0)
    assert all(side.is_closed for side in listener.sides)
