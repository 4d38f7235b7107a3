"""Agents that are answered by Nous with a login: the supervisor, the SDK, a Portal that rotates, real sockets."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from understudy import (
    AccessRefusedError,
    ActorStoppedError,
    Agent,
    AgentSettings,
    AllRoutesClosedError,
    RouteSettings,
    Settings,
    Supervisor,
    Verdict,
    user,
)
from understudy.actors import CircuitState, HoldEnded
from understudy.credentials import CredentialDied, CredentialRenewed, Life
from understudy.simulation import (
    NOUS_ERRORS,
    Login,
    Lost,
    Phase,
    PortalRules,
    Reset,
    Script,
    SimulatedPortal,
    SimulatedServer,
    Slow,
    Status,
    fingerprint,
    simulated_portal,
    simulated_server,
)
from understudy.supervisor import AccessRefused, Event, Tracer, load, sound, supervise

from .logins import jwt
from .nous import flat, host_of, put, stored
from .over_sockets import route_to

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

RULES = PortalRules(limit=None)
ASK = [user("one two")]


@dataclass
class Scene:
    """A supervisor whose agent has Nous as its primary, and a fallback that answers well."""

    agent: Agent
    supervisor: Supervisor
    portal: SimulatedPortal
    fallback: SimulatedServer | None
    store: Path
    first: Login
    events: list[Event] = field(default_factory=list)

    @property
    def posts(self) -> int:
        """How many renewals the Portal was asked for."""
        return self.portal.portal.counts.asked["refresh"]

    @property
    def calls(self) -> int:
        """How many requests for inference there were."""
        return sum(self.portal.portal.counts.inference.values())

    @property
    def live(self) -> Login:
        """The pair that the Portal gave out last."""
        found = self.portal.portal.live(0)
        assert found is not None
        return found

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def scene(
    folder: Path,
    *,
    rules: PortalRules = RULES,
    script: Script = Script(),  # noqa: B008 - frozen
    alone: bool = False,
    drain_for: float = 2,
    login: dict[str, str] | None = None,
    tracers: Iterable[Tracer] = (),
    **settings: Any,
) -> AsyncIterator[Scene]:
    """Open one for the body of an `async with`."""
    async with AsyncExitStack() as stack:
        portal = await stack.enter_async_context(simulated_portal(rules, script=script))
        fallback = None if alone else await stack.enter_async_context(simulated_server())
        first, store = portal.log_in(), folder / "ours" / "login.json"
        put(store, flat(first, **(login or {})))
        primary = RouteSettings(transport="nous", model="hermes")
        others = () if fallback is None else (route_to("openai", fallback),)
        agents = {
            "deriver": AgentSettings(primary=primary, fallbacks=others),
            "other": AgentSettings(primary=primary.model_copy(update={"model": "another"}), fallbacks=others),
        }
        given = {"nous_oauth_state_path": store, "nous_portal_base_url": portal.portal_url}
        given |= {"nous_base_url": portal.inference_url, **settings}
        plan = sound(load(Settings.in_code(agents=agents, **given)))
        events: list[Event] = []
        supervisor = await stack.enter_async_context(
            supervise(
                plan,
                rand=lambda: 0.5,
                drain_for=drain_for,
                hooks=[events.append],
                host=host_of(portal),
                tracers=tracers,
            )
        )
        yield Scene(supervisor.agent("deriver"), supervisor, portal, fallback, store, first, events)


async def many(agent: Agent, count: int) -> list[str]:
    """Ask so many times at once; return who answered."""
    answered: list[str] = []

    async def ask() -> None:
        answered.append((await agent.complete(ASK)).transport)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(ask)
    return answered


async def test_a_refused_token_is_renewed_and_nobody_notices(tmp_path: Path) -> None:
    """A 401, one renewal, an answer: one attempt in the trail, no hand-over, the pair on disk."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        response = await s.agent.complete(ASK)
        assert (response.transport, len(response.attempts), response.is_fallback) == ("nous", 1, False)
        assert (s.posts, s.calls) == (1, 2)
        assert stored(s.store)["refresh_token"] == s.live.refresh_token
        assert s.portal.portal.counts.inference[fingerprint(s.live.access_token)] == 1
        (health,) = (h for h in s.supervisor.health().values() if h.login is not None)
        assert health.login is not None
        assert (health.login.life, health.login.renewals) == (Life.ALIVE, 1)


@pytest.mark.long
async def test_many_refusals_at_once_are_one_renewal(tmp_path: Path) -> None:
    """200 requests whose token is over at once: one POST, and Nous answers all of them."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        assert await many(s.agent, 200) == ["nous"] * 200
        assert s.posts == 1
        assert s.portal.portal.counts.reuses == 0


async def test_a_stream_is_begun_again_before_its_first_part(tmp_path: Path) -> None:
    """A 401 is the head of a stream: the token is renewed, and the stream comes whole."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        async with s.agent.stream(ASK) as stream:
            text = "".join([piece async for piece in stream.text_stream()])
        assert text
        assert stream.response.transport == "nous"
        assert (s.posts, s.calls) == (1, 2)


async def test_a_token_that_dies_in_the_middle_of_a_stream_is_not_asked_again(tmp_path: Path) -> None:
    """After the first part nothing is renewed for it: the stream goes on, or is interrupted as any other."""
    async with scene(tmp_path) as s:
        async with s.agent.stream(ASK) as stream:
            s.portal.portal.expire_access(0)
            text = "".join([piece async for piece in stream.text_stream()])
        assert text
        assert (s.posts, s.calls) == (0, 1)


@pytest.mark.long
async def test_a_dead_login_asks_nobody_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning with the command to run; 1,000 further requests make no POST and no call, and the fallback answers
    all; a new login on disk is used within 5 s."""
    from understudy.telemetry import LoggingHook

    caplog.set_level(logging.WARNING, logger="understudy")
    async with scene(tmp_path) as s:
        log = LoggingHook()
        s.portal.portal.revoke(0)
        assert (await s.agent.complete(ASK)).is_fallback
        calls = s.calls
        for _ in range(10):
            assert await many(s.agent, 100) == ["openai"] * 100
        await anyio.sleep(30)
        assert (s.posts, s.calls) == (1, calls)
        (died,) = s.told(CredentialDied)
        assert "run `understudy login nous`" in died.reason
        for event in s.told(CredentialDied):
            log(event)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        response = await s.agent.complete(ASK)
        assert "understudy login nous" in response.passed_over[0].reason

        second = s.portal.log_in()
        put(s.store, flat(second))
        await anyio.sleep(5)
        assert not (await s.agent.complete(ASK)).is_fallback
        assert s.posts == 1


async def test_without_a_fallback_a_dead_login_says_what_to_run(tmp_path: Path) -> None:
    """The error of an agent that has nobody else names the command, and no call is made."""
    async with scene(tmp_path, alone=True) as s:
        s.portal.portal.revoke(0)
        with pytest.raises(AccessRefusedError, match="understudy login nous") as first:
            await s.agent.complete(ASK)
        assert first.value.verdict is Verdict.CREDENTIAL
        calls = s.calls
        with pytest.raises(AllRoutesClosedError, match="understudy login nous"):
            await s.agent.complete(ASK)
        assert s.calls == calls


async def test_a_second_refusal_hands_over_and_holds_the_credential(tmp_path: Path) -> None:
    """A fresh token that is refused, too, is no renewal's business: one ERROR, a hold, the fallback, one POST."""
    script = Script.always(NOUS_ERRORS["invalid_token"])
    async with scene(tmp_path, script=script) as s:
        for _ in range(20):
            assert (await s.agent.complete(ASK)).is_fallback
            await anyio.sleep(1)
        assert (s.posts, s.calls) == (1, 2)
        assert len(s.told(AccessRefused)) == 1
        (health,) = (h for h in s.supervisor.health().values() if h.login is not None)
        assert health.credential.hold is CircuitState.OPEN


async def test_another_token_ends_the_hold(tmp_path: Path) -> None:
    """A hold for a token that was refused says nothing about the next one, which somebody else has put there."""
    async with scene(tmp_path, script=Script.sequence(*[NOUS_ERRORS["invalid_token"]] * 2)) as s:
        assert (await s.agent.complete(ASK)).is_fallback
        assert (await s.agent.complete(ASK)).is_fallback
        assert s.calls == 2
        renewed = s.portal.portal.refresh(s.live.refresh_token, "hermes-cli", s.portal.now())
        assert isinstance(renewed, Login)
        put(s.store, {**flat(renewed), "obtained_at": s.portal.now() + 1})
        await anyio.sleep(2.5)
        assert not (await s.agent.complete(ASK)).is_fallback
        assert len(s.told(HoldEnded)) == 1


async def test_a_model_that_alone_is_refused_leaves_the_credential_alone(tmp_path: Path) -> None:
    """An unknown model may be answered with 401: while the token is accepted for others, only that model is refused."""
    script = Script((Phase(NOUS_ERRORS["unknown_free_model"], model="another"),))
    async with scene(tmp_path, script=script) as s:
        assert not (await s.agent.complete(ASK)).is_fallback
        assert (await s.supervisor.agent("other").complete(ASK)).is_fallback
        await anyio.sleep(60)
        for _ in range(5):
            await anyio.sleep(60)
            assert not (await s.agent.complete(ASK)).is_fallback
            assert (await s.supervisor.agent("other").complete(ASK)).is_fallback
        assert s.posts == 1


async def test_an_unknown_model_just_after_a_renewal_holds_nobody_else(tmp_path: Path) -> None:
    """The token was renewed a moment ago, and is accepted: a 401 for another model is that model's."""
    script = Script((Phase(NOUS_ERRORS["unknown_free_model"], model="another"),))
    async with scene(tmp_path, script=script) as s:
        s.portal.portal.expire_access(0)
        assert not (await s.agent.complete(ASK)).is_fallback
        response = await s.supervisor.agent("other").complete(ASK)
        assert (response.is_fallback, response.attempts[0].verdict) == (True, Verdict.NOT_FOUND)
        for _ in range(5):
            assert not (await s.agent.complete(ASK)).is_fallback
        assert s.posts == 1


async def test_closing_in_the_middle_of_a_renewal_waits_for_it(tmp_path: Path) -> None:
    """All callers leave and the supervisor closes while the Portal works: the pair is on disk afterwards."""
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as callers:
            async with scene(tmp_path, drain_for=0) as s:
                s.portal.portal.expire_access(0)
                s.portal.fault("refresh", Slow(before=1, after=2))

                async def ask() -> None:
                    with anyio.move_on_after(0.5):
                        await s.agent.complete(ASK)

                for _ in range(5):
                    tasks.start_soon(ask)
                await anyio.sleep(0.8)
                portal = s.portal.portal
        live = portal.live(0)
        assert live is not None
        assert live.refresh_token != s.first.refresh_token
        assert stored(s.store)["refresh_token"] == live.refresh_token
        assert not callers.cancel_called


async def test_an_error_in_the_block_waits_for_a_renewal_too(tmp_path: Path) -> None:
    """An exception of the user's leaves as it came, after the pair is on disk."""

    class OwnError(Exception):
        pass

    async def ask(agent: Agent) -> None:
        with pytest.raises(ActorStoppedError):
            await agent.complete(ASK)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(OwnError):
            async with scene(tmp_path) as s:
                s.portal.portal.expire_access(0)
                s.portal.fault("refresh", Slow(before=1, after=2))
                tasks.start_soon(ask, s.agent)
                await anyio.sleep(0.5)
                raise OwnError
        live = s.portal.portal.live(0)
        assert live is not None
        assert live.refresh_token != s.first.refresh_token
        assert stored(s.store)["refresh_token"] == live.refresh_token


async def test_a_portal_that_is_down_costs_a_call_no_more_than_its_refusal(tmp_path: Path) -> None:
    """The token is refused and cannot be renewed: requests fall back at once; Nous is back when the Portal is."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        s.portal.fault("refresh", then=Status(429, 0.0, {}, b"<html>", "text/html"))
        for _ in range(10):
            assert (await s.agent.complete(ASK)).is_fallback
        assert s.posts == 1
        s.portal.fault("refresh")
        await anyio.sleep(61)
        assert not (await s.agent.complete(ASK)).is_fallback
        assert s.told(CredentialDied) == []


async def test_a_crash_of_the_actor_loses_no_renewal(tmp_path: Path) -> None:
    """The actor crashes in the middle of a renewal: the pair is on disk, whoever waited is answered, and the next
    incarnation goes on with it."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        s.portal.fault("refresh", Slow(before=1, after=1))
        served: list[str] = []

        async def ask() -> None:
            served.append((await s.agent.complete(ASK)).transport)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.5)
            (actor,) = [a for t, a in s.supervisor._actors.items() if t.credential]
            actor._mailbox.post("nonsense")  # type: ignore[arg-type]
        assert served == ["nous"]
        assert stored(s.store)["refresh_token"] == s.live.refresh_token
        assert s.posts == 1
        await anyio.sleep(60)
        s.portal.portal.expire_access(0)
        assert not (await s.agent.complete(ASK)).is_fallback
        assert s.posts == 2


async def test_a_static_key_is_never_renewed(tmp_path: Path) -> None:
    """With a key, a 401 is the end of the attempt: the Portal is asked nothing, also where a login lies around."""
    async with simulated_portal(RULES) as portal, simulated_server() as fallback:
        store = tmp_path / "login.json"
        put(store, flat(portal.log_in()))
        routes = AgentSettings(
            primary=RouteSettings(transport="nous", model="hermes"), fallbacks=(route_to("openai", fallback),)
        )
        settings = Settings.in_code(
            agents={"deriver": routes},
            nous_auth_mode="static",
            nous_oauth_state_path=store,
            nous_portal_base_url=portal.portal_url,
            nous_base_url=portal.inference_url,
            nous_api_key=SecretStr("sk-wrong"),
        )
        async with supervise(sound(load(settings)), host=host_of(portal)) as supervisor:
            response = await supervisor.agent("deriver").complete(ASK)
            assert (response.is_fallback, response.attempts[0].verdict) == (True, Verdict.AUTH)
            assert portal.received == []


def everything(error: BaseException) -> Iterator[str]:
    """All that an error shows, with the locals of every frame below the test's own."""
    assert error.__traceback__ is not None
    below = error.with_traceback(error.__traceback__.tb_next)
    yield "".join(traceback.TracebackException.from_exception(below, capture_locals=True).format())
    yield repr(error)
    yield repr(vars(error))


async def test_no_token_is_shown_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither tokens nor claims stand in any library's log at DEBUG, in events, health, errors or their tracebacks."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with scene(tmp_path, alone=True) as s:
        tokens = [s.first.access_token, s.first.refresh_token]
        await s.agent.complete(ASK)
        s.portal.portal.expire_access(0)
        await s.agent.complete(ASK)
        tokens += [s.live.access_token, s.live.refresh_token]
        await anyio.sleep(60)
        s.portal.portal.expire_access(0)
        s.portal.fault("refresh", Lost(Reset()))
        for fault in (Status(400, 0.0, {}, json.dumps({"error": tokens[3], "error_description": tokens[2]}).encode()),):
            with pytest.raises(AccessRefusedError) as lost:
                await s.agent.complete(ASK)
            shown += everything(lost.value)
            s.portal.fault("refresh", fault)
            await anyio.sleep(62)
        s.portal.fault("refresh")
        s.portal.portal.revoke(0)
        with pytest.raises(Exception, match="login") as dead:
            await s.agent.complete(ASK)
        shown += everything(dead.value)
        shown += [repr(event) for event in s.events]
        shown += [repr(health) for health in s.supervisor.health().values()]
        shown += [repr(s.supervisor), repr(s.agent), repr(s.supervisor._plan)]
        shown += [repr(endpoint.keeper) for endpoint in s.supervisor._endpoints.values()]
    shown += [record.getMessage() + str(record.exc_text) + repr(record.args) for record in caplog.records]
    claims = ["user-canary", "org-canary"]
    pieces = {token[i : i + 12] for token in tokens for i in range(len(token) - 11)}
    header = {tokens[0][i : i + 12] for i in range(60)} & {tokens[2][i : i + 12] for i in range(60)}
    for text in shown:
        assert not any(claim in text for claim in claims)
        assert not any(piece in text for piece in pieces - header)
    assert caplog.records


async def test_an_answer_that_quotes_the_token_is_masked(tmp_path: Path) -> None:
    """A server that shows the token it refuses, in its head and its body, shows it to nobody."""
    token = jwt(exp=4_000_000_000, iat=1_700_000_000, name="somebody-with-a-name")
    quoting = Status(403, 0.0, {"x-request-id": token}, json.dumps({"message": token}).encode())
    async with simulated_server(Script.always(quoting)) as server:
        url = server.openai_url
        async with scene(tmp_path, alone=True, login={"access_token": token}, nous_base_url=url) as s:
            with pytest.raises(AccessRefusedError) as refused:
                await s.agent.complete(ASK)
            text = "".join(everything(refused.value))
            assert "[secret]" in text
            assert not any(token[i : i + 12] in text for i in range(len(token) - 11))


async def test_renewals_are_told(tmp_path: Path) -> None:
    """One event for each new token: found at the start, renewed since."""
    async with scene(tmp_path) as s:
        s.portal.portal.expire_access(0)
        await s.agent.complete(ASK)
        assert [event.adopted for event in s.told(CredentialRenewed)] == [True, False]
