"""What somebody does to a circuit by hand, and how a circuit is named in an address. Pure.

    openai at https://api.openai.com/v1                      the whole endpoint
    openai at https://api.openai.com/v1 / gpt-5.4-mini       one model there
    credential of openai at https://api.openai.com/v1        its credential: shown, and reset with its endpoint

No endpoint's name holds ` / `, for no base URL holds a space, and none begins with `credential of `, for it begins with
its transport. So a key is read in one way, whatever a model is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from ..actors import Key, Layer
from ..providers import decode_body

BETWEEN, CREDENTIAL = " / ", "credential of "

LONGEST = 86400.0
"""The most seconds for which a circuit is set by hand (chosen; a day: nothing stays forced by accident, R-CB-9)."""

USUAL = 3600.0
"""The seconds for which it is set where nobody says (R-CB-9)."""

Kind: TypeAlias = Literal["open", "closed", "reset"]


@final
@dataclass(frozen=True, slots=True)
class Action:
    """What is done to a circuit; `lasts_for` is in seconds, and means nothing for a reset."""

    kind: Kind
    lasts_for: float = USUAL


def key_text(key: Key) -> str:
    """Return what a circuit is called in JSON and in addresses, where it is percent-encoded."""
    match key.layer:
        case Layer.ENDPOINT:
            return key.endpoint
        case Layer.MODEL:
            return f"{key.endpoint}{BETWEEN}{key.model}"
        case Layer.CREDENTIAL:
            return CREDENTIAL + key.endpoint


def parse_key(text: str) -> Key:
    """Return the circuit that is called so; whether there is one is another question.

    Raises:
        ValueError: Nothing is called so.
    """
    if text.startswith(CREDENTIAL):
        return Key(text.removeprefix(CREDENTIAL), Layer.CREDENTIAL)
    endpoint, between, model = text.partition(BETWEEN)
    if not endpoint or (between and not model):
        raise ValueError("a circuit is named by its endpoint, or by its endpoint, ' / ' and a model")
    return Key(endpoint, Layer.MODEL, model) if between else Key(endpoint, Layer.ENDPOINT)


def read_action(body: bytes) -> Action:
    """Return what the body of a `POST /circuits/{key}` asks for: `{"action": "open|closed|reset", "for": seconds}`.

    Raises:
        ValueError: It asks for nothing that can be done; says what can.
    """
    asked = decode_body(body)
    if asked.keys() - {"action", "for"}:
        raise ValueError("the body is a JSON object with action and for, and nothing else")
    if asked.get("action") not in get_args(Kind):
        raise ValueError(f"action is one of {', '.join(get_args(Kind))}")
    lasts_for = asked.get("for", USUAL)
    if isinstance(lasts_for, bool) or not isinstance(lasts_for, int | float) or not 0 < lasts_for <= LONGEST:
        raise ValueError(f"for is a number of seconds above 0, at most {LONGEST:g}")
    return Action(asked["action"], float(lasts_for))
