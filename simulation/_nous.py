"""Nous inference before its models: whom it lets in, its error bodies and its headers. Pure.

Errors are flat, `{status, message, …}`, without the `error` object of the OpenAI wire. Shapes as Hermes Agent reads
them (`error_classifier.py`, `rate_limit_tracker.py`, `credits_tracker.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, final

from ._answers import Wire
from ._incoming import Incoming
from ._portal import Portal
from ._portal_tokens import fingerprint
from ._script import Status

NousErrorName: TypeAlias = Literal[
    "invalid_token",
    "unknown_free_model",
    "billing",
    "edge_block",
    "permission",
    "paid_model",
    "not_on_free_tier",
    "unknown_model",
    "wrong_host",
    "account_limit",
    "capacity",
    "rate_limited",
    "at_capacity",
    "model_not_free",
    "policy",
    "server",
    "unavailable",
]
"""What can be wrong, each with a mark of its own."""

BUDGET: Mapping[str, str] = {
    f"x-ratelimit-{what}-{of}{over}": value
    for over in ("", "-1h")
    for of in ("requests", "tokens")
    for what, value in (("limit", "1000"), ("remaining", "999"), ("reset", "30"))
}
"""The twelve headers of a budget that is hardly used; resets are seconds from now."""

CREDITS: Mapping[str, str] = {
    "x-nous-credits-version": "1",
    "x-nous-credits-remaining-micros": "12000000",
    "x-nous-credits-remaining-usd": "12.00",
    "x-nous-credits-subscription-micros": "5000000",
    "x-nous-credits-subscription-usd": "5.00",
    "x-nous-credits-subscription-limit-micros": "10000000",
    "x-nous-credits-subscription-limit-usd": "10.00",
    "x-nous-credits-rollover-micros": "0",
    "x-nous-credits-rollover-usd": "0.00",
    "x-nous-credits-purchased-micros": "7000000",
    "x-nous-credits-purchased-usd": "7.00",
    "x-nous-credits-denominator-kind": "subscription_cap",
    "x-nous-credits-paid-access": "true",
    "x-nous-credits-as-of-ms": "1760000000000",
}
"""What an account has left; it is used up only where `paid-access` is false."""

_SPENT = {"x-ratelimit-remaining-requests-1h": "0", "x-ratelimit-reset-requests-1h": "900", "retry-after": "900"}
_DEPLETED = {
    "x-nous-credits-remaining-micros": "0",
    "x-nous-credits-remaining-usd": "0.00",
    "x-nous-credits-paid-access": "false",
    "x-nous-credits-disabled-reason": "no_usable_credits",
}
_SHARE = {"RateLimit": '"free";r=0;t=30', "RateLimit-Policy": '"free";q=50;w=60', "retry-after": "30"}


def flat_error(status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: object) -> Status:
    """Return a refusal in the flat shape; `fields` are `code`, `error`, `reason` and their like."""
    body = json.dumps({"status": status, "message": message, **fields}).encode()
    return Status(status, 0.0, headers or {}, body)


def _share(reason: str, message: str) -> Status:
    more = {"retry_after": 30, "alternates": ["simulated/other"], "upgrade_url": "https://portal.nousresearch.com"}
    return flat_error(429, message, headers=_SHARE, reason=reason, **more)


_CLOUDFLARE = Status(
    403,
    0.0,
    {"server": "cloudflare"},
    b"<!DOCTYPE html><html><head><title>Access denied</title></head><body>error code: 1010</body></html>",
    "text/html; charset=UTF-8",
)

NOUS_ERRORS: Mapping[NousErrorName, Status] = {
    "invalid_token": flat_error(401, "Access token is invalid or expired", error="invalid_token"),
    "unknown_free_model": flat_error(401, "Unknown model for this credential"),
    "billing": flat_error(402, "Insufficient credits", headers=_DEPLETED, code="insufficient_credits"),
    "edge_block": _CLOUDFLARE,
    "permission": flat_error(403, "The credential lacks a permission", error="forbidden"),
    "paid_model": flat_error(404, "Not enough credits for this model", code="insufficient_credits_for_paid_model"),
    "not_on_free_tier": flat_error(404, "The model is no longer free", code="model_not_supported_on_free_tier"),
    "unknown_model": flat_error(404, "Model not found"),
    "wrong_host": flat_error(400, "Anonymous credentials are for https://welcome-api.nousresearch.com/v1"),
    "account_limit": flat_error(429, "You have reached the limit on your API key", headers=_SPENT),
    "capacity": flat_error(429, "The model is at capacity upstream", headers={"retry-after": "30"}),
    "rate_limited": _share("rate_limited", "You have had your share"),
    "at_capacity": _share("at_capacity", "The free tier is busy"),
    "model_not_free": _share("model_not_free", "The model is not free"),
    "policy": flat_error(451, "Refused by policy"),
    "server": flat_error(500, "Internal server error"),
    "unavailable": flat_error(503, "Service unavailable"),
}
"""What inference refuses with, to be played in a script; those of 429 that are not the account's leave its budget."""


@final
class NousGuard:
    """Lets in who shows a live access token with the scope for inference, or a live key.

    Args:
        now: The Portal's clock.
    """

    def __init__(self, portal: Portal, now: Callable[[], float]) -> None:
        self._portal, self._now = portal, now

    def refusal(self, asked: Incoming) -> Status | None:
        """Return how a request is refused, or None to let it in; count it either way."""
        if not asked.headers.get("user-agent"):
            return NOUS_ERRORS["edge_block"]
        bearer = asked.bearer or asked.headers.get("x-api-key", "")
        shown, counts = fingerprint(bearer), self._portal.counts
        counts.inference[shown] += 1
        why = self._portal.refusal(bearer, self._now())
        if why is None:
            return None
        counts.refused[shown] += 1
        return NOUS_ERRORS["permission" if why == "scope" else "invalid_token"]

    def error(self, wire: Wire, status: int) -> bytes:
        """Return the body of an error whose script says none: flat, on either wire."""
        return flat_error(status, f"simulated {status}").body or b""

    def headers(self) -> Mapping[str, str]:
        """Return the budget and the credits, which every answer has."""
        return {**BUDGET, **CREDITS}
