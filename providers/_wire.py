"""What both wires share: the rendered request, and the error for an answer that breaks its wire's rules."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from ._json import decode
from ._judge import judge, read_evidence
from ._request import EFFORTS, Effort, Parameters, Response
from ._stream import ContentEvent, Partial
from ._verdicts import Verdict


@final
@dataclass(frozen=True, slots=True)
class Rendered:
    """A request as its wire wants it: the body, and the names of the parameters it cannot express."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


@final
class WireError(Exception):
    """An HTTP 200 that is no answer: `verdict` says what it is instead.

    `answer` is there if it is one after all to whoever gets it as it came: it holds nothing that has a neutral form.
    """

    def __init__(self, verdict: Verdict, message: str, answer: Response | None = None) -> None:
        super().__init__(message)
        self.verdict, self.message, self.answer = verdict, message, answer


class Reading(Protocol):
    """One answer, read from the events of its stream by the rules of its wire. After an error it is of no more use.

    `response` is the whole answer, as soon as there is one. `is_complete` says that nothing of its content is missing,
    though tokens may still be told: from now on a cut connection is no failure. `extra` says that more content came
    after the end; it is ignored. `choices` is how many answers were asked for at once: only a relayed request asks for
    more than one, of which the first is read, and the others are waited for. `foreign` counts the events whose content
    has no neutral form, or none before more has come (proofs of thinking).
    """

    response: Response | None
    is_complete: bool
    extra: bool
    choices: int
    foreign: int

    @property
    def partial(self) -> Partial:
        """What has come so far."""

    def feed(self, event: str, data: bytes) -> Sequence[ContentEvent]:
        """Return the content in one event: its name, empty if it has none, and its data.

        Raises:
            WireError: The provider reports an error, or breaks the rules of its wire, or the whole answer is none.
        """
        ...

    def end(self) -> None:
        """Take note that the stream has ended: where the answer is complete there is a `response` now.

        Raises:
            WireError: It is not complete, `TRUNCATED`; or the whole answer is none.
        """
        ...


def json_object(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        WireError: It is something else; `MALFORMED`, and says what.
    """
    kind = f" ({content_type})" if content_type and "json" not in content_type.lower() else ""
    try:
        parsed = decode(body)
    except ValueError:
        if body.lstrip()[:1] == b"<":
            raise WireError(Verdict.MALFORMED, f"the answer is an HTML page{kind}: check the base URL") from None
        what = "something that is not JSON" if body else "nothing"
        raise WireError(Verdict.MALFORMED, f"the answer is {what}{kind}") from None
    if kind:
        raise WireError(Verdict.MALFORMED, f"the answer is not said to be JSON{kind}")
    if not isinstance(parsed, dict):
        raise WireError(Verdict.MALFORMED, "the answer is JSON, but no object")
    return parsed


def reported(data: bytes) -> WireError:
    """Return what a stream's own report of an error means, under a 200."""
    evidence = read_evidence(200, data, None)
    return WireError(judge(evidence), evidence.message or "the stream reports an error, but not which")


def malformed(what: str) -> WireError:
    """Return the error for a stream that breaks its wire's rules: `what` it holds."""
    return WireError(Verdict.MALFORMED, f"the stream holds {what}")


def truncated(what: str) -> WireError:
    """Return the error for a stream that ended without `what` ends an answer."""
    return WireError(Verdict.TRUNCATED, f"the stream ended without {what}")


def stops(parameters: Parameters) -> list[str]:
    """Return the stop sequences as a list."""
    stop = parameters.get("stop", ())
    return [stop] if isinstance(stop, str) else list(stop)


_BUDGETS: tuple[tuple[int, Effort], ...] = ((1, "none"), (2048, "low"), (8192, "medium"))
"""Thinking tokens below which an effort fits; above the last one it is `high` (chosen: a quarter apart)."""


def effort_for(budget: int) -> Effort:
    """Return the effort that comes closest to a thinking budget, in tokens."""
    return next((effort for below, effort in _BUDGETS if budget < below), "high")


def nearest(effort: Effort, known: Sequence[Effort]) -> Effort:
    """Return `effort` if the model knows it, else the next lower one that it knows, else its lowest.

    Args:
        known: The efforts a model knows, rising; at least one.
    """
    lower = [level for level in known if EFFORTS.index(level) <= EFFORTS.index(effort)]
    return lower[-1] if lower else known[0]


def legal_id(identity: str, legal: re.Pattern[str]) -> str:
    """Return a tool call's id as a wire takes it: unchanged if it matches `legal`, else rewritten.

    The rewritten id depends on the id alone, so that call and result still meet and a growing conversation keeps its
    beginning; it ends in a hash (64 bits), so that two ids do not become one. It fits into 40 characters.
    """
    if legal.fullmatch(identity):
        return identity
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_UNUSUAL.sub('_', identity)[:23]}_{digest}"


_UNUSUAL = re.compile(r"[^a-zA-Z0-9_-]")


def whole(value: object) -> int | None:
    """Return a count of tokens, or None when the provider sent none that makes sense."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
