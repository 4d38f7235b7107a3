"""The keeper of a login: who gets which token, and the one renewal that all wait for.

    bearer()            the token to send with, at once while it serves; else it waits for the renewal
    successor(version)  after a 401: the token that follows that one; the first who asks begins the renewal
    bar(now)            why nobody may ask now, without waiting: for admission

Deciding is synchronous and stands in `_credential.py`. What waits (the renewal, its retries, looking at the stores) are
children of an actor, so that no caller can cancel it; the keeper itself has no task. Endpoints that use one login share
one keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import anyio

from ._addresses import INFERENCE, to_keep
from ._credential import (
    after_restart,
    current,
    refused,
    reload,
    rests_for,
    saved,
    serves_until,
    settle,
    stored,
)
from ._credential_values import (
    DEAD,
    Adopted,
    Answer,
    Barred,
    Bearer,
    Credential,
    Join,
    Renewed,
    Renewing,
    Stopped,
    Use,
    Waiting,
    Why,
)
from ._env_file import write_key
from ._events import (
    CredentialDied,
    CredentialEnding,
    CredentialEvent,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
)
from ._host import Host
from ._lifetime import MUST_WITHIN, announcement
from ._login_health import LoginHealth, health_of
from ._notes import Notes
from ._renewal import Scene, issue_of
from ._shelf import Shelf, Signature, signature
from ._source import LoginSource
from ._transaction import Report, Transaction
from ._words import LOG_IN, said

LOOK_EVERY = 2.0
"""Seconds between two looks at the stores: what somebody else has put there is noticed within them (rule 25)."""

SAVE_FIRST, SAVE_MAX = 0.1, 5.0
"""Seconds before a pair that could not be written is written again, doubling to the longest (R-CRED-6)."""

REFUSED_AGAIN = 3
"""Times that a renewal is asked for with the same refused token: it may first learn of another process's doubt."""

ENV_KEY = "LLM_NOUS_API_KEY"
"""The variable that `NOUS_WRITE_ENV_KEY` writes."""


@final
class BarredError(Exception):
    """There is no token to send with. `reason` says why, and what to do; `retry_after` is in seconds, if known."""

    def __init__(self, why: Why, reason: str, retry_after: float | None) -> None:
        super().__init__(reason)
        self.why, self.reason, self.retry_after = why, reason, retry_after


@final
class Keeper:
    """The login of one source. It belongs to one event loop.

    `at_hand` is the token that the last look of admission (`bar`) found serving, so that whoever was admitted need not
    look at the clock again; None where it has to be asked for.

    Args:
        tell: Takes each event, after what it tells has happened. It must not raise.
    """

    def __init__(self, source: LoginSource, host: Host, tell: Callable[[CredentialEvent], None]) -> None:
        self._source, self._host, self._tell = source, host, tell
        self.name = f"{source.mode} login in {source.main}"
        self._transaction = Transaction(source, host)
        self._credential, self._serves_until = Credential(), float("-inf")
        self.at_hand: Bearer | None = None
        self._ended: anyio.Event | None = None
        self._owners: dict[Callable[[int], None], Callable[[], None]] = {}
        self._is_open, self._accepted, self._accepted_at = False, 0, float("-inf")
        self._seen: Signature | None = None
        self._looked_at = float("-inf")
        self._notes, self._problem = Notes(), ""
        self._told: Why | None = None
        self._told_days: int | None = None
        self._begun_at: float | None = None
        self._is_saving = False

    def bar(self, now: float) -> Barred | None:
        """Return why a call need not be begun at the instant `now`; None if there is a token, or one can be waited for.

        A renewal that is due is begun. Nothing is waited for.
        """
        if now < self._serves_until:
            return None
        answer = self._take(*current(self._credential, now))
        self.at_hand = answer.bearer if isinstance(answer, Use) else None
        return answer if isinstance(answer, Barred) else None

    async def bearer(self) -> Bearer:
        """Return the token to send with, after the renewal that it may need.

        After cancellation the renewal goes on.

        Raises:
            BarredError: There is none.
        """
        now = anyio.current_time()
        if now < self._serves_until:
            return self._credential.bearer  # type: ignore[return-value]  # there is one while it serves
        return await self._waited(self._take(*current(self._credential, now)))

    async def successor(self, version: int) -> Bearer:
        """Return the token to send with after a 401 for the one of that version: a newer one, or one that is renewed.

        After cancellation the renewal goes on.

        Raises:
            BarredError: There is none.
        """
        for _ in range(REFUSED_AGAIN):
            bearer = await self._waited(self._take(*refused(self._credential, version, anyio.current_time())))
            if bearer.version != version:
                return bearer
            if isinstance(phase := self._credential.phase, Waiting):  # it failed, and the refused token is all there is
                raise self._barred(Barred(phase.why, phase.until))
        raise self._barred(Barred(Why.REFUSED))

    def accepted(self, bearer: Bearer, sent_at: float) -> None:
        """Take note that the API accepted this token in a request that was sent at that monotonic instant."""
        if bearer.version > self._accepted:
            self._accepted, self._accepted_at = bearer.version, sent_at
        elif bearer.version == self._accepted:
            self._accepted_at = max(self._accepted_at, sent_at)

    def is_accepted(self, bearer: Bearer) -> bool:
        """Say whether the API has accepted this token, or a later one: a 401 for it may be about something else."""
        return self._accepted >= bearer.version

    def is_current(self, bearer: Bearer) -> bool:
        """Say whether this is the token of the moment: a 401 for an earlier one is answered by the present one."""
        return bearer.version == self._credential.version

    def vouches_for(self, bearer: Bearer, doubted_at: float) -> bool:
        """Say whether a 401 is about something else than this token: it was accepted, and renewed a moment ago, or
        accepted in a request that was sent after the instant `doubted_at`.
        """
        is_fresh = rests_for(self._credential, anyio.current_time()) > 0
        return bearer.version == self._accepted and (is_fresh or self._accepted_at > doubted_at)

    def reason(self, barred: Barred) -> str:
        """Return why nobody may ask, and what to do."""
        return said(barred.why, self._problem)

    @property
    def health(self) -> LoginHealth:
        """A frozen snapshot of what is known."""
        return health_of(
            self._credential,
            anyio.current_time(),
            self._host.wall_clock(),
            mode=self._source.mode,
            where=str(self._source.main),
            approved_at=self._approved_at,
            problem=self._problem,
        )

    def reload(self) -> None:
        """Try again whatever is stopped, waited for or held. What is spent stays spent; the limit on POSTs holds."""
        self._seen = None
        self._change(reload(self._credential))

    @property
    def inference(self) -> str:
        """The address that the login names for inference, where it may be used; empty otherwise."""
        login = self._credential.login
        return "" if login is None or self._source.inference else to_keep(INFERENCE, login.inference)

    def lost(self, number: int) -> None:
        """Take note that the renewal of that number will not be carried out: whoever owns it ends before it began."""
        self._settled(number, Report())

    def owned_by(self, start: Callable[[int], None], changed: Callable[[], None]) -> Callable[[], None]:
        """Let an actor begin renewals and hear of new tokens; return what takes that back.

        Args:
            start: Has `renew` run with that number, and waits for nothing; it raises what keeps it from that.
            changed: Called when there is another token.
        """
        self._owners[start] = changed

        def leave() -> None:
            self._owners.pop(start, None)

        return leave

    async def open(self) -> None:
        """Take in what the stores hold, without the lock and without asking anybody. Opening twice does nothing."""
        if self._is_open:
            return
        shelf, notes, scene = await self._transaction.read()
        self._is_open, self._notes = True, notes
        self._credential = after_restart(None, spent=notes.spent, doubt=notes.journal)
        self._adopt(shelf, scene)

    async def renew(self, number: int) -> None:
        """Carry out the renewal of that number, and all that follows until its pair is on disk.

        Whatever happens here, whoever waits is answered. After cancellation a refresh token that was posted was posted
        to the end, and its pair is on disk if it could be written.
        """
        report = Report()
        try:
            await self._transaction.renew(lambda: self._credential, report)
        finally:
            self._settled(number, report)
        outcome = report.outcome
        if self._credential.unsaved:
            await self._save()
        if self._source.env_file is not None and isinstance(outcome, Renewed | Adopted):
            await self._write_env_file()

    async def watch(self) -> None:
        """Look at the stores every two seconds, for as long as this runs."""
        while True:
            await anyio.sleep(LOOK_EVERY)
            if anyio.current_time() - self._looked_at >= LOOK_EVERY / 2:  # one look serves all owners
                await self.glance()

    async def glance(self) -> None:
        """Look at the stores, without the lock, and take in what somebody else has put there."""
        self._looked_at = anyio.current_time()
        seen = await self._host.in_thread(partial(signature, self._source))
        if seen != self._seen:
            shelf, self._notes, scene = await self._transaction.read()
            version = self._credential.version
            self._adopt(shelf, scene)
            if self._source.env_file is not None and self._credential.version != version:
                await self._write_env_file()
            is_taken_in = shelf.is_readable and not isinstance(self._credential.phase, Renewing)
            self._seen = seen if is_taken_in else None
        if self._credential.unsaved and not self._is_saving:
            await self._save_once()
        self._announce()

    @property
    def _approved_at(self) -> float | None:
        return self._begun_at if self._begun_at is not None else self._notes.approved_at

    async def _waited(self, answer: Answer) -> Bearer:
        """Return the token of an answer, once the renewal that it may name is over."""
        while True:
            match answer:
                case Use(bearer):
                    return bearer
                case Barred():
                    raise self._barred(answer)
                case Join():
                    assert self._ended is not None  # noqa: S101 - it ends when the renewal does
                    await self._ended.wait()
                    answer = self._take(*current(self._credential, anyio.current_time()))

    def _barred(self, barred: Barred) -> BarredError:
        wait = None if barred.until is None else max(barred.until - anyio.current_time(), 0.0)
        return BarredError(barred.why, said(barred.why, self._problem), wait)

    def _take(self, credential: Credential, answer: Answer) -> Answer:
        """Take in what a question changed; begin the renewal that it says to begin."""
        self._change(credential)
        match answer:
            case Use(starts=int(number)) | Join(number, starts=True):
                self._begin(number)
                if self._ended is None:  # it could not be begun, and has failed at once
                    _, answer = current(self._credential, anyio.current_time())
            case _:
                pass
        return answer

    def _begin(self, number: int) -> None:
        self._ended = anyio.Event()
        for start in list(self._owners):
            try:
                start(number)
            except Exception:  # noqa: BLE001, S112 - its mailbox is full or closed: the next owner's may not be
                continue
            return
        self._settled(number, Report())

    def _settled(self, number: int, report: Report) -> None:
        """Take in how a renewal ended, tell it, and wake up all who wait."""
        before, now = self._credential, anyio.current_time()
        if not isinstance(before.phase, Renewing) or before.phase.number != number:
            return  # it was settled before: whoever waits now, waits for another one
        if report.notes is not None:
            self._notes = report.notes
            unknown = tuple(mark for mark in report.notes.spent if mark not in before.spent)
            before = replace(before, spent=(*before.spent, *unknown))
        self._problem = report.problem
        spread = 0.8 + 0.4 * self._host.rand()
        after = settle(before, number, report.outcome, now, spread=spread)
        ended, self._ended = self._ended, None
        self._change(after, adopted=isinstance(report.outcome, Adopted))
        if ended is not None:
            ended.set()

    def _adopt(self, shelf: Shelf, scene: Scene) -> None:
        """Take in what a look at the stores has found."""
        login = shelf.login
        if login is not None:
            if login.grant_issued_at != self._begun_at:
                self._begun_at, self._told_days = login.grant_issued_at, None
            issue = issue_of(login, scene, least=MUST_WITHIN)
            fingerprint = login.fingerprint(scene.key)
            self._change(stored(self._credential, login, fingerprint, issue, scene.now), adopted=True)

    def _change(self, after: Credential, *, adopted: bool = False) -> None:
        """Make this the credential, and tell what has changed by it."""
        before, self._credential = self._credential, after
        now = anyio.current_time()
        self._serves_until = serves_until(after, now)
        if after is before:
            return
        self.at_hand = after.bearer if now < self._serves_until else None
        if after.version != before.version:
            for changed in list(self._owners.values()):
                changed()
        for event in self._events(before, after, adopted=adopted):
            self._tell(event)

    def _events(self, before: Credential, after: Credential, *, adopted: bool) -> list[CredentialEvent]:
        events: list[CredentialEvent] = []
        was_dead, is_dead = _is_dead(before), _is_dead(after)
        if is_dead and not was_dead and isinstance(after.phase, Stopped):
            events.append(CredentialDied(self.name, said(after.phase.why, self._problem)))
        elif was_dead and not is_dead:
            events.append(CredentialRevived(self.name))
        if after.version != before.version and after.bearer is not None:
            left = after.bearer.term.ends_at - anyio.current_time()
            events.append(CredentialRenewed(self.name, left if left < float("inf") else None, adopted))
        if isinstance(after.phase, Waiting | Stopped) and not is_dead and _why(after) != self._told:
            retry_in = after.phase.until - anyio.current_time() if isinstance(after.phase, Waiting) else None
            events.append(CredentialTroubled(self.name, said(after.phase.why, self._problem), retry_in))
        if not isinstance(after.phase, Renewing):
            self._told = _why(after)
        if after.unsaved and not before.unsaved:
            events.append(CredentialUnsaved(self.name, said(Why.UNSAVED, self._problem)))
        elif before.unsaved and not after.unsaved:
            events.append(CredentialSaved(self.name))
        return events

    async def _save(self) -> None:
        """Write the pair that is in memory alone, until it is on disk or not wanted any more; cancelled, once more.

        One does so at a time; where it ends by a crash, whoever looks at the stores goes on with it.
        """
        if self._is_saving:
            return
        self._is_saving, wait = True, SAVE_FIRST
        try:
            while self._credential.unsaved:
                await anyio.sleep(wait)
                wait = min(wait * 2, SAVE_MAX)
                await self._save_once()
        finally:
            self._is_saving = False
            if self._credential.unsaved:
                with anyio.CancelScope(shield=True):
                    await self._save_once()

    async def _save_once(self) -> None:
        report, login = Report(), self._credential.login
        is_done = login is not None and await self._transaction.save(login, self._credential.spent, report)
        if is_done and self._credential.login is login:  # else another one has been renewed meanwhile
            self._change(saved(self._credential))
        self._problem = report.problem

    async def _write_env_file(self) -> None:
        bearer, path = self._credential.bearer, self._source.env_file
        if bearer is None or path is None:
            return
        write = partial(write_key, Path(path), ENV_KEY, bearer.token.reveal(), self._host.env)
        if problem := await self._host.in_thread(write):
            self._tell(CredentialTroubled(self.name, f"NOUS_WRITE_ENV_KEY: {problem}", None))

    def _announce(self) -> None:
        """Tell, once for each number of days, that the login ends by its age."""
        days = announcement(self._approved_at, self._host.wall_clock(), told=self._told_days)
        if days is not None:
            self._told_days = days
            reason = f"a login ends 30 days after it was approved, however often it is renewed; run `{LOG_IN}`"
            self._tell(CredentialEnding(self.name, days, reason))


def _why(credential: Credential) -> Why | None:
    phase = credential.phase
    return phase.why if isinstance(phase, Waiting | Stopped) else None


def _is_dead(credential: Credential) -> bool:
    return isinstance(credential.phase, Stopped) and credential.phase.why in DEAD
