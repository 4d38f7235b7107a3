"""Logins, tokens and stores for the tests of the credential."""

from __future__ import annotations

import base64
import json

from understudy.credentials._login import Login
from understudy.credentials._secret import Secret
from understudy.credentials._stores import Layout, Stored

KEY = b"the key of all fingerprints"
WALL = 1_800_000_000.0
"""Unix time of the tests."""


def jwt(
    *,
    exp: object = WALL + 3600,
    iat: object = WALL,
    scope: object = "inference:invoke",
    name: str = "me",
    **more: object,
) -> str:
    """Return a JWT, unsigned; None leaves a claim out."""
    said = {"sub": name, "exp": exp, "iat": iat, "scope": scope, **more}
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"RS256"}', json.dumps({k: v for k, v in said.items() if v is not None}).encode(), b"sig")
    )


def login(
    refresh: str | None = "rt-1", access: str | None = "", *, obtained_at: float | None = WALL, key: str | None = None
) -> Login:
    """Return a login; an empty access token is a good one, made after the refresh token."""
    token = jwt(name=refresh or "none") if access == "" else access
    return Login(
        access=None if token is None else Secret(token),
        refresh=None if refresh is None else Secret(refresh),
        obtained_at=obtained_at,
        key=None if key is None else Secret(key),
        key_expires_at=None if key is None else WALL + 7200,
    )


def mark(refresh: str) -> str:
    """Return the fingerprint of a refresh token."""
    return Secret(refresh).fingerprint(KEY)


def held(one: Login) -> Stored:
    """Return a store that holds a login."""
    return Stored(one, Layout.FLAT, {})
