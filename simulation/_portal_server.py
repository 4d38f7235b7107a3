"""A simulated Nous Portal on loopback, and the inference that it guards: two real HTTP/1.1 servers.

    client ──refresh, login, mint──> portal ──┐
       └─────chat completions──────> inference ──asks──> the Portal's memory

What the Portal answers is decided in pure modules; in here it is sent, late, broken off or not at all.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, assert_never, final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ..supervisor import background_tasks
from ._http import Connection, Loopback, reserved_port
from ._incoming import Incoming
from ._nous import NousGuard
from ._portal import Portal
from ._portal_values import INVOKE, Login, PortalRequest, PortalRules
from ._portal_wire import Addresses, answer, understood
from ._reply import Reply
from ._script import Hang, Raw, Reset, Script, Status
from ._server import SimulatedServer, simulated_server


@final
@dataclass(frozen=True, slots=True)
class Slow:
    """Take `before` seconds until anything is done, and `after` seconds more until it is answered.

    What was taken is done, whether the client waits or not.
    """

    before: float = 0.0
    after: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """Send the head and half of the answer, and tear the connection down."""


@final
@dataclass(frozen=True, slots=True)
class Lost:
    """Do what was asked, and let the client not learn of it: `then` comes in place of the answer."""

    then: Status | Hang | Reset | Raw | Cut = Reset()  # noqa: RUF009 - frozen


PortalFault: TypeAlias = Status | Hang | Reset | Raw | Slow | Lost
"""What goes wrong with a request to the Portal. Unless it is slow or lost, nothing is done about what was asked."""


@final
class SimulatedPortal:
    """A running Portal with its inference.

    `portal` is its memory: there a test revokes and expires logins, decides on device codes, changes the rules, and
    reads the counts. `inference` is the server behind it; its base URL is `inference_url`. `received` holds every
    request to the Portal as it came.
    """

    def __init__(
        self, portal: Portal, port: int, inference: SimulatedServer, now: Callable[[], float], tasks: TaskGroup
    ) -> None:
        self.portal, self.inference, self.now = portal, inference, now
        self._tasks = tasks
        self.received: list[Incoming] = []
        self._loopback = Loopback(port, self._answer)
        self._faults: dict[PortalRequest, deque[PortalFault]] = {}
        self._standing: dict[PortalRequest, PortalFault | None] = {}
        self._listening, self._closed = anyio.CancelScope(), anyio.Event()

    @property
    def portal_url(self) -> str:
        """The Portal's base URL."""
        return f"http://127.0.0.1:{self._loopback.port}"

    @property
    def inference_url(self) -> str:
        """The base URL of inference, for the OpenAI wire."""
        return self.inference.openai_url

    @property
    def left(self) -> int:
        """How many clients did not wait for the Portal's answer."""
        return self._loopback.left

    def log_in(self, *, scope: str = INVOKE) -> Login:
        """Begin a login now, and return its first pair."""
        return self.portal.log_in(self.now(), scope=scope)

    def fault(self, kind: PortalRequest, *faults: PortalFault, then: PortalFault | None = None) -> None:
        """Let the next requests of a kind go wrong, one per fault, and all later ones as `then` says (None: not).

        It replaces what was said before of that kind.
        """
        self._faults[kind], self._standing[kind] = deque(faults), then

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled, or refused."""
        self._closed = anyio.Event()
        try:
            with anyio.CancelScope() as self._listening:
                await self._loopback.listen(task_status=task_status)
        finally:
            self._closed.set()

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Let nobody listen at the Portal's port for the body of an `async with`: no connection is ever made."""
        self._listening.cancel()
        await self._closed.wait()
        try:
            yield
        finally:
            await self._tasks.start(self.listen)

    async def _answer(self, connection: Connection, asked: Incoming) -> None:
        self.received.append(asked)
        meant = understood(self.portal, asked)
        if isinstance(meant, Status):
            await _send(connection, meant)
            return
        fault = self._next_fault(meant.kind)
        if isinstance(fault, (Status, Hang, Reset, Raw)):
            await _send(connection, fault)
            return
        slow = fault if isinstance(fault, Slow) else Slow()
        await anyio.sleep(slow.before)
        said = answer(self.portal, meant, Addresses(self.portal_url, self.inference_url), self.now())
        await connection.pause(slow.after)
        then = fault.then if isinstance(fault, Lost) else said
        await (_cut(connection, said) if isinstance(then, Cut) else _send(connection, then))

    def _next_fault(self, kind: PortalRequest) -> PortalFault | None:
        faults = self._faults.get(kind)
        return faults.popleft() if faults else self._standing.get(kind)


async def _cut(connection: Connection, said: Status) -> None:
    body = said.body or b""
    half = Reply([(0.0, body[: len(body) // 2])], "reset", said.content_type, len(body))
    await connection.reply(said.status, said.headers, half)


async def _send(connection: Connection, behaviour: Status | Hang | Reset | Raw) -> None:
    match behaviour:
        case Status() as said:
            await connection.pause(said.after)
            await connection.send(said.status, {"content-type": said.content_type, **said.headers}, said.body or b"")
        case Hang():
            await connection.pause(math.inf)
        case Reset(after):
            await connection.pause(after)
            await connection.reset()
        case Raw(data):
            await connection.send_raw(data)
        case _:
            assert_never(behaviour)


def _wall_clock() -> Callable[[], float]:
    """Return a clock that begins at the true time and goes as the event loop's does, also where that one is virtual."""
    ahead = time.time() - anyio.current_time()
    return lambda: anyio.current_time() + ahead


@asynccontextmanager
async def simulated_portal(
    rules: PortalRules = PortalRules(),  # noqa: B008 - frozen
    *,
    script: Script = Script(),  # noqa: B008 - frozen
    now: Callable[[], float] | None = None,
    seed: str | None = None,
) -> AsyncIterator[SimulatedPortal]:
    """Run a Portal and its inference on free ports of 127.0.0.1 for the body of an `async with`.

    Args:
        script: What inference does for those whom it lets in.
        now: The Portal's clock, in seconds since 1970; None goes with the event loop's, also in virtual time.
        seed: What tokens are drawn from; None is another one each time, so that no two Portals know the same token.
    """
    clock = now or _wall_clock()
    portal = Portal(rules, seed or secrets.token_hex())
    async with simulated_server(script, guard=NousGuard(portal, clock)) as inference, background_tasks() as tasks:
        with reserved_port() as port:
            running = SimulatedPortal(portal, port, inference, clock, tasks)
            await tasks.start(running.listen)
            yield running
