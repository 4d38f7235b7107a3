"""What we remember of a login beside its tokens: our own file, in which no token ever stands. Pure.

The journal names the refresh token that is being posted: written before the POST, cleared when it is known what became
of it. Found later, it is a doubt (R-CRED-7). All processes of a host share these notes, under the lock of the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePath
from typing import final

from ._credential import MINUTE, REMEMBERED
from ._source import LoginSource
from ._store_fields import iso, unix


@final
@dataclass(frozen=True, slots=True)
class Notes:
    """Fingerprints of refresh tokens, and Unix times.

    `posts` are the POSTs of the last minute by any process, mints among them; `journal` is what was posted without it
    being known what became of it, `spent` what must never be posted again. `approved_at` is when the login was
    approved, if known.
    """

    posts: tuple[float, ...] = ()
    journal: str | None = None
    spent: tuple[str, ...] = ()
    approved_at: float | None = None

    def asking(self, at: float) -> Notes:
        """Return the notes with one more time at which the Portal was asked."""
        recent = tuple(post for post in self.posts if 0 <= at - post < MINUTE)
        return replace(self, posts=(*recent, at))

    def posting(self, fingerprint: str, at: float) -> Notes:
        """Return the notes as they must stand on disk before that refresh token is posted."""
        return replace(self.asking(at), journal=fingerprint)

    def spends(self, mark: str) -> Notes:
        """Return the notes after that refresh token was spent, while its successor is not on disk yet."""
        return replace(self, spent=(*(each for each in self.spent if each != mark), mark)[-REMEMBERED:])

    def settled(self, *spent: str) -> Notes:
        """Return the notes after it is known what became of a POST; it spent these."""
        kept = tuple(mark for mark in self.spent if mark not in spent)
        return replace(self, journal=None, spent=(*kept, *spent)[-REMEMBERED:])

    def begun(self, approved_at: float | None) -> Notes:
        """Return the notes of a new login; what is spent stays spent."""
        return replace(self, journal=None, approved_at=approved_at)


def parse_notes(data: bytes | None) -> Notes:
    """Return what a file of notes says; nothing, if there is none or it says nothing readable.

    It can only be lost as a whole: it is replaced, never rewritten. Then the Portal's own answers have to do.
    """
    try:
        said = json.loads(data) if data is not None else {}
    except (ValueError, RecursionError):
        return Notes()
    if not isinstance(said, dict):
        return Notes()
    journal = said.get("journal")
    posts = [unix(at) for at in _list(said, "posts")]
    return Notes(
        posts=tuple(at for at in posts if at is not None),
        journal=journal if isinstance(journal, str) else None,
        spent=tuple(mark for mark in _list(said, "spent") if isinstance(mark, str))[-REMEMBERED:],
        approved_at=unix(said.get("approved_at")),
    )


def render_notes(notes: Notes) -> bytes:
    """Return the file of these notes."""
    document = {
        "_schema": 1,
        "posts": [iso(at) for at in notes.posts],
        "journal": notes.journal,
        "spent": list(notes.spent),
        "approved_at": iso(notes.approved_at),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def notes_path(source: LoginSource) -> PurePath:
    """Return where the notes of a login stand: beside our own store, one file for each login that is kept."""
    name = sha256(str(source.main).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return source.store.parent / f"nous_notes_{name}.json"


def key_path(source: LoginSource) -> PurePath:
    """Return where the key of all fingerprints stands."""
    return source.store.parent / "nous_fingerprints.key"


def _list(said: Mapping[str, object], name: str) -> list[object]:
    value = said.get(name)
    return value if isinstance(value, list) else []
