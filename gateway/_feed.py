"""The feed: what the page and `understudy status` are shown, as it is, and as it changes.

A hook like any other. It takes note of what happens in a few microseconds, whether anybody looks or not. Whoever
looks pulls: a subscriber keeps the view that it was shown last, and works out what changed since when it is ready for
more. So nothing waits for a slow one, nothing is queued for it, and without subscribers nothing runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import final

import anyio
import anyio.lowlevel

from ..providers import Loop, encode
from ..supervisor import Event, Supervisor
from ._seen import Seen
from ._status import JSON, About, Now, View, view, whole
from ._updates import is_behind, update

EVERY = 0.25
"""Seconds between two looks at what happened: at most four updates a second."""

LOOK_EVERY = 1.0
"""Seconds between two looks where nothing happened: some numbers change without any event, as those in flight."""

BEAT_EVERY = 10.0
"""Seconds after which somebody who was told nothing is sent a comment (chosen: proxies wait for longer)."""

SUBSCRIBERS = 64
"""Subscribers at once (chosen: a few pages each for a team; every one costs some work four times a second)."""

CLOCK_SET = 0.5
"""Seconds by which Unix time and the monotonic clock may part before instants are told anew (chosen; unseen)."""

BEAT = b": beat\n\n"


class CrowdedError(Exception):
    """So many subscribe already that one more is not taken."""


@final
class Feed:
    """What a gateway shows of itself. It is one of the hooks of the supervisor that it watches.

        feed = Feed(__version__)
        async with open_supervisor(hooks=[feed]) as supervisor:
            feed.watch(supervisor)
            async with feed.subscribed() as lines:
                async for line in lines:
                    ...

    Args:
        version: What it says of the version.
        wall_clock: Unix time now.
    """

    is_ours = True

    def __init__(self, version: str, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._version, self._wall_clock = version, wall_clock
        self._seen, self._offset = Seen(), -math.inf
        self._clock: Callable[[], float] = anyio.current_time
        self._watched: tuple[Supervisor, About] | None = None
        self._view: View | None = None
        self.subscribers = 0
        self.is_closed = False

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._seen.take(event, self._clock())

    def watch(self, supervisor: Supervisor) -> None:
        """Show this supervisor from now on."""
        plan, self._clock = supervisor.plan, Loop().now
        self._watched = supervisor, About(self._version, plan, anyio.current_time(), plan.quotes)

    def close(self) -> None:
        """End what every subscriber is told, within a quarter of a second: the gateway stops."""
        self.is_closed = True

    def snapshot(self) -> JSON:
        """Return everything, as JSON can hold it: the body of `GET /status`.

        Raises:
            RuntimeError: No supervisor is watched yet, or it belongs to another event loop.
        """
        supervisor, about = self._about()
        return whole(about, self._seen, view(about, supervisor.health(), self._seen, self._now()))

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give server-sent events for the body of an `async with`: first an event `snapshot`, then events `update`, at
        most four a second, and a comment every 10 s. They end when the block does.

        Whoever reads slowly is told in one update what has happened meanwhile, or has a new `snapshot` where that is
        no longer known.

        Raises:
            CrowdedError: Too many subscribe already.
            RuntimeError: As `snapshot`.
        """
        self._about()
        if self.subscribers >= SUBSCRIBERS:
            raise CrowdedError(f"{SUBSCRIBERS} subscribe already")
        self.subscribers += 1
        try:
            yield _Lines(self)
        finally:
            self.subscribers -= 1
            if not self.subscribers:
                self._view = None

    def everything(self) -> tuple[View, bytes]:
        """Return what is to be seen now, and the event that tells all of it."""
        _, about = self._about()
        seen = self.look()
        return seen, told("snapshot", whole(about, self._seen, seen))

    def changed(self, before: View) -> tuple[View, bytes]:
        """Return what is to be seen now, and the event that tells what changed since; it is empty if nothing did."""
        if self._seen.changes == before.changes and anyio.current_time() - before.now.at < LOOK_EVERY:
            return before, b""
        after = self.look()
        if is_behind(before, after):
            return self.everything()
        found = update(self._about()[1], self._seen, before, after)
        return after, b"" if found is None else told("update", found)

    def look(self) -> View:
        """Return what is to be seen now; subscribers that look at the same time share it."""
        now, known = self._now(), self._view
        is_stale = known is None or known.changes != self._seen.changes or now.at - known.now.at > EVERY / 2
        if known is None or is_stale:
            supervisor, about = self._about()
            self._view = known = view(about, supervisor.health(), self._seen, now)
        return known

    def _about(self) -> tuple[Supervisor, About]:
        if self._watched is None:
            raise RuntimeError("this feed watches no supervisor yet: call watch")
        return self._watched

    def _now(self) -> Now:
        at = anyio.current_time()
        offset = self._wall_clock() - at
        if abs(offset - self._offset) > CLOCK_SET:
            self._offset = offset
        return Now(at, self._offset)


@final
class _Lines:
    """The events of one subscriber. Between two of them it holds a view, and no task and no scope."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._shown: View | None = None
        self._told_at = 0.0

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        if self._shown is None:
            await anyio.lowlevel.checkpoint()
            self._shown, event = self._feed.everything()
            self._told_at = anyio.current_time()
            return event
        while True:
            await anyio.sleep_until(next_look(anyio.current_time()))
            if self._feed.is_closed:
                raise StopAsyncIteration
            self._shown, event = self._feed.changed(self._shown)
            now = anyio.current_time()
            if not event and now - self._told_at >= BEAT_EVERY:
                event = BEAT
            if event:
                self._told_at = now
                return event


def next_look(now: float) -> float:
    """Return the instant of the next look: the same for all subscribers, who then share one view, and never one that
    is a hair's breadth away.
    """
    return (round(now / EVERY) + 1) * EVERY


def told(name: str, value: JSON) -> bytes:
    """Return a server-sent event. JSON holds no line break, so its data is one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), encode(value))
