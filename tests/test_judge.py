"""Judging: what an HTTP answer that failed means, from its body, its headers and its status, in that order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import Evidence, Verdict, encode, judge, read_evidence
from understudy.providers._judge import EVIDENCE_LIMIT, by_status

V = Verdict
HTML = b"<!DOCTYPE html><html><title>Attention Required!</title></html>"

STATUSES: dict[Verdict, set[int]] = {
    V.MALFORMED: {200, 201, 204, 299},
    V.MISCONFIGURED: {300, 301, 302, 303, 307, 308, 399, 501, 505},
    V.CAPABILITY: {413},
    V.CALLER: {400, 405, 406, 411, 414, 415, 417, 418, 422, 428, 431, 498},
    V.AUTH: {401},
    V.QUOTA: {402},
    V.AUTHZ: {403, 451},
    V.NOT_FOUND: {404, 410},
    V.LOCAL_CONFIG: {407},
    V.TIMEOUT: {408},
    V.CONFLICT: {409, 423, 425},
    V.STALE_CONNECTION: {421},
    V.THROTTLED: {429},
    V.NO_VERDICT: {499},
    V.PROVIDER: {500, 502, 504, 506, 507, 508, *range(520, 529), 530, 599, 600, 999, 100},
    V.OVERLOADED: {503, 529},
}
BY_STATUS = [(status, verdict) for verdict, statuses in STATUSES.items() for status in sorted(statuses)]


def judged(status: int, body: object = b"", should_retry: str | None = None) -> Verdict:
    """Judge an answer; a body that is not bytes is written as JSON."""
    return judge(read_evidence(status, body if isinstance(body, bytes) else encode(body), should_retry))


@pytest.mark.parametrize(("status", "verdict"), BY_STATUS)
def test_a_status_means_what_the_table_says(status: int, verdict: Verdict) -> None:
    """With nothing in the body, or nothing known, the status decides; unknown ones go by their class."""
    assert by_status(status) is verdict
    assert judged(status) is verdict
    assert judged(status, {"error": {"message": "no", "type": "a_type_nobody_knows", "code": None}}) is verdict


def openai(kind: str, code: str | None, message: str = "said") -> object:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str = "said") -> object:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def gemini_key() -> object:
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    return [{"error": {"code": 400, "message": "said", "status": "INVALID_ARGUMENT", "details": [5, reason]}}]


def gemini(code: int, status: str) -> object:
    return [{"error": {"code": code, "message": "said", "status": status}}]


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        # OpenAI: the code is more exact than the status, the type `invalid_request_error` is not
        (429, openai("insufficient_quota", "insufficient_quota"), V.QUOTA),
        (429, openai("requests", "rate_limit_exceeded"), V.THROTTLED),
        (429, openai("billing_error", None), V.QUOTA),
        (400, openai("invalid_request_error", "context_length_exceeded"), V.CAPABILITY),
        (400, openai("invalid_request_error", "content_policy_violation"), V.POLICY),
        (403, openai("invalid_request_error", "content_filter"), V.POLICY),
        (400, openai("invalid_request_error", "billing_hard_limit_reached"), V.QUOTA),
        (400, openai("invalid_request_error", None), V.CALLER),
        (401, openai("invalid_request_error", "invalid_api_key"), V.AUTH),
        (404, openai("invalid_request_error", "model_not_found"), V.NOT_FOUND),
        (401, openai("invalid_request_error", None), V.AUTH),
        (503, openai("server_error", None), V.OVERLOADED),
        (503, openai("server_error", "slow_down"), V.THROTTLED),
        # Anthropic
        (529, anthropic("overloaded_error"), V.OVERLOADED),
        (500, anthropic("overloaded_error"), V.OVERLOADED),
        (500, anthropic("api_error"), V.PROVIDER),
        (504, anthropic("timeout_error"), V.TIMEOUT),
        (429, anthropic("rate_limit_error"), V.THROTTLED),
        (401, anthropic("authentication_error"), V.AUTH),
        (403, anthropic("permission_error"), V.AUTHZ),
        (404, anthropic("not_found_error"), V.NOT_FOUND),
        (413, anthropic("request_too_large"), V.CAPABILITY),
        (400, anthropic("billing_error"), V.QUOTA),
        (400, anthropic("invalid_request_error", "Your credit balance is too low"), V.QUOTA),
        (400, anthropic("invalid_request_error", "You have reached your spend limit"), V.QUOTA),
        (400, anthropic("invalid_request_error", "prompt is too long: 210000 tokens"), V.CAPABILITY),
        (500, anthropic("api_error", "prompt is too long"), V.PROVIDER),
        (429, {"error": {"type": "x", "details": {"error_code": "credits_exhausted"}}}, V.QUOTA),
        # Gemini, in a list and bare
        (429, gemini(429, "RESOURCE_EXHAUSTED"), V.THROTTLED),
        (503, gemini(503, "UNAVAILABLE"), V.OVERLOADED),
        (504, gemini(504, "DEADLINE_EXCEEDED"), V.TIMEOUT),
        (400, gemini(400, "INVALID_ARGUMENT"), V.CALLER),
        (400, gemini(400, "UNAUTHENTICATED"), V.AUTH),
        (403, gemini(403, "PERMISSION_DENIED"), V.AUTHZ),
        (500, gemini(500, "INTERNAL"), V.PROVIDER),
        # llama.cpp: a number as code
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, V.OVERLOADED),
        (400, {"error": {"code": 400, "message": "…", "type": "exceed_context_size_error"}}, V.CAPABILITY),
        (401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}, V.AUTH),
        # flat, FastAPI, vLLM
        (401, {"error": "invalid_token", "message": "expired"}, V.AUTH),
        (402, {"error": "insufficient_credits", "message": "top up"}, V.QUOTA),
        (500, {"error": "something broke"}, V.PROVIDER),
        (404, {"detail": "Not Found"}, V.NOT_FOUND),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, V.CALLER),
        (400, {"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, V.CALLER),
        (400, {"object": "error", "message": "The maximum context length is 4096", "code": 400}, V.CAPABILITY),
        # an error under a 200: its body is all there is
        (200, openai("server_error", None), V.PROVIDER),
        (200, openai("invalid_request_error", None), V.CALLER),
        (200, anthropic("overloaded_error"), V.OVERLOADED),
        (200, {"error": {"code": 502, "message": "upstream"}}, V.PROVIDER),
        (200, {"error": {"code": 429, "message": "upstream"}}, V.THROTTLED),
        (200, {"error": {"code": "401"}}, V.AUTH),
        (200, {"error": {"code": 200}}, V.MALFORMED),
        (200, {"error": {"message": "no idea"}}, V.MALFORMED),
        (200, {}, V.MALFORMED),
        # shapes that say nothing
        (401, {"error": None}, V.AUTH),
        (500, [], V.PROVIDER),
        (429, {"error": {"code": True, "type": ["rate"]}}, V.THROTTLED),
    ],
)
def test_what_the_body_says_is_weighed_before_the_status(status: int, body: object, verdict: Verdict) -> None:
    """A known code decides, whichever shape it comes in; an unknown or a broad one leaves it to the status."""
    assert judged(status, body) is verdict


@pytest.mark.parametrize("body", [HTML, b"  \n<html>", b"Access denied", b'{"error": ', b"\xff\xfe", b"\x00"])
@pytest.mark.parametrize(
    ("status", "verdict"),
    [(401, V.EDGE), (403, V.EDGE), (429, V.EDGE), (404, V.NOT_FOUND), (502, V.PROVIDER), (503, V.OVERLOADED)],
)
def test_a_page_in_place_of_json_is_a_proxy_speaking(status: int, body: bytes, verdict: Verdict) -> None:
    """A 401, 403 or 429 that is not JSON comes from something in front; for the rest the status still decides."""
    assert judged(status, body) is verdict


@pytest.mark.parametrize(("status", "verdict"), [(401, V.AUTH), (403, V.AUTHZ), (429, V.THROTTLED)])
@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_is_no_page(status: int, verdict: Verdict, body: bytes) -> None:
    """Without any body the status decides."""
    assert judged(status, body) is verdict


@pytest.mark.parametrize(
    ("status", "body", "header", "verdict"),
    [
        (400, b"", "true", V.TRANSIENT),
        (404, b"", " TRUE ", V.TRANSIENT),
        (422, openai("invalid_request_error", None), "true", V.TRANSIENT),
        (400, openai("invalid_request_error", "context_length_exceeded"), "true", V.CAPABILITY),  # the body first
        (403, HTML, "true", V.EDGE),
        (429, b"", "true", V.THROTTLED),  # says more, and is retried all the same
        (500, b"", "true", V.PROVIDER),
        (400, b"", "false", V.CALLER),
        (500, b"", "false", V.PROVIDER),
        (400, b"", "perhaps", V.CALLER),
        (400, b"", "", V.CALLER),
    ],
)
def test_the_provider_may_ask_for_another_try(status: int, body: object, header: str, verdict: Verdict) -> None:
    """`x-should-retry: true` makes a 4xx transient unless the body says more; `false` changes no verdict."""
    assert judged(status, body, header) is verdict


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, openai("T", "C", "m"), Evidence(400, ("c", "t"), "m")),
        (400, gemini(400, "INVALID_ARGUMENT"), Evidence(400, ("400", "invalid_argument"), "said")),
        (400, {"error": "Bad", "message": "m"}, Evidence(400, ("bad",), "m")),
        (400, {"error": "only_this"}, Evidence(400, ("only_this",), "only_this")),
        (400, {"error": "e", "error_description": "d"}, Evidence(400, ("e",), "d")),
        (422, {"detail": [{"msg": "x"}]}, Evidence(422, (), '[{"msg":"x"}]')),
        (422, {"detail": ""}, Evidence(422)),
        (502, HTML, Evidence(502, (), "", is_page=True)),
        (502, b" Bad Gateway\n", Evidence(502, (), "Bad Gateway", is_page=True)),
        (502, b"", Evidence(502)),
        (500, b'{"detail":' + b"[" * 1020 + b"]" * 1020 + b"}", Evidence(500)),  # too deep to be written again
        (
            500,
            b'{"a":"' + b"x" * EVIDENCE_LIMIT + b'"}',
            Evidence(500, (), '{"a":"' + "x" * (EVIDENCE_LIMIT - 6), True),
        ),
    ],
)
def test_evidence_is_read_from_every_known_shape(status: int, body: object, expected: Evidence) -> None:
    """Codes are lower case and the most specific first; a page has no message; only so much of a body is read."""
    assert read_evidence(status, body if isinstance(body, bytes) else encode(body), None) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "status", "message", "detail", "details", "error_code"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 999), st.binary(max_size=64) | JSON.map(encode), st.none() | st.text(max_size=6))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_answer_whatever_is_too_odd_to_be_judged(status: int, body: bytes, should_retry: str | None) -> None:
    """Any status with any body gets a verdict, and never `OK`."""
    verdict = judged(status, body, should_retry)
    assert isinstance(verdict, Verdict)
    assert verdict is not Verdict.OK


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (400, gemini_key(), V.AUTH),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."}, V.AUTH),
        (400, anthropic("invalid_request_error", "You have reached your specified API usage limits."), V.QUOTA),
        (400, {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "400"}}, V.QUOTA),
        (400, anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit"), V.CAPABILITY),
        (400, {"message": "Input is too long for requested model."}, V.CAPABILITY),
        (400, [{"error": {"message": "The input exceeds the maximum number of tokens allowed (1)"}}], V.CAPABILITY),
        (400, anthropic("invalid_request_error", "Output blocked by content filtering policy"), V.POLICY),
        (400, openai("invalid_request_error", "invalid_prompt"), V.POLICY),
        (403, {"error": {"message": "m requires moderation. Your input was flagged for x", "code": 403}}, V.POLICY),
        (498, openai("capacity_exceeded", None), V.OVERLOADED),
    ],
)  # fmt: skip
def test_what_servers_say_under_a_broad_status_counts(status: int, body: object, verdict: Verdict) -> None:
    """A key, a quota, a length or a policy that is refused with a plain 400 or 403 is judged as what it is."""
    assert judged(status, body) is verdict
