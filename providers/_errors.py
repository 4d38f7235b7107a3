"""Every error of this project, in one tree. A class answers "whose fault, and what next?".

UnderstudyError
├── ConfigurationError           at start-up only; lists every problem at once
├── AttemptError                 one attempt failed: .transport .model .status .verdict .attempts
│   ├── RetryableError           hand it over
│   │   ├── RateLimitedError     .retry_after (seconds)
│   │   ├── ServerFailedError    .status
│   │   ├── AttemptTimeoutError  .after (seconds)
│   │   ├── ConnectionFailedError
│   │   └── ResponseMalformedError
│   ├── QuotaExceededError       waiting does not help
│   ├── AccessRefusedError       401 after its renewal, 403, 404, 421: names variable, model, base URL
│   └── RequestRejectedError     the request is at fault: no transport will like it
├── AllAttemptsFailedError       .attempts in order; __cause__ is the ExceptionGroup
├── AllRoutesClosedError         nobody was asked: .retry_after .reasons
├── TimeoutExceededError         the caller's timeout; also a TimeoutError
├── StreamInterruptedError       .partial: the answer was cut off after its first content
├── ResponseInvalidError         .response: not the shape that was asked for
├── MailboxFullError
└── ActorStoppedError            the actor ended before it could answer

Messages are built here, from named fields. What a provider said is cut and escaped before it gets here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from ._request import Response
from ._stream import Partial
from ._trail import Attempt, PassedOver
from ._verdicts import RULES, HandOver, Verdict


class UnderstudyError(Exception):
    """The root of the tree."""


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, what was expected there, and how to mend it. Never the value.

    `lacks_key` says that all that is missing is a key, which only a real call needs.
    """

    variable: str
    expected: str
    remedy: str
    lacks_key: bool = False

    def __str__(self) -> str:
        return f"{self.variable}: expected {self.expected}; {self.remedy}"


@final
class ConfigurationError(UnderstudyError):
    """The configuration cannot work. `problems` holds every mistake that was found, not just the first.

    `partial` is what could be read in spite of them, where there is such a thing, so that the rest can be checked too.
    """

    def __init__(self, problems: Sequence[Problem], *, partial: object = None) -> None:
        self.problems, self.partial = tuple(problems), partial
        count = "one mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {problem}" for problem in self.problems)]))


class TrailedError(UnderstudyError):
    """An error that ends a request. `attempts` and `passed_over` say what was tried and what was not; `partial` is what
    had come of a stream whose first content had been handed out, else None.
    """

    attempts: tuple[Attempt, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    partial: Partial | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The facts of one failed attempt, as a provider found them.

    `said` is the provider's own message, clean; `retry_after` is in seconds; `retry_forbidden` says that the
    provider does not want to be asked again itself; `help` says how to mend what an operator can mend. `of_account`
    says that a limit is the account's: no other model of it will answer either. `codes` are the provider's own words
    for what is wrong, in lower case, the most specific first; `parameter` is the field of the request that it names.
    """

    transport: str
    model: str
    verdict: Verdict
    said: str = ""
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    retry_forbidden: bool = False
    after: float | None = None
    help: str = ""
    of_account: bool = False
    codes: tuple[str, ...] = ()
    parameter: str = ""
    _reason: str = field(default="", init=False, repr=False, compare=False)

    @property
    def reason(self) -> str:
        """What happened, for a reader who knows whom it is about."""
        if not self._reason:
            object.__setattr__(self, "_reason", self._told())
        return self._reason

    def _told(self) -> str:
        status = f" (HTTP {self.status})" if self.status is not None else ""
        after = f" after {self.after:.3g} s" if self.after is not None else ""
        said, help_ = f": {self.said}" if self.said else "", f"; {self.help}" if self.help else ""
        return f"{self.verdict}{status}{after}{said}{help_}"

    def __str__(self) -> str:
        return f"{self.transport} {self.model}: {self.reason}"


class AttemptError(TrailedError):
    """One attempt failed; `failure` holds its facts. Raised to the caller when there was nothing left to try."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return str(self.failure)

    @property
    def transport(self) -> str:
        """The transport that was asked."""
        return self.failure.transport

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.failure.model

    @property
    def verdict(self) -> Verdict:
        """What the failure means."""
        return self.failure.verdict

    @property
    def status(self) -> int | None:
        """The HTTP status of the provider; None when there was no HTTP answer."""
        return self.failure.status

    @property
    def request_id(self) -> str | None:
        """The provider's name for the request, for its support."""
        return self.failure.request_id

    @property
    def retry_after(self) -> float | None:
        """Seconds the provider asks not to be asked; None if it did not say."""
        return self.failure.retry_after

    @property
    def after(self) -> float | None:
        """Seconds after which a limit ended the attempt; None for every other end."""
        return self.failure.after


class RetryableError(AttemptError):
    """Somebody else may well answer."""


@final
class RateLimitedError(RetryableError):
    """The provider is alive, but asks for less."""


@final
class ServerFailedError(RetryableError):
    """The provider, or something in front of it, failed."""


@final
class AttemptTimeoutError(RetryableError):
    """The attempt took longer than its limit."""


@final
class ConnectionFailedError(RetryableError):
    """There was no connection, or it was lost before an answer."""


@final
class ResponseMalformedError(RetryableError):
    """What came was not an answer, or an empty one."""


@final
class QuotaExceededError(AttemptError):
    """The account is out of credit or over its quota. Waiting does not help."""


@final
class AccessRefusedError(AttemptError):
    """The credential, the model or the address is wrong; the message names what to look at."""


@final
class RequestRejectedError(AttemptError):
    """The request itself is at fault: no transport will like it."""


_CLASSES: dict[Verdict, type[AttemptError]] = {
    Verdict.THROTTLED: RateLimitedError,
    Verdict.OVERLOADED: ServerFailedError,
    Verdict.PROVIDER: ServerFailedError,
    Verdict.TRANSIENT: ServerFailedError,
    Verdict.CONFLICT: ServerFailedError,
    Verdict.EDGE: ServerFailedError,
    Verdict.TIMEOUT: AttemptTimeoutError,
    Verdict.CUT_SHORT: AttemptTimeoutError,
    Verdict.CONNECT: ConnectionFailedError,
    Verdict.TLS_TRUST: ConnectionFailedError,
    Verdict.STALE_CONNECTION: AccessRefusedError,
    Verdict.MALFORMED: ResponseMalformedError,
    Verdict.TRUNCATED: ResponseMalformedError,
    Verdict.EMPTY: ResponseMalformedError,
    Verdict.QUOTA: QuotaExceededError,
    Verdict.AUTH: AccessRefusedError,
    Verdict.CREDENTIAL: AccessRefusedError,
    Verdict.AUTHZ: AccessRefusedError,
    Verdict.NOT_FOUND: AccessRefusedError,
    Verdict.MISCONFIGURED: AccessRefusedError,
    Verdict.CALLER: RequestRejectedError,
    Verdict.CAPABILITY: RequestRejectedError,
    Verdict.POLICY: RequestRejectedError,
}


def attempt_error(failure: Failure) -> AttemptError:
    """Make the error that fits the verdict; one without a class of its own is a plain `AttemptError`."""
    if failure.verdict is Verdict.PROVIDER and failure.status is None:  # reset before any answer
        return ConnectionFailedError(failure)
    return _CLASSES.get(failure.verdict, AttemptError)(failure)


_MERIT: dict[Verdict, int] = {
    verdict: (0 if rule.hand_over is HandOver.NO else 1 if rule.hand_over is HandOver.OPT_IN else 2)
    + (4 if rule.hand_over is HandOver.YES and verdict not in {Verdict.QUOTA, Verdict.INTERNAL} else 0)
    + (2 if rule.hint and verdict is not Verdict.QUOTA else 0)
    for verdict, rule in RULES.items()
}
"""How much sense it makes for a caller to ask again later, highest first."""


def outward(attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt whose status a caller should see: the one that makes asking again most sensible.

    A primary's 503 and a fallback's 400 are a 503: the 400 says nothing about the next request.
    """
    return max(attempts, key=lambda attempt: _MERIT[attempt.verdict])


def outward_status(verdict: Verdict, status: int | None) -> int:
    """Return the HTTP status that a caller should see of a failure.

    A provider's own `status` is passed on if it says as much as the verdict does: a firewall's 403 is a 502.
    """
    least = 500 if verdict.rule.hand_over is HandOver.YES else 400
    return status if status is not None and status >= least else verdict.rule.outward or 502


@final
class AllAttemptsFailedError(TrailedError):
    """Everybody who was asked failed. `__cause__` is an `ExceptionGroup` of what each attempt raised.

    `status` is the HTTP status a caller should see: that of the failure most worth asking again after.
    """

    def __init__(self, agent: str, attempts: tuple[Attempt, ...], passed_over: tuple[PassedOver, ...] = ()) -> None:
        self.attempts, self.passed_over, self.agent = attempts, passed_over, agent
        tried = (f"\n  {a.number}. {a.transport} {a.model}: {a.reason or a.verdict}" for a in attempts)
        passed = (f"\n  not asked: {p.transport} {p.model}: {p.reason}" for p in passed_over)
        super().__init__(f"agent {agent!r}: all {len(attempts)} attempts failed" + "".join([*tried, *passed]))

    @property
    def status(self) -> int:
        """The HTTP status for the caller: the most retryable one of the attempts'; see `outward_status`."""
        most = outward(self.attempts)
        return outward_status(most.verdict, most.status)

    @property
    def retry_after(self) -> float | None:
        """The smallest number of seconds that any of the providers asked for; None if none did."""
        return min((a.retry_after for a in self.attempts if a.retry_after is not None), default=None)


@final
class AllRoutesClosedError(TrailedError):
    """Nobody was asked: no route would take the request. `retry_after` is in seconds, None if not known."""

    def __init__(self, agent: str, passed_over: tuple[PassedOver, ...]) -> None:
        self.passed_over, self.agent = passed_over, agent
        closed = "; ".join(f"{route.transport} {route.model}: {route.reason}" for route in passed_over)
        super().__init__(f"agent {agent!r}: no route takes the request now ({closed})")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each route was passed over, in order."""
        return tuple(route.reason for route in self.passed_over)

    @property
    def retry_after(self) -> float | None:
        """In how many seconds the first route may be asked again."""
        return min((r.retry_after for r in self.passed_over if r.retry_after is not None), default=None)


@final
class TimeoutExceededError(TrailedError, TimeoutError):
    """The caller's timeout (`timeout`, seconds) ended before anybody had answered."""

    def __init__(
        self,
        agent: str,
        timeout: float,
        attempts: tuple[Attempt, ...],
        passed_over: tuple[PassedOver, ...] = (),
    ) -> None:
        self.attempts, self.passed_over, self.agent, self.timeout = attempts, passed_over, agent, timeout
        tried = (f"\n  {a.number}. {a.transport} {a.model}: {a.reason or a.verdict}" for a in attempts)
        super().__init__(f"agent {agent!r}: no answer within the timeout of {timeout:g} s" + "".join(tried))


@final
class StreamInterruptedError(TrailedError):
    """An answer was cut off after its first content had been handed out. `partial` is what had come of it.

    `__cause__` is the `AttemptError` that says why, or the error that ended the search for another answer. `verdict`
    is what the interruption means.
    """

    partial: Partial

    def __init__(self, agent: str, partial: Partial, reason: str, verdict: Verdict) -> None:
        self.agent, self.partial, self.verdict = agent, partial, verdict
        super().__init__(f"agent {agent!r}: the answer of {partial.transport} {partial.model} was cut off: {reason}")


@final
class ResponseInvalidError(TrailedError):
    """The answer has not the shape that was asked for. `response` is the answer as it came, `reason` what is wrong."""

    def __init__(self, agent: str, response: Response, reason: str) -> None:
        self.agent, self.response, self.reason = agent, response, reason
        self.attempts, self.passed_over = response.attempts, response.passed_over
        super().__init__(f"agent {agent!r}: the answer of {response.transport} {response.model} is no use: {reason}")


@final
class MailboxFullError(UnderstudyError):
    """An actor has more messages waiting than it accepts."""

    def __init__(self, actor: str, capacity: int) -> None:
        self.actor, self.capacity = actor, capacity
        super().__init__(f"the mailbox of {actor} is full ({capacity} messages)")


@final
class ActorStoppedError(TrailedError):
    """The actor ended before it could answer: the supervisor is closed or closing. Never handed over."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        super().__init__(f"{actor} has stopped: its supervisor is closed or closing")
