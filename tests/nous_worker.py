"""A process that keeps a login, for tests with many of them: it reads one command after the other, one JSON per line.

    {"do": "refused", "dead": token, "callers": n, "wall": s}
                                   a fresh keeper, whose callers meet a 401 if they get that token: what each ended with
    {"do": "killed", "dead": token, "at": n}
                                   a child of ours does that, and kills itself at its n-th step
    {"do": "hermes", "wall": s}    a renewal as Hermes Agent makes it, written with `fcntl` alone

Every step of a renewal that the system sees is counted: each call that opens, writes, syncs, renames or removes, and
the moments before and after the POST.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2

from understudy.credentials import BarredError, Host, Keeper, LoginSource, Mode, hermes_places
from understudy.credentials._portal import Portal
from understudy.supervisor import background_tasks

from .nous import Inline

STEPS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "link", "posix_fallocate", "fchmod")


def source_of(settings: dict[str, Any]) -> LoginSource:
    """Return the source that the first line describes."""
    folder = Path(settings["folder"])
    places = hermes_places(folder / "hermes", folder / "native", {}) if settings["mode"] == "hermes" else None
    mode = Mode.HERMES if places is not None else Mode.OWN
    return LoginSource(mode, folder / "ours" / "login.json", places, portal=settings["portal"])


async def keep(source: LoginSource, callers: int, ahead: float, dead: str) -> list[str]:
    """Keep the login for one round; return the token that each caller ended with, or why there was none."""
    host = Host(wall_clock=lambda: time.time() + ahead, in_thread=Inline(), env={})
    keeper, got = Keeper(source, host, lambda event: None), list[str]()
    await keeper.open()

    async def ask() -> None:
        try:
            bearer = await keeper.bearer()
            if bearer.token.reveal() == dead:
                bearer = await keeper.successor(bearer.version)
            got.append(bearer.token.reveal())
        except BarredError as error:
            got.append(str(error.why))

    async with background_tasks() as tasks:

        def start(number: int) -> None:
            tasks.start_soon(keeper.renew, number)

        keeper.owned_by(start, lambda: None)
        async with anyio.create_task_group() as asking:
            for _ in range(callers):
                asking.start_soon(ask)
    return got


def kill_at(number: int) -> None:
    """Let this process kill itself at the n-th step from now."""
    left = [number]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            step()
            return real(*arguments, **more)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    posted = Portal.refresh

    async def refresh(self: Portal, *arguments: Any) -> Any:
        step()
        answer = await posted(self, *arguments)
        step()
        return answer

    Portal.refresh = refresh  # type: ignore[assignment, method-assign]


def in_a_child(function: Callable[[], object]) -> int:
    """Run a function in a child of ours; return how that ended."""
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def hermes(source: LoginSource, ahead: float) -> str:
    """Renew as Hermes Agent does: both locks, the shared pair wins where it differs, POST, both stores, unlock."""
    assert source.hermes is not None
    profile, shared = Path(source.hermes.profile), Path(source.hermes.shared)
    held = [open(path.with_suffix(".lock"), "a+") for path in (profile, shared)]  # noqa: SIM115
    try:
        for lock in held:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.05)
        document, flat = json.loads(profile.read_text()), json.loads(shared.read_text())
        local = document["providers"]["nous"]
        if flat["refresh_token"] != local["refresh_token"]:
            local.update({name: flat[name] for name in ("access_token", "refresh_token", "obtained_at", "expires_at")})
        answer = httpx2.post(
            f"{source.portal}/api/oauth/token",
            headers={"x-nous-refresh-token": local["refresh_token"]},
            data={"grant_type": "refresh_token", "client_id": "hermes-cli"},
        )
        if answer.status_code != 200:
            return str(answer.json()["error"])
        given, now = answer.json(), time.time() + ahead
        pair = {name: given[name] for name in ("access_token", "refresh_token")}
        times = {"obtained_at": now, "expires_at": now + given["expires_in"]}
        for path, fields, whole in ((profile, local, document), (shared, flat, flat)):
            fields.update({**pair, **times})
            temporary = path.with_suffix(".hermes.tmp")
            temporary.write_text(json.dumps(whole))
            temporary.replace(path)
        return str(given["access_token"])
    finally:
        for lock in held:
            lock.close()


def answer(source: LoginSource, command: dict[str, Any]) -> object:
    """Carry out a command."""
    ahead, callers = command.get("wall", 0.0), command.get("callers", 1)
    match command["do"]:
        case "refused":
            return anyio.run(keep, source, callers, ahead, command["dead"])
        case "killed":

            def renew() -> None:
                kill_at(command["at"])
                anyio.run(keep, source, 1, 0.0, command["dead"])

            return in_a_child(renew)
        case "hermes":
            return hermes(source, ahead)
        case _:
            raise ValueError("no such command")


def main() -> None:
    """Read what to do, and do it."""
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(answer(source_of(command), command)), flush=True)


if __name__ == "__main__":
    main()
