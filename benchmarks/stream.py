"""CPU per chunk of a stream, beside the bare SDK of each wire: of bursts, and of chunks that come one by one.

`python -m benchmarks.stream JOB` measures one scenario and prints one JSON object: microseconds of this process's CPU
per chunk, the request and its head included. A burst is 100 chunks that come at once, read one stream after the other;
a trickle is 50 chunks, one every 20 ms, of 64 streams at once: each wakes the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import anthropic
import openai
from pydantic import SecretStr

import understudy
from understudy import Agent, AgentSettings, RouteSettings, Settings

from .measure import Job, at_once, interleaved, main
from .upstream import CHUNKS, TRICKLE


class Scenario(NamedTuple):
    """What is read, and how."""

    wire: str
    pace: str


SCENARIOS = tuple(Scenario(wire, pace) for pace in ("burst", "trickle") for wire in ("openai", "anthropic"))

MODELS = {"burst": "a-model", "trickle": "trickle"}
"""Which model streams at which pace."""

SIZES = {"burst": (CHUNKS, 1, 20, 5), "trickle": (TRICKLE, 64, 1, 3)}
"""Chunks of a stream, streams at once, streams of each reader, rounds."""

QUESTION: Any = [{"role": "user", "content": "Who wrote Faust?"}]
KEY = "sk-benchmark"

Read = Callable[[], Awaitable[int]]


async def bare_openai(client: openai.AsyncOpenAI, model: str) -> int:
    """Read one stream with the SDK alone; return the number of chunks."""
    chunks = 0
    async with await client.chat.completions.create(model=model, messages=QUESTION, stream=True) as stream:
        async for chunk in stream:
            chunks += bool(chunk.choices and chunk.choices[0].delta.content)
    return chunks


async def bare_anthropic(client: anthropic.AsyncAnthropic, model: str) -> int:
    """The same with the other SDK."""
    chunks = 0
    async with await client.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=True) as stream:
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


async def whole(read: Read, chunks: int) -> None:
    """Read a stream, and see that all of it came."""
    came = await read()
    assert came == chunks, came


def settings(job: Job, scenario: Scenario) -> Settings:
    """Make an agent on the wire."""
    url = job.url if scenario.wire == "openai" else job.address
    route = RouteSettings(transport=scenario.wire, model=MODELS[scenario.pace], base_url=url, api_key=SecretStr(KEY))
    return Settings.in_code(agents={"agent": AgentSettings(primary=route)})


async def measure(job: Job) -> dict[str, Any]:
    """Measure one scenario, the two sides taking turns."""
    scenario = Scenario(*job.scenario)
    chunks, in_flight, each, rounds = SIZES[scenario.pace]
    if job.quick:
        each, rounds = 1, 1
    async with (
        openai.AsyncOpenAI(base_url=job.url, api_key=KEY) as first,
        anthropic.AsyncAnthropic(base_url=job.address, api_key=KEY) as second,
        understudy.open_supervisor(settings(job, scenario)) as supervisor,
    ):
        model = MODELS[scenario.pace]
        alone = {"openai": partial(bare_openai, first, model), "anthropic": partial(bare_anthropic, second, model)}
        readers: dict[str, Read] = {"bare": alone[scenario.wire], "ours": partial(ours, supervisor.agent("agent"))}
        work = {side: at_once(partial(whole, read, chunks), in_flight, each) for side, read in readers.items()}
        figures = await interleaved(work, chunks * in_flight * each, rounds, job.process)
    return {**scenario._asdict(), **figures}


if __name__ == "__main__":
    main(measure)
