"""The course of one request through its agent's chain: which route is at hand, whether it takes the request, how long
an attempt may take there, and what follows one that failed.

What follows a failure is decided in `_routing.py`, who may be asked at all in the actors; here it is carried out. What
is said to a provider, and what is made of its answer, stands in `_dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import final

from ..actors import Permit, Refusal, Refused
from ..providers import (
    ActorStoppedError,
    Failure,
    HandOver,
    Message,
    Parameters,
    Relay,
    Retry,
    UnreadableError,
    Verdict,
)
from ._account import Account
from ._events import Event
from ._live import Bounds, Served
from ._routing import Again, Failed, Next, Progress, after, backoff, probe_limit, share, worth_waiting
from ._serving import Serving
from ._tracing import NOTHING, UNTRACED, About, Trace, Tracing

SPILL_AFTER = 2.0
"""Seconds at most that a request waits for a place at a full endpoint; never more than a quarter of what remains."""

LEASE_MARGIN = 1.0
"""Seconds that a probe's place is kept beyond the limit of its attempt (R-CB-6)."""


@final
@dataclass(frozen=True, slots=True)
class Chain:
    """What all requests of an agent share. `tell` takes events and does not raise. `wires` are those of its routes."""

    agent: str
    routes: tuple[Served, ...]
    rand: Callable[[], float]
    tell: Callable[[Event], None]
    serving: Serving
    tracing: Tracing = UNTRACED
    wires: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wires", frozenset(served.route.wire for served in self.routes))


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the conversation, the parameters, the `timeout` in seconds for everything, and which route of the
    chain comes `first`, counted from 0; the others follow in their order. With `stream_upstream` a whole answer is
    streamed from whoever gives it; with `opens` it is handed out as it comes. `nudges` is how many empty answers are
    answered with a word that the model should go on, before one is handed over. `about` is for its trace, which lies
    `within` another one, if that is given. `relay` is what a client of the gateway sent: a route with the same wire
    gets it so, another one in neutral form, unless it has none. Messages and parameters are then for its trace alone.
    """

    messages: tuple[Message, ...]
    parameters: Parameters
    timeout: float
    first: int = 0
    stream_upstream: bool = False
    opens: bool = False
    nudges: int = 0
    about: About = NOTHING
    within: Trace | None = None
    relay: Relay | None = None


@final
class Course:
    """Where one request is in its chain. `stays` says that the primary was not its first choice, `is_nudged` that the
    route at hand is told to go on.
    """

    def __init__(self, chain: Chain, question: Question, account: Account) -> None:
        self._chain, self._question, self._account = chain, question, account
        self.is_nudged = False
        routes, first = chain.routes, question.first
        self._order: tuple[Served, ...] = (routes[first], *routes[:first], *routes[first + 1 :]) if first else routes
        self._lone = len(self._order) == 1
        self._progress = Progress(routes=len(self._order), nudges=question.nudges)
        relay = question.relay
        self._may_narrow = relay is not None and len(chain.wires) > 1
        if self._may_narrow and relay is not None and routes[0].route.wire != relay.wire:
            self._narrow()
        self.stays = self._order[0].place > 0
        self._early = False
        self._refusals: list[tuple[Served, Refusal]] = []

    def _narrow(self) -> bool:
        """Leave out the routes that cannot be told what a client sent; say whether that leaves out any.

        Whether they can is found out where it first matters: if the first route is of another wire, when it is given
        less time for the sake of the others, or when it does not answer. Until then it is asked as if they could be.
        """
        relay, self._may_narrow = self._question.relay, False
        if relay is None or not (reason := untold(relay)):
            return False
        for served in self._order:
            if served.route.wire != relay.wire:
                self._account.leave_out(served.route, reason)
        self._order = tuple(served for served in self._order if served.route.wire == relay.wire)
        self._lone, self._progress.routes = len(self._order) == 1, len(self._order)
        return True

    @property
    def at_hand(self) -> Served:
        """The route at hand."""
        return self._order[self._progress.route]

    @property
    def is_retry(self) -> bool:
        """Has the route at hand been asked before?"""
        return self._progress.tries > 0

    async def admitted(self) -> tuple[Served, Permit]:
        """Return the next route that takes the request, and its permit.

        Raises:
            AttemptError: There is none; the one that was asked failed so. So for the next two.
            AllAttemptsFailedError: There is none, and several failed.
            AllRoutesClosedError: There is none, and none was asked.
            TimeoutExceededError: The timeout ended.
            ActorStoppedError: The supervisor is closed or closing.
        """
        while True:
            served = self.at_hand
            permit = await self._admit(served)
            if isinstance(permit, Permit):
                return served, permit
            if self._may_narrow and self._narrow() and not (permit.why is Refused.FULL and self.at_hand is served):
                continue  # the same route may take it now, which is not true of one that is full
            if await self._waited(served, permit):
                continue
            early = self._pass_over(served, permit)
            if early is not None:
                return self.at_hand, early

    async def _admit(self, served: Served) -> Permit | Refusal:
        """Ask for a permit, and wait a little for a place where there is none."""
        endpoint, model = served.endpoint, served.route.model
        permit = endpoint.admit(model, lone=self._lone, lease_for=self._lease_for)
        if isinstance(permit, Refusal) and permit.why is Refused.FULL:
            wait_for = min(SPILL_AFTER, self._account.remaining / 4)
            permit = await endpoint.wait_admit(model, wait_for, lone=self._lone, lease_for=self._lease_for)
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

    def streams(self, served: Served) -> bool:
        """Say whether what is asked of a route comes as a stream.

        A whole answer that only its own bytes can say is not put together from one.
        """
        question = self._question
        if question.opens or not (question.stream_upstream or served.route.stream_upstream):
            return question.opens
        return question.relay is None or not untold(question.relay)

    def bounds(self, served: Served, now: float, *, is_probe: bool) -> Bounds:
        """Return how long an attempt may take, and until when."""
        limits, routes_left = served.route.limits, self._progress.routes - self._progress.route
        limit = min(limits.attempt, limits.first_token) if self.streams(served) else limits.attempt
        if is_probe:
            limit = min(limit, self._probe_limit(served))
        left = self._account.deadline - now
        within, is_callers = share(limit, left, routes_left)
        if self._may_narrow and (is_callers or is_probe) and self._narrow():
            return self.bounds(served, now, is_probe=is_probe)
        until = self._account.deadline if self._question.opens else now + max(left, 0.0) / routes_left
        return Bounds(within, is_callers, until)

    def _probe_limit(self, served: Served) -> float:
        """Return the seconds that a probe may take: fewer than other attempts while there is somebody else to ask, and
        when it is early: until it ends, nobody else finds out.
        """
        limits = served.route.limits
        if not self._progress.has_next and (self._lone or not self._early):
            return limits.attempt
        endpoint, model = served.endpoint, served.route.model
        usual = endpoint.usual_first_for(model) if self.streams(served) else endpoint.usual_for(model)
        return probe_limit(limits.attempt, limits.first_token, usual)

    def _lease_for(self) -> float:
        """Return the seconds that the place of a probe on the route at hand is kept."""
        return self._probe_limit(self.at_hand) + LEASE_MARGIN

    def failed(self, verdict: Verdict) -> None:
        """Count a failed attempt."""
        if self._may_narrow:
            self._narrow()
        progress = self._progress
        progress.attempts += 1
        progress.tries += 1
        progress.internal += verdict is Verdict.INTERNAL

    def step(self, failure: Failure, served: Served, permit: Permit) -> Next:
        """Say what follows a failure. A retry has to be within the endpoint's budget, too."""
        is_clear = not (permit.is_probe or self._early) and served.endpoint.is_clear(served.route.model)
        failed = Failed(failure.verdict, failure.retry_after, failure.retry_forbidden, is_clear)
        progress, policy, account = self._progress, served.route.policy, self._account
        remaining = max(account.deadline - account.ended_at, 0.0)  # it has ended just now
        step = after(failed, progress, policy, remaining, self._chain.rand)
        if isinstance(step, Again) and not served.endpoint.may_retry():
            step = after(replace(failed, retry_forbidden=True), progress, policy, remaining, self._chain.rand)
        if isinstance(step, Again):
            progress.retried_in_place += step.in_place and not step.nudges
            progress.retried_once |= failure.verdict.rule.retry is Retry.ONCE
            progress.nudges -= step.nudges
            self.is_nudged = self.is_nudged or step.nudges
        return step

    def wait_for(self, served: Served, wait: float) -> float:
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
            self.advance()
            return 0.0
        raise self._account.end() from self._account.cause()

    def advance(self) -> None:
        """Go on to the next route."""
        progress = self._progress
        progress.route += 1
        progress.tries, progress.retried_once, self.is_nudged = 0, False, False

    def _pass_over(self, served: Served, refusal: Refusal) -> Permit | None:
        """Go on to the next route without asking this one. After the last one end, unless one may be asked early."""
        if refusal.why is Refused.STOPPED:
            raise self._account.with_trail(ActorStoppedError(served.endpoint.name))
        if not self._early:  # else it is in the trail already
            self._account.pass_over(served.route, refusal)
            self._refusals.append((served, refusal))
        if self._progress.has_next:
            self.advance()
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
            served.route.model, lease_for=lambda: self._probe_limit(served) + LEASE_MARGIN, early=True
        )
        if isinstance(permit, Refusal):
            return None
        self._order = (served, *(routes[route] for route in sorted(in_time - {first})))
        self._progress = Progress(routes=len(self._order), nudges=self._progress.nudges)
        return permit

    def why_left(self) -> str:
        """Return why the primary did not answer: it was passed over, or the first attempt was its own."""
        if self._refusals and self._refusals[0][0].place == 0:
            return str(self._refusals[0][1])
        return self._account.attempts[0].reason


def untold(relay: Relay) -> str:
    """Return why a route of another wire cannot be told what a client sent; empty if it can."""
    try:
        return relay.read().reason
    except UnreadableError as error:
        return error.said


def _may_open(refusal: Refusal, within: float) -> bool:
    return refusal.why is Refused.FULL or (refusal.retry_after is not None and refusal.retry_after < within)
