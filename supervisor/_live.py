"""An answer that is coming in: one attempt's stream, under its permit and the limits that rule it.

Limits rule while something is waited for, and never while the caller's own code runs: how long that takes between two
reads says nothing about the provider. Until the first content they are scopes; then the `Watch` of all streams looks
after them, because a scope for each chunk would cost more than what is done with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import anyio

from ..actors import Endpoint, Permit
from ..providers import (
    ActorStoppedError,
    AttemptError,
    ContentEvent,
    Failure,
    Relayed,
    Request,
    Response,
    Upstream,
    Verdict,
    attempt_error,
)
from ._plan import Route
from ._watch import Watch

CLOSE_WITHIN = 1.0
"""Seconds to close the connection of a stream that is left before its end (table C)."""

NO_CONTENT, NOTHING, ONLY_SIGNS = "no content came", "nothing more came", "nothing but signs of life came"


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A route, the endpoint that serves it, its place in the chain, 0 being the primary's, and who looks after the time
    of its streams.
    """

    route: Route
    endpoint: Endpoint
    place: int
    watch: Watch


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """How long one attempt may take: `within` seconds for a whole answer, or until the first content of a stream; then
    until the instant `deadline`. `is_callers` says that it is the caller's timeout that set `within`.
    """

    within: float
    is_callers: bool
    deadline: float


async def whole(served: Served, permit: Permit, request: Request, bounds: Bounds) -> Response:
    """Ask for a whole answer in one piece.

    Raises:
        AttemptError: The attempt failed, or took longer than it may.
        ActorStoppedError: The endpoint was stopped.
        OSError: The machine is at fault, no provider.
    """
    with permit.covers(anyio.move_on_after(bounds.within)):
        return await served.endpoint.provider.complete(request)
    raise _ended(served, permit, bounds.within, is_callers=bounds.is_callers)


async def streamed(served: Served, permit: Permit, request: Request, bounds: Bounds) -> Response:
    """Ask for a whole answer that comes as a stream, so that the limits of streams guard it; errors as `whole`."""
    live = await begun(served, permit, request, bounds)
    try:
        while True:
            while live.take() is not None:  # by which content is told from mere signs of life
                pass
            if (response := live.upstream.response) is not None:
                return response
            await live.read()
    finally:
        await live.close()


async def begun(served: Served, permit: Permit, request: Request, bounds: Bounds) -> Live:
    """Ask for a stream and wait for its first content, or its end; errors as `whole`.

    After cancellation the connection is closed.
    """
    permit.waits(anyio.current_time())
    upstream: Upstream | None = None
    try:
        with permit.covers(anyio.move_on_after(bounds.within)):
            upstream = await served.endpoint.provider.stream(request)
            while (first := upstream.take()) is None and upstream.response is None:
                await upstream.read()
            permit.began(anyio.current_time())
            live, upstream = Live(served, permit, upstream, bounds.deadline, first), None
            return live
        raise _ended(served, permit, bounds.within, is_callers=bounds.is_callers, said=NO_CONTENT)
    finally:
        if upstream is not None:
            await _close(upstream)


@final
class Live:
    """A stream whose first content has come. `started` is the instant at which its attempt began; `due` the one until
    which a read may wait now.
    """

    __slots__ = (
        "_first",
        "_has_ended",
        "_only_signs_for",
        "deadline",
        "due",
        "permit",
        "served",
        "started",
        "upstream",
    )

    def __init__(
        self, served: Served, permit: Permit, upstream: Upstream, deadline: float, first: ContentEvent | None
    ) -> None:
        self.served, self.permit, self.upstream, self.deadline, self._first = served, permit, upstream, deadline, first
        self.started = permit.admitted_at if permit.waits_since is None else permit.waits_since
        self._only_signs_for, self.due, self._has_ended = 0.0, math.inf, False
        permit.covers(self)

    def take(self) -> ContentEvent | None:
        """Return the next content that is here already."""
        if (event := self._first) is not None:
            self._first = None
            return event
        event = self.upstream.take()
        kind: object = event  # a relayed one may be no more than a sign of life
        if event is not None and (type(kind) is not Relayed or kind.is_content):
            self._only_signs_for = 0.0
        return event

    async def read(self) -> None:
        """Wait until something has come, within the limits of a stream.

        Raises:
            AttemptError: The stream failed, or was silent for longer than it may be.
            ActorStoppedError: The endpoint was stopped.
            OSError: The machine is at fault, no provider.
        """
        limits, now = self.served.route.limits, anyio.current_time()
        signs_left = max(limits.content_stall - self._only_signs_for, 0.0)
        silence, left = min(limits.stall, signs_left), max(self.deadline - now, 0.0)
        if (within := min(silence, left)) > 0.0:
            self.served.watch.arm(self, now + within)
        else:
            self.expire()  # what is here already would come before the watch has looked, again and again
        try:
            await self.upstream.read()
        except Exception:
            if not self._has_ended:
                raise
        else:
            self._only_signs_for += anyio.current_time() - now
            return
        finally:
            self.due = math.inf
        if left < silence:
            raise _ended(self.served, self.permit, self.deadline - self.started, is_callers=True)
        if signs_left < limits.stall:
            raise _ended(self.served, self.permit, limits.content_stall, is_callers=False, said=ONLY_SIGNS)
        raise _ended(self.served, self.permit, limits.stall, is_callers=False, said=NOTHING)

    def expire(self) -> None:
        """End the read that waits, and with it the stream."""
        self._has_ended = True
        self.upstream.abandon()

    cancel = expire
    """What its permit calls when the endpoint stops."""

    def leave(self) -> None:
        """Nobody reads it any more."""
        self.served.watch.forget(self)

    async def close(self) -> None:
        """Close the connection, unless it is read to its end; also when cancelled."""
        self.leave()
        await _close(self.upstream)


async def _close(upstream: Upstream) -> None:
    with anyio.move_on_after(CLOSE_WITHIN, shield=True):
        await upstream.aclose()


def _ended(
    served: Served, permit: Permit, limit: float, *, is_callers: bool, said: str = ""
) -> AttemptError | ActorStoppedError:
    """Return what a limit of ours that ended means: the endpoint stops, or somebody took too long."""
    if permit.stopped:
        return ActorStoppedError(served.endpoint.name)
    verdict = Verdict.CUT_SHORT if is_callers else Verdict.TIMEOUT
    route = served.route
    failure = Failure(transport=route.transport, model=route.model, verdict=verdict, after=limit, said=said)
    return attempt_error(failure)
