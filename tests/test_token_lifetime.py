"""Tokens: how long they live, by whose clock, when they are renewed, and that nobody sees them."""

from __future__ import annotations

import copy
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.credentials._lifetime import (
    LONGEST_TOKEN,
    Bearing,
    Claims,
    Term,
    announcement,
    bearing,
    claims,
    duration,
    grant_left,
    instant,
    kind_of,
    lives_for,
    scopes,
    term,
    window,
)
from understudy.credentials._secret import Secret

from .logins import KEY, WALL, jwt

INVOKE = frozenset({"inference:invoke"})
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (jwt(), Claims(WALL + 3600, WALL, INVOKE)),
        (jwt(exp=None, iat=None, scope=None), Claims()),
        (jwt(scope=["a", "b c"], scp="d,e"), Claims(WALL + 3600, WALL, frozenset("abcde"))),
        (jwt(exp="soon", iat=True, scope=7), Claims()),
        (jwt(exp=1e300, iat=-1), Claims(scopes=INVOKE)),
        ("sk-opaque", None),
        ("a..c", None),
        ("a.b.c", None),
        ("a.é.c", None),
        ("a.W10.c", None),
        ("a." + "A" * LONGEST_TOKEN + ".c", None),
    ],
)
def test_what_a_token_says(token: str, said: Claims | None) -> None:
    """End, issue and scopes are read from a JWT without verifying it; anything else says nothing."""
    assert claims(token) == said


@given(st.text() | st.binary().map(lambda raw: "a." + raw.hex() + ".c"))
def test_no_text_hurts(token: str) -> None:
    """Whatever a server calls a token, it is either read or not."""
    claims(token)


@pytest.mark.parametrize(
    ("value", "is_instant", "lasts"),
    [
        (5, 5.0, 5.0),
        ("3600", None, 3600.0),
        ("-1", None, None),
        (True, None, None),
        (0, None, None),
        ("1" * 13, None, None),
        (math.nan, None, None),
        (math.inf, None, None),
        (None, None, None),
        ("²", None, None),
    ],
)
def test_only_plausible_numbers_are_believed(value: object, is_instant: float | None, lasts: float | None) -> None:
    """A number is a number; a string is one only where servers write durations so."""
    assert (instant(value), duration(value)) == (is_instant, lasts)


def test_scopes_come_as_strings_and_lists() -> None:
    """Blanks, commas and lists all separate; what is none of these names nothing."""
    assert scopes("a b,c", ["d e", 5], None, 3) == frozenset("abcde")


@pytest.mark.parametrize(
    ("token", "stored", "expiry", "expected"),
    [
        (jwt(), NONE, None, Bearing.USABLE),
        (jwt(scope=None), INVOKE, None, Bearing.USABLE),
        (jwt(scope=None, scp=["inference:invoke"]), NONE, None, Bearing.USABLE),
        ("opaque", INVOKE, WALL + 3600, Bearing.NOT_A_JWT),
        (jwt(scope="inference:mint_agent_key"), NONE, None, Bearing.NO_SCOPE),
        (jwt(exp=WALL + 360, iat=WALL - 3240), NONE, None, Bearing.EXPIRING),
        (jwt(exp=WALL + 361, iat=WALL - 3239), NONE, None, Bearing.USABLE),
        (jwt(exp=WALL + 120, iat=None), NONE, None, Bearing.EXPIRING),
        (jwt(exp=WALL + 31, iat=WALL - 29), NONE, None, Bearing.USABLE),
        (jwt(exp=None), NONE, None, Bearing.EXPIRING),
        (jwt(exp=None), NONE, WALL + 3600, Bearing.USABLE),
        (jwt(exp=None), NONE, WALL + 60, Bearing.EXPIRING),
    ],
)
def test_what_can_be_sent(token: str, stored: frozenset[str], expiry: float | None, expected: Bearing) -> None:
    """A JWT with the scope for inference, in it or stored with it, that has more than its window left."""
    assert bearing(token, stored, expiry, WALL) is expected
    assert kind_of(token, stored) is (Bearing.USABLE if expected is Bearing.EXPIRING else expected)


@pytest.mark.parametrize("wrong_by", [-3600.0, 0.0, 3600.0])
@pytest.mark.parametrize(
    ("token", "expires_in", "lasts"),
    [
        (jwt(), None, 3600.0),
        (jwt(exp=WALL + 60), 999.0, 60.0),
        (jwt(iat=None), 900.0, 900.0),
        ("opaque", 900.0, 900.0),
        ("opaque", None, None),
        (jwt(exp=WALL, iat=WALL), 5.0, 5.0),
    ],
)
def test_a_received_token_lives_by_its_own_clock(
    token: str, expires_in: float | None, lasts: float | None, wrong_by: float
) -> None:
    """An hour's error of our wall clock changes nothing for a token that says how long it lives."""
    assert lives_for(token, expires_in, WALL + wrong_by) == lasts


def test_without_an_issue_our_clock_counts_unless_it_is_plainly_wrong() -> None:
    """A fresh token that seems to have ended is used until it is refused, and starts no loop."""
    assert lives_for(jwt(iat=None), None, WALL + 600) == 3000
    assert lives_for(jwt(iat=None), None, WALL + 4000) is None


@pytest.mark.parametrize(
    ("lifetime", "ahead"), [(None, 120), (60, 30), (240, 120), (900, 120), (1200, 120), (3600, 360), (86400, 8640)]
)
def test_the_window_before_the_end(lifetime: float | None, ahead: float) -> None:
    """120 s or a tenth, whichever is longer; half of a short life."""
    assert window(lifetime) == ahead


def test_the_term_of_a_token() -> None:
    """Renewed beside its use first, waited for within 30 s of its end; the spread never passes half of its life."""
    assert term(100, 3600) == Term(3340, 3670, 3700)
    assert term(100, 3600, spread=1.1).advise_at == pytest.approx(3304)
    assert term(100, 60, spread=1.1) == Term(130, 130, 160)
    assert term(100, 600, lifetime=3600) == Term(340, 670, 700)
    assert term(100, 600, lifetime=60) == term(100, 600)
    assert term(100, None) == Term(math.inf, math.inf, math.inf)


@given(st.floats(0, 1e6), st.floats(0.01, 1e7), st.floats(0.9, 1.1), st.none() | st.floats(0.01, 1e7))
def test_a_term_is_in_order(now: float, left: float, spread: float, lifetime: float | None) -> None:
    """It is advised first, then demanded, then over; and a token is never renewed in the first half of its life."""
    got = term(now, left, lifetime=lifetime, spread=spread)
    assert got.advise_at <= got.demand_at <= got.ends_at
    if lifetime is None:
        assert got.advise_at >= now + left / 2 - 1e-6


@pytest.mark.parametrize(
    ("days", "told", "due"),
    [
        (0, None, None),
        (22.9, None, None),
        (23, None, 7),
        (25, 7, None),
        (29, 7, 1),
        (29, None, 1),
        (29.5, 1, None),
        (40, None, 1),
    ],
)
def test_the_end_of_a_login_is_announced(days: float, told: int | None, due: int | None) -> None:
    """Seven days and one day before its thirtieth, once each."""
    assert announcement(WALL, WALL + days * 86400, told=told) == due


def test_a_login_of_unknown_age_announces_nothing() -> None:
    """Nobody guesses when it was approved."""
    assert announcement(None, WALL) is None
    assert grant_left(None, WALL) is None
    assert grant_left(WALL, WALL + 86400) == 29 * 86400
    assert grant_left(WALL, WALL + 99 * 86400) == 0


def test_a_secret_shows_itself_once() -> None:
    """Only `reveal` gives it; every rendering masks it, and nothing carries it away."""
    secret = Secret("canary-5f3a")
    assert secret.reveal() == "canary-5f3a"
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", repr([secret]), secret.fingerprint(KEY)):
        assert "canary" not in shown
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secrets_are_compared_whole() -> None:
    """Equal texts are equal secrets; a common beginning means nothing, and neither does another type."""
    assert Secret("a" * 40 + "b") != Secret("a" * 40 + "c")
    assert Secret("é") == Secret("é")
    assert hash(Secret("x")) == hash(Secret("x"))
    assert Secret("x") != "x"
    assert Secret("x").fingerprint(b"1") != Secret("x").fingerprint(b"2") != Secret("y").fingerprint(b"2")
