"""What the Portal's answer to a renewal, or to a mint, means. Pure.

    status, body                                                     means            the login
    200 with an access token                                         Granted          is renewed
    400, 401 with invalid_grant, invalid_token, reuse                Terminal         is dead, unless the store changed
    4xx with invalid_client, unauthorized_client, invalid_scope      Misconfigured    is kept, and not renewed
    any other 2xx, 408, 5xx, nothing after the request was sent      Unclear          is kept: was it renewed?
    no connection, 3xx, 403, 404, 429, a page, all else              Transient        is kept: again after a while

Only an answer that says in so many words that the login is over ends it: a firewall's page never does. After an unclear
one the refresh token may be spent, and posting a spent one ends the whole login: `_credential.py` waits with it.
Nothing of a body is kept but codes that are known here.

Sources: RFC 6749 sections 5.1 and 5.2; R-CRED-7, R-CRED-8, R-CRED-9; github.com/NousResearch/hermes-agent,
`auth/providers/nous.py` (the codes), issue 120602 (a block by Vercel read as a bad credential), issue 269 (the mint).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

from ..providers import decode
from ._lifetime import duration
from ._login import Granted, granted
from ._secret import Secret
from ._store_fields import unix

LONGEST_WAIT = 60.0
"""Seconds that the Portal may ask us to wait (R-CRED-9)."""

_TERMINAL = frozenset({"invalid_grant", "invalid_token", "refresh_token_reused"})
_MISCONFIGURED = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})
_BILLING = frozenset({"subscription_required", "insufficient_credits"})
_OTHER = frozenset(
    {
        *("temporarily_unavailable", "server_error", "slow_down", "access_denied", "expired_token"),
        *("invalid_request", "unsupported_grant_type", "authorization_pending"),
    }
)
KNOWN_CODES = _TERMINAL | _MISCONFIGURED | _BILLING | _OTHER
"""The error codes that may be shown; others may hold anything."""


@final
@dataclass(frozen=True, slots=True)
class PortalAnswer:
    """An answer: `retry_after` is its hint in seconds; a body that was cut at its limit is no JSON any more."""

    status: int
    body: bytes = b""
    retry_after: float | None = None

    def __repr__(self) -> str:
        return f"PortalAnswer(status={self.status}, retry_after={self.retry_after})"


@final
@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer came. `was_sent` says whether the Portal may have got the request all the same."""

    was_sent: bool


@final
@dataclass(frozen=True, slots=True)
class Terminal:
    """The login is over, unless the store has another one by now."""

    code: str


@final
@dataclass(frozen=True, slots=True)
class Misconfigured:
    """The client or its scopes are refused, not the login."""

    code: str


@final
@dataclass(frozen=True, slots=True)
class Unclear:
    """The refresh token may be spent, or not. `retry_after` in seconds."""

    retry_after: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Transient:
    """Nothing was renewed; it may go better after a while. `retry_after` in seconds; `status` None: no answer."""

    retry_after: float | None = None
    status: int | None = None
    code: str = ""


@final
@dataclass(frozen=True, slots=True)
class MintOff:
    """There is no mint any more: it is never asked again."""


@final
@dataclass(frozen=True, slots=True)
class MintUnpaid:
    """The account cannot mint; the login is well."""

    code: str


@final
@dataclass(frozen=True, slots=True)
class MintRefused:
    """The access token is refused: it is to be renewed, and the mint asked once more."""


@final
@dataclass(frozen=True, slots=True)
class Minted:
    """An agent key. `expires_at` is Unix time, `expires_in` seconds; both None: used until it is refused."""

    key: Secret
    expires_in: float | None = None
    expires_at: float | None = None


Meaning: TypeAlias = Granted | Terminal | Misconfigured | Unclear | Transient
MintMeaning: TypeAlias = Minted | MintOff | MintUnpaid | MintRefused | Transient


def refresh_meaning(answer: PortalAnswer) -> Meaning:
    """Say what an answer to a renewal means."""
    said = said_in(answer.body)
    code, wait = _code(said), _wait(answer)
    if answer.status == 200 and (grant := granted(said)) is not None:
        return grant
    if 200 <= answer.status < 300 or answer.status == 408 or answer.status >= 500:
        return Unclear(wait)
    if answer.status in {400, 401} and (code in _TERMINAL or _speaks_of_reuse(said)):
        return Terminal(code if code in _TERMINAL else "refresh_token_reused")
    if 400 <= answer.status < 500 and code in _MISCONFIGURED:
        return Misconfigured(code)
    return Transient(wait, answer.status, code)


def lost_meaning(*, was_sent: bool) -> Meaning:
    """Say what no answer means: a request that was never sent says nothing about the refresh token (R-CRED-8).

    Args:
        was_sent: The connection was made, so that some of the request may have arrived.
    """
    return Unclear() if was_sent else Transient()


def mint_meaning(answer: PortalAnswer) -> MintMeaning:
    """Say what an answer to a mint means. Minting spends nothing, so that nothing is ever unclear."""
    said = said_in(answer.body)
    code, key = _code(said), said.get("api_key")
    if answer.status == 200 and isinstance(key, str) and key.strip():
        return Minted(Secret(key.strip()), duration(said.get("expires_in")), unix(said.get("expires_at")))
    if answer.status in {404, 410}:
        return MintOff()
    if answer.status == 402 or code in _BILLING:
        return MintUnpaid(code or "payment_required")
    if answer.status == 401 or (answer.status == 400 and code in _TERMINAL):
        return MintRefused()
    return Transient(_wait(answer), answer.status, code)


def said_in(body: bytes) -> dict[str, object]:
    """Return the object that a body is; an empty one for what is none."""
    try:
        said = decode(body)
    except ValueError:
        return {}
    return dict(said) if isinstance(said, dict) else {}


def _code(said: dict[str, object]) -> str:
    code = said.get("error")
    return code if isinstance(code, str) and code in KNOWN_CODES else ""


def _speaks_of_reuse(said: dict[str, object]) -> bool:
    description = said.get("error_description")
    return isinstance(said.get("error"), str) and isinstance(description, str) and "reuse" in description.lower()


def _wait(answer: PortalAnswer) -> float | None:
    return None if answer.retry_after is None else min(max(answer.retry_after, 0.0), LONGEST_WAIT)
