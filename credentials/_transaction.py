"""One renewal from lock to unlock: read, decide, post, make durable. A thin shell around `_renewal.py`.

    lock ─▶ read the stores and our notes ─▶ `plan` ─┬─▶ Leave, Adopt                              ─▶ unlock
                                                     └─▶ room for the new pair held open in every store
                                                         journal on disk      ┐
                                                         POST                 │ shielded: whoever is cancelled meanwhile
                                                         pair on disk         │ has it on disk all the same
                                                         journal cleared      ┘ ─▶ unlock

Nothing is posted that could not be kept: a full disk or a folder that cannot be written is found out before the POST
(R-CRED-4). Between the answer and the first write nothing is done. Waiting for the
lock can be cancelled, nothing after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, final

import anyio

from ._addresses import INFERENCE, to_keep
from ._credential_values import Adopted, Credential, Ended, Failed, Outcome, Renewed, Unsure, Why
from ._files import Draft, create_once, mend, read, remove, write
from ._host import Host
from ._locks import busy, locked
from ._login import Granted, Login
from ._notes import Notes, key_path, notes_path, parse_notes, render_notes
from ._portal_answers import (
    Meaning,
    Minted,
    MintMeaning,
    MintRefused,
    NoAnswer,
    PortalAnswer,
    Terminal,
    Transient,
    lost_meaning,
    mint_meaning,
    refresh_meaning,
)
from ._renewal import (
    MINT_FOR,
    Adopt,
    Leave,
    Mint,
    Post,
    Scene,
    after_terminal,
    mint_failed,
    minted,
    mints,
    outcome_of,
    plan,
    received,
)
from ._shelf import Place, Shelf, clear, left_behind, locks, read_shelf
from ._source import LoginSource
from ._stores import Absent, Stored, quarantined, render
from ._words import untrusting

if TYPE_CHECKING:
    from ._portal import Portal

LOCK_WITHIN = 20.0
"""Seconds that the lock is waited for: as long as whoever holds it may speak to the Portal, and 5 s (rule 11)."""

SLACK = 16 * 1024
"""Bytes that are held open in each store beyond what it has now (chosen: several times a pair of tokens)."""

Drafts: TypeAlias = list[tuple[Place, Draft]]


@final
@dataclass(slots=True)
class Report:
    """How a renewal ended, for its owner: also if it was cancelled, or crashed, on the way.

    `notes` are those that stand on disk, as far as they were read; `problem` says in a line for people what was in the
    way, with path and remedy.
    """

    outcome: Outcome = field(default_factory=lambda: Failed(Why.BUSY))
    notes: Notes | None = None
    problem: str = ""


@final
class Transaction:
    """The renewals of one login. One at a time is under way; other processes are held off by the lock."""

    def __init__(self, source: LoginSource, host: Host) -> None:
        self._source, self._host = source, host
        self._key: bytes | None = None
        self._from_root = False

    async def key(self) -> bytes:
        """Return the key of all fingerprints; where it cannot be kept, one for as long as this process lives."""
        key = self._key
        if key is None:
            try:
                key = await self._host.in_thread(partial(create_once, Path(key_path(self._source)), os.urandom(32)))
            except OSError:
                key = os.urandom(32)
            self._key = key
        return key

    async def read(self) -> tuple[Shelf, Notes, Scene]:
        """Read stores and notes as they are now, whoever holds the lock."""
        key = await self.key()
        shelf, notes = await self._host.in_thread(self._read)
        scene = Scene(
            now=anyio.current_time(),
            wall_clock=self._host.wall_clock(),
            spread=0.9 + 0.2 * self._host.rand(),
            key=key,
            posts=notes.posts,
            journal=notes.journal,
        )
        return shelf.begun_with(self._source, notes, key), notes, scene

    async def renew(self, credential: Callable[[], Credential], report: Report) -> None:
        """Renew, or adopt what somebody else renewed; how it ended stands in `report`.

        Args:
            credential: What is known of it; asked under the lock.

        After cancellation `report` holds what is true: a refresh token that was posted, was posted to the end, and what
        came of it is on disk.
        """
        try:
            for _ in range(2):  # whose store it is may turn out under the lock
                lock_files = locks(self._source, from_root=self._from_root)
                async with locked(lock_files, within=LOCK_WITHIN) as is_ours:
                    if not is_ours:
                        report.problem = busy(lock_files, LOCK_WITHIN)
                        return
                    shelf, notes, scene = await self.read()
                    if shelf.from_root != self._from_root:
                        self._from_root = shelf.from_root
                        continue
                    report.notes = notes
                    held = _Held(self._source, self._host, shelf, notes, scene, report)
                    if notes.journal is not None and await held.rescues():
                        shelf, notes, scene = await self.read()
                        held = _Held(self._source, self._host, shelf, notes, scene, report)
                    await held.renew(credential())
                    return
        except OSError as error:  # a lock file that cannot be made: neither could the pair be written
            report.outcome = Failed(Why.UNWRITABLE)
            report.problem = mend(error, Path(getattr(error, "filename", None) or self._source.main))

    async def save(self, login: Login, spent: Sequence[str], report: Report) -> bool:
        """Make a pair durable that could not be written when it came; say whether it is, or is not wanted any more.

        If another login stands there by now, that one counts, and nothing is written.

        Args:
            spent: The fingerprints of the refresh tokens that came before it: where one of those stands, it is written.
        """
        try:
            async with locked(locks(self._source, from_root=self._from_root), within=LOCK_WITHIN) as is_ours:
                if not is_ours:
                    return False
                shelf, notes, scene = await self.read()
                is_saved = False
                ours = {*spent, *notes.spent, login.fingerprint(scene.key)}
                if shelf.login is not None and shelf.login.fingerprint(scene.key) not in ours:
                    return True
                held = _Held(self._source, self._host, shelf, notes, scene, report)
                with anyio.CancelScope(shield=True):
                    is_saved = await held.save(login)
                return is_saved  # noqa: RET504 - a scope may, to a type checker, leave early
        except OSError as error:
            report.problem = mend(error, Path(getattr(error, "filename", None) or self._source.main))
            return False

    def _read(self) -> tuple[Shelf, Notes]:
        try:
            data = read(Path(notes_path(self._source)), private=True)
        except OSError:  # told when they cannot be written: nothing is posted then
            data = None
        return read_shelf(self._source), parse_notes(data)


@final
class _Held:
    """A renewal while the lock is held."""

    def __init__(
        self, source: LoginSource, host: Host, shelf: Shelf, notes: Notes, scene: Scene, report: Report
    ) -> None:
        self._source, self._host, self._shelf = source, host, shelf
        self._notes, self._scene, self._report = notes, scene, report

    async def renew(self, credential: Credential) -> None:
        spent = (*credential.spent, *(mark for mark in self._notes.spent if mark not in credential.spent))
        credential = replace(credential, spent=spent)
        step = plan(credential, self._shelf.found, self._scene)
        if isinstance(step, Mint):
            key: Adopted | Failed | Ended | None = None
            with anyio.CancelScope(shield=True):
                key = await self._mint(step)
            if key is not None:
                self._report.outcome = key
                return
            step = plan(replace(credential, mint_off=True), self._shelf.found, self._scene)
        match step:
            case Adopt(outcome, heals):
                self._report.outcome = outcome
                if heals:
                    with anyio.CancelScope(shield=True):
                        await self._heal(outcome.login)
            case Leave(outcome):
                self._report.outcome, self._report.problem = outcome, self._shelf.problem
            case Post(login, fingerprint):
                await self._post(credential, login, fingerprint)
            case Mint():  # not with the mint off
                raise AssertionError("a mint was planned twice")

    async def rescues(self) -> bool:
        """Write the pair that a process was writing when it was killed; say whether there was one.

        A journal that was not cleared says that somebody posted: such a pair is what came of it.
        """
        login = await self._host.in_thread(partial(left_behind, self._shelf))
        journal = self._notes.journal
        if login is None or journal is None or login.fingerprint(self._scene.key) in self._notes.spent:
            return False
        with anyio.CancelScope(shield=True):
            if not await self.save(login):
                return False
            await self._note(self._notes.settled(journal))
            await self._tried(Path(self._source.main), partial(clear, self._shelf))
        return True

    async def save(self, login: Login) -> bool:
        with ExitStack() as stack:
            if (drafts := await self._drafts(stack)) is None:
                return False
            is_saved = await self._persist(drafts, login)
            if is_saved:
                await self._note(self._notes.settled())
            return is_saved

    async def _post(self, credential: Credential, login: Login, fingerprint: str) -> None:
        assert login.refresh is not None  # noqa: S101 - `plan` has looked
        report, portal = self._report, self._portal(login)
        with ExitStack() as stack:
            drafts = await self._drafts(stack)
            if drafts is None:
                report.outcome = Failed(Why.UNWRITABLE)
                return
            before = self._notes  # a doubt that stands there, stays there where this POST decides nothing
            with anyio.CancelScope(shield=True):
                if not await self._note(before.posting(fingerprint, self._host.wall_clock())):
                    report.outcome = Failed(Why.UNWRITABLE)
                    return
                report.outcome = Unsure(fingerprint)  # whatever happens from here on
                async with AsyncExitStack() as closing:
                    try:
                        answer = await portal.refresh(login.refresh, login.client_id, closing)
                    except OSError as error:
                        await self._note(before)
                        report.outcome = Failed(Why.UNREACHABLE)
                        report.problem = untrusting(error, portal.ca_bundle)
                        return
                    await self._answered(credential, login, fingerprint, answer, drafts, before)

    async def _answered(
        self,
        credential: Credential,
        login: Login,
        fingerprint: str,
        answer: PortalAnswer | NoAnswer,
        drafts: Drafts,
        before: Notes,
    ) -> None:
        report, meaning = self._report, _refreshed(answer)
        match meaning:
            case Granted():
                await self._granted(credential, login, fingerprint, meaning, drafts)
            case Terminal(code):
                await self._ended(credential, fingerprint, code)
            case Transient(status=None):
                await self._note(before)
                report.outcome = outcome_of(meaning, fingerprint, posted=False)
            case _:
                report.outcome = outcome_of(meaning, fingerprint)
                if not isinstance(report.outcome, Unsure):
                    doubted = before.journal if before.journal == fingerprint else None
                    await self._note(replace(self._notes, journal=doubted))

    async def _granted(
        self,
        credential: Credential,
        login: Login,
        spent: str,
        grant: Granted,
        drafts: Drafts,
    ) -> None:
        inference = to_keep(INFERENCE, grant.inference, override=self._source.inference)
        scene = replace(self._scene, now=anyio.current_time(), wall_clock=self._host.wall_clock())
        login, issue = received(login, grant, scene, inference=inference)
        fingerprint = login.fingerprint(scene.key)
        renewed = Renewed(login, fingerprint, spent, issue, Why.UNSAVED, saved=False)
        self._report.outcome = renewed  # it is in memory, whatever becomes of the disk
        is_saved = await self._persist(drafts, login)
        is_spent = [spent] if spent != fingerprint else []
        if is_saved:
            await self._note(self._notes.settled(*is_spent))
        elif is_spent:  # nobody else may post what stands on disk now
            await self._note(self._notes.spends(spent))
        is_minting = issue is None and mints(credential, login, scene)  # an unsaved login mints when it is saved
        renewed = replace(renewed, saved=is_saved, why=Why.UNSAVED if is_minting and not is_saved else Why.NO_BEARER)
        self._report.outcome = renewed
        if is_minting and is_saved:
            outcome = await self._mint(Mint(login, fingerprint), written=True)
            match outcome:
                case Adopted(login, issue=issue):
                    renewed = replace(renewed, login=login, issue=issue)
                case Failed(why) | Ended(why):
                    renewed = replace(renewed, why=why, mint_off=outcome.mint_off)
                case _:
                    pass
            self._report.outcome = renewed

    async def _ended(self, credential: Credential, fingerprint: str, code: str) -> None:
        """The Portal says that the login is over; if another one stands in the stores by now, that one counts."""
        self._shelf = await self._host.in_thread(lambda: read_shelf(self._source))
        await self._note(self._notes.settled(fingerprint))
        step = after_terminal(credential, self._shelf.found, fingerprint, self._scene)
        self._report.outcome = step.outcome
        if isinstance(step, Adopt):
            if step.heals:
                await self._heal(step.outcome.login)
        elif isinstance(step.outcome, Ended):
            await self._quarantine(fingerprint, code)
            await self._note(self._notes.begun(None))

    async def _mint(self, step: Mint, *, written: bool = False) -> Adopted | Failed | Ended | None:
        """Ask for a key. None if the access token is refused, and can be renewed first.

        Args:
            written: The login was renewed a moment ago: it is not renewed again.
        """
        login = step.login
        assert login.access is not None  # noqa: S101 - `plan` has looked
        await self._note(self._notes.asking(self._host.wall_clock()))  # the limit within this process holds without
        try:
            answer = await self._portal(login).mint(login.access, MINT_FOR)
        except OSError as error:
            self._report.problem = untrusting(error, login.ca_bundle)
            return Failed(Why.UNREACHABLE)
        meaning = _minted(answer)
        if not isinstance(meaning, Minted):
            if isinstance(meaning, MintRefused) and not written and login.refresh is not None:
                return None
            return mint_failed(meaning, step.fingerprint)
        login, issue = minted(login, meaning, self._scene)
        if written:
            self._shelf = await self._host.in_thread(lambda: read_shelf(self._source))
        await self._heal(login)  # where it cannot be kept, it is asked for again
        return Adopted(login, step.fingerprint, issue, minted=True)

    def _portal(self, login: Login) -> Portal:
        from ._portal import portal_of  # it takes the HTTP library along, which not every command needs

        return portal_of(self._source, login, self._host)

    async def _heal(self, login: Login) -> None:
        """Write a login to every store; a store that cannot be written is told."""
        with ExitStack() as stack:
            if (drafts := await self._drafts(stack)) is not None:
                await self._persist(drafts, login)

    async def _drafts(self, stack: ExitStack) -> Drafts | None:
        """Hold open the room for a new pair in every store, or return None and say why not."""
        drafts: Drafts = []
        if not all(isinstance(place.found, Stored | Absent) for place in self._shelf.usable):
            self._report.problem = self._shelf.problem
            return None
        for place in self._shelf.usable:
            if place.optional and not await self._host.in_thread(place.path.parent.exists):
                continue  # a shared store is Hermes Agent's to begin
            try:
                draft = await self._host.in_thread(partial(_opened, place))
            except OSError as error:
                self._report.problem = mend(error, place.path)
                return None
            stack.callback(draft.discard)
            drafts.append((place, draft))
        return drafts

    async def _persist(self, drafts: Drafts, login: Login) -> bool:
        """Write a pair to every store; say whether it is on disk in the one that it came from.

        A shared store that cannot be written is removed: Hermes Agent would bring the spent token back from it.
        """
        is_saved, at = False, self._host.wall_clock()
        for place, draft in drafts:
            assert isinstance(place.found, Stored | Absent)  # noqa: S101 - nothing is written over what is not understood
            data = render(place.found, login, at)
            problem = await self._tried(place.path, partial(draft.write, data))
            if not place.optional:
                is_saved = not problem
            elif problem and (left := await self._tried(place.path, partial(remove, place.path))):
                problem += f"; and it cannot be removed: {left}. Remove it by hand, or Hermes Agent loses the login"
            self._report.problem = problem or self._report.problem
        return is_saved

    async def _quarantine(self, fingerprint: str, code: str) -> None:
        """Take the tokens of a dead login out of the stores in which it stands, so that nobody posts them again."""
        message = "The Portal says that this login is over. Log in again."
        for place in self._shelf.places:
            found = place.found
            if not isinstance(found, Stored) or found.login.fingerprint(self._scene.key) != fingerprint:
                continue
            if place.optional:
                problem = await self._tried(place.path, partial(remove, place.path))
            else:
                data = quarantined(found, code=code, message=message, at=self._host.wall_clock())
                problem = await self._tried(place.path, partial(write, place.path, data, private=place.private))
            self._report.problem = problem or self._report.problem

    async def _note(self, notes: Notes) -> bool:
        """Make the notes durable; say whether they are."""
        path = Path(notes_path(self._source))
        if problem := await self._tried(path, partial(write, path, render_notes(notes), private=True)):
            self._report.problem = problem
            return False
        self._notes = self._report.notes = notes
        return True

    async def _tried(self, path: Path, function: Callable[[], object]) -> str:
        """Run what writes to the disk in a thread; return what was in the way, or nothing."""
        try:
            await self._host.in_thread(function)
        except OSError as error:
            return mend(error, path)
        except Exception as error:  # noqa: BLE001 - no thread, no memory: what is in memory must not be lost for it
            return f"{path}: {type(error).__name__}; try again"
        return ""


def _opened(place: Place) -> Draft:
    assert isinstance(place.found, Stored | Absent)  # noqa: S101 - nothing is written over what is not understood
    size = len(render(place.found, Login(), 0.0)) + SLACK
    return Draft.open(place.path, size=size, private=place.private)


def _refreshed(answer: PortalAnswer | NoAnswer) -> Meaning:
    return lost_meaning(was_sent=answer.was_sent) if isinstance(answer, NoAnswer) else refresh_meaning(answer)


def _minted(answer: PortalAnswer | NoAnswer) -> MintMeaning:
    return Transient() if isinstance(answer, NoAnswer) else mint_meaning(answer)
