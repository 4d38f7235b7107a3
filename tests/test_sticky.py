"""The sticky fallback: what one request learns, every other one knows. Outages in virtual time, exact instants."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import understudy
from understudy import (
    AllRoutesClosedError,
    AttemptTimeoutError,
    Response,
    ServerFailedError,
    Settings,
    UnderstudyError,
)
from understudy.actors import CircuitState
from understudy.simulation import Answer, Hang, Phase, Refused, Script, Status, World

from .scenario import ask, chain, opened, run

pytestmark = pytest.mark.anyio

LEAD, NAME = "openai", "openai at http://openai.test/v1"
WELL = Script.always(Answer("understudy"))


def outage(answer: Status | Hang, since: float, until: float, after: float = 0.0) -> Script:
    """A primary that is down from `since` to `until`."""
    return Script((Phase(answer, since=since, until=until),), Answer("lead", after))


async def test_a_dead_primary_is_asked_a_couple_of_times_not_on_every_call() -> None:
    """Twenty requests, one every 4 s, through 60 s of 503: all answered, at most four reach the primary, which is
    back within 30 s of its recovery.
    """
    served = list[tuple[float, str]]()
    async with opened({LEAD: outage(Status(503), 0, 60), "anthropic": WELL}) as (agent, _, world):
        for _ in range(23):
            served.append((anyio.current_time(), (await ask(agent)).text))
            await anyio.sleep(4)
        during = [call.at for call in world.log(LEAD) if call.at < 60]
    assert during == [0, 4, 16, 36]
    assert [at for at, text in served if text == "lead"] == [64, 68, 72, 76, 80, 84, 88]


async def test_while_it_is_open_the_fallback_is_asked_at_once() -> None:
    """The trail says that the primary was passed over, why, and when it may be asked again."""
    async with opened({LEAD: outage(Status(503), 0, 60), "anthropic": WELL}, circuit_trip_after=1) as (agent, _, world):
        await ask(agent)
        await anyio.sleep(3)
        response = await ask(agent)
        assert len(world.log(LEAD)) == 1
    (passed,) = response.passed_over
    assert (passed.transport, passed.retry_after) == ("openai", 7)
    assert passed.reason.startswith("circuit open: ")
    assert [attempt.transport for attempt in response.attempts] == ["anthropic"]


async def test_a_hundred_callers_at_recovery_cause_one_probe() -> None:
    """Everybody else is answered by the fallback meanwhile, without waiting."""
    responses = list[Response]()
    async with opened({LEAD: outage(Status(503), 0, 5, after=2), "anthropic": WELL}) as (agent, supervisor, world):

        async def one() -> None:
            responses.append(await ask(agent))

        await ask(agent)
        await ask(agent)
        await anyio.sleep(10)
        asked = len(world.log(LEAD))
        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(one)
        assert len(world.log(LEAD)) == asked + 1
        assert supervisor.health()[NAME].models["openai-model"].circuit is CircuitState.CLOSED
        assert (await ask(agent)).text == "lead"
    assert sorted(response.text for response in responses) == ["lead"] + ["understudy"] * 99
    assert anyio.current_time() == 14


async def test_a_cancelled_probe_frees_its_place() -> None:
    """The next request is the probe then; nobody has to wait for the lease."""
    async with opened({LEAD: outage(Status(503), 0, 5, after=2), "anthropic": WELL}) as (agent, _, _):
        await ask(agent)
        await ask(agent)
        await anyio.sleep(10)
        with anyio.move_on_after(1):
            await ask(agent)
        assert (await ask(agent)).text == "lead"
    assert anyio.current_time() == 13


async def test_a_primary_that_hangs_costs_little() -> None:
    """The first two requests wait for their limit; then only a probe's caller waits, 15 s at most."""
    waited = list[float]()
    async with opened({LEAD: outage(Hang(), 0, 300), "anthropic": WELL}, default_timeout=60) as (agent, _, _):
        for _ in range(12):
            begun = anyio.current_time()
            await ask(agent)
            waited.append(anyio.current_time() - begun)
            await anyio.sleep(5)
    assert waited == [60, 60, 0, 15, 0, 0, 0, 15, 0, 0, 0, 0]


async def test_an_impatient_caller_is_answered_in_time_and_blames_nobody() -> None:
    """A caller's own timeout is shared between the routes; a circuit does not learn from it."""
    async with opened({LEAD: outage(Hang(), 0, 1e6), "anthropic": WELL}) as (agent, supervisor, _):
        for _ in range(20):
            begun = anyio.current_time()
            assert (await ask(agent, timeout=5)).text == "understudy"
            assert anyio.current_time() - begun == 2.5
        assert supervisor.health()[NAME].models["openai-model"].run == 0


async def test_a_thousand_cancelled_calls_trip_nothing() -> None:
    """Whoever leaves in mid-flight leaves no blame and no place taken."""
    async with opened({LEAD: outage(Hang(), 0, 1e6), "anthropic": WELL}) as (agent, supervisor, _):
        with anyio.move_on_after(3):
            async with anyio.create_task_group() as callers:
                for _ in range(1000):
                    callers.start_soon(ask, agent)
        health = supervisor.health()[NAME]
        assert (health.in_flight, health.neutral, health.failed) == (0, 1000, 0)
        assert health.models["openai-model"].is_clear


async def test_a_lone_route_is_answered_as_often_as_without_circuits() -> None:
    """With half of all calls failing, circuits cost an agent without a fallback no answer; only `enforce` does."""
    answered = dict[str, int]()
    ways: dict[str, dict[str, Any]] = {
        "circuits": {},
        "no circuits": {"circuit_observe_only": True},
        "enforced": {"circuit_lone_routes": "enforce"},
    }
    for name, settings in ways.items():
        half = Script.sequence(*(Status(503) if number % 2 else Answer("lead") for number in range(400)))
        count = 0
        async with opened({LEAD: half}, circuit_trip_after=1, **settings) as (agent, _, _):
            for _ in range(100):
                try:
                    await ask(agent)
                    count += 1
                except UnderstudyError:
                    pass
        answered[name] = count
    assert answered["circuits"] == answered["no circuits"] > 50
    assert answered["enforced"] < answered["circuits"]


async def test_an_hour_is_an_hour() -> None:
    """429 with `Retry-After: 3600` moves the agent at once; the primary is asked again when the hour is over."""
    limited = Script((Phase(Status(429, headers={"retry-after": "3600"}), until=10),), Answer("lead"))
    async with opened({LEAD: limited, "anthropic": WELL}) as (agent, _, world):
        for _ in range(361):
            await ask(agent)
            await anyio.sleep(10)
        assert [call.at for call in world.log(LEAD)] == [0, 3600]


@pytest.mark.parametrize("hint", ["0", "-5", "nan", "inf", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400])
async def test_a_strange_hint_is_harmless(hint: str) -> None:
    """What cannot be honoured is as if nothing had been said: 5 s for a plain 429, an hour at most for a huge one."""
    limited = Script((Phase(Status(429, headers={"retry-after": hint}), until=1),), Answer("lead"))
    async with opened({LEAD: limited, "anthropic": WELL}) as (agent, _, _):
        assert (await ask(agent)).text == "understudy"
        await anyio.sleep(4.9)
        assert (await ask(agent)).text == "understudy"
        await anyio.sleep(3600 if hint in {"inf", "9" * 400} else 0.1)
        assert (await ask(agent)).text == "lead"


async def test_closing_under_load_sends_nothing_to_the_fallback() -> None:
    """Shutting down blames nobody and does not stampede the fallback."""
    errors = list[str]()
    slow = Script.always(Answer("lead", 100))
    async with opened({LEAD: slow, "anthropic": WELL}) as (agent, supervisor, world):

        async def one() -> None:
            try:
                await ask(agent)
            except UnderstudyError as error:
                errors.append(type(error).__name__)

        async with anyio.create_task_group() as callers:
            for _ in range(50):
                callers.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            await supervisor.stop(1)
        assert not world.log("anthropic")
        assert supervisor.health()[NAME].failed == 0
    assert errors == ["ActorStoppedError"] * 50


async def test_when_all_routes_are_closed_the_caller_is_told_at_once() -> None:
    """Every reason and the smallest wait are in the error; one call a second still finds out."""
    down = Script.always(Status(503))
    async with opened({LEAD: down, "anthropic": down}, circuit_trip_after=1) as (agent, _, world):
        with pytest.raises(UnderstudyError):
            await ask(agent)
        await anyio.sleep(0.5)
        begun, asked = anyio.current_time(), len(world.log(LEAD)) + len(world.log("anthropic"))
        with pytest.raises(UnderstudyError):
            await ask(agent)  # the one that is let through early
        with pytest.raises(AllRoutesClosedError) as caught:
            await ask(agent)
        assert anyio.current_time() == begun
        assert len(world.log(LEAD)) + len(world.log("anthropic")) == asked + 1
        assert caught.value.retry_after == pytest.approx(9.5)
        assert len(caught.value.reasons) == 2
        await anyio.sleep(1)
        with pytest.raises(UnderstudyError):
            await ask(agent)
        assert len(world.log(LEAD)) + len(world.log("anthropic")) == asked + 2


async def test_an_early_probe_keeps_its_caller_no_longer_than_any_other() -> None:
    """Every route is barred and the primary hangs: whoever finds that out waits 15 s, then whoever has opened meanwhile
    answers; the others are told at once when that will be. So the primary is back within 30 s of its recovery.
    """
    lead = Script((Phase(Status(503), until=1), Phase(Hang(), until=20)), Answer("lead"))
    understudy = Script((Phase(Status(503), until=5),), Answer("understudy"))
    async with opened({LEAD: lead, "anthropic": understudy}, circuit_trip_after=1) as (agent, _, world):
        with pytest.raises(UnderstudyError):
            await ask(agent)
        await anyio.sleep(2)
        early = list[tuple[float, Response]]()

        async def one() -> None:
            response = await ask(agent)
            early.append((anyio.current_time(), response))

        async with anyio.create_task_group() as callers:
            callers.start_soon(one)
            await anyio.sleep(1)
            with pytest.raises(ServerFailedError):
                await ask(agent)  # lets the fallback be asked early
            with pytest.raises(AllRoutesClosedError) as caught:
                await ask(agent)
            assert caught.value.retry_after == 7
            assert [passed.retry_after for passed in caught.value.passed_over] == [15, 7]
        ((at, response),) = early
        assert (at, response.text, response.is_fallback) == (17, "understudy", True)
        assert [(tried.transport, str(tried.verdict)) for tried in response.attempts] == [
            ("openai", "timeout"),
            ("anthropic", "ok"),
        ]
        assert [passed.transport for passed in response.passed_over] == ["openai", "anthropic"]
        await anyio.sleep(20)
        assert (await ask(agent)).text == "lead"
        assert [call.at for call in world.log(LEAD)] == [0, 2, 37]


async def test_an_impatient_early_caller_leaves_time_for_whoever_opens() -> None:
    """Its time is shared only with the routes that open before it ends."""
    lead = Script((Phase(Status(503), until=1),), Hang())
    understudy = Script((Phase(Status(503), until=1),), Answer("understudy"))
    async with opened({LEAD: lead, "anthropic": understudy}, circuit_trip_after=1) as (agent, _, _):
        with pytest.raises(UnderstudyError):
            await ask(agent)
        await anyio.sleep(2)
        with pytest.raises(TimeoutError):
            await ask(agent, timeout=5)
        assert anyio.current_time() == 7
        await anyio.sleep(1)
        response = await ask(agent, timeout=5)
        assert (anyio.current_time(), response.text) == (10.5, "understudy")


async def test_what_an_early_probe_stands_before_opens_no_sooner_for_it() -> None:
    """A circuit is open for 25 s: when its early probe ends in silence the rest is still to come, and callers and
    `health` say so meanwhile.
    """
    lead = Script((Phase(Status(503), until=30.5),), Hang())
    async with opened({LEAD: lead, "anthropic": lead}, circuit_trip_after=1) as (agent, supervisor, _):
        for pause in (10, 20):
            with pytest.raises(UnderstudyError):
                await ask(agent)
            await anyio.sleep(pause)
        with pytest.raises(UnderstudyError):
            await ask(agent)
        assert supervisor.health()[NAME].models["openai-model"].reopens_in == 25
        await anyio.sleep(1)
        async with anyio.create_task_group() as callers:
            callers.cancel_scope.deadline = anyio.current_time() + 12
            callers.start_soon(ask, agent)
            await anyio.sleep(1)
            assert supervisor.health()[NAME].models["openai-model"].reopens_in == 23


async def test_who_only_observes_cuts_no_probe_short() -> None:
    """Nobody waits for what the probe finds out: it has the time of any attempt, and its answer is the caller's."""
    async with opened({LEAD: outage(Status(503), 0, 5, after=40), "anthropic": WELL}, circuit_observe_only=True) as (
        agent,
        supervisor,
        _,
    ):
        for _ in range(2):
            await ask(agent)
        assert supervisor.health()[NAME].models["openai-model"].circuit is CircuitState.OPEN
        await anyio.sleep(12)
        response = await ask(agent)
        assert (response.text, anyio.current_time()) == ("lead", 52)
        assert supervisor.health()[NAME].models["openai-model"].circuit is CircuitState.CLOSED


async def test_an_agent_without_a_fallback_keeps_nobody_else_from_probing() -> None:
    """Its call may take its whole limit, and is the probe; the place is kept for the time of a probe that others make,
    so that an agent with a fallback is back within 30 s of the recovery.
    """
    lone, both = chain(LEAD), chain(LEAD, "anthropic")
    world = World({LEAD: outage(Hang(), 0, 200), "anthropic": WELL})
    settings = Settings.in_code(agents={"lone": lone, "both": both}, default_timeout=100, circuit_trip_after=1)
    async with understudy.open_supervisor(settings, connect=world.connect, rand=lambda: 0.5) as supervisor:
        await ask(supervisor.agent("both"))
        await anyio.sleep(90)
        async with anyio.create_task_group() as callers:

            async def hangs() -> None:
                with pytest.raises(AttemptTimeoutError):
                    await ask(supervisor.agent("lone"), timeout=300)

            callers.start_soon(hangs)
            await anyio.sleep(15)
            assert (await ask(supervisor.agent("both"))).text == "understudy"
            assert anyio.current_time() == 205
            await anyio.sleep(1)
            assert (await ask(supervisor.agent("both"))).text == "lead"
            callers.cancel_scope.cancel()


async def test_a_stampede_queues_within_the_bulkhead_of_the_fallback() -> None:
    """Hand-overs wait for a place for a moment, then are told; the fallback never has more than it takes at once."""
    slow = Script.always(Answer("understudy", 0.6))
    answered, told = list[str](), list[str]()
    async with opened({LEAD: Script.always(Status(503)), "anthropic": slow}, max_concurrency=10) as (agent, _, world):

        async def one() -> None:
            try:
                answered.append((await ask(agent)).text)
            except UnderstudyError as error:
                told.append(type(error).__name__)

        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(one)
        assert max(provider.most_in_flight for provider in world.providers) <= 10
    assert (len(answered), len(told)) == (41, 59)  # one asked early, and then had time for another wait
    assert anyio.current_time() == pytest.approx(3)


async def test_a_retry_waits_for_the_hold_of_the_last_route() -> None:
    """The last route's 429 bars it for 5 s; the request's own retry waits for that, and is the probe."""
    limited = Script.sequence(Status(429), Answer("understudy"))
    got = await run({LEAD: Script.always(Status(503)), "anthropic": limited})
    assert got.asked == [(LEAD, 0), ("anthropic", 0), ("anthropic", 5)]
    assert got.text == "understudy"


async def test_when_our_own_network_was_down_all_is_back_soon() -> None:
    """Nobody can be reached for an hour: the first call after a second of network is answered, and the primary serves
    again within one base interval.
    """
    refused = (Phase(Refused(), until=3600),)
    lead, understudy = Script(refused, Answer("lead")), Script(refused, Answer("understudy"))
    served = list[tuple[float, str]]()
    async with opened({LEAD: lead, "anthropic": understudy}) as (agent, supervisor, world):
        while len(served) < 40:
            try:
                served.append((anyio.current_time(), (await ask(agent)).text))
            except UnderstudyError:
                assert anyio.current_time() < 3601
            await anyio.sleep(0.5)
        assert all(health.endpoint.level <= 1 for health in supervisor.health().values())
        assert len(world.log(LEAD)) + len(world.log("anthropic")) < 3600 + 1200 + 50
    assert served[0][0] <= 3601
    assert min(at for at, text in served if text == "lead") <= 3612
    assert served[-1][1] == "lead"


async def test_a_crowd_before_closed_routes_causes_one_early_call() -> None:
    """A hundred callers at once, every second: one is let through to find out, the others are told at once."""
    down = Script.always(Status(503))
    async with opened({LEAD: down, "anthropic": down}, circuit_trip_after=1) as (agent, _, world):

        async def one() -> None:
            with pytest.raises(UnderstudyError):
                await ask(agent)

        await one()
        for second in range(1, 6):
            await anyio.sleep(1)
            async with anyio.create_task_group() as callers:
                for _ in range(100):
                    callers.start_soon(one)
            assert anyio.current_time() == second
            assert len(world.log(LEAD)) + len(world.log("anthropic")) <= 2 + 2 * second


async def test_nobody_waits_for_a_hold_beside_a_fallback() -> None:
    """A 409 may be tried again, but one that names a time has barred the route: the fallback is asked at once."""
    for told in ("20", "3000"):
        conflict = Script.always(Status(409, headers={"retry-after": told}))
        got = await run({LEAD: conflict, "anthropic": WELL}, timeout=100)
        assert got.text == "understudy"
        assert [name for name, _ in got.asked] == [LEAD, "anthropic"]
        assert got.asked[0][1] == got.asked[1][1]


async def test_a_time_that_was_told_is_kept_whatever_else_holds_the_route() -> None:
    """A plain 429 has placed a longer hold of our own before; the time that the provider names then still counts for
    an agent that has nobody else to ask.
    """
    answers = (Status(429), Status(429, headers={"retry-after": "2"}), Answer("lead"))
    async with opened({LEAD: Script.sequence(*answers)}, retry_attempts=1) as (agent, _, world):
        for _ in range(2):
            with pytest.raises(UnderstudyError):
                await ask(agent)
        with pytest.raises(AllRoutesClosedError):
            await ask(agent, timeout=1)
        assert (await ask(agent)).text == "lead"
    assert [call.at for call in world.log(LEAD)] == [0, 0, pytest.approx(2.125)]
