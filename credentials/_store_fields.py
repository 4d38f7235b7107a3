"""The fields of one login in a store, read and written. Pure. Where in a file they stand is `_stores.py`'s business.

Times are ISO 8601 in UTC; one without a zone means UTC, and a number is Unix time. While no key was minted,
`agent_key` and its fields are a copy of the access token, for readers that look there.

Source: github.com/NousResearch/hermes-agent, `hermes_cli/auth_nous.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ._lifetime import LATEST, duration, instant, scopes
from ._login import CLIENT_ID, Login
from ._secret import Secret

_TOKENS = (
    "access_token",
    "refresh_token",
    "expires_at",
    "expires_in",
    "obtained_at",
    "agent_key",
    "agent_key_id",
    "agent_key_expires_at",
    "agent_key_expires_in",
    "agent_key_reused",
    "agent_key_obtained_at",
)
"""What a dead login loses; where it was for, it keeps."""


def unix(value: object) -> float | None:
    """Return a stored time in Unix seconds; None for what is none."""
    if not isinstance(value, str):
        return instant(value)
    try:
        moment = datetime.fromisoformat(value.strip())
        return instant((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def iso(at: float | None) -> str | None:
    """Return a Unix time as stores write it; one after the year 9999 as the end of that."""
    return None if at is None else datetime.fromtimestamp(min(at, LATEST), UTC).isoformat()


def read_login(fields: Mapping[str, object]) -> Login:
    """Return the login that the fields describe; what is missing or of another kind is as if it were not there."""
    access, obtained_at = _secret(fields.get("access_token")), unix(fields.get("obtained_at"))
    expires_at, expires_in = unix(fields.get("expires_at")), duration(fields.get("expires_in"))
    if expires_at is None and obtained_at is not None and expires_in is not None:
        expires_at = obtained_at + expires_in
    key, tls = _secret(fields.get("agent_key")), fields.get("tls")
    minted = key is not None and key != access
    tls = tls if isinstance(tls, Mapping) else {}
    return Login(
        access=access,
        refresh=_secret(fields.get("refresh_token")),
        scopes=scopes(fields.get("scope")),
        obtained_at=obtained_at,
        expires_at=expires_at,
        client_id=_text(fields.get("client_id")) or CLIENT_ID,
        token_type=_text(fields.get("token_type")) or "Bearer",
        portal=_text(fields.get("portal_base_url")),
        inference=_text(fields.get("inference_base_url")),
        key=key if minted else None,
        key_expires_at=unix(fields.get("agent_key_expires_at")) if minted else None,
        grant_issued_at=unix(fields.get("grant_issued_at")),
        ca_bundle=_text(tls.get("ca_bundle")),
        insecure=tls.get("insecure") is True,
    )


def token_fields(login: Login) -> dict[str, object]:
    """Return the fields that a renewal changes. Absent texts are left as they stand."""
    fields: dict[str, object] = {
        "access_token": _shown(login.access),
        "refresh_token": _shown(login.refresh),
        "obtained_at": iso(login.obtained_at),
        "expires_at": iso(login.expires_at),
        "expires_in": _lasts_for(login),
        "token_type": login.token_type,
        "client_id": login.client_id,
    }
    if login.scopes:
        fields["scope"] = " ".join(sorted(login.scopes))
    if login.inference:
        fields["inference_base_url"] = login.inference
    if login.portal:
        fields["portal_base_url"] = login.portal
    return fields


def key_fields(login: Login) -> dict[str, object]:
    """Return the agent key as readers of it expect it: the minted one, or the access token in its place."""
    if login.key is not None:
        return {"agent_key": login.key.reveal(), "agent_key_expires_at": iso(login.key_expires_at)}
    return {
        "agent_key": _shown(login.access),
        "agent_key_id": None,
        "agent_key_reused": False,
        "agent_key_obtained_at": iso(login.obtained_at),
        "agent_key_expires_at": iso(login.expires_at),
        "agent_key_expires_in": _lasts_for(login),
    }


def without_tokens(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields without whatever made them a login."""
    return {name: value for name, value in fields.items() if name not in _TOKENS}


def _lasts_for(login: Login) -> int | None:
    if login.expires_at is None or login.obtained_at is None:
        return None
    return max(round(login.expires_at - login.obtained_at), 0)


def _secret(value: object) -> Secret | None:
    return Secret(value.strip()) if isinstance(value, str) and value.strip() else None


def _shown(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
