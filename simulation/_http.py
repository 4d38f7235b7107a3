"""HTTP/1.1 on loopback, for every simulated server: requests taken whole, answers sent whole or broken off.

HTTP is parsed by h11. What is answered does not belong in here.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, TypeAlias, assert_never, final

import anyio
import h11
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup, TaskStatus

from ._incoming import Incoming
from ._reply import Reply

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, h11.RemoteProtocolError)
"""What ends a connection, and nothing else."""

ACCEPT_AGAIN_AFTER = 0.1
"""Seconds until a server that could open no file for a connection tries again (as trio's `serve_listeners` does)."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all: closing sends a reset


@final
class Left(Exception):
    """The client closed the connection before it had its answer."""


@final
class Connection:
    """One client's connection, which brings one request after the other."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream, self._state = stream, h11.Connection(h11.SERVER)

    async def receive(self) -> Incoming:
        """Return the next request.

        Raises:
            anyio.EndOfStream: There is none; see `GONE` for how else a connection ends.
        """
        if self._state.our_state is h11.DONE:
            self._state.start_next_cycle()
        if self._state.our_state is h11.MUST_CLOSE:
            raise anyio.EndOfStream
        head, body = None, bytearray()
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                self._state.receive_data(await self._stream.receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _incoming(head, bytes(body))
            else:
                raise anyio.EndOfStream

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer whole. One whose status says that it has no body has none (RFC 9110 section 6.4.1)."""
        is_bare = status in {204, 304}
        head = self._head(status, dict(headers) if is_bare else {"content-length": str(len(body)), **headers})
        body = b"" if is_bare else body
        parts = [head, self._state.send(h11.Data(data=body)), self._state.send(h11.EndOfMessage())]
        await self._stream.send(b"".join(part for part in parts if part))

    async def reply(self, status: int, headers: Mapping[str, str], reply: Reply) -> None:
        """Send an answer part by part, and do what follows the last one."""
        framing = {"content-type": reply.content_type}
        if reply.length is not None:
            framing["content-length"] = str(reply.length)
        head = self._head(status, {**headers, **framing})
        for wait, data in reply.parts:
            await self.pause(wait)
            await self._stream.send(head + (self._state.send(h11.Data(data=data)) or b""))
            head = b""
        match reply.ending:
            case "end":
                await self._stream.send(self._state.send(h11.EndOfMessage()) or b"")
            case "reset":
                await self.reset()
            case "close":
                raise anyio.EndOfStream
            case "hang":
                await self.pause(math.inf)
            case _:
                assert_never(reply.ending)

    async def send_raw(self, data: bytes) -> NoReturn:
        """Send bytes, which need not be HTTP, and close the connection."""
        await self._stream.send(data)
        raise anyio.EndOfStream

    async def pause(self, seconds: float) -> None:
        """Wait; a client that leaves meanwhile ends it, as it does on a real server that looks.

        Raises:
            Left: It has left.
        """
        if seconds <= 0:
            return
        with anyio.move_on_after(seconds):
            try:
                await self._stream.receive()
            except GONE:
                raise Left from None

    async def reset(self) -> NoReturn:
        """Tear the connection down."""
        own = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's `extra`
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        await anyio.aclose_forcefully(self._stream)
        raise anyio.EndOfStream

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        every = {"content-type": "application/json"} | {name.lower(): value for name, value in headers.items()}
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in every.items()]
        return self._state.send(h11.Response(status_code=status, headers=encoded)) or b""


def _incoming(head: h11.Request, body: bytes) -> Incoming:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Incoming(head.method.decode("ascii"), head.target.decode("ascii"), headers, body)


Handle: TypeAlias = Callable[[Connection, Incoming], Awaitable[None]]
"""Answers one request; what it raises of `GONE`, or `Left`, ends the connection."""


@final
class Loopback:
    """A port of 127.0.0.1. `connections` are open now, of `accepted` in all; `left` counts the clients that did not
    wait for their answer.
    """

    def __init__(self, port: int, handle: Handle) -> None:
        self.port, self._handle = port, handle
        self.connections = self.accepted = self.left = 0

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled; then nobody listens, and every connection is gone."""
        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=self.port, reuse_port=True, backlog=2048
        )
        async with listener, anyio.create_task_group() as serving:
            for each in listener.listeners:
                assert isinstance(each, SocketListener)  # noqa: S101 - a TCP listener is made of no other
                serving.start_soon(self._accept, each, serving)
            task_status.started()

    async def _accept(self, listener: SocketListener, serving: TaskGroup) -> None:
        """Take connections. When this process can open no more files, pause: the next ones wait in the backlog."""
        while True:
            try:
                stream = await listener.accept()
            except (OSError, anyio.BrokenResourceError) as error:  # on trio the one is the cause of the other
                cause = error if isinstance(error, OSError) else error.__cause__
                if not (isinstance(cause, OSError) and cause.errno in _EXHAUSTED):
                    raise
                await anyio.sleep(ACCEPT_AGAIN_AFTER)
            else:
                serving.start_soon(self._serve, stream)

    async def _serve(self, stream: SocketStream) -> None:
        self.connections += 1
        self.accepted += 1
        connection = Connection(stream)
        try:
            async with stream:
                while True:
                    await self._handle(connection, await connection.receive())
        except GONE:
            pass
        except Left:
            self.left += 1
        finally:
            self.connections -= 1


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free port of 127.0.0.1 that refuses connections until somebody listens there."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))  # bound, but not listening: the port is ours, and connecting to it is refused
        yield reserved.getsockname()[1]
