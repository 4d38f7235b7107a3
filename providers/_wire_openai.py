"""The OpenAI chat-completions wire: neutral types to JSON and back. Pure.

Servers that speak this wire differ in small ways, which a `Dialect` holds as data. Source of the shapes:
platform.openai.com/docs/api-reference/chat; ai.google.dev/gemini-api/docs/openai; lmstudio.ai/docs/api.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from ._json import encode
from ._messages import Block, Reasoning, Text, ToolCall
from ._request import EFFORTS, Effort, FinishReason, Parameters, Request, Response, Tool, Usage, tools_of
from ._turns_openai import REASONING, Memory, messages_of
from ._verdicts import Verdict
from ._wire import Rendered, WireError, effort_for, json_object, nearest, stops, whole


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server's chat completions differ, or one line of its models.

    `token_limit` names its output limit; `unsupported` are parameters it would refuse or silently ignore. `efforts`
    are the levels of thinking it knows, rising; without any it cannot be told. With `budgets` it takes Gemini's
    thinking budget. `tools_unthinking` and `sampling_unthinking` say that tools, and temperature and top_p, go only
    with the effort `none`; the latter holds for models that make no effort unless told. `tool_by_name` is False where
    a choice must be a word. `most_stops` are the stop sequences it takes; `memory` says how it takes a conversation.
    """

    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    unsupported: frozenset[str] = frozenset()
    efforts: tuple[Effort, ...] = EFFORTS
    budgets: bool = False
    tools_unthinking: bool = False
    sampling_unthinking: bool = False
    tool_by_name: bool = True
    most_stops: int | None = None
    memory: Memory = Memory()  # noqa: RUF009 - frozen


_PASSED = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")

_SAMPLING = frozenset({"temperature", "top_p"})

_NEUTRAL: dict[str, object] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "json_mode": False,
}
"""Values that ask for nothing but what happens anyway: nothing is lost where they are not sent."""


def render(request: Request, dialect: Dialect, *, issuer: str = "") -> Rendered:
    """Return the body of `POST /chat/completions` for `request`.

    Args:
        issuer: Whose reasoning and details the server can read.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    parameters = request.parameters
    messages = messages_of(request.messages, dialect.memory, issuer=issuer)
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if not parameters:
        return Rendered(body, ())
    refused = dialect.unsupported
    _render_tools(body, parameters, dialect)
    dropped = _render_thinking(body, parameters, dialect)
    if dialect.sampling_unthinking and body.get("reasoning_effort", "none") != "none":
        refused |= _SAMPLING
    for name in _PASSED:
        if name in parameters and name not in refused:
            body[name] = parameters[name]  # type: ignore[literal-required]
    if "max_tokens" in parameters:
        body[dialect.token_limit] = parameters["max_tokens"]
    if "stop" not in refused and (sequences := stops(parameters)):
        body["stop"] = sequences[: dialect.most_stops]
        dropped += ["stop"] if len(body["stop"]) < len(sequences) else []
    if "json_mode" not in refused and parameters.get("json_mode"):
        body["response_format"] = {"type": "json_object"}
    dropped += [name for name in refused if _is_lost(name, parameters)]
    body.update(parameters.get("extra_body", {}))
    return Rendered(body, tuple(sorted(dropped)))


def _is_lost(name: str, parameters: Parameters) -> bool:
    """Say whether something is asked for by this parameter, so that its absence is worth a word."""
    if name == "stop":
        return bool(stops(parameters))
    return name in parameters and parameters[name] != _NEUTRAL.get(name)  # type: ignore[literal-required]


def _render_tools(body: dict[str, Any], parameters: Parameters, dialect: Dialect) -> None:
    tools = tools_of(parameters)
    if not tools:
        return
    choice = parameters.get("tool_choice")
    if choice is not None:
        named = choice not in {"auto", "none", "required"}
        if named and not dialect.tool_by_name:  # offered alone, and required, it is chosen all the same
            tools, named, choice = [tool for tool in tools if tool.name == choice] or tools, False, "required"
        body["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    body["tools"] = [_tool(tool) for tool in tools]
    if "parallel_tool_calls" in parameters and "parallel_tool_calls" not in dialect.unsupported:
        body["parallel_tool_calls"] = parameters["parallel_tool_calls"]


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _render_thinking(body: dict[str, Any], parameters: Parameters, dialect: Dialect) -> list[str]:
    """Say how hard to think in the dialect's way; return the names of what it cannot say."""
    effort, budget = parameters.get("reasoning_effort"), parameters.get("thinking_budget_tokens")
    asked: list[str] = [name for name in ("reasoning_effort", "thinking_budget_tokens") if name in parameters]
    wanted = effort if effort is not None else effort_for(budget or 0)
    if dialect.tools_unthinking and "tools" in body:
        body["reasoning_effort"] = "none"
        return asked if wanted != "none" else []
    if not asked or not dialect.efforts:
        return asked
    if dialect.budgets and budget is not None and (budget or "none" in dialect.efforts):
        body["extra_body"] = {"google": {"thinking_config": {"thinking_budget": budget}}}
        return asked[:-1]
    body["reasoning_effort"] = nearest(wanted, dialect.efforts)
    return asked[1:]


_FINISH: dict[object, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read(body: bytes, content_type: str, transport: str) -> Response:
    """Return the answer in the body of a 200.

    Raises:
        WireError: It is no answer: not JSON, no choices, or an empty one.
    """
    answer = json_object(body, content_type)
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        blocks, refused = _read_message(message, transport)
        finish = _FINISH.get(choice.get("finish_reason"), "other")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise WireError(Verdict.MALFORMED, "the answer has no choices[0].message that can be read") from None
    if refused and finish == "stop":
        finish = "refusal"
    calls = any(isinstance(block, ToolCall) for block in blocks)
    if calls and finish in {"stop", "other"}:  # several servers end a turn of tool calls with "stop"
        finish = "tool_calls"
    if not calls and finish in {"stop", "tool_calls", "other"} and not _said(blocks):
        raise WireError(Verdict.EMPTY, "the answer is finished, but has no text and no tool call")
    model = answer.get("model")
    return Response(
        blocks, model if isinstance(model, str) else "", transport, finish, _read_usage(answer.get("usage"))
    )


def _said(blocks: Iterable[Block]) -> bool:
    return any(isinstance(block, Text) and block.text for block in blocks)


def _read_message(message: Mapping[str, Any], transport: str) -> tuple[tuple[Block, ...], bool]:
    blocks: list[Block] = []
    field = REASONING if message.get(REASONING) else "reasoning"
    thought = message.get(field)
    if isinstance(thought, str) and thought:
        blocks.append(Reasoning(thought, issuer=transport, field=None if field == REASONING else field))
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if isinstance(content, str) and content:
        blocks.append(Text(content, transport))
    elif isinstance(refusal, str) and refusal:
        blocks.append(Text(refusal, transport))
    for number, call in enumerate(message.get("tool_calls") or ()):
        blocks.append(_read_call(call, number, transport))
    return tuple(blocks), isinstance(refusal, str) and bool(refusal)


def _read_call(call: Mapping[str, Any], number: int, transport: str) -> ToolCall:
    function = call["function"]
    name, arguments = function["name"], function.get("arguments")
    if not isinstance(name, str):
        raise TypeError("a tool call without a name")
    if not isinstance(arguments, str):  # some servers send the object itself
        arguments = encode(arguments or {}).decode()
    identity = call.get("id")
    return ToolCall(
        identity if isinstance(identity, str) and identity else f"call_{number}", name, arguments, transport
    )


def _read_usage(usage: object) -> Usage:
    if not isinstance(usage, Mapping):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        input_tokens=whole(usage.get("prompt_tokens")),
        output_tokens=whole(usage.get("completion_tokens")),
        cache_read_tokens=whole(prompt.get("cached_tokens")) if isinstance(prompt, Mapping) else None,
        cache_write_tokens=whole(prompt.get("cache_write_tokens")) if isinstance(prompt, Mapping) else None,
        reasoning_tokens=whole(completion.get("reasoning_tokens")) if isinstance(completion, Mapping) else None,
    )
