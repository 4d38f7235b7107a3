"""A provider of the world, watched at its door, where schedules also let it fail in ways that no vendor does."""

from __future__ import annotations

import anyio

from understudy import Partial, Response, Verdict
from understudy.providers import AttemptError, ContentEvent, Provider, Request, Target, Upstream

from ._notes import Called
from ._witness import Witness


class Bug(Exception):
    """What nobody foresaw."""


class Numbers:
    """Counts the calls of one run."""

    def __init__(self) -> None:
        self._last = -1

    def next(self) -> int:
        """Return the next number, from 0."""
        self._last += 1
        return self._last


class Watched:
    """A provider, watched. It is `stubborn` for so many seconds when a call is cancelled or closed."""

    def __init__(self, inner: Provider, target: Target, witness: Witness, numbers: Numbers) -> None:
        self._inner, self._target, self.witness, self._numbers = inner, target, witness, numbers
        schedule = witness.schedule
        self.stubborn = schedule.stubborn.get(target.transport, 0.0)
        self._bugs = frozenset() if target.transport in schedule.well else schedule.bugs

    async def complete(self, request: Request) -> Response:
        """Answer; see `Provider.complete`."""
        called, bug = self.witness.entered(self._target.name, request), self._bug()
        verdict: Verdict | None = None
        try:
            if bug is not None:
                await anyio.sleep(0.01)
                verdict = verdict_of(bug)
                raise bug
            response = await self._inner.complete(request)
            verdict = Verdict.OK
            return response
        except AttemptError as error:
            verdict = error.verdict
            raise
        finally:
            if verdict is None:
                await self.linger()
            self.left(called, verdict)

    async def stream(self, request: Request) -> Upstream:
        """Answer in pieces; see `Provider.stream`."""
        called, bug = self.witness.entered(self._target.name, request), self._bug()
        called.is_stream = True
        verdict: Verdict | None = None
        upstream: Upstream | None = None
        try:
            if bug is not None and self._numbers.next() % 2:
                await anyio.sleep(0.01)
                verdict = verdict_of(bug)
                raise bug
            upstream = WatchedUpstream(await self._inner.stream(request), self, called, bug)
            return upstream
        except AttemptError as error:
            verdict = error.verdict
            raise
        finally:
            if upstream is None:
                if verdict is None:
                    await self.linger()
                self.left(called, verdict)
                called.closed = called.ended

    async def aclose(self) -> None:
        """Close; see `Provider.aclose`."""
        await self._inner.aclose()

    def left(self, called: Called, verdict: Verdict | None) -> None:
        """Tell the witness that a call has ended."""
        self.witness.left(self._target.name, called, verdict)

    async def linger(self) -> None:
        """Take one's time to end a call that is cancelled."""
        if self.stubborn:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.stubborn)

    def _bug(self) -> Exception | None:
        number = self._numbers.next()
        if number not in self._bugs or anyio.current_time() >= self.witness.schedule.lasts_for:
            return None
        return Bug() if number % 3 else OSError(28, "no space left on device")


class WatchedUpstream:
    """A stream of such a provider. With a `bug`, its second read fails by it."""

    def __init__(self, inner: Upstream, provider: Watched, called: Called, bug: Exception | None) -> None:
        self._inner, self._provider, self._called, self._bug = inner, provider, called, bug
        self._streams = provider.witness.streams
        self._is_over = self._has_read = self._is_reading = False

    @property
    def response(self) -> Response | None:
        """The whole answer; see `Upstream.response`."""
        return self._inner.response

    @property
    def partial(self) -> Partial:
        """What has come; see `Upstream.partial`."""
        return self._inner.partial

    def take(self) -> ContentEvent | None:
        """Return what is here; see `Upstream.take`."""
        event = self._inner.take()
        if event is not None:
            self._streams.took(self._called, event)
        return event

    async def read(self) -> None:
        """Wait for more; see `Upstream.read`."""
        begun = anyio.current_time()
        has_come, self._is_reading = False, True
        try:
            if self._bug is not None and self._has_read:
                await anyio.sleep(0.01)
                has_come = True
                self._over(verdict_of(self._bug))
                raise self._bug
            self._has_read = True
            await self._inner.read()
            has_come = True
        except AttemptError as error:
            has_come = True
            self._over(error.verdict)
            raise
        finally:
            self._is_reading = False
            self._streams.read(self._called, begun)
            if not has_come:
                if not self._is_over:  # one that is closed already raises at once
                    await self._provider.linger()
                self._over(None)
        if self._inner.response is not None:
            self._over(Verdict.OK)

    def abandon(self) -> None:
        """Close at once; see `Upstream.abandon`. Where somebody reads, it is their read that ends it."""
        self._inner.abandon()
        if not self._is_reading:
            self._over(None)

    async def aclose(self) -> None:
        """Close, which may take its time, but is over when it is cancelled; see `Upstream.aclose`."""
        try:
            if not self._is_over and self._provider.stubborn:
                await anyio.sleep(self._provider.stubborn)
        finally:
            with anyio.CancelScope(shield=True):
                await self._inner.aclose()
            self._over(None)
            self._streams.closed(self._called)

    def _over(self, verdict: Verdict | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._provider.left(self._called, verdict)


def verdict_of(bug: Exception) -> Verdict:
    """Return what a bug of a schedule comes to."""
    return Verdict.LOCAL_CONFIG if isinstance(bug, OSError) else Verdict.INTERNAL
