"""Tool runs as they come: what is seen of each turn, what follows an interruption, and how they are left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from understudy import (
    AllAttemptsFailedError,
    Finished,
    Iteration,
    RequestRejectedError,
    Restarted,
    RunEvent,
    StreamInterruptedError,
    TextDelta,
    TimeoutExceededError,
    ToolCallStarted,
    Verdict,
)
from understudy.simulation import Answer, Breaks, Script, Status

from .every_checkpoint import Everywhere
from .scenario import Opened, opened

pytestmark = pytest.mark.anyio

QUESTION = "one two"
LOOPS = Script.always(Answer(None, after=1, every=1, rounds=2))


class Tools:
    """A tool that counts how often it was run, and with what."""

    def __init__(self, *, takes: float = 1.0) -> None:
        self.asked: list[tuple[str, int]] = []
        self._takes = takes

    async def look(self, what: str, again: int) -> str:
        """Look something up."""
        self.asked.append((what, again))
        await anyio.sleep(self._takes)
        return f"found {again}"


async def read(on: Opened, tools: Tools, **options: object) -> tuple[list[RunEvent], object]:
    """Read a whole run."""
    agent, _, _ = on
    async with agent.stream_run(QUESTION, tools=[tools.look], **options) as stream:  # type: ignore[arg-type]
        events = [event async for event in stream]
        return events, stream.run


async def test_a_run_comes_turn_by_turn_and_ends_once() -> None:
    """Each turn's pieces, an `Iteration` after its tools, the final answer in pieces, and one `Finished`."""
    tools = Tools()
    async with opened({"openai": LOOPS}) as on:
        agent, supervisor, _ = on
        async with agent.stream_run(QUESTION, tools=[tools.look]) as stream:
            assert anyio.current_time() == 1, "entering waits for the first content"
            with pytest.raises(RuntimeError, match="not finished"):
                _ = stream.run
            assert stream.partial is not None
            events = [event async for event in stream]
            run = stream.run
        assert all(health.in_flight == 0 for health in supervisor.health().values())
    shown = [event for event in events if isinstance(event, (ToolCallStarted, Iteration, Finished))]
    assert [type(event) for event in shown] == [ToolCallStarted, Iteration, ToolCallStarted, Iteration, Finished]
    assert tools.asked == [(QUESTION, 1), (QUESTION, 2)]
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert said == run.text == "one two\nfound 1\nfound 2"
    assert events[-1] == Finished(run.response)
    assert (run.iterations, len(run.attempts)) == (3, 3)
    assert [use.result for use in run.tool_calls] == ["found 1", "found 2"]


async def test_the_text_of_all_turns_for_the_impatient() -> None:
    """`text_stream` runs the tools as well, and shows nothing but text."""
    tools = Tools()
    async with opened({"openai": LOOPS}) as (agent, _, _):
        async with agent.stream_run(QUESTION, tools=[tools.look]) as stream:
            assert "".join([piece async for piece in stream.text_stream()]) == "one two\nfound 1\nfound 2"
            assert stream.run.iterations == 3
            assert [event async for event in stream] == []
        async with agent.stream_run(QUESTION, tools=[tools.look], on_interrupt="restart") as stream:
            with pytest.raises(ValueError, match="take back"):
                stream.text_stream()


async def test_an_interruption_restarts_its_turn_alone() -> None:
    """The turn begins anew on the other vendor; the tools of the turns before are not run again."""
    tools = Tools()
    whole = Answer(None, rounds=2)
    primary = Script.sequence(whole, Breaks(whole, 1, "reset"), otherwise=Status(503))
    async with opened({"openai": primary, "anthropic": Script.always(whole)}) as on:
        events, run = await read(on, tools, on_interrupt="restart")
        _, _, world = on
        assert len(world.log("openai")) == 2, "the primary is not asked again in this run"
    assert sum(isinstance(event, Restarted) for event in events) == 1
    assert tools.asked == [(QUESTION, 1), (QUESTION, 2)]
    assert getattr(run, "text", None) == "one two\nfound 1\nfound 2"
    verdicts = [attempt.verdict for attempt in getattr(run, "attempts", ())]
    assert verdicts == [Verdict.OK, Verdict.PROVIDER, Verdict.OK, Verdict.OK]


async def test_an_interruption_that_is_raised_says_which_turn_it_was() -> None:
    """What had come of that turn is in the error, and where in the run it was in its notes."""
    whole = Answer(None, rounds=1)
    primary = Script.sequence(whole, Breaks(whole, 1, "cut"))
    async with opened({"openai": primary, "anthropic": Script()}) as on:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(on, Tools())
    assert caught.value.partial.text == "one "
    assert caught.value.__notes__ == ["in turn 2 of a tool run"]


async def test_one_timeout_holds_for_turns_and_tools() -> None:
    """It ends a tool as well as a stream, with the trail of all turns; afterwards the stream is over."""
    async with opened({"openai": LOOPS}) as (agent, _, _):
        async with agent.stream_run(QUESTION, tools=[Tools(takes=50).look], timeout=20) as stream:
            with pytest.raises(TimeoutExceededError) as caught:
                _ = [event async for event in stream]
            assert anyio.current_time() == 20
            assert [attempt.verdict for attempt in caught.value.attempts] == [Verdict.OK]
            with pytest.raises(RuntimeError, match="not open"):
                await anext(stream)
        async with agent.stream_run(QUESTION, tools=[Tools(takes=2).look], timeout=9.5) as stream:
            with pytest.raises(TimeoutExceededError) as caught:
                _ = [event async for event in stream]
        assert [attempt.verdict for attempt in caught.value.attempts] == [Verdict.OK, Verdict.CUT_SHORT]


async def test_a_model_that_thinks_and_says_nothing_is_nudged() -> None:
    """Its thoughts have been handed out by then; the answer begins anew, whatever follows an interruption."""
    empty = Answer("", thinking="hm", rounds=1)
    script = Script.sequence(Answer(None, rounds=1), empty, otherwise=Answer("found", rounds=0))
    async with opened({"openai": script, "anthropic": Script()}) as on:
        events, run = await read(on, Tools())
        _, _, world = on
        assert not world.log("anthropic")
    assert sum(isinstance(event, Restarted) for event in events) == 1
    assert getattr(run, "text", None) == "found"


async def test_leaving_between_and_within_turns_leaves_nothing() -> None:
    """`break` after a turn, in the middle of one, and before the first."""
    async with opened({"openai": LOOPS}) as (agent, supervisor, _):
        for kind in (Iteration, ToolCallStarted):
            async with agent.stream_run(QUESTION, tools=[Tools().look]) as stream:
                async for event in stream:
                    if isinstance(event, kind):
                        break
            assert all(health.in_flight == 0 for health in supervisor.health().values())
            with pytest.raises(RuntimeError, match="it was left"):
                await anext(stream)
            with pytest.raises(RuntimeError, match="entered once"):
                await stream.__aenter__()
        with pytest.raises(RuntimeError, match="async with"):
            await anext(agent.stream_run(QUESTION, tools=[Tools().look]))


async def test_what_run_refuses_is_refused_here_too() -> None:
    """Before anybody is asked."""
    async with opened({"openai": LOOPS}) as (agent, _, _):
        with pytest.raises(TypeError, match="tools="):
            agent.stream_run(QUESTION)
        with pytest.raises(ValueError, match="on_interrupt"):
            agent.stream_run(QUESTION, tools=[Tools().look], on_interrupt="never")  # type: ignore[arg-type]


async def test_nobody_answers() -> None:
    """The error of a turn has its note, also of the first."""
    async with opened({"openai": Script.always(Status(503))}, retry_attempts=2) as on:
        with pytest.raises(AllAttemptsFailedError) as caught:
            await read(on, Tools())
    assert caught.value.__notes__ == ["in turn 1 of a tool run"]


async def test_a_run_that_failed_between_two_turns_asks_nobody_again() -> None:
    """Its error comes once; who reads on learns that it has failed."""
    tools, script = Tools(), Script.sequence(Answer(None, rounds=2), otherwise=Status(400))
    async with opened({"openai": script}) as on:
        agent, _, world = on
        async with agent.stream_run(QUESTION, tools=[tools.look]) as stream:
            with pytest.raises(RequestRejectedError):
                [event async for event in stream]
            for _ in range(2):
                with pytest.raises(RuntimeError, match="not open: it was left, or has failed"):
                    await anext(stream)
        assert len(world.log("openai")) == 2


async def test_a_turn_that_was_cancelled_is_the_last() -> None:
    """Neither its tools nor the next question begin again."""
    tools = Tools(takes=9)
    async with opened({"openai": LOOPS}) as on:
        agent, _, _ = on
        async with agent.stream_run(QUESTION, tools=[tools.look]) as stream:
            with anyio.move_on_after(5):
                [event async for event in stream]
            with pytest.raises(RuntimeError, match="not open"):
                await anext(stream)
    assert len(tools.asked) == 1


@pytest.mark.parametrize("after", [4.5, 6.0])
async def test_left_by_one_task_it_ends_for_the_one_that_reads(after: float) -> None:
    """While a turn is begun, and while a tool runs: nothing of it is left, and the reader is told."""
    tools, told = Tools(), list[str]()
    async with opened({"openai": Script.always(Answer(None, after=2, every=1, rounds=2))}) as on:
        agent, supervisor, _ = on

        async with anyio.create_task_group() as tasks:
            async with agent.stream_run(QUESTION, tools=[tools.look]) as stream:

                async def reads() -> None:
                    with pytest.raises(RuntimeError, match="not open: it was left"):
                        async for event in stream:
                            told.append(type(event).__name__)

                tasks.start_soon(reads)
                await anyio.sleep(after)
        assert all(health.in_flight == 0 for health in supervisor.health().values())
        assert "Finished" not in told


async def test_cancelled_anywhere_nothing_is_left() -> None:
    """At every checkpoint of a run that is interrupted and goes on: no stream, no place, no tool."""
    whole = Answer(None, rounds=1)
    scripts = {"openai": Script.sequence(Breaks(whole, 1, "reset"), otherwise=whole), "anthropic": Script.always(whole)}

    @asynccontextmanager
    async def stage() -> AsyncIterator[Opened]:
        async with opened(scripts) as on:
            yield on

    async def act(on: Opened) -> None:
        with suppress(StreamInterruptedError):
            await read(on, Tools(), on_interrupt="restart")

    assert await Everywhere(stage, act, act).run() >= 8
