"""A caller: asks an agent in the manner of its schedule, and leaves when and how that says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel

from understudy import Agent, Response, Run
from understudy.providers import StreamEvent
from understudy.supervisor._stream import Stream

from ._notes import Asked, Ran, running
from ._witness import Witness


class OwnError(Exception):
    """An exception of the program that uses the supervisor."""


class Reader:
    """Has the answer to one request. `scope` is what its caller is cancelled by."""

    def __init__(self, agent: Agent, asked: Asked, witness: Witness, scope: anyio.CancelScope) -> None:
        self._agent, self._asked, self._witness, self._scope = agent, asked, witness, scope
        if asked.reading.leaves == "commit":
            asked.leaves_at_commit = scope

    async def answer(self) -> Response | None:
        """Return the answer; None if the caller left before its end.

        Raises:
            UnderstudyError: What the agent raises.
            OSError: This machine is at fault.
        """
        asked, manner = self._asked, self._asked.reading.manner
        if manner == "run":
            return await self._run(Ran(asked))
        if not asked.reading.opens:
            return await self._agent.complete(asked.text, timeout=asked.timeout, stream_upstream=manner == "upstream")
        stream = self._agent.stream(
            asked.text, timeout=asked.timeout, on_interrupt="restart" if manner == "restart" else "raise"
        )
        if asked.reading.leaves == "drop":
            return await self._until_dropped(stream)
        try:
            async with stream:
                return await self._read(stream)
        except OwnError:
            return None

    async def _run(self, run: Ran) -> Response:
        asked, runs = self._asked, self._witness.runs
        token = running.set(run)
        outcome: Run | BaseException | None = None
        try:
            outcome = await self._agent.run(
                asked.text,
                tools=[runs.tool(run)],
                timeout=asked.timeout,
                stream_upstream=bool(asked.reading.after % 2),
            )
            return outcome.response
        except Exception as error:
            outcome = error
            raise
        finally:
            running.reset(token)
            runs.ended(run, outcome)

    async def _until_dropped(self, stream: Stream) -> Response | None:
        async with AsyncExitStack() as stack:
            response = await self._read(await stack.enter_async_context(stream))
            if response is None:
                stack.pop_all()  # nobody will ever leave it: with this function's end the stream is gone
                self._witness.streams.dropped(self._asked)
            return response

    async def _read(self, stream: Stream) -> Response | None:
        """Read to the end, or until it is time to leave."""
        asked, reading, streams = self._asked, self._asked.reading, self._witness.streams
        events: AsyncIterator[StreamEvent | str] = stream.text_stream() if reading.manner == "text" else stream
        streams.entered(asked)
        left = reading.after
        while True:
            if reading.leaves not in {None, "commit"}:
                if not left:
                    await self._leaves()
                    return None
                left -= 1
            streams.comes_back(asked)
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return stream.response
            streams.brought(asked, event)
            if reading.pause:
                await anyio.sleep(reading.pause)

    async def _leaves(self) -> None:
        self._asked.left_at = anyio.current_time()
        match self._asked.reading.leaves:
            case "exception":
                raise OwnError
            case "cancel":
                self._scope.cancel()
                await anyio.lowlevel.checkpoint()
            case _:  # break, or drop
                pass
