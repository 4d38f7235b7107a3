"""Every fault of a provider, as a client of the gateway sees it in each dialect: status, body, headers, and no end that
looks whole where there is none (R-CLS-1, R-ST-2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy import Verdict
from understudy.providers import outward_status
from understudy.providers._sse import SSEDecoder
from understudy.simulation import Answer, Script, Status

from .gateways import Door, door, door_beside
from .over_sockets import FIXTURES, KEY
from .test_failure_table import BELOW_HTTP, LARGE, TABLE_A, TABLE_B, Below
from .test_failure_table import Row as Whole
from .test_streams_over_sockets import AFTER, BEFORE
from .test_streams_over_sockets import Row as Streamed

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

DIALECTS = ("openai", "anthropic")
PATHS = {"openai": "/chat/completions", "anthropic": "/messages"}


async def asked(at: Door, dialect: str, *, streams: bool = False, prompt: str = "hi") -> Any:
    """Ask one question in a dialect; return the HTTP answer, read to its end."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "deriver", "max_tokens": 100, "messages": messages, "stream": streams}
    return await at.http.post("http://understudy.invalid/v1" + PATHS[dialect], json=body)


def shape_of(dialect: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the error in a body, which has to have the dialect's own shape."""
    if dialect == "anthropic":
        assert body["type"] == "error"
        assert body["error"].keys() >= {"type", "message"}
    else:
        assert body["error"].keys() >= {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    assert error["message"]
    assert "Traceback" not in error["message"]
    return error


def expected(verdict: Verdict, behaviour: Any) -> int:
    """Return the status that a client sees: what a provider says of our own connection to it is a 502."""
    status = outward_status(verdict, behaviour.status if isinstance(behaviour, Status) else None)
    return 502 if status in {407, 411, 417, 421, 505} else status


@pytest.mark.parametrize("row", TABLE_A + TABLE_B, ids=lambda row: row.name)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault_is_told(transport: str, dialect: str, row: Whole) -> None:
    """With a fallback its answer comes, and headers say how; alone, the error has the table's status and words."""
    other = "anthropic" if transport == "openai" else "openai"
    fault = row.on(transport)
    async with door(
        "in process", (transport, Script.always(fault)), (other, Script.always(Answer("hello"))), default_timeout=30
    ) as at:
        answer = await asked(at, dialect)
        if row.handed_over:
            assert answer.status_code == 200
            assert "hello" in answer.text
            assert answer.headers["x-understudy-transport"] == other
            assert answer.headers["x-understudy-fallback"] == "true"
        else:
            assert answer.status_code == expected(row.verdict, fault)
            shape_of(dialect, answer.json())
    async with door("in process", (transport, Script.always(fault)), default_timeout=30) as at:
        answer = await asked(at, dialect)
        assert answer.status_code == expected(row.verdict, fault)
        shape_of(dialect, answer.json())
        asked_for = int(answer.headers["x-understudy-attempts"])
        assert row.alone in {0, asked_for}  # 0: nobody was there to count
        assert answer.headers["content-type"] == "application/json"
        if isinstance(fault, Status) and "retry-after" in fault.headers and row.verdict.rule.hint:
            assert answer.headers["retry-after"] == fault.headers["retry-after"]


TOLD: dict[Verdict, tuple[int, dict[str, str]]] = {
    Verdict.CONNECT: (502, {"openai": "server_error", "anthropic": "api_error"}),
    Verdict.TLS_TRUST: (502, {"openai": "server_error", "anthropic": "api_error"}),
    Verdict.PROVIDER: (502, {"openai": "server_error", "anthropic": "api_error"}),
    Verdict.OVERLOADED: (503, {"openai": "service_unavailable_error", "anthropic": "overloaded_error"}),
    Verdict.TIMEOUT: (504, {"openai": "timeout_error", "anthropic": "timeout_error"}),
}
"""The status and the kind of error by which a client is told of a fault below HTTP."""


@pytest.mark.parametrize("row", BELOW_HTTP, ids=lambda row: row.name)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_fault_below_http_is_told(
    transport: str, dialect: str, streams: bool, row: Below, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never became an answer: the fallback's comes, whole; alone, a status before any event, and no secret."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIXTURES / "other_authority.crt"))
    other = "anthropic" if transport == "openai" else "openai"
    prompt = LARGE if row.is_large else "hi"
    async with row.at() as place, door_beside(place, transport, other) as at:
        answer = await asked(at, dialect, streams=streams, prompt=prompt)
        assert answer.status_code == 200
        assert answer.headers["x-understudy-transport"] == other
        assert answer.headers["x-understudy-fallback"] == "true"
        assert answer.headers["x-understudy-attempts"] == "2"
        if streams:
            text, ends, errors = read(dialect, answer.content)
            assert (text != "", bool(ends), errors) == (True, True, [])
    async with row.at() as place, door_beside(place, transport, None) as at:
        answer = await asked(at, dialect, streams=streams, prompt=prompt)
        status, kinds = TOLD[row.verdict]
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        error = shape_of(dialect, answer.json())
        assert error["type"] == kinds[dialect]
        assert row.said in error["message"]
        assert answer.headers["x-understudy-attempts"] == str(row.alone)
        assert answer.headers["x-should-retry"] == "false"
        assert KEY not in answer.text + str(answer.headers)


@pytest.mark.parametrize(("pair", "row"), BEFORE, ids=lambda each: str(each) if isinstance(each, Streamed) else each[0])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_before_content_a_hand_over_is_not_seen(dialect: str, pair: tuple[str, str], row: Streamed) -> None:
    """The stream is the fallback's, and whole; or it is an error with a status, before any event."""
    scripts = (pair[0], Script.always(row.behaviour)), (pair[1], Script.always(Answer("hello there")))
    async with door("in process", *scripts) as at:
        answer = await asked(at, dialect, streams=True)
    if row.over:
        assert answer.status_code == outward_status(row.verdict, None)
        shape_of(dialect, answer.json())
        return
    assert answer.status_code == 200
    assert answer.headers["x-understudy-transport"] == pair[1]
    text, ends, errors = read(dialect, answer.content)
    assert (text, bool(ends), errors) == ("hello there", True, [])


@pytest.mark.parametrize(("pair", "row"), AFTER, ids=lambda each: str(each) if isinstance(each, Streamed) else each[0])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_after_content_an_error_is_told(dialect: str, pair: tuple[str, str], row: Streamed) -> None:
    """In the dialect's own way, after what had come, and without an end; asked for whole, it is repaired."""
    scripts = (pair[0], Script.always(row.behaviour)), (pair[1], Script.always(Answer("hello there")))
    async with door("in process", *scripts) as at:
        answer = await asked(at, dialect, streams=True)
        text, ends, errors = read(dialect, answer.content)
        assert answer.status_code == 200
        assert text.startswith("one two")
        assert ends == []
        (error,) = errors
        assert "cut off" in error["message"]


def read(dialect: str, content: bytes) -> tuple[str, list[str], list[dict[str, Any]]]:
    """Return the text of a stream, what ends it, and the errors that it tells."""
    text, ends, errors = "", list[str](), list[dict[str, Any]]()
    for name, data in SSEDecoder().feed(content):
        if data == b"[DONE]":
            ends.append("[DONE]")
            continue
        told = json.loads(data)
        if told.get("error"):
            errors.append(shape_of(dialect, told))
        elif dialect == "openai":
            choice = told["choices"][0] if told["choices"] else {"delta": {}, "finish_reason": None}
            text += choice["delta"].get("content") or ""
            ends += [choice["finish_reason"]] if choice["finish_reason"] else []
        else:
            assert name == told["type"]
            text += told["delta"].get("text", "") if name == "content_block_delta" else ""
            ends += [name] if name == "message_stop" else []
    return text, ends, errors
