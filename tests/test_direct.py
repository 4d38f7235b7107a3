"""Past the SDK: what is sent is what the SDK's own client would have sent, byte for byte but for the content."""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import openai
import pytest
from pydantic import SecretStr

from understudy import AttemptError, ConnectionFailedError, user
from understudy.providers import Parameters, Provider, Request, Target, connect
from understudy.providers._direct import prepare
from understudy.providers._sdk import SDKProvider
from understudy.simulation import Answer, Script, SimulatedServer, Status, simulated_server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sockets,
    pytest.mark.transports,
    pytest.mark.usefixtures("few_certificates"),
]

PARAMETERS: dict[str, Parameters] = {
    "nothing": {},
    "headers": {"extra_headers": {"x-title": "Faust", "User-Agent": "mine", "X-Stainless-Lang": "other"}},
    "a credential": {"extra_headers": {"authorization": "Bearer another", "x-api-key": "another"}},
    "query": {"extra_query": {"api-version": "2026-11-01", "x": "a b&c"}},
    "a body": {"extra_body": {"store": False, "note": "ünïcödé"}},
}


@asynccontextmanager
async def provider_of(target: Target) -> AsyncIterator[Provider]:
    """Make a provider, and close it."""
    provider = connect(target)
    try:
        yield provider
    finally:
        await provider.aclose()


async def sent_by(server: SimulatedServer, target: Target, request: Request, *, streams: bool) -> list[Any]:
    """Ask three times; return what arrived."""
    before = len(server.received)
    async with provider_of(target) as provider:
        for _ in range(3):
            if not streams:
                await provider.complete(request)
                continue
            upstream = await provider.stream(request)
            while upstream.response is None:
                await upstream.read()
                while upstream.take() is not None:
                    pass
            await upstream.aclose()
    return server.received[before:]


def headers_of(call: Any) -> list[tuple[str, str]]:
    """Return the headers that arrived, in order of their names."""
    return sorted((name.lower(), value) for name, value in call.headers.items())


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("key", ["sk-direct-0123456789", None], ids=["key", "no key"])
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_both_ways_send_the_same(transport: str, key: str | None, name: str, streams: bool) -> None:
    """Line, headers and content: the SDK over the library's connections, and ours past it, three requests each."""
    request = Request("a-model", (user("Who wrote Faust?"),), PARAMETERS[name])
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        url = server.anthropic_url if transport == "anthropic" else server.openai_url
        secret = None if key is None else SecretStr(key)
        ours = await sent_by(server, Target(transport, url, secret), request, streams=streams)
        library = await sent_by(
            server, Target(transport, url, secret, http_transport="httpx2"), request, streams=streams
        )
    shown = [
        [
            (call.path, sorted((name.lower(), value) for name, value in call.headers.items()), call.body)
            for call in calls
        ]
        for calls in (ours, library)
    ]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 3


async def test_it_is_prepared_once_for_each_set_of_headers() -> None:
    """And for each token of a login; the one before is not sent any more."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        async with provider_of(Target("nous", server.openai_url, None, "nous")) as provider:
            assert isinstance(provider, SDKProvider)
            for key in ("first-0123456789", "second-0123456789"):
                keyed = provider.keyed(key)
                for parameters in ({}, {"extra_headers": {"x-title": "a"}}, {"extra_headers": {"x-title": "b"}}):
                    for _ in range(2):
                        await keyed.complete(Request("m", (user("hi"),), Parameters(**parameters)))  # type: ignore[typeddict-item]
                assert len(keyed._prepared) == 3
                assert all(keyed._prepared.values())
                assert key not in repr(keyed._prepared)
    assert [call.headers["authorization"] for call in server.received] == [
        *["Bearer first-0123456789"] * 6,
        *["Bearer second-0123456789"] * 6,
    ]
    assert server.accepted == 1


async def test_a_client_that_differs_from_time_to_time_sends_itself() -> None:
    """A header that is drawn anew for each request cannot be prepared. A framing is ours, whatever its user chose."""

    class Drawing(openai.AsyncOpenAI):
        drawn = 0

        @property
        def default_headers(self) -> dict[str, str | openai.Omit]:
            type(self).drawn += 1
            return {**super().default_headers, "x-drawn": str(self.drawn)}

    async with httpx2.AsyncClient() as http:
        drawing = Drawing(api_key="sk-1", base_url="http://here.test/v1", http_client=http)
        assert await prepare(drawing, "/chat/completions", {}, http.headers) is None
        chunked = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
        framing = openai.AsyncOpenAI(
            api_key="sk-1", base_url="http://here.test/v1", http_client=http, default_headers=chunked
        )
        prepared = await prepare(framing, "/chat/completions", {}, http.headers)
        assert prepared is not None
        assert b"ransfer-" not in prepared.head
        assert prepared.head.lower().count(b"content-length") == 1


async def test_preparing_is_no_request_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever counts requests in the HTTP library's log is not told of any that never were."""
    caplog.set_level("INFO")
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        async with provider_of(Target("openai", server.openai_url, SecretStr("sk-1"))) as provider:
            await provider.complete(Request("m", (user("hi"),)))
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "openai"))]


OWN = "zz-another-0123456789"
SHOWING: list[Parameters] = [
    {"extra_headers": {"Authorization": f"Bearer {OWN}"}},
    {"extra_headers": {"authorization": f"Basic {OWN}"}},
    {"extra_headers": {"x-api-key": OWN}},
    {"extra_headers": {"X-Portal-Token": OWN, "x-title": "no secret at all"}},
    {"extra_query": {"api_key": OWN}},
]
QUOTING = [
    Status(400, body=b'{"error": {"message": "no secret at all in %b"}}' % OWN.encode()),
    Status(401, body=b'{"error": {"message": "no secret at all in Bearer %b"}}' % OWN.encode()),
    Status(503, body=b"no secret at all in %b" % b64encode(OWN.encode()), content_type="text/plain"),
    Status(200, body=b'{"error": {"message": "no secret at all in %b"}}' % OWN.encode()),
    Status(500, body=b"no secret at all", headers={"x-request-id": OWN, "request-id": OWN}, content_type="text/plain"),
]


@pytest.mark.parametrize("way", ["understudy", "httpx2"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("quoting", QUOTING, ids=lambda status: str(status.status))
@pytest.mark.parametrize("parameters", SHOWING, ids=lambda parameters: str(parameters)[:40])
async def test_a_key_of_a_requests_own_is_masked(
    parameters: Parameters, quoting: Status, streams: bool, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As the endpoint's is, in head and body, whatever header shows it; what is no secret is not."""
    caplog.set_level("DEBUG", logger="understudy")
    async with simulated_server(Script.always(quoting)) as server:
        async with provider_of(Target("openai", server.openai_url, SecretStr("sk-1"), http_transport=way)) as provider:
            with pytest.raises(AttemptError) as refused:
                request = Request("m", (user("hi"),), parameters)
                await (provider.stream(request) if streams else provider.complete(request))
    shown = f"{refused.value} {refused.value.failure!r}"
    assert "no secret at all" in shown
    assert "[secret]" in shown
    assert not any(OWN[i : i + 8] in shown + caplog.text for i in range(len(OWN) - 7))


async def test_a_key_of_a_requests_own_is_masked_in_a_stream() -> None:
    """In an error that comes after the head, too."""
    body = b'data: {"error": {"message": "no %b", "type": "server_error"}}\n\n' % OWN.encode()
    script = Script.always(Status(200, body=body, content_type="text/event-stream"))
    async with simulated_server(script) as server:
        async with provider_of(Target("openai", server.openai_url, SecretStr("sk-1"))) as provider:
            upstream = await provider.stream(Request("m", (user("hi"),), SHOWING[0]))
            with pytest.raises(AttemptError, match=r"no \[secret\]"):
                await upstream.read()
            await upstream.aclose()


async def test_a_thousand_first_calls_are_all_answered() -> None:
    """While the first of them finds out what to send, the client sends for the others."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        target = Target("openai", server.openai_url, SecretStr("sk-1"), max_concurrency=1000)
        async with provider_of(target) as provider:
            texts = list[str]()

            async def ask() -> None:
                texts.append((await provider.complete(Request("m", (user("hi"),)))).text)

            async with anyio.create_task_group() as callers:
                for _ in range(300):
                    callers.start_soon(ask)
            assert texts == ["Goethe."] * 300
            assert isinstance(provider, SDKProvider)
            assert all(provider._prepared.values())


async def test_cancelled_while_it_is_prepared_somebody_else_finds_out() -> None:
    """Nothing is left half known."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        async with provider_of(Target("openai", server.openai_url, SecretStr("sk-1"))) as provider:
            assert isinstance(provider, SDKProvider)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await provider.complete(Request("m", (user("hi"),)))
            assert all(provider._prepared.values()), "known, or not yet"
            assert (await provider.complete(Request("m", (user("hi"),)))).text == "Goethe."
            assert all(provider._prepared.values())


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
async def test_a_redirect_is_refused_on_both_ways(status: int) -> None:
    """It is not followed: the key would be sent to wherever it leads."""
    script = Script.always(Status(status, headers={"location": "http://elsewhere.test/v1"}, body=b""))
    async with simulated_server(script) as server:
        verdicts = []
        for way in ("understudy", "httpx2"):
            async with provider_of(
                Target("openai", server.openai_url, SecretStr("sk-1"), http_transport=way)
            ) as provider:
                for _ in range(2):
                    with pytest.raises(AttemptError) as refused:
                        await provider.complete(Request("m", (user("hi"),)))
                    verdicts.append((refused.value.verdict, refused.value.status))
    assert verdicts == verdicts[:1] * 4
    assert verdicts[0][1] == status


@pytest.mark.parametrize("way", ["understudy", "httpx2"])
async def test_where_nobody_answers_is_said(way: str) -> None:
    """A port that was mistyped is seen where the failure is told; the key is not."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        async with provider_of(Target("openai", url, SecretStr("sk-1"), http_transport=way)) as provider:
            with pytest.raises(ConnectionFailedError, match=re.escape(f"(at {url})")):
                await provider.complete(Request("m", (user("hi"),)))
