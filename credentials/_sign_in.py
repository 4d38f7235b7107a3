"""Logging in and out: a new login in the place of whatever stands in the stores, under their lock.

What could keep the pair from being written is looked for before anybody is asked to approve anything. Once the Portal
has given a pair, it is on disk before it is told, also if this is cancelled meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, final

import anyio

from ._addresses import INFERENCE, to_keep
from ._credential_values import Bearer, Credential, Why
from ._device import Declined, DeviceCode, Pace, PollMeaning, device_meaning, poll_meaning
from ._files import Draft, mend, read, remove, remove_drafts, write
from ._host import Host
from ._lifetime import INVOKE, lives_for
from ._locks import busy, locked
from ._login import CLIENT_ID, Granted, Login, renewed
from ._login_health import Life, LoginHealth, health_of
from ._notes import Notes, key_path, notes_path, parse_notes, render_notes
from ._renewal import Scene, issue_of
from ._shelf import Place, Shelf, locks, read_shelf
from ._source import LoginSource
from ._store_fields import without_tokens
from ._stores import Absent, Corrupt, Guest, Layout, Stored, render
from ._transaction import LOCK_WITHIN, SLACK
from ._words import LOG_IN, said, untrusting

if TYPE_CHECKING:
    from ._portal import Portal

KEEP_WITHIN = 60.0
"""Seconds that a new login waits for the lock (chosen: three times as long as whoever holds it may speak to the Portal,
and no longer than one waits for a command that was told to end)."""


@final
class SignInError(Exception):
    """There is no new login, or none was ended. The text says why, and what to do."""


async def log_in(source: LoginSource, host: Host, show: Callable[[DeviceCode], Awaitable[None]]) -> None:
    """Log in by a device code, and keep the login in the stores of `source`.

    Args:
        show: Shows the address and the code to whoever approves them.

    After cancellation there is a new login on disk if the Portal gave one, and nothing has changed if not.

    Raises:
        SignInError: The stores cannot be read or written, or the Portal gave no login.
    """
    from ._portal import portal_of  # it takes the HTTP library along, which not every command needs

    shelf = await _writable_now(source, host)
    known = shelf.login or Login()
    portal = portal_of(source, known, host)
    try:
        found = device_meaning(await portal.device(CLIENT_ID, INVOKE), portal.url)
    except OSError as error:
        raise SignInError(untrusting(error, portal.ca_bundle)) from None
    if isinstance(found, Declined):
        raise SignInError(found.reason)
    await show(found)
    pace, ends_at = Pace(found.interval), anyio.current_time() + found.expires_in
    wait = pace.interval
    while anyio.current_time() + wait < ends_at:
        await anyio.sleep(wait)
        with anyio.CancelScope(shield=True):  # what is granted to a question that was asked, is kept
            meaning = await _polled(portal, found)
            if isinstance(meaning, Granted):
                await _keep(source, host, meaning)
        match meaning:
            case Granted():
                return
            case Declined(reason):
                raise SignInError(reason)
            case _:
                pace, wait = pace.after(meaning)
    raise SignInError("nobody approved the code in time; run it again")


async def _polled(portal: Portal, code: DeviceCode) -> PollMeaning:
    try:
        return poll_meaning(await portal.poll(CLIENT_ID, code.device_code))
    except OSError as error:
        raise SignInError(untrusting(error, portal.ca_bundle)) from None


async def log_out(source: LoginSource, host: Host) -> bool:
    """Forget our own login; return whether there was one. The Portal knows no way to end it: it ends by its age.

    Raises:
        SignInError: The login is Hermes Agent's, or its file cannot be removed.
    """
    if source.hermes is not None:
        raise SignInError(f"the login in {source.main} is Hermes Agent's: log out there")
    path = Path(source.store)
    try:
        async with locked(locks(source, from_root=False), within=LOCK_WITHIN) as is_ours:
            if not is_ours:
                raise SignInError("another process is renewing the login; try again")
            with anyio.CancelScope(shield=True):
                (place,) = (await host.in_thread(partial(read_shelf, source))).places
                if isinstance(place.found, Corrupt) and place.found.is_foreign:
                    raise SignInError(f"{path} is another program's: check NOUS_OAUTH_STATE_PATH")
                there = await host.in_thread(path.exists)
                await host.in_thread(partial(remove, path))
                await host.in_thread(partial(remove_drafts, path))
                await host.in_thread(partial(_note, source, None))
                return there
    except OSError as error:
        raise SignInError(mend(error, path)) from None
    return False


def look(source: LoginSource, host: Host) -> LoginHealth:
    """Return how a login stands by what the stores hold, without asking anybody and without the lock."""
    shelf, notes, wall = read_shelf(source), _notes(source), host.wall_clock()
    login = shelf.login
    bare = LoginHealth(source.mode, str(source.main), Life.DEAD)
    if login is None and shelf.problem:
        return replace(bare, reason=shelf.problem)
    if login is None:
        if source.refresh_token is not None and source.hermes is None:
            if shelf.begun_with(source, notes, _key(source)).login is not None:
                return replace(bare, life=Life.ALIVE, reason="begins with NOUS_REFRESH_TOKEN at its first use")
            return replace(
                bare, reason=f"NOUS_REFRESH_TOKEN was used before, and begins no other login; run `{LOG_IN}`"
            )
        is_over = any(isinstance(found, Absent) and found.is_over for found in shelf.found)
        return replace(bare, reason=said(Why.REVOKED if is_over else Why.LOGGED_OUT))
    issue = issue_of(login, Scene(0.0, wall), least=0.0)
    bearer = None if issue is None else Bearer(1, issue.token, issue.term)
    approved_at = login.grant_issued_at if login.grant_issued_at is not None else notes.approved_at
    health = health_of(
        Credential(login, bearer), 0.0, wall, mode=source.mode, where=str(source.main), approved_at=approved_at
    )
    if shelf.problem:  # it serves to its end, and nothing is renewed before that is mended
        return replace(health, life=Life.BARRED if bearer is None else health.life, reason=shelf.problem)
    if bearer is None and login.refresh is None:
        return replace(health, life=Life.DEAD, reason=f"its token is over, and it cannot be renewed; run `{LOG_IN}`")
    return health


async def _keep(source: LoginSource, host: Host, grant: Granted) -> None:
    """Write the pair of a new login; whoever is cancelled meanwhile waits for that, a minute at most.

    Raises:
        SignInError: It could not be written, and is lost.
    """
    received_at = host.wall_clock()
    lifetime = lives_for(grant.access.reveal(), grant.expires_in, received_at)
    inference = to_keep(INFERENCE, grant.inference, override=source.inference)
    login = renewed(Login(), grant, at=received_at, lives_for=lifetime, inference=inference)
    from_root, problem, until = False, "", anyio.current_time() + KEEP_WITHIN
    while (left := until - anyio.current_time()) > 0:
        files = locks(source, from_root=from_root)
        try:
            async with locked(files, within=left) as is_ours:
                if not is_ours:
                    problem = busy(files, KEEP_WITHIN)
                    break
                shelf = await host.in_thread(partial(read_shelf, source))
                if shelf.from_root != from_root:
                    from_root = shelf.from_root
                    continue
                now = host.wall_clock()  # it follows whatever was renewed while the lock was waited for
                await host.in_thread(partial(_write, source, shelf, replace(login, obtained_at=now), now))
                return
        except OSError as error:
            problem = mend(error, Path(source.main))
            break
    raise SignInError(f"the new login is lost: {problem}; log in again")


def _write(source: LoginSource, shelf: Shelf, login: Login, wall: float) -> None:
    if not isinstance(shelf.places[0].found, Stored | Absent):
        raise OSError(shelf.problem)
    for place in shelf.usable:
        if not isinstance(place.found, Stored | Absent):
            continue  # a shared store that has become unreadable: it is in nobody's way
        if place.optional and not place.path.parent.exists():
            continue
        own = login if source.hermes is not None else replace(login, grant_issued_at=wall)
        data = render(_cleared(place.found), own, wall)
        try:
            write(place.path, data, private=place.private)
        except OSError:
            if not place.optional:
                raise
            remove(place.path)  # else Hermes Agent would bring the old login back from it
    _note(source, wall)


async def _writable_now(source: LoginSource, host: Host) -> Shelf:
    """Return what the stores hold, after a look at whether they can be written, and locked.

    Raises:
        SignInError: They cannot.
    """
    shelf = await host.in_thread(partial(_writable, source))
    files = locks(source, from_root=shelf.from_root)
    try:
        async with locked(files, within=LOCK_WITHIN) as is_ours:
            if not is_ours:
                raise SignInError(f"{busy(files, LOCK_WITHIN)}; end it, or try again")
    except OSError as error:
        raise SignInError(mend(error, Path(source.main))) from None
    return shelf


def _writable(source: LoginSource) -> Shelf:
    """Return what the stores hold, after a look at whether they can be written.

    Raises:
        SignInError: They cannot.
    """
    shelf = read_shelf(source)
    if shelf.problem and not any(isinstance(found, Guest) for found in shelf.found):
        raise SignInError(shelf.problem)
    for place in shelf.places:
        _check(place)
    return shelf


def _check(place: Place) -> None:
    if isinstance(place.found, Guest):
        remedy = "log in with Hermes Agent, or set NOUS_AUTH_MODE=own and run this again"
        raise SignInError(f"{place.path} holds an anonymous login: {remedy}")
    if place.optional and not place.path.parent.exists():
        return
    try:
        Draft.open(place.path, size=SLACK, private=place.private).discard()
    except OSError as error:
        raise SignInError(mend(error, place.path)) from None


def _cleared(found: Stored | Absent) -> Stored | Absent:
    """Return a store as it is without the tokens of the login before, a minted key among them."""
    if found.layout is not Layout.FLAT or found.document is None:
        return found
    return Absent(Layout.FLAT, without_tokens(found.document))


def _key(source: LoginSource) -> bytes:
    """Return the key of all fingerprints, if there is one yet; without it none is known."""
    try:
        return read(Path(key_path(source)), private=True) or b""
    except OSError:
        return b""


def _notes(source: LoginSource) -> Notes:
    try:
        return parse_notes(read(Path(notes_path(source)), private=True))
    except OSError:
        return Notes()


def _note(source: LoginSource, approved_at: float | None) -> None:
    write(Path(notes_path(source)), render_notes(_notes(source).begun(approved_at)), private=True)
