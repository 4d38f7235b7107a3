"""What a hand-over costs, what a route that is passed over costs, and how much memory a call in flight takes.

`python -m benchmarks.handover BACKEND URL` prints one JSON object: microseconds of CPU per call for a call that its
primary answers, one that is handed over after a 500, and one whose primary is barred by its circuit; bytes per call in
flight.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median

import anyio
from pydantic import SecretStr

import understudy
from understudy import Agent, AgentSettings, RouteSettings, Settings, user

ROUNDS, CALLS, IN_FLIGHT = 9, 300, 1000
QUESTION = [user("Who wrote Faust?")]


def settings(url: str) -> Settings:
    """Make an agent whose primary answers, one whose primary is down, and one whose primary never answers."""

    def agent(model: str) -> AgentSettings:
        first = RouteSettings(transport="openai", model=model, base_url=url, api_key=SecretStr("sk-benchmark"))
        second = RouteSettings(transport="lmstudio", model="a-model", base_url=url)
        return AgentSettings(primary=first, fallbacks=(second,))

    return Settings.in_code(agents={model: agent(model) for model in ("a-model", "down", "hold")}, max_concurrency=2000)


async def cpu_of(call: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of CPU per call."""
    begun = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - begun) / CALLS * 1e6


async def bytes_in_flight(agent: Agent) -> float:
    """Return the memory of a call that waits for its answer, its connection included."""

    async def wait() -> None:
        await agent.complete(QUESTION, timeout=600)

    async with anyio.create_task_group() as callers:
        callers.start_soon(wait)  # what is made once
        await anyio.sleep(0.2)
        gc.collect()
        tracemalloc.start()
        for _ in range(IN_FLIGHT):
            callers.start_soon(wait)
        await anyio.sleep(2)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        callers.cancel_scope.cancel()
    return used / IN_FLIGHT


async def measure(url: str) -> dict[str, float]:
    """Measure each of them, interleaved."""
    figures: dict[str, list[float]] = {"answered": [], "handed over": [], "passed over": []}
    async with understudy.open_supervisor(settings(url)) as supervisor:
        plain, down = supervisor.agent("a-model"), supervisor.agent("down")
        for number in range(ROUNDS + 1):
            supervisor.force_closed("openai", "down", reason="asked every time")
            for name, agent in (("answered", plain), ("handed over", down)):
                spent = await cpu_of(partial(agent.complete, QUESTION))
                if number:
                    figures[name].append(spent)
            supervisor.force_open("openai", "down", reason="never asked")
            spent = await cpu_of(partial(down.complete, QUESTION))
            if number:
                figures["passed over"].append(spent)
        memory = await bytes_in_flight(supervisor.agent("hold"))
    return {**{name: median(rounds) for name, rounds in figures.items()}, "bytes": memory}


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, sys.argv[2], backend=sys.argv[1])))
