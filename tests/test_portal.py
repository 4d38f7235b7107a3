"""A simulated Portal's memory: rotation, reuse, grace, expiry, device codes, agent keys; and how it looks over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.simulation import Login, Portal, PortalRules, fingerprint, jwt_claims
from understudy.simulation._incoming import Incoming
from understudy.simulation._portal_values import AgentKey, Denied, DeviceCode, Limited, Retired
from understudy.simulation._portal_wire import DEVICE_GRANT, Addresses, answer, understood
from understudy.simulation._script import Status

CLIENT = "hermes-cli"
MINTING = "inference:mint_agent_key"
AT = Addresses("http://portal.test", "http://inference.test/v1")


def portal(**rules: Any) -> Portal:
    """Make a Portal whose tokens are the same in each test."""
    return Portal(PortalRules(**rules), "a seed")


def granted(given: Login | Denied) -> Login:
    assert isinstance(given, Login)
    return given


def denied(given: object) -> tuple[str, str]:
    assert isinstance(given, Denied)
    return given.error, given.description


def test_a_refresh_spends_its_token_and_kills_the_access_token_before() -> None:
    """The next pair is another one, of the same login; what was before it is not let in any more."""
    it = portal()
    first = it.log_in(0)
    second = granted(it.refresh(first.refresh_token, CLIENT, 10))
    assert second.family == first.family
    assert not {second.access_token, second.refresh_token} & {first.access_token, first.refresh_token}
    assert (it.refusal(first.access_token, 10), it.refusal(second.access_token, 10)) == ("dead", None)
    assert (second.obtained_at, second.expires_at) == (10, 3610)
    assert it.live(first.family) == second


def test_where_rotation_spares_the_access_token_it_lives_on() -> None:
    """Until it expires."""
    it = portal(kills_access=False)
    first = it.log_in(0)
    it.refresh(first.refresh_token, CLIENT, 10)
    assert [it.refusal(first.access_token, now) for now in (10, 3599, 3600)] == [None, None, "expired"]


def test_a_portal_that_does_not_rotate_keeps_the_token() -> None:
    """It can be shown again and again; each time there is a new access token."""
    it = portal(rotates=False)
    first = it.log_in(0)
    pairs = [granted(it.refresh(first.refresh_token, CLIENT, now)) for now in (1, 2)]
    assert {pair.refresh_token for pair in pairs} == {first.refresh_token}
    assert len({pair.access_token for pair in [first, *pairs]}) == 3


@pytest.mark.parametrize("code", ["invalid_grant", "refresh_token_reused"])
def test_reuse_revokes_the_login(code: Any) -> None:
    """Whoever shows a spent token is told so, and the holder of the newest one is told that it is revoked."""
    it = portal(reuse_error=code)
    first = it.log_in(0)
    second = granted(it.refresh(first.refresh_token, CLIENT, 1))
    error, description = denied(it.refresh(first.refresh_token, CLIENT, 2))
    assert (error, "reuse" in description) == (code, True)
    for token in (first.refresh_token, second.refresh_token):
        assert denied(it.refresh(token, CLIENT, 3)) == ("invalid_grant", "Refresh session has been revoked")
    assert it.refusal(second.access_token, 3) == "dead"
    assert it.live(first.family) is None
    assert (it.counts.reuses, it.counts.revoked) == (2, 1)


def test_within_its_grace_a_spent_token_gets_the_live_pair() -> None:
    """However many rotations ago it was spent; at the end of its grace it is reuse."""
    it = portal(grace_for=30)
    first = it.log_in(0)
    second = granted(it.refresh(first.refresh_token, CLIENT, 10))
    assert it.refresh(first.refresh_token, CLIENT, 11) == second
    third = granted(it.refresh(second.refresh_token, CLIENT, 20))
    assert it.refresh(first.refresh_token, CLIENT, 39.9) == third
    assert denied(it.refresh(first.refresh_token, CLIENT, 40))[0] == "invalid_grant"
    assert denied(it.refresh(second.refresh_token, CLIENT, 40))[1] == "Refresh session has been revoked"


def test_a_login_ends_however_often_it_was_refreshed() -> None:
    """So long after it began, with its access tokens."""
    it = portal(family_for=100)
    second = granted(it.refresh(it.log_in(0).refresh_token, CLIENT, 99))
    assert [it.refusal(second.access_token, now) for now in (99.9, 100)] == [None, "expired"]
    assert denied(it.refresh(second.refresh_token, CLIENT, 100)) == ("invalid_grant", "Refresh session expired")


def test_a_test_ends_what_it_wants() -> None:
    """Access tokens, a login, or all of it; revoking twice is revoking."""
    it = portal()
    one, two = it.log_in(0), it.log_in(0)
    it.expire_access(one.family)
    assert (it.refusal(one.access_token, 0), it.refusal(two.access_token, 0)) == ("expired", None)
    assert isinstance(it.refresh(one.refresh_token, CLIENT, 0), Login)
    it.expire_family(two.family)
    assert it.refusal(two.access_token, 0) == "expired"
    assert denied(it.refresh(two.refresh_token, CLIENT, 0))[1] == "Refresh session expired"
    it.revoke(one.family)
    it.revoke(one.family)
    assert it.counts.revoked == 1


def test_who_is_not_known_is_refused() -> None:
    """A token of nobody, one that is for something else, and a client without a name."""
    it = portal()
    pair = it.log_in(0)
    for token in ("", "nobody's", pair.access_token):
        assert denied(it.refresh(token, CLIENT, 0)) == ("invalid_grant", "Refresh token not found")
    for bearer in ("", "nobody's", pair.refresh_token):
        assert it.refusal(bearer, 0) == "unknown"
    assert denied(it.refresh(pair.refresh_token, "other", 0))[0] == "invalid_client"
    assert denied(it.device("other", "", 0))[0] == "invalid_client"
    assert denied(it.poll("", "other", 0))[0] == "invalid_client"
    assert it.live(pair.family) == pair
    assert it.counts.reuses == 0


@pytest.mark.parametrize(
    ("scope", "why"), [("inference:invoke", None), ("tool:invoke inference:invoke", None), (MINTING, "scope")]
)
def test_inference_needs_its_scope(scope: str, why: str | None) -> None:
    """One of the words of the scope, as a whole."""
    it = portal()
    assert it.refusal(it.log_in(0, scope=scope).access_token, 0) == why


def test_a_static_key_is_always_let_in() -> None:
    """It knows no login and no expiry."""
    it = portal()
    key = it.issue_key()
    assert key.startswith("sk-")
    assert it.refusal(key, 1e12) is None


def test_an_access_token_says_what_it_is() -> None:
    """A JWT with the claims that were seen; or an opaque one, or one without a claim, where the rules say so."""
    read = jwt_claims(portal().log_in(1000).access_token)
    assert (read["scope"], read["iat"], read["exp"]) == ("inference:invoke", 1000, 4600)
    assert {"sub", "client_id", "org_id", "product_id", "nous_client", "paid_access", "subscription_tier"} < set(read)
    assert "exp" not in jwt_claims(portal(omits_claims=frozenset({"exp"})).log_in(0).access_token)
    assert jwt_claims(portal(opaque=True).log_in(0).access_token) == {}


@pytest.mark.parametrize("token", ["", "a.b", "a.!!.c", "a.aGk.c", "a.W10.c", "a._w.c"])
def test_what_is_no_jwt_claims_nothing(token: str) -> None:
    """Too few parts, no base64, no JSON, no object, no text."""
    assert jwt_claims(token) == {}


def test_tokens_are_never_the_same_twice_and_not_shown() -> None:
    """Nor for another seed; and no value that holds one shows it."""
    it, other = portal(opaque=True), Portal(PortalRules(opaque=True, mint=200), "another seed")
    pairs = [it.log_in(0), it.log_in(0), other.log_in(0, scope=MINTING)]
    device, key = other.device(CLIENT, "", 0), other.mint(pairs[2].access_token, 60, 0)
    assert isinstance(device, DeviceCode)
    assert isinstance(key, AgentKey)
    tokens = [token for pair in pairs for token in (pair.access_token, pair.refresh_token)]
    tokens += [device.device_code, device.user_code, key.api_key]
    assert len(set(tokens)) == 9
    assert "seed" not in repr(it._tokens)
    assert not any(token in repr([pairs, device, key, it, it._tokens]) for token in tokens)
    assert len({fingerprint(token) for token in tokens}) == 9
    assert fingerprint("a") == "ca978112ca1b"


def begun(it: Portal, *, scope: str = "") -> DeviceCode:
    code = it.device(CLIENT, scope, 0)
    assert isinstance(code, DeviceCode)
    return code


def test_a_device_code_waits_for_its_approval() -> None:
    """Pending until somebody approves; then there is a login, once."""
    it = portal()
    code = begun(it, scope="inference:invoke tool:invoke")
    assert (code.expires_in, code.interval, len(code.user_code)) == (600, 5, 9)
    assert denied(it.poll(code.device_code, CLIENT, 0))[0] == "authorization_pending"
    it.decide(code.user_code, "approved")
    pair = granted(it.poll(code.device_code, CLIENT, 5))
    assert pair.scope == "inference:invoke tool:invoke"
    assert it.refusal(pair.access_token, 5) is None
    assert denied(it.poll(code.device_code, CLIENT, 10))[0] == "invalid_grant"


def test_who_polls_too_often_is_slowed_down() -> None:
    """Each time the interval is five seconds longer, counted from the last poll."""
    it = portal()
    code = begun(it).device_code
    polls = [(0, "authorization_pending"), (4, "slow_down"), (13, "slow_down"), (28, "authorization_pending")]
    assert [(now, denied(it.poll(code, CLIENT, now))[0]) for now, _ in polls] == polls


def test_a_device_code_ends() -> None:
    """By its time, by a human's no; and one that nobody gave out never began."""
    it = portal()
    late, no = begun(it), begun(it)
    it.decide(late.user_code, "approved")
    assert denied(it.poll(late.device_code, CLIENT, 600))[0] == "expired_token"
    it.decide(no.user_code, "denied")
    assert denied(it.poll(no.device_code, CLIENT, 0))[0] == "access_denied"
    assert denied(it.poll("", CLIENT, 0))[0] == "invalid_grant"
    assert denied(it.device(CLIENT, "everything", 0))[0] == "invalid_scope"
    with pytest.raises(KeyError, match="begin a login first"):
        it.decide(no.user_code, "approved")


def test_a_key_is_minted_and_used_again() -> None:
    """While it lives as long as is asked for; it is let in until it expires, and survives a refresh."""
    it = portal(mint=200, key_for=1000)
    pair = it.log_in(0, scope=MINTING)
    first, again, new = (it.mint(pair.access_token, 600, now) for now in (0, 400, 401))
    assert isinstance(first, AgentKey)
    assert isinstance(new, AgentKey)
    assert again == replace(first, reused=True)
    assert (new.api_key != first.api_key, new.reused, new.expires_at) == (True, False, 1401)
    it.refresh(pair.refresh_token, CLIENT, 500)
    assert [it.refusal(first.api_key, now) for now in (999, 1000)] == [None, "expired"]
    it.revoke(pair.family)
    assert it.refusal(first.api_key, 0) == "dead"
    assert it.counts.minted == 2


def test_minting_is_refused_with_its_reason() -> None:
    """Without a live access token, without the scope, for too short a time, and for good once it is retired."""
    it = portal(mint=200)
    old, plain = it.log_in(0, scope=MINTING), it.log_in(0)
    key = it.mint(old.access_token, 60, 0)
    assert isinstance(key, AgentKey)
    assert denied(it.mint(key.api_key, 60, 0))[0] == "invalid_token"
    assert denied(it.mint("", 60, 0))[0] == denied(it.mint(old.access_token, 60, 3600))[0] == "invalid_token"
    assert denied(it.mint(plain.access_token, 60, 0))[0] == "insufficient_scope"
    assert denied(it.mint(old.access_token, 59, 0))[0] == "invalid_request"
    assert portal().mint(old.access_token, 60, 0) == Retired(410)


def test_so_many_requests_in_a_minute_and_no_more() -> None:
    """The window slides; what is refused does not count."""
    it = portal(limit=2)
    assert [it.limited(now) for now in (0, 10, 20, 59)] == [None, None, Limited(40), Limited(1)]
    assert [it.limited(now) for now in (60, 61, 70)] == [None, Limited(9), None]
    assert not any(portal(limit=None).limited(0) for _ in range(100))


@given(
    asked=st.lists(st.tuples(st.integers(0, 30), st.floats(0, 40)), max_size=40),
    grace=st.sampled_from([0.0, 30.0]),
    kills=st.booleans(),
)
def test_at_most_one_refresh_token_of_a_login_lives(asked: list[tuple[int, float]], grace: float, kills: bool) -> None:
    """However refreshes interleave: a spent token outside its grace ends the login, and its access tokens with it."""
    it = portal(grace_for=grace, kills_access=kills, access_for=1e9)
    pairs, spent, now, revoked = [it.log_in(0)], dict[str, float](), 0.0, False
    for which, wait in asked:
        now += wait
        token = pairs[which % len(pairs)].refresh_token
        given = it.refresh(token, CLIENT, now)
        reused = token in spent and now - spent[token] >= grace
        assert isinstance(given, Denied) == (revoked or reused)
        revoked = revoked or reused
        if isinstance(given, Login) and given != pairs[-1]:
            assert token == pairs[-1].refresh_token
            spent[token] = now
            pairs.append(given)
        assert it.live(0) == (None if revoked else pairs[-1])
        let_in = [pair for pair in pairs if it.refusal(pair.access_token, now) is None]
        assert let_in == ([] if revoked else pairs[-1:] if kills else pairs)
    assert it.counts.revoked == revoked


FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json; charset=utf-8"}


def asked(it: Portal, path: str, body: bytes, *, now: float = 0, method: str = "POST", **headers: str) -> Status:
    """Ask over HTTP."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    meant = understood(it, Incoming(method, path, named, body))
    return meant if isinstance(meant, Status) else answer(it, meant, AT, now)


def refreshed(it: Portal, token: str, *, now: float = 0, body: bytes = b"") -> Status:
    form = b"grant_type=refresh_token&client_id=hermes-cli" + body
    given = {"x_nous_refresh_token": token} if token else {}
    return asked(it, "/api/oauth/token", form, now=now, content_type=FORM["content-type"], **given)


def fields(status: Status) -> dict[str, Any]:
    assert status.content_type == "application/json"
    assert status.headers["cache-control"] == "no-store"
    read = json.loads(status.body or b"")
    assert isinstance(read, dict)
    return read


def test_a_refresh_over_http() -> None:
    """The token in its header; the answer has the fields that are known."""
    it = portal()
    pair = it.log_in(0)
    said = refreshed(it, pair.refresh_token, now=10)
    live = it.live(pair.family)
    assert live is not None
    assert (said.status, fields(said)) == (
        200,
        {
            "access_token": live.access_token,
            "refresh_token": live.refresh_token,
            "expires_in": 3600,
            "token_type": "Bearer",
            "scope": "inference:invoke",
            "inference_base_url": "http://inference.test/v1",
        },
    )
    again = refreshed(it, pair.refresh_token)
    assert (again.status, set(fields(again)), fields(again)["error"]) == (
        400,
        {"error", "error_description"},
        "invalid_grant",
    )
    assert it.counts.refreshes == {fingerprint(pair.refresh_token): 2}
    assert it.counts.asked == {"refresh": 2}


def test_answers_leave_out_what_the_rules_say() -> None:
    """The refresh token where it did not rotate, any field that is named; and they name another host if they shall."""
    omits = frozenset({"expires_in", "scope"})
    it = portal(rotates=False, omits=omits, inference_base_url="https://foreign.test/v1")
    given = fields(refreshed(it, it.log_in(0).refresh_token))
    assert set(given) == {"access_token", "token_type", "inference_base_url"}
    assert given["inference_base_url"] == "https://foreign.test/v1"


@pytest.mark.parametrize("reads_body", [False, True])
def test_a_token_in_the_body_is_read_where_the_rules_say_so(reads_body: bool) -> None:
    """Older clients send it there."""
    it = portal(reads_body=reads_body)
    said = refreshed(it, "", body=b"&refresh_token=" + it.log_in(0).refresh_token.encode())
    assert (said.status, fields(said).get("error")) == ((200, None) if reads_body else (400, "invalid_request"))


def test_a_login_over_http() -> None:
    """The fields of a device code, and of every poll."""
    it = portal()
    form = FORM["content-type"]
    code = fields(
        asked(it, "/api/oauth/device/code", b"client_id=hermes-cli&scope=inference:invoke", content_type=form)
    )
    assert (code["expires_in"], code["interval"]) == (600, 5)
    assert code["verification_uri"] == "http://portal.test/manage-subscription"
    assert code["verification_uri_complete"] == f"{code['verification_uri']}?user_code={code['user_code']}"
    poll = f"grant_type={DEVICE_GRANT}&client_id=hermes-cli&device_code={code['device_code']}".encode()
    waiting = asked(it, "/api/oauth/token", poll, content_type=form)
    assert (waiting.status, fields(waiting)["error"]) == (400, "authorization_pending")
    it.decide(code["user_code"], "approved")
    assert "refresh_token" in fields(asked(it, "/api/oauth/token", poll, now=5, content_type=form))
    refused = asked(it, "/api/oauth/device/code", b"client_id=who", content_type=form)
    assert (refused.status, fields(refused)["error"]) == (400, "invalid_client")
    assert it.counts.asked == {"device": 2, "poll": 2}


def minted(it: Portal, bearer: str, body: bytes = b'{"min_ttl_seconds": 7200}', content_type: str = "") -> Status:
    given = content_type or JSON["content-type"]
    return asked(it, "/api/oauth/agent-key", body, content_type=given, authorization=f"Bearer {bearer}")


def test_a_mint_over_http() -> None:
    """The fields of a key; a reason with its status; and a page or nothing where it is retired."""
    it = portal(mint=200)
    pair = it.log_in(0, scope=MINTING)
    key = fields(minted(it, pair.access_token))
    assert set(key) == {"api_key", "key_id", "expires_at", "expires_in", "reused", "inference_base_url"}
    assert (key["expires_in"], key["expires_at"], key["reused"]) == (86400, "1970-01-02T00:00:00+00:00", False)
    assert fields(minted(it, pair.access_token))["api_key"] == key["api_key"]
    assert (minted(it, "").status, fields(minted(it, ""))["error"]) == (401, "invalid_token")
    it.rules = replace(it.rules, mint=404)
    assert (minted(it, pair.access_token).status, minted(it, "").content_type) == (404, "text/html; charset=utf-8")
    it.rules = replace(it.rules, mint=410)
    assert (minted(it, pair.access_token).status, minted(it, "").body) == (410, b"")


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/api/oauth/agent-key", b"not json", JSON),
        ("/api/oauth/agent-key", b"[]", JSON),
        ("/api/oauth/agent-key", b'{"min_ttl_seconds": "long"}', JSON),
        ("/api/oauth/agent-key", b'{"min_ttl_seconds": 60}', FORM),
        ("/api/oauth/token", b'{"grant_type": "refresh_token"}', JSON),
        ("/api/oauth/token", b"grant_type=password", FORM),
        ("/api/oauth/token", b"\xff", FORM),
    ],
)
def test_a_body_that_is_not_as_it_should_be_is_refused(path: str, body: bytes, content_type: dict[str, str]) -> None:
    """And not counted: nothing was asked."""
    it = portal()
    said = asked(it, path, body, content_type=content_type["content-type"])
    assert (said.status, set(fields(said))) == (400, {"error", "error_description"})
    assert fields(said)["error"] in {"invalid_request", "unsupported_grant_type"}
    assert not it.counts.asked


def test_what_is_nowhere_is_a_page() -> None:
    """Neither another path nor another method is answered in JSON; nor is a request too many."""
    it = portal(limit=1)
    elsewhere, got = asked(it, "/api/oauth/other", b""), asked(it, "/api/oauth/token", b"", method="GET")
    pair = it.log_in(0)
    assert refreshed(it, pair.refresh_token, now=0.5).status == 200
    limited = refreshed(it, pair.refresh_token, now=1)
    assert [page.status for page in (elsewhere, got, limited)] == [404, 405, 429]
    assert limited.headers["retry-after"] == "60"
    assert it.counts.reuses == 0
    for page in (elsewhere, got, limited):
        assert page.content_type.startswith("text/html")
        assert (page.body or b"").startswith(b"<!DOCTYPE html>")
