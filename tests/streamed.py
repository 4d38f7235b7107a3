"""What a stream comes to: its bytes through the decoder into a reading, cut at will."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from understudy.providers import Response, TextDelta, ToolCallDelta, ToolCallStarted, Verdict
from understudy.providers._sse import SSEDecoder
from understudy.providers._stream import ContentEvent, Partial, ReasoningDelta
from understudy.providers._wire import Reading, WireError


@dataclass(frozen=True)
class Came:
    """What came of a stream: the content, and the answer or the verdict and its message."""

    events: tuple[ContentEvent, ...]
    partial: Partial
    response: Response | None
    verdict: Verdict = Verdict.OK
    message: str = ""
    extra: bool = False

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ReasoningDelta))

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of the tool calls, from the events alone."""
        calls = [(event.id, event.name) for event in self.events if isinstance(event, ToolCallStarted)]
        said = ["" for _ in calls]
        for event in self.events:
            if isinstance(event, ToolCallDelta):
                said[event.index] += event.arguments
        return [(*call, arguments) for call, arguments in zip(calls, said, strict=True)]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Return the data in parts, cut at these places."""
    return [data[begin:end] for begin, end in pairwise([0, *sorted(min(place, len(data)) for place in at), len(data)])]


def come(reading: Reading, parts: Iterable[bytes]) -> Came:
    """Feed the parts of a stream to its end, or to its error."""
    decoder, events = SSEDecoder(), list[ContentEvent]()
    try:
        for part in parts:
            for event, data in decoder.feed(part):
                events += reading.feed(event, data)
                assert reading.is_complete or reading.response is None
        reading.end()
    except WireError as error:
        assert reading.response is None
        return Came(tuple(events), reading.partial, None, error.verdict, error.message, reading.extra)
    assert reading.is_complete
    return Came(tuple(events), reading.partial, reading.response, extra=reading.extra)


def outcome(read: Callable[[bytes, str, str], Response], body: object) -> tuple[Response | None, Verdict]:
    """Read the answer that is sent whole: it, or the verdict on it."""
    transport = read.__module__.rpartition("_")[2]
    try:
        return read(json.dumps(body).encode(), "application/json", transport), Verdict.OK
    except WireError as error:
        return None, error.verdict


def consistent(came: Came) -> bool:
    """Do the events, what has come so far, and the answer say the same?"""
    ended = came.response
    return (
        came.text == came.partial.text
        and came.reasoning == came.partial.reasoning
        and came.calls == [(call.id, call.name, call.arguments) for call in came.partial.tool_calls]
        and (ended is None or (came.text == ended.text and came.reasoning == ended.reasoning))
        and (ended is None or [call[:2] for call in came.calls] == [(call.id, call.name) for call in ended.tool_calls])
    )
