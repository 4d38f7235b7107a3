"""CPU of `agent.complete` beside the bare SDK, by wire, by messages, by calls in flight and by how fast is answered.

`python -m benchmarks.complete JOB` measures one scenario and prints one JSON object: microseconds of CPU per call for
each side. "ours" is past the SDK, over our connections; "httpx2" is `LLM_HTTP_TRANSPORT=httpx2`. The sides share this
process, unless so many are in flight that each would pay for what the others keep.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import anthropic
import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, Message, RouteSettings, Settings, assistant, user

from .measure import Job, Work, apart, at_once, by_turns, interleaved, main, takes_turns


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

APART = 1000
"""Calls in flight from which each side has a process of its own: Python's garbage collector goes through what all sides
keep of one, and a turn takes so long that connections of the others are not kept alive."""

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


@asynccontextmanager
async def bare(job: Job, scenario: Scenario) -> AsyncIterator[Work]:
    """Give the call of the SDK alone."""
    messages, name = as_dicts(conversation(scenario.messages)), model(scenario)
    if scenario.wire == "openai":
        async with openai.AsyncOpenAI(base_url=job.url, api_key=KEY, timeout=PATIENCE) as first:
            yield partial(first.chat.completions.create, model=name, messages=messages)
    else:
        async with anthropic.AsyncAnthropic(base_url=job.address, api_key=KEY, timeout=PATIENCE) as second:
            yield partial(second.messages.create, model=name, max_tokens=4096, messages=messages)


@asynccontextmanager
async def supervised(job: Job, scenario: Scenario, transport: str) -> AsyncIterator[Work]:
    """Give the call of an agent, over these connections."""
    async with understudy.open_supervisor(settings(job, scenario, transport)) as supervisor:
        yield partial(supervisor.agent("agent").complete, conversation(scenario.messages))


CALLS: dict[str, Callable[[Job, Scenario], AbstractAsyncContextManager[Work]]] = {
    "bare": bare,
    "httpx2": partial(supervised, transport="httpx2"),
    "ours": partial(supervised, transport="understudy"),
}
"""The call of each side, for a job and its scenario."""


async def measure(job: Job) -> dict[str, Any]:
    """Measure one scenario, the sides taking turns."""
    scenario = Scenario(*job.scenario)
    if job.side:
        await one_side(job, scenario)
        return {}
    each, rounds = size(job, scenario)
    calls, beside = each * scenario.in_flight, sides(scenario, job.backend)
    async with AsyncExitStack() as open_:
        if scenario.in_flight >= APART:
            turns = {side: await open_.enter_async_context(apart("benchmarks.complete", job, side)) for side in beside}
            figures = await by_turns(turns, calls, rounds, job.process)
        else:
            asked = {side: await open_.enter_async_context(CALLS[side](job, scenario)) for side in beside}
            work = {side: at_once(call, scenario.in_flight, each) for side, call in asked.items()}
            figures = await interleaved(work, calls, rounds, job.process)
    return {**scenario._asdict(), **figures}


async def one_side(job: Job, scenario: Scenario) -> None:
    """Let one side take turns with those of other processes."""
    each, _ = size(job, scenario)
    async with CALLS[job.side](job, scenario) as call:
        before = at_once(call, scenario.in_flight, 1)
        await takes_turns(at_once(call, scenario.in_flight, each), before, job.process)


if __name__ == "__main__":
    main(measure)
