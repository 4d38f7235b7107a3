"""A pair that the Portal gave is never lost: whatever the way back, the disk, other processes and our own tasks do."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from understudy.credentials import CredentialSaved, LoginSource, Secret
from understudy.credentials._notes import Notes, key_path, notes_path, render_notes
from understudy.simulation import Login, Lost, Reset, SimulatedPortal, _portal_server, simulated_portal

from .nous import Inline, flat, hermes, host_of, kept, nested, own, put, stored
from .test_keeper import QUICK, _fails, _is_saved, expired, journal, litter
from .test_nous_login import ASK, scene

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

Result = TypeVar("Result")


def breaks(monkeypatch: pytest.MonkeyPatch, times: int = 10**6) -> None:
    """Let nobody replace the store."""
    _fails(monkeypatch, "replace", errno.EIO, lambda _, target: target.name == "login.json", times)


async def test_an_answer_that_is_packed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge packs in spite of what was asked for: the pair is unpacked once, and kept."""
    real = vars(_portal_server)["answer"]

    def packed(*arguments: Any) -> Any:
        said = real(*arguments)
        headers = {**said.headers, "content-encoding": "gzip"}
        return replace(said, headers=headers, body=gzip.compress(said.body or b""))

    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        put(source.store, flat(portal.log_in()))
        async with kept(source, host_of(portal), watches=False) as k:
            monkeypatch.setattr(_portal_server, "answer", packed)
            assert await expired(portal, k) == portal.portal.live(0).access_token  # type: ignore[union-attr]


async def test_a_peer_posts_no_token_whose_successor_is_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spent token stands in the store until the pair can be written: another process knows it by the notes."""
    async with simulated_portal(QUICK) as portal:
        source, host = own(tmp_path, portal), host_of(portal)
        put(source.store, flat(portal.log_in()))
        async with kept(source, host, watches=False) as one, kept(source, host) as two:
            before = await two.keeper.bearer()
            breaks(monkeypatch, times=1)
            await expired(portal, one)
            assert not _is_saved(one)
            assert await two.after(before) == "spent"
            await anyio.sleep(5)
            assert portal.portal.counts.reuses == 0
            assert await two.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]


async def test_a_second_pair_that_cannot_be_written_is_not_called_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renewals in a row stand in memory alone: nothing is told to be saved before the last one is on disk."""
    async with simulated_portal(replace(QUICK, access_for=60.0)) as portal:
        source = own(tmp_path, portal)
        put(source.store, flat(portal.log_in()))
        async with kept(source, host_of(portal), watches=False) as k:
            with monkeypatch.context() as broken:
                breaks(broken)
                await expired(portal, k)
                await anyio.sleep(61)
                await k.token()
                await anyio.sleep(10)
                assert portal.portal.counts.asked["refresh"] == 2
                assert k.told(CredentialSaved) == []
            await anyio.sleep(6)
            assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]
            assert _is_saved(k)


async def test_a_store_that_cannot_be_read_meanwhile_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changes its mode while the pair waits: nothing crashes, and it is written when that is mended."""
    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        put(source.store, flat(portal.log_in()))
        async with kept(source, host_of(portal), watches=False) as k:
            with monkeypatch.context() as broken:
                breaks(broken)
                await expired(portal, k)
                os.chmod(source.store, 0o644)
                await anyio.sleep(10)
            os.chmod(source.store, 0o600)
            await anyio.sleep(10)
            assert _is_saved(k)
            assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]


async def test_the_next_incarnation_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor crashes while a pair waits: its successor writes it."""
    async with scene(tmp_path) as s:
        with monkeypatch.context() as broken:
            breaks(broken)
            s.portal.portal.expire_access(0)
            assert not (await s.agent.complete(ASK)).is_fallback
            (actor,) = [actor for target, actor in s.supervisor._actors.items() if target.credential]
            actor._mailbox.post("nonsense")  # type: ignore[arg-type]
            await anyio.sleep(5)
        await anyio.sleep(20)
        assert stored(s.store)["refresh_token"] == s.live.refresh_token


async def test_without_a_thread_the_pair_is_in_memory(tmp_path: Path) -> None:
    """Nothing can be run between the answer and the disk: the pair serves, and is written later."""

    class NoThread:
        """Fails once, right after the Portal has rotated."""

        def __init__(self, portal: SimulatedPortal) -> None:
            self._portal, self._run, self.has_failed = portal, Inline(), False

        async def __call__(self, function: Callable[[], Result], /) -> Result:
            if self._portal.portal.counts.asked["refresh"] and not self.has_failed:
                self.has_failed = True
                raise RuntimeError("can't start new thread")
            return await self._run(function)

    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        put(source.store, flat(portal.log_in()))
        threads = NoThread(portal)
        async with kept(source, host_of(portal, in_thread=threads), watches=False) as k:
            assert await expired(portal, k) == portal.portal.live(0).access_token  # type: ignore[union-attr]
            await anyio.sleep(1)
            assert threads.has_failed
            assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]


async def test_a_doubt_outlives_a_post_that_was_never_sent(tmp_path: Path) -> None:
    """The answer to a renewal was lost, and the next try finds nobody: the journal still names the token."""
    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        put(source.store, flat(portal.log_in()))
        async with kept(source, host_of(portal), watches=False) as k:
            portal.fault("refresh", Lost(Reset()))
            assert await k.after(await k.keeper.bearer()) == "unclear"
            await anyio.sleep(5)
            async with portal.refusing():
                await k.after(await k.keeper.bearer()) if k.keeper.at_hand else await k.token()
            assert journal(source) is not None


def killed_while_writing(portal: SimulatedPortal, source: LoginSource, place: Path, layout: Callable[..., Any]) -> Any:
    """Leave everything as a process does that is killed between the last fsync and the rename; return the new pair."""
    key = put(key_path(source), "k" * 32).read_bytes()
    first = portal.portal.live(0)
    assert first is not None
    notes = Notes().posting(Secret(first.refresh_token).fingerprint(key), portal.now())
    put(notes_path(source), render_notes(notes).decode())
    renewed = portal.portal.refresh(first.refresh_token, "hermes-cli", portal.now())
    assert isinstance(renewed, Login)
    put(place.parent / f".{place.name}.0123456789abcdef.tmp", layout(renewed))
    return renewed


@pytest.mark.parametrize("mode", ["own", "hermes"])
async def test_a_pair_that_was_not_renamed_is_taken_up(tmp_path: Path, mode: str) -> None:
    """Whoever comes next finds it beside the store, writes it where it belongs, and posts nothing that is spent."""
    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal) if mode == "own" else hermes(tmp_path, portal)
        layout = flat if mode == "own" else nested
        place = put(source.main, layout(portal.log_in()))
        await anyio.sleep(100)
        renewed = killed_while_writing(portal, source, place, layout)
        async with kept(source, host_of(portal), watches=False) as k:
            assert await k.after(await k.keeper.bearer()) == renewed.access_token
            assert portal.portal.counts.asked["refresh"] == 0
            await anyio.sleep(60)
            assert await expired(portal, k) == portal.portal.live(0).access_token  # type: ignore[union-attr]
        assert portal.portal.counts.reuses == 0
        assert litter(source) == []


@pytest.mark.parametrize("content", ["", '{"access_token": "half', "{}"])
async def test_half_a_pair_is_left_alone(tmp_path: Path, content: str) -> None:
    """The draft says nothing whole: the login is lost, and that is said."""
    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        place = put(source.store, flat(portal.log_in()))
        await anyio.sleep(100)
        killed_while_writing(portal, source, place, flat)
        put(place.parent / f".{place.name}.0123456789abcdef.tmp", content)
        async with kept(source, host_of(portal), watches=False) as k:
            assert await k.after(await k.keeper.bearer()) == "lost"


async def test_an_older_draft_is_left_alone(tmp_path: Path) -> None:
    """What stands in the store is newer: it is renewed as ever."""
    async with simulated_portal(QUICK) as portal:
        source = own(tmp_path, portal)
        place = put(source.store, flat(portal.log_in()))
        renewed = killed_while_writing(portal, source, place, flat)
        put(
            place.parent / f".{place.name}.0123456789abcdef.tmp", flat(renewed, refresh_token="older", obtained_at=1000)
        )
        put(source.store, flat(renewed))
        await anyio.sleep(100)
        async with kept(source, host_of(portal), watches=False) as k:
            assert await expired(portal, k) == portal.portal.live(0).access_token  # type: ignore[union-attr]
            assert portal.portal.counts.asked["refresh"] == 1
