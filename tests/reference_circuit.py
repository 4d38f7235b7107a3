"""A naive gate for one key, written from the papers alone: what the real one is compared with.

It keeps every fact in one list and works out run, window, level, open time, hold, lease and generation from that list
at each question; it counts nothing along the way. Slow on purpose, and plain enough to be read as the rules themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

CIRCUIT, HOLD, CALL, HAND = "circuit", "hold", "call", "hand"
BUCKET, BUCKETS, LATELY, DECAY = 5.0, 12, 2, 300.0
Mode: TypeAlias = Literal["plain", "lone", "early"]


class Ask(NamedTuple):
    """A wish for time: the first hold and the longest of a row, and the provider's own word; seconds."""

    first: float
    longest: float
    hint: float | None = None


class Fact(NamedTuple):
    """What happened when, to which ticket; to a layer: opened, renewed, extended, back, probe, freed, passed, closed"""

    at: float
    ticket: int
    about: str
    what: str
    until: float = 0.0
    spread: float = 1.0
    grows: bool = True
    ask: Ask = Ask(0.0, 0.0)


class Phase(NamedTuple):
    """Where a layer stands: `until` is None when it is closed, `first` is None while nobody probes an open one."""

    until: float | None = None
    first: int | None = None
    probe: Fact | None = None
    passed: int = 0


@dataclass
class Reference:
    """The naive gate. Durations are seconds."""

    trip_after: int
    open_for: float
    open_max: float
    passes: int = 1
    window_calls: int | None = None
    observe_only: bool = False
    log: list[Fact] = field(default_factory=list)

    def facts(self, *about: str) -> list[Fact]:
        """Everything since the last reset, the reset included."""
        since = next((i for i in reversed(range(len(self.log))) if self.log[i].what == "reset"), 0)
        return [fact for fact in self.log[since:] if fact.about in about]

    def generation(self, layer: str) -> int:
        """The lowest ticket that is not from before the last probes: what may still count while nobody probes."""
        changes = ("closed", "renewed", "reset")
        return next((f.ticket for f in reversed(self.facts(layer, HAND)) if f.what in changes), 0)

    def calls(self, now: float) -> tuple[int, int, int, int]:
        """The run of failures, the calls of the window, those of them that failed, and the calls lately."""
        facts = self.facts(CALL, CIRCUIT, HAND)
        since = max((i + 1 for i, f in enumerate(facts) if f.what in ("closed", "reset")), default=0)
        tripped = next((i for i, f in enumerate(facts) if i >= since and f.what == "opened"), len(facts))
        oldest = self.generation(CIRCUIT)
        all_ = [f for f in facts[since:tripped] if f.about == CALL and f.ticket >= oldest]
        ago = [int(now // BUCKET) - int(f.at // BUCKET) for f in all_]
        recent = [f for f, buckets in zip(all_, ago, strict=True) if buckets < BUCKETS]
        window = recent if self.window_calls is None else all_[-self.window_calls :]
        run = next((i for i, f in enumerate(reversed(all_)) if f.what == "success"), len(all_))
        return run, len(window), sum(f.what == "failure" for f in window), sum(buckets < LATELY for buckets in ago)

    def trips(self, now: float) -> bool:
        """Whether the failure that has just been written down trips the circuit."""
        run, calls, failures, lately = self.calls(now)
        if self.trip_after == 1 or lately < 10:
            return run >= self.trip_after
        return run >= 5 or (calls >= 10 and failures * 2 >= calls)

    def level(self) -> int:
        """How often it opened, less one for each 300 s it was closed before it opened again."""
        level, closed = 0, None
        for fact in self.facts(CIRCUIT):
            if fact.what == "opened":
                kept = level if closed is None else max(0, level - int((fact.at - closed) // DECAY))
                level = kept + 1 if fact.grows else max(kept, 1)
            closed = fact.at if fact.what == "closed" else None if fact.what == "opened" else closed
        return level

    def row(self) -> int:
        """How many holds were placed in a row, with no success after one of them."""
        facts = self.facts(HOLD)
        since = max((i for i, f in enumerate(facts) if f.what == "closed"), default=0)
        return sum(f.what == "opened" for f in facts[since:])

    def until(self, layer: str) -> float:
        """When the last opening, or the last extension of it, is over."""
        facts = self.facts(layer)
        opened = max(i for i, f in enumerate(facts) if f.what == "opened")
        if layer == CIRCUIT:
            fact = facts[opened]
            return fact.at + min(self.open_max, self.open_for * 2.0 ** (fact.grows * (self.level() - 1))) * fact.spread
        return max(until for until, _ in self.asks(facts[opened:]))

    def asks(self, facts: list[Fact]) -> list[tuple[float, bool]]:
        """Until when each of them asked to wait, and whether it told the time itself."""
        asks = [(f.at, f.ask) for f in facts if f.what in ("opened", "extended")]
        row = self.row()
        return [(at + (a.hint or min(a.longest, a.first * 2.0 ** (row - 1))), bool(a.hint)) for at, a in asks]

    def told(self) -> float:
        """Until when the last hold bars by what the provider told; what we chose ourselves does not count."""
        facts = self.facts(HOLD)
        opened = max(i for i, f in enumerate(facts) if f.what == "opened")
        return max((until for until, is_told in self.asks(facts[opened:]) if is_told), default=0.0)

    def phase(self, layer: str) -> Phase:
        """Where a layer stands, read from its facts since it last opened."""
        facts = self.facts(layer)
        if not any(f.what == "opened" for f in facts) or facts[-1].what == "closed":
            return Phase()
        since = max(i for i, f in enumerate(facts) if f.what in ("opened", "extended", "back"))
        probes = [f for f in facts[since:] if f.what in ("probe", "freed")]
        if not probes:
            return Phase(self.until(layer))
        current = probes[-1] if probes[-1].what == "probe" else None
        return Phase(self.until(layer), probes[0].ticket, current, sum(f.what == "passed" for f in facts[since:]))

    def by_hand(self, now: float) -> Fact | None:
        """What somebody has forced, while it lasts."""
        facts = self.facts(HAND)
        return facts[-1] if facts and facts[-1].what != "reset" and now < facts[-1].until else None

    def slot(self, layer: str, now: float, mode: Mode) -> tuple[bool, float | None]:
        """Whether the place of the probe is to be had, and until when everybody else is barred."""
        phase = self.phase(layer)
        if phase.until is None:
            return False, None
        if phase.first is None:
            due = now >= phase.until or (mode == "early" and layer == CIRCUIT)
            if mode != "lone":
                return due, None if due else phase.until
            until = 0.0 if layer == CIRCUIT else self.told()
            return due, None if due or now >= until else until
        until = max(phase.probe.until, phase.until) if phase.probe else 0.0  # an early one gives nobody else time
        due = now >= until or phase.probe is None
        return due, None if due or mode == "lone" else until

    def barred(self, now: float, mode: Mode = "plain") -> float | None:
        """Until when an admission is barred, or None."""
        if (hand := self.by_hand(now)) is not None:
            return hand.until if hand.what == "forced open" else None
        bars = [bar for layer in (CIRCUIT, HOLD) if (bar := self.slot(layer, now, mode)[1]) is not None]
        return None if self.observe_only else max(bars, default=None)

    def admit(self, now: float, ticket: int, mode: Mode, lease_for: float) -> list[str] | None:
        """The layers this attempt probes, or None when it is barred."""
        if self.barred(now, mode) is not None:
            return None
        due = [layer for layer in (CIRCUIT, HOLD) if not self.by_hand(now) and self.slot(layer, now, mode)[0]]
        self.log += [Fact(now, ticket, layer, "probe", now + lease_for) for layer in due]
        return due

    def end(
        self, now: float, ticket: int, what: str, ask: Ask | None = None, *, spread: float = 1.0, grows: bool = True
    ) -> None:
        """An attempt ended: `what` is success, failure or neutral; `ask` is a hold that came with it."""
        if any(f.ticket > ticket for f in self.facts(HAND) if f.what == "reset"):
            return
        if what != "neutral":
            self.log.append(Fact(now, ticket, CALL, what))
        self._circuit(Fact(now, ticket, CIRCUIT, what, spread=spread, grows=grows), self.phase(CIRCUIT))
        self._hold(Fact(now, ticket, HOLD, "ask" if ask else what, ask=ask or Ask(0, 0)), self.phase(HOLD))

    def _circuit(self, fact: Fact, phase: Phase) -> None:
        if phase.until is None:
            if fact.what == "failure" and fact.ticket >= self.generation(CIRCUIT) and self.trips(fact.at):
                self.log.append(fact._replace(what="opened"))
        elif fact.what == "success":
            self._passed(fact, phase, self.passes)
        elif phase.probe is not None and phase.probe.ticket == fact.ticket:
            what = "opened" if fact.what == "failure" else "freed"
            self.log.append(fact._replace(what="back" if fact.at < phase.until else what))

    def _hold(self, fact: Fact, phase: Phase) -> None:
        probes = phase.probe is not None and phase.probe.ticket == fact.ticket
        if fact.what == "ask":
            if probes:
                self.log += [fact._replace(what="renewed", ticket=phase.first or 0), fact._replace(what="opened")]
            elif phase.first is None and fact.ticket >= self.generation(HOLD):
                self.log.append(fact._replace(what="opened" if phase.until is None else "extended"))
        elif fact.what == "success":
            self._passed(fact, phase, 1)
        elif probes:
            self.log.append(fact._replace(what="freed"))

    def _passed(self, fact: Fact, phase: Phase, passes: int) -> None:
        if phase.first is None or fact.ticket < phase.first:
            return
        self.log.append(fact._replace(what="passed"))
        if phase.passed + 1 >= passes:
            self.log.append(fact._replace(what="closed", ticket=phase.first))
        elif phase.probe is not None and phase.probe.ticket == fact.ticket:
            self.log.append(fact._replace(what="freed"))

    def force(self, now: float, what: Literal["open", "closed"], until: float) -> None:
        self.log.append(Fact(now, 0, HAND, f"forced {what}", until))

    def reset(self, now: float, ticket: int) -> None:
        self.log.append(Fact(now, ticket, HAND, "reset"))
