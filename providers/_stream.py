"""Streams: what of an answer arrives when, in no vendor's form. Pure values.

An answer comes as content (text, reasoning, tool calls in fragments) and ends with `Finished`, which holds it whole.
How a wire says so stands in the wires' files; who may see what, and what follows an interruption, in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, final

from ._messages import Reasoning
from ._request import Response, Usage


@final
@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thinks before it answers, as far as its provider shows it.

    `ended` comes without text, at the end of a block of thinking that its issuer wants back as it is: the whole block.
    """

    text: str
    ended: Reasoning | None = None


@final
@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model begins to ask for a tool. `index` counts the tool calls of this answer from 0."""

    index: int
    id: str
    name: str


@final
@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the arguments of the tool call `index`: a fragment of JSON, of no use before the answer is finished."""

    index: int
    arguments: str


@final
@dataclass(frozen=True, slots=True)
class Restarted:
    """What came so far is void: the answer begins anew, by `transport` and `model`, for `reason`."""

    transport: str
    model: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole. It comes once, and last."""

    response: Response


@final
@dataclass(frozen=True, slots=True)
class Relayed:
    """Events of a relayed stream as they came, whole ones; `is_content` says whether any of them is more than a sign of
    life. Where a request is relayed, nothing else comes, but for `Finished`.
    """

    data: bytes = field(repr=False)
    is_content: bool


ContentEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta
"""What a provider sends: the content of an answer."""

StreamEvent: TypeAlias = ContentEvent | Restarted | Finished
"""What a caller sees."""


@final
@dataclass(frozen=True, slots=True)
class PartialCall:
    """A tool call of an answer that was cut off. Its `arguments` are what came of them: it must not be run."""

    id: str
    name: str
    arguments: str


@final
@dataclass(frozen=True, slots=True)
class Partial:
    """What had come of an answer when it was cut off, and whose it was."""

    transport: str
    model: str
    text: str = field(default="", repr=False)
    reasoning: str = field(default="", repr=False)
    tool_calls: tuple[PartialCall, ...] = field(default=(), repr=False)
    usage: Usage = Usage()  # noqa: RUF009 - frozen
