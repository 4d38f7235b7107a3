"""The path of a request: how often it may try, how long it may wait, and what ends a wait. Exact instants."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from understudy import (
    ActorStoppedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    AttemptError,
    RateLimitedError,
    Response,
    ServerFailedError,
    TimeoutExceededError,
    UnderstudyError,
    Verdict,
)
from understudy.actors import Permit
from understudy.providers import Failure, Request, attempt_error
from understudy.simulation import Answer, Hang, Phase, Script, Status, World

from .scenario import NAMES, ask, opened, run

pytestmark = pytest.mark.anyio

LEAD = "openai at http://openai.test/v1"
WELL = Script.always(Answer("understudy"))
DOWN = Script.always(Status(500))


def limited(hint: float, until: float = 1.0) -> Script:
    return Script((Phase(Status(429, headers={"retry-after": str(hint)}), until=until),), Answer("lead"))


@pytest.mark.parametrize(("callers", "calls"), [(1, 3), (2, 5), (10, 13), (50, 60), (100, 120), (500, 600)])
async def test_retries_are_a_fifth_of_the_requests_and_three_at_least(callers: int, calls: int) -> None:
    """A lone route that is down gets at most 20 % more calls than requests, however they come (R-RT-4)."""
    async with opened({"openai": DOWN}) as (agent, _, world):

        async def one() -> None:
            with pytest.raises(UnderstudyError):
                await ask(agent)

        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(one)
        assert len(world.log("openai")) == calls


@pytest.mark.parametrize("status", [409, 429, 500, 503])
@pytest.mark.parametrize("routes", [1, 2, 3, 4, 5])
async def test_a_request_makes_three_attempts_or_one_for_each_route(routes: int, status: int) -> None:
    """Whatever fails and how often it might be retried (R-RT-2)."""
    scripts = {name: Script.always(Status(status)) for name in NAMES[:routes]}
    got = await run(scripts, in_place_retries=1)
    assert len(got.asked) <= max(3, routes)
    assert {name for name, _ in got.asked} == set(scripts)
    assert isinstance(got.error, AllAttemptsFailedError)
    assert len(got.error.attempts) == len(got.asked)


@pytest.mark.parametrize("routes", [1, 2, 3, 4, 5])
async def test_time_is_shared_between_the_routes_that_are_left(routes: int) -> None:
    """Each of n routes that hang gets an n-th; the caller's timeout ends it all, to the instant."""
    scripts = {name: Script.always(Hang()) for name in NAMES[:routes]}
    got = await run(scripts, timeout=60)
    assert isinstance(got.error, TimeoutExceededError)
    assert [at for _, at in got.asked] == pytest.approx([60 / routes * number for number in range(routes)])
    assert got.ended_at == pytest.approx(60)


@pytest.mark.parametrize(("usual", "limit"), [(1, 15), (9, 15), (20, 30), (100, 150)])
async def test_a_probe_has_15_s_or_half_as_long_again_as_usual(usual: float, limit: float) -> None:
    """A model that is always slow could otherwise never come back; its caller waits no longer than that (R-CB-6)."""
    lead = Script((Phase(Answer("lead", usual), calls=1), Phase(Status(503), calls=1)), Hang())
    async with opened({"openai": lead, "anthropic": WELL}, circuit_trip_after=1) as (agent, _, _):
        await ask(agent)
        await ask(agent)
        await anyio.sleep(10)
        begun = anyio.current_time()
        assert (await ask(agent)).text == "understudy"
        assert anyio.current_time() - begun == limit


async def test_a_slow_model_comes_back() -> None:
    """It always takes 20 s, which a probe is given once that is known."""
    lead = Script((Phase(Status(503), since=30, until=40),), Answer("lead", 20))
    async with opened({"openai": lead, "anthropic": WELL}, circuit_trip_after=1) as (agent, _, _):
        assert (await ask(agent)).text == "lead"
        await anyio.sleep(15)
        assert (await ask(agent)).text == "understudy"
        await anyio.sleep(10)
        assert (await ask(agent)).text == "lead"


async def test_a_retry_in_place_needs_a_route_that_is_clear() -> None:
    """One failure before is enough to go to the fallback at once; so is being the probe."""
    async with opened({"openai": DOWN, "anthropic": WELL}, in_place_retries=1) as (agent, supervisor, world):
        await ask(agent)
        assert len(world.log("openai")) == 2
        await ask(agent)
        assert len(world.log("openai")) == 3
        await anyio.sleep(10)
        await ask(agent)
        assert len(world.log("openai")) == 4
        assert supervisor.health()[LEAD].failed == 3


def failing_with(verdict: Verdict, world: World, *numbers: int) -> None:
    """Make the providers of a world raise that verdict."""

    async def complete(_: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise attempt_error(Failure(transport="x", model="x", verdict=verdict))

    for number in numbers:
        world.providers[number].complete = complete  # type: ignore[assignment, method-assign]


async def test_no_room_of_ours_spills_and_blames_nobody() -> None:
    """Out of sockets or memory: the next route is asked at once; alone, the error is raised without a retry."""
    async with opened({"openai": WELL, "anthropic": WELL}) as (agent, supervisor, world):
        failing_with(Verdict.LOCAL_OVERLOAD, world, 0)
        for _ in range(20):
            assert (await ask(agent)).is_fallback
        health = supervisor.health()[LEAD]
        assert (health.failed, health.models["openai-model"].run) == (0, 0)
        assert anyio.current_time() == 0
    async with opened({"openai": WELL}) as (agent, _, world):
        failing_with(Verdict.LOCAL_OVERLOAD, world, 0)
        with pytest.raises(AttemptError) as caught:
            await ask(agent)
        assert len(caught.value.attempts) == 1


async def test_a_bug_of_ours_gets_two_routes_and_no_third() -> None:
    """What crashes two providers is in the request; the third stays whole (R-SUP-4)."""
    async with opened(dict.fromkeys(NAMES[:4], WELL)) as (agent, supervisor, world):
        failing_with(Verdict.INTERNAL, world, 0, 2)
        failing_with(Verdict.PROVIDER, world, 1)
        with pytest.raises(AllAttemptsFailedError) as caught:
            await ask(agent)
        verdicts = [attempt.verdict for attempt in caught.value.attempts]
        assert verdicts == [Verdict.INTERNAL, Verdict.PROVIDER, Verdict.INTERNAL]
        assert not world.log(NAMES[3])
        assert supervisor.health()[LEAD].failed == 0


async def test_an_early_call_that_is_answered_ends_the_outage() -> None:
    """All routes are barred by circuits; the one that opens first is asked, and from then on everybody is served."""
    down = Script((Phase(Status(503), until=1),), Answer("understudy"))
    later = Script((Phase(Status(503), until=1),), Answer("lead"))
    async with opened({"openai": later, "anthropic": down}, circuit_trip_after=1) as (agent, _, world):
        with pytest.raises(UnderstudyError):
            await ask(agent)
        await anyio.sleep(2)
        response = await ask(agent)
        assert response.text == "lead"
        assert not response.is_fallback
        assert [passed.transport for passed in response.passed_over] == ["openai", "anthropic"]
        for _ in range(5):
            assert (await ask(agent)).text == "lead"
        assert len(world.log("anthropic")) == 1


@pytest.mark.parametrize(("hint", "timeout", "waits"), [(30, None, True), (59, 100, True), (61, None, False)])
async def test_a_lone_route_waits_for_a_told_hold(hint: float, timeout: float | None, waits: bool) -> None:
    """Up to a minute, as a retry would; a longer one is told at once, with the time."""
    async with opened({"openai": limited(hint)}) as (agent, _, world):
        with pytest.raises(RateLimitedError):
            await ask(agent, timeout=1)
        if waits:
            assert (await ask(agent, timeout=timeout)).text == "lead"
            assert anyio.current_time() == hint + 0.125
        else:
            with pytest.raises(AllRoutesClosedError) as caught:
                await ask(agent, timeout=timeout)
            assert (caught.value.retry_after, anyio.current_time()) == (hint, 0)
        assert len(world.log("openai")) == 1 + waits


async def test_a_lone_route_does_not_begin_to_wait_in_vain() -> None:
    """A hold that outlasts the caller's timeout is told at once: so the caller has time to do something else."""
    async with opened({"openai": limited(30)}) as (agent, _, world):
        with pytest.raises(RateLimitedError):
            await ask(agent, timeout=20)
        with pytest.raises(AllRoutesClosedError):
            await ask(agent, timeout=20)
        assert anyio.current_time() == 0
        assert len(world.log("openai")) == 1


async def test_many_who_wait_for_a_hold_are_all_answered() -> None:
    """A lone route that is held for a while loses nobody who has the time."""
    async with opened({"openai": limited(20)}) as (agent, _, world):
        texts = list[str]()

        async def one() -> None:
            texts.append((await ask(agent)).text)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one)
                await anyio.sleep(0.1 * (number == 0))
        assert texts == ["lead"] * 50
        assert len(world.log("openai")) == 51
        assert anyio.current_time() <= 21


async def test_the_last_route_is_not_waited_for_when_its_circuit_opened() -> None:
    """The request's own failure trips it: nobody is asked, and nobody waits."""
    got = await run({"openai": DOWN, "anthropic": DOWN}, circuit_trip_after=1)
    assert isinstance(got.error, AllAttemptsFailedError)
    assert [at for _, at in got.asked] == [0, 0]
    assert got.ended_at == 0
    assert [passed.transport for passed in got.error.passed_over] == ["anthropic"]


WAITS: dict[str, tuple[dict[str, Script], dict[str, Any], int]] = {
    "a hint on the last route": ({"openai": limited(45)}, {}, 1),
    "a hint on the fallback": ({"openai": DOWN, "anthropic": limited(45)}, {}, 2),
    "a retry in place": (
        {"openai": Script.always(Status(429, headers={"retry-after": "3"})), "anthropic": WELL},
        {"in_place_retries": 1},
        1,
    ),
    "a full endpoint": ({"openai": Script.always(Hang())}, {"max_concurrency": 1}, 1),
}


@pytest.mark.parametrize("drain_for", [0, 30])
@pytest.mark.parametrize("wait", WAITS)
async def test_closing_ends_every_wait(wait: str, drain_for: float) -> None:
    """Nothing is sent once the supervisor closes: who waits for something is told at once, with the trail."""
    scripts, settings, calls = WAITS[wait]
    ends = list[float]()
    async with opened(scripts, **settings) as (agent, supervisor, world):

        async def one() -> None:
            with pytest.raises(ActorStoppedError) as caught:
                await ask(agent)
            assert len(caught.value.attempts) <= calls
            ends.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await anyio.sleep(0.5)
            if wait == "a full endpoint":
                tasks.start_soon(one)
            await anyio.sleep(0.5)
            await supervisor.stop(drain_for)
        assert sum(len(world.log(name)) for name in scripts) == calls
    in_flight = drain_for if wait == "a full endpoint" else 0
    assert (min(ends), max(ends)) == (1, 1 + in_flight)


async def test_closing_ends_the_wait_for_a_hold() -> None:
    """A request that was not sent yet is not sent any more, and its caller does not wait out the minute."""
    async with opened({"openai": limited(59)}) as (agent, supervisor, world):
        with pytest.raises(RateLimitedError):
            await ask(agent, timeout=1)

        async def wait() -> None:
            with pytest.raises(ActorStoppedError):
                await ask(agent)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(3)
            await supervisor.stop(30)
        assert anyio.current_time() == 3
        assert len(world.log("openai")) == 1


@pytest.mark.parametrize("timeout", [0.2, 1, 3, 7.9])
async def test_no_wait_is_longer_than_the_callers_timeout(timeout: float) -> None:
    """Neither for a place nor for a hint: the error comes within the timeout, mostly before it."""
    async with opened({"openai": Script.always(Hang())}, max_concurrency=1) as (agent, supervisor, _):
        (endpoint,) = supervisor._endpoints.values()
        held = endpoint.admit("openai-model")
        assert isinstance(held, Permit)
        with pytest.raises(AllRoutesClosedError):
            await ask(agent, timeout=timeout)
        assert anyio.current_time() == pytest.approx(min(2, timeout / 4))
        held.settle(Verdict.NO_VERDICT)
    begun = anyio.current_time()
    async with opened({"openai": limited(8)}) as (agent, _, _):
        with pytest.raises((RateLimitedError, ServerFailedError)):
            await ask(agent, timeout=timeout)
        assert anyio.current_time() == begun
