"""The permit: the right to one attempt, settled exactly once."""

from __future__ import annotations

from typing import Protocol, TypeVar, final

from ..providers import Failure, Verdict
from ._gate import Gate


class _Endpoint(Protocol):
    """Who granted it, and takes it back."""

    def began(self, permit: Permit, after: float) -> None:
        """Take note that the first content of a stream came after so many seconds."""

    def settled(self, permit: Permit, verdict: Verdict, failure: Failure | None) -> None:
        """Take a permit back."""


class Cancellable(Protocol):
    """What a permit covers: a cancel scope, or what ends a wait as one would."""

    def cancel(self) -> None:
        """End what waits."""


CoveredT = TypeVar("CoveredT", bound=Cancellable)


@final
class Permit:
    """The right to one attempt. It is settled exactly once, whatever happens.

    Whatever its holder waits for stands in a cancel scope, or the like, that the permit `covers`: stopping cancels it,
    and `stopped` then says that it was us, not the caller. `is_probe` says that others wait for what it finds out.

    For a stream, `waits_since` is the instant since which its first content is waited for, `began_at` the one at which
    it came: a probe has then found out (R-CB-6), though the stream may still fail.
    """

    __slots__ = (
        *("_endpoint", "_scope", "_settled", "admitted_at", "began_at", "gate", "is_probe", "passed", "stopped"),
        *("ticket", "waits_since"),
    )

    def __init__(self, endpoint: _Endpoint, gate: Gate, ticket: int, admitted_at: float, *, is_probe: bool) -> None:
        self._endpoint, self.gate, self.ticket, self.is_probe = endpoint, gate, ticket, is_probe
        self.admitted_at = admitted_at
        self._scope: Cancellable | None = None
        self.stopped = self.passed = False
        self.waits_since: float | None = None
        self.began_at: float | None = None
        self._settled = False

    def settle(self, verdict: Verdict, failure: Failure | None = None) -> None:
        """Give the place back and say how the attempt ended; `failure` tells what else is known of it.

        Raises:
            RuntimeError: It was settled before: a bug of ours.
        """
        if self._settled:
            raise RuntimeError("a permit was settled twice")
        self._settled, self._scope = True, None  # what it covered holds it, and a whole answer besides
        self._endpoint.settled(self, verdict, failure)

    def waits(self, since: float) -> None:
        """Say that the first content of a stream is waited for."""
        self.waits_since, self.began_at = since, None

    def began(self, now: float) -> None:
        """Say that the first content of a stream has come."""
        self.began_at = now
        if self.waits_since is not None:
            self._endpoint.began(self, now - self.waits_since)

    def covers(self, scope: CoveredT) -> CoveredT:
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
