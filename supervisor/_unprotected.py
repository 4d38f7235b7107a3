"""Where requests leave this machine in the clear: a base URL with plain HTTP that is not the loopback's (R-GW-9). Pure.

It may well be meant so, in a network that is trusted; so it is no mistake, and is said once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final
from urllib.parse import urlsplit

from ..providers import is_this_machine
from ._plan import AgentPlan, Route


@final
@dataclass(frozen=True, slots=True)
class Unprotected:
    """An address, without its path, that is spoken to in the clear: the variable that set it, and for which agents."""

    variable: str
    transport: str
    address: str
    agents: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.variable}: {self.transport} at {self.address} {WHY}"


WHY = "is plain HTTP beyond this machine: whoever is on the way reads key, prompts and answers"


def unprotected(agents: Iterable[AgentPlan]) -> tuple[Unprotected, ...]:
    """Return every such address once for each variable that set it, in the order of the routes."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for agent in agents:
        for route in agent.routes:
            if address := clear_address(route):
                found.setdefault((route.variables.base_url, route.transport, address), {})[agent.name] = None
    return tuple(Unprotected(*key, tuple(names)) for key, names in found.items())


def clear_address(route: Route) -> str:
    """Return the address to which a route leads in the clear, without its path; empty if none."""
    url = urlsplit(route.target.base_url)
    is_clear = url.scheme == "http" and not is_this_machine(url.hostname or "")
    return f"http://{url.netloc}" if is_clear else ""
