"""The path of one request: from route to route until somebody answers, with one timeout, one budget and one trail.

The wire call runs in the caller's task under a permit of the endpoint. Which route is asked next is found out in
`_course.py`; how long an exchange may take, and what a stream's limits are, in `_live.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import final

import anyio

from ..actors import Permit
from ..providers import (
    ActorStoppedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    Attempt,
    AttemptError,
    Failure,
    HandOver,
    Parameters,
    Partial,
    PassedOver,
    Request,
    Response,
    ResponseInvalidError,
    Restarted,
    StreamInterruptedError,
    TimeoutExceededError,
    TrailedError,
    Verdict,
    attempt_error,
    user,
)
from ._account import Account
from ._course import Chain, Course, Question
from ._events import AccessRefused, RequestEnded
from ._live import Live, Served, begun, streamed, whole
from ._plan import Route
from ._routing import Again, Next, Raise
from ._tracing import RequestBegun, RequestOver, Trace

NUDGE = user("Your last answer was empty. Go on: call a tool, or give your answer.")
"""What an empty answer is answered with in a tool run, once. It is no part of the conversation."""


@final
class Dispatch:
    """One request on its way. Used once: for an `answer`, or, if its question says so, for a stream (`open`).

    Args:
        is_round: It is part of a request, whose end and trace are told by whoever asks.
    """

    def __init__(self, chain: Chain, question: Question, *, is_round: bool = False) -> None:
        self._chain, self._question = chain, question
        self._account = Account(chain.agent, question.timeout)
        self._course = Course(chain, question, self._account)
        self._is_round = is_round
        self._trace = None if is_round else traced_from(chain, question)

    @property
    def agent(self) -> str:
        """The name of the agent that asks."""
        return self._chain.agent

    @property
    def begun(self) -> float:
        """The instant at which it began."""
        return self._account.begun

    @property
    def trail(self) -> tuple[tuple[Attempt, ...], tuple[PassedOver, ...]]:
        """The attempts so far, and the routes that were passed over."""
        return tuple(self._account.attempts), tuple(self._account.passed_over)

    @property
    def parameters(self) -> Parameters:
        """What whoever is at hand is given: the route's parameters, and the caller's over them."""
        return _merged(self._course.at_hand.route.parameters, self._question.parameters)

    @property
    def place(self) -> int:
        """Which route of the chain is at hand, counted from 0; after an answer, whose it is."""
        return self._course.at_hand.place

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
        with _Telling(self):
            given = await self._pursue()
        assert isinstance(given, Response)  # noqa: S101 - what is whole or streamed is read to its end
        return self._answered(given)

    async def open(self) -> Live:
        """Return the first stream that has begun. Whoever gets it ends it: by `finish`, `interrupted` or `left`.

        Raises:
            Exception: As `answer`.
        """
        with _Telling(self):
            return await self._open()

    async def finish(self, live: Live, check: Callable[[Response], Response] | None = None) -> Response:
        """End a stream whose answer is whole, and return it with its trail, as `check` makes it.

        Raises:
            ResponseInvalidError: By `check`.
        """
        response = live.upstream.response
        assert response is not None  # noqa: S101 - it is whole
        self._take_answer(live.served, live.started, response, live.permit)
        with _Telling(self):
            await self._end(live, Verdict.OK)
        return self._answered(response, check)

    async def interrupted(self, live: Live, error: Exception, *, restarts: bool) -> tuple[Live, Restarted]:
        """End a stream that failed after its commit point with `error`; if it `restarts`, return the next one. So it
        does if the model has thought, but said nothing, and is nudged.

        Raises:
            StreamInterruptedError: The answer was cut off, and there is no other.
            TimeoutExceededError: The timeout ended. Its `partial` is what had come.
            ActorStoppedError: The supervisor is closed or closing. Its `partial` is what had come.
            OSError: The machine is at fault, no provider.
        """
        partial = live.upstream.partial
        with _Telling(self):
            try:
                step = await self._interrupt(live, error)
                cut = self._account.last_error
                if self._account.is_over:
                    raise self._account.end() from self._account.cause()
                if isinstance(step, Raise) or not (restarts or (isinstance(step, Again) and step.nudges)):
                    raise self._cut_off(partial, cut) from cut
                return await self._restart(live, step), self._restarted(cut)
            except (TimeoutExceededError, ActorStoppedError) as ended:
                ended.partial = partial
                raise
            except (AttemptError, AllAttemptsFailedError, AllRoutesClosedError) as failed:
                raise self._cut_off(partial, cut) from failed

    async def _restart(self, live: Live, step: Next) -> Live:
        """Return the stream that follows one that was cut off."""
        if isinstance(step, Again):
            await live.served.endpoint.wait_stopped(self._course.wait_for(live.served, step.wait))
        else:
            self._course.advance()
        return await self._open()

    def _restarted(self, cut: AttemptError) -> Restarted:
        route = self._course.at_hand.route
        return Restarted(route.transport, route.model, cut.failure.reason)

    def _cut_off(self, partial: Partial, cut: AttemptError) -> TrailedError:
        self._account.cause()  # let go
        interrupted = StreamInterruptedError(self._chain.agent, partial, cut.failure.reason, cut.verdict)
        return self._account.with_trail(interrupted)

    async def left(self, live: Live) -> None:
        """End a stream that its caller does not read on. An answer that is whole by then counts as any other."""
        response = live.upstream.response
        try:
            await self._end(live, Verdict.NO_VERDICT if response is None else Verdict.OK)
        finally:
            self._left(live, response)

    def abandoned(self, live: Live) -> None:
        """End a stream that nobody has any more, without waiting: its endpoint closes the connection."""
        response = live.upstream.response
        live.leave()
        live.permit.settle(Verdict.NO_VERDICT if response is None else Verdict.OK)
        live.served.endpoint.abandon(live.upstream)
        self._left(live, response)

    def _left(self, live: Live, response: Response | None) -> None:
        if response is not None:
            self._take_answer(live.served, live.started, response, live.permit)
            self._answered(response)
            return
        first_token = _first_token(live.permit, live.started)
        self._account.left(live.served.route, live.started, first_token=first_token, status=200)
        self.ended(error="cancelled", partial=live.upstream.partial)

    def _answered(self, response: Response, check: Callable[[Response], Response] | None = None) -> Response:
        served = self._course.at_hand
        response = self._account.signed(response, served.route.price, is_fallback=served.place > 0)
        try:
            response = response if check is None else check(response)
        except ResponseInvalidError as error:
            self.ended(response, error=type(error).__name__, reason=str(error))
            raise
        self.ended(response)
        return response

    async def _open(self) -> Live:
        given = await self._pursue()
        assert isinstance(given, Live)  # noqa: S101 - it opens
        return given

    async def _pursue(self) -> Response | Live:
        """Ask one route after the other."""
        while True:
            served, permit = await self._course.admitted()
            given, step = await self._ask(served, permit)
            if given is not None:
                return given
            match step:
                case Raise():
                    raise self._account.end() from self._account.cause()
                case Again(wait):
                    await served.endpoint.wait_stopped(self._course.wait_for(served, wait))
                case _:
                    self._course.advance()

    async def _ask(self, served: Served, permit: Permit) -> tuple[Response | Live | None, Next]:
        """Ask one route under its permit; a retry in place stays under the same one, so both are one outcome.

        A stream that has begun keeps the permit.
        """
        verdict, failure, started = Verdict.NO_VERDICT, None, permit.admitted_at
        given: Response | Live | None = None
        if not self._course.is_retry:
            served.endpoint.asked(permit)
        try:
            while True:
                given = await self._attempt(served, permit, started)
                if given is not None:
                    verdict = Verdict.OK
                    return given, Raise.NOW
                failure = self._account.last_failure
                verdict, step = failure.verdict, self._course.step(failure, served, permit)
                if not (isinstance(step, Again) and step.in_place):
                    return None, step
                verdict, failure = Verdict.NO_VERDICT, None
                if await served.endpoint.wait_stopped(step.wait):
                    raise self._account.with_trail(ActorStoppedError(served.endpoint.name))
                started = anyio.current_time()
        finally:
            if not isinstance(given, Live):
                permit.settle(verdict, failure)

    async def _attempt(self, served: Served, permit: Permit, started: float) -> Response | Live | None:
        """Make one attempt. None when it failed; its failure is then the account's last."""
        route, question = served.route, self._question
        request = self._request(route)
        bounds = self._course.bounds(served, started, is_probe=permit.is_probe)
        try:
            if question.opens:
                return await begun(served, permit, request, bounds)
            exchange = streamed if self._course.streams(served) else whole
            response = await exchange(served, permit, request, bounds)
        except Exception as error:  # noqa: BLE001 - whatever a provider raises gets a verdict, or goes on from there
            self._fail(served, permit, started, error)
            return None
        except BaseException:  # its caller has left
            with suppress(anyio.NoEventLoopError):
                self._account.left(route, started, first_token=_first_token(permit, started))
            raise
        self._take_answer(served, started, response, permit)
        return response

    def _request(self, route: Route) -> Request:
        """Return what a route is asked."""
        question, relay = self._question, self._question.relay
        if relay is not None and relay.wire == route.wire:
            return Request(route.model, (), route.parameters, relay)
        told = question if relay is None else relay.read()
        messages = (*told.messages, NUDGE) if self._course.is_nudged else told.messages
        return Request(route.model, messages, _merged(route.parameters, told.parameters))

    def _take_answer(self, served: Served, started: float, response: Response, permit: Permit) -> None:
        self._account.answered(served.route, started, response, first_token=_first_token(permit, started))
        served.endpoint.answers(served.route.model)

    def _fail(self, served: Served, permit: Permit, started: float, error: Exception) -> None:
        """Take a failed attempt into the account, or raise what is none.

        Raises:
            ActorStoppedError: The endpoint was stopped.
            OSError: The machine is at fault.
        """
        if isinstance(error, ActorStoppedError):
            if permit.stopped:
                self._account.stopped(served.route, started)
            raise self._account.with_trail(error)
        if not isinstance(error, AttemptError):
            if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
                raise error
            error = _internal(served, error)  # a bug of ours must not cost the caller an answer
        self._note(served, started, error, _first_token(permit, started))

    async def _interrupt(self, live: Live, error: Exception) -> Next:
        """Settle a stream that failed after its commit point, and say what follows."""
        verdict, failure = Verdict.NO_VERDICT, None
        try:
            self._fail(live.served, live.permit, live.started, error)
            failure = self._account.last_failure
            verdict = failure.verdict
            return self._course.step(failure, live.served, live.permit)
        finally:
            await self._end(live, verdict, failure)

    async def _end(self, live: Live, verdict: Verdict, failure: Failure | None = None) -> None:
        try:
            await live.close()
        finally:
            live.permit.settle(verdict, failure)

    def _note(self, served: Served, started: float, error: AttemptError, first_token: float | None) -> None:
        """Take note of a failure; what an operator can mend says so, and is told once."""
        route = served.route
        error.__traceback__ = None  # its frames hold the prompt, and say nothing that the trail does not
        if error.verdict.rule.hand_over is HandOver.REFUSED:
            cause, error = error.__cause__, attempt_error(replace(error.failure, help=route.help))
            error.__cause__ = cause
            if served.endpoint.refuses(route.model):
                self._chain.tell(AccessRefused(self._chain.agent, route.transport, route.model, str(error)))
        self._account.failed(route, started, error, first_token=first_token)
        self._course.failed(error.verdict)

    def ended(
        self,
        response: Response | None = None,
        *,
        error: str = "",
        reason: str = "",
        partial: Partial | None = None,
    ) -> None:
        """Tell that the request is over, and first whether that changed who serves the agent."""
        account = self._account
        now = anyio.current_time() if response is None else account.ended_at
        if response is not None and not self._course.stays:  # else the primary was not its first choice
            change = self._chain.serving.answered(self.place, account.begun, now, self._course.why_left)
            if change is not None:
                self._chain.tell(change)
        if not self._is_round:
            over = RequestOver(now - account.begun, *self.trail, self.parameters, response, partial, error, reason)
            tell_end(self._chain, over, self._trace)


@final
class _Telling:
    """Tells that a request is over if the body of its `with` fails."""

    __slots__ = ("_dispatch",)

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            return
        if issubclass(kind, Exception):
            self._dispatch.ended(error=kind.__name__, reason=str(error), partial=getattr(error, "partial", None))
        else:  # cancelled, interrupted, or closed as a coroutine, perhaps after its event loop
            with suppress(anyio.NoEventLoopError):
                self._dispatch.ended(error="cancelled")


def tell_end(chain: Chain, over: RequestOver, trace: Trace | None) -> None:
    """Tell hooks and tracers that a request is over."""
    answer = None if over.error else over.response
    chain.tell(
        RequestEnded(
            chain.agent,
            None if answer is None else answer.transport,
            None if answer is None else answer.model,
            answer is not None and answer.is_fallback,
            over.duration,
            over.attempts,
            over.passed_over,
            over.error,
            None if over.response is None else over.response.usage,
            None if over.response is None else over.response.cost,
        )
    )
    if trace is not None:
        trace.end(over)


def traced_from(chain: Chain, question: Question) -> Trace | None:
    """Begin the trace of a request, if anybody wants one."""
    within = question.within
    if within is None and not chain.tracing:
        return None
    streams = question.opens or question.stream_upstream
    begun = RequestBegun(chain.agent, question.about, question.messages, question.parameters, streams)
    return chain.tracing.begin(begun) if within is None else within.begin(begun)


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


def _internal(served: Served, bug: Exception) -> AttemptError:
    route, said = served.route, f"{type(bug).__name__} in the provider"
    failure = Failure(transport=route.transport, model=route.model, verdict=Verdict.INTERNAL, said=said)
    error = attempt_error(failure)
    error.__cause__ = bug
    return error


def _first_token(permit: Permit, started: float) -> float | None:
    return None if permit.began_at is None else permit.began_at - started
