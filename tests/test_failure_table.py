"""The failure table, row by row, through the real SDK clients: who is asked how often, who answers, what is said.

Each row is one fault of a primary. It is met twice: with a healthy fallback behind it, and alone. The rows stand in the
order of the table of requirements; `twice` marks what may be asked once more on the same route.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.abc import AnyByteStream

from understudy import (
    AccessRefusedError,
    AllAttemptsFailedError,
    AttemptError,
    AttemptTimeoutError,
    ConnectionFailedError,
    QuotaExceededError,
    RateLimitedError,
    RequestRejectedError,
    ResponseMalformedError,
    ServerFailedError,
    UnderstudyError,
    Verdict,
)
from understudy.providers import TrailedError
from understudy.simulation import Answer, Behaviour, Hang, Raw, Refused, Reset, Script, Status, simulated_server
from understudy.simulation._answers import Wire, answer

from .over_sockets import Place, beside, deaf, full_backlog, listening, opened, reset, self_signed

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

V = Verdict
ONE, TWO, THREE = 1, 2, 3


@dataclass(frozen=True)
class Row:
    """One row: the fault by wire, what it means, the calls to the primary with a fallback and alone, and who answers."""

    name: str
    fault: Behaviour | dict[str, Behaviour]
    verdict: Verdict
    error: type[AttemptError]
    handed_over: bool = True
    asked: int = ONE
    alone: int = ONE
    said: str = ""

    def on(self, transport: str) -> Behaviour:
        """Return the fault as that vendor has it."""
        return self.fault[transport] if isinstance(self.fault, dict) else self.fault


def status(number: int, openai: Any = None, anthropic: Any = None, **headers: str) -> dict[str, Behaviour]:
    """Make an HTTP error, with the error object of each vendor if one is given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    bodies = {
        "openai": None if openai is None else json.dumps({"error": {"param": None, **openai}}).encode(),
        "anthropic": None if anthropic is None else json.dumps({"type": "error", "error": anthropic}).encode(),
    }
    return {name: Status(number, headers=named, body=body) for name, body in bodies.items()}


def page(number: int) -> Behaviour:
    return Status(number, body=b"<html><body>Attention required</body></html>", content_type="text/html")


def ok(body: bytes | dict[str, Any], content_type: str = "application/json") -> Behaviour:
    return Status(200, body=body if isinstance(body, bytes) else json.dumps(body).encode(), content_type=content_type)


def raw(head: str, body: bytes = b"") -> Behaviour:
    return Raw(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


EMPTY = {
    "openai": ok({"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}),
    "anthropic": ok({"type": "message", "content": [], "stop_reason": "end_turn"}),
}
NO_CHOICES = {"openai": ok({"choices": None}), "anthropic": ok({"content": None})}
OVER_LENGTH = "HTTP/1.1 200 OK\ncontent-type: application/json\ncontent-length: 999"
GZIPPED = "HTTP/1.1 200 OK\ncontent-type: application/json\ncontent-encoding: gzip\ncontent-length: "

TABLE_A: list[Row] = [
    Row("200 finished, no text, no tool call", EMPTY, V.EMPTY, ResponseMalformedError),
    Row("200 with an error, by its code", ok({"error": {"code": "rate_limit_exceeded"}}), V.THROTTLED, RateLimitedError, alone=THREE),
    Row("200 with an error, unknown", ok({"error": {"message": "oops"}}), V.MALFORMED, ResponseMalformedError),
    Row("200 without choices or content", NO_CHOICES, V.MALFORMED, ResponseMalformedError),
    Row("200 with a page", page(200), V.MALFORMED, ResponseMalformedError),
    Row("200 with nothing", ok(b""), V.MALFORMED, ResponseMalformedError),
    Row("301 redirect", status(301, location="http://127.0.0.1:9/"), V.MISCONFIGURED, AccessRefusedError),
    Row("307 redirect", status(307, location="http://127.0.0.1:9/"), V.MISCONFIGURED, AccessRefusedError),
    *(
        Row(f"{number} request at fault", status(number), V.CALLER, RequestRejectedError, handed_over=False)
        for number in (400, 405, 406, 411, 414, 415, 417, 422, 428, 431)
    ),
    Row(
        "400 context length exceeded",
        status(400, {"code": "context_length_exceeded"}, {"type": "invalid_request_error", "message": "prompt is too long: 3 tokens"}),
        V.CAPABILITY,
        RequestRejectedError,
        handed_over=False,
    ),
    Row(
        "400 billing",
        status(400, {"code": "billing_not_active"}, {"type": "invalid_request_error", "message": "Your credit balance is too low"}),
        V.QUOTA,
        QuotaExceededError,
    ),
    Row("402", status(402), V.QUOTA, QuotaExceededError),
    Row("429 with a quota code", status(429, {"code": "insufficient_quota"}, {"type": "billing_error"}), V.QUOTA, QuotaExceededError),
    Row(
        "400 content policy",
        status(400, {"code": "content_policy_violation"}, {"type": "content_filter"}),
        V.POLICY,
        RequestRejectedError,
        handed_over=False,
    ),
    Row("401", status(401), V.AUTH, AccessRefusedError),
    Row("403", status(403), V.AUTHZ, AccessRefusedError),
    Row("451", status(451), V.AUTHZ, AccessRefusedError),
    Row("401 with a page", page(401), V.EDGE, ServerFailedError),
    Row("403 with a page", page(403), V.EDGE, ServerFailedError),
    Row("429 with a page", page(429), V.EDGE, ServerFailedError),
    Row("404", status(404), V.NOT_FOUND, AccessRefusedError),
    Row("410", status(410), V.NOT_FOUND, AccessRefusedError),
    Row("407", status(407), V.LOCAL_CONFIG, AttemptError, handed_over=False),
    Row("408", status(408), V.TIMEOUT, AttemptTimeoutError),
    *(Row(f"{number} conflict", status(number), V.CONFLICT, ServerFailedError, asked=TWO, alone=TWO) for number in (409, 423, 425)),
    Row("413", status(413), V.CAPABILITY, RequestRejectedError, handed_over=False),
    Row("421", status(421), V.STALE_CONNECTION, AccessRefusedError, handed_over=False, asked=TWO, alone=TWO),
    Row("429", status(429), V.THROTTLED, RateLimitedError, alone=THREE),
    Row("429 slow down", status(429, {"code": "slow_down"}, {"type": "slow_down"}), V.THROTTLED, RateLimitedError, alone=THREE),
    Row("499", status(499), V.NO_VERDICT, AttemptError, handed_over=False),
    *(
        Row(f"{number} provider", status(number), V.PROVIDER, ServerFailedError, alone=THREE)
        for number in (500, 502, 520, 527, 530, 599)
    ),
    Row("504", status(504, {"type": "server_error"}, {"type": "api_error"}), V.PROVIDER, ServerFailedError, alone=THREE),
    Row("501", status(501), V.MISCONFIGURED, AccessRefusedError),
    Row("505", status(505), V.MISCONFIGURED, AccessRefusedError),
    Row("503 overloaded", status(503), V.OVERLOADED, ServerFailedError, alone=THREE),
    Row("529 overloaded", status(529), V.OVERLOADED, ServerFailedError, alone=THREE),
    Row("4xx with x-should-retry: true", status(418, x_should_retry="true"), V.TRANSIENT, ServerFailedError, alone=THREE),
    Row("5xx with x-should-retry: false", status(500, x_should_retry="false"), V.PROVIDER, ServerFailedError),
    Row("4xx unknown", status(499 - 1), V.CALLER, RequestRejectedError, handed_over=False),
]  # fmt: skip

TABLE_B: list[Row] = [
    Row("connection refused", Refused(), V.CONNECT, ConnectionFailedError, asked=0, alone=0),
    Row("reset before the head", Reset(), V.PROVIDER, ConnectionFailedError, alone=THREE),
    Row("closed before the head", Raw(b""), V.PROVIDER, ConnectionFailedError, alone=THREE),
    Row("attempt limit ended", Hang(), V.TIMEOUT, AttemptTimeoutError),
    Row("not HTTP", Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), V.MALFORMED, ResponseMalformedError),
    Row("body cut short", raw(OVER_LENGTH, b'{"choices": ['), V.MALFORMED, ResponseMalformedError),
    Row("bad chunk", raw("HTTP/1.1 200 OK\ntransfer-encoding: chunked", b"zz\r\n"), V.MALFORMED, ResponseMalformedError),
    Row("bad gzip", raw(GZIPPED + "4", b"nope"), V.MALFORMED, ResponseMalformedError),
    Row("gzip cut short", raw(GZIPPED + "12", gzip.compress(b'{"choices": []}')[:12]), V.MALFORMED, ResponseMalformedError),
    Row("bad gzip of an error", Status(503, body=b"nope", headers={"content-encoding": "gzip", "retry-after": "1"}), V.OVERLOADED, ServerFailedError, alone=THREE),
    Row("packed unasked", raw(GZIPPED.replace("gzip", "br") + "4", b"nope"), V.MALFORMED, ResponseMalformedError),
    Row("bad JSON", ok(b'{"choices": [{"mess'), V.MALFORMED, ResponseMalformedError),
    Row("bad UTF-8", ok(b'{"choices": "\xff\xfe"}'), V.MALFORMED, ResponseMalformedError),
    Row("nested without end", ok(b"[" * 200_000), V.MALFORMED, ResponseMalformedError),
    Row("charset that does not fit", Status(503, body=b"\0\0", content_type="text/plain; charset=utf16"), V.OVERLOADED, ServerFailedError, alone=THREE),
    Row("not a number", ok(b'{"choices": NaN}'), V.MALFORMED, ResponseMalformedError),
    Row("wrong content type", ok(b'{"choices": []}', "text/html"), V.MALFORMED, ResponseMalformedError),
]  # fmt: skip


async def read_a_little_and_reset(stream: AnyByteStream) -> None:
    await stream.receive()
    await reset(stream)


async def read_on(stream: AnyByteStream) -> None:
    async for _ in stream:
        pass


async def answer_early(stream: AnyByteStream) -> None:
    """Refuse as soon as the head of the request is there, as servers do that are asked for too much."""
    await stream.receive()
    await stream.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await read_on(stream)


@asynccontextmanager
async def nowhere() -> AsyncIterator[Place]:
    yield Place("http://nowhere.invalid")


@asynccontextmanager
async def plain_where_tls_is_due() -> AsyncIterator[Place]:
    async with simulated_server() as server:
        yield Place(f"https://127.0.0.1:{server.port}")


@dataclass(frozen=True)
class Below:
    """A fault below HTTP: the place that has it, what it means, the calls alone, and when each of them has ended."""

    name: str
    at: Callable[[], AbstractAsyncContextManager[Place]]
    verdict: Verdict
    error: type[AttemptError]
    said: str
    alone: int = ONE
    after: float = 0.0
    is_large: bool = False


LARGE = "x" * 16_000_000
"""More than the kernel takes before anybody has read."""

BELOW_HTTP: list[Below] = [
    Below("connect timeout", full_backlog, V.CONNECT, ConnectionFailedError, "ConnectTimeout", alone=THREE, after=5),
    Below("DNS failure", nowhere, V.CONNECT, ConnectionFailedError, "Connect", alone=THREE, after=math.inf),
    Below("TLS handshake", plain_where_tls_is_due, V.CONNECT, ConnectionFailedError, "SSL", alone=THREE),
    Below("certificate not trusted", lambda: listening(read_on, self_signed()), V.TLS_TRUST, ConnectionFailedError, "name its issuer's certificate in SSL_CERT_FILE"),
    Below("write error", lambda: listening(read_a_little_and_reset), V.PROVIDER, ConnectionFailedError, "", alone=THREE, is_large=True),
    Below("write timeout", deaf, V.TIMEOUT, AttemptTimeoutError, "WriteTimeout", after=30, is_large=True),
    Below("answered before all was sent", lambda: listening(answer_early), V.OVERLOADED, ServerFailedError, "HTTP 503", alone=THREE, is_large=True),
]  # fmt: skip


@pytest.mark.parametrize("row", BELOW_HTTP, ids=lambda row: row.name)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault_below_http(transport: str, row: Below) -> None:
    """The fallback answers after one attempt, which ends when it should; the endpoint or its model is blamed once."""
    second = "anthropic" if transport == "openai" else "openai"
    async with row.at() as place, beside(place, transport, second) as (agent, supervisor, servers):
        response = await agent.complete(LARGE if row.is_large else "hi")
        assert [attempt.verdict for attempt in response.attempts] == [row.verdict, V.OK]
        assert row.said in response.attempts[0].reason
        if not math.isinf(row.after):
            assert response.attempts[0].duration == pytest.approx(row.after, abs=0.5)
        assert place.asked <= 1
        assert len(servers[0].log) == 1
        assert [health.failed for health in supervisor.health().values()] == [1, 0]


@pytest.mark.parametrize("row", BELOW_HTTP, ids=lambda row: row.name)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault_below_http_without_a_fallback(transport: str, row: Below) -> None:
    """Alone, the primary is retried only where the row says so; the error is of the row's class and says what it was."""
    async with row.at() as place, beside(place, transport, None) as (agent, supervisor, _):
        with pytest.raises(UnderstudyError, match=rf"(?s){transport}-model: {row.verdict}.*{row.said}") as caught:
            await agent.complete(LARGE if row.is_large else "hi")
        assert isinstance(caught.value, TrailedError)
        assert [attempt.verdict for attempt in caught.value.attempts] == [row.verdict] * row.alone
        assert [type(error) for error in raised(caught.value)] == [row.error] * row.alone
        assert place.asked in {0, row.alone}
        assert [(health.failed, health.in_flight) for health in supervisor.health().values()] == [(row.alone, 0)]


def raised(error: UnderstudyError) -> list[BaseException]:
    """Return what each attempt raised."""
    if not isinstance(error, AllAttemptsFailedError):
        return [error]
    assert isinstance(error.__cause__, ExceptionGroup)
    return list(error.__cause__.exceptions)


@pytest.mark.parametrize("row", TABLE_A + TABLE_B, ids=lambda row: row.name)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault(transport: str, row: Row) -> None:
    """The primary is asked as often as the row says; then the fallback answers, or the error of the row is raised."""
    second = "anthropic" if transport == "openai" else "openai"
    scripts = (transport, Script.always(row.on(transport))), (second, Script.always(Answer("hello")))
    async with opened(*scripts, default_timeout=30) as (agent, _, servers):
        if row.handed_over:
            response = await agent.complete("hi")
            assert response.text == "hello"
            assert response.attempts[0].verdict is row.verdict
        else:
            with pytest.raises((row.error, AllAttemptsFailedError)) as caught:
                await agent.complete("hi")
            assert caught.value.attempts[-1].verdict is row.verdict
    assert [len(server.log) for server in servers] == [row.asked, int(row.handed_over)]


@pytest.mark.parametrize("row", TABLE_A + TABLE_B, ids=lambda row: row.name)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault_without_a_fallback(transport: str, row: Row) -> None:
    """Alone, the primary is retried only where the row says so; the error is of the row's class, and says who."""
    scripts = (transport, Script.always(row.on(transport)))
    async with opened(scripts, default_timeout=30) as (agent, _, servers):
        with pytest.raises(UnderstudyError) as caught:
            await agent.complete("hi")
    error = caught.value
    assert isinstance(error, TrailedError)
    assert len(servers[0].log) == row.alone
    assert {type(each) for each in raised(error)} == {row.error}
    assert {attempt.verdict for attempt in error.attempts} == {row.verdict}
    assert f"{transport} {transport}-model: {row.verdict}" in str(error)


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_reused_connection_that_is_gone_costs_no_attempt(transport: str) -> None:
    """The request is sent once more on a new connection; the trail shows one attempt, and nobody is blamed."""
    script = Script.sequence(Answer("first"), Reset(), otherwise=Answer("second"))
    async with opened((transport, script)) as (agent, supervisor, servers):
        said = [(await agent.complete("a")).text]
        response = await agent.complete("b")
        (health,) = supervisor.health().values()
    assert [*said, response.text] == ["first", "second"]
    assert len(response.attempts) == 1
    assert len(servers[0].log) == 3
    assert (health.succeeded, health.failed) == (2, 0)


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_new_connection_that_is_gone_is_the_providers_failure(transport: str) -> None:
    """The free retry is for reused connections, and there is one."""
    script = Script.sequence(Answer("first"), Reset(), Reset(), otherwise=Answer("third"))
    async with opened((transport, script)) as (agent, supervisor, servers):
        await agent.complete("a")
        response = await agent.complete("b")
        (health,) = supervisor.health().values()
    assert [attempt.verdict for attempt in response.attempts] == [V.PROVIDER, V.OK]
    assert len(servers[0].log) == 4
    assert (health.succeeded, health.failed) == (2, 1)


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_after_421_another_connection_is_used(transport: str) -> None:
    """The connection that did not lead to the host is not used again."""
    script = Script.sequence(Status(421), otherwise=Answer("hello"))
    async with opened((transport, script)) as (agent, _, servers):
        response = await agent.complete("a")
        assert servers[0].connections == 1
    assert [attempt.verdict for attempt in response.attempts] == [V.STALE_CONNECTION, V.OK]
    assert servers[0].accepted == 2


@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_packed_answer_is_unpacked(transport: str) -> None:
    """gzip is what we ask for, so it is what we read."""
    wire: Wire = "anthropic" if transport == "anthropic" else "openai"
    packed = gzip.compress(answer(wire, "m", "hello", "hi"))
    script = Script.always(Status(200, body=packed, headers={"Content-Encoding": "gzip"}))
    async with opened((transport, script)) as (agent, _, servers):
        assert (await agent.complete("hi")).text == "hello"
    assert servers[0].received[0].headers["accept-encoding"] == "gzip"


BOMBS = {
    "unpacks to much": gzip.compress(b" " * 20_000_000),
    "unpacks to nothing": gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 40_000,
    "goes on after its end": gzip.compress(b"{}") + b"x" * 200_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("status_code", [200, 500])
async def test_no_answer_is_read_without_end(status_code: int, bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is longer than an answer may be, packed or unpacked, is an error; of an error's only the start counts."""
    for room in ("_http", "_direct"):
        monkeypatch.setattr(f"understudy.providers.{room}.LARGEST_BODY", 100_000)
    script = Script.always(Status(status_code, body=bomb, headers={"Content-Encoding": "gzip"}))
    async with opened(("openai", script), ("anthropic", Script())) as (agent, _, _):
        response = await agent.complete("hi")
    first = response.attempts[0]
    assert first.verdict is (V.MALFORMED if status_code == 200 else V.PROVIDER)
    assert "longer than 100000 bytes" in first.reason or status_code == 500
    assert len(first.reason) < 700


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("fallback_on_context_length", Status(400, body=b'{"error": {"code": "context_length_exceeded"}}')),
        ("fallback_on_context_length", Status(413)),
        ("fallback_on_content_policy", Status(400, body=b'{"error": {"code": "content_policy_violation"}}')),
    ],
    ids=str,
)
async def test_an_agent_may_opt_in(name: str, fault: Behaviour) -> None:
    """Where it is set, and only there, a refusal for length or content is handed over."""
    scripts = ("openai", Script.always(fault)), ("anthropic", Script.always(Answer("hello")))
    async with opened(*scripts, route={name: True}) as (agent, _, _):
        assert (await agent.complete("hi")).text == "hello"
    other = {"fallback_on_context_length", "fallback_on_content_policy"} - {name}
    async with opened(*scripts, route=dict.fromkeys(other, True)) as (agent, _, _):
        with pytest.raises(RequestRejectedError):
            await agent.complete("hi")
