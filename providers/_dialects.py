"""Which dialect of its wire each model at each endpoint speaks, and what it cannot be told.

Pure: no SDK is needed to know it. How Claude models differ stands in `_claude.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from ._messages import user
from ._request import Effort, Parameters, Request, Shape, StructuredOutputMode, Tool
from ._subset import FINE_TUNED
from ._turns_openai import OPENAI, Memory
from ._wire import Rendered
from ._wire_anthropic import render as render_anthropic
from ._wire_openai import Dialect
from ._wire_openai import render as render_openai

ADDRESSES: dict[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "lmstudio": "http://localhost:1234/v1",
    "nous": "https://inference-api.nousresearch.com/v1",
}
"""Where each transport's vendor itself serves the wire; at another address is a server that is compatible with it."""

_NO_SAMPLING = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty", "stop"})
_NO_PENALTIES = _NO_SAMPLING - {"temperature", "top_p"}
_FORGETFUL = Memory(reasoning=False)

_MOST_STOPS = 4
"""`openai.types.chat.completion_create_params`: "Up to 4 sequences"."""


def _vendor(*unsupported: str, **rules: Any) -> Dialect:
    refused = frozenset({"top_k", *unsupported})
    rules.setdefault("modes", ("json_schema", "tool", "json_object"))
    return Dialect("max_completion_tokens", refused, most_stops=_MOST_STOPS, memory=OPENAI, **rules)


_PLAIN = _vendor(efforts=())
_JSON_MODE = _vendor(efforts=(), modes=("json_object", "tool"))
_TOOLS = _vendor(efforts=(), modes=("tool",))
_O_SERIES = _vendor(*_NO_SAMPLING, "parallel_tool_calls", efforts=("low", "medium", "high"))
_GPT_5_LATER: tuple[Effort, ...] = ("none", "low", "medium", "high", "xhigh")

_OPENAI_MODELS: tuple[tuple[str, Dialect], ...] = (
    ("o1", _O_SERIES),
    ("o3", _O_SERIES),
    ("o4", _O_SERIES),
    ("gpt-5-chat", _PLAIN),
    ("gpt-5.1-chat", _vendor(*_NO_SAMPLING, efforts=())),
    ("gpt-5.2-chat", _vendor(*_NO_SAMPLING, efforts=())),
    ("gpt-5.3-chat", _vendor(*_NO_SAMPLING, efforts=())),
    ("gpt-5.1", _vendor(*_NO_PENALTIES, efforts=("none", "low", "medium", "high"), sampling_unthinking=True)),
    ("gpt-5.2", _vendor(*_NO_PENALTIES, efforts=_GPT_5_LATER, sampling_unthinking=True)),
    ("gpt-5.3", _vendor(*_NO_PENALTIES, efforts=_GPT_5_LATER, sampling_unthinking=True)),
    ("gpt-5.4", _vendor(*_NO_PENALTIES, efforts=_GPT_5_LATER, sampling_unthinking=True, tools_unthinking=True)),
    ("gpt-5.", _vendor(*_NO_SAMPLING, efforts=_GPT_5_LATER, tools_unthinking=True)),
    ("gpt-5", _vendor(*_NO_SAMPLING, efforts=("minimal", "low", "medium", "high"))),
    ("gpt-6-astra", _vendor(*_NO_SAMPLING, efforts=("low", "medium", "high", "xhigh"))),
    ("gpt-6", _vendor(*_NO_SAMPLING, efforts=_GPT_5_LATER, tools_unthinking=True)),
    ("gpt-3", _JSON_MODE),
    ("gpt-4o-2024-05-13", _JSON_MODE),
    ("gpt-4o-audio", _TOOLS),
    ("gpt-4o", _PLAIN),
    ("gpt-4.", _PLAIN),
    ("gpt-4-1106", _JSON_MODE),
    ("gpt-4-0125", _JSON_MODE),
    ("gpt-4-turbo", _JSON_MODE),
    ("gpt-4", _TOOLS),
    ("chatgpt-4", _JSON_MODE),
    ("gpt-audio", _TOOLS),
    ("gpt-", _vendor(*_NO_SAMPLING, efforts=("low", "medium", "high"))),
    ("", _vendor()),
)
"""What OpenAI's chat completions take of a model, by the beginning of its name, the first that fits; what is left out
is a 400 that somebody got. A line that is not known yet is taken for a strict one. Source: developers.openai.com/api/
docs/guides/reasoning and …/latest-model, "parameter compatibility"; docs/decisions/0008-thinking.md has the rest. For
answers in a shape: …/structured-outputs ("gpt-4o-2024-08-06 and later", JSON mode before)."""

_NOT_GEMINI = frozenset({"top_k", "frequency_penalty", "presence_penalty", "seed"})
_UNSIGNED = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made. Source: ai.google.dev/gemini-api/docs/thought-signatures,
"FAQs"; from 3 on a call of the current turn without one is a 400."""


def _gemini(*efforts: Effort, budgets: bool = False, signs: bool = True, **rules: Any) -> Dialect:
    memory = Memory(reasoning=False, signature=_UNSIGNED if signs else None)
    modes: tuple[StructuredOutputMode, ...] = ("json_schema", "tool", "json_object")
    return Dialect(unsupported=_NOT_GEMINI, efforts=efforts, budgets=budgets, memory=memory, modes=modes, **rules)


_GEMINI_MODELS: tuple[tuple[str, Dialect], ...] = (
    ("gemini-2.5-pro", _gemini("low", "medium", "high", budgets=True, signs=False, format_or_tools=True)),
    ("gemini-2.5", _gemini("none", "low", "medium", "high", budgets=True, signs=False, format_or_tools=True)),
    ("gemini-2", _gemini("low", "medium", "high", signs=False, format_or_tools=True)),
    ("gemini-3-pro", _gemini("low", "high")),
    ("", _gemini("low", "medium", "high")),
)
"""Gemini's endpoint refuses fields it does not know, penalties above 0, the efforts minimal, xhigh and max, and `none`
but on 2.5 Flash; from 3 on a level stands in the budget's place. Source: ai.google.dev/gemini-api/docs/openai and
…/thinking; discuss.ai.google.dev 117875 and 112648. "Function calling with a response mime type: 'application/json' is
unsupported" (googleapis/python-genai 867) before 3."""

_COMPATIBLE = Dialect()
"""JSON mode is what most of them know: DeepSeek answers `json_schema` with "This response_format type is unavailable
now" (UKGovernmentBEIS/inspect_ai 4916). Who runs a server that knows more says so by the mode."""

_STRICT: tuple[tuple[str, Dialect], ...] = (
    ("https://api.deepseek.com", Dialect(memory=Memory(stand_in=""))),
    ("https://api.moonshot.", Dialect(memory=Memory(stand_in="."))),
)
"""Servers, by the beginning of their address, that refuse a call without reasoning while they think. Source: api-docs.
deepseek.com/guides/thinking_mode, deepseek-ai/deepseek-harness 739 (an empty one will do); platform.moonshot.ai/docs/
guide/use-kimi-k2-thinking-model, earendil-works/pi 4251 (it will not)."""

_LMSTUDIO = Dialect(
    unsupported=frozenset({"json_mode"}),
    efforts=(),
    tool_by_name=False,
    memory=_FORGETFUL,
    modes=("json_schema", "tool"),
)
"""It answers `json_object` and a choice by name with a 400 and takes no notice of an effort. Source: lmstudio-ai/
lmstudio-bug-tracker 189, 670 and 988."""


def issuer_of(transport: str, base_url: str) -> str:
    """Return the name under which an endpoint's blocks are kept: nobody else can read its thinking and signatures."""
    return transport if base_url == ADDRESSES.get(transport) else f"{transport} {base_url}"


def dialect_of(transport: str, base_url: str, model: str) -> Dialect:
    """Return how a model on the OpenAI wire is spoken to: a vendor's rules at its address, common ones elsewhere."""
    match transport:
        case "openai" if base_url == ADDRESSES["openai"]:
            dialect = _first(_OPENAI_MODELS, model.removeprefix("ft:"))
            return replace(dialect, subset=FINE_TUNED) if model.startswith("ft:") else dialect
        case "openai":
            return next((dialect for beginning, dialect in _STRICT if base_url.startswith(beginning)), _COMPATIBLE)
        case "gemini":
            return _first(_GEMINI_MODELS, model.removeprefix("models/"))
        case "lmstudio":
            return _LMSTUDIO
        case _:
            return _COMPATIBLE


def _first(dialects: tuple[tuple[str, Dialect], ...], model: str) -> Dialect:
    return next(dialect for beginning, dialect in dialects if model.startswith(beginning))


def render(transport: str, base_url: str, request: Request) -> Rendered:
    """Return the body of `request` as it is sent to an endpoint.

    Raises:
        ValueError: A message holds what its wire has no place for; names it.
    """
    issuer = issuer_of(transport, base_url)
    if transport == "anthropic":
        return render_anthropic(request, issuer=issuer)
    return render_openai(request, dialect_of(transport, base_url, request.model), issuer=issuer)


_ANY = Shape("any", {"type": "object", "properties": {}})


def left_out(transport: str, base_url: str, model: str, parameters: Parameters) -> tuple[str, ...]:
    """Return the names of the parameters that are not sent to a model, because it or its wire cannot express them."""
    if "structured_output_mode" in parameters:
        parameters = {"shape": _ANY, **parameters}
    return render(transport, base_url, Request(model, (user("anything"),), parameters)).dropped


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


def inexpressible(transport: str, base_url: str, model: str) -> frozenset[str]:
    """Return the names of all parameters that a model cannot be told at all, each tried by itself."""
    return frozenset(name for name in _SAMPLES if name in left_out(transport, base_url, model, _alone(name)))


def _alone(name: str) -> Parameters:
    beside: dict[str, object] = {"max_tokens": _SAMPLES["max_tokens"]}  # thinking needs room
    if name in {"tool_choice", "parallel_tool_calls"}:
        beside["tools"] = [Tool("any")]
    return cast(Parameters, {**beside, name: _SAMPLES[name]})
