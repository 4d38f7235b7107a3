"""Which ends of an attempt put a hold on whom, and for how long. Pure: a table.

A hold is what a provider tells us, not what we conclude: it bars the model, the endpoint or the credential until an
instant, and does not make circuits open for longer (R-CB-5).
"""

from __future__ import annotations

from ..providers import Blame, Verdict
from ._circuit import Holding

_UNHINTED: dict[Verdict, tuple[Blame, float, float]] = {
    Verdict.THROTTLED: (Blame.MODEL, 5.0, 60.0),
    Verdict.QUOTA: (Blame.CREDENTIAL, 900.0, 3600.0),
    Verdict.AUTH: (Blame.CREDENTIAL, 30.0, 600.0),
}
"""Whom, and the first and the longest hold in seconds, where the provider gives no time. Source: requirements, table A;
for a refused key chosen: it is seldom mended within seconds, and a probe in ten minutes costs nothing."""

GATEWAY_ERRORS = frozenset({502, 504, *range(520, 528), 530})
"""Statuses of a gateway that did not reach the provider: from two models they accuse the endpoint (table A)."""


def hold(verdict: Verdict, hint: float | None, *, of_account: bool = False) -> tuple[Blame, Holding] | None:
    """Return on whom the end of an attempt puts a hold, and its terms; None for no hold.

    Args:
        hint: What the provider said to wait, in seconds. 0 is as if it had said nothing.
        of_account: A limit is the account's, and so the credential's: no other model of it answers either.
    """
    honoured = hint if verdict.rule.hint and hint else None
    if verdict in _UNHINTED:
        blame, first, longest = _UNHINTED[verdict]
        return Blame.CREDENTIAL if of_account else blame, Holding(first, longest, honoured)
    if honoured is None:
        return None
    blame = verdict.rule.counts
    return (Blame.MODEL if blame is Blame.NOBODY else blame), Holding(honoured, honoured, honoured)


def counts(verdict: Verdict, hint: float | None) -> Blame:
    """Return whose circuit a failure counts against. Overloaded with a time is alive, and merely asks for less."""
    if verdict is Verdict.OVERLOADED and hint:
        return Blame.NOBODY
    blame = verdict.rule.counts
    return Blame.NOBODY if blame is Blame.CREDENTIAL else blame
