"""The whole path over real sockets, through the real SDK clients: answers, faults, load and cancellation."""

from __future__ import annotations

import errno
import gc
import os
import random
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio.abc import AnyByteStream

import understudy
from understudy import (
    AgentSettings,
    AllAttemptsFailedError,
    AttemptError,
    ConfigurationError,
    RequestRejectedError,
    Response,
    RouteSettings,
    Settings,
    UnderstudyError,
    Verdict,
)
from understudy.actors import CircuitState
from understudy.providers import Target, _direct, _exchange
from understudy.simulation import Answer, Behaviour, Hang, Phase, Refused, Reset, Script, Status, simulated_server
from understudy.simulation._answers import Wire, answer
from understudy.supervisor import background_tasks

from .over_sockets import FIXTURES, KEY, beside, listening, opened, route_to

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


@pytest.mark.long
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


TEXT = "Goethe."

BOTH = pytest.mark.parametrize("transports", [("openai", "anthropic"), ("anthropic", "openai")], ids="-".join)


def break_transport(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Callable[[int], None]:
    """Let what sends requests raise `error` for each to the ports that the returned function is given."""
    ports, send, exchange = set[int](), httpx2.AsyncHTTPTransport.handle_async_request, _exchange.exchanged

    async def handle(self: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
        if request.url.port in ports:
            await anyio.lowlevel.checkpoint()
            raise error
        return await send(self, request)

    async def exchanged(pool: Any, origin: Any, *rest: Any, **more: Any) -> Any:
        if origin[2] in ports:
            await anyio.lowlevel.checkpoint()
            raise error
        return await exchange(pool, origin, *rest, **more)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", handle)
    monkeypatch.setattr(_direct, "exchanged", exchanged)
    return ports.add


@BOTH
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("alone", [False, True], ids=["with a fallback", "alone"])
async def test_an_error_of_this_machine_is_raised_as_it_is(
    transports: tuple[str, str], is_wrapped: bool, number: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no failed connection, whoever wraps it: nobody else is asked, nobody is blamed, it says itself."""
    below = OSError(number, os.strerror(number))
    error: Exception = below
    if is_wrapped:
        error = httpx2.ConnectError("failed") if number != errno.EACCES else RuntimeError("failed")
        error.__cause__ = below
    breaks = break_transport(monkeypatch, error)
    routes = [(transport, WELL) for transport in transports][: 1 if alone else 2]
    async with opened(*routes) as (agent, supervisor, servers):
        breaks(servers[0].port)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            await agent.complete("hi")
        assert caught.value is below
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert all(server.log == [] for server in servers)
        health = [(health.failed, health.in_flight) for health in supervisor.health().values()]
        assert health == [(0, 0)] * len(routes)


@BOTH
@pytest.mark.parametrize("where", ["HTTP library", "decoder"])
async def test_a_bug_is_told_as_ours(transports: tuple[str, str], where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed over, and nobody is blamed; the reason names the bug and its place, not what an SDK made of it.

    Alone it is raised from the bug, without a frame: frames hold prompts.
    """
    breaks, bug = break_transport(monkeypatch, KeyError("a bug")), KeyError("a bug")

    def read(*_: object) -> Response:
        raise bug

    primary, fallback = transports
    if where == "decoder":
        monkeypatch.setattr(f"understudy.providers._{primary}.read", read)
    async with opened((primary, WELL), (fallback, WELL)) as (agent, supervisor, servers):
        if where == "HTTP library":
            breaks(servers[0].port)
        response = await agent.complete("hi")
        assert (response.text, response.attempts[0].verdict) == ("hello", Verdict.INTERNAL)
        assert "KeyError: 'a bug' (at test_over_sockets.py:" in response.attempts[0].reason
        assert [health.failed for health in supervisor.health().values()] == [0, 0]
    async with opened((primary, WELL)) as (agent, supervisor, servers):
        if where == "HTTP library":
            breaks(servers[0].port)
        with pytest.raises(AttemptError, match=r"internal: KeyError: 'a bug' \(at test_over_sockets") as caught:
            await agent.complete("hi")
        cause = caught.value.__cause__
        assert isinstance(cause, KeyError)
        assert (cause.__traceback__, cause.__cause__, cause.__context__) == (None, None, None)
        assert [(health.failed, health.in_flight) for health in supervisor.health().values()] == [(0, 0)]


def framed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n"
    return head + b"%x;a=1\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(body), body)


FRAMES: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "well": (framed, 1),
    "in chunks, with trailers": (chunked, 1),
    "after interim answers": (
        lambda body: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + framed(body),
        1,
    ),
    "and another one": (lambda body: framed(body) + framed(body.replace(b"nonce", b"wrong")), 3),
    "in chunks, and another one": (lambda body: chunked(body) + framed(body.replace(b"nonce", b"wrong")), 3),
    "and some bytes": (lambda body: framed(body) + b"\0", 3),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_an_answer_is_never_taken_for_the_next_ones(transport: str, frame: str) -> None:
    """Each request gets its own answer; a connection on which more came than that is not used again."""
    wire: Wire = "anthropic" if transport == "anthropic" else "openai"
    send, connections = FRAMES[frame]

    async def answer_each(stream: AnyByteStream) -> None:
        received = b""
        while True:
            received += await stream.receive()
            if (found := re.search(rb"nonce \d", received)) is not None and received.endswith(b"}"):
                await stream.send(send(answer(wire, "m", found[0].decode(), "hi")))
                received = b""

    async with listening(answer_each) as place, beside(place, transport, None) as (agent, supervisor, _):
        for number in range(3):
            assert (await agent.complete(f"nonce {number}")).text == f"nonce {number}"
        assert place.asked == connections
        assert [(health.failed, health.in_flight) for health in supervisor.health().values()] == [(0, 0)]


SEEDS = 200 if os.environ.get("UNDERSTUDY_SOAK") else 1
"""`make soak` takes many more interleavings."""


@pytest.mark.long
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


async def test_a_call_cancelled_in_the_tls_handshake_leaves_within_a_second() -> None:
    """The connection is closed, and not left to the garbage collector."""
    left = 0

    async def never_shakes(stream: AnyByteStream) -> None:
        nonlocal left
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await stream.receive()
        left += 1

    async with listening(never_shakes) as place:
        url = place.base_url("openai").replace("http:", "https:")
        route = RouteSettings(transport="openai", model="m", base_url=url, api_key=KEY)
        settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
        gc.disable()
        try:
            async with understudy.open_supervisor(settings) as supervisor:
                with anyio.move_on_after(2):
                    await supervisor.agent("deriver").complete("Who wrote Faust?")
                await anyio.sleep(1)
                assert (place.asked, left) == (1, 1)
        finally:
            gc.enable()


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
@pytest.mark.parametrize("cookie", ["session=of-another-agent; Path=/", "a=\u00e4\u00f6; Path=/"])
async def test_no_cookie_comes_back(transport: str, cookie: str) -> None:
    """Requests share nothing but a connection; a cookie that cannot be sent breaks none of the later ones."""
    script = Script.sequence(Status(503, headers={"set-cookie": cookie}), otherwise=Answer("hello"))
    async with opened((transport, script)) as (agent, _, servers):
        assert (await agent.complete("hi")).text == "hello"
        assert (await agent.complete("hi")).text == "hello"
    assert all("cookie" not in received.headers for received in servers[0].received)


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


@contextmanager
def full_file_table() -> Iterator[None]:
    """Let this process open no more files for the body of a `with`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_full_file_table_is_our_own_trouble(transport: str) -> None:
    """When this process may open no more files, no provider is blamed, the error says so, and it passes."""
    async with opened((transport, WELL)) as (agent, supervisor, servers):
        with full_file_table(), pytest.raises(AttemptError, match=r"local_overload.*Too many open files") as caught:
            await agent.complete("hi")
        assert caught.value.verdict is Verdict.LOCAL_OVERLOAD
        assert str(caught.value).endswith("; allow more with ulimit -n")
        (health,) = supervisor.health().values()
        assert (health.failed, health.in_flight) == (0, 0)
        assert servers[0].log == []
        assert (await agent.complete("hi")).text == "hello"


@pytest.mark.parametrize("transports", [("openai", "anthropic"), ("anthropic", "openai")], ids="-".join)
async def test_without_a_file_to_open_a_route_that_is_connected_answers(transports: tuple[str, str]) -> None:
    """A fallback whose connection is still open needs no file: it answers, and the primary is not blamed."""
    primary, fallback = transports
    closing = Script.always(Status(503, headers={"connection": "close"}))
    async with opened((primary, closing), (fallback, WELL)) as (agent, supervisor, servers):
        await agent.complete("connects the fallback")
        blamed = [health.failed for health in supervisor.health().values()]
        with full_file_table():
            response = await agent.complete("hi")
        assert [attempt.verdict for attempt in response.attempts] == [Verdict.LOCAL_OVERLOAD, Verdict.OK]
        assert [health.failed for health in supervisor.health().values()] == blamed
    assert [len(server.log) for server in servers] == [1, 2]


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_full_pool_is_our_own_trouble(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is larger than the bulkhead; if it is full all the same, requests spill after 2 s without blame."""
    monkeypatch.setattr("understudy.providers._http.SPARE_CONNECTIONS", -1)
    second = "anthropic" if transport == "openai" else "openai"
    scripts = (transport, Script.always(Hang())), (second, WELL)
    async with opened(*scripts, max_concurrency=2) as (agent, supervisor, servers), background_tasks() as tasks:
        tasks.start_soon(agent.complete, "takes the one connection")
        await anyio.sleep(0.5)
        response = await agent.complete("hi", timeout=100)
        assert response.attempts[0].verdict is Verdict.LOCAL_OVERLOAD
        assert "PoolTimeout" in response.attempts[0].reason
        assert response.attempts[0].duration == pytest.approx(2, abs=0.01)
        assert [health.failed for health in supervisor.health().values()] == [0, 0]
        assert [len(server.log) for server in servers] == [1, 1]


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


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_client_of_the_users_own_carries_everything(transport: str) -> None:
    """Whatever the settings say: its headers are sent and its hooks are called; it is closed with the supervisor."""
    made, asked = list[httpx2.AsyncClient](), list[str]()

    async def note(request: httpx2.Request) -> None:
        asked.append(request.headers["x-mine"])

    def client_of(target: Target) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(headers={"x-mine": target.transport}, timeout=None, event_hooks={"request": [note]})
        made.append(client)
        return client

    async with simulated_server(Script.sequence(Answer(TEXT), Status(503), otherwise=Answer(TEXT))) as server:
        agents = {"deriver": AgentSettings(primary=route_to(transport, server))}
        settings = Settings.in_code(agents=agents)
        async with understudy.open_supervisor(settings, http_client=client_of, rand=lambda: 0.5) as supervisor:
            agent = supervisor.agent("deriver")
            for _ in range(2):
                assert (await agent.complete("Who?")).text == TEXT
            async with agent.stream("Who?") as stream:
                assert "".join([piece async for piece in stream.text_stream()]) == TEXT
    assert asked == [transport] * 4
    assert [client.is_closed for client in made] == [True]
    assert {call.headers["x-mine"] for call in server.received} == {transport}


async def test_an_http_client_has_to_be_one() -> None:
    """And whole providers are made otherwise."""
    route = RouteSettings(model="openai/m", api_key="sk-1")
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    with pytest.raises(ConfigurationError, match=r"httpx2\.AsyncClient, not object"):
        async with understudy.open_supervisor(settings, http_client=lambda _: object()):  # type: ignore[arg-type, return-value]
            pass
    with pytest.raises(TypeError, match="give one of them"):
        async with understudy.open_supervisor(settings, connect=lambda _: None, http_client=lambda _: None):  # type: ignore[arg-type, return-value]
            pass
