"""An answer as it goes over HTTP, whole or as a stream, and how it breaks off: which bytes, when, and what then. Pure.

Whatever sends it, real sockets or a network in memory, adds the head and the framing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ._answers import Wire, named_error, whole
from ._model import asked_over, say
from ._script import PING_EVERY, Answer, Breaks, coming
from ._sse import GARBAGE, PING, Events, events, failing

Ending: TypeAlias = Literal["end", "reset", "close", "hang"]
"""What follows the last byte: the body's proper end, a reset, a closed connection, or nothing ever."""

Part: TypeAlias = tuple[float, bytes]
"""Seconds to wait, and what is sent then; the head goes with the first one."""


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: its parts, and what follows them. `length` is what its head promises; None is a chunked body."""

    parts: Iterable[Part]
    ending: Ending
    content_type: str
    length: int | None


def reply(wire: Wire, behaviour: Answer | Breaks, body: Mapping[str, Any]) -> Reply:
    """Return the answer to the request in `body`."""
    breaks = behaviour if isinstance(behaviour, Breaks) else None
    answer = behaviour if isinstance(behaviour, Answer) else behaviour.answer
    model, said = str(body["model"]), say(answer, asked_over(wire, body), wire)
    if body.get("stream") is True:
        counts = bool((body.get("stream_options") or {}).get("include_usage"))
        sent = events(wire, model, said, usage=counts)
        come, then = coming(behaviour, sent.pieces)
        parts = [(answer.after, sent.opening), *come]
        return _stream(wire, breaks, sent, parts, then)
    before, then = coming(behaviour, said.pieces)
    comes_at = answer.after + sum(wait for wait, _ in before) + then
    return _whole(wire, breaks, whole(wire, model, said), comes_at)


def _stream(wire: Wire, breaks: Breaks | None, sent: Events, parts: list[Part], then: float) -> Reply:
    def ends(*events: bytes, ending: Ending = "end") -> Reply:
        return Reply([*parts, (then, b"".join(events))], ending, "text/event-stream", None)

    match breaks.how if breaks is not None else None:
        case "reset":
            return ends(ending="reset")
        case "incomplete":
            return ends(ending="close")
        case "cut":
            return ends()
        case "silence":
            return ends(ending="hang")
        case "pings":
            pings = itertools.chain(parts, itertools.repeat((PING_EVERY, PING[wire])))
            return Reply(pings, "hang", "text/event-stream", None)
        case "error":
            return ends(failing(wire, breaks.error if breaks is not None else ""))
        case "garbage":
            return ends(GARBAGE[wire])
        case "unterminated":
            return ends(sent.closing)
        case "more":
            return ends(sent.closing, sent.terminator, sent.more)
        case None:
            return ends(sent.closing, sent.terminator)


def _whole(wire: Wire, breaks: Breaks | None, body: bytes, at: float) -> Reply:
    def sends(body: bytes, *, ending: Ending = "end", length: int | None = None) -> Reply:
        return Reply([(at, body)], ending, "application/json", len(body) if length is None else length)

    half = body[: len(body) // 2]
    match breaks.how if breaks is not None else None:
        case "reset":
            return sends(half, ending="reset", length=len(body))
        case "incomplete":
            return sends(half, ending="close", length=len(body))
        case "cut":
            return sends(half)
        case "garbage":
            return sends(body.replace(b":", b";"))
        case "silence" | "pings":
            return Reply([], "hang", "application/json", None)
        case "error" if breaks is not None:
            return sends(named_error(wire, breaks.error, f"simulated {breaks.error}"))
        case _:
            return sends(body)
