"""Tracers of the user's own: what they are shown, and that nothing they do costs an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import anyio
import pytest

import understudy
from understudy import Settings
from understudy.simulation import Answer, Script, World
from understudy.supervisor import Begun, Over, RequestOver

from .scenario import chain

pytestmark = pytest.mark.anyio

PLACES = ("begin", "end", "current", "enter", "exit")


class Faulty:
    """A tracer, and its own span, that fails in one place; one that `swallows` takes what its context is left with."""

    def __init__(self, where: str = "", *, swallows: bool = False) -> None:
        self._where, self._swallows = where, swallows
        self.over: list[Over] = []

    def begin(self, begun: Begun) -> Faulty:
        """Begin."""
        self._fail("begin")
        return self

    def end(self, over: Over) -> None:
        """Keep what came of it."""
        self._fail("end")
        self.over.append(over)

    def current(self) -> AbstractContextManager[None]:
        """Be current."""
        self._fail("current")
        return self._current()

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._fail("enter")
        try:
            yield
        except BaseException:
            if not self._swallows:
                raise
        self._fail("exit")

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise RuntimeError(where)


async def look_up(place: str) -> str:
    """Look something up."""
    return f"seen {place}"


async def slow(place: str) -> str:
    """Take long."""
    await anyio.sleep(100)
    return place


@pytest.mark.parametrize("where", PLACES)
async def test_a_tracer_that_fails_costs_nothing(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it fails, the run is the same, the other tracer is shown all of it, and the log says so once."""
    world, other = World({"openai": Script.always(Answer("hi", rounds=1))}), Faulty()
    settings = Settings.in_code(agents={"deriver": chain("openai")})
    tracers = [Faulty(where), other]
    async with understudy.open_supervisor(settings, connect=world.connect, tracers=tracers) as supervisor:
        run = await supervisor.agent("deriver").run("Where?", tools=[look_up])
    assert (run.text, [use.is_error for use in run.tool_calls]) == ("hi", [False])
    assert len(other.over) == 6  # two requests, two turns, a tool, the run
    told = [record.getMessage() for record in caplog.records if "tracer_failed" in record.getMessage()]
    assert len(told) == 1


async def test_a_context_that_swallows_keeps_nobody_from_leaving() -> None:
    """A cancellation goes through a tool's context, whatever that does with what it is left with."""
    world, tracer = World({"openai": Script.always(Answer("hi", rounds=1))}), Faulty(swallows=True)
    settings = Settings.in_code(agents={"deriver": chain("openai")})
    async with understudy.open_supervisor(settings, connect=world.connect, tracers=[tracer]) as supervisor:
        with anyio.move_on_after(5) as scope:
            await supervisor.agent("deriver").run("Where?", tools=[slow])
        assert scope.cancelled_caught
    assert anyio.current_time() == 5
    ended: list[Any] = [over for over in tracer.over if not isinstance(over, RequestOver)]
    assert [getattr(over, "error", "") for over in ended] == ["", "cancelled", "cancelled"]
