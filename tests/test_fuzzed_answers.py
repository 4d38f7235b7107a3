"""Fuzzing: whatever head and body a server sends, the end of a call is an answer or one error of our tree.

The real SDK clients speak over a transport in memory, so that a call takes a millisecond. `make soak` takes many more.
"""

from __future__ import annotations

import gzip
import json
import os
import unicodedata
from collections.abc import AsyncIterator

import anyio.lowlevel
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import understudy
from understudy import Agent, AgentSettings, Response, RouteSettings, Settings
from understudy.providers import TrailedError
from understudy.simulation._answers import answer, error

pytestmark = pytest.mark.anyio

EXAMPLES = 20_000 if os.environ.get("UNDERSTUDY_SOAK") else 300

Head = list[tuple[bytes, bytes]]
VALUES = st.one_of(
    st.binary(max_size=40).filter(lambda value: not {0, 10, 13} & set(value)),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30).map(lambda text: text.encode("latin-1")),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").translate(None, b"\0\r\n")),
    st.integers(-(10**30), 10**30).map(lambda number: str(number).encode()),
    st.floats().map(lambda number: str(number).encode()),
    st.sampled_from(
        [
            *(b"", b" ", b"true", b"false", b"TRUE ", b"0", b"-1", b"1e9", b"inf", b"nan", b"0x10", b"1,5", b"\xb2"),
            *(b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 99 Oct 2026 07:28:00", b"Mon, 01 Jan 0001 00:00:00 +2359"),
            *(b"Fri, 31 Dec 9999 23:59:59 -2359", b"Sun, 06 Nov 1994 08:49:37 +99999999999999999999", b", , ,"),
            *(
                b"application/json",
                b"application/json; charset=utf-16",
                b"text/html",
                b"json;" * 99,
            ),
            *(b"gzip", b"GZIP ", b"gzip, gzip", b"br", b"deflate", b"identity", b"zstd", b"x" * 20_000, b"\x1b[31m"),
        ]
    ),
)
NAMES = st.sampled_from(
    [
        *(b"retry-after", b"Retry-After-Ms", b"x-should-retry", b"x-request-id", b"request-id", b"content-type"),
        *(b"content-encoding", b"date", b"location", b"set-cookie", b"content-length", b"anthropic-workspace-id", b"x"),
    ]
)
HEADS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "details", "choices", "content", "usage", "text", "model"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
GOOD = [answer(wire, "m", "hello", "hi") for wire in ("openai", "anthropic")]
REFUSED = [error(wire, status) for wire in ("openai", "anthropic") for status in (400, 401, 429, 500)]
PLAIN = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()) | st.sampled_from(GOOD + REFUSED)
PACKED = PLAIN.map(gzip.compress)
BODIES = PLAIN | PACKED | st.tuples(PACKED, st.integers(1, 30)).map(lambda cut: cut[0][: -cut[1]])


class Sent(httpx2.AsyncByteStream):
    """A body in parts, as it comes out of a socket."""

    def __init__(self, body: bytes, size: int) -> None:
        self._parts = [body[i : i + size] for i in range(0, len(body), size)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            await anyio.lowlevel.checkpoint()
            yield part


class Server:
    """What stands in the place of the network: answers everything with what it was told last."""

    status, head, body, size = 200, list[tuple[bytes, bytes]](), b"", 1

    async def answer(self, _: httpx2.AsyncHTTPTransport, __: httpx2.Request) -> httpx2.Response:
        await anyio.lowlevel.checkpoint()
        return httpx2.Response(self.status, headers=self.head, stream=Sent(self.body, self.size))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Put one server in the place of all others."""
    made = Server()

    async def handle(self: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
        return await made.answer(self, request)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", handle)
    return made


@pytest.fixture(params=["openai", "anthropic"])
async def agent(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Agent]:
    """An agent on either wire, with one route."""
    route = RouteSettings(transport=request.param, model="m", base_url="http://server.test")
    agents = {"deriver": AgentSettings(primary=route)}
    configured = Settings.in_code(agents=agents, circuit_observe_only=True)  # no answer is to keep the next one away
    async with understudy.open_supervisor(configured, rand=lambda: 0.5) as supervisor:
        yield supervisor.agent("deriver")
        assert all(health.in_flight == 0 for health in supervisor.health().values())


def is_line(text: str, longest: int) -> bool:
    """Is it short, on one line, and free of what could forge or hide one?"""
    return len(text) <= longest and not {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


async def end_of(agent: Agent) -> Response | TrailedError:
    """Ask, and return the answer or the one error."""
    try:
        return await agent.complete("hi", timeout=3000)
    except TrailedError as error:
        return error


@given(status=st.integers(200, 599), head=HEADS, body=BODIES, size=st.integers(1, 300))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not os.environ.get("UNDERSTUDY_SOAK"),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.long
async def test_whatever_a_server_sends(
    agent: Agent, server: Server, status: int, head: Head, body: bytes, size: int
) -> None:
    """An answer, or an error whose every line is short and plain, and whose hints are within an hour; never a hang."""
    server.status, server.head, server.body, server.size = status, head, body, size
    ended = await end_of(agent)
    if isinstance(ended, TrailedError):
        assert all(is_line(line, 800) for line in str(ended).split("\n"))
    assert 1 <= len(ended.attempts) <= 3
    for attempt in ended.attempts:
        assert is_line(attempt.reason, 700)
        assert is_line(attempt.request_id or "", 501)
        assert attempt.retry_after is None or 0 <= attempt.retry_after <= 3600
        assert attempt.verdict is not understudy.Verdict.INTERNAL
