"""The endpoint: permits, the bulkhead and those who wait for a place, draining and closing."""

from __future__ import annotations

import anyio
import pytest

from understudy.actors import Endpoint, Permit, Phase, Refusal, Refused
from understudy.providers import ActorStoppedError, Target, Verdict
from understudy.simulation import World

pytestmark = pytest.mark.anyio


def endpoint(capacity: int = 1) -> tuple[Endpoint, World]:
    world = World({})
    made = Endpoint(Target("openai", "http://lead/v1", None, max_concurrency=capacity), world.connect)
    made.open()
    return made, world


def permit(made: Endpoint) -> Permit:
    granted = made.admit("lead-1")
    assert isinstance(granted, Permit)
    return granted


async def test_a_permit_is_settled_exactly_once() -> None:
    """Settling frees the place; settling again is a bug, and says so."""
    made, _ = endpoint()
    held = permit(made)
    assert made.admit("lead-1") == Refusal(Refused.FULL)
    held.settle(Verdict.OK)
    with pytest.raises(RuntimeError, match="settled twice"):
        held.settle(Verdict.OK)
    assert made.health.in_flight == 0
    assert made.health.succeeded == 1


async def test_those_who_wait_are_served_in_order() -> None:
    """A freed place goes to whoever has waited longest, not to somebody who just came."""
    made, _ = endpoint()
    held, order = permit(made), list[int]()

    async def wait(number: int) -> None:
        granted = await made.wait_admit("lead-1", 60)
        assert isinstance(granted, Permit)
        order.append(number)
        await anyio.sleep(1)
        granted.settle(Verdict.OK)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
        held.settle(Verdict.OK)
        assert made.admit("lead-1") == Refusal(Refused.FULL)
    assert order == [0, 1, 2]
    assert anyio.current_time() == 3
    assert made.health.in_flight == 0


async def test_waiting_ends_after_its_time() -> None:
    """Who waits in vain is refused at the very instant, and leaves no trace in the queue."""
    made, _ = endpoint()
    held = permit(made)
    assert await made.wait_admit("lead-1", 2) == Refusal(Refused.FULL)
    assert anyio.current_time() == 2
    held.settle(Verdict.OK)
    permit(made).settle(Verdict.OK)


async def test_a_cancelled_waiter_gives_back_what_it_was_granted() -> None:
    """Cancelled between the grant and waking up, a waiter returns its place to the next one."""
    made, _ = endpoint()
    held, got = permit(made), list[str]()

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            granted = await made.wait_admit("lead-1", 60)
            assert isinstance(granted, Permit)
            got.append(name)
            granted.settle(Verdict.OK)

    leaving, staying = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "leaving", leaving)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait, "staying", staying)
        await anyio.wait_all_tasks_blocked()
        leaving.cancel()
        held.settle(Verdict.OK)  # granted to the one who is leaving
    assert got == ["staying"]
    assert made.health.in_flight == 0


async def test_draining_refuses_new_work_and_waits_for_the_rest() -> None:
    """What is in flight may end; whoever waits for a place is refused at once."""
    made, _ = endpoint()
    held, refused = permit(made), list[object]()

    async def wait() -> None:
        refused.append((await made.wait_admit("lead-1", 60), anyio.current_time()))

    async def work() -> None:
        await anyio.sleep(5)
        held.settle(Verdict.OK)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        await made.drain(30)
        assert made.admit("lead-1") == Refusal(Refused.STOPPED)
    assert refused == [(Refusal(Refused.STOPPED), 0)]
    assert anyio.current_time() == 5


async def test_draining_ends_what_does_not_end_by_itself() -> None:
    """After its time draining cancels what the permits cover, also what begins to wait only then."""
    made, _ = endpoint(capacity=2)
    early, late, ended = permit(made), permit(made), list[float]()

    async def hang(held: Permit, after: float) -> None:
        await anyio.sleep(after)
        with held.covers(anyio.CancelScope()):
            await anyio.sleep_forever()
        ended.append(anyio.current_time())
        assert held.stopped
        held.settle(Verdict.STOPPED)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang, early, 0)
        tasks.start_soon(hang, late, 31)
        await made.drain(30)
    assert ended == [30, 31]
    assert made.health.neutral == 2


async def test_closing_closes_the_client_once() -> None:
    """After closing, the provider is gone; closing again does nothing, and opening again is refused."""
    made, world = endpoint()
    await made.close()
    await made.close()
    assert [provider.open for provider in world.providers] == [False]
    assert made.health.phase is Phase.STOPPED
    with pytest.raises(ActorStoppedError, match="openai at http://lead/v1"):
        _ = made.provider
    with pytest.raises(ActorStoppedError):
        made.open()


async def test_a_dead_endpoint_is_refused_until_it_is_opened_again() -> None:
    """Giving up routes around it; the next incarnation brings it back with the same client."""
    made, world = endpoint()
    made.give_up()
    assert made.admit("lead-1") == Refusal(Refused.DEAD)
    made.open()
    permit(made).settle(Verdict.OK)
    assert len(world.providers) == 1
