"""A stream as a caller has it: entered, iterated, left. What follows an interruption is decided by the dispatch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, TypeAlias, final

from ..providers import Finished, Partial, Response, StreamEvent, TextDelta
from ._dispatch import Dispatch
from ._later import Later
from ._live import Live
from ._structured import Wanted

OnInterrupt: TypeAlias = Literal["raise", "restart"]


@final
@dataclass(frozen=True, slots=True)
class ServedBy:
    """Who is giving an answer, and in which attempt, counted from 1."""

    transport: str
    model: str
    attempt: int
    is_fallback: bool


@final
class Stream:
    """One answer, as it comes. Made by `Agent.stream`; used once, in an `async with`, by one task at a time.

    Entering waits until the first content; then it is iterated for events, the last of which is `Finished`. However the
    block is left, the connection is closed within a second unless it was read to its end, and nobody is blamed.

    Args:
        begin: Makes the request; its timeout runs from then on.
    """

    def __init__(self, begin: Callable[[], Dispatch], *, restarts: bool, wanted: Wanted | None = None) -> None:
        self._begin, self._restarts, self._wanted = begin, restarts, wanted
        self._live: Live | None = None
        self._response: Response | None = None
        self._is_entered = self._is_busy = self._is_cancelled = self._is_left = self._is_over = False
        self._later: Later | None = None

    async def __aenter__(self) -> Stream:
        """Wait for the first content.

        After cancellation nothing is left behind.

        Raises:
            RuntimeError: It was entered before.
            Exception: What `Agent.complete` raises, for the same reasons.
        """
        if self._is_entered:
            raise RuntimeError(ENTERED)
        self._is_entered, self._later = True, Later()
        self._dispatch = self._begin()
        self._live = await self._dispatch.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the stream; an exception of the block's goes on as it is."""
        live, self._live, self._is_left = self._live, None, True
        if live is None:
            return
        if kind is GeneratorExit:  # the garbage collector ends a coroutine, which may not wait any more
            self._abandon(live)
        else:
            await self._dispatch.left(live)

    def __del__(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._abandon(live)

    def _abandon(self, live: Live) -> None:
        """Shut the connection down at once, and have the rest done where it may be done."""
        live.upstream.abandon()
        if self._later is not None:
            self._later(partial(self._dispatch.abandoned, live))

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event.

        It waits only where nothing has come yet; there, and nowhere else, limits rule.

        Raises:
            StreamInterruptedError: The answer was cut off; its `partial` is what had come.
            TimeoutExceededError: The request's timeout ended while we waited; also with a `partial`.
            ResponseInvalidError: The answer is whole, but not what `response_model` says.
            ActorStoppedError: The supervisor is closed or closing.
            RuntimeError: The stream is not open, it was left meanwhile, or another task is reading it.

        After cancellation it can be read no more.
        """
        live = self._live
        if live is None or self._is_busy or self._is_cancelled:
            raise self._misused()
        event = live.take()
        return event if event is not None else await self._next(live)

    def text_stream(self) -> TextStream:
        """Return an iterator over nothing but the pieces of the answer's text.

        Raises:
            ValueError: The stream may restart: text that was given could not be taken back.
        """
        return TextStream(self, restarts=self._restarts)

    @property
    def response(self) -> Response:
        """The whole answer, with usage and trail.

        Raises:
            RuntimeError: It is not finished.
        """
        if self._response is None:
            raise RuntimeError("the answer is not finished: iterate the stream to its end first")
        return self._response

    @property
    def partial(self) -> Partial | None:
        """What has come so far; None before the first content and after the stream was left or has failed."""
        return None if self._live is None else self._live.upstream.partial

    @property
    def served_by(self) -> ServedBy | None:
        """Who is answering; None before the first content, and after the stream was left, has failed or has ended."""
        if self._live is None:
            return None
        served, attempts = self._live.served, self._dispatch.trail[0]
        return ServedBy(served.route.transport, served.route.model, len(attempts) + 1, served.place > 0)

    def take(self) -> StreamEvent | None:
        """Return the next content if it has come already; None where iterating would wait, or would end."""
        return None if self._live is None or self._is_busy or self._is_cancelled else self._live.take()

    async def _next(self, live: Live) -> StreamEvent:
        self._is_busy = True
        try:
            while live.upstream.response is None:
                error = await self._read(live)
                if self._live is not live:  # in another task
                    raise not_open(LEFT)
                if error is not None:
                    return await self._interrupted(live, error)
                if (event := live.take()) is not None:
                    return event
            return await self._finished(live)
        finally:
            self._is_busy = False

    async def _read(self, live: Live) -> Exception | None:
        """Wait until something has come; return what ended the stream, if something did."""
        try:
            await live.read()
        except Exception as error:  # noqa: BLE001 - whatever ends it, the dispatch says what follows
            _forget_frame(error)
            return error
        except BaseException:
            self._is_cancelled = True
            raise
        return None

    async def _interrupted(self, live: Live, error: Exception) -> StreamEvent:
        self._live = None  # whatever happens now, that one has ended
        following, restarted = await self._dispatch.interrupted(live, error, restarts=self._restarts)
        if self._is_left:
            await self._dispatch.left(following)
            raise not_open(LEFT)
        self._live = following
        return restarted

    async def _finished(self, live: Live) -> Finished:
        self._live, self._is_over = None, True
        wanted = self._wanted
        check = None if wanted is None else partial(wanted.must_finish, agent=self._dispatch.agent)
        self._response = response = await self._dispatch.finish(live, check)
        return Finished(response)

    def _misused(self) -> Exception:
        if self._is_over:
            return StopAsyncIteration()
        if self._is_busy:
            return RuntimeError("a stream is read by one task at a time")
        if self._is_cancelled and not self._is_left:
            return not_open("it was cancelled while it was read")
        return not_open(LEFT if self._is_entered else NOT_ENTERED)


@final
class TextStream:
    """The pieces of an answer's text. It needs no closing: the stream that it belongs to does.

    Raises:
        ValueError: The stream may restart: text that was given could not be taken back.
    """

    def __init__(self, events: AsyncIterator[object], *, restarts: bool) -> None:
        if restarts:
            raise ValueError("text_stream cannot take back text: iterate the events, or leave on_interrupt at 'raise'")
        self._events = events

    def __aiter__(self) -> TextStream:
        return self

    async def __anext__(self) -> str:
        """Return the next piece; errors as `Stream.__anext__`."""
        while True:
            event = await anext(self._events)
            if isinstance(event, TextDelta):
                return event.text


ENTERED = "a stream is entered once: ask the agent for another one"
LEFT, NOT_ENTERED = "it was left, or has failed", "use it in an async with"


def not_open(how: str) -> RuntimeError:
    """Return the error of who reads a stream that is not open."""
    return RuntimeError(f"this stream is not open: {how}")


def _forget_frame(error: Exception) -> None:
    """Take the frame that caught an error out of its traceback: it holds the stream, which might be dropped some day,
    and the dispatch holds the error.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
