"""A scripted stream in memory: what comes when, and how it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never, final

import anyio
import anyio.lowlevel

from ..providers import (
    ContentEvent,
    Failure,
    Partial,
    PartialCall,
    ReasoningDelta,
    Response,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    attempt_error,
)

Step: TypeAlias = tuple[float, ContentEvent | Response | Failure | None]
"""Seconds to wait, and what comes then: content, the whole answer at its end, a failure, or a sign of life."""


@final
@dataclass(slots=True)
class _Come:
    """What has come so far."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[PartialCall] = field(default_factory=list)

    def add(self, piece: ContentEvent) -> None:
        match piece:
            case TextDelta(text):
                self.text.append(text)
            case ReasoningDelta(text):
                self.reasoning.append(text)
            case ToolCallStarted(_, identity, name):
                self.calls.append(PartialCall(identity, name, ""))
            case ToolCallDelta(index, more):
                call = self.calls[index]
                self.calls[index] = PartialCall(call.id, call.name, call.arguments + more)
            case _:
                assert_never(piece)


@final
class ScriptedUpstream:
    """The stream of a scripted provider; see `Upstream`. Each `read` brings one step.

    Args:
        steps: What comes; where they end without an answer or a failure, nothing ever comes again.
        usage: What is known of it before the end.
        ended: Called once: when the end has come, when it failed, or when it is closed.
    """

    def __init__(
        self, steps: Iterator[Step], transport: str, model: str, *, usage: Usage, ended: Callable[[], None]
    ) -> None:
        self._steps, self._ended = steps, ended
        self._transport, self._model, self._usage = transport, model, usage
        self._is_open, self._come, self._waiting = True, _Come(), deque[ContentEvent]()
        self._failure: Failure | None = None
        self._reading: anyio.CancelScope | None = None
        self.response: Response | None = None

    @property
    def partial(self) -> Partial:
        """What has come so far; see `Upstream.partial`."""
        come, usage = self._come, self._usage if self.response is None else self.response.usage
        text, reasoning = "".join(come.text), "".join(come.reasoning)
        return Partial(self._transport, self._model, text, reasoning, tuple(come.calls), usage)

    def take(self) -> ContentEvent | None:
        """Return the next content that is here already, or None; see `Upstream.take`."""
        return self._waiting.popleft() if self._waiting else None

    async def read(self) -> None:
        """Wait for the next step, unless there is content to take; see `Upstream.read`. Being cancelled closes it.

        Raises:
            AttemptError: The script wants it to fail.
            anyio.ClosedResourceError: It was closed before its end.
        """
        if self._waiting or self.response is not None or self._failure is not None:
            await anyio.lowlevel.checkpoint()
        elif not self._is_open:
            raise anyio.ClosedResourceError
        else:
            self._take_in(await self._come_next())
        if self._failure is not None:
            raise attempt_error(self._failure)

    async def _come_next(self) -> ContentEvent | Response | Failure | None:
        try:
            with anyio.CancelScope() as self._reading:
                wait, come = await self._next()
                await anyio.sleep(wait)
                return come
        except BaseException:
            self._reading = None
            self.abandon()
            raise
        finally:
            self._reading = None
        raise anyio.ClosedResourceError  # it was abandoned meanwhile

    async def _next(self) -> Step:
        step = next(self._steps, None)
        if step is None:
            await anyio.sleep_forever()
            raise AssertionError("unreachable")
        return step

    def _take_in(self, come: ContentEvent | Response | Failure | None) -> None:
        match come:
            case None:
                pass
            case Response():
                self.response = come
                self.abandon()
            case Failure():
                self._failure = come
                self.abandon()
            case _:
                self._come.add(come)
                self._waiting.append(come)

    async def aclose(self) -> None:
        """Close; see `Upstream.aclose`."""
        self.abandon()
        await anyio.lowlevel.checkpoint()

    def abandon(self) -> None:
        """Close without waiting; see `Upstream.abandon`."""
        if self._is_open:
            self._is_open = False
            self._ended()
        if self._reading is not None:
            self._reading.cancel()
