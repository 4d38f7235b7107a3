"""Langfuse in a process of its own: what the application has set up is left alone, and nothing is said or awaited."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from understudy.simulation import Answer, Script, Status, simulated_server

from .collector import collecting

pytestmark = [pytest.mark.anyio, pytest.mark.commands]

ASK = """
import atexit, json, sys, time
began = []
atexit.register(lambda: print(json.dumps({"took": time.monotonic() - began[0]})) if began else None)
import anyio, understudy

async def main():
    async with understudy.open_supervisor() as supervisor:
        agent = supervisor.agent("deriver")
        for _ in range(int(sys.argv[2])):
            response = await agent.complete("Who wrote Faust?")
        print(json.dumps({"text": response.text, "transport": response.transport}))
        began.append(time.monotonic())

anyio.run(main, backend=sys.argv[1])
"""

TRACED = """
import json, sys
import anyio, understudy
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
trace.set_tracer_provider(provider)

async def main():
    async with understudy.open_supervisor() as supervisor:
        with trace.get_tracer("app").start_as_current_span("theirs"):
            await supervisor.agent("deriver").complete("Who wrote Faust?")
            async with supervisor.agent("deriver").stream("Who wrote Faust?") as stream:
                async for _ in stream:
                    pass

anyio.run(main, backend=sys.argv[1])
is_theirs = trace.get_tracer_provider() is provider
print(json.dumps({"spans": [span.name for span in seen.get_finished_spans()], "is_theirs": is_theirs}))
"""

OFF = """
import sys
import anyio, understudy

async def main():
    async with understudy.open_supervisor() as supervisor:
        await supervisor.agent("deriver").complete("Who wrote Faust?")

anyio.run(main)
print(sorted({"langfuse", "opentelemetry.sdk", "opentelemetry.exporter", "prometheus_client"} & set(sys.modules)))
"""


async def run(code: str, *arguments: str, environment: dict[str, str]) -> tuple[int, list[str], str]:
    """Run a program with warnings as errors; return exit code, lines of standard output, and standard error."""
    done = await anyio.run_process(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *arguments],
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def keys(url: str) -> dict[str, str]:
    """Return the variables that switch traces on."""
    return {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-12345678", "LANGFUSE_HOST": url}


@contextmanager
def refusing() -> Iterator[str]:
    """Return an address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def hanging() -> Iterator[str]:
    """Return an address where everybody is heard, and nobody answered."""
    with collecting(hangs=threading.Event()) as collector:
        yield collector.url


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Return an address where all that is said is a status."""
    with collecting(status=status) as collector:
        yield collector.url


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["refuses", "hangs", "401", "500"])
async def test_whatever_the_host_does_the_answer_is_the_same(how: str, backend: str) -> None:
    """Nothing is printed, 80 requests are answered, and the program ends within 2 s of their end."""
    hosts = {"refuses": refusing(), "hangs": hanging(), "401": answering(401), "500": answering(500)}
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        variables = {"DERIVER_MODEL_CONFIG__MODEL": "m", "LLM_OPENAI_API_KEY": "k" * 20}
        with hosts[how] as url:
            environment = {**variables, "LLM_OPENAI_BASE_URL": server.openai_url, **keys(url)}
            code, out, err = await run(ASK, backend, "80", environment=environment)
    assert (code, err) == (0, "")
    assert json.loads(out[0]) == {"text": "Goethe.", "transport": "openai"}
    assert json.loads(out[1])["took"] < 2


async def test_a_program_sends_what_it_has_before_it_ends() -> None:
    """Closing the supervisor waits for it: a short program loses nothing."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        variables = {"DERIVER_MODEL_CONFIG__MODEL": "m", "LLM_OPENAI_API_KEY": "k" * 20}
        with collecting() as collector:
            environment = {**variables, "LLM_OPENAI_BASE_URL": server.openai_url, **keys(collector.url)}
            code, _, err = await run(ASK, "asyncio", "100", environment=environment)
    assert (code, err) == (0, "")
    assert len(collector.observations) == 100
    assert collector.headers[0]["authorization"].startswith("Basic ")
    assert collector.headers[0]["content-encoding"] == "gzip"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_the_applications_own_tracing_is_left_alone(backend: str) -> None:
    """With a tracer provider of the application's: no span of ours or of an SDK is in it, no provider is shown any
    header of it, and an attempt at Anthropic that failed is no observation.
    """
    async with (
        simulated_server(Script.always(Status(529))) as lead,
        simulated_server(Script.always(Answer("Goethe."))) as second,
    ):
        environment = {
            "DERIVER_MODEL_CONFIG__TRANSPORT": "anthropic",
            "DERIVER_MODEL_CONFIG__MODEL": "claude-m",
            "DERIVER_MODEL_CONFIG__BASE_URL": lead.anthropic_url,
            "DERIVER_MODEL_CONFIG__FALLBACK__TRANSPORT": "openai",
            "DERIVER_MODEL_CONFIG__FALLBACK__MODEL": "gpt-m",
            "DERIVER_MODEL_CONFIG__FALLBACK__BASE_URL": second.openai_url,
            "LLM_ANTHROPIC_API_KEY": "k" * 20,
            "LLM_OPENAI_API_KEY": "k" * 20,
        }
        with collecting() as collector:
            code, out, err = await run(TRACED, backend, environment={**environment, **keys(collector.url)})
        received = [*lead.received, *second.received]
    assert (code, [line for line in err.splitlines() if not line.startswith(("handed_over", "circuit_"))]) == (0, [])
    assert json.loads(out[-1]) == {"spans": ["theirs"], "is_theirs": True}
    assert [each.name for each in collector.observations] == ["deriver", "deriver"]
    assert len({each.parent for each in collector.observations} - {""}) == 1
    names = {name.lower() for request in received for name in request.headers}
    assert len(received) >= 3
    assert names.isdisjoint({"traceparent", "tracestate", "baggage"})


async def test_switched_off_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Without keys no SDK of anybody's traces is loaded."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        variables = {"DERIVER_MODEL_CONFIG__MODEL": "m", "LLM_OPENAI_API_KEY": "k" * 20}
        code, out, err = await run(OFF, environment={**variables, "LLM_OPENAI_BASE_URL": server.openai_url})
    assert (code, out, err) == (0, ["[]"], "")
