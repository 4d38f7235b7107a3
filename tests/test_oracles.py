"""Oracles: where the SDKs' own parsers and ours part ways, each difference with its reason.

For good answers both agree (`test_wire_openai.py`, `test_wire_anthropic.py`). For the answers below the SDK's typed
call lets something pass, or raises what its callers do not expect; we say what it is. The same server answers both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from pydantic import SecretStr

from understudy.providers import AttemptError, Request, Target, Verdict, connect, user
from understudy.simulation import Script, Status, simulated_server

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@dataclass(frozen=True)
class Difference:
    """An answer under a 200, what the SDK makes of it by wire, what it is to us, and why we differ."""

    answer: bytes
    openai: str
    anthropic: str
    ours: Verdict
    because: str
    content_type: str = "application/json"


GOOD = {
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "content": [{"type": "text", "text": "hi"}],
}

DIFFERENCES: dict[str, Difference] = {
    "a page": Difference(
        b"<html>login</html>", "str", "str", Verdict.MALFORMED, "a login page is nobody's answer", "text/html"
    ),
    "a good answer that is said to be a page": Difference(
        json.dumps(GOOD).encode(),
        "ChatCompletion",
        "Message",
        Verdict.MALFORMED,
        "what lies about its type is not trusted",
        "text/html",
    ),
    "nothing": Difference(b"", "JSONDecodeError", "JSONDecodeError", Verdict.MALFORMED, "no error outside of the tree"),
    "cut short": Difference(b'{"choices": [', "JSONDecodeError", "JSONDecodeError", Verdict.MALFORMED, "the same"),
    "no choices": Difference(
        b'{"choices": null, "content": null}', "ChatCompletion", "Message", Verdict.MALFORMED, "None is not an answer"
    ),
    "empty choices": Difference(
        b'{"choices": [], "content": 3}', "ChatCompletion", "Message", Verdict.MALFORMED, "nor is an empty list"
    ),
    "an error": Difference(
        b'{"error": {"type": "overloaded_error", "message": "busy"}}',
        "ChatCompletion",
        "Message",
        Verdict.OVERLOADED,
        "an error is one under any status",
    ),
    "a number that is none": Difference(
        b'{"choices": NaN, "content": NaN}', "ChatCompletion", "Message", Verdict.MALFORMED, "RFC 8259 has no NaN"
    ),
}


async def typed(transport: str, url: str) -> str:
    """Return the name of what the SDK's typed call gives, or raises."""
    asked: Any = [{"role": "user", "content": "hi"}]
    try:
        if transport == "openai":
            async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as chat:
                return type(await chat.chat.completions.create(model="m", messages=asked)).__name__
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as messages:
            return type(await messages.messages.create(model="m", messages=asked, max_tokens=9)).__name__
    except Exception as error:  # noqa: BLE001 - whatever it is, its name is the result
        return type(error).__name__


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_where_we_differ_from_the_sdk(transport: str, name: str) -> None:
    """The SDK gives what the table says, and so do we: when one of them changes, the table must."""
    row = DIFFERENCES[name]
    answer = Status(200, body=row.answer, content_type=row.content_type)
    async with simulated_server(Script.always(answer)) as server:
        url = server.anthropic_url if transport == "anthropic" else server.openai_url
        assert await typed(transport, url) == getattr(row, transport)
        provider = connect(Target(transport, url, SecretStr("k")))
        try:
            with pytest.raises(AttemptError) as caught:
                await provider.complete(Request("m", (user("hi"),)))
        finally:
            await provider.aclose()
    assert caught.value.verdict is row.ours
    assert row.because
