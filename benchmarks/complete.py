"""CPU of `agent.complete` beside the bare SDK, interleaved in one process: by messages, by calls in flight, by wire.

`python -m benchmarks.complete BACKEND URL` prints one JSON object: microseconds of this process's CPU per call, the
median over the rounds. "ours" is past the SDK, over our connections; "httpx2" is `LLM_HTTP_TRANSPORT=httpx2`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import anthropic
import anyio
import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, Message, RouteSettings, Settings, assistant, user

SCENARIOS = (
    *(("openai", messages, in_flight) for messages in (1, 11, 41) for in_flight in (1, 64)),
    *(("openai", 1, in_flight) for in_flight in (256, 1000)),
    ("anthropic", 1, 64),
)
"""Wire, messages, calls in flight."""

ROUNDS, CALLS = 7, {1: 60, 64: 192, 256: 512, 1000: 1000}
KEY = "sk-benchmark"


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


def settings(url: str, transport: str) -> Settings:
    """Make an agent for each wire, over these connections."""
    addresses = {"openai": url, "anthropic": url.removesuffix("/v1")}
    agents = {
        wire: AgentSettings(
            primary=RouteSettings(transport=wire, model="a-model", base_url=address, api_key=SecretStr(KEY))
        )
        for wire, address in addresses.items()
    }
    return Settings.in_code(agents=agents, http_transport=transport, max_concurrency=1000)


async def measure(url: str) -> list[dict[str, Any]]:
    """Measure every scenario, the sides taking turns."""
    rows: list[dict[str, Any]] = []
    async with (
        openai.AsyncOpenAI(base_url=url, api_key=KEY) as first,
        anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key=KEY) as second,
        understudy.open_supervisor(settings(url, "understudy")) as ours,
        understudy.open_supervisor(settings(url, "httpx2")) as library,
    ):
        for wire, length, in_flight in SCENARIOS:
            messages = conversation(length)
            dicts = as_dicts(messages)
            bare: Callable[[], Awaitable[object]] = (
                partial(first.chat.completions.create, model="a-model", messages=dicts)
                if wire == "openai"
                else partial(second.messages.create, model="a-model", max_tokens=4096, messages=dicts)
            )
            sides: dict[str, tuple[Callable[[], Awaitable[object]], list[float]]] = {
                "bare": (bare, []),
                "httpx2": (partial(library.agent(wire).complete, messages), []),
                "ours": (partial(ours.agent(wire).complete, messages), []),
            }
            for number in range(ROUNDS + 1):
                for call, figures in sides.values():
                    spent = await cpu_per_call(call, in_flight)
                    if number:  # the first round opens connections
                        figures.append(spent)
            medians = {name: median(figures) for name, (_, figures) in sides.items()}
            rows.append({"wire": wire, "messages": length, "in_flight": in_flight, **medians})
    return rows


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, sys.argv[2], backend=sys.argv[1])))
