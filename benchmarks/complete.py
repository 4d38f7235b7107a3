"""CPU of `agent.complete` beside the bare SDK, by wire, by messages, by calls in flight and by how fast is answered.

`python -m benchmarks.complete JOB` measures one scenario and prints one JSON object: microseconds of this process's CPU
per call for each side. "ours" is past the SDK, over our connections; "httpx2" is `LLM_HTTP_TRANSPORT=httpx2`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import anthropic
import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, Message, RouteSettings, Settings, assistant, user

from .measure import Job, Work, at_once, interleaved, main


class Scenario(NamedTuple):
    """What is asked, how many ask at once, and after how many milliseconds the upstream answers."""

    wire: str
    messages: int
    in_flight: int
    delay: int


FULL = (
    *(Scenario("openai", messages, in_flight, 0) for messages in (1, 11, 41) for in_flight in (1, 64)),
    *(Scenario("openai", 1, in_flight, 0) for in_flight in (256, 1000)),
    *(Scenario("anthropic", messages, 64, 0) for messages in (1, 41)),
    *(Scenario("openai", 1, in_flight, 50) for in_flight in (1, 64, 256, 1000)),
    *(Scenario("openai", messages, 64, 50) for messages in (11, 41)),
)
SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    "asyncio": FULL,
    "uvloop": tuple(each for each in FULL if each.wire == "openai" and each.messages == 1 and not each.delay),
    "trio": FULL,
}
"""By event loop; another asyncio loop changes nothing that depends on the messages."""

SIZES = {1: (40, 5), 64: (128, 5), 256: (512, 3), 1000: (2000, 3)}
"""Calls of a round, and rounds, by calls in flight: two of each caller, because one that comes and goes costs more."""

SLOWLY = (10, 5)
"""The same of one call at a time that is answered late: it is waiting, not work, that takes long."""

KEY = "sk-benchmark"
PATIENCE = 600.0
"""Seconds that all sides give a connection, too: a thousand of them at once on a busy machine are no failure."""


def conversation(length: int) -> list[Message]:
    """Make a conversation of `length` messages, a question last."""
    turns = [user("And then? " * 8) if n % 2 == 0 else assistant("Then it went on. " * 8) for n in range(length - 1)]
    return [*turns, user("Who wrote Faust?")]


def as_dicts(messages: list[Message]) -> Any:
    """Return the same conversation as the SDK takes it."""
    return [{"role": message.role, "content": message.text} for message in messages]


def settings(job: Job, scenario: Scenario, transport: str) -> Settings:
    """Make the agent, over these connections."""
    route = RouteSettings(
        transport=scenario.wire,
        model=model(scenario),
        base_url=job.url if scenario.wire == "openai" else job.address,
        api_key=SecretStr(KEY),
    )
    agents = {"agent": AgentSettings(primary=route)}
    return Settings.in_code(agents=agents, http_transport=transport, max_concurrency=1000, connect_timeout=PATIENCE)


def model(scenario: Scenario) -> str:
    """Return the model that answers after the delay."""
    return "slow" if scenario.delay else "a-model"


def sides(scenario: Scenario, backend: str) -> tuple[str, ...]:
    """Return who takes turns: the library's connections, which are not the default, only where answers come at once."""
    return ("bare", "ours") if scenario.delay or backend == "uvloop" else ("bare", "httpx2", "ours")


def size(job: Job, scenario: Scenario) -> tuple[int, int]:
    """Return the calls of each caller in a round, and the rounds."""
    if job.quick:
        return 1, 1
    calls, rounds = SLOWLY if scenario.delay and scenario.in_flight == 1 else SIZES[scenario.in_flight]
    return calls // scenario.in_flight, rounds


def bare(first: openai.AsyncOpenAI, second: anthropic.AsyncAnthropic, scenario: Scenario) -> Work:
    """Return the call of the SDK alone."""
    messages, name = as_dicts(conversation(scenario.messages)), model(scenario)
    if scenario.wire == "openai":
        return partial(first.chat.completions.create, model=name, messages=messages)
    return partial(second.messages.create, model=name, max_tokens=4096, messages=messages)


async def measure(job: Job) -> dict[str, Any]:
    """Measure one scenario, the sides taking turns."""
    scenario = Scenario(*job.scenario)
    messages = conversation(scenario.messages)
    each, rounds = size(job, scenario)
    async with (
        openai.AsyncOpenAI(base_url=job.url, api_key=KEY, timeout=PATIENCE) as first,
        anthropic.AsyncAnthropic(base_url=job.address, api_key=KEY, timeout=PATIENCE) as second,
        understudy.open_supervisor(settings(job, scenario, "understudy")) as ours,
        understudy.open_supervisor(settings(job, scenario, "httpx2")) as library,
    ):
        calls: dict[str, Work] = {
            "bare": bare(first, second, scenario),
            "httpx2": partial(library.agent("agent").complete, messages),
            "ours": partial(ours.agent("agent").complete, messages),
        }
        work = {side: at_once(calls[side], scenario.in_flight, each) for side in sides(scenario, job.backend)}
        figures = await interleaved(work, each * scenario.in_flight, rounds, job.process)
    return {**scenario._asdict(), **figures}


if __name__ == "__main__":
    main(measure)
