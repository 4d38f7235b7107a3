"""Why this route answered, in words: as a response says it, and as `understudy ask --explain` prints it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from understudy import Verdict
from understudy.providers import Attempt, PassedOver, Response, Text
from understudy.simulation import Answer, Script, Status

from .scenario import ask, opened
from .test_front_door import run, vendors

pytestmark = pytest.mark.anyio


async def test_the_primary_answers() -> None:
    """One line, and its attempt."""
    async with opened({"openai": Script.always(Answer("hi", after=0.5))}) as (agent, _, _):
        response = await ask(agent)
    assert response.explain() == (
        "openai openai-model answered after 0.50 s, as the primary; nobody else was asked.\n"
        "  1. openai openai-model answered in 0.50 s"
    )


async def test_somebody_else_answers() -> None:
    """Who was passed over and why, who failed and why."""
    scripts = {
        "nous": Script.always(Answer("hi")),
        "openai": Script.always(Status(503, after=0.25)),
        "anthropic": Script.always(Answer("hi", after=0.5)),
    }
    async with opened(scripts) as (agent, supervisor, _):
        supervisor.force_open("nous", reason="maintenance")
        response = await ask(agent)
    assert response.explain() == (
        "anthropic anthropic-model answered after 0.75 s, as the fallback.\n"
        f"  nous nous-model was passed over: {response.passed_over[0].reason}\n"
        "  1. openai openai-model failed after 0.25 s: overloaded (HTTP 503): simulated 503\n"
        "  2. anthropic anthropic-model answered in 0.50 s"
    )
    assert "maintenance" in response.passed_over[0].reason


async def test_a_stream_has_its_first_token() -> None:
    """Seconds from the attempt's beginning."""
    async with opened({"openai": Script.always(Answer("one two", after=0.5, every=0.5))}) as (agent, _, _):
        async with agent.stream("Who?") as stream:
            async for _ in stream:
                pass
    assert stream.response.explain().endswith("answered in 1.00 s, its first token after 0.50 s")


def test_a_failure_without_words_has_its_verdict() -> None:
    """What could not be said is told; and an answer that no supervisor gave has no trail."""
    attempts = (Attempt(1, "openai", "m", Verdict.TIMEOUT, 0.0, 60.0), Attempt(2, "openai", "m", Verdict.OK, 60.0, 1.0))
    response = Response((Text("hi"),), "m", "openai", "stop", attempts=attempts, passed_over=())
    assert "1. openai m failed after 60.00 s: timeout\n" in response.explain()
    told = Response((Text("hi"),), "m", "openai", "stop", attempts=(replace(attempts[1], dropped=("top_k", "seed")),))
    assert told.explain().endswith("\n     not sent, since it cannot be told: top_k, seed")
    passed = (PassedOver("nous", "m", "circuit open"),)
    bare = Response((Text("hi"),), "m", "openai", "stop", passed_over=passed)
    assert bare.explain() == "openai m answered, as the primary.\n  nous m was passed over: circuit open"


@pytest.mark.commands
async def test_the_command_line_explains() -> None:
    """On standard error for people, as a field for programs."""
    async with vendors(Script.always(Status(503))) as environment:
        asked = ["-m", "understudy", "ask", "deriver", "Who wrote Faust?", "--explain"]
        code, out, err = await run(*asked, environment=environment)
        assert (code, out) == (0, "Goethe.\n")
        assert ", as the fallback.\n  1. openai gpt-lead failed after " in err
        code, out, _ = await run(*asked, "--json", environment=environment)
        assert code == 0
        assert ", as the fallback.\n  1. openai gpt-lead failed after " in json.loads(out)["explanation"]
        code, out, _ = await run(*asked, "--json", "--stream", environment=environment)
        assert ", as the fallback" in json.loads(out.splitlines()[-1])["explanation"]
