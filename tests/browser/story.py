"""What the page shows in its test: four agents at work, and a quarter of an hour that they have behind them.

The past is played in virtual time by a real supervisor over scripted providers; its events are then told to the feed as
if they had just happened. The present runs in real time, with the same agents and providers that can be switched.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

import anyio

import understudy
from understudy import AgentSettings, Hook, RouteSettings, Settings, Supervisor, UnderstudyError
from understudy.events import Event
from understudy.gateway import Feed
from understudy.simulation import Answer, Phase, Script, Status, World, run_virtual

PAST = 840.0
"""Seconds that lie behind."""

Past: TypeAlias = Sequence[tuple[float, Event]]
"""Events, and how many seconds ago each came."""


def route(transport: str, model: str) -> RouteSettings:
    """Make a route to an address of the vendor's own."""
    return RouteSettings(transport=transport, model=model, api_key="sk-canary-of-the-page")


def settings() -> Settings:
    """Make four agents that share endpoints."""
    mini, large = route("openai", "gpt-5.4-mini"), route("openai", "gpt-5.4")
    haiku, sonnet = route("anthropic", "claude-haiku-4-5"), route("anthropic", "claude-sonnet-4-6")
    local = RouteSettings(transport="lmstudio", model="qwen3-30b-a3b")
    agents = {
        "deriver": AgentSettings(primary=mini, fallbacks=(haiku,)),
        "dialectic.max": AgentSettings(primary=sonnet, fallbacks=(large, local)),
        "summary": AgentSettings(primary=route("gemini", "gemini-3-flash"), fallbacks=(mini,)),
        "dream": AgentSettings(primary=large, fallbacks=(sonnet,)),
    }
    return Settings.in_code(agents=agents)


def usual(after: float) -> tuple[Phase, ...]:
    """Make phases in which some answers take longer than most."""
    return tuple(
        Phase(Answer("Hello there.", after * slow, 0.02), share=share) for slow, share in ((4, 0.03), (1.6, 0.3))
    )


def script(after: float, *phases: Phase) -> Script:
    """Make a script with outages, and answers that take about so long."""
    return Script((*phases, *usual(after)), Answer("Hello there.", after, 0.02))


def past() -> dict[str, Script]:
    """Make the outages of the past: one long, one that tells how long to wait, one short at the end."""
    told = Status(429, headers={"Retry-After": "55"})
    return {
        "openai": script(0.32, Phase(Status(503), since=300, until=352), Phase(Status(529), "gpt-5.4", 760, 790)),
        "anthropic": script(0.45, Phase(told, "claude-sonnet-4-6", since=520, until=560)),
        "gemini": script(0.22, Phase(Status(500), since=640, until=700, share=0.6)),
        "lmstudio": script(0.6),
    }


async def ask(supervisor: Supervisor, agent: str, every: float, rand: random.Random) -> None:
    """Ask an agent again and again."""
    while True:
        await anyio.sleep(every * (0.4 + 1.2 * rand.random()))
        try:
            async with supervisor.agent(agent).stream("Who wrote Faust?", timeout=20) as stream:
                async for _ in stream:
                    pass
        except UnderstudyError:
            continue


@asynccontextmanager
async def at_work(
    world: World, feed: Feed | None = None, past: Past = (), heard: list[tuple[float, Event]] | None = None
) -> AsyncIterator[Supervisor]:
    """Run a supervisor whose agents are asked all the time; what happens is put on the list `heard`. The feed, if there
    is one, remembers a past.
    """

    def hear(event: Event) -> None:
        if heard is not None:
            heard.append((anyio.current_time(), event))

    hooks: list[Hook] = [hear] if feed is None else [feed, hear]
    async with understudy.open_supervisor(settings(), connect=world.connect, hooks=hooks) as supervisor:
        if feed is not None:
            feed.watch(supervisor)
            tell(feed, past, anyio.current_time())
        async with anyio.create_task_group() as loops:
            for number, (agent, every) in enumerate(
                (("deriver", 0.12), ("dialectic.max", 0.5), ("summary", 0.3), ("dream", 0.9))
            ):
                for each in range(2):
                    loops.start_soon(ask, supervisor, agent, every * 2, random.Random(10 * number + each))
            yield supervisor
            loops.cancel_scope.cancel()


def remembered() -> Past:
    """Play the past, and return its events with the seconds before its end at which each came."""
    heard: list[tuple[float, Event]] = []

    async def play() -> None:
        async with at_work(World(past()), heard=heard):
            await anyio.sleep(PAST)

    with ThreadPoolExecutor() as pool:  # the browser's driver has an event loop in this thread
        pool.submit(run_virtual, play).result()
    return [(PAST - at, event) for at, event in heard if at <= PAST]


def tell(feed: Feed, events: Past, now: float) -> None:
    """Let a feed that watches have begun then, and have seen events so many seconds before an instant."""
    for before, event in events:
        feed._seen.take(event, now - before)
    supervisor, about = feed._about()
    feed._watched = supervisor, replace(about, begun=now - PAST)
