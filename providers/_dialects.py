"""Which dialect of its wire each endpoint speaks, and what it cannot be told. Pure: no SDK is needed to know it."""

from __future__ import annotations

from typing import cast

from ._messages import user
from ._request import Parameters, Request, Tool
from ._wire_anthropic import render as render_anthropic
from ._wire_openai import Dialect
from ._wire_openai import render as render_openai

OPENAI_URL = "https://api.openai.com/v1"
"""Where the vendor itself serves the wire; `openai` at another address is a server that is compatible with it."""

_VENDOR = Dialect(token_limit="max_completion_tokens", unsupported=frozenset({"top_k"}))
_COMPATIBLE = Dialect()
_DIALECTS: dict[str, Dialect] = {
    "gemini": Dialect(unsupported=frozenset({"top_k"}), thinking="gemini"),
    "lmstudio": Dialect(thinking="none"),
    "nous": _COMPATIBLE,
}


def dialect_of(transport: str, base_url: str) -> Dialect:
    """Return the dialect of an endpoint on the OpenAI wire: the vendor's own rules there, common ones elsewhere."""
    if transport == "openai":
        return _VENDOR if base_url == OPENAI_URL else _COMPATIBLE
    return _DIALECTS[transport]


def left_out(transport: str, base_url: str, parameters: Parameters) -> tuple[str, ...]:
    """Return the names of the parameters that are not sent to an endpoint, because its wire cannot express them."""
    request = Request("any", (user("anything"),), parameters)
    if transport == "anthropic":
        return render_anthropic(request).dropped
    return render_openai(request, dialect_of(transport, base_url)).dropped


_SAMPLES: dict[str, object] = {
    "max_tokens": 100_000,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 9,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "seed": 1,
    "stop": ["STOP"],
    "reasoning_effort": "low",
    "thinking_budget_tokens": 2048,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "json_mode": True,
}


def inexpressible(transport: str, base_url: str) -> frozenset[str]:
    """Return the names of all parameters that an endpoint cannot be told at all, each tried by itself."""
    return frozenset(name for name in _SAMPLES if name in left_out(transport, base_url, _alone(name)))


def _alone(name: str) -> Parameters:
    room = {"max_tokens": _SAMPLES["max_tokens"], "tools": [Tool("any")]}  # thinking needs the one, a choice the other
    return cast(Parameters, {**room, name: _SAMPLES[name]})
