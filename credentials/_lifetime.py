"""How long a token lives, read from the token itself, and when it is renewed. Pure.

    received                     advise_at        demand_at      ends_at
    ────┼────────────────────────────┼────────────────┼─────────────┼────▶ monotonic
        │   used                     │ used, and      │ waited for  │ not used
        │                            │ renewed beside │             │

A JWT is decoded, never verified: that is the server's business, we only want to know when to come back. The window
before its end is 120 s or a tenth of its life, whichever is longer, but at most half of it, so that a short-lived token
is not renewed in a loop; it is spread by a tenth, so that not all processes come at once (R-CRED-10).

Sources: RFC 7519 sections 4.1.4 and 4.1.6 (`exp`, `iat`); RFC 8693 section 4.2 (`scope`); R-CRED-10 for the figures;
github.com/NousResearch/hermes-agent, `hermes_cli/auth_constants.py` (120 s, `inference:invoke`) and issue 117461 (a
login ends 30 days after it was approved, however often it was renewed).
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import final

from ..providers import JSONValue, decode

SKEW, SHARE, MUST_WITHIN = 120.0, 0.1, 30.0
"""Seconds before its end from which a token is renewed, the share of its life that counts if that is longer, and
seconds before its end from which callers wait for the new one (R-CRED-10)."""

GRANT_FOR = 30 * 86400.0
"""Seconds from the approval of a login to its end."""

ANNOUNCED = (7, 1)
"""Days before a login's end at which that is told (R-CRED-10)."""

INVOKE = "inference:invoke"
"""The scope that makes an access token a bearer of the inference API."""

LEGACY = "inference:mint_agent_key"
"""The scope that once let an access token mint an agent key."""

LATEST = 253402300799.0
"""Unix time of the end of the year 9999; what claims to be later is not believed."""

LONGEST_TOKEN = 64 * 1024
"""Characters of a token that are looked at (chosen; the Portal's have about a thousand)."""


def instant(value: object) -> float | None:
    """Return a claimed Unix time in seconds; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value <= LATEST else None


def duration(value: object) -> float | None:
    """Return a claimed duration in seconds, also one written as a string; None for what is none."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= 12 else None
    return instant(value)


def scopes(*claimed: object) -> frozenset[str]:
    """Return all scopes named in strings (split at blanks and commas) and lists."""
    named: set[str] = set()
    for value in claimed:
        parts = value if isinstance(value, (list, tuple, frozenset)) else [value]
        for part in parts:
            if isinstance(part, str):
                named.update(part.replace(",", " ").split())
    return frozenset(named)


@final
@dataclass(frozen=True, slots=True)
class Claims:
    """What a JWT says that we need: instants in Unix seconds. Who it belongs to is not kept."""

    expires_at: float | None = None
    issued_at: float | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def lives_for(self) -> float | None:
        """Return the seconds from its issue to its end, as its own clock counts them."""
        if self.expires_at is None or self.issued_at is None or self.expires_at <= self.issued_at:
            return None
        return self.expires_at - self.issued_at


def claims(token: str) -> Claims | None:
    """Return what a JWT says, unverified; None for an opaque token, or anything else that is no JWT."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts) or len(token) > LONGEST_TOKEN:
        return None
    said = _payload(parts[1])
    if said is None:
        return None
    return Claims(instant(said.get("exp")), instant(said.get("iat")), scopes(said.get("scope"), said.get("scp")))


def _payload(part: str) -> Mapping[str, JSONValue] | None:
    try:
        said = decode(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        return None
    return said if isinstance(said, dict) else None


class Bearing(StrEnum):
    """Whether an access token can be sent to the inference API, or why not."""

    USABLE = auto()
    NOT_A_JWT = auto()
    NO_SCOPE = auto()
    EXPIRING = auto()
    """It ends within the window of renewal, or has ended, or nobody knows when it does."""


def bearing(
    token: str,
    stored_scopes: frozenset[str],
    stored_expiry: float | None,
    wall_clock: float,
    *,
    least: float = math.inf,
) -> Bearing:
    """Say whether a token that was found in a store can be sent now.

    Args:
        stored_scopes: What the store says of it; they count together with its own.
        stored_expiry: Unix time of its end, for a token that does not say it itself.
        wall_clock: Unix time now.
        least: Seconds that it must have left, if those are fewer than the window of its renewal.
    """
    kind = kind_of(token, stored_scopes)
    if kind is not Bearing.USABLE:
        return kind
    said = claims(token) or Claims()
    ends_at = end_of(said, stored_expiry)
    if ends_at is None or ends_at - wall_clock <= min(window(said.lives_for), least):
        return Bearing.EXPIRING
    return Bearing.USABLE


def end_of(said: Claims | None, stored_expiry: float | None) -> float | None:
    """Return the Unix time at which a token that was found in a store ends; None if nobody knows.

    The later of what it says itself, by the Portal's clock, and what was stored, by the clock of the machine that got
    it. Where that clock is ahead, as ours is then, the token's own end would make an old one of every token that
    another process has just renewed, and each would renew away the other's. One that is used for too long is refused
    once, and renewed.
    """
    ends = [end for end in (None if said is None else said.expires_at, stored_expiry) if end is not None]
    return max(ends, default=None)


def kind_of(token: str, stored_scopes: frozenset[str]) -> Bearing:
    """Say whether a token is of the kind that can be sent, whenever it ends: what was just received is believed."""
    said = claims(token)
    if said is None:
        return Bearing.NOT_A_JWT
    return Bearing.USABLE if INVOKE in said.scopes | stored_scopes else Bearing.NO_SCOPE


def lives_for(token: str, expires_in: float | None, wall_clock: float) -> float | None:
    """Return the seconds that a token just received will live, however wrong our wall clock is; None if unknown.

    By its own clock (`exp` minus `iat`), else by the answer's `expires_in`, and only then by ours, unless that says
    that it has ended already.
    """
    said = claims(token) or Claims()
    if said.lives_for is not None:
        return said.lives_for
    if expires_in is not None:
        return expires_in
    left = -1.0 if said.expires_at is None else said.expires_at - wall_clock
    return left if left > 0 else None


def window(lifetime: float | None) -> float:
    """Return the seconds before its end from which a token of that lifetime is renewed, before any spread."""
    return SKEW if lifetime is None else min(max(SKEW, SHARE * lifetime), lifetime / 2)


@final
@dataclass(frozen=True, slots=True)
class Term:
    """When a token is renewed beside its use, when its renewal is waited for, and when it ends: monotonic instants.

    The default is a token whose end nobody knows: it is used until it is refused.
    """

    advise_at: float = math.inf
    demand_at: float = math.inf
    ends_at: float = math.inf


ENDLESS = Term()


def term(now: float, left_for: float | None, *, lifetime: float | None = None, spread: float = 1.0) -> Term:
    """Return the term of a token that has `left_for` seconds left at the monotonic instant `now`.

    Args:
        left_for: None if nobody knows.
        lifetime: Seconds from its issue to its end; None: what is left.
        spread: Drawn from [0.9, 1.1).
    """
    if left_for is None:
        return ENDLESS
    whole = left_for if lifetime is None else max(lifetime, left_for)
    ahead = min(window(whole) * spread, whole / 2)
    ends_at = now + left_for
    return Term(ends_at - ahead, ends_at - min(MUST_WITHIN, ahead), ends_at)


def grant_left(issued_at: float | None, wall_clock: float) -> float | None:
    """Return the seconds until a login ends by its age, at least 0; None if nobody knows when it was approved."""
    return None if issued_at is None else max(issued_at + GRANT_FOR - wall_clock, 0.0)


def announcement(issued_at: float | None, wall_clock: float, *, told: int | None = None) -> int | None:
    """Return 7 or 1 if it is now to be told that a login ends within so many days; None if not, or not again.

    Args:
        issued_at: Unix time of its approval; None if unknown, and then nothing is told.
        told: The days that were told last.
    """
    left = grant_left(issued_at, wall_clock)
    reached = [days for days in ANNOUNCED if left is not None and left <= days * 86400]
    due = min(reached, default=None)
    return due if due is not None and (told is None or due < told) else None
