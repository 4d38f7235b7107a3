"""Where a gateway listens, and which token it has, as environment and `.env` say for all commands alike.

`serve` makes a token where there is none, and so does `token`; `status` only reads it.
"""

from __future__ import annotations

from .gateway import GatewayToken, gateway_token, held_token
from .gateway._token import PATH_VARIABLE, VARIABLE
from .providers import ConfigurationError
from .supervisor import GatewayAccess, Plan, load

HOST, PORT = "127.0.0.1", 4100
"""Where `understudy serve` listens unless it is told otherwise."""

URL = f"http://{HOST}:{PORT}"

_HIDING = (VARIABLE, PATH_VARIABLE, ".env")
"""What a mistake hides the token with: another one must not be taken in its place."""


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
    hiding = [problem for problem in plan.problems if problem.variable.startswith(_HIDING)]
    if hiding:
        raise ConfigurationError(hiding)
    return access_of(plan)
