"""CPU that traces add to a call: `agent.complete` over a provider that answers at once, with Langfuse and without.

`python -m benchmarks.traces JOB` prints one JSON object, in microseconds of CPU: what a call costs without tracers,
what one of our own that does nothing adds, and what Langfuse adds, in the caller's thread and in all threads together.
The host is a process of its own that takes everything.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median
from typing import Any

from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings, Supervisor, user
from understudy.supervisor import Begun, Over

from .dispatcher import Instant
from .measure import Job, main

ROUNDS, CALLS = 9, 1000

HOST = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): ...

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Nothing:
    """A tracer, and a span, that does nothing."""

    def begin(self, begun: Begun) -> Nothing:
        """Begin nothing."""
        return self

    def end(self, over: Over) -> None:
        """End nothing."""

    def current(self) -> AbstractContextManager[None]:
        """Let nothing be current."""
        return nullcontext()


@contextmanager
def host() -> Iterator[str]:
    """Run the host for the body of a `with`; return its address."""
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def cpu_of(supervisor: Supervisor) -> tuple[float, float]:
    """Return the microseconds of CPU per call, of this thread and of all."""
    agent, messages = supervisor.agent("deriver"), [user("Who wrote Faust? " * 60)]  # about a kilobyte
    own, whole = time.thread_time(), time.process_time()
    for _ in range(CALLS):
        await agent.complete(messages, max_tokens=100)
    return (time.thread_time() - own) / CALLS * 1e6, (time.process_time() - whole) / CALLS * 1e6


async def measure(job: Job) -> dict[str, float]:
    """Measure each of them, interleaved."""
    route = RouteSettings(transport="openai", model="a-model", base_url="http://instant.test/v1")
    plain: dict[str, Any] = {"agents": {"deriver": AgentSettings(primary=route)}}
    figures: dict[str, list[float]] = {"none": [], "nothing": [], "own": [], "whole": []}
    with host() as url:
        keys = {"langfuse_public_key": "pk", "langfuse_secret_key": SecretStr("sk-lf-12345678"), "langfuse_host": url}
        for _ in range(1 if job.quick else ROUNDS):
            for name, more, tracers in (("none", {}, []), ("nothing", {}, [Nothing()]), ("langfuse", keys, [])):
                settings = Settings.in_code(**plain, **more)
                async with understudy.open_supervisor(
                    settings, connect=lambda _: Instant(), tracers=tracers
                ) as supervisor:
                    own, whole = await cpu_of(supervisor)
                if name == "langfuse":
                    figures["own"].append(own - figures["none"][-1])
                    figures["whole"].append(whole - figures["none"][-1])
                else:
                    figures[name].append(whole - (figures["none"][-1] if name == "nothing" else 0.0))
    return {name: median(rounds) for name, rounds in figures.items()}


if __name__ == "__main__":
    main(measure)
