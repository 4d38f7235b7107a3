"""The stores of a login, read together: our own file, or Hermes Agent's local store and its shared one.

Plain functions, run in a worker thread. What the files say is judged in `_stores.py`; what is done about it, in
`_renewal.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TypeAlias, final

from ._files import drafts, mend, read, remove_drafts
from ._login import Login, bootstrap, preferred
from ._modes import HermesPlaces
from ._notes import Notes
from ._source import LoginSource
from ._stores import Absent, Corrupt, Found, Guest, Layout, Stored, Unreadable, is_guest, own, parse, speaks_of_nous
from ._stores import source as local_source

Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""What of each file changes whenever it is written: its inode, its size, and the nanosecond of its last change."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A store that is read and written. `optional` is one that is never created together with its folder."""

    path: Path
    found: Found
    private: bool
    optional: bool = False


@final
@dataclass(frozen=True, slots=True)
class Shelf:
    """What the stores hold: the local one first, the shared one last. `from_root`: the local one is the root's."""

    places: tuple[Place, ...]
    from_root: bool = False

    @property
    def found(self) -> tuple[Found, ...]:
        """What each store holds."""
        return tuple(place.found for place in self.places)

    @property
    def usable(self) -> tuple[Place, ...]:
        """The stores that are for logins of one's own: those that are read, and written together."""
        return tuple(place for place in self.places if not isinstance(place.found, Guest))

    @property
    def login(self) -> Login | None:
        """The login that counts, if there is any."""
        if is_guest(self.found):
            return None
        return preferred([found.login for found in self.found if isinstance(found, Stored)])

    @property
    def is_readable(self) -> bool:
        """Say whether every store could be read, and understood."""
        return not any(isinstance(found, Corrupt | Unreadable) for found in self.found)

    @property
    def problem(self) -> str:
        """Say which store cannot be used, and why; empty if none is in the way."""
        seen = self.places if is_guest(self.found) else self.usable
        return next(filter(None, (_problem(place) for place in seen)), "")

    def begun_with(self, source: LoginSource, notes: Notes, key: bytes) -> Shelf:
        """Return the shelf with the login that `NOUS_REFRESH_TOKEN` makes, where none of our own has been made yet.

        A refresh token that was posted before makes none: its successor was in the store, and is gone from there.
        """
        if source.refresh_token is None or source.hermes is not None:
            return self
        (own,) = self.places
        login = bootstrap(source.refresh_token.reveal())
        if not isinstance(own.found, Absent) or login.fingerprint(key) in notes.spent:
            return self
        return replace(self, places=(replace(own, found=Stored(login, Layout.FLAT, own.found.document or {})),))


def read_shelf(source: LoginSource) -> Shelf:
    """Read every store. What cannot be read is told by what was found, and never taken for missing."""
    if source.hermes is None:
        return Shelf((Place(Path(source.store), own(_read(source.store, private=True)), private=True),))
    profile, root = source.hermes.profile, source.hermes.root
    profiles = _local(_read(profile, private=False))
    roots = profiles if root == profile else _local(_read(root, private=False))
    found, from_root = local_source(profiles, roots)
    from_root = from_root and root != profile
    shared = source.hermes.shared
    return Shelf(
        (
            Place(Path(root if from_root else profile), found, private=False),
            Place(Path(shared), _read(shared, private=False), private=False, optional=True),
        ),
        from_root,
    )


def has_nous(places: HermesPlaces) -> bool:
    """Say whether Hermes Agent has, or had, a login to Nous: it may well be here for other providers alone."""
    paths = dict.fromkeys((places.profile, places.root, places.shared))
    return any(speaks_of_nous(_read(path, private=False)) for path in paths)


def locks(source: LoginSource, *, from_root: bool) -> tuple[Path, ...]:
    """Return the lock files of a login, in the order in which they are taken.

    That of a shared store is none of them where its folder is not there: it is Hermes Agent's to begin.
    """
    if source.hermes is None:
        store = Path(source.store)
        return (store.with_suffix(".lock") if store.suffix != ".lock" else store.with_name(store.name + ".lock"),)
    *local, shared = map(Path, source.hermes.locks(from_root=from_root))
    return (*local, shared) if shared.parent.exists() else tuple(local)


def signature(source: LoginSource) -> Signature:
    """Return what changes whenever a store is written; it costs a look at each, and reads none."""
    paths: Iterable[PurePath] = (source.store,)
    if source.hermes is not None:
        paths = dict.fromkeys((source.hermes.profile, source.hermes.root, source.hermes.shared))
    return tuple(_stat(path) for path in paths)


def _stat(path: PurePath) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: PurePath, *, private: bool) -> Found:
    try:
        return parse(read(Path(path), private=private))
    except OSError as error:
        return Unreadable(mend(error, Path(path)))


def left_behind(shelf: Shelf) -> Login | None:
    """Return the pair that a process was writing when it was killed, if it is whole and newer than that in the stores.

    Under the lock nobody else is writing.
    """
    held = shelf.login
    found: list[Login] = []
    for place in shelf.usable:
        for draft in drafts(Path(os.path.realpath(place.path))):
            with suppress(OSError):
                data = read(draft, private=place.private) or b""
                holds = parse(data.rstrip(b"\0"))  # the room that was held open for it
                if isinstance(holds, Stored) and holds.login.is_whole:
                    found.append(holds.login)
    newest = preferred(found)
    return newest if newest is not None and (held is None or newest.is_newer_than(held)) else None


def clear(shelf: Shelf) -> None:
    """Remove what was left behind, once it is in its place. Under the lock."""
    for place in shelf.usable:
        remove_drafts(Path(os.path.realpath(place.path)))


def _local(found: Found) -> Found:
    """Return what Hermes Agent's own file holds: where there is none yet, it is one with all its providers."""
    return Absent(Layout.NESTED) if isinstance(found, Absent) and found.document is None else found


def _problem(place: Place) -> str:
    match place.found:
        case Unreadable(problem):
            return problem
        case Corrupt(problem, is_foreign=True):
            return f"{place.path}: {problem} in NOUS_OAUTH_STATE_PATH"
        case Corrupt(problem) if place.private:
            return f"{place.path}: {problem}; put it right, or run `understudy logout nous` and `understudy login nous`"
        case Corrupt(problem):
            return f"{place.path}: {problem}; put it right or move it away, and log in with `understudy login nous`"
        case Guest():
            remedy = "log in with Hermes Agent, or set NOUS_AUTH_MODE=own"
            return f"{place.path} holds an anonymous login, which is of no use here; {remedy}"
        case _:
            return ""
