"""Playing a schedule: the real supervisor with its actors over a scripted world, with a witness beside it.

The world is one of scripted providers, or of the real ones over a scripted network: the witness sees no difference.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast
from unittest import mock

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from understudy import ActorStoppedError, Response, Supervisor, UnderstudyError, Verdict
from understudy.actors import CircuitState, Endpoint, Message, Permit
from understudy.providers import MailboxFullError, Provider, Target
from understudy.simulation import Script, World, scripts
from understudy.supervisor import load, sound, supervise

from ._backends import Backend, living, run_seeded
from ._notes import Asked, Violation
from ._reader import OwnError, Reader
from ._schedule import Act, Caller, Reading, Schedule
from ._watched import Bug, Numbers, Watched
from ._wire import WireWorld
from ._witness import Witness

MakeWorld: TypeAlias = Callable[[dict[str, Script]], World | WireWorld]
"""What is beneath the supervisor: `World`, scripted providers; or `WireWorld`, real ones over a scripted network."""

SETTLED_AFTER = 10.0
"""Seconds beyond the longest open time within which all is as it was before (invariant 21)."""

SOON = 10
"""Steps of a loop within which a stream that was dropped has ended."""

CLOSED_WITHIN = 4.0
"""Seconds beyond `drain_for` within which a supervisor is closed: its calls end within 2 s, its clients in 2 s more."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a schedule: the violations, what was seen how often, and the hash of all that happened."""

    violations: tuple[Violation, ...]
    seen: dict[str, int]
    trace: str
    requests: int


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
        with witness.watching():
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
        numbers = Numbers()

        def connect(target: Target) -> Provider:
            return Watched(world.connect(target), target, witness, numbers)

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
        away = sum(
            asked.is_away and not asked.outcome for asked in self.witness.asked
        )  # nobody can make them come back
        if any(provider.open for provider in self._world.providers):
            self.witness.says(23, "a client is left open")
        if (left := sum(provider.in_flight for provider in self._world.providers)) > away:
            self.witness.says(23, f"{left} calls are in flight, and {away} callers are away")

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
                asked = await self._asks(supervisor, caller)
                if asked.outcome == "ActorStoppedError":
                    break
                await anyio.sleep(caller.pause)
        finally:
            self._done()

    async def _asks(self, supervisor: Supervisor, caller: Caller) -> Asked:
        asked = self.witness.asks(caller)
        outcome: Response | BaseException | None = None
        scope = self._scopes[asked.number] = anyio.CancelScope()
        if caller.leaves_after is not None:
            scope.deadline = anyio.current_time() + caller.leaves_after
        with scope:
            try:
                outcome = await Reader(supervisor.agent(f"a{caller.agent}"), asked, self.witness, scope).answer()
            except (UnderstudyError, OSError) as error:
                outcome = error
        del self._scopes[asked.number]
        if outcome is None and asked.left_at is None:
            asked.left_at = scope.deadline if scope.deadline <= anyio.current_time() else None
        if self.witness.streams.is_dropped(asked):
            await self._is_told(asked)
        if caller.reading.manner != "run":  # its turns have had their ends
            self.witness.ended(asked, outcome)
        return asked

    async def _is_told(self, asked: Asked) -> None:
        """Let the loop do what it has been asked to do soon."""
        for _ in range(SOON):
            if asked.told:
                return
            await anyio.lowlevel.checkpoint()

    async def _acts(self, supervisor: Supervisor, act: Act) -> None:
        try:
            await anyio.sleep(act.at)
            name = act.endpoint  # each transport has one endpoint
            if act.kind == "leave":
                for number, scope in list(self._scopes.items()):
                    self.witness.asked[number].left_at = anyio.current_time()
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
        looks = supervisor._watch._wakes_at  # once more, for streams that are gone
        await anyio.sleep(max(looks - anyio.current_time(), 0.0) + 0.001 if math.isfinite(looks) else 0.0)
        tasks, timers = living(self.backend)
        left = witness.schedule.callers and self.backend == "trio" and timers
        if left:
            witness.says(24, f"{tasks} tasks and {timers} timers, and nobody asks")
        was_down = witness.seen["all routes closed"] > 0
        for agent in range(len(self.schedule.chains)):
            for number in range(knobs["circuit_passes"] + 2):
                reading = Reading("raise") if number % 2 else Reading()
                asked = await self._asks(supervisor, Caller(0.0, agent, 60.0, reading=reading))
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
