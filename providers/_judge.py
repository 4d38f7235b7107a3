"""Judging: from evidence to a verdict, by tables.

Evidence is weighed in this order: the error type or code in the body, the provider's own `x-should-retry`,
the HTTP status. (What never became an HTTP answer is judged by exception type, in `_foreign.py`.)

Sources: the error pages of platform.openai.com/docs/guides/error-codes, docs.anthropic.com/en/api/errors,
ai.google.dev/gemini-api/docs/troubleshooting; RFC 9110 section 15; llama.cpp `tools/server/README.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ._json import JSONValue, decode, encode
from ._verdicts import Verdict

EVIDENCE_LIMIT = 64 * 1024
"""Bytes of an error body that are looked at."""


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """What an HTTP answer says about a failure.

    `codes` are the error's code and type, lower case, the most specific first; `message` is the provider's
    own, and untrusted; `parameter` is the field of the request that it names. `is_page` says that something
    other than JSON came where JSON was due.
    """

    status: int
    codes: tuple[str, ...] = ()
    message: str = ""
    is_page: bool = False
    should_retry: bool | None = None
    parameter: str = ""


_CODES: dict[Verdict, frozenset[str]] = {
    Verdict.QUOTA: frozenset(
        {
            *(
                "insufficient_quota",
                "quota_exceeded",
                "billing_error",
                "billing_not_active",
                "payment_required",
            ),
            *(
                "billing_hard_limit_reached",
                "insufficient_credits",
                "insufficient_balance",
                "credits_exhausted",
            ),
            *("credit_balance_too_low", "enforced_spend_limit_reached", "spend_limit_reached"),
            *("subscription_required", "budget_exceeded"),
        }
    ),
    Verdict.THROTTLED: frozenset(
        {"rate_limit_error", "rate_limit_exceeded", "rate_limited", "slow_down", "resource_exhausted"}
    ),
    Verdict.OVERLOADED: frozenset(
        {
            *("overloaded_error", "overloaded", "engine_overloaded", "model_overloaded"),
            *("unavailable", "unavailable_error", "service_unavailable", "service_unavailable_error"),
            "capacity_exceeded",
        }
    ),
    Verdict.TIMEOUT: frozenset({"timeout_error", "timeout", "deadline_exceeded", "request_timeout"}),
    Verdict.AUTH: frozenset(
        {
            "authentication_error",
            "invalid_api_key",
            "unauthenticated",
            "invalid_authentication",
            "invalid_token",
            "api_key_invalid",
        }
    ),
    Verdict.AUTHZ: frozenset({"permission_error", "permission_denied", "insufficient_permissions"}),
    Verdict.NOT_FOUND: frozenset({"not_found_error", "model_not_found", "not_found", "model_not_available"}),
    Verdict.CAPABILITY: frozenset({"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"}),
    Verdict.POLICY: frozenset(
        {
            *("content_policy_violation", "content_filter", "moderation_blocked", "responsibleaipolicyviolation"),
            "invalid_prompt",
        }
    ),
}

_GENERIC: dict[str, Verdict] = {
    "api_error": Verdict.PROVIDER,
    "server_error": Verdict.PROVIDER,
    "internal_server_error": Verdict.PROVIDER,
    "internal_error": Verdict.PROVIDER,
    "internal": Verdict.PROVIDER,
    "invalid_request_error": Verdict.CALLER,
    "invalid_argument": Verdict.CALLER,
    "badrequesterror": Verdict.CALLER,
    "request_too_large": Verdict.CAPABILITY,
}
"""Types so broad that a status says more: OpenAI sends `invalid_request_error` with 400, 401 and 404 alike, and
`server_error` with every 5xx. They decide only under a 200."""

_BY_CODE: dict[str, Verdict] = {code: verdict for verdict, codes in _CODES.items() for code in codes}

_PHRASES: tuple[tuple[str, Verdict], ...] = (
    ("credit balance", Verdict.QUOTA),
    ("spend limit", Verdict.QUOTA),
    ("api usage limits", Verdict.QUOTA),
    ("api key not valid", Verdict.AUTH),
    ("incorrect api key", Verdict.AUTH),
    ("prompt is too long", Verdict.CAPABILITY),
    ("maximum context length", Verdict.CAPABILITY),
    ("exceed context limit", Verdict.CAPABILITY),
    ("input is too long", Verdict.CAPABILITY),
    ("exceeds the maximum number of tokens", Verdict.CAPABILITY),
    ("content filtering policy", Verdict.POLICY),
    ("input was flagged", Verdict.POLICY),
)
"""What Anthropic and others say under a plain `invalid_request_error`, with no code of its own: Gemini of a key and of
a long input, xAI of a key, Bedrock of a long input, OpenRouter (with 403) of moderation."""

_BY_STATUS: dict[int, Verdict] = {
    401: Verdict.AUTH,
    402: Verdict.QUOTA,
    403: Verdict.AUTHZ,
    404: Verdict.NOT_FOUND,
    407: Verdict.LOCAL_CONFIG,
    408: Verdict.TIMEOUT,
    409: Verdict.CONFLICT,
    410: Verdict.NOT_FOUND,
    413: Verdict.CAPABILITY,
    421: Verdict.STALE_CONNECTION,
    423: Verdict.CONFLICT,
    425: Verdict.CONFLICT,
    429: Verdict.THROTTLED,
    451: Verdict.AUTHZ,
    499: Verdict.NO_VERDICT,
    501: Verdict.MISCONFIGURED,
    503: Verdict.OVERLOADED,
    505: Verdict.MISCONFIGURED,
    529: Verdict.OVERLOADED,
}


def by_status(status: int) -> Verdict:
    """Say what a status means by itself. Unknown ones go by their class; a 2xx here is an answer gone wrong."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    if 200 <= status < 300:
        return Verdict.MALFORMED
    if 300 <= status < 400:
        return Verdict.MISCONFIGURED
    return Verdict.CALLER if 400 <= status < 500 else Verdict.PROVIDER


def judge(evidence: Evidence) -> Verdict:
    """Say what a failed HTTP answer means."""
    by_code = _by_code(evidence)
    if by_code is not None:
        return by_code
    if evidence.is_page and evidence.status in {401, 403, 429}:
        return Verdict.EDGE
    if evidence.should_retry and 400 <= evidence.status < 500 and evidence.status != 429:
        return Verdict.TRANSIENT
    return by_status(evidence.status)


def _by_code(evidence: Evidence) -> Verdict | None:
    for code in evidence.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    if evidence.status in {400, 403} or evidence.status < 300:
        message = evidence.message.lower()
        for phrase, verdict in _PHRASES:
            if phrase in message:
                return verdict
    if evidence.status < 300:  # an error under a 200: its body is all there is
        for code in evidence.codes:
            if code in _GENERIC:
                return _GENERIC[code]
            if code.isascii() and code.isdigit() and len(code) == 3 and int(code) >= 300:
                return by_status(int(code))
    return None


def read_evidence(status: int, body: bytes, should_retry: str | None) -> Evidence:
    """Read what a failed answer says, in any of the shapes that real servers send.

    These are `{"error": {message, type, code}}` (OpenAI, Gemini with `status`, llama.cpp with a number as code),
    `{"type": "error", "error": {…}}` (Anthropic), the same in a list (Gemini), `{"error": "…", "message": "…"}`,
    `{"detail": …}` (FastAPI), `{"object": "error", …}` (vLLM), a page, and nothing at all.
    """
    hint = None if should_retry is None else _HINTS.get(should_retry.strip().lower())
    try:
        parsed = decode(body) if len(body) <= EVIDENCE_LIMIT else None
    except ValueError:
        parsed = None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if isinstance(parsed, str):
        return Evidence(status, (), parsed.strip(), should_retry=hint)
    if not isinstance(parsed, dict):
        text = body[:EVIDENCE_LIMIT].strip()
        message = "" if parsed is None and text.startswith(b"<") else text.decode("utf-8", "replace").strip()
        return Evidence(status, (), message, is_page=bool(text), should_retry=hint)
    error = parsed.get("error")
    inner = error if isinstance(error, dict) else parsed
    named = inner.get("param")
    parameter = named if isinstance(named, str) else ""
    return Evidence(status, _codes(parsed, inner), _message(inner), should_retry=hint, parameter=parameter)


_HINTS = {"true": True, "false": False}
"""What `x-should-retry` says."""


def _codes(body: dict[str, JSONValue], inner: dict[str, JSONValue]) -> tuple[str, ...]:
    named = [inner.get("code"), inner.get("status"), inner.get("type")]
    if inner is body:
        named.append(body.get("error"))
    details = inner.get("details")
    if isinstance(details, dict):
        named.insert(0, details.get("error_code"))
    elif isinstance(details, list):  # Gemini's ErrorInfo, among others
        named[:0] = [detail.get("reason") for detail in details if isinstance(detail, dict)]
    codes = [code for code in named if isinstance(code, (str, int)) and not isinstance(code, bool)]
    return tuple([str(code).lower() for code in codes if code != "error"])


def _message(inner: dict[str, JSONValue]) -> str:
    for name in ("message", "error_description", "detail", "error", "msg"):
        said = inner.get(name)
        if isinstance(said, str) and said:
            return said
        if said and name == "detail":
            return _shown(said)
    return ""


def _shown(said: JSONValue) -> str:
    try:
        return encode(said).decode()
    except ValueError:  # nested beyond what can be written
        return ""
