"""Metrics as numbers: which there are, and a frozen snapshot of them. Pure.

Where OpenTelemetry's conventions for generative AI have a name, it is that one, with their labels and their bounds:
opentelemetry.io/docs/specs/semconv/gen-ai (as of November 2026). The others begin with `understudy.`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import accumulate
from typing import Any, final

from ..providers import suggestion


class Kind(StrEnum):
    """What a number does: a counter only rises, a gauge is how it is now, a histogram counts what was measured."""

    COUNTER = auto()
    GAUGE = auto()
    HISTOGRAM = auto()


@final
@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it is, its labels and unit; of a histogram the upper `bounds`, the last being open."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()


SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(4.0**power for power in range(14))
"""The bounds of the conventions, from 1 to 67,108,864."""

PROVIDERS = {"gemini": "gcp.gemini"}
"""What the conventions call a transport, where they have another name for it."""


def provider_name(transport: str) -> str:
    """Return what the conventions call a transport."""
    return PROVIDERS.get(transport, transport)


_ROUTE = ("agent", "transport", "model")
_GEN_AI = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.agent.name")
_KEY = ("endpoint", "layer", "model")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "gen_ai.client.operation.duration",
            Kind.HISTOGRAM,
            "Seconds that requests took, with all their attempts.",
            (*_GEN_AI, "error.type"),
            "s",
            SECONDS,
        ),
        Family(
            "gen_ai.client.operation.time_to_first_chunk",
            Kind.HISTOGRAM,
            "Seconds until the first content of a stream.",
            _GEN_AI,
            "s",
            SECONDS,
        ),
        Family(
            "gen_ai.client.token.usage",
            Kind.HISTOGRAM,
            "Tokens of a request, as its provider counted them.",
            (*_GEN_AI, "gen_ai.token.type"),
            "{token}",
            TOKENS,
        ),
        Family(
            "understudy.requests",
            Kind.COUNTER,
            "Requests that are over, by whoever answered, or was asked last; is_fallback is said of answers alone.",
            (*_ROUTE, "is_fallback", "error"),
        ),
        Family("understudy.attempts", Kind.COUNTER, "Attempts by what came of them.", (*_ROUTE, "verdict")),
        Family(
            "understudy.passed_over",
            Kind.COUNTER,
            "Routes that were not asked: a circuit, a hold, a full endpoint.",
            _ROUTE,
        ),
        Family(
            "understudy.handovers",
            Kind.COUNTER,
            "Requests given on after a failed attempt, by the route that failed.",
            (*_ROUTE, "verdict"),
        ),
        Family(
            "understudy.lost",
            Kind.HISTOGRAM,
            "Seconds that a request lost to failed attempts; requests that lost none are not counted.",
            ("agent",),
            "s",
            SECONDS,
        ),
        Family(
            "understudy.tokens",
            Kind.COUNTER,
            "Tokens by kind; input and output include the other kinds.",
            (*_ROUTE, "type"),
        ),
        Family("understudy.cost", Kind.COUNTER, "What answers cost, by the prices that are set.", _ROUTE, "USD"),
        Family("understudy.in_flight", Kind.GAUGE, "Attempts in flight.", ("endpoint",)),
        Family("understudy.waiting", Kind.GAUGE, "Requests that wait for a place at a full endpoint.", ("endpoint",)),
        Family(
            "understudy.circuit.state",
            Kind.GAUGE,
            "1 for the state that a circuit is in, 0 for the others.",
            (*_KEY, "state"),
        ),
        Family("understudy.held", Kind.GAUGE, "1 while a provider is not asked as it wished, else 0.", _KEY),
        Family("understudy.circuit.trips", Kind.COUNTER, "Circuits that opened, or opened again.", _KEY),
        Family("understudy.holds", Kind.COUNTER, "Holds that were placed.", _KEY),
        Family(
            "understudy.on_fallback",
            Kind.GAUGE,
            "1 while an agent is served by another route than its primary, else 0.",
            ("agent",),
        ),
        Family(
            "understudy.renewals",
            Kind.COUNTER,
            "What became of the login: renewed, adopted from another process, failed, died.",
            ("outcome",),
        ),
        Family("understudy.actor.restarts", Kind.COUNTER, "Crashes of provider actors.", ("endpoint",)),
        Family("understudy.hook.failures", Kind.COUNTER, "What hooks and tracers raised, those behind a queue too."),
        Family(
            "understudy.dropped",
            Kind.COUNTER,
            "What queues of hooks and tracers had no room for, or could not send.",
        ),
    )
}
"""Every metric by its name."""


@final
@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram has counted: how many up to each of its `bounds` and above the one before, and their sum.

    `counts` has one more than there are bounds, for what is above all of them.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the value below which the share `q` lies, 0 to 1, as if all were spread evenly within their bounds; of
        those above all bounds, the last bound. None if nothing was counted.

        Raises:
            ValueError: `q` is no share.
        """
        if not 0 <= q <= 1:
            raise ValueError("a quantile is a share, from 0 to 1")
        count = self.count
        if not count:
            return None
        rising, wanted = list(accumulate(self.counts)), q * count
        place = min(bisect_left(rising, max(wanted, math.ulp(0.0))), len(self.counts) - 1)
        if place == len(self.bounds):
            return self.bounds[-1]
        below = self.bounds[place - 1] if place else 0.0
        before = rising[place - 1] if place else 0
        return below + (self.bounds[place] - below) * (wanted - before) / self.counts[place]

    def __add__(self, other: Distribution) -> Distribution:
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Distribution(self.bounds, counts, self.sum + other.sum)


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a metric, and the values of the metric's labels in their order."""

    labels: tuple[str, ...]
    value: float | Distribution


@final
@dataclass(frozen=True, slots=True)
class Metrics:
    """A snapshot of all metrics, by their names in `FAMILIES`. Counters rise from when the supervisor was opened."""

    samples: Mapping[str, Sequence[Sample]]

    def total(self, name: str, **labels: str | bool) -> float:
        """Return the sum of the numbers with these labels; of a histogram, how many were counted.

        A label is named with `_` where its name has a dot: `error_type="cancelled"`. 0 where there is none.

        Raises:
            KeyError: There is no such metric, or it has no such label.
        """
        values = (sample.value for sample in self._chosen(name, labels))
        return sum(value.count if isinstance(value, Distribution) else value for value in values)

    def distribution(self, name: str, **labels: str | bool) -> Distribution:
        """Return what a histogram has counted with these labels, all together.

        Raises:
            KeyError: As `total`; or it is no histogram.
        """
        family = _family(name)
        if family.kind is not Kind.HISTOGRAM:
            raise KeyError(f"{name} is a {family.kind}, no histogram")
        whole = Distribution(family.bounds, (0,) * (len(family.bounds) + 1), 0.0)
        for sample in self._chosen(name, labels):
            assert isinstance(sample.value, Distribution)  # noqa: S101 - its family says so
            whole += sample.value
        return whole

    def as_json(self) -> dict[str, Any]:
        """Return a dict that JSON can hold: for each metric a list of its labels and its value."""
        return {name: [_as_json(FAMILIES[name], sample) for sample in found] for name, found in self.samples.items()}

    def _chosen(self, name: str, labels: Mapping[str, str | bool]) -> Iterator[Sample]:
        known = [label.replace(".", "_") for label in _family(name).labels]
        if unknown := labels.keys() - set(known):
            raise KeyError(f"{name} has the labels {', '.join(known)}, not {', '.join(sorted(unknown))}")
        wanted = [
            (known.index(label), str(value).lower() if isinstance(value, bool) else value)
            for label, value in labels.items()
        ]
        for sample in self.samples.get(name, ()):
            if all(sample.labels[place] == value for place, value in wanted):
                yield sample


def _family(name: str) -> Family:
    family = FAMILIES.get(name)
    if family is None:
        raise KeyError(f"there is no metric {name!r}{suggestion(name, FAMILIES)}")
    return family


def _as_json(family: Family, sample: Sample) -> dict[str, Any]:
    labels = dict(zip(family.labels, sample.labels, strict=True))
    value = sample.value
    if isinstance(value, Distribution):
        bounds: Iterable[Any] = (*value.bounds, None)
        counts = [[bound, count] for bound, count in zip(bounds, value.counts, strict=True) if count]
        return {"labels": labels, "count": value.count, "sum": value.sum, "buckets": counts}
    return {"labels": labels, "value": value}
