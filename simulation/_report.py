"""What came of a simulation: who served when, who was asked, what failed, what the circuits did. Pure.

All instants are seconds since the beginning, all durations seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, final

from ..actors import CircuitState, GateHealth
from ..supervisor import Route
from ._outages import Outage
from ._scenario import Scenario
from ._script import Call


class State(StrEnum):
    """What stands against a model: the worst of its circuit, its endpoint's and its credential's, and their holds."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"
    HELD = "held"


def worst(*gates: GateHealth) -> State:
    """Return the worst of what stands at several gates."""
    if any(gate.hold is CircuitState.OPEN for gate in gates):
        return State.HELD
    if any(gate.circuit is CircuitState.OPEN for gate in gates):
        return State.OPEN
    if any(CircuitState.HALF_OPEN in {gate.circuit, gate.hold} for gate in gates):
        return State.HALF_OPEN
    return State.CLOSED


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """One request: answered by the route of that number, or by none, and then why."""

    agent: str
    begun: float
    ended: float
    route: int | None
    error: str = ""
    reasons: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Happened:
    """One event: its name, whom it is about (an agent, or a circuit's key), and what else there is to say."""

    at: float
    what: str
    about: str
    detail: str


@final
@dataclass(frozen=True, slots=True)
class Changed:
    """A model at an endpoint is in another state from then on."""

    at: float
    endpoint: str
    model: str
    state: State


@final
@dataclass(slots=True)
class Observed:
    """What was seen of a run, in order."""

    asked: list[Asked] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    probes: list[tuple[float, str, str | None]] = field(default_factory=list)
    calls: dict[str, Sequence[Call]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Span:
    """What was so from one instant to another: the name of a route or of a state; `requests` began meanwhile."""

    what: str
    since: float
    until: float
    requests: int = 0


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """A request that nobody answered. `well` names its routes that no outage hit meanwhile."""

    agent: str
    at: float
    after: float
    error: str
    reasons: tuple[str, ...]
    well: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class AgentReport:
    """One agent: its routes by name, who served it when, and how long its requests took at most.

    `served` counts its answers by route.
    """

    name: str
    routes: tuple[str, ...]
    requests: int
    served: Mapping[str, int]
    spans: tuple[Span, ...]
    longest_wait: float
    handed_over_at: tuple[float, ...]
    returned_at: tuple[float, ...]

    @property
    def failed(self) -> int:
        """How many requests nobody answered."""
        return self.requests - sum(self.served.values())


@final
@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model of an endpoint: the calls that it got, how many of them in outages, its states, and its probes."""

    endpoint: str
    model: str
    calls: int
    calls_in_outages: int
    states: tuple[Span, ...]
    probes: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class OutageReport:
    """One outage. `back_after` is, for each agent whose primary it hit, the time from its end to the first answer of
    the primary; None where there was none.
    """

    outage: Outage
    back_after: Mapping[str, float | None]


@final
@dataclass(frozen=True, slots=True)
class Report:
    """Everything about a simulation."""

    duration: float
    every: float
    seed: int
    agents: tuple[AgentReport, ...]
    models: tuple[ModelReport, ...]
    outages: tuple[OutageReport, ...]
    failed: tuple[Failed, ...]
    events: tuple[Happened, ...]

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(agent.requests for agent in self.agents)

    @property
    def longest_wait(self) -> float:
        """How long the slowest request took."""
        return max((agent.longest_wait for agent in self.agents), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a dict that JSON can hold; instants and durations to the millisecond."""
        return {
            "duration": self.duration,
            "every": self.every,
            "seed": self.seed,
            "requests": self.requests,
            "failed": len(self.failed),
            "longest_wait": _ms(self.longest_wait),
            "agents": {agent.name: _agent_as_json(agent) for agent in self.agents},
            "models": [_model_as_json(model) for model in self.models],
            "outages": [_outage_as_json(outage) for outage in self.outages],
            "failures": [
                {
                    "agent": failed.agent,
                    "at": _ms(failed.at),
                    "after": _ms(failed.after),
                    "error": failed.error,
                    "reasons": list(failed.reasons),
                    "well": list(failed.well),
                }
                for failed in self.failed
            ],
            "events": [
                {"at": _ms(event.at), "event": event.what, "about": event.about, "detail": event.detail}
                for event in self.events
            ],
        }


def _agent_as_json(agent: AgentReport) -> dict[str, Any]:
    return {
        "routes": list(agent.routes),
        "requests": agent.requests,
        "failed": agent.failed,
        "served": dict(agent.served),
        "longest_wait": _ms(agent.longest_wait),
        "timeline": [_span_as_json("served_by", span) | {"requests": span.requests} for span in agent.spans],
        "handed_over_at": [_ms(at) for at in agent.handed_over_at],
        "returned_at": [_ms(at) for at in agent.returned_at],
    }


def _model_as_json(model: ModelReport) -> dict[str, Any]:
    return {
        "endpoint": model.endpoint,
        "model": model.model,
        "calls": model.calls,
        "calls_in_outages": model.calls_in_outages,
        "circuit": [_span_as_json("state", span) for span in model.states],
        "probes": [_ms(at) for at in model.probes],
    }


def _outage_as_json(report: OutageReport) -> dict[str, Any]:
    outage = report.outage
    return {
        "outage": outage.text,
        "endpoints": list(outage.endpoints),
        "model": outage.model,
        "since": _ms(outage.since),
        "until": None if math.isinf(outage.until) else _ms(outage.until),
        "back_after": {agent: None if after is None else _ms(after) for agent, after in report.back_after.items()},
    }


def _span_as_json(name: str, span: Span) -> dict[str, Any]:
    return {name: span.what, "since": _ms(span.since), "until": _ms(span.until)}


def _ms(seconds: float) -> float:
    return round(seconds, 3)


FAILED = "nobody"
"""Who serves an agent whose requests fail."""


def summed_up(scenario: Scenario, observed: Observed) -> Report:
    """Return what `observed` comes to."""
    names = {target: name for name, target in scenario.plan.endpoints.items()}
    agents = list[AgentReport]()
    failed = list[Failed]()
    backs: list[dict[str, float | None]] = [{} for _ in scenario.outages]
    for name, agent in scenario.plan.agents.items():
        asked = sorted((one for one in observed.asked if one.agent == name), key=lambda one: one.begun)
        places = [(names[route.target], route.model) for route in agent.routes]
        told = [event for event in observed.happened if event.about == name]
        agents.append(_agent(name, agent.routes, asked, told, scenario))
        failed += [_failed(one, agent.routes, places, scenario.outages) for one in asked if one.route is None]
        for outage, back in zip(scenario.outages, backs, strict=True):
            if outage.hits(*places[0]):
                back[name] = _back_after(outage, asked)
    return Report(
        scenario.duration,
        scenario.every,
        scenario.seed,
        tuple(agents),
        tuple(_models(scenario, observed)),
        tuple(OutageReport(outage, back) for outage, back in zip(scenario.outages, backs, strict=True)),
        tuple(sorted(failed, key=lambda one: one.at)),
        tuple(observed.happened),
    )


def route_names(routes: Sequence[Route]) -> tuple[str, ...]:
    """Return a name for each route: transport and model, and its number where two would have the same."""
    names = [f"{route.transport}/{route.model}" for route in routes]
    return tuple(f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1))


def _agent(
    name: str, routes: Sequence[Route], asked: Sequence[Asked], told: Iterable[Happened], scenario: Scenario
) -> AgentReport:
    named, told = route_names(routes), list(told)
    served = dict.fromkeys(named, 0)
    spans = list[Span]()
    for number, one in enumerate(asked):
        by = FAILED if one.route is None else named[one.route]
        if one.route is not None:
            served[by] += 1
        since = number * scenario.every
        until = min(since + scenario.every, scenario.duration)
        last = spans.pop() if spans and spans[-1].what == by else Span(by, since, until)
        spans.append(Span(by, last.since, until, last.requests + 1))
    return AgentReport(
        name,
        named,
        len(asked),
        served,
        tuple(spans),
        max((one.ended - one.begun for one in asked), default=0.0),
        tuple(event.at for event in told if event.what == "handed over"),
        tuple(event.at for event in told if event.what == "returned"),
    )


def _failed(
    one: Asked, routes: Sequence[Route], places: Sequence[tuple[str, str]], outages: Iterable[Outage]
) -> Failed:
    during = [outage for outage in outages if outage.since <= one.ended and one.begun < outage.until]
    well = [
        name
        for name, place in zip(route_names(routes), places, strict=True)
        if not any(outage.hits(*place) for outage in during)
    ]
    return Failed(one.agent, one.begun, one.ended - one.begun, one.error, one.reasons, tuple(well))


def _back_after(outage: Outage, asked: Iterable[Asked]) -> float | None:
    answered = [one.ended for one in asked if one.route == 0 and one.ended >= outage.until]
    return min(answered) - outage.until if answered else None


def _models(scenario: Scenario, observed: Observed) -> Iterable[ModelReport]:
    for endpoint, target in scenario.plan.endpoints.items():
        routes = [route for agent in scenario.plan.agents.values() for route in agent.routes if route.target == target]
        for model in dict.fromkeys(route.model for route in routes):
            calls = [call.at for call in observed.calls[endpoint] if call.model == model]
            outages = [outage for outage in scenario.outages if outage.hits(endpoint, model)]
            yield ModelReport(
                endpoint,
                model,
                len(calls),
                sum(any(outage.since <= at < outage.until for outage in outages) for at in calls),
                tuple(_states(endpoint, model, observed.changed, scenario.duration)),
                tuple(at for at, place, probed in observed.probes if place == endpoint and probed in {None, model}),
            )


def _states(endpoint: str, model: str, changed: Iterable[Changed], duration: float) -> Iterable[Span]:
    since, state = 0.0, State.CLOSED
    for change in changed:
        if (change.endpoint, change.model) != (endpoint, model) or change.at >= duration:
            continue
        if change.at > since:
            yield Span(state, since, change.at)
        since, state = change.at, change.state
    yield Span(state, since, duration)
