"""A conversation as messages of the OpenAI wire. Pure.

Source of the shapes: platform.openai.com/docs/api-reference/chat. What servers want back of their own: api-docs.
deepseek.com/guides/thinking_mode; openrouter.ai/docs/use-cases/reasoning-tokens, "preserving reasoning"; vllm-project/
vllm 27755 (`reasoning`, once `reasoning_content`); ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from ._history import CONTINUED, settled
from ._json import decode, encode
from ._messages import Block, Image, Message, Reasoning, Text, ToolCall, ToolResult
from ._wire import legal_id

REASONING = "reasoning_content"
"""The field of a message that holds reasoning, with most servers."""


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """How a server takes what was said before.

    `ids` is what a tool call's id may be. `reasoning` says whether it wants its own back, in turns that called tools:
    elsewhere servers ignore it. Where a call is refused that comes without any, a foreign one gets `stand_in`; where
    one is refused that is not signed, it gets `signature`.
    """

    ids: re.Pattern[str] = re.compile(r".*", re.DOTALL)
    reasoning: bool = True
    stand_in: str | None = None
    signature: str | None = None


OPENAI = Memory(re.compile(r".{1,40}", re.DOTALL), reasoning=False)
"""A tool call's id at OpenAI: "Expected a string with maximum length 40" is its 400."""


def messages_of(messages: Sequence[Message], memory: Memory, *, issuer: str) -> list[dict[str, Any]]:
    """Return the messages of a request.

    Args:
        issuer: Whose reasoning and details the server can read.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    messages = settled(messages)
    thoughtful: frozenset[int] | None = None if memory.reasoning else frozenset()
    rendered: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        blocks = message.blocks
        if len(blocks) == 1 and type(blocks[0]) is Text and message.role != "tool":
            if text := blocks[0].text or (CONTINUED if message.role == "user" else ""):
                rendered.append({"role": message.role, "content": text})
        elif message.role == "tool":
            rendered += [_tool_result(block, memory.ids) for block in blocks]
        elif message.role == "assistant":
            if thoughtful is None:
                thoughtful = _with_tools(messages)
            rendered += _assistant(message, memory, issuer, number in thoughtful)
        else:
            rendered += _parts(message)
    return rendered or [{"role": "user", "content": CONTINUED}]


def _with_tools(messages: Sequence[Message]) -> frozenset[int]:
    """Return the numbers of the messages between two of the user's where a tool was called in between."""
    found: set[int] = set()
    turn: list[int] = []
    called = False
    for number, message in enumerate(messages):
        if message.role == "user":
            turn, called = [], False
        turn.append(number)
        called = called or any(type(block) is ToolCall for block in message.blocks)
        if called:
            found.update(turn)
            turn = []
    return frozenset(found)


def _tool_result(block: Block, ids: re.Pattern[str]) -> dict[str, Any]:
    if not isinstance(block, ToolResult):
        raise ValueError(f"a tool message holds tool results, not {type(block).__name__}")
    return {"role": "tool", "tool_call_id": legal_id(block.call_id, ids), "content": block.content}


def _assistant(message: Message, memory: Memory, issuer: str, thoughtful: bool) -> Iterator[dict[str, Any]]:
    """An assistant's turn: text, tool calls, and the reasoning that the server wants back; none if it said nothing."""
    for block in message.blocks:
        if isinstance(block, (Image, ToolResult)):
            raise ValueError(f"an assistant message cannot hold {type(block).__name__}")
    text = message.text
    calls = [_call(block, memory.ids, issuer) for block in message.blocks if isinstance(block, ToolCall)]
    if not text and not calls:
        return
    turn: dict[str, Any] = {"role": "assistant", "content": text or None}
    if thoughtful:
        turn.update(_reasoning(message.blocks, memory, issuer))
    if calls:
        if memory.stand_in is not None:
            turn.setdefault(REASONING, memory.stand_in)
        if memory.signature is not None:  # of parallel calls the first alone has one
            calls[0].setdefault("extra_content", {"google": {"thought_signature": memory.signature}})
        turn["tool_calls"] = calls
    yield turn


def _call(call: ToolCall, ids: re.Pattern[str], issuer: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call)}
    rendered: dict[str, Any] = {"id": legal_id(call.id, ids), "type": "function", "function": function}
    if call.details is not None and call.issuer == issuer:
        rendered["extra_content"] = decode(call.details.encode())
    return rendered


def _arguments(call: ToolCall) -> str:
    """Return JSON in any case: many servers read the arguments, and refuse a conversation where they cannot."""
    try:
        call.parse()
    except ValueError:  # what the model wrote, so that it can see its own mistake
        return encode({"arguments": call.arguments}).decode()
    return call.arguments if call.arguments.strip() else "{}"


def _reasoning(blocks: Sequence[Block], memory: Memory, issuer: str) -> dict[str, Any]:
    """Return the fields that hold reasoning: the details whole where there are any, else the text.

    What came without an issuer is the caller's own word for it: it goes where some is wanted from everybody.
    """
    readable = {issuer} if memory.stand_in is None else {issuer, None}
    own = [block for block in blocks if isinstance(block, Reasoning) and block.issuer in readable]
    details = [decode(block.details.encode()) for block in own if block.details is not None and block.issuer]
    if details:
        return {
            "reasoning_details": [part for some in details for part in (some if isinstance(some, list) else [some])]
        }
    text = "".join(block.text for block in own)
    return {own[0].field or REASONING: text} if text else {}


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    """A user's or a system's message of several blocks; a user who said nothing goes on, a system is left out."""
    parts = [_part(block, message.role) for block in message.blocks if not (type(block) is Text and not block.text)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        yield {"role": message.role, "content": parts[0]["text"]}
    elif parts or message.role == "user":
        yield {"role": message.role, "content": parts or CONTINUED}


def _part(block: Block, role: str) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image) and role == "user":
        url = block.url if block.url is not None else f"data:{block.media_type};base64,{block.data}"
        return {"type": "image_url", "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})}}
    raise ValueError(f"a {role} message cannot hold {type(block).__name__}")
