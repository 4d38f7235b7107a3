"""What is done to circuits by hand, from outside."""

from __future__ import annotations

from ..actors import Layer
from ..supervisor import Supervisor
from ._keys import Action, parse_key

REASON = "by hand, through the gateway"
"""What the trail of a request says of a circuit that was set here."""


def act(supervisor: Supervisor, key: str, action: Action) -> None:
    """Open, close or reset the circuit that is called `key`, as `key_text` calls it.

    Raises:
        ValueError: There is no such circuit, or it is a credential's, which is reset with its endpoint.
    """
    meant = parse_key(key)
    if meant.layer is Layer.CREDENTIAL:
        raise ValueError("a credential is not set by hand: it is reset with its endpoint")
    if meant.endpoint not in supervisor.health():
        raise ValueError(f"there is no endpoint named {meant.endpoint!r}")
    match action.kind:
        case "open":
            supervisor.force_open(meant.endpoint, meant.model, reason=REASON, lasts_for=action.lasts_for)
        case "closed":
            supervisor.force_closed(meant.endpoint, meant.model, reason=REASON, lasts_for=action.lasts_for)
        case "reset":
            supervisor.reset(meant.endpoint, meant.model)
