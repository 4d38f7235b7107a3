"""Where a gateway listens, and which token it has, as environment and `.env` say for all commands alike.

`serve` makes a token where there is none, and so does `token`; `status` only reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

from .gateway import GatewayToken, gateway_token, held_token, is_loopback
from .gateway._token import PATH_VARIABLE, VARIABLE
from .providers import ConfigurationError, Problem
from .supervisor import GatewayAccess, Plan, load

HOST, PORT = "127.0.0.1", 4100
"""Where `understudy serve` listens unless it is told otherwise."""

URL = f"http://{HOST}:{PORT}"

_HIDING = (VARIABLE, PATH_VARIABLE, ".env")
"""What a mistake hides the token with: another one must not be taken in its place."""


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """What `understudy serve` finds at its start. `token` is a file where there is none yet: it is made there; and None
    where it has a mistake, which stands in `problems`, unless it is one of the settings.
    """

    host: str
    access: GatewayAccess
    token: GatewayToken | Path | None
    problems: tuple[Problem, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no mistake, but would surprise whoever relies on it, one sentence each."""
        found = list[str]()
        if self.is_local and isinstance(self.token, GatewayToken) and (weakness := self.token.weakness):
            found.append(f"its token could be guessed, for {weakness}: beyond loopback it is refused")
        if not self.is_local and not self.access.hosts:
            found.append("only loopback's names are answered: set GATEWAY_HOSTS to those that clients call it by")
        return tuple(found)


def reach(plan: Plan, host: str | None) -> Reach | None:
    """Look at what `understudy serve` would find, and make nothing; None if nothing says that a gateway is wanted.

    Args:
        host: Where it is to listen; None: where it does by itself, and only if any of it is set, or was ever begun.
    """
    access = access_of(plan)
    if host is None and not access.is_set and not os.path.lexists(access.token_path):
        return None
    host = host or HOST
    if _hiding(plan):
        return Reach(host, access, None)
    try:
        token = held_token(access.token, access.token_path, beyond_loopback=not is_loopback(host))
    except ConfigurationError as error:
        return Reach(host, access, None, error.problems)
    return Reach(host, access, token or access.token_path)


def access_of(plan: Plan) -> GatewayAccess:
    """Return how the gateway of a configuration is reached."""
    assert plan.gateway is not None  # noqa: S101 - every plan that is loaded has it
    return plan.gateway


def made_token() -> GatewayToken:
    """Return the gateway's token; one is made if there is none yet.

    Raises:
        ConfigurationError: It cannot be read or made.
    """
    access = _access()
    return gateway_token(access.token, access.token_path)


def known_token() -> GatewayToken | None:
    """Return the gateway's token; None if none has been made yet.

    Raises:
        ConfigurationError: It cannot be read.
    """
    access = _access()
    return held_token(access.token, access.token_path)


def _access() -> GatewayAccess:
    plan = load()
    if hiding := _hiding(plan):
        raise ConfigurationError(hiding)
    return access_of(plan)


def _hiding(plan: Plan) -> list[Problem]:
    return [problem for problem in plan.problems if problem.variable.startswith(_HIDING)]
