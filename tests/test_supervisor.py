"""The supervisor: shared endpoints, life and death of actors, and what leaves its block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pydantic import SecretStr

import understudy
from understudy import (
    ActorStoppedError,
    AgentSettings,
    AllAttemptsFailedError,
    ConfigurationError,
    RouteSettings,
    Settings,
    UnderstudyError,
    Verdict,
)
from understudy.actors import CircuitState, CircuitTripped, Message, Phase
from understudy.providers import Provider, Request, Response, Target
from understudy.simulation import Answer, Behaviour, Hang, Script, Status, World
from understudy.supervisor import ActorRestarted, Event

from .fakes import Fake
from .scenario import ask, chain, opened

pytestmark = pytest.mark.anyio

NAME = "openai at http://openai.test/v1"


class OwnError(Exception):
    """An exception of the user's."""


async def test_an_exception_of_the_body_leaves_unwrapped() -> None:
    """What the user raises inside the block is what comes out of it."""
    mine = OwnError("mine")
    with pytest.raises(OwnError) as caught:
        async with opened({"openai": Script()}):
            raise mine
    assert caught.value is mine
    assert caught.value.__cause__ is None


async def test_an_exception_of_the_body_ends_calls_in_flight_at_once() -> None:
    """Nobody waits for a drain when the block is left by an error; the callers are told."""
    errors: list[BaseException] = []

    async def call(agent: understudy.Agent) -> None:
        try:
            await ask(agent)
        except ActorStoppedError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(OwnError):
            async with opened({"openai": Script.always(Hang()), "anthropic": Script()}) as (agent, _, world):
                tasks.start_soon(call, agent)
                await anyio.wait_all_tasks_blocked()
                raise OwnError
    (error,) = errors
    assert isinstance(error, ActorStoppedError)
    assert [attempt.verdict for attempt in error.attempts] == [Verdict.STOPPED]
    assert anyio.current_time() == 0
    assert world.providers[1].open is False
    assert world.log("anthropic") == []  # shutting down sends nothing to the fallback


async def test_leaving_in_order_waits_for_calls_in_flight() -> None:
    """Calls have `drain_for` seconds to end; new ones are refused meanwhile."""
    answers: list[str] = []

    async def call(agent: understudy.Agent) -> None:
        answers.append((await ask(agent)).text)

    async with anyio.create_task_group() as tasks:
        async with opened({"openai": Script.always(Answer("done", after=20))}) as (agent, _, _):
            tasks.start_soon(call, agent)
            await anyio.wait_all_tasks_blocked()
        assert anyio.current_time() == 20
        with pytest.raises(ActorStoppedError, match="closed or closing"):
            await ask(agent)
    assert answers == ["done"]


async def test_leaving_in_order_waits_no_longer_than_the_drain() -> None:
    """What has not ended after `drain_for` is ended, and told so."""
    async with anyio.create_task_group() as tasks:
        async with opened({"openai": Script.always(Hang())}, drain_for=7) as (agent, _, _):

            async def call() -> None:
                with pytest.raises(ActorStoppedError):
                    await ask(agent)
                assert anyio.current_time() == 7

            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
    assert anyio.current_time() == 7


async def test_a_cancelled_block_closes_everything() -> None:
    """Cancelled from outside, the supervisor closes its clients and swallows nothing."""
    with anyio.move_on_after(5) as scope:
        async with opened({"openai": Script.always(Hang())}) as (agent, _, world):
            await ask(agent)
    assert scope.cancelled_caught
    assert not world.providers[0].open
    assert anyio.current_time() == 5


async def test_cancelled_while_draining_it_still_closes() -> None:
    """A drain that is cancelled ends at once what is in flight."""
    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(5):
            async with opened({"openai": Script.always(Hang())}) as (agent, _, world):

                async def call() -> None:
                    with pytest.raises(ActorStoppedError):
                        await ask(agent)

                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
        assert not world.providers[0].open
    assert anyio.current_time() == 5


async def test_agents_share_an_endpoint_and_another_key_makes_another() -> None:
    """Transport, base URL and credential make an endpoint; each has one client."""
    world = World({})
    shared = RouteSettings(transport="openai", model="a", base_url="http://one.test/v1")
    agents = {
        "deriver": AgentSettings(primary=shared),
        "summary": AgentSettings(primary=shared.model_copy(update={"model": "b"})),
        "dream": AgentSettings(primary=RouteSettings(transport="openai", model="a", base_url="http://two.test/v1")),
        "chat": AgentSettings(
            primary=RouteSettings(
                transport="openai", model="a", base_url="http://one.test/v1/", api_key=SecretStr("another")
            )
        ),
    }
    async with understudy.open_supervisor(Settings.in_code(agents=agents), connect=world.connect) as supervisor:
        assert len(world.providers) == 3
        one, two = "openai at http://one.test/v1", "openai at http://two.test/v1"
        assert sorted(supervisor.health()) == [one, f"{one} #2", two]
        assert supervisor.agents == ("deriver", "summary", "dream", "chat")
        assert supervisor.agent("deriver") is supervisor.agent("deriver")


async def test_an_unknown_agent_names_those_that_are_configured() -> None:
    """Asking for an agent that is not there says what is."""
    async with opened({"openai": Script()}) as (_, supervisor, _):
        with pytest.raises(ConfigurationError, match="did you mean 'deriver'") as caught:
            supervisor.agent("derriver")
        assert supervisor.agent("DERIVER") is supervisor.agent("deriver")
    assert "use one of: deriver" in str(caught.value)


def crashes(caplog: pytest.LogCaptureFixture) -> int:
    """Return how many crashes were logged; on a busy machine a hook may be told to be slow beside them."""
    return sum(record.getMessage().startswith("actor_crashed ") for record in caplog.records)


async def crash(supervisor: understudy.Supervisor) -> None:
    """Send the one actor a message that no handler knows."""
    (actor,) = supervisor._actors.values()
    with pytest.raises(ActorStoppedError):
        await actor.ask(cast(Message, "no such message"))


async def test_a_crash_touches_no_call_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    """The actor is started again after 0.1 s or less; the call goes on, and so does the next one."""
    async with opened({"openai": Script.always(Answer("hi", after=9))}) as (agent, supervisor, world):
        answers: list[str] = []

        async def call() -> None:
            answers.append((await ask(agent)).text)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            with caplog.at_level(logging.CRITICAL):
                await crash(supervisor)
            assert supervisor.health()[NAME].in_flight == 1
            tasks.start_soon(call)
        assert answers == ["hi", "hi"]
        assert supervisor.health()[NAME].succeeded == 2
        assert len(world.providers) == 1


async def test_a_crash_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line names the endpoint, the error, and when the actor starts again."""
    async with opened({"openai": Script()}) as (_, supervisor, _):
        await crash(supervisor)
        await anyio.sleep(1)
    (record,) = (record for record in caplog.records if record.name == "understudy")
    assert record.getMessage() == (
        "actor_crashed endpoint='openai at http://openai.test/v1' error='ExceptionGroup' restart_in=0.1 dead=False"
    )


async def test_an_actor_that_crashes_too_often_is_routed_around(caplog: pytest.LogCaptureFixture) -> None:
    """After the sixth crash in 30 s the endpoint is dead for five minutes; then it is tried again."""
    scripts = {"openai": Script.always(Answer("lead")), "anthropic": Script.always(Answer("understudy"))}
    async with opened(scripts) as (agent, supervisor, _):
        target = next(target for target in supervisor._actors if target.transport == "openai")
        for _ in range(6):
            with pytest.raises(ActorStoppedError):
                await supervisor._actors[target].ask(cast(Message, "no such message"))
            await anyio.sleep(4)
        assert supervisor.health()[NAME].phase is Phase.DEAD
        response = await ask(agent)
        assert response.text == "understudy"
        assert [route.reason for route in response.passed_over] == ["its actor crashed too often"]
        await anyio.sleep(300)
        assert (await ask(agent)).text == "lead"
    assert crashes(caplog) == 6


async def test_a_crash_while_stopping_does_not_keep_it_open(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the actor does, the block is left with every client closed."""
    async with opened({"openai": Script()}) as (_, supervisor, world):
        await crash(supervisor)
    assert not world.providers[0].open
    assert crashes(caplog) == 1


async def test_a_crash_while_draining_touches_no_call_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on to its end within the drain, although the actor that drained is gone."""
    answers: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with opened({"openai": Script.always(Answer("done", after=20))}) as (agent, supervisor, _):

            async def call() -> None:
                answers.append((await ask(agent)).text)

            async def crash_later() -> None:
                await anyio.sleep(5)
                await crash(supervisor)

            tasks.start_soon(call)
            tasks.start_soon(crash_later)
            await anyio.wait_all_tasks_blocked()
        assert anyio.current_time() == 20
    assert answers == ["done"]
    assert crashes(caplog) == 1


class Slow(Fake):
    """A provider that is slow to let go: a call takes a second to be cancelled. Closing may fail."""

    def __init__(self, target: Target, *, fails: bool = False) -> None:
        self.transport, self.fails, self.open = target.transport, fails, True

    async def complete(self, request: Request) -> Response:
        try:
            await anyio.sleep_forever()
            raise AssertionError
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    async def aclose(self) -> None:
        self.open = False
        if self.fails:
            raise RuntimeError("cannot close")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("how", ["raised", "cancelled twice"])
async def test_task_cancel_while_closing_leaves_no_client_open(how: str) -> None:
    """asyncio's own cancellation knows no shield; the clients are closed in tasks that it does not reach."""
    made: list[Slow] = []
    calls: list[asyncio.Task[Response]] = []

    def connect(target: Target) -> Provider:
        made.append(Slow(target))
        return made[-1]

    async def use() -> None:
        settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
        async with understudy.open_supervisor(settings, connect=connect) as supervisor:
            calls.append(asyncio.create_task(ask(supervisor.agent("deriver"))))
            await anyio.sleep(0.1)
            if how == "raised":
                raise OwnError

    task = asyncio.create_task(use())
    await anyio.sleep(0.5)
    task.cancel()
    await anyio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task, *calls])
    assert [provider.open for provider in made] == [False, False]
    assert isinstance(calls[0].exception(), ActorStoppedError)


@pytest.mark.parametrize("how", ["cancelled", "raised", "in order"])
async def test_a_client_that_fails_to_close_hurts_nobody_else(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The other clients are closed, the user's own exception or cancellation stays what it was, and the log says so."""
    made: list[Slow] = []

    def connect(target: Target) -> Provider:
        made.append(Slow(target, fails=target.transport == "openai"))
        return made[-1]

    settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
    with anyio.move_on_after(1) as scope, suppress(OwnError):
        async with understudy.open_supervisor(settings, connect=connect):
            if how == "cancelled":
                await anyio.sleep_forever()
            if how == "raised":
                raise OwnError
    assert scope.cancelled_caught == (how == "cancelled")
    assert [provider.open for provider in made] == [False, False]
    assert [record.getMessage() for record in caplog.records] == [
        "close_failed endpoint='openai at http://openai.test/v1' error='RuntimeError'"
    ]


async def test_a_client_that_cannot_be_opened_is_a_configuration_error() -> None:
    """Every endpoint that could not be opened is named, with what to do about it; those that could are closed."""

    def connect(target: Target) -> Provider:
        if target.transport == "openai":
            raise PermissionError(13, "Permission denied", "/etc/certificates.pem")
        if target.transport == "anthropic":
            raise ModuleNotFoundError("No module named 'anthropic'", name="anthropic")
        return world.connect(target)

    world = World({})
    settings = Settings.in_code(agents={"deriver": chain("gemini", "openai", "anthropic")})
    with pytest.raises(ConfigurationError) as caught:
        async with understudy.open_supervisor(settings, connect=connect):
            raise AssertionError("the body must not begin")
    assert "Permission denied: /etc/certificates.pem" in str(caught.value)
    assert "pip install anthropic" in str(caught.value)
    assert len(caught.value.problems) == 2
    assert [provider.open for provider in world.providers] == [False]


async def test_use_from_another_thread_is_a_clear_error() -> None:
    """Neither a thread without a loop nor one with another loop may use a supervisor."""
    async with opened({"openai": Script()}) as (agent, supervisor, _):

        def elsewhere() -> str:
            for act in (supervisor.health, lambda: supervisor.reset("openai")):
                with pytest.raises(RuntimeError, match="belongs to another event loop or thread"):
                    act()
            with pytest.raises(RuntimeError, match="belongs to another event loop or thread") as caught:
                anyio.run(ask, agent)
            return str(caught.value)

        assert "one supervisor per loop" in await anyio.to_thread.run_sync(elsewhere)


class Buggy(Fake):
    """A provider with a bug."""

    async def complete(self, request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise KeyError("no such thing")

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


async def test_a_bug_of_ours_is_handed_over_and_told_as_ours() -> None:
    """An exception that no provider should raise costs the caller no answer and blames no provider."""
    world = World({"anthropic": Script.always(Answer("hello"))})

    def connect(target: Target) -> Provider:
        return Buggy() if target.transport == "openai" else world.connect(target)

    settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
    async with understudy.open_supervisor(settings, connect=connect) as supervisor:
        response = await ask(supervisor.agent("deriver"))
        health = supervisor.health()[NAME]
    assert response.text == "hello"
    assert response.attempts[0].verdict is Verdict.INTERNAL
    assert "KeyError" in response.attempts[0].reason
    assert (health.failed, health.neutral) == (0, 1)


@pytest.mark.parametrize("between", [None, Status(503)])
async def test_a_request_that_met_two_bugs_of_ours_is_given_to_nobody_else(between: Behaviour | None) -> None:
    """What breaks two adapters may break all: the third route is asked after one bug, never after two (R-SUP-4)."""
    names = ("openai", "gemini", "anthropic") if between is None else ("openai", "nous", "gemini", "anthropic")
    world = World({"anthropic": Script.always(Answer("hello")), "nous": Script.always(between or Hang())})

    def connect(target: Target) -> Provider:
        return Buggy() if target.transport in {"openai", "gemini"} else world.connect(target)

    settings = Settings.in_code(agents={"deriver": chain(*names)})
    async with understudy.open_supervisor(settings, connect=connect) as supervisor:
        with pytest.raises(AllAttemptsFailedError, match=r"(?s)internal: KeyError.*internal: KeyError") as caught:
            await ask(supervisor.agent("deriver"))
        verdicts = [attempt.verdict for attempt in caught.value.attempts]
        assert verdicts.count(Verdict.INTERNAL) == 2
        assert [attempt.transport for attempt in caught.value.attempts] == list(names[:-1])
        assert world.log("anthropic") == []
        assert all(health.in_flight == 0 for health in supervisor.health().values())
        assert sum(health.failed for health in supervisor.health().values()) == (between is not None)


async def test_an_error_of_this_machine_is_raised_as_it_is() -> None:
    """A file that cannot be read is nobody's fault out there: nobody else is asked."""

    class Disk(Buggy):
        async def complete(self, request: Request) -> Response:
            raise FileNotFoundError(2, "No such file or directory", "/ca.pem")

    settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
    async with understudy.open_supervisor(settings, connect=lambda _: Disk()) as supervisor:
        with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
            await ask(supervisor.agent("deriver"))
        assert supervisor.health()[NAME].in_flight == 0


async def test_use_without_any_loop_is_the_same_clear_error() -> None:
    """A coroutine that is driven by hand, outside of every loop, is told where it belongs."""
    async with opened({"openai": Script()}) as (agent, _, _):

        def by_hand() -> None:
            with pytest.raises(RuntimeError, match="belongs to another event loop or thread"):
                agent.complete("hi").send(None)

        await anyio.to_thread.run_sync(by_hand)


async def test_a_client_that_fails_otherwise_names_its_address() -> None:
    """Whatever keeps a client from opening becomes a mistake that says which endpoint it is about."""

    def connect(target: Target) -> Provider:
        raise ValueError("no such scheme")

    with pytest.raises(ConfigurationError, match=r"http://openai\.test/v1.*check its base URL.*no such scheme"):
        async with understudy.open_supervisor(Settings.in_code(agents={"d": chain("openai")}), connect=connect):
            raise AssertionError("the body must not begin")


async def test_an_abandoned_block_is_closed_with_its_generator() -> None:
    """A supervisor held by a generator that is closed early closes its clients all the same."""
    world = World({})

    async def holding() -> AsyncGenerator[understudy.Supervisor, None]:
        async with understudy.open_supervisor(
            Settings.in_code(agents={"deriver": chain("openai")}), connect=world.connect
        ) as supervisor:
            yield supervisor

    generator = holding()
    await anext(generator)
    await generator.aclose()
    assert [provider.open for provider in world.providers] == [False]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_leaves_as_it_is(interrupt: type[BaseException]) -> None:
    """What ends the program is neither handed over nor anybody's fault, and leaves no place taken."""

    class Interrupted(Buggy):
        async def complete(self, request: Request) -> Response:
            raise interrupt

    settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
    async with understudy.open_supervisor(settings, connect=lambda _: Interrupted()) as supervisor:
        with pytest.raises(interrupt):
            await ask(supervisor.agent("deriver"))
        health = supervisor.health()[NAME]
    assert (health.in_flight, health.failed, health.neutral) == (0, 0, 1)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError()])
async def test_a_provider_that_does_not_translate_its_errors_is_handed_over(error: Exception) -> None:
    """A lost connection is no fault of this machine, in whatever form it comes."""

    class Untranslated(Buggy):
        async def complete(self, request: Request) -> Response:
            raise error

    world = World({"anthropic": Script.always(Answer("hello"))})
    settings = Settings.in_code(agents={"deriver": chain("openai", "anthropic")})
    async with understudy.open_supervisor(
        settings, connect=lambda target: Untranslated() if target.transport == "openai" else world.connect(target)
    ) as supervisor:
        assert (await ask(supervisor.agent("deriver"))).text == "hello"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
async def test_an_impossible_timeout_is_refused(timeout: float) -> None:
    """A timeout is a finite number of seconds above 0; the refusal comes before anything is sent."""
    async with opened({"openai": Script()}) as (agent, _, world):
        with pytest.raises(ValueError, match="timeout must be"):
            await ask(agent, timeout=timeout)
        assert world.providers[0].in_flight == 0


async def test_an_unknown_parameter_is_a_type_error() -> None:
    """A misspelt name is said at once, with the nearest one."""
    async with opened({"openai": Script()}) as (agent, _, _):
        with pytest.raises(TypeError, match="unknown parameter 'max_token'; did you mean 'max_tokens'"):
            await agent.complete("hi", max_token=3)  # type: ignore[call-arg]


async def test_by_hand_needs_an_endpoint_a_model_and_a_time() -> None:
    """A slip of the pen is told, with what there is, instead of forcing nothing at all."""
    async with opened({"openai": Script(), "anthropic": Script()}) as (agent, supervisor, _):
        with pytest.raises(ValueError, match=r"openai\.test/v1, anthropic at .* is meant, not 'opneai'"):
            supervisor.force_open("opneai", reason="drill")
        for act in (supervisor.force_open, supervisor.force_closed):
            with pytest.raises(ValueError, match="has the models openai-model, not 'gpt'"):
                act("openai", "gpt", reason="drill")
            for lasts_for in (0, -1, float("nan"), float("inf")):
                with pytest.raises(ValueError, match="lasts_for must be a number of seconds above 0"):
                    act("openai", reason="drill", lasts_for=lasts_for)
        with pytest.raises(ValueError, match="has the models"):
            supervisor.reset("openai", "gpt")
        assert supervisor.health()[NAME].models == {}
        supervisor.force_open(NAME, "openai-model", reason="drill", lasts_for=5)
        response = await ask(agent)
        assert [(route.reason, route.retry_after) for route in response.passed_over] == [("closed by hand: drill", 5)]
        supervisor.reset("openai", "openai-model")
        assert not (await ask(agent)).is_fallback


async def test_a_transport_that_several_endpoints_have_is_not_meant() -> None:
    """The name has to be that of `health()` then."""
    settings = Settings.in_code(agents={"a": chain("openai"), "b": chain("openai", api_key=SecretStr("another"))})
    async with understudy.open_supervisor(settings, connect=World({}).connect) as supervisor:
        with pytest.raises(ValueError, match=f"{NAME}, {NAME} #2 is meant"):
            supervisor.reset("openai")
        supervisor.force_open(f"{NAME} #2", reason="drill")
        assert supervisor.health()[f"{NAME} #2"].endpoint.set_by_hand == "open: drill"
        assert supervisor.health()[NAME].endpoint.set_by_hand == ""


async def test_a_crash_leaves_circuits_holds_and_what_was_forced(caplog: pytest.LogCaptureFixture) -> None:
    """The next incarnation knows what the one before it knew (R-SUP-2)."""
    async with opened({"openai": Script.always(Status(503))}, circuit_trip_after=1) as (agent, supervisor, _):
        with pytest.raises(understudy.UnderstudyError):
            await ask(agent)
        supervisor.force_open("openai", reason="drill")
        before = supervisor.health()[NAME]
        with caplog.at_level(logging.CRITICAL):
            await crash(supervisor)
        await anyio.lowlevel.checkpoint()
        after = supervisor.health()[NAME]
    assert after.models["openai-model"].circuit is before.models["openai-model"].circuit is CircuitState.OPEN
    assert after.endpoint.set_by_hand == "open: drill"


async def test_events_name_the_endpoint_that_is_meant() -> None:
    """Two endpoints differ in their key alone: an event names them as `health()` does, so that a hook can act on it."""
    routes = [
        RouteSettings(transport="openai", model="m", base_url="http://openai.test/v1", api_key=key)
        for key in ("sk-first", "sk-second")
    ]
    agents = {f"agent-{number}": AgentSettings(primary=route) for number, route in enumerate(routes)}
    world, tripped = World({"openai": Script.always(Status(503))}), list[str]()

    def note(event: Event) -> None:
        if isinstance(event, CircuitTripped):
            tripped.append(event.key.endpoint)

    settings = Settings.in_code(agents=agents, circuit_trip_after=1)
    async with understudy.open_supervisor(settings, connect=world.connect, hooks=[note]) as supervisor:
        for name in supervisor.agents:
            with pytest.raises(UnderstudyError):
                await ask(supervisor.agent(name))
        assert tripped == list(supervisor.health()) == [NAME, f"{NAME} #2"]


async def test_a_hook_may_reset_a_dead_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """When it is told that an endpoint is given up, it is: a reset in the hook itself brings it back at once."""
    phases = list[Phase]()

    def reset(event: Event) -> None:
        if isinstance(event, ActorRestarted) and event.dead:
            phases.append(supervisor.health()[NAME].phase)
            supervisor.reset(NAME)

    async with opened({"openai": Script.always(Answer("lead"))}, hooks=[reset]) as (agent, supervisor, _):
        for _ in range(6):
            with caplog.at_level(logging.CRITICAL):
                await crash(supervisor)
            await anyio.sleep(4)
        assert phases == [Phase.DEAD]
        assert (await ask(agent)).text == "lead"


async def test_a_reset_brings_a_dead_endpoint_back_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has to wait out the five minutes (R-SUP-1)."""
    async with opened({"openai": Script.always(Answer("lead"))}) as (agent, supervisor, _):
        for _ in range(6):
            with caplog.at_level(logging.CRITICAL):
                await crash(supervisor)
            await anyio.sleep(4)
        assert supervisor.health()[NAME].phase is Phase.DEAD
        supervisor.reset("openai")
        await anyio.sleep(0.1)
        assert supervisor.health()[NAME].phase is Phase.SERVING
        assert (await ask(agent)).text == "lead"
        assert anyio.current_time() < 30
