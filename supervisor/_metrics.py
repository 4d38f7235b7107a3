"""Metrics: counted from events in process, cheaply, whether anybody looks or not.

A hook like any other, which a supervisor brings itself. Rates and percentiles are for whoever reads the numbers; how
they are rendered for Prometheus stands in the telemetry room.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, final

from ..actors import CircuitState, CircuitTripped, GateHealth, Health, HoldPlaced, Key, Layer
from ..credentials import CredentialDied, CredentialRenewed, CredentialTroubled
from ..providers import Attempt, Usage, Verdict, first_token
from ._events import ActorRestarted, Event, HandedOver, RequestEnded, Returned
from ._metric_values import FAMILIES, Distribution, Kind, Metrics, Sample, provider_name

KINDS = (
    ("input", "input_tokens"),
    ("output", "output_tokens"),
    ("cache_read", "cache_read_tokens"),
    ("cache_write", "cache_write_tokens"),
    ("reasoning", "reasoning_tokens"),
)
"""Kinds of tokens, and the field of `Usage` that each is told in."""

NOT_FAILED = {Verdict.OK, Verdict.NO_VERDICT, Verdict.STOPPED}
"""What an attempt comes to that answered, that its caller left, or that ended with its supervisor."""


@final
class _Counts:
    """One histogram's counts so far."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    @property
    def seen(self) -> Distribution:
        return Distribution(self.bounds, tuple(self.counts), self.sum)


_Ended: TypeAlias = tuple[str, str, str, bool, str]
"""Agent, transport and model that were asked last, whether that was a fallback, and the error."""


@final
class _Labels:
    """The labels of all that is counted of requests that ended alike: made once, for there are few of them."""

    __slots__ = ("answered", "ended", "gen_ai", "measured", "requests", "route", "tokens")

    def __init__(self, ended: _Ended) -> None:
        agent, transport, model, is_fallback, error = ended
        self.route = route = (agent, transport, model)
        self.requests = (*route, "true" if is_fallback else "false", error)
        self.answered = (*route, Verdict.OK)
        self.gen_ai = gen_ai = ("chat", provider_name(transport), model, agent)
        self.ended = (*gen_ai, error)
        self.tokens = [(kind, field, (*route, kind)) for kind, field in KINDS]
        self.measured = {kind: (*gen_ai, kind) for kind in ("input", "output")}


@final
class Meter:
    """Takes events, and says what has been counted. `agents` begin as served by their primaries."""

    is_ours = True

    def __init__(self, agents: Iterable[str] = ()) -> None:
        self._counters: dict[str, defaultdict[tuple[str, ...], float]] = {
            name: defaultdict(float) for name, family in FAMILIES.items() if family.kind is not Kind.HISTOGRAM
        }
        self._histograms: dict[str, dict[tuple[str, ...], _Counts]] = {
            name: {} for name, family in FAMILIES.items() if family.kind is Kind.HISTOGRAM
        }
        self._take: dict[type[Any], Callable[[Any], None]] = {
            RequestEnded: self._request,
            HandedOver: self._handed_over,
            Returned: self._returned,
            CircuitTripped: self._tripped,
            HoldPlaced: self._held,
            CredentialRenewed: self._renewed,
            CredentialTroubled: self._troubled,
            CredentialDied: self._died,
            ActorRestarted: self._restarted,
        }
        self._labels: dict[_Ended, _Labels] = {}
        for agent in agents:
            self._counters["understudy.on_fallback"][agent,] = 0

    def __call__(self, event: Event) -> None:
        """Count an event."""
        take = self._take.get(type(event))
        if take is not None:
            take(event)

    def snapshot(self, health: Mapping[str, Health], *, failures: int = 0, dropped: int = 0) -> Metrics:
        """Return all numbers, with how the endpoints are now, and what hooks and tracers count themselves."""
        samples = {name: _samples(counted) for name, counted in self._counters.items()}
        for name, histograms in self._histograms.items():
            samples[name] = tuple(Sample(labels, counts.seen) for labels, counts in histograms.items())
        samples |= {name: _samples(values) for name, values in gauges(health).items()}
        samples["understudy.hook.failures"] = (Sample((), failures),)
        samples["understudy.dropped"] = (Sample((), dropped),)
        return Metrics({name: samples[name] for name in FAMILIES})

    def _measure(self, name: str, labels: tuple[str, ...], value: float) -> None:
        histograms = self._histograms[name]
        counted = histograms.get(labels)
        if counted is None:
            counted = histograms[labels] = _Counts(FAMILIES[name].bounds)
        counted.counts[bisect_left(counted.bounds, value)] += 1
        counted.sum += value

    def _request(self, event: RequestEnded) -> None:
        agent, attempts = event.agent, event.attempts
        asked = attempts[-1] if attempts else None
        transport, model = ("", "") if asked is None else (asked.transport, asked.model)
        ended = (agent, transport, model, event.is_fallback, event.error)
        labels = self._labels.get(ended)
        if labels is None:
            labels = self._labels[ended] = _Labels(ended)
        counters = self._counters
        counters["understudy.requests"][labels.requests] += 1
        for skipped in event.passed_over:
            counters["understudy.passed_over"][agent, skipped.transport, skipped.model] += 1
        if len(attempts) == 1 and attempts[0].verdict is Verdict.OK:
            counters["understudy.attempts"][labels.answered] += 1
        else:
            self._attempts(agent, attempts)
        self._measure("gen_ai.client.operation.duration", labels.ended, event.duration)
        first = first_token(attempts)
        if first is not None:
            self._measure("gen_ai.client.operation.time_to_first_chunk", labels.gen_ai, first)
        if event.usage is not None:
            self._usage(labels, event.usage)
        if event.cost is not None:
            counters["understudy.cost"][labels.route] += event.cost

    def _attempts(self, agent: str, attempts: tuple[Attempt, ...]) -> None:
        counter, lost = self._counters["understudy.attempts"], 0.0
        before: tuple[str, str, str, Verdict] | None = None
        for attempt in attempts:
            labels = agent, attempt.transport, attempt.model, attempt.verdict
            counter[labels] += 1
            if attempt.verdict not in NOT_FAILED:
                lost += attempt.duration
            if before is not None and before[:3] != labels[:3]:
                self._counters["understudy.handovers"][before] += 1
            before = labels
        if lost:
            self._measure("understudy.lost", (agent,), lost)

    def _usage(self, labels: _Labels, usage: Usage) -> None:
        counter, measured = self._counters["understudy.tokens"], labels.measured
        for kind, field, route in labels.tokens:
            tokens = getattr(usage, field)
            if tokens is not None:
                counter[route] += tokens
                if kind in measured:
                    self._measure("gen_ai.client.token.usage", measured[kind], tokens)

    def _handed_over(self, event: HandedOver) -> None:
        self._counters["understudy.on_fallback"][event.agent,] = 1

    def _returned(self, event: Returned) -> None:
        self._counters["understudy.on_fallback"][event.agent,] = 0

    def _tripped(self, event: CircuitTripped) -> None:
        self._counters["understudy.circuit.trips"][_key(event.key)] += 1

    def _held(self, event: HoldPlaced) -> None:
        self._counters["understudy.holds"][_key(event.key)] += 1

    def _renewed(self, event: CredentialRenewed) -> None:
        self._counters["understudy.renewals"]["adopted" if event.adopted else "renewed",] += 1

    def _troubled(self, _: CredentialTroubled) -> None:
        self._counters["understudy.renewals"]["failed",] += 1

    def _died(self, _: CredentialDied) -> None:
        self._counters["understudy.renewals"]["died",] += 1

    def _restarted(self, event: ActorRestarted) -> None:
        self._counters["understudy.actor.restarts"][event.endpoint,] += 1


def gauges(health: Mapping[str, Health]) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what is known of the endpoints as numbers. Pure."""
    found: dict[str, dict[tuple[str, ...], float]] = {
        name: {}
        for name in ("understudy.in_flight", "understudy.waiting", "understudy.circuit.state", "understudy.held")
    }
    for name, endpoint in health.items():
        found["understudy.in_flight"][name,] = endpoint.in_flight
        found["understudy.waiting"][name,] = endpoint.waiting
        gates: list[tuple[Key, GateHealth]] = [
            (Key(name, Layer.ENDPOINT), endpoint.endpoint),
            (Key(name, Layer.CREDENTIAL), endpoint.credential),
            *((Key(name, Layer.MODEL, model), gate) for model, gate in endpoint.models.items()),
        ]
        for key, gate in gates:
            for state in CircuitState:
                found["understudy.circuit.state"][*_key(key), state] = gate.circuit is state
            found["understudy.held"][_key(key)] = gate.hold is CircuitState.OPEN
    return found


def _key(key: Key) -> tuple[str, str, str]:
    return key.endpoint, key.layer, key.model or ""


def _samples(values: Mapping[tuple[str, ...], float]) -> tuple[Sample, ...]:
    return tuple(Sample(labels, float(value)) for labels, value in values.items())
