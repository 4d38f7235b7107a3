"""The telemetry room: what is done with events, traces and metrics. It knows the supervisor's, and nobody knows it."""

from ._logging import LoggingHook
from ._opentelemetry import OpenTelemetryTracer
from ._prometheus import PrometheusCollector, prometheus_text
from ._queued import QueuedHook

__all__ = ("LoggingHook", "OpenTelemetryTracer", "PrometheusCollector", "QueuedHook", "prometheus_text")
