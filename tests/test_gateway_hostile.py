"""What no client sends: bodies and fields that are refused over HTTP in the dialect's own shape, and never a 500."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from understudy.gateway import Gateway, Guard, Head, serve
from understudy.simulation import Answer, Script, SimulatedServer

from .over_sockets import opened

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

TOKEN = "pJ3v0nR8sXq1ZtLw5yBfKc7hAe2gUdMo9iNrTbVx4kE"
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "responses": "/v1/responses"}
dialects = pytest.mark.parametrize("dialect", PATHS)

WELL: dict[str, Any] = {
    "model": "deriver",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}


def body_of(dialect: str) -> dict[str, Any]:
    """Return a body that is taken."""
    return {"model": "deriver", "input": "hi"} if dialect == "responses" else WELL


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[httpx2.AsyncClient, SimulatedServer]]:
    """Serve a gateway with its guard; give a client that shows the token, and the vendor behind it."""
    guard = Guard([TOKEN])

    def judge(head: Head) -> Any:
        return guard.judge(head, 0.0)

    async with (
        opened(("openai", Script.always(Answer("Goethe.")))) as (_, supervisor, servers),
        serve(Gateway(supervisor, guard=judge)) as server,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{server.address[1]}",
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            trust_env=False,
            timeout=60,
        ) as client,
    ):
        yield client, servers[0]


def refusal(answer: httpx2.Response, dialect: str) -> dict[str, Any]:
    """Return the error of an answer, in the shape of its dialect."""
    told: dict[str, Any] = answer.json()
    assert (told.get("type") == "error") is (dialect == "anthropic")
    error: dict[str, Any] = told["error"]
    assert error["message"]
    assert error["type"]
    return error


def nested(depth: int) -> bytes:
    """Return a body that is nested so deep where a client may put what it likes."""
    inner = b"[" * depth + b"]" * depth
    return json.dumps(WELL).encode()[:-1] + b', "metadata": ' + inner + b"}"


HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "no object": (b"[1]", 400),
    "NaN": (json.dumps(WELL).encode()[:-1] + b', "temperature": NaN}', 400),
    "infinity": (json.dumps(WELL).encode()[:-1] + b', "temperature": -Infinity}', 400),
    "doubled keys": (json.dumps(WELL).encode()[:-1] + b', "model": "other"}', 400),
    "a lone surrogate": (b'{"model": "deriver", "messages": "\\ud800"}', 400),
    "no UTF-8": (b'{"model": "\xff\xfe"}', 400),
    "a million brackets": (b"[" * 10**6, 400),
    "deep": (nested(100), 400),
    "33 MiB": (b" " * (33 * 1024 * 1024), 413),
}


@dialects
@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bodies(dialect: str, name: str) -> None:
    """Each is refused with a status that says whose fault it is, and nobody is asked; the next request is answered."""
    body, status = HOSTILE[name]
    async with guarded() as (client, server):
        try:
            answer = await client.post(PATHS[dialect], content=body)
        except httpx2.WriteError:  # it has said no, and does not read on
            assert name == "33 MiB"
        else:
            assert answer.status_code == status
            refusal(answer, dialect)
        assert not server.received
        assert (await client.post(PATHS[dialect], json=body_of(dialect))).status_code == 200


CHOOSING = ("api_base", "base_url", "api_key", "extra_headers", "apiKey", "base-url")


@dialects
@pytest.mark.parametrize("field", CHOOSING)
@pytest.mark.parametrize("depth", range(5))
async def test_nothing_in_a_request_chooses_where_it_goes(dialect: str, field: str, depth: int) -> None:
    """At any of five depths of what is sent beside the conversation (CVE-2024-6587)."""
    inner: Any = {field: "http://evil.test" if "header" not in field else {"x": "y"}}
    for level in range(depth):
        inner = {"extra_body" if level == depth - 1 else f"level_{level}": inner}
    async with guarded() as (client, server):
        answer = await client.post(PATHS[dialect], json={**body_of(dialect), **inner})
        assert answer.status_code == 400
        assert field in refusal(answer, dialect)["message"]
        assert not server.received


@dialects
async def test_tools_and_messages_may_say_what_they_like(dialect: str) -> None:
    """A tool that takes a `base_url` is a tool, and a text that names one a text."""
    schema = {"type": "object", "properties": {"base_url": {"type": "string"}, "api_key": {"type": "string"}}}
    tools: dict[str, Any] = {
        "openai": {"type": "function", "function": {"name": "get", "parameters": schema}},
        "anthropic": {"name": "get", "input_schema": schema},
        "responses": {"type": "function", "name": "get", "parameters": schema},
    }
    async with guarded() as (client, server):
        answer = await client.post(PATHS[dialect], json={**body_of(dialect), "tools": [tools[dialect]]})
        assert answer.status_code == 200
        assert "base_url" in json.dumps(server.received[0].body["tools"])


@dialects
async def test_whoever_has_no_token_is_told_the_same(dialect: str) -> None:
    """Absent, wrong, nearly right, twice: one status and one body (R-GW-2); and the token is in none of it."""
    shown: list[dict[str, str]] = [
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN[:-1]}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}", "x-api-key": TOKEN},
    ]
    async with guarded() as (client, server):
        answers = [await client.post(PATHS[dialect], json=body_of(dialect), headers=headers) for headers in shown]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
        assert not any(TOKEN[:8] in answer.text for answer in answers)
        assert not server.received
