"""Judging what the Nous inference API answers: its own codes and limits first, then as for everybody.

Its errors are flat (`status`, `message`, and `code`, `error` or `reason`). A 429 is the account's own only if one of
its budgets is used up for a minute or more; else the model is at capacity upstream, and the key is fine. What cannot be
paid for may come as 404. Pure.

Source: github.com/NousResearch/hermes-agent, `agent/error_classifier.py`, `agent/nous_rate_guard.py`,
`agent/rate_limit_tracker.py`, and its issues 10568, 15898 (capacity is not the account's) and 115702 (404 for credits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ._json import decode
from ._judge import EVIDENCE_LIMIT, Evidence, judge, read_evidence
from ._verdicts import Verdict

ACCOUNT_RESET = 60.0
"""Seconds until its reset from which a budget that is used up is the account's limit."""

UNPAID = frozenset(
    {
        *("insufficient_quota", "billing_not_active", "payment_required", "insufficient_credits", "no_usable_credits"),
        *("balance_depleted", "member_spend_cap_exceeded", "subscription_required", "subscription_expired"),
        *("account_missing", "insufficient_credits_for_paid_model"),
    }
)
"""Codes that waiting does not help with."""

_NOT_FREE = frozenset({"model_not_supported_on_free_tier", "model_not_free"})
"""The model is not for this account; its other models are."""

_BUDGETS = ("requests", "tokens", "requests-1h", "tokens-1h")

BUDGET_HEADERS = frozenset(f"x-ratelimit-{what}-{budget}" for what in ("remaining", "reset") for budget in _BUDGETS)
"""The headers that are looked at."""


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """What a failed answer means; `retry_after` in seconds replaces the answer's own hint, unless None.

    `of_account` says that a limit is the account's: no other model of it will answer either.
    """

    verdict: Verdict
    retry_after: float | None = None
    of_account: bool = False


def judge_nous(status: int, body: bytes, headers: Mapping[str, str]) -> Judged:
    """Say what a failed answer of the Nous inference API means.

    Args:
        headers: By lower-case name.
    """
    evidence = read_evidence(status, body, headers.get("x-should-retry"))
    codes = {*evidence.codes, _reason(body)}
    if codes & _NOT_FREE:
        return Judged(Verdict.NOT_FOUND)
    if codes & UNPAID:
        return Judged(Verdict.QUOTA)
    if status != 429 or evidence.is_page:
        return Judged(judge(evidence))
    return _limited(evidence, codes, headers)


def account_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the account may ask again; None if none of its budgets is used up for a minute or more.

    Args:
        headers: By lower-case name; `x-ratelimit-reset-…` are seconds from now.
    """
    resets = [
        reset
        for name in _BUDGETS
        if _number(headers.get(f"x-ratelimit-remaining-{name}")) == 0
        and (reset := _number(headers.get(f"x-ratelimit-reset-{name}"))) is not None
        and reset >= ACCOUNT_RESET
    ]
    return max(resets, default=None)


def _limited(evidence: Evidence, codes: set[str], headers: Mapping[str, str]) -> Judged:
    reset = account_reset(headers)
    at_capacity = "at_capacity" in codes or "capacity" in evidence.message.lower()
    of_account = reset is not None or (not at_capacity and "api key" in evidence.message.lower())
    return Judged(Verdict.THROTTLED, reset, of_account=of_account)


def _reason(body: bytes) -> str:
    try:
        said = decode(body) if len(body) <= EVIDENCE_LIMIT else None
    except ValueError:
        return ""
    reason = said.get("reason") if isinstance(said, dict) else None
    return reason.lower() if isinstance(reason, str) else ""


def _number(value: str | None) -> float | None:
    value = (value or "").strip()
    if not value.isascii() or not value.replace(".", "", 1).isdigit() or len(value) > 12:
        return None
    return float(value)
