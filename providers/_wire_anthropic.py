"""The Anthropic messages wire: neutral types to JSON and back. Pure.

Source of the shapes and limits: platform.claude.com/docs/en/api/messages. How a model is told to think stands in
`_claude.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ._claude import claude_of, forcing, room, thinking
from ._json import encode
from ._messages import Block, Image, Message, Reasoning, Text, ToolCall, ToolResult
from ._request import FinishReason, Parameters, Request, Response, Tool, Usage
from ._verdicts import Verdict
from ._wire import Rendered, WireError, json_object, legal_id, stops, whole

DEFAULT_MAX_TOKENS = 4096
"""This wire insists on a limit; every Claude model takes this one. Thinking comes on top."""

_INEXPRESSIBLE = (
    *("temperature", "top_p", "top_k"),
    *("frequency_penalty", "presence_penalty", "seed", "json_mode"),
)
"""The first three were taken out of the API with its version 2026-10-21, which the SDK speaks: sent at all, even at
their defaults, they are a 400. The others have never been in it."""

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
"""What a tool call's id may be: the API's error names the characters; the length is chosen, as the other wire's."""

_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""`anthropic.types.Base64ImageSourceParam`."""

_TOOL_CHOICE = {"auto": "auto", "none": "none", "required": "any"}


def render(request: Request) -> Rendered:
    """Return the body of `POST /v1/messages` for `request`.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    parameters, claude = request.parameters, claude_of(request.model)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": parameters.get("max_tokens", DEFAULT_MAX_TOKENS + room(claude, parameters)),
        "messages": _turns(request.messages),
    }
    if instructions := "\n\n".join(m.text for m in request.messages if m.role == "system" and m.text):
        body["system"] = instructions
    if not parameters:
        return Rendered(body, ())
    dropped = [name for name in _INEXPRESSIBLE if parameters.get(name, False) is not False]
    thought, left_out = thinking(claude, parameters, body["max_tokens"])
    body.update(thought)
    dropped += left_out
    if sequences := [sequence for sequence in stops(parameters) if sequence.strip()]:
        body["stop_sequences"] = sequences
    if len(sequences) < len(stops(parameters)):
        dropped.append("stop")
    dropped += _render_tools(body, parameters, unthinking=forcing(claude, thought))
    body.update(parameters.get("extra_body", {}))
    return Rendered(body, tuple(sorted(dropped)))


def _render_tools(body: dict[str, Any], parameters: Parameters, *, unthinking: dict[str, Any] | None) -> list[str]:
    """Say the tools and the choice; `unthinking` has to be said where one is forced, None means none can be."""
    tools = parameters.get("tools")
    if not tools:
        return []
    body["tools"] = [_tool(tool) for tool in tools]
    choice, parallel = parameters.get("tool_choice"), parameters.get("parallel_tool_calls")
    if choice is None and parallel is None:
        return []
    wanted = choice or "auto"
    dropped: list[str] = []
    if wanted not in {"auto", "none"}:
        if unthinking is None:
            wanted, dropped = "auto", ["tool_choice"]
        else:
            body.update(unthinking)
    chosen: dict[str, Any] = {"type": _TOOL_CHOICE.get(wanted, "tool")}
    if chosen["type"] == "tool":
        chosen["name"] = wanted
    if parallel is not None and wanted != "none":
        chosen["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = chosen
    return dropped


def _tool(tool: Tool) -> dict[str, Any]:
    rendered: dict[str, Any] = {"name": tool.name, "input_schema": dict(tool.parameters)}
    if tool.description:
        rendered["description"] = tool.description
    return rendered


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Merge messages into turns: roles alternate, and tool results are part of the user's turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            for block in message.blocks:
                if not isinstance(block, Text):
                    raise ValueError(f"a system message cannot hold {type(block).__name__}")
            continue
        role = "assistant" if message.role == "assistant" else "user"
        parts = [part for block in message.blocks if (part := _part(block, role)) is not None]
        if not parts:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += parts
        else:
            turns.append({"role": role, "content": parts})
    for turn in turns:
        parts = turn["content"]
        if len(parts) == 1 and parts[0]["type"] == "text":
            turn["content"] = parts[0]["text"]
    return turns


def _part(block: Block, role: str) -> dict[str, Any] | None:
    """Return a content block; None for what this model cannot read (foreign thinking) or refuses (empty text)."""
    match block:
        case Text(text=text):
            return {"type": "text", "text": text} if text else None
        case Image(url=str(url)) if role == "user":
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Image(data=data) if role == "user":
            return {"type": "image", "source": {"type": "base64", "media_type": _media_type(block), "data": data}}
        case ToolCall(id=identity, name=name) if role == "assistant":
            return {
                "type": "tool_use",
                "id": legal_id(identity, _ID),
                "name": name,
                "input": _arguments(block),
            }
        case ToolResult(call_id=identity, content=content, is_error=failed) if role == "user":
            result = {"type": "tool_result", "tool_use_id": legal_id(identity, _ID), "content": content}
            return {**result, "is_error": True} if failed else result
        case Reasoning(issuer="anthropic", redacted=str(redacted)) if role == "assistant":
            return {"type": "redacted_thinking", "data": redacted}
        case Reasoning(issuer="anthropic", signature=str(signature), text=text) if role == "assistant":
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Reasoning():
            return None
        case _:
            raise ValueError(f"a message of the {role} cannot hold {type(block).__name__}")


def _media_type(picture: Image) -> str | None:
    media_type = "image/jpeg" if picture.media_type == "image/jpg" else picture.media_type
    if media_type not in _PICTURES:
        raise ValueError(f"an Image is one of {', '.join(sorted(_PICTURES))} here, not {media_type}: convert it")
    return media_type


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        return call.parse()
    except ValueError:  # what the model wrote, so that it can see its own mistake
        return {"arguments": call.arguments}


_FINISH: dict[object, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


def read(body: bytes, content_type: str, transport: str) -> Response:
    """Return the answer in the body of a 200.

    Raises:
        WireError: It is no answer: not JSON, no content, or an empty one.
    """
    return conclude(json_object(body, content_type), transport)


def conclude(answer: Mapping[str, Any], transport: str) -> Response:
    """Return the answer that a whole one says, or one that was put together from a stream.

    Raises:
        WireError: It is no answer: no content, or an empty one.
    """
    try:
        content = answer["content"]
        if not isinstance(content, list):
            raise TypeError("content is a list")
        blocks = tuple(block for part in content if (block := _read_block(part, transport)) is not None)
        finish = _FINISH.get(answer.get("stop_reason"), "other")
    except (KeyError, TypeError, AttributeError, ValueError):
        raise WireError(Verdict.MALFORMED, "the answer has no content that can be read") from None
    said = any((isinstance(b, Text) and b.text) or isinstance(b, ToolCall) for b in blocks)
    if not said and finish in {"stop", "tool_calls", "other"}:
        raise WireError(Verdict.EMPTY, "the answer is finished, but has no text and no tool call")
    model = answer.get("model")
    return Response(blocks, model if isinstance(model, str) else "", transport, finish, read_usage(answer.get("usage")))


def _read_block(part: Mapping[str, Any], transport: str) -> Block | None:
    """Return one block; None for kinds that a neutral message does not hold (server tools and the like)."""
    match part.get("type"):
        case "text":
            return Text(_string(part["text"]), transport)
        case "thinking":
            signature = _string(part.get("signature") or "") or None
            return Reasoning(_string(part["thinking"]), signature=signature, issuer=transport)
        case "redacted_thinking":
            return Reasoning("", redacted=_string(part["data"]), issuer=transport)
        case "tool_use":
            arguments = read_input(part.get("input"))
            return ToolCall(_string(part["id"]), _string(part["name"]), arguments, transport)
        case _:
            return None


def read_input(value: object) -> str:
    """Return a tool call's input as JSON text; a text is one already.

    Raises:
        ValueError: It is nested too deeply.
    """
    return value if isinstance(value, str) and value else encode(value or {}).decode()


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def read_usage(usage: object) -> Usage:
    """Return the tokens that an answer, or what has come of one, tells of."""
    if not isinstance(usage, Mapping):
        return Usage()
    plain = whole(usage.get("input_tokens"))
    read_tokens = whole(usage.get("cache_read_input_tokens"))
    written = whole(usage.get("cache_creation_input_tokens"))
    total = None if plain is None else plain + (read_tokens or 0) + (written or 0)
    details = usage.get("output_tokens_details")
    thought = whole(details.get("thinking_tokens")) if isinstance(details, Mapping) else None
    return Usage(total, whole(usage.get("output_tokens")), read_tokens, written, thought)
