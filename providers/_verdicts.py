"""Verdicts: what the end of an attempt means, as one table that a reader can hold against the rules.

A verdict answers four questions, one per column of `RULES`:

* `retry`: may the *same* provider be asked again? `LAST` is "only on the last route, after a backoff".
* `counts`: who is to blame? The circuit of the model or of the whole endpoint, the credential, or nobody.
* `hand_over`: does the next route get the request? `REFUSED` depends on `LLM_FALLBACK_ON_REFUSED`,
  `OPT_IN` on an explicit setting of the agent (off unless set).
* `hint`: is a Retry-After of the provider honoured?

How evidence becomes a verdict stands in `_judge.py`; what is done about a verdict, in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import final


class Verdict(StrEnum):
    """What the end of an attempt means. The value is what trails, logs and JSON show."""

    OK = auto()
    EMPTY = auto()
    """A finished answer with neither text nor a tool call."""
    THROTTLED = auto()
    """Alive, but asking for less."""
    OVERLOADED = auto()
    PROVIDER = auto()
    """The provider failed."""
    TIMEOUT = auto()
    """A configured limit of ours, or the provider's own, ran out."""
    CUT_SHORT = auto()
    """The caller's timeout left too little time: it says nothing about the provider."""
    CONNECT = auto()
    """No connection was made; nothing was sent."""
    TLS_TRUST = auto()
    STALE_CONNECTION = auto()
    """The connection does not lead to this host (421): another one may."""
    MALFORMED = auto()
    """An answer that cannot be read."""
    TRUNCATED = auto()
    """A stream that ended before its answer did."""
    TRANSIENT = auto()
    """The provider itself says that asking again may help."""
    CONFLICT = auto()
    EDGE = auto()
    """A firewall or proxy answered in the provider's place."""
    QUOTA = auto()
    """Paid for, or not: waiting does not help."""
    AUTH = auto()
    CREDENTIAL = auto()
    """Our login cannot be used now: it is over, or was renewed in vain."""
    AUTHZ = auto()
    NOT_FOUND = auto()
    MISCONFIGURED = auto()
    CALLER = auto()
    """The request is at fault: no provider will like it."""
    CAPABILITY = auto()
    """More than the model or its server takes."""
    POLICY = auto()
    LOCAL_CONFIG = auto()
    LOCAL_OVERLOAD = auto()
    """We have no room; no provider is to blame."""
    INTERNAL = auto()
    """A bug of ours."""
    STOPPED = auto()
    """The endpoint was stopped under the call."""
    NO_VERDICT = auto()
    """The caller left."""

    @property
    def rule(self) -> Rule:
        """The row of this verdict."""
        return RULES[self]


class Retry(StrEnum):
    """May the same provider be asked again?"""

    NEVER = auto()
    ONCE = auto()
    LAST = auto()


class Blame(StrEnum):
    """Whom a failure counts against."""

    NOBODY = auto()
    MODEL = auto()
    ENDPOINT = auto()
    CREDENTIAL = auto()


class HandOver(StrEnum):
    """Does the next route get the request?"""

    YES = auto()
    NO = auto()
    REFUSED = auto()
    OPT_IN = auto()


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table; `outward` is the HTTP status a caller sees where the provider sent none."""

    retry: Retry
    counts: Blame
    hand_over: HandOver
    hint: bool = False
    outward: int | None = None


_NEVER, _ONCE, _LAST = Retry.NEVER, Retry.ONCE, Retry.LAST
_NOBODY, _MODEL, _ENDPOINT, _CREDENTIAL = Blame.NOBODY, Blame.MODEL, Blame.ENDPOINT, Blame.CREDENTIAL
_YES, _NO, _REFUSED, _OPT_IN = HandOver.YES, HandOver.NO, HandOver.REFUSED, HandOver.OPT_IN

RULES: dict[Verdict, Rule] = {
    Verdict.OK:               Rule(_NEVER, _NOBODY,     _NO),
    Verdict.EMPTY:            Rule(_NEVER, _NOBODY,     _YES,     outward=502),
    Verdict.THROTTLED:        Rule(_LAST,  _NOBODY,     _YES,     hint=True, outward=429),
    Verdict.OVERLOADED:       Rule(_LAST,  _MODEL,      _YES,     hint=True, outward=503),
    Verdict.PROVIDER:         Rule(_LAST,  _MODEL,      _YES,     hint=True, outward=502),
    Verdict.TIMEOUT:          Rule(_NEVER, _MODEL,      _YES,     hint=True, outward=504),
    Verdict.CUT_SHORT:        Rule(_NEVER, _NOBODY,     _YES,     outward=504),
    Verdict.CONNECT:          Rule(_LAST,  _ENDPOINT,   _YES,     outward=502),
    Verdict.TLS_TRUST:        Rule(_NEVER, _ENDPOINT,   _YES,     outward=502),
    Verdict.STALE_CONNECTION: Rule(_ONCE,  _NOBODY,     _NO,      outward=502),
    Verdict.MALFORMED:        Rule(_NEVER, _MODEL,      _YES,     hint=True, outward=502),
    Verdict.TRUNCATED:        Rule(_NEVER, _MODEL,      _YES,     outward=502),
    Verdict.TRANSIENT:        Rule(_LAST,  _NOBODY,     _YES,     hint=True, outward=503),
    Verdict.CONFLICT:         Rule(_ONCE,  _NOBODY,     _YES,     hint=True, outward=409),
    Verdict.EDGE:             Rule(_NEVER, _ENDPOINT,   _YES,     hint=True, outward=502),
    Verdict.QUOTA:            Rule(_NEVER, _CREDENTIAL, _YES,     hint=True, outward=402),
    Verdict.AUTH:             Rule(_NEVER, _CREDENTIAL, _REFUSED, outward=401),
    Verdict.CREDENTIAL:       Rule(_NEVER, _NOBODY,     _YES,     outward=503),
    Verdict.AUTHZ:            Rule(_NEVER, _NOBODY,     _REFUSED, outward=403),
    Verdict.NOT_FOUND:        Rule(_NEVER, _NOBODY,     _REFUSED, outward=404),
    Verdict.MISCONFIGURED:    Rule(_NEVER, _NOBODY,     _REFUSED, outward=502),
    Verdict.CALLER:           Rule(_NEVER, _NOBODY,     _NO,      outward=400),
    Verdict.CAPABILITY:       Rule(_NEVER, _NOBODY,     _OPT_IN,  outward=400),
    Verdict.POLICY:           Rule(_NEVER, _NOBODY,     _OPT_IN,  outward=400),
    Verdict.LOCAL_CONFIG:     Rule(_NEVER, _NOBODY,     _NO,      outward=500),
    Verdict.LOCAL_OVERLOAD:   Rule(_NEVER, _NOBODY,     _YES,     outward=503),
    Verdict.INTERNAL:         Rule(_NEVER, _NOBODY,     _YES,     outward=500),
    Verdict.STOPPED:          Rule(_NEVER, _NOBODY,     _NO,      outward=503),
    Verdict.NO_VERDICT:       Rule(_NEVER, _NOBODY,     _NO,      outward=499),
}  # fmt: skip
"""The failure table. `CONNECT` may be retried on the last route because nothing was sent."""
