"""Canaries in prompts, answers, tools and keys: with content capture off they are in no trace, no log and no metric."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from understudy import UnderstudyError
from understudy.events import Event
from understudy.simulation import Answer, Breaks, Script, Status
from understudy.telemetry import OpenTelemetryTracer, prometheus_text

from .scenario import opened
from .test_langfuse import Langfused, langfused

__all__ = ("langfused",)

pytestmark = pytest.mark.anyio

PROMPT, ANSWER, TOOL = "canary-prompt-4711", "canary-answer-0815", "canary-tool-2342"
KEY, LANGFUSE_KEY = "sk-canary-0123456789abcdef", "sk-lf-canary-0123456789"
CANARIES = (PROMPT, ANSWER, TOOL, KEY, LANGFUSE_KEY)


def quoting(status: int, *, key: str = KEY) -> Status:
    """Refuse, and quote the prompt and the key."""
    return Status(status, body=json.dumps({"error": {"message": f"you said {PROMPT} with {key}"}}).encode())


LEADS: dict[str, Script] = {
    "answers": Script.always(Answer(ANSWER, rounds=1)),
    "overloaded": Script.always(quoting(503)),
    "at fault": Script.always(quoting(400)),
    "refused": Script.always(quoting(401)),
    "limited": Script.always(Status(429, headers={"retry-after": "60"}, body=quoting(429).body)),
    "breaks off": Script.always(Breaks(Answer(ANSWER), 1)),
}


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Write all that our loggers say, at DEBUG, as an application's handler does."""
    written = io.StringIO()
    handler, logger = logging.StreamHandler(written), logging.getLogger("understudy")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


async def look_up(place: str) -> str:
    """Look something up."""
    return TOOL


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("lead", LEADS)
async def test_nothing_is_seen_of_them(langfused: Langfused, lead: str, log_format: str) -> None:
    """Whatever a provider does, and quotes: calls, streams, runs, answered or not."""
    exporter, events = InMemorySpanExporter(), list[Event]()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings: dict[str, Any] = {
        **langfused.settings,
        "langfuse_secret_key": SecretStr(LANGFUSE_KEY),
        "langfuse_capture_content": False,
        "openai_api_key": SecretStr(KEY),
        "log_format": log_format,
    }
    scripts = {"openai": LEADS[lead], "anthropic": Script.always(quoting(503, key="another"))}
    tracers = [OpenTelemetryTracer(provider.get_tracer("application"))]
    with logged() as log:
        async with opened(scripts, hooks=[events.append], tracers=tracers, **settings) as (agent, supervisor, _):
            for _ in range(3):
                with suppress(UnderstudyError):
                    await agent.complete(PROMPT)
                with suppress(UnderstudyError):
                    async with agent.stream(PROMPT, on_interrupt="restart") as stream:
                        async for _ in stream:
                            pass
                with suppress(UnderstudyError):
                    await agent.run(PROMPT, tools=[look_up])
            metrics = supervisor.metrics()
    assert langfused.seen
    assert exporter.get_finished_spans()
    assert log.getvalue().count("request_ended") >= 9
    shown = {
        "Langfuse": b"".join(langfused.collector.bodies).decode(errors="replace"),
        "OpenTelemetry": "".join(span.to_json() for span in exporter.get_finished_spans()),
        "log": log.getvalue(),
        "metrics": prometheus_text(metrics) + json.dumps(metrics.as_json()) + repr(metrics),
    }
    assert [(name, canary) for name, text in shown.items() for canary in CANARIES if canary in text] == []
    assert KEY not in repr(events)
