"""What is simulated: a configuration, the outages it meets, and who asks how often. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from ..providers import ConfigurationError, Problem, suggestion
from ..supervisor import Plan
from ._outages import LATENCY, TIME, Outage, Place, as_time, near_time, read_outages, seconds
from ._script import Answer, Script

REQUESTS_MAX = 200_000
"""Requests of one simulation (chosen: about a minute, and some hundred megabytes)."""

USUAL_FOR, QUIET_FOR = 300.0, 120.0
"""Seconds that a simulation lasts, and at least after its last outage, unless its length is given (chosen: a circuit
is never open for longer than half a minute, and a return is to be seen)."""


@final
@dataclass(frozen=True, slots=True)
class Simulation:
    """What is to be simulated, as it is written on the command line.

    Args:
        outages: Such as `openai 503 from 10s for 1m`; without any, the primary of the first agent answers 503 in the
            second fifth of the time.
        agents: Names; without any, all of them ask.
        duration: How long they go on asking; without one, 5m, or until 2m after the last outage.
        every: How often each agent asks, whether or not it has been answered.
        seed: Decides what is left to chance: the same seed, the same report.
    """

    outages: Sequence[str] = ()
    agents: Sequence[str] = ()
    duration: str | None = None
    every: str = "4s"
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """A simulation that is understood; `duration` and `every` are in seconds."""

    plan: Plan
    outages: tuple[Outage, ...]
    duration: float
    every: float
    seed: int

    def script(self, endpoint: str) -> Script:
        """Return what an endpoint does. Its answers hold its name, so that everybody knows who answered."""
        phases = []
        for outage in self.outages:
            phase = outage.phase
            if isinstance(phase.behaviour, Answer):
                phase = replace(phase, behaviour=replace(phase.behaviour, text=endpoint))
            if endpoint in outage.endpoints:
                phases.append(phase)
        return Script(tuple(phases), Answer(endpoint, LATENCY))


def understood(simulation: Simulation, plan: Plan) -> Scenario:
    """Return what `simulation` comes to for a plan.

    Raises:
        ConfigurationError: Something is not understood; lists all of it.
    """
    problems = list[Problem]()
    plan = _chosen(simulation.agents, plan, problems)
    every = _time("every", simulation.every, problems)
    given = None if simulation.duration is None else _time("duration", simulation.duration, problems)
    outages, wrong = read_outages(simulation.outages or _usual(plan, given or USUAL_FOR), places(plan))
    problems += wrong
    edges = [edge for outage in outages for edge in (outage.since, outage.until) if not math.isinf(edge)]
    duration = given or max(USUAL_FOR, max(edges, default=0.0) + QUIET_FOR)
    problems += [_late(outage) for outage in outages if outage.since >= duration]
    if not problems and duration / every * len(plan.agents) > REQUESTS_MAX:
        problems.append(Problem("every", f"at most {REQUESTS_MAX} requests in all", "ask less often, or for less long"))
    if problems:
        raise ConfigurationError(problems)
    return Scenario(plan, outages, duration, every, simulation.seed)


def _usual(plan: Plan, duration: float) -> tuple[str, ...]:
    fifth = as_time(min(duration, 1e6) / 5)
    return (f"{next(iter(places(plan)))} 503 from {fifth} for {fifth}",)


def places(plan: Plan) -> dict[str, Place]:
    """Return every endpoint of a plan by its name, with the models that are asked there."""
    routes = [route for agent in plan.agents.values() for route in agent.routes]
    return {
        name: Place(target, tuple(dict.fromkeys(route.model for route in routes if route.target == target)))
        for name, target in plan.endpoints.items()
    }


def _chosen(names: Sequence[str], plan: Plan, problems: list[Problem]) -> Plan:
    known = plan.agents
    for name in names:
        if name.lower() not in known:
            remedy = suggestion(name.lower(), known).lstrip("; ") or "name some of them"
            problems.append(Problem(f"agent {name!r}", f"one of {', '.join(known)}", remedy))
    if problems or not names:
        return plan
    wanted = {name.lower() for name in names}
    return replace(plan, agents={name: agent for name, agent in known.items() if name in wanted})


def _time(what: str, text: str, problems: list[Problem]) -> float:
    found = seconds(text)
    if found is None:
        problems.append(Problem(f"{what} {text!r}", TIME, near_time(text)))
    return found or math.inf


def _late(outage: Outage) -> Problem:
    return Problem(
        f"outage {outage.text!r}", "an outage that begins before the end", "let it begin earlier, or simulate longer"
    )
