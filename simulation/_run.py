"""Running a simulation: the real supervisor over simulated providers, in virtual time, and somebody who takes notes."""

from __future__ import annotations

import random
from math import inf
from typing import final

import anyio

from ..actors import (
    CircuitClosed,
    CircuitTripped,
    GateHealth,
    HoldEnded,
    HoldPlaced,
    ProbeStarted,
)
from ..providers import Provider, Target, UnderstudyError
from ..supervisor import (
    AccessRefused,
    Agent,
    Event,
    HandedOver,
    Returned,
    Settings,
    Supervisor,
    load,
    sound,
    supervise,
    without_keys,
)
from ._clock import run_virtual
from ._memory import ScriptedProvider
from ._outages import as_time
from ._report import Asked, Changed, Happened, Observed, Report, State, summed_up, worst
from ._scenario import Scenario, Simulation, places, understood
from ._script import Playback

SPREAD = 0.2
"""The part of `every` by which a request is late, at most: so that no two things happen at the same instant, and the
order of events does not depend on the backend (chosen)."""


def simulate(
    simulation: Simulation = Simulation(),  # noqa: B008 - frozen
    *,
    settings: Settings | None = None,
    backend: str = "asyncio",
) -> Report:
    """Run a configuration against outages in virtual time, and report what came of it. No network, no keys.

    Args:
        settings: What is configured; default: what environment and `.env` say. Keys may be missing.

    Raises:
        ConfigurationError: The configuration cannot work, or the simulation is not understood; lists every mistake.
    """
    scenario = understood(simulation, sound(without_keys(load(settings))))
    return run_virtual(play, scenario, backend=backend)


async def play(scenario: Scenario) -> Report:
    """Run a scenario in the event loop there is, whose clock should be virtual, and return when all is answered."""
    stage = _Stage(scenario)
    rand = random.Random(scenario.seed).random  # noqa: S311 - no secret
    hooks = (stage.heard,)  # their real time says nothing where time is virtual
    async with supervise(scenario.plan, connect=stage.connect, rand=rand, hooks=hooks, slow_after=inf) as supervisor:
        stage.supervisor = supervisor
        async with anyio.create_task_group() as agents:
            for name in scenario.plan.agents:
                agents.start_soon(stage.keep_asking, supervisor.agent(name))
    return summed_up(scenario, stage.observed)


@final
class _Stage:
    """The providers of a scenario, those who ask them, and the notes taken of it."""

    supervisor: Supervisor
    """Set before anybody asks, and so before anything happens."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._begun = scenario, anyio.current_time()
        self._names = {target: name for name, target in scenario.plan.endpoints.items()}
        self._places, self._states = places(scenario.plan), dict[tuple[str, str], State]()
        self.observed = Observed()

    def connect(self, target: Target) -> Provider:
        """Make the provider of an endpoint, which answers with the endpoint's name."""
        name = self._names[target]
        draws = random.Random(f"{self._scenario.seed} {name}")  # noqa: S311 - no secret
        playback = Playback(self._scenario.script(name), draws.random)
        self.observed.calls[name] = playback.log
        return ScriptedProvider(target, playback, self._begun)

    async def keep_asking(self, agent: Agent) -> None:
        """Ask again and again, answered or not, until the time is over."""
        every, duration = self._scenario.every, self._scenario.duration
        late = random.Random(f"{self._scenario.seed} {agent.name}")  # noqa: S311 - no secret
        async with anyio.create_task_group() as requests:
            number = 0
            while number * every < duration:
                await anyio.sleep_until(self._begun + every * (number + SPREAD * late.random()))
                requests.start_soon(self._ask, agent)
                number += 1

    async def _ask(self, agent: Agent) -> None:
        begun, route, error, reasons = self._now(), None, "", tuple[str, ...]()
        try:
            response = await agent.complete("Are you there?")
        except UnderstudyError as failed:
            error, reasons = type(failed).__name__, _reasons(failed)
        else:
            served = (response.text, response.model)
            routes = self._scenario.plan.agents[agent.name].routes
            route = [(self._names[route.target], route.model) for route in routes].index(served)
        self._look()
        self.observed.asked.append(Asked(agent.name, begun, self._now(), route, error, reasons))

    def heard(self, event: Event) -> None:
        """Take note of an event."""
        self._look()
        now = self._now()
        if isinstance(event, ProbeStarted):
            self.observed.probes.append((now, event.key.endpoint, event.key.model))
        told = _told(event)
        if told is not None:
            self.observed.happened.append(Happened(now, *told))

    def _look(self) -> None:
        """Take note of every model that is in another state than before."""
        for name, health in self.supervisor.health().items():
            for model in self._places[name].models:
                state = worst(health.endpoint, health.credential, health.models.get(model, GateHealth()))
                if self._states.get((name, model), State.CLOSED) is not state:
                    self._states[name, model] = state
                    self.observed.changed.append(Changed(self._now(), name, model, state))

    def _now(self) -> float:
        return anyio.current_time() - self._begun


def _reasons(error: UnderstudyError) -> tuple[str, ...]:
    """Return why each route did not answer."""
    attempts = [f"{a.transport}/{a.model}: {a.reason}" for a in getattr(error, "attempts", ())]
    passed = [f"{p.transport}/{p.model}: {p.reason}" for p in getattr(error, "passed_over", ())]
    return (*attempts, *passed)


def _told(event: Event) -> tuple[str, str, str] | None:
    """Return an event's name, whom it is about, and the rest; None for those that a report has elsewhere."""
    match event:
        case HandedOver(agent, _, fallback, reason):
            return "handed over", agent, f"to {fallback}: {reason}"
        case Returned(agent, primary, after):
            return "returned", agent, f"to {primary} after {as_time(after)}"
        case CircuitTripped(key, reason, open_for):
            return "circuit opened", str(key), f"for {as_time(open_for)}: {reason}"
        case ProbeStarted(key, early):
            return "probe", str(key), "before its time: nobody else can answer" if early else ""
        case CircuitClosed(key, after):
            return "circuit closed", str(key), f"after {as_time(after)}"
        case HoldPlaced(key, reason, hold_for):
            return "hold placed", str(key), f"for {as_time(hold_for)}: {reason}"
        case HoldEnded(key, after):
            return "hold ended", str(key), f"after {as_time(after)}"
        case AccessRefused(agent, _, _, reason):
            return "access refused", agent, reason
        case _:
            return None
