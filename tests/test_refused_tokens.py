"""A token that is refused and cannot be renewed: it is held, asked about seldom, and not lost for one model's sake."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from understudy import Text, UnderstudyError, Verdict
from understudy.actors._renewing import RenewingProvider
from understudy.credentials import BarredError, CredentialDied, CredentialSaved, Life, look
from understudy.providers import AttemptError, Failure, Request, Response, Upstream, attempt_error
from understudy.simulation import NOUS_ERRORS, Phase, Script, Status, simulated_portal
from understudy.supervisor import AccessRefused

from .nous import Kept, flat, hermes, host_of, kept, nested, own, put, stored
from .test_keeper import QUICK
from .test_kept_pairs import breaks
from .test_nous_login import ASK, many, scene

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

UNKNOWN = Script((Phase(NOUS_ERRORS["unknown_free_model"], model="another"),))
DOWN = Status(429, 0.0, {}, b"<html>", "text/html")


class TestWithoutARenewal:
    """Nothing can be renewed now, or ever."""

    async def test_the_portal_is_down_and_the_token_refused(self, tmp_path: Path) -> None:
        """In a minute, 600 requests cost Nous one call for each renewal that is tried; the others fall back at once."""
        async with scene(tmp_path) as s:
            s.portal.portal.expire_access(0)
            s.portal.fault("refresh", then=DOWN)
            answered = []
            for _ in range(120):
                answered += await many(s.agent, 5)
                await anyio.sleep(0.5)
            assert answered == ["openai"] * 600
            assert s.posts <= 7
            assert s.calls <= 5 * (s.posts + 1)
            s.portal.fault("refresh")
            await anyio.sleep(61)
            assert not (await s.agent.complete(ASK)).is_fallback

    async def test_a_refused_token_is_tried_again_after_the_wait(self, tmp_path: Path) -> None:
        """The 401 was a whim: when the wait for the Portal is over, the token serves, and nothing was posted twice."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first))
            async with kept(source, host_of(portal), watches=False) as k:
                portal.fault("refresh", then=DOWN)
                assert await k.after(await k.keeper.bearer()) == "unreachable"
                assert await k.token() == "unreachable"
                await anyio.sleep(2)
                assert await k.token() == first.access_token
                assert portal.portal.counts.asked["refresh"] == 1

    async def test_without_a_refresh_token_a_living_one_is_kept(self, tmp_path: Path) -> None:
        """Its 401 holds it for 30 s, and then it is served again, until it ends (rule 27)."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first, refresh_token=""))
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.after(await k.keeper.bearer()) == "no_refresh"
                await anyio.sleep(29)
                assert await k.token() == "no_refresh"
                await anyio.sleep(2)
                assert await k.token() == first.access_token
                assert await k.after(await k.keeper.bearer()) == "no_refresh"
                await anyio.sleep(3600)
                assert await k.token() == "no_refresh"
                assert portal.received == []


class TestOneModel:
    """Nous may answer 401 for a model that it does not have."""

    async def test_where_nothing_can_be_renewed_it_holds_the_token_once(self, tmp_path: Path) -> None:
        """Its first 401 is not known from a real one; once others are answered again, its next is its own affair."""
        async with scene(tmp_path, script=UNKNOWN, login={"refresh_token": ""}) as s:
            other = s.supervisor.agent("other")
            assert not (await s.agent.complete(ASK)).is_fallback
            assert (await other.complete(ASK)).is_fallback
            assert (await s.agent.complete(ASK)).is_fallback
            await anyio.sleep(30)
            assert not (await s.agent.complete(ASK)).is_fallback
            for _ in range(20):
                assert (await other.complete(ASK)).is_fallback
                assert not (await s.agent.complete(ASK)).is_fallback
                await anyio.sleep(1)

    async def test_while_the_portal_is_down_it_holds_the_token_seldom(self, tmp_path: Path) -> None:
        """For a second or two, and then not for half a minute."""
        async with scene(tmp_path, script=UNKNOWN) as s:
            other = s.supervisor.agent("other")
            s.portal.fault("refresh", then=DOWN)
            assert not (await s.agent.complete(ASK)).is_fallback
            assert (await other.complete(ASK)).is_fallback
            assert (await s.agent.complete(ASK)).is_fallback
            await anyio.sleep(2)
            assert not (await s.agent.complete(ASK)).is_fallback
            for _ in range(29):
                assert (await other.complete(ASK)).is_fallback
                assert not (await s.agent.complete(ASK)).is_fallback
                await anyio.sleep(1)
            assert s.posts == 1

    async def test_asked_all_the_time_it_starves_nobody(self, tmp_path: Path) -> None:
        """Every second for ten minutes, with a good agent once a minute: that is served, and few renewals are made."""
        async with scene(tmp_path, script=UNKNOWN) as s:
            other, served = s.supervisor.agent("other"), list[bool]()
            assert not (await s.agent.complete(ASK)).is_fallback
            for second in range(1, 601):
                assert (await other.complete(ASK)).is_fallback
                if second % 60 == 0:
                    served.append(not (await s.agent.complete(ASK)).is_fallback)
                await anyio.sleep(1)
            assert served == [True] * 10
            assert s.posts <= 6

    async def test_in_doubt_it_costs_no_living_token(self, tmp_path: Path) -> None:
        """A renewal's answer was lost: after the model's 401 and a wait, the token serves the others on (rule 20)."""
        async with scene(tmp_path, script=UNKNOWN, rules=replace(QUICK, access_for=600.0)) as s:
            s.portal.fault("refresh", then=Status(503, 0.0, {}, b"{}"))
            await anyio.sleep(500)
            assert not (await s.agent.complete(ASK)).is_fallback  # and begins the renewal that is lost
            await anyio.sleep(1)
            assert (await s.supervisor.agent("other").complete(ASK)).is_fallback
            await anyio.sleep(5)
            assert not (await s.agent.complete(ASK)).is_fallback

    async def test_a_model_that_was_once_suspected_is_not_so_for_ever(self, tmp_path: Path) -> None:
        """A token that only one model is asked with, and that is really refused, is renewed after half a minute."""
        async with scene(tmp_path) as s:
            other = s.supervisor.agent("other")
            s.portal.portal.expire_access(0)
            s.portal.fault("refresh", DOWN)
            assert (await other.complete(ASK)).is_fallback
            await anyio.sleep(2)
            assert not (await s.agent.complete(ASK)).is_fallback  # renewed for this one
            await anyio.sleep(600)
            s.portal.portal.expire_access(0)
            posts, answered = s.posts, list[str]()
            for _ in range(60):
                answered.append((await other.complete(ASK)).transport)
                await anyio.sleep(1)
            assert answered == ["nous"] * 60
            assert s.posts - posts == 1

    async def test_a_second_401_for_a_token_that_was_replaced_blames_no_model(self, tmp_path: Path) -> None:
        """The retry was sent with a token that another one followed meanwhile: neither model nor key is at fault."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                dead = {await k.token()}
                provider = RenewingProvider(Refusing(dead), k.keeper, "nous", follows=False)
                got: list[Verdict] = []

                async def slow() -> None:
                    with pytest.raises(AttemptError) as raised:
                        await provider.complete(Request("slow", ()))
                    got.append(raised.value.verdict)

                portal.portal.expire_access(0)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(slow)
                    await anyio.sleep(35)
                    dead.add(portal.portal.live(0).access_token)  # type: ignore[union-attr]
                    await provider.complete(Request("good", ()))
                assert got == [Verdict.CREDENTIAL]


class Refusing:
    """A provider that refuses some keys, those of the model `slow` after a minute."""

    def __init__(self, dead: set[str], key: str = "") -> None:
        self._dead, self._key = dead, key

    def keyed(self, key: str, *, base_url: str = "") -> Refusing:
        """Return one with that key."""
        return Refusing(self._dead, key)

    async def complete(self, request: Request) -> Response:
        """Answer, or refuse."""
        if request.model == "slow" and self._key not in self._dead:
            await anyio.sleep(60)
        if self._key in self._dead:
            raise attempt_error(Failure(transport="nous", model=request.model, verdict=Verdict.AUTH, status=401))
        return Response((Text("hi"),), request.model, "nous", "stop")

    async def stream(self, request: Request) -> Upstream:
        """Nobody asks for one."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """There is nothing to close."""


class TestReasons:
    """Who is refused is told why, and how long."""

    async def test_all_who_come_too_often_are_told_the_same(self, tmp_path: Path) -> None:
        """Five at once with a token that may not be renewed yet: none of them is told that a key is refused."""
        async with scene(tmp_path) as s:
            s.portal.portal.expire_access(0)
            s.portal.fault("refresh", *[DOWN] * 4)
            while (await s.agent.complete(ASK)).is_fallback:  # noqa: ASYNC110 - asking is what goes on
                await anyio.sleep(0.5)
            assert s.posts == 5
            await anyio.sleep(31)
            s.portal.portal.expire_access(0)
            verdicts: list[Verdict] = []

            async def ask() -> None:
                verdicts.append((await s.agent.complete(ASK)).attempts[0].verdict)

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(ask)
            assert verdicts == [Verdict.CREDENTIAL] * 5
            assert s.told(AccessRefused) == []

    async def test_what_was_held_for_the_disk_is_renewed_once_that_is_well(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A refused token whose pair is not on disk is held until it is, and all are told so."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                with monkeypatch.context() as broken:
                    breaks(broken)
                    await k.after(await k.keeper.bearer())
                    await anyio.sleep(40)
                    portal.portal.expire_access(0)
                    bearer = await k.keeper.bearer()
                    assert [await k.after(bearer) for _ in range(2)] == ["unsaved"] * 2
                    assert k.keeper.health.life is Life.BARRED
                await anyio.sleep(6)
                assert k.told(CredentialSaved) != []
                assert await k.after(await k.keeper.bearer()) == portal.portal.live(0).access_token  # type: ignore[union-attr]

    async def test_health_says_what_is_held_and_why(self, tmp_path: Path) -> None:
        """A token that will be tried again is barred, and not dead; nor is one alive that nobody gets."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            async with kept(source, host_of(portal), watches=False) as k:
                await k.after(await k.keeper.bearer())
                await k.after(await k.keeper.bearer())
                health = k.keeper.health
                assert (health.life, health.reason) == (Life.BARRED, "a token that was just renewed is refused")

    async def test_nobody_waits_for_what_waiting_does_not_mend(self, tmp_path: Path) -> None:
        """A lone agent whose login has no refresh token, and whose token is refused: told at once."""
        async with scene(tmp_path, alone=True, login={"refresh_token": ""}) as s:
            s.portal.portal.expire_access(0)
            for _ in range(5):
                with pytest.raises(UnderstudyError, match="no refresh token"):
                    await s.agent.complete(ASK)
            assert anyio.current_time() < 1
            assert s.calls == 1


class TestMintedKeys:
    """Keys that were minted for a login of the old kind."""

    async def test_a_refused_key_is_minted_seldom(self, tmp_path: Path) -> None:
        """Refused every second for five minutes, it is minted anew twice a minute at most."""
        async with simulated_portal(replace(QUICK, mint=200, key_for=86400.0)) as portal:
            legacy, source = portal.log_in(scope="inference:mint_agent_key"), own(tmp_path, portal)
            put(source.store, flat(legacy))
            async with kept(source, host_of(portal), watches=False) as k:
                await k.token()
                for _ in range(300):
                    with suppress(BarredError):
                        await k.after(await k.keeper.bearer())
                    await anyio.sleep(1)
                assert 5 <= portal.portal.counts.asked["mint"] <= 11
                assert portal.portal.counts.asked["refresh"] == 0

    async def test_a_living_key_outlives_the_mint(self, tmp_path: Path) -> None:
        """Where the Portal mints no more, the last key is used until it ends (rule 29)."""
        async with simulated_portal(replace(QUICK, mint=200, key_for=86400.0, access_for=90000.0)) as portal:
            legacy, source = portal.log_in(scope="inference:mint_agent_key"), own(tmp_path, portal)
            put(source.store, flat(legacy))
            async with kept(source, host_of(portal), watches=False) as k:
                key, bearer = await k.token(), await k.keeper.bearer()
                portal.portal.rules = replace(portal.portal.rules, mint=410)
                await anyio.sleep(bearer.term.advise_at - anyio.current_time() + 1)
                assert await k.token() == key
                await anyio.sleep(5)
                assert await k.token() == key
                await anyio.sleep(bearer.term.ends_at - anyio.current_time())
                assert await k.token() == "no_keys"
                assert portal.portal.counts.asked == {"mint": 2}

    async def test_a_login_that_was_not_saved_mints_when_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The pair of a renewal could not be written, so nothing was minted with it; it is once the disk is well."""
        async with simulated_portal(replace(QUICK, mint=200, key_for=86400.0, access_for=600.0)) as portal:
            legacy, source = portal.log_in(scope="inference:mint_agent_key"), own(tmp_path, portal)
            put(source.store, flat(legacy))
            async with kept(source, host_of(portal), watches=False) as k:
                with monkeypatch.context() as broken:
                    breaks(broken)
                    await anyio.sleep(601)
                    assert await k.token() == "unsaved"
                    assert portal.portal.counts.asked == {"refresh": 1}
                await anyio.sleep(10)
                assert k.told(CredentialSaved) != []
                key = await k.token()
                assert portal.portal.counts.asked == {"refresh": 1, "mint": 1}
                assert key == stored(source.store)["agent_key"]


class TestTwoStores:
    """One of Hermes Agent's two stores is of no use."""

    async def test_a_guest_in_the_shared_store_is_nobodys_business(self, tmp_path: Path) -> None:
        """The login beside it is served and renewed, and the guest stays as it was."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            guest = {"auth_method": "anonymous", "anon_token": "guest"}
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, guest)
            assert look(source, host_of(portal)).life is Life.ALIVE
            async with kept(source, host_of(portal), watches=False) as k:
                await anyio.sleep(3600 - 300)
                assert await k.token() == first.access_token
                for number in range(20):
                    await anyio.sleep(5)
                    put(source.hermes.profile, {**stored(source.hermes.profile), "n": number})
                    await k.keeper.glance()
                    await k.token()
                live = portal.portal.live(0)
                assert live is not None
                assert await k.token() == live.access_token != first.access_token
                assert k.told(CredentialDied) == []
            assert stored(source.hermes.shared) == guest
            assert stored(source.hermes.profile)["providers"]["nous"]["refresh_token"] == live.refresh_token

    @pytest.mark.parametrize("content", ["", '{"access_tok', "[]"])
    async def test_a_corrupt_shared_store_keeps_no_token_from_being_served(self, tmp_path: Path, content: str) -> None:
        """The local login serves while it lives; nothing is renewed, and nothing written (rule 30)."""
        async with simulated_portal(QUICK) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, content)
            seen = look(source, host_of(portal))
            assert (seen.life, str(source.hermes.shared) in seen.reason) == (Life.ALIVE, True)
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == first.access_token
                await anyio.sleep(3601)
                assert await k.token() == "unreadable"
            assert portal.received == []
            assert Path(source.hermes.shared).read_text() == content


class TestClocks:
    """A machine whose clock is wrong."""

    @pytest.mark.parametrize("wrong_by", [3600.0, 7200.0, -3600.0])
    async def test_two_processes_leave_each_other_their_tokens(self, tmp_path: Path, wrong_by: float) -> None:
        """With the clock hours off, what one has renewed serves the other: no round of renewals, and no refusals."""
        async with simulated_portal(QUICK) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            host = host_of(portal, wall_clock=lambda: portal.now() + wrong_by)
            refused = 0

            async def ask(k: Kept) -> None:
                nonlocal refused
                bearer = await k.keeper.bearer()
                if bearer.token.reveal() != portal.portal.live(0).access_token:  # type: ignore[union-attr]
                    refused += 1
                    assert await k.after(bearer) == portal.portal.live(0).access_token  # type: ignore[union-attr]

            async with kept(source, host) as one, kept(source, host) as two:
                for _ in range(300):
                    await ask(one)
                    await ask(two)
                    await anyio.sleep(1)
            assert portal.portal.counts.asked["refresh"] <= 1
            assert refused <= 2
