"""Nous from outside: which credential, which hosts, and what the Portal's and the inference API's answers mean."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.credentials._addresses import INFERENCE, PORTAL, Place, address, is_allowed, to_keep
from understudy.credentials._login import Granted
from understudy.credentials._modes import Given, Mode, choose_mode, hermes_places
from understudy.credentials._portal_answers import (
    KNOWN_CODES,
    Meaning,
    Minted,
    MintMeaning,
    MintOff,
    MintRefused,
    MintUnpaid,
    Misconfigured,
    PortalAnswer,
    Terminal,
    Transient,
    Unclear,
    lost_meaning,
    mint_meaning,
    refresh_meaning,
)
from understudy.credentials._secret import Secret
from understudy.providers import Verdict
from understudy.providers._judge_nous import UNPAID, Judged, account_reset, judge_nous

from .logins import WALL


def everything(mode: str = "") -> Given:
    return Given(mode, has_own_store=True, has_hermes_store=True, has_refresh_token=True, has_static_key=True)


@pytest.mark.parametrize(
    ("given", "mode", "variable"),
    [
        (everything(), Mode.OWN, ""),
        (Given(has_hermes_store=True, has_refresh_token=True, has_static_key=True), Mode.HERMES, ""),
        (Given(has_refresh_token=True, has_static_key=True), Mode.OWN, ""),
        (Given(has_static_key=True), Mode.STATIC, ""),
        (Given(), Mode.STATIC, "LLM_NOUS_API_KEY"),
        (everything(" Static "), Mode.STATIC, ""),
        (everything("hermes"), Mode.HERMES, ""),
        (everything("own"), Mode.OWN, ""),
        (Given("own", has_refresh_token=True), Mode.OWN, ""),
        (Given("static", has_own_store=True), Mode.STATIC, "LLM_NOUS_API_KEY"),
        (Given("hermes", has_static_key=True), Mode.HERMES, "NOUS_AUTH_JSON_PATH"),
        (Given("own", has_static_key=True), Mode.OWN, "NOUS_OAUTH_STATE_PATH"),
        (everything("oauth"), Mode.STATIC, "NOUS_AUTH_MODE"),
    ],
)
def test_which_credential_is_used(given: Given, mode: Mode, variable: str) -> None:
    """What is set, else our own store, else Hermes Agent's, else a refresh token, else a key; and what is missing."""
    choice = choose_mode(given)
    assert (choice.mode, choice.variable) == (mode, variable)
    assert bool(choice.problem) is bool(variable)


NATIVE = PurePath("/home/me/.hermes")


@pytest.mark.parametrize(
    ("home", "env", "profile", "root", "shared"),
    [
        (str(NATIVE), {}, "/home/me/.hermes/auth.json", "/home/me/.hermes/auth.json", "/home/me/.hermes/shared"),
        (
            "/home/me/.hermes/profiles/x",
            {},
            "/home/me/.hermes/profiles/x/auth.json",
            "/home/me/.hermes/auth.json",
            "/home/me/.hermes/shared",
        ),
        ("/data/profiles/x", {}, "/data/profiles/x/auth.json", "/data/auth.json", "/data/shared"),
        ("/data", {"HERMES_SHARED_AUTH_DIR": "/else"}, "/data/auth.json", "/data/auth.json", "/else"),
        ("/data", {"NOUS_AUTH_JSON_PATH": "/n/a.json"}, "/n/a.json", "/n/a.json", "/n/shared"),
    ],
)
def test_where_hermes_agent_keeps_its_logins(
    home: str, env: dict[str, str], profile: str, root: str, shared: str
) -> None:
    """The profile's store, the root's, and the shared one; each lock beside its store, always in that order."""
    places = hermes_places(PurePath(home), NATIVE, env)
    assert (str(places.profile), str(places.root)) == (profile, root)
    assert str(places.shared) == f"{shared}/nous_auth.json"
    locks = [str(path) for path in places.locks(from_root=True)]
    two = [profile, root] if root != profile else [profile]
    assert locks == [path.replace(".json", ".lock") for path in [*two, str(places.shared)]]
    assert [str(path) for path in places.locks(from_root=False)] == [locks[0], locks[-1]]


@pytest.mark.parametrize(
    ("place", "learned", "override", "allowed"),
    [
        (PORTAL, "https://portal.nousresearch.com", "", True),
        (PORTAL, "https://PORTAL.nousresearch.com:443/x", "", True),
        (PORTAL, "http://portal.nousresearch.com", "", False),
        (PORTAL, "http://localhost:8080", "", True),
        (PORTAL, "http://[::1]:8080", "", True),
        (PORTAL, "https://api.nousresearch.com", "", False),
        (PORTAL, "https://portal.nousresearch.com.evil.example", "", False),
        (PORTAL, "https://me@portal.nousresearch.com", "", False),
        (PORTAL, "https://portal.nousresearch.com:8443", "", False),
        (PORTAL, "https://portal.nousresearch.com?x", "", False),
        (PORTAL, "https://portal.nousresearch.com\\@evil.example", "", False),
        (PORTAL, "https://portal.nousresearch.com:99999", "", False),
        (PORTAL, "https://[", "", False),
        (PORTAL, "", "", False),
        (INFERENCE, "https://welcome-api.nousresearch.com/v1", "", True),
        (INFERENCE, "http://localhost:8080", "", False),
        (INFERENCE, "https://mine.example/v1", "https://mine.example:443/v2", True),
        (INFERENCE, "http://mine.example/v1", "https://mine.example", False),
        (INFERENCE, "https://mine.example/v1", "https://[", False),
        (INFERENCE, "http://mine.example/v1", "http://mine.example:80", True),
    ],
)
def test_where_a_token_may_go(place: Place, learned: str, override: str, allowed: bool) -> None:
    """Only to the hosts built in, over https, or to the very one of the operator's override (R-CRED-13)."""
    assert is_allowed(place, learned, override=override) is allowed


def test_which_address_is_used_and_kept() -> None:
    """The override wins and is never kept; what is foreign gives way to the usual address."""
    good, evil = "https://welcome-api.nousresearch.com/v1", "https://evil.example/v1"
    assert address(INFERENCE, good + "/") == good
    assert address(INFERENCE, evil) == address(INFERENCE) == INFERENCE.usual
    assert address(INFERENCE, good, override="http://mine/") == "http://mine"
    assert to_keep(INFERENCE, good + "/") == good
    assert (
        to_keep(INFERENCE, evil)
        == to_keep(INFERENCE, evil, override=evil)
        == to_keep(INFERENCE, good, override=good)
        == ""
    )


PAGE = b"<html>blocked</html>"
GRANT = b'{"access_token": "at", "refresh_token": "rt", "expires_in": 900, "scope": "a b", "token_type": "Bearer"}'


def error(code: str, description: str = "") -> bytes:
    return f'{{"error": "{code}", "error_description": "{description}"}}'.encode()


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (200, GRANT, Granted(Secret("at"), Secret("rt"), 900, frozenset("ab"), "Bearer")),
        (200, b'{"access_token": "at"}', Granted(Secret("at"))),
        (200, b'{"refresh_token": "rt"}', Unclear(7)),
        (200, PAGE, Unclear(7)),
        (200, GRANT[:-5], Unclear(7)),
        (204, b"", Unclear(7)),
        (302, b"", Transient(7, 302)),
        (400, error("invalid_grant"), Terminal("invalid_grant")),
        (401, error("invalid_token"), Terminal("invalid_token")),
        (400, error("refresh_token_reused"), Terminal("refresh_token_reused")),
        (400, error("weird", "Refresh token REUSE detected"), Terminal("refresh_token_reused")),
        (400, b'{"error_description": "reuse"}', Transient(7, 400)),
        (400, b'{"error": 5}', Transient(7, 400)),
        (400, error("invalid_request"), Transient(7, 400, "invalid_request")),
        (400, error("canary"), Transient(7, 400)),
        (400, b"[]", Transient(7, 400)),
        (401, b"{}", Transient(7, 401)),
        (401, PAGE, Transient(7, 401)),
        (400, error("invalid_scope"), Misconfigured("invalid_scope")),
        (401, error("invalid_client"), Misconfigured("invalid_client")),
        (403, error("unauthorized_client"), Misconfigured("unauthorized_client")),
        (403, error("invalid_grant"), Transient(7, 403, "invalid_grant")),
        (403, PAGE, Transient(7, 403)),
        (404, PAGE, Transient(7, 404)),
        (408, b"", Unclear(7)),
        (429, PAGE, Transient(7, 429)),
        (429, error("slow_down"), Transient(7, 429, "slow_down")),
        (500, error("invalid_grant"), Unclear(7)),
        (503, error("temporarily_unavailable"), Unclear(7)),
    ],
)
def test_what_an_answer_to_a_renewal_means(status: int, body: bytes, means: Meaning) -> None:
    """Only 400 and 401 that say so end a login (R-CRED-9); whatever may have renewed is unclear (R-CRED-7)."""
    assert refresh_meaning(PortalAnswer(status, body, 7)) == means


@given(
    st.integers(100, 599),
    st.binary() | st.sampled_from([PAGE, b"{}", b"null", error("canary")]),
    st.none() | st.floats(),
)
def test_no_page_ends_a_login(status: int, body: bytes, hint: float | None) -> None:
    """Nothing but an error that names it is terminal, and no hint is longer than a minute."""
    means = refresh_meaning(PortalAnswer(status, body, hint))
    assert isinstance(means, Unclear | Transient)
    assert means.retry_after is None or not means.retry_after > 60
    assert "canary" not in repr(means)


def test_no_answer_at_all() -> None:
    """Without a connection nothing happened (R-CRED-8); with one, nobody knows."""
    assert lost_meaning(was_sent=True) == Unclear()
    assert lost_meaning(was_sent=False) == Transient()
    assert refresh_meaning(PortalAnswer(503, b"", 9999)) == Unclear(60)
    assert refresh_meaning(PortalAnswer(429, b"", -1)) == Transient(0, 429)


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (200, b'{"api_key": "k", "expires_in": 7200}', Minted(Secret("k"), 7200)),
        (200, b'{"api_key": " k ", "expires_at": "2027-01-15T08:00:00Z"}', Minted(Secret("k"), None, WALL)),
        (200, b'{"api_key": ""}', Transient(None, 200)),
        (200, PAGE, Transient(None, 200)),
        (404, b"", MintOff()),
        (410, PAGE, MintOff()),
        (402, b"", MintUnpaid("payment_required")),
        (403, error("subscription_required"), MintUnpaid("subscription_required")),
        (402, error("insufficient_credits"), MintUnpaid("insufficient_credits")),
        (401, b"", MintRefused()),
        (400, error("invalid_grant"), MintRefused()),
        (400, error("canary"), Transient(None, 400)),
        (503, error("temporarily_unavailable"), Transient(None, 503, "temporarily_unavailable")),
    ],
)
def test_what_an_answer_to_a_mint_means(status: int, body: bytes, means: MintMeaning) -> None:
    """404 and 410 end minting for good; what is unpaid is no failed login; a refused token is renewed first."""
    assert mint_meaning(PortalAnswer(status, body)) == means


def test_answers_do_not_show_their_body() -> None:
    """Neither the answer nor what it means shows a token."""
    answer = PortalAnswer(200, b'{"access_token": "canary-1", "refresh_token": "canary-2", "api_key": "canary-3"}')
    assert "canary" not in f"{answer!r}{refresh_meaning(answer)!r}{mint_meaning(answer)!r}"
    assert all(code.islower() for code in KNOWN_CODES)


def flat(status: int, message: str = "", **more: str) -> bytes:
    fields = ", ".join(f'"{name}": "{value}"' for name, value in {"message": message, **more}.items())
    return f'{{"status": {status}, {fields}}}'.encode()


USED_UP = {"x-ratelimit-remaining-requests-1h": "0", "x-ratelimit-reset-requests-1h": "1800.5"}
SHORT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "59"}
LEFT = {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "600"}
ODD = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "soon"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "judged"),
    [
        (401, flat(401, error="invalid_token"), {}, Judged(Verdict.AUTH)),
        (402, flat(402), {}, Judged(Verdict.QUOTA)),
        (403, b"error code: 1010", {}, Judged(Verdict.EDGE)),
        (403, PAGE, {}, Judged(Verdict.EDGE)),
        (403, flat(403, "no"), {}, Judged(Verdict.AUTHZ)),
        (404, flat(404, code="insufficient_credits_for_paid_model"), {}, Judged(Verdict.QUOTA)),
        (404, flat(404, code="model_not_supported_on_free_tier"), {}, Judged(Verdict.NOT_FOUND)),
        (404, flat(404, "this model is no longer free"), {}, Judged(Verdict.NOT_FOUND)),
        (400, flat(400, "use the welcome host"), {}, Judged(Verdict.CALLER)),
        (429, flat(429, "slow"), USED_UP, Judged(Verdict.THROTTLED, 1800.5, of_account=True)),
        (429, flat(429, "over the limit on your API key"), {}, Judged(Verdict.THROTTLED, of_account=True)),
        (429, flat(429, "at capacity upstream"), SHORT, Judged(Verdict.THROTTLED)),
        (429, flat(429, reason="at_capacity"), LEFT, Judged(Verdict.THROTTLED)),
        (429, flat(429, reason="rate_limited"), ODD, Judged(Verdict.THROTTLED)),
        (429, flat(429, reason="model_not_free"), {}, Judged(Verdict.NOT_FOUND)),
        (429, PAGE, USED_UP, Judged(Verdict.EDGE)),
        (429, b"{" + b" " * 70000 + b"}", {}, Judged(Verdict.EDGE)),
        (451, flat(451), {}, Judged(Verdict.AUTHZ)),
        (500, flat(500), {}, Judged(Verdict.PROVIDER)),
        (503, flat(503), {}, Judged(Verdict.OVERLOADED)),
        *(
            (status, flat(status, code=code), {}, Judged(Verdict.QUOTA))
            for status in (403, 404, 429)
            for code in sorted(UNPAID)
        ),
    ],
)
def test_what_an_inference_error_means(status: int, body: bytes, headers: dict[str, str], judged: Judged) -> None:
    """Only a 401 speaks of the token; unpaid, capacity and the account's limit are told apart by code and headers."""
    assert judge_nous(status, body, headers) == judged


def test_the_longest_reset_of_a_used_up_budget_counts() -> None:
    """Several budgets may be used up; asking before the last is refilled is in vain."""
    assert (
        account_reset({**USED_UP, **SHORT, "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "60"})
        == 1800.5
    )
    assert account_reset({**SHORT, **LEFT, **ODD, "x-ratelimit-remaining-requests-1h": "0"}) is None
