"""Metrics: what is counted of each event, the numbers of an outage, and how they look to Prometheus."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from understudy import ConfigurationError, Supervisor, UnderstudyError, Usage, Verdict
from understudy.actors import Health
from understudy.events import (
    ActorRestarted,
    CircuitTripped,
    CredentialDied,
    CredentialRenewed,
    CredentialTroubled,
    Event,
    HandedOver,
    HoldPlaced,
    Key,
    Layer,
    RequestEnded,
    Returned,
)
from understudy.providers import Attempt, PassedOver
from understudy.simulation import Answer, Hang, Phase, Refused, Script, Status, run_virtual
from understudy.supervisor import FAMILIES, Distribution, Kind, Metrics
from understudy.supervisor._metrics import Meter
from understudy.telemetry import PrometheusCollector, prometheus_text

from .scenario import ask, opened

KEY = Key("openai at http://lead/v1", Layer.MODEL, "a")
USAGE = Usage(100, 20, cache_read_tokens=60, reasoning_tokens=5)


def tried(number: int, transport: str, verdict: Verdict = Verdict.OK, duration: float = 1.0, **more: Any) -> Attempt:
    """Make an attempt."""
    return Attempt(number, transport, f"{transport}-m", verdict, 0.0, duration, **more)


def ended(*attempts: Attempt, error: str = "", passed: tuple[PassedOver, ...] = (), **more: Any) -> RequestEnded:
    """Make the end of a request."""
    last = attempts[-1] if attempts and not error else None
    transport, model = (None, None) if last is None else (last.transport, "as-it-says")
    return RequestEnded("deriver", transport, model, len(attempts) > 1, 2.5, attempts, passed, error, **more)


def numbers(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return every number that is not 0, by the name of its metric and its labels."""
    return {
        (name, *sample.labels): value
        for name, samples in metrics.samples.items()
        for sample in samples
        if (value := sample.value.count if isinstance(sample.value, Distribution) else sample.value)
    }


DURATION, FIRST, TOKENS = (
    f"gen_ai.client.{name}" for name in ("operation.duration", "operation.time_to_first_chunk", "token.usage")
)
CHAT = ("chat", "openai", "openai-m", "deriver")
LEAD = ("deriver", "openai", "openai-m")
GEMINI = ("deriver", "gemini", "gemini-m")
COUNTED: dict[str, tuple[Event, dict[tuple[str, ...], float]]] = {
    "answered at once": (
        ended(tried(1, "openai"), usage=USAGE, cost=0.5),
        {
            (DURATION, *CHAT, ""): 1,
            (TOKENS, *CHAT, "input"): 1,
            (TOKENS, *CHAT, "output"): 1,
            ("understudy.requests", *LEAD, "false", ""): 1,
            ("understudy.attempts", *LEAD, "ok"): 1,
            ("understudy.tokens", *LEAD, "input"): 100,
            ("understudy.tokens", *LEAD, "output"): 20,
            ("understudy.tokens", *LEAD, "cache_read"): 60,
            ("understudy.tokens", *LEAD, "reasoning"): 5,
            ("understudy.cost", *LEAD): 0.5,
        },
    ),
    "a stream": (
        ended(tried(1, "openai", first_token=0.25)),
        {
            (DURATION, *CHAT, ""): 1,
            (FIRST, *CHAT): 1,
            ("understudy.requests", *LEAD, "false", ""): 1,
            ("understudy.attempts", *LEAD, "ok"): 1,
        },
    ),
    "handed over after two attempts": (
        ended(
            tried(1, "openai", Verdict.OVERLOADED),
            tried(2, "openai", Verdict.TIMEOUT),
            tried(3, "gemini"),
            usage=Usage(),
        ),
        {
            (DURATION, "chat", "gcp.gemini", "gemini-m", "deriver", ""): 1,
            ("understudy.requests", *GEMINI, "true", ""): 1,
            ("understudy.attempts", *LEAD, "overloaded"): 1,
            ("understudy.attempts", *LEAD, "timeout"): 1,
            ("understudy.attempts", *GEMINI, "ok"): 1,
            ("understudy.handovers", *LEAD, "timeout"): 1,
            ("understudy.lost", "deriver"): 1,
        },
    ),
    "all failed": (
        ended(tried(1, "openai", Verdict.OVERLOADED), error="AllAttemptsFailedError"),
        {
            (DURATION, *CHAT, "AllAttemptsFailedError"): 1,
            ("understudy.requests", *LEAD, "false", "AllAttemptsFailedError"): 1,
            ("understudy.attempts", *LEAD, "overloaded"): 1,
            ("understudy.lost", "deriver"): 1,
        },
    ),
    "nobody was asked": (
        ended(error="AllRoutesClosedError", passed=(PassedOver("openai", "openai-m", "circuit open"),)),
        {
            (DURATION, "chat", "", "", "deriver", "AllRoutesClosedError"): 1,
            ("understudy.requests", "deriver", "", "", "false", "AllRoutesClosedError"): 1,
            ("understudy.passed_over", *LEAD): 1,
        },
    ),
    "left by its caller": (
        ended(tried(1, "openai", Verdict.NO_VERDICT), error="cancelled"),
        {
            (DURATION, *CHAT, "cancelled"): 1,
            ("understudy.requests", *LEAD, "false", "cancelled"): 1,
            ("understudy.attempts", *LEAD, "no_verdict"): 1,
        },
    ),
    "a circuit": (
        CircuitTripped(KEY, "overloaded", 10, 1),
        {("understudy.circuit.trips", "openai at http://lead/v1", "model", "a"): 1},
    ),
    "a hold": (
        HoldPlaced(Key("openai", Layer.CREDENTIAL), "rate limited", 3),
        {("understudy.holds", "openai", "credential", ""): 1},
    ),
    "handed over": (HandedOver("deriver", "a", "b", "why"), {("understudy.on_fallback", "deriver"): 1}),
    "returned": (Returned("deriver", "a", 3), {}),
    "renewed": (CredentialRenewed("own", 900, adopted=False), {("understudy.renewals", "renewed"): 1}),
    "adopted": (CredentialRenewed("own", 900, adopted=True), {("understudy.renewals", "adopted"): 1}),
    "in trouble": (CredentialTroubled("own", "503", 4), {("understudy.renewals", "failed"): 1}),
    "dead": (CredentialDied("own", "revoked"), {("understudy.renewals", "died"): 1}),
    "crashed": (ActorRestarted("openai", KeyError(), 0.1, dead=False), {("understudy.actor.restarts", "openai"): 1}),
}


@pytest.mark.parametrize("name", COUNTED)
def test_each_event_is_counted(name: str) -> None:
    """Where it belongs and nowhere else, with the labels that its metric has."""
    event, expected = COUNTED[name]
    meter = Meter(["deriver"])
    meter(event)
    counted = meter.snapshot({})
    assert numbers(counted) == expected
    for name, samples in counted.samples.items():
        assert all(len(sample.labels) == len(FAMILIES[name].labels) for sample in samples)


def test_the_sums_are_right() -> None:
    """A histogram adds up what it is given; time is lost to failed attempts alone."""
    meter = Meter()
    meter(ended(tried(1, "openai", Verdict.TIMEOUT, 3), tried(2, "gemini", duration=0.5), usage=USAGE))
    meter(ended(tried(1, "openai", Verdict.TIMEOUT, 5), tried(2, "gemini", duration=0.5), usage=USAGE))
    metrics = meter.snapshot({})
    lost, tokens = metrics.distribution("understudy.lost"), metrics.distribution(TOKENS, gen_ai_token_type="input")
    assert (lost.count, lost.sum) == (2, 8)
    assert (tokens.count, tokens.sum) == (2, 200)
    assert metrics.distribution(DURATION).sum == 5
    assert metrics.distribution(FIRST) == Distribution(FAMILIES[FIRST].bounds, (0,) * 15, 0.0)


@pytest.mark.parametrize(
    ("counts", "q", "value"),
    [
        ((0, 0, 0), 0.5, None),
        ((2, 0, 0), 0.5, 0.5),
        ((2, 0, 0), 0.0, 0.0),
        ((2, 2, 0), 0.5, 1.0),
        ((2, 2, 0), 0.75, 2.0),
        ((0, 4, 0), 0.5, 2.0),
        ((0, 4, 0), 0.0, 1.0),
        ((0, 0, 3), 0.5, 3.0),
        ((1, 1, 2), 1.0, 3.0),
        ((1, 1, 0), 1.0, 3.0),
    ],
)
def test_a_quantile_lies_within_its_bounds(counts: tuple[int, ...], q: float, value: float | None) -> None:
    """As Prometheus's `histogram_quantile` has it, evenly spread within a bucket; above all bounds it is the last."""
    assert Distribution((1.0, 3.0), counts, 0.0).quantile(q) == value


def test_a_metric_that_is_none_is_said_to_be_none() -> None:
    """A misspelt name or label is an error, a label's value that never came is 0."""
    metrics = Meter().snapshot({})
    assert metrics.total("understudy.requests", agent="nobody") == 0
    for name, labels in (("understudy.request", {}), ("understudy.requests", {"agnet": "x"})):
        with pytest.raises(KeyError):
            metrics.total(name, **labels)
    with pytest.raises(KeyError, match="counter, no histogram"):
        metrics.distribution("understudy.requests")
    with pytest.raises(KeyError, match=r"did you mean 'understudy\.requests'"):
        metrics.total("understudy.request")
    for q in (-1, 2, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            metrics.distribution(DURATION).quantile(q)


def test_a_label_may_be_true_or_false() -> None:
    """As Python has it, and as Prometheus does."""
    meter = Meter()
    meter(ended(tried(1, "openai"), tried(2, "gemini")))
    metrics = meter.snapshot({})
    assert metrics.total("understudy.requests", is_fallback=True) == 1
    assert metrics.total("understudy.requests", is_fallback=False) == 0


async def outage(supervisor: Supervisor, agent: Any) -> Metrics:
    """Ask once a second for a minute, and return the metrics."""
    for _ in range(60):
        await ask(agent)
        await anyio.sleep(1)
    return supervisor.metrics()


@pytest.mark.anyio
async def test_an_outage_in_numbers() -> None:
    """Who answered, what was tried, and what stands at the end: consistent with one another and with the script."""
    script = Script((Phase(Status(503), since=10, until=40),), Answer("lead", 0.25))
    async with opened({"openai": script, "anthropic": Script.always(Answer("u", 0.25))}) as (agent, supervisor, world):
        before = supervisor.metrics()
        assert before.total("understudy.on_fallback") == before.total("understudy.requests") == 0
        metrics = await outage(supervisor, agent)
    asked = {name: len(world.log(name)) for name in ("openai", "anthropic")}
    assert metrics.total("understudy.requests") == 60 == metrics.total(DURATION)
    assert metrics.total("understudy.requests", is_fallback="true") == asked["anthropic"] > 20
    for name, count in asked.items():
        assert metrics.total("understudy.attempts", transport=name) == count
    failed = metrics.total("understudy.attempts", verdict="overloaded")
    assert failed == metrics.total("understudy.handovers") == asked["openai"] - (60 - asked["anthropic"])
    assert metrics.total("understudy.passed_over") == asked["anthropic"] - failed
    assert metrics.total("understudy.circuit.trips", model="openai-model") >= 1
    assert metrics.total("understudy.circuit.state", state="open") == 0
    assert metrics.total("understudy.circuit.state", state="closed") == 6
    assert metrics.total("understudy.on_fallback", agent="deriver") == 0
    assert json.loads(json.dumps(metrics.as_json())).keys() == FAMILIES.keys()


@pytest.mark.anyio
async def test_what_is_going_on_is_in_the_gauges() -> None:
    """Calls in flight, an open circuit, a hold, a fallback that serves."""
    scripts = {
        "openai": Script.sequence(Status(503), Status(503), Status(429, headers={"retry-after": "60"})),
        "anthropic": Script((Phase(Answer(), until=1),), Hang()),
    }
    async with opened(scripts, circuit_trip_after=1) as (agent, supervisor, _):
        await ask(agent)
        metrics = supervisor.metrics()
        assert metrics.total("understudy.circuit.state", state="open", model="openai-model") == 1
        assert metrics.total("understudy.on_fallback") == 1
        await anyio.sleep(2)
        async with anyio.create_task_group() as callers:
            for _ in range(3):
                callers.start_soon(ask, agent)
            await anyio.sleep(1)
            assert supervisor.metrics().total("understudy.in_flight") == 3
            callers.cancel_scope.cancel()
        assert supervisor.metrics().total("understudy.in_flight") == 0
        assert supervisor.metrics().total("understudy.requests", error="cancelled") == 3


@pytest.mark.anyio
async def test_a_hold_is_a_gauge_and_a_count() -> None:
    """While a provider asked for time."""
    limited = Script.sequence(Status(429, headers={"retry-after": "60"}))
    async with opened({"openai": limited, "anthropic": Script.always(Answer())}) as (agent, supervisor, _):
        await ask(agent)
        assert supervisor.metrics().total("understudy.held") == 1 == supervisor.metrics().total("understudy.holds")


@pytest.mark.anyio
async def test_faulty_hooks_are_counted() -> None:
    """What hooks raise, and what those with a queue drop, is in the numbers."""

    class Dropping:
        dropped = 7  # from another supervisor's time
        failures = "none"  # what is no number counts for nothing

        def __call__(self, _: Event) -> None:
            self.dropped += 3
            raise KeyError

    async with opened({"openai": Script.always(Refused())}, hooks=[Dropping()]) as (agent, supervisor, _):
        with pytest.raises(UnderstudyError):
            await ask(agent)
        metrics = supervisor.metrics()
        failures = metrics.total("understudy.hook.failures")
        assert failures >= 1
        assert metrics.total("understudy.dropped") == 3 * failures
        with pytest.raises(RuntimeError, match="one supervisor per loop"):
            await anyio.to_thread.run_sync(supervisor.metrics)


def exposed(text: str) -> dict[tuple[str, ...], float]:
    """Return what Prometheus's own parser reads, by name and the values of the labels in alphabetical order."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_is_written() -> None:
    """Names, units, labels and buckets are as its parser expects them, whatever stands in a label."""
    meter = Meter(["deriver"])
    meter(ended(tried(1, "openai", first_token=0.03), usage=USAGE, cost=0.5))
    meter(CircuitTripped(Key('a "quoted"\n\\ name', Layer.MODEL, "é{}"), "why", 10, 1))
    read = exposed(prometheus_text(meter.snapshot({"openai at http://lead/v1": Health(capacity=10, in_flight=7)})))
    assert read["understudy_requests_total", "deriver", "", "false", "openai-m", "openai"] == 1
    assert read["understudy_cost_usd_total", "deriver", "openai-m", "openai"] == 0.5
    assert read["understudy_in_flight", "openai at http://lead/v1"] == 7
    assert read["understudy_circuit_trips_total", 'a "quoted"\n\\ name', "model", "é{}"] == 1
    first = "gen_ai_client_operation_time_to_first_chunk_seconds"
    labels = ("deriver", "chat", "openai", "openai-m")
    buckets = {key[5]: value for key, value in read.items() if key[0] == f"{first}_bucket"}
    assert buckets == {repr(bound): float(bound >= 0.03) for bound in FAMILIES[FIRST].bounds} | {"+Inf": 1.0}
    assert (read[f"{first}_sum", *labels], read[f"{first}_count", *labels]) == (0.03, 1)
    assert len(read) > len(FAMILIES)


def test_every_metric_is_explained() -> None:
    """Its name is one of the conventions' or ours, its help is a sentence, and a histogram has bounds that rise."""
    text = prometheus_text(Meter().snapshot({}))
    for name, family in FAMILIES.items():
        assert name.startswith(("gen_ai.client.", "understudy."))
        assert family.help.endswith(".")
        assert f"# HELP {name.replace('.', '_')}" in text
        assert (family.kind is Kind.HISTOGRAM) == (list(family.bounds) == sorted(set(family.bounds)) != [])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_registry_collects_from_any_thread(backend: str) -> None:
    """In the loop, from a thread while the loop runs, and the last numbers once it has ended."""
    registry = CollectorRegistry()

    async def run() -> str:
        async with opened({"openai": Script.always(Answer())}) as (agent, supervisor, _):
            registry.register(PrometheusCollector(supervisor))
            await ask(agent)
            expected = prometheus_text(supervisor.metrics())
            assert generate_latest(registry).decode() == expected
            await ask(agent)
            expected = prometheus_text(supervisor.metrics())
            assert (await anyio.to_thread.run_sync(generate_latest, registry)).decode() == expected
        return expected

    last = run_virtual(run, backend=backend, grace=0.5)
    assert generate_latest(registry).decode() == last
    assert in_thread(generate_latest, registry).decode() == last


def in_thread(function: Any, *arguments: Any) -> Any:
    """Return what a function returns in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result(10)


@pytest.mark.anyio
async def test_a_loop_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is blocked, or whose own callback collects: the numbers are then the last ones."""
    monkeypatch.setattr("understudy.telemetry._prometheus.WITHIN", 0.05)
    registry = CollectorRegistry()
    async with opened({"openai": Script.always(Answer())}) as (agent, supervisor, _):
        registry.register(PrometheusCollector(supervisor))
        last = generate_latest(registry)
        await ask(agent)
        assert in_thread(generate_latest, registry) == last  # this thread is the loop's, and waits for it
        assert generate_latest(registry) != last


def test_a_label_that_has_no_form_in_utf_8_is_shown_all_the_same() -> None:
    """One bad name must not cost the whole scrape."""
    meter = Meter(["der\ud800"])
    meter(HandedOver("der\ud800", "a", "b", "why"))
    assert 'understudy_on_fallback{agent="der?"} 1.0' in prometheus_text(meter.snapshot({}))


@pytest.mark.anyio
async def test_without_its_library_prometheus_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what to install; the numbers themselves need nothing."""
    import sys

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with opened({"openai": Script.always(Answer())}) as (_, supervisor, _):
        for render in (lambda: prometheus_text(supervisor.metrics()), lambda: PrometheusCollector(supervisor)):
            with pytest.raises(ConfigurationError, match=r"pip install prometheus-client"):
                render()
