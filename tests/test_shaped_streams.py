"""Answers of a shape where they are streamed, and at the end of a tool run."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from understudy import (
    Finished,
    Iteration,
    Message,
    Reasoning,
    ResponseInvalidError,
    Text,
    TextDelta,
    assistant,
    user,
)
from understudy.simulation import Answer, Script, Status
from understudy.supervisor._history_cut import Estimate, cut

from .scenario import opened

pytestmark = pytest.mark.anyio


class Facts(BaseModel):
    """What is asked for."""

    author: str
    year: int


VALID = Answer('{"author": "Goethe", "year": 1808}')
WRONG = Answer('{"author": "Goethe", "year": "long ago"}')


async def look(what: str) -> str:
    """Look something up."""
    return f"seen: {what}"


async def test_a_stream_ends_with_its_value() -> None:
    """The text comes in pieces; `Finished` holds what it says, also of the fallback."""
    async with opened({"openai": Script.always(Status(503)), "anthropic": Script.always(VALID)}) as (agent, _, _):
        async with agent.stream("Who wrote Faust?", response_model=Facts) as stream:
            events = [event async for event in stream]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == VALID.text
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.response.parsed == stream.response.parsed == Facts(author="Goethe", year=1808)


async def test_a_stream_of_no_use_is_no_success() -> None:
    """What was handed out cannot be corrected: the error holds the answer."""
    async with opened({"openai": Script.always(WRONG)}) as (agent, supervisor, _):
        async with agent.stream("Who wrote Faust?", response_model=Facts) as stream:
            with pytest.raises(ResponseInvalidError, match="year") as caught:
                _ = [event async for event in stream]
            with pytest.raises(RuntimeError):
                _ = stream.response
        assert caught.value.response.text == WRONG.text
        assert [health.in_flight for health in supervisor.health().values()] == [0]


async def test_a_run_ends_with_its_value() -> None:
    """Tools first, then the answer of the shape; one that is not valid goes back to the model once."""
    looks = Answer(None, rounds=1)
    async with opened({"openai": Script.sequence(looks, WRONG, otherwise=VALID)}) as (agent, _, world):
        run = await agent.run("Who wrote Faust?", tools=[look], response_model=Facts)
        assert len(world.log("openai")) == 3
    assert run.parsed == run.response.parsed == Facts(author="Goethe", year=1808)
    assert [message.role for message in run.messages] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert "not valid" in run.messages[4].text


async def test_a_run_of_no_use_tells_so_with_the_whole_trail() -> None:
    """Not valid at the second time either: nothing more is tried."""
    looks = Answer(None, rounds=1)
    async with opened({"openai": Script.sequence(looks, otherwise=WRONG)}) as (agent, _, _):
        with pytest.raises(ResponseInvalidError, match="year") as caught:
            await agent.run("Who wrote Faust?", tools=[look], response_model=Facts)
        assert len(caught.value.attempts) == 3


async def test_a_streamed_run_ends_with_its_value() -> None:
    """An answer that goes back to the model is an `Iteration` like any other turn."""
    looks = Answer(None, rounds=1)
    async with opened({"openai": Script.sequence(looks, WRONG, otherwise=VALID)}) as (agent, _, _):
        async with agent.stream_run("Who wrote Faust?", tools=[look], response_model=Facts) as stream:
            events = [event async for event in stream]
        assert sum(isinstance(event, Iteration) for event in events) == 2
        assert stream.run.response.parsed == Facts(author="Goethe", year=1808)


async def test_what_it_has_to_be_is_said_once() -> None:
    """Two shapes contradict each other."""
    async with opened({"openai": Script()}) as (agent, _, _):
        with pytest.raises(TypeError, match="response_model"):
            agent.stream("Who?", response_model=3)  # type: ignore[arg-type]


def test_what_is_kept_behind_a_cut_loses_its_signed_thinking() -> None:
    """Its issuer may refuse a signature over something that has changed; unsigned reasoning stays."""
    signed = Message("assistant", (Reasoning("hm", signature="s", issuer="anthropic"), Text("b" * 400)))
    redacted = Message("assistant", (Reasoning("", redacted="r", issuer="anthropic"), Reasoning("ha"), Text("c")))
    messages = (user("a" * 400), assistant("a" * 400), user("b"), signed, redacted, user("c"))
    assert cut(messages, 10_000, Estimate(0.0)) == messages
    kept = cut(messages, 150, Estimate(0.0))
    assert kept == (user("b"), assistant("b" * 400), Message("assistant", (Reasoning("ha"), Text("c"))), user("c"))
