"""What a call costs by what becomes of it: answered by its primary, handed over, or sent past a closed-off primary.

`python -m benchmarks.handover JOB` measures one scenario and prints one JSON object: microseconds of CPU per call, 32
in flight. "bare" is what a program would write by hand: the SDK without retries, and a second client in an `except`.
"another" is a call that the second route answers as its agent's only one: what is paid beyond it is paid for the fate
of the primary. Both are called in turn and more often than the SDK, for a route that is passed over costs little.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import openai
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings, Supervisor, user

from .measure import Job, Work, at_once, interleaved, main


class Fate(NamedTuple):
    """What becomes of a call: the model that its primary asks, and whether anybody listens there."""

    model: str
    refused: bool = False
    barred: bool = False


FATES = {
    "answered": Fate("a-model"),
    "429": Fate("limited"),
    "500": Fate("down"),
    "refused": Fate("a-model", refused=True),
    "hang": Fate("hold"),
    "circuit open": Fate("down", barred=True),
}
SCENARIOS = tuple((name,) for name in FATES)

ROUNDS, EACH, IN_FLIGHT = 5, 8, 32
MORE = 4
"""So many times more calls where ours is held beside ours."""

PATIENCE = 0.05
"""Seconds of an attempt at a primary that hangs; chosen: as long as a slow answer of the upstream takes."""

KEY = "sk-benchmark"
QUESTION = "Who wrote Faust?"


def settings(job: Job, fate: Fate) -> Settings:
    """Make the agent; circuits are kept, and bar nobody but by hand: each call has to have the same fate."""
    primary = RouteSettings(
        transport="openai",
        model=fate.model,
        base_url=job.refused if fate.refused else job.url,
        api_key=SecretStr(KEY),
        timeout=PATIENCE if fate.model == "hold" else None,
    )
    second = RouteSettings(transport="lmstudio", model="a-model", base_url=job.url)
    agents = {"agent": AgentSettings(primary=primary, fallbacks=(second,)), "another": AgentSettings(primary=second)}
    return Settings.in_code(agents=agents, circuit_observe_only=not fate.barred)


def ours(supervisor: Supervisor, name: str, attempts: int) -> Work:
    """Return the call of an agent, and see that it is answered by whom it has to be."""
    agent, messages = supervisor.agent(name), [user(QUESTION)]

    async def call() -> None:
        response = await agent.complete(messages)
        assert len(response.attempts) == attempts, response.attempts

    return call


def by_hand(first: openai.AsyncOpenAI, second: openai.AsyncOpenAI, fate: Fate) -> Work:
    """Return the same call as a program would write it without a library."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    create: Callable[..., Any] = first.chat.completions.create

    async def call() -> object:
        with suppress(openai.APIError):
            return await create(model=fate.model, messages=messages)
        return await second.chat.completions.create(model="a-model", messages=messages)

    return call


async def measure(job: Job) -> dict[str, Any]:
    """Measure one scenario, the sides taking turns."""
    (name,) = job.scenario
    fate = FATES[name]
    each, rounds = (1, 1) if job.quick else (EACH, ROUNDS)
    address = job.refused if fate.refused else job.url
    patience = PATIENCE if fate.model == "hold" else 180
    async with (
        openai.AsyncOpenAI(base_url=address, api_key=KEY, max_retries=0, timeout=patience) as first,
        openai.AsyncOpenAI(base_url=job.url, api_key=KEY, max_retries=0) as second,
        understudy.open_supervisor(settings(job, fate)) as supervisor,
    ):
        if fate.barred:
            supervisor.force_open("openai", fate.model, reason="never asked", lasts_for=3600)
        attempts = 1 if name in {"answered", "circuit open"} else 2
        calls: dict[str, Work] = {"ours": ours(supervisor, "agent", attempts)}
        if not fate.barred:
            calls["bare"] = by_hand(first, second, fate)
        work = {side: at_once(call, IN_FLIGHT, each) for side, call in calls.items()}
        figures = await interleaved(work, IN_FLIGHT * each, rounds, job.process)
        beside = {"fated": calls["ours"], "another": ours(supervisor, "another", 1)}
        work = {side: at_once(call, IN_FLIGHT, each * MORE) for side, call in beside.items()}
        costs = await interleaved(work, IN_FLIGHT * each * MORE, rounds)
    return {"fate": name, **figures, **costs}


if __name__ == "__main__":
    main(measure)
