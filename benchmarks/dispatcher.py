"""CPU of the dispatcher alone: `agent.complete` over a provider that answers at once, and `admit` + `settle`.

`python -m benchmarks.dispatcher BACKEND` prints one JSON object, in microseconds of CPU.
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median

import anyio

import understudy
from understudy import AgentSettings, Response, RouteSettings, Settings, Text, user
from understudy.actors import Endpoint, Permit
from understudy.providers import Request, Target, Verdict

ROUNDS, CALLS = 9, 2000


class Instant:
    """A provider that answers at once."""

    async def complete(self, request: Request) -> Response:
        """Answer after one checkpoint."""
        await anyio.lowlevel.checkpoint()
        return Response((Text("hi"),), request.model, "openai", "stop")

    async def aclose(self) -> None:
        """Close nothing."""


async def measure() -> dict[str, float]:
    """Measure both, and the provider alone as their baseline."""
    route = RouteSettings(transport="openai", model="a-model", base_url="http://instant.test/v1")
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    provider, request, messages = Instant(), Request("a-model", ()), [user("Who wrote Faust?")]
    alone, whole, permits = list[float](), list[float](), list[float]()
    async with understudy.open_supervisor(settings, connect=lambda _: Instant()) as supervisor:
        agent = supervisor.agent("deriver")
        endpoint = Endpoint(Target("openai", "http://instant.test/v1", None), lambda _: Instant())
        endpoint.open()
        for _ in range(ROUNDS):
            begun = time.process_time()
            for _ in range(CALLS):
                await provider.complete(request)
            alone.append(time.process_time() - begun)
            begun = time.process_time()
            for _ in range(CALLS):
                await agent.complete(messages)
            whole.append(time.process_time() - begun)
            begun = time.process_time()
            for _ in range(CALLS):
                permit = endpoint.admit("lead-1")
                assert isinstance(permit, Permit)
                permit.settle(Verdict.OK)
            permits.append(time.process_time() - begun)
    per_call = {"provider": median(alone), "complete": median(whole), "admit and settle": median(permits)}
    return {name: seconds / CALLS * 1e6 for name, seconds in per_call.items()}


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, backend=sys.argv[1])))
