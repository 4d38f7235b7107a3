"""Accepting messages as people have them: neutral ones, a bare text, and dicts in OpenAI or Anthropic form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from ._json import encode
from ._messages import Block, Detail, Image, Message, Reasoning, Role, Text, ToolCall, ToolResult
from ._request import Messages, Response
from ._turns_openai import REASONING

_ROLES: dict[object, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

_REMEDIES: dict[type, str] = {str: ", write user('…')", Response: ", give its .message"}
"""What is often put among messages, and what was meant."""


def accept(messages: Messages) -> tuple[Message, ...]:
    """Return `messages` in neutral form; a bare text is one user message.

    Raises:
        ValueError: There is none, or one of them cannot be understood; says which one and why.
        TypeError: It is no list (or other iterable) of messages at all.
    """
    if isinstance(messages, str):
        if not messages.strip():
            raise _nothing()
        return (Message("user", (Text(messages),)),)
    if isinstance(messages, (Message, Mapping, bytes)) or not isinstance(messages, Iterable):
        raise TypeError("messages must be a list: [user('…')], or a text")
    accepted: list[Message] = []
    for number, message in enumerate(messages):
        if type(message) is Message:
            accepted.append(message)
            continue
        try:
            accepted += _from_dict(cast("Mapping[str, Any]", message))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"messages[{number}] is neither a Message nor a dict in a known form: {missing}") from None
    if not accepted:
        raise _nothing()
    return tuple(accepted)


def _nothing() -> ValueError:
    return ValueError("messages is empty: there is nothing to ask")


def _from_dict(message: Mapping[str, Any]) -> list[Message]:
    if not isinstance(message, Mapping):
        raise TypeError(f"it is a {type(message).__name__}{_REMEDIES.get(type(message), '')}")
    role = _ROLES.get(message["role"])
    if role is None:
        raise ValueError("its role is none of " + ", ".join(map(str, _ROLES)))
    if role == "tool":
        return [Message("tool", (ToolResult(_call_id(message), _text(message.get("content"))),))]
    content = message.get("content") if any(map(message.get, _INSTEAD)) else message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    blocks: list[Block] = [*(_thoughts(message) if role == "assistant" else ()), *map(_block, parts)]
    if not content and isinstance(refusal := message.get("refusal"), str):
        blocks.append(Text(refusal))
    blocks += _calls(message)
    results = tuple(block for block in blocks if isinstance(block, ToolResult))
    rest = tuple(block for block in blocks if not isinstance(block, ToolResult))
    found = [Message("tool", results)] if results else []
    if rest or not results:
        found.append(Message(role, rest))
    return found


_INSTEAD = ("tool_calls", "function_call", "refusal", "reasoning_content", "reasoning")
"""What an assistant's message may have in the place of content."""


def _call_id(message: Mapping[str, Any]) -> str:
    """Return the id that a result answers; a function of the older form is known by its name alone."""
    return _by_name(message["name"]) if message["role"] == "function" else _string(message["tool_call_id"])


def _by_name(name: object) -> str:
    return f"call_{_string(name)}"


def _thoughts(message: Mapping[str, Any]) -> Iterator[Reasoning]:
    """What a server of the OpenAI form wrote of its thinking. It does not say which one, so that it has no issuer:
    it is sent where a call without any is refused, and to nobody else."""
    field = REASONING if message.get(REASONING) else "reasoning"
    thought, details = message.get(field), message.get("reasoning_details")
    if thought or details:
        told = encode(details).decode() if isinstance(details, list) and details else None
        text = _string(thought) if thought else ""
        yield Reasoning(text, details=told, field=None if field == REASONING or not thought else field)


def _calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    if message.get("function_call"):
        function = message["function_call"]
        yield ToolCall(_by_name(function["name"]), _string(function["name"]), _string(function.get("arguments") or ""))
    for call in message.get("tool_calls") or ():
        function, extra = call["function"], call.get("extra_content")
        name, arguments = _string(function["name"]), _string(function.get("arguments") or "")
        issuer = "gemini" if isinstance(extra, Mapping) and "google" in extra else None
        details = encode(extra).decode() if issuer else None
        yield ToolCall(_string(call["id"]), name, arguments, issuer, details)


def _block(part: Mapping[str, Any]) -> Block:
    kind = part["type"]
    match kind:
        case "text":
            return Text(_string(part["text"]))
        case "refusal":
            return Text(_string(part["refusal"]))
        case "image_url":
            return _image(_string(part["image_url"]["url"]), part["image_url"].get("detail"))
        case "image":
            source = part["source"]
            if source["type"] == "url":
                return Image(url=_string(source["url"]))
            return Image(data=_string(source["data"]), media_type=_string(source["media_type"]))
        case "tool_use":
            arguments = encode(part.get("input") or {}).decode()
            return ToolCall(_string(part["id"]), _string(part["name"]), arguments, "anthropic")
        case "tool_result":
            identity, content = _string(part["tool_use_id"]), _text(part.get("content"))
            return ToolResult(identity, content, bool(part.get("is_error")))
        case "thinking":
            return Reasoning(_string(part["thinking"]), signature=part.get("signature"), issuer="anthropic")
        case "redacted_thinking":
            return Reasoning("", redacted=_string(part["data"]), issuer="anthropic")
        case "document" | "file":
            raise ValueError(f"a part of type {kind!r} is not supported: send its text, or a picture of it")
        case _:
            raise ValueError(f"a part of type {kind!r} is not known")


def _image(url: str, detail: Detail | None) -> Image:
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        return Image(url=url, detail=detail)
    return Image(data=data, media_type=head.removeprefix("data:").removesuffix(";base64"), detail=detail)


def _text(content: object) -> str:
    """Return the text of a tool's result, which is a text or a list of text parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = list(cast("Iterable[Mapping[str, Any]]", content))
    if any(part.get("type", "text") != "text" for part in parts):
        raise ValueError("a tool's result is a text, or a list of text parts: other parts are not supported")
    return "".join(_string(part["text"]) for part in parts)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} stands where a text belongs")
    return value
