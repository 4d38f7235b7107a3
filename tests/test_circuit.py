"""Circuits and holds: every transition as a row, and what is true whatever happens. Windows, blame, budget, network."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.actors._budget import RetryBudget
from understudy.actors._circuit import (
    Circuit,
    Closed,
    HalfOpen,
    Holding,
    Open,
    Outcome,
    Recent,
    Standing,
    Terms,
    Tripping,
    extend,
    reopens_at,
    settle,
    standing,
    take,
)
from understudy.actors._events import EndpointEvent, HoldPlaced, Key, Layer, ProbeStarted
from understudy.actors._gate import Bar, CircuitPolicy, Gate
from understudy.actors._health import Refused
from understudy.actors._holds import counts, hold
from understudy.actors._network import Network
from understudy.actors._window import Buckets, Window
from understudy.providers import Blame, Verdict

SUCCESS, FAILURE, NEUTRAL = Outcome.SUCCESS, Outcome.FAILURE, Outcome.NEUTRAL
FREE, PROBE, BARRED = Standing.FREE, Standing.PROBE, Standing.BARRED

OPEN = Open(until=10.0, level=1, at=0.0, since=3)
FREED = HalfOpen(since=5, probe=None, lease_until=26.0, until=10.0, level=1, at=0.0)
PROBED = HalfOpen(since=5, probe=6, lease_until=26.0, until=10.0, level=1, at=0.0)
EARLY = HalfOpen(since=5, probe=5, lease_until=26.0, until=20.0, level=1, at=0.0)


@pytest.mark.parametrize(
    ("circuit", "now", "is_now", "reopens"),
    [
        (Closed(), 0.0, FREE, 0.0),
        (Closed(since=9, run=1, level=3, at=8.0), 8.0, FREE, 0.0),
        (OPEN, 9.999, BARRED, 10.0),
        (OPEN, 10.0, PROBE, 10.0),
        (FREED, 10.0, PROBE, 0.0),
        (PROBED, 25.999, BARRED, 26.0),
        (PROBED, 26.0, PROBE, 26.0),
        (EARLY, 12.0, BARRED, 26.0),
    ],
)
def test_who_may_go_ahead(circuit: Circuit, now: float, is_now: Standing, reopens: float) -> None:
    """Everybody while it is closed, nobody before an open one's time, and one at a time after it."""
    assert standing(circuit, now) is is_now
    assert reopens_at(circuit) == reopens


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Closed(since=2), Closed(since=2)),
        (OPEN, HalfOpen(7, 7, 28.0, until=10.0, level=1, at=0.0)),
        (FREED, HalfOpen(5, 7, 28.0, until=10.0, level=1, at=0.0)),
        (PROBED, HalfOpen(5, 7, 28.0, until=10.0, level=1, at=0.0)),
    ],
)
def test_an_attempt_takes_the_place_of_the_probe(before: Circuit, after: Circuit) -> None:
    """The first one of a half-open circuit is remembered, also when others take the place after it."""
    assert take(before, 7, 28.0) == after


T, TWICE, ALWAYS = Tripping(), Tripping(passes=2), Tripping(trip_after=1)
BUSY = Recent(lately=10, calls=10, failures=4)
H = Holding(first=5.0, longest=60.0)


@pytest.mark.parametrize(
    ("before", "ticket", "outcome", "now", "terms", "recent", "after"),
    [
        # closed: failures are counted, until they are enough
        (Closed(), 1, FAILURE, 4.0, T, Recent(1, 1, 1), Closed(run=1)),
        (Closed(run=1), 2, FAILURE, 4.0, T, Recent(2, 2, 2), Open(14.0, 1, 4.0)),
        (Closed(run=1), 2, SUCCESS, 4.0, T, Recent(2, 2, 1), Closed()),
        (Closed(), 2, SUCCESS, 4.0, T, Recent(2, 2, 0), Closed()),
        (Closed(run=1), 2, NEUTRAL, 4.0, T, Recent(), Closed(run=1)),
        (Closed(since=5, run=1), 5, FAILURE, 4.0, T, Recent(2, 2, 2), Open(14.0, 1, 4.0, 5)),
        (Closed(since=5, run=1), 4, FAILURE, 4.0, T, Recent(), Closed(since=5, run=1)),
        (Closed(since=5, run=1), 4, SUCCESS, 4.0, T, Recent(), Closed(since=5, run=1)),
        # where calls are many, a rate or a longer run is what counts
        (Closed(run=1), 2, FAILURE, 4.0, T, BUSY, Closed(run=2)),
        (Closed(run=1), 2, FAILURE, 4.0, T, Recent(9, 10, 4), Open(14.0, 1, 4.0)),
        (Closed(run=1), 2, FAILURE, 4.0, T, Recent(10, 10, 5), Open(14.0, 1, 4.0)),
        (Closed(run=1), 2, FAILURE, 4.0, T, Recent(10, 9, 9), Closed(run=2)),
        (Closed(run=4), 2, FAILURE, 4.0, T, BUSY, Open(14.0, 1, 4.0)),
        (Closed(), 2, FAILURE, 4.0, ALWAYS, BUSY, Open(14.0, 1, 4.0)),
        # the level: one more each time, one less for each 300 s closed, never below 0; the longest opening is 25 s
        (Closed(run=1, level=1), 2, FAILURE, 299.0, T, Recent(), Open(319.0, 2, 299.0)),
        (Closed(run=1, level=1), 2, FAILURE, 300.0, T, Recent(), Open(310.0, 1, 300.0)),
        (Closed(run=1, level=3), 2, FAILURE, 650.0, T, Recent(), Open(670.0, 2, 650.0)),
        (Closed(run=1, level=1), 2, FAILURE, 1e12, T, Recent(), Open(1e12 + 10.0, 1, 1e12)),
        (Closed(run=1, level=2), 2, FAILURE, 0.0, T, Recent(), Open(25.0, 3, 0.0)),
        (Closed(run=1, level=99), 2, FAILURE, 0.0, T, Recent(), Open(25.0, 100, 0.0)),
        (Closed(run=1), 2, FAILURE, 4.0, Tripping(spread=0.8), Recent(), Open(12.0, 1, 4.0)),
        (Closed(run=1), 2, FAILURE, 4.0, Tripping(grows=False), Recent(), Open(14.0, 1, 4.0)),
        (Closed(run=1, level=3), 2, FAILURE, 4.0, Tripping(grows=False), Recent(), Open(14.0, 3, 4.0)),
        # open: nothing that was admitted before says anything
        (OPEN, 3, SUCCESS, 4.0, T, Recent(), OPEN),
        (OPEN, 3, FAILURE, 4.0, T, Recent(), OPEN),
        (OPEN, 3, NEUTRAL, 14.0, T, Recent(), OPEN),
        # half-open: any success since the first probe counts, else only what the probe says
        (PROBED, 6, SUCCESS, 14.0, T, Recent(), Closed(since=5, level=1, at=14.0)),
        (PROBED, 5, SUCCESS, 14.0, T, Recent(), Closed(since=5, level=1, at=14.0)),
        (PROBED, 4, SUCCESS, 14.0, T, Recent(), PROBED),
        (FREED, 5, SUCCESS, 14.0, T, Recent(), Closed(since=5, level=1, at=14.0)),
        (PROBED, 6, SUCCESS, 14.0, TWICE, Recent(), HalfOpen(5, None, 26.0, 10.0, 1, 0.0, passes=1)),
        (PROBED, 5, SUCCESS, 14.0, TWICE, Recent(), HalfOpen(5, 6, 26.0, 10.0, 1, 0.0, passes=1)),
        (HalfOpen(5, 6, 26.0, 10.0, 1, 0.0, passes=1), 6, SUCCESS, 14.0, TWICE, Recent(), Closed(5, 0, 1, 14.0)),
        (PROBED, 6, FAILURE, 14.0, T, Recent(), Open(34.0, 2, 0.0, 5)),
        (PROBED, 6, FAILURE, 14.0, Tripping(grows=False), Recent(), Open(24.0, 1, 0.0, 5)),
        (PROBED, 6, FAILURE, 99.0, T, Recent(), Open(119.0, 2, 0.0, 5)),
        (PROBED, 5, FAILURE, 14.0, T, Recent(), PROBED),
        (PROBED, 6, NEUTRAL, 14.0, T, Recent(), HalfOpen(5, None, 26.0, 10.0, 1, 0.0)),
        (PROBED, 5, NEUTRAL, 14.0, T, Recent(), PROBED),
        (FREED, 5, NEUTRAL, 14.0, T, Recent(), FREED),
        # an early probe: before the time only its success changes anything
        (EARLY, 5, SUCCESS, 14.0, T, Recent(), Closed(since=5, level=1, at=14.0)),
        (EARLY, 5, FAILURE, 14.0, T, Recent(), Open(20.0, 1, 0.0, 5)),
        (EARLY, 5, NEUTRAL, 14.0, T, Recent(), Open(20.0, 1, 0.0, 5)),
        (EARLY, 5, FAILURE, 20.0, T, Recent(), Open(40.0, 2, 0.0, 5)),
        (EARLY, 5, NEUTRAL, 20.0, T, Recent(), HalfOpen(5, None, 26.0, 20.0, 1, 0.0)),
        # a hold: the first ask bars, each in a row for longer, time forgets nothing and a success all
        (Closed(), 1, FAILURE, 4.0, H, Recent(), Open(9.0, 1, 4.0)),
        (Closed(), 1, FAILURE, 4.0, Holding(5.0, 60.0, 7.0), Recent(), Open(11.0, 1, 4.0)),
        (Closed(), 1, FAILURE, 4.0, Holding(5.0, 60.0, 0.0), Recent(), Open(9.0, 1, 4.0)),
        (Closed(since=2), 1, FAILURE, 4.0, H, Recent(), Closed(since=2)),
        (Closed(level=1), 1, FAILURE, 999.0, H, Recent(), Open(1009.0, 2, 999.0)),
        (PROBED, 6, FAILURE, 14.0, H, Recent(), Open(24.0, 2, 0.0, 5)),
        (HalfOpen(5, 6, 26.0, 10.0, 9, 0.0), 6, FAILURE, 14.0, H, Recent(), Open(74.0, 10, 0.0, 5)),
        (HalfOpen(5, 6, 26.0, 10.0, 9, 0.0), 6, SUCCESS, 14.0, H, Recent(), Closed(since=5, at=14.0)),
        (PROBED, 6, NEUTRAL, 14.0, H, Recent(), HalfOpen(5, None, 26.0, 10.0, 1, 0.0)),
    ],
)
def test_what_an_end_changes(
    before: Circuit, ticket: int, outcome: Outcome, now: float, terms: Terms, recent: Recent, after: Circuit
) -> None:
    """Each row is one transition; where nothing changes, the very same value comes back."""
    got = settle(before, ticket, outcome, now, terms, recent)
    assert got == after
    assert (got is before) == (after == before)


@pytest.mark.parametrize(
    ("before", "ticket", "until", "after"),
    [
        (OPEN, 3, 11.0, Open(11.0, 1, 0.0, 3)),
        (OPEN, 3, 10.0, OPEN),
        (OPEN, 3, 9.0, OPEN),
        (OPEN, 2, 11.0, OPEN),
        (Closed(), 3, 11.0, Closed()),
        (PROBED, 6, 11.0, PROBED),
    ],
)
def test_a_new_reason_only_extends(before: Circuit, ticket: int, until: float, after: Circuit) -> None:
    """What is open stays so until the later instant; whoever was admitted before the last change is not heard."""
    assert extend(before, ticket, until) == after


Step = tuple[bool, int, Outcome | None, float]
POLICIES = st.builds(Tripping, st.integers(1, 3), passes=st.integers(1, 3))
STEPS = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 3), st.sampled_from([None, *Outcome]), st.sampled_from([0.0, 1.0, 10.0, 400.0])
    ),
    max_size=40,
)


def played(steps: list[Step], terms: Tripping) -> tuple[Circuit, int, float, int]:
    """Let attempts come, end (None: never) and overtake each other; return where it leads, and the most probes at once.

    A step says whether its attempt goes ahead early, and which of those under way it is that ends, the newest first.
    """
    circuit: Circuit = Closed()
    now, ticket, most = 0.0, 0, 0
    under_way: list[int] = []
    leases: dict[int, float] = {}
    for early, which, outcome, wait in steps:
        now, ticket = now + wait, ticket + 1
        early = early and isinstance(circuit, Open)
        if early or standing(circuit, now) is not BARRED:
            if early or standing(circuit, now) is PROBE:
                leases[ticket] = now + 16.0
                circuit = take(circuit, ticket, now + 16.0)
            under_way.append(ticket)
        most = max(most, sum(at in leases and leases[at] > now for at in under_way))
        if outcome is not None and under_way:
            ended = under_way.pop(-1 - which % len(under_way))
            circuit = settle(circuit, ended, outcome, now, terms)
            if isinstance(circuit, Closed):
                leases.clear()
    return circuit, ticket, now, most


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS, POLICIES)
def test_it_is_never_stuck(steps: list[Step], terms: Tripping) -> None:
    """Wherever it is, once good answers come it closes: after its time and its probes, whatever never ended before."""
    circuit, ticket, now, _ = played(steps, terms)
    for _ in range(terms.passes):
        now, ticket = max(now, reopens_at(circuit)), ticket + 1
        assert standing(circuit, now) is not BARRED
        if standing(circuit, now) is PROBE:
            circuit = take(circuit, ticket, now + 16.0)
        circuit = settle(circuit, ticket, SUCCESS, now, terms)
    assert isinstance(circuit, Closed)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS, POLICIES)
def test_there_is_one_probe_at_most(steps: list[Step], terms: Tripping) -> None:
    """However attempts come and end, two of them never hold the place of the probe at once."""
    assert played(steps, terms)[-1] <= 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS, POLICIES, st.sampled_from(Outcome))
def test_a_late_outcome_changes_nothing(steps: list[Step], terms: Tripping, outcome: Outcome) -> None:
    """What was admitted before the last change is not heard."""
    circuit, _, now, _ = played(steps, terms)
    assert settle(circuit, circuit.since - 1, outcome, now, terms) is circuit


@pytest.mark.parametrize(
    ("added", "now", "total", "lately"),
    [
        ([], 0.0, 0, 0),
        ([0.0], 4.9, 1, 1),
        ([0.0], 9.9, 1, 1),
        ([0.0], 10.0, 1, 0),
        ([4.9], 10.0, 1, 0),
        ([5.0], 10.0, 1, 1),
        ([0.0], 59.9, 1, 0),
        ([4.9], 60.0, 0, 0),
        ([0.0, 60.0], 60.0, 1, 1),
        ([0.0, 7.0, 7.0, 61.0, 64.0], 64.0, 4, 2),
        ([0.0], 1e12, 0, 0),
    ],
)
def test_calls_are_forgotten_bucket_by_bucket(added: list[float], now: float, total: int, lately: int) -> None:
    """The window is the bucket of 5 s at hand and the eleven before it; lately is that one and the one before."""
    buckets = Buckets(60.0)
    for at in added:
        buckets.add(at)
    assert (buckets.total(now), buckets.total(now, 10.0)) == (total, lately)


def test_less_than_a_bucket_is_one() -> None:
    """To look at no time at all is to look at the bucket at hand."""
    buckets = Buckets(60.0)
    buckets.add(0.0)
    assert buckets.total(1.0, 0.1) == 1


@pytest.mark.parametrize(
    ("last_calls", "recent"),
    [(None, Recent(2, 3, 2)), (2, Recent(2, 2, 1)), (50, Recent(2, 4, 3))],
)
def test_a_window_counts_by_time_or_by_calls(last_calls: int | None, recent: Recent) -> None:
    """The rate is that of a minute or of the last so many calls; lately is by time in both."""
    window = Window(60.0, last_calls)
    for at, failed in [(0.0, True), (30.0, True), (61.0, True), (62.0, False)]:
        window.add(at, failed=failed)
    assert window.recent(62.0) == recent


@pytest.mark.parametrize(
    ("verdict", "hint", "held", "counted"),
    [
        (Verdict.THROTTLED, None, (Blame.MODEL, Holding(5.0, 60.0)), Blame.NOBODY),
        (Verdict.THROTTLED, 7.0, (Blame.MODEL, Holding(5.0, 60.0, 7.0)), Blame.NOBODY),
        (Verdict.THROTTLED, 0.0, (Blame.MODEL, Holding(5.0, 60.0)), Blame.NOBODY),
        (Verdict.QUOTA, None, (Blame.CREDENTIAL, Holding(900.0, 3600.0)), Blame.NOBODY),
        (Verdict.QUOTA, 7.0, (Blame.CREDENTIAL, Holding(900.0, 3600.0, 7.0)), Blame.NOBODY),
        (Verdict.AUTH, 7.0, (Blame.CREDENTIAL, Holding(30.0, 600.0)), Blame.NOBODY),
        (Verdict.OVERLOADED, 7.0, (Blame.MODEL, Holding(7.0, 7.0, 7.0)), Blame.NOBODY),
        (Verdict.OVERLOADED, 0.0, None, Blame.MODEL),
        (Verdict.OVERLOADED, None, None, Blame.MODEL),
        (Verdict.PROVIDER, 7.0, (Blame.MODEL, Holding(7.0, 7.0, 7.0)), Blame.MODEL),
        (Verdict.EDGE, 7.0, (Blame.ENDPOINT, Holding(7.0, 7.0, 7.0)), Blame.ENDPOINT),
        (Verdict.CONFLICT, 7.0, (Blame.MODEL, Holding(7.0, 7.0, 7.0)), Blame.NOBODY),
        (Verdict.CONNECT, 7.0, None, Blame.ENDPOINT),
        (Verdict.CREDENTIAL, 7.0, None, Blame.NOBODY),
        (Verdict.CALLER, 7.0, None, Blame.NOBODY),
    ],
)
def test_which_end_puts_a_hold_on_whom(
    verdict: Verdict, hint: float | None, held: tuple[Blame, Holding] | None, counted: Blame
) -> None:
    """Who asks for time is held, and blamed only where more went wrong than that."""
    assert hold(verdict, hint) == held
    assert counts(verdict, hint) is counted


@pytest.mark.parametrize("hint", [None, 900.0])
def test_a_limit_of_the_account_holds_its_credential(hint: float | None) -> None:
    """No other model of the account answers either; the terms of the hold are the same."""
    assert hold(Verdict.THROTTLED, hint, of_account=True) == (Blame.CREDENTIAL, Holding(5.0, 60.0, hint))
    assert hold(Verdict.QUOTA, hint, of_account=True) == hold(Verdict.QUOTA, hint)


def test_retries_are_a_share_of_the_requests() -> None:
    """Three are always allowed, then a fifth of the requests of the last 10 s; after them the budget is whole again."""
    budget = RetryBudget()
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    for _ in range(20):
        budget.asked(1.0)
    assert [budget.take(1.0) for _ in range(2)] == [True, False]
    assert [budget.take(10.9) for _ in range(1)] == [False]
    assert [budget.take(12.0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("failed", "is_down"),
    [
        ([("a", 0.0)], False),
        ([("a", 0.0), ("a", 1.0)], False),
        ([("a", 0.0), ("b", 2.0)], True),
        ([("a", 0.0), ("b", 2.1)], False),
        ([("a", 0.0), ("b", 1.0), ("b", 9.0)], True),
    ],
)
def test_endpoints_that_fail_together_mean_our_own_network(failed: list[tuple[str, float]], is_down: bool) -> None:
    """Two within 2 s say that it is down, until anybody answers."""
    network = Network()
    network.answered()
    for endpoint, at in failed:
        network.failed(endpoint, at)
    assert network.is_down is is_down
    network.answered()
    assert not network.is_down


KEY = Key("https://vendor.example", Layer.MODEL, "model")


def held(*, failed: bool) -> tuple[Gate, list[EndpointEvent]]:
    """Return a gate that was asked for 5 s at the instant 0, and what it told."""
    told: list[EndpointEvent] = []
    gate = Gate(KEY, CircuitPolicy(trip_after=1), told.append)
    gate.ended(1, 0.0, "no", tripping=gate.tripping() if failed else None, holding=H)
    return gate, told


def test_a_bar_lasts_as_long_as_the_longer_of_circuit_and_hold() -> None:
    """A hold of 5 s does not promise an attempt after 5 s, when the circuit is open for 10."""
    gate, _ = held(failed=True)
    assert gate.bar(0.0, lone=False) == Bar(10.0, Refused.HOLD, "no")
    assert gate.bar(0.0, lone=True) is None  # nobody told a time: both are guesses of ours
    assert gate.bar(5.0, lone=False) == Bar(10.0, Refused.CIRCUIT, "no")


def test_a_hold_is_extended_by_what_it_would_be_now() -> None:
    """Who asks for time while it is barred adds to the row's present hold, and tells nobody anew."""
    gate, told = held(failed=False)
    gate.take(2, 5.0, 21.0)
    gate.ended(2, 6.0, "no", holding=H)
    before = list(told)
    gate.ended(3, 9.0, "still no", holding=H)
    assert gate.bar(9.0, lone=False) == Bar(19.0, Refused.HOLD, "still no")
    gate.ended(3, 10.0, "for less", holding=Holding(5.0, 60.0, 1.0))
    assert gate.bar(10.0, lone=False) == Bar(19.0, Refused.HOLD, "still no")
    assert told == before


def test_the_probe_of_a_hold_is_not_early() -> None:
    """Early is who did not wait for an open circuit; a hold that is over was waited for."""
    gate, told = held(failed=False)
    assert gate.take(2, 5.0, 21.0, early=True)
    assert told == [HoldPlaced(KEY, "no", 5.0), ProbeStarted(KEY, early=False)]
