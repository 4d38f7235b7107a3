"""A tool run as it comes: the answers of its turns in pieces, and each turn when its tools have been run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TypeAlias, final

from ..providers import Finished, Partial, StreamEvent
from ._dispatch import Dispatch
from ._later import Later
from ._run_values import Iteration, Run
from ._stream import ENTERED, LEFT, NOT_ENTERED, Stream, TextStream, not_open
from ._tool_run import ToolRun

RunEvent: TypeAlias = StreamEvent | Iteration
"""What a caller sees: the events of each turn, an `Iteration` after its tools, and `Finished` at the end."""


@final
class RunStream:
    """One tool run. Made by `Agent.stream_run`; used once, in an `async with`, by one task at a time.

    Entering waits until the first content. The tools run while the next event is waited for. However the block is left,
    the connection is closed, no tool runs any more (but for functions in threads), and nobody is blamed.
    """

    def __init__(self, run: ToolRun, *, restarts: bool) -> None:
        self._tool_run, self._restarts = run, restarts
        self._turn: tuple[Stream, Dispatch] | None = None
        self._run: Run | None = None
        self._is_entered = self._is_open = self._is_left = False
        self._later: Later | None = None

    async def __aenter__(self) -> RunStream:
        """Wait for the first content; see `Stream.__aenter__`.

        Raises:
            RuntimeError: It was entered before.
            Exception: What `Agent.run` raises, for the same reasons.
        """
        if self._is_entered:
            raise RuntimeError(ENTERED)
        self._is_entered, self._later = True, Later()
        self._tool_run.begin()
        with self._tool_run.traced():
            await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the run; an exception of the block's goes on as it is."""
        self._is_open, self._is_left = False, True
        turn, self._turn = self._turn, None
        try:
            if turn is not None:
                await turn[0].__aexit__(kind, error, traceback)
        finally:
            self._tool_run.over("cancelled")  # unless it is over

    def __del__(self) -> None:
        if self._later is not None and self._run is None and not self._is_left:
            self._later(partial(self._tool_run.over, "cancelled"))

    def __aiter__(self) -> RunStream:
        return self

    async def __anext__(self) -> RunEvent:
        """Return the next event; errors as `Stream.__anext__`, each with a note which turn it was."""
        if self._turn is None and self._run is not None:
            raise StopAsyncIteration
        if self._turn is None and not self._is_open:
            raise not_open(LEFT if self._is_entered else NOT_ENTERED)
        with self._tool_run.traced():
            if self._turn is None:
                await self._begin()
            assert self._turn is not None  # noqa: S101 - it has just begun
            stream, dispatch = self._turn
            with self._tool_run.noting():
                event = await anext(stream)
            return event if not isinstance(event, Finished) else await self._turned(event, dispatch.place)

    def text_stream(self) -> TextStream:
        """Return an iterator over nothing but the pieces of text, of all turns.

        Raises:
            ValueError: The stream may restart: text that was given could not be taken back.
        """
        return TextStream(self, restarts=self._restarts)

    @property
    def run(self) -> Run:
        """What came of the run.

        Raises:
            RuntimeError: It is not finished.
        """
        if self._run is None:
            raise RuntimeError("the run is not finished: iterate the stream to its end first")
        return self._run

    @property
    def partial(self) -> Partial | None:
        """What has come of the turn at hand; None before its first content, between two turns, and after the end."""
        return None if self._turn is None else self._turn[0].partial

    async def _begin(self) -> None:
        """Begin the next turn, and wait for its first content. If none comes, the run has failed."""
        self._is_open = False
        dispatch = Dispatch(self._tool_run.chain, replace(self._tool_run.question(), opens=True))
        stream = Stream(lambda: dispatch, restarts=self._restarts)
        with self._tool_run.noting():
            await stream.__aenter__()
        if self._is_left:  # in another task
            await stream.__aexit__(None, None, None)
            raise not_open(LEFT)
        self._turn, self._is_open = (stream, dispatch), True

    async def _turned(self, finished: Finished, place: int) -> Iteration | Finished:
        """End a turn, and run its tools."""
        self._turn, self._is_open = None, False  # if a tool's time is over, so is the run
        turn = await self._tool_run.answered(finished.response, place)
        if isinstance(turn, Iteration):
            self._is_open = not self._is_left
            return turn
        self._run = turn
        return Finished(turn.response)
