"""The agents that clients are tried on, one for each scenario and each wire that its provider speaks, over simulated
vendors on loopback. Time is real.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import final

from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings, Supervisor
from understudy.simulation import Answer, Behaviour, Script, SimulatedServer, Status, simulated_server

WIRES = ("openai", "anthropic")
FAUST = Answer("Johann Wolfgang von Goethe.")

SCENARIOS: Mapping[str, tuple[Behaviour, ...]] = {
    "well": (FAUST,),
    "down": (Status(503), FAUST),
    "lone": (Status(503),),
    "rejects": (Status(400),),
    "slow": (Answer("one two three four", every=30),),
    "tools": (Answer(None, rounds=1),),
    "shaped": (Answer('{"name": "Goethe", "born": 1749}'),),
}
"""What the providers of an agent do, in the order of its routes. The first speaks the wire that the agent is named
after, `well.openai`; the next one the other wire.
"""

AGENTS = tuple(f"{scenario}.{wire}" for scenario in SCENARIOS for wire in WIRES)


@final
@dataclass(frozen=True, slots=True)
class Upstream:
    """What the providers of an agent have seen: how often each was asked, how many requests they are answering, and how
    many were left before they were answered.
    """

    asked: list[int]
    in_flight: int
    left: int

    def as_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return asdict(self)


@final
class Stage:
    """A supervisor and the vendors behind its agents."""

    def __init__(self, supervisor: Supervisor, servers: Mapping[str, list[SimulatedServer]]) -> None:
        self.supervisor, self._servers = supervisor, servers

    def upstream(self, agent: str) -> Upstream:
        """Return what the providers of an agent have seen.

        Raises:
            KeyError: There is no such agent.
        """
        servers = self._servers[agent]
        return Upstream(
            [len(server.received) for server in servers],
            sum(server.in_flight for server in servers),
            sum(server.left for server in servers),
        )


@asynccontextmanager
async def staged(agents: Iterable[str] = AGENTS) -> AsyncIterator[Stage]:
    """Open a supervisor with those agents, each with vendors of its own.

    A lone route is asked once, and no circuit trips: what one test does is not seen by the next.
    """
    async with AsyncExitStack() as stack:
        servers: dict[str, list[SimulatedServer]] = {}
        settings: dict[str, AgentSettings] = {}
        for agent in agents:
            scenario, _, wire = agent.partition(".")
            behaviours = SCENARIOS[scenario]
            wires = (wire, *(other for other in WIRES if other != wire))[: len(behaviours)]
            servers[agent] = [
                await stack.enter_async_context(simulated_server(Script.always(behaviour))) for behaviour in behaviours
            ]
            primary, *fallbacks = (route_to(*pair) for pair in zip(wires, servers[agent], strict=True))
            settings[agent] = AgentSettings(primary=primary, fallbacks=tuple(fallbacks))
        configured = Settings.in_code(agents=settings, retry_attempts=1, circuit_trip_after=1_000_000)
        supervisor = await stack.enter_async_context(understudy.open_supervisor(configured, drain_for=2))
        yield Stage(supervisor, servers)


def route_to(wire: str, server: SimulatedServer) -> RouteSettings:
    """Make a route to a simulated vendor."""
    url = server.anthropic_url if wire == "anthropic" else server.openai_url
    return RouteSettings(transport=wire, model=f"{wire}-model", base_url=url, api_key=SecretStr("sk-test-0123456789"))
