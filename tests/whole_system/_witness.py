"""The witness: watches one run and holds it against the invariants, by what it has noted itself.

It stands at the border of the state (grants, settlements, every change of a gate), at the providers and at the hooks.
What a verdict accuses, whom a hold bars and how long a circuit is open is written here a second time, from the
requirements (2.2, 2.4) and from docs/decisions/0009-circuits.md, and not read from the code that is judged.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import anyio

from understudy import (
    ActorStoppedError,
    AllRoutesClosedError,
    Response,
    TimeoutExceededError,
    UnderstudyError,
    Verdict,
)
from understudy.actors import Endpoint, Layer, Permit, Phase, Refusal, Refused
from understudy.actors._circuit import Circuit, Closed, HalfOpen, Open
from understudy.actors._gate import Gate
from understudy.providers import Failure, Request, TrailedError
from understudy.simulation import Behaviour
from understudy.simulation._script import Playback
from understudy.supervisor._dispatch import Dispatch

from ._notes import Asked, Called, Ledger, Violation, Which, asking
from ._run_witness import RunWitness
from ._schedule import Caller, Route, Schedule
from ._stream_witness import StreamWitness

EPS = 1e-6

_COUNTS: dict[Verdict, Layer] = {
    **dict.fromkeys((Verdict.OVERLOADED, Verdict.PROVIDER, Verdict.TIMEOUT, Verdict.MALFORMED), Layer.MODEL),
    Verdict.TRUNCATED: Layer.MODEL,
    **dict.fromkeys((Verdict.CONNECT, Verdict.TLS_TRUST, Verdict.EDGE), Layer.ENDPOINT),
}
_HOLDS: dict[Verdict, tuple[Layer, float]] = {
    Verdict.THROTTLED: (Layer.MODEL, 5.0),
    Verdict.QUOTA: (Layer.CREDENTIAL, 900.0),
    Verdict.AUTH: (Layer.CREDENTIAL, 30.0),
}
_HINTED: dict[Verdict, Layer] = {
    **dict.fromkeys((Verdict.OVERLOADED, Verdict.PROVIDER, Verdict.TIMEOUT, Verdict.MALFORMED), Layer.MODEL),
    **dict.fromkeys((Verdict.TRANSIENT, Verdict.CONFLICT), Layer.MODEL),
    Verdict.EDGE: Layer.ENDPOINT,
}
_ENDS_IT = {
    *(Verdict.STALE_CONNECTION, Verdict.CALLER, Verdict.CAPABILITY, Verdict.POLICY, Verdict.LOCAL_CONFIG),
    *(Verdict.STOPPED, Verdict.NO_VERDICT),
}
_REFUSED = {Verdict.AUTH, Verdict.AUTHZ, Verdict.NOT_FOUND, Verdict.MISCONFIGURED}
_ONCE = {Verdict.CONFLICT, Verdict.STALE_CONNECTION}
_GATEWAY = {502, 504, 530, *range(520, 528)}


class Witness:
    """Watches one run. `violations` are what it found, `seen` what happened at all, `trace` the hash of everything."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.violations: list[Violation] = []
        self.seen: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self.events: Counter[tuple[str, str]] = Counter()
        self.in_flight: Counter[str] = Counter()
        self._trace = hashlib.blake2b(digest_size=8)
        self._ledgers: dict[Gate, Ledger] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._out: dict[Endpoint, dict[int, tuple[Permit, dict[Gate, int]]]] = defaultdict(dict)
        self._grants: dict[Endpoint, list[float]] = defaultdict(list)
        self._retries: dict[str, list[float]] = defaultdict(list)
        self._early: dict[Endpoint, float] = {}
        self._ahead: dict[Endpoint, float] = {}
        self._restarts: dict[str, list[float]] = defaultdict(list)
        self._current: tuple[Permit, Verdict, Failure | None] | None = None
        self.was_full = False
        self.now: Callable[[], float] = anyio.current_time
        self.streams, self.runs = StreamWitness(self), RunWitness(self)

    @property
    def trace(self) -> str:
        """The hash of all that happened so far."""
        return self._trace.hexdigest()

    def says(self, number: int, text: str) -> None:
        """Note a violation."""
        if len(self.violations) < 20:
            self.violations.append(Violation(number, f"at {self.now():.6f}: {text}"))

    def note(self, what: str) -> None:
        """Take something into the trace."""
        self._trace.update(f"{self.now():.9f} {what}\n".encode())

    # what happens to endpoints and gates

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Stand at the border of the state for the body of a `with`."""
        with ExitStack() as stack:
            for owner, name, wrap in (
                (Endpoint, "_grant", self._on_grant),
                (Endpoint, "settled", self._on_settled),
                (Gate, "take", self._on_take),
                (Gate, "succeeded", self._on_succeeded),
                (Gate, "ended", self._on_ended),
                (Gate, "force", self._on_force),
                (Gate, "reset", self._on_reset),
                (Gate, "waited", self._on_waited),
                (Endpoint, "began", self._on_began),
                (Permit, "waits", self._on_waits),
                (Playback, "play", self._on_play),
                (Dispatch, "answer", self.runs.on_answer),
            ):
                stack.enter_context(mock.patch.object(owner, name, wrap(getattr(owner, name))))
            yield

    def knows(self, endpoint: Endpoint) -> None:
        """Take note of an endpoint's gates, once it is there."""
        self._endpoints[endpoint.name] = endpoint
        for gate in (endpoint.gate(), endpoint.gate(credential=True)):
            self._look(gate)

    def _look(self, gate: Gate) -> Ledger:
        """Return the ledger of a gate, which must be as the last change that was noted has left it."""
        ledger = self._ledgers.get(gate)
        if ledger is None:
            ledger = Ledger(gate, self._endpoints[gate.key.endpoint], gate.circuit, gate.hold)
            self._ledgers[gate] = ledger
        if gate.circuit != ledger.circuit or gate.hold != ledger.hold:
            self.says(18, f"{gate.key} changed by itself: {ledger.circuit} {ledger.hold} → {gate.circuit} {gate.hold}")
            ledger.circuit, ledger.hold = gate.circuit, gate.hold
        return ledger

    def _live_probe(self, ledger: Ledger, which: Which, now: float) -> bool:
        probe = ledger.probe[which]
        return probe is not None and probe[0] in self._out[ledger.endpoint] and now < probe[1]

    def _bar(self, ledger: Ledger, now: float, *, lone: bool, early: bool) -> str:
        """Say what stands against an attempt, from what has been noted; "" when nothing does."""
        knobs = self.schedule.knobs
        if ledger.by_hand is not None and now < ledger.by_hand[1]:
            return "forced open" if ledger.by_hand[0] else ""
        if knobs["circuit_observe_only"]:
            return ""
        lone = lone and knobs["circuit_lone_routes"] == "allow"
        hold, circuit = ledger.hold, ledger.circuit
        if isinstance(hold, Open) and now < hold.until and (not lone or now < ledger.told_until):
            return "held"
        if isinstance(hold, HalfOpen) and not lone and self._live_probe(ledger, "hold", now):
            return "probing after a hold"
        if lone or isinstance(circuit, Closed):
            return ""
        if isinstance(circuit, Open):
            return "open" if now < circuit.until and not early else ""
        if circuit.probe is not None and now < circuit.until:
            return "probing early"
        return "probing" if self._live_probe(ledger, "circuit", now) else ""

    def _on_grant(self, original: Callable[..., Permit | Refusal]) -> Callable[..., Permit | Refusal]:
        def grant(
            endpoint: Endpoint, gate: Gate, *, lone: bool, lease_for: float, early: bool = False
        ) -> Permit | Refusal:
            now = self.now()
            ledgers = [self._look(each) for each in (endpoint.gate(), gate, endpoint.gate(credential=True))]
            bars = [bar for led in ledgers if (bar := self._bar(led, now, lone=lone, early=early))]
            ahead = any(isinstance(led.circuit, Open) and now < led.circuit.until for led in ledgers)
            granted = original(endpoint, gate, lone=lone, lease_for=lease_for, early=early)
            out = self._out[endpoint]
            if isinstance(granted, Permit):
                self.note(f"grant {gate.key} {granted.ticket} {granted.is_probe}")
                if bars:
                    self.says(3 if "probing" in bars[0] else 4, f"{gate.key}: granted while {bars}")
                if endpoint._phase is not Phase.SERVING:
                    self.says(4, f"{gate.key}: granted while {endpoint._phase}")
                if out and granted.ticket <= max(out):
                    self.says(7, f"{gate.key}: ticket {granted.ticket} is not the highest")
                out[granted.ticket] = granted, {led.gate: led.changes for led in ledgers}
                self._grants[endpoint].append(now)
                if len(out) > self.schedule.knobs["max_concurrency"]:
                    self.says(12, f"{endpoint.name}: {len(out)} at once")
                if early and ahead:
                    if now - self._ahead.get(endpoint, -1.0) < 1.0 - EPS:
                        self.says(4, f"{endpoint.name}: early again after {now - self._ahead[endpoint]:g} s")
                    self._ahead[endpoint] = now
                if early:
                    self._early[endpoint] = now
                if lone and any(isinstance(led.circuit, Open) and now < led.circuit.until for led in ledgers):
                    self.seen["lone call through an open circuit"] += 1
                if early and (asked := asking.get()) is not None:
                    asked.early = True
            else:
                self.note(f"refuse {gate.key} {granted.why.name}")
                self._refused(endpoint, granted, bars, now, lone=lone, early=early)
            return granted

        return grant

    def _refused(
        self, endpoint: Endpoint, refusal: Refusal, bars: list[str], now: float, *, lone: bool, early: bool
    ) -> None:
        out = self._out[endpoint]
        match refusal.why:
            case Refused.FULL:
                self.was_full = True
                if len(out) < self.schedule.knobs["max_concurrency"]:
                    self.says(12, f"{endpoint.name}: full with {len(out)}")
            case Refused.CIRCUIT | Refused.HOLD | Refused.BY_HAND:
                if not bars and not (early and now - self._early.get(endpoint, -1.0) < 1.0):
                    self.says(20, f"{endpoint.name}: refused without a cause: {refusal} {lone=} {early=}")
            case _:
                pass

    def _on_settled(self, original: Callable[..., None]) -> Callable[..., None]:
        def settled(endpoint: Endpoint, permit: Permit, verdict: Verdict, failure: Failure | None) -> None:
            self.note(f"settle {permit.gate.key} {permit.ticket} {verdict}")
            out = self._out[endpoint]
            if permit.ticket not in out:
                self.says(5, f"{endpoint.name}: ticket {permit.ticket} settled twice or never granted")
            if (asked := asking.get()) is not None:
                asked.settled.append(verdict)
                if permit in asked.permits:
                    self.streams.settled(asked, permit, verdict)
            if verdict is Verdict.NO_VERDICT and permit.is_probe:
                self.seen["probe cancelled"] += 1
            self._current = permit, verdict, failure
            waited = len(endpoint._waiters) if self.was_full else 0
            try:
                # the place is given back, and to a waiter, inside
                changes = out.pop(permit.ticket, (permit, {}))[1]
                self._late(changes)
                original(endpoint, permit, verdict, failure)
            finally:
                self._current = None
            if self.was_full:
                self._check_waiters(endpoint, waited)
            if len(endpoint._permits) != len(out):
                self.says(5, f"{endpoint.name}: {len(endpoint._permits)} permits out, {len(out)} granted")

        return settled

    def _late(self, changes: dict[Gate, int]) -> None:
        if any(self._ledgers[gate].changes - before >= 2 for gate, before in changes.items()):
            self.seen["late verdict after two changes"] += 1

    def _check_waiters(self, endpoint: Endpoint, before: int) -> None:
        health = endpoint.health
        if health.waiting < before:
            self.seen["waiter served"] += 1
        if health.waiting and health.in_flight < health.capacity and health.phase is Phase.SERVING:
            self.says(12, f"{endpoint.name}: {health.waiting} wait for a place that is free")

    def _on_take(self, original: Callable[..., bool]) -> Callable[..., bool]:
        def take(gate: Gate, ticket: int, now: float, lease_until: float, *, early: bool = False) -> bool:
            ledger = self._look(gate)
            taken = original(gate, ticket, now, lease_until, early=early)
            for which, before, after in _changes(ledger, gate):
                if not (isinstance(after, HalfOpen) and after.probe == ticket):
                    self.says(3, f"{gate.key}: {before} became {after} by asking")
                    continue
                if self._live_probe(ledger, which, now):
                    self.says(3, f"{gate.key}: a second probe, {ticket} beside {ledger.probe[which]}")
                elif (old := ledger.probe[which]) is not None and old[0] in self._out[ledger.endpoint]:
                    self.seen["probe lease expired"] += 1
                if after.lease_until - now > max(self.schedule.route_knobs["timeout"], 15.0) + 1 + EPS:
                    self.says(3, f"{gate.key}: a lease of {after.lease_until - now:g} s")
                ledger.probe[which] = ticket, lease_until
                if isinstance(before, Open):
                    ledger.since[which] = ticket
                ledger.changes += 1
            self._noted(ledger)
            return taken

        return take

    def _on_succeeded(self, original: Callable[..., None]) -> Callable[..., None]:
        def succeeded(gate: Gate, ticket: int, now: float) -> None:
            ledger = self._look(gate)
            original(gate, ticket, now)
            if isinstance(ledger.circuit, Closed) and ticket >= ledger.since["circuit"]:
                ledger.run = 0
                ledger.calls.append((now, False))
            for which in ("circuit", "hold"):
                self._check_success(ledger, which, ticket, now)
            self._noted(ledger)

        return succeeded

    def _check_success(self, ledger: Ledger, which: Which, ticket: int, now: float) -> None:
        gate = ledger.gate
        before, after = getattr(ledger, which), getattr(gate, which)
        passes = self.schedule.knobs["circuit_passes"] if which == "circuit" else 1
        is_due = isinstance(before, HalfOpen) and ticket >= ledger.since[which]
        if is_due and before.passes + 1 >= passes and not isinstance(after, Closed):
            self.says(20, f"{gate.key}: {which} stays {after} after {passes} passes")
        if after == before:
            return
        if ticket < ledger.since[which]:
            self.says(7, f"{gate.key}: {before} became {after} by ticket {ticket} < {ledger.since[which]}")
        if isinstance(before, Open):
            self.says(8, f"{gate.key}: {which} {before} became {after} by a success")
        if isinstance(after, Closed) and isinstance(before, HalfOpen):
            ledger.changes += 1
            if which == "circuit":
                ledger.run, ledger.level, ledger.closed_at = 0, before.level, now
                ledger.calls.clear()
                ledger.begun.clear()
                ledger.happened["CircuitClosed"] += 1
                if now < before.until:
                    self.seen["early call succeeded"] += 1
            else:
                ledger.told_until = 0.0
                ledger.happened["HoldEnded"] += 1

    def _on_ended(self, original: Callable[..., None]) -> Callable[..., None]:
        def ended(gate: Gate, ticket: int, now: float, reason: str, **terms: Any) -> None:
            ledger = self._look(gate)
            original(gate, ticket, now, reason, **terms)
            assert self._current is not None
            _, verdict, failure = self._current
            hint = failure.retry_after if failure is not None else None
            status = failure.status if failure is not None else None
            self._check_circuit(ledger, ticket, now, _accuses(verdict, hint, status, gate.key.layer), verdict)
            self._check_hold(ledger, ticket, now, self._held_for(verdict, hint, gate.key.layer), verdict)
            self._noted(ledger)

        return ended

    def _held_for(self, verdict: Verdict, hint: float | None, layer: Layer) -> tuple[float, bool] | None:
        """Return for how many seconds at least a verdict puts a hold on a layer, and whether the provider said so."""
        if verdict is Verdict.AUTH:
            hint = None
            if self.schedule.knobs["fallback_on_refused"] == "never":
                return None
        if verdict in _HOLDS:
            whom, first = _HOLDS[verdict]
            return (hint or first, bool(hint)) if whom is layer else None
        if hint and _HINTED.get(verdict) is layer:
            return hint, True
        return None

    def _check_circuit(
        self, ledger: Ledger, ticket: int, now: float, is_accused: bool | None, verdict: Verdict
    ) -> None:
        gate, before, after = ledger.gate, ledger.circuit, ledger.gate.circuit
        is_current = ticket >= ledger.since["circuit"]
        is_freed = isinstance(before, HalfOpen) and before.probe == ticket and _is_freed(before, after)
        if is_accused is False and after != before and not is_freed:
            self.says(6, f"{gate.key}: {verdict} made {before} {after}")
        if isinstance(before, Closed) and is_current and is_accused is not False:
            if is_accused or isinstance(after, Open) or (isinstance(after, Closed) and after.run > before.run):
                ledger.run += 1
                ledger.calls.append((now, True))
            if isinstance(after, Closed) and ledger.run >= max(self.schedule.knobs["circuit_trip_after"], 5):
                self.says(20, f"{gate.key}: still closed after {ledger.run} failures in a row")
        if after == before:
            return
        if not is_current:
            self.says(7, f"{gate.key}: {before} became {after} by ticket {ticket} < {ledger.since['circuit']}")
        if isinstance(before, Open):
            self.says(8, f"{gate.key}: {before} became {after} by {verdict}")
        if isinstance(before, HalfOpen) and isinstance(after, Open):
            if after.until < before.until - EPS or (now < before.until and after.until != before.until):
                self.says(8, f"{gate.key}: open until {after.until}, was {before.until}")
            if before.probe != ticket:
                self.says(7, f"{gate.key}: {verdict} of ticket {ticket} ended the probe {before.probe}")
        if isinstance(after, Open):
            ledger.changes += 1
            if not (isinstance(before, HalfOpen) and before.until == after.until):
                self._check_trip(ledger, before, after, now)

    def _check_trip(self, ledger: Ledger, before: Circuit, after: Open, now: float) -> None:
        gate, knobs = ledger.gate, self.schedule.knobs
        recent = gate.recent(now)
        if isinstance(before, Closed):
            window = [failed for at, failed in ledger.calls if at > now - knobs["circuit_window"]]
            if knobs["circuit_window_calls"] is not None:
                window = [failed for _, failed in ledger.calls[-knobs["circuit_window_calls"] :]]
            if recent.calls > len(window) or recent.failures > sum(window):
                self.says(6, f"{gate.key}: {recent} counted, {len(window)} calls and {sum(window)} failures noted")
            by_rate = recent.calls >= 10 and recent.failures * 2 >= recent.calls
            if ledger.run < min(knobs["circuit_trip_after"], 5) and not by_rate:
                self.says(6, f"{gate.key}: tripped after {ledger.run} failures, {window}")
            is_busy = recent.lately >= 10 and knobs["circuit_trip_after"] > 1
            self.seen["trip by rate" if is_busy and ledger.run < 5 else "trip by run"] += 1
            ledger.level = max(ledger.level - int((now - ledger.closed_at) / 300), 0)
        else:
            ledger.level = before.level
            self.seen["probe failed"] += 1
        self._check_open_time(ledger, after, now, grows=not ledger.endpoint._gates.network.is_down)

    def _check_open_time(self, ledger: Ledger, after: Open, now: float, *, grows: bool) -> None:
        gate, knobs = ledger.gate, self.schedule.knobs
        ledger.level = ledger.level + 1 if grows else max(ledger.level, 1)
        usual = min(
            knobs["circuit_open_max"], knobs["circuit_open_for"] * (2.0 ** (ledger.level - 1) if grows else 1.0)
        )
        if not 0.8 * usual - EPS <= after.until - now <= 1.2 * usual + EPS:
            self.says(8, f"{gate.key}: open for {after.until - now:g} s, not {usual:g} ± 20 %, level {ledger.level}")
        if not grows:
            self.seen["our own network down"] += 1
        ledger.happened["CircuitTripped"] += 1

    def _check_hold(
        self, ledger: Ledger, ticket: int, now: float, held: tuple[float, bool] | None, verdict: Verdict
    ) -> None:
        gate, before, after = ledger.gate, ledger.hold, ledger.gate.hold
        is_current = ticket >= ledger.since["hold"]
        is_probe = isinstance(before, HalfOpen) and before.probe == ticket
        if held is None:
            if after != before and not (is_probe and _is_freed(before, after)):
                self.says(6, f"{gate.key}: {verdict} made the hold {before} {after}")
            return
        must = is_current and (isinstance(before, (Closed, Open)) or is_probe)
        if must:
            if not isinstance(after, Open) or after.until < now + held[0] - EPS:
                self.says(4, f"{gate.key}: asked for {held[0]:g} s by {verdict}, but {after}")
            if held[1]:
                ledger.told_until = max(ledger.told_until, now + held[0])
        if after == before:
            return
        if not is_current:
            self.says(7, f"{gate.key}: {before} became {after} by ticket {ticket} < {ledger.since['hold']}")
        if isinstance(before, Open) and isinstance(after, Open):
            if after.until < before.until:
                self.says(8, f"{gate.key}: held until {after.until}, was {before.until}")
            self.seen["hold extended"] += 1
        elif isinstance(after, Open):
            ledger.changes += 1
            ledger.happened["HoldPlaced"] += 1
            if after.until > now + max(held[0], 3600.0) + EPS:
                self.says(20, f"{gate.key}: held for {after.until - now:g} s")

    def _on_force(self, original: Callable[..., None]) -> Callable[..., None]:
        def force(gate: Gate, *, is_open: bool, until: float, now: float, reason: str) -> None:
            ledger = self._look(gate)
            self._by_hand(ledger)
            original(gate, is_open=is_open, until=until, now=now, reason=reason)
            ledger.by_hand = is_open, until
            self._noted(ledger)

        return force

    def _on_reset(self, original: Callable[..., None]) -> Callable[..., None]:
        def reset(gate: Gate, ticket: int, now: float) -> None:
            ledger = self._look(gate)
            self._by_hand(ledger)
            original(gate, ticket, now)
            ledger.since = {"circuit": ticket, "hold": ticket}
            ledger.probe = {"circuit": None, "hold": None}
            ledger.run, ledger.level, ledger.closed_at, ledger.by_hand = 0, 0, now, None
            ledger.told_until = 0.0
            ledger.calls.clear()
            ledger.begun.clear()
            ledger.changes += 1
            self._noted(ledger)

        return reset

    def _on_waits(self, original: Callable[..., None]) -> Callable[..., None]:
        def waits(permit: Permit, since: float) -> None:
            original(permit, since)
            if (asked := asking.get()) is not None and permit not in asked.permits:
                asked.permits.append(permit)

        return waits

    def _on_play(self, original: Callable[..., Behaviour]) -> Callable[..., Behaviour]:
        def play(playback: Playback, model: str, at: float) -> Behaviour:
            behaviour = original(playback, model, at)
            if (asked := asking.get()) is not None:
                asked.calls[-1].behaviour = behaviour
            return behaviour

        return play

    def _on_began(self, original: Callable[..., None]) -> Callable[..., None]:
        def began(endpoint: Endpoint, permit: Permit, after: float) -> None:
            original(endpoint, permit, after)
            for gate in (endpoint.gate(), permit.gate, endpoint.gate(credential=True)):
                self._passes(self._ledgers[gate], permit)
            if (asked := asking.get()) is not None:
                self._check_wait(asked, after)
                self.streams.commits(asked)

        return began

    def _passes(self, ledger: Ledger, permit: Permit) -> None:
        for state in (ledger.circuit, ledger.hold):
            if permit.is_probe and isinstance(state, HalfOpen) and state.probe == permit.ticket:
                self.says(20, f"{ledger.gate.key}: the probe {permit.ticket} brings content, and has not passed")
        for which, probe in ledger.probe.items():
            if probe is not None and probe[0] == permit.ticket:
                ledger.probe[which] = None

    def _check_wait(self, asked: Asked, seconds: float) -> None:
        waited = self.now() - asked.calls[-1].began
        if abs(waited - seconds) > EPS:
            self.says(6, f"request {asked.number} waited {waited:g} s for its first content, not {seconds:g}")

    def _on_waited(self, original: Callable[..., None]) -> Callable[..., None]:
        def waited(gate: Gate, ticket: int, now: float, seconds: float, *, spread: float) -> None:
            ledger = self._look(gate)
            original(gate, ticket, now, seconds, spread=spread)
            if (asked := asking.get()) is not None:
                self._check_wait(asked, seconds)
            self._check_slow(ledger, ticket, now, seconds)
            self._noted(ledger)

        return waited

    def _check_slow(self, ledger: Ledger, ticket: int, now: float, seconds: float) -> None:
        knobs, gate, before, after = self.schedule.knobs, ledger.gate, ledger.circuit, ledger.gate.circuit
        if isinstance(before, Closed) and ticket >= ledger.since["circuit"]:
            ledger.begun.append((now, seconds > knobs["circuit_slow_after"]))
        if after == before:
            return
        lately = [slow for at, slow in ledger.begun if at > now - knobs["circuit_window"]]
        if knobs["circuit_window_calls"] is not None:
            lately = [slow for _, slow in ledger.begun[-knobs["circuit_window_calls"] :]]
        shares = (sum(lately[-size:]) / size for size in range(10, len(lately) + 1))
        if not isinstance(after, Open) or not any(share >= 0.8 - EPS for share in shares) or not lately[-1]:
            self.says(6, f"{gate.key}: {before} became {after}, by {lately}")
            return
        self.seen["trip by slow"] += 1
        ledger.changes += 1
        ledger.level = max(ledger.level - int((now - ledger.closed_at) / 300), 0)
        self._check_open_time(ledger, after, now, grows=True)

    def _by_hand(self, ledger: Ledger) -> None:
        if not (isinstance(ledger.circuit, Closed) and isinstance(ledger.hold, Closed)):
            self.seen["by hand in an outage"] += 1

    def _noted(self, ledger: Ledger) -> None:
        if ledger.circuit != ledger.gate.circuit or ledger.hold != ledger.gate.hold:
            ledger.circuit, ledger.hold = ledger.gate.circuit, ledger.gate.hold
            self.note(f"{ledger.gate.key} {ledger.circuit} {ledger.hold}")

    # what is told, and what requests come to

    def hook(self, event: object) -> None:
        """Take an event."""
        kind, key = type(event).__name__, str(getattr(event, "key", getattr(event, "endpoint", "")))
        self.note(f"event {kind} {key}")
        self.events[kind, key] += 1
        if kind == "RequestEnded" and (asked := asking.get()) is not None:
            asked.told += 1
        if kind == "ActorRestarted":
            crashes = self._restarts[key]
            crashes.append(self.now())
            lately = sum(self.now() - at < 30 for at in crashes)
            if getattr(event, "dead"):  # noqa: B009 - one of many kinds of event
                crashes.clear()
                self.seen["actor given up"] += 1
            elif lately > 5:
                self.says(18, f"{key}: started again after {lately} crashes in 30 s")
            if self.in_flight[key]:
                self.seen["actor restarted with calls in flight"] += 1

    def asks(self, caller: Caller) -> Asked:
        """Take note of a request that begins."""
        chain = self.schedule.chains[caller.agent]
        asked = Asked(len(self.asked), caller.agent, caller.timeout, self.now(), caller.reading, chain)
        self.asked.append(asked)
        asking.set(asked)
        return asked

    def entered(self, endpoint: str, request: Request) -> Called:
        """Take note of a call that a provider received."""
        text = next(message.text for message in reversed(request.messages) if message.role == "user")
        route = Route(self._endpoints[endpoint].target.transport, request.model)
        self.in_flight[endpoint] += 1
        if self.in_flight[endpoint] > self.schedule.knobs["max_concurrency"]:
            self.says(12, f"{endpoint}: {self.in_flight[endpoint]} calls at once")
        if self.in_flight[endpoint] > (out := len(self._out[self._endpoints[endpoint]])):
            self.says(5, f"{endpoint}: {self.in_flight[endpoint]} calls at once, under {out} permits")
        called = Called(route, self.now())
        asked = asking.get()
        if asked is not None:
            asked.calls.append(called)
            if asked.outcome:
                self.says(1, f"request {asked.number} is sent after its end")
            if asked.text != text:
                self.says(9, f"request {asked.number} is sent as {text}")
        return called

    def left(self, endpoint: str, called: Called, verdict: Verdict | None) -> None:
        """Take note that a call has ended."""
        self.in_flight[endpoint] -= 1
        called.ended, called.verdict = self.now(), verdict
        called.was_cancelled = verdict is None

    def ended(self, asked: Asked, outcome: Response | BaseException | None) -> None:
        """Hold a request against the invariants; None says that its caller left."""
        name = "left" if outcome is None else "answered" if isinstance(outcome, Response) else type(outcome).__name__
        self.note(f"request {asked.number} {name} {len(asked.calls)}")
        if asked.outcome:
            self.says(1, f"request {asked.number} ended twice: {asked.outcome}, {name}")
        asked.outcome = name
        chain = asked.chain
        self._check_attempts(asked, chain)
        self._check_times(asked, chain)
        self._check_told(asked, outcome)
        self.streams.ended(asked, outcome)
        match outcome:
            case None:
                self._check_left(asked)
            case Response():
                self._check_answer(asked, outcome, chain)
            case _:
                self._check_error(asked, outcome, chain)

    def _check_attempts(self, asked: Asked, chain: tuple[Route, ...]) -> None:
        knobs, routes = self.schedule.knobs, [called.route for called in asked.calls]
        if len(routes) > max(knobs["retry_attempts"], len(chain)):
            self.says(2, f"request {asked.number} made {len(routes)} attempts")
        for index, route in enumerate(chain):
            calls = [called for called in asked.calls if called.route == route]
            is_last = index == len(chain) - 1 or (asked.early and route == routes[-1])
            once = any(called.verdict in _ONCE for called in calls)
            most = 1 + once + (2 if is_last else knobs["in_place_retries"] * (index == 0))
            if len(calls) > most:
                self.says(2, f"request {asked.number} asked {route} {len(calls)} times, {is_last=}")
            for before, again in itertools.pairwise(calls):
                if not is_last and not self.was_full and again.began - before.ended > 3.0 + EPS:
                    self.says(2, f"request {asked.number} waited for {route}, and others were left to ask")
                self._retries[route.endpoint].append(before.ended)
                self.seen["retry"] += 1
                self.seen["retry in place"] += not is_last and before.verdict not in _ONCE

    def _check_times(self, asked: Asked, chain: tuple[Route, ...]) -> None:
        now, attempt = self.now(), self.schedule.route_knobs["timeout"]
        first = min(attempt, self.schedule.route_knobs["first_token_timeout"])
        stubborn = sum(map(self.stubbornness, asked.calls))
        own = max(asked.read_at, asked.left_at or 0.0)  # nobody cuts short what a caller does by itself
        if now > max(asked.begun + asked.timeout, own) + stubborn + EPS:
            self.says(11, f"request {asked.number} took {now - asked.begun:g} s of {asked.timeout:g}")
        for called in asked.calls:
            routes_left = 1 if asked.early else len(chain) - chain.index(called.route)
            part = max(asked.begun + asked.timeout - called.began, 0.0) / routes_left
            took = called.ended - called.began
            if called.is_stream and called.committed is not None:
                if asked.reading.manner == "upstream" and took > part + self.stubbornness(called) + EPS:
                    self.says(11, f"request {asked.number}: {took:g} s at {called.route}, of {part:g}")
                took = called.committed - called.began
            limit = attempt if not called.is_stream else first
            if took > min(limit, part) + self.stubbornness(called) + EPS:
                self.says(11, f"request {asked.number}: {took:g} s at {called.route}, of {min(limit, part):g}")
            if called.was_cancelled and part < limit and asked.outcome == "answered":
                self.seen["hand-over after a share ran out"] += 1
        if len(chain) == 1 or self.was_full:
            return
        until = asked.begun
        for before, called in zip((None, *asked.calls), asked.calls, strict=False):
            is_next = before is None or (before.route != called.route and before.verdict not in _ONCE)
            if before is not None and before.committed is not None and self.schedule.knobs["in_place_retries"]:
                until += 3.0  # it was to be asked again, and that was the time in which it was barred
            if is_next and called.began > until + EPS:
                self.says(3, f"request {asked.number} waited {called.began - until:g} s before {called.route}")
            until = called.ended

    def stubbornness(self, called: Called) -> float:
        """Return the seconds that a provider may take to end a call."""
        return self.schedule.stubborn.get(called.route.endpoint, 0.0)

    def _check_told(self, asked: Asked, outcome: Response | BaseException | None) -> None:
        least = outcome is not None or bool(asked.calls)  # who left may have left before it began
        if not least <= asked.told <= 1:
            self.says(1, f"request {asked.number}: told {asked.told} times")

    def _check_left(self, asked: Asked) -> None:
        last = asked.calls[-1] if asked.calls else None
        if last is None or last.ended < self.now() - EPS or last.route.endpoint in self.schedule.stubborn:
            return
        if last.was_cancelled and asked.settled and asked.settled[-1] not in {Verdict.NO_VERDICT, Verdict.TIMEOUT}:
            self.says(6, f"request {asked.number} was left, and settled as {asked.settled[-1]}")

    def _check_answer(self, asked: Asked, response: Response, chain: tuple[Route, ...]) -> None:
        if not asked.calls or asked.calls[-1].verdict is not Verdict.OK:
            self.says(1, f"request {asked.number} is answered by nobody: {asked.calls}")
            return
        last = asked.calls[-1].route
        text = "" if response.tool_calls else asked.wanted
        if response.text != text or (response.transport, response.model) != (last.endpoint, last.model):
            self.says(9, f"request {asked.number}: {response.text!r} of {response.transport}")
        if response.is_fallback != (last != self.schedule.chains[asked.agent][0]):
            self.says(9, f"request {asked.number}: is_fallback is {response.is_fallback}")
        self._check_trail(asked, response.attempts)
        self.seen["handed over"] += len(asked.calls) > 1
        self.seen["passed over"] += bool(response.passed_over)
        self.seen["spilled"] += any(str(Refused.FULL) in passed.reason for passed in response.passed_over)
        lone = len(chain) == 1 and asked.calls[0].began > asked.begun + EPS and not self.was_full
        self.seen["hold waited for"] += lone

    def _check_error(self, asked: Asked, error: BaseException, chain: tuple[Route, ...]) -> None:
        match error:
            case AllRoutesClosedError():
                self.seen["all routes closed"] += 1
                if asked.calls:
                    self.says(12, f"request {asked.number} says nobody was asked: {asked.calls}")
            case TimeoutExceededError():
                if self.now() < asked.begun + asked.timeout - 1e-5:
                    self.says(11, f"request {asked.number} says its time is over, too early")
            case ActorStoppedError():
                if self.schedule.closes_at is None:
                    self.says(1, f"request {asked.number} was stopped, by nobody")
            case UnderstudyError():
                pass
            case _:
                if asked.calls and asked.calls[-1].verdict is not Verdict.LOCAL_CONFIG:
                    self.says(1, f"request {asked.number} ended with {error!r}")
        if isinstance(error, TrailedError) and not isinstance(error, ActorStoppedError):
            self._check_trail(asked, error.attempts)
        if self._must_answer(asked, chain) and not self.streams.is_late_by_itself(asked, error):
            self.says(19, f"request {asked.number} of {chain} failed beside a healthy route: {error}")

    def _check_trail(self, asked: Asked, attempts: tuple[Any, ...]) -> None:
        noted = [(called.route.endpoint, called.route.model, called.verdict) for called in asked.calls]
        said = [
            (a.transport, a.model, None if called.was_cancelled else a.verdict)
            for a, called in zip(attempts, asked.calls, strict=False)
        ]
        if noted != said or len(attempts) != len(noted):
            self.says(1, f"request {asked.number}: the trail says {attempts}, the providers {noted}")
        if any(abs(asked.begun + a.start - c.began) > EPS for a, c in zip(attempts, asked.calls, strict=False)):
            self.says(1, f"request {asked.number}: the trail has other instants")
        for attempt, called in zip(attempts, asked.calls, strict=False):
            first = None if called.committed is None else called.committed - called.began
            if first != attempt.first_token and (
                first is None or attempt.first_token is None or abs(first - attempt.first_token) > EPS
            ):
                self.says(1, f"request {asked.number}: first content after {first} s, not {attempt.first_token}")

    def _must_answer(self, asked: Asked, chain: tuple[Route, ...]) -> bool:
        schedule = self.schedule
        if asked.timeout < 30 or schedule.closes_at is not None or schedule.knobs["max_concurrency"] < 1000:
            return False
        if not any(route.endpoint in schedule.well for route in chain):
            return False
        verdicts = [called.verdict for called in asked.calls]
        if set(verdicts) & _ENDS_IT or verdicts.count(Verdict.INTERNAL) > 1:
            return False
        return schedule.knobs["fallback_on_refused"] == "always" or not set(verdicts) & _REFUSED

    # what must be true when all is over

    def quiet(self, endpoints: list[Endpoint]) -> None:
        """Check what must be true while nobody asks."""
        for endpoint in endpoints:
            health = endpoint.health
            if health.in_flight or health.waiting or self._out[endpoint] or self.in_flight[endpoint.name]:
                self.says(
                    5, f"{endpoint.name}: {health.in_flight} permits out, {health.waiting} waiting, and all is quiet"
                )
            models = {model for vendor in self.schedule.vendors for model in vendor.models}
            if not set(health.models) <= models or len(endpoint._gates.network._failed_at) > len(endpoints):
                self.says(17, f"{endpoint.name}: {set(health.models)}")
        for gate in self._ledgers:
            endpoint, key = self._endpoints[gate.key.endpoint], gate.key
            if endpoint.gate(key.model, credential=key.layer is Layer.CREDENTIAL) is not gate:
                self.says(18, f"{key} is another one than before")
            self._look(gate)

    def over(self, endpoints: list[Endpoint]) -> None:
        """Check what must be true at the end."""
        for asked in self.asked:
            if not asked.outcome:
                self.says(1, f"request {asked.number} has no end")
        crashes = any(act.kind == "crash" for act in self.schedule.acts)
        self.streams.over(in_time=not crashes and self.schedule.closes_at is None)
        for ledger in self._ledgers.values():
            for kind in ("CircuitTripped", "CircuitClosed", "HoldPlaced", "HoldEnded"):
                told, noted = self.events[kind, str(ledger.gate.key)], ledger.happened[kind]
                if told != noted:
                    self.says(1, f"{kind} of {ledger.gate.key} happened {noted} times, and was told {told} times")
        for endpoint in endpoints:
            retries, grants = sorted(self._retries[endpoint.target.transport]), self._grants[endpoint]
            for at in retries:
                lately = sum(at - 10 < other <= at for other in retries)
                requests = sum(at - 10 < other <= at for other in grants)
                if lately > math.ceil(max(3, 0.2 * requests)):
                    self.says(16, f"{endpoint.name}: {lately} retries of {requests} requests in 10 s")


def _changes(ledger: Ledger, gate: Gate) -> Iterator[tuple[Which, Circuit, Circuit]]:
    if gate.circuit != ledger.circuit:
        yield "circuit", ledger.circuit, gate.circuit
    if gate.hold != ledger.hold:
        yield "hold", ledger.hold, gate.hold


def _accuses(verdict: Verdict, hint: float | None, status: int | None, layer: Layer) -> bool | None:
    """Say whether a verdict counts against a layer; None where it depends on what other models said."""
    accused = None if verdict is Verdict.OVERLOADED and hint else _COUNTS.get(verdict)
    if accused is Layer.MODEL and layer is Layer.ENDPOINT and status in _GATEWAY:
        return None
    return accused is layer


def _is_freed(before: Circuit, after: Circuit) -> bool:
    """Say whether only the place of the probe is free again, or an early probe has left all as it was."""
    if isinstance(after, HalfOpen) and isinstance(before, HalfOpen):
        return after.probe is None and after.passes == before.passes and after.since == before.since
    return isinstance(after, Open) and isinstance(before, HalfOpen) and after.until == before.until
