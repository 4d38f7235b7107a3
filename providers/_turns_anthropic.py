"""A conversation as turns of the Anthropic wire. Pure.

Source: platform.claude.com/docs/en/api/messages and …/errors; …/build-with-claude/thinking, "Preserving thinking
blocks", …/preserved-thinking and …/extended-thinking. Of another Claude's thinking the API itself leaves out what the
model cannot read; what another server signed under this wire is a 400, and so never sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._history import CONTINUED, settled
from ._messages import Block, Image, Message, Reasoning, Text, ToolCall, ToolResult
from ._wire import legal_id

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
"""What a tool call's id may be: the API's error names the characters; the length is chosen, as the other wire's."""

_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""`anthropic.types.Base64ImageSourceParam`."""

_THOUGHTS = frozenset({"thinking", "redacted_thinking"})

Turn = dict[str, Any]


def turns_of(messages: Sequence[Message], issuer: str, *, bound: bool = False) -> list[Turn]:
    """Return the turns of a request: roles alternate from the user on, and results are part of the user's turn.

    Args:
        issuer: Whose thinking the server can read.
        bound: Whether thinking is bound to what stood before it: system messages stand before everything on this
            wire, so that a later one makes thinking invalid, which is then left out.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    messages = settled(messages)
    valid_from = _last_system(messages) if bound else -1
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        if message.role == "system":
            _check_system(message)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        reader = issuer if number > valid_from else ""
        parts = [part for block in message.blocks if (part := _part(block, role, reader)) is not None]
        if not parts and role == "assistant":
            continue
        if not turns and role == "assistant":
            turns.append(_continued())
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += parts
        else:
            turns.append({"role": role, "content": parts or _continued()["content"]})
    return _finished(turns) or [_continued()]


def instructions_of(messages: Sequence[Message]) -> str:
    """Return what the system messages say, wherever they stand; empty if they say nothing."""
    return "\n\n".join(m.text for m in messages if m.role == "system" and m.text.strip())


def _continued() -> Turn:
    return {"role": "user", "content": [_text(CONTINUED)]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _last_system(messages: Sequence[Message]) -> int:
    return max((number for number, message in enumerate(messages) if message.role == "system"), default=-1)


def _check_system(message: Message) -> None:
    for block in message.blocks:
        if not isinstance(block, Text):
            raise ValueError(f"a system message cannot hold {type(block).__name__}")


def _finished(turns: list[Turn]) -> list[Turn]:
    """Take off what a turn may not end with: thinking, and in the last one whitespace."""
    finished: list[Turn] = []
    for turn in turns:
        parts = turn["content"]
        while parts and parts[-1]["type"] in _THOUGHTS:
            parts.pop()
        if finished and finished[-1]["role"] == turn["role"]:
            finished[-1]["content"] += parts
        elif parts:
            finished.append(turn)
    last = finished[-1]["content"][-1] if finished and finished[-1]["role"] == "assistant" else {}
    if "text" in last:
        last["text"] = last["text"].rstrip()
    return finished


def may_think(turns: Sequence[Turn]) -> bool:
    """Say whether thinking by a budget may be on: not in a turn that began without.

    A turn of the assistant goes on through its tool calls, and one that thinks begins with thinking, else it is a 400:
    "When `thinking` is enabled, a final `assistant` message must start with a thinking block". One that another model
    began has none.
    """
    if turns[-1]["role"] == "assistant":
        return False
    for before, turn, after in zip(turns[-3::-2], turns[-2::-2], turns[-1::-2], strict=False):
        if after["content"][0]["type"] != "tool_result":
            return True
        begins = any(part["type"] != "tool_result" for part in before["content"])
        if begins and turn["content"][0]["type"] not in _THOUGHTS:
            return False
    return True


def with_legal_ids(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a content block as a client sent it, with the id of its tool call as this wire takes it."""
    name = {"tool_use": "id", "tool_result": "tool_use_id"}.get(part.get("type", ""), "")
    identity = part.get(name)
    if not isinstance(identity, str) or (legal := legal_id(identity, _ID)) == identity:
        return part
    return {**part, name: legal}


def goes_on_unthinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Say of messages as a client sent them whether they end within a turn that began without thinking."""
    turns: list[Turn] = []
    for message in messages:
        parts = message.get("content")
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        if not parts or message.get("role") == "system":
            continue
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1] = {**turns[-1], "content": [*turns[-1]["content"], *parts]}
        else:
            turns.append({"role": message["role"], "content": list(parts)})
    return bool(turns) and turns[-1]["role"] == "user" and not may_think(turns)


def plain(turns: list[Turn]) -> list[Turn]:
    """Write a turn of one text as that text."""
    for turn in turns:
        parts = turn["content"]
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            turn["content"] = parts[0]["text"]
    return turns


def mark(body: dict[str, Any]) -> None:
    """Mark what is worth caching: the tools, the instructions, and the conversation up to the last two user turns.

    The second to last turn of the user is where the request before this one ended: its cache is found there, however
    many blocks were added since. Source: platform.claude.com/docs/en/build-with-claude/prompt-caching: four marks at
    most, 20 blocks looked back, none on thinking or empty text.
    """
    if body.get("tools"):
        _mark(body["tools"][-1])
    if "system" in body:
        body["system"] = [_text(body["system"])]
        _mark(body["system"][-1])
    for turn in [turn for turn in body["messages"] if turn["role"] == "user"][-2:]:
        _mark(turn["content"][-1])


def _mark(part: dict[str, Any]) -> None:
    part["cache_control"] = {"type": "ephemeral"}


def _part(block: Block, role: str, issuer: str) -> dict[str, Any] | None:
    """Return a content block; None for what this model cannot read (foreign thinking) or refuses (blank text)."""
    match block:
        case Text(text=text):
            return _text(text) if text.strip() else None
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
        case ToolResult() if role == "user":
            return _result(block)
        case Reasoning(issuer=by, redacted=str(redacted)) if role == "assistant" and by == issuer:
            return {"type": "redacted_thinking", "data": redacted}
        case Reasoning(issuer=by, signature=str(signature), text=text) if role == "assistant" and by == issuer:
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Reasoning() if role == "assistant":
            return None
        case _:
            raise ValueError(f"a message of the {role} cannot hold {type(block).__name__}")


def _result(result: ToolResult) -> dict[str, Any]:
    """A failure is told in words, a result that says nothing has no content."""
    rendered: dict[str, Any] = {"type": "tool_result", "tool_use_id": legal_id(result.call_id, _ID)}
    content = result.content if result.content.strip() else "The tool failed." if result.is_error else ""
    if content:
        rendered["content"] = content
    return {**rendered, "is_error": True} if result.is_error else rendered


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
