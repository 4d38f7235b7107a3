"""What has happened lately, kept in bounded memory, cheaply; made into JSON only when somebody asks. Pure.

Events are kept as they are, with the instant at which they came. Nothing here grows with the number of requests: counts
per second, the last durations, and the last so many of all else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ..actors import CircuitClosed, CircuitTripped, EndpointEvent, Forced, HoldEnded, HoldPlaced, Key, ProbeStarted
from ..providers import Verdict, first_token
from ..supervisor import Event, HandedOver, RequestEnded, Returned
from ._rates import LAST, Counter, percentiles

HANDOVERS, FAILURES = 200, 50
"""How many hand-overs and returns, and how many failed requests are kept."""

CHANGES_FOR = 900.0
"""Seconds of a circuit's changes that are shown."""

CHANGES, KEYS = 100, 512
"""Changes that are kept of a circuit at most, and circuits that are kept any of (chosen: a circuit that changes more
often than every 9 s for a quarter of an hour loses the oldest)."""

SERIES = 2048
"""Agents' routes that are counted (chosen; settings hold fewer, and this is a bound, no plan)."""

Outcome: TypeAlias = Literal["answered", "failed", "left"]

SeriesKey: TypeAlias = tuple[str, str, str, Outcome]
"""Agent, transport and model that served, and the outcome; both are empty where nobody did."""


@final
class Series:
    """What is counted of one agent's requests that ended so."""

    __slots__ = ("_found", "durations", "first_tokens", "last_at", "requests")

    def __init__(self) -> None:
        self.requests, self.last_at = Counter(), 0.0
        self.durations, self.first_tokens = deque[float](maxlen=LAST), deque[float](maxlen=LAST)
        self._found: tuple[int, dict[str, float] | None, dict[str, float] | None] = (0, None, None)

    def percentiles(self) -> tuple[dict[str, float] | None, dict[str, float] | None]:
        """Return those of whole answers and of first tokens, in seconds; None of none. They are worked out once for as
        long as nothing is added.
        """
        count, *_ = self._found
        if count != self.requests.whole:
            whole, first = (percentiles(values) if values else None for values in (self.durations, self.first_tokens))
            self._found = self.requests.whole, whole, first
        return self._found[1:]


@final
@dataclass(frozen=True, slots=True)
class Change:
    """What became of a circuit at an instant: `state` as `STATES` has it, until an instant if that is known."""

    at: float
    state: str
    reason: str = ""
    until: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Numbered:
    """An event, when it came, and its ordinal among those of its kind, counted from 1."""

    number: int
    at: float
    event: Any


@final
class Kept:
    """The last so many events of a kind."""

    __slots__ = ("_events", "count")

    def __init__(self, most: int) -> None:
        self._events: deque[Numbered] = deque(maxlen=most)
        self.count = 0

    def add(self, at: float, event: object) -> None:
        """Keep one more."""
        self.count += 1
        self._events.append(Numbered(self.count, at, event))

    def after(self, number: int) -> list[Numbered]:
        """Return those that are kept and came after the one of that ordinal, in order."""
        missing = min(self.count - number, len(self._events))
        return [self._events[place] for place in range(len(self._events) - missing, len(self._events))]


@final
class Seen:
    """What a gateway shows of the past. `changes` counts everything that was taken note of."""

    def __init__(self) -> None:
        self.changes = 0
        self.series: dict[SeriesKey, Series] = {}
        self.serving: dict[str, tuple[str, float]] = {}
        self.handovers, self.failures = Kept(HANDOVERS), Kept(FAILURES)
        self.circuits: dict[Key, deque[Change]] = {}
        self.totals = {"answered": 0, "failed": 0, "left": 0, "handed_over": 0}
        self._take: dict[type[Any], Callable[[Any, float], None]] = {
            RequestEnded: self._request,
            HandedOver: self._handed_over,
            Returned: self._returned,
            **dict.fromkeys(
                (CircuitTripped, ProbeStarted, CircuitClosed, HoldPlaced, HoldEnded, Forced), self._circuit
            ),
        }

    def take(self, event: Event, now: float) -> None:
        """Take note of an event at a monotonic instant; those that nothing is shown of are left alone."""
        take = self._take.get(type(event))
        if take is not None:
            self.changes += 1
            take(event, now)

    def _request(self, event: RequestEnded, now: float) -> None:
        attempts, error = event.attempts, event.error
        if not error and attempts:
            served = attempts[-1]
            series = self._series((event.agent, served.transport, served.model, "answered"))
            self.totals["answered"] += 1
            if series is not None:
                series.requests.add(int(now))
                series.last_at = now
                series.durations.append(event.duration)
                if served.first_token is not None:
                    series.first_tokens.append(first_token(attempts) or 0.0)
            if len(attempts) == 1 and served.verdict is Verdict.OK:
                return
        else:
            outcome: Outcome = "left" if error == "cancelled" else "failed"
            series = self._series((event.agent, "", "", outcome))
            self.totals[outcome] += 1
            if series is not None:
                series.requests.add(int(now))
        self._went_wrong(event, now)

    def _went_wrong(self, event: RequestEnded, now: float) -> None:
        """Keep a request that failed, or was handed over; one whose caller left it alone did neither."""
        routes = {(attempt.transport, attempt.model) for attempt in event.attempts}
        if len(routes) > 1:
            self.totals["handed_over"] += 1
        if len(event.attempts) > 1 or event.error not in {"", "cancelled"}:
            self.failures.add(now, event)

    def _series(self, key: SeriesKey) -> Series | None:
        found = self.series.get(key)
        if found is None and len(self.series) < SERIES:
            found = self.series[key] = Series()
        return found

    def _handed_over(self, event: HandedOver, now: float) -> None:
        self.serving[event.agent] = event.fallback, now
        self.handovers.add(now, event)

    def _returned(self, event: Returned, now: float) -> None:
        self.serving[event.agent] = event.primary, now
        self.handovers.add(now, event)

    def _circuit(self, event: EndpointEvent, now: float) -> None:
        changes = self.circuits.get(event.key)
        if changes is None:
            if len(self.circuits) >= KEYS:
                return
            changes = self.circuits[event.key] = deque(maxlen=CHANGES)
        changes.append(changed(event, now))
        while len(changes) > 1 and changes[1].at <= now - CHANGES_FOR:
            changes.popleft()


def changed(event: EndpointEvent, now: float) -> Change:
    """Return what an event says became of a circuit."""
    match event:
        case CircuitTripped(reason=reason, open_for=seconds):
            return Change(now, "open", reason, now + seconds)
        case HoldPlaced(reason=reason, hold_for=seconds):
            return Change(now, "held", reason, now + seconds)
        case ProbeStarted():
            return Change(now, "half_open")
        case Forced(state="reset"):
            return Change(now, "closed", "reset by hand")
        case Forced(state=state, reason=reason, lasts_for=seconds):
            return Change(now, f"forced_{state}", reason, now + seconds)
        case _:
            return Change(now, "closed")
