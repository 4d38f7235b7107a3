"""`understudy login nous`, `understudy logout nous`, and how `check` and `ask` speak of a login: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from understudy.simulation import PortalRules, SimulatedPortal, Slow, simulated_portal

from .nous import flat, put, stored

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

RULES = PortalRules(limit=None, interval=1.0)
COMMAND = [sys.executable, "-m", "understudy"]


def environment(portal: SimulatedPortal, store: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command that knows the simulated Portal."""
    return {
        **os.environ,
        "NOUS_PORTAL_BASE_URL": portal.portal_url,
        "LLM_NOUS_BASE_URL": portal.inference_url,
        "NOUS_OAUTH_STATE_PATH": str(store),
        "DERIVER_MODEL_CONFIG__MODEL": "nous/hermes",
        **more,
    }


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run a test once: what counts is the event loop of the command."""
    return "asyncio", {}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where our own login is kept."""
    return tmp_path / "ours" / "login.json"


@asynccontextmanager
async def running(*arguments: str, env: dict[str, str]) -> AsyncIterator[Process]:
    """Run a command for the body of an `async with`."""
    async with await anyio.open_process([*COMMAND, *arguments], env=env) as process:
        yield process


async def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    return await anyio.run_process([*COMMAND, *arguments], env=env, check=False)


async def lines(process: Process) -> list[str]:
    """Return all that a command prints from now on."""
    assert process.stdout is not None
    return "".join([text async for text in TextReceiveStream(process.stdout)]).splitlines()


async def first_line(process: Process) -> Any:
    """Return the first line that a command prints, which is JSON."""
    assert process.stdout is not None
    read = b""
    while not read.endswith(b"\n"):
        read += await process.stdout.receive(1)
    return json.loads(read)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_login_is_approved_and_kept(store: Path, backend: str) -> None:
    """It shows the page and the code, waits for the approval, and keeps the pair with 0600; then `ask` is answered."""
    async with simulated_portal(RULES) as portal:
        env = environment(portal, store)
        async with running("login", "nous", "--json", "--backend", backend, env=env) as process:
            shown = await first_line(process)
            assert shown["url"].startswith(portal.portal_url)
            assert shown["user_code"] in shown["complete_url"]
            assert shown["event"] == "approve"
            portal.portal.decide(shown["user_code"], "approved")
            told = [json.loads(line) for line in await lines(process)]
            assert await process.wait() == 0
        assert told == [{"event": "logged_in", "mode": "own", "where": str(store)}]
        live = portal.portal.live(0)
        assert live is not None
        kept = stored(store)
        assert kept["refresh_token"] == live.refresh_token
        assert kept["grant_issued_at"]
        assert "portal_base_url" not in kept
        assert os.stat(store).st_mode & 0o777 == 0o600

        asked = await run("ask", "deriver", "one two", env=env)
        assert asked.returncode == 0
        assert asked.stdout.strip()

        checked = await run("check", "--json", env=env)
        assert checked.returncode == 0, checked.stderr
        login = json.loads(checked.stdout)["login"]
        assert (login["mode"], login["life"], login["where"]) == ("own", "alive", str(store))
        assert 3400 < login["expires_in"] < 3600
        assert 29.9 < login["days_left"] <= 30
        assert live.access_token not in checked.stdout.decode()

        told_of = await run("check", env=env)
        assert f"own in {store}: alive, its token ends in 60 min, the login ends in 30 days" in told_of.stdout.decode()

        out = await run("logout", "nous", env=env)
        assert (out.returncode, out.stdout.decode().strip()) == (0, f"logged out; {store} is removed")
        assert not store.exists()
        again = await run("logout", "nous", "--json", env=env)
        assert json.loads(again.stdout)["was_logged_in"] is False


async def test_a_portal_that_is_not_there_says_so(store: Path) -> None:
    """One sentence that names the address."""
    async with simulated_portal(RULES) as portal:
        env = environment(portal, store)
        async with portal.refusing():
            failed = await run("login", "nous", "--json", env=env)
        assert failed.returncode == 1
        assert portal.portal_url in json.loads(failed.stdout)["error"]["message"]


async def test_check_says_that_a_login_is_over(store: Path) -> None:
    """A store without tokens: exit code 2, and the command to run."""
    async with simulated_portal(RULES) as portal:
        put(store, {"_schema": 1, "last_auth_error": {"code": "invalid_grant"}})
        checked = await run("check", env=environment(portal, store))
        assert checked.returncode == 2
        assert "dead (the Portal says that the login is over; run `understudy login nous`)" in checked.stdout.decode()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_sigterm_in_the_middle_of_a_renewal_saves_the_pair(store: Path, backend: str) -> None:
    """`ask` is terminated while the Portal works: it ends with 143 after the pair is on disk."""
    async with simulated_portal(RULES) as portal:
        first = portal.log_in()
        put(store, flat(first))
        portal.portal.expire_access(0)
        portal.fault("refresh", Slow(before=0.5, after=1.0))
        async with running("ask", "deriver", "one", "--backend", backend, env=environment(portal, store)) as process:
            while not portal.portal.counts.asked["refresh"]:  # noqa: ASYNC110 - the command is another process
                await anyio.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            await anyio.sleep(0.2)
            process.send_signal(signal.SIGTERM)  # grants 5 s more
            assert await process.wait() == 143
        live = portal.portal.live(0)
        assert live is not None
        assert live.refresh_token != first.refresh_token
        assert stored(store)["refresh_token"] == live.refresh_token


async def test_sigterm_while_waiting_for_an_approval_ends_at_once(store: Path) -> None:
    """Nothing is on disk, and nothing is left running."""
    async with simulated_portal(RULES) as portal:
        async with running("login", "nous", "--json", env=environment(portal, store)) as process:
            await first_line(process)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 143
        assert not store.exists()


async def test_a_pair_that_cannot_be_kept_is_no_clean_end(store: Path) -> None:
    """`ask` is answered, but the renewed pair could not be written: exit code 1, and what to do."""
    async with simulated_portal(RULES) as portal:
        put(store, flat(portal.log_in()))
        portal.portal.expire_access(0)
        program = (
            "import os, sys\nreal = os.replace\n"
            "def replace(a, b):\n    if str(b).endswith('login.json'): raise OSError(28, 'No space left', str(b))\n"
            "    return real(a, b)\nos.replace = replace\n"
            "from understudy.__main__ import main\nsys.argv = ['understudy', 'ask', 'deriver', 'one two']\nmain()\n"
        )
        env = environment(portal, store)
        asked = await anyio.run_process([sys.executable, "-c", program], env=env, check=False)
        assert asked.returncode == 1
        assert asked.stdout.strip()
        assert str(store) in asked.stderr.decode()
        assert "No space left" in asked.stderr.decode()


def test_both_commands_say_what_they_do() -> None:
    """`--help` of each."""
    from click.testing import CliRunner

    from understudy._cli import cli

    for command in ("login", "logout"):
        assert CliRunner().invoke(cli, [command, "nous", "--help"]).exit_code == 0
