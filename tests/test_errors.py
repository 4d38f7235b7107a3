"""The errors: one tree, a class for each verdict, and what a caller sees when several attempts failed."""

from __future__ import annotations

import pytest

from understudy import providers
from understudy.providers import (
    AccessRefusedError,
    ActorStoppedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    Attempt,
    AttemptError,
    AttemptTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    Failure,
    MailboxFullError,
    PassedOver,
    Problem,
    QuotaExceededError,
    RateLimitedError,
    RequestRejectedError,
    ResponseMalformedError,
    RetryableError,
    ServerFailedError,
    TimeoutExceededError,
    TrailedError,
    UnderstudyError,
    Verdict,
    _errors,
    attempt_error,
    outward,
)

V = Verdict

CLASSES: dict[type[AttemptError], set[Verdict]] = {
    RateLimitedError: {V.THROTTLED},
    ServerFailedError: {V.PROVIDER, V.OVERLOADED, V.TRANSIENT, V.CONFLICT, V.EDGE},
    AttemptTimeoutError: {V.TIMEOUT, V.CUT_SHORT},
    ConnectionFailedError: {V.CONNECT, V.TLS_TRUST},
    ResponseMalformedError: {V.MALFORMED, V.TRUNCATED, V.EMPTY},
    QuotaExceededError: {V.QUOTA},
    AccessRefusedError: {V.STALE_CONNECTION, V.AUTH, V.CREDENTIAL, V.AUTHZ, V.NOT_FOUND, V.MISCONFIGURED},
    RequestRejectedError: {V.CALLER, V.CAPABILITY, V.POLICY},
    AttemptError: {V.OK, V.LOCAL_CONFIG, V.LOCAL_OVERLOAD, V.INTERNAL, V.STOPPED, V.NO_VERDICT},
}


def failure(verdict: Verdict, status: int | None = 418) -> Failure:
    return Failure(transport="openai", model="gpt", verdict=verdict, status=status)


def attempt(
    verdict: Verdict, *, status: int | None = None, retry_after: float | None = None, number: int = 1
) -> Attempt:
    return Attempt(number, "openai", "gpt", verdict, 0.0, 0.1, status, retry_after=retry_after)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_makes_an_error_of_its_class(verdict: Verdict) -> None:
    """The class answers whose fault it is; a verdict without a class of its own is a plain `AttemptError`."""
    (expected,) = (kind for kind, verdicts in CLASSES.items() if verdict in verdicts)
    assert type(attempt_error(failure(verdict))) is expected


def test_a_connection_lost_before_any_answer_is_a_connection_failure() -> None:
    """A provider that failed without an HTTP status never answered: that is the connection."""
    assert type(attempt_error(failure(V.PROVIDER, status=None))) is ConnectionFailedError


@pytest.mark.parametrize("verdict", Verdict)
def test_only_what_somebody_else_may_answer_is_retryable(verdict: Verdict) -> None:
    """A `RetryableError` is always handed over, and what is never handed over is none."""
    if isinstance(attempt_error(failure(verdict)), RetryableError):
        assert verdict.rule.hand_over is providers.HandOver.YES


def test_an_attempt_error_tells_its_facts() -> None:
    """Each fact of the failure is an attribute of the error."""
    facts = Failure(
        transport="openai",
        model="gpt",
        verdict=V.THROTTLED,
        status=429,
        request_id="req_1",
        retry_after=7.0,
        after=1.5,
    )
    error = attempt_error(facts)
    assert (error.transport, error.model, error.verdict, error.status) == ("openai", "gpt", V.THROTTLED, 429)
    assert (error.request_id, error.retry_after, error.after, error.failure) == ("req_1", 7.0, 1.5, facts)
    assert (error.attempts, error.passed_over) == ((), ())


TRIED = (
    Attempt(1, "openai", "gpt", V.OVERLOADED, 0.0, 0.1, 503, reason="overloaded (HTTP 503)"),
    Attempt(2, "anthropic", "claude", V.CALLER, 0.1, 0.1, 400),
)
CLOSED = (PassedOver("nous", "hermes", "circuit open", 12.0), PassedOver("gemini", "flash", "held", 4.0))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (attempt_error(Failure(transport="t", model="m", verdict=V.CONNECT)), "t m: connect"),
        (
            attempt_error(
                Failure(
                    transport="t", model="m", verdict=V.AUTH, said="bad key", status=401, help="check LLM_T_API_KEY"
                )
            ),
            "t m: auth (HTTP 401): bad key; check LLM_T_API_KEY",
        ),
        (attempt_error(Failure(transport="t", model="m", verdict=V.TIMEOUT, after=2.5)), "t m: timeout after 2.5 s"),
        (
            AllAttemptsFailedError("deriver", TRIED, CLOSED[:1]),
            "agent 'deriver': all 2 attempts failed\n"
            "  1. openai gpt: overloaded (HTTP 503)\n"
            "  2. anthropic claude: caller\n"
            "  not asked: nous hermes: circuit open",
        ),
        (
            AllRoutesClosedError("deriver", CLOSED),
            "agent 'deriver': no route takes the request now (nous hermes: circuit open; gemini flash: held)",
        ),
        (
            TimeoutExceededError("deriver", 30.0, TRIED[:1]),
            "agent 'deriver': no answer within the timeout of 30 s\n  1. openai gpt: overloaded (HTTP 503)",
        ),
        (MailboxFullError("openai at x", 64), "the mailbox of openai at x is full (64 messages)"),
        (ActorStoppedError("openai at x"), "openai at x has stopped: its supervisor is closed or closing"),
    ],
)
def test_messages_are_built_from_the_facts(error: UnderstudyError, message: str) -> None:
    """A message says who, what and how to mend it, and nothing where there is nothing to say."""
    assert str(error) == message


@pytest.mark.parametrize(
    ("attempts", "status"),
    [
        # the most retryable one, in either order
        ([attempt(V.OVERLOADED, status=503), attempt(V.CALLER, status=400)], 503),
        ([attempt(V.CALLER, status=400), attempt(V.OVERLOADED, status=503)], 503),
        ([attempt(V.CONNECT), attempt(V.CALLER, status=400)], 502),
        ([attempt(V.TLS_TRUST), attempt(V.CAPABILITY, status=400)], 502),
        ([attempt(V.TIMEOUT), attempt(V.CALLER, status=422)], 504),
        ([attempt(V.THROTTLED, status=429), attempt(V.AUTH, status=401)], 429),
        ([attempt(V.PROVIDER, status=500), attempt(V.QUOTA, status=402)], 500),
        ([attempt(V.EMPTY, status=200), attempt(V.POLICY, status=400)], 502),
        ([attempt(V.NOT_FOUND, status=404), attempt(V.CALLER, status=400)], 404),
        ([attempt(V.QUOTA, status=429), attempt(V.CALLER, status=400)], 402),
        ([attempt(V.EDGE, status=403)], 502),
        ([attempt(V.LOCAL_OVERLOAD), attempt(V.CALLER, status=400)], 503),
        # the first of equals
        ([attempt(V.OVERLOADED, status=503), attempt(V.PROVIDER, status=500)], 503),
        ([attempt(V.PROVIDER, status=500), attempt(V.OVERLOADED, status=503)], 500),
        # a status below 400 is none for a caller
        ([attempt(V.MALFORMED, status=200)], 502),
        ([attempt(V.THROTTLED, status=200)], 429),
        ([attempt(V.MISCONFIGURED, status=302)], 502),
        ([attempt(V.CALLER, status=413)], 413),
        ([attempt(V.OK)], 502),
    ],
)
def test_the_outward_status_is_the_most_retryable_one(attempts: list[Attempt], status: int) -> None:
    """A caller sees the status of the failure most worth asking again after."""
    assert AllAttemptsFailedError("a", tuple(attempts)).status == status


@pytest.mark.parametrize("verdict", [v for v in Verdict if isinstance(attempt_error(failure(v)), RetryableError)])
@pytest.mark.parametrize("rejected", [V.CALLER, V.CAPABILITY, V.POLICY])
def test_one_rejection_never_hides_a_retryable_failure(verdict: Verdict, rejected: Verdict) -> None:
    """A fallback's 400 says nothing about the next request, so it is never what the caller sees."""
    attempts = (attempt(verdict), attempt(rejected, status=400))
    assert outward(attempts) is outward(attempts[::-1]) is attempts[0]
    assert AllAttemptsFailedError("a", attempts).status != 400


@pytest.mark.parametrize(
    ("hints", "expected"), [((), None), ((None, None), None), ((30.0, None, 7.0), 7.0), ((0.0,), 0)]
)
def test_the_smallest_hint_is_passed_on(hints: tuple[float | None, ...], expected: float | None) -> None:
    """The caller may come back when the first route may be asked, whether routes were asked or passed over."""
    tried = tuple(attempt(V.THROTTLED, retry_after=hint) for hint in hints)
    assert AllAttemptsFailedError("a", tried).retry_after == expected
    closed = tuple(PassedOver("openai", "gpt", "held", hint) for hint in hints)
    assert AllRoutesClosedError("a", closed).retry_after == expected


def test_all_routes_closed_gives_every_reason() -> None:
    """Why each route was passed over stands in `reasons`, in order."""
    assert AllRoutesClosedError("a", CLOSED).reasons == ("circuit open", "held")


def test_the_callers_timeout_is_a_timeout_error() -> None:
    """Code that catches the built-in `TimeoutError` catches ours, and finds the trail in it."""
    error = TimeoutExceededError("deriver", 30.0, TRIED, CLOSED)
    assert isinstance(error, TimeoutError)
    assert (error.timeout, error.attempts, error.passed_over) == (30.0, TRIED, CLOSED)


@pytest.mark.parametrize(("count", "head"), [(1, "one mistake:"), (2, "2 mistakes:")])
def test_a_configuration_error_lists_every_problem(count: int, head: str) -> None:
    """Every mistake stands in the message, one per line, with the variable, what was expected and the remedy."""
    problems = [Problem(f"LLM_{n}", "a number", "write one") for n in range(count)]
    error = ConfigurationError(problems, partial="what could be read")
    assert error.problems == tuple(problems)
    assert error.partial == "what could be read"
    lines = str(error).splitlines()
    assert lines[0].endswith(head)
    assert lines[1:] == [f"  LLM_{n}: expected a number; write one" for n in range(count)]


def drawn() -> dict[str, str | None]:
    """Read the tree in the module's docstring: each class with its parent."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (_errors.__doc__ or "").splitlines():
        name, indent = line.lstrip("│├└─ \t").split(" ")[0], len(line) - len(line.lstrip("│├└─ \t"))
        if name.endswith("Error") and (indent or name == "UnderstudyError"):
            path = path[: indent // 4]
            parents[name] = path[-1] if path else None
            path.append(name)
    return parents


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    """Each class stands in the docstring below the nearest of its bases that stands there too."""
    classes = {
        name: kind for name, kind in vars(_errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    parents = drawn()
    assert set(parents) == set(classes) - {TrailedError.__name__}  # it only shares attributes
    for name, parent in parents.items():
        bases = [base.__name__ for base in classes[name].__mro__[1:] if base.__name__ in parents]
        assert bases[:1] == ([parent] if parent else [])


def test_every_error_is_public() -> None:
    """Whoever can be handed an error can also import it."""
    assert set(drawn()) <= set(providers.__all__)
