"""The account of one request: its trail, its errors, and the one response or error that the caller gets."""

from __future__ import annotations

from typing import final

import anyio

from ..actors import Refusal
from ..providers import (
    AllAttemptsFailedError,
    AllRoutesClosedError,
    Attempt,
    AttemptError,
    Failure,
    PassedOver,
    Price,
    Response,
    TimeoutExceededError,
    TrailedError,
    Verdict,
)
from ._plan import Route


@final
class Account:
    """What one request has come to so far. Its clock starts when it is made; `timeout` is in seconds.

    `ended_at` is the instant at which the last attempt ended.
    """

    def __init__(self, agent: str, timeout: float) -> None:
        self.agent, self.timeout = agent, timeout
        self.begun = anyio.current_time()
        self.deadline = self.begun + timeout
        self.ended_at = self.begun
        self.attempts: list[Attempt] = []
        self.passed_over: list[PassedOver] = []
        self._errors: list[AttemptError] = []

    @property
    def remaining(self) -> float:
        """Seconds until the caller's timeout, never below 0."""
        return max(self.deadline - anyio.current_time(), 0.0)

    @property
    def is_over(self) -> bool:
        """Has the timeout ended? The sum of instants and shares is not exact."""
        return self.remaining < 1e-6

    @property
    def last_failure(self) -> Failure:
        """Why the last attempt failed."""
        return self._errors[-1].failure

    @property
    def last_error(self) -> AttemptError:
        """What the last attempt failed with."""
        return self._errors[-1]

    def answered(self, route: Route, started: float, response: Response, *, first_token: float | None = None) -> None:
        """Take an answer into the trail."""
        self._add(
            route,
            started,
            Verdict.OK,
            status=200,
            request_id=response.request_id,
            dropped=response.dropped,
            first_token=first_token,
        )

    def failed(self, route: Route, started: float, error: AttemptError, *, first_token: float | None = None) -> None:
        """Take a failure into the trail."""
        failure = error.failure
        self._errors.append(error)
        self._add(
            route,
            started,
            error.verdict,
            status=failure.status,
            request_id=failure.request_id,
            retry_after=failure.retry_after,
            reason=failure.reason,
            first_token=first_token,
        )

    def stopped(self, route: Route, started: float) -> None:
        """Take an attempt into the trail that ended because its endpoint was stopped."""
        self._add(route, started, Verdict.STOPPED)

    def left(self, route: Route, started: float, *, first_token: float | None, status: int | None = None) -> None:
        """Take an attempt into the trail whose answer its caller did not wait for, or did not read on."""
        self._add(route, started, Verdict.NO_VERDICT, status=status, first_token=first_token)

    def pass_over(self, route: Route, refusal: Refusal) -> None:
        """Take a route into the trail that was not asked."""
        self.passed_over.append(PassedOver(route.transport, route.model, str(refusal), refusal.retry_after))

    def leave_out(self, route: Route, reason: str) -> None:
        """Take a route into the trail that cannot be told what is asked."""
        self.passed_over.append(PassedOver(route.transport, route.model, f"not told: {reason}"))

    def signed(self, response: Response, price: Price | None, *, is_fallback: bool) -> Response:
        """Return the response with its trail, and with what it cost."""
        return Response(  # not by `replace`, which costs ten times as much
            response.blocks,
            response.model,
            response.transport,
            response.finish_reason,
            response.usage,
            response.request_id,
            response.dropped,
            is_fallback,
            tuple(self.attempts),
            tuple(self.passed_over),
            response.parsed,
            None if price is None else price.of(response.usage),
            response.raw,
        )

    def with_trail(self, error: TrailedError) -> TrailedError:
        """Give an error the trail, and return it."""
        error.attempts, error.passed_over = tuple(self.attempts), tuple(self.passed_over)
        return error

    def end(self) -> TrailedError:
        """Return the one error that the caller sees."""
        attempts, passed = tuple(self.attempts), tuple(self.passed_over)
        if attempts and self.is_over:
            return TimeoutExceededError(self.agent, self.timeout, attempts, passed)
        if not attempts:
            return AllRoutesClosedError(self.agent, passed)
        if len(attempts) == 1:
            return self.with_trail(self._errors[0])
        return AllAttemptsFailedError(self.agent, attempts, passed)

    def cause(self) -> BaseException | None:
        """Return what the one error was caused by, and let go of it: an error must not keep itself alive."""
        errors, self._errors = self._errors, []
        if len(errors) == 1:
            return errors[0] if self.is_over else errors[0].__cause__
        return ExceptionGroup("the attempts", errors) if errors else None

    def _add(
        self,
        route: Route,
        started: float,
        verdict: Verdict,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        reason: str = "",
        dropped: tuple[str, ...] = (),
        first_token: float | None = None,
    ) -> None:
        self.ended_at = anyio.current_time()
        self.attempts.append(
            Attempt(
                len(self.attempts) + 1,
                route.transport,
                route.model,
                verdict,
                started - self.begun,
                self.ended_at - started,
                status=status,
                request_id=request_id,
                retry_after=retry_after,
                reason=reason,
                dropped=dropped,
                first_token=first_token,
            )
        )
