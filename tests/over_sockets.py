"""A supervisor over real sockets: simulated vendors on loopback, the real SDK clients, no network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import SecretStr

import understudy
from understudy import Agent, AgentSettings, RouteSettings, Settings, Supervisor
from understudy.simulation import Script, SimulatedServer, simulated_server
from understudy.supervisor import Hook

KEY = "sk-test-0123456789"


def route_to(transport: str, server: SimulatedServer, *, key: str = KEY) -> RouteSettings:
    """Make a route to a simulated vendor."""
    url = server.anthropic_url if transport == "anthropic" else server.openai_url
    return RouteSettings(transport=transport, model=f"{transport}-model", base_url=url, api_key=SecretStr(key))


@asynccontextmanager
async def opened(
    *scripts: tuple[str, Script], route: dict[str, Any] | None = None, hooks: Iterable[Hook] = (), **settings: Any
) -> AsyncIterator[tuple[Agent, Supervisor, list[SimulatedServer]]]:
    """Open a supervisor with one agent whose routes are (transport, script), each with a server of its own."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(simulated_server(script)) for _, script in scripts]
        routes = [
            route_to(transport, server).model_copy(update=route or {})
            for (transport, _), server in zip(scripts, servers, strict=True)
        ]
        agent = AgentSettings(primary=routes[0], fallbacks=tuple(routes[1:]))
        configured = Settings.in_code(agents={"deriver": agent}, **settings)
        supervisor = await stack.enter_async_context(
            understudy.open_supervisor(configured, rand=lambda: 0.5, drain_for=2, hooks=hooks)
        )
        yield supervisor.agent("deriver"), supervisor, servers
