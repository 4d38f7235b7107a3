"""CPU of the dispatcher alone: `agent.complete` with a hook over a provider that answers at once; `admit` + `settle`.

`python -m benchmarks.dispatcher JOB` prints one JSON object, in microseconds of CPU.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import anyio

import understudy
from understudy import AgentSettings, Response, RouteSettings, Settings, Text, user
from understudy.actors import Endpoint, Permit
from understudy.providers import Request, Target, Upstream, Verdict
from understudy.supervisor import Event

from .measure import Job, main

ROUNDS, CALLS, IN_FLIGHT = 9, 2000, (1, 100, 1000)


class Instant:
    """A provider that answers at once."""

    async def complete(self, request: Request) -> Response:
        """Answer after one checkpoint."""
        await anyio.lowlevel.checkpoint()
        return Response((Text("hi"),), request.model, "openai", "stop")

    async def stream(self, request: Request) -> Upstream:
        """Not asked for here."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close nothing."""


def listen(event: Event) -> None:
    """Take an event, as the hook of a program would."""


async def cpu_of(call: Callable[[], Awaitable[object]], in_flight: int) -> float:
    """Return the microseconds of CPU per call, with so many callers at once."""

    async def one() -> None:
        for _ in range(CALLS // in_flight):
            await call()

    begun = time.process_time()
    async with anyio.create_task_group() as callers:
        for _ in range(in_flight):
            callers.start_soon(one)
    return (time.process_time() - begun) / CALLS * 1e6


def cpu_of_permits(endpoint: Endpoint) -> float:
    """Return the microseconds of CPU per `admit` and `settle`."""
    begun = time.process_time()
    for _ in range(CALLS):
        permit = endpoint.admit("a-model")
        assert isinstance(permit, Permit)
        permit.settle(Verdict.OK)
    return (time.process_time() - begun) / CALLS * 1e6


async def measure(job: Job) -> dict[str, Any]:
    """Measure the whole dispatcher, less the provider alone, by the number in flight, and the permits."""
    route = RouteSettings(transport="openai", model="a-model", base_url="http://instant.test/v1")
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    provider, request, messages = Instant(), Request("a-model", ()), [user("Who wrote Faust?")]
    own = {in_flight: list[float]() for in_flight in IN_FLIGHT}
    permits = list[float]()
    endpoint = Endpoint(Target("openai", "http://instant.test/v1", None), lambda _: Instant())
    endpoint.open()
    async with understudy.open_supervisor(settings, connect=lambda _: Instant(), hooks=[listen]) as supervisor:
        agent = supervisor.agent("deriver")
        for _ in range(1 if job.quick else ROUNDS):
            for in_flight in IN_FLIGHT:
                alone = await cpu_of(lambda: provider.complete(request), in_flight)
                own[in_flight].append(await cpu_of(lambda: agent.complete(messages), in_flight) - alone)
            permits.append(cpu_of_permits(endpoint))
    return {"own": {str(each): median(rounds) for each, rounds in own.items()}, "admit and settle": median(permits)}


if __name__ == "__main__":
    main(measure)
