"""What a renewal does while it holds the lock: read, then adopt, mint, post or leave. Pure.

    stores read under the lock
      │ one unreadable, or corrupt ─▶ Leave: nothing is posted, nothing written
      │ a guest, or no login ───────▶ Leave: stopped
      │ every login spent ──────────▶ the one in memory, written back; without one Leave: stopped
      ▼ the newest of those left
      │ another token, and it lives ▶ Adopt: another process has renewed
      │ no refresh token ───────────▶ Leave: stopped, and a living token is used to its end
      │ refused, but just renewed ──▶ Leave: held
      │ posted, unclear, but living ▶ Leave: warned
      │ five asked in a minute ─────▶ Leave: later
      │ its token mints keys ───────▶ Mint
      ▼
     Post ─▶ Granted       make it durable, then `Renewed`
          ─▶ Terminal      read again (`after_terminal`): stopped, unless another login stands there
          ─▶ anything else `outcome_of`

A refresh token that is known to be spent is never posted: that would end the whole login (R-CRED-8). At most one POST
is made in a renewal. The lock, the journal and the files are the business of whoever calls.

Source: R-CRED-1, R-CRED-3, R-CRED-8, R-CRED-9, R-CRED-11; github.com/NousResearch/hermes-agent, issues 10147 and 16705
(two processes that renewed together), 101442 (a stampede) and 107332 (a stale pair adopted over a newer one).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never, final

from ._credential import MINUTE, POSTS, REST_FOR, is_living, rests_for
from ._credential_values import (
    Adopted,
    Credential,
    Ended,
    Failed,
    Fresh,
    Issue,
    Outcome,
    Renewing,
    Unsure,
    Warned,
    Why,
)
from ._lifetime import LEGACY, Bearing, bearing, claims, end_of, kind_of, lives_for, scopes, term, window
from ._login import Granted, Login, preferred, renewed
from ._portal_answers import (
    Minted,
    MintOff,
    MintRefused,
    MintUnpaid,
    Misconfigured,
    Transient,
    Unclear,
)
from ._secret import Secret
from ._stores import Absent, Corrupt, Found, Stored, Unreadable, is_guest

MINT_FOR = 7200
"""Seconds that a minted key is to live at least (`min_ttl_seconds`)."""


@final
@dataclass(frozen=True, slots=True)
class Scene:
    """What decisions are made by: the monotonic instant, Unix time, the key of fingerprints, and a spread.

    `spread` is drawn from [0.9, 1.1). `posts` are the Unix times at which any process asked the Portal to renew this
    login or to mint a key for it, as far as they are on record: together they ask five times a minute at most
    (R-CRED-9). `journal` is the fingerprint of a refresh token that one of them posted, and of which nobody knows what
    became.
    """

    now: float
    wall_clock: float
    spread: float = 1.0
    key: bytes = b""
    posts: tuple[float, ...] = ()
    journal: str | None = None

    def __repr__(self) -> str:
        return f"Scene(now={self.now}, wall_clock={self.wall_clock}, spread={self.spread})"


@final
@dataclass(frozen=True, slots=True)
class Adopt:
    """Settle with `outcome`. `heals`: first write its login to every store, where a spent one stands."""

    outcome: Adopted
    heals: bool = False


@final
@dataclass(frozen=True, slots=True)
class Mint:
    """Ask for an agent key with the login's access token, for `MINT_FOR` seconds at least."""

    login: Login
    fingerprint: str


@final
@dataclass(frozen=True, slots=True)
class Post:
    """Check that the stores can be written, write the journal, and post this login's refresh token, once."""

    login: Login
    fingerprint: str


@final
@dataclass(frozen=True, slots=True)
class Leave:
    """Settle with `outcome`; write nothing."""

    outcome: Failed | Ended | Fresh | Warned


Step: TypeAlias = Adopt | Mint | Post | Leave


def plan(credential: Credential, found: Sequence[Found], scene: Scene) -> Step:
    """Return what the renewal under way is to do.

    Args:
        found: What each store holds now, under the lock: the local one first, the shared one last.
    """
    if any(isinstance(holds, Corrupt | Unreadable) for holds in found):
        return Leave(Failed(Why.UNREADABLE))
    if is_guest(found):
        return Leave(Ended(Why.GUEST, None))
    logins = [holds.login for holds in found if isinstance(holds, Stored)]
    newest = preferred(logins)
    if newest is None:
        is_over = any(isinstance(holds, Absent) and holds.is_over for holds in found)
        return Leave(Ended(Why.REVOKED if is_over else Why.LOGGED_OUT, None))
    unspent = [login for login in logins if not _is_spent(credential, login, scene)]
    chosen = preferred(unspent) or credential.login
    if chosen is None or _is_spent(credential, chosen, scene):
        return Leave(Ended(Why.SPENT, newest.fingerprint(scene.key)))
    return _planned(credential, chosen, scene, heals=len(unspent) < len(logins))


def _planned(credential: Credential, login: Login, scene: Scene, *, heals: bool) -> Step:
    fingerprint, issue = login.fingerprint(scene.key), issue_of(login, scene)
    seen = credential.bearer.token if credential.bearer is not None else None
    if issue is not None and issue.token != seen:
        return Adopt(Adopted(login, fingerprint, issue), heals)
    is_mint = mints(credential, login, scene)
    if not is_mint and login.refresh is None:
        return Leave(Ended(Why.NO_REFRESH, fingerprint))
    if (rest_for := _rest_for(credential, login, scene)) > 0:
        return Leave(Fresh(rest_for))
    if not is_mint and scene.journal == fingerprint and _is_oracle(credential, scene):
        return Leave(Warned(fingerprint))
    if (wait := _too_often_for(scene)) > 0:
        return Leave(Failed(Why.TOO_OFTEN, retry_after=wait))
    return Mint(login, fingerprint) if is_mint else Post(login, fingerprint)


def after_terminal(credential: Credential, found: Sequence[Found], posted: str, scene: Scene) -> Adopt | Leave:
    """Return how the renewal ends after the Portal said that the login is over.

    Args:
        found: What the stores hold now, read again under the same lock.
        posted: The fingerprint that was posted. If another login stands there by now, that one counts.
    """
    step = plan(replace(credential, login=None, spent=(*credential.spent, posted)), found, scene)
    match step:
        case Adopt(outcome):
            return Adopt(replace(outcome, posted=True), step.heals)
        case Leave(Ended()):
            is_doubted = posted in {credential.doubt, scene.journal}
            return Leave(Ended(Why.LOST if is_doubted else Why.REVOKED, posted, posted=True))
        case Leave(Failed(why)):
            return Leave(Failed(why, posted=True))
        case _:  # another refresh token: for the next renewal
            return Leave(Failed(Why.UNREACHABLE, posted=True))


def outcome_of(meaning: Misconfigured | Unclear | Transient, fingerprint: str, *, posted: bool = True) -> Outcome:
    """Return how the renewal ends after any answer but a grant and a terminal one.

    Args:
        fingerprint: Of the refresh token that was posted.
        posted: False if no connection was made.
    """
    match meaning:
        case Misconfigured():
            return Ended(Why.MISCONFIGURED, fingerprint, posted)
        case Unclear(retry_after):
            return Unsure(fingerprint, retry_after)
        case Transient(retry_after):
            return Failed(Why.UNREACHABLE, posted, retry_after)
        case _:
            assert_never(meaning)


def received(login: Login, grant: Granted, scene: Scene, *, inference: str = "") -> tuple[Login, Issue | None]:
    """Return the login that a grant makes, to be made durable at once, and what of it can be sent then.

    What was just received lives as long as it says of itself, whatever our wall clock says (R-CRED-10).

    Args:
        inference: The grant's address, if it may be kept.
    """
    lifetime = lives_for(grant.access.reveal(), grant.expires_in, scene.wall_clock)
    fresh = renewed(login, grant, at=scene.wall_clock, lives_for=lifetime, inference=inference)
    if kind_of(grant.access.reveal(), fresh.scopes) is Bearing.USABLE:
        return fresh, Issue(grant.access, term(scene.now, lifetime, spread=scene.spread))
    return fresh, _key_issue(fresh, scene)


def mints(credential: Credential, login: Login, scene: Scene) -> bool:
    """Say whether a key is what is renewed: only for a token that cannot be sent itself, lives, and may mint."""
    if login.access is None or credential.mint_off:
        return False
    token = login.access.reveal()
    said = claims(token)
    own_scopes = said.scopes if said is not None else scopes()
    if kind_of(token, login.scopes) is Bearing.USABLE or LEGACY not in own_scopes | login.scopes:
        return False
    ends_at = end_of(said, login.expires_at)
    return ends_at is None or ends_at - scene.wall_clock > window(said.lives_for if said is not None else None)


def minted(login: Login, meaning: Minted, scene: Scene) -> tuple[Login, Issue]:
    """Return the login with the key that was minted, to be made durable, and the key as what can be sent."""
    lasts = meaning.expires_in
    if lasts is None and meaning.expires_at is not None:
        lasts = max(meaning.expires_at - scene.wall_clock, 0.0) or None
    ends_at = None if lasts is None else scene.wall_clock + lasts
    login = replace(login, key=meaning.key, key_expires_at=ends_at)
    return login, Issue(meaning.key, term(scene.now, lasts, spread=scene.spread))


def mint_failed(meaning: MintOff | MintUnpaid | MintRefused | Transient, fingerprint: str) -> Failed | Ended:
    """Return how the renewal ends after a mint that gave no key, with nothing renewed before it.

    A refused access token is renewed first, if that has not been tried in this renewal.
    """
    match meaning:
        case MintOff():
            return Ended(Why.NO_BEARER, fingerprint, posted=True, mint_off=True)
        case MintRefused():
            return Ended(Why.NO_BEARER, fingerprint, posted=True)
        case MintUnpaid():
            return Failed(Why.UNPAID, posted=True, retry_after=60.0)
        case Transient(retry_after):
            return Failed(Why.UNREACHABLE, True, retry_after)
        case _:
            assert_never(meaning)


def issue_of(login: Login, scene: Scene, *, least: float = math.inf) -> Issue | None:
    """Return what can be sent of a login that was found in a store, by the wall clock; None if nothing can.

    Args:
        least: Seconds that it must have left, if those are fewer than the window of its renewal. Under the lock a token
            within that window is renewed rather than adopted; by a glance it is served, and renewed beside its use.
    """
    if login.access is not None:
        token = login.access.reveal()
        if bearing(token, login.scopes, login.expires_at, scene.wall_clock, least=least) is Bearing.USABLE:
            said = claims(token)
            ends_at = end_of(said, login.expires_at)
            left = None if ends_at is None else ends_at - scene.wall_clock
            lifetime = said.lives_for if said is not None else None
            return Issue(login.access, term(scene.now, left, lifetime=lifetime, spread=scene.spread))
        if kind_of(token, login.scopes) is Bearing.USABLE:
            return None
    return _key_issue(login, scene, least=least)


def _key_issue(login: Login, scene: Scene, *, least: float = math.inf) -> Issue | None:
    if login.key is None:
        return None
    left = None if login.key_expires_at is None else login.key_expires_at - scene.wall_clock
    if left is not None and left <= min(window(None), least):
        return None
    return Issue(login.key, term(scene.now, left, spread=scene.spread))


def _is_spent(credential: Credential, login: Login, scene: Scene) -> bool:
    return login.fingerprint(scene.key) in credential.spent


def _rest_for(credential: Credential, login: Login, scene: Scene) -> float:
    """Return for how long a refused token is too fresh to be renewed, whoever renewed it: ourselves, or another."""
    phase, bearer = credential.phase, credential.bearer
    if not isinstance(phase, Renewing) or not phase.after_401 or bearer is None or not _has(login, bearer.token):
        return 0.0
    age = REST_FOR if login.obtained_at is None else scene.wall_clock - login.obtained_at
    return max(rests_for(credential, scene.now), REST_FOR - age if 0 <= age < REST_FOR else 0.0)


def _is_oracle(credential: Credential, scene: Scene) -> bool:
    """Say whether the token in use lives, was not refused, and is not nearly over: then a doubt can wait (R-CRED-7)."""
    phase, bearer = credential.phase, credential.bearer
    if bearer is None or (isinstance(phase, Renewing) and phase.after_401):
        return False
    return is_living(credential, scene.now) and scene.now < bearer.term.demand_at


def _too_often_for(scene: Scene) -> float:
    """Return the seconds until all processes together may post again. A record from the future is not believed."""
    recent = sorted(at for at in scene.posts if 0 <= scene.wall_clock - at < MINUTE)
    return recent[-POSTS] + MINUTE - scene.wall_clock if len(recent) >= POSTS else 0.0


def _has(login: Login, token: Secret) -> bool:
    return token in {login.access, login.key}
