"""What is said of a login to whoever asks: a frozen snapshot without any secret. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import final

from ._credential import is_living
from ._credential_values import DEAD, Credential, Renewing, Stopped, Waiting
from ._lifetime import grant_left
from ._modes import Mode
from ._words import said

DAY = 86400.0


class Life(StrEnum):
    """How a login is."""

    ALIVE = auto()
    """There is a token that serves, or one can be had."""
    BARRED = auto()
    """No token serves now; it is tried again by itself."""
    DEAD = auto()
    """Nothing is asked with it until another login is stored."""


@final
@dataclass(frozen=True, slots=True)
class LoginHealth:
    """A snapshot of a login.

    `where` is its file. `expires_in` is in seconds, None where no token serves or nobody knows; `days_left` is until
    the login ends by its age, None if nobody knows when it was approved. `reason` says what is in the way, or was last;
    `is_saved` is False while the last renewed pair is not on disk. `renewals` counts those that this process began.
    """

    mode: Mode
    where: str
    life: Life
    reason: str = ""
    expires_in: float | None = None
    days_left: float | None = None
    is_renewing: bool = False
    is_saved: bool = True
    renewals: int = 0


def health_of(
    credential: Credential,
    now: float,
    wall_clock: float,
    *,
    mode: Mode,
    where: str,
    approved_at: float | None = None,
    problem: str = "",
) -> LoginHealth:
    """Return the snapshot at the monotonic instant `now`.

    Args:
        wall_clock: Unix time now.
        approved_at: Unix time at which the login was approved, if known.
        problem: What was last in the way on this machine.
    """
    phase, bearer = credential.phase, credential.bearer
    why = phase.why if isinstance(phase, Stopped | Waiting) else None
    lives = is_living(credential, now)
    is_held = lives and now < credential.held_until
    living = bearer if lives and not is_held else None
    if is_held:
        life, why = Life.BARRED, credential.held_why
    elif isinstance(phase, Stopped) and (living is None or phase.why in DEAD):
        life = Life.DEAD
    else:
        life = Life.BARRED if living is None and isinstance(phase, Waiting) else Life.ALIVE
    left = None if living is None else living.term.ends_at - now
    days = grant_left(approved_at, wall_clock)
    return LoginHealth(
        mode,
        where,
        life,
        "" if why is None else said(why, problem),
        left if left is not None and left < float("inf") else None,
        None if days is None else days / DAY,
        isinstance(phase, Renewing),
        not credential.unsaved,
        credential.renewals,
    )
