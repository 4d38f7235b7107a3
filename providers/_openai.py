"""The transports that speak the OpenAI wire through `AsyncOpenAI`: `openai`, `gemini`, `lmstudio`, `nous`.

They differ in their dialect (`_dialects.py`): gemini is Google's OpenAI-compatible endpoint, lmstudio a local server
that needs no key; nous has words of its own for what went wrong (`_judge_nous.py`).
"""

from __future__ import annotations

from functools import partial

import httpx2
import openai

from ._dialects import render
from ._http import http_client
from ._judge_nous import judge_nous
from ._port import Target
from ._sdk import SDKProvider, Wire
from ._settled import settle_client
from ._stream_openai import OpenAIReading
from ._wire_openai import read


def connect(target: Target, own: httpx2.AsyncClient | None = None) -> SDKProvider:
    """Make the provider of an endpoint that speaks the OpenAI wire.

    Args:
        own: The HTTP client to send with; by default one of ours.
    """
    http = http_client(target, own)
    client = openai.AsyncOpenAI(
        api_key=target.api_key.get_secret_value() if target.api_key else "none",
        base_url=target.base_url,
        max_retries=0,
        http_client=http.client,
    )
    settle_client(client)
    wire = Wire(
        "openai",
        "/chat/completions",
        partial(render, target.transport, target.base_url),
        read,
        OpenAIReading,
        "x-request-id",
        usage={"stream_options": {"include_usage": True}},
        judge=judge_nous if target.transport == "nous" else None,
    )
    return SDKProvider(target, client, wire, openai.APIStatusError, openai.Omit(), http)
