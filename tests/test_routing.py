"""Routing: what follows an attempt that failed, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import Verdict
from understudy.supervisor import Policy
from understudy.supervisor._routing import (
    Again,
    Failed,
    HandOver,
    Next,
    Progress,
    Raise,
    after,
    backoff,
    share,
)

FIRST_OF_TWO = Progress(routes=2, attempts=1, tries=1)
LAST_OF_TWO = Progress(routes=2, route=1, attempts=2, tries=1)
ALONE = Progress(routes=1, attempts=1, tries=1)
AND_NUDGE = Again(0.0, in_place=True, nudges=True)
NUDGED = Progress(routes=2, attempts=1, tries=1, nudges=1)
PLAIN, IN_PLACE = Policy(), Policy(in_place_retries=1)
NEVER = Policy(hand_over_refused=False)

P, T, V = Verdict.PROVIDER, Verdict.THROTTLED, Verdict


@pytest.mark.parametrize(
    ("failed", "progress", "policy", "expected"),
    [
        # a route is left: the next one, at once
        (Failed(P), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(T, retry_after=30), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.CONNECT), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.TIMEOUT), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.CUT_SHORT), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.EMPTY), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.QUOTA), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.LOCAL_OVERLOAD), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        # empty in a tool run: once more, with a word; never at the cost of a route's attempt
        (Failed(V.EMPTY), NUDGED, PLAIN, AND_NUDGE),
        (Failed(V.EMPTY), Progress(routes=1, attempts=1, tries=1, nudges=1), PLAIN, AND_NUDGE),
        (Failed(V.EMPTY), Progress(routes=1, attempts=1, tries=1), PLAIN, Raise.NOW),
        (Failed(V.EMPTY, retry_forbidden=True), NUDGED, PLAIN, HandOver.NOW),
        (Failed(V.EMPTY), Progress(routes=3, attempts=1, tries=1, nudges=1), PLAIN, HandOver.NOW),
        (Failed(V.EMPTY), Progress(routes=1, attempts=3, tries=3, nudges=1), PLAIN, Raise.NOW),
        (Failed(V.MALFORMED), NUDGED, PLAIN, HandOver.NOW),
        # the request is at fault, or we are: nobody else is asked
        (Failed(V.CALLER), FIRST_OF_TWO, PLAIN, Raise.NOW),
        (Failed(V.CAPABILITY), FIRST_OF_TWO, PLAIN, Raise.NOW),
        (Failed(V.POLICY), FIRST_OF_TWO, PLAIN, Raise.NOW),
        (Failed(V.LOCAL_CONFIG), FIRST_OF_TWO, PLAIN, Raise.NOW),
        (Failed(V.STOPPED), FIRST_OF_TWO, PLAIN, Raise.NOW),
        # refused: as it is set
        (Failed(V.AUTH), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.NOT_FOUND), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        (Failed(V.AUTH), FIRST_OF_TWO, NEVER, Raise.NOW),
        (Failed(V.AUTH), LAST_OF_TWO, PLAIN, Raise.NOW),
        # the last route: again after a backoff, if that may help
        (Failed(P), LAST_OF_TWO, PLAIN, Again(0.125)),
        (Failed(P), ALONE, PLAIN, Again(0.125)),
        (Failed(P), Progress(routes=1, attempts=2, tries=2), PLAIN, Again(0.25)),
        (Failed(P), Progress(routes=1, attempts=3, tries=3), PLAIN, Raise.NOW),
        (Failed(P), Progress(routes=1, attempts=3, tries=3), Policy(attempts=9), Raise.NOW),
        (Failed(V.CONNECT), ALONE, PLAIN, Again(0.125)),
        (Failed(V.TIMEOUT), ALONE, PLAIN, Raise.NOW),
        (Failed(V.MALFORMED), ALONE, PLAIN, Raise.NOW),
        (Failed(V.QUOTA, retry_after=1), ALONE, PLAIN, Raise.NOW),
        (Failed(P, retry_forbidden=True), ALONE, PLAIN, Raise.NOW),
        # a hint is honoured there, within reason
        (Failed(T, retry_after=7), ALONE, PLAIN, Again(7)),
        (Failed(T, retry_after=0), ALONE, PLAIN, Again(0.125)),
        (Failed(T, retry_after=61), ALONE, PLAIN, Raise.NOW),
        # once, on the same route
        (Failed(V.CONFLICT), FIRST_OF_TWO, PLAIN, Again(0.55)),
        (Failed(V.CONFLICT), Progress(2, attempts=2, tries=2, retried_once=True), PLAIN, HandOver.NOW),
        (Failed(V.CONFLICT, retry_forbidden=True), FIRST_OF_TWO, PLAIN, HandOver.NOW),
        # in place, if it is set and cheap
        (Failed(P), FIRST_OF_TWO, IN_PLACE, Again(0.125, in_place=True)),
        (Failed(T, retry_after=3), FIRST_OF_TWO, IN_PLACE, Again(3, in_place=True)),
        (Failed(T, retry_after=3.5), FIRST_OF_TWO, IN_PLACE, HandOver.NOW),
        (Failed(P), Progress(2, attempts=2, tries=2, retried_in_place=1), IN_PLACE, HandOver.NOW),
        (Failed(V.AUTH), FIRST_OF_TWO, IN_PLACE, HandOver.NOW),
        (Failed(P), FIRST_OF_TWO, Policy(attempts=2, in_place_retries=1), HandOver.NOW),
        # a bug of ours takes no third route with it
        (Failed(V.INTERNAL), Progress(3, attempts=1, tries=1, internal=1), PLAIN, HandOver.NOW),
        (Failed(V.INTERNAL), Progress(3, route=1, attempts=2, tries=1, internal=2), PLAIN, Raise.NOW),
        # no retry takes the attempt of a route that was not asked yet
        (Failed(V.CONFLICT), Progress(3, attempts=1, tries=1), PLAIN, HandOver.NOW),
        (Failed(V.CONFLICT), Progress(3, attempts=1, tries=1), Policy(attempts=4), Again(0.55)),
        (Failed(P), Progress(3, attempts=1, tries=1), IN_PLACE, HandOver.NOW),
        (
            Failed(P),
            Progress(3, attempts=1, tries=1),
            Policy(attempts=4, in_place_retries=1),
            Again(0.125, in_place=True),
        ),
        # a connection that leads to the wrong host: once more on another, then nobody else is asked
        (Failed(V.STALE_CONNECTION), FIRST_OF_TWO, PLAIN, Again(0.55)),
        (Failed(V.STALE_CONNECTION), Progress(2, attempts=2, tries=2, retried_once=True), PLAIN, Raise.NOW),
        # opted in
        (Failed(V.CAPABILITY), FIRST_OF_TWO, Policy(opted_in=frozenset({V.CAPABILITY})), HandOver.NOW),
        (Failed(V.POLICY), FIRST_OF_TWO, Policy(opted_in=frozenset({V.CAPABILITY})), Raise.NOW),
        # the budget is never less than one attempt per route
        (Failed(P), Progress(5, route=3, attempts=4, tries=1), PLAIN, HandOver.NOW),
        (Failed(P), Progress(5, route=4, attempts=5, tries=1), PLAIN, Raise.NOW),
    ],
)
def test_what_follows_a_failure(failed: Failed, progress: Progress, policy: Policy, expected: Next) -> None:
    """Each row says who is asked next, and after how many seconds (with a draw of one half)."""
    assert after(failed, progress, policy, remaining=100, rand=lambda: 0.5) == expected


def test_no_wait_outlasts_the_callers_timeout() -> None:
    """A retry that could only come too late is not waited for."""
    assert after(Failed(T, retry_after=7), ALONE, PLAIN, remaining=7.01, rand=lambda: 0.5) == Again(7)
    assert after(Failed(T, retry_after=7), ALONE, PLAIN, remaining=7, rand=lambda: 0.5) is Raise.NOW


def test_a_wait_leaves_time_for_the_routes_after_it() -> None:
    """Where somebody else could answer, at most half of what remains is spent on waiting."""
    hinted = Failed(T, retry_after=2)
    assert after(hinted, FIRST_OF_TWO, IN_PLACE, remaining=4, rand=lambda: 0.5) == Again(2, in_place=True)
    assert after(hinted, FIRST_OF_TWO, IN_PLACE, remaining=3.9, rand=lambda: 0.5) is HandOver.NOW
    assert after(Failed(V.CONFLICT), FIRST_OF_TWO, PLAIN, remaining=1, rand=lambda: 0.5) is HandOver.NOW


def test_backoff_doubles_up_to_four_seconds_with_full_jitter() -> None:
    """The ceiling doubles from 0.25 s to 4 s; the draw takes any part of it."""
    assert [backoff(tries, lambda: 1.0) for tries in range(1, 8)] == [0.25, 0.5, 1, 2, 4, 4, 4]
    assert backoff(5, lambda: 0.0) == 0


@pytest.mark.parametrize(
    ("limit", "remaining", "left", "expected"),
    [
        (180, 600, 1, (180, False)),
        (180, 600, 2, (180, False)),
        (180, 300, 2, (150, True)),
        (180, 5, 2, (2.5, True)),
        (180, 5, 1, (5, True)),
        (180, 180, 1, (180, False)),
        (180, -1, 2, (0, True)),
    ],
)
def test_an_attempt_gets_its_share_of_what_remains(
    limit: float, remaining: float, left: int, expected: tuple[float, bool]
) -> None:
    """The smaller of the attempt's limit and an n-th of the time left; and whose limit it is."""
    assert share(limit, remaining, left) == expected


@given(
    st.lists(st.sampled_from(list(Verdict)), max_size=30),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 1),
    st.integers(0, 2),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_request_ends_within_its_budget(
    verdicts: list[Verdict], routes: int, attempts: int, in_place: int, nudges: int
) -> None:
    """Whatever fails and how, there are at most max(attempts, routes) attempts, and routes are only left forwards."""
    policy, progress = Policy(attempts, in_place), Progress(routes, nudges=nudges)
    for verdict in verdicts:
        progress = Progress(
            routes,
            progress.route,
            progress.attempts + 1,
            progress.tries + 1,
            progress.retried_once,
            progress.retried_in_place,
            progress.internal + (verdict is Verdict.INTERNAL),
            progress.nudges,
        )
        match after(Failed(verdict), progress, policy, 100, lambda: 0.5):
            case Raise():
                break
            case HandOver():
                assert progress.has_next
                progress = Progress(
                    routes, progress.route + 1, progress.attempts, internal=progress.internal, nudges=progress.nudges
                )
            case Again(wait, nudges=nudged):
                assert 0 <= wait < 100
                assert progress.nudges >= nudged
                left = progress.nudges - nudged
                progress = Progress(
                    routes, progress.route, progress.attempts, progress.tries, True, 1, progress.internal, left
                )
    assert progress.attempts <= max(attempts, routes)
