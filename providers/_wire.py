"""What both wires share: the rendered request, and the error for an answer that breaks its wire's rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from ._json import decode
from ._request import Parameters
from ._verdicts import Verdict


@final
@dataclass(frozen=True, slots=True)
class Rendered:
    """A request as its wire wants it: the body, and the names of the parameters it cannot express."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


@final
class WireError(Exception):
    """An HTTP 200 that is no answer: `verdict` says what it is instead."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict, self.message = verdict, message


def json_object(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        WireError: It is something else; `MALFORMED`, and says what.
    """
    kind = f" ({content_type})" if content_type and "json" not in content_type.lower() else ""
    try:
        parsed = decode(body)
    except ValueError:
        what = "an HTML page" if body.lstrip()[:1] == b"<" else "something that is not JSON" if body else "nothing"
        raise WireError(Verdict.MALFORMED, f"the answer is {what}{kind}") from None
    if kind:
        raise WireError(Verdict.MALFORMED, f"the answer is not said to be JSON{kind}")
    if not isinstance(parsed, dict):
        raise WireError(Verdict.MALFORMED, "the answer is JSON, but no object")
    return parsed


def stops(parameters: Parameters) -> list[str]:
    """Return the stop sequences as a list."""
    stop = parameters.get("stop", ())
    return [stop] if isinstance(stop, str) else list(stop)


def whole(value: object) -> int | None:
    """Return a count of tokens, or None when the provider sent none that makes sense."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
