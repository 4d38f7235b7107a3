"""The circuit: who may ask after failures, and who finds out that they are over. Pure.

                 failure that trips
        ┌────────────────────────────────────────┐
        │                                        ▼
   ┌────┴───┐  success of a probe  ┌──────────┐  now ≥ until: one  ┌──────┐
   │ Closed │◀─────────────────────┤ HalfOpen │◀──────────────────┤ Open │
   └────────┘                      └──┬────┬──┘  attempt is taken  └──────┘
                                      │    │ the probe fails: open again, for longer   ▲
                                      │    └───────────────────────────────────────────┘
                                      └─▶ the probe says nothing: its place is free again

The same machine serves circuits (what we conclude from failures) and holds (what a provider tells us to wait); what
differs between them are the `Terms`. While it is open nobody may ask. Half-open, one attempt may: the *probe*, whose
place is a lease that ends by itself. A *ticket* says when an attempt was admitted: what was admitted before the last
change changes nothing any more. Counting calls, blame and several keys at once belong to `_gate.py`.

Source: M. Nygard, "Release It!", 2nd ed., ch. 5; figures from R-CB-3 to R-CB-7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Protocol, TypeAlias, assert_never, final

HEALED_AFTER = 300.0
"""Seconds closed after which one opening is forgotten (R-CB-4)."""


class Outcome(StrEnum):
    """What an attempt says about who was asked."""

    SUCCESS = auto()
    FAILURE = auto()
    NEUTRAL = auto()


@final
@dataclass(frozen=True, slots=True)
class Closed:
    """Everybody may ask. `run` counts failures in a row, `level` openings not yet forgotten; `at` is when it closed."""

    since: int = 0
    run: int = 0
    level: int = 0
    at: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Open:
    """Nobody may ask before the instant `until`. `at` is when it opened first."""

    until: float
    level: int
    at: float
    since: int = 0


@final
@dataclass(frozen=True, slots=True)
class HalfOpen:
    """The attempt with the ticket `probe` finds out; None: the next one may. Its place is free again at `lease_until`.

    `since` is the first probe's ticket, `passes` the successes so far. `until` is when it was, or is, open until: it
    lies ahead only for a probe that was let through early.
    """

    since: int
    probe: int | None
    lease_until: float
    until: float
    level: int
    at: float
    passes: int = 0


Circuit: TypeAlias = Closed | Open | HalfOpen


@final
@dataclass(frozen=True, slots=True)
class Recent:
    """Calls that ended lately, the one at hand among them: `lately` in about 10 s, the others in the window."""

    lately: int = 0
    calls: int = 0
    failures: int = 0


class Terms(Protocol):
    """What differs between circuits and holds."""

    @property
    def passes(self) -> int:
        """Return how many probes in a row must succeed."""

    def trips(self, run: int, recent: Recent) -> bool:
        """Say whether the last of `run` failures in a row opens it."""

    def level(self, closed: Closed, now: float) -> int:
        """Return the openings not yet forgotten at the instant `now`."""

    def next_level(self, level: int) -> int:
        """Return the level of the next opening."""

    def level_after_success(self, level: int) -> int:
        """Return what is left of it when it closes."""

    def opens_for(self, level: int) -> float:
        """Return the seconds of an opening of that level."""


@final
@dataclass(frozen=True, slots=True)
class Tripping:
    """The terms of a circuit (R-CB-3, R-CB-4).

    `spread` is drawn from [0.8, 1.2); `grows` is False while it is our own network that fails.
    """

    trip_after: int = 2
    open_for: float = 10.0
    open_max: float = 25.0
    passes: int = 1
    spread: float = 1.0
    grows: bool = True

    def trips(self, run: int, recent: Recent) -> bool:
        """A few failures in a row are enough where calls are rare; where they are many, a rate or a longer run is."""
        if self.trip_after == 1:
            return True
        if recent.lately < BUSY:
            return run >= self.trip_after
        return run >= BUSY_RUN or (recent.calls >= BUSY and recent.failures * 2 >= recent.calls)

    def level(self, closed: Closed, now: float) -> int:
        """An opening is forgotten for each 300 s closed; one success forgets none."""
        return max(closed.level - int((now - closed.at) / HEALED_AFTER), 0)

    def next_level(self, level: int) -> int:
        """Each opening is longer than the last, unless the provider is not to blame."""
        return level + 1 if self.grows else max(level, 1)

    def level_after_success(self, level: int) -> int:
        """One success forgets nothing."""
        return level

    def opens_for(self, level: int) -> float:
        """10, 20, 25 s and a spread, so that not all who wait come at once."""
        doubled = self.open_for * 2.0 ** min(level - 1, 30) if self.grows else self.open_for
        return min(self.open_max, doubled) * self.spread


BUSY, BUSY_RUN = 10, 5
"""Calls in about 10 s, and in the window, from which a rate says more than a short run; and the run that still trips
then (R-CB-3)."""


@final
@dataclass(frozen=True, slots=True)
class Holding:
    """The terms of a hold (R-CB-5): any bars, for what the provider said, else for `first` doubling to `longest`."""

    first: float
    longest: float
    hint: float | None = None
    passes: int = 1

    def trips(self, run: int, recent: Recent) -> bool:
        """Whoever asks us to wait is heard the first time."""
        return True

    def level(self, closed: Closed, now: float) -> int:
        """Time alone forgets nothing."""
        return closed.level

    def next_level(self, level: int) -> int:
        """Each one in a row is longer."""
        return level + 1

    def level_after_success(self, level: int) -> int:
        """A success forgets all."""
        return 0

    def opens_for(self, level: int) -> float:
        """Return the hint, or the doubled default."""
        if self.hint:
            return self.hint
        return min(self.longest, self.first * 2.0 ** min(level - 1, 30))


class Standing(Enum):
    """What an attempt would be."""

    FREE = auto()
    PROBE = auto()
    BARRED = auto()


def standing(circuit: Circuit, now: float) -> Standing:
    """Say what an attempt at the instant `now` would be: one of many, the probe, or barred."""
    match circuit:
        case Closed():
            return Standing.FREE
        case Open(until):
            return Standing.PROBE if now >= until else Standing.BARRED
        case HalfOpen(probe=probe):
            return Standing.PROBE if probe is None or now >= _kept_until(circuit) else Standing.BARRED
        case _:
            assert_never(circuit)


def reopens_at(circuit: Circuit) -> float:
    """Return the instant at which the next attempt may go ahead at the latest, if nothing else happens."""
    match circuit:
        case Closed():
            return 0.0
        case Open(until):
            return until
        case HalfOpen(probe=probe):
            return 0.0 if probe is None else _kept_until(circuit)
        case _:
            assert_never(circuit)


def take(circuit: Circuit, ticket: int, lease_until: float) -> Circuit:
    """Return the circuit after the attempt with `ticket` was let through as its probe, with a lease until then.

    An open circuit whose time is not over yields an early probe: if that one says nothing, it is open as before.
    """
    match circuit:
        case Closed():
            return circuit
        case Open(until, level, at):
            return HalfOpen(ticket, ticket, lease_until, until, level, at)
        case HalfOpen():
            return replace(circuit, probe=ticket, lease_until=lease_until)
        case _:
            assert_never(circuit)


def settle(
    circuit: Circuit, ticket: int, outcome: Outcome, now: float, terms: Terms, recent: Recent = Recent()
) -> Circuit:
    """Return the circuit after the attempt with `ticket` ended with `outcome` at the instant `now`.

    In half-open a success of any attempt admitted since the first probe counts, also when its lease has ended; of
    failures and silence only the probe's own does.
    """
    match circuit:
        case Closed():
            return _settled_closed(circuit, ticket, outcome, now, terms, recent)
        case HalfOpen():
            return _settled_half_open(circuit, ticket, outcome, now, terms)
        case Open():
            return circuit
        case _:
            assert_never(circuit)


def _settled_closed(
    circuit: Closed, ticket: int, outcome: Outcome, now: float, terms: Terms, recent: Recent
) -> Closed | Open:
    since, run = circuit.since, circuit.run
    if ticket < since:
        return circuit
    match outcome:
        case Outcome.FAILURE if terms.trips(run + 1, recent):
            return _opened(circuit, terms.level(circuit, now), now, terms, at=now)
        case Outcome.FAILURE:
            return Closed(since, run + 1, circuit.level, circuit.at)
        case Outcome.SUCCESS if run:
            return Closed(since, 0, circuit.level, circuit.at)
        case _:
            return circuit


def _settled_half_open(circuit: HalfOpen, ticket: int, outcome: Outcome, now: float, terms: Terms) -> Circuit:
    if outcome is Outcome.SUCCESS and ticket >= circuit.since:
        if circuit.passes + 1 >= terms.passes:
            return Closed(since=circuit.since, level=terms.level_after_success(circuit.level), at=now)
        probe = None if circuit.probe == ticket else circuit.probe
        return replace(circuit, probe=probe, passes=circuit.passes + 1)
    if circuit.probe != ticket:
        return circuit
    if now < circuit.until:  # it was early
        return Open(circuit.until, circuit.level, circuit.at, circuit.since)
    if outcome is Outcome.FAILURE:
        return _opened(circuit, circuit.level, now, terms, at=circuit.at)
    return replace(circuit, probe=None)


def extend(circuit: Circuit, ticket: int, until: float) -> Circuit:
    """Return the circuit, open until the later of what it is and `until`: a new reason never shortens it."""
    if isinstance(circuit, Open) and ticket >= circuit.since and until > circuit.until:
        return Open(until, circuit.level, circuit.at, circuit.since)
    return circuit


def _kept_until(circuit: HalfOpen) -> float:
    """Return until when a probe keeps others away; after an early one that says nothing it is open as before."""
    return max(circuit.lease_until, circuit.until)


def _opened(circuit: Closed | HalfOpen, level: int, now: float, terms: Terms, *, at: float) -> Open:
    level = terms.next_level(level)
    return Open(now + terms.opens_for(level), level, at, circuit.since)
