"""A simulated vendor on loopback: a real HTTP/1.1 server that speaks both wires and follows a script.

It runs on asyncio and trio. It is for demos and tests on this machine: it knows no limits, and no credentials but
those that its guard knows.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never, final

import anyio
from anyio.abc import TaskStatus

from ..supervisor import background_tasks
from ._answers import REQUEST_ID, Wire, error
from ._http import Connection, Loopback, reserved_port
from ._incoming import Incoming
from ._model import asked_over
from ._reply import reply
from ._script import Answer, Behaviour, Breaks, Call, Hang, Playback, Raw, Refused, Reset, Script, Status

COUNTS = "/count_tokens"
"""Where, below Anthropic's path for answers, it says how many tokens a request has."""


class Guard(Protocol):
    """What stands before a simulated vendor: whom it lets in, and how its answers look."""

    def refusal(self, asked: Incoming) -> Status | None:
        """Return how a request is refused, or None to let it in."""
        ...

    def error(self, wire: Wire, status: int) -> bytes:
        """Return the body of an error whose script says none."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return the headers that every answer has."""
        ...


@final
class _Open:
    """Lets everybody in; errors are the wire's own."""

    def refusal(self, asked: Incoming) -> Status | None:
        return None

    def error(self, wire: Wire, status: int) -> bytes:
        return error(wire, status)

    def headers(self) -> Mapping[str, str]:
        return {}


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

    def __init__(self, script: Script, port: int, guard: Guard) -> None:
        self._playback, self.port = Playback(script, random.Random(0).random), port  # noqa: S311 - no secret
        self._loopback, self._guard = Loopback(port, self._answer), guard
        self.in_flight = 0
        self.received: list[Received] = []
        self._begun = anyio.current_time()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return self._loopback.connections

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._loopback.accepted

    @property
    def left(self) -> int:
        """How many clients did not wait for their answer."""
        return self._loopback.left

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

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled; while the script refuses, nobody listens and every connection is gone."""
        while True:
            if not self._playback.script.refuses(self._now()):
                await self._listen(task_status)
            else:
                task_status.started()
            task_status = anyio.TASK_STATUS_IGNORED
            await self._next_change()

    async def _listen(self, task_status: TaskStatus[None]) -> None:
        """Serve until the script begins to refuse."""
        async with anyio.create_task_group() as serving:
            await serving.start(self._loopback.listen)
            task_status.started()
            while not self._playback.script.refuses(self._now()):
                await self._next_change()
            serving.cancel_scope.cancel()

    async def _next_change(self) -> None:
        change = self._playback.script.next_change(self._now())
        await (anyio.sleep_forever() if math.isinf(change) else anyio.sleep(change - self._now()))

    def _now(self) -> float:
        return anyio.current_time() - self._begun

    async def _answer(self, connection: Connection, asked: Incoming) -> None:
        path, counts = asked.path.removesuffix(COUNTS), asked.path.endswith(f"/messages{COUNTS}")
        wire: Wire = "anthropic" if path.endswith("/messages") else "openai"
        if not path.endswith(("/messages", "/chat/completions")) or (path != asked.path and not counts):
            await self._behave(Status(404), connection, wire, {})
            return
        request = _request(wire, asked.body)
        if request is None:
            await self._behave(Status(400), connection, wire, {})
            return
        self.received.append(Received(asked.target, asked.headers, request))
        self.in_flight += 1
        try:
            refusal = self._guard.refusal(asked)
            behaviour = refusal or self._playback.play(request["model"], self._now())
            if counts and isinstance(behaviour, Answer | Breaks):  # nothing is answered that could break off
                behaviour = Status(200, body=json.dumps({"input_tokens": asked_over(wire, request).given}).encode())
            await self._behave(behaviour, connection, wire, request)
        finally:
            self.in_flight -= 1

    async def _behave(
        self, behaviour: Behaviour, connection: Connection, wire: Wire, request: Mapping[str, Any]
    ) -> None:
        headers = {REQUEST_ID[wire]: "simulated", **self._guard.headers()}
        match behaviour:
            case Answer() | Breaks():
                await connection.reply(200, headers, reply(wire, behaviour, request))
            case Status() as status:
                await connection.pause(status.after)
                said = status.body if status.body is not None else self._guard.error(wire, status.status)
                given = {name.lower(): value for name, value in status.headers.items()}
                await connection.send(status.status, {**headers, "content-type": status.content_type, **given}, said)
            case Hang():
                await connection.pause(math.inf)
            case Reset(after):
                await connection.pause(after)
                await connection.reset()
            case Raw(data):
                await connection.send_raw(data)
            case Refused():  # the listener is about to close
                raise anyio.EndOfStream
            case _:
                assert_never(behaviour)


def _request(wire: Wire, body: bytes) -> dict[str, Any] | None:
    """Return a request, or None if it is none that any vendor would take."""
    try:
        request = json.loads(body)
        asked_over(wire, request)
        return request if isinstance(request["model"], str) else None
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


@asynccontextmanager
async def simulated_server(
    script: Script = Script(),  # noqa: B008 - frozen
    *,
    guard: Guard = _Open(),  # noqa: B008 - without state
) -> AsyncIterator[SimulatedServer]:
    """Run a simulated vendor on a free port of 127.0.0.1 for the body of an `async with`.

    Its script begins when the block does. When the block is left, every connection is closed.
    """
    with reserved_port() as port:
        server = SimulatedServer(script, port, guard)
        async with background_tasks() as tasks:
            await tasks.start(server.run)
            yield server
