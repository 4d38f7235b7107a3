"""The supervisor: starts one provider actor per endpoint, starts it again when it crashes, and stops them all.

It keeps the endpoints, so that an actor's crash loses neither health nor calls in flight. It never cancels its
user's tasks, and an exception of the user's own leaves it as it came.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn, final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from ..actors import Drain, Endpoint, Health, Network, ProviderActor, Stop
from ..credentials import Host, Keeper
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
from ..providers import number as is_number
from ._agent import Agent
from ._course import Chain
from ._discovery import prefix_of
from ._events import ActorRestarted
from ._hooks import SLOW_AFTER, Hook, Hooks
from ._live import Served
from ._metric_values import Metrics
from ._metrics import Meter
from ._plan import Plan
from ._restarts import Intensity, Restarts, after_crash
from ._serving import Serving
from ._tasks import background_tasks
from ._tracing import UNTRACED, Tracer, Tracing
from ._watch import Watch

DRAIN_FOR = 30.0
"""Seconds that calls in flight have to end when a supervisor is closed in good order."""

BY_HAND_FOR = 3600.0
"""Seconds that what was set by hand holds, so that nothing stays forced by accident (R-CB-9)."""

_log = logging.getLogger("understudy.supervisor")


@final
@dataclass(frozen=True, slots=True)
class Wiring:
    """What a supervisor is given from outside; `rand` draws uniformly from [0, 1)."""

    connect: Connect
    rand: Callable[[], float]
    intensity: Intensity
    tell: Hooks
    host: Host
    tracing: Tracing = UNTRACED


@final
class Supervisor:
    """Routes the requests of all agents over all endpoints. Made by `open_supervisor`; belongs to one event loop."""

    def __init__(self, plan: Plan, wiring: Wiring, meter: Meter) -> None:
        self._plan, self._wiring, self._tell, self._meter = plan, wiring, wiring.tell, meter
        network = Network()
        keeper = None if plan.login is None else Keeper(plan.login, wiring.host, wiring.tell)
        self._endpoints = {
            target: Endpoint(
                target,
                wiring.connect,
                name=name,
                policy=plan.circuits,
                network=network,
                rand=wiring.rand,
                tell=wiring.tell,
                keeper=keeper if target.credential else None,
            )
            for name, target in plan.endpoints.items()
        }
        self._actors: dict[Target, ProviderActor] = {}
        self._watch = Watch()
        self._try_again = {target: anyio.Event() for target in plan.targets}
        self._home = anyio.lowlevel.current_token()
        self._agents = {name: self._agent(name) for name in plan.agents}

    @property
    def plan(self) -> Plan:
        """What the settings came to: every agent's routes, frozen."""
        return self._plan

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

        Raises:
            RuntimeError: Called from another event loop or thread, whose clock is another one.
        """
        self._check_here()
        return {name: endpoint.health for name, endpoint in self._named().items()}

    def metrics(self) -> Metrics:
        """Return all metrics as numbers, a frozen snapshot; `understudy.telemetry.prometheus_text` renders it.

        Raises:
            RuntimeError: As `health`.
        """
        tell, tracing = self._wiring.tell, self._wiring.tracing
        failures, dropped = tell.failures + tracing.failures, tell.dropped + tracing.dropped
        return self._meter.snapshot(self.health(), failures=failures, dropped=dropped)

    def force_open(
        self, endpoint: str, model: str | None = None, *, reason: str, lasts_for: float = BY_HAND_FOR
    ) -> None:
        """Let nobody ask an endpoint, or one model there, for `lasts_for` seconds, whatever its circuit says.

        Args:
            endpoint: Its name as in `health()`, or its transport where only one endpoint has that.
            reason: Stands in the trail of every request that passes it over.

        Raises:
            ValueError: There is no such endpoint, or more than one, or no such model there; names those there are. Or
                `lasts_for` is no time.
        """
        self._force(endpoint, model, is_open=True, reason=reason, lasts_for=lasts_for)

    def force_closed(
        self, endpoint: str, model: str | None = None, *, reason: str, lasts_for: float = BY_HAND_FOR
    ) -> None:
        """Let everybody ask an endpoint, or one model there, for `lasts_for` seconds, whatever its circuit says.

        Raises:
            ValueError: As `force_open`.
        """
        self._force(endpoint, model, is_open=False, reason=reason, lasts_for=lasts_for)

    def reset(self, endpoint: str, model: str | None = None) -> None:
        """Forget what is held against an endpoint, or one model there: circuits, holds, and what was set by hand.

        An endpoint that was given up because its actor crashed too often is tried again at once, and so is a login.

        Raises:
            ValueError: There is no such endpoint, or more than one, or no such model there; names those there are.
        """
        found = self._endpoint(endpoint, model)
        found.reset(model)
        if found.keeper is not None and model is None:
            found.keeper.reload()
        self._try_again[found.target].set()

    def _force(self, endpoint: str, model: str | None, *, is_open: bool, reason: str, lasts_for: float) -> None:
        if not is_number(lasts_for) or lasts_for <= 0:
            raise ValueError("lasts_for must be a number of seconds above 0")
        self._endpoint(endpoint, model).force(model, is_open=is_open, reason=reason, lasts_for=lasts_for)

    def _endpoint(self, name: str, model: str | None) -> Endpoint:
        """Return the endpoint that is meant, which has to have that model where one is named."""
        self._check_here()
        found = self._found(name)
        routes = [route for agent in self._plan.agents.values() for route in agent.routes]
        models = dict.fromkeys(route.model for route in routes if route.target == found.target)
        if model is not None and model not in models:
            raise ValueError(f"{found.name} has the models {', '.join(models)}, not {model!r}")
        return found

    def _found(self, name: str) -> Endpoint:
        named = self._named()
        fitting = [endpoint for endpoint in named.values() if endpoint.target.transport == name]
        if name in named:
            return named[name]
        if len(fitting) != 1:
            raise ValueError(f"one of the endpoints {', '.join(named)} is meant, not {name!r}")
        return fitting[0]

    def _named(self) -> dict[str, Endpoint]:
        return {endpoint.name: endpoint for endpoint in self._endpoints.values()}

    def _agent(self, name: str) -> Agent:
        routes = tuple(
            Served(route, self._endpoints[route.target], place, self._watch)
            for place, route in enumerate(self._plan.agents[name].routes)
        )
        serving = Serving(name, tuple(f"{served.route.transport}/{served.route.model}" for served in routes))
        chain = Chain(name, routes, self._wiring.rand, self._tell, serving, self._wiring.tracing)
        return Agent(chain, self._plan.total_timeout, self._check_here)

    def _unknown(self, name: str) -> NoReturn:
        variable = prefix_of(name) + "MODEL"
        known = ", ".join(self._agents)
        remedy = f"set it, or use one of: {known}{suggestion(name, self._agents)}"
        raise ConfigurationError([Problem(variable, f"an agent named {name!r}", remedy)])

    def _check_here(self) -> None:
        home = self._home
        try:
            here = home.backend_class.current_token()
        except RuntimeError:
            here = None  # there is none, or one of another kind
        if here is not home.native_token:
            raise RuntimeError(
                "this supervisor belongs to another event loop or thread: open one supervisor per loop, "
                "or call into its loop with anyio.from_thread.run, or run_sync for what is not async"
            )

    async def open(self, tasks: TaskGroup) -> None:
        """Start every actor in `tasks`, and the watch, and wait until every client is open.

        Raises:
            ConfigurationError: Clients that could not be opened, all of them.
        """
        problems: list[Problem] = []
        tasks.start_soon(self._watch.run)
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
                restarts, pause = after_crash(restarts, now, self._wiring.intensity, self._wiring.rand)
                if pause.dead:
                    endpoint.give_up()
                    self._try_again[endpoint.target] = anyio.Event()
                self._tell(ActorRestarted(endpoint.name, error, pause.wait, pause.dead))
                with anyio.move_on_after(pause.wait):
                    await (self._try_again[endpoint.target].wait() if pause.dead else anyio.sleep_forever())


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
    hooks: Iterable[Hook] = (),
    slow_after: float = SLOW_AFTER,
    host: Host | None = None,
    tracers: Iterable[Tracer] = (),
) -> AsyncIterator[Supervisor]:
    """Run a supervisor for the body of an `async with`; `hooks` are told what happens, and warned of if one takes more
    than `slow_after` real seconds. `host` is the machine as a login that is kept in files sees it. `tracers` are shown
    what is asked and answered.

    An exception of the body leaves as it came, never in a group. Calls in flight then end at once; otherwise they
    have `drain_for` seconds. When the block is left, every client is closed and no task is left.

    Raises:
        ConfigurationError: Clients that could not be opened, all of them.
    """
    async with background_tasks() as tasks:
        meter = Meter(plan.agents)
        tell = Hooks((*hooks, meter), slow_after=slow_after)
        wiring = Wiring(connect, rand, intensity, tell, host or Host(rand=rand), Tracing(tracers))
        supervisor = Supervisor(plan, wiring, meter)
        await supervisor.open(tasks)
        yield supervisor
        await supervisor.stop(drain_for)
