"""One client's connection: its requests, one after the other, and their answers.

    idle ──▶ head ──▶ body ──▶ busy ⇄ writing ──▶ last ──▶ idle …        linger ──▶ closed

Two tasks, for as long as the connection is open: one reads what comes, the other answers. So a client that leaves is
noticed at once, whatever is done for it (RFC 9112 section 9.5), and no request needs a task or a timer of its own: the
`Watch` looks after the time, and there are two scopes for each connection: that of everything, and that of what a
server that ends now still has an ending for.
"""

from __future__ import annotations

import math
from contextlib import suppress
from enum import Enum, auto
from typing import final

import anyio
import anyio.lowlevel

from ..providers import Loop
from ._heads import CONTINUE, LAST_CHUNK, Framing, chunk_of, framing_of, head_of
from ._house import BUSY, ENDING, House
from ._http1 import Reader
from ._kept import Incoming
from ._values import HTTPAnswer, HTTPRequest
from ._violations import Violation
from ._wire import Gone, Wire

LOOK_EVERY = 0.25
"""Seconds between two looks at a client that has sent more than is read ahead (R-DL-4 allows 1)."""

DRAIN_IDLE_FOR = 0.1
"""Seconds that an idle connection stays open while the server ends: a request may be on its way (chosen)."""

YIELD_EVERY = 16
"""Parts after which others have their turn (chosen)."""


@final
class Phase(Enum):
    """What a connection is about. In `LAST` the end of an answer is written: a client that leaves has it, or not."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    WRITING = auto()
    LAST = auto()
    LINGER = auto()


@final
class Connection:
    """One connection; `run` serves it until it ends."""

    __slots__ = (
        *("_answering", "_arrived", "_has_left", "_has_served", "_house", "_incoming", "_is_cut", "_is_late", "_loop"),
        *("_open", "_phase", "_reader", "_room", "_scope", "_wire", "due"),
    )

    def __init__(self, wire: Wire, house: House) -> None:
        self._wire, self._house, self._reader, self._loop = wire, house, Reader(wire.peer), Loop()
        self._phase, self.due = Phase.IDLE, math.inf
        self._scope, self._answering = anyio.CancelScope(), anyio.CancelScope()
        self._arrived: anyio.Event | None = None
        self._room: anyio.Event | None = None
        self._incoming: Incoming | None = None
        self._open: tuple[HTTPAnswer, Framing] | None = None
        self._has_left = self._has_served = self._is_cut = self._is_late = False

    async def run(self) -> None:
        """Serve the connection until it ends; then it is closed."""
        wait_for = DRAIN_IDLE_FOR if self._house.is_draining else self._house.limits.head_for
        self._house.watch.arm(self, self._loop.now() + wait_for)
        try:
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                tasks.start_soon(self._pump)
                with suppress(Gone):
                    await self._serve()
                    await self._linger()
                self._scope.cancel()
        finally:
            if self._open is not None:  # cancelled from outside
                self._wire.reset_on_close()
            self._house.watch.forget(self)
            await self._wire.aclose()

    def expire(self) -> None:
        """End what has taken too long."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._is_late = True
            self._wake()
            return
        if self._phase in (Phase.WRITING, Phase.LAST):
            self._wire.reset_on_close()
        self._scope.cancel()

    def drain(self) -> None:
        """Answer what is being asked, and then close."""
        if self._phase is Phase.IDLE:
            self._house.watch.arm(self, min(self.due, self._loop.now() + DRAIN_IDLE_FOR))

    def cut(self) -> None:
        """End now; who is in the middle of an answer is told so."""
        self._is_cut = True
        if self._phase is Phase.IDLE:
            self._scope.cancel()
        elif self._phase not in (
            Phase.WRITING,
            Phase.LAST,
            Phase.LINGER,
        ):  # a piece that is half sent cannot be followed
            self._answering.cancel()

    def drop(self) -> None:
        """End at once; what was sent last may not arrive."""
        self._wire.reset_on_close()
        self._scope.cancel()

    # ---- what comes

    async def _pump(self) -> None:
        """Read what comes, as far as it is wanted; notice that the client has left."""
        wire, reader, ahead = self._wire, self._reader, self._house.limits.ahead
        with suppress(Gone):
            while not self._has_left:
                data = await wire.receive()
                if self._phase is Phase.LINGER:
                    continue
                reader.feed(data)
                self._wake()
                while reader.waiting > ahead and self._phase in (Phase.BUSY, Phase.WRITING, Phase.LAST):
                    if await self._is_gone_meanwhile():
                        break
        self._has_left = True
        if self._phase in (Phase.BUSY, Phase.WRITING):
            self._scope.cancel()
        self._wake()

    async def _is_gone_meanwhile(self) -> bool:
        """Wait until there is room again, or for a while; say whether the client has left."""
        self._room = anyio.Event()
        with anyio.move_on_after(LOOK_EVERY):
            await self._room.wait()
        self._room = None
        self._has_left = self._wire.has_hung_up()
        return self._has_left

    async def _more(self) -> None:
        """Wait until more has come, or nothing will."""
        if self._room is not None:
            self._room.set()
        self._arrived = self._loop.event()
        await self._arrived.wait()
        if self._is_late:
            self._is_late = False
            raise Violation(408, "the request took too long to come")
        if self._has_left:
            raise Gone

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    # ---- what is answered

    async def _serve(self) -> None:
        """Answer one request after the other, until there are no more."""
        with self._answering:
            try:
                while await self._serve_one():
                    self._has_served = True
            except Violation as violation:
                head = self._incoming.head if self._incoming else None
                await self._send(self._house.broken(violation.status, violation.said, head), closes=True)
        if self._answering.cancelled_caught:
            await self._end_cut()

    async def _serve_one(self) -> bool:
        """Answer the next request; say whether another may follow."""
        self._incoming, self._open = None, None
        incoming = self._incoming = await self._next_head()
        refusal = self._house.refusal(incoming)
        if refusal is not None:
            return await self._send(refusal, closes=not self._reader.skip_body(incoming))
        self._reader.expect_body(incoming, self._house.limits.body_size)
        body = await self._body(incoming)
        self._phase, self.due = Phase.BUSY, math.inf
        admission = self._house.admission
        if not admission.enter_nowait() and not await admission.wait(self._house.limits.wait_for):
            return await self._send(self._house.broken(503, BUSY, incoming.head), closes=False)
        try:
            if self._has_left:
                raise Gone
            return await self._answer(HTTPRequest(incoming.head, body))
        finally:
            admission.leave()

    async def _next_head(self) -> Incoming:
        reader, house = self._reader, self._house
        found = reader.take_head()
        if found is not None:
            await anyio.lowlevel.checkpoint()  # who sends many at once does not keep the others waiting
            return found
        limits = house.limits
        if self._has_left:
            raise Gone
        self._phase = Phase.IDLE
        if self._has_served:
            idle_for = DRAIN_IDLE_FOR if house.is_draining else limits.idle_for
            house.watch.arm(self, self._loop.now() + idle_for)
        while found is None:
            if self._phase is Phase.IDLE and reader.waiting:
                self._phase = Phase.HEAD
                if self._has_served:
                    house.watch.arm(self, self._loop.now() + limits.head_for)
            await self._more()
            found = reader.take_head()
        return found

    async def _body(self, incoming: Incoming) -> bytes:
        reader = self._reader
        body = reader.take_body()
        if body is not None:
            return body
        if incoming.expects and not reader.waiting:
            await self._write(CONTINUE)
        self._phase, since = Phase.BODY, self._loop.now()
        while body is None:
            self._house.watch.arm(self, self._house.limits.body_due(since, reader.received))
            await self._more()
            body = reader.take_body()
        return body

    async def _answer(self, request: HTTPRequest) -> bool:
        try:
            async with self._house.application.answer(request) as answer:
                return await self._send(answer)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of the application's, which ends this answer alone
            self._house.crashed(error)
            if self._open is not None:
                self._wire.reset_on_close()
                raise Gone from None
            return await self._send(self._house.broken(500, "the gateway made a mistake", request.head), closes=True)

    # ---- what is sent

    async def _send(self, answer: HTTPAnswer, *, closes: bool = False) -> bool:
        """Send an answer; say whether another request may follow."""
        incoming = self._incoming
        method, is_old, keeps = ("", False, False) if incoming is None else _manner(incoming)
        closes = closes or answer.closes or not keeps or self._house.is_draining
        framing = framing_of(method, answer, is_old=is_old)
        head = head_of(answer, framing, date=self._house.date(), closes=closes)
        if framing is Framing.NONE:
            await self._write(head, Phase.LAST)
        elif framing is Framing.LENGTH:
            await self._write(head + answer.body, Phase.LAST)
        else:
            await self._send_parts(head, answer, framing)
        return not closes and framing is not Framing.CLOSE

    async def _send_parts(self, unsent: bytes, answer: HTTPAnswer, framing: Framing) -> None:
        """Send each part when it is there; the head goes with the first."""
        is_chunked, count = framing is Framing.CHUNKS, 0
        if answer.parts is not None:
            async for part in answer.parts:
                count += 1
                data = unsent + (chunk_of(part) if is_chunked else part)
                if data:
                    self._open, unsent = (answer, framing), b""
                    await self._write(data)
                if self._is_cut or not count % YIELD_EVERY:  # what is all there, and is taken at once, never waits
                    await anyio.lowlevel.checkpoint()
        self._open = None
        if end := unsent + (LAST_CHUNK if is_chunked else b""):
            await self._write(end, Phase.LAST)

    async def _end_cut(self) -> None:
        """Tell the client that the server ends now: by the last event of its stream, or by a 503.

        Raises:
            Gone: Nothing can be told behind what was sent, or nobody knows how much that was.
        """
        if self._phase in (Phase.WRITING, Phase.LAST):  # it was cut in the moment in which that came
            raise self._torn()
        if self._open is not None:
            answer, framing = self._open
            if answer.cut is None:
                raise self._torn()
            last = answer.cut()
            end = chunk_of(last) + LAST_CHUNK if framing is Framing.CHUNKS else last
            self._open = None
            await self._write(end, Phase.LAST)
        elif self._incoming is not None or self._reader.waiting:
            head = self._incoming.head if self._incoming else None
            await self._send(self._house.broken(503, ENDING, head), closes=True)

    def _torn(self) -> Gone:
        """Let the client see that what it got is not all."""
        self._wire.reset_on_close()
        return Gone()

    async def _write(self, data: bytes, phase: Phase = Phase.WRITING) -> None:
        """Send bytes, in pieces of which each has its time."""
        self._phase, limits = phase, self._house.limits
        for at in range(0, len(data), limits.piece):
            piece = data if len(data) <= limits.piece else data[at : at + limits.piece]
            self._house.watch.arm(self, self._loop.now() + limits.write_for)
            await self._wire.send(piece)
        self._phase, self.due = Phase.BUSY, math.inf
        if self._is_cut and phase is not Phase.LAST:
            self._answering.cancel()

    async def _linger(self) -> None:
        """Say that nothing more is coming, and wait until the client says so too."""
        if self._has_left:
            return
        self._phase = Phase.LINGER
        self._reader.clear()
        await self._wire.send_end()
        self._house.watch.arm(self, self._loop.now() + self._house.limits.linger_for)
        while True:
            await self._more()


def _manner(incoming: Incoming) -> tuple[str, bool, bool]:
    return incoming.head.method, incoming.is_old, incoming.keeps_alive
