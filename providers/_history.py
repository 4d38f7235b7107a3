"""A conversation as every wire takes it: each tool call answered once, right after it, under an id of its own. Pure.

Histories that people keep are not always so: a run was cut off between a call and its result, a result lost its call
when the beginning was cut away, a server counts its calls anew in each answer. Both wires refuse such a conversation.

What becomes of a message depends on what stands before it and on the turn it belongs to, not on what comes later: a
conversation that grows keeps its beginning, and with it the caches and the thinking that is bound to it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from ._messages import Block, Message, Text, ToolCall, ToolResult

NOT_RUN = "This tool was not run: its call was not answered."
"""The result of a call that has none."""

CONTINUED = "(continued)"
"""What a user says where a wire wants something said, and nothing was."""

_TOOLS = frozenset({ToolCall, ToolResult})


def settled(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the conversation with its tool calls settled.

    Results stand in one message right behind the turn that called, in the order of the calls. A call without a result
    gets one that says so; a result without a call is told by the user. Of calls with one id, the later ones get
    another; the first result with that id belongs to the first of them.
    """
    if not any(type(block) in _TOOLS for message in messages for block in message.blocks):
        return messages
    told: list[Message] = []
    used: dict[str, int] = {}
    called: list[tuple[str, str]] = []
    for by_assistant, run in groupby(messages, lambda message: message.role == "assistant"):
        if by_assistant:
            turn = _one_turn(list(run))
            given = [block.id for message in turn for block in message.blocks if type(block) is ToolCall]
            called = [(identity, _own(identity, used)) for identity in given]
            renamed = any(own != identity for identity, own in called)
            told += _renamed(turn, [own for _, own in called]) if renamed else turn
        else:
            told += _answered(called, list(run))
            called = []
    return told + _answered(called, [])


def _one_turn(turn: list[Message]) -> list[Message]:
    """An assistant who calls a tool and speaks on has done so in one message."""
    if any(type(block) is ToolCall for message in turn[:-1] for block in message.blocks):
        return [Message("assistant", tuple(block for message in turn for block in message.blocks))]
    return turn


def _own(identity: str, used: dict[str, int]) -> str:
    own = identity
    while own in used:
        used[identity] += 1
        own = f"{identity}_{used[identity]}"
    used[own] = 1
    return own


def _renamed(turn: Sequence[Message], owns: Sequence[str]) -> list[Message]:
    own = iter(owns)
    return [
        Message(m.role, tuple(replace(block, id=next(own)) if type(block) is ToolCall else block for block in m.blocks))
        for m in turn
    ]


def _answered(called: Sequence[tuple[str, str]], run: Sequence[Message]) -> list[Message]:
    """Return what is said between two turns of the assistant, the results of its calls first."""
    results: dict[str, deque[ToolResult]] = defaultdict(deque)
    for result in (block for message in run for block in _results(message)):
        results[result.call_id].append(result)
    answers: list[Block] = []
    for given, own in called:
        if not results[given]:
            answers.append(ToolResult(own, NOT_RUN, is_error=True))
            continue
        result = results[given].popleft()
        answers.append(result if given == own else replace(result, call_id=own))
    orphans = {id(result) for left in results.values() for result in left}
    rest = [left for message in run if (left := _rest(message, orphans)) is not None]
    return [Message("tool", tuple(answers)), *rest] if answers else rest


def _results(message: Message) -> Iterator[ToolResult]:
    """The results in a message that may hold some."""
    if message.role in {"tool", "user"}:
        yield from (block for block in message.blocks if type(block) is ToolResult)


def _rest(message: Message, orphans: set[int]) -> Message | None:
    """Return a message without the results that have found their call; None when nothing is left of it."""
    if not any(True for _ in _results(message)):
        return message
    kept = [block for block in message.blocks if type(block) is not ToolResult or id(block) in orphans]
    if not kept:
        return None
    alien = next((block for block in kept if type(block) is not ToolResult), None)
    if message.role == "tool" and alien is not None:
        raise ValueError(f"a tool message holds tool results, not {type(alien).__name__}")
    return Message("user", tuple(_told(block) if type(block) is ToolResult else block for block in kept))


def _told(result: ToolResult) -> Text:
    return Text(f"The result of the tool call {result.call_id!r}: {result.content}")
