"""The simulation of the whole system: a few seeds of it, and what it is worth."""

from __future__ import annotations

import os
import random
from typing import get_args

import anyio
import anyio.lowlevel
import pytest
import trio._core._run as run

from understudy.simulation import (
    KINDS,
    MID_STREAM,
    Breaks,
    How,
    Refused,
    Vendor,
    World,
    draw_faults,
    scripts,
)

from .whole_system._backends import Backend, run_seeded
from .whole_system._bugs import BUGS, planted
from .whole_system._campaign import campaign, regressions, smallest
from .whole_system._play import MakeWorld, play
from .whole_system._schedule import draw
from .whole_system._wire import WireWorld

WIRE_SEEDS = int(os.environ.get("UNDERSTUDY_WIRE_SEEDS", "8"))
BACKENDS: tuple[Backend, ...] = ("trio", "asyncio")

CAUGHT_BY: dict[str, int] = {
    "no-generation-check": 20,
    "permit-leak-on-cancel": 0,
    "count-400s": 3,
    "shorten-open-time": 0,
    "shorten-hold": 626,
    "two-probes": 7,
    "hold-ignored": 7,
    "lone-route-enforced": 0,
    "neutral-counted": 0,
    "retry-not-budgeted": 8,
    "early-probe-unbounded": 10,
    "waiter-not-served": 5,
    "circuit-reset-on-restart": 0,
    "probe-never-freed": 0,
    "bulkhead-too-wide": 5,
    "share-ignored": 0,
    "one-attempt-more": 10,
    "restarts-unbounded": 41,
    "never-trips": 0,
    "early-probe-through-a-hold": 10,
    "level-forgotten": 21,
    "hint-not-told": 147,
    "truncated-is-whole": 7,
    "permit-leak-on-leaving": 0,
    "appended-without-a-word": 7,
    "pings-are-content": 60,
    "content-is-a-sign-of-life": 276,
    "settled-at-opening": 0,
    "limits-rule-the-caller": 30,
    "dropped-never-closed": 13,
    "abandoned-never-swept": 29,
    "passes-at-the-end": 0,
    "leaving-is-slow": 0,
    "first-token-unlimited": 5,
    "run-forgets-its-route": 27,
    "tool-run-twice": 12,
    "results-forgotten": 12,
    "kept-by-its-traceback": 741,
}
"""A seed for each planted bug that catches it, on trio; the runner's `--bugs` finds them anew."""


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_invariant_holds(backend: Backend) -> None:
    """Whatever a seed makes of the world, requests end once, in time, and within all bounds; all heals."""
    done = campaign(range(150), backend)
    assert done.is_good, str(done)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_invariant_holds_over_the_wire(backend: Backend) -> None:
    """The same is true of the real SDK and HTTP clients, from the supervisor down to the bytes."""
    done = campaign(range(WIRE_SEEDS), backend, make_world=WireWorld)
    assert done.is_good, str(done)


@pytest.mark.parametrize("make_world", [World, WireWorld])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_once_failed_does_not_fail_again(backend: Backend, make_world: MakeWorld) -> None:
    """Every seed of the list holds."""
    done = campaign(regressions(backend), backend, make_world=make_world)
    assert not done.failed, str(done)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str) -> None:
    """The simulation sees each of the bugs that it is there to see, and no bug is seen where there is none."""
    schedule = draw(CAUGHT_BY[bug])
    assert not play(schedule, "trio").violations
    with planted(bug):
        assert play(schedule, "trio").violations


def test_a_failing_schedule_is_made_smaller() -> None:
    """What does not matter is left out, and what is left still fails."""
    schedule = draw(CAUGHT_BY["never-trips"])
    with planted("never-trips"):
        smaller = smallest(schedule, "trio", most=40)
        assert play(smaller, "trio").violations
    assert len(smaller.callers) < len(schedule.callers)
    assert "seed" in str(smaller)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_runs_the_same_way(backend: Backend) -> None:
    """Trio shuffles its tasks; a seed decides how, and another seed decides otherwise. Asyncio has one way only."""

    async def order() -> tuple[int, ...]:
        ran: list[int] = []

        async def run(number: int) -> None:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
                ran.append(number)

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(run, number)
                tasks.start_soon(anyio.sleep_forever)
                await anyio.sleep(3600)
                scope.cancel()
        return tuple(ran)

    orders = {seed: run_seeded(order, backend, seed) for seed in range(20)}
    assert all(run_seeded(order, backend, seed) == ran for seed, ran in orders.items())
    assert len(set(orders.values())) == (1 if backend == "asyncio" else len(orders))


@pytest.mark.parametrize("make_world", [World, WireWorld])
def test_a_seed_alone_decides(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and certificates of this machine, even bad ones, change nothing."""
    before = play(draw(1), "trio", make_world)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:1")
    assert play(draw(1), "trio", make_world) == before
    assert not before.violations


def test_the_seeded_order_ends_with_the_run() -> None:
    """Trio's own generator is back in its place afterwards."""
    before = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING

    async def nothing() -> None:
        await anyio.lowlevel.checkpoint()

    run_seeded(nothing, "trio", 1)
    assert (run._r, run._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_faults_are_over_when_they_should_be() -> None:
    """Drawn for so many seconds, they end by then, strike known providers only, and are the same for the same seed."""
    vendors = (Vendor("one", ("a", "b")), Vendor("two", ("c",)))
    patterns, kinds = set[str](), set[str]()
    for seed in range(300):
        faults = draw_faults(random.Random(seed), vendors, 100.0)
        assert faults == draw_faults(random.Random(seed), vendors, 100.0)
        patterns |= {fault.pattern for fault in faults}
        kinds |= {fault.kind for fault in faults}
        for fault in faults:
            assert fault.phases.keys() <= {"one", "two"}
            assert all(phase.until <= 100 for phases in fault.phases.values() for phase in phases)
        for name, script in scripts(vendors, faults).items():
            assert script.choose("a", 100.0, [0] * len(script.phases)) == (vendors[name == "two"].usual, None)
    assert patterns == {"outage", "flapping", "brown-out", "partial"}
    assert kinds >= {"status", "throttled", "overloaded", "hang", "reset", "slow", "garbage", "refused"}


def test_a_fault_of_the_network_refuses_everybody() -> None:
    """Some faults make every provider unreachable at once."""
    vendors = (Vendor("one", ("a",)), Vendor("two", ("b",)))
    drawn = (fault for seed in range(50) for fault in draw_faults(random.Random(seed), vendors, 100.0))
    assert any(
        fault.phases.keys() == {"one", "two"}
        and all(isinstance(phase.behaviour, Refused) for phases in fault.phases.values() for phase in phases)
        for fault in drawn
    )


def test_faults_in_the_middle_of_an_answer_are_drawn_when_they_are_wanted() -> None:
    """Every kind of them comes up, and every way to break off; what is drawn without them stays as it was."""
    vendors = (Vendor("one", ("a", "b")), Vendor("two", ("c",)))
    drawn = [
        fault
        for seed in range(200)
        for fault in draw_faults(random.Random(seed), vendors, 100.0, kinds=(*KINDS, *MID_STREAM))
    ]
    assert {fault.kind for fault in drawn} == {*KINDS, *MID_STREAM}
    phases = [phase for fault in drawn for each in fault.phases.values() for phase in each]
    assert {phase.behaviour.how for phase in phases if isinstance(phase.behaviour, Breaks)} == set(get_args(How))
    with pytest.raises(ValueError, match="'wrong' is no kind of failure"):
        draw_faults(random.Random(0), vendors, 100.0, kinds=("wrong",))
