"""A login that is kept: one renewal for everybody, on disk before anybody uses it, over a Portal that rotates."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from understudy.credentials import (
    CredentialDied,
    CredentialEnding,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
    Life,
    LoginSource,
    Why,
)
from understudy.credentials._notes import notes_path, parse_notes
from understudy.simulation import (
    EDGE_BLOCK,
    Cut,
    Hang,
    Login,
    Lost,
    PortalRules,
    Reset,
    SimulatedPortal,
    Slow,
    Status,
    fingerprint,
    html_page,
    simulated_portal,
)

from .nous import Inline, Kept, again, flat, hermes, host_of, kept, nested, own, put, secret, stored

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

QUICK = PortalRules(access_for=3600.0, limit=None)


def journal(source: LoginSource) -> str | None:
    """Return what the journal names."""
    return parse_notes(Path(notes_path(source)).read_bytes()).journal


def litter(source: LoginSource) -> list[str]:
    """Return what should not be left in the folders of the stores."""
    folders = {Path(source.main).parent, Path(source.store).parent}
    return [path.name for folder in folders for path in folder.glob("*.tmp")]


async def expired(portal: SimulatedPortal, k: Kept) -> str:
    """Let the token be over for the API; return what follows it."""
    portal.portal.expire_access(0)
    return await k.after(await k.keeper.bearer())


class TestOneRenewal:
    """However many ask."""

    async def test_a_thousand_refusals_at_once_are_one_post(self, tmp_path: Path) -> None:
        """Each of 1,000 callers whose token is refused gets the next one, and one refresh token is posted."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                bearer, got = await k.keeper.bearer(), []

                async def refused() -> None:
                    got.append(await k.after(bearer))

                async with anyio.create_task_group() as tasks:
                    for _ in range(1000):
                        tasks.start_soon(refused)
                assert got == [portal.portal.live(0).access_token] * 1000  # type: ignore[union-attr]
                assert portal.portal.counts.asked["refresh"] == 1
                assert await k.after(bearer) == got[0]  # late, on the old token: adopted without a POST
                assert portal.portal.counts.asked["refresh"] == 1
                assert k.changes == 2 - 1

    async def test_a_second_refusal_soon_after_renews_nothing(self, tmp_path: Path) -> None:
        """A token that was renewed less than 30 s ago is not renewed again for a 401: the credential is held."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
                assert await k.after(await k.keeper.bearer()) == "refused"
                assert await k.token() == "refused"
                await anyio.sleep(31)
                assert await k.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_a_token_near_its_end_is_renewed_beside_its_use(self, tmp_path: Path) -> None:
        """From a tenth of its life before its end it is renewed, while the old one still serves."""
        async with simulated_portal(QUICK) as portal:
            first = portal.log_in()
            source = own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                await anyio.sleep(3600 - 360 - 10)
                assert await k.token() == first.access_token
                await anyio.sleep(20)
                assert await k.token() == first.access_token  # and begins the renewal
                await anyio.sleep(1)
                assert await k.token() == portal.portal.live(0).access_token != first.access_token  # type: ignore[union-attr]
                assert portal.portal.counts.asked["refresh"] == 1

    @pytest.mark.parametrize("lifetime", [60.0, 10.0])
    async def test_short_lived_tokens_are_renewed_in_no_loop(self, tmp_path: Path, lifetime: float) -> None:
        """Tokens of a minute, and of ten seconds, are renewed no oftener than five times a minute, and serve."""
        async with simulated_portal(replace(QUICK, access_for=lifetime)) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                for _ in range(300):
                    await k.token()
                    await anyio.sleep(1)
                assert portal.portal.counts.asked["refresh"] <= (10 if lifetime == 60 else 26)
                assert portal.portal.counts.reuses == 0

    @pytest.mark.parametrize("wrong_by", [3600.0, -3600.0])
    async def test_a_wrong_clock_makes_no_loop(self, tmp_path: Path, wrong_by: float) -> None:
        """With a wall clock an hour off, a token is renewed once, and then serves for its own life."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            host = host_of(portal, wall_clock=lambda: portal.now() + wrong_by)
            async with kept(source, host, watches=False) as k:
                await expired(portal, k)
                for _ in range(50):
                    await k.token()
                    await anyio.sleep(30)
                assert portal.portal.counts.asked["refresh"] <= 2

    async def test_nothing_is_asked_at_the_start(self, tmp_path: Path) -> None:
        """Opening reads the stores and asks nobody."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal)) as k:
                await anyio.sleep(60)
                assert portal.received == []
                assert k.keeper.health.life is Life.ALIVE
                assert k.keeper.health.expires_in == pytest.approx(3540, abs=5)


class TestCancellation:
    """Whoever leaves, the pair is on disk."""

    async def test_cancelling_all_who_wait_ends_no_renewal(self, tmp_path: Path) -> None:
        """All callers are cancelled in the middle of the POST: the pair is on disk afterwards, and served."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                bearer = await k.keeper.bearer()
                portal.fault("refresh", Slow(after=3))
                with anyio.move_on_after(1):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(10):
                            tasks.start_soon(k.after, bearer)
                await anyio.sleep(5)
                live = portal.portal.live(0)
                assert live is not None
                assert stored(source.store)["refresh_token"] == live.refresh_token
                assert await k.token() == live.access_token

    async def test_closing_in_the_middle_waits_for_the_renewal(self, tmp_path: Path) -> None:
        """Everything is cancelled while the Portal works: what it gives is on disk when the last task has ended."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with anyio.create_task_group() as tasks:
                async with kept(source, host_of(portal), watches=False) as k:
                    portal.fault("refresh", Slow(before=1, after=2))
                    tasks.start_soon(k.after, await k.keeper.bearer())
                    await anyio.sleep(0.5)
                began = anyio.current_time()
                live = portal.portal.live(0)
                assert live is not None
                assert stored(source.store)["refresh_token"] == live.refresh_token
                assert journal(source) is None
                assert began == pytest.approx(3, abs=0.3)

    async def test_what_is_settled_late_wakes_nobody(self, tmp_path: Path) -> None:
        """An earlier renewal that is reported lost says nothing about the one under way: all wait on for that."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
                await anyio.sleep(60)
                portal.portal.expire_access(0)
                portal.fault("refresh", Slow(after=5))
                bearer, got = await k.keeper.bearer(), list[str]()

                async def ask() -> None:
                    got.append(await k.after(bearer))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask)
                    await anyio.sleep(1)
                    k.keeper.lost(1)
                    await anyio.sleep(1)
                    assert got == []
                assert got == [portal.portal.live(0).access_token]  # type: ignore[union-attr]

    async def test_whoever_waits_for_the_lock_can_be_cancelled(self, tmp_path: Path) -> None:
        """Closing while another process holds the lock takes no time, and posts nothing."""
        from understudy.credentials._locks import locked

        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with locked([Path(source.store).with_suffix(".lock")], within=1):
                async with anyio.create_task_group() as tasks:
                    async with kept(source, host_of(portal), watches=False) as k:
                        tasks.start_soon(k.after, await k.keeper.bearer())
                        await anyio.sleep(5)
                        began = anyio.current_time()
                    assert anyio.current_time() == began
                    tasks.cancel_scope.cancel()
            assert portal.received == []


class TestOtherProcesses:
    """The lock, and what stands in the stores."""

    async def test_a_peer_holds_the_lock_for_14_seconds(self, tmp_path: Path) -> None:
        """That is waited for; what the peer has renewed is adopted."""
        from understudy.credentials._locks import locked

        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k, anyio.create_task_group() as tasks:

                async def peer() -> None:
                    async with locked([Path(source.store).with_suffix(".lock")], within=1):
                        await anyio.sleep(14)
                        before = portal.portal.live(0)
                        assert before is not None
                        renewed = portal.portal.refresh(before.refresh_token, "hermes-cli", portal.now())
                        put(source.store, flat(renewed))  # type: ignore[arg-type]

                tasks.start_soon(peer)
                await anyio.sleep(0.1)
                assert await k.after(await k.keeper.bearer()) == portal.portal.live(0).access_token  # type: ignore[union-attr]
                assert anyio.current_time() == pytest.approx(14, abs=0.3)
                assert portal.received == []
                assert k.told(CredentialRenewed)[-1].adopted

    async def test_a_lock_that_stays_taken_is_no_fault_of_the_credential(self, tmp_path: Path) -> None:
        """After 20 s the renewal is given up for now; the token that lives is served on, and nothing was posted."""
        from understudy.credentials._locks import locked

        async with simulated_portal(QUICK) as portal:
            first = portal.log_in()
            source = own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                async with locked([Path(source.store).with_suffix(".lock")], within=1):
                    await anyio.sleep(3600 - 200)
                    assert await k.token() == first.access_token
                    await anyio.sleep(25)
                    assert await k.token() == first.access_token
                    (troubled,) = k.told(CredentialTroubled)
                    assert "login.lock was held by another process for 20 s" in troubled.reason
                await anyio.sleep(5)
                await k.token()
                await anyio.sleep(1)
                assert await k.token() != first.access_token
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_what_another_process_renewed_is_adopted_by_a_look(self, tmp_path: Path) -> None:
        """A newer pair in the store is served within seconds, without a lock or a POST."""
        async with simulated_portal(QUICK) as portal:
            first = portal.log_in()
            source = own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal)) as k:
                await anyio.sleep(10)
                renewed = portal.portal.refresh(first.refresh_token, "hermes-cli", portal.now())
                put(source.store, flat(renewed))  # type: ignore[arg-type]
                await anyio.sleep(2.1)
                assert await k.token() == renewed.access_token  # type: ignore[union-attr]
                assert portal.received == []

    async def test_what_another_process_renewed_is_written_for_others_to_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`NOUS_WRITE_ENV_KEY` has the bearer of the moment, whoever got it."""
        monkeypatch.setattr("understudy.credentials._env_file._MARKS", ())
        async with simulated_portal(QUICK) as portal:
            first, file = portal.log_in(), put(tmp_path / ".env", "LLM_NOUS_API_KEY=old\n")
            source = again(own(tmp_path, portal), env_file=file)
            put(source.store, flat(first))
            async with kept(source, host_of(portal)):
                await anyio.sleep(10)
                renewed = portal.portal.refresh(first.refresh_token, "hermes-cli", portal.now())
                assert isinstance(renewed, Login)
                put(source.store, flat(renewed))
                await anyio.sleep(2.1)
                assert file.read_text() == f"LLM_NOUS_API_KEY={renewed.access_token}\n"


class TestHermes:
    """The stores that are shared with Hermes Agent."""

    async def test_both_stores_are_written_and_all_else_is_kept(self, tmp_path: Path) -> None:
        """Unknown fields, other providers, `active_provider`, modes and the pool's other rows are as they were."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first), mode=0o640)
            put(source.hermes.shared, flat(first, updated_at="long ago", own="kept"))
            before = stored(source.hermes.profile)
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
            live, after = portal.portal.live(0), stored(source.hermes.profile)
            assert live is not None
            nous, shared = after["providers"].pop("nous"), stored(source.hermes.shared)
            assert nous["refresh_token"] == shared["refresh_token"] == live.refresh_token
            assert nous["agent_key"] == nous["access_token"] == live.access_token
            assert nous["obtained_at"] == shared["obtained_at"]
            assert nous["label"] == "mine"
            assert shared["own"] == "kept"
            assert "agent_key" not in shared
            assert after["credential_pool"]["nous"][0]["refresh_token"] == live.refresh_token
            assert after["credential_pool"]["nous"][1] == before["credential_pool"]["nous"][1]
            for name in ("version", "active_provider", "unknown"):
                assert after[name] == before[name]
            assert after["providers"] == {"anthropic": before["providers"]["anthropic"]}
            assert os.stat(source.hermes.profile).st_mode & 0o777 == 0o640
            assert os.stat(source.hermes.shared).st_mode & 0o777 == 0o600
            assert "http" not in str(nous.get("portal_base_url")) + str(shared.get("portal_base_url"))
            assert litter(source) == []

    async def test_the_shared_store_is_never_begun(self, tmp_path: Path) -> None:
        """Where neither it nor its folder is there, it is not made."""
        async with simulated_portal(QUICK) as portal:
            source = hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
            assert not Path(source.hermes.shared).parent.exists()

    async def test_a_stale_shared_pair_is_overwritten(self, tmp_path: Path) -> None:
        """An older pair in the shared store, whose token is spent, is neither adopted nor posted; it is replaced."""
        async with simulated_portal(QUICK) as portal:
            old, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            await anyio.sleep(60)
            new = portal.portal.refresh(old.refresh_token, "hermes-cli", portal.now())
            put(source.hermes.profile, nested(new))  # type: ignore[arg-type]
            put(source.hermes.shared, flat(old))
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == new.access_token  # type: ignore[union-attr]
                await anyio.sleep(31)
                await expired(portal, k)
                live = portal.portal.live(0)
                assert live is not None
                assert stored(source.hermes.shared)["refresh_token"] == live.refresh_token
                assert portal.portal.counts.reuses == 0

    async def test_a_newer_shared_pair_counts(self, tmp_path: Path) -> None:
        """A pair that was obtained later stands in the shared store: it is used, whatever `auth.json` says."""
        async with simulated_portal(QUICK) as portal:
            old, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            await anyio.sleep(60)
            new = portal.portal.refresh(old.refresh_token, "hermes-cli", portal.now())
            put(source.hermes.profile, nested(old))
            put(source.hermes.shared, flat(new))  # type: ignore[arg-type]
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == new.access_token  # type: ignore[union-attr]
                assert portal.received == []

    async def test_a_profile_without_a_login_writes_to_the_root_it_read_from(self, tmp_path: Path) -> None:
        """The root's file is renewed and written; the profile's stays as it is (issue 56361 of Hermes Agent)."""
        async with simulated_portal(QUICK) as portal:
            source = hermes(tmp_path, portal, home="root/profiles/work")
            assert source.hermes is not None
            assert source.hermes.root == tmp_path / "root" / "auth.json"
            put(source.hermes.profile, {"version": 1, "providers": {"anthropic": {}}})
            put(source.hermes.root, nested(portal.log_in()))
            before = Path(source.hermes.profile).read_bytes()
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
            live = portal.portal.live(0)
            assert live is not None
            assert stored(source.hermes.root)["providers"]["nous"]["refresh_token"] == live.refresh_token
            assert Path(source.hermes.profile).read_bytes() == before
            assert (tmp_path / "root" / "auth.lock").exists()

    async def test_a_dead_login_leaves_both_stores(self, tmp_path: Path) -> None:
        """The tokens leave `auth.json`, for a reason; the pool loses the rows of the same code, the shared store goes;
        other providers stay."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            async with kept(source, host_of(portal)) as k:
                bearer = await k.keeper.bearer()
                portal.portal.revoke(0)
                assert await k.after(bearer) == "revoked"
                document = stored(source.hermes.profile)
                assert document["providers"]["nous"]["last_auth_error"]["code"] == "invalid_grant"
                assert "refresh_token" not in document["providers"]["nous"]
                assert [row["id"] for row in document["credential_pool"]["nous"]] == ["b"]
                assert document["providers"]["anthropic"] == {"key": "of somebody else"}
                assert not Path(source.hermes.shared).exists()
                second = portal.log_in()
                put(source.hermes.shared, flat(second))  # as Hermes Agent's own login does
                await anyio.sleep(2.1)
                assert await k.token() == second.access_token

    async def test_a_spent_pair_is_healed_from_the_store_that_has_the_next(self, tmp_path: Path) -> None:
        """A spent token came back into one store: the newer pair of the other one is adopted, and written to both."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
                second = portal.portal.live(0)
                assert second is not None
                third = portal.portal.refresh(second.refresh_token, "hermes-cli", portal.now())
                assert isinstance(third, Login)
                put(source.hermes.profile, nested(third, at=portal.now() + 5))
                put(source.hermes.shared, flat(first, obtained_at=portal.now() + 50))  # spent, but newer by its word
                await anyio.sleep(31)
                assert await k.after(await k.keeper.bearer()) == third.access_token
                assert stored(source.hermes.shared)["refresh_token"] == third.refresh_token
                assert portal.portal.counts.reuses == 0

    async def test_a_login_that_came_meanwhile_is_not_overwritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pair that could not be written waits; somebody logs in anew: that login counts, and the pair is dropped."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal)) as k:
                with monkeypatch.context() as broken:
                    _fails(broken, "replace", errno.EIO, lambda _, target: target.name == "login.json")
                    await expired(portal, k)
                    assert not _is_saved(k)
                    await anyio.sleep(1)
                    second = portal.log_in()
                    put(source.store, flat(second, obtained_at=portal.now() + 1))
                await anyio.sleep(8)
                assert stored(source.store)["refresh_token"] == second.refresh_token
                assert await k.token() == second.access_token
                assert _is_saved(k)

    async def test_a_shared_store_that_cannot_be_written_is_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hermes Agent would bring the spent token back from it."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            _fails(monkeypatch, "replace", errno.EIO, lambda _, target: target.name == "nous_auth.json")
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
                assert not Path(source.hermes.shared).exists()
                live = portal.portal.live(0)
                assert live is not None
                assert stored(source.hermes.profile)["providers"]["nous"]["refresh_token"] == live.refresh_token
                assert litter(source) == []


def _is_saved(k: Kept) -> bool:
    return k.keeper.health.is_saved


def _fails(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, when: Callable[..., bool], times: int = 10**6
) -> list[str]:
    """Let a function of the operating system fail for the credential's files; return what it was called for."""
    real, failed = getattr(os, name), list[str]()

    def failing(*arguments: Any, **more: Any) -> Any:
        if len(failed) < times and when(*arguments):
            failed.append(str(arguments[0]))
            raise OSError(number, os.strerror(number), str(arguments[0]))
        return real(*arguments, **more)

    monkeypatch.setattr(os, name, failing)
    return failed


class TestTheDisk:
    """What cannot be kept is not asked for."""

    @pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EDQUOT])
    async def test_a_store_that_cannot_be_written_is_not_renewed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """The token serves to its end, nothing is posted, and path and remedy are told once."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                _fails(
                    monkeypatch, "open", number, lambda path, flags, *_: "login.json" in str(path) and flags & os.O_RDWR
                )
                await anyio.sleep(3600 - 300)
                for _ in range(100):
                    assert await k.token() == first.access_token
                    await anyio.sleep(1)
                assert portal.received == []
                (troubled,) = k.told(CredentialTroubled)
                assert str(source.store) in troubled.reason
                assert os.strerror(number) in troubled.reason
                await anyio.sleep(300)
                assert await k.token() == "unwritable"

    async def test_a_journal_that_cannot_be_written_keeps_the_token(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a journal nothing is posted."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                _fails(monkeypatch, "replace", errno.ENOSPC, lambda _, target: "notes" in str(target))
                assert await k.after(await k.keeper.bearer()) == "unwritable"
                assert portal.received == []

    async def test_a_pair_that_cannot_be_written_is_served_from_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is served at once, written again and again until it is on disk, and nothing else is renewed meanwhile."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                failed = _fails(
                    monkeypatch, "replace", errno.ENOSPC, lambda _, target: target.name == "login.json", times=6
                )
                token = await expired(portal, k)
                live = portal.portal.live(0)
                assert live is not None
                assert token == live.access_token
                (unsaved,) = k.told(CredentialUnsaved)
                assert "No space left" in unsaved.reason
                assert str(source.store) in unsaved.reason
                assert not _is_saved(k)
                assert await k.after(await k.keeper.bearer()) == "unsaved"
                await anyio.sleep(10)
                assert len(failed) == 6
                assert len(k.told(CredentialSaved)) == 1
                assert stored(source.store)["refresh_token"] == live.refresh_token
                assert _is_saved(k)
                assert portal.portal.counts.asked["refresh"] == 1
                assert litter(source) == []

    async def test_closing_tries_to_write_once_more(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pair in memory is written when everything is closed, if that is possible by then."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            with monkeypatch.context() as broken:
                async with kept(source, host_of(portal), watches=False) as k:
                    _fails(broken, "replace", errno.EIO, lambda _, target: target.name == "login.json", times=2)
                    token = await expired(portal, k)
                    await anyio.sleep(0.15)
            live = portal.portal.live(0)
            assert live is not None
            assert token == live.access_token
            assert stored(source.store)["refresh_token"] == live.refresh_token

    async def test_a_file_that_cannot_be_replaced_is_rewritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """EBUSY, as for a file that is mounted into a container."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            number = os.stat(source.store).st_ino
            _fails(monkeypatch, "replace", errno.EBUSY, lambda _, target: target.name == "login.json")
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
            live = portal.portal.live(0)
            assert live is not None
            assert stored(source.store)["refresh_token"] == live.refresh_token
            assert os.stat(source.store).st_ino == number
            assert litter(source) == []

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"providers": 1}', "\0" * 10])
    async def test_a_store_that_says_nothing_is_left_alone(self, tmp_path: Path, content: str) -> None:
        """Corrupt is neither empty nor missing: no POST, no write; the message names the file and the remedy."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal, refresh_token=secret("must-not-be-posted"))
            put(source.store, content)
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "unreadable"
                assert portal.received == []
                assert Path(source.store).read_text() == content
                (troubled,) = k.told(CredentialTroubled)
                assert str(source.store) in troubled.reason
                assert "understudy login nous" in troubled.reason

    async def test_a_folder_that_takes_no_lock_is_not_renewed_in(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store in a read-only folder: its token serves, what others renew is adopted, nothing is posted."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            _fails(monkeypatch, "open", errno.EROFS, lambda path, flags, *_: bool(flags & os.O_RDWR))
            async with kept(source, host_of(portal)) as k:
                assert await k.after(await k.keeper.bearer()) == "unwritable"
                assert "auth.lock: Read-only file system" in k.told(CredentialTroubled)[0].reason
                assert await k.token() == "unwritable"  # it was refused: it is tried again in a second
                await anyio.sleep(2)
                assert await k.token() == first.access_token
                await anyio.sleep(60)
                renewed = portal.portal.refresh(first.refresh_token, "hermes-cli", portal.now())
                assert isinstance(renewed, Login)
                put(source.hermes.profile, nested(renewed, at=portal.now()))
                await anyio.sleep(2.1)
                assert await k.token() == renewed.access_token
                assert portal.received == []

    async def test_a_token_that_no_header_can_hold_is_not_sent(self, tmp_path: Path) -> None:
        """A store that somebody has spoiled: nothing is posted, nothing crashes, the journal is clear."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, {**flat(portal.log_in()), "refresh_token": "r\u00e9\u4e2d"})
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.after(await k.keeper.bearer()) == "unreachable"
                assert portal.received == []
                assert journal(source) is None

    async def test_our_own_store_is_nobody_elses_to_read(self, tmp_path: Path) -> None:
        """A store that others may read is not used; the command that mends it is told."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()), mode=0o644)
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "unreadable"
                (troubled,) = k.told(CredentialTroubled)
                assert f"chmod 600 {source.store}" in troubled.reason


class TestUnclear:
    """The Portal may have rotated, or not."""

    @pytest.mark.parametrize("then", [Reset(), Hang(), Cut(), Status(502, 0.0, {}, b"bad gateway", "text/plain")])
    async def test_a_lost_answer_waits_for_the_end_of_the_token(self, tmp_path: Path, then: Any) -> None:
        """The old token serves while it works; near its end the same refresh token is posted once more, and the
        terminal answer ends the login: it was lost, and that is said."""
        rules = replace(QUICK, kills_access=False)
        async with simulated_portal(rules) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", Lost(then))
                await anyio.sleep(3600 - 300)
                assert await k.token() == first.access_token
                await anyio.sleep(20)
                assert portal.portal.counts.asked["refresh"] == 1
                assert journal(source) is not None
                for _ in range(20):
                    assert await k.token() == first.access_token
                    await anyio.sleep(10)
                assert portal.portal.counts.asked["refresh"] == 1
                await anyio.sleep(60)
                assert await k.token() == "lost"
                assert portal.portal.counts.asked["refresh"] == 2
                (died,) = k.told(CredentialDied)
                assert "understudy login nous" in died.reason
                assert "answer to a renewal never came" in died.reason
                assert await k.tokens(100) == ["lost"] * 100
                assert portal.portal.counts.asked["refresh"] == 2

    async def test_ten_minutes_of_503_are_survived(self, tmp_path: Path) -> None:
        """A Portal that is down for ten minutes costs no login, also with the token over: it is asked with patience."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", then=Status(503, 0.0, {}, b"{}"))
                await anyio.sleep(3601)
                began = anyio.current_time()
                while anyio.current_time() < began + 600:
                    assert await k.token() in {"unclear", "too_often"}
                    await anyio.sleep(1)
                assert portal.portal.counts.asked["refresh"] <= 16
                portal.fault("refresh")
                await anyio.sleep(61)
                assert await k.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]
                assert k.told(CredentialDied) == []
                assert journal(source) is None

    async def test_a_connection_that_was_never_made_is_no_doubt(self, tmp_path: Path) -> None:
        """Nothing was sent: the journal is clear, and it is tried again after a second or so."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                async with portal.refusing():
                    assert await k.after(await k.keeper.bearer()) == "unreachable"
                    assert journal(source) is None
                await anyio.sleep(1.3)
                await k.token()
                await anyio.sleep(1)
                assert portal.portal.counts.asked["refresh"] <= 1

    @pytest.mark.parametrize(
        "status",
        [
            html_page(429),
            EDGE_BLOCK,
            html_page(404),
            Status(403, 0.0, {}, b"{}"),
            Status(302, 0.0, {"location": "/x"}, b""),
        ],
        ids=["429", "edge", "404", "403", "302"],
    )
    async def test_pages_of_the_way_there_end_nothing(self, tmp_path: Path, status: Status) -> None:
        """A limit, a firewall's page, a redirect: the login is kept, and renewed later."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", status)
                assert await k.after(await k.keeper.bearer()) == "unreachable"
                assert journal(source) is None
                await anyio.sleep(61)
                await k.token()
                await anyio.sleep(1)
                assert await k.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]
                assert k.told(CredentialDied) == []

    async def test_a_journal_found_at_the_start_is_a_doubt(self, tmp_path: Path) -> None:
        """A process that died between POST and answer leaves one: the token serves on, and is renewed late."""
        rules = replace(QUICK, kills_access=False)
        async with simulated_portal(rules) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", Lost(Reset()))
                await anyio.sleep(3600 - 300)
                await k.token()
                await anyio.sleep(1)
            async with kept(source, host_of(portal), watches=False) as k:
                for _ in range(20):
                    assert await k.token() == first.access_token
                    await anyio.sleep(10)
                assert portal.portal.counts.asked["refresh"] == 1
                await anyio.sleep(100)
                assert await k.token() == "lost"


class TestTheEnd:
    """A login that is over."""

    async def test_a_dead_login_is_told_once_and_asks_nothing(self, tmp_path: Path) -> None:
        """One event with the command to run; no POST for a thousand more requests; the tokens leave the store."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in(), kept="yes"))
            async with kept(source, host_of(portal)) as k:
                bearer = await k.keeper.bearer()
                portal.portal.revoke(0)
                assert await k.after(bearer) == "revoked"
                assert await k.tokens(1000) == ["revoked"] * 1000
                await anyio.sleep(60)
                assert portal.portal.counts.asked["refresh"] == 1
                (died,) = k.told(CredentialDied)
                assert "understudy login nous" in died.reason
                left = stored(source.store)
                assert left["last_auth_error"]["relogin_required"] is True
                assert left["kept"] == "yes"
                assert "refresh_token" not in left
                assert "access_token" not in left
                assert k.keeper.health.life is Life.DEAD

    async def test_a_new_login_on_disk_is_picked_up(self, tmp_path: Path) -> None:
        """Within 5 s, without a restart."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal)) as k:
                portal.portal.revoke(0)
                await k.after(await k.keeper.bearer())
                await anyio.sleep(20)
                second = portal.log_in()
                put(source.store, flat(second))
                await anyio.sleep(2.1)
                assert await k.token() == second.access_token
                assert len(k.told(CredentialRevived)) == 1
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_a_login_that_is_stored_while_the_old_one_dies_is_picked_up(self, tmp_path: Path) -> None:
        """Somebody logs in anew, without our lock, in the middle of the renewal that ends the old login."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal)) as k:
                bearer = await k.keeper.bearer()
                portal.portal.revoke(0)
                portal.fault("refresh", Slow(before=5))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(k.after, bearer)
                    await anyio.sleep(3)
                    second = portal.log_in()
                    put(source.store, flat(second))
                await anyio.sleep(2.5)
                assert await k.token() == second.access_token
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_a_peer_that_rotated_meanwhile_saves_the_login(self, tmp_path: Path) -> None:
        """Our POST was refused, but another pair stands in the store by now: that one is adopted."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", Slow(before=2))
                async with anyio.create_task_group() as tasks:

                    async def peer() -> None:  # one that takes no lock
                        await anyio.sleep(1)
                        renewed = portal.portal.refresh(first.refresh_token, "hermes-cli", portal.now())
                        portal.portal.rules = replace(portal.portal.rules, grace_for=0)
                        put(source.store, flat(renewed))  # type: ignore[arg-type]

                    tasks.start_soon(peer)
                    token = await k.after(await k.keeper.bearer())
                assert token == stored(source.store)["access_token"]
                assert k.told(CredentialDied) == []

    async def test_nobody_is_logged_in(self, tmp_path: Path) -> None:
        """No store, no crash: dead, until there is one."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            async with kept(source, host_of(portal)) as k:
                assert await k.token() == "logged_out"
                first = portal.log_in()
                put(source.store, flat(first))
                await anyio.sleep(2.1)
                assert await k.token() == first.access_token

    async def test_a_guest_is_refused(self, tmp_path: Path) -> None:
        """An anonymous credential is never treated as a login."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, {"auth_method": "anonymous", "anon_token": "guest"})
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "guest"
                assert portal.received == []

    async def test_a_token_without_its_refresh_token_serves_to_its_end(self, tmp_path: Path) -> None:
        """Then the login is over: there is nothing to post."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, {**flat(first), "refresh_token": ""})
            async with kept(source, host_of(portal), watches=False) as k:
                await anyio.sleep(3600 - 300)
                assert await k.token() == first.access_token
                await anyio.sleep(301)
                assert await k.token() == "no_refresh"
                assert portal.received == []

    async def test_a_wrong_client_is_a_mistake_not_the_end(self, tmp_path: Path) -> None:
        """The tokens are kept, the living one serves, and nothing more is posted."""
        async with simulated_portal(replace(QUICK, client_id="another")) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                await anyio.sleep(3600 - 300)
                await k.token()
                await anyio.sleep(1)
                assert await k.token() == first.access_token
                assert stored(source.store)["refresh_token"] == first.refresh_token
                await anyio.sleep(301)
                assert await k.token() == "misconfigured"
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_the_end_of_a_login_by_its_age_is_announced(self, tmp_path: Path) -> None:
        """Seven days and one day before, each once."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            now = portal.now()
            age = {"days": 22.0}
            put(source.store, flat(first, grant_issued_at=now))
            host = host_of(portal, wall_clock=lambda: portal.now() + age["days"] * 86400)
            async with kept(source, host) as k:
                await anyio.sleep(10)
                assert k.told(CredentialEnding) == []
                for days in (23.5, 24.0, 29.5, 29.9):
                    age["days"] = days
                    await anyio.sleep(10)
                assert [event.days for event in k.told(CredentialEnding)] == [7, 1]
                assert k.keeper.health.days_left == pytest.approx(0.1, abs=0.01)


class TestBootstrap:
    """`NOUS_REFRESH_TOKEN`."""

    async def test_a_refresh_token_begins_a_login_once(self, tmp_path: Path) -> None:
        """It is posted at the first use, and never again: neither by us, nor after a restart without the store."""
        async with simulated_portal(QUICK) as portal:
            first = portal.log_in()
            source = own(tmp_path, portal, refresh_token=secret(first.refresh_token))
            async with kept(source, host_of(portal), watches=False) as k:
                token = await k.token()
                live = portal.portal.live(0)
                assert live is not None
                assert token == live.access_token
                assert stored(source.store)["refresh_token"] == live.refresh_token
                assert os.stat(source.store).st_mode & 0o777 == 0o600
                assert os.stat(Path(source.store).parent).st_mode & 0o777 == 0o700
            Path(source.store).unlink()
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "logged_out"
            assert portal.portal.counts.refreshes == {fingerprint(first.refresh_token): 1}
            assert portal.portal.counts.reuses == 0


class TestBearers:
    """What of a login can be sent."""

    async def test_the_header_and_nothing_else_carries_the_token(self, tmp_path: Path) -> None:
        """The refresh token is in its header, never in the body; our name is in the User-Agent."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
            (asked,) = portal.received
            assert asked.headers["x-nous-refresh-token"] == first.refresh_token
            assert asked.body == b"grant_type=refresh_token&client_id=hermes-cli"
            assert asked.headers["user-agent"] == "understudy"

    @pytest.mark.parametrize("omits", ["refresh_token", "expires_in", "scope", "token_type", "inference_base_url"])
    async def test_what_an_answer_leaves_out_stays_as_it_was(self, tmp_path: Path, omits: str) -> None:
        """Without a new refresh token the old one is kept; without a duration the token's own claims count."""
        rules = replace(QUICK, omits=frozenset({omits}), rotates=omits != "refresh_token")
        async with simulated_portal(rules) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                for _ in range(3):
                    token = await expired(portal, k)
                    assert token == portal.portal.live(0).access_token  # type: ignore[union-attr]
                    await anyio.sleep(40)
                left = stored(source.store)
                assert left["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]
                assert left["scope"] == first.scope
                assert portal.portal.counts.reuses == 0

    @pytest.mark.parametrize("rules", [replace(QUICK, opaque=True)], ids=["opaque"])
    async def test_a_token_of_no_use_is_kept_and_dead(self, tmp_path: Path, rules: PortalRules) -> None:
        """The pair is on disk; there is no second POST."""
        async with simulated_portal(rules) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "no_bearer"
                assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]
                await k.tokens(100)
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_a_legacy_login_mints_a_key_and_keeps_it(self, tmp_path: Path) -> None:
        """Its token cannot be sent: a key is minted, written, and served until it is over."""
        rules = replace(QUICK, mint=200, key_for=86400.0)
        async with simulated_portal(rules) as portal:
            legacy, source = portal.log_in(scope="inference:mint_agent_key"), own(tmp_path, portal)
            put(source.store, flat(legacy))
            async with kept(source, host_of(portal), watches=False) as k:
                key = await k.token()
                assert key.startswith("nak_")
                assert stored(source.store)["agent_key"] == key
                await anyio.sleep(7000)
                assert await k.token() == key
                assert portal.portal.counts.asked == {"mint": 1}
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == key
                assert portal.portal.counts.asked == {"mint": 1}

    @pytest.mark.parametrize("status", [404, 410])
    async def test_a_retired_mint_is_never_asked_again(self, tmp_path: Path, status: Any) -> None:
        """404 and 410 switch it off for good; the login is of no use, and that is said once."""
        async with simulated_portal(replace(QUICK, mint=status)) as portal:
            legacy, source = portal.log_in(scope="inference:mint_agent_key"), own(tmp_path, portal)
            put(source.store, flat(legacy))
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "no_bearer"
                assert await k.tokens(100) == ["no_bearer"] * 100
                assert portal.portal.counts.asked["mint"] == 1
                assert len(k.told(CredentialDied)) == 1

    @pytest.mark.parametrize(
        "address",
        [
            "https://evil.test/v1",
            "http://inference-api.nousresearch.com/v1",
            "https://inference-api.nousresearch.com@evil.test/v1",
        ],
    )
    async def test_an_address_that_is_not_allowed_is_not_kept(self, tmp_path: Path, address: str) -> None:
        """A foreign host in an answer is neither used nor written."""
        async with simulated_portal(replace(QUICK, inference_base_url=address)) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                await expired(portal, k)
                assert k.keeper.inference == ""
                assert "evil" not in json.dumps(stored(source.store))

    async def test_a_foreign_portal_in_a_store_gets_no_token(self, tmp_path: Path) -> None:
        """Without an override, a store that names another host leads to the Portal's own, never there."""
        from understudy.credentials._portal import portal_of
        from understudy.credentials._stores import Stored, parse

        async with simulated_portal(QUICK) as portal:
            source = again(own(tmp_path, portal), portal="")
            found = parse(json.dumps(flat(portal.log_in(), portal_base_url="https://evil.test")).encode())
            assert isinstance(found, Stored)
            assert portal_of(source, found.login, host_of(portal)).url == "https://portal.nousresearch.com"

    async def test_a_redirect_is_not_followed(self, tmp_path: Path) -> None:
        """The token goes to one host only."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", Status(307, 0.0, {"location": f"{portal.portal_url}/api/oauth/token"}, b""))
                assert await k.after(await k.keeper.bearer()) == "unreachable"
                assert portal.portal.counts.asked["refresh"] == 1


def test_the_reasons_are_all_told() -> None:
    """Every reason has words, and those that a login mends name the command."""
    from understudy.credentials._words import said

    assert all(said(why) for why in Why)
    assert "understudy login nous" in said(Why.REVOKED)
    assert Inline() is not None
