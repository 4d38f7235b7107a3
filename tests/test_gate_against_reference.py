"""The gate of one key, compared step by step with a second telling of its rules (`reference_circuit.py`)."""

from __future__ import annotations

import math
import os
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from understudy.actors._circuit import Circuit, Closed, HalfOpen, Holding, Open
from understudy.actors._events import (
    CircuitClosed,
    CircuitTripped,
    EndpointEvent,
    Forced,
    HoldEnded,
    HoldPlaced,
    Key,
    Layer,
    ProbeStarted,
)
from understudy.actors._gate import CircuitPolicy, Gate

from .reference_circuit import CIRCUIT, HOLD, Ask, Fact, Mode, Phase, Reference

EXAMPLES = 100_000 if os.environ.get("UNDERSTUDY_SOAK") else int(os.environ.get("UNDERSTUDY_EXAMPLES", "200"))
STEPS = 50
KEY = Key("https://vendor.example", Layer.MODEL, "model")
WHY = "because"
TINY = 2.0**-30
"""About a nanosecond, and exact in binary: so are its sums, for the first months of a clock."""

Target = Literal["circuit", "circuit lease", "hold", "hold lease", "edge", "healed", "hand"]
TARGETS: tuple[Target, ...] = ("circuit", "circuit lease", "hold", "hold lease", "edge", "healed", "hand")
policies = st.builds(
    CircuitPolicy,
    trip_after=st.integers(1, 7),
    open_for=st.sampled_from([10.0, 0.5, 30.0]),
    open_max=st.sampled_from([25.0, 600.0]),
    passes=st.sampled_from([1, 1, 2, 3]),
    window_calls=st.sampled_from([None, None, 3, 10, 50]),
    observe_only=st.sampled_from([False, False, False, True]),
    enforce_lone=st.booleans(),
)
modes = st.sampled_from(["plain", "lone", "early"])
leases = st.sampled_from([16.0, 1.0, 3.0, 100.0])
spreads = st.sampled_from([1.0, 0.8, math.nextafter(1.2, 0)])
which = st.integers(0, 7)
firsts = st.sampled_from([5.0, 900.0])
hints = st.sampled_from([None, None, 0.0, TINY, 0.5, 7.0, 30.0, 3600.0])


class GateAgainstReference(RuleBasedStateMachine):
    """The same things happen to both; after each they must agree on everything that can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.start(CircuitPolicy())

    @initialize(policy=policies)
    def start(self, policy: CircuitPolicy) -> None:
        self.now, self.ticket, self.seen = 0.0, 0, 0
        self.out: list[int] = []
        self.told: list[EndpointEvent] = []
        self.enforce_lone = policy.enforce_lone
        self.gate = Gate(KEY, policy, self.told.append)
        self.reference = Reference(
            policy.trip_after,
            policy.open_for,
            policy.open_max,
            policy.passes,
            policy.window_calls,
            policy.observe_only,
        )

    @rule(mode=modes, lease_for=leases)
    def admit(self, mode: Mode, lease_for: float) -> None:
        self.admitted(mode, lease_for)

    @precondition(lambda self: self.out)
    @rule(at=which)
    def succeed(self, at: int) -> None:
        self.succeeded(self.one(at))

    @precondition(lambda self: self.out)
    @rule(at=which, spread=spreads, grows=st.booleans())
    def fail(self, at: int, spread: float, grows: bool) -> None:
        self.failed(self.one(at), spread, grows)

    @precondition(lambda self: self.out)
    @rule(at=which, first=firsts, hint=hints, failed=st.booleans())
    def ask_for_time(self, at: int, first: float, hint: float | None, failed: bool) -> None:
        self.asked(self.one(at), Ask(first, first * 12, hint), failed=failed)

    @precondition(lambda self: self.out)
    @rule(at=which)
    def say_nothing(self, at: int) -> None:
        """The request was at fault, or the caller left: the gate cannot tell them apart."""
        ticket = self.one(at)
        self.gate.ended(ticket, self.now, WHY)
        self.reference.end(self.now, ticket, "neutral")

    @precondition(lambda self: self.out)
    @rule(at=which)
    def never_finish(self, at: int) -> None:
        self.one(at)

    @rule(failures=st.integers(0, 2**12 - 1), count=st.integers(3, 12))
    def burst(self, failures: int, count: int) -> None:
        """Many calls at one instant: else few would ever be busy."""
        for bit in range(count):
            if not self.admitted("plain", 16.0):
                return
            ticket = self.out.pop()
            if failures >> bit & 1:
                self.failed(ticket, 1.0, grows=True)
            else:
                self.succeeded(ticket)
            self.agree()

    @rule(layer=st.sampled_from([CIRCUIT, HOLD]), first=firsts, hint=hints, spread=spreads, grows=st.booleans())
    def probe_in_vain(self, layer: str, first: float, hint: float | None, spread: float, grows: bool) -> None:
        """Wait for what is open, and open it once more: else few would be so high that levels differ."""
        self.now = max(self.now, self.reference.phase(layer).until or 0.0)
        if self.admitted("plain", 16.0):
            ticket = self.out.pop()
            if layer == CIRCUIT:
                self.failed(ticket, spread, grows)
            else:
                self.asked(ticket, Ask(first, first * 12, hint), failed=False)

    @rule(by=st.sampled_from([TINY, 1.0, 4.0, 5.0, 11.0, 60.0, 300.0, 3600.0, 2.0**20, 2.0**40]))
    def wait(self, by: float) -> None:
        self.now += by

    @rule(where=st.sampled_from(TARGETS), nudge=st.sampled_from([0, -1, 1]))
    def wait_until(self, where: Target, nudge: int) -> None:
        """Go exactly to where something changes, or to the instant before or after it."""
        until = self.instant(where)
        if until is not None and until + nudge * TINY > self.now:
            self.now = until + nudge * TINY

    @rule(is_open=st.booleans(), lasts_for=st.sampled_from([0.0, 1.0, 3600.0]))
    def force(self, is_open: bool, lasts_for: float) -> None:
        until = self.now + lasts_for
        self.gate.force(is_open=is_open, until=until, now=self.now, reason=WHY)
        self.reference.force(self.now, "open" if is_open else "closed", until)

    @rule()
    def reset(self) -> None:
        self.ticket += 1
        self.gate.reset(self.ticket, self.now)
        self.reference.reset(self.now, self.ticket)

    @invariant()
    def agree(self) -> None:
        now, gate, reference = self.now, self.gate, self.reference
        assert self.told == self.expected()
        self.told.clear()
        for mode in ("plain", "lone", "early"):
            bar = gate.bar(now, lone=mode == "lone", early=mode == "early")
            assert (bar and bar.until) == reference.barred(now, self.enforced(mode)), mode
        assert seen(gate.circuit) == expected(reference.phase(CIRCUIT))
        assert seen(gate.hold) == expected(reference.phase(HOLD))
        assert gate.circuit.level == reference.level()
        assert gate.hold.level == reference.row()
        run, *counted = reference.calls(now)
        recent = gate.recent(now)
        assert [recent.calls, recent.failures, recent.lately] == counted
        if isinstance(gate.circuit, Closed):
            assert gate.circuit.run == run

    def one(self, at: int) -> int:
        """Take one of the attempts that are under way: the newest, or one that has long been overtaken."""
        return self.out.pop(-1 - at % len(self.out))

    def enforced(self, mode: Mode) -> Mode:
        return "plain" if mode == "lone" and self.enforce_lone else mode

    def admitted(self, mode: Mode, lease_for: float) -> bool:
        self.ticket += 1
        is_early, bar = mode == "early", self.gate.bar(self.now, lone=mode == "lone", early=mode == "early")
        probed = self.reference.admit(self.now, self.ticket, self.enforced(mode), lease_for)
        assert (bar is None) == (probed is not None)
        if bar is None:
            self.out.append(self.ticket)
            is_probe = self.gate.take(self.ticket, self.now, self.now + lease_for, early=is_early)
            assert is_probe == bool(probed)
        return bar is None

    def succeeded(self, ticket: int) -> None:
        self.gate.succeeded(ticket, self.now)
        self.reference.end(self.now, ticket, "success")

    def failed(self, ticket: int, spread: float, grows: bool) -> None:
        self.gate.ended(ticket, self.now, WHY, tripping=self.gate.tripping(spread=spread, grows=grows))
        self.reference.end(self.now, ticket, "failure", spread=spread, grows=grows)

    def asked(self, ticket: int, ask: Ask, *, failed: bool) -> None:
        tripping = self.gate.tripping() if failed else None
        self.gate.ended(ticket, self.now, WHY, tripping=tripping, holding=Holding(*ask))
        self.reference.end(self.now, ticket, "failure" if failed else "neutral", ask)

    def instant(self, where: Target) -> float | None:
        phases = {layer: self.reference.phase(layer) for layer in (CIRCUIT, HOLD)}
        layer, _, lease = where.partition(" ")
        if layer in phases:
            probe = phases[layer].probe
            return phases[layer].until if not lease else probe.until if probe else None
        if where == "edge":
            return (self.now // 5 + 1) * 5
        if where == "hand":
            return hand.until if (hand := self.reference.by_hand(self.now)) else None
        closed = [fact.at for fact in self.reference.facts(CIRCUIT) if fact.what == "closed"]
        return closed[-1] + ((self.now - closed[-1]) // 300 + 1) * 300 if closed else None

    def expected(self) -> list[EndpointEvent]:
        """What must have been told since the last look."""
        new, self.seen = self.reference.log[self.seen :], len(self.reference.log)
        probes = [fact for fact in new if fact.what == "probe"]
        events: list[EndpointEvent] = [ProbeStarted(KEY, early=any(map(self.is_early, probes)))] if probes else []
        return events + [event for fact in new if (event := self.event(fact)) is not None]

    def is_early(self, probe: Fact) -> bool:
        phase = self.reference.phase(CIRCUIT)
        alone = phase.first == probe.ticket and phase.until is not None
        return alone and probe.about == CIRCUIT and probe.at < (phase.until or 0)

    def event(self, fact: Fact) -> EndpointEvent | None:
        reference = self.reference
        match fact.about, fact.what:
            case "circuit", "opened":
                return CircuitTripped(KEY, WHY, reference.until(CIRCUIT) - fact.at, reference.level())
            case "circuit", "closed":
                return CircuitClosed(KEY, fact.at - self.first_opened(CIRCUIT))
            case "hold", "opened":
                return HoldPlaced(KEY, WHY, reference.until(HOLD) - fact.at)
            case "hold", "closed":
                return HoldEnded(KEY, fact.at - self.first_opened(HOLD))
            case "hand", "reset":
                return Forced(KEY, "reset", "", 0.0)
            case "hand", forced:
                return Forced(KEY, forced.removeprefix("forced "), WHY, fact.until - fact.at)
            case _:
                return None

    def first_opened(self, layer: str) -> float:
        """When it opened first, of the row of openings that has just come to its end."""
        facts = self.reference.facts(layer)
        before = max((i for i, fact in enumerate(facts[:-1]) if fact.what == "closed"), default=0)
        return next(fact.at for fact in facts[before:] if fact.what == "opened")


def seen(circuit: Circuit) -> tuple[object, ...]:
    """Return what can be seen of a circuit or a hold: until when, first probe, probe, its lease, passes."""
    match circuit:
        case Closed():
            return ()
        case Open(until):
            return (until,)
        case HalfOpen(since, probe, lease_until, until, passes=passes):
            return until, since, probe, None if probe is None else lease_until, passes


def expected(phase: Phase) -> tuple[object, ...]:
    """Return the same of the reference."""
    if phase.until is None:
        return ()
    if phase.first is None:
        return (phase.until,)
    probe = phase.probe
    return phase.until, phase.first, probe and probe.ticket, probe and probe.until, phase.passed


@pytest.mark.long
def test_a_gate_does_what_the_rules_say() -> None:
    """Whatever happens in whatever order, the gate and the rules written down anew agree after each step."""
    how = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True)
    run_state_machine_as_test(GateAgainstReference, settings=how)
