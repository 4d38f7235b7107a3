"""The client of Langfuse: silent, bounded, and over a tracer provider of our own. Its SDK is imported with this module.

What cannot be sent is dropped and counted, and nothing is logged of it; what others log stays.

Source: langfuse 5.0.4, measured (docs/decisions/0016-traces.md).
"""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased

from ..providers import Line, clean, tell
from ..supervisor import LangfuseAccess

EXPORT_WITHIN = 1.5
"""Seconds for one batch: with what closing takes around it, within 2 s (design, "Telemetry")."""

DROP_FOR = 30.0
"""Seconds for which nothing is sent after a batch that could not be (chosen: a host that is down stays so for a while,
and each try takes a thread of ours up to `EXPORT_WITHIN`)."""

BATCH = 64
"""Spans in a batch (chosen: a body of a few hundred kilobytes; the SDK's 512 took seconds to send)."""

ONE_CLIENT = (
    "the process has one client for a public key: it sends where the first supervisor said, with its secret key"
)

_log = logging.getLogger("understudy.telemetry")

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
    """Leaves out what is logged while we are at work, in the thread in which we are; `said` is the last of it."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()
        self.said = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through what is somebody else's."""
        if not getattr(self._here, "depth", 0):
            return True
        self.said = record.getMessage()
        return False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._here.depth = getattr(self._here, "depth", 0) + 1
        try:
            yield
        finally:
            self._here.depth -= 1


quiet = _Quiet()


@final
class QuietExporter(SpanExporter):
    """Sends batches; after one that could not be sent, drops all others for a while. It never raises.

    That nothing gets through is told once, at INFO: who has not set up any log would see a warning on standard error.

    Args:
        host: Where they are sent to, for the log.
    """

    def __init__(self, inner: SpanExporter, host: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._host, self._clock, self._again_at = inner, host, clock, float("-inf")
        self.sent = self.dropped = 0
        self._is_told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, or drop it; both is success to whoever asks."""
        is_sent = False
        if self._clock() >= self._again_at:
            with quiet():
                try:
                    is_sent = self._inner.export(spans) is SpanExportResult.SUCCESS
                except Exception:  # noqa: BLE001 - whatever keeps it from being sent
                    is_sent = False
            if not is_sent:
                self._again_at = self._clock() + DROP_FOR
            self._tell(lost=not is_sent)
        if is_sent:
            self.sent += len(spans)
        else:
            self.dropped += len(spans)
        return SpanExportResult.SUCCESS

    def _tell(self, *, lost: bool) -> None:
        if lost is not self._is_told:
            self._is_told = lost
            fields = {"reason": clean(quiet.said)} if lost else {}
            tell(_log.info, Line("traces_lost" if lost else "traces_sent_again", host=self._host, **fields))

    def shutdown(self) -> None:
        """Let go of the connection."""
        with quiet():
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """There is nothing that waits here."""
        return True


@final
class Queue(SpanProcessor):
    """Knows how many observations wait to be sent, so that none is lost in silence: the SDK's own queue drops what it
    has no room for, and logs that once a minute. `no_room` counts those that would have been.
    """

    def __init__(self, exporter: QuietExporter) -> None:
        self._exporter = exporter
        self._room = max(int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or 2048) - BATCH, BATCH)
        self._ended = self.no_room = 0

    @property
    def is_full(self) -> bool:
        """Say whether an observation that ends now would be dropped; then it is to be counted, and not to be ended."""
        return self._ended - self._exporter.sent - self._exporter.dropped >= self._room

    @property
    def dropped(self) -> int:
        """Observations that had no room, or could not be sent."""
        return self.no_room + self._exporter.dropped

    def on_end(self, span: ReadableSpan) -> None:
        """Count one that ends."""
        if _is_ours(span):
            self._ended += 1


@final
@dataclass(frozen=True, slots=True)
class Made:
    """A client of ours: what it sends with, and how it was told to."""

    exporter: QuietExporter
    queue: Queue
    access: LangfuseAccess


made: dict[str, Made] = {}
"""The clients that we have made, by their public keys: the SDK has one client for each in a process."""


def client_of(access: LangfuseAccess) -> tuple[Langfuse, bool]:
    """Return the client for a public key, and whether it is ours: where the application has made one, that is used."""
    key = access.public_key
    is_ours = key not in LangfuseResourceManager._instances or key in made
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(quiet)  # adding it again does nothing
    with quiet():
        return (_made(access) if is_ours else _theirs(access)), is_ours


def _made(access: LangfuseAccess) -> Langfuse:
    """Return the client of the process for a public key: made with what the first supervisor says of it."""
    before = made.get(access.public_key)
    if before is not None:
        if _way(before.access) != _way(access):
            line = Line("traces_elsewhere", host=before.access.base_url, asked=access.base_url, why=ONE_CLIENT)
            tell(_log.warning, line)
        return _theirs(access)
    login = base64.b64encode(f"{access.public_key}:{access.secret_key.get_secret_value()}".encode()).decode()
    inner = OTLPSpanExporter(
        endpoint=f"{access.base_url.rstrip('/')}/api/public/otel/v1/traces",
        timeout=EXPORT_WITHIN,
        compression=Compression.Gzip,
        headers={"Authorization": f"Basic {login}", "x-langfuse-ingestion-version": "4"},
    )
    exporter = QuietExporter(inner, access.base_url)
    ours = made[access.public_key] = Made(exporter, Queue(exporter), access)
    sampler = ALWAYS_ON if access.sample_rate >= 1 else TraceIdRatioBased(access.sample_rate)
    provider = TracerProvider(
        resource=Resource.create(_resource()),
        sampler=sampler,  # whatever the application's own spans are sampled by
        shutdown_on_exit=False,  # the SDK's client does that
    )
    provider.add_span_processor(ours.queue)
    return Langfuse(
        public_key=access.public_key,
        secret_key=access.secret_key.get_secret_value(),
        base_url=access.base_url,
        tracer_provider=provider,
        span_exporter=exporter,
        should_export_span=_is_ours,
        flush_at=BATCH,
    )


def _way(access: LangfuseAccess) -> tuple[str, str]:
    return access.base_url.rstrip("/"), access.secret_key.get_secret_value()


def _theirs(access: LangfuseAccess) -> Langfuse:
    """Return the client that there is already: the SDK gives it to whoever names its public key."""
    return Langfuse(public_key=access.public_key, secret_key=access.secret_key.get_secret_value())


def _resource() -> dict[str, str]:
    named = {"langfuse.environment": "LANGFUSE_TRACING_ENVIRONMENT", "langfuse.release": "LANGFUSE_RELEASE"}
    return {attribute: os.environ[name] for attribute, name in named.items() if os.environ.get(name)}


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == OURS
