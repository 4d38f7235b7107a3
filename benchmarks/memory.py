"""Memory of a call that waits for its answer, and of an open stream: a thousand of them, their connections included.

`python -m benchmarks.memory JOB` measures one side and prints one JSON object: by how many bytes the resident memory of
this process grew for each. The upstream's side of the connections is in its own process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings, user

from .measure import Job, Work, main, quiet, resident

SCENARIOS = tuple((what, side) for what in ("call", "stream") for side in ("bare", "ours"))
IN_FLIGHT, FEW = 1000, 20
"""How many wait, and how many are there before: what is made once is made by them."""

KEY = "sk-benchmark"
QUESTION: Any = [{"role": "user", "content": "Who wrote Faust?"}]
MODELS = {"call": "hold", "stream": "open"}


async def bytes_each(wait: Work, count: int) -> float:
    """Return what the memory grows by for each of `count` that wait."""

    async def one() -> None:
        await wait()

    async with anyio.create_task_group() as waiting:
        for _ in range(FEW):
            waiting.start_soon(one)
        await quiet()
        gc.collect()
        before = resident()
        for _ in range(count):
            waiting.start_soon(one)
        await quiet()
        gc.collect()
        grown = resident() - before
        waiting.cancel_scope.cancel()
    return grown / count


async def held_open(client: openai.AsyncOpenAI) -> None:
    """Open a stream with the SDK, and wait for more of it."""
    async with await client.chat.completions.create(model="open", messages=QUESTION, stream=True) as stream:
        async for _ in stream:
            pass


async def our_open(agent: understudy.Agent) -> None:
    """The same with an agent."""
    async with agent.stream([user("Who wrote Faust?")]) as stream:
        async for _ in stream:
            pass


async def measure(job: Job) -> dict[str, Any]:
    """Measure one side."""
    what, side = job.scenario
    count = FEW if job.quick else IN_FLIGHT
    route = RouteSettings(transport="openai", model=MODELS[what], base_url=job.url, api_key=SecretStr(KEY))
    settings = Settings.in_code(agents={"agent": AgentSettings(primary=route)}, max_concurrency=2 * IN_FLIGHT)
    async with (
        openai.AsyncOpenAI(base_url=job.url, api_key=KEY) as client,
        understudy.open_supervisor(settings) as supervisor,
    ):
        create: Callable[..., Any] = client.chat.completions.create
        agent = supervisor.agent("agent")
        waits: dict[tuple[str, str], Work] = {
            ("call", "bare"): partial(create, model="hold", messages=QUESTION, timeout=600),
            ("call", "ours"): partial(agent.complete, [user("Who wrote Faust?")], timeout=600),
            ("stream", "bare"): partial(held_open, client),
            ("stream", "ours"): partial(our_open, agent),
        }
        grown = await bytes_each(waits[what, side], count)
    return {"what": what, "side": side, "bytes": grown}


if __name__ == "__main__":
    main(measure)
