"""The provider actor: it opens in its own task, serves its mailbox, and answers everybody when it ends."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from understudy.actors import Drain, Endpoint, Message, Permit, Phase, ProviderActor, Stop
from understudy.providers import ActorStoppedError, Provider, Target, Verdict
from understudy.simulation import World

pytestmark = pytest.mark.anyio

TARGET = Target("openai", "http://lead/v1", None)


async def test_it_opens_serves_and_stops_in_order() -> None:
    """The client is open once the actor has started, and closed when it has answered `Stop`."""
    world = World({})
    endpoint = Endpoint(TARGET, world.connect)
    actor = ProviderActor(endpoint)
    async with anyio.create_task_group() as tasks:
        await tasks.start(actor.run)
        assert world.providers[0].open
        await actor.ask(Drain(0))
        await actor.ask(Stop())
        assert not world.providers[0].open
    assert endpoint.health.phase is Phase.STOPPED
    with pytest.raises(ActorStoppedError):
        await actor.ask(Stop())


async def test_draining_does_not_hold_up_the_mailbox() -> None:
    """A second message is answered while a first drain still waits for what is in flight."""
    endpoint = Endpoint(TARGET, World({}).connect)
    actor, answered = ProviderActor(endpoint), list[float]()

    async def drain(drain_for: float) -> None:
        await actor.ask(Drain(drain_for))
        answered.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        await tasks.start(actor.run)
        held = endpoint.admit("lead-1")
        assert isinstance(held, Permit)
        tasks.start_soon(drain, 30)
        tasks.start_soon(drain, 10)
        await anyio.sleep(1)
        before = held.stopped
        await anyio.sleep(9.5)
        assert (before, held.stopped) == (False, True)
        held.settle(Verdict.STOPPED)
        await anyio.sleep(0.1)
        assert answered == [10.5, 10.5]
        await actor.ask(Stop())


async def test_a_crash_fails_what_is_outstanding_and_leaves_the_client_open() -> None:
    """A bug in a handler ends the actor; the asker is told, and the next incarnation finds the client as it was."""
    world = World({})
    endpoint = Endpoint(TARGET, world.connect)
    actor = ProviderActor(endpoint)

    async def run() -> None:
        with pytest.raises(ExceptionGroup):
            await actor.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStoppedError):
            await actor.ask(cast(Message, "no such message"))
    assert world.providers[0].open
    async with anyio.create_task_group() as tasks:
        second = ProviderActor(endpoint)
        await tasks.start(second.run)
        await second.ask(Stop())
    assert len(world.providers) == 1


async def test_a_client_that_cannot_be_opened_fails_the_start() -> None:
    """Whatever the constructor raises reaches whoever starts the actor, as it is."""

    def connect(target: Target) -> Provider:
        raise PermissionError(13, "Permission denied", "/certificates")

    async with anyio.create_task_group() as tasks:
        with pytest.raises(PermissionError, match="certificates"):
            await tasks.start(ProviderActor(Endpoint(TARGET, connect)).run)
