"""What a gateway shows of itself: counts, percentiles, spans, keys and updates, by exact numbers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from understudy import AgentSettings, RouteSettings, Settings, Verdict
from understudy.actors import CircuitState, GateHealth, Health
from understudy.credentials import Life, LoginHealth, Mode
from understudy.events import (
    CircuitClosed,
    CircuitTripped,
    Event,
    Forced,
    HandedOver,
    HoldPlaced,
    Key,
    Layer,
    ProbeStarted,
    RequestEnded,
    Returned,
)
from understudy.gateway import Action, key_text, merged, parse_key, read_action
from understudy.gateway._rates import LAST, SECONDS, Counter, percentiles
from understudy.gateway._seen import CHANGES, FAILURES, HANDOVERS, KEYS, SERIES, Change, Seen, changed
from understudy.gateway._status import About, Now, spans, state_of, view, whole
from understudy.gateway._updates import is_behind, update
from understudy.providers import Attempt, PassedOver
from understudy.supervisor import load

ENDPOINT = "openai at http://lead.test/v1"
MODEL = Key(ENDPOINT, Layer.MODEL, "lead")
SECOND = "anthropic at http://second.test"


def about(*, quotes: bool = True) -> About:
    """Say what is configured: one agent with two routes."""
    lead = RouteSettings(transport="openai", model="lead", base_url="http://lead.test/v1", api_key="sk-canary-01234567")
    second = RouteSettings(transport="anthropic", model="second", base_url="http://second.test")
    plan = load(Settings.in_code(agents={"deriver": AgentSettings(primary=lead, fallbacks=(second,))}))
    return About("1.2.3", plan, begun=1000.0, quotes=quotes)


CLEAR = GateHealth()


def health(model: GateHealth = CLEAR, others: GateHealth = CLEAR) -> dict[str, Health]:
    """Say how both endpoints are; the first one's gates are given."""
    return {ENDPOINT: Health(10, models={"lead": model}, endpoint=others, credential=others), SECOND: Health(10)}


def ended(*verdicts: Verdict, error: str = "", reason: str = "", duration: float = 1.0) -> RequestEnded:
    """Make the end of a request whose attempts went so, from the first route on."""
    routes = (("openai", "lead"), ("anthropic", "second"))
    attempts = tuple(
        Attempt(number + 1, *routes[number], verdict, 0.0, 0.5, 200, first_token=0.25, reason=reason)
        for number, verdict in enumerate(verdicts)
    )
    return RequestEnded("deriver", None, None, len(verdicts) > 1, duration, attempts, (), error)


def test_each_second_is_counted_for_five_minutes() -> None:
    """A count stands in its second, moves back with time, and is forgotten after 300 seconds."""
    counter = Counter()
    for second in (1000, 1000, 1001, 1005):
        counter.add(second)
    assert counter.last(1005, 6) == [2, 1, 0, 0, 0, 1]
    assert counter.last(1007, 3) == [1, 0, 0]
    assert sum(counter.last(1007, SECONDS)) == 4
    assert counter.last(1000 + SECONDS, SECONDS)[:1] == [1]
    assert counter.last(1006 + SECONDS, SECONDS) == [0] * SECONDS
    assert counter.whole == 4


def test_counts_are_those_of_a_plain_dict() -> None:
    """Whatever comes when, each of the last seconds has what fell into it."""
    rand = random.Random(7)
    for _ in range(200):
        counter, plain, second = Counter(), dict[int, int](), 5000
        for _ in range(rand.randrange(60)):
            second += rand.choice((0, 0, 1, 2, 40, 299, 301))
            counter.add(second)
            plain[second] = plain.get(second, 0) + 1
        count = rand.randint(1, SECONDS)
        expected = [plain.get(each, 0) for each in range(second - count + 1, second + 1)]
        assert counter.last(second, count) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], (3, 3, 3)),
        ([1.0, 2.0], (1, 2, 2)),
        ([float(value) for value in range(100, 0, -1)], (50, 90, 99)),
        ([float(value) for value in range(1, 11)], (5, 9, 10)),
    ],
)
def test_percentiles_are_by_nearest_rank(values: list[float], expected: tuple[float, ...]) -> None:
    """Each is one of the values: the smallest that so large a share does not exceed."""
    assert tuple(percentiles(values).values()) == expected


def test_nothing_has_no_percentiles() -> None:
    """There is no number for it."""
    with pytest.raises(ValueError, match="no percentiles"):
        percentiles([])


KEYS_AND_TEXTS = [
    (Key(ENDPOINT, Layer.ENDPOINT), "openai at http://lead.test/v1"),
    (MODEL, "openai at http://lead.test/v1 / lead"),
    (Key(f"{ENDPOINT} #2", Layer.MODEL, "a / b"), "openai at http://lead.test/v1 #2 / a / b"),
    (Key(ENDPOINT, Layer.MODEL, "org/model:free"), "openai at http://lead.test/v1 / org/model:free"),
    (Key(ENDPOINT, Layer.CREDENTIAL), "credential of openai at http://lead.test/v1"),
]


@pytest.mark.parametrize(("key", "text"), KEYS_AND_TEXTS)
def test_a_key_is_read_as_it_is_written(key: Key, text: str) -> None:
    """Both ways, whatever a model is called."""
    assert key_text(key) == text
    assert parse_key(text) == key


@pytest.mark.parametrize("text", ["", " / model", "openai at http://lead.test/v1 / "])
def test_what_names_no_circuit_is_refused(text: str) -> None:
    """Half a key is none."""
    with pytest.raises(ValueError, match="named by its endpoint"):
        parse_key(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"action": "open", "for": 60}', Action("open", 60)),
        (b'{"action": "closed"}', Action("closed", 3600)),
        (b'{"action": "reset"}', Action("reset", 3600)),
        (b'{"action": "close"}', "action is one of open, closed, reset"),
        (b'{"action": ["open"]}', "action is one of"),
        (b'{"action": "open", "for": 0}', "for is a number"),
        (b'{"action": "open", "for": true}', "for is a number"),
        (b'{"action": "open", "for": 86401}', "for is a number"),
        (b'{"action": "open", "for": NaN}', "the body is no JSON"),
        (b'{"action": "open", "action": "reset"}', "has a name twice in one object"),
        (b'{"action": "open", "model": "x"}', "and nothing else"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b"\xff", "the body is not UTF-8"),
        (b"", "the body is empty"),
    ],
)
def test_an_action_is_read_strictly(body: bytes, expected: Action | str) -> None:
    """What is not understood is refused with words that say what is."""
    if isinstance(expected, Action):
        assert read_action(body) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            read_action(body)


CHANGED: list[tuple[Event, Change]] = [
    (CircuitTripped(MODEL, "why", 10, 1), Change(5, "open", "why", 15)),
    (HoldPlaced(MODEL, "slow down", 30), Change(5, "held", "slow down", 35)),
    (ProbeStarted(MODEL), Change(5, "half_open")),
    (CircuitClosed(MODEL, 10), Change(5, "closed")),
    (Forced(MODEL, "open", "by hand", 60), Change(5, "forced_open", "by hand", 65)),
    (Forced(MODEL, "reset", "", 0), Change(5, "closed", "reset by hand")),
]


@pytest.mark.parametrize(("event", "expected"), CHANGED)
def test_events_become_changes_of_a_circuit(event: Any, expected: Change) -> None:
    """With their reason, and until when they hold by themselves."""
    assert changed(event, 5) == expected


SPANS: list[tuple[str, list[Change], str, list[tuple[float, float, str, str]]]] = [
    ("nothing happened", [], "closed", []),
    ("open still", [Change(100, "open", "why", 110)], "open", [(100, 105, "open", "why")]),
    (
        "open, then half-open as nobody asked",
        [Change(80, "open", "why", 90)],
        "half_open",
        [(80, 90, "open", "why"), (90, 105, "half_open", "")],
    ),
    (
        "open, probed and closed",
        [Change(80, "open", "why", 90), Change(92, "half_open"), Change(93, "closed")],
        "closed",
        [(80, 90, "open", "why"), (90, 93, "half_open", "")],
    ),
    (
        "open for longer than it said",
        [Change(80, "open", "why", 90)],
        "open",
        [(80, 105, "open", "why")],
    ),
    (
        "forced open, and over by itself",
        [Change(50, "forced_open", "by hand", 60), Change(90, "open", "why", 99)],
        "half_open",
        [(50, 60, "forced_open", "by hand"), (90, 99, "open", "why"), (99, 105, "half_open", "")],
    ),
    ("long ago", [Change(-2000, "open", "why", -1990), Change(-1980, "closed")], "closed", []),
]


@pytest.mark.parametrize(("changes", "state", "expected"), [row[1:] for row in SPANS], ids=[row[0] for row in SPANS])
def test_changes_become_spans(changes: list[Change], state: str, expected: list[Any]) -> None:
    """What ends by itself ends, and the last span says what is so now."""
    assert spans(changes, state, 105) == expected


@pytest.mark.parametrize(
    ("gate", "state"),
    [
        (GateHealth(), "closed"),
        (GateHealth(circuit=CircuitState.OPEN, hold=CircuitState.OPEN, reopens_in=1), "open"),
        (GateHealth(hold=CircuitState.OPEN, reopens_in=1), "held"),
        (GateHealth(hold=CircuitState.OPEN), "half_open"),
        (GateHealth(circuit=CircuitState.HALF_OPEN, hold=CircuitState.OPEN, reopens_in=1), "held"),
        (GateHealth(hold=CircuitState.HALF_OPEN), "half_open"),
        (GateHealth(circuit=CircuitState.OPEN, set_by_hand="closed: maintenance"), "forced_closed"),
    ],
)
def test_what_counts_most_is_the_state(gate: GateHealth, state: str) -> None:
    """By hand before circuit, circuit before hold; what is over waits for its probe."""
    assert state_of(gate) == state


def test_the_status_says_who_serves_and_what_went_wrong() -> None:
    """One request handed over: every section has its numbers, and instants are Unix time."""
    seen, now = Seen(), Now(1010.0, 500.0)
    seen.take(ended(Verdict.OK), 1005.0)
    seen.take(ended(Verdict.OVERLOADED, Verdict.OK, reason="overloaded: said"), 1008.5)
    seen.take(HandedOver("deriver", "openai/lead", "anthropic/second", "overloaded: said"), 1008.5)
    seen.take(CircuitTripped(MODEL, "overloaded: said", 10, 1), 1008.5)
    seen.take(ended(Verdict.NO_VERDICT, error="cancelled"), 1009)
    gate = GateHealth(CircuitState.OPEN, reason="overloaded: said", since=1008.5, reopens_in=8.5, calls=2, failures=1)
    told, facts = health(model=gate), about()
    status = whole(facts, seen, view(facts, told, seen, now))
    assert status["now"] == 1510
    assert status["uptime"] == 10
    assert status["started_at"] == 1500
    assert status["totals"] == {"requests": 3, "answered": 2, "failed": 0, "left": 1, "handed_over": 1}
    (agent,) = status["agents"]
    assert (agent["serving"], agent["serving_since"], agent["last_answer_at"]) == (1, 1508.5, 1508.5)
    assert [agent[name] for name in ("answered", "by_fallback", "failed", "left")] == [2, 1, 0, 1]
    assert [route["circuit"] for route in agent["routes"]] == [f"{ENDPOINT} / lead", f"{SECOND} / second"]
    circuit = next(row for row in status["circuits"] if row["key"] == f"{ENDPOINT} / lead")
    assert (circuit["state"], circuit["since"], circuit["until"]) == ("open", 1508.5, 1518.5)
    assert circuit["spans"] == [{"from": 1508.5, "to": None, "state": "open", "reason": "overloaded: said"}]
    assert status["handovers"] == [
        {
            **{"number": 1, "at": 1508.5, "kind": "handed_over", "agent": "deriver"},
            **{"from": "openai/lead", "to": "anthropic/second", "reason": "overloaded: said"},
        }
    ]
    (failure,) = status["failures"]
    assert [(attempt["verdict"], attempt["status"]) for attempt in failure["attempts"]] == [
        ("overloaded", 200),
        ("ok", 200),
    ]
    rates = {(row["transport"], row["outcome"]): row["counts"][-10:] for row in status["rates"]["series"]}
    assert rates == {
        ("openai", "answered"): [0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        ("anthropic", "answered"): [0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ("", "left"): [0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    }
    assert [row["latency"]["p50"] for row in status["latencies"]] == [1, 1]
    assert [row["kind"] for row in status["credentials"]] == ["key", "none"]
    assert "canary" not in str(status)


def test_a_login_is_shown_without_its_token() -> None:
    """How it lives, until when, and how its age stands."""
    facts, seen = about(), Seen()
    login = LoginHealth(
        Mode.OWN, "/home/somebody/login.json", Life.BARRED, "the portal is down", 90.0, 12.25, True, False
    )
    told = {ENDPOINT: Health(10, login=login), SECOND: Health(10)}
    row = whole(facts, seen, view(facts, told, seen, Now(1010.0, 500.0)))["credentials"][0]
    assert row == {
        **{"endpoint": ENDPOINT, "state": "closed", "reason": "", "kind": "login", "mode": "own", "life": "barred"},
        **{"login_reason": "the portal is down", "expires_at": 1600, "days_left": 12.2},
        **{"is_renewing": True, "is_saved": False},
    }


def test_what_providers_said_is_left_out_where_it_may_quote_a_prompt() -> None:
    """Everywhere: hand-overs, circuits, their spans and trails keep what we call it."""
    facts, seen = about(quotes=False), Seen()
    seen.take(ended(Verdict.OVERLOADED, error="AllAttemptsFailedError", reason="overloaded: a secret prompt"), 1001)
    seen.take(HandedOver("deriver", "openai/lead", "anthropic/second", "overloaded: a secret prompt"), 1001)
    seen.take(CircuitTripped(MODEL, "overloaded: a secret prompt", 10, 1), 1001)
    gate = GateHealth(CircuitState.OPEN, reason="overloaded: a secret prompt", reopens_in=5)
    status = str(whole(facts, seen, view(facts, health(gate, gate), seen, Now(1002, 0))))
    assert "secret prompt" not in status
    assert "overloaded" in status


def test_what_cannot_be_printed_is_escaped_and_what_is_long_is_cut() -> None:
    """Neither a terminal nor JSON meets a control character or half a character."""
    facts, seen = about(), Seen()
    seen.take(HandedOver("deriver", "openai/lead", "anthropic/second", "\x1b[2J\ud800" + "x" * 999), 1001)
    (row,) = whole(facts, seen, view(facts, health(), seen, Now(1002, 0)))["handovers"]
    assert row["reason"].startswith("\\x1b[2J\\ud800xxx")
    assert row["reason"].endswith("x…")
    assert len(row["reason"]) < 520
    assert row["reason"].isprintable()


def test_memory_is_bounded_whatever_comes() -> None:
    """The last of everything is kept, and no more circuits, agents and routes than a gateway may have."""
    seen = Seen()
    for number in range(3000):
        seen.take(ended(Verdict.OVERLOADED, Verdict.OK), number)
        seen.take(Returned("deriver", "openai/lead", 1.0), number)
        seen.take(CircuitTripped(MODEL, "", 1, 1), number)
        seen.take(CircuitClosed(Key(ENDPOINT, Layer.MODEL, str(number)), 1), number)
        seen.take(RequestEnded(str(number), None, None, False, 1.0, (), (PassedOver("a", "b", "c"),), "x"), number)
    assert len(seen.handovers.after(0)) == HANDOVERS
    assert seen.handovers.count == 3000
    assert len(seen.failures.after(0)) == FAILURES
    assert len(seen.circuits) == KEYS
    assert len(seen.circuits[MODEL]) == CHANGES
    assert len(seen.series) == SERIES
    assert len(seen.series["deriver", "anthropic", "second", "answered"].durations) == LAST
    assert [row.number for row in seen.handovers.after(2998)] == [2999, 3000]


def test_updates_lead_to_what_the_status_says() -> None:
    """Whoever merges every update has, at each of them, what a new snapshot would say."""
    rand, facts = random.Random(3), about()
    answered, over = ended(Verdict.OK), ended(Verdict.OVERLOADED, Verdict.OK)
    failed, left = ended(Verdict.OVERLOADED, error="Failed"), ended(Verdict.NO_VERDICT, error="cancelled")
    away, back = (
        HandedOver("deriver", "openai/lead", "anthropic/second", "why"),
        Returned("deriver", "openai/lead", 2.0),
    )
    events: list[Event] = [answered, over, failed, left, away, back]
    events += [CircuitTripped(MODEL, "why", 4, 1), CircuitClosed(MODEL, 4)]
    for _ in range(60):
        seen, at = Seen(), 1000.0
        before = view(facts, health(), seen, Now(at, 500.0))
        mine = whole(facts, seen, before)
        for _ in range(30):
            for _ in range(rand.randrange(4)):
                seen.take(rand.choice(events), at)
            at += rand.choice((0.25, 0.25, 1, 5, 20))
            gate = rand.choice((GateHealth(), GateHealth(CircuitState.OPEN, reopens_in=3.0)))
            after = view(facts, health(model=gate), seen, Now(at, 500.0))
            assert not is_behind(before, after)
            found = update(facts, seen, before, after)
            if found is not None:
                mine = merged(mine, found)
                assert by_name(mine) == by_name(whole(facts, seen, after))
            before = after


def by_name(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status whose series are in an order of their own."""
    series = sorted(status["rates"]["series"], key=lambda row: (row["agent"], row["transport"], row["outcome"]))
    return status | {"rates": {**status["rates"], "series": series}}


def test_without_changes_there_is_no_update() -> None:
    """That time has passed is no change."""
    facts, seen = about(), Seen()
    before, after = (view(facts, health(), seen, Now(at, 500.0)) for at in (1000.0, 1001.0))
    assert update(facts, seen, before, after) is None


@pytest.mark.parametrize(("events", "seconds", "offset"), [(HANDOVERS + 1, 1, 500.0), (0, 31, 500.0), (0, 1, 900.0)])
def test_whoever_is_behind_is_shown_everything(events: int, seconds: float, offset: float) -> None:
    """Hand-overs are lost, it took too long, or the clock was set."""
    facts, seen = about(), Seen()
    before = view(facts, health(), seen, Now(1000.0, 500.0))
    for _ in range(events):
        seen.take(Returned("deriver", "openai/lead", 1.0), 1000.5)
    assert is_behind(before, view(facts, health(), seen, Now(1000.0 + seconds, offset)))
