"""What an actor believes of its endpoint: who may go ahead, and what an attempt's end changes. Pure.

           admit: permit                 drain                  stop
  SERVING ───────────────▶ SERVING ────────────────▶ DRAINING ─────────▶ STOPPED
     │ bulkhead full: refusal               │ admit: refusal                  │ admit: refusal
     ▼                                      ▼                                 ▼

Circuits and holds belong here too and will join `admit` and `settle`; routing, waiting and clocks do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import final

from ..providers import Blame, Verdict


class Phase(StrEnum):
    """Where an endpoint is in its life."""

    SERVING = auto()
    DRAINING = auto()
    STOPPED = auto()
    DEAD = auto()
    """Its actor crashed too often; routed around until it is tried again."""


class Outcome(StrEnum):
    """What an attempt says about who was asked."""

    SUCCESS = auto()
    FAILURE = auto()
    NEUTRAL = auto()


class Refused(StrEnum):
    """Why an attempt may not go ahead."""

    FULL = "bulkhead full"
    STOPPED = "stopped"
    DEAD = "its actor crashed too often"


@final
@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot. `ticket` is the ordinal of the last admission; instants are monotonic seconds."""

    capacity: int
    phase: Phase = Phase.SERVING
    ticket: int = 0
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    neutral: int = 0
    last_success_at: float | None = None


def outcome(verdict: Verdict) -> Outcome:
    """Say what a verdict says about who was asked: only a failure that counts against somebody is one."""
    if verdict is Verdict.OK:
        return Outcome.SUCCESS
    return Outcome.NEUTRAL if verdict.rule.counts is Blame.NOBODY else Outcome.FAILURE


def admit(health: Health) -> tuple[Health, Refused | None]:
    """Say whether one more attempt may go ahead, and what the health becomes by asking.

    Returns:
        The next health, and None when the attempt has its place (its ticket is then `health.ticket`),
        else why it has not; the health is unchanged then.
    """
    if health.phase is Phase.DEAD:
        return health, Refused.DEAD
    if health.phase is not Phase.SERVING:
        return health, Refused.STOPPED
    if health.in_flight >= health.capacity:
        return health, Refused.FULL
    return replace(health, ticket=health.ticket + 1, in_flight=health.in_flight + 1), None


def settle(health: Health, verdict: Verdict, now: float) -> Health:
    """Return the health after an admitted attempt ended with `verdict`. Called once for each admission."""
    left = health.in_flight - 1
    match outcome(verdict):
        case Outcome.SUCCESS:
            return replace(health, in_flight=left, succeeded=health.succeeded + 1, last_success_at=now)
        case Outcome.FAILURE:
            return replace(health, in_flight=left, failed=health.failed + 1)
        case Outcome.NEUTRAL:
            return replace(health, in_flight=left, neutral=health.neutral + 1)
