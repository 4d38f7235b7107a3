"""Notes: what is no mistake in a chain, but would surprise whoever relies on its fallback.

A fallback inherits nothing from the primary, and another vendor's wire cannot express everything; the day of an outage
is a bad day to learn either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from ..providers import inexpressible, left_out
from ._plan import AgentPlan, Route
from ._unprotected import WHY, clear_address
from ._values import PARAMETER_OF

_VENDORS: dict[str, str] = {"claude": "anthropic", "gemini": "gemini", "gpt-": "openai"}
"""Whose models have names that begin so, at the vendors' own addresses; a gateway may call them what it likes."""

_SETTING_OF = {parameter: setting.upper() for setting, parameter in PARAMETER_OF.items()}


def notes(agent: AgentPlan) -> tuple[str, ...]:
    """Return what is worth knowing of an agent's chain, one sentence each, in the order of its routes."""
    if not agent.routes:
        return ()
    primary, *fallbacks = agent.routes
    found = [*_elsewhere(primary), *_unsent(primary)]
    for fallback in fallbacks:
        found += [
            *_elsewhere(fallback),
            *_unsent(fallback),
            *_not_inherited(primary, fallback),
            *_gaps(primary, fallback),
        ]
    most = primary.policy.attempts
    if len(agent.routes) > most:
        found.append(f"{len(agent.routes)} routes are more than LLM_RETRY_ATTEMPTS={most}: each is tried, none twice")
    return tuple(found)


def without_fallback(agents: Iterable[AgentPlan]) -> tuple[str, ...]:
    """Return the names of the agents that have a primary alone, whatever was meant to be behind it."""
    return tuple(agent.name for agent in agents if len(agent.routes) == 1)


def _name(route: Route) -> str:
    return f"{route.transport} {route.model}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _elsewhere(route: Route) -> Iterable[str]:
    """Yield what makes it likely that a route does not lead where it should, or not as it should."""
    vendor = next((vendor for begin, vendor in _VENDORS.items() if route.model.lower().startswith(begin)), None)
    if vendor not in {None, route.transport} and route.wants_key:
        yield f"{_name(route)}: a model of that name is {vendor}'s; TRANSPORT={vendor} leads there"
    if address := clear_address(route):
        yield f"{_name(route)}: {address} ({route.variables.base_url}) {WHY}"
    url = route.target.base_url
    if route.transport != "anthropic" and not urlsplit(url).path:
        yield f"{_name(route)}: {url} has no path; most servers that speak like OpenAI want {url}/v1"


def _unsent(route: Route) -> Iterable[str]:
    dropped = left_out(route.transport, route.target.base_url, route.model, route.parameters)
    if dropped:
        settings = _listed(_SETTING_OF.get(name, name) for name in dropped)
        yield f"{_name(route)}: {settings} cannot be expressed there, and {_are(dropped)} not sent"


def _not_inherited(primary: Route, fallback: Route) -> Iterable[str]:
    missing = {
        _SETTING_OF[name] for name in primary.parameters if name in _SETTING_OF and name not in fallback.parameters
    }
    if missing:
        settings = f"{_listed(missing)} {_are(missing)}"
        yield f"{_name(fallback)}: {settings} set for the primary only; a fallback inherits nothing"


def _gaps(primary: Route, fallback: Route) -> Iterable[str]:
    here = inexpressible(primary.transport, primary.target.base_url, primary.model)
    there = inexpressible(fallback.transport, fallback.target.base_url, fallback.model)
    if lost := there - here:
        yield f"{_name(fallback)}: a request's {_listed(lost)} {_are(lost)} lost there; the primary takes it"
