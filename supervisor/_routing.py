"""Routing: what follows an attempt that failed. Pure.

        verdict says no            ┌─────────────┐
   ───────────────────────────────▶│   Raise     │
   hand over, a route is left      ├─────────────┤
   ───────────────────────────────▶│  HandOver   │  at once, never after a wait
   "once", or in place, or the     ├─────────────┤
   last route and worth a retry,   │   Again     │  the same route, after `wait` seconds
   or empty in a tool run          │             │
   ───────────────────────────────▶└─────────────┘

What a verdict says stands in the failure table (`providers/_verdicts.py`); who may be asked at all, in the actors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias, final

from ..providers import HandOver as Rule
from ..providers import Retry, Verdict

FIRST_BACKOFF, LONGEST_BACKOFF = 0.25, 4.0
"""Seconds; full jitter below this, doubling (R-RT-2). Source: M. Brooker, "Exponential Backoff And Jitter", 2015."""

LAST_ROUTE_RETRIES = 2
"""Retries on the last route (R-RT-2)."""

LONGEST_WAIT = 60.0
"""Seconds that a hint may keep a caller waiting on the last route (chosen: the longest hold for a plain 429)."""

LONGEST_PROBE = 15.0
"""Seconds at most that a probe keeps its caller from the fallback (R-CB-6)."""

IN_PLACE_WAIT = 3.0
"""Seconds at most before a retry in place."""

ONCE_WAIT = (0.1, 1.0)
"""Seconds, between which the one retry of a conflict waits (as both SDKs do)."""


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that routing depends on: `attempts` is the least budget, whatever the number of routes; `opted_in`
    are the verdicts that are handed over only where that is set.
    """

    attempts: int = 3
    in_place_retries: int = 0
    hand_over_refused: bool = True
    opted_in: frozenset[Verdict] = frozenset()


@final
@dataclass(slots=True)
class Progress:
    """How far a request has come: what its course counts, and all else only reads. `tries` counts the attempts on the
    route at hand, `retried_once` its "once"; `internal` counts bugs of ours, whose victim no third route shall be
    (R-SUP-4). `nudges` are those left: an empty answer is worth as many further questions before it is handed over.
    """

    routes: int
    route: int = 0
    attempts: int = 0
    tries: int = 0
    retried_once: bool = False
    retried_in_place: int = 0
    internal: int = 0
    nudges: int = 0

    @property
    def routes_after(self) -> int:
        """How many routes come after the one at hand."""
        return self.routes - self.route - 1

    @property
    def has_next(self) -> bool:
        """Is there a route after the one at hand?"""
        return self.route + 1 < self.routes


@final
class Raise(Enum):
    """Nothing more is tried."""

    NOW = auto()


@final
class HandOver(Enum):
    """The next route is asked at once."""

    NOW = auto()


@final
@dataclass(frozen=True, slots=True)
class Again:
    """The same route is asked again after `wait` seconds; `in_place` keeps the permit: both tries are one outcome.
    `nudges` says that a word is added to the request: that the model should go on.
    """

    wait: float
    in_place: bool = False
    nudges: bool = False


Next: TypeAlias = Raise | HandOver | Again


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """What routing needs to know of a failure; `retry_after` is the provider's hint in seconds, `is_clear` says that
    nothing else stood against the route.
    """

    verdict: Verdict
    retry_after: float | None = None
    retry_forbidden: bool = False
    is_clear: bool = True


def after(failed: Failed, progress: Progress, policy: Policy, remaining: float, rand: Callable[[], float]) -> Next:
    """Say what follows `failed`.

    Args:
        remaining: Seconds until the caller's timeout; no wait is begun that would outlast it, or that would take more
            than half of it from the routes that are left.
        rand: Draws uniformly from [0, 1).
    """
    rule = failed.verdict.rule
    budget = max(policy.attempts, progress.routes) - progress.attempts
    if budget <= 0:
        return Raise.NOW
    may_retry = not failed.retry_forbidden and budget > progress.routes_after  # never at the cost of a route's attempt
    if may_retry and not progress.retried_once and rule.retry is Retry.ONCE:
        wait = ONCE_WAIT[0] + (ONCE_WAIT[1] - ONCE_WAIT[0]) * rand()
        if wait < _affordable(progress, remaining):
            return Again(wait)
    if may_retry and progress.nudges > 0 and failed.verdict is Verdict.EMPTY:
        return Again(0.0, in_place=True, nudges=True)
    if not _handed_over(failed.verdict, policy) or (progress.internal >= 2 and failed.verdict is Verdict.INTERNAL):
        return Raise.NOW
    if progress.has_next:
        in_place = _in_place(failed, progress, policy, remaining, rand) if may_retry else None
        return in_place or HandOver.NOW
    if rule.retry is Retry.LAST and may_retry and progress.tries <= LAST_ROUTE_RETRIES:
        hint = failed.retry_after if rule.hint and failed.retry_after is not None else 0.0
        wait = max(backoff(progress.tries, rand), hint)
        if worth_waiting(wait, progress, remaining):
            return Again(wait)
    return Raise.NOW


def _handed_over(verdict: Verdict, policy: Policy) -> bool:
    match verdict.rule.hand_over:
        case Rule.YES:
            return True
        case Rule.NO:
            return False
        case Rule.REFUSED:
            return policy.hand_over_refused
        case Rule.OPT_IN:
            return verdict in policy.opted_in


def backoff(tries: int, rand: Callable[[], float]) -> float:
    """Return how many seconds to wait after the given number of tries: full jitter, 0.25 s doubling to 4 s."""
    ceiling: float = min(FIRST_BACKOFF * 2 ** (tries - 1), LONGEST_BACKOFF)
    return ceiling * rand()


def _in_place(
    failed: Failed, progress: Progress, policy: Policy, remaining: float, rand: Callable[[], float]
) -> Again | None:
    """One cheap retry of the primary, if it is set and the wait is short; a route must be left to go to after it."""
    rule = failed.verdict.rule
    if progress.route != 0 or progress.retried_in_place >= policy.in_place_retries or not failed.is_clear:
        return None
    if rule.retry is not Retry.LAST:
        return None
    wait = failed.retry_after if failed.retry_after is not None else backoff(1, rand)
    return Again(wait, in_place=True) if wait <= min(IN_PLACE_WAIT, _affordable(progress, remaining)) else None


def _affordable(progress: Progress, remaining: float) -> float:
    """Return the seconds below which a wait is worth it: half of what remains while there is another route to go to."""
    return remaining / 2 if progress.has_next else remaining


def worth_waiting(wait: float, progress: Progress, remaining: float) -> bool:
    """Say whether a wait of so many seconds for a route leaves enough time to ask it."""
    return wait <= LONGEST_WAIT and wait < _affordable(progress, remaining)


def probe_limit(attempt: float, first_token: float, usual: float) -> float:
    """Return the seconds that a probe may take while there is another route to go to (R-CB-6).

    Args:
        usual: Seconds that a slow answer of this model takes when it is well: what is waited for is a whole answer,
            and a model that always takes longer than 15 s could otherwise never come back.
    """
    return min(attempt, max(min(first_token, LONGEST_PROBE), 1.5 * usual))


def share(limit: float, remaining: float, routes_left: int) -> tuple[float, bool]:
    """Return the seconds that one attempt may take, and whether it is the caller's timeout that says so.

    With n routes left an attempt gets the smaller of its own limit and an n-th of what remains (R-DL-2).
    """
    part = max(remaining, 0.0) / routes_left
    return (part, True) if part < limit else (limit, False)
