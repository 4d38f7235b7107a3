"""CPU per chunk of a stream, against the bare SDK of each wire, and the memory of an open stream.

`python -m benchmarks.stream BACKEND URL` prints one JSON object: for each wire microseconds of this process's CPU per
chunk of a burst of 100 (the request and its head included), the median over the rounds, and bytes per open stream.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from typing import Any

import anthropic
import anyio
import openai
from pydantic import SecretStr

import understudy
from understudy import Agent, AgentSettings, RouteSettings, Settings

from .upstream import CHUNKS

ROUNDS, STREAMS, OPEN = 9, 20, 200
QUESTION: Any = [{"role": "user", "content": "Who wrote Faust?"}]


async def bare_openai(client: openai.AsyncOpenAI) -> int:
    """Read one stream with the SDK alone; return the number of chunks."""
    chunks = 0
    async with await client.chat.completions.create(model="a-model", messages=QUESTION, stream=True) as stream:
        async for chunk in stream:
            chunks += bool(chunk.choices and chunk.choices[0].delta.content)
    return chunks


async def bare_anthropic(client: anthropic.AsyncAnthropic) -> int:
    """The same with the other SDK."""
    chunks = 0
    async with await client.messages.create(model="a-model", max_tokens=9, messages=QUESTION, stream=True) as stream:
        async for event in stream:
            chunks += event.type == "content_block_delta"
    return chunks


async def ours(agent: Agent) -> int:
    """The same with an agent."""
    chunks = 0
    async with agent.stream(QUESTION) as stream:
        async for event in stream:
            chunks += type(event) is understudy.TextDelta
    return chunks


async def cpu_per_chunk(read: Callable[[], Awaitable[int]]) -> float:
    """Return the CPU microseconds of a chunk, over a number of streams one after the other."""
    begun = time.process_time()
    for _ in range(STREAMS):
        assert await read() == CHUNKS
    return (time.process_time() - begun) / STREAMS / CHUNKS * 1e6


async def bytes_per_open(agent: Agent) -> float:
    """Return the memory of a stream of which the first piece has come, and more is waited for."""
    async with AsyncExitStack() as streams:
        await streams.enter_async_context(agent.stream(QUESTION))  # what is made once
        gc.collect()
        tracemalloc.start()
        for _ in range(OPEN):
            await streams.enter_async_context(agent.stream(QUESTION))
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return used / OPEN


def settings(url: str) -> Settings:
    """Make an agent for each wire, and one whose streams do not go on."""
    routes = {
        "openai": RouteSettings(transport="openai", model="a-model", base_url=url, api_key=SecretStr("sk-benchmark")),
        "anthropic": RouteSettings(
            transport="anthropic", model="a-model", base_url=url.removesuffix("/v1"), api_key=SecretStr("sk-benchmark")
        ),
        "open": RouteSettings(transport="openai", model="open", base_url=url, api_key=SecretStr("sk-benchmark")),
    }
    return Settings.in_code(agents={name: AgentSettings(primary=route) for name, route in routes.items()})


async def measure(url: str) -> dict[str, Any]:
    """Measure both wires, the two sides taking turns."""
    key, figures = "sk-benchmark", dict[str, Any]()
    async with (
        openai.AsyncOpenAI(base_url=url, api_key=key) as first,
        anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key=key) as second,
        understudy.open_supervisor(settings(url)) as supervisor,
    ):
        bare: dict[str, Callable[[], Awaitable[int]]] = {
            "openai": lambda: bare_openai(first),
            "anthropic": lambda: bare_anthropic(second),
        }
        for wire, alone in bare.items():
            agent = supervisor.agent(wire)
            sides: dict[str, tuple[Callable[[], Awaitable[int]], list[float]]] = {
                "bare": (alone, []),
                "ours": (partial(ours, agent), []),
            }
            for number in range(ROUNDS + 1):
                for read, costs in sides.values():
                    spent = await cpu_per_chunk(read)
                    if number:  # the first round opens connections
                        costs.append(spent)
            figures[wire] = {side: median(costs) for side, (_, costs) in sides.items()}
        figures["bytes"] = await bytes_per_open(supervisor.agent("open"))
    return figures


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, sys.argv[2], backend=sys.argv[1])))
