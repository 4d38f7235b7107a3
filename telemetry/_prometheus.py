"""Metrics for Prometheus: as text, or as a collector in a registry of the application's own.

Names are those of `FAMILIES` with `_` for each dot, their unit and, for a counter, `_total` behind them, as
OpenTelemetry has it for Prometheus: opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics. The
format is left to Prometheus's own client library, imported when it is needed (`pip install prometheus-client`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, final

import anyio.from_thread
import anyio.lowlevel

from ..providers import ConfigurationError, Problem
from ..supervisor import FAMILIES, Distribution, Family, Kind, Metrics, Sample, Supervisor

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_UNITS = {"s": "seconds", "USD": "usd"}
"""What Prometheus calls a unit; one in braces is no part of a name."""


def prometheus_text(metrics: Metrics) -> str:
    """Return metrics in Prometheus's text format, which is served as `text/plain; version=0.0.4`.

    Raises:
        ConfigurationError: The package `prometheus_client` is missing.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise ConfigurationError([_MISSING]) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(metrics))
    return generate_latest(registry).decode()


WITHIN = 1.0
"""Seconds that a scrape waits for the supervisor's event loop (chosen: a tenth of what Prometheus gives it)."""


@final
class PrometheusCollector:
    """A supervisor's metrics in a registry of the application's: `REGISTRY.register(PrometheusCollector(supervisor))`.

    Made in the supervisor's event loop; then collected from any thread, as `prometheus_client.start_http_server` does.
    Where that loop is busy for more than a second, or has ended, the numbers are those of the last collection. A
    registry takes one of these: its names are the same for every supervisor.

    Raises:
        ConfigurationError: The package `prometheus_client` is missing.
        RuntimeError: Made outside the supervisor's event loop.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        if find_spec("prometheus_client") is None:
            raise ConfigurationError([_MISSING])
        self._supervisor, self._last = supervisor, supervisor.metrics()
        self._home, self._thread = anyio.lowlevel.current_token(), threading.get_ident()
        self._asking: threading.Thread | None = None

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without counting them: a registry asks when this is registered."""
        yield from _rendered(Metrics(dict.fromkeys(FAMILIES, ())))

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        if threading.get_ident() == self._thread:
            with suppress(RuntimeError):  # not in a task of its loop
                self._last = self._supervisor.metrics()
        else:
            self._ask()
        yield from _rendered(self._last)

    def _ask(self) -> None:
        """Ask the supervisor in its loop, from a thread that nobody has to wait for: a loop that is blocked, or ends at
        this moment, may never answer.
        """
        asking = self._asking
        if asking is None or not asking.is_alive():
            asking = self._asking = threading.Thread(target=self._asked, daemon=True)
            asking.start()
        asking.join(WITHIN)

    def _asked(self) -> None:
        with suppress(Exception):  # the loop has ended
            self._last = anyio.from_thread.run_sync(self._supervisor.metrics, token=self._home)


_MISSING = Problem(
    "prometheus_client", "Prometheus's client library, which writes its format", "pip install prometheus-client"
)


@final
class _Snapshot:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from _rendered(self._metrics)


def _rendered(metrics: Metrics) -> Iterator[Metric]:
    for name, samples in metrics.samples.items():
        yield _family(FAMILIES[name], samples)


def _family(family: Family, samples: Sequence[Sample]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = [label.replace(".", "_") for label in family.labels]
    name, unit = family.name.replace(".", "_"), _UNITS.get(family.unit, "")
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=labels, unit=unit)
        for sample in samples:
            assert isinstance(sample.value, Distribution)  # noqa: S101 - its family says so
            histogram.add_metric(_shown(sample.labels), _buckets(sample.value), sample.value.sum)
        return histogram
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    numbers = kind(name, family.help, labels=labels, unit=unit)
    for sample in samples:
        assert not isinstance(sample.value, Distribution)  # noqa: S101 - its family says so
        numbers.add_metric(_shown(sample.labels), sample.value)
    return numbers


def _shown(labels: Sequence[str]) -> list[str]:
    """Return labels that UTF-8 has a form for: half of a pair of surrogates it has not."""
    return [label if label.isascii() else label.encode(errors="replace").decode() for label in labels]


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Return how many there are up to each bound, as Prometheus counts them."""
    up_to, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*distribution.bounds, float("inf")), distribution.counts, strict=True):
        up_to += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), up_to))
    return buckets
