"""OpenTelemetry: one span for each request in the application's own tracer, with the conventions' names."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from understudy import ConfigurationError, UnderstudyError
from understudy.simulation import Answer, Breaks, Hang, Phase, Script, Status
from understudy.telemetry import OpenTelemetryTracer

from .over_sockets import opened as opened_over_sockets
from .scenario import opened

pytestmark = pytest.mark.anyio

CANARY = "canary-of-a-prompt-0123456789"
WELL_SAID = Answer("Goethe.", after=0.5)
WELL = Script.always(WELL_SAID)
DOWN = Script.always(Status(503, after=0.25, body=f'{{"error": {{"message": "{CANARY}"}}}}'.encode()))


class Seen:
    """What a tracer of the application's has been shown."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("application")

    @property
    def spans(self) -> list[ReadableSpan]:
        """Return those that have ended, in the order in which they began; no prompt is in any of them."""
        spans = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        assert CANARY not in "".join(span.to_json() for span in spans)
        return spans

    def only(self) -> ReadableSpan:
        """Return the one that there is."""
        (span,) = self.spans
        return span

    def events(self) -> list[tuple[str, dict[str, Any], float]]:
        """Return the events of the one that there is, with the seconds since it began."""
        span = self.only()
        assert span.start_time is not None
        return [
            (event.name, dict(event.attributes or {}), (event.timestamp - span.start_time) / 1e9)
            for event in span.events
        ]


@pytest.fixture
def seen() -> Seen:
    """Return an application's tracer."""
    return Seen()


def named(spans: list[ReadableSpan]) -> list[tuple[str, str]]:
    """Return the spans' names, each with that of the span that it lies in."""
    names = {span.context.span_id: span.name for span in spans}
    return [(span.name, names[span.parent.span_id] if span.parent else "") for span in spans]


async def test_a_plain_call(seen: Seen) -> None:
    """Everything that the conventions have a name for, and the attempt as an event."""
    async with opened({"openai": WELL}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        about: dict[str, Any] = {"session_id": "s", "user_id": "u", "tags": ["a"], "metadata": {"shard": 7, "why": [1]}}
        await agent.complete(f"Who? {CANARY}", max_tokens=20, temperature=0.5, stop=".", name="summary", **about)
    span = seen.only()
    assert (span.name, span.kind, span.parent) == ("chat openai-model", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.agent.name": "deriver",
        "gen_ai.conversation.id": "s",
        "user.id": "u",
        "understudy.tags": ("a",),
        "understudy.metadata.shard": 7,
        "understudy.metadata.why": "[1]",
        "understudy.name": "summary",
        "gen_ai.request.stream": False,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "openai-model",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": (".",),
        "gen_ai.response.model": "openai-model",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "understudy.is_fallback": False,
    }
    told = {"number": 1, "transport": "openai", "model": "openai-model", "verdict": "ok", "start": 0.0, "duration": 0.5}
    assert seen.events() == [("understudy.attempt", {**told, "status": 200, "request_id": "simulated"}, 0.5)]


async def test_a_hand_over(seen: Seen) -> None:
    """One span of whoever answered, an event for each attempt at its own time, an explanation, and no error."""
    async with opened({"gemini": DOWN, "anthropic": WELL}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        await agent.complete(CANARY)
    span = seen.only()
    attributes = dict(span.attributes or {})
    assert (span.name, attributes["gen_ai.provider.name"]) == ("chat anthropic-model", "anthropic")
    assert attributes["understudy.is_fallback"] is True
    assert attributes["understudy.explanation"] == "handed over: gemini/gemini-model overloaded"
    assert [(event["transport"], event["verdict"], at) for _, event, at in seen.events()] == [
        ("gemini", "overloaded", 0.25),
        ("anthropic", "ok", 0.75),
    ]
    assert span.status.status_code is StatusCode.UNSET


async def test_a_route_that_was_passed_over(seen: Seen) -> None:
    """Is an event, without what a provider said."""
    scripts = {"openai": WELL, "anthropic": WELL}
    async with opened(scripts, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, supervisor, _):
        supervisor.force_open("openai", reason=CANARY)
        await agent.complete("Who?")
    name, event, at = seen.events()[0]
    assert (name, at) == ("understudy.passed_over", 0)
    assert event == {"transport": "openai", "model": "openai-model", "reason": "closed by hand"}


async def test_what_fails_is_an_error(seen: Seen) -> None:
    """With the name of what was raised, and nothing that it says."""
    async with opened({"openai": DOWN, "gemini": DOWN}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        with pytest.raises(UnderstudyError):
            await agent.complete("Who?")
    span = seen.only()
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == span.status.description == "AllAttemptsFailedError"
    assert (span.status.status_code, attributes["gen_ai.provider.name"]) == (StatusCode.ERROR, "gcp.gemini")


@pytest.mark.sockets
async def test_a_tool_that_there_is_not_has_no_name(seen: Seen) -> None:
    """The model made it up, and may have quoted the prompt in it."""
    call = {"id": "c1", "type": "function", "function": {"name": CANARY, "arguments": "{}"}}
    asks = {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    script = Script.sequence(Status(200, body=json.dumps({"model": "m" * 500, "choices": [asks]}).encode()), WELL_SAID)
    async with opened_over_sockets(("openai", script), tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        await agent.run("Who?", tools=[look_up])
    assert "execute_tool unknown tool" in [span.name for span in seen.spans]
    assert "m" * 100 in [dict(span.attributes or {}).get("gen_ai.response.model") for span in seen.spans]


async def test_who_leaves_is_no_error(seen: Seen) -> None:
    """A cancelled call says so, and who was asked."""
    async with opened({"openai": Script.always(Hang())}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        with anyio.move_on_after(1):
            await agent.complete("Who?")
    span = seen.only()
    assert (dict(span.attributes or {})["error.type"], span.status.status_code) == ("cancelled", StatusCode.UNSET)
    assert (span.name, [event["verdict"] for _, event, _ in seen.events()]) == ("chat openai-model", ["no_verdict"])


async def test_a_stream_that_begins_anew(seen: Seen) -> None:
    """One span, the time to the first content of what was kept, and both attempts."""
    scripts = {"openai": Script((Phase(Breaks(Answer("one two three", 0.5, 0.25), 2)),), Answer()), "anthropic": WELL}
    async with opened(scripts, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        async with agent.stream("Who?", on_interrupt="restart") as stream:
            async for _ in stream:
                pass
    attributes = dict(seen.only().attributes or {})
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(1.5)
    assert [event["transport"] for _, event, _ in seen.events()] == ["openai", "anthropic"]


async def look_up(place: str) -> str:
    """Look something up."""
    if place != "here":
        raise LookupError(CANARY)
    return CANARY


async def test_a_run_is_a_tree(seen: Seen) -> None:
    """An agent, its requests and its tools; beneath the caller's own span, and a tool's own spans beneath the tool."""

    async def here() -> str:
        """Say where."""
        with seen.tracer.start_as_current_span("within"):
            return CANARY

    script = Script.always(Answer("hi", rounds=1))
    async with opened({"openai": script}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        with seen.tracer.start_as_current_span("mine"):
            run = await agent.run(CANARY, tools=[here])
    assert run.text == "hi"
    assert named(seen.spans) == [
        ("mine", ""),
        ("invoke_agent deriver", "mine"),
        ("chat openai-model", "invoke_agent deriver"),
        ("execute_tool here", "invoke_agent deriver"),
        ("within", "execute_tool here"),
        ("chat openai-model", "invoke_agent deriver"),
    ]
    _, whole, _, tool, _, _ = seen.spans
    assert dict(tool.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "here",
        "gen_ai.tool.type": "function",
    }
    assert dict(whole.attributes or {})["gen_ai.usage.input_tokens"] == run.usage.input_tokens


async def test_tools_that_fail_and_runs_that_end(seen: Seen) -> None:
    """A tool's error is the tool's; a run that is left is cancelled, and so is all in it."""

    async def fails() -> str:
        """Fail."""
        raise LookupError(CANARY)

    async def waits() -> str:
        """Wait."""
        await anyio.sleep_forever()
        return ""

    script = Script.always(Answer("hi", rounds=1))
    async with opened({"openai": script}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):
        await agent.run("Who?", tools=[fails])
        with anyio.move_on_after(1):
            await agent.run("Who?", tools=[waits])
    errors = {span.name: dict(span.attributes or {}).get("error.type") for span in seen.spans}
    assert errors["execute_tool fails"] == "tool_error"
    assert errors["execute_tool waits"] == errors["invoke_agent deriver"] == "cancelled"


async def test_fifty_at_once_keep_their_parents(seen: Seen) -> None:
    """Each request lies beneath the span of the task that asked."""
    async with opened({"openai": WELL}, tracers=[OpenTelemetryTracer(seen.tracer)]) as (agent, _, _):

        async def call(number: int) -> None:
            with seen.tracer.start_as_current_span(f"task {number}"):
                await anyio.sleep(number % 7 / 10)
                await agent.complete("Who?", metadata={"number": number})

        async with anyio.create_task_group() as callers:
            for number in range(50):
                callers.start_soon(call, number)
    spans = seen.spans
    names = {span.context.span_id: span.name for span in spans}
    asked = [span for span in spans if span.name.startswith("chat ")]
    assert len(asked) == 50
    for span in asked:
        assert span.parent is not None
        asked_by = dict(span.attributes or {})["understudy.metadata.number"]
        assert names[span.parent.span_id] == f"task {asked_by}"


async def test_without_a_tracer_it_takes_the_global_one() -> None:
    """Which does nothing where the application has set none up."""
    async with opened({"openai": WELL}, tracers=[OpenTelemetryTracer()]) as (agent, supervisor, _):
        with suppress(UnderstudyError):
            await agent.complete("Who?")
        assert supervisor.metrics().total("understudy.hook.failures") == 0


async def test_without_its_package_it_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match="pip install opentelemetry-api"):
        OpenTelemetryTracer()
