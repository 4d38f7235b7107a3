"""A caller that leaves at any checkpoint, while circuits, holds, probes, queues and restarts are at work.

Afterwards no permit is out, whoever did not end has moved no circuit and no hold, and the next three requests are
answered.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import anyio
import pytest

from understudy import ActorStoppedError, Agent, Supervisor, UnderstudyError
from understudy.actors import CircuitClosed, CircuitTripped, HoldEnded, HoldPlaced, Message
from understudy.simulation import Answer, Behaviour, Hang, Phase, Raw, Refused, Reset, Script, Status
from understudy.supervisor import Event, RequestEnded

from . import over_sockets, scenario
from .every_checkpoint import Everywhere, by_task
from .scenario import ask

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@dataclass
class Stage:
    """What a scenario plays on; `events` are those of its act."""

    agent: Agent
    supervisor: Supervisor
    events: list[Event] = field(default_factory=list)

    def told(self, *kinds: type[Any]) -> list[Any]:
        """Return the events of some kinds."""
        return [event for event in self.events if isinstance(event, kinds)]


Act: TypeAlias = Callable[[Stage], Coroutine[Any, Any, object]]
Opened: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[Agent, Supervisor, Any]]]


async def once(stage: Stage, timeout: float = 60) -> None:
    """Ask; an error is an end as good as any."""
    with suppress(UnderstudyError):
        await ask(stage.agent, timeout=timeout)


async def nothing(stage: Stage) -> None:
    """Leave all as it is."""


async def a_failure_and_its_time(stage: Stage) -> None:
    """Open the circuits, and wait until they may be probed."""
    await once(stage)
    await anyio.sleep(10)


async def a_failure(stage: Stage) -> None:
    """Open the circuits, and wait until an early call is let through."""
    await once(stage, timeout=1)
    await anyio.sleep(2)


async def a_probe_that_is_cancelled(stage: Stage) -> None:
    """Ask twice: the first one leaves, so that the second one is the probe."""
    with anyio.move_on_after(0.5):
        await ask(stage.agent)
    await once(stage)


async def a_crash_under_a_call(stage: Stage) -> None:
    """Crash the first actor while a call is in flight."""
    actor = next(iter(stage.supervisor._actors.values()))

    async def crash() -> None:
        await anyio.sleep(0.3)
        with suppress(ActorStoppedError):
            await actor.ask(cast(Message, "no such message"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crash)
        await once(stage)


async def a_whole_outage(stage: Stage) -> None:
    """Ask again and again while the primary goes and comes back."""
    for _ in range(8):
        await once(stage)
        await anyio.sleep(4)


BACK = Script((Phase(Status(503), until=1),), Answer("lead", after=1))
GONE = Script((Phase(Refused(), until=1),), Answer("lead", after=1))
HELD = Script((Phase(Status(429, headers={"retry-after": "20"}), until=1),), Answer("lead"))
OUTAGE = Script((Phase(Status(503), since=5, until=18),), Answer("lead"))
WELL = Script.always(Answer("understudy", after=0.1))

SCENARIOS: dict[str, tuple[dict[str, Script], Callable[[Stage], Awaitable[None]], Act, dict[str, Any]]] = {
    "probing": ({"openai": BACK, "anthropic": WELL}, a_failure_and_its_time, once, {}),
    "probing after a hold": ({"openai": HELD, "anthropic": WELL}, a_failure_and_its_time, once, {}),
    "probing an endpoint that was gone": ({"openai": GONE, "anthropic": WELL}, a_failure_and_its_time, once, {}),
    "probing what still hangs": (
        {"openai": Script.sequence(Status(503), otherwise=Hang()), "anthropic": WELL},
        a_failure_and_its_time,
        once,
        {},
    ),
    "probing what still fails": (
        {"openai": Script.always(Status(503, after=1)), "anthropic": WELL},
        a_failure_and_its_time,
        once,
        {},
    ),
    "a probe alone": ({"openai": BACK}, a_failure_and_its_time, once, {"circuit_lone_routes": "enforce"}),
    "a cancelled probe": ({"openai": BACK, "anthropic": WELL}, a_failure_and_its_time, a_probe_that_is_cancelled, {}),
    "an early probe": ({"openai": BACK, "anthropic": BACK}, a_failure, once, {}),
    "an open circuit": ({"openai": BACK, "anthropic": WELL}, a_failure, once, {}),
    "two open circuits": ({"openai": BACK, "gemini": BACK, "anthropic": WELL}, a_failure, once, {}),
    "waiting for a told hold": ({"openai": HELD}, a_failure, once, {}),
    "a retry that waits for its hold": (
        {"openai": Script.always(Status(500)), "anthropic": Script.sequence(Status(429), otherwise=Answer("hi"))},
        nothing,
        once,
        {"circuit_trip_after": 5},
    ),
    "backoff on the last route": (
        {"openai": BACK, "anthropic": Script.sequence(Status(500, after=1), otherwise=Answer("hi"))},
        nothing,
        once,
        {"circuit_trip_after": 5},
    ),
    "a restart under a call": ({"openai": WELL, "anthropic": WELL}, nothing, a_crash_under_a_call, {}),
    "a restart under a probe": ({"openai": BACK, "anthropic": WELL}, a_failure_and_its_time, a_crash_under_a_call, {}),
    "a whole outage": ({"openai": OUTAGE, "anthropic": WELL}, nothing, a_whole_outage, {}),
}


def prepared(name: str, opened: Opened) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    """Set the stage of a scenario in memory or over sockets."""
    scripts, before, _, settings = SCENARIOS[name]
    given: tuple[Any, ...] = (scripts,) if opened is scenario.opened else tuple(scripts.items())

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        events = list[Event]()
        chosen = {"circuit_trip_after": 1, **settings}
        async with opened(*given, hooks=[events.append], **chosen) as (agent, supervisor, _):
            stage = Stage(agent, supervisor, events)
            await before(stage)
            events.clear()
            yield stage

    return prepare


def check_what_is_left(stage: Stage) -> None:
    """Check that no place is taken, and that no circuit and no hold was moved by a request that nobody had ended."""
    assert all(health.in_flight == health.waiting == 0 for health in stage.supervisor.health().values())
    ended = stage.told(RequestEnded)
    if all(event.error == "cancelled" and not event.attempts for event in ended):
        assert not stage.told(CircuitTripped, CircuitClosed, HoldPlaced, HoldEnded)


async def follow_up(stage: Stage) -> None:
    """Check what the act has left, then ask three times."""
    check_what_is_left(stage)
    await anyio.sleep(25)
    for _ in range(3):
        assert (await ask(stage.agent)).text in {"lead", "understudy", "hi"}
    assert all(health.in_flight == 0 for health in stage.supervisor.health().values())


@pytest.mark.parametrize("name", SCENARIOS)
async def test_cancelled_anywhere_in_memory(name: str) -> None:
    """Every step of dispatcher and endpoint, in virtual time."""
    assert await Everywhere(prepared(name, scenario.opened), SCENARIOS[name][2], follow_up).run() >= 1


LONG = {"a whole outage", "waiting for a told hold", "a retry that waits for its hold", "backoff on the last route"}
ON_SOCKETS = sorted(SCENARIOS.keys() - LONG)
"""What has many steps or waits is cancelled in memory alone, where that costs nothing."""


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_SOCKETS)
async def test_cancelled_anywhere_over_sockets(name: str) -> None:
    """Every step through the SDK, the HTTP library and the sockets, too."""
    assert await Everywhere(prepared(name, over_sockets.opened), SCENARIOS[name][2], follow_up).run() >= 1


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_cancelled_anywhere_as_asyncio_does_it(name: str) -> None:
    """`Task.cancel()` arrives once and from outside of every scope; it leaves as little behind."""
    assert await Everywhere(prepared(name, scenario.opened), SCENARIOS[name][2], follow_up).run(by_task) >= 1


@pytest.mark.sockets
@pytest.mark.parametrize("name", ON_SOCKETS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_cancelled_anywhere_as_asyncio_does_it_over_sockets(name: str) -> None:
    """The same through SDK and sockets."""
    assert await Everywhere(prepared(name, over_sockets.opened), SCENARIOS[name][2], follow_up).run(by_task) >= 1


FAULTS: tuple[Behaviour, ...] = (
    *(Answer("lead", after=0.5), Answer("lead"), Status(503, after=0.5), Status(502), Hang(), Reset(after=0.5)),
    *(Status(429), Status(429, headers={"retry-after": "6"}), Status(529, headers={"retry-after": "3"}), Status(409)),
    *(Status(401), Status(402, headers={"retry-after": "9"}), Status(400), Raw(b"nonsense")),
)


def a_hard_life(seed: int) -> Everywhere[Stage]:
    """Set the stage for twenty requests over one to three routes, each of which does what chance wants."""
    rand = random.Random(seed)
    names = scenario.NAMES[: rand.choice((1, 2, 2, 3))]
    scripts = {name: Script.sequence(*rand.choices(FAULTS, k=20), otherwise=Answer("lead")) for name in names}
    pauses = [rand.choice((0, 0.5, 4, 11)) for _ in range(20)]
    settings: dict[str, Any] = {
        "circuit_trip_after": rand.choice((1, 2)),
        "in_place_retries": rand.choice((0, 1)),
        "circuit_lone_routes": rand.choice(("allow", "enforce")),
    }

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        events = list[Event]()
        async with scenario.opened(scripts, hooks=[events.append], **settings) as (agent, supervisor, _):
            yield Stage(agent, supervisor, events)

    async def act(stage: Stage) -> None:
        for pause in pauses:
            stage.events.clear()
            await once(stage, timeout=20)
            await anyio.sleep(pause)

    async def afterwards(stage: Stage) -> None:
        check_what_is_left(stage)
        for _ in range(40):  # until all that was scripted has been done, and all is well again
            await once(stage)
            await anyio.sleep(100)
        for _ in range(3):
            assert (await ask(stage.agent)).text == "lead"

    return Everywhere(prepare, act, afterwards)


SEEDS = 60 if os.environ.get("UNDERSTUDY_SOAK") else 4
"""`make soak` takes many more."""


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_cancelled_anywhere_in_a_hard_life(seed: int) -> None:
    """Whatever has happened before, and wherever the caller leaves: nothing is left, and all is well in the end."""
    assert await a_hard_life(seed).run() >= 20


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_cancelled_anywhere_in_a_hard_life_as_asyncio_does_it(seed: int) -> None:
    """The same with `Task.cancel()`."""
    assert await a_hard_life(seed).run(by_task) >= 20


FULL = ("waiting for a place", "spilling", "drained")


def full(name: str) -> Everywhere[Stage]:
    """Set the stage with an endpoint that has no place left."""
    scripts = {"openai": Script.always(Answer("lead", after=1 if name == "waiting for a place" else 9))}
    if name == "spilling":
        scripts["anthropic"] = WELL

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        async with scenario.opened(scripts, max_concurrency=1) as (agent, supervisor, _):
            stage = Stage(agent, supervisor)

            async def stop() -> None:
                await anyio.sleep(1)
                await supervisor.stop(5)

            async with anyio.create_task_group() as others:
                others.start_soon(once, stage)
                await anyio.sleep(0.1)
                if name == "drained":
                    others.start_soon(stop)
                yield stage

    async def afterwards(stage: Stage) -> None:
        await anyio.sleep(10)
        assert all(health.in_flight == health.waiting == 0 for health in stage.supervisor.health().values())
        for _ in range(0 if name == "drained" else 3):
            await ask(stage.agent)

    return Everywhere(prepare, once, afterwards)


@pytest.mark.parametrize("name", FULL)
async def test_cancelled_anywhere_at_a_full_endpoint(name: str) -> None:
    """Queued, going on to the next route, or refused because it stops: whoever leaves is in no queue any more."""
    assert await full(name).run() >= 1


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_cancelled_anywhere_at_a_full_endpoint_as_asyncio_does_it(name: str) -> None:
    """The same with `Task.cancel()`."""
    assert await full(name).run(by_task) >= 1
