"""CPU per call of `agent.complete` against bare `AsyncOpenAI.chat.completions.create`, interleaved in one process.

`python -m benchmarks.complete BACKEND URL` prints one JSON object: microseconds of this process's CPU per call, the
median over the rounds, for each number of messages and of calls in flight.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import anyio
import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, Message, RouteSettings, Settings, assistant, user

MESSAGES, IN_FLIGHT = (1, 40), (1, 64)
ROUNDS, CALLS = 9, {1: 60, 64: 192}


def conversation(length: int) -> list[Message]:
    """Make a conversation of `length` messages, a question last."""
    turns = [user("And then? " * 8) if n % 2 == 0 else assistant("Then it went on. " * 8) for n in range(length - 1)]
    return [*turns, user("Who wrote Faust?")]


def as_dicts(messages: list[Message]) -> Any:
    """Return the same conversation as the SDK takes it."""
    return [{"role": message.role, "content": message.text} for message in messages]


async def cpu_per_call(call: Callable[[], Awaitable[object]], in_flight: int) -> float:
    """Return the CPU microseconds of one call, with `in_flight` of them at once."""

    async def caller() -> None:
        for _ in range(CALLS[in_flight] // in_flight):
            await call()

    begun = time.process_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(in_flight):
            tasks.start_soon(caller)
    return (time.process_time() - begun) / CALLS[in_flight] * 1e6


async def measure(url: str) -> list[dict[str, float]]:
    """Measure every scenario, the two sides taking turns."""
    route = RouteSettings(transport="openai", model="a-model", base_url=url, api_key=SecretStr("sk-benchmark"))
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    rows: list[dict[str, float]] = []
    async with (
        openai.AsyncOpenAI(base_url=url, api_key="sk-benchmark") as bare,
        understudy.open_supervisor(settings) as supervisor,
    ):
        agent = supervisor.agent("deriver")
        for length in MESSAGES:
            messages = conversation(length)
            dicts = as_dicts(messages)
            for in_flight in IN_FLIGHT:
                sides: dict[str, tuple[Callable[[], Awaitable[object]], list[float]]] = {
                    "bare": (partial(bare.chat.completions.create, model="a-model", messages=dicts), []),
                    "ours": (partial(agent.complete, messages), []),
                }
                for number in range(ROUNDS + 1):
                    for call, figures in sides.values():
                        spent = await cpu_per_call(call, in_flight)
                        if number:  # the first round opens connections
                            figures.append(spent)
                rows.append(
                    {"messages": length, "in_flight": in_flight, **{name: median(f) for name, (_, f) in sides.items()}}
                )
    return rows


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, sys.argv[2], backend=sys.argv[1])))
