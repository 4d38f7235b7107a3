"""The trail: what was tried, in order, and what was passed over. It holds no prompt and no secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ._verdicts import Verdict


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one request on one transport.

    `number` counts from 1. `start` is in seconds since the request began, `duration` and `first_token` in
    seconds since `start`; `first_token` is None where no stream was read. `reason` says why the attempt was
    left, and is empty for the one that answered. `dropped` names the parameters that this target cannot
    express and that were therefore not sent.
    """

    number: int
    transport: str
    model: str
    verdict: Verdict
    start: float
    duration: float
    status: int | None = None
    request_id: str | None = None
    first_token: float | None = None
    retry_after: float | None = None
    reason: str = ""
    dropped: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class PassedOver:
    """A route that was not asked: why, and in how many seconds it may be asked again (None: not known)."""

    transport: str
    model: str
    reason: str
    retry_after: float | None = None


def first_token(attempts: Sequence[Attempt]) -> float | None:
    """Return the seconds from the request's beginning to the first content of the last attempt; None if it read no
    stream.
    """
    last = attempts[-1] if attempts else None
    return None if last is None or last.first_token is None else last.start + last.first_token
