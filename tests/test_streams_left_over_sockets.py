"""Streams of agents that are left, over real sockets: however and whenever that is, nothing stays behind."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import pytest

from understudy import Agent, Restarted, RunEvent, RunStream, Stream, Supervisor, TextDelta, UnderstudyError
from understudy.providers._sdk import SDKProvider
from understudy.simulation import Answer, Breaks, Phase, Script, SimulatedServer
from understudy.simulation._answers import Wire
from understudy.supervisor._stream import OnInterrupt

from .every_checkpoint import Cancelled, Everywhere, by_scope, by_task
from .over_sockets import opened
from .streams import busy
from .test_streams_over_sockets import both_ways

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

Opened: TypeAlias = tuple[Agent, Supervisor, list[SimulatedServer]]

BEGINS, EVERY = 0.5, 0.125
SAYS = Answer("one two three four five six seven eight", BEGINS, EVERY, rounds=1)
TROUBLED = Script(
    (
        Phase(Breaks(SAYS, 4, "reset"), share=0.2),
        Phase(Breaks(SAYS, 4, "cut"), share=0.2),
        Phase(Breaks(SAYS, 0, "error"), share=0.2),
        Phase(Breaks(SAYS, 2, "silence"), share=0.2),
    ),
    SAYS,
)
"""Of five answers one comes to its end; one never begins, two break off after 1 s, and one is silent after 0.6 s."""

STALL = 1.0
BEGUN, BROKEN, STALLED = BEGINS, BEGINS + 4 * EVERY, BEGINS + EVERY + STALL
INSTANTS = (0.0, BEGUN, BROKEN, STALLED, BROKEN + BEGINS, STALLED + BEGINS)
"""When something is decided: asked, begun, broken off, and begun again."""


class OwnError(Exception):
    """An exception of the program's own."""


async def look(what: str) -> str:
    """Look something up."""
    await anyio.sleep(EVERY)
    return f"found {what}"


@dataclass
class Leaving:
    """Callers who ask for streams, also those of tool runs, and leave them in one way each.

    `seen` counts how often each way was gone.
    """

    agent: Agent
    rand: random.Random
    seen: dict[str, int] = field(default_factory=dict)

    async def one(self, way: str) -> None:
        """Ask for one, and leave it."""
        on_interrupt: OnInterrupt = "restart" if way.startswith("restart") else self.rand.choice(["raise", "restart"])
        leave: Callable[[Stream | RunStream], Awaitable[bool]] = getattr(self, f"_{way}")
        stream: Stream | RunStream = self.agent.stream("Who?", on_interrupt=on_interrupt)
        if self.rand.random() < 0.3 and not way.startswith("restart"):
            stream = self.agent.stream_run("Who?", tools=[look], on_interrupt=on_interrupt)
        with suppress(UnderstudyError, OwnError):  # cut off; or there was no place for it
            if await leave(stream):
                self.seen[way] = self.seen.get(way, 0) + 1

    async def _break(self, stream: Stream | RunStream) -> bool:
        async with stream:
            await self._some(stream)
        return True

    async def _raise(self, stream: Stream | RunStream) -> bool:
        self.seen["raise"] = self.seen.get("raise", 0) + 1
        async with stream:
            await self._some(stream)
            raise OwnError

    async def _cancel(self, stream: Stream | RunStream) -> bool:
        within = self.rand.choice([*INSTANTS, BEGUN + 1 / 1024, self.rand.randrange(48) / 16])
        with anyio.move_on_after(within) as scope:
            async with stream:
                async for _ in stream:
                    pass
        return scope.cancelled_caught

    async def _drop(self, stream: Stream | RunStream) -> bool:
        await stream.__aenter__()
        await self._some(stream)
        return True  # and nobody has it any more

    async def _knot(self, stream: Stream | RunStream) -> bool:
        knot: list[Any] = [stream]
        knot.append(knot)  # only the garbage collector finds it
        await stream.__aenter__()
        await self._some(stream)
        return True

    async def _close(self, stream: Stream | RunStream) -> bool:
        async def consume() -> AsyncIterator[RunEvent]:
            async with stream:
                async for event in stream:
                    yield event

        events: Any = consume()
        for _ in range(self.rand.randint(1, 5)):
            if await anext(events, None) is None:
                return False
        await events.aclose()
        return True

    async def _unentered(self, stream: Stream | RunStream) -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    async def _begun(self, stream: Stream | RunStream) -> bool:
        async with stream:
            return True

    async def _restarted(self, stream: Stream | RunStream) -> bool:
        async with stream:
            async for event in stream:
                if isinstance(event, Restarted):
                    return True
        return False

    async def _restarting(self, stream: Stream | RunStream) -> bool:
        """Leave while the next route has not begun: half a second is from the cut to its first word."""
        with anyio.CancelScope() as scope:
            async with stream:
                for _ in range(4):
                    if not isinstance(await anext(stream), TextDelta):
                        return False
                scope.deadline = anyio.current_time() + self.rand.choice([EVERY, EVERY + BEGINS / 2, EVERY + BEGINS])
                async for _ in stream:
                    pass
        return scope.cancelled_caught

    async def _some(self, stream: Stream | RunStream) -> None:
        """Read a few events, at times slowly."""
        for _ in range(self.rand.randint(0, 6)):
            await anext(stream, None)
            if self.rand.random() < 0.1:
                await anyio.sleep(self.rand.randrange(8) / 16)


WAYS = ("break", "raise", "cancel", "drop", "knot", "close", "unentered", "begun", "restarted", "restarting")


def tasks_of_ours(servers: list[SimulatedServer]) -> int:
    """How many tasks there are but for those that serve a connection."""
    return len(anyio.get_running_tasks()) - sum(server.connections for server in servers)


def taken(supervisor: Supervisor) -> list[int]:
    """How many connections, or places for one, are busy in each pool."""
    providers = [endpoint.provider for endpoint in supervisor._endpoints.values()]
    assert all(isinstance(provider, SDKProvider) for provider in providers)
    return [busy(provider) for provider in providers if isinstance(provider, SDKProvider)]


def pooled(supervisor: Supervisor) -> list[int]:
    """How many connections each pool keeps."""
    providers: list[Any] = [endpoint.provider for endpoint in supervisor._endpoints.values()]
    return [
        provider._http.pool.taken + provider._http.pool.kept
        if provider._http.pool is not None
        else len(provider._client._client._transport._pool.connections)
        for provider in providers
    ]


def assert_nothing_left(supervisor: Supervisor, servers: list[SimulatedServer]) -> None:
    """No place, no permit, and no connection but those that the pools keep for the next request."""
    health = supervisor.health().values()
    assert [(each.in_flight, each.waiting) for each in health] == [(0, 0)] * len(servers)
    assert taken(supervisor) == [0] * len(servers)
    assert [server.in_flight for server in servers] == [0] * len(servers)
    assert [server.connections for server in servers] == pooled(supervisor)


async def assert_serves(agent: Agent, supervisor: Supervisor, pair: tuple[Wire, Wire]) -> None:
    """Check that each endpoint answers three times."""
    for used, other in (pair, pair[::-1]):
        supervisor.reset(used)
        supervisor.force_open(other, reason="not its turn")
        for _ in range(3):
            async with agent.stream("next") as stream:
                assert "".join([piece async for piece in stream.text_stream()]) == SAYS.text
            assert [attempt.transport for attempt in stream.response.attempts] == [used]
            assert not stream.response.attempts[0].reason
        supervisor.reset(other)


SEEDS = range(20 if os.environ.get("UNDERSTUDY_SOAK") else 1)
"""`make soak` takes many more interleavings."""


@pytest.mark.long
@both_ways
@pytest.mark.parametrize("places", [1000, 20])
@pytest.mark.parametrize("seed", SEEDS)
async def test_two_hundred_streams_left_at_random_leave_nothing(
    pair: tuple[Wire, Wire], places: int, seed: int
) -> None:
    """No connection, task, permit, place in a pool, or warning; with fewer places than streams, too."""
    rand, well_from = random.Random(seed), 500.0
    lead = Script((*(Phase(p.behaviour, until=well_from, share=p.share) for p in TROUBLED.phases),), SAYS)
    limits: dict[str, Any] = {"max_concurrency": places, "stall_timeout": STALL, "circuit_trip_after": 10_000}
    async with opened((pair[0], lead), (pair[1], Script.always(SAYS)), **limits) as (agent, supervisor, servers):
        before, leaving = tasks_of_ours(servers), Leaving(agent, rand)
        for transport in pair:
            supervisor.force_closed(transport, reason="whatever happens")

        async def one(way: str) -> None:
            await anyio.sleep(rand.randrange(16) / 16)  # few instants: each one costs a moment of the real clock
            await leaving.one(way)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(one, WAYS[number % len(WAYS)])
        gc.collect()
        await anyio.sleep(1.01)
        assert_nothing_left(supervisor, servers)
        assert tasks_of_ours(servers) == before
        rare = {"restarted", "restarting"} if places < 200 else set[str]()  # few get that far where places are few
        assert set(WAYS) - set(leaving.seen) <= rare, "each way was gone"
        await anyio.sleep(well_from - anyio.current_time())
        await assert_serves(agent, supervisor, pair)
        await anyio.sleep(1)
        assert_nothing_left(supervisor, servers)
        assert tasks_of_ours(servers) == before


async def start_over(agent: Agent) -> None:
    async with agent.stream("Who?", on_interrupt="restart") as stream:
        async for _ in stream:
            pass


async def ask(agent: Agent) -> None:
    await agent.complete("Who?")


@pytest.mark.long
@pytest.mark.parametrize("act", [start_over, ask])
@pytest.mark.parametrize("cancelled", [by_scope, by_task], ids=["scope", "task"])
@both_ways
async def test_cancelled_at_any_checkpoint_nothing_is_left(
    pair: tuple[Wire, Wire],
    cancelled: Cancelled,
    act: Callable[[Agent], Coroutine[Any, Any, None]],
    anyio_backend: tuple[str, object],
) -> None:
    """Also exactly at the commit point, while another vendor is asked, and in closing what a vendor has torn down.

    asyncio's own cancellation, which no scope holds back, is no different.
    """
    if cancelled is by_task and anyio_backend[0] == "trio":
        pytest.skip("a task of asyncio")
    says = Answer("one two")
    scripts = (pair[0], Script.always(Breaks(says, 1, "reset"))), (pair[1], Script.always(says))

    @asynccontextmanager
    async def stage() -> AsyncIterator[Opened]:
        async with opened(*scripts) as on:
            yield on

    async def follow_up(on: Opened) -> None:
        agent, supervisor, servers = on
        await anyio.sleep(1.01)
        assert_nothing_left(supervisor, servers)
        assert (await agent.complete("Who?", stream_upstream=True)).text == says.text

    assert await Everywhere(stage, lambda on: act(on[0]), follow_up).run(cancelled) >= 6
