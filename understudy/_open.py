"""The composition root: settings become a plan, and a plan becomes a running supervisor."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from .providers import Connect, HTTPClients, Line, tell
from .providers import connect as connect_vendor
from .supervisor import (
    DRAIN_FOR,
    Hook,
    Plan,
    Settings,
    Supervisor,
    Tracer,
    checked,
    load,
    sound,
    supervise,
    tracers_checked,
    unprotected,
)
from .telemetry import LoggingHook
from .telemetry._json_lines import json_lines

_log = logging.getLogger("understudy.settings")


@asynccontextmanager
async def open_supervisor(
    settings: Settings | None = None,
    *,
    connect: Connect = connect_vendor,
    rand: Callable[[], float] = random.random,
    drain_for: float = DRAIN_FOR,
    hooks: Iterable[Hook] = (),
    tracers: Iterable[Tracer] = (),
    http_client: HTTPClients | None = None,
) -> AsyncIterator[Supervisor]:
    """Open the supervisor of all configured agents for the body of an `async with`, on asyncio or trio.

    The SDKs of every route, fallbacks too, are imported and their clients built before the body begins, so that no
    hand-over waits for an import.

    Args:
        settings: What is configured; default: what environment and `.env` say.
        connect: Makes the provider of an endpoint; the simulation has one that needs no network.
        rand: Draws uniformly from [0, 1), for backoff.
        drain_for: Seconds that calls in flight have to end when the block is left in good order.
        hooks: Called with each event, in order, in the task where it happened, after the one that logs. What they
            raise is counted and swallowed.
        tracers: Shown each request and tool run with its content. Langfuse is one of them by itself where
            `LANGFUSE_PUBLIC_KEY` and `LANGFUSE_SECRET_KEY` are set.
        http_client: Makes the `httpx2.AsyncClient` of an endpoint, for a proxy or a certificate of your own: requests
            then go through it, whatever `LLM_HTTP_TRANSPORT` says, and it is closed with the supervisor. What it
            follows, retries and waits for is then its own affair.

    When the block is left by an exception, that exception leaves as it came, never in a group, and calls in flight
    end at once with `ActorStoppedError`. After cancellation, too, every client is closed and no task is left. An async
    generator that holds it open has to be closed with `aclose()`, as with every task group.

    Raises:
        ConfigurationError: Something cannot work; lists every mistake.
        TypeError: `settings` is something else, or a hook or a tracer is none; or both `connect` and `http_client`
            are given.
    """
    is_simulated = connect is not connect_vendor
    if http_client is not None:
        if is_simulated:
            raise TypeError("connect makes whole providers, http_client what ours send with: give one of them")
        connect = partial(connect_vendor, http_client=http_client)
    shown_to, plan = tracers_checked(tracers), sound(load(settings))
    told: tuple[Hook, ...] = (LoggingHook(quotes=plan.quotes), *checked(hooks))
    async with (
        _logged(plan),
        _traced(plan, shown_to) as shown,
        supervise(plan, connect=connect, rand=rand, drain_for=drain_for, hooks=told, tracers=shown) as supervisor,
    ):
        if not is_simulated:
            _tell_unprotected(plan)
        yield supervisor


@asynccontextmanager
async def _logged(plan: Plan) -> AsyncIterator[None]:
    """Write the log in its format, first of all what is ignored."""
    with json_lines() if plan.json_logs else nullcontext():
        for problem in plan.ignored:
            fields = {"variable": problem.variable, "expected": problem.expected, "remedy": problem.remedy}
            tell(_log.warning, Line("ignored", f"ignored  {problem}", **fields))
        yield


def _tell_unprotected(plan: Plan) -> None:
    """Say where requests leave this machine in the clear."""
    for found in unprotected(plan.agents.values()):
        names = {"variable": found.variable, "transport": found.transport, "address": found.address}
        line = Line("unprotected", f"unprotected  {found}", **names, agents=", ".join(found.agents))
        tell(_log.warning, line)


@asynccontextmanager
async def _traced(plan: Plan, tracers: Iterable[Tracer]) -> AsyncIterator[tuple[Tracer, ...]]:
    """Show Langfuse what happens, if it is configured, beside the user's own tracers."""
    if plan.langfuse is None:
        yield tuple(tracers)
        return
    from .telemetry._langfuse import open_langfuse  # its SDK takes half a second to import

    langfuse = open_langfuse(plan.langfuse, secrets=[secret for target in plan.targets for secret in target.secrets])
    try:
        yield (*tracers, langfuse)
    finally:
        await langfuse.aclose()
