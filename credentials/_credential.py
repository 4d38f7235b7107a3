"""The credential: who is given which token, who renews it, and when nobody may. Pure.

                          a call, or a 401, finds it due
         ┌──────┐  ──────────────────────────────────────▶  ┌──────────┐
         │ Idle │                                           │ Renewing │◀───────────────┐
         └──────┘  ◀──────────────────────────────────────  └──┬─────┬─┘                │ due again, and
            ▲  ▲      adopted, renewed; or too fresh to be     │     │ it failed        │ now ≥ until
            │  │      renewed again: then held                 │     │ or is unclear    │
            │  │                                               │     ▼                  │
            │  │   the store has another login              ┌──┼──────────┐             │
            │  └─────────────────────────────────────────── │  │  Waiting │─────────────┘
            │                                               └──┼──────────┘
            │      the store has another login, or `reload`    │ the login is over, gone, or of no use
            └───────────────────────────── ┌─────────┐ ◀───────┘
                                           │ Stopped │   no POST; and no call either, if it is dead
                                           └─────────┘

A token that lives is served in every state but a dead or held one. Whoever is refused names the version of the token
he used: an older one is answered with the present one, and only the present one is renewed (R-CRED-1). There is one
renewal at a time (R-CRED-2), at most five POSTs a minute (R-CRED-9), none for a token renewed less than 30 s ago
(R-CRED-11), and after a failure none for 1 s doubling to 60 s. Where a refused token cannot be renewed, it is held: it
is served to nobody until the next try, or for 30 s where there is none, and then it is tried again.

After an unclear renewal the old access token is the oracle: while it works nothing was renewed, so it serves on and its
renewal waits until it is nearly over; once it is refused or over, nothing is left to lose (R-CRED-7). The journal tells
other processes of the doubt: they are `Warned`.

Ending is late by nature: outcomes carry their renewal's number, and one that is not awaited changes nothing. Whoever
begins a renewal settles it exactly once, whatever happens to him; what crashed after it may have posted, is `Unsure`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from ._credential_values import (
    DEAD,
    STOPPED,
    Adopted,
    Answer,
    Barred,
    Bearer,
    Credential,
    Ended,
    Failed,
    Fresh,
    Idle,
    Issue,
    Join,
    Outcome,
    Renewed,
    Renewing,
    Stopped,
    Unsure,
    Use,
    Waiting,
    Warned,
    Why,
)
from ._login import Login

REST_FOR = 30.0
"""Seconds for which a renewed token is not renewed again because of a 401 (R-CRED-11)."""

POSTS, MINUTE = 5, 60.0
"""The most POSTs in so many seconds (R-CRED-9)."""

WAIT_FIRST, WAIT_MAX = 1.0, 60.0
"""Seconds after the first failed renewal, doubling to the longest (R-CRED-9)."""

REMEMBERED = 1024
"""Spent refresh tokens that are remembered (chosen; a login of 30 days that is renewed each hour has 720)."""


def current(credential: Credential, now: float) -> tuple[Credential, Answer]:
    """Return the token to call with at the monotonic instant `now`, or what to do for one."""
    bearer, phase = credential.bearer, credential.phase
    if now < credential.held_until and bearer is not None:
        return credential, Barred(credential.held_why, credential.held_until)
    living = bearer if bearer is not None and is_living(credential, now) else None
    match phase:
        case Stopped(why):
            return credential, Barred(why) if living is None else Use(living)
        case Renewing(number):
            return credential, Join(number) if living is None or now >= living.term.demand_at else Use(living)
        case Idle() | Waiting():
            if living is not None and now < _due_at(credential, living):
                return credential, Use(living)
            return _renew(credential, living, now, after_401=False)
        case _:
            assert_never(phase)


def refused(credential: Credential, version: int, now: float) -> tuple[Credential, Answer]:
    """Return what to do after a 401 for the token of that version: the present one, its renewal, or nothing."""
    bearer = credential.bearer
    if bearer is None or bearer.version != version or now < credential.held_until:
        return current(credential, now)
    phase = credential.phase
    match phase:
        case Stopped(why):
            return _held(credential, why, now + REST_FOR)
        case Renewing(number):
            return replace(credential, phase=replace(phase, after_401=True)), Join(number)
        case Idle() | Waiting():
            if credential.unsaved:
                return _held(credential, Why.UNSAVED, now + REST_FOR)
            credential, answer = _renew(credential, None, now, after_401=True)
            if isinstance(answer, Barred) and answer.until is not None:
                return _held(credential, answer.why, answer.until)
            return credential, answer
        case _:
            assert_never(phase)


def settle(credential: Credential, number: int, outcome: Outcome, now: float, *, spread: float = 1.0) -> Credential:
    """Return the credential after the renewal of that number ended at the monotonic instant `now`.

    Args:
        spread: Drawn from [0.8, 1.2), so that not all processes come at once.
    """
    phase = credential.phase
    if not isinstance(phase, Renewing) or phase.number != number:
        return credential
    settled = _settled(_counted(credential, outcome, now), phase, outcome, now, spread)
    if not phase.after_401:
        return settled
    match settled.phase:  # the refused token is all there is (R-CRED-9)
        case Waiting(until, why=why):
            return replace(settled, held_until=until, held_why=why)
        case Stopped(why):
            return replace(settled, held_until=now + REST_FOR, held_why=why)
        case _:
            return settled


def _settled(credential: Credential, phase: Renewing, outcome: Outcome, now: float, spread: float) -> Credential:
    match outcome:
        case Adopted(login, fingerprint, issue, minted=minted):
            adopted = _adopted(credential, login, fingerprint, issue)
            return replace(adopted, renewed_at=now) if minted else adopted
        case Renewed():
            return _renewed(credential, outcome, phase.level, now, spread)
        case Unsure(fingerprint, retry_after):
            credential = replace(credential, doubt=fingerprint)
            return _waiting(credential, Why.UNCLEAR, phase.level, retry_after, now, spread)
        case Failed(why=Why.BUSY):
            return replace(credential, phase=Waiting(now + WAIT_FIRST * spread, phase.level, Why.BUSY))
        case Failed(why, retry_after=retry_after):
            return _waiting(credential, why, phase.level, retry_after, now, spread)
        case Fresh(rest_for):
            until = now + min(max(rest_for, 0.0), REST_FOR)
            return replace(credential, phase=Idle(), held_until=until, held_why=Why.REFUSED)
        case Warned(fingerprint):
            return replace(credential, phase=Idle(), doubt=fingerprint)
        case Ended(why, fingerprint, mint_off=mint_off):
            if why is Why.NO_BEARER and mint_off and not phase.after_401 and is_living(credential, now):
                why = Why.NO_KEYS  # the last one is kept until it ends (rule 29)
            bearer = None if why in DEAD else credential.bearer
            return replace(credential, phase=Stopped(why, fingerprint), bearer=bearer, doubt=None)
        case _:
            assert_never(outcome)


def stored(
    credential: Credential, login: Login | None, fingerprint: str | None, issue: Issue | None, now: float
) -> Credential:
    """Return the credential after the stored login was seen to be this one, by a glance without the lock.

    A glance brings a stopped credential back, and adopts what another process has renewed. During a renewal it changes
    nothing: that looks for itself, under the lock.

    Args:
        login: None, with its fingerprint, if there is none.
        issue: What can be sent of it, if anything can.
    """
    phase = credential.phase
    if isinstance(phase, Renewing) or login is None or fingerprint is None or fingerprint in credential.spent:
        return credential
    if isinstance(phase, Stopped):
        if fingerprint == phase.fingerprint:
            return credential
        credential = replace(credential, phase=Idle(), bearer=None, login=None, unsaved=False)
    if issue is None:
        return credential
    bearer = credential.bearer
    if bearer is not None and issue.token == bearer.token:
        return credential
    held = credential.login
    is_newer = held is None or login.is_newer_than(held)
    is_held = now < credential.held_until and (held is None or not held.is_newer_than(login))
    is_needed = (is_held or not is_living(credential, now)) and (held is None or login != held)
    return _adopted(credential, login, fingerprint, issue) if is_newer or is_needed else credential


def saved(credential: Credential) -> Credential:
    """Return the credential after its pair has become durable at last: what was held for that may be renewed."""
    is_held = credential.held_why is Why.UNSAVED
    return replace(credential, unsaved=False, held_until=-math.inf if is_held else credential.held_until)


def reload(credential: Credential) -> Credential:
    """Return the credential after somebody asked to try again: nothing is stopped, waited for or held any more.

    What is spent stays spent, a running renewal goes on, and the limit on POSTs holds.
    """
    phase = credential.phase if isinstance(credential.phase, Renewing) else Idle()
    return replace(credential, phase=phase, held_until=-math.inf)


def after_restart(login: Login | None, *, spent: tuple[str, ...] = (), doubt: str | None = None) -> Credential:
    """Return the credential of a process that has just begun.

    Args:
        spent: What our own state remembers of spent refresh tokens.
        doubt: The refresh token that a journal says was posted, without saying what became of it (R-CRED-7).
    """
    return Credential(login=login, spent=spent[-REMEMBERED:], doubt=None if doubt in spent else doubt)


def is_living(credential: Credential, now: float) -> bool:
    """Say whether there is a token that has not ended."""
    return credential.bearer is not None and now < credential.bearer.term.ends_at


def serves_until(credential: Credential, now: float) -> float:
    """Return the instant before which `current` gives the bearer and nothing else; -inf if it does not now.

    Until then, and until the credential changes, whoever asks need not look further than at the clock.
    """
    bearer = credential.bearer
    if bearer is None or now < credential.held_until or not is_living(credential, now):
        return -math.inf
    match credential.phase:
        case Stopped():
            return bearer.term.ends_at
        case Renewing():
            return bearer.term.demand_at
        case _:
            return _due_at(credential, bearer)


def rests_for(credential: Credential, now: float) -> float:
    """Return the seconds for which no 401 has the token renewed again, since it was renewed lately (R-CRED-11)."""
    return max(credential.renewed_at + REST_FOR - now, 0.0)


def may_post_at(credential: Credential, now: float) -> float:
    """Return the instant from which the next POST is within five a minute; `now` if it is already."""
    recent = _recent(credential, now)
    return now if len(recent) < POSTS else recent[-POSTS] + MINUTE


def _held(credential: Credential, why: Why, until: float) -> tuple[Credential, Answer]:
    """Serve no token until then: the one that there is was refused, and cannot be renewed now (R-CRED-9)."""
    return replace(credential, held_until=until, held_why=why), Barred(why, until)


def _due_at(credential: Credential, bearer: Bearer) -> float:
    """Return when a living token is to be renewed: late in doubt, and not at all before the last pair is saved."""
    if credential.unsaved:
        return bearer.term.ends_at
    return bearer.term.advise_at if credential.doubt is None else bearer.term.demand_at


def _renew(credential: Credential, living: Bearer | None, now: float, *, after_401: bool) -> tuple[Credential, Answer]:
    """Begin a renewal, or say until when none may begin; a living token is served meanwhile."""
    phase = credential.phase
    waits = isinstance(phase, Waiting) and now < phase.until
    allowed_at = may_post_at(credential, now)
    if isinstance(phase, Waiting) and (waits or allowed_at > now):
        why, until = phase.why, max(phase.until, allowed_at)
    else:
        why, until = Why.TOO_OFTEN, allowed_at
    if until > now:
        return credential, Barred(why, until) if living is None else Use(living)
    number = credential.renewals + 1
    level = phase.level if isinstance(phase, Waiting) else 0
    credential = replace(credential, phase=Renewing(number, level, after_401), renewals=number)
    if living is None or now >= living.term.demand_at:
        return credential, Join(number, starts=True)
    return credential, Use(living, starts=number)


def _adopted(credential: Credential, login: Login, fingerprint: str, issue: Issue) -> Credential:
    bearer = credential.bearer
    is_same = bearer is not None and bearer.token == issue.token
    version = credential.version if is_same else credential.version + 1
    doubt = credential.doubt if credential.doubt == fingerprint else None
    return replace(
        credential,
        login=login,
        bearer=Bearer(version, issue.token, issue.term),
        phase=Idle(),
        version=version,
        held_until=-math.inf,
        doubt=doubt,
        unsaved=False,
    )


def _counted(credential: Credential, outcome: Outcome, now: float) -> Credential:
    """Take note of a POST, when it is known to be over, and of a mint that is no more."""
    match outcome:
        case (
            Renewed()
            | Unsure()
            | Adopted(posted=True)
            | Adopted(minted=True)
            | Failed(posted=True)
            | Ended(posted=True)
        ):
            credential = replace(credential, posts=(*_recent(credential, now), now))
        case _:
            pass
    match outcome:
        case Adopted(mint_off=True) | Renewed(mint_off=True) | Failed(mint_off=True) | Ended(mint_off=True):
            return replace(credential, mint_off=True)
        case _:
            return credential


def _renewed(credential: Credential, outcome: Renewed, level: int, now: float, spread: float) -> Credential:
    spent = (*credential.spent, outcome.spent) if outcome.spent != outcome.fingerprint else credential.spent
    credential = replace(
        credential,
        login=outcome.login,
        renewed_at=now,
        held_until=-math.inf,
        doubt=None,
        spent=spent[-REMEMBERED:],
        unsaved=not outcome.saved,
    )
    if outcome.issue is None:
        credential = replace(credential, bearer=None)
        if outcome.why in STOPPED:
            return replace(credential, phase=Stopped(outcome.why, outcome.fingerprint))
        return _waiting(credential, outcome.why, level, None, now, spread)
    version = credential.version + 1
    bearer = Bearer(version, outcome.issue.token, outcome.issue.term)
    return replace(credential, phase=Idle(), version=version, bearer=bearer)


def _waiting(
    credential: Credential, why: Why, level: int, retry_after: float | None, now: float, spread: float
) -> Credential:
    wait = min(WAIT_FIRST * 2.0 ** min(level, 30), WAIT_MAX) * spread
    wait = min(max(wait, retry_after or 0.0), WAIT_MAX)
    return replace(credential, phase=Waiting(now + wait, level + 1, why))


def _recent(credential: Credential, now: float) -> tuple[float, ...]:
    return tuple(at for at in credential.posts if now - at < MINUTE)
