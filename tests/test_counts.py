"""What a call costs, in numbers that no machine changes: Python function calls, steps of its task, blocks of memory.

A bound that is passed is not always a fault: it says that a call has become dearer, and somebody should know why. The
bounds are those of the locked versions on Python 3.11, and some more; newer Pythons make fewer calls.
"""

from __future__ import annotations

import gc
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.abc
import trio.lowlevel
from anyio.abc import ByteStream, SocketAttribute
from pydantic import SecretStr

import understudy
from benchmarks.dispatcher import Instant
from understudy import Agent, AgentSettings, RouteSettings, Settings, Supervisor, assistant, user
from understudy.gateway import Gateway, Guard, Head, Refusal, serve_listeners
from understudy.providers import _pool
from understudy.simulation._answers import answer

from .gateway_clients import MemoryListener

pytestmark = pytest.mark.anyio

BODY = answer("openai", "a-model", "Johann Wolfgang von Goethe wrote Faust. " * 6, "Who wrote Faust?")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r-1\r\ncontent-length: %d\r\n\r\n" % len(
    BODY
)
CALLS = 50
DOWN = b"HTTP/1.1 500 Down\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
DISPATCHER, WHOLE = {"asyncio": 194, "trio": 262}, {"asyncio": 368, "trio": 466}
"""Python function calls of a call, by the event loop: what was counted when this was written, and a few more."""

RELAYED = {"asyncio": 678, "trio": 926}
"""The same of a request to the gateway, whose connection is one in memory."""

ASKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer a-token\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


class Wire(ByteStream):
    """A connection whose other end answers at once; for the model `down` with an error. Its socket is for show."""

    def __init__(self) -> None:
        self._answer, self._sockets = b"", socket.socketpair()

    async def send(self, item: bytes) -> None:
        """Take a request."""
        self._answer = DOWN if b'"model":"down"' in item else HEAD + BODY
        await anyio.lowlevel.checkpoint()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Give the answer."""
        await anyio.lowlevel.checkpoint()
        return self._answer

    async def send_eof(self) -> None:
        """Not used."""

    async def aclose(self) -> None:
        """Close the socket."""
        for own in self._sockets:
            own.close()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The socket."""
        return {SocketAttribute.raw_socket: lambda: self._sockets[0]}


@asynccontextmanager
async def dispatching() -> AsyncIterator[Agent]:
    """Give an agent whose provider answers at once: what is counted is the dispatcher."""
    route = RouteSettings(transport="openai", model="a-model", base_url="http://instant.test/v1")
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    async with understudy.open_supervisor(settings, connect=lambda _: Instant()) as supervisor:
        yield supervisor.agent("deriver")


@asynccontextmanager
async def supervised(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    """Give agents whose connections answer at once: what is counted is all but the sockets. The primary of the one that
    is called `careful` is down.
    """

    async def opened(self: _pool.Pool, origin: Any) -> _pool.Connection:
        await anyio.lowlevel.checkpoint()
        return _pool.Connection(origin, Wire())

    monkeypatch.setattr(_pool.Pool, "_open", opened)
    up, down = (
        RouteSettings(transport="openai", model=model, base_url="http://wire.test/v1", api_key=SecretStr("sk-counted"))
        for model in ("a-model", "down")
    )
    agents = {"deriver": AgentSettings(primary=up), "careful": AgentSettings(primary=down, fallbacks=(up,))}
    async with understudy.open_supervisor(Settings.in_code(agents=agents)) as supervisor:
        yield supervisor


@asynccontextmanager
async def wired(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """Give an agent whose connections answer at once."""
    async with supervised(monkeypatch) as supervisor:
        yield supervisor.agent("deriver")


@asynccontextmanager
async def relaying(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Give what asks an agent through the gateway, on one connection to it; both ends of which are counted, too."""
    listener, guard = MemoryListener(), Guard(["a-token"])

    def judge(head: Head) -> Refusal | None:
        return None if guard.knows(head) else guard.judge(head, anyio.current_time())

    async with supervised(monkeypatch) as supervisor:
        async with serve_listeners(Gateway(supervisor, guard=judge), [listener]):
            stream = await listener.connect()

            async def ask(said: bytes) -> bytes:
                body = b'{"model":"deriver","messages":[{"role":"user","content":"%b"}]}' % said
                await stream.send(ASKED % (len(body), body))
                return await stream.receive()

            assert b"Johann Wolfgang" in await ask(b"Who wrote Faust?")
            yield ask
            await stream.aclose()


async def calls_of(call: Callable[[], Awaitable[object]]) -> float:
    """Return how many Python functions a call calls, C functions left out."""
    for _ in range(3):
        await call()
    counted = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal counted
        counted += event == "call"

    gc.disable()
    sys.setprofile(count)
    try:
        for _ in range(CALLS):
            await call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return counted / CALLS


class Steps(trio.abc.Instrument):
    """Counts the steps of one task."""

    def __init__(self) -> None:
        self.task, self.steps = trio.lowlevel.current_task(), 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by trio."""
        self.steps += task is self.task


async def steps_of(call: Callable[[], Awaitable[object]]) -> float:
    """Return how often a call gives others a turn, which is how often it has to be waited for by itself."""
    for _ in range(3):
        await call()
    counting = Steps()
    trio.lowlevel.add_instrument(counting)
    for _ in range(CALLS):
        await call()
    trio.lowlevel.remove_instrument(counting)
    return counting.steps / CALLS


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage counts, too")
async def test_python_calls_of_the_dispatcher(anyio_backend_name: str) -> None:
    """From `agent.complete` to the provider and back."""
    async with dispatching() as agent:
        assert (
            await calls_of(lambda: agent.complete("Who wrote Faust?", max_tokens=100)) <= DISPATCHER[anyio_backend_name]
        )


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage counts, too")
async def test_python_calls_of_a_whole_call(anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the wire and the connection; a conversation of forty messages calls little more than one of one."""
    turns = [user("And then?") if n % 2 == 0 else assistant("Then it went on.") for n in range(40)]
    async with wired(monkeypatch) as agent:
        one = await calls_of(lambda: agent.complete("Who wrote Faust?", max_tokens=100))
        assert one <= WHOLE[anyio_backend_name]
        many = await calls_of(lambda: agent.complete([*turns, user("Who wrote Faust?")], max_tokens=100))
        assert (many - one) / 40 <= 12


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage counts, too")
async def test_python_calls_of_a_relayed_request(anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gateway adds to a call whose head was said before; a body of another length costs hardly more."""
    async with relaying(monkeypatch) as ask:
        assert await calls_of(lambda: ask(b"Who wrote Faust?")) <= RELAYED[anyio_backend_name]
        lengths = itertools.cycle(b"Who wrote Faust" + b"?" * number for number in range(1, 10))
        assert await calls_of(lambda: ask(next(lengths))) <= RELAYED[anyio_backend_name] + 6


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage counts, too")
async def test_python_calls_of_a_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs hardly more than another call would, and a route that is passed over hardly anything."""
    async with supervised(monkeypatch) as supervisor:
        plain = await calls_of(lambda: supervisor.agent("deriver").complete("Who wrote Faust?"))
        careful = supervisor.agent("careful")
        supervisor.force_closed("openai", "down", reason="asked every time")
        assert await calls_of(lambda: careful.complete("Who wrote Faust?")) <= 2 * plain - 20
        supervisor.force_open("openai", "down", reason="never asked")
        assert await calls_of(lambda: careful.complete("Who wrote Faust?")) <= plain + 29


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_steps_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at the provider; with the wire one to send and one to receive, and those of the parts that wait."""
    async with dispatching() as agent:
        assert await steps_of(lambda: agent.complete("Who wrote Faust?")) == 1
    async with wired(monkeypatch) as agent:
        assert await steps_of(lambda: agent.complete("Who wrote Faust?")) == 2


async def test_no_call_leaves_anything_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a block of memory nor a cycle for the collector: a million calls are as one."""
    async with wired(monkeypatch) as agent:

        async def some(number: int) -> None:
            for _ in range(number):
                await agent.complete("Who wrote Faust?", max_tokens=100)

        await some(600)  # windows of the last calls are full then
        gc.collect()
        gc.disable()
        try:
            await some(300)  # and those lists of free blocks that a collection empties
            before = sys.getallocatedblocks()
            await some(200)
            grown = sys.getallocatedblocks() - before
        finally:
            gc.enable()
        assert grown <= 100, "blocks after 200 calls"
        assert gc.collect() <= 50
