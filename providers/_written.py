"""What the dialects share when they answer: server-sent events, why an answer ended, pieces as blocks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias, final

from ._json import encode
from ._messages import Block, Reasoning, Text, ToolCall
from ._request import FinishReason, Response
from ._stream import Restarted

Object: TypeAlias = dict[str, Any]


def data_of(value: object) -> bytes:
    """Return a server-sent event without a name. JSON has no line ends outside of texts, and none in them."""
    return b"data: %b\n\n" % encode(value)


def event_of(name: str, value: object) -> bytes:
    """Return a server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(value))


def ended(response: Response) -> FinishReason:
    """Return why an answer ended, as a client takes it: it runs tools where it is told so, and only then."""
    reason = response.finish_reason
    if response.tool_calls:
        return "tool_calls" if reason in {"stop", "other"} else reason
    return "stop" if reason in {"tool_calls", "other"} else reason


REFUSED = "The model refused to answer."
"""What a refusal says where the model says nothing, and the dialect has no other word for it."""


def refusal(response: Response) -> str | None:
    """Return what a refusal says; None if the answer is none."""
    return (response.text or REFUSED) if response.finish_reason == "refusal" else None


@final
@dataclass(frozen=True, slots=True)
class Run:
    """Blocks of one kind that follow each other, and are written as one; each tool call is one for itself."""

    kind: type[Block]
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """What they say."""
        return "".join(block.text for block in self.blocks if isinstance(block, (Text, Reasoning)))


def runs(response: Response) -> Iterator[Run]:
    """Yield an answer as a stream tells it: without what says nothing, and pieces of one kind in one."""
    for kind, blocks in groupby(filter(_says, response.blocks), type):
        if kind is ToolCall:
            yield from (Run(kind, (block,)) for block in blocks)
        else:
            yield Run(kind, tuple(blocks))


def _says(block: Block) -> bool:
    return isinstance(block, ToolCall) or (isinstance(block, (Text, Reasoning)) and bool(block.text))


def refuse_restart(event: Restarted) -> ValueError:
    """Return the error for an answer that begins anew, which none of these dialects can say."""
    return ValueError(f"an answer cannot begin anew in this dialect: {event.transport} {event.model}")
