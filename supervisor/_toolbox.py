"""The tools of a run: each call is run once and answered, whatever comes of it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cached_property, partial
from typing import Any, final

import anyio
import anyio.to_thread

from ..providers import Tool, ToolCall, cleaner
from ._functions import Typed, is_async
from ._run_values import ToolUse
from ._tracing import ToolBegun, ToolOver, Trace

_STRUCTURES = (dict, list, tuple, set, frozenset)


@final
class Toolbox:
    """What a model may ask for in a run. `secrets` are looked for in what is told of an error.

    Raises:
        TypeError: A tool has nothing to run.
    """

    def __init__(self, tools: Sequence[Tool], secrets: Iterable[str]) -> None:
        for tool in tools:
            if tool.run is None:
                raise TypeError(
                    f"the tool {tool.name!r} has nothing to run: Tool(…, run=function), or give the function"
                )
        self._tools = {tool.name: tool for tool in tools}
        self._secrets = tuple(secrets)

    async def use_all(
        self, calls: Sequence[ToolCall], iteration: int, at_once: int, trace: Trace | None = None
    ) -> list[ToolUse]:
        """Run all calls, at most `at_once` at the same time; return what came of them, in the order of the calls.

        After cancellation none of them runs any more, but for functions in threads: nothing can end those, and nobody
        waits for them.
        """
        if at_once == 1 or len(calls) < 2:
            return [await self.use(call, iteration, trace) for call in calls]
        uses = [self.not_run(call, iteration, "it was cancelled") for call in calls]
        waiting = iter(enumerate(calls))
        stopped: list[BaseException] = []

        async def work() -> None:
            for place, call in waiting:
                try:
                    uses[place] = await self.use(call, iteration, trace)
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt and its like leave without a group
                    stopped.append(error)
                    tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(at_once, len(calls))):
                tasks.start_soon(work)
        if stopped:
            raise stopped[0]
        return uses

    async def use(self, call: ToolCall, iteration: int, trace: Trace | None = None) -> ToolUse:
        """Run one call. An exception of the tool's is an answer to the model, too: it is told cut, without secrets.

        Args:
            trace: Of the turn: what the tool does lies within its own trace there.
        """
        if trace is None:
            return await self._use(call, iteration)
        within, use = trace.begin(ToolBegun(call, call.name in self._tools)), None
        try:
            with within.current():
                use = await self._use(call, iteration)
        finally:
            within.end(ToolOver(use))
        return use

    async def _use(self, call: ToolCall, iteration: int) -> ToolUse:
        began = anyio.current_time()
        try:
            value, error = await _outcome(self._bound(call))
            said = as_text(value) if error is None else self._told(error)
        except Exception as raised:  # noqa: BLE001 - whatever the user's function raises
            said, error = self._told(raised), raised
        is_error, error = error is not None, None  # its traceback holds this frame
        return ToolUse(call, said, is_error, iteration, anyio.current_time() - began)

    def not_run(self, call: ToolCall, iteration: int, why: str) -> ToolUse:
        """Answer a call without running it."""
        return ToolUse(call, f"not run: {why}", is_error=True, iteration=iteration, duration=0.0)

    def _bound(self, call: ToolCall) -> Callable[[], Any]:
        tool = self._tools.get(call.name)
        if tool is None or tool.run is None:
            raise _NotRunError(f"there is no tool {call.name!r}; the tools are: {', '.join(self._tools) or 'none'}")
        try:
            arguments = call.parse()
            if isinstance(tool.run, Typed):
                return tool.run.bound(call.arguments if call.arguments.strip() else "{}")
        except ValueError as error:
            raise _NotRunError(f"not run: {error}") from None
        return partial(tool.run, **arguments)

    @cached_property
    def _clean(self) -> Callable[[str], str]:
        return cleaner(self._secrets)

    def _told(self, error: Exception) -> str:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # what one of a tool's tasks raised
            (error,) = error.exceptions
        try:
            said = str(error)
        except Exception:  # noqa: BLE001 - a mistake in an exception of the user's
            said = ""
        if isinstance(error, _NotRunError):
            return self._clean(said)
        return self._clean(f"{type(error).__name__}: {said}" if said else type(error).__name__)


class _NotRunError(Exception):
    """A call that could not be run: its message is told to the model as it is."""


async def _outcome(run: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Run a function in a worker thread, or in place where it only makes a coroutine; return its value, or its error.

    An error from a thread is returned, because neither a future nor a coroutine can hold a StopIteration. No limiter is
    shared: functions that hang in threads nobody waits for any more would in the end keep all others from running.
    """
    if is_async(run):
        return await run(), None
    alone = anyio.CapacityLimiter(1)
    value, error = await anyio.to_thread.run_sync(partial(_held, run), abandon_on_cancel=True, limiter=alone)
    return (await value if inspect.isawaitable(value) else value), error


def _held(run: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return run(), None
    except Exception as error:  # noqa: BLE001 - told to the model
        return None, error


def as_text(value: object) -> str:
    """Return what a tool gave back as a text: JSON for what has a structure, nothing for None, of an enum its value.

    Raises:
        ValueError: It contains itself.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return ""
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, _STRUCTURES) or dataclasses.is_dataclass(value) or _is_model(value):
        from pydantic_core import to_json

        text = to_json(value, fallback=str).decode()
    else:
        text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # no wire carries a lone surrogate


def _is_model(value: object) -> bool:
    from pydantic import BaseModel

    return isinstance(value, BaseModel)
