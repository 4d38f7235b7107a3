"""A login that is kept in files, beside a simulated Portal: what the tests of the credential stand on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from understudy.credentials import (
    BarredError,
    Bearer,
    CredentialEvent,
    Host,
    Keeper,
    LoginSource,
    Mode,
    Secret,
    hermes_places,
)
from understudy.credentials._store_fields import iso
from understudy.simulation import Login, SimulatedPortal
from understudy.supervisor import background_tasks

Result = TypeVar("Result")


class Inline:
    """Runs what waits for the disk in the event loop, as virtual time wants it: no thread outruns the clock."""

    async def __call__(self, function: Callable[[], Result], /) -> Result:
        await checkpoint()
        return function()


def host_of(portal: SimulatedPortal, **more: Any) -> Host:
    """Return a machine whose time of day is the Portal's."""
    given: dict[str, Any] = {"wall_clock": portal.now, "rand": lambda: 0.5, "in_thread": Inline(), "env": {}, **more}
    return Host(**given)


def own(folder: Path, portal: SimulatedPortal, **more: Any) -> LoginSource:
    """Return a source with a login of our own in `folder`."""
    return LoginSource(Mode.OWN, folder / "ours" / "login.json", portal=portal.portal_url, **more)


def hermes(folder: Path, portal: SimulatedPortal, *, home: str = "hermes", **more: Any) -> LoginSource:
    """Return a source with Hermes Agent's login in `folder`."""
    places = hermes_places(folder / home, folder / "native", {})
    return LoginSource(Mode.HERMES, folder / "ours" / "login.json", places, portal=portal.portal_url, **more)


def flat(login: Login, **more: Any) -> dict[str, Any]:
    """Return a login as the flat stores hold it, obtained a minute before: what is fresh is not renewed for a 401."""
    return {
        "_schema": 1,
        "access_token": login.access_token,
        "refresh_token": login.refresh_token,
        "token_type": "Bearer",
        "scope": login.scope,
        "client_id": "hermes-cli",
        "obtained_at": iso(login.obtained_at - 60),
        "expires_at": iso(login.expires_at),
        **more,
    }


def nested(login: Login, *, at: float | None = None, **more: Any) -> dict[str, Any]:
    """Return a login as Hermes Agent's `auth.json` holds it, with things of its own around it."""
    nous = {**flat(login), "label": "mine", "tls": {}} | ({} if at is None else {"obtained_at": iso(at)})
    return {
        "version": 1,
        "active_provider": "anthropic",
        "providers": {
            "anthropic": {"key": "of somebody else"},
            "nous": nous,
        },
        "credential_pool": {
            "nous": [
                {"id": "a", "source": "device_code", "refresh_token": login.refresh_token, "access_token": "old"},
                {"id": "b", "source": "manual", "refresh_token": "another", "access_token": "another"},
            ]
        },
        "unknown": {"number": 12345678901234567890},
        **more,
    }


def put(path: Any, document: Any, *, mode: int = 0o600) -> Path:
    """Write a store, as whoever owns it does."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(document if isinstance(document, str) else json.dumps(document, indent=2))
    file.chmod(mode)
    return file


def stored(path: Any) -> dict[str, Any]:
    """Return what a store holds."""
    document: dict[str, Any] = json.loads(Path(path).read_text())
    return document


@dataclass
class Kept:
    """A keeper with somebody who carries out its renewals; `events` are those it told."""

    keeper: Keeper
    source: LoginSource
    events: list[CredentialEvent] = field(default_factory=list)
    changes: int = 0

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def tokens(self, count: int) -> list[str]:
        """Ask for the token so many times at once; return each, or why there is none."""
        got: list[str] = []

        async def ask() -> None:
            got.append(await self.token())

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(ask)
        return got

    async def token(self) -> str:
        """Return the token, or why there is none."""
        try:
            return (await self.keeper.bearer()).token.reveal()
        except BarredError as error:
            return str(error.why)

    async def after(self, bearer: Bearer) -> str:
        """Return the token after a 401 for `bearer`, or why there is none."""
        try:
            return (await self.keeper.successor(bearer.version)).token.reveal()
        except BarredError as error:
            return str(error.why)


@asynccontextmanager
async def kept(source: LoginSource, host: Host, *, watches: bool = True) -> AsyncIterator[Kept]:
    """Keep a login for the body of an `async with`, as an actor does: at the end renewals end as they may."""
    events: list[CredentialEvent] = []
    keeper = Keeper(source, host, events.append)
    found = Kept(keeper, source, events)
    await keeper.open()
    async with background_tasks() as tasks:

        def changed() -> None:
            found.changes += 1

        def start(number: int) -> None:
            tasks.start_soon(keeper.renew, number)

        leave = keeper.owned_by(start, changed)
        if watches:
            tasks.start_soon(keeper.watch)
        yield found
        leave()


def again(source: LoginSource, **changes: Any) -> LoginSource:
    """Return a source with other settings."""
    return replace(source, **changes)


def secret(text: str) -> Secret:
    """Return a secret."""
    return Secret(text)
