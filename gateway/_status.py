"""The JSON that a gateway shows of itself, made of what is known now and what was seen. Pure.

Instants are Unix seconds: `now`, `at`, `since`, `until`, `from`, `to`, and what ends in `_at`; durations are seconds.
Texts may come from providers: they were cut and masked on their way, and are escaped here once more, so that any
terminal and any page can show them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from ..actors import CircuitState, GateHealth, Health, Key, Layer
from ..credentials import LoginHealth
from ..providers import Attempt, PassedOver, Target, escaped
from ..supervisor import HandedOver, Plan, RequestEnded, Returned
from ._keys import key_text
from ._rates import SECONDS
from ._seen import CHANGES_FOR, Change, Numbered, Outcome, Seen, SeriesKey

JSON: TypeAlias = dict[str, Any]

Span: TypeAlias = tuple[float, float, str, str]
"""From and to an instant, a state, and its reason."""

UNANSWERED: tuple[Outcome, ...] = ("failed", "left")
"""How a request ends that nobody answered."""

TEXT = 500
"""Characters of a text that are shown, as of a provider's message."""


@final
@dataclass(frozen=True, slots=True)
class About:
    """What does not change: the version, what is configured, when it all began (a monotonic instant), and whether
    reasons hold what providers said, who may quote a prompt.
    """

    version: str
    plan: Plan
    begun: float
    quotes: bool = True


@final
@dataclass(frozen=True, slots=True)
class Now:
    """An instant: the monotonic one, and what has to be added to make Unix time of it. That stays the same while nobody
    sets the clock, so that one event is told with one time whenever it is told.
    """

    at: float
    offset: float

    def when(self, at: float | None, digits: int = 3) -> float | None:
        """Return a monotonic instant as Unix time, to the millisecond."""
        return None if at is None else round(at + self.offset, digits)


@final
@dataclass(frozen=True, slots=True)
class View:
    """What is shown at an instant, but for what only grows: sections of rows by their names, and single values.

    `changes`, `handovers` and `failures` say how much of what was seen it holds.
    """

    now: Now
    values: JSON
    sections: dict[str, dict[str, JSON]]
    changes: int = 0
    handovers: int = 0
    failures: int = 0


def view(about: About, health: Mapping[str, Health], seen: Seen, now: Now) -> View:
    """Return what is shown at an instant."""
    gates = dict(_gates(about.plan, health))
    sections = {
        "agents": {name: _agent(about.plan, name, seen, now) for name in about.plan.agents},
        "endpoints": {name: _endpoint(about, name, target, health[name], now) for name, target in _targets(about)},
        "circuits": {key_text(key): _circuit(key, gate, seen, now, about) for key, gate in gates.items()},
        "credentials": {name: _credential(about, name, target, health[name], now) for name, target in _targets(about)},
        "latencies": {"\0".join(key): row for key, row in _latencies(seen)},
    }
    values = {
        "version": about.version,
        "started_at": now.when(about.begun),
        "totals": {"requests": sum(map(seen.totals.__getitem__, ("answered", "failed", "left"))), **seen.totals},
    }
    return View(now, values, sections, seen.changes, seen.handovers.count, seen.failures.count)


def whole(about: About, seen: Seen, view: View) -> JSON:
    """Return everything: the body of `GET /status`."""
    now = view.now
    return {
        **view.values,
        **clocks(about, now),
        **{name: list(rows.values()) for name, rows in view.sections.items()},
        "rates": rates(seen, now, SECONDS),
        "handovers": [handover(row, now, about) for row in seen.handovers.after(0)],
        "failures": [failure(row, now, about) for row in seen.failures.after(0)],
    }


def clocks(about: About, now: Now) -> JSON:
    """Return what is another value each time that somebody looks; `second` is the one that rates end with."""
    return {"now": now.when(now.at), "uptime": round(now.at - about.begun, 1), "second": int(now.at)}


def rates(seen: Seen, now: Now, seconds: int) -> JSON:
    """Return how many requests ended in each of the last seconds, up to and with the one that `now` lies in.

    A second is one of the monotonic clock. Series of nothing but 0 are left out.
    """
    counted = ((key, series.requests.last(int(now.at), seconds)) for key, series in seen.series.items())
    return {
        "seconds": seconds,
        "series": [
            {"agent": shown(agent), "transport": transport, "model": shown(model), "outcome": outcome, "counts": counts}
            for (agent, transport, model, outcome), counts in counted
            if any(counts)
        ],
    }


def handover(row: Numbered, now: Now, about: About) -> JSON:
    """Return a hand-over, or a return to the primary."""
    facts: JSON = {"number": row.number, "at": now.when(row.at)}
    match row.event:
        case HandedOver(agent, primary, fallback, reason):
            names = {"kind": "handed_over", "agent": shown(agent), "from": shown(primary), "to": shown(fallback)}
            return {**facts, **names, "reason": said(reason, about)}
        case Returned(agent, primary, after):
            return {**facts, "kind": "returned", "agent": shown(agent), "to": shown(primary), "after": round(after, 1)}
    raise TypeError("this is no hand-over")


def failure(row: Numbered, now: Now, about: About) -> JSON:
    """Return a request that failed or was handed over, with its trail."""
    event: RequestEnded = row.event
    return {
        "number": row.number,
        "at": now.when(row.at),
        "agent": shown(event.agent),
        "error": shown(event.error),
        "transport": event.transport,
        "model": None if event.model is None else shown(event.model),
        "duration": round(event.duration, 3),
        "attempts": [_attempt(attempt, about) for attempt in event.attempts],
        "passed_over": [_passed_over(route, about) for route in event.passed_over],
    }


def shown(text: str) -> str:
    """Return a text on one line and not too long."""
    return escaped(text if len(text) <= TEXT else text[:TEXT] + "…")


def said(reason: str, about: About) -> str:
    """Return a reason, without what a provider said where that may quote a prompt."""
    return shown(reason if about.quotes else reason.partition(":")[0])


def state_of(gate: GateHealth) -> str:
    """Return what stands against an attempt: of several things the one that counts. What only waits for its probe,
    because its time is over, is half-open already.
    """
    if gate.set_by_hand:
        return "forced_" + gate.set_by_hand.partition(":")[0]
    states = gate.circuit, gate.hold
    if CircuitState.OPEN in states and gate.reopens_in is not None:
        return "open" if gate.circuit is CircuitState.OPEN else "held"
    return "closed" if states == (CircuitState.CLOSED, CircuitState.CLOSED) else "half_open"


def spans(changes: Iterable[Change], state: str, now: float) -> list[Span]:
    """Return a circuit's last quarter of an hour as spans of `(from, to, state, reason)`, closed ones left out.

    What ends by itself goes on as half-open, or as closed if it was set by hand, until something happens. `state` is
    what it is now: the last span ends in that one, whatever the changes say.
    """
    found: list[Span] = []
    begun, whole = now - CHANGES_FOR, list(changes)
    for number, change in enumerate(whole):
        end = whole[number + 1].at if number + 1 < len(whole) else now
        is_last = number + 1 == len(whole)
        until = end if change.until is None or (is_last and change.state == state) else min(change.until, end)
        after = state if is_last else "closed" if change.state.startswith("forced") else "half_open"
        found += [(change.at, until, change.state, change.reason), (until, end, after, "")]
    return _joined([span for span in found if span[2] != "closed" and span[1] > max(span[0], begun)])


def _joined(spans: list[Span]) -> list[Span]:
    """Return spans as one where the next goes on as the one before: a probe is half-open, as what it ends was."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1][1:3] == (span[0], span[2]):
            span = (found.pop()[0], *span[1:])
        found.append(span)
    return found


def _targets(about: About) -> Iterable[tuple[str, Target]]:
    return about.plan.endpoints.items()


def _gates(plan: Plan, health: Mapping[str, Health]) -> Iterator[tuple[Key, GateHealth]]:
    """Yield every circuit: those of models that nobody has asked yet are closed."""
    for name, target in plan.endpoints.items():
        known = health[name]
        yield Key(name, Layer.ENDPOINT), known.endpoint
        yield Key(name, Layer.CREDENTIAL), known.credential
        for model in dict.fromkeys(route.model for route in plan.routes if route.target == target):
            yield Key(name, Layer.MODEL, model), known.models.get(model, GateHealth())


def _agent(plan: Plan, name: str, seen: Seen, now: Now) -> JSON:
    routes, names = plan.agents[name].routes, {target: name for name, target in plan.endpoints.items()}
    by, since = seen.serving.get(name, ("", None))
    labels = [f"{route.transport}/{route.model}" for route in routes]
    pairs = dict.fromkeys((route.transport, route.model) for route in routes)
    last = [seen.series.get((name, *pair, "answered")) for pair in pairs]
    answers = [series.last_at for series in last if series is not None]
    answered = [0 if series is None else series.requests.whole for series in last]
    return {
        "name": shown(name),
        "serving": labels.index(by) if by in labels else 0,
        "serving_since": now.when(since),
        "last_answer_at": now.when(max(answers, default=None)),
        "answered": sum(answered),
        "by_fallback": sum(answered[1:]),
        **{outcome: _count(seen, (name, "", "", outcome)) for outcome in UNANSWERED},
        "routes": [
            {
                "transport": route.transport,
                "model": shown(route.model),
                "endpoint": shown(names[route.target]),
                "circuit": shown(key_text(Key(names[route.target], Layer.MODEL, route.model))),
            }
            for route in routes
        ],
    }


def _count(seen: Seen, key: SeriesKey) -> int:
    return seen.series[key].requests.whole if key in seen.series else 0


def _endpoint(about: About, name: str, target: Target, health: Health, now: Now) -> JSON:
    numbers = ("capacity", "in_flight", "waiting", "succeeded", "failed", "neutral")
    return {
        "name": shown(name),
        "transport": target.transport,
        "base_url": shown(target.base_url),
        "phase": str(health.phase),
        **{number: getattr(health, number) for number in numbers},
        "last_success_at": now.when(health.last_success_at),
    }


def _circuit(key: Key, gate: GateHealth, seen: Seen, now: Now, about: About) -> JSON:
    state, changes = state_of(gate), seen.circuits.get(key, ())
    until = None if gate.reopens_in is None else now.at + gate.reopens_in
    if changes and changes[-1].state == state == "forced_closed":
        until = changes[-1].until
    return {
        "key": shown(key_text(key)),
        "endpoint": shown(key.endpoint),
        "layer": str(key.layer),
        "model": None if key.model is None else shown(key.model),
        "state": state,
        "reason": said(gate.set_by_hand.partition(": ")[2] or gate.reason, about),
        "by_hand": bool(gate.set_by_hand),
        "since": now.when(changes[-1].at if gate.set_by_hand and changes else gate.since),
        "until": None if until is None else now.when(until, 1),
        "calls": gate.calls,
        "failures": gate.failures,
        "spans": [
            {
                "from": now.when(a),
                "to": None if b >= now.at else now.when(b),
                "state": state,
                "reason": said(why, about),
            }
            for a, b, state, why in spans(changes, state, now.at)
        ],
    }


def _credential(about: About, name: str, target: Target, health: Health, now: Now) -> JSON:
    gate, login = health.credential, health.login
    facts: JSON = {"endpoint": shown(name), "state": state_of(gate), "reason": said(gate.reason, about)}
    if login is None:
        return {**facts, "kind": "key" if target.api_key is not None else "none"}
    return {**facts, "kind": "login", **_login(login, now)}


def _login(login: LoginHealth, now: Now) -> JSON:
    return {
        "mode": str(login.mode),
        "life": str(login.life),
        "login_reason": shown(login.reason),
        "expires_at": None if login.expires_in is None else now.when(now.at + login.expires_in, 0),
        "days_left": None if login.days_left is None else round(login.days_left, 1),
        "is_renewing": login.is_renewing,
        "is_saved": login.is_saved,
    }


def _latencies(seen: Seen) -> Iterator[tuple[tuple[str, ...], JSON]]:
    for key, series in seen.series.items():
        agent, transport, model, outcome = key
        if outcome == "answered":
            whole, first = series.percentiles()
            yield (
                key,
                {
                    "agent": shown(agent),
                    "transport": transport,
                    "model": shown(model),
                    "requests": series.requests.whole,
                    "last": len(series.durations),
                    "latency": _rounded(whole),
                    "first_token": _rounded(first),
                },
            )


def _rounded(found: Mapping[str, float] | None) -> JSON | None:
    return None if found is None else {name: round(value, 4) for name, value in found.items()}


def _attempt(attempt: Attempt, about: About) -> JSON:
    return {
        "number": attempt.number,
        "transport": attempt.transport,
        "model": shown(attempt.model),
        "verdict": str(attempt.verdict),
        "status": attempt.status,
        "start": round(attempt.start, 3),
        "duration": round(attempt.duration, 3),
        "first_token": None if attempt.first_token is None else round(attempt.first_token, 3),
        "reason": said(attempt.reason, about),
    }


def _passed_over(route: PassedOver, about: About) -> JSON:
    return {"transport": route.transport, "model": shown(route.model), "reason": said(route.reason, about)}
