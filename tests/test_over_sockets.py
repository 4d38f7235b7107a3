"""The whole path over real sockets, through the real SDK clients: answers, faults, load and cancellation."""

from __future__ import annotations

import os
import random
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

import understudy
from understudy import (
    AgentSettings,
    AllAttemptsFailedError,
    AttemptError,
    ConfigurationError,
    RequestRejectedError,
    RouteSettings,
    Settings,
    UnderstudyError,
    Verdict,
)
from understudy.actors import CircuitState
from understudy.simulation import Answer, Behaviour, Hang, Phase, Refused, Reset, Script, Status, simulated_server
from understudy.supervisor import background_tasks

from .over_sockets import KEY, opened, route_to

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

WELL = Script.always(Answer("hello"))


@pytest.mark.parametrize(
    "behaviour", [Status(429), Status(500), Status(503), Refused(), Reset(), Hang()], ids=lambda b: str(b)
)
@pytest.mark.parametrize("transports", [("openai", "anthropic"), ("anthropic", "openai")], ids="-".join)
async def test_a_failing_primary_hands_over(behaviour: Behaviour, transports: tuple[str, str]) -> None:
    """The fallback answers after one call to the primary; the trail shows both."""
    primary, fallback = transports
    async with opened((primary, Script.always(behaviour)), (fallback, WELL), default_timeout=30) as (agent, _, servers):
        response = await agent.complete("Who wrote Faust?")
    assert response.text == "hello"
    assert response.is_fallback
    assert [attempt.transport for attempt in response.attempts] == [primary, fallback]
    assert len(servers[0].log) == (not isinstance(behaviour, Refused))
    assert len(servers[1].log) == 1


async def test_a_request_at_fault_costs_one_call() -> None:
    """A 400 passes through; the fallback is not asked."""
    async with opened(("openai", Script.always(Status(400))), ("anthropic", WELL)) as (agent, _, servers):
        with pytest.raises(RequestRejectedError, match="simulated 400"):
            await agent.complete("Who wrote Faust?")
    assert [len(server.log) for server in servers] == [1, 0]


async def test_both_down_is_one_error_that_names_both() -> None:
    """The message names both transports and what each one said."""
    scripts = ("openai", Script.always(Status(503))), ("anthropic", Script.always(Reset()))
    async with opened(*scripts) as (agent, _, servers):
        with pytest.raises(AllAttemptsFailedError, match=r"(?s)openai.*overloaded.*anthropic.*provider") as caught:
            await agent.complete("Who wrote Faust?")
    assert caught.value.status == 503
    assert [len(server.log) for server in servers] == [1, 2]


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_without_a_fallback_the_primary_is_retried_and_then_fails(transport: str) -> None:
    """Three calls, no more: the SDK's own retries are off."""
    async with opened((transport, Script.always(Status(500)))) as (agent, _, servers):
        with pytest.raises(AllAttemptsFailedError, match="all 3 attempts failed"):
            await agent.complete("Who wrote Faust?")
    assert len(servers[0].log) == 3


async def test_a_primary_that_comes_back_serves_again() -> None:
    """After an outage the next request is the primary's."""
    outage = Script((Phase(Refused(), since=10, until=20),), Answer("lead"))
    async with opened(("openai", outage), ("anthropic", WELL)) as (agent, _, _):
        said = [(await agent.complete("a")).text]
        await anyio.sleep(12)
        said.append((await agent.complete("b")).text)
        await anyio.sleep(12)
        said.append((await agent.complete("c")).text)
    assert said == ["lead", "hello", "lead"]


async def test_a_thousand_calls_at_once_complete() -> None:
    """Each caller gets its own answer; the bulkhead lets as many through as it says."""
    async with opened(("openai", Script.always(Answer(None))), max_concurrency=50) as (agent, supervisor, servers):
        right, most = list[bool](), 0

        async def call(number: int) -> None:
            nonlocal most
            response = await agent.complete(f"nonce {number}", timeout=500)
            right.append(response.text == f"nonce {number}")
            most = max(most, servers[0].connections)

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(call, number)
        (health,) = supervisor.health().values()
    assert right == [True] * 1000
    assert (health.succeeded, health.in_flight) == (1000, 0)
    assert most <= 58


SEEDS = 200 if os.environ.get("UNDERSTUDY_SOAK") else 3
"""`make soak` takes many more interleavings."""


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_thousand_calls_cancelled_at_random_leave_nothing(seed: int) -> None:
    """No place stays taken, no connection beyond the pool's idle ones, nobody is blamed, and the next call works."""
    rand = random.Random(seed)
    scripts = ("openai", Script.always(Answer(None, after=0.05))), ("anthropic", Script.always(Answer(None)))
    async with opened(*scripts, max_concurrency=200) as (agent, supervisor, servers):
        answered = list[bool]()

        async def call(number: int) -> None:
            with anyio.move_on_after(rand.random() * 0.4):
                response = await agent.complete(f"nonce {number}")
                answered.append(response.text == f"nonce {number}")

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(call, number)
        await anyio.sleep(1)
        health = supervisor.health()
        assert all(answered)
        assert 0 < len(answered) < 1000
        assert [each.in_flight for each in health.values()] == [0, 0]
        assert sum(each.failed for each in health.values()) == 0
        assert [server.in_flight for server in servers] == [0, 0]
        assert all(server.connections <= 208 for server in servers)
        assert (await agent.complete("next")).text == "next"


async def test_a_cancelled_call_leaves_its_provider_within_a_second() -> None:
    """The server sees the client go, so that it can stop working for nobody."""
    async with opened(("openai", Script.always(Hang()))) as (agent, supervisor, servers):
        with anyio.move_on_after(5):
            await agent.complete("Who wrote Faust?")
        await anyio.sleep(1)
        assert (servers[0].left, servers[0].in_flight, servers[0].connections) == (1, 0, 0)
        (health,) = supervisor.health().values()
        assert (health.in_flight, health.failed, health.neutral) == (0, 0, 1)


@pytest.mark.parametrize("transport", ["openai", "anthropic", "gemini", "lmstudio", "nous"])
async def test_a_key_is_sent_and_nothing_of_the_environment(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's own key is the one credential that goes out; what is meant for the SDKs stays here."""
    for vendor in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{vendor}_CUSTOM_HEADERS", "X-Ambient: ambient")
        monkeypatch.setenv(f"{vendor}_API_KEY", "ambient")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "ambient")
    async with opened((transport, WELL)) as (agent, _, servers):
        await agent.complete("hi", extra_headers={"X-Mine": "mine"}, extra_query={"version": 2})
    (received,) = servers[0].received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["x-mine"] == "mine"
    assert received.path.endswith("?version=2")
    assert "ambient" not in str(dict(received.headers))
    assert "x-api-key" not in received.headers


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_without_a_key_no_credential_is_sent(transport: str) -> None:
    """A server of one's own needs no key, and gets no made-up one."""
    async with simulated_server() as server:
        own = route_to(transport, server).model_copy(update={"api_key": None})
        settings = Settings.in_code(agents={"deriver": AgentSettings(primary=own)})
        async with understudy.open_supervisor(settings) as supervisor:
            assert (await supervisor.agent("deriver").complete("hi")).text == "Hello."
    assert "authorization" not in server.received[0].headers
    assert "x-api-key" not in server.received[0].headers


async def test_headers_of_route_and_request_are_merged() -> None:
    """Provider parameters of the route are sent with every request; the request's own win where both are set."""
    params = {"extra_headers": {"X-A": "route", "X-B": "route"}, "extra_body": {"a": 1, "b": 1}, "c": 1}
    async with simulated_server() as server:
        own = route_to("openai", server).model_copy(update={"provider_params": params, "temperature": 0.5})
        async with understudy.open_supervisor(Settings.in_code(agents={"d": AgentSettings(primary=own)})) as supervisor:
            await supervisor.agent("d").complete("hi", extra_headers={"X-B": "request"}, extra_body={"b": 2}, seed=3)
    (received,) = server.received
    assert (received.headers["x-a"], received.headers["x-b"]) == ("route", "request")
    sent = {name: received.body[name] for name in ("a", "b", "c", "seed", "temperature")}
    assert sent == {"a": 1, "b": 2, "c": 1, "seed": 3, "temperature": 0.5}


async def test_what_cannot_be_written_as_json_is_the_callers_mistake() -> None:
    """Nothing is sent, and nobody else is asked."""
    async with opened(("openai", WELL), ("anthropic", WELL)) as (agent, _, servers):
        with pytest.raises(RequestRejectedError, match="cannot be written as JSON"):
            await agent.complete("hi", extra_body={"a": {1, 2}})
    assert [server.log for server in servers] == [[], []]


async def test_parameters_a_wire_cannot_express_are_said_in_the_trail() -> None:
    """What was not sent is named; the rest arrives."""
    async with opened(("openai", Script.always(Status(503))), ("anthropic", WELL)) as (agent, _, _):
        response = await agent.complete("hi", seed=7, temperature=0.5, max_tokens=100)
    assert response.dropped == ("seed", "temperature")
    assert response.attempts[-1].dropped == ("seed", "temperature")


async def test_an_answer_that_is_none_hands_over() -> None:
    """A page, an error or nothing under a 200 is no answer."""
    for body in (
        b"<html>login</html>",
        b'{"error": {"message": "no", "type": "server_error"}}',
        b"",
        b"[]",
        b'{"id": 1}',
    ):
        script = Script.always(Status(200, body=body))
        async with opened(("openai", script), ("anthropic", WELL)) as (agent, _, _):
            response = await agent.complete("hi")
        assert response.text == "hello"
        assert response.attempts[0].verdict in {Verdict.MALFORMED, Verdict.PROVIDER}


async def test_closing_under_load_ends_every_call_and_asks_nobody_else() -> None:
    """Calls in flight when the block is left are ended as stopped; none of them reaches the fallback."""
    errors = list[str]()
    async with anyio.create_task_group() as tasks:
        async with opened(("openai", Script.always(Hang())), ("anthropic", WELL)) as (agent, _, servers):

            async def call() -> None:
                try:
                    await agent.complete("hi")
                except UnderstudyError as error:
                    errors.append(type(error).__name__)

            for _ in range(100):
                tasks.start_soon(call)
            await anyio.sleep(1)
            assert len(servers[0].log) == 100
    assert errors == ["ActorStoppedError"] * 100
    assert servers[1].log == []


FIXTURES = Path(__file__).parent / "fixtures"


@asynccontextmanager
async def tls_server() -> AsyncIterator[str]:
    """Run a server with a certificate that nobody vouches for; gives its base URL. It answers nothing."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(FIXTURES / "self_signed.crt", FIXTURES / "self_signed.key")

    async def answer_nothing(stream: AnyByteStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await stream.receive()

    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = plain.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - anyio's `extra`
    async with TLSListener(plain, context, standard_compatible=False) as listener, background_tasks() as tasks:
        tasks.start_soon(listener.serve, answer_nothing)
        yield f"https://127.0.0.1:{port}/v1"


async def test_a_certificate_nobody_vouches_for_is_handed_over_and_never_accepted() -> None:
    """Certificates are verified on the way to every route; the trail says what was wrong with this one."""
    async with tls_server() as url, simulated_server(WELL) as well:
        doubtful = RouteSettings(transport="openai", model="m", base_url=url)
        agent = AgentSettings(primary=doubtful, fallbacks=(route_to("anthropic", well),))
        async with understudy.open_supervisor(Settings.in_code(agents={"d": agent})) as supervisor:
            response = await supervisor.agent("d").complete("hi")
    assert response.text == "hello"
    assert response.attempts[0].verdict is Verdict.TLS_TRUST
    assert "self-signed certificate" in response.attempts[0].reason


async def test_a_server_that_speaks_no_tls_is_a_failed_connection() -> None:
    """https at a port where plain HTTP is spoken: nothing was sent, the fallback answers."""
    async with simulated_server() as plain, simulated_server(WELL) as well:
        wrong = RouteSettings(transport="openai", model="m", base_url=f"https://127.0.0.1:{plain.port}/v1")
        agent = AgentSettings(primary=wrong, fallbacks=(route_to("anthropic", well),))
        async with understudy.open_supervisor(Settings.in_code(agents={"d": agent})) as supervisor:
            response = await supervisor.agent("d").complete("hi")
    assert response.attempts[0].verdict is Verdict.CONNECT


async def test_a_name_that_leads_nowhere_is_a_failed_connection() -> None:
    """DNS is part of connecting: nothing was sent, the fallback answers."""
    async with simulated_server(WELL) as well:
        nowhere = RouteSettings(transport="openai", model="m", base_url="http://nowhere.invalid/v1")
        agent = AgentSettings(primary=nowhere, fallbacks=(route_to("anthropic", well),))
        async with understudy.open_supervisor(Settings.in_code(agents={"d": agent})) as supervisor:
            response = await supervisor.agent("d").complete("hi")
            health = supervisor.health()["openai at http://nowhere.invalid/v1"]
    assert response.attempts[0].verdict is Verdict.CONNECT
    assert (health.failed, health.neutral) == (1, 0)


async def test_a_full_file_table_is_our_own_trouble() -> None:
    """When this process may open no more files, no provider is blamed, the error says so, and it passes."""
    async with opened(("openai", WELL)) as (agent, supervisor, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        taken: list[int] = []
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            with pytest.raises(AttemptError, match=r"local_overload.*Too many open files") as caught:
                await agent.complete("hi")
        finally:
            for number in taken:
                os.close(number)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.verdict is Verdict.LOCAL_OVERLOAD
        (health,) = supervisor.health().values()
        assert (health.failed, health.in_flight) == (0, 0)
        assert (await agent.complete("hi")).text == "hello"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/nowhere/ca.pem", "No such file or directory"), ("self_signed.key", "certificate")],
)
async def test_certificates_that_cannot_be_read_are_a_mistake_at_start(
    path: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of trusted certificates that is missing, or is none, is told with the variable to look at."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIXTURES / path))
    agent = AgentSettings(primary=RouteSettings(transport="openai", model="m", base_url="https://127.0.0.1:9/v1"))
    with pytest.raises(ConfigurationError, match=rf"(?s)certificates that can be read.*{expected}.*SSL_CERT_FILE"):
        async with understudy.open_supervisor(Settings.in_code(agents={"d": agent})):
            raise AssertionError("the body must not begin")


async def test_an_outage_costs_the_primary_a_few_calls() -> None:
    """Twenty requests through 8 s of 503: all are answered, and the primary is asked twice and then once per probe."""
    outage = Script((Phase(Status(503), since=1, until=9),), Answer("lead"))
    async with opened(("openai", outage), ("anthropic", WELL), circuit_open_for=2) as (agent, supervisor, servers):
        said = list[tuple[float, str]]()
        for _ in range(20):
            said.append((anyio.current_time(), (await agent.complete("Who wrote Faust?")).text))
            await anyio.sleep(1)
        refused = [call.at for call in servers[0].log if call.behaviour == Status(503)]
        model = next(health for name, health in supervisor.health().items() if name.startswith("openai")).models
        assert model["openai-model"].circuit is CircuitState.CLOSED
    assert len(said) == 20
    assert 3 <= len(refused) <= 4  # two that trip it at once, and a probe after 2 s and after 4 s more
    back = min(at for at, text in said if text == "lead" and at > 2)
    assert 9 <= back <= 9 + 8 + 2
    assert all(text == "lead" for at, text in said if at >= back)


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_hundred_callers_at_recovery_cause_one_probe(transport: str) -> None:
    """The other 99 are answered by the fallback meanwhile; afterwards everybody is the primary's again."""
    other = "anthropic" if transport == "openai" else "openai"
    back = Script((Phase(Status(503), until=1),), Answer("lead", after=0.5))
    async with opened((transport, back), (other, WELL), circuit_trip_after=1) as (agent, _, servers):
        await agent.complete("Who wrote Faust?")
        await anyio.sleep(11)
        texts = list[str]()

        async def one() -> None:
            texts.append((await agent.complete("Who wrote Faust?")).text)

        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(one)
        assert len(servers[0].log) == 2
        assert sorted(texts) == ["hello"] * 99 + ["lead"]
        assert (await agent.complete("Who wrote Faust?")).text == "lead"


async def test_a_hundred_callers_meet_an_outage_together() -> None:
    """Whoever is under way when it begins is handed over; whoever comes after the circuit opened asks the fallback."""
    async with opened(("openai", Script.always(Status(503, after=0.2))), ("anthropic", WELL)) as (agent, _, servers):

        async def one() -> None:
            assert (await agent.complete("Who wrote Faust?")).text == "hello"

        for _ in range(3):
            async with anyio.create_task_group() as callers:
                for _ in range(100):
                    callers.start_soon(one)
        assert [len(server.log) for server in servers] == [100, 300]
