"""The pure health of an endpoint: who may go ahead, and what the end of an attempt changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.actors import Health, Outcome, Phase, Refused, outcome
from understudy.actors._health import admit, settle
from understudy.providers import Verdict

FREE = Health(capacity=2)


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        (FREE, Health(2, ticket=1, in_flight=1), None),
        (Health(2, ticket=7, in_flight=1), Health(2, ticket=8, in_flight=2), None),
        (Health(2, ticket=7, in_flight=2), Health(2, ticket=7, in_flight=2), Refused.FULL),
        (replace(FREE, phase=Phase.DRAINING), replace(FREE, phase=Phase.DRAINING), Refused.STOPPED),
        (replace(FREE, phase=Phase.STOPPED), replace(FREE, phase=Phase.STOPPED), Refused.STOPPED),
        (replace(FREE, phase=Phase.DEAD), replace(FREE, phase=Phase.DEAD), Refused.DEAD),
    ],
)
def test_admission(before: Health, after: Health, refused: Refused | None) -> None:
    """An attempt gets a place and a new ticket, or is refused and changes nothing."""
    assert admit(before) == (after, refused)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.OK, Outcome.SUCCESS),
        (Verdict.PROVIDER, Outcome.FAILURE),
        (Verdict.CONNECT, Outcome.FAILURE),
        (Verdict.AUTH, Outcome.FAILURE),
        (Verdict.THROTTLED, Outcome.NEUTRAL),
        (Verdict.CALLER, Outcome.NEUTRAL),
        (Verdict.NO_VERDICT, Outcome.NEUTRAL),
        (Verdict.STOPPED, Outcome.NEUTRAL),
        (Verdict.CUT_SHORT, Outcome.NEUTRAL),
        (Verdict.INTERNAL, Outcome.NEUTRAL),
    ],
)
def test_outcomes(verdict: Verdict, expected: Outcome) -> None:
    """Only what counts against somebody is a failure; a caller who left is neutral."""
    assert outcome(verdict) is expected


def test_settling_counts_once_and_frees_the_place() -> None:
    """Each end frees one place and counts under its outcome; only a success is remembered with its instant."""
    busy = Health(capacity=9, ticket=3, in_flight=3)
    busy = settle(busy, Verdict.OK, 5.0)
    busy = settle(busy, Verdict.PROVIDER, 6.0)
    busy = settle(busy, Verdict.NO_VERDICT, 7.0)
    assert busy == Health(9, ticket=3, succeeded=1, failed=1, neutral=1, last_success_at=5.0)


@given(st.lists(st.sampled_from(["admit", *Verdict]), max_size=60), st.integers(1, 5))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_places_are_never_lost_or_invented(events: list[str], capacity: int) -> None:
    """Whatever happens, in flight is admissions minus ends, within the capacity, and tickets only rise."""
    health, admitted, ended = Health(capacity), 0, 0
    for event in events:
        if event == "admit":
            after, refused = admit(health)
            assert (refused is None) == (health.in_flight < capacity)
            assert after.ticket == health.ticket + (refused is None)
            health, admitted = after, admitted + (refused is None)
        elif health.in_flight:
            health, ended = settle(health, Verdict(event), 0.0), ended + 1
        assert health.in_flight == admitted - ended
    assert health.succeeded + health.failed + health.neutral == ended
