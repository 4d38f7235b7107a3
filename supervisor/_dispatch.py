"""The path of one request: from route to route until somebody answers, with one timeout, one budget and one trail.

The wire call runs in the caller's task under a permit of the endpoint. What follows a failure is decided in
`_routing.py`; here it is carried out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import anyio

from ..actors import Endpoint, Permit, Refused
from ..providers import (
    ActorStoppedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    Attempt,
    AttemptError,
    Failure,
    HandOver,
    Message,
    Parameters,
    PassedOver,
    Request,
    Response,
    Retry,
    TimeoutExceededError,
    TrailedError,
    Verdict,
    attempt_error,
)
from ._plan import Route
from ._routing import Again, Failed, Next, Progress, Raise, after, share

_log = logging.getLogger("understudy.supervisor")

SPILL_AFTER = 2.0
"""Seconds at most that a request waits for a place at a full endpoint; never more than a quarter of what remains."""


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A route and the endpoint that serves it."""

    route: Route
    endpoint: Endpoint


@final
@dataclass(frozen=True, slots=True)
class Chain:
    """What all requests of an agent share."""

    agent: str
    routes: tuple[Served, ...]
    rand: Callable[[], float]


@final
class Dispatch:
    """One request on its way. Used once."""

    def __init__(self, chain: Chain, messages: tuple[Message, ...], parameters: Parameters, timeout: float) -> None:
        self._chain, self._messages, self._parameters, self._timeout = chain, messages, parameters, timeout
        self._begun = anyio.current_time()
        self._deadline = self._begun + timeout
        self._progress = Progress(routes=len(chain.routes))
        self._trail: list[Attempt] = []
        self._passed: list[PassedOver] = []
        self._errors: list[AttemptError] = []

    async def answer(self) -> Response:
        """Return the first answer.

        After cancellation the permit is settled without blame, and the connection closed or reusable.

        Raises:
            AttemptError: The only attempt failed.
            AllAttemptsFailedError: Several attempts failed.
            AllRoutesClosedError: Nobody could be asked.
            TimeoutExceededError: The timeout ended first.
            ActorStoppedError: The supervisor is closed or closing.
            OSError: The machine is at fault, no provider.
        """
        while True:
            served = self._chain.routes[self._progress.route]
            permit = served.endpoint.admit()
            if permit is Refused.FULL:
                permit = await served.endpoint.wait_admit(min(SPILL_AFTER, self._remaining() / 4))
            if not isinstance(permit, Permit):
                self._pass_over(served, permit)
                continue
            response, step = await self._ask(served, permit)
            if response is not None:
                return self._signed(response)
            match step:
                case Raise():
                    raise self._end() from self._cause()
                case Again(wait):
                    await anyio.sleep(wait)
                case _:
                    self._advance()

    async def _ask(self, served: Served, permit: Permit) -> tuple[Response | None, Next]:
        """Ask one route under its permit; a retry in place stays under the same one, so both are one outcome."""
        verdict = Verdict.NO_VERDICT
        try:
            while True:
                response = await self._attempt(served, permit)
                if response is not None:
                    verdict = Verdict.OK
                    return response, Raise.NOW
                failure = self._errors[-1].failure
                verdict, step = failure.verdict, self._step(failure)
                if not (isinstance(step, Again) and step.in_place):
                    return None, step
                verdict = Verdict.NO_VERDICT
                with permit.covers(anyio.CancelScope()):
                    await anyio.sleep(step.wait)
                self._check_stopped(permit, served)
        finally:
            permit.settle(verdict)

    async def _attempt(self, served: Served, permit: Permit) -> Response | None:
        """Make one attempt. None when it failed; its error is then the last of `_errors`."""
        route, started = served.route, anyio.current_time()
        limit, is_callers = share(
            route.limits.attempt, self._deadline - started, self._progress.routes - self._progress.route
        )
        request = Request(route.model, self._messages, _merged(route.parameters, self._parameters))
        response: Response | None = None
        error: AttemptError | None = None
        with permit.covers(anyio.move_on_after(limit)):
            try:
                response = await served.endpoint.provider.complete(request)
            except AttemptError as failed:
                error = failed
            except ActorStoppedError:
                raise
            except Exception as bug:
                if isinstance(bug, OSError) and not isinstance(bug, (ConnectionError, TimeoutError)):
                    raise  # this machine is at fault
                said = f"{type(bug).__name__} in the provider"  # a bug of ours must not cost the caller an answer
                error = attempt_error(_failure(route, Verdict.INTERNAL, said=said))
                error.__cause__ = bug
        if response is not None:
            self._record(route, started, Verdict.OK, response=response)
            served.endpoint.answers(route.model)
            return response
        if error is None:
            self._check_stopped(permit, served, started=started)
            verdict = Verdict.CUT_SHORT if is_callers else Verdict.TIMEOUT
            error = attempt_error(_failure(route, verdict, after=limit))
        self._note(served, started, error)
        error = None  # the traceback of a bug holds this frame: without this it would hold itself
        return None

    def _check_stopped(self, permit: Permit, served: Served, *, started: float | None = None) -> None:
        if not permit.stopped:
            return
        if started is not None:
            self._record(served.route, started, Verdict.STOPPED)
        raise self._with_trail(ActorStoppedError(served.endpoint.name))

    def _note(self, served: Served, started: float, error: AttemptError) -> None:
        """Take a failure into the trail; what an operator can mend says so, and is told in the log once."""
        route = served.route
        error.__traceback__ = None  # its frames hold the prompt, and say nothing that the trail does not
        if error.verdict.rule.hand_over is HandOver.REFUSED:
            cause, error = error.__cause__, attempt_error(replace(error.failure, help=route.help))
            error.__cause__ = cause
            if served.endpoint.refuses(route.model):
                _log.error(
                    "access_refused agent=%r transport=%s reason=%r", self._chain.agent, route.transport, str(error)
                )
        self._errors.append(error)
        self._record(route, started, error.verdict, failure=error.failure)
        progress = self._progress
        self._progress = replace(
            progress,
            attempts=progress.attempts + 1,
            tries=progress.tries + 1,
            internal=progress.internal + (error.verdict is Verdict.INTERNAL),
        )

    def _record(
        self,
        route: Route,
        started: float,
        verdict: Verdict,
        *,
        failure: Failure | None = None,
        response: Response | None = None,
    ) -> None:
        self._trail.append(
            Attempt(
                len(self._trail) + 1,
                route.transport,
                route.model,
                verdict,
                started - self._begun,
                anyio.current_time() - started,
                status=failure.status if failure else 200 if response else None,
                request_id=failure.request_id if failure else response.request_id if response else None,
                retry_after=failure.retry_after if failure else None,
                reason=failure.reason if failure else "",
                dropped=response.dropped if response else (),
            )
        )

    def _step(self, failure: Failure) -> Next:
        failed = Failed(failure.verdict, failure.retry_after, failure.retry_forbidden)
        policy = self._chain.routes[self._progress.route].route.policy
        step = after(failed, self._progress, policy, self._remaining(), self._chain.rand)
        if isinstance(step, Again):
            in_place = self._progress.retried_in_place + step.in_place
            once = self._progress.retried_once or failure.verdict.rule.retry is Retry.ONCE
            self._progress = replace(self._progress, retried_in_place=in_place, retried_once=once)
        return step

    def _advance(self) -> None:
        progress = self._progress
        self._progress = replace(progress, route=progress.route + 1, tries=0, retried_once=False)

    def _pass_over(self, served: Served, refused: Refused) -> None:
        """Go on to the next route without asking this one, or end if there is none."""
        if refused is Refused.STOPPED:
            raise self._with_trail(ActorStoppedError(served.endpoint.name))
        self._passed.append(PassedOver(served.route.transport, served.route.model, str(refused)))
        if not self._progress.has_next:
            raise self._end() from self._cause()
        self._advance()

    def _remaining(self) -> float:
        return max(self._deadline - anyio.current_time(), 0.0)

    def _is_over(self) -> bool:
        return self._remaining() < 1e-6  # the sum of instants and shares is not exact

    def _signed(self, response: Response) -> Response:
        return replace(
            response,
            is_fallback=self._progress.route > 0,
            attempts=tuple(self._trail),
            passed_over=tuple(self._passed),
        )

    def _end(self) -> TrailedError:
        """Return the one error that the caller sees."""
        agent, attempts, passed = self._chain.agent, tuple(self._trail), tuple(self._passed)
        if attempts and self._is_over():
            return TimeoutExceededError(agent, self._timeout, attempts, passed)
        if not attempts:
            return AllRoutesClosedError(agent, passed)
        if len(attempts) == 1:
            return self._with_trail(self._errors[0])
        return AllAttemptsFailedError(agent, attempts, passed)

    def _cause(self) -> BaseException | None:
        """Return what the one error was caused by, and let go of it: an error must not keep itself alive."""
        errors, self._errors = self._errors, []
        if len(errors) == 1:
            return errors[0] if self._is_over() else errors[0].__cause__
        return ExceptionGroup("the attempts", errors) if errors else None

    def _with_trail(self, error: TrailedError) -> TrailedError:
        error.attempts, error.passed_over = tuple(self._trail), tuple(self._passed)
        return error


_MERGED = ("extra_body", "extra_headers", "extra_query")


def _merged(defaults: Parameters, given: Parameters) -> Parameters:
    """Return the route's parameters with the request's over them; what is a mapping in both is merged."""
    if not given:
        return defaults
    if not defaults:
        return given
    merged: Parameters = {**defaults, **given}
    for name in _MERGED:
        if name in defaults and name in given:
            merged[name] = {**defaults[name], **given[name]}  # type: ignore[literal-required]
    return merged


def _failure(route: Route, verdict: Verdict, *, said: str = "", after: float | None = None) -> Failure:
    return Failure(transport=route.transport, model=route.model, verdict=verdict, said=said, after=after)
