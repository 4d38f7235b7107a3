"""How the gateway is reached, as the settings say: by whom, and what its clients may call a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from ..providers import Problem
from ._settings import Settings
from ._values import OF_GATEWAY

if TYPE_CHECKING:
    from pydantic import SecretStr


@final
@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """The names of models that clients insist on, and the agents that they mean; hosts and origins that are let in
    beside loopback; the proxies that are believed whom they ask for; the token, or where it is kept if it is not set.
    With `is_set` any of it was.
    """

    token_path: Path
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    token: SecretStr | None = None
    is_set: bool = False


def alias_problems(aliases: Mapping[str, str], agents: Iterable[str]) -> list[Problem]:
    """Say which aliases mean no agent, or have the name of another one."""
    known, problems = {name.lower(): name for name in agents}, list[Problem]()
    for alias, agent in aliases.items():
        if agent.lower() not in known:
            remedy = f"{agent!r} is none: use one of {', '.join(known.values())}"
            problems.append(Problem("GATEWAY_ALIASES", f"an agent for {alias!r}", remedy))
        elif known.get(alias.lower(), agent).lower() != agent.lower():
            problems.append(Problem("GATEWAY_ALIASES", "names that no agent has", f"{alias!r} is one: leave it out"))
    return problems


def gateway_access(settings: Settings) -> GatewayAccess:
    """Return how the gateway is reached."""
    return GatewayAccess(
        settings.understudy_token_file,
        settings.gateway_aliases,
        settings.gateway_hosts,
        settings.gateway_origins,
        settings.gateway_trusted_proxies,
        settings.understudy_token,
        is_set=not OF_GATEWAY.isdisjoint(settings.model_fields_set),
    )
