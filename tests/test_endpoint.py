"""The endpoint: permits, the bulkhead and those who wait for a place, draining and closing."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest

from understudy.actors import (
    CircuitClosed,
    CircuitPolicy,
    CircuitState,
    CircuitTripped,
    Endpoint,
    EndpointEvent,
    Forced,
    GateHealth,
    HoldEnded,
    HoldPlaced,
    Layer,
    Network,
    Permit,
    Phase,
    ProbeStarted,
    Refusal,
    Refused,
)
from understudy.providers import ActorStoppedError, Failure, Target, Verdict
from understudy.simulation import World

pytestmark = pytest.mark.anyio

FIRST = CircuitPolicy(trip_after=1)


def endpoint(capacity: int = 1, name: str = "lead", **given: Any) -> tuple[Endpoint, World]:
    world = World({})
    target = Target("openai", f"http://{name}/v1", None, max_concurrency=capacity)
    made = Endpoint(target, world.connect, rand=lambda: 0.5, **given)
    made.open()
    return made, world


def told(policy: CircuitPolicy = FIRST, capacity: int = 10, **given: Any) -> tuple[Endpoint, list[EndpointEvent]]:
    events = list[EndpointEvent]()
    made, _ = endpoint(capacity, policy=policy, tell=events.append, **given)
    return made, events


def permit(made: Endpoint, model: str = "lead-1", **how: Any) -> Permit:
    granted = made.admit(model, **how)
    assert isinstance(granted, Permit)
    return granted


def refused(made: Endpoint, model: str = "lead-1", **how: Any) -> Refusal:
    refusal = made.admit(model, **how)
    assert isinstance(refusal, Refusal)
    return refusal


def fails(
    made: Endpoint, verdict: Verdict, *, status: int | None = None, hint: float | None = None, model: str = "lead-1"
) -> None:
    failure = Failure(transport="openai", model=model, verdict=verdict, status=status, retry_after=hint)
    permit(made, model).settle(verdict, failure)


def standing(made: Endpoint) -> str:
    """What stands against whom, in one word each."""
    health = made.health
    gates = {"endpoint": health.endpoint, "credential": health.credential, **health.models}
    words = []
    for name, gate in gates.items():
        for what, state in (("circuit", gate.circuit), ("hold", gate.hold)):
            if state is not CircuitState.CLOSED:
                words.append(f"{name} {what} {gate.reopens_in:g}")
    return ", ".join(words)


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


class Covered:
    """What a permit covers, and what holds its permit, as a stream does."""

    def __init__(self, held: Permit) -> None:
        self.held = held
        held.covers(self)

    def cancel(self) -> None:
        """End what waits."""


async def test_a_permit_that_is_settled_lets_go_of_what_it_covered() -> None:
    """They are no knot that only the garbage collector unties: a stream holds all of its answer."""
    made, _ = endpoint()
    covered = Covered(permit(made))
    gone = weakref.ref(covered)
    gc.disable()
    try:
        covered.held.settle(Verdict.OK)
        del covered
        assert gone() is None
    finally:
        gc.enable()


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


@pytest.mark.parametrize(
    ("verdict", "status", "hint", "after", "counted"),
    [
        (Verdict.OK, 200, None, "", "succeeded"),
        (Verdict.PROVIDER, 500, None, "lead-1 circuit 10", "failed"),
        (Verdict.PROVIDER, 500, 30.0, "lead-1 circuit 30, lead-1 hold 30", "failed"),
        (Verdict.PROVIDER, None, None, "lead-1 circuit 10", "failed"),
        (Verdict.PROVIDER, 502, None, "lead-1 circuit 10", "failed"),
        (Verdict.TIMEOUT, None, None, "lead-1 circuit 10", "failed"),
        (Verdict.MALFORMED, 200, None, "lead-1 circuit 10", "failed"),
        (Verdict.OVERLOADED, 503, None, "lead-1 circuit 10", "failed"),
        (Verdict.OVERLOADED, 503, 7.0, "lead-1 hold 7", "neutral"),
        (Verdict.OVERLOADED, 529, 7.0, "lead-1 hold 7", "neutral"),
        (Verdict.OVERLOADED, 529, 0.0, "lead-1 circuit 10", "failed"),
        (Verdict.THROTTLED, 429, None, "lead-1 hold 5", "neutral"),
        (Verdict.THROTTLED, 429, 40.0, "lead-1 hold 40", "neutral"),
        (Verdict.TRANSIENT, 400, 3.0, "lead-1 hold 3", "neutral"),
        (Verdict.CONFLICT, 409, None, "", "neutral"),
        (Verdict.QUOTA, 402, None, "credential hold 900", "neutral"),
        (Verdict.QUOTA, 429, 60.0, "credential hold 60", "neutral"),
        (Verdict.AUTH, 401, None, "credential hold 30", "neutral"),
        (Verdict.AUTH, 401, 99.0, "credential hold 30", "neutral"),
        (Verdict.CREDENTIAL, 401, 9.0, "", "neutral"),
        (Verdict.AUTHZ, 403, None, "", "neutral"),
        (Verdict.NOT_FOUND, 404, 5.0, "", "neutral"),
        (Verdict.CONNECT, None, None, "endpoint circuit 10", "failed"),
        (Verdict.TLS_TRUST, None, None, "endpoint circuit 10", "failed"),
        (Verdict.EDGE, 403, None, "endpoint circuit 10", "failed"),
        (Verdict.EDGE, 429, 20.0, "endpoint circuit 20, endpoint hold 20", "failed"),
        *(
            (verdict, None, None, "", "neutral")
            for verdict in (
                *(Verdict.EMPTY, Verdict.CUT_SHORT, Verdict.STALE_CONNECTION, Verdict.MISCONFIGURED, Verdict.CALLER),
                *(Verdict.CAPABILITY, Verdict.POLICY, Verdict.LOCAL_CONFIG, Verdict.LOCAL_OVERLOAD, Verdict.INTERNAL),
                *(Verdict.STOPPED, Verdict.NO_VERDICT, Verdict.CREDENTIAL),
            )
        ),
    ],
)
async def test_who_is_blamed(
    verdict: Verdict, status: int | None, hint: float | None, after: str, counted: str
) -> None:
    """Each end of an attempt moves the gates that it accuses, tells each change once, and no other gate."""
    made, events = told()
    fails(made, verdict, status=status, hint=hint)
    assert standing(made) == after
    health = made.health
    assert [name for name in ("succeeded", "failed", "neutral") if getattr(health, name)] == [counted]
    placed = [HoldPlaced] if "hold" in after else []
    assert [type(event) for event in events] == [CircuitTripped] * after.count("circuit") + placed


async def test_a_limit_of_the_account_bars_all_its_models() -> None:
    """It holds the credential until the reset, and no model: another one is not asked either."""
    made, _ = told()
    limited = {"verdict": Verdict.THROTTLED, "status": 429, "retry_after": 900.0, "of_account": True}
    permit(made).settle(Verdict.THROTTLED, Failure(transport="openai", model="lead-1", **limited))  # type: ignore[arg-type]
    assert standing(made) == "credential hold 900"
    assert refused(made, "another").retry_after == 900


async def test_gateway_errors_of_two_models_accuse_the_endpoint() -> None:
    """One model's are its own; a second one's, without an answer in between, say that the gateway is at fault."""
    made, _ = told(CircuitPolicy(trip_after=9))
    for _ in range(3):
        fails(made, Verdict.PROVIDER, status=502, model="a")
    assert made.health.endpoint.run == 0
    permit(made, "b").settle(Verdict.OK)
    fails(made, Verdict.PROVIDER, status=502, model="b")
    assert made.health.endpoint.run == 0
    fails(made, Verdict.PROVIDER, status=500, model="a")
    assert made.health.endpoint.run == 0
    fails(made, Verdict.PROVIDER, status=504, model="a")
    assert (made.health.endpoint.run, made.health.models["a"].run) == (1, 5)
    made.reset()
    fails(made, Verdict.PROVIDER, status=524, model="b")
    assert made.health.endpoint.run == 0


async def test_a_refusal_takes_nothing() -> None:
    """All three gates are checked before any is taken: a barred credential leaves the model its probe."""
    made, events = told()
    fails(made, Verdict.PROVIDER, status=500)
    fails(made, Verdict.QUOTA, status=402, model="b")
    await anyio.sleep(10)
    asked = made.health.ticket
    assert refused(made).why is Refused.HOLD
    assert made.refusal("lead-1") == Refusal(Refused.HOLD, 890, "quota (HTTP 402)")
    assert made.health.models["lead-1"].circuit is CircuitState.OPEN
    assert made.health.ticket == asked
    assert not any(isinstance(event, ProbeStarted) for event in events)


async def test_one_attempt_may_be_the_probe_of_several_gates() -> None:
    """Model, endpoint and credential are found out about by the same call, and its answer closes them all."""
    made, events = told()
    lead, other, third = permit(made), permit(made), permit(made)
    lead.settle(Verdict.PROVIDER)
    other.settle(Verdict.CONNECT)
    third.settle(Verdict.AUTH)
    await anyio.sleep(30)
    events.clear()
    probe = permit(made)
    assert probe.is_probe
    assert made.refusal("lead-1") is not None
    assert refused(made, "b").why is Refused.HOLD
    probe.settle(Verdict.OK)
    assert standing(made) == ""
    assert [type(event) for event in events] == [ProbeStarted] * 3 + [CircuitClosed, CircuitClosed, HoldEnded]
    assert {event.key.layer for event in events} == set(Layer)


@pytest.mark.parametrize("verdict", [Verdict.QUOTA, Verdict.AUTH])
async def test_a_held_credential_bars_every_model(verdict: Verdict) -> None:
    """What is wrong with a key is wrong for all models that are asked with it; no circuit counts it."""
    made, _ = told()
    fails(made, verdict)
    assert refused(made, "b").why is Refused.HOLD
    assert made.health.models["lead-1"].is_clear
    assert isinstance(made.admit("b", lone=True), Permit)


async def test_a_refused_key_is_not_held_where_everybody_is_to_be_told() -> None:
    """`hold_refused=False` lets each call meet its own 401; an empty account is held all the same."""
    made, _ = told(CircuitPolicy(hold_refused=False))
    fails(made, Verdict.AUTH, status=401)
    assert standing(made) == ""
    fails(made, Verdict.QUOTA, status=402)
    assert standing(made) == "credential hold 900"


async def test_an_early_probe_is_one_a_second_and_one_at_a_time() -> None:
    """It goes through a circuit whose time is not over; if it fails, that is open as before and not a second longer."""
    made, events = told()
    fails(made, Verdict.PROVIDER)
    await anyio.sleep(2)
    events.clear()
    early = permit(made, early=True)
    assert early.is_probe
    assert [type(event) for event in events] == [ProbeStarted]
    await anyio.sleep(1.5)
    assert refused(made, early=True).why is Refused.CIRCUIT  # one at a time
    early.settle(Verdict.PROVIDER)
    assert standing(made) == "lead-1 circuit 6.5"
    permit(made, early=True).settle(Verdict.NO_VERDICT)
    await anyio.sleep(0.5)
    assert refused(made, early=True) == Refusal(Refused.CIRCUIT, 0.5, "an early probe was let through")
    assert standing(made) == "lead-1 circuit 6"
    await anyio.sleep(0.5)
    permit(made, early=True).settle(Verdict.OK)
    assert standing(made) == ""
    assert len(events) == 4


@pytest.mark.parametrize("verdict", [Verdict.THROTTLED, Verdict.QUOTA])
async def test_nobody_is_let_through_a_hold_early(verdict: Verdict) -> None:
    """A hold is no guess of ours."""
    made, _ = told()
    fails(made, verdict)
    assert refused(made, early=True).why is Refused.HOLD


async def test_who_waits_behind_others_is_told_at_once_what_bars_it() -> None:
    """A queue at a full endpoint is no reason to wait for a model whose circuit is open."""
    made, _ = told(capacity=2)
    fails(made, Verdict.PROVIDER, model="b")
    held = permit(made), permit(made)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.wait_admit, "lead-1", 5)
        await anyio.wait_all_tasks_blocked()
        assert refused(made, "b").why is Refused.CIRCUIT
        assert refused(made).why is Refused.FULL
        tasks.cancel_scope.cancel()
    for each in held:
        each.settle(Verdict.OK)


async def test_who_waits_is_answered_when_a_circuit_opens() -> None:
    """Wherever they stand in the queue; those whose model is well wait on, in order."""
    made, _ = told(capacity=2)
    held, answers = [permit(made), permit(made, "b")], list[tuple[str, object, float]]()

    async def wait(model: str) -> None:
        answers.append((model, await made.wait_admit(model, 60), anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        for model in ("lead-1", "b", "lead-1", "b"):
            tasks.start_soon(wait, model)
            await anyio.wait_all_tasks_blocked()
        await anyio.sleep(1)
        held[1].settle(Verdict.PROVIDER)
        await anyio.wait_all_tasks_blocked()
        assert sorted((model, type(answer)) for model, answer, _ in answers) == [
            *(("b", Refusal), ("b", Refusal)),
            ("lead-1", Permit),
        ]
        assert made.health.waiting == 1
        held[0].settle(Verdict.OK)
    assert {at for _, _, at in answers} == {1}
    assert made.health.in_flight == 2
    for _, answer, _ in answers:
        if isinstance(answer, Permit):
            answer.settle(Verdict.OK)
    assert made.health.in_flight == 0


@pytest.mark.parametrize("end", ["drained", "dead"])
async def test_who_waits_is_refused_when_the_endpoint_ends(end: str) -> None:
    """At once, and with the reason; what sleeps until it may ask again wakes up only when it stops for good."""
    made, _ = endpoint()
    held, answers = permit(made), list[Refusal | Permit]()

    async def wait() -> None:
        answers.append(await made.wait_admit("lead-1", 60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(made.wait_stopped, 50)
        await anyio.wait_all_tasks_blocked()
        if end == "dead":
            made.give_up()
        else:
            tasks.start_soon(made.drain, 0)
        await anyio.wait_all_tasks_blocked()
        assert answers == [Refusal(Refused.DEAD if end == "dead" else Refused.STOPPED)]
        held.settle(Verdict.OK)
    assert anyio.current_time() == 50 if end == "dead" else anyio.current_time() < 1


async def test_what_is_set_by_hand_beats_everything_for_its_time() -> None:
    """Forced open bars also a lone route, forced closed lets everybody through; both end by themselves."""
    made, events = told()
    made.force("lead-1", is_open=True, reason="maintenance", lasts_for=60)
    assert refused(made, lone=True) == Refusal(Refused.BY_HAND, 60, "maintenance")
    assert refused(made, early=True).why is Refused.BY_HAND
    assert made.health.models["lead-1"].set_by_hand == "open: maintenance"
    permit(made, "b").settle(Verdict.OK)
    await anyio.sleep(60)
    fails(made, Verdict.CONNECT)
    assert refused(made).why is Refused.CIRCUIT
    made.force(is_open=False, reason="known", lasts_for=5)
    first, second = permit(made), permit(made)
    assert not first.is_probe
    for each in (first, second):
        each.settle(Verdict.NO_VERDICT)
    await anyio.sleep(5)
    assert refused(made).why is Refused.CIRCUIT
    assert [event.state for event in events if isinstance(event, Forced)] == ["open", "closed"]


async def test_forcing_ends_the_wait_of_those_it_bars_or_frees() -> None:
    """Who waits for a place hears of it at once."""
    made, _ = endpoint()
    held = permit(made)
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            assert await made.wait_admit("lead-1", 60) == Refusal(Refused.BY_HAND, 9, "maintenance")

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        made.force(is_open=True, reason="maintenance", lasts_for=9)
    assert anyio.current_time() == 0
    held.settle(Verdict.OK)


async def test_a_reset_forgets_all_and_late_ends_bring_nothing_back() -> None:
    """What was in flight before it says nothing any more, neither of circuits nor of holds."""
    made, events = told()
    late = [permit(made) for _ in range(3)]
    fails(made, Verdict.QUOTA)
    permit(made, lone=True).settle(Verdict.CONNECT)
    made.force("lead-1", is_open=True, reason="x", lasts_for=60)
    events.clear()
    made.reset()
    assert standing(made) == ""
    assert [type(event) for event in events] == [Forced] * 3
    for each, verdict in zip(late, (Verdict.PROVIDER, Verdict.CONNECT, Verdict.THROTTLED), strict=True):
        each.settle(verdict)
    assert standing(made) == ""
    permit(made).settle(Verdict.OK)


async def test_health_says_what_is_known() -> None:
    """Every field of a gate, while it is well, open, and probed."""
    made, _ = told()
    permit(made).settle(Verdict.OK)
    assert made.health.models["lead-1"] == GateHealth(calls=1, last_success_at=0)
    await anyio.sleep(3)
    fails(made, Verdict.PROVIDER, status=500)
    await anyio.sleep(4)
    assert made.health.models["lead-1"] == GateHealth(
        circuit=CircuitState.OPEN,
        reason="provider (HTTP 500)",
        since=3,
        reopens_in=6,
        level=1,
        calls=2,
        failures=1,
        last_success_at=0,
    )
    await anyio.sleep(6)
    probe = permit(made, lease_for=lambda: 16.0)
    assert made.health.models["lead-1"].circuit is CircuitState.HALF_OPEN
    assert made.health.models["lead-1"].reopens_in == 16
    probe.settle(Verdict.OK)
    health = made.health
    assert health.models["lead-1"] == GateHealth(level=1, last_success_at=13)
    assert (health.capacity, health.ticket, health.in_flight, health.waiting) == (10, 3, 0, 0)
    assert (health.succeeded, health.failed, health.neutral, health.last_success_at) == (2, 1, 0, 13)


async def test_our_own_network_is_not_the_providers_fault() -> None:
    """Endpoints that cannot be reached together open without growing: all are back within one base interval."""
    network = Network()
    pair = [endpoint(10, name, policy=FIRST, network=network)[0] for name in ("lead", "understudy")]
    for _ in range(6):
        for made in pair:
            permit(made).settle(Verdict.CONNECT)
            assert made.health.endpoint.reopens_in == 10
        await anyio.sleep(10)
    assert [made.health.endpoint.level for made in pair] == [1, 1]
    for made in pair:
        permit(made).settle(Verdict.OK)
        assert made.health.endpoint.circuit is CircuitState.CLOSED
    assert not network.is_down


async def test_failures_far_apart_are_no_network() -> None:
    """One endpoint alone, or two at different times, are at fault themselves: they open for longer each time."""
    network = Network()
    lead, other = (endpoint(10, name, policy=FIRST, network=network)[0] for name in ("lead", "understudy"))
    fails(lead, Verdict.CONNECT)
    await anyio.sleep(10)
    fails(other, Verdict.CONNECT)
    await anyio.sleep(3)
    fails(lead, Verdict.CONNECT)
    assert lead.health.endpoint.level == 2
    assert lead.health.endpoint.reopens_in == pytest.approx(20)


async def test_the_next_incarnation_finds_circuits_and_holds_as_they_were() -> None:
    """A crash of the actor never closes a circuit (R-SUP-2)."""
    made, _ = told()
    fails(made, Verdict.PROVIDER, model="b")
    fails(made, Verdict.THROTTLED)
    before = standing(made)
    made.give_up()
    made.open()
    assert standing(made) == before == "b circuit 10, lead-1 hold 5"


async def test_retries_are_a_fifth_of_the_requests() -> None:
    """Retries themselves are no requests: of 100 requests in 10 s 20 may be retried, and of two always three."""
    made, _ = endpoint(200)
    for _ in range(2):
        made.asked(permit(made))
    assert [made.may_retry() for _ in range(5)] == [True] * 3 + [False] * 2
    await anyio.sleep(20)
    for _ in range(100):
        made.asked(permit(made))
    granted = 0
    while made.may_retry():
        permit(made)
        granted += 1
    assert granted == 20
