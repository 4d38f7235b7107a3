"""What a client of the gateway is told when there is no answer: a status, words, and whether to ask again. Pure.

A provider's own words about a request that is at fault go through as they are. After everybody has been asked, asking
once more at once would be a second layer of retries: `x-should-retry` says so to the vendors' SDKs, which heed it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from ..providers import (
    ActorStoppedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    AttemptError,
    HandOver,
    StreamInterruptedError,
    TimeoutExceededError,
    UnderstudyError,
    outward_status,
)
from ._values import Headers

STOPPING = "the gateway is stopping"

STOPPING_FOR = 1.0
"""Seconds after which a client of a gateway that stops may ask again: somebody else may listen there then (chosen)."""


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no answer. `code` and `parameter` are the provider's own words; `retry_after` is in seconds;
    `is_final` says that asking again at once is of no use.
    """

    status: int
    said: str
    code: str | None = None
    parameter: str | None = None
    retry_after: float | None = None
    is_final: bool = False

    @property
    def headers(self) -> Headers:
        """The headers that say when to ask again."""
        hint = () if self.retry_after is None else (("retry-after", str(max(math.ceil(self.retry_after), 0))),)
        return (*hint, ("x-should-retry", "false")) if self.is_final else hint


INTERNAL = Refused(500, "the gateway failed; its log says why")


def refused(error: Exception) -> Refused:
    """Return what a client is told of an error."""
    match error:
        case AttemptError():
            return _of_attempt(error)
        case AllAttemptsFailedError():
            return Refused(error.status, str(error), retry_after=error.retry_after, is_final=True)
        case AllRoutesClosedError():
            return Refused(503, str(error), retry_after=error.retry_after)
        case TimeoutExceededError():
            return Refused(504, str(error), is_final=True)
        case ActorStoppedError():
            return Refused(503, STOPPING, retry_after=STOPPING_FOR)
        case StreamInterruptedError():
            return Refused(error.verdict.rule.outward or 502, str(error))
        case UnderstudyError():
            return Refused(500, str(error))
        case _:
            return INTERNAL


def _of_attempt(error: AttemptError) -> Refused:
    failure = error.failure
    is_clients = failure.status is not None and error.verdict.rule.hand_over in {HandOver.NO, HandOver.OPT_IN}
    return Refused(
        outward_status(error.verdict, failure.status),
        failure.said if is_clients and failure.said else str(error),
        failure.codes[0] if failure.codes else None,
        failure.parameter or None,
        failure.retry_after,
        is_final=failure.retry_after is None,
    )
