"""A simulated vendor on loopback: a real HTTP/1.1 server that speaks both wires and follows a script.

HTTP is parsed by h11; the server runs on asyncio and trio. It is for demos and tests on this machine: it knows no
limits and no credentials.
"""

from __future__ import annotations

import errno
import json
import math
import random
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, assert_never, final

import anyio
import h11
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup, TaskStatus

from ..supervisor import background_tasks
from ._answers import REQUEST_ID, Wire, error
from ._model import asked_over
from ._reply import Reply, reply
from ._script import Answer, Behaviour, Breaks, Call, Hang, Playback, Raw, Refused, Reset, Script, Status

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, h11.RemoteProtocolError)
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ACCEPT_AGAIN_AFTER = 0.1
"""Seconds until a server that could open no file for a connection tries again (as trio's `serve_listeners` does)."""

_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all: closing sends a reset


@final
class _Left(Exception):
    """The client closed the connection before it had its answer."""


@final
@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in: its path, its headers (names in lower case), and its body as JSON."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)


@final
class SimulatedServer:
    """A running server. `connections` are open now, of `accepted` in all; `in_flight` are requests being answered;
    `left` counts those whose client did not wait for the answer; `received` holds every request as it came.
    """

    def __init__(self, script: Script, port: int) -> None:
        self._playback, self.port = Playback(script, random.Random(0).random), port  # noqa: S311 - no secret
        self.connections = self.accepted = self.in_flight = self.left = 0
        self.received: list[Received] = []
        self._begun = anyio.current_time()

    @property
    def openai_url(self) -> str:
        """The base URL for transports that speak the OpenAI wire."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for the anthropic transport."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> list[Call]:
        """Every request received, in order."""
        return self._playback.log

    async def run(self, reserved: socket.socket, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled; while the script refuses, nobody listens and every connection is gone."""
        with reserved:
            while True:
                if not self._playback.script.refuses(self._now()):
                    await self._listen(task_status)
                else:
                    task_status.started()
                task_status = anyio.TASK_STATUS_IGNORED
                await self._next_change()

    async def _listen(self, task_status: TaskStatus[None]) -> None:
        """Serve until the script begins to refuse."""
        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=self.port, reuse_port=True, backlog=2048
        )
        async with listener, anyio.create_task_group() as serving:
            for each in listener.listeners:
                assert isinstance(each, SocketListener)  # noqa: S101 - a TCP listener is made of no other
                serving.start_soon(self._accept, each, serving)
            task_status.started()
            while not self._playback.script.refuses(self._now()):
                await self._next_change()
            serving.cancel_scope.cancel()

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
                serving.start_soon(self._connection, stream)

    async def _next_change(self) -> None:
        change = self._playback.script.next_change(self._now())
        await (anyio.sleep_forever() if math.isinf(change) else anyio.sleep(change - self._now()))

    def _now(self) -> float:
        return anyio.current_time() - self._begun

    async def _connection(self, stream: SocketStream) -> None:
        self.connections += 1
        self.accepted += 1
        state = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while state.our_state is not h11.MUST_CLOSE:
                    head, body = await self._receive(state, stream)
                    await self._answer(state, stream, head, body)
                    if state.our_state is h11.DONE:
                        state.start_next_cycle()
        except _GONE:
            pass
        except _Left:
            self.left += 1
        finally:
            self.connections -= 1

    async def _receive(self, state: h11.Connection, stream: SocketStream) -> tuple[h11.Request, bytes]:
        head, body = None, bytearray()
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(await stream.receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                raise anyio.EndOfStream

    async def _answer(self, state: h11.Connection, stream: SocketStream, head: h11.Request, body: bytes) -> None:
        path = head.target.decode("ascii").partition("?")[0]
        wire: Wire = "anthropic" if path.endswith("/messages") else "openai"
        if not path.endswith(("/messages", "/chat/completions")):
            await self._send(state, stream, wire, 404, error(wire, 404), {})
            return
        request = _request(wire, body)
        if request is None:
            await self._send(state, stream, wire, 400, error(wire, 400), {})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        self.received.append(Received(head.target.decode("ascii"), headers, request))
        self.in_flight += 1
        try:
            behaviour = self._playback.play(request["model"], self._now())
            await self._behave(behaviour, state, stream, wire, request)
        finally:
            self.in_flight -= 1

    async def _behave(
        self, behaviour: Behaviour, state: h11.Connection, stream: SocketStream, wire: Wire, request: dict[str, object]
    ) -> None:
        match behaviour:
            case Answer() | Breaks():
                await self._reply(state, stream, wire, reply(wire, behaviour, request))
            case Status() as status:
                await self._pause(stream, status.after)
                said = status.body if status.body is not None else error(wire, status.status)
                headers = {"content-type": status.content_type, **status.headers}
                await self._send(state, stream, wire, status.status, said, headers)
            case Hang():
                await self._pause(stream, math.inf)
            case Reset(after):
                await self._pause(stream, after)
                await self._reset(stream)
            case Raw(data):
                await stream.send(data)
                raise anyio.EndOfStream
            case Refused():  # the listener is about to close
                raise anyio.EndOfStream
            case _:
                assert_never(behaviour)

    async def _pause(self, stream: SocketStream, seconds: float) -> None:
        """Wait; a client that leaves meanwhile ends it, as it does on a real server that looks."""
        if seconds <= 0:
            return
        with anyio.move_on_after(seconds):
            try:
                await stream.receive()
            except _GONE:
                raise _Left from None

    async def _reset(self, stream: SocketStream) -> NoReturn:
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        await anyio.aclose_forcefully(stream)
        raise anyio.EndOfStream

    async def _reply(self, state: h11.Connection, stream: SocketStream, wire: Wire, reply: Reply) -> None:
        """Send an answer part by part, and do what follows the last one."""
        headers = {"content-type": reply.content_type}
        if reply.length is not None:
            headers["content-length"] = str(reply.length)
        head = self._head(state, wire, 200, headers)
        for wait, data in reply.parts:
            await self._pause(stream, wait)
            await stream.send(head + (state.send(h11.Data(data=data)) or b""))
            head = b""
        match reply.ending:
            case "end":
                await stream.send(state.send(h11.EndOfMessage()) or b"")
            case "reset":
                await self._reset(stream)
            case "close":
                raise anyio.EndOfStream
            case "hang":
                await self._pause(stream, math.inf)
            case _:
                assert_never(reply.ending)

    async def _send(
        self,
        state: h11.Connection,
        stream: SocketStream,
        wire: Wire,
        status: int,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        head = self._head(state, wire, status, {"content-length": str(len(body)), **headers})
        parts = [head, state.send(h11.Data(data=body)), state.send(h11.EndOfMessage())]
        await stream.send(b"".join(part for part in parts if part))

    def _head(self, state: h11.Connection, wire: Wire, status: int, headers: dict[str, str]) -> bytes:
        given = {name.lower(): value for name, value in headers.items()}
        every = {"content-type": "application/json", REQUEST_ID[wire]: "simulated", **given}
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in every.items()]
        return state.send(h11.Response(status_code=status, headers=encoded)) or b""


def _request(wire: Wire, body: bytes) -> dict[str, Any] | None:
    """Return a request, or None if it is none that any vendor would take."""
    try:
        request = json.loads(body)
        asked_over(wire, request)
        return request if isinstance(request["model"], str) else None
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


@asynccontextmanager
async def simulated_server(script: Script = Script()) -> AsyncIterator[SimulatedServer]:  # noqa: B008 - frozen
    """Run a simulated vendor on a free port of 127.0.0.1 for the body of an `async with`.

    Its script begins when the block does. When the block is left, every connection is closed.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))  # bound, but not listening: the port is ours, and connecting to it is refused
        async with _serving(SimulatedServer(script, reserved.getsockname()[1]), reserved) as server:
            yield server


@asynccontextmanager
async def _serving(server: SimulatedServer, reserved: socket.socket) -> AsyncIterator[SimulatedServer]:
    async with background_tasks() as tasks:
        await tasks.start(server.run, reserved)
        yield server
