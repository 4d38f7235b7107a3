"""The gate of one key: its circuit and its hold, the calls they are judged by, and what was set by hand.

An endpoint has a gate for itself, one for its credential and one for each of its models. Everything here is synchronous
and takes the time as an argument; each real change is told as an event, after it happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

from ._circuit import (
    BUSY,
    Circuit,
    Closed,
    HalfOpen,
    Holding,
    Open,
    Outcome,
    Recent,
    Standing,
    Tripping,
    extend,
    reopens_at,
    settle,
    standing,
    take,
)
from ._events import CircuitClosed, CircuitTripped, EndpointEvent, Forced, HoldEnded, HoldPlaced, Key, ProbeStarted
from ._health import CircuitState, GateHealth, Refused
from ._window import Window

USUAL_FADES = 0.95
"""What is left of the slowest answer with each answer after it (chosen: half of it after some 14)."""

SLOW_SHARE = 0.8
"""Of at least 10 streams, the share that must begin late for a model to count as down (R-CB-3)."""


@final
@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """The settings `LLM_CIRCUIT_*`; durations are in seconds.

    `passes` probes in a row must succeed; `window_calls` counts that many last calls instead of those in `window_for`;
    `observe_only` judges and tells but bars nobody; `enforce_lone` bars also an agent that has no other route;
    `hold_refused` is False where a refused credential is to be told to every caller instead of passed over. With
    `slow_after`, a model whose streams mostly begin later than that counts as down.
    """

    trip_after: int = 2
    open_for: float = 10.0
    open_max: float = 25.0
    passes: int = 1
    window_for: float = 60.0
    window_calls: int | None = None
    observe_only: bool = False
    enforce_lone: bool = False
    hold_refused: bool = True
    slow_after: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """Why an attempt may not go ahead, and the instant at which one may."""

    until: float
    why: Refused
    reason: str


@final
@dataclass(frozen=True, slots=True)
class ByHand:
    """What somebody set by hand, until an instant."""

    is_open: bool
    until: float
    reason: str


@final
class Gate:
    """The circuit and the hold of one key. `is_clear` is True while nothing at all stands against an attempt."""

    __slots__ = (
        *("_by_hand", "_policy", "_slow", "_tell", "_window"),
        *("circuit", "circuit_reason", "hold", "hold_reason", "is_clear", "key", "last_success_at", "told_until"),
        *("usual_first_for", "usual_for"),
    )

    def __init__(self, key: Key, policy: CircuitPolicy, tell: Callable[[EndpointEvent], None]) -> None:
        self.key, self._policy, self._tell = key, policy, tell
        self.circuit: Circuit = Closed()
        self.hold: Circuit = Closed()
        self.circuit_reason = self.hold_reason = ""
        self.told_until = 0.0
        self.last_success_at: float | None = None
        self.usual_for = self.usual_first_for = 0.0
        self.is_clear = True
        self._by_hand: ByHand | None = None
        self._forget_calls()

    def by_hand(self, now: float) -> ByHand | None:
        """Return what was set by hand and still holds."""
        if self._by_hand is not None and now >= self._by_hand.until:
            self._by_hand = None
            self._look()
        return self._by_hand

    def bar(self, now: float, *, lone: bool, early: bool = False) -> Bar | None:
        """Say what stands against an attempt at the instant `now`; None when it may go ahead.

        For a `lone` route only the time that the provider told is enforced, not what we have made of it. `early` does
        not wait for an open circuit's time, but for its probe.
        """
        if (set_by := self.by_hand(now)) is not None:
            return Bar(set_by.until, Refused.BY_HAND, set_by.reason) if set_by.is_open else None
        if self._policy.observe_only:
            return None
        lone = lone and not self._policy.enforce_lone
        hold, circuit = self.hold, self.circuit
        passes = lone or (early and isinstance(circuit, Open)) or standing(circuit, now) is not Standing.BARRED
        until = 0.0 if passes else reopens_at(circuit)
        if standing(hold, now) is Standing.BARRED and (not lone or now < self.told_until):
            return Bar(max(self.told_until if lone else reopens_at(hold), until), Refused.HOLD, self.hold_reason)
        return None if passes else Bar(until, Refused.CIRCUIT, self.circuit_reason)

    def has_probe(self, now: float, *, early: bool = False) -> bool:
        """Say whether there is a place of a probe to take at the instant `now`; see `take`."""
        if self.is_clear or self.by_hand(now) is not None:
            return False
        hold, circuit = self.hold, self.circuit
        is_due = standing(hold, now) is Standing.PROBE or standing(circuit, now) is Standing.PROBE
        return is_due or (early and isinstance(circuit, Open))

    def take(self, ticket: int, now: float, lease_until: float, *, early: bool = False) -> bool:
        """Take the place of the probe where there is one to take; say whether the attempt is one.

        `early` takes it from a circuit whose time is not over yet.
        """
        if not self.has_probe(now, early=early):
            return False
        if standing(self.hold, now) is Standing.PROBE:
            self.hold = take(self.hold, ticket, lease_until)
        due = standing(self.circuit, now) is Standing.PROBE
        is_early = early and not due and isinstance(self.circuit, Open)
        if due or is_early:
            self.circuit = take(self.circuit, ticket, lease_until)
        self._tell(ProbeStarted(self.key, early=is_early))
        return True

    def succeeded(self, ticket: int, now: float) -> None:
        """Take note of an answer."""
        self.last_success_at = now
        circuit = self.circuit
        if type(circuit) is Closed and ticket >= circuit.since:
            self._window.add(now, failed=False)
        if not self.is_clear:
            self._settle_circuit(ticket, Outcome.SUCCESS, now, self.tripping())
            self._settle_hold(ticket, Outcome.SUCCESS, now, _NO_HOLD)

    def took(self, seconds: float) -> None:
        """Take note of how long an answer took: the slowest of late counts, and fades as faster ones come."""
        self.usual_for = max(seconds, self.usual_for * USUAL_FADES)

    def began(self, seconds: float) -> None:
        """Take note of how long the first content of a stream took, as `took` does of answers."""
        self.usual_first_for = max(seconds, self.usual_first_for * USUAL_FADES)

    def waited(self, ticket: int, now: float, seconds: float, *, spread: float) -> None:
        """Count a stream by how long its first content was waited for; trip by a slow one if too many of late were."""
        slow_after, circuit = self._policy.slow_after, self.circuit
        if slow_after is None or type(circuit) is not Closed or ticket < circuit.since:
            return
        is_slow = seconds > slow_after
        self._slow.add(now, failed=is_slow)
        recent = self._slow.recent(now)
        if is_slow and recent.calls >= BUSY and recent.failures >= SLOW_SHARE * recent.calls:
            reason = (
                f"slow: the first content of {recent.failures} of {recent.calls} streams took over {slow_after:g} s"
            )
            self._settle_circuit(
                ticket, Outcome.FAILURE, now, replace(self.tripping(spread=spread), trip_after=1), recent, reason
            )

    def ended(
        self, ticket: int, now: float, reason: str, *, tripping: Tripping | None = None, holding: Holding | None = None
    ) -> None:
        """Take note of an end that was no answer.

        With `tripping` it is a failure that counts against this key, with `holding` it puts a hold on it; without, it
        says nothing, and if the attempt was the probe, its place is free.
        """
        if self.is_clear and tripping is None and holding is None:
            return
        if tripping is None:
            self._settle_circuit(ticket, Outcome.NEUTRAL, now, _NO_TRIPPING)
        else:
            recent, circuit = Recent(), self.circuit
            if type(circuit) is Closed and ticket >= circuit.since:
                self._window.add(now, failed=True)
                recent = self._window.recent(now)
            self._settle_circuit(ticket, Outcome.FAILURE, now, tripping, recent, reason)
        if holding is None:
            self._settle_hold(ticket, Outcome.NEUTRAL, now, _NO_HOLD)
        else:
            self._hold(ticket, now, reason, holding)

    def tripping(self, *, spread: float = 1.0, grows: bool = True) -> Tripping:
        """Return the terms of this circuit; see `Tripping`."""
        policy = self._policy
        return Tripping(policy.trip_after, policy.open_for, policy.open_max, policy.passes, spread, grows)

    def force(self, *, is_open: bool, until: float, now: float, reason: str) -> None:
        """Open or close by hand, whatever circuit and hold say, until an instant."""
        self._by_hand = ByHand(is_open, until, reason)
        self._look()
        self._tell(Forced(self.key, "open" if is_open else "closed", reason, until - now))

    def reset(self, ticket: int, now: float) -> None:
        """Forget everything; what was admitted before `ticket` cannot bring it back."""
        self._by_hand = None
        self.circuit, self.hold = Closed(since=ticket, at=now), Closed(since=ticket, at=now)
        self.circuit_reason = self.hold_reason = ""
        self.told_until = 0.0
        self._forget_calls()
        self._look()
        self._tell(Forced(self.key, "reset", "", 0.0))

    def release(self, ticket: int, now: float) -> None:
        """End a hold, as what it was placed for is gone; what was admitted before `ticket` cannot bring it back."""
        before = self.hold
        if not isinstance(before, Closed):
            self.hold, self.hold_reason, self.told_until = Closed(since=ticket, at=now), "", 0.0
            self._look()
            self._tell(HoldEnded(self.key, now - before.at))

    def recent(self, now: float) -> Recent:
        """Return the calls that count at the instant `now`."""
        return self._window.recent(now)

    def health(self, now: float) -> GateHealth:
        """Return a frozen snapshot of what is known at the instant `now`."""
        by_hand, bar, recent = self.by_hand(now), self.bar(now, lone=False), self.recent(now)
        circuit, hold = self.circuit, self.hold
        opened = hold if isinstance(circuit, Closed) else circuit
        return GateHealth(
            circuit=_state(circuit),
            hold=_state(hold),
            reason=self.circuit_reason or self.hold_reason,
            since=None if isinstance(opened, Closed) else opened.at,
            reopens_in=None if bar is None else max(bar.until - now, 0.0),
            level=circuit.level,
            run=circuit.run if isinstance(circuit, Closed) else 0,
            calls=recent.calls,
            failures=recent.failures,
            last_success_at=self.last_success_at,
            set_by_hand="" if by_hand is None else f"{'open' if by_hand.is_open else 'closed'}: {by_hand.reason}",
        )

    def _settle_circuit(
        self,
        ticket: int,
        outcome: Outcome,
        now: float,
        terms: Tripping,
        recent: Recent = Recent(),  # noqa: B008 - frozen
        reason: str = "",
    ) -> None:
        before, after = self.circuit, settle(self.circuit, ticket, outcome, now, terms, recent)
        if after is before:
            return
        self.circuit = after
        self._look()
        if isinstance(after, Open) and outcome is Outcome.FAILURE and after.until > now and not _resumed(before, after):
            self.circuit_reason = reason
            self._tell(CircuitTripped(self.key, reason, after.until - now, after.level))
        elif isinstance(after, Closed) and isinstance(before, HalfOpen):
            self.circuit_reason = ""
            self._forget_calls()
            self._tell(CircuitClosed(self.key, now - before.at))

    def _settle_hold(self, ticket: int, outcome: Outcome, now: float, terms: Holding, reason: str = "") -> None:
        before, after = self.hold, settle(self.hold, ticket, outcome, now, terms)
        if after is before:
            return
        self.hold = after
        self._look()
        if isinstance(after, Open) and outcome is Outcome.FAILURE:
            self.hold_reason = reason
            self._tell(HoldPlaced(self.key, reason, after.until - now))
        elif isinstance(after, Closed) and isinstance(before, HalfOpen):
            self.hold_reason, self.told_until = "", 0.0
            self._tell(HoldEnded(self.key, now - before.at))

    def _hold(self, ticket: int, now: float, reason: str, terms: Holding) -> None:
        """Place a hold, or make the one there is longer."""
        before = self.hold
        if isinstance(before, Open):
            self.hold = extend(before, ticket, now + terms.opens_for(before.level))
        else:
            self._settle_hold(ticket, Outcome.FAILURE, now, terms, reason)
        if self.hold is not before:
            self.hold_reason = reason
        if terms.hint and isinstance(self.hold, Open) and ticket >= self.hold.since:
            self.told_until = max(self.told_until, now + terms.hint)

    def _forget_calls(self) -> None:
        self._window = Window(self._policy.window_for, self._policy.window_calls)
        self._slow = Window(self._policy.window_for, self._policy.window_calls)

    def _look(self) -> None:
        circuit, hold = self.circuit, self.hold
        self.is_clear = type(circuit) is Closed and not circuit.run and type(hold) is Closed and self._by_hand is None


_NO_HOLD, _NO_TRIPPING = Holding(0.0, 0.0), Tripping()
"""The terms of an end that opens nothing."""


def _state(circuit: Circuit) -> CircuitState:
    match circuit:
        case Closed():
            return CircuitState.CLOSED
        case Open():
            return CircuitState.OPEN
        case HalfOpen():
            return CircuitState.HALF_OPEN


def _resumed(before: Circuit, after: Open) -> bool:
    """Say whether an early probe merely left things as they were."""
    return isinstance(before, HalfOpen) and before.until == after.until
