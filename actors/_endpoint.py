"""The endpoint: one client, what is known of it, and the permits in flight. It outlives the actor's incarnations.

A provider actor owns its endpoint. Deciding (`admit`, `settle`) is synchronous and therefore atomic; only the actor
opens, drains and closes. A crash of the actor touches no call in flight, and no circuit: the next incarnation finds
all as it was.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import cast, final

import anyio

from ..credentials import INFERENCE_URL, STOPPED, Keeper
from ..providers import (
    ActorStoppedError,
    Connect,
    Failure,
    KeyedProvider,
    Line,
    Loop,
    Provider,
    Target,
    Upstream,
    Verdict,
    tell,
)
from ._budget import RetryBudget
from ._events import EndpointEvent
from ._gate import CircuitPolicy, Gate
from ._gates import Gates, usual_lease
from ._health import Health, Phase, Refusal, Refused
from ._network import Network
from ._permit import Permit
from ._renewing import RenewingProvider

_log = logging.getLogger("understudy.actors")

CLOSE_WITHIN = 2.0
"""Seconds for cancelled calls to end, and again for the client to close (R-CX-3)."""


_LEFT = frozenset({Verdict.NO_VERDICT, Verdict.CUT_SHORT})
"""Nobody's fault; but whoever left after a long wait for the first content has seen that it is slow."""


@final
class _Waiter:
    __slots__ = ("answer", "event", "lease_for", "lone", "model")

    def __init__(self, model: str, lease_for: Callable[[], float], *, lone: bool) -> None:
        self.model, self.lease_for, self.lone = model, lease_for, lone
        self.event = anyio.Event()
        self.answer: Permit | Refusal | None = None

    def put(self, answer: Permit | Refusal) -> None:
        """Answer, and wake up whoever waits."""
        self.answer = answer
        self.event.set()


def _nobody_sweeps() -> None:
    """Leave what is abandoned to whoever comes next."""


def _nobody_listens(event: EndpointEvent) -> None:
    """Take an event and do nothing."""


@final
class Endpoint:
    """One endpoint: transport, base URL and credential.

    Args:
        connect: Makes the provider; called in the actor's task when it opens.
        name: Its name in errors, logs, events and `health()`, where another one differs in its credential alone.
        policy: How its circuits behave.
        network: What is known of the way out, shared by all endpoints of a supervisor.
        rand: Draws uniformly from [0, 1): the spread of open times.
        tell: Takes each event, after what it tells has happened. It must not raise.
        keeper: The login that stands in for the target's key.
    """

    def __init__(
        self,
        target: Target,
        connect: Connect,
        *,
        name: str | None = None,
        policy: CircuitPolicy = CircuitPolicy(),  # noqa: B008 - frozen
        network: Network | None = None,
        rand: Callable[[], float] = random.random,
        tell: Callable[[EndpointEvent], None] = _nobody_listens,
        keeper: Keeper | None = None,
    ) -> None:
        self.target, self.name, self._connect = target, name or target.name, connect
        self._tell, self.keeper = tell, keeper
        self._provider: Provider | None = None
        self._phase, self._capacity = Phase.SERVING, target.max_concurrency
        self._ticket = self._succeeded = self._failed = self._neutral = 0
        self._permits: dict[Permit, None] = {}  # a set would end them in another order each time
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()  # thousands may leave at once
        self._idle, self._stopping = anyio.Event(), anyio.Event()
        self._refused: set[str] = set()
        self._happened: list[EndpointEvent] = []
        self._gates = Gates(
            self.name,
            target.name,
            policy=policy,
            network=network or Network(),
            rand=rand,
            tell=self._happened.append,
        )
        self._budget = RetryBudget()
        self._abandoned: list[Upstream] = []
        self._sweep: Callable[[], None] = _nobody_sweeps
        self._now: Callable[[], float] = anyio.current_time

    @property
    def health(self) -> Health:
        """A frozen snapshot of what is known."""
        now = self._now()
        return Health(
            capacity=self._capacity,
            phase=self._phase,
            ticket=self._ticket,
            in_flight=len(self._permits),
            waiting=len(self._waiters),
            succeeded=self._succeeded,
            failed=self._failed,
            neutral=self._neutral,
            last_success_at=self._gates.endpoint.last_success_at,
            endpoint=self._gates.endpoint.health(now),
            credential=self._gates.credential.health(now),
            models=MappingProxyType({name: gate.health(now) for name, gate in self._gates.models.items()}),
            login=None if self.keeper is None else self.keeper.health,
        )

    @property
    def provider(self) -> Provider:
        """The open provider.

        Raises:
            ActorStoppedError: It is not open, or not any more.
        """
        if self._provider is None:
            raise ActorStoppedError(self.name)
        return self._provider

    def gate(self, model: str | None = None, *, credential: bool = False) -> Gate:
        """Return the gate of a model, of the whole endpoint, or of its credential."""
        if credential:
            return self._gates.credential
        return self._gates.endpoint if model is None else self._gates.of(model)

    def admit(
        self, model: str, *, lone: bool = False, lease_for: Callable[[], float] = usual_lease, early: bool = False
    ) -> Permit | Refusal:
        """Grant the right to one attempt, or say why not. Whoever waits for a place goes first.

        Args:
            lone: There is no other route to go to: circuits are not enforced.
            lease_for: Says for how many seconds a probe keeps its place at most; asked only if the attempt is one. 16 s
                at most if lone.
            early: Every other route is barred: let one through before a circuit's time, one a second.
        """
        if self._waiters and self._phase is Phase.SERVING:
            return self.refusal(model, lone=lone) or Refusal(Refused.FULL)
        granted = self._grant(self._gates.of(model), lone=lone, lease_for=lease_for, early=early)
        if self._happened:
            self._tell_all()
        return granted

    async def wait_admit(
        self, model: str, wait_for: float, *, lone: bool = False, lease_for: Callable[[], float] = usual_lease
    ) -> Permit | Refusal:
        """Wait at most `wait_for` seconds for a place, first come, first served.

        After cancellation nothing is taken: a place granted at that very moment is given back.
        """
        waiter = _Waiter(model, lease_for, lone=lone)
        self._waiters[waiter] = None
        granted = False
        try:
            with anyio.move_on_after(wait_for):
                await waiter.event.wait()
            granted = True
        finally:
            self._waiters.pop(waiter, None)
            if not granted and isinstance(waiter.answer, Permit):
                waiter.answer.settle(Verdict.NO_VERDICT)
        return waiter.answer or Refusal(Refused.FULL)

    async def wait_stopped(self, wait_for: float) -> bool:
        """Wait so many seconds, or until the endpoint stops; say whether it does."""
        with anyio.move_on_after(wait_for):
            await self._stopping.wait()
        return self._stopping.is_set()

    def asked(self, permit: Permit) -> None:
        """Count a request, of which retries may be a share; its retries are none."""
        self._budget.asked(permit.admitted_at)

    def may_retry(self) -> bool:
        """Say whether one more retry of this endpoint is within its budget, and count it if so."""
        return self._budget.take(self._now())

    def usual_for(self, model: str) -> float:
        """Return the seconds that a slow answer of a model takes when it is well; 0.0 while not known."""
        return self._gates.of(model).usual_for

    def usual_first_for(self, model: str) -> float:
        """Return the seconds that a slow stream of a model takes to its first content when it is well."""
        return self._gates.of(model).usual_first_for

    def refusal(self, model: str, *, lone: bool = False) -> Refusal | None:
        """Return why an attempt could not go ahead now, apart from a full bulkhead; take nothing."""
        now = self._now()
        refusal = self._gates.refusal(self._gates.of(model), now, lone=lone)
        return refusal or (None if self.keeper is None else _barred(self.keeper, now))

    def is_clear(self, model: str) -> bool:
        """Say whether nothing at all stands against a model: no circuit, no hold, no failure in a row."""
        return self._gates.are_clear(self._gates.of(model))

    def began(self, permit: Permit, after: float) -> None:
        """Take note that the first content of a stream came after so many seconds; called by the permit.

        A probe passes by it, once: whoever waits for what it finds out need not wait for the end of the answer.
        """
        now = self._now()
        if permit.is_probe and not permit.passed:
            permit.passed = True
            self._gates.answered(permit.gate, permit.ticket, now)
        permit.gate.began(after)
        self._gates.waited(permit.gate, permit.ticket, now, after)
        self._after_change()

    def settled(self, permit: Permit, verdict: Verdict, failure: Failure | None) -> None:
        """Take a permit back; called by the permit."""
        self._permits.pop(permit, None)
        now = self._now()
        if permit.waits_since is not None and permit.began_at is None and verdict in _LEFT:
            self._gates.waited(permit.gate, permit.ticket, now, now - permit.waits_since, in_vain=True)
        if verdict is Verdict.OK:
            self._succeeded += 1
            if not permit.passed:
                self._gates.answered(permit.gate, permit.ticket, now)
            if permit.began_at is None:
                permit.gate.took(now - permit.admitted_at)
        elif self._gates.failed(permit.gate, permit.ticket, now, verdict, failure):
            self._failed += 1
        else:
            self._neutral += 1
        self._after_change()
        if not self._permits:
            self._idle.set()

    def force(
        self, model: str | None = None, *, is_open: bool, reason: str, lasts_for: float, credential: bool = False
    ) -> None:
        """Open or close by hand the gate of a model, the credential or the endpoint, for `lasts_for` seconds."""
        now = self._now()
        gate = self.gate(model, credential=credential)
        gate.force(is_open=is_open, until=now + lasts_for, now=now, reason=reason)
        self._after_change()

    def reset(self, model: str | None = None) -> None:
        """Forget what is held against a model; without a name, against the endpoint, its credential and all models."""
        self._gates.reset(model, self._ticket + 1, self._now())
        self._after_change()

    def refuses(self, model: str) -> bool:
        """Take note that a model, its key or its address is refused; say whether that is news since the last answer."""
        if model in self._refused:
            return False
        self._refused.add(model)
        return True

    def answers(self, model: str) -> None:
        """Take note that a model answers."""
        self._refused.discard(model)

    def abandon(self, upstream: Upstream) -> None:
        """Take over a stream that nobody has any more, and nobody could wait for."""
        self._abandoned.append(upstream)
        self._sweep()

    def swept_by(self, sweep: Callable[[], None]) -> None:
        """Let `sweep` be called whenever something is abandoned; it must not wait. Somebody then closes it."""
        self._sweep = sweep
        if self._abandoned:
            sweep()

    async def close_abandoned(self) -> None:
        """Close the streams that were abandoned, each within 2 s, also when cancelled."""
        while self._abandoned:
            with anyio.move_on_after(CLOSE_WITHIN, shield=True):
                await self._abandoned.pop().aclose()

    def open(self) -> None:
        """Open the client, unless an earlier incarnation has left it open, and serve.

        Raises:
            ActorStoppedError: The endpoint is being stopped, or was.
            Exception: Whatever the client's constructor raises: a missing package, an unreadable file.
        """
        if self._phase in {Phase.DRAINING, Phase.STOPPED}:
            raise ActorStoppedError(self.name)
        if self._provider is None:
            self._provider = self._connected()
        self._phase, self._now = Phase.SERVING, Loop().now

    def _connected(self) -> Provider:
        provider, target = self._connect(self.target), self.target
        if self.keeper is None:
            return provider
        follows = target.base_url == INFERENCE_URL
        return RenewingProvider(cast(KeyedProvider, provider), self.keeper, target.transport, follows=follows)

    def token_changed(self) -> None:
        """Take note that there is another token: a hold for the one before says nothing about it."""
        self._gates.credential.release(self._ticket + 1, self._now())
        self._after_change()

    def give_up(self) -> None:
        """Route around this endpoint until it is opened again: its actor crashes too often."""
        self._enter(Phase.DEAD)

    async def drain(self, drain_for: float) -> None:
        """Refuse new work, wait at most `drain_for` seconds for what is in flight, then end the rest.

        The calls that are ended raise `ActorStoppedError`. After cancellation new work is refused, and what was in
        flight goes on.
        """
        self._enter(Phase.DRAINING)
        with anyio.move_on_after(drain_for):
            await self._wait_idle()
        self.stop_calls()
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await self._wait_idle()

    def stop_calls(self) -> None:
        """Refuse new work, and end what is in flight with `ActorStoppedError`."""
        if self._phase is not Phase.STOPPED:
            self._enter(Phase.DRAINING)
        for permit in list(self._permits):
            permit.stop()

    async def close(self) -> None:
        """Close the client, within 2 s, also when cancelled. Closing twice does nothing.

        A client that fails to close is told in the log: neither its siblings nor what the user raised may suffer.
        """
        self._enter(Phase.STOPPED)
        await self.close_abandoned()
        provider, self._provider = self._provider, None
        if provider is None:
            return
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            try:
                await provider.aclose()
            except Exception as error:  # noqa: BLE001
                line = Line("close_failed", endpoint=self.name, error=type(error).__name__)
                tell(_log.warning, line)

    async def end(self) -> None:
        """End whatever is in flight and close, also when cancelled: the last thing that happens to an endpoint."""
        with anyio.CancelScope(shield=True):
            if self._phase is not Phase.STOPPED:
                await self.drain(0)
            await self.close()

    def _grant(
        self, gate: Gate, *, lone: bool, lease_for: Callable[[], float], early: bool = False
    ) -> Permit | Refusal:
        """Check all, then take all: a place in the bulkhead, and of each gate whose probe this is."""
        if self._phase is not Phase.SERVING:
            return Refusal(Refused.DEAD if self._phase is Phase.DEAD else Refused.STOPPED)
        now = self._now()
        is_clear = self._gates.are_clear(gate)
        if not is_clear and (refusal := self._gates.refusal(gate, now, lone=lone, early=early)) is not None:
            return refusal
        if self.keeper is not None and (refusal := _barred(self.keeper, now)) is not None:
            return refusal
        if len(self._permits) >= self._capacity:
            return Refusal(Refused.FULL)
        self._ticket += 1
        is_probe = not is_clear and self._gates.take(gate, self._ticket, now, lease_for, lone=lone, early=early)
        permit = Permit(self, gate, self._ticket, now, is_probe=is_probe)
        self._permits[permit] = None
        return permit

    def _serve_waiters(self) -> None:
        """Answer those who wait, in order, until one has to wait on."""
        while self._waiters:
            waiter = next(iter(self._waiters))
            answer = self._grant(self._gates.of(waiter.model), lone=waiter.lone, lease_for=waiter.lease_for)
            if isinstance(answer, Refusal) and answer.why is Refused.FULL:
                return
            del self._waiters[waiter]
            waiter.put(answer)

    def _refuse_barred(self) -> None:
        """Answer those who wait for a place at what is barred by now, wherever they stand."""
        for waiter in list(self._waiters):
            if (refusal := self.refusal(waiter.model, lone=waiter.lone)) is not None:
                del self._waiters[waiter]
                waiter.put(refusal)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if phase in {Phase.DRAINING, Phase.STOPPED}:
            self._stopping.set()
        self._serve_waiters()

    def _after_change(self) -> None:
        if self._waiters:
            self._serve_waiters()
            if self._happened:  # a circuit or a hold has changed
                self._refuse_barred()
        if self._happened:
            self._tell_all()

    def _tell_all(self) -> None:
        happened, self._happened[:] = list(self._happened), []
        for event in happened:
            self._tell(event)

    async def _wait_idle(self) -> None:
        while self._permits:
            if self._idle.is_set():  # one event for all who wait: several may drain at once
                self._idle = anyio.Event()
            await self._idle.wait()


def _barred(keeper: Keeper, now: float) -> Refusal | None:
    """Return why the login serves nobody at the instant `now`; None if it does, or if its renewal can be waited for."""
    barred = keeper.bar(now)
    if barred is None:
        return None
    wait = None if barred.until is None else max(barred.until - now, 0.0)
    is_lasting = wait is None or barred.why in STOPPED  # waiting brings the same token, which is refused again
    return Refusal(Refused.CREDENTIAL if is_lasting else Refused.HOLD, wait, keeper.reason(barred))
