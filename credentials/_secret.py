"""Secrets: what may be compared and hashed, but is shown only where it is meant to be. Pure.

A secret has no text: `repr`, `str`, `format` and every rendering of a dataclass that holds one show a mask, pickling
and JSON refuse it, a copy is the secret itself. `reveal` is the one way to it (R-SEC-1). What has to be remembered or
told apart later is a fingerprint: a hash under a key that only we have, never a prefix (R-SEC-5).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, final

MASK = "**********"


@final
class Secret:
    """A token or key. Two are equal if they are the same as a whole; comparing takes as long wherever they differ."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the header or file that it goes to."""
        return self._text

    def fingerprint(self, key: bytes) -> str:
        """Return 32 hexadecimal digits that tell this secret from others, of no use without `key` (R-SEC-5)."""
        return hmac.new(key, self._bytes(), hashlib.sha256).hexdigest()[:32]

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
