"""What Langfuse is shown of a request, a run, a turn and a tool: names and values as its SDK takes them. Pure.

Conversations are shown in the form of OpenAI's chat messages, which its pages know how to draw. Only what stands here
leaves the process: parameters by name, never headers or bodies of the caller's own (R-SEC-3). Pictures are named, not
sent: the SDK would upload each of them once more.

Source: langfuse.com/docs/observability/features/token-and-cost-tracking for the names of kinds of tokens, which are
added up there: so what was read from a cache is taken out of `input`, and thinking out of `output`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..providers import (
    Attempt,
    Image,
    Message,
    Parameters,
    PassedOver,
    Reasoning,
    Response,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    Verdict,
    tools_of,
)
from ..supervisor import RequestOver

PLAIN_PARAMETERS = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "thinking_budget_tokens",
    "tool_choice",
    "parallel_tool_calls",
    "json_mode",
    "cache_policy",
    "structured_output_mode",
)
"""The parameters that are shown as they are."""


UNKNOWN_TOOL = "unknown tool"
"""What a tool is called that does not exist: its name is the model's word, and may quote a prompt."""


def parameters_shown(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that may be shown; of tools and of a shape, the names."""
    shown: dict[str, Any] = {}
    for name in PLAIN_PARAMETERS:
        if name in parameters:
            value = parameters[name]  # type: ignore[literal-required]
            shown[name] = value if isinstance(value, (str, int, float, bool)) else ", ".join(value)
    if tools := tools_of(parameters):
        shown["tools"] = ", ".join(tool.name for tool in tools)
    if "shape" in parameters:
        shown["shape"] = parameters["shape"].name
    return shown


def conversation(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return messages as a chat; each result of a tool is a message of its own."""
    return [shown for message in messages for shown in _messages(message)]


def answer(message: Message) -> Any:
    """Return an answer: its text, or a chat message where there is more to it."""
    (shown,) = _messages(message)
    return shown["content"] if shown.keys() == {"role", "content"} else shown


def _messages(message: Message) -> list[dict[str, Any]]:
    results = [block for block in message.blocks if isinstance(block, ToolResult)]
    shown: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": result.call_id, "content": result.content} for result in results
    ]
    rest = [block for block in message.blocks if not isinstance(block, ToolResult)]
    if rest or not results:
        shown.append(_message(message.role, rest))
    return shown


def _message(role: str, blocks: list[Any]) -> dict[str, Any]:
    texts = [block.text for block in blocks if isinstance(block, Text)]
    pictures = [_picture(block) for block in blocks if isinstance(block, Image)]
    thought = "".join(block.text for block in blocks if isinstance(block, Reasoning))
    calls = [_call(block) for block in blocks if isinstance(block, ToolCall)]
    text = "".join(texts)
    content: Any = [*({"type": "text", "text": each} for each in texts), *pictures] if pictures else text
    shown: dict[str, Any] = {"role": role, "content": content}
    if thought:
        shown["reasoning"] = thought
    if calls:
        shown["tool_calls"] = calls
    return shown


def _picture(image: Image) -> dict[str, Any]:
    data = (image.data or "").rstrip("=")
    named = image.url or f"{image.media_type}, {len(data) * 3 // 4} bytes"
    return {"type": "text", "text": f"[image: {named}]"}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def tokens(usage: Usage) -> dict[str, int]:
    """Return the tokens by kind, each counted once, and their sum; what nobody told is left out."""
    cached, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    thought = usage.reasoning_tokens or 0
    kinds = {
        "input": None if usage.input_tokens is None else max(usage.input_tokens - cached - written, 0),
        "input_cached_tokens": usage.cache_read_tokens,
        "input_cache_creation": usage.cache_write_tokens,
        "output": None if usage.output_tokens is None else max(usage.output_tokens - thought, 0),
        "output_reasoning_tokens": usage.reasoning_tokens,
        "total": usage.total_tokens,
    }
    return {kind: count for kind, count in kinds.items() if count is not None}


def attempts_shown(attempts: Iterable[Attempt], *, content: bool) -> list[dict[str, Any]]:
    """Return the trail. Without `content` nothing that a provider said is in it, for it may quote the prompt."""
    return [
        {
            "number": attempt.number,
            "transport": attempt.transport,
            "model": attempt.model,
            "verdict": str(attempt.verdict),
            "status": attempt.status,
            "start": round(attempt.start, 6),
            "duration": round(attempt.duration, 6),
            "first_token": None if attempt.first_token is None else round(attempt.first_token, 6),
            "request_id": attempt.request_id,
            **({"reason": attempt.reason} if content and attempt.reason else {}),
        }
        for attempt in attempts
    ]


def passed_over_shown(passed_over: Iterable[PassedOver], *, content: bool) -> list[dict[str, Any]]:
    """Return the routes that were not asked; why, without `content`, up to what a provider said."""
    return [
        {
            "transport": route.transport,
            "model": route.model,
            "reason": route.reason if content else route.reason.partition(":")[0],
        }
        for route in passed_over
    ]


def request_metadata(agent: str, over: RequestOver, *, content: bool) -> dict[str, Any]:
    """Return what is said of a request beside its content."""
    response = over.response
    shown: dict[str, Any] = {
        "agent": agent,
        "is_fallback": response is not None and response.is_fallback,
        "attempts": attempts_shown(over.attempts, content=content),
        "passed_over": passed_over_shown(over.passed_over, content=content),
    }
    if response is not None:
        shown |= {"transport": response.transport, "finish_reason": response.finish_reason}
        shown |= {"request_id": response.request_id} if response.request_id else {}
        shown |= {"not_sent": list(response.dropped)} if response.dropped else {}
    return shown


def request_level(over: RequestOver, *, content: bool) -> tuple[str, str]:
    """Return the level of a request, and the message that explains it: empty for one that its primary answered at once.

    It is WARNING if anybody else was asked, or it took more than one attempt, or its caller left; ERROR without answer.
    """
    if over.error == "cancelled":
        return "WARNING", "cancelled by its caller"
    if over.error:
        return "ERROR", f"{over.error}: {over.reason}" if content and over.reason else over.error
    left = [f"{route.transport}/{route.model} passed over" for route in over.passed_over]
    left += [f"{each.transport}/{each.model} {_came_to(each)}" for each in over.attempts[:-1]]
    if not left:
        return "DEFAULT", ""
    response = over.response
    is_fallback = response is not None and response.is_fallback
    return "WARNING", ("handed over: " if is_fallback else "after: ") + ", ".join(left)


def _came_to(attempt: Attempt) -> str:
    """Say what an attempt came to that was not the last: an answer was not in the shape that was asked for."""
    return "gave an invalid answer" if attempt.verdict is Verdict.OK else str(attempt.verdict)


def served_by(over: RequestOver) -> tuple[str | None, str | None]:
    """Return transport and model of whoever answered, or else was asked last, or else would have been asked."""
    response: Response | None = over.response
    if response is not None:
        return response.transport, response.model
    route: Attempt | PassedOver | None = next(reversed(over.attempts), None) or next(iter(over.passed_over), None)
    return (None, None) if route is None else (route.transport, route.model)
