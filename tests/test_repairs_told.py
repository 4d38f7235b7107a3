"""An answer that was corrected, or could not be: one request in events, metrics and traces, as it is to its caller."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from understudy import ResponseInvalidError
from understudy.events import Event, RequestEnded
from understudy.simulation import Answer, Script
from understudy.supervisor import RequestOver
from understudy.telemetry._generation import request_level

from .scenario import ask, opened
from .test_tracing import Faulty

pytestmark = pytest.mark.anyio

NO, YES = Answer("no JSON", 0.5), Answer('{"author": "Goethe"}', 0.5)


class Author(BaseModel):
    """Who wrote it."""

    author: str


async def told(*answers: Answer, streams: bool = False) -> tuple[RequestEnded, RequestOver, Any]:
    """Ask for an author; return what a hook and a tracer were told, and the metrics."""
    events, tracer = list[Event](), Faulty()
    scripts = {"openai": Script.sequence(*answers)}
    async with opened(scripts, hooks=[events.append], tracers=[tracer]) as (agent, supervisor, _):
        try:
            if streams:
                async with agent.stream("Who wrote Faust?", response_model=Author) as stream:
                    async for _ in stream:
                        pass
            else:
                await agent.complete("Who wrote Faust?", response_model=Author)
        except ResponseInvalidError:
            pass
        metrics = supervisor.metrics()
    (ended,) = [event for event in events if isinstance(event, RequestEnded)]
    (over,) = [each for each in tracer.over if isinstance(each, RequestOver)]
    return ended, over, metrics


async def test_a_corrected_answer_is_one_request() -> None:
    """With both attempts, the tokens of both, and the time of both; nothing was handed over, and nothing lost."""
    ended, over, metrics = await told(NO, YES)
    assert (ended.error, len(ended.attempts), ended.duration) == ("", 2, 1.0)
    assert ended.usage is not None
    assert ended.usage == (over.response and over.response.usage)
    assert metrics.total("understudy.requests", error="") == 1
    assert metrics.total("understudy.attempts", verdict="ok") == 2
    assert metrics.total("understudy.handovers") == metrics.total("understudy.lost") == 0
    assert request_level(over, content=True) == ("WARNING", "after: openai/openai-model gave an invalid answer")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_an_answer_of_no_use_is_an_error(streams: bool) -> None:
    """Whatever the model said, the caller had no answer; but the tokens were taken."""
    ended, over, metrics = await told(NO, NO, streams=streams)
    assert ended.error == over.error == "ResponseInvalidError"
    assert (ended.transport, ended.is_fallback) == (None, False)
    assert ended.usage is not None
    assert (
        metrics.total("understudy.requests", error="ResponseInvalidError") == metrics.total("understudy.requests") == 1
    )
    assert metrics.total("understudy.tokens", type="output") > 0


async def test_it_is_explained() -> None:
    """The first answer is said to be of no use."""
    async with opened({"openai": Script.sequence(NO, YES)}) as (agent, _, _):
        response = await agent.complete("Who wrote Faust?", response_model=Author)
        assert response.explain().splitlines()[1:] == [
            "  1. openai openai-model answered in 0.50 s, not in the shape that was asked for",
            "  2. openai openai-model answered in 0.50 s",
        ]
        assert "not in the shape" not in (await ask(agent)).explain()
