"""Scenarios in virtual time: exact instants, exact order, on both backends."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress

import anyio
import pytest

from understudy import (
    AccessRefusedError,
    AllAttemptsFailedError,
    AllRoutesClosedError,
    AttemptTimeoutError,
    ConnectionFailedError,
    PassedOver,
    QuotaExceededError,
    RateLimitedError,
    RequestRejectedError,
    ServerFailedError,
    TimeoutExceededError,
    UnderstudyError,
    Verdict,
    user,
)
from understudy.actors import Permit
from understudy.simulation import Answer, Behaviour, Hang, Refused, Reset, Script, Status

from .scenario import Got, ask, opened, run

pytestmark = pytest.mark.anyio

FALLBACK = Script.always(Answer("hello", after=3))


def verdicts(got: Got) -> list[Verdict]:
    trailed = got.response or got.error
    return [attempt.verdict for attempt in trailed.attempts]  # type: ignore[union-attr]


async def test_a_healthy_primary_answers_and_nobody_else_is_asked() -> None:
    """One attempt, one answer, no fallback."""
    got = await run({"openai": Script.always(Answer("hi", after=2)), "anthropic": FALLBACK})

    assert got.text == "hi"
    assert got.asked == [("openai", 0)]
    assert got.ended_at == 2
    assert got.response is not None
    assert not got.response.is_fallback
    (attempt,) = got.response.attempts
    assert (attempt.number, attempt.start, attempt.duration, attempt.status) == (1, 0, 2, 200)


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (Status(429, after=2), Verdict.THROTTLED),
        (Status(429, after=2, headers={"retry-after": "30"}), Verdict.THROTTLED),
        (Status(500, after=2), Verdict.PROVIDER),
        (Status(502, after=2, body=b"<html>Bad Gateway</html>", content_type="text/html"), Verdict.PROVIDER),
        (Status(503, after=2), Verdict.OVERLOADED),
        (Status(529, after=2), Verdict.OVERLOADED),
        (Status(408, after=2), Verdict.TIMEOUT),
        (Status(401, after=2), Verdict.AUTH),
        (Status(402, after=2), Verdict.QUOTA),
        (Status(404, after=2), Verdict.NOT_FOUND),
        (Reset(after=2), Verdict.PROVIDER),
    ],
    ids=str,
)
async def test_the_fallback_is_asked_the_instant_the_primary_fails(behaviour: Behaviour, verdict: Verdict) -> None:
    """Hand-over never waits, whatever the failure and whatever hint comes with it."""
    got = await run({"openai": Script.always(behaviour), "anthropic": FALLBACK})

    assert got.text == "hello"
    assert got.asked == [("openai", 0), ("anthropic", 2)]
    assert got.ended_at == 5
    assert verdicts(got) == [verdict, Verdict.OK]
    assert got.response is not None
    assert got.response.is_fallback
    assert [(a.start, a.duration) for a in got.response.attempts] == [(0, 2), (2, 3)]


async def test_a_refused_connection_hands_over_at_once() -> None:
    """A primary where nobody listens costs no time."""
    got = await run({"openai": Script.always(Refused()), "anthropic": FALLBACK})
    assert got.asked == [("openai", 0), ("anthropic", 0)]
    assert verdicts(got) == [Verdict.CONNECT, Verdict.OK]


async def test_a_hanging_primary_costs_its_attempt_limit() -> None:
    """The fallback is asked when the primary's own limit has run out."""
    got = await run({"openai": Script.always(Hang()), "anthropic": FALLBACK}, default_timeout=20)
    assert got.asked == [("openai", 0), ("anthropic", 20)]
    assert verdicts(got) == [Verdict.TIMEOUT, Verdict.OK]


async def test_an_impatient_caller_is_answered_by_the_fallback_and_blames_nobody() -> None:
    """With two routes a hanging primary gets half of the caller's timeout; that counts against nobody."""
    scripts = {"openai": Script.always(Hang()), "anthropic": Script.always(Answer("hello", after=2))}
    async with opened(scripts) as (agent, supervisor, _):
        response = await ask(agent, timeout=5)
        health = supervisor.health()["openai at http://openai.test/v1"]
    assert response.text == "hello"
    assert [a.verdict for a in response.attempts] == [Verdict.CUT_SHORT, Verdict.OK]
    assert [a.start for a in response.attempts] == [0, 2.5]
    assert (health.failed, health.neutral) == (0, 1)


async def test_the_callers_timeout_ends_everything() -> None:
    """When nobody answers in time, the error is a `TimeoutError` and says who was tried for how long."""
    got = await run({"openai": Script.always(Hang()), "anthropic": Script.always(Hang())}, timeout=10)
    assert isinstance(got.error, TimeoutExceededError)
    assert isinstance(got.error, TimeoutError)
    assert got.ended_at == 10
    assert [(a.transport, a.start, a.duration) for a in got.error.attempts] == [("openai", 0, 5), ("anthropic", 5, 5)]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_request_at_fault_passes_through_with_one_call(status: int) -> None:
    """No other provider is asked for what no provider will like."""
    got = await run({"openai": Script.always(Status(status)), "anthropic": FALLBACK})
    assert isinstance(got.error, RequestRejectedError)
    assert got.error.status == status
    assert got.asked == [("openai", 0)]
    assert verdicts(got) == [Verdict.CALLER]
    assert f"simulated {status}" in str(got.error)


async def test_when_both_are_down_one_error_names_both() -> None:
    """The last route is retried with backoff; then one error says everything, its cause being all failures."""
    got = await run({"openai": Script.always(Status(503)), "anthropic": Script.always(Status(500))})

    assert isinstance(got.error, AllAttemptsFailedError)
    assert got.asked == [("openai", 0), ("anthropic", 0), ("anthropic", 0.125)]
    assert "openai openai-model: overloaded (HTTP 503): simulated 503" in str(got.error)
    assert "anthropic anthropic-model: provider (HTTP 500): simulated 500" in str(got.error)
    assert got.error.status == 503
    assert isinstance(got.error.__cause__, ExceptionGroup)
    assert [type(error) for error in got.error.__cause__.exceptions] == [ServerFailedError] * 3


async def test_a_503_and_a_400_are_a_503() -> None:
    """What the fallback thinks of the request does not hide that the primary was down."""
    got = await run({"openai": Script.always(Status(503)), "anthropic": Script.always(Status(400))})
    assert isinstance(got.error, AllAttemptsFailedError)
    assert got.error.status == 503
    assert len(got.asked) == 2


async def test_without_a_fallback_the_primary_is_retried_and_then_fails() -> None:
    """Three attempts with full jitter between them, then one error."""
    got = await run({"openai": Script.always(Status(500, after=1))})
    assert isinstance(got.error, AllAttemptsFailedError)
    assert got.asked == [("openai", 0), ("openai", 1.125), ("openai", 2.375)]


async def test_without_a_fallback_a_retry_that_succeeds_is_the_answer() -> None:
    """The lone primary's second attempt is no fallback."""
    got = await run({"openai": Script.sequence(Status(503), otherwise=Answer("hi"))})
    assert got.text == "hi"
    assert got.response is not None
    assert not got.response.is_fallback
    assert got.asked == [("openai", 0), ("openai", 0.125)]


async def test_without_a_fallback_a_hint_is_waited_for() -> None:
    """A lone route that says when it can be asked again is asked then."""
    script = Script.sequence(Status(429, headers={"retry-after": "7"}), otherwise=Answer("hi"))
    got = await run({"openai": script})
    assert got.asked == [("openai", 0), ("openai", 7)]


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Status(401), AccessRefusedError),
        (Status(402), QuotaExceededError),
        (Status(429, headers={"retry-after": "3600"}), RateLimitedError),
        (Hang(), AttemptTimeoutError),
    ],
    ids=str,
)
async def test_what_no_wait_can_mend_is_raised_as_it_is(behaviour: Behaviour, error: type[Exception]) -> None:
    """A lone route's only attempt raises its own error, with the trail of one."""
    got = await run({"openai": Script.always(behaviour)})
    assert type(got.error) is error
    assert len(got.asked) == len(verdicts(got)) == 1


async def test_a_refusal_names_what_to_look_at() -> None:
    """Variable, model and base URL stand in the message."""
    got = await run({"openai": Script.always(Status(404))})
    assert isinstance(got.error, AccessRefusedError)
    for named in ("DERIVER_MODEL_CONFIG__MODEL", "openai-model", "http://openai.test/v1", "LLM_OPENAI_API_KEY"):
        assert named in str(got.error)


async def test_a_refusal_is_told_once_until_it_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    """One ERROR for each change of state names what to look at, however many requests meet it."""
    refused = Status(403)
    script = Script.sequence(refused, refused, refused, Answer("mended"), refused)
    async with opened({"openai": script, "anthropic": FALLBACK}) as (agent, _, _):
        for _ in range(5):
            await ask(agent)
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR", "ERROR"]
    assert "access_refused agent='deriver' transport='openai'" in caplog.text
    assert "DERIVER_MODEL_CONFIG__MODEL" in caplog.text


async def test_refusals_pass_through_when_so_set() -> None:
    """With `LLM_FALLBACK_ON_REFUSED=never` a wrong key is told, not worked around."""
    scripts = {"openai": Script.always(Status(401)), "anthropic": FALLBACK}
    got = await run(scripts, fallback_on_refused="never")
    assert isinstance(got.error, AccessRefusedError)
    assert got.asked == [("openai", 0)]


async def test_a_retry_in_place_is_one_outcome() -> None:
    """With `LLM_IN_PLACE_RETRIES=1` the primary has a second chance under the same permit, before the fallback."""
    scripts = {"openai": Script.always(Status(500, after=1)), "anthropic": FALLBACK}
    async with opened(scripts, in_place_retries=1) as (agent, supervisor, world):
        response = await ask(agent)
        health = supervisor.health()["openai at http://openai.test/v1"]
    assert [call.at for call in world.log("openai")] == [0, 1.125]
    assert [call.at for call in world.log("anthropic")] == [2.125]
    assert [attempt.verdict for attempt in response.attempts] == [Verdict.PROVIDER, Verdict.PROVIDER, Verdict.OK]
    assert (health.ticket, health.failed) == (1, 1)


async def test_a_chain_of_five_is_walked_to_its_end() -> None:
    """Each route has at least one attempt, whatever `LLM_RETRY_ATTEMPTS` says."""
    names = ("openai", "anthropic", "gemini", "lmstudio")
    scripts = {**{name: Script.always(Status(500, after=1)) for name in names}, "nous": Script.always(Answer("last"))}
    got = await run(scripts)
    assert got.text == "last"
    assert [at for _, at in got.asked] == [0, 1, 2, 3, 4]


async def test_a_full_endpoint_is_waited_for_and_then_passed_over() -> None:
    """Who finds no place waits two seconds at most, then goes on; the trail says who was not asked, and why."""
    scripts = {"openai": Script.always(Answer("slow", after=60)), "anthropic": FALLBACK}
    async with opened(scripts, max_concurrency=1) as (agent, _, world), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, agent)
        await anyio.wait_all_tasks_blocked()
        response = await ask(agent)
        at = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert response.passed_over == (PassedOver("openai", "openai-model", "bulkhead full"),)
    assert response.is_fallback
    assert at == 5
    assert [call.at for call in world.log("anthropic")] == [2]


async def test_when_no_route_has_a_place_the_error_says_so() -> None:
    """Nobody was asked: the error names each route and its reason."""
    async with opened({"openai": Script.always(Hang())}, max_concurrency=1) as (agent, _, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, agent)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(AllRoutesClosedError, match="openai openai-model: bulkhead full") as caught:
                await ask(agent)
            tasks.cancel_scope.cancel()
    assert caught.value.reasons == ("bulkhead full",)


async def test_a_timeout_is_named_only_when_it_has_ended() -> None:
    """Cut short by its share, then nobody else had a place: the caller's timeout was not what ended the request."""
    scripts = {"openai": Script.always(Hang()), "anthropic": Script.always(Hang())}
    async with opened(scripts, max_concurrency=1) as (agent, supervisor, _):
        held = supervisor._endpoints[supervisor._plan.targets[1]].admit("lead-1")
        assert isinstance(held, Permit)
        with pytest.raises(AttemptTimeoutError) as caught:
            await ask(agent, timeout=10)
        assert anyio.current_time() == 6.25
        held.settle(Verdict.NO_VERDICT)
    assert [attempt.verdict for attempt in caught.value.attempts] == [Verdict.CUT_SHORT]
    assert [route.transport for route in caught.value.passed_over] == ["anthropic"]


@pytest.mark.parametrize("first", [Status(409), Status(500)])
async def test_every_route_is_asked_before_any_is_retried(first: Behaviour) -> None:
    """With three routes and three attempts there is no retry, not even where one would be due."""
    names = ("openai", "anthropic", "gemini")
    scripts = dict(zip(names, (Script.always(first), Script.always(Status(500)), FALLBACK), strict=True))
    got = await run(scripts, in_place_retries=1)
    assert got.text == "hello"
    assert [name for name, _ in got.asked] == list(names)


@pytest.mark.parametrize("status", [401, 404, 400, 500, 429])
async def test_an_error_lets_go_of_the_prompt(status: int) -> None:
    """When the error is forgotten, so is the question: no cycle keeps either for the garbage collector."""
    async with opened({"openai": Script.always(Status(status))}) as (agent, _, _):

        async def fail() -> weakref.ref[object]:
            message = user(f"a secret question {status}")
            with suppress(UnderstudyError):
                await agent.complete([message])
            return weakref.ref(message)

        gc.collect()
        gc.disable()
        try:
            assert (await fail())() is None
        finally:
            gc.enable()


async def test_a_lone_route_that_is_reset_is_a_connection_failure() -> None:
    """A reset has no status; its error says that the connection was lost."""
    got = await run({"openai": Script.always(Reset())})
    assert isinstance(got.error, AllAttemptsFailedError)
    assert isinstance(got.error.__cause__, ExceptionGroup)
    assert {type(error) for error in got.error.__cause__.exceptions} == {ConnectionFailedError}
    assert got.error.status == 502
