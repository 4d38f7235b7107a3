"""A caller that leaves at any checkpoint leaves nothing behind: no place taken, and the next call works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

import understudy
from understudy import Agent, Settings, Supervisor, UnderstudyError
from understudy.actors import Permit
from understudy.simulation import Answer, Behaviour, Hang, Raw, Refused, Reset, Script, SimulatedServer, Status, World

from . import over_sockets, scenario
from .every_checkpoint import Everywhere, by_task

pytestmark = [pytest.mark.anyio, pytest.mark.long]

WELL = Script.always(Answer("hello", after=1))


@dataclass
class Stage:
    """What a scenario plays on."""

    agent: Agent
    supervisor: Supervisor
    servers: list[SimulatedServer]
    blamed: dict[str, int]


def failures(supervisor: Supervisor) -> dict[str, int]:
    return {name: health.failed for name, health in supervisor.health().items()}


async def leave(stage: Stage) -> None:
    """Ask; an error is an end as good as any."""
    with suppress(UnderstudyError):
        await stage.agent.complete("first", timeout=60)


async def follow_up(stage: Stage) -> None:
    """Afterwards no place is taken, nobody waits, and the next three calls end as they should."""
    await anyio.sleep(5)
    assert all(health.in_flight == 0 for health in stage.supervisor.health().values())
    for server in stage.servers:
        assert server.in_flight == 0
    for _ in range(3):
        await leave(stage)
    assert all(health.in_flight == 0 for health in stage.supervisor.health().values())


def in_memory(*chain: tuple[str, Script], **settings: Any) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    """Set the stage in memory."""

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        async with scenario.opened(dict(chain), **settings) as (agent, supervisor, _):
            yield Stage(agent, supervisor, [], {})

    return prepare


def on_sockets(*chain: tuple[str, Script], **settings: Any) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    """Set the stage on loopback."""

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        async with over_sockets.opened(*chain, **settings) as (agent, supervisor, servers):
            yield Stage(agent, supervisor, servers, {})

    return prepare


FAILING = Script.always(Status(503, after=1))
MEMORY: dict[str, tuple[Callable[[], AbstractAsyncContextManager[Stage]], int]] = {
    "answered": (in_memory(("openai", WELL)), 1),
    "handed over on a status": (in_memory(("openai", FAILING), ("anthropic", WELL)), 2),
    "handed over on a refused connection": (in_memory(("openai", Script.always(Refused())), ("anthropic", WELL)), 2),
    "handed over after a limit": (
        in_memory(("openai", Script.always(Hang())), ("anthropic", WELL), default_timeout=5),
        2,
    ),
    "a chain of four": (
        in_memory(("openai", FAILING), ("gemini", FAILING), ("nous", FAILING), ("anthropic", WELL)),
        4,
    ),
    "backoff on the last route": (in_memory(("openai", FAILING)), 5),
    "a hint waited for": (in_memory(("openai", Script.always(Status(429, headers={"retry-after": "5"})))), 5),
    "a conflict retried once": (
        in_memory(("openai", Script.sequence(Status(409), otherwise=Answer())), ("nous", WELL)),
        2,
    ),
    "a retry in place": (in_memory(("openai", FAILING), ("anthropic", WELL), in_place_retries=1), 4),
    "everybody down": (in_memory(("openai", FAILING), ("anthropic", FAILING)), 4),
    "passed through": (in_memory(("openai", Script.always(Status(400, after=1))), ("anthropic", WELL)), 1),
}


@pytest.mark.parametrize("name", MEMORY)
async def test_cancelled_anywhere_in_memory(name: str) -> None:
    """Every step of the dispatcher itself, in virtual time."""
    prepare, least = MEMORY[name]
    assert await Everywhere(prepare, leave, follow_up).run() >= least


FAULTS: dict[str, Behaviour] = {
    "answered": Answer("hello", after=0.01),
    "status": Status(503),
    "reset": Reset(),
    "refused": Refused(),
    "not HTTP": Raw(b"nonsense\r\n\r\n"),
    "body cut short": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
    "page": Status(200, body=b"<html></html>", content_type="text/html"),
    "long error": Status(500, body=b"x" * 100_000),
}


@pytest.mark.sockets
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_cancelled_anywhere_over_sockets(transport: str, fault: str) -> None:
    """Every step through the SDK, the HTTP library and the sockets: connecting, sending, waiting, reading, closing."""
    other = "anthropic" if transport == "openai" else "openai"
    chain = (transport, Script.always(FAULTS[fault])), (other, Script.always(Answer("hello")))
    assert await Everywhere(on_sockets(*chain), leave, follow_up).run() >= 2


CHAINS: dict[str, tuple[tuple[str, Script], ...]] = {
    "alone, retried": (("openai", Script.always(Status(500))),),
    "alone, a conflict": (("anthropic", Script.sequence(Status(409), otherwise=Answer("hello"))),),
    "alone, misdirected": (("openai", Script.sequence(Status(421), otherwise=Answer("hello"))),),
    "three down": tuple((name, Script.always(Status(503))) for name in ("openai", "gemini", "anthropic")),
    "a chain of three": (
        ("anthropic", Script.always(Reset())),
        ("lmstudio", Script.always(Status(429))),
        ("openai", Script.always(Answer("hello"))),
    ),
    "a chain of five": (
        *((name, Script.always(Status(502))) for name in ("openai", "gemini", "lmstudio", "nous")),
        ("anthropic", Script.always(Answer("hello"))),
    ),
}


@pytest.mark.sockets
@pytest.mark.parametrize("chain", CHAINS)
async def test_cancelled_anywhere_along_a_chain(chain: str) -> None:
    """From route to route, and in every wait between two tries of the last one."""
    assert await Everywhere(on_sockets(*CHAINS[chain]), leave, follow_up).run() >= 2


NATIVELY = {**CHAINS, **{fault: (("openai", Script.always(FAULTS[fault])),) for fault in FAULTS}}


@pytest.mark.sockets
@pytest.mark.parametrize("chain", NATIVELY)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_cancelled_anywhere_as_asyncio_does_it(chain: str) -> None:
    """`Task.cancel()` arrives once and from outside of every scope; it leaves as little behind."""
    assert await Everywhere(on_sockets(*NATIVELY[chain]), leave, follow_up).run(by_task) >= 2


@pytest.mark.sockets
async def test_cancelled_anywhere_on_a_kept_connection() -> None:
    """The same on a connection that was used before, also when it turns out to be gone."""

    async def act(stage: Stage) -> None:
        await leave(stage)
        await leave(stage)

    for script in (Script.always(Answer()), Script.sequence(Answer(), Reset(), otherwise=Answer())):
        assert await Everywhere(on_sockets(("openai", script)), act, follow_up).run() >= 3


async def test_cancelled_anywhere_while_waiting_for_a_place() -> None:
    """Whoever waits for a full endpoint leaves the queue, and gives back a place granted at that very moment."""

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        async with scenario.opened({"openai": WELL, "anthropic": WELL}, max_concurrency=1) as (agent, supervisor, _):
            stage = Stage(agent, supervisor, [], {})
            async with anyio.create_task_group() as others:
                for _ in range(3):
                    others.start_soon(leave, stage)
                await anyio.wait_all_tasks_blocked()
                yield stage

    assert await Everywhere(prepare, leave, follow_up).run() >= 2


async def test_cancelled_anywhere_while_the_place_is_granted() -> None:
    """The grant and the cancellation fall into the same step, in either order."""
    for first in ("grant", "cancel"):
        async with scenario.opened({"openai": WELL}, max_concurrency=1) as (agent, supervisor, _):
            (endpoint,) = supervisor._endpoints.values()
            held = endpoint.admit("lead-1")
            assert isinstance(held, Permit)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def wait() -> None:
                        await agent.complete("waiting")

                    tasks.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    for step in ("grant", "cancel") if first == "grant" else ("cancel", "grant"):
                        if step == "grant":
                            held.settle(understudy.Verdict.OK)
                        else:
                            scope.cancel()
            assert endpoint.health.in_flight == 0
            assert (await agent.complete("next")).text == "hello"


@pytest.mark.parametrize("drain_for", [0, 5])
async def test_cancelled_anywhere_while_a_supervisor_lives(drain_for: float) -> None:
    """Opening, using, draining and closing: wherever its block is cancelled, every client is closed."""
    worlds: list[World] = []

    @asynccontextmanager
    async def prepare() -> AsyncIterator[World]:
        worlds.append(World({"openai": Script.always(Hang())}))
        yield worlds[-1]
        assert not any(provider.open or provider.in_flight for provider in worlds[-1].providers)

    async def act(world: World) -> None:
        settings = Settings.in_code(agents={"deriver": scenario.chain("openai", "anthropic")})
        async with anyio.create_task_group() as tasks:
            async with understudy.open_supervisor(settings, connect=world.connect, drain_for=drain_for) as supervisor:
                agent = supervisor.agent("deriver")

                async def hang() -> None:
                    with pytest.raises(understudy.ActorStoppedError):
                        await agent.complete("hi")

                tasks.start_soon(hang)
                await anyio.wait_all_tasks_blocked()

    assert await Everywhere(prepare, act).run() >= 4
