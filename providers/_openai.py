"""The `openai` transport, and the client that its relatives (gemini, lmstudio, nous) share."""

from __future__ import annotations

from functools import partial

import openai

from ._http import http_client
from ._port import Target
from ._sdk import SDKProvider, Wire, settle_client
from ._wire_openai import Dialect, read, render

OFFICIAL = "https://api.openai.com/v1"

_VENDOR = Dialect(token_limit="max_completion_tokens", unsupported=frozenset({"top_k"}))
_COMPATIBLE = Dialect()


def connect(target: Target) -> SDKProvider:
    """Make the provider of an `openai` endpoint: the vendor's own rules there, the common ones elsewhere."""
    return connect_as(target, _VENDOR if target.base_url == OFFICIAL else _COMPATIBLE)


def connect_as(target: Target, dialect: Dialect) -> SDKProvider:
    """Make a provider that speaks `dialect` of the OpenAI wire through `AsyncOpenAI`."""
    client = openai.AsyncOpenAI(
        api_key=target.api_key.get_secret_value() if target.api_key else "none",
        base_url=target.base_url,
        max_retries=0,
        http_client=http_client(target),
    )
    settle_client(client)
    wire = Wire("/chat/completions", partial(render, dialect=dialect), read, "x-request-id")
    return SDKProvider(target, client, wire, openai.APIStatusError, openai.Omit())
