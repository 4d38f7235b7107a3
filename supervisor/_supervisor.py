"""The supervisor: starts one provider actor per endpoint, starts it again when it crashes, and stops them all.

It keeps the endpoints, so that an actor's crash loses neither health nor calls in flight. It never cancels its
user's tasks, and an exception of the user's own leaves it as it came.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from ..actors import Drain, Endpoint, Health, ProviderActor, Stop
from ..providers import (
    ActorStoppedError,
    ConfigurationError,
    Connect,
    MailboxFullError,
    Problem,
    Target,
    clean,
    connect,
    suggestion,
)
from ._agent import Agent
from ._discovery import prefix_of
from ._dispatch import Chain, Served
from ._plan import Plan
from ._restarts import Intensity, Restarts, after_crash
from ._tasks import background_tasks

DRAIN_FOR = 30.0
"""Seconds that calls in flight have to end when a supervisor is closed in good order."""

_log = logging.getLogger("understudy.supervisor")


@final
class Supervisor:
    """Routes the requests of all agents over all endpoints. Made by `open_supervisor`; belongs to one event loop."""

    def __init__(self, plan: Plan, connect: Connect, rand: Callable[[], float], intensity: Intensity) -> None:
        self._plan, self._rand, self._intensity = plan, rand, intensity
        self._endpoints = {target: Endpoint(target, connect) for target in plan.targets}
        self._actors: dict[Target, ProviderActor] = {}
        self._home = anyio.lowlevel.current_token()
        self._agents = {name: self._agent(name) for name in plan.agents}

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of all agents."""
        return tuple(self._agents)

    def agent(self, name: str) -> Agent:
        """Return the handle of an agent, whose name is in lower case; the same one for the same name.

        Raises:
            ConfigurationError: No agent of that name is configured; names those that are.
            TypeError: The name is no text.
        """
        given: object = name
        if not isinstance(given, str):
            raise TypeError(f"the name of an agent is a text, not {type(given).__name__}")
        found = self._agents.get(name) or self._agents.get(name.lower())
        if found is None:
            self._unknown(name)
        return found

    def health(self) -> dict[str, Health]:
        """Return a frozen snapshot per endpoint, by its name: transport and base URL, and `#2` and so on where several
        differ in their credential alone.
        """
        snapshots: dict[str, Health] = {}
        for endpoint in self._endpoints.values():
            others = sum(endpoint.name == other.partition(" #")[0] for other in snapshots)
            snapshots[f"{endpoint.name} #{others + 1}" if others else endpoint.name] = endpoint.health
        return snapshots

    def _agent(self, name: str) -> Agent:
        routes = tuple(Served(route, self._endpoints[route.target]) for route in self._plan.agents[name].routes)
        chain = Chain(name, routes, self._rand)
        return Agent(chain, self._plan.total_timeout, self._check_here)

    def _unknown(self, name: str) -> NoReturn:
        variable = prefix_of(name) + "MODEL"
        known = ", ".join(self._agents)
        remedy = f"set it, or use one of: {known}{suggestion(name, self._agents)}"
        raise ConfigurationError([Problem(variable, f"an agent named {name!r}", remedy)])

    def _check_here(self) -> None:
        try:
            here = anyio.lowlevel.current_token()
        except RuntimeError:
            here = None
        if here != self._home:
            raise RuntimeError(
                "this supervisor belongs to another event loop or thread: open one supervisor per loop, "
                "or call into its loop with anyio.from_thread.run"
            )

    async def open(self, tasks: TaskGroup) -> None:
        """Start every actor in `tasks`, and wait until every client is open.

        Raises:
            ConfigurationError: Clients that could not be opened, all of them.
        """
        problems: list[Problem] = []
        for target, endpoint in self._endpoints.items():
            try:
                await tasks.start(self._keep, endpoint)
            except Exception as error:  # noqa: BLE001 - whatever keeps a client from opening, all at once
                problems.append(_unopened(target, error))
        if problems:
            raise ConfigurationError(problems)

    async def stop(self, drain_for: float) -> None:
        """Stop every actor: refuse new work, wait at most `drain_for` seconds for what is in flight, close."""
        async with anyio.create_task_group() as closing:
            for endpoint in self._endpoints.values():
                closing.start_soon(self._stop, endpoint, drain_for)

    async def _stop(self, endpoint: Endpoint, drain_for: float) -> None:
        try:
            actor = self._actors[endpoint.target]
            await actor.ask(Drain(drain_for))
            await actor.ask(Stop())
        except (KeyError, ActorStoppedError, MailboxFullError):  # it is down: then it is done in its place
            await endpoint.drain(drain_for)
            await endpoint.close()

    async def _keep(self, endpoint: Endpoint, *, task_status: TaskStatus[None]) -> None:
        """Run one incarnation after the other until one ends in order. However that comes, the client is closed here,
        in a task of our own: no shield would hold off `asyncio.Task.cancel` in a task of the user's.
        """
        try:
            await self._run_incarnations(endpoint, _Once(task_status))
        finally:
            await endpoint.end()

    async def _run_incarnations(self, endpoint: Endpoint, opened: _Once) -> None:
        restarts = Restarts()
        while True:
            actor = self._actors[endpoint.target] = ProviderActor(endpoint)
            try:
                await actor.run(task_status=opened)
                return
            except ActorStoppedError:  # the actor before this one crashed while it was drained: `_stop` goes on with it
                await anyio.sleep_forever()
            except Exception as error:
                if not opened.is_set:
                    raise
                now = anyio.current_time()
                restarts, pause = after_crash(restarts, now, self._intensity, self._rand)
                _log.exception(
                    "actor_crashed endpoint=%r error=%s restart_in=%.1f dead=%s",
                    *(endpoint.name, type(error).__name__, pause.wait, pause.dead),
                )
                if pause.dead:
                    endpoint.give_up()
                await anyio.sleep(pause.wait)


class _Once(TaskStatus[None]):
    """Tells the starter of the first incarnation, and nobody of the next ones."""

    def __init__(self, inner: TaskStatus[None]) -> None:
        self._inner = inner
        self.is_set = False

    def started(self, value: None = None) -> None:
        if not self.is_set:
            self.is_set = True
            self._inner.started()


def _unopened(target: Target, error: Exception) -> Problem:
    """Say why a client could not be opened."""
    match error:
        case ImportError(name=None, __context__=ImportError(name="socksio" as name)):  # the outer one names nothing
            remedy = f"pip install {name}, or name another proxy in ALL_PROXY, HTTPS_PROXY and HTTP_PROXY"
            return Problem(target.name, f"the package {name!r}, which a SOCKS proxy needs", remedy)
        case ImportError(name=name):
            return Problem(target.name, f"the package {name!r}", f"pip install {name}")
        case FileNotFoundError() | PermissionError() | IsADirectoryError() | ssl.SSLError():
            remedy = f"{error.strerror}: {error.filename or 'check SSL_CERT_FILE and SSL_CERT_DIR'}"
            return Problem(target.name, "certificates that can be read", remedy)
        case _:
            said = f"{type(error).__name__}: {clean(str(error), target.secrets)}"
            remedy = f"check its base URL, ALL_PROXY, HTTPS_PROXY and HTTP_PROXY ({said})"
            return Problem(target.name, "an endpoint that a client can be opened for", remedy)


@asynccontextmanager
async def supervise(
    plan: Plan,
    *,
    connect: Connect = connect,
    rand: Callable[[], float] = random.random,
    intensity: Intensity = Intensity(),  # noqa: B008 - frozen
    drain_for: float = DRAIN_FOR,
) -> AsyncIterator[Supervisor]:
    """Run a supervisor for the body of an `async with`.

    An exception of the body leaves as it came, never in a group. Calls in flight then end at once; otherwise they
    have `drain_for` seconds. When the block is left, every client is closed and no task is left.

    Raises:
        ConfigurationError: Clients that could not be opened, all of them.
    """
    async with background_tasks() as tasks:
        supervisor = Supervisor(plan, connect, rand, intensity)
        await supervisor.open(tasks)
        yield supervisor
        await supervisor.stop(drain_for)
