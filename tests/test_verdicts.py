"""The failure table, held row by row against the rules it was made from."""

from __future__ import annotations

import pytest

from understudy.providers import RULES, Blame, HandOver, Retry, Rule, Verdict

NEVER, ONCE, LAST = Retry.NEVER, Retry.ONCE, Retry.LAST
NOBODY, MODEL, ENDPOINT, CREDENTIAL = Blame.NOBODY, Blame.MODEL, Blame.ENDPOINT, Blame.CREDENTIAL
YES, NO, REFUSED, OPT_IN = HandOver.YES, HandOver.NO, HandOver.REFUSED, HandOver.OPT_IN
V = Verdict

STATUSES: list[tuple[Verdict, Retry, Blame, HandOver, bool]] = [
    # what came over HTTP: verdict, retry, counts against, hand over, hint
    (V.EMPTY, NEVER, NOBODY, YES, False),
    (V.OK, NEVER, NOBODY, NO, False),
    (V.MALFORMED, NEVER, MODEL, YES, True),
    (V.MISCONFIGURED, NEVER, NOBODY, REFUSED, False),
    (V.CALLER, NEVER, NOBODY, NO, False),
    (V.CAPABILITY, NEVER, NOBODY, OPT_IN, False),
    (V.QUOTA, NEVER, CREDENTIAL, YES, True),
    (V.POLICY, NEVER, NOBODY, OPT_IN, False),
    (V.AUTH, NEVER, CREDENTIAL, REFUSED, False),  # the one try after a renewal belongs to the credential's owner
    (V.AUTHZ, NEVER, NOBODY, REFUSED, False),
    (V.EDGE, NEVER, ENDPOINT, YES, True),
    (V.NOT_FOUND, NEVER, NOBODY, REFUSED, False),
    (V.LOCAL_CONFIG, NEVER, NOBODY, NO, False),
    (V.TIMEOUT, NEVER, MODEL, YES, True),
    (V.CONFLICT, ONCE, NOBODY, YES, True),
    (V.STALE_CONNECTION, ONCE, NOBODY, NO, False),
    (V.THROTTLED, LAST, NOBODY, YES, True),
    (V.NO_VERDICT, NEVER, NOBODY, NO, False),
    (V.PROVIDER, LAST, MODEL, YES, True),
    (V.OVERLOADED, LAST, MODEL, YES, True),
    (V.TRANSIENT, LAST, NOBODY, YES, True),
]

CONDITIONS: list[tuple[Verdict, Retry, Blame, HandOver, bool]] = [
    # what never became an HTTP answer, or is our own doing
    (V.CONNECT, LAST, ENDPOINT, YES, False),  # nothing was sent, so the last route may be tried again
    (V.TLS_TRUST, NEVER, ENDPOINT, YES, False),
    (V.LOCAL_OVERLOAD, NEVER, NOBODY, YES, False),
    (V.INTERNAL, NEVER, NOBODY, YES, False),
    (V.STOPPED, NEVER, NOBODY, NO, False),
    (V.CUT_SHORT, NEVER, NOBODY, YES, False),
    (V.CREDENTIAL, NEVER, NOBODY, YES, False),  # what bars the credential is its owner's business, and is told by it
]

STREAMS: list[tuple[Verdict, Retry, Blame, HandOver, bool]] = [
    (V.TRUNCATED, NEVER, MODEL, YES, False),
]

OUTWARD: dict[Verdict, int | None] = {
    V.OK: None,
    V.CALLER: 400,
    V.CAPABILITY: 400,
    V.POLICY: 400,
    V.AUTH: 401,
    V.QUOTA: 402,
    V.AUTHZ: 403,
    V.NOT_FOUND: 404,
    V.CONFLICT: 409,
    V.THROTTLED: 429,
    V.NO_VERDICT: 499,
    V.LOCAL_CONFIG: 500,
    V.INTERNAL: 500,
    V.OVERLOADED: 503,
    V.TRANSIENT: 503,
    V.LOCAL_OVERLOAD: 503,
    V.STOPPED: 503,
    V.CREDENTIAL: 503,
    V.TIMEOUT: 504,
    V.CUT_SHORT: 504,
}
"""The status a caller sees where the provider sent none; a 502 for the rest."""


@pytest.mark.parametrize(
    ("verdict", "retry", "counts", "hand_over", "hint"),
    STATUSES + CONDITIONS + STREAMS,
    ids=[r[0] for r in STATUSES + CONDITIONS + STREAMS],
)
def test_each_row_says_what_the_rules_say(
    verdict: Verdict, retry: Retry, counts: Blame, hand_over: HandOver, hint: bool
) -> None:
    """A verdict's four answers are those of the failure table."""
    assert verdict.rule == Rule(retry, counts, hand_over, hint, OUTWARD.get(verdict, 502))


def test_every_verdict_has_exactly_one_row() -> None:
    """No verdict is without a rule, no rule without a verdict, and this file leaves none out."""
    assert list(RULES) == list(Verdict)
    assert sorted(row[0] for row in STATUSES + CONDITIONS + STREAMS) == sorted(Verdict)


def test_a_verdict_shows_itself_as_a_lower_case_word() -> None:
    """What trails and JSON show of a verdict is its name in lower case, and stays the same for ever."""
    assert [str(verdict) for verdict in Verdict] == [verdict.name.lower() for verdict in Verdict]


@pytest.mark.parametrize("verdict", [v for v in Verdict if v.rule.counts is not NOBODY])
def test_who_is_blamed_is_also_left(verdict: Verdict) -> None:
    """A failure that counts against somebody can always be handed over: a circuit only opens when that helps."""
    assert verdict.rule.hand_over in {YES, REFUSED}


@pytest.mark.parametrize("verdict", [v for v in Verdict if v.rule.hand_over in {NO, OPT_IN}])
def test_what_is_not_handed_over_is_not_retried_either(verdict: Verdict) -> None:
    """When the request or we are at fault, nobody is asked again, no hint is kept, and nobody is blamed.

    The one exception is a connection that leads to the wrong host: another one may lead to the right one.
    """
    retry = ONCE if verdict is V.STALE_CONNECTION else NEVER
    assert (verdict.rule.retry, verdict.rule.counts, verdict.rule.hint) == (retry, NOBODY, False)
