"""Logging in with a device code, and out: what is on disk, who is asked how often, and what keeps it from beginning."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from understudy._sign_in import sign_in, sign_out
from understudy.credentials import DeviceCode, Life, LoginSource, SignInError, log_in, log_out, look
from understudy.credentials._device import (
    Declined,
    Noise,
    Pace,
    Pending,
    PollMeaning,
    device_meaning,
    poll_meaning,
)
from understudy.credentials._locks import locked
from understudy.credentials._login import Granted
from understudy.credentials._portal_answers import NoAnswer, PortalAnswer
from understudy.credentials._store_fields import unix
from understudy.simulation import (
    EDGE_BLOCK,
    Hang,
    PortalFault,
    PortalRules,
    Reset,
    SimulatedPortal,
    Slow,
    Status,
    html_page,
    simulated_portal,
)

from .nous import again, flat, hermes, host_of, kept, nested, own, put, secret, stored

anyio_sockets = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]
PORTAL = "https://portal.nousresearch.com"
RULES = PortalRules(limit=25)


class Human:
    """Whoever reads the code, and decides after a while; with `decision` None never."""

    def __init__(self, portal: SimulatedPortal, decision: Any = "approved", *, after: float = 12.0) -> None:
        self._portal, self._decision, self._after = portal, decision, after
        self.seen: list[DeviceCode] = []
        self.tasks: anyio.abc.TaskGroup | None = None

    async def __call__(self, code: DeviceCode) -> None:
        """Read it."""
        self.seen.append(code)
        if self._decision is not None and self.tasks is not None:
            self.tasks.start_soon(self._decide, code.user_code)

    async def _decide(self, user_code: str) -> None:
        await anyio.sleep(self._after)
        self._portal.portal.decide(user_code, self._decision)


def nested_anthropic() -> dict[str, Any]:
    """Return an `auth.json` of Hermes Agent's without a login to Nous."""
    return {"version": 1, "providers": {"anthropic": {"key": "of somebody else"}}}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a lock every half second: the clock gives the kernel a moment for each time."""
    monkeypatch.setattr("understudy.credentials._locks.POLL_EVERY", 0.5)


async def peer(source: LoginSource, seconds: float, after: float = 5) -> None:
    """Hold the lock of a login, as another process does."""
    await anyio.sleep(after)
    async with locked([Path(source.store).with_suffix(".lock")], within=1):
        await anyio.sleep(seconds)


async def signed_in(source: LoginSource, portal: SimulatedPortal, human: Human) -> float:
    """Log in; return how long it took."""
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        human.tasks = tasks
        await log_in(source, host_of(portal), human)
    return anyio.current_time() - began


class TestOverSockets:
    """With a Portal that rotates."""

    pytestmark = anyio_sockets

    async def test_an_approved_login_is_kept_and_serves(self, tmp_path: Path) -> None:
        """It is asked every 5 s, kept with its age, and used from then on."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            human = Human(portal)
            assert await signed_in(source, portal, human) == pytest.approx(15, abs=0.5)
            assert portal.portal.counts.asked == {"device": 1, "poll": 3}
            assert human.seen[0].complete_url.startswith(portal.portal_url)
            health = look(source, host_of(portal))
            assert (health.life, round(health.days_left or 0)) == (Life.ALIVE, 30)
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]
                await anyio.sleep(60)
                portal.portal.expire_access(0)
                await k.after(await k.keeper.bearer())
            assert stored(source.store)["grant_issued_at"]  # a renewal keeps it

    @pytest.mark.parametrize(
        "faults",
        [[html_page(429)], [EDGE_BLOCK], [Reset()], [Status(503, 0.0, {}, b"{}")], [Hang()], [html_page(502)] * 4],
        ids=["limit", "edge", "reset", "503", "hang", "502 x 4"],
    )
    async def test_noise_on_the_way_costs_no_approval(self, tmp_path: Path, faults: list[PortalFault]) -> None:
        """A page, a limit, no answer: the code stays good, and is asked for again with patience."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            portal.fault("poll", *faults)
            await signed_in(source, portal, Human(portal))
            assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        ("decision", "reason"),
        [("denied", "declined at the Portal"), (None, "nobody approved the code in time")],
    )
    async def test_without_an_approval_nothing_is_kept(self, tmp_path: Path, decision: Any, reason: str) -> None:
        """Declined, or not decided until the code is over."""
        async with simulated_portal(replace(RULES, device_for=60.0)) as portal:
            source = own(tmp_path, portal)
            with pytest.raises(SignInError, match=reason):
                try:
                    await signed_in(source, portal, Human(portal, decision))
                except ExceptionGroup as group:
                    raise group.exceptions[0] from None
            assert not Path(source.store).exists()

    async def test_the_old_login_stays_until_there_is_a_new_one(self, tmp_path: Path) -> None:
        """Whoever is cancelled while the code waits has the login of before; a new one replaces it, key and all."""
        async with simulated_portal(RULES) as portal:
            first, source = portal.log_in(), own(tmp_path, portal)
            put(source.store, flat(first, agent_key="nak_old", kept="yes"))
            with anyio.move_on_after(30):
                await log_in(source, host_of(portal), Human(portal, None))
            assert stored(source.store)["refresh_token"] == first.refresh_token
            await signed_in(source, portal, Human(portal))
            document = stored(source.store)
            assert document["refresh_token"] == portal.portal.live(1).refresh_token  # type: ignore[union-attr]
            assert document["kept"] == "yes"
            assert "agent_key" not in document

    async def test_cancelled_after_the_portal_gave_a_pair_it_is_on_disk(self, tmp_path: Path) -> None:
        """The lock is held by somebody at that moment: the pair waits for it, whoever is cancelled."""
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            source = own(tmp_path, portal)

            human = Human(portal)
            human.tasks = tasks
            began = anyio.current_time()
            tasks.start_soon(peer, source, 45)
            with anyio.move_on_after(20):
                await log_in(source, host_of(portal), human)
            assert anyio.current_time() - began == pytest.approx(50, abs=0.5)
            document = stored(source.store)
            assert document["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]
            assert document["obtained_at"] == document["grant_issued_at"]  # later than all that was renewed meanwhile
            assert unix(document["obtained_at"]) == pytest.approx(portal.now(), abs=1)

    async def test_cancelled_while_the_grant_is_on_its_way_it_is_kept(self, tmp_path: Path) -> None:
        """The Portal has given a pair, and whoever asked is cancelled before it arrives: it is on disk all the same."""
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            source, human = own(tmp_path, portal), Human(portal)
            human.tasks = tasks
            portal.fault("poll", then=Slow(after=2))
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    while not portal.portal._families:  # noqa: ASYNC110 - it is the Portal's own state
                        await anyio.sleep(0.1)
                    scope.cancel()

                tasks.start_soon(cancel)
                await log_in(source, host_of(portal), human)
            assert stored(source.store)["refresh_token"] == portal.portal.live(0).refresh_token  # type: ignore[union-attr]

    @pytest.mark.parametrize("content", ['{"auth_method": "anonymous", "anon_token": "g"}', '{"access_tok'])
    async def test_what_becomes_of_the_shared_store_meanwhile_costs_no_login(
        self, tmp_path: Path, content: str
    ) -> None:
        """A guest, or half a file, where the shared pair was when it began: the local store has the new one."""
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            human = Human(portal)
            human.tasks = tasks

            async def spoil() -> None:
                await anyio.sleep(7)
                assert source.hermes is not None
                put(source.hermes.shared, content)

            tasks.start_soon(spoil)
            await log_in(source, host_of(portal), human)
            nous = stored(source.hermes.profile)["providers"]["nous"]
            assert nous["refresh_token"] == portal.portal.live(1).refresh_token  # type: ignore[union-attr]
            assert Path(source.hermes.shared).read_text() == content

    async def test_certificates_that_vanish_meanwhile_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between showing the code and asking for it the bundle became unreadable: one line, no traceback."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)

            async def show(_: DeviceCode) -> None:
                monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
                monkeypatch.setattr("understudy.credentials._portal.Portal._client", unreadable)

            def unreadable(_: Any) -> None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(tmp_path / "gone.pem"))

            with pytest.raises(SignInError, match="SSL_CERT_DIR: No such file or directory; name a file that can be"):
                await log_in(source, host_of(portal), show)

    @pytest.mark.parametrize("document", [{"name": "package", "version": "1"}, nested_anthropic()])
    async def test_another_programs_file_is_neither_written_nor_removed(
        self, tmp_path: Path, document: dict[str, Any]
    ) -> None:
        """NOUS_OAUTH_STATE_PATH names a file that is not a login of ours: it is left as it is, and named."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            put(source.store, document)
            with pytest.raises(SignInError, match=r"another program's.*NOUS_OAUTH_STATE_PATH"):
                await log_in(source, host_of(portal), Human(portal))
            with pytest.raises(SignInError, match=r"another program's: check NOUS_OAUTH_STATE_PATH"):
                await log_out(source, host_of(portal))
            health = look(source, host_of(portal))
            assert (health.life, "another program's" in health.reason) == (Life.DEAD, True)
            assert stored(source.store) == document
            assert portal.received == []

    async def test_logging_out_removes_what_a_killed_process_left(self, tmp_path: Path) -> None:
        """A draft beside the store may hold a pair."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            left = put(Path(source.store).parent / ".login.json.0123456789abcdef.tmp", flat(portal.log_in()))
            other = put(Path(source.store).parent / ".other.json.0123456789abcdef.tmp", "kept")
            assert await log_out(source, host_of(portal))
            assert (left.exists(), other.exists()) == (False, True)

    async def test_hermes_agents_file_is_begun_as_hermes_agent_does(self, tmp_path: Path) -> None:
        """Where there is no `auth.json` yet, the new one has its providers."""
        async with simulated_portal(RULES) as portal:
            source = hermes(tmp_path, portal)
            assert source.hermes is not None
            Path(source.hermes.profile).parent.mkdir()
            await signed_in(source, portal, Human(portal))
            live = portal.portal.live(0)
            assert live is not None
            document = stored(source.hermes.profile)
            assert document["providers"]["nous"]["refresh_token"] == live.refresh_token
            assert "access_token" not in document

    async def test_it_is_told_who_ended_a_login(self, tmp_path: Path) -> None:
        """The Portal did, some time ago: whoever looks later is not told that nobody ever logged in."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            portal.portal.revoke(0)
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.after(await k.keeper.bearer()) == "revoked"
            assert "the Portal says that the login is over" in look(source, host_of(portal)).reason
            async with kept(source, host_of(portal), watches=False) as k:
                assert await k.token() == "revoked"
            assert portal.portal.counts.asked["refresh"] == 1

    async def test_a_new_refresh_token_begins_a_login_whatever_was_spent_before(self, tmp_path: Path) -> None:
        """The one that was used begins none again, and says so."""
        async with simulated_portal(RULES) as portal:
            first = portal.log_in()
            source = again(own(tmp_path, portal), refresh_token=secret(first.refresh_token))
            host = host_of(portal)
            async with kept(source, host, watches=False) as k:
                assert await k.token() == portal.portal.live(0).access_token  # type: ignore[union-attr]
            await log_out(source, host)
            used = look(source, host)
            assert (used.life, "NOUS_REFRESH_TOKEN was used before" in used.reason) == (Life.DEAD, True)
            fresh = again(source, refresh_token=secret(portal.log_in().refresh_token))
            assert look(fresh, host).life is Life.ALIVE

    async def test_a_lock_that_is_never_free_loses_a_login_in_so_many_words(self, tmp_path: Path) -> None:
        """After a minute it is given up, also by whoever was cancelled; what stands there is as it was."""
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            before = stored(source.store)
            human = Human(portal)
            human.tasks = tasks
            began = anyio.current_time()
            tasks.start_soon(peer, source, 600)
            with pytest.raises(SignInError, match=r"the new login is lost: .*login\.lock was held by another process"):
                with anyio.move_on_after(20):
                    await log_in(source, host_of(portal), human)
            assert anyio.current_time() - began == pytest.approx(75, abs=0.5)
            assert stored(source.store) == before
            tasks.cancel_scope.cancel()

    async def test_nobody_is_asked_while_the_lock_is_held(self, tmp_path: Path) -> None:
        """A process that renews is waited for; one that hangs is named, before anybody approves anything."""
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            source = own(tmp_path, portal)
            tasks.start_soon(peer, source, 600, 0)
            await anyio.sleep(0.1)
            with pytest.raises(SignInError, match=r"login\.lock was held by another process for 20 s; end it"):
                await log_in(source, host_of(portal), Human(portal))
            assert portal.received == []
            tasks.cancel_scope.cancel()

    async def test_hermes_agents_login_is_renewed_in_its_place(self, tmp_path: Path) -> None:
        """Both of its stores get the new pair; its own fields stay; its age is remembered beside ours."""
        async with simulated_portal(RULES) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            await signed_in(source, portal, Human(portal))
            live = portal.portal.live(1)
            assert live is not None
            document, shared = stored(source.hermes.profile), stored(source.hermes.shared)
            assert document["providers"]["nous"]["refresh_token"] == shared["refresh_token"] == live.refresh_token
            assert document["active_provider"] == "anthropic"
            assert "grant_issued_at" not in {**document["providers"]["nous"], **shared}
            assert round(look(source, host_of(portal)).days_left or 0) == 30
            with pytest.raises(SignInError, match="Hermes Agent's"):
                await log_out(source, host_of(portal))

    @pytest.mark.parametrize(
        ("content", "said"),
        [("{", "not JSON"), ({"auth_method": "anonymous", "anon_token": "g"}, "anonymous"), ("", "empty")],
    )
    async def test_nobody_is_asked_for_a_store_that_cannot_be_used(
        self, tmp_path: Path, content: Any, said: str
    ) -> None:
        """A store that is not understood is never written over; it is told before a code is asked for."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            put(source.store, content)
            with pytest.raises(SignInError, match=said):
                await log_in(source, host_of(portal), Human(portal))
            assert portal.received == []

    async def test_nobody_is_asked_for_a_store_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk is found out before anybody approves anything."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)

            def full(*_: Any) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(os, "posix_fallocate", full)
            with pytest.raises(SignInError, match="No space left on device; free some space"):
                await log_in(source, host_of(portal), Human(portal))
            assert portal.received == []

    async def test_a_shared_store_that_cannot_be_written_is_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hermes Agent would bring the old login back from it; the new one is in its `auth.json`."""
        async with simulated_portal(RULES) as portal:
            first, source = portal.log_in(), hermes(tmp_path, portal)
            assert source.hermes is not None
            put(source.hermes.profile, nested(first))
            put(source.hermes.shared, flat(first))
            real = os.replace

            def fails(temporary: Any, target: Any) -> None:
                if target.name == "nous_auth.json":
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                real(temporary, target)

            monkeypatch.setattr(os, "replace", fails)
            await signed_in(source, portal, Human(portal))
            live = portal.portal.live(1)
            assert live is not None
            assert stored(source.hermes.profile)["providers"]["nous"]["refresh_token"] == live.refresh_token
            assert not Path(source.hermes.shared).exists()

    async def test_logging_out_forgets_the_login(self, tmp_path: Path) -> None:
        """The file is gone, a running keeper is told at its next renewal, and a spent token is never posted again."""
        async with simulated_portal(RULES) as portal:
            source = own(tmp_path, portal)
            put(source.store, flat(portal.log_in()))
            assert await log_out(source, host_of(portal)) is True
            assert not Path(source.store).exists()
            assert await log_out(source, host_of(portal)) is False
            async with locked([Path(source.store).with_suffix(".lock")], within=1):
                with pytest.raises(SignInError, match="another process"):
                    await log_out(source, host_of(portal))

    @pytest.mark.parametrize("json_", [False, True])
    async def test_what_a_person_sees(
        self, tmp_path: Path, json_: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The page, the code, and where the login is kept; with `--open` the page in a browser; then logging out."""
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        async with simulated_portal(RULES) as portal, anyio.create_task_group() as tasks:
            source = own(tmp_path, portal)

            async def approve() -> None:
                while not portal.portal._devices:  # noqa: ASYNC110 - it is asked for by the other side
                    await anyio.sleep(1)
                (device,) = portal.portal._devices.values()
                portal.portal.decide(device.user_code, "approved")

            tasks.start_soon(approve)
            await sign_in(source, host_of(portal), json_=json_, opens=True)
            await sign_out(source, host_of(portal), json_=json_)
            await sign_out(source, host_of(portal), json_=json_)
        told = capsys.readouterr().out
        (device,) = portal.portal._devices.values()
        assert opened[0].endswith(f"user_code={device.user_code}")
        if json_:
            lines = [json.loads(line) for line in told.splitlines()]
            assert [line["event"] for line in lines] == ["approve", "logged_in", "logged_out", "logged_out"]
            assert [line["was_logged_in"] for line in lines[2:]] == [True, False]
            return
        assert f"code: {device.user_code}\n" in told
        assert "within 10 minutes" in told
        assert told.endswith(
            f"logged in; the login is kept in {source.store}\n"
            f"logged out; {source.store} is removed\n"
            "nobody was logged in\n"
        )

    async def test_a_wrong_client_is_told(self, tmp_path: Path) -> None:
        """The Portal's refusal in words."""
        async with simulated_portal(replace(RULES, client_id="another")) as portal:
            with pytest.raises(SignInError, match="does not know our client id"):
                await log_in(own(tmp_path, portal), host_of(portal), Human(portal))


def test_how_a_login_stands_without_asking(tmp_path: Path) -> None:
    """`look` reads the stores: nobody, a corrupt file, a token that is over, one that cannot be renewed."""

    class Clock:
        portal_url = "http://127.0.0.1:1"

        @staticmethod
        def now() -> float:
            return 1_800_000_000.0

    portal: Any = Clock()
    source, host = own(tmp_path, portal), host_of(portal)
    assert look(source, host).life is Life.DEAD
    assert "nobody is logged in" in look(source, host).reason
    begins = look(replace(source, refresh_token=secret("rt")), host)
    assert (begins.life, begins.reason) == (Life.ALIVE, "begins with NOUS_REFRESH_TOKEN at its first use")
    put(source.store, "{")
    assert "not JSON" in look(source, host).reason
    over = {"access_token": "a.b.c", "refresh_token": "rt", "expires_at": "2020-01-01T00:00:00"}
    put(source.store, over)
    assert (look(source, host).life, look(source, host).expires_in) == (Life.ALIVE, None)
    put(source.store, {**over, "refresh_token": ""})
    assert (look(source, host).life, "cannot be renewed" in look(source, host).reason) == (Life.DEAD, True)


def answer(status: int, body: str, retry_after: float | None = None) -> PortalAnswer:
    """Return an answer of the Portal."""
    return PortalAnswer(status, body.encode(), retry_after)


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        (answer(400, '{"error": "authorization_pending"}'), Pending()),
        (answer(400, '{"error": "slow_down"}'), Pending(slower=True)),
        (answer(400, '{"error": "access_denied"}'), Declined("the login was declined at the Portal")),
        (answer(400, '{"error": "expired_token"}'), Declined("nobody approved the code in time")),
        (answer(401, '{"error": "invalid_client"}'), Declined("the Portal does not know our client id")),
        (answer(400, '{"error": "something_new"}'), Noise()),
        (answer(429, "<html>", 17.0), Noise(17.0)),
        (answer(503, '{"error": "access_denied"}'), Noise()),
        (answer(200, "{}"), Noise()),
        (answer(200, '{"access_token": "a"}'), Declined("the Portal gave no refresh token")),
        (NoAnswer(was_sent=True), Noise()),
    ],
)
def test_what_a_poll_is_answered(given: PortalAnswer | NoAnswer, meaning: PollMeaning) -> None:
    """Only an answer in so many words ends the waiting."""
    assert poll_meaning(given) == meaning


def test_a_granted_poll() -> None:
    """A pair is a pair."""
    granted = poll_meaning(answer(200, '{"access_token": "a", "refresh_token": "r", "expires_in": 3600}'))
    assert isinstance(granted, Granted)


def device(
    url: str = f"{PORTAL}/device", full: str = f"{PORTAL}/device?user_code=U", user: str = "U", **more: Any
) -> PortalAnswer:
    """Return an answer with a device code."""
    said = {"device_code": "d", "user_code": user, "verification_uri": url, "verification_uri_complete": full, **more}
    return answer(200, json.dumps(said))


@pytest.mark.parametrize(
    ("more", "interval", "expires_in"),
    [
        ({"interval": 1, "expires_in": 900}, 5.0, 900.0),
        ({"interval": 7, "expires_in": "60"}, 7.0, 60.0),
        ({}, 5.0, 600.0),
    ],
)
def test_a_device_code_is_polled_every_five_seconds_at_most(
    more: dict[str, Any], interval: float, expires_in: float
) -> None:
    """Whatever the Portal says: a shorter interval meets its own limit."""
    code = device_meaning(device(**more), PORTAL)
    assert isinstance(code, DeviceCode)
    assert (code.interval, code.expires_in) == (interval, expires_in)


@pytest.mark.parametrize(
    "given",
    [
        device(url="https://evil.test/device"),
        device(full="https://evil.test/device?user_code=U"),
        device(url="http://portal.nousresearch.com/device"),
        device(full="javascript:alert(1)"),
        device(full="https://portal.nousresearch.com@evil.test/"),
        device(user="\x1b[2J"),
        answer(200, "{}"),
        answer(200, "<html>"),
        answer(429, "<html>"),
        answer(400, '{"error": "invalid_scope"}'),
        NoAnswer(was_sent=False),
    ],
)
def test_a_page_elsewhere_is_shown_to_nobody(given: PortalAnswer | NoAnswer) -> None:
    """Only the Portal's own https page; what is no code is told."""
    assert isinstance(device_meaning(given, PORTAL), Declined)


def test_the_pace_of_polls() -> None:
    """`slow_down` adds five seconds for good; noise doubles the wait up to a minute, and an answer ends that."""
    pace, wait = Pace(5.0).after(Pending())
    assert (pace, wait) == (Pace(5.0), 5.0)
    pace, wait = pace.after(Pending(slower=True))
    assert (pace, wait) == (Pace(10.0), 10.0)
    waits = []
    for _ in range(6):
        pace, wait = pace.after(Noise())
        waits.append(wait)
    assert waits == [10.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert pace.after(Noise(90.0))[1] == 60.0
    assert pace.after(Pending()) == (Pace(10.0), 10.0)
