"""Cutting a conversation to a number of tokens, in whole turns. Pure.

    system │ user … │ user … │ user   call+result   call+result   call+result
           └ turns, the oldest first ┘       └ then groups of the last turn, but never its last one

A turn is a user message and all up to the next one. Never cut are system messages, the last user message, and anything
between a call and its results. How many tokens a text has is estimated, and the estimate corrected by what providers
report: nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from ..providers import Block, Image, Message, Reasoning, Text, Tool, ToolCall, ToolResult, encode

CHARACTERS_PER_TOKEN = 4
"""Bytes of UTF-8, in truth, so that other scripts count for more. Source: platform.openai.com/tokenizer, "a helpful
rule of thumb"."""

PER_MESSAGE = 4
"""Tokens around a message. Source: OpenAI cookbook, "How to count tokens with tiktoken" (3, and 1 for a name)."""

PER_IMAGE = 1200
"""Tokens of a picture whose size is not known. Chosen; between OpenAI's 765 for 1024 x 1024 and Anthropic's 1,600 for
the largest that is not scaled down."""

LEAST_FACTOR, MOST_FACTOR = 0.25, 8.0
"""How far reports are believed. Chosen: beyond it somebody counts something else than what was sent."""


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """How many tokens something has. `beside` are the tokens that go with every request: the tools."""

    beside: float = 0.0
    factor: float = 1.0

    def of(self, messages: Iterable[Message]) -> float:
        """Return the tokens of a request with these messages."""
        return self.factor * (self.beside + sum(map(_tokens, messages)))

    def learnt(self, messages: Iterable[Message], reported: int | None) -> Estimate:
        """Return the estimate corrected by what a provider counted for these messages; None is no report."""
        plain = Estimate(self.beside).of(messages)
        if not reported or not plain:
            return self
        return Estimate(self.beside, min(max(reported / plain, LEAST_FACTOR), MOST_FACTOR))


def beside(tools: Iterable[Tool]) -> float:
    """Return the tokens of the tools' names, descriptions and schemas."""
    texts = (tool.name + tool.description + encode(dict(tool.parameters)).decode() for tool in tools)
    return sum(PER_MESSAGE + _length(text) / CHARACTERS_PER_TOKEN for text in texts)


def cut(messages: Sequence[Message], limit: int | None, estimate: Estimate) -> tuple[Message, ...]:
    """Return the messages that fit into `limit` tokens, the oldest left out; as few as can be, if none do.

    Messages keep their order. Where the limit is None nothing is left out. What is kept behind something that is left
    out loses its signed thinking: its issuer may refuse it where anything before it has changed.

    Source: platform.claude.com/docs/en/build-with-claude/preserved-thinking.
    """
    if limit is None or estimate.of(messages) <= limit:
        return tuple(messages)
    sizes = [estimate.factor * _tokens(message) for message in messages]
    excess = estimate.of(messages) - limit
    left_out: set[int] = set()
    asked_last = max((place for place, message in enumerate(messages) if _begins_turn(message)), default=-1)
    for part in _droppable(messages):
        if excess <= 0:
            break
        going = [place for place in part if messages[place].role != "system" and place != asked_last]
        excess -= sum(sizes[place] for place in going)
        left_out.update(going)
    first = min(left_out, default=len(messages))
    return tuple(
        message if place < first else _unsigned(message)
        for place, message in enumerate(messages)
        if place not in left_out
    )


def _unsigned(message: Message) -> Message:
    kept = tuple(block for block in message.blocks if not (isinstance(block, Reasoning) and _is_signed(block)))
    return message if len(kept) == len(message.blocks) else Message(message.role, kept)


def _is_signed(block: Reasoning) -> bool:
    return block.signature is not None or block.redacted is not None


def _droppable(messages: Sequence[Message]) -> list[range]:
    """Return what may be left out, in that order."""
    whole = _seams(messages)
    begins = [place for place in whole if _begins_turn(messages[place])]
    last = begins[-1] if begins else 0
    turns = _ranges([0, *begins])
    groups = [place for place in whole if place >= last and messages[place].role == "assistant"]
    return turns + _ranges(groups)


def _ranges(begins: Sequence[int]) -> list[range]:
    """Return what lies between each place and the next."""
    return [range(begin, end) for begin, end in pairwise(begins) if begin < end]


def _begins_turn(message: Message) -> bool:
    return message.role == "user" and not any(isinstance(block, ToolResult) for block in message.blocks)


def _seams(messages: Sequence[Message]) -> list[int]:
    """Return the places before which a cut parts no call from its result."""
    asked: dict[str, int] = {}
    reaches = list(range(len(messages)))  # the last place that belongs to each
    for place, message in enumerate(messages):
        for block in message.blocks:
            if isinstance(block, ToolCall):
                asked[block.id] = place
            elif isinstance(block, ToolResult) and block.call_id in asked:
                reaches[asked[block.call_id]] = place
    seams: list[int] = []
    reach = -1
    for place, end in enumerate(reaches):
        if reach < place:
            seams.append(place)
        reach = max(reach, end)
    return seams


def _tokens(message: Message) -> float:
    return PER_MESSAGE + sum(map(_of_block, message.blocks))


def _of_block(block: Block) -> float:
    match block:
        case Image():
            return PER_IMAGE
        case Text(text):
            length = _length(text)
        case ToolCall(name=name, arguments=arguments, details=details):
            length = _length(name) + _length(arguments) + _length(details)
        case ToolResult(content=content):
            length = _length(content)
        case Reasoning(text, signature, redacted, details=details):
            length = _length(text) + _length(signature) + _length(redacted) + _length(details)
    return length / CHARACTERS_PER_TOKEN


def _length(text: str | None) -> int:
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
