"""Who may ask the gateway: hosts, pages, tokens and kinds of body, in tables."""

from __future__ import annotations

import hmac
import statistics
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.gateway import Guard, Head, Refusal, _guard
from understudy.gateway._guard import FAILURES, PEERS, SELF, WITHIN, is_loopback

TOKEN = "Zm9yIGEgbG9uZyB0aW1lIEkgdXNlZCB0byBn"


def head(*headers: tuple[str, str], method: str = "GET", target: str = "/v1/models", peer: str = "127.0.0.1") -> Head:
    """Make a head with a Host, unless there is one."""
    if not any(name == "host" for name, _ in headers):
        headers = (("host", "127.0.0.1:8080"), *headers)
    return Head(method, target, headers, peer)


def bearer(token: str, scheme: str = "Bearer") -> tuple[str, str]:
    """Show a token."""
    return "authorization", f"{scheme} {token}"


def status(refusal: Refusal | None) -> int:
    """Return what a refusal is answered with; 0 for none."""
    return 0 if refusal is None else refusal.status


@pytest.mark.parametrize(
    "shown",
    [
        [bearer(TOKEN)],
        [bearer(TOKEN, "bearer")],
        [bearer(TOKEN, "BEARER")],
        [bearer(" " + TOKEN)],
        [("x-api-key", TOKEN)],
    ],
)
def test_a_good_token_is_let_in(shown: list[tuple[str, str]]) -> None:
    """As a bearer, or as a key."""
    assert Guard(["another", TOKEN]).judge(head(*shown), 0) is None


WRONG: list[list[tuple[str, str]]] = [
    [],
    [bearer("")],
    [("authorization", "Bearer")],
    [("authorization", TOKEN)],
    [bearer(TOKEN, "Basic")],
    [bearer(TOKEN[:-1])],
    [bearer(TOKEN + "x")],
    [bearer(TOKEN.lower())],
    [bearer("x" + TOKEN[1:])],
    [bearer(TOKEN[:20])],
    [bearer(TOKEN + "\xfc")],
    [("x-api-key", "")],
    [("x-api-key", "wrong")],
    [("x-api-key", f"Bearer {TOKEN}")],
    [("api-key", TOKEN)],
    [("cookie", f"token={TOKEN}")],
    [bearer(TOKEN), ("x-api-key", TOKEN)],
    [bearer(TOKEN), ("x-api-key", "")],
    [bearer(TOKEN), bearer(TOKEN)],
    [("x-api-key", TOKEN), ("x-api-key", TOKEN)],
]


@pytest.mark.parametrize("shown", WRONG, ids=repr)
def test_every_other_token_is_refused_in_the_same_words(shown: list[tuple[str, str]]) -> None:
    """Absent, wrong, nearly right, or shown twice."""
    said = "the gateway's token is missing or is another one: show what `understudy token` prints where it runs, "
    said += "in one header alone, as a bearer or as x-api-key"
    assert Guard([TOKEN]).judge(head(*shown), 0) == Refusal(401, said, (("www-authenticate", "Bearer"),))


def test_no_token_lets_nobody_in() -> None:
    """Neither a guard without tokens, nor an empty token, means that anybody may ask."""
    for guard in (Guard([]), Guard([""])):
        for shown in ([], [bearer("")], [("x-api-key", "")]):
            assert status(guard.judge(head(*shown), 0)) == 401


def test_a_token_in_the_target_is_none() -> None:
    """Addresses end up in logs."""
    assert status(Guard([TOKEN]).judge(head(target=f"/v1/models?key={TOKEN}"), 0)) == 401


def test_a_guard_keeps_no_token() -> None:
    """Digests are all it has."""
    guard = Guard([TOKEN])
    assert TOKEN not in repr([getattr(guard, name) for name in guard.__slots__])


def test_how_much_of_a_token_is_right_does_not_show_in_the_time() -> None:
    """Comparing takes as long for a token that is nearly right as for one that is not right at all."""
    guard = Guard([TOKEN])
    shown = [TOKEN[:-1] + "!", "!" * len(TOKEN)]
    samples: list[list[int]] = [[], []]
    for turn in range(50_000):  # by turns, so that what else the machine does falls on both
        for which in (0, 1) if turn % 2 else (1, 0):
            begun = time.perf_counter_ns()
            guard._is_good(shown[which])
            samples[which].append(time.perf_counter_ns() - begun)
    near, far = (statistics.median(each) for each in samples)
    assert abs(near - far) <= 0.1 * max(near, far)


def test_who_fails_too_often_is_told_to_wait() -> None:
    """Ten failures in a minute, and the next is a 429 that says for how long; others are not concerned."""
    guard = Guard([TOKEN])
    there, elsewhere = head(peer="192.0.2.1"), head(peer="192.0.2.2")
    assert [status(guard.judge(there, second)) for second in range(FAILURES)] == [401] * FAILURES
    refusal = guard.judge(there, 10)
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (429, (("retry-after", "50"),))
    assert status(guard.judge(elsewhere, 10)) == 401
    assert status(guard.judge(head(bearer(TOKEN), peer="192.0.2.1"), 10)) == 429
    assert guard.judge(head(bearer(TOKEN), peer="192.0.2.1"), WITHIN) is None
    assert status(guard.judge(there, WITHIN)) == 401
    assert status(guard.judge(there, WITHIN)) == 429


def test_on_the_loopback_one_who_fails_locks_nobody_out() -> None:
    """All programs of a machine have one address there."""
    guard = Guard([TOKEN])
    for _ in range(100):
        refusal = guard.judge(head(), 0)
    assert status(refusal) == 429
    assert guard.judge(head(bearer(TOKEN)), 0) is None


def test_addresses_of_one_customer_are_one_peer() -> None:
    """Of IPv6, everybody has 2^64 of them."""
    guard = Guard([TOKEN])
    said = [status(guard.judge(head(peer=f"2001:db8::{number:x}"), 0)) for number in range(1, 12)]
    assert said == [401] * 10 + [429]
    assert status(guard.judge(head(peer="2001:db8:0:1::1"), 0)) == 401


def test_what_is_remembered_of_failures_is_bounded() -> None:
    """And old failures are forgotten."""
    guard = Guard([TOKEN])
    for number in range(PEERS + 100):
        guard.judge(head(peer=f"10.0.{number // 256}.{number % 256}"), 0)
    assert guard.remembered == PEERS
    guard.judge(head(bearer(TOKEN), peer="10.0.1.0"), WITHIN)
    assert guard.remembered == PEERS - 1


HOSTS: list[tuple[str, int]] = [
    ("localhost", 0),
    ("LOCALHOST:8080", 0),
    ("127.0.0.1", 0),
    ("127.0.0.1:1", 0),
    ("127.1.2.3:80", 0),
    ("[::1]", 0),
    ("[::1]:8080", 0),
    ("gateway.lan", 0),
    ("gateway.lan:99", 0),
    ("box.lan:8080", 0),
    ("box.lan", 421),
    ("box.lan:8081", 421),
    ("evil.example", 421),
    ("evil.example:8080", 421),
    ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421),
    ("127.0.0.1.nip.io", 421),
    ("notlocalhost", 421),
    ("localhost.", 421),
    ("app.localhost", 421),
    ("127.1", 421),
    ("2130706433", 421),
    ("0x7f000001", 421),
    ("0177.0.0.1", 421),
    ("127.0.0.01", 421),
    ("0.0.0.0", 421),  # noqa: S104 - a name that is refused
    ("192.168.0.1", 421),
    ("169.254.169.254", 421),
    ("[::ffff:127.0.0.1]", 421),
    ("[::ffff:7f00:1]", 421),
    ("[::]", 421),
    ("[0:0:0:0:0:0:0:1]", 0),
    ("xgateway.lan", 421),
    ("", 400),
    ("a b", 400),
    ("localhost@evil.example", 400),
    ("evil.example/localhost", 400),
    ("localhost, evil.example", 400),
    ("localhost:", 400),
    ("[::1", 400),
]


@pytest.mark.parametrize(("host", "expected"), HOSTS)
def test_the_host_has_to_be_one_of_ours(host: str, expected: int) -> None:
    """The loopback as it is usually written, and what is allowed; whatever else resolves here is not ours."""
    guard = Guard([TOKEN], hosts=["Gateway.LAN", "box.lan:8080"])
    assert status(guard.judge(head(("host", host), bearer(TOKEN)), 0)) == expected


def test_there_is_one_host() -> None:
    """Not none, not two, not even the same one twice."""
    guard = Guard([TOKEN])
    assert status(guard.judge(Head("GET", "/", (bearer(TOKEN),)), 0)) == 400
    assert status(guard.judge(head(("host", "localhost"), ("host", "localhost"), bearer(TOKEN)), 0)) == 400


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ((), "http://127.0.0.1:8080", 403),
        ((), "null", 403),
        ((), "", 403),
        ((), "https://evil.example", 403),
        (("https://app.example",), "https://app.example", 0),
        (("https://app.example",), "HTTPS://APP.example", 0),
        (("https://app.example",), "http://app.example", 403),
        (("https://app.example",), "https://app.example:444", 403),
        (("https://app.example",), "https://app.example.evil.example", 403),
        (("https://app.example",), "https://app.example/", 403),
        ((SELF,), "http://127.0.0.1:8080", 0),
        ((SELF,), "http://127.0.0.1:8081", 403),
        ((SELF,), "http://localhost:8080", 403),
        ((SELF,), "https://127.0.0.1:8080", 403),
        ((SELF,), "self", 403),
        ((SELF,), "null", 403),
    ],
)
def test_a_page_has_to_be_allowed(allowed: tuple[str, ...], origin: str, expected: int) -> None:
    """With a good token, too: a page that has it may still not ask from anywhere."""
    if SELF not in allowed or origin != "self":
        guard = Guard([TOKEN], origins=allowed)
        assert status(guard.judge(head(("origin", origin), bearer(TOKEN)), 0)) == expected


def test_two_origins_are_none() -> None:
    """A browser sends one."""
    guard = Guard([TOKEN], origins=["https://a.example"])
    twice = [("origin", "https://a.example")] * 2
    assert status(guard.judge(head(*twice, bearer(TOKEN)), 0)) == 403


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["application/json"], 0),
        (["Application/JSON; charset=UTF-8"], 0),
        (['application/json;charset="utf-8"'], 0),
        (["application/json; profile=x"], 0),
        (["application/json; charset=utf-16"], 415),
        (["text/plain"], 415),
        (["application/x-www-form-urlencoded"], 415),
        (["multipart/form-data; boundary=application/json"], 415),
        (["application/jsonp"], 415),
        (["text/plain, application/json"], 415),
        (["text/plain; application/json"], 415),
        ([], 415),
        ([""], 415),
        (["application/json", "application/json"], 415),
    ],
)
def test_a_body_is_json(kinds: list[str], expected: int) -> None:
    """What a page may send anywhere without asking first (a form, a plain text) is refused."""
    guard = Guard([TOKEN])
    fields = [("content-type", kind) for kind in kinds]
    for framing in (("content-length", "5"), ("transfer-encoding", "chunked")):
        assert status(guard.judge(head(*fields, framing, bearer(TOKEN), method="POST"), 0)) == expected
    assert guard.judge(head(*fields, ("content-length", "00"), bearer(TOKEN), method="POST"), 0) is None
    assert guard.judge(head(*fields, bearer(TOKEN)), 0) is None


def test_what_is_open_needs_no_token_but_all_else() -> None:
    """Liveness is for everybody who asks the right host."""
    guard = Guard([TOKEN], open_paths=["/livez"])
    assert guard.judge(head(target="/livez"), 0) is None
    assert guard.judge(head(target="/livez?x"), 0) is None
    assert status(guard.judge(head(("host", "evil.example"), target="/livez"), 0)) == 421
    assert status(guard.judge(head(("origin", "https://evil.example"), target="/livez"), 0)) == 403
    for target in ("/livez/", "//livez", "/LIVEZ", "/%6civez", "/livez%2f", "/x/../livez", "/livez;x"):
        assert status(guard.judge(head(target=target, peer=target), 0)) == 401


def test_the_order_of_reasons() -> None:
    """Who asks the wrong host learns nothing of tokens, and failures are counted of those alone who ask ours."""
    guard = Guard([TOKEN])
    for _ in range(20):
        assert status(guard.judge(head(("host", "evil.example")), 0)) == 421
    assert guard.remembered == 0
    assert status(guard.judge(head(("content-length", "5"), method="POST"), 0)) == 401


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["host", "origin", "authorization", "x-api-key", "content-type", "content-length"]),
            st.text(st.characters(max_codepoint=255), max_size=40)
            | st.sampled_from(["localhost", "Bearer x", "[::1]"]),
        ),
        max_size=6,
    ),
    peer=st.text(max_size=20) | st.sampled_from(["::1", "fe80::1", "127.0.0.1"]),
)
def test_whatever_is_sent_is_judged(headers: list[tuple[str, str]], peer: str) -> None:
    """Without the token nobody comes in, and nothing raises."""
    guard = Guard([TOKEN])
    refusal = guard.judge(Head("POST", "/", tuple(headers), peer), 0)
    assert status(refusal) in {400, 401, 403, 421}


@pytest.mark.parametrize(("name", "expected"), [("localhost", True), ("::1", True), ("[::1]", True), ("::2", False)])
def test_what_is_the_loopback(name: str, expected: bool) -> None:
    """A name or an address, in brackets or without."""
    assert is_loopback(name) == expected


def test_the_same_work_is_done_for_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shown, and however much of it is right, digests of one length are compared with every token's, in the
    function that takes as long for each (R-GW-2): there is no time to be learnt from.
    """
    good = ["a" * 40, "b" * 40, "c" * 40]
    guard = Guard(good)
    compared: list[tuple[bytes, bytes]] = []

    def compare(shown: bytes, known: bytes) -> bool:
        compared.append((shown, known))
        return hmac.compare_digest(shown, known)

    monkeypatch.setattr(_guard, "hmac", SimpleNamespace(compare_digest=compare))
    shown = ["", "a", "a" * 39, "a" * 39 + "b", "a" * 40, "c" * 40, "x" * 10_000]
    for number, token in enumerate(shown):
        before = len(compared)
        guard.judge_token(Head("GET", "/", (("x-api-key", token),), f"10.0.0.{number}"), 0.0)
        assert len(compared) - before == len(good)
    assert {(len(left), len(right)) for left, right in compared} == {(32, 32)}
