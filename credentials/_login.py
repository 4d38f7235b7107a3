"""A login: what a store holds of it, in neutral words, and which of two is the one to believe. Pure.

Secrets are `Secret`, instants are Unix seconds (a store outlives every monotonic clock). Addresses are as they were
found; `_addresses.py` says which of them may be used.

Source: the fields of github.com/NousResearch/hermes-agent, `hermes_cli/auth_nous.py`; choosing by `obtained_at` is
ours (there a stale shared pair once replaced a newer local one: issue 107332).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from ._lifetime import duration, scopes
from ._secret import Secret

CLIENT_ID = "hermes-cli"
"""The Portal's public client; the one that a login names counts first."""


@final
@dataclass(frozen=True, slots=True)
class Login:
    """One login. Absent texts are empty; `key` is a minted agent key, not a copy of the access token."""

    access: Secret | None = None
    refresh: Secret | None = None
    scopes: frozenset[str] = frozenset()
    obtained_at: float | None = None
    expires_at: float | None = None
    client_id: str = CLIENT_ID
    token_type: str = "Bearer"
    portal: str = ""
    inference: str = ""
    key: Secret | None = None
    key_expires_at: float | None = None
    grant_issued_at: float | None = None
    ca_bundle: str = ""
    insecure: bool = False

    @property
    def is_whole(self) -> bool:
        """Say whether it has both tokens."""
        return self.access is not None and self.refresh is not None

    def fingerprint(self, key: bytes) -> str:
        """Return what tells this login from others: its refresh token, keyed; without one, its access token.

        Two without any token are the same: nothing.
        """
        token = self.refresh or self.access
        if token is not None:
            return token.fingerprint(key)
        return hmac.new(key, b"", hashlib.sha256).hexdigest()[:32]

    def is_newer_than(self, other: Login) -> bool:
        """Say whether it was obtained later; not so if either does not say when."""
        if self.obtained_at is None or other.obtained_at is None:
            return False
        return self.obtained_at > other.obtained_at


def bootstrap(refresh_token: str, *, client_id: str = CLIENT_ID) -> Login:
    """Return the login that a refresh token alone makes: its first renewal brings the rest (`NOUS_REFRESH_TOKEN`)."""
    return Login(refresh=Secret(refresh_token.strip()), client_id=client_id)


def preferred(logins: Sequence[Login]) -> Login | None:
    """Return which of the logins in several stores counts: a whole one before a part, then the one obtained last.

    Args:
        logins: Local store first, shared store last. If one does not say when it was obtained, or both were at the same
            time, the later in the row counts, as it does for Hermes Agent.
    """
    best: Login | None = None
    for login in logins:
        if (
            best is None
            or login.is_whole > best.is_whole
            or (login.is_whole == best.is_whole and not best.is_newer_than(login))
        ):
            best = login
    return best


@final
@dataclass(frozen=True, slots=True)
class Granted:
    """What the Portal gave: fields that it left out are None or empty."""

    access: Secret
    refresh: Secret | None = None
    expires_in: float | None = None
    scopes: frozenset[str] = frozenset()
    token_type: str = ""
    inference: str = ""


def granted(said: dict[str, object]) -> Granted | None:
    """Return what the body of a 200 of the token endpoint grants (RFC 6749 section 5.1); None without a token."""
    access, refresh = said.get("access_token"), said.get("refresh_token")
    if not isinstance(access, str) or not access.strip():
        return None
    token_type, inference = said.get("token_type"), said.get("inference_base_url")
    return Granted(
        Secret(access.strip()),
        Secret(refresh.strip()) if isinstance(refresh, str) and refresh.strip() else None,
        duration(said.get("expires_in")),
        scopes(said.get("scope")),
        token_type if isinstance(token_type, str) else "",
        inference if isinstance(inference, str) else "",
    )


def renewed(login: Login, grant: Granted, *, at: float, lives_for: float | None, inference: str = "") -> Login:
    """Return the login after a renewal: what the answer left out stays as it was, but for what it made untrue.

    Args:
        at: Unix time of the answer.
        lives_for: Seconds that the new access token lives; None if unknown.
        inference: The answer's address, if it may be used (R-CRED-13); empty: the old one stays.
    """
    return replace(
        login,
        access=grant.access,
        refresh=grant.refresh or login.refresh,
        scopes=grant.scopes or login.scopes,
        obtained_at=at,
        expires_at=None if lives_for is None else at + lives_for,
        token_type=grant.token_type or login.token_type,
        inference=inference or login.inference,
    )
