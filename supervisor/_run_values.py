"""What comes of a tool run: its values, and the sums over its turns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain, count
from typing import Any, final

from ..providers import (
    Attempt,
    Block,
    FinishReason,
    Message,
    PassedOver,
    Response,
    ToolCall,
    ToolResult,
    Usage,
)


@final
@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call of a tool, and what was told to the model of it.

    `iteration` is the turn that asked for it, counted from 1; `duration` is in seconds, 0 where nothing was run.
    """

    call: ToolCall
    result: str = field(repr=False)
    is_error: bool
    iteration: int
    duration: float


@final
@dataclass(frozen=True, slots=True)
class Iteration:
    """One turn of a run: the model's answer, after the tools that it asked for have been run.

    `number` counts from 1; `tool_calls` are all of the run so far. `messages` is the conversation so far: another run
    can go on from it.
    """

    number: int
    response: Response
    tool_calls: tuple[ToolUse, ...]
    messages: tuple[Message, ...] = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What came of a tool run.

    `messages` is the whole conversation: the caller's, and what the run added, the answer last. `iterations` are the
    turns, and `usage` is summed over them, None where no provider told. `attempts` and `passed_over` are the trail of
    all turns: attempts are numbered from 1, and begin in seconds since the run began. `is_cut_short` says that the
    iterations ran out, and the answer had to be given without more tools. `cost` is in US dollars, for all turns; None
    if that of any turn is not known.
    """

    response: Response
    messages: tuple[Message, ...] = field(repr=False)
    tool_calls: tuple[ToolUse, ...]
    iterations: int
    usage: Usage
    attempts: tuple[Attempt, ...]
    passed_over: tuple[PassedOver, ...]
    is_cut_short: bool
    cost: float | None = None

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.response.text

    @property
    def parsed(self) -> Any:
        """What the answer says, where an answer of some shape was asked for."""
        return self.response.parsed

    @property
    def finish_reason(self) -> FinishReason:
        """Why the last turn ended."""
        return self.response.finish_reason

    @property
    def is_fallback(self) -> bool:
        """Whether the answer came from another route than the primary."""
        return self.response.is_fallback


def summed(usages: Iterable[Usage]) -> Usage:
    """Return the sum of what was told; a field that nobody told is None."""
    told: dict[str, int] = {}
    for usage in usages:
        for each in fields(usage):
            tokens = getattr(usage, each.name)
            if tokens is not None:
                told[each.name] = told.get(each.name, 0) + tokens
    return Usage(**told)


def summed_cost(costs: Iterable[float | None]) -> float | None:
    """Return the sum; None if any of them is not known."""
    whole = 0.0
    for cost in costs:
        if cost is None:
            return None
        whole += cost
    return whole


def renumbered(before: Sequence[Attempt], attempts: Iterable[Attempt], later: float) -> tuple[Attempt, ...]:
    """Return the attempts of a turn that began `later` seconds into the run, numbered on behind those before."""
    first = len(before) + 1
    return tuple(
        replace(attempt, number=number, start=attempt.start + later) for number, attempt in enumerate(attempts, first)
    )


def ids_of(messages: Iterable[Message]) -> set[str]:
    """Return the ids of all tool calls."""
    return {block.id for message in messages for block in message.blocks if isinstance(block, ToolCall)}


def distinct(response: Response, taken: set[str]) -> Response:
    """Return the response with an id for each tool call that no other call of the conversation has.

    Some servers number the calls of each answer anew. A call that is repeated, id and all, is one call.
    """
    calls = response.tool_calls
    if len({call.id for call in calls}) == len(calls) and taken.isdisjoint(call.id for call in calls):
        return response
    blocks: list[Block] = []
    used, said, names = set(taken), set[ToolCall](), dict[str, Iterator[str]]()
    for block in response.blocks:
        if isinstance(block, ToolCall):
            if block in said:
                continue
            said.add(block)
            block = replace(block, id=_free(block.id, used, names))
            used.add(block.id)
        blocks.append(block)
    return replace(response, blocks=tuple(blocks))


def _free(wanted: str, used: set[str], names: dict[str, Iterator[str]]) -> str:
    """Return the next name that is free; `names` goes on where it was, or a thousand of one id took a thousand each."""
    if wanted not in names:
        names[wanted] = chain([wanted], (f"{wanted}_{number}" for number in count(2)))
    return next(name for name in names[wanted] if name not in used)


def results(uses: Iterable[ToolUse]) -> Message:
    """Return the message that tells the model what came of its calls."""
    return Message("tool", tuple(ToolResult(use.call.id, use.result, use.is_error) for use in uses))
