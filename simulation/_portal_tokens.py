"""The tokens that a simulated Portal gives out: unguessable to look at, never the same twice, and canaries all. Pure.

Who searches logs, errors and dumps for one of them finds what leaked, and what leaked it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, final


def fingerprint(token: str) -> str:
    """Return what may be shown of a token: the first 12 hex digits of its SHA-256 (as Hermes Agent shows it)."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def jwt_claims(token: str) -> dict[str, Any]:
    """Return what a JWT claims, unverified; nothing if it is none.

    Source: RFC 7519, section 7.2.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        read = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


@final
class Tokens:
    """Draws tokens from a seed: the same ones in the same order for the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed, self._drawn = seed, 0

    def __repr__(self) -> str:
        return f"Tokens(drawn={self._drawn})"  # who knows the seed knows them all

    def opaque(self, prefix: str) -> str:
        """Return a token that says nothing."""
        return prefix + _base64(self._draw())

    def jwt(self, payload: Mapping[str, Any]) -> str:
        """Return a JWT. Its signature is drawn: nobody but the Portal checks it."""
        head = {"alg": "RS256", "typ": "JWT", "kid": "simulated"}
        unique = {**payload, "jti": self._draw().hex()[:16]}
        return ".".join((_base64(json.dumps(head).encode()), _base64(json.dumps(unique).encode()), self.opaque("")))

    def user_code(self) -> str:
        """Return a code to be typed: XXXX-XXXX, without vowels, so that it is no word (RFC 8628, section 6.1)."""
        letters = "".join("BCDFGHJKLMNPQRSTVWXZ"[byte % 20] for byte in self._draw()[:8])
        return f"{letters[:4]}-{letters[4:]}"

    def _draw(self) -> bytes:
        self._drawn += 1
        return hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
