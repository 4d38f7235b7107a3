"""Many processes and one login: one POST for all of them, whoever is killed, and whatever Hermes Agent does beside."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from understudy.simulation import PortalRules, SimulatedPortal, Slow, simulated_portal

from .nous import flat, hermes, nested, own, put, stored

pytestmark = [pytest.mark.anyio, pytest.mark.processes, pytest.mark.usefixtures("few_certificates")]

ROOT = Path(__file__).parent.parent
RULES = PortalRules(limit=None)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run a test once: what counts happens in other processes."""
    return "asyncio", {}


class Worker:
    """A process of `nous_worker.py`."""

    def __init__(self, process: Process, settings: dict[str, Any]) -> None:
        self.process, self._settings, self._read = process, settings, b""

    async def do(self, do: str, **more: Any) -> Any:
        """Have something done; return what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        await self.process.stdin.send(json.dumps({**self._settings, "do": do, **more}).encode() + b"\n")
        while b"\n" not in self._read:
            self._read += await self.process.stdout.receive()
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def at(self, folder: Path) -> Worker:
        """Return the same process for the stores of another folder."""
        return Worker(self.process, {**self._settings, "folder": str(folder)})


@asynccontextmanager
async def workers(
    count: int, portal: SimulatedPortal, folder: Path, *, mode: str = "own"
) -> AsyncIterator[list[Worker]]:
    """Run so many processes for the body of an `async with`."""
    settings = {"portal": portal.portal_url, "folder": str(folder), "mode": mode}
    command = [sys.executable, "-m", "tests.nous_worker"]
    async with AsyncExitStack() as stack:
        found = [
            Worker(await stack.enter_async_context(await anyio.open_process(command, cwd=ROOT, stderr=None)), settings)
            for _ in range(count)
        ]
        stack.push_async_callback(_end, found)
        yield found


async def _end(found: list[Worker]) -> None:
    for worker in found:
        with suppress(ProcessLookupError):
            worker.process.kill()


async def test_sixteen_processes_renew_once_each_round(tmp_path: Path) -> None:
    """16 processes with 64 callers each, all refused at once, several rounds: one POST each, no reuse, all answered."""
    async with simulated_portal(RULES) as portal, workers(16, portal, tmp_path) as found:
        put(own(tmp_path, portal).store, flat(portal.log_in()))
        for number in range(1, 5):
            before = portal.portal.live(0)
            assert before is not None
            portal.fault("refresh", Slow(after=0.2))
            answers: list[list[str]] = []

            async def refused(worker: Worker, into: list[list[str]] = answers, **more: Any) -> None:
                into.append(await worker.do("refused", callers=64, **more))

            async with anyio.create_task_group() as tasks:
                more: dict[str, Any] = {"wall": 100.0 * number, "dead": before.access_token}
                for worker in found:
                    tasks.start_soon(partial(refused, worker, **more))
            live = portal.portal.live(0)
            assert live is not None
            assert [set(got) for got in answers] == [{live.access_token}] * 16
            assert sum(map(len, answers)) == 16 * 64
            assert portal.portal.counts.asked["refresh"] == number
            assert portal.portal.counts.reuses == 0


@pytest.mark.parametrize("mode", ["own", "hermes"])
async def test_killed_at_every_step(tmp_path: Path, mode: str) -> None:
    """A process is killed at each step from lock to unlock: the file always parses, and a survivor finds what the rules
    name. A pair that was written and not renamed yet is taken up. Only a kill between the Portal's answer and the disk
    loses a login: one POST tells, and no other.
    """
    async with (
        simulated_portal(RULES) as portal,
        workers(1, portal, tmp_path, mode=mode) as (worker,),
    ):
        family, outcomes = -1, list[str]()
        for at in range(1, 200):
            folder, family = tmp_path / str(at), family + 1
            first, posts = portal.log_in(), portal.portal.counts.asked["refresh"]
            source = (own if mode == "own" else hermes)(folder, portal)
            if source.hermes is None:
                main = put(source.store, flat(first))
            else:
                main = put(source.hermes.profile, nested(first))
                put(source.hermes.shared, flat(first))
            ended = await worker.at(folder).do("killed", at=at, dead=first.access_token)
            posted = portal.portal.counts.asked["refresh"] - posts
            live = portal.portal.live(family)
            assert live is not None
            document = stored(main)
            held = document if source.hermes is None else document["providers"]["nous"]
            assert held["refresh_token"] in {first.refresh_token, live.refresh_token}
            is_lost = held["refresh_token"] != live.refresh_token and posted
            if source.hermes is not None and is_lost:
                is_lost = stored(source.hermes.shared)["refresh_token"] != live.refresh_token

            left = [draft.read_text(errors="replace") for draft in main.parent.glob(".*.tmp")]
            is_rescued = is_lost and any(live.refresh_token in text for text in left)
            portal.portal.expire_access(family)
            [got] = await worker.at(folder).do("refused", wall=100.0, dead=held["access_token"])
            after = portal.portal.counts.asked["refresh"] - posts - posted
            if is_rescued:
                assert got == live.access_token
            elif is_lost:
                assert got in {"lost", "revoked"}
                assert await worker.at(folder).do("refused", wall=200.0, dead="") == ["revoked"]
            else:
                now = portal.portal.live(family)
                assert now is not None
                assert got == now.access_token
            assert after == (0 if is_rescued else 1)
            assert posted <= 1
            outcomes.append("rescued" if is_rescued else "lost" if is_lost else "after" if posted else "before")
            if ended == 0:
                break
        assert ended == 0, "the renewal never came to its end"
        assert portal.portal.counts.reuses == outcomes.count("lost")
        assert outcomes == sorted(outcomes, key=["before", "lost", "rescued", "after"].index)
        assert "rescued" in outcomes
        assert len(outcomes) > 40
        assert 1 <= outcomes.count("lost") <= 10


async def test_hermes_agent_and_we_take_turns(tmp_path: Path) -> None:
    """A peer with Hermes Agent's protocol and keepers of ours renew by turns and at once: no token is lost."""
    async with simulated_portal(RULES) as portal, workers(3, portal, tmp_path, mode="hermes") as found:
        ours, others, peer = found
        source, first = hermes(tmp_path, portal), portal.log_in()
        assert source.hermes is not None
        put(source.hermes.profile, nested(first))
        put(source.hermes.shared, flat(first))
        for number in range(1, 9):
            got, before = list[Any](), portal.portal.live(0)
            assert before is not None

            async def note(worker: Worker, do: str, into: list[Any] = got, **more: Any) -> None:
                into.append(await worker.do(do, **more))

            async with anyio.create_task_group() as tasks:
                more: dict[str, Any] = {"wall": 100.0 * number, "dead": before.access_token}
                if number % 3:
                    tasks.start_soon(partial(note, peer, "hermes", **more))
                if number % 3 != 1:
                    tasks.start_soon(partial(note, ours, "refused", **more))
                    tasks.start_soon(partial(note, others, "refused", **more))
            live = portal.portal.live(0)
            assert live is not None, got
            assert portal.portal.counts.reuses == 0
            document, shared = stored(source.hermes.profile), stored(source.hermes.shared)
            assert document["providers"]["nous"]["refresh_token"] == shared["refresh_token"] == live.refresh_token
            assert all(len(answer[0] if isinstance(answer, list) else answer) > 100 for answer in got), got
        assert document["active_provider"] == "anthropic"


async def test_a_killed_holder_of_the_lock_frees_it(tmp_path: Path) -> None:
    """The kernel frees a lock with its process: whoever waits goes on at once."""
    async with simulated_portal(RULES) as portal, workers(2, portal, tmp_path) as (doomed, other):
        first = portal.log_in()
        put(own(tmp_path, portal).store, flat(first))
        portal.fault("refresh", Slow(before=30))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(doomed.do, "refused", dead=first.access_token))
            while not portal.portal.counts.asked["refresh"]:  # noqa: ASYNC110 - it is another process
                await anyio.sleep(0.02)
            doomed.process.kill()
            tasks.cancel_scope.cancel()
        portal.portal.expire_access(0)
        with anyio.fail_after(10):
            [got] = await other.do("refused", wall=100.0, dead=first.access_token)
        assert got == portal.portal.live(0).access_token  # type: ignore[union-attr]
