"""Scenarios: a real supervisor with its actors over scripted providers in memory, in virtual time.

`run` asks once and reports who was asked when. At its end nothing may be left: no client open, no place taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, Unpack

import anyio

import understudy
from understudy import Agent, AgentSettings, Response, RouteSettings, Settings, Supervisor, UnderstudyError
from understudy.providers import Parameters
from understudy.simulation import Script, World
from understudy.supervisor import Hook, Tracer

NAMES = ("openai", "anthropic", "gemini", "lmstudio", "nous")


@dataclass(frozen=True)
class Got:
    """What came of one request: the answer or the error, who was asked when, and when it was over."""

    response: Response | None
    error: BaseException | None
    asked: list[tuple[str, float]]
    ended_at: float

    @property
    def text(self) -> str:
        """The text of the answer."""
        assert self.response is not None, self.error
        return self.response.text


def chain(*transports: str, **route: Any) -> AgentSettings:
    """Make an agent with a route for each transport, each at an address of its own."""
    routes = [
        RouteSettings(transport=name, model=f"{name}-model", base_url=f"http://{name}.test/v1", **route)
        for name in transports
    ]
    return AgentSettings(primary=routes[0], fallbacks=tuple(routes[1:]))


Opened: TypeAlias = tuple[Agent, Supervisor, World]
"""What a scenario plays with."""


@asynccontextmanager
async def opened(
    scripts: dict[str, Script],
    *,
    drain_for: float = 30.0,
    route: dict[str, Any] | None = None,
    hooks: Iterable[Hook] = (),
    tracers: Iterable[Tracer] = (),
    **settings: Any,
) -> AsyncIterator[Opened]:
    """Open a supervisor of one agent with a route per script, in order; check at the end that nothing is left."""
    world = World(scripts)
    configured = Settings.in_code(agents={"deriver": chain(*scripts, **(route or {}))}, **settings)
    async with understudy.open_supervisor(
        configured, connect=world.connect, rand=lambda: 0.5, drain_for=drain_for, hooks=hooks, tracers=tracers
    ) as supervisor:
        yield supervisor.agent("deriver"), supervisor, world
    assert not any(provider.open or provider.in_flight for provider in world.providers)
    assert all(health.in_flight == 0 for health in supervisor.health().values())


async def run(
    scripts: dict[str, Script], *, timeout: float | None = None, parameters: Parameters | None = None, **settings: Any
) -> Got:
    """Ask once, and report."""
    response, error = None, None
    async with opened(scripts, **settings) as (agent, _, world):
        try:
            response = await ask(agent, timeout=timeout, **(parameters or {}))
        except (UnderstudyError, OSError) as raised:
            error = raised
        ended_at = anyio.current_time()
    asked = [(name, call.at) for name in scripts for call in world.log(name)]
    return Got(response, error, sorted(asked, key=lambda entry: entry[1]), ended_at)


async def ask(agent: Agent, *, timeout: float | None = None, **parameters: Unpack[Parameters]) -> Response:
    """Ask the one question of all scenarios."""
    return await agent.complete("Who wrote Faust?", timeout=timeout, **parameters)
