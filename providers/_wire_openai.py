"""The OpenAI chat-completions wire: neutral types to JSON and back. Pure.

Servers that speak this wire differ in small ways, which a `Dialect` holds as data. Source of the shapes:
platform.openai.com/docs/api-reference/chat; ai.google.dev/gemini-api/docs/openai; lmstudio.ai/docs/api.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from ._json import encode
from ._messages import Block, Image, Message, Reasoning, Text, ToolCall, ToolResult
from ._request import FinishReason, Parameters, Request, Response, Tool, Usage
from ._verdicts import Verdict
from ._wire import Rendered, WireError, json_object, stops, whole


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server's chat completions differ.

    `token_limit` names its output limit; `unsupported` are parameters it would refuse or silently ignore;
    `thinking` says how it is told to think: by an effort, by Gemini's budget, or not at all.
    """

    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    unsupported: frozenset[str] = frozenset()
    thinking: Literal["effort", "gemini", "none"] = "effort"


_PASSED = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")

_EFFORT_FOR_BUDGET: tuple[tuple[int, str], ...] = ((2048, "low"), (8192, "medium"))
"""Thinking tokens below which an effort fits; above the last one it is `high` (chosen: a quarter apart)."""


def render(request: Request, dialect: Dialect) -> Rendered:
    """Return the body of `POST /chat/completions` for `request`.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    parameters = request.parameters
    body: dict[str, Any] = {"model": request.model, "messages": list(_messages(request.messages))}
    if not parameters:
        return Rendered(body, ())
    dropped = [name for name in dialect.unsupported if name in parameters]
    for name in _PASSED:
        if name in parameters and name not in dialect.unsupported:
            body[name] = parameters[name]  # type: ignore[literal-required]
    if "max_tokens" in parameters:
        body[dialect.token_limit] = parameters["max_tokens"]
    if sequences := stops(parameters):
        body["stop"] = sequences
    if parameters.get("json_mode"):
        body["response_format"] = {"type": "json_object"}
    _render_tools(body, parameters)
    dropped += _render_thinking(body, parameters, dialect)
    body.update(parameters.get("extra_body", {}))
    return Rendered(body, tuple(sorted(dropped)))


def _render_tools(body: dict[str, Any], parameters: Parameters) -> None:
    tools = parameters.get("tools")
    if not tools:
        return
    body["tools"] = [_tool(tool) for tool in tools]
    choice = parameters.get("tool_choice")
    if choice is not None:
        named = choice not in {"auto", "none", "required"}
        body["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    if "parallel_tool_calls" in parameters:
        body["parallel_tool_calls"] = parameters["parallel_tool_calls"]


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _render_thinking(body: dict[str, Any], parameters: Parameters, dialect: Dialect) -> list[str]:
    """Say how hard to think in the dialect's way; return the names of what it cannot say."""
    effort, budget = parameters.get("reasoning_effort"), parameters.get("thinking_budget_tokens")
    if effort is None and budget is None:
        return []
    if dialect.thinking == "none":
        return [name for name in ("reasoning_effort", "thinking_budget_tokens") if name in parameters]
    if budget is not None and dialect.thinking == "gemini":
        body["extra_body"] = {"google": {"thinking_config": {"thinking_budget": budget}}}
        return ["reasoning_effort"] if effort is not None else []
    body["reasoning_effort"] = effort if effort is not None else _effort(budget or 0)
    return ["thinking_budget_tokens"] if effort is not None and budget is not None else []


def _effort(budget: int) -> str:
    if budget <= 0:
        return "none"
    return next((effort for below, effort in _EFFORT_FOR_BUDGET if budget < below), "high")


def _messages(messages: Iterable[Message]) -> Iterable[dict[str, Any]]:
    for message in messages:
        blocks = message.blocks
        if len(blocks) == 1 and type(blocks[0]) is Text and message.role != "tool":
            yield {"role": message.role, "content": blocks[0].text}
        elif message.role == "tool":
            yield from (_tool_result(block) for block in blocks)
        elif message.role == "assistant":
            yield _assistant(message)
        else:
            yield {"role": message.role, "content": [_part(block, message.role) for block in blocks]}


def _tool_result(block: Block) -> dict[str, Any]:
    if not isinstance(block, ToolResult):
        raise ValueError(f"a tool message holds tool results, not {type(block).__name__}")
    return {"role": "tool", "tool_call_id": block.call_id, "content": block.content}


def _assistant(message: Message) -> dict[str, Any]:
    """An assistant turn: text and tool calls. Reasoning is not sent: this wire has no common place for it."""
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.arguments}}
        for block in message.blocks
        if isinstance(block, ToolCall)
    ]
    for block in message.blocks:
        if isinstance(block, (Image, ToolResult)):
            raise ValueError(f"an assistant message cannot hold {type(block).__name__}")
    text = message.text
    turn: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        turn["tool_calls"] = calls
    return turn


def _part(block: Block, role: str) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image) and role == "user":
        url = block.url if block.url is not None else f"data:{block.media_type};base64,{block.data}"
        return {"type": "image_url", "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})}}
    raise ValueError(f"a {role} message cannot hold {type(block).__name__}")


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
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str) and thought:
        blocks.append(Reasoning(thought, issuer=transport))
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
