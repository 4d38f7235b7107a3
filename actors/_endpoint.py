"""The endpoint: one client, one health, and the permits in flight. It outlives the actor's incarnations.

A provider actor owns its endpoint. Deciding (`admit`, `settle`) is synchronous and therefore atomic; only the actor
opens, drains and closes. A crash of the actor touches no call in flight: the next incarnation finds all as it was.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import final

import anyio

from ..providers import ActorStoppedError, Connect, Provider, Target, Verdict
from ._health import Health, Phase, Refused, admit, settle

_log = logging.getLogger("understudy.actors")

CLOSE_WITHIN = 2.0
"""Seconds for cancelled calls to end, and again for the client to close (R-CX-3)."""


@final
class Permit:
    """The right to one attempt. It is settled exactly once, whatever happens.

    Whatever its holder waits for stands in a cancel scope that the permit `covers`: stopping the endpoint cancels it,
    and `stopped` then says that it was us, not the caller.
    """

    __slots__ = ("_endpoint", "_scope", "_settled", "stopped", "ticket")

    def __init__(self, endpoint: Endpoint, ticket: int) -> None:
        self._endpoint, self.ticket = endpoint, ticket
        self._scope: anyio.CancelScope | None = None
        self.stopped = False
        self._settled = False

    def settle(self, verdict: Verdict) -> None:
        """Give the place back and say how the attempt ended.

        Raises:
            RuntimeError: It was settled before: a bug of ours.
        """
        if self._settled:
            raise RuntimeError("a permit was settled twice")
        self._settled = True
        self._endpoint.settled(self, verdict)

    def covers(self, scope: anyio.CancelScope) -> anyio.CancelScope:
        """Return `scope`, which `stop` will cancel, or which is cancelled at once if that has happened."""
        self._scope = scope
        if self.stopped:
            scope.cancel()
        return scope

    def stop(self) -> None:
        """End the attempt, because its endpoint stops."""
        self.stopped = True
        if self._scope is not None:
            self._scope.cancel()


@final
class _Waiter:
    __slots__ = ("event", "permit")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.permit: Permit | None = None


@final
class Endpoint:
    """One endpoint: transport, base URL and credential.

    Args:
        connect: Makes the provider; called in the actor's task when it opens.
    """

    def __init__(self, target: Target, connect: Connect) -> None:
        self.target, self._connect = target, connect
        self._provider: Provider | None = None
        self._health = Health(capacity=target.max_concurrency)
        self._permits: set[Permit] = set()
        self._waiters: deque[_Waiter] = deque()
        self._idle = anyio.Event()
        self._refused: set[str] = set()

    @property
    def name(self) -> str:
        """The name for errors and logs."""
        return self.target.name

    @property
    def health(self) -> Health:
        """A frozen snapshot of what is known."""
        return self._health

    @property
    def provider(self) -> Provider:
        """The open provider.

        Raises:
            ActorStoppedError: It is not open, or not any more.
        """
        if self._provider is None:
            raise ActorStoppedError(self.name)
        return self._provider

    def admit(self) -> Permit | Refused:
        """Grant the right to one attempt, or say why not. Whoever waits for a place goes first."""
        if self._waiters and self._health.phase is Phase.SERVING:
            return Refused.FULL
        return self._grant()

    async def wait_admit(self, wait_for: float) -> Permit | Refused:
        """Wait at most `wait_for` seconds for a place, first come, first served.

        After cancellation nothing is taken: a place granted at that very moment is given back.
        """
        waiter = _Waiter()
        self._waiters.append(waiter)
        granted = False
        try:
            with anyio.move_on_after(wait_for):
                await waiter.event.wait()
            granted = True
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if not granted and waiter.permit is not None:
                waiter.permit.settle(Verdict.NO_VERDICT)
        return waiter.permit if waiter.permit is not None else self._refusal()

    def settled(self, permit: Permit, verdict: Verdict) -> None:
        """Take a permit back; called by the permit."""
        self._permits.discard(permit)
        self._health = settle(self._health, verdict, anyio.current_time())
        self._serve_waiters()
        if not self._permits:
            self._idle.set()

    def refuses(self, model: str) -> bool:
        """Take note that a model, its key or its address is refused; say whether that is news since the last answer."""
        if model in self._refused:
            return False
        self._refused.add(model)
        return True

    def answers(self, model: str) -> None:
        """Take note that a model answers."""
        self._refused.discard(model)

    def open(self) -> None:
        """Open the client, unless an earlier incarnation has left it open, and serve.

        Raises:
            ActorStoppedError: The endpoint is being stopped, or was.
            Exception: Whatever the client's constructor raises: a missing package, an unreadable file.
        """
        if self._health.phase in {Phase.DRAINING, Phase.STOPPED}:
            raise ActorStoppedError(self.name)
        if self._provider is None:
            self._provider = self._connect(self.target)
        self._health = replace(self._health, phase=Phase.SERVING)

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
        for permit in list(self._permits):
            permit.stop()
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await self._wait_idle()

    async def close(self) -> None:
        """Close the client, within 2 s, also when cancelled. Closing twice does nothing.

        A client that fails to close is told in the log: neither its siblings nor what the user raised may suffer.
        """
        self._enter(Phase.STOPPED)
        provider, self._provider = self._provider, None
        if provider is None:
            return
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            try:
                await provider.aclose()
            except Exception as error:  # noqa: BLE001
                _log.warning("close_failed endpoint=%r error=%s", self.name, type(error).__name__)

    async def end(self) -> None:
        """End whatever is in flight and close, also when cancelled: the last thing that happens to an endpoint."""
        with anyio.CancelScope(shield=True):
            if self._health.phase is not Phase.STOPPED:
                await self.drain(0)
            await self.close()

    def _grant(self) -> Permit | Refused:
        self._health, refused = admit(self._health)
        if refused is not None:
            return refused
        permit = Permit(self, self._health.ticket)
        self._permits.add(permit)
        return permit

    def _refusal(self) -> Refused:
        return admit(self._health)[1] or Refused.FULL

    def _serve_waiters(self) -> None:
        while self._waiters:
            permit = self._grant()
            if not isinstance(permit, Permit):
                return
            waiter = self._waiters.popleft()
            waiter.permit = permit
            waiter.event.set()

    def _enter(self, phase: Phase) -> None:
        self._health = replace(self._health, phase=phase)
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            waiter.event.set()

    async def _wait_idle(self) -> None:
        while self._permits:
            if self._idle.is_set():  # one event for all who wait: several may drain at once
                self._idle = anyio.Event()
            await self._idle.wait()
