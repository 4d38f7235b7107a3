"""The `anthropic` transport."""

from __future__ import annotations

from functools import partial

import anthropic
import httpx2

from ._dialects import render
from ._http import http_client
from ._port import Target
from ._sdk import SDKProvider, Wire
from ._settled import settle_client
from ._stream_anthropic import AnthropicReading
from ._wire_anthropic import read


def connect(target: Target, own: httpx2.AsyncClient | None = None) -> SDKProvider:
    """Make the provider of an `anthropic` endpoint through `AsyncAnthropic`, its own tracing switched off.

    Args:
        own: The HTTP client to send with; by default one of ours.
    """
    http = http_client(target, own)
    client = anthropic.AsyncAnthropic(
        api_key=target.api_key.get_secret_value() if target.api_key else "none",
        base_url=target.base_url,
        max_retries=0,
        http_client=http.client,
        open_telemetry={"traces": False, "propagation": False},
    )
    settle_client(client)
    wire = Wire(
        "anthropic",
        "/v1/messages",
        partial(render, target.transport, target.base_url),
        read,
        AnthropicReading,
        "request-id",
        usage={},
    )
    return SDKProvider(target, client, wire, anthropic.APIStatusError, anthropic.Omit(), http)
