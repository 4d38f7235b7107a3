"""Langfuse: one generation for each request, with whoever answered it, and what was tried before in its metadata.

    run        a span named after the agent
      turn 1   a span ─┬─ a generation
      turn 2           └─ a tool, for each call

It goes through the official SDK, over a tracer provider of our own: no span of anybody else is exported, and what the
application has set up for OpenTelemetry is left as it is. The first supervisor that traces makes the client; a client
that the application has made with the same public key is used as it is, and never closed. What cannot be sent is
dropped and counted; nothing is printed, and closing takes 2 s at most.

Source: langfuse 5.0.4, measured (docs/decisions/0016-traces.md).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, final

import anyio
import anyio.to_thread
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased
from opentelemetry.trace import use_span

from ..providers import encode
from ..supervisor import (
    About,
    Begun,
    LangfuseAccess,
    Over,
    RequestBegun,
    RequestOver,
    RunBegun,
    RunOver,
    ToolBegun,
    ToolOver,
    TurnBegun,
    TurnOver,
)
from ._generation import (
    answer,
    conversation,
    merged,
    parameters_shown,
    request_level,
    request_metadata,
    served_by,
    tokens,
)

EXPORT_WITHIN = 1.5
"""Seconds for one batch: with what closing takes around it, within 2 s (design, "Telemetry")."""

CLOSE_WITHIN = 2.0
"""Seconds for what is still to be sent when a supervisor closes."""

DROP_FOR = 30.0
"""Seconds for which nothing is sent after a batch that could not be (chosen: a host that is down stays so for a while,
and each try takes a thread of ours up to `EXPORT_WITHIN`)."""

BATCH = 64
"""Spans in a batch (chosen: a body of a few hundred kilobytes; the SDK's 512 took seconds to send)."""

OURS = "langfuse-sdk"
"""The name under which the SDK makes its spans: the only ones that are exported."""

_LOGGERS = (
    "langfuse",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace",
    "opentelemetry.sdk.trace.export",
    "urllib3.connectionpool",
)
"""Who speaks of what could not be sent. They are the application's loggers, too: only our own lines are left out."""


@final
class _Quiet(logging.Filter):
    """Leaves out what is logged while we are at work, in the thread in which we are."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()
        self.dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through what is somebody else's."""
        if not getattr(self._here, "depth", 0):
            return True
        self.dropped += "dropping" in record.getMessage()
        return False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._here.depth = getattr(self._here, "depth", 0) + 1
        try:
            yield
        finally:
            self._here.depth -= 1


_quiet = _Quiet()


@final
class QuietExporter(SpanExporter):
    """Sends batches; after one that could not be sent, drops all others for a while. It never raises, nor logs."""

    def __init__(self, inner: SpanExporter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._clock, self._again_at = inner, clock, float("-inf")
        self.sent = self.dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, or drop it; both is success to whoever asks."""
        is_sent = False
        if self._clock() >= self._again_at:
            with _quiet():
                try:
                    is_sent = self._inner.export(spans) is SpanExportResult.SUCCESS
                except Exception:  # noqa: BLE001 - whatever keeps it from being sent
                    is_sent = False
            if not is_sent:
                self._again_at = self._clock() + DROP_FOR
        if is_sent:
            self.sent += len(spans)
        else:
            self.dropped += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Let go of the connection."""
        with _quiet():
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """There is nothing that waits here."""
        return True


_exporters: dict[str, QuietExporter] = {}
"""That of each client that we have made, by its public key: the SDK has one client for each in a process."""


def open_langfuse(access: LangfuseAccess, *, secrets: Sequence[str] = ()) -> LangfuseTracer:
    """Return what shows requests to Langfuse: through the application's client for that public key, else one of ours.

    Args:
        secrets: What is masked in everything that is shown.
    """
    key = access.public_key
    is_ours = key not in LangfuseResourceManager._instances or key in _exporters
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_quiet)  # adding it again does nothing
    with _quiet():
        client = _made(access) if is_ours else _theirs(access)
    return LangfuseTracer(client, access, secrets=secrets, is_ours=is_ours)


def _made(access: LangfuseAccess) -> Langfuse:
    """Return the client of the process for a public key: made with what the first supervisor says of it."""
    if access.public_key in _exporters:
        return _theirs(access)
    login = base64.b64encode(f"{access.public_key}:{access.secret_key.get_secret_value()}".encode()).decode()
    inner = OTLPSpanExporter(
        endpoint=f"{access.base_url.rstrip('/')}/api/public/otel/v1/traces",
        timeout=EXPORT_WITHIN,
        compression=Compression.Gzip,
        headers={"Authorization": f"Basic {login}", "x-langfuse-ingestion-version": "4"},
    )
    exporter = _exporters[access.public_key] = QuietExporter(inner)
    sampler = ALWAYS_ON if access.sample_rate >= 1 else TraceIdRatioBased(access.sample_rate)
    return Langfuse(
        public_key=access.public_key,
        secret_key=access.secret_key.get_secret_value(),
        base_url=access.base_url,
        tracer_provider=TracerProvider(
            resource=Resource.create(_resource()),
            sampler=sampler,  # whatever the application's own spans are sampled by
            shutdown_on_exit=False,  # the SDK's client does that
        ),
        span_exporter=exporter,
        should_export_span=_is_ours,
        flush_at=BATCH,
    )


def _theirs(access: LangfuseAccess) -> Langfuse:
    """Return the client that there is already: the SDK gives it to whoever names its public key."""
    return Langfuse(public_key=access.public_key, secret_key=access.secret_key.get_secret_value())


def _resource() -> dict[str, str]:
    named = {"langfuse.environment": "LANGFUSE_TRACING_ENVIRONMENT", "langfuse.release": "LANGFUSE_RELEASE"}
    return {attribute: os.environ[name] for attribute, name in named.items() if os.environ.get(name)}


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == OURS


_within: ContextVar[_Span | None] = ContextVar("understudy_langfuse_within", default=None)
"""What runs in the context at hand, where the client is ours: OpenTelemetry's own context is the application's then,
and its spans must not hang beneath ones that only Langfuse is sent."""


@final
class LangfuseTracer:
    """Shows requests and tool runs to Langfuse."""

    def __init__(
        self, client: Langfuse, access: LangfuseAccess, *, secrets: Sequence[str] = (), is_ours: bool = False
    ) -> None:
        self._client, self._is_ours = client, is_ours
        self.access = access
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)  # shorter ones are words, too

    @property
    def dropped(self) -> int:
        """Observations that could not be sent, by all supervisors that use this client; 0 where it is not ours."""
        exporter = _exporters.get(self.access.public_key)
        return _quiet.dropped + (0 if exporter is None else exporter.dropped)

    def begin(self, begun: Begun) -> _Span:
        """Begin an observation beneath what is current."""
        place = _within.get() if self._is_ours else None
        return self.begin_in(self._client if place is None else place.observation, begun, None)

    def begin_in(self, place: Any, begun: Begun, about: About | None) -> _Span:
        """Begin an observation in a client, or beneath another one, whose `about` holds for it, too."""
        with _quiet():
            match begun:
                case RequestBegun(agent, given, messages, parameters):
                    observation = place.start_observation(
                        name=given.name or agent,
                        as_type="generation",
                        input=self.shown(conversation(messages)),
                        model_parameters=parameters_shown(parameters) or None,
                    )
                    about = given
                case RunBegun(agent, given, messages):
                    observation = place.start_observation(
                        name=given.name or agent, as_type="agent", input=self.shown(conversation(messages))
                    )
                    about = given
                case TurnBegun(number):
                    observation = place.start_observation(name=f"turn {number}", as_type="span")
                case ToolBegun(call):
                    observation = place.start_observation(
                        name=call.name, as_type="tool", input=self.shown(call.arguments)
                    )
            span = _Span(self, observation, begun, about)
            span.mark()
            return span

    def shown(self, content: Any) -> str | None:
        """Return content as it is sent: as JSON, unless it is a text, without secrets; None if none is to be sent."""
        if not self.access.capture_content or content is None:
            return None
        if not isinstance(content, str):
            try:
                content = encode(content).decode()
            except ValueError:  # half of a pair of surrogates, say
                content = json.dumps(content, default=str)
        return self.masked(content)

    def masked(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[secret]")
        return text

    async def aclose(self) -> None:
        """Send what there is, within 2 s; the client stays open, for it is the process's. Nothing is raised."""
        if not self._is_ours:
            return
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await anyio.to_thread.run_sync(self._flush, abandon_on_cancel=True)

    def _flush(self) -> None:
        with _quiet():
            self._client.flush()


@final
@dataclass(slots=True)
class _Span:
    """One observation. `about` is what its caller said of the call that it is part of."""

    tracer: LangfuseTracer
    observation: Any
    begun: Begun
    about: About | None
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def begin(self, begun: Begun) -> _Span:
        """Begin one beneath this."""
        return self.tracer.begin_in(self.observation, begun, self.about)

    def mark(self) -> None:
        """Say whose it is: Langfuse sums up by what each observation says."""
        about = self.about
        if about is None:
            return
        span = self.observation._otel_span
        if about.user_id is not None:
            span.set_attribute("user.id", about.user_id)
        if about.session_id is not None:
            span.set_attribute("session.id", about.session_id)
        if about.tags:
            span.set_attribute("langfuse.trace.tags", about.tags)

    def end(self, over: Over) -> None:
        """End it with what came of it."""
        with _quiet():
            match over:
                case RequestOver():
                    self.observation.update(**self._request(over))
                case RunOver(run, error, reason):
                    said: dict[str, Any] = {"agent": self.begun.agent} if isinstance(self.begun, RunBegun) else {}
                    if run is not None:
                        said |= {
                            "iterations": run.iterations,
                            "tool_calls": len(run.tool_calls),
                            "is_fallback": run.is_fallback,
                            "is_cut_short": run.is_cut_short,
                        }
                    output = None if run is None else self.tracer.shown(answer(run.response.message))
                    self.observation.update(output=output, metadata=self._said(said), **self._level(error, reason))
                case TurnOver(error, reason):
                    self.observation.update(**self._level(error, reason))
                case ToolOver(use):
                    if use is None:
                        self.observation.update(**self._level("cancelled", ""))
                    else:
                        level = {"level": "ERROR", "status_message": "told to the model"} if use.is_error else {}
                        self.observation.update(output=self.tracer.shown(use.result), **level)
            self.observation.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let what runs meanwhile hang beneath this."""
        if self.tracer._is_ours:
            token = _within.set(self)
            try:
                yield
            finally:
                _within.reset(token)
            return
        span = self.observation._otel_span
        with use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def _request(self, over: RequestOver) -> dict[str, Any]:
        content, response = self.tracer.access.capture_content, over.response
        transport, model = served_by(over)
        level, message = request_level(over, content=content)
        agent = self.begun.agent if isinstance(self.begun, RequestBegun) else ""
        said = request_metadata(agent, over, content=content) | {"transport": transport}
        shown: dict[str, Any] = {"model": model, "level": level, "metadata": self._said(said)}
        if message:
            shown["status_message"] = self.tracer.masked(message)
        if over.parameters:
            shown["model_parameters"] = parameters_shown(over.parameters) or None
        if response is not None:
            shown["output"] = self.tracer.shown(answer(response.message))
            shown["usage_details"] = tokens(response.usage) or None
        elif over.partial is not None:
            shown["output"] = self.tracer.shown(over.partial.text)
        if over.first_token is not None:
            shown["completion_start_time"] = self.begun_at + timedelta(seconds=over.first_token)
        return shown

    def _said(self, ours: dict[str, Any]) -> dict[str, Any]:
        namespace = self.tracer.access.namespace
        ours = ours | ({"namespace": namespace} if namespace else {})
        given = self.begun.about.metadata if isinstance(self.begun, RequestBegun | RunBegun) else {}
        return merged(given, ours)

    def _level(self, error: str, reason: str) -> dict[str, str]:
        if not error:
            return {}
        if error == "cancelled":
            return {"level": "WARNING", "status_message": "cancelled by its caller"}
        said = f"{error}: {reason}" if reason and self.tracer.access.capture_content else error
        return {"level": "ERROR", "status_message": self.tracer.masked(said)}
