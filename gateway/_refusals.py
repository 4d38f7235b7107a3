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
    StreamInterruptedError,
    TimeoutExceededError,
    UnderstudyError,
    UnreadableError,
    Verdict,
    outward_status,
)
from ._values import Headers

STOPPING = "no more is taken: it is stopping"
CUT_OFF = "the answer was cut off: the gateway is stopping"

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


OF_THE_HOP: frozenset[int] = frozenset(
    {
        407,  # Proxy Authentication Required: a client would show its credentials to a proxy of its own
        411,  # Length Required: it would frame its body anew
        417,  # Expectation Failed: it would ask again without `Expect`
        421,  # Misdirected Request: it would open another connection
        426,  # Upgrade Required: it would change its protocol
        505,  # HTTP Version Not Supported: as above
        511,  # Network Authentication Required: it would look for a captive portal in its own network
    }
)
"""What a provider says of the connection or the message that the gateway has sent it: no client can do anything about
that, and each would take it for its own. Told as a 502. Source: RFC 9110 sections 15.5.8, 15.5.12, 15.5.18, 15.5.20,
15.5.22 and 15.6.6; RFC 6585 section 6. Of 408 and 425 verdicts say the same."""

OF_CLIENTS = frozenset({Verdict.CALLER, Verdict.CAPABILITY, Verdict.POLICY})
"""What says that the request is at fault: then the provider's words are all there is to say."""

INTERNAL = Refused(500, "the gateway failed; its log says why")


def refused(error: Exception) -> Refused:
    """Return what a client is told of an error."""
    match error:
        case AttemptError():
            return _of_attempt(error)
        case AllAttemptsFailedError():
            return Refused(_status(error.status), str(error), retry_after=error.retry_after, is_final=True)
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
        case UnreadableError():
            return Refused(400, error.said, parameter=error.field or None, is_final=True)
        case _:
            return INTERNAL


def _of_attempt(error: AttemptError) -> Refused:
    failure = error.failure
    passed = (f"\n  not asked: {route.transport} {route.model}: {route.reason}" for route in error.passed_over)
    return Refused(
        _status(outward_status(error.verdict, failure.status)),
        failure.said if error.verdict in OF_CLIENTS and failure.said else str(error) + "".join(passed),
        next((code for code in failure.codes if not code.endswith("_error")), None),  # the others are types
        failure.parameter or None,
        failure.retry_after,
        is_final=failure.retry_after is None,
    )


def _status(status: int) -> int:
    return 502 if status in OF_THE_HOP else status
