"""OpenTelemetry, for programs that have a tracer of their own: one span for each request, with its attempts as events.

    invoke_agent research            a tool run
    ├─ chat gpt-5.4-mini             each of its requests, named after whoever answered
    └─ execute_tool look_up          each call of a tool

Names are those of the conventions for generative AI: opentelemetry.io/docs/specs/semconv/gen-ai (as of November 2026,
all of them in development); what is ours begins with `understudy.`. Nothing is exported from here: spans go where the
application has its tracer provider send them. Turns of a run have no span, for the conventions know none. No prompt and
no answer becomes an attribute, nor what a provider said of a failure, which may quote them: content goes to Langfuse
alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, final

from ..providers import Attempt, ConfigurationError, PassedOver, Problem, Usage
from ..supervisor import (
    About,
    Begun,
    Over,
    RequestBegun,
    RequestOver,
    RunBegun,
    RunOver,
    ToolBegun,
    ToolOver,
    TurnBegun,
    TurnOver,
    provider_name,
)
from ._generation import UNKNOWN_TOOL, request_level, served_by

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OTelSpan
    from opentelemetry.trace import Tracer as OTelTracer

LONGEST_NAME = 100
"""Characters of a name that a provider made up (chosen: the longest names of models have fifty)."""

_PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}
"""Parameters, and the attributes that tell them."""


@final
class OpenTelemetryTracer:
    """Shows requests and tool runs to OpenTelemetry: `open_supervisor(tracers=[OpenTelemetryTracer()])`.

    Spans lie beneath the one that is current for the caller, on both backends.

    Args:
        tracer: The application's; by default one of its global tracer provider.

    Raises:
        ConfigurationError: The package `opentelemetry-api` is missing.
    """

    def __init__(self, tracer: OTelTracer | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            missing = Problem("opentelemetry-api", "OpenTelemetry's interface", "pip install opentelemetry-api")
            raise ConfigurationError([missing]) from None
        self._trace = trace
        self._tracer = tracer or trace.get_tracer("understudy")

    def begin(self, begun: Begun) -> _Span:
        """Begin a span beneath the caller's current one."""
        return self.begin_in(None, begun)

    def begin_in(self, parent: OTelSpan | None, begun: Begun) -> _Span:
        """Begin a span beneath another one."""
        begun_at = time.time_ns()
        if isinstance(begun, TurnBegun):
            return _Span(self, parent, begun_at)
        name, kind, attributes = "chat", self._trace.SpanKind.INTERNAL, dict[str, Any]()
        match begun:
            case RequestBegun():
                kind, attributes = self._trace.SpanKind.CLIENT, _request_attributes(begun)
            case RunBegun(agent, about):
                name, attributes = f"invoke_agent {about.name or agent}", _about("invoke_agent", agent, about)
            case ToolBegun(call, is_known):
                tool = call.name if is_known else UNKNOWN_TOOL
                name = f"execute_tool {tool}"
                attributes = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": tool,
                    "gen_ai.tool.type": "function",
                }
        context = None if parent is None else self._trace.set_span_in_context(parent)
        return _Span(self, self._tracer.start_span(name, context, kind, attributes, start_time=begun_at), begun_at)

    def current(self, span: OTelSpan) -> AbstractContextManager[object]:
        """Return a context manager in whose body a span is current."""
        return self._trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def failed(self, span: OTelSpan, error: str) -> None:
        """Say that what a span stands for failed; of a caller who left, that it was cancelled, which is no error."""
        span.set_attribute("error.type", error)
        if error != "cancelled":
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, error))


@final
class _Span:
    """One span; of a turn, the run's, which it does not end."""

    __slots__ = ("_begun_at", "_span", "_tracer")

    def __init__(self, tracer: OpenTelemetryTracer, span: OTelSpan | None, begun_at: int) -> None:
        self._tracer, self._span, self._begun_at = tracer, span, begun_at

    def begin(self, begun: Begun) -> _Span:
        """Begin one beneath this."""
        return self._tracer.begin_in(self._span, begun)

    def current(self) -> AbstractContextManager[object]:
        """Let what runs meanwhile hang beneath this."""
        return nullcontext() if self._span is None else self._tracer.current(self._span)

    def end(self, over: Over) -> None:
        """End it with what came of it."""
        span = self._span
        if span is None or isinstance(over, TurnOver):
            return
        match over:
            case RequestOver():
                self._request(span, over)
            case RunOver(run, error):
                if run is not None:
                    span.set_attributes(_usage(run.usage))
                    span.set_attribute("understudy.is_fallback", run.is_fallback)
                if error:
                    self._tracer.failed(span, error)
            case ToolOver(use):
                if use is None or use.is_error:
                    self._tracer.failed(span, "cancelled" if use is None else "tool_error")
        span.end()

    def _request(self, span: OTelSpan, over: RequestOver) -> None:
        for name, attributes, after in _events(over.attempts, over.passed_over):
            span.add_event(name, attributes, self._begun_at + int(after * 1e9))
        transport, model = served_by(over)
        if transport is not None and model is not None:
            asked = over.attempts[-1].model if over.attempts else model
            span.update_name(f"chat {asked}")
            span.set_attribute("gen_ai.provider.name", provider_name(transport))
            span.set_attribute("gen_ai.request.model", asked)
        span.set_attributes(_parameters(over))
        span.set_attributes(_answer(over))
        _, said = request_level(over, content=False)
        if over.error:
            self._tracer.failed(span, over.error)
        elif said:
            span.set_attribute("understudy.explanation", said)


def _answer(over: RequestOver) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if over.first_token is not None:
        found["gen_ai.response.time_to_first_chunk"] = over.first_token
    response = over.response
    if response is not None:
        found["gen_ai.response.model"] = response.model[:LONGEST_NAME]
        found["gen_ai.response.finish_reasons"] = [response.finish_reason]
        found["understudy.is_fallback"] = response.is_fallback
        found |= _usage(response.usage)
        if response.cost is not None:
            found["understudy.cost"] = response.cost
    return found


def _about(operation: str, agent: str, about: About) -> dict[str, Any]:
    attributes: dict[str, Any] = {"gen_ai.operation.name": operation, "gen_ai.agent.name": agent}
    if about.session_id is not None:
        attributes["gen_ai.conversation.id"] = about.session_id
    if about.user_id is not None:
        attributes["user.id"] = about.user_id
    if about.tags:
        attributes["understudy.tags"] = list(about.tags)
    for name, value in about.metadata.items():
        attributes[f"understudy.metadata.{name}"] = value if isinstance(value, str | bool | int | float) else str(value)
    return attributes


def _request_attributes(begun: RequestBegun) -> dict[str, Any]:
    attributes = _about("chat", begun.agent, begun.about)
    attributes["gen_ai.request.stream"] = begun.streams
    if begun.about.name:
        attributes["understudy.name"] = begun.about.name
    return attributes


def _parameters(over: RequestOver) -> dict[str, Any]:
    parameters: dict[str, Any] = {**over.parameters}
    found = {attribute: parameters[name] for name, attribute in _PARAMETERS.items() if name in parameters}
    stop = parameters.get("stop")
    if stop is not None:
        found["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    return found


def _usage(usage: Usage) -> dict[str, int]:
    told = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: tokens for name, tokens in told.items() if tokens is not None}


def _events(
    attempts: Sequence[Attempt], passed_over: Sequence[PassedOver]
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Return an event for each route that was passed over and for each attempt: its name, what it says, and how many
    seconds after the request began it happened.
    """
    for route in passed_over:
        reason = route.reason.partition(":")[0]
        yield "understudy.passed_over", {"transport": route.transport, "model": route.model, "reason": reason}, 0.0
    for attempt in attempts:
        told = {
            "number": attempt.number,
            "transport": attempt.transport,
            "model": attempt.model,
            "verdict": str(attempt.verdict),
            "start": attempt.start,
            "duration": attempt.duration,
            "status": attempt.status,
            "first_token": attempt.first_token,
            "request_id": attempt.request_id,
        }
        known = {name: value for name, value in told.items() if value is not None}
        yield "understudy.attempt", known, attempt.start + attempt.duration
