"""The files that logins stand in: parsed into neutral values, and written back with all else as it was. Pure.

    nested   {"version": 1, "providers": {"nous": {…}}, "credential_pool": {"nous": [{…}]}, …}    auth.json
    legacy   {"systems": {"nous_portal": {…}}}                                     read; a new pair goes to the nested
    flat     {"_schema": 1, "access_token": …, "refresh_token": …, …}     the shared store, and our own

A file that is missing, one that cannot be read and one that says nothing readable are three different things: only the
first may be written (R-FS-3). Unknown fields, other providers, `active_provider` and the order of all stay. JSON is
read and written by the standard library here, which keeps whole numbers of any length.

Source: github.com/NousResearch/hermes-agent, `hermes_cli/auth.py`, `hermes_cli/auth_nous.py` and `auth/store.py`;
issues 15718 and 20739 (a file that could not be read was taken for an empty one, and lost).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TypeAlias, final

from ._login import Login
from ._secret import Secret
from ._store_fields import iso, key_fields, read_login, token_fields, without_tokens

_ROOTS = ("providers", "credential_pool", "systems", "active_provider")
_DEVICE_CODE = frozenset({"device_code", "manual:device_code"})


class Layout(StrEnum):
    """Where in a file the login stands."""

    NESTED = auto()
    LEGACY = auto()
    FLAT = auto()


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """A file with a login in it. `document` is all of it."""

    login: Login
    layout: Layout
    document: Mapping[str, object] = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Absent:
    """No file (no `document`), or a file without a login of ours: nobody is logged in. `is_over` says that somebody
    was, and that the Portal ended it.
    """

    layout: Layout = Layout.FLAT
    document: Mapping[str, object] | None = field(default=None, repr=False)
    is_over: bool = False


@final
@dataclass(frozen=True, slots=True)
class Guest:
    """An anonymous credential: it is recognised, and never renewed or replaced."""


@final
@dataclass(frozen=True, slots=True)
class Corrupt:
    """A file that says nothing readable: it is neither written nor renewed from. `problem` names no content.

    `is_foreign`: it is readable, and another program's.
    """

    problem: str
    is_foreign: bool = False


@final
@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is there and could not be read; `problem` is what the system said."""

    problem: str


Found: TypeAlias = Stored | Absent | Guest | Corrupt | Unreadable


def parse(data: bytes | None) -> Found:
    """Return what a store holds.

    Args:
        data: The file's bytes, with or without a byte order mark; None: there is no file.
    """
    if data is None:
        return Absent()
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Corrupt("it is empty" if not data.strip() else "it is not JSON, or was cut short")
    if not isinstance(document, dict):
        return Corrupt("it is JSON, but no object")
    return _located(document)


def _located(document: dict[str, object]) -> Found:
    if not any(name in document for name in _ROOTS):
        return _found(document, Layout.FLAT, document)
    below = [
        (Layout.NESTED, _below(document, "providers", "nous")),
        (Layout.LEGACY, _below(document, "systems", "nous_portal")),
    ]
    for layout, fields in below:
        if isinstance(fields, Corrupt):
            return fields
        holds = Absent() if fields is None else _found(fields, layout, document)
        if not isinstance(holds, Absent) or holds.is_over:
            return holds
    return Absent(Layout.NESTED, document)


def _below(document: Mapping[str, object], outer: str, inner: str) -> dict[str, object] | Corrupt | None:
    around = document.get(outer)
    if around is None:
        return None
    if not isinstance(around, dict):
        return Corrupt(f'"{outer}" is no object')
    fields = around.get(inner)
    if fields is None or isinstance(fields, dict):
        return fields
    return Corrupt(f'"{outer}.{inner}" is no object')


def _found(fields: Mapping[str, object], layout: Layout, document: Mapping[str, object]) -> Found:
    if fields.get("auth_method") == "anonymous" or (fields.get("anon_token") and not fields.get("refresh_token")):
        return Guest()
    login = read_login(fields)
    if login.access is None and login.refresh is None and login.key is None:
        is_over = isinstance(fields.get("last_auth_error"), dict)
        return Absent(Layout.FLAT if layout is Layout.FLAT else Layout.NESTED, document, is_over)
    return Stored(login, layout, document)


def own(found: Found) -> Found:
    """Return what our own store holds: a file that another program has made is none, whatever is in it."""
    if not isinstance(found, Stored | Absent) or not found.document:
        return found
    is_ours = found.layout is Layout.FLAT and (
        isinstance(found, Stored) or found.is_over or "_schema" in found.document
    )
    if is_ours:
        return found
    return Corrupt("it is another program's, and holds no login of ours; name another file", is_foreign=True)


def speaks_of_nous(found: Found) -> bool:
    """Say whether a store is one of ours: it has a login, or had one, or cannot be understood. One that only has other
    providers' is none.
    """
    if not isinstance(found, Absent):
        return True
    if found.document is None or found.layout is Layout.FLAT:
        return found.document is not None
    places = (("providers", "nous"), ("systems", "nous_portal"))
    return any(_below(found.document, *place) is not None for place in places)


def is_guest(found: Sequence[Found]) -> bool:
    """Say whether an anonymous login is what stands there: in the first store, or in any where no store has another.

    Beside a login of one's own, one in the shared store is nobody's business: it is neither used nor replaced.

    Args:
        found: The local store first, the shared one last.
    """
    guests = [isinstance(holds, Guest) for holds in found]
    return any(guests) and (guests[0] or not any(isinstance(holds, Stored) for holds in found))


def source(profile: Found, root: Found) -> tuple[Found, bool]:
    """Return the local store that the login is read from and written back to, and whether it is the root's.

    A profile without a login uses the root's; one that cannot be read does not (issue 56361: a renewal that was written
    to the profile though it was read from the root).
    """
    is_root = isinstance(profile, Absent) and not isinstance(root, Absent)
    return (root, True) if is_root else (profile, False)


def render(found: Stored | Absent, login: Login, at: float) -> bytes:
    """Return the file with `login` in it, as it becomes durable before anybody uses it.

    An earlier error is cleared, and rows of the credential pool that hold the refresh token which was replaced get the
    new pair in the same write. What was found in the legacy place is written to the present one.

    Args:
        at: Unix time of writing.
    """
    document = dict(found.document or {})
    if found.layout is Layout.FLAT:
        document = {"_schema": 1, **_without_error(document), **token_fields(login)}
        if login.key is not None:
            document.update(key_fields(login))
        if login.grant_issued_at is not None:
            document["grant_issued_at"] = iso(login.grant_issued_at)
    else:
        document = {"version": 1, **document, "providers": _with_login(document, found, login)}
        if isinstance(found, Stored) and found.login.refresh is not None:
            document = _with_pool(document, found.login.refresh, login)
    document["updated_at"] = iso(at)
    return _written(document)


def quarantined(found: Stored, *, code: str, message: str, at: float) -> bytes:
    """Return the file after its login died: without its tokens, with the reason, and where it was for.

    Pool rows from the same device code go with it. Whoever reads the file later knows that a new login is needed.

    Args:
        code: The Portal's error code, from those we know. `message` is ours and holds no secret.
        at: Unix time.
    """
    said = {"provider": "nous", "message": message, "reason": code, "relogin_required": True, "code": code}
    error = {"last_auth_error": {**said, "at": iso(at)}}
    document = dict(found.document)
    if found.layout is Layout.FLAT:
        return _written({**without_tokens(document), **error, "updated_at": iso(at)})
    outer, inner = ("providers", "nous") if found.layout is Layout.NESTED else ("systems", "nous_portal")
    fields = _below(document, outer, inner)
    around = document[outer]
    if isinstance(fields, dict) and isinstance(around, dict):
        document[outer] = {**around, inner: {**without_tokens(fields), **error}}
    pool = document.get("credential_pool")
    if isinstance(pool, dict) and isinstance(pool.get("nous"), list):
        document["credential_pool"] = {**pool, "nous": [row for row in pool["nous"] if not _from_device(row)]}
    return _written({**document, "updated_at": iso(at)})


def _with_login(document: Mapping[str, object], found: Stored | Absent, login: Login) -> dict[str, object]:
    around = document.get("providers")
    around = around if isinstance(around, dict) else {}
    outer, inner = ("systems", "nous_portal") if found.layout is Layout.LEGACY else ("providers", "nous")
    fields = _below(document, outer, inner)
    kept = _without_error(fields) if isinstance(fields, dict) else {}
    return {**around, "nous": {**kept, **token_fields(login), **key_fields(login)}}


def _without_error(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != "last_auth_error"}


def _with_pool(document: dict[str, object], old: Secret, login: Login) -> dict[str, object]:
    pool = document.get("credential_pool")
    if not isinstance(pool, dict) or not isinstance(pool.get("nous"), list):
        return document
    rows = [_row(row, old, login) for row in pool["nous"]]
    return {**document, "credential_pool": {**pool, "nous": rows}}


def _row(row: object, old: Secret, login: Login) -> object:
    token = row.get("refresh_token") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(token, str) or Secret(token) != old:
        return row
    fresh = {**token_fields(login), **key_fields(login)}
    return {**row, **{name: value for name, value in fresh.items() if name in row}}


def _from_device(row: object) -> bool:
    return isinstance(row, dict) and row.get("source") in _DEVICE_CODE


def _written(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
