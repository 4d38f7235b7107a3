"""The path of one request: from route to route until somebody answers, with one timeout, one budget and one trail.

The wire call runs in the caller's task under a permit of the endpoint. What follows a failure is decided in
`_routing.py`, who may be asked at all in the actors; here it is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import anyio

from ..actors import Endpoint, Permit, Refusal, Refused
from ..providers import (
    ActorStoppedError,
    AttemptError,
    Failure,
    HandOver,
    Message,
    Parameters,
    Request,
    Response,
    Retry,
    Verdict,
    attempt_error,
)
from ._account import Account
from ._events import AccessRefused, Event, RequestEnded
from ._plan import Route
from ._routing import Again, Failed, Next, Progress, Raise, after, backoff, probe_limit, share, worth_waiting
from ._serving import Serving

SPILL_AFTER = 2.0
"""Seconds at most that a request waits for a place at a full endpoint; never more than a quarter of what remains."""

LEASE_MARGIN = 1.0
"""Seconds that a probe's place is kept beyond the limit of its attempt (R-CB-6)."""


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A route, the endpoint that serves it, and its place in the chain: 0 is the primary's."""

    route: Route
    endpoint: Endpoint
    place: int


@final
@dataclass(frozen=True, slots=True)
class Chain:
    """What all requests of an agent share. `tell` takes events and does not raise."""

    agent: str
    routes: tuple[Served, ...]
    rand: Callable[[], float]
    tell: Callable[[Event], None]
    serving: Serving


@final
class Dispatch:
    """One request on its way. Used once.

    Args:
        first: Which route of the chain is asked first, counted from 0; the others follow in their order.
    """

    def __init__(
        self, chain: Chain, messages: tuple[Message, ...], parameters: Parameters, timeout: float, *, first: int = 0
    ) -> None:
        self._chain, self._messages, self._parameters = chain, messages, parameters
        self._account = Account(chain.agent, timeout)
        self._progress = Progress(routes=len(chain.routes))
        routes = chain.routes
        self._order: tuple[Served, ...] = (routes[first], *routes[:first], *routes[first + 1 :]) if first else routes
        self._stays = first > 0
        self._lone = len(chain.routes) == 1
        self._early = False
        self._refusals: list[tuple[Served, Refusal]] = []

    @property
    def place(self) -> int:
        """The place in the chain of the route at hand: after an answer, of the one that gave it."""
        return self._at_hand.place

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
        try:
            response = self._signed(await self._first_answer())
        except Exception as error:
            self._ended(error=type(error).__name__)
            raise
        except anyio.get_cancelled_exc_class():
            self._ended(error="cancelled")
            raise
        self._ended(response)
        return response

    async def _first_answer(self) -> Response:
        while True:
            served = self._at_hand
            permit = await self._admit(served)
            if isinstance(permit, Refusal):
                if await self._waited(served, permit):
                    continue
                early = self._pass_over(served, permit)
                if early is None:
                    continue
                permit = early
                served = self._at_hand
            response, step = await self._ask(served, permit)
            if response is not None:
                return response
            match step:
                case Raise():
                    raise self._account.end() from self._account.cause()
                case Again(wait):
                    await served.endpoint.wait_stopped(self._wait_for(served, wait))
                case _:
                    self._advance()

    async def _admit(self, served: Served) -> Permit | Refusal:
        """Ask for a permit, and wait a little for a place where there is none."""
        endpoint, model = served.endpoint, served.route.model
        lease_for = self._probe_limit(served) + LEASE_MARGIN
        permit = endpoint.admit(model, lone=self._lone, lease_for=lease_for)
        if isinstance(permit, Refusal) and permit.why is Refused.FULL:
            wait_for = min(SPILL_AFTER, self._account.remaining / 4)
            permit = await endpoint.wait_admit(model, wait_for, lone=self._lone, lease_for=lease_for)
        return permit

    async def _waited(self, served: Served, refusal: Refusal) -> bool:
        """Wait out a hold where there is nobody else to ask, as a retry would; say whether it was worth it."""
        wait = refusal.retry_after
        if not self._lone or refusal.why is not Refused.HOLD or wait is None:
            return False
        wait += backoff(1, self._chain.rand)  # not all who wait come at once
        if not worth_waiting(wait, self._progress, self._account.remaining):
            return False
        await served.endpoint.wait_stopped(wait)
        return True

    async def _ask(self, served: Served, permit: Permit) -> tuple[Response | None, Next]:
        """Ask one route under its permit; a retry in place stays under the same one, so both are one outcome."""
        verdict, failure, started = Verdict.NO_VERDICT, None, permit.admitted_at
        if not self._progress.tries:
            served.endpoint.asked(permit)
        try:
            while True:
                response = await self._attempt(served, permit, started)
                if response is not None:
                    verdict = Verdict.OK
                    return response, Raise.NOW
                failure = self._account.last_failure
                verdict, step = failure.verdict, self._step(failure, served, permit)
                if not (isinstance(step, Again) and step.in_place):
                    return None, step
                verdict, failure = Verdict.NO_VERDICT, None
                if await served.endpoint.wait_stopped(step.wait):
                    raise self._account.with_trail(ActorStoppedError(served.endpoint.name))
                started = anyio.current_time()
        finally:
            permit.settle(verdict, failure)

    async def _attempt(self, served: Served, permit: Permit, started: float) -> Response | None:
        """Make one attempt. None when it failed; its failure is then the account's last."""
        route = served.route
        limit, is_callers = self._limit(served, started, is_probe=permit.is_probe)
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
            self._account.answered(route, started, response)
            served.endpoint.answers(route.model)
            return response
        if error is None:
            if permit.stopped:
                self._account.stopped(route, started)
                raise self._account.with_trail(ActorStoppedError(served.endpoint.name))
            verdict = Verdict.CUT_SHORT if is_callers else Verdict.TIMEOUT
            error = attempt_error(_failure(route, verdict, after=limit))
        self._note(served, started, error)
        error = None  # the traceback of a bug holds this frame: without this it would hold itself
        return None

    def _limit(self, served: Served, now: float, *, is_probe: bool) -> tuple[float, bool]:
        """Return the seconds that an attempt may take, and whether it is the caller's timeout that says so."""
        route, routes_left = served.route, self._progress.routes - self._progress.route
        limit = self._probe_limit(served) if is_probe else route.limits.attempt
        return share(limit, self._account.deadline - now, routes_left)

    def _probe_limit(self, served: Served) -> float:
        """Return the seconds that a probe may take: fewer than other attempts while there is somebody else to ask, and
        when it is early: until it ends, nobody else finds out.
        """
        limits = served.route.limits
        if not self._progress.has_next and (self._lone or not self._early):
            return limits.attempt
        return probe_limit(limits.attempt, limits.first_token, served.endpoint.usual_for(served.route.model))

    def _note(self, served: Served, started: float, error: AttemptError) -> None:
        """Take note of a failure; what an operator can mend says so, and is told once."""
        route = served.route
        error.__traceback__ = None  # its frames hold the prompt, and say nothing that the trail does not
        if error.verdict.rule.hand_over is HandOver.REFUSED:
            cause, error = error.__cause__, attempt_error(replace(error.failure, help=route.help))
            error.__cause__ = cause
            if served.endpoint.refuses(route.model):
                self._chain.tell(AccessRefused(self._chain.agent, route.transport, route.model, str(error)))
        self._account.failed(route, started, error)
        progress = self._progress
        self._progress = replace(
            progress,
            attempts=progress.attempts + 1,
            tries=progress.tries + 1,
            internal=progress.internal + (error.verdict is Verdict.INTERNAL),
        )

    def _step(self, failure: Failure, served: Served, permit: Permit) -> Next:
        """Say what follows a failure. A retry has to be within the endpoint's budget, too."""
        is_clear = not (permit.is_probe or self._early) and served.endpoint.is_clear(served.route.model)
        failed = Failed(failure.verdict, failure.retry_after, failure.retry_forbidden, is_clear)
        policy, remaining = served.route.policy, self._account.remaining
        step = after(failed, self._progress, policy, remaining, self._chain.rand)
        if isinstance(step, Again) and not served.endpoint.may_retry():
            step = after(replace(failed, retry_forbidden=True), self._progress, policy, remaining, self._chain.rand)
        if isinstance(step, Again):
            in_place = self._progress.retried_in_place + step.in_place
            once = self._progress.retried_once or failure.verdict.rule.retry is Retry.ONCE
            self._progress = replace(self._progress, retried_in_place=in_place, retried_once=once)
        return step

    def _wait_for(self, served: Served, wait: float) -> float:
        """Return the seconds before the same route is asked again: not before a hold is over that it just placed.

        Nobody waits for a hold while there is another route: that one is asked at once.

        Raises:
            AttemptError: That is too long to wait, or a circuit has opened. So for the next one.
            AllAttemptsFailedError: The same.
        """
        refusal = served.endpoint.refusal(served.route.model, lone=self._lone)
        if refusal is None:
            return wait
        longer = max(wait, refusal.retry_after or 0.0)
        is_last = not self._progress.has_next
        if is_last and refusal.why is Refused.HOLD and worth_waiting(longer, self._progress, self._account.remaining):
            return longer
        self._account.pass_over(served.route, refusal)
        if self._progress.has_next and self._account.last_failure.verdict.rule.hand_over is HandOver.YES:
            self._advance()
            return 0.0
        raise self._account.end() from self._account.cause()

    def _advance(self) -> None:
        progress = self._progress
        self._progress = replace(progress, route=progress.route + 1, tries=0, retried_once=False)

    def _pass_over(self, served: Served, refusal: Refusal) -> Permit | None:
        """Go on to the next route without asking this one. After the last one end, unless one may be asked early."""
        if refusal.why is Refused.STOPPED:
            raise self._account.with_trail(ActorStoppedError(served.endpoint.name))
        if not self._early:  # else it is in the trail already
            self._account.pass_over(served.route, refusal)
            self._refusals.append((served, refusal))
        if self._progress.has_next:
            self._advance()
            return None
        early = self._admit_early() if not self._account.attempts else None
        if early is None:
            raise self._account.end() from self._account.cause()
        return early

    def _admit_early(self) -> Permit | None:
        """Ask the route that opens first before its time, once a second, so that its return is not missed (R-RT-5).

        If it fails, those that may have opened by then are asked, in their order.
        """
        routes, remaining = self._chain.routes, self._account.remaining
        barred = [(r.retry_after or 0.0, served.place) for served, r in self._refusals if r.why is Refused.CIRCUIT]
        if not barred:
            return None
        _, first = min(barred)
        in_time = {served.place for served, r in self._refusals if _may_open(r, remaining)}
        served, self._early = routes[first], True
        permit = served.endpoint.admit(
            served.route.model, lease_for=self._probe_limit(served) + LEASE_MARGIN, early=True
        )
        if isinstance(permit, Refusal):
            return None
        self._order = (served, *(routes[route] for route in sorted(in_time - {first})))
        self._progress = Progress(routes=len(self._order))
        return permit

    def _signed(self, response: Response) -> Response:
        return self._account.signed(response, is_fallback=self._at_hand.place > 0)

    @property
    def _at_hand(self) -> Served:
        return self._order[self._progress.route]

    def _why_left(self) -> str:
        """Return why the primary did not answer: it was passed over, or the first attempt was its own."""
        if self._refusals and self._refusals[0][0].place == 0:
            return str(self._refusals[0][1])
        return self._account.attempts[0].reason

    def _ended(self, response: Response | None = None, *, error: str = "") -> None:
        """Tell that the request is over, and first whether that changed who serves the agent."""
        account = self._account
        now = anyio.current_time() if response is None else account.ended_at
        if response is not None and not self._stays:  # else the primary was not its first choice
            change = self._chain.serving.answered(self._at_hand.place, account.begun, now, self._why_left)
            if change is not None:
                self._chain.tell(change)
        self._chain.tell(
            RequestEnded(
                account.agent,
                None if response is None else response.transport,
                None if response is None else response.model,
                response is not None and response.is_fallback,
                now - account.begun,
                tuple(account.attempts),
                tuple(account.passed_over),
                error,
            )
        )


def _may_open(refusal: Refusal, within: float) -> bool:
    return refusal.why is Refused.FULL or (refusal.retry_after is not None and refusal.retry_after < within)


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
