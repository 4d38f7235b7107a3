"""Playing a schedule: the real supervisor with its actors over a scripted world, with a witness beside it.

The world is one of scripted providers, or of the real ones over a scripted network: the witness sees no difference.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast
from unittest import mock

import anyio
from anyio.abc import TaskGroup

from understudy import ActorStoppedError, Response, Supervisor, UnderstudyError, Verdict
from understudy.actors import CircuitState, Endpoint, Message, Permit
from understudy.providers import AttemptError, MailboxFullError, Provider, Request, Target
from understudy.simulation import Script, World, scripts
from understudy.supervisor import load, sound, supervise

from ._backends import Backend, living, run_seeded
from ._schedule import Act, Caller, Route, Schedule
from ._wire import WireWorld, pools_in_virtual_time
from ._witness import Asked, Violation, Witness

MakeWorld: TypeAlias = Callable[[dict[str, Script]], World | WireWorld]
"""What is beneath the supervisor: `World`, scripted providers; or `WireWorld`, real ones over a scripted network."""

SETTLED_AFTER = 10.0
"""Seconds beyond the longest open time within which all is as it was before (invariant 21)."""

CLOSED_WITHIN = 4.0
"""Seconds beyond `drain_for` within which a supervisor is closed: its calls end within 2 s, its clients in 2 s more."""


class Bug(Exception):
    """What nobody foresaw."""


class OwnError(Exception):
    """An exception of the program that uses the supervisor."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a schedule: the violations, what was seen how often, and the hash of all that happened."""

    violations: tuple[Violation, ...]
    seen: dict[str, int]
    trace: str
    requests: int


class _Watched:
    """A provider of the world, watched at its door."""

    def __init__(self, inner: Provider, target: Target, witness: Witness, numbers: _Numbers) -> None:
        self._inner, self._target, self._witness, self._numbers = inner, target, witness, numbers
        schedule = witness.schedule
        self._stubborn = schedule.stubborn.get(target.transport, 0.0)
        self._bugs = frozenset() if target.transport in schedule.well else schedule.bugs

    async def complete(self, request: Request) -> Response:
        witness, name = self._witness, self._target.name
        text = request.messages[-1].text
        called = witness.entered(name, Route(self._target.transport, request.model), text)
        verdict: Verdict | None = None
        try:
            number = self._numbers.next()
            if number in self._bugs and anyio.current_time() < self._witness.schedule.lasts_for:
                await anyio.sleep(0.01)
                verdict = Verdict.INTERNAL if number % 3 else Verdict.LOCAL_CONFIG
                raise Bug if number % 3 else OSError(28, "no space left on device")
            response = await self._inner.complete(request)
            verdict = Verdict.OK
            return response
        except AttemptError as error:
            verdict = error.verdict
            raise
        finally:
            if verdict is None and self._stubborn:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(self._stubborn)
            witness.left(name, called, verdict)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Numbers:
    def __init__(self) -> None:
        self._last = -1

    def next(self) -> int:
        self._last += 1
        return self._last


class _Play:
    """One run of a schedule."""

    def __init__(self, schedule: Schedule, backend: Backend, make_world: MakeWorld) -> None:
        self.schedule, self.backend, self._make_world = schedule, backend, make_world
        self.witness = Witness(schedule)
        self._hook_rand = random.Random(schedule.seed)
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._left_to_run = len(schedule.callers) + len(schedule.acts)
        self._all_done = anyio.Event()
        self._endpoints: list[Endpoint] = []

    async def run(self) -> Run:
        witness = self.witness
        with witness.watching(), pools_in_virtual_time():
            before = living(self.backend)
            async with anyio.create_task_group() as callers:
                with suppress(OwnError):
                    await self._supervised(callers)
                self._check_closed()
            witness.quiet(self._endpoints)
            witness.over(self._endpoints)
            await anyio.wait_all_tasks_blocked()
            if living(self.backend) != before:
                witness.says(24, f"tasks and timers {living(self.backend)}, {before} at the beginning")
        return Run(tuple(witness.violations), dict(witness.seen), witness.trace, len(witness.asked))

    async def _supervised(self, callers: TaskGroup) -> None:
        schedule, witness = self.schedule, self.witness
        world = self._make_world(scripts(schedule.vendors, schedule.faults))
        numbers = _Numbers()

        def connect(target: Target) -> Provider:
            return _Watched(world.connect(target), target, witness, numbers)

        self._world = world
        async with supervise(
            sound(load(schedule.settings)),
            connect=connect,
            rand=random.Random(schedule.seed).random,
            drain_for=schedule.drain_for,
            hooks=(witness.hook, self._failing_hook),
        ) as supervisor:
            self._endpoints = list(supervisor._endpoints.values())
            for endpoint in self._endpoints:
                witness.knows(endpoint)
            for caller in schedule.callers:
                callers.start_soon(self._calls, supervisor, caller)
            for act in schedule.acts:
                callers.start_soon(self._acts, supervisor, act)
            if schedule.closes_at is None:
                if self._left_to_run:  # a schedule made smaller may be empty
                    await self._all_done.wait()
                await self._recovers(supervisor)
            else:
                await anyio.sleep(schedule.closes_at)
                witness.seen["closed with calls in flight"] += sum(witness.in_flight.values()) > 0
            self._closing_at = anyio.current_time()
            if schedule.fails_at_close:
                raise OwnError

    def _check_closed(self) -> None:
        took = anyio.current_time() - self._closing_at
        most = (0.0 if self.schedule.fails_at_close else self.schedule.drain_for) + CLOSED_WITHIN
        if took > most:
            self.witness.says(23, f"closing took {took:g} s of {most:g}")
        if any(provider.open or provider.in_flight for provider in self._world.providers):
            self.witness.says(23, "a client is left open")

    def _failing_hook(self, event: object) -> None:
        if self._hook_rand.random() < self.schedule.hook_fails:
            raise Bug

    def _done(self) -> None:
        self._left_to_run -= 1
        if not self._left_to_run:
            self._all_done.set()

    async def _calls(self, supervisor: Supervisor, caller: Caller) -> None:
        try:
            await anyio.sleep(caller.at)
            for _ in range(caller.times):
                asked = await self._asks(supervisor, caller.agent, caller.timeout, caller.leaves_after)
                if asked.outcome == "ActorStoppedError":
                    break
                await anyio.sleep(caller.pause)
        finally:
            self._done()

    async def _asks(
        self, supervisor: Supervisor, agent: int, timeout: float, leaves_after: float | None = None
    ) -> Asked:
        asked = self.witness.asks(agent, timeout)
        outcome: Response | BaseException | None = None
        scope = self._scopes[asked.number] = anyio.CancelScope()
        if leaves_after is not None:
            scope.deadline = anyio.current_time() + leaves_after
        with scope:
            try:
                outcome = await supervisor.agent(f"a{agent}").complete(str(asked.number), timeout=timeout)
            except (UnderstudyError, OSError) as error:
                outcome = error
        del self._scopes[asked.number]
        self.witness.ended(asked, outcome)
        return asked

    async def _acts(self, supervisor: Supervisor, act: Act) -> None:
        try:
            await anyio.sleep(act.at)
            name = act.endpoint  # each transport has one endpoint
            if act.kind == "leave":
                for scope in list(self._scopes.values()):
                    scope.cancel()
            elif not self._leads_to(act):
                pass  # no chain does
            elif act.kind == "crash":
                (target,) = (e.target for e in self._endpoints if e.target.transport == name)
                with suppress(ActorStoppedError, MailboxFullError):
                    await supervisor._actors[target].ask(cast(Message, "no such message"))
            elif act.kind == "reset":
                supervisor.reset(name, act.model)
            else:
                force = partial(getattr(supervisor, act.kind), name, act.model)
                force(reason="by hand", lasts_for=act.lasts_for)
        finally:
            self._done()

    def _leads_to(self, act: Act) -> bool:
        routes = [route for chain in self.schedule.chains for route in chain]
        return any(route.endpoint == act.endpoint and act.model in {None, route.model} for route in routes)

    async def _recovers(self, supervisor: Supervisor) -> None:
        """Faults are over: check that nothing is left of them, and that everybody is soon answered as before."""
        witness, knobs = self.witness, self.schedule.knobs
        await anyio.wait_all_tasks_blocked()
        witness.quiet(self._endpoints)
        wait = (
            max(self.schedule.lasts_for - anyio.current_time(), 0.0) + 1.2 * knobs["circuit_open_max"] + SETTLED_AFTER
        )
        await anyio.sleep(max(wait, 400.0 if any(act.kind == "crash" for act in self.schedule.acts) else wait))
        longest = max((self._held_until(endpoint) for endpoint in self._endpoints), default=0.0)
        if longest > anyio.current_time() + 3700:
            witness.says(20, f"somebody is held until {longest}")
        await anyio.sleep(max(longest - anyio.current_time(), 0.0) + 0.001)  # the sum of instants is not exact
        tasks, timers = living(self.backend)
        left = witness.schedule.callers and self.backend == "trio" and timers
        if left:
            witness.says(24, f"{tasks} tasks and {timers} timers, and nobody asks")
        was_down = witness.seen["all routes closed"] > 0
        for agent in range(len(self.schedule.chains)):
            for number in range(knobs["circuit_passes"] + 2):
                asked = await self._asks(supervisor, agent, 60.0)
                at_primary = [called.route for called in asked.calls] == [self.schedule.chains[agent][0]]
                if asked.outcome != "answered" or not at_primary:
                    witness.says(21, f"request {number} after all faults: {asked.outcome} {asked.calls}")
        witness.seen["all routes down, then back"] += was_down
        self._check_all_closed()

    def _held_until(self, endpoint: Endpoint) -> float:
        gates = (endpoint.gate(), endpoint.gate(credential=True), *endpoint._gates.models.values())
        return max(getattr(state, "until", 0.0) for gate in gates for state in (gate.circuit, gate.hold))

    def _check_all_closed(self) -> None:
        """Every key takes an attempt, and is closed after as many good ones as it asks for (invariant 20)."""
        for endpoint in self._endpoints:
            for model in list(endpoint._gates.models):
                for _ in range(self.schedule.knobs["circuit_passes"]):
                    permit = endpoint.admit(model)
                    if not isinstance(permit, Permit):
                        self.witness.says(20, f"{model} of {endpoint.name} is refused for ever: {permit}")
                        break
                    permit.settle(Verdict.OK)
                health = endpoint.health
                for gate in (health.endpoint, health.credential, health.models[model]):
                    if (gate.circuit, gate.hold) != (CircuitState.CLOSED, CircuitState.CLOSED) and not gate.is_clear:
                        self.witness.says(20, f"{model} of {endpoint.name} is not closed again: {gate}")


def play(schedule: Schedule, backend: Backend, make_world: MakeWorld = World) -> Run:
    """Run a schedule and report. An exception that should not have come out is a violation, too."""

    async def run() -> Run:
        return await _Play(schedule, backend, make_world).run()

    try:
        with mock.patch.dict(os.environ, clear=True):  # proxies, certificates: a seed alone decides
            return run_seeded(run, backend, schedule.seed)
    except Exception as error:  # noqa: BLE001 - whatever comes out is what we look for
        return Run((Violation(0, f"{type(error).__name__}: {error!r}"),), {}, "", 0)
