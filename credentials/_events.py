"""What happened to a login: one frozen value for each real change. No token, no fingerprint and no claim is in them.

`login` says which one it is: its mode and its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final


@final
@dataclass(frozen=True, slots=True)
class CredentialRenewed:
    """There is a new token: by a renewal of ours or, if `adopted`, found in the store. `lives_for` is in seconds, None
    if nobody knows.
    """

    login: str
    lives_for: float | None
    adopted: bool


@final
@dataclass(frozen=True, slots=True)
class CredentialTroubled:
    """A renewal failed, for another reason than the one before it: it is tried again in `retry_in` seconds, and with
    None when the stored login has changed. What serves until then is served.
    """

    login: str
    reason: str
    retry_in: float | None


@final
@dataclass(frozen=True, slots=True)
class CredentialDied:
    """The login is over: nothing is asked with it until another one is stored. `reason` names the command to run."""

    login: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class CredentialRevived:
    """A login that was over has been replaced by another one."""

    login: str


@final
@dataclass(frozen=True, slots=True)
class CredentialUnsaved:
    """A renewed pair could not be written: it is lost if this process ends. `reason` names path and remedy."""

    login: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class CredentialSaved:
    """A pair that could not be written is on disk at last."""

    login: str


@final
@dataclass(frozen=True, slots=True)
class CredentialEnding:
    """The login ends within so many days, however often it is renewed. `reason` names the command to run."""

    login: str
    days: int
    reason: str


CredentialEvent: TypeAlias = (
    CredentialRenewed
    | CredentialTroubled
    | CredentialDied
    | CredentialRevived
    | CredentialUnsaved
    | CredentialSaved
    | CredentialEnding
)
