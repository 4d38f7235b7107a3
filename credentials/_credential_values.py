"""The credential's states, what a renewal may end with, and what a caller is told. Pure values, no rules.

How they follow each other stands in `_credential.py`; what a renewal does under its lock, in `_renewal.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TypeAlias, final

from ._lifetime import ENDLESS, Term
from ._login import Login
from ._secret import Secret


class Why(StrEnum):
    """Why a credential is not served, or not renewed. The value is what events and health show."""

    BUSY = auto()
    """The lock of the store was not free in time: another process is renewing, or hangs."""
    UNREACHABLE = auto()
    """The Portal did not answer, or asked us to wait."""
    UNCLEAR = auto()
    """A renewal's answer was lost: the refresh token may be spent."""
    TOO_OFTEN = auto()
    """Five renewals were posted within a minute."""
    UNREADABLE = auto()
    """The store cannot be read, or says nothing readable."""
    UNWRITABLE = auto()
    """The store cannot be written: nothing is renewed that could not be kept."""
    UNSAVED = auto()
    """The last pair is not on disk yet: no other is asked for."""
    REFUSED = auto()
    """The inference API refuses a token that has just been renewed."""
    UNPAID = auto()
    """The account cannot mint a key."""
    MISCONFIGURED = auto()
    """The Portal refuses our client id or scope."""
    NO_REFRESH = auto()
    """There is no refresh token."""
    LOGGED_OUT = auto()
    """There is no login."""
    GUEST = auto()
    """The login is an anonymous one."""
    REVOKED = auto()
    """The Portal says that the login is over."""
    LOST = auto()
    """The Portal says that the login is over, after the answer to a renewal was lost."""
    SPENT = auto()
    """The store holds a refresh token that we know to be spent, and nobody has its successor."""
    NO_BEARER = auto()
    """The login's access token is of no use for inference."""
    NO_KEYS = auto()
    """The Portal mints no more keys."""


DEAD = frozenset({Why.LOGGED_OUT, Why.GUEST, Why.REVOKED, Why.LOST, Why.SPENT, Why.NO_BEARER})
"""Nothing is posted and nothing is called, until the stored login changes."""

STOPPED = DEAD | {Why.MISCONFIGURED, Why.NO_REFRESH, Why.NO_KEYS}
"""Nothing is posted until the stored login changes; with the last three a living token is used to its end."""


@final
@dataclass(frozen=True, slots=True)
class Bearer:
    """What a request is sent with. `version` names it, and rises with each one that is adopted or renewed."""

    version: int
    token: Secret
    term: Term = ENDLESS


@final
@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is under way."""


@final
@dataclass(frozen=True, slots=True)
class Renewing:
    """The renewal with this number is under way; it is the only one. `level` counts failures before it.

    `after_401` says that it began because the bearer was refused, not because its time had come.
    """

    number: int
    level: int = 0
    after_401: bool = False


@final
@dataclass(frozen=True, slots=True)
class Waiting:
    """The last renewal failed, `level` of them in a row: the next may begin at the instant `until`."""

    until: float
    level: int
    why: Why


@final
@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is renewed until the stored login has another fingerprint than this one (None: until it has any)."""

    why: Why
    fingerprint: str | None


Phase: TypeAlias = Idle | Renewing | Waiting | Stopped


@final
@dataclass(frozen=True, slots=True)
class Credential:
    """All that is known of one credential. Instants are monotonic; fingerprints are of refresh tokens.

    `login` is the one in memory, restored where a store lost it. Until `held_until` the bearer is served to nobody, for
    `held_why`. `doubt` names a refresh token that may be spent. `posts` are the renewals posted in the last minute,
    `spent` what must never be posted again, `unsaved` that the pair in memory is not on disk. Once `mint_off`, always.
    """

    login: Login | None = None
    bearer: Bearer | None = None
    phase: Phase = Idle()
    version: int = 0
    renewals: int = 0
    renewed_at: float = -math.inf
    held_until: float = -math.inf
    held_why: Why = Why.REFUSED
    doubt: str | None = None
    posts: tuple[float, ...] = ()
    spent: tuple[str, ...] = ()
    unsaved: bool = False
    mint_off: bool = False


@final
@dataclass(frozen=True, slots=True)
class Issue:
    """A token that can be sent, before it has a version."""

    token: Secret
    term: Term


@final
@dataclass(frozen=True, slots=True)
class Adopted:
    """A login that was found in the stores; `fingerprint` is the login's. `posted`: another one was refused before.
    `minted`: the key that is sent for it has just been minted.
    """

    login: Login
    fingerprint: str
    issue: Issue
    posted: bool = False
    minted: bool = False
    mint_off: bool = False


@final
@dataclass(frozen=True, slots=True)
class Renewed:
    """The Portal gave a new pair for the refresh token `spent`. No `issue`: it cannot be sent, and `why` says why.

    `saved` is False if it could not be made durable: it is used, and nothing else is renewed meanwhile.
    """

    login: Login
    fingerprint: str
    spent: str
    issue: Issue | None
    why: Why = Why.NO_BEARER
    saved: bool = True
    mint_off: bool = False


@final
@dataclass(frozen=True, slots=True)
class Unsure:
    """The refresh token `fingerprint` was posted, and what became of it is not known."""

    fingerprint: str
    retry_after: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was renewed, and it may go better later. `posted`: the Portal was asked, and said so."""

    why: Why
    posted: bool = False
    retry_after: float | None = None
    mint_off: bool = False


@final
@dataclass(frozen=True, slots=True)
class Fresh:
    """The token that was refused has just been renewed: renewing it again would not help for `rest_for` seconds."""

    rest_for: float


@final
@dataclass(frozen=True, slots=True)
class Warned:
    """Another process has posted the refresh token `fingerprint`, and does not know what became of it."""

    fingerprint: str


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing can be renewed until the stored login changes; `why` is one of `STOPPED`."""

    why: Why
    fingerprint: str | None
    posted: bool = False
    mint_off: bool = False


Outcome: TypeAlias = Adopted | Renewed | Unsure | Failed | Fresh | Warned | Ended


@final
@dataclass(frozen=True, slots=True)
class Use:
    """Send with this. `starts`: begin the renewal of that number, and do not wait for it."""

    bearer: Bearer
    starts: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the renewal of that number, then ask again. `starts`: begin it; everybody else only waits."""

    number: int
    starts: bool = False


@final
@dataclass(frozen=True, slots=True)
class Barred:
    """Do not call. `until` is when asking again may help; None: when the stored login has changed."""

    why: Why
    until: float | None = field(default=None)


Answer: TypeAlias = Use | Join | Barred
