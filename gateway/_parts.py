"""A streamed answer on its way out: events of an agent's stream, in the client's dialect, as they come.

What has come together goes out together. Once something has been sent, an interruption is told in the dialect's own
way, and no end is made up (R-ST-2).
"""

from __future__ import annotations

import logging
from typing import final

from ..providers import ActorStoppedError, Finished, Line, Relayed, StreamEvent, Writing, tell
from ..supervisor import Stream
from ._refusals import CUT_OFF, INTERNAL, refused

_log = logging.getLogger("understudy.gateway")

LARGEST_PART = 64 * 1024
"""Bytes after which a part is sent, whatever else is here already (chosen: what one read brings)."""

DONE = b"data: [DONE]\n\n"


@final
class Parts:
    """The parts of a streamed answer. Read by one task; whoever stops reading leaves the stream, not this.

    Args:
        writing: How the dialect says it, where the events are not given on as they came.
        is_openai: A relayed stream ends with `[DONE]`, also where its provider does not say so.
    """

    def __init__(self, stream: Stream, writing: Writing, *, is_openai: bool) -> None:
        self._stream, self._writing, self._is_openai = stream, writing, is_openai
        self._is_relayed = self._is_over = False
        self._last = b""

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> bytes:
        """Return the next part: what is here, or what comes next. It does not fail for any answer."""
        while not self._is_over:
            try:
                part = self._rendered(await anext(self._stream))
                part += self._rendered_too(LARGEST_PART - len(part))
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - whatever ended it is told in the dialect's own way
                self._is_over = True
                return self._ended(error)
            if part:
                return part
        raise StopAsyncIteration

    def cut(self) -> bytes:
        """Return what ends the answer after the parts that were given, because the gateway ends; nothing if those were
        all.
        """
        return b"" if self._is_over else self._writing.error(503, CUT_OFF)

    def _rendered_too(self, room: int) -> bytes:
        """Return what is here already, as long as there is room."""
        rendered = b""
        while len(rendered) < room and (event := self._stream.take()) is not None:
            rendered += self._rendered(event)
        return rendered

    def _rendered(self, event: StreamEvent) -> bytes:
        given: object = event
        if isinstance(given, Relayed):
            self._is_relayed, self._last = True, given.data[-len(DONE) :]
            return given.data
        if not self._is_relayed:
            self._is_over = isinstance(event, Finished)
            return self._writing.event(event)
        self._is_over = True  # the provider has said it
        return DONE if self._is_openai and self._last != DONE else b""

    def _ended(self, error: Exception) -> bytes:
        told = refused(error)
        if told is INTERNAL:
            tell(_log.error, Line("gateway_failed", error=type(error).__name__), error=error)
        return self._writing.error(told.status, CUT_OFF if isinstance(error, ActorStoppedError) else told.said)
