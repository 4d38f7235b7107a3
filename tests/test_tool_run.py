"""Tool runs: real supervisor and actors over providers that answer by what they are asked, in virtual time."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import pytest
from pydantic import SecretStr

import understudy
from understudy import (
    ActorStoppedError,
    Agent,
    AllAttemptsFailedError,
    Iteration,
    Message,
    Response,
    ResponseInvalidError,
    Settings,
    Supervisor,
    Text,
    TimeoutExceededError,
    Tool,
    ToolCall,
    ToolResult,
    UnderstudyError,
    Usage,
    Verdict,
    as_tool,
    system,
    tool,
    user,
)
from understudy.providers import Block, Failure, Request, Target, attempt_error
from understudy.providers._dialects import render
from understudy.providers._request import FinishReason
from understudy.supervisor._dispatch import NUDGE
from understudy.supervisor._run_values import distinct
from understudy.supervisor._tool_run import LAST_WORD
from understudy.supervisor._toolbox import Toolbox

from .every_checkpoint import Everywhere, by_scope, by_task
from .fakes import Fake
from .scenario import chain
from .test_mapping import SDK
from .test_wire_openai import exhaust

pytestmark = pytest.mark.anyio

Play: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass
class Played(Fake):
    """A provider that answers by a function of the request, and remembers when it was asked what."""

    target: Target
    play: Play
    asked: list[tuple[float, Request]] = field(default_factory=list)
    in_flight: int = 0
    open: bool = True

    async def complete(self, request: Request) -> Response:
        self.asked.append((anyio.current_time(), request))
        self.in_flight += 1
        try:
            return await self.play(request)
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.open = False
        await anyio.lowlevel.checkpoint()


USED = Usage(7, 3)
Stage: TypeAlias = tuple[Agent, dict[str, Played], Supervisor]


@asynccontextmanager
async def opened(
    plays: dict[str, Play], *, route: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    """Open a supervisor of one agent with a route per play; check at the end that nothing is left."""
    players: dict[str, Played] = {}

    def connect(target: Target) -> Played:
        return players.setdefault(target.transport, Played(target, plays[target.transport]))

    configured = Settings.in_code(agents={"deriver": chain(*plays, **(route or {}))}, **settings)
    async with understudy.open_supervisor(configured, connect=connect, rand=lambda: 0.5) as supervisor:
        yield supervisor.agent("deriver"), players, supervisor
    assert not any(player.open or player.in_flight for player in players.values())
    assert all(health.in_flight == 0 for health in supervisor.health().values())


def said(request: Request, *blocks: str | Block, finish: FinishReason | None = None, usage: Usage = USED) -> Response:
    """Make an answer."""
    made = tuple(Text(block) if isinstance(block, str) else block for block in blocks)
    reason: FinishReason = "tool_calls" if any(isinstance(block, ToolCall) for block in made) else "stop"
    return Response(made, request.model, request.model.removesuffix("-model"), finish or reason, usage)


def failed(request: Request, verdict: Verdict = Verdict.OVERLOADED, status: int | None = 503) -> UnderstudyError:
    transport = request.model.removesuffix("-model")
    return attempt_error(Failure(transport=transport, model=request.model, verdict=verdict, status=status))


def told(request: Request) -> list[ToolResult]:
    """Return the results that a request holds."""
    return [block for message in request.messages for block in message.blocks if isinstance(block, ToolResult)]


def steps(count: int, *, after: float = 1.0) -> Play:
    """Ask for the tool `look` so many times, one after the other, each time after so many seconds; then tell all."""

    async def play(request: Request) -> Response:
        await anyio.sleep(after)
        results = told(request)
        if len(results) < count:
            return said(request, ToolCall(f"call_{len(results)}", "look", f'{{"step": {len(results) + 1}}}'))
        return said(request, " ".join(result.content for result in results))

    return play


def scripted(*answers: tuple[str | Block, ...]) -> Play:
    """Give these answers in turn."""
    coming = iter(answers)

    async def play(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        return said(request, *next(coming))

    return play


async def look(step: int) -> str:
    """Look once."""
    await anyio.lowlevel.checkpoint()
    return f"seen {step}"


LOOK = look


def roles(messages: tuple[Message, ...]) -> str:
    return " ".join(message.role for message in messages)


async def test_a_run_goes_on_until_the_model_answers() -> None:
    """The answer, the whole conversation, each use of a tool, the sums, and the trail of all turns."""
    async with opened({"openai": steps(2)}) as (agent, players, _):
        run = await agent.run([system("be brief"), user("Look twice.")], tools=[look])
    assert run.text == "seen 1 seen 2"
    assert roles(run.messages) == "system user assistant tool assistant tool assistant"
    assert run.messages[-1] == run.response.message
    assert [(use.call.arguments, use.result, use.is_error, use.iteration) for use in run.tool_calls] == [
        ('{"step": 1}', "seen 1", False, 1),
        ('{"step": 2}', "seen 2", False, 2),
    ]
    assert (run.iterations, run.finish_reason, run.is_fallback, run.is_cut_short) == (3, "stop", False, False)
    assert run.usage == Usage(21, 9)
    assert [(attempt.number, attempt.start, attempt.duration) for attempt in run.attempts] == [
        (1, 0, 1),
        (2, 1, 1),
        (3, 2, 1),
    ]
    assert len(run.response.attempts) == 1
    assert [tool.name for tool in players["openai"].asked[0][1].parameters["tools"]] == ["look"]  # type: ignore[union-attr]
    assert "seen" not in repr(run.tool_calls)


async def test_usage_that_nobody_told_is_not_known() -> None:
    """What some turns told is summed; what none did is None."""

    async def play(request: Request) -> Response:
        usage = Usage(None, 5, reasoning_tokens=2) if told(request) else Usage(None, 4)
        return said(request, *(["done"] if told(request) else [ToolCall("a", "look", '{"step": 1}')]), usage=usage)

    async with opened({"openai": play}) as (agent, _, _):
        run = await agent.run("Look.", tools=[look])
    assert run.usage == Usage(None, 9, reasoning_tokens=2)


class Dying:
    """A vendor that dies when it has seen so many results, until it is mended."""

    def __init__(self, count: int, dies_at: int) -> None:
        self.well, self.dies_at, self.down = steps(count), dies_at, False

    async def __call__(self, request: Request) -> Response:
        self.down = self.down or len(told(request)) == self.dies_at
        if self.down:
            raise failed(request)
        return await self.well(request)


@pytest.mark.parametrize(("primary", "fallback"), [("openai", "anthropic"), ("anthropic", "openai")])
async def test_a_primary_that_dies_in_the_third_turn(primary: str, fallback: str) -> None:
    """The other vendor goes on from there: no tool is run again, the dead one is not asked in later turns, and the next
    run begins at the primary.
    """
    ran: list[int] = []

    async def look(step: int) -> str:
        ran.append(step)
        return await LOOK(step)

    dying = Dying(5, dies_at=2)
    async with opened({primary: dying, fallback: steps(5)}) as (agent, players, _):
        run = await agent.run("Look.", tools=[look])
        assert ran == [1, 2, 3, 4, 5]
        assert run.text == "seen 1 seen 2 seen 3 seen 4 seen 5"
        assert run.is_fallback
        assert [len(told(request)) for _, request in players[primary].asked] == [0, 1, 2]
        assert [len(told(request)) for _, request in players[fallback].asked] == [2, 3, 4, 5]
        assert [(a.number, a.transport, a.verdict, a.start) for a in run.attempts] == [
            (1, primary, "ok", 0),
            (2, primary, "ok", 1),
            (3, primary, "overloaded", 2),
            (4, fallback, "ok", 2),
            (5, fallback, "ok", 3),
            (6, fallback, "ok", 4),
            (7, fallback, "ok", 5),
        ]
        for name, player in players.items():
            for _, request in player.asked:
                exhaust(SDK[name == "anthropic"].validate_python(render(name, f"http://{name}.test/v1", request).body))
        dying.down, dying.dies_at = False, 99
        again = await agent.run(list(run.messages[:1]), tools=[look])
        assert not again.is_fallback
        assert {attempt.transport for attempt in again.attempts} == {primary}


async def test_a_fallback_that_dies_gives_the_run_back() -> None:
    """When the route that a run stays on fails, the primary is a candidate like every other."""
    async with opened({"openai": Dying(3, dies_at=0), "anthropic": Dying(3, dies_at=2)}) as (agent, players, _):
        dying = players["openai"].play
        assert isinstance(dying, Dying)
        mended = partial(mend, dying)
        run = await agent.run("Look.", tools=[look], on_iteration=mended)
    assert run.text == "seen 1 seen 2 seen 3"
    assert [attempt.transport for attempt in run.attempts] == ["openai", *["anthropic"] * 3, "openai", "openai"]
    assert not run.is_fallback


def mend(dying: Dying, _: Iteration) -> None:
    dying.down, dying.dies_at = False, 99


CALLS = tuple(ToolCall(str(seconds), "sleep", f'{{"seconds": {seconds}}}') for seconds in (3, 1, 2))


@pytest.mark.parametrize(("at_once", "takes"), [(1, 6), (2, 3), (3, 3), (99, 3)])
async def test_tools_of_one_turn_run_together_when_asked(at_once: int, takes: float) -> None:
    """They begin in the order of the calls, so many at a time, and their results keep that order."""
    began: list[float] = []
    running: set[float] = set()
    most = 0

    async def sleep(seconds: float) -> str:
        nonlocal most
        began.append(seconds)
        running.add(seconds)
        most = max(most, len(running))
        await anyio.sleep(seconds)
        running.discard(seconds)
        return f"slept {seconds:g}"

    async with opened({"openai": scripted(CALLS, ("done",))}) as (agent, _, _):
        run = await agent.run("Sleep.", tools=[sleep], tools_at_once=at_once)
        assert anyio.current_time() == takes
    assert [use.result for use in run.tool_calls] == ["slept 3", "slept 1", "slept 2"]
    assert [use.duration for use in run.tool_calls] == [3, 1, 2]
    assert began == [3, 1, 2]
    assert most == min(at_once, 3)
    results = run.messages[2].blocks
    assert [block.call_id for block in results if isinstance(block, ToolResult)] == ["3", "1", "2"]


class StopError(BaseException):
    """Ends a program, like a key that is pressed."""


@pytest.mark.parametrize("at_once", [1, 3])
async def test_what_ends_a_program_leaves_as_it_is(at_once: int) -> None:
    """No group is made of it, and the other tools are cancelled."""
    left: list[float] = []

    async def sleep(seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            left.append(seconds)
            raise
        raise StopError

    async with opened({"openai": scripted(CALLS)}) as (agent, _, _):
        with pytest.raises(StopError):
            await agent.run("Sleep.", tools=[sleep], tools_at_once=at_once)
    assert sorted(left) == ([] if at_once == 1 else [2, 3])


class BrokenError(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError("never")


SECRET = "sk-canary-7f3a91c0d5e8b264"


CIRCULAR = (
    "PydanticSerializationError: Error serializing to JSON: ValueError: Circular reference detected (id repeated)"
)


async def plain() -> None:
    """Do nothing."""


async def fail(how: str) -> str:
    """Fail."""
    await anyio.lowlevel.checkpoint()
    match how:
        case "plain":
            raise ValueError("no such place")
        case "silent":
            raise KeyError
        case "secret":
            raise RuntimeError(f"refused\n\x1b[31m{SECRET}")
        case "long":
            raise RuntimeError("x" * 9000)
        case "broken":
            raise BrokenError
        case "group":
            raise ExceptionGroup("two", [ValueError("a"), ValueError("b")])
        case "ours":
            raise ActorStoppedError("somebody")
        case "cyclic":
            value: list[Any] = []
            value.append(value)
            return value  # type: ignore[return-value]
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("fail", '{"how": "plain"}', "ValueError: no such place"),
        ("fail", '{"how": "silent"}', "KeyError"),
        ("fail", '{"how": "secret"}', "RuntimeError: refused \\u001b[31m[secret]"),
        ("fail", '{"how": "long"}', "RuntimeError: " + "x" * 486 + "…"),
        ("fail", '{"how": "broken"}', "BrokenError"),
        ("fail", '{"how": "group"}', "ExceptionGroup: two (2 sub-exceptions)"),
        ("fail", '{"how": "ours"}', "ActorStoppedError: somebody has stopped: its supervisor is closed or closing"),
        (
            "fail",
            '{"how": "cyclic"}',
            CIRCULAR,
        ),
        ("fail", "{}", "not run: how: Field required"),
        ("fail", "", "not run: how: Field required"),
        ("fail", '{"how": 1}', "not run: how: Input should be a valid string"),
        (
            "fail",
            '{"how": ',
            "not run: the arguments of 'fail' are no JSON: unexpected end of data: line 1 column 9 (char 8)",
        ),
        ("fail", "[1]", "not run: the arguments of 'fail' are no JSON object"),
        ("find", "{}", "there is no tool 'find'; the tools are: fail, plain"),
        (
            "plain",
            '{"other": 1}',
            "TypeError: plain() got an unexpected keyword argument 'other'",
        ),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(name: str, arguments: str, result: str) -> None:
    """A failing tool, arguments that do not fit and a tool that is not there are results, cut and without secrets."""

    play = scripted((ToolCall("a", name, arguments),), ("I see.",))
    async with opened({"openai": play}, route={"api_key": SecretStr(SECRET)}) as (agent, players, _):
        run = await agent.run("Go.", tools=[fail, Tool("plain", run=plain)])
        (use,) = run.tool_calls
        assert (use.result, use.is_error) == (result, True)
        assert told(players["openai"].asked[1][1]) == [ToolResult("a", result, is_error=True)]
    assert run.text == "I see."


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("required", ["required", "auto", "auto"]),
        ("look", ["look", "auto", "auto"]),
        ("auto", ["auto", "auto", "auto"]),
        ("none", ["none", "none", "none"]),
        (None, [None, None, None]),
    ],
)
async def test_a_forced_tool_is_forced_once(choice: str | None, sent: list[str | None]) -> None:
    """Else a model that must call a tool could never answer."""
    parameters: Any = {} if choice is None else {"tool_choice": choice}
    async with opened({"openai": steps(2)}) as (agent, players, _):
        await agent.run("Look.", tools=[look], **parameters)
        assert [request.parameters.get("tool_choice") for _, request in players["openai"].asked] == sent


def empty(times: int, then: Play) -> Play:
    """Answer nothing at all so many times."""
    left = [times]

    async def play(request: Request) -> Response:
        if left[0]:
            left[0] -= 1
            raise failed(request, Verdict.EMPTY, 200)
        return await then(request)

    return play


async def test_an_empty_answer_is_nudged_once_before_it_is_handed_over() -> None:
    """The same route is asked at once with a word more, which is no part of the conversation."""
    async with opened({"openai": empty(1, steps(1)), "anthropic": steps(1)}) as (agent, players, _):
        run = await agent.run("Look.", tools=[look])
        first, second, third = (request.messages for _, request in players["openai"].asked)
        assert second == (*first, NUDGE)
        assert NUDGE not in third + run.messages
    assert [(attempt.transport, attempt.verdict) for attempt in run.attempts] == [
        ("openai", "empty"),
        ("openai", "ok"),
        ("openai", "ok"),
    ]


async def test_an_answer_that_stays_empty_is_handed_over() -> None:
    """One nudge in a turn, whoever is asked; the next turn has one of its own. Elsewhere nobody is nudged."""
    plays = {"openai": empty(2, steps(1)), "anthropic": empty(0, steps(1))}
    async with opened(plays) as (agent, players, _):
        run = await agent.run("Look.", tools=[look])
        assert [NUDGE in request.messages for _, request in players["openai"].asked] == [False, True]
        assert [NUDGE in request.messages for _, request in players["anthropic"].asked] == [False, False]
        assert run.text == "seen 1"
    async with opened({"openai": empty(1, steps(0)), "anthropic": steps(0)}) as (agent, players, _):
        await agent.complete("Look.", tools=[look])
        assert len(players["openai"].asked) == 1


async def test_a_nudge_is_no_retry_in_place() -> None:
    """Whoever is to be asked again in place is, also after a nudge."""
    failing = [True]

    async def play(request: Request) -> Response:
        if NUDGE in request.messages and failing.pop():
            failing.append(False)
            raise failed(request)
        return said(request, "done")

    plays = {"openai": empty(1, play), "anthropic": steps(0)}
    async with opened(plays, in_place_retries=1, retry_attempts=4) as (agent, players, _):
        run = await agent.run("Look.", tools=[look])
        assert [NUDGE in request.messages for _, request in players["openai"].asked] == [False, True, True]
    assert not run.is_fallback


async def test_a_route_that_is_asked_before_its_time_is_nudged_too() -> None:
    """With every circuit open, the one that opens first is asked early; an empty answer of it is worth a word."""
    down = [True]

    async def play(request: Request) -> Response:
        if down[0]:
            raise failed(request)
        if NUDGE in request.messages:
            return said(request, "done")
        raise failed(request, Verdict.EMPTY, 200)

    plays: dict[str, Play] = {"openai": play, "anthropic": play}
    async with opened(plays, circuit_trip_after=1) as (agent, _, _):
        with pytest.raises(AllAttemptsFailedError):
            await agent.complete("Look.")
        down[0] = False
        await anyio.sleep(2)
        run = await agent.run("Look.", tools=[look])
    assert [attempt.verdict for attempt in run.attempts] == ["empty", "ok"]


async def test_the_trail_tells_who_was_passed_over_in_any_turn() -> None:
    """A route that is known to be down is passed over once: the later turns stay on the one that answers."""
    async with opened({"openai": Dying(2, dies_at=0), "anthropic": steps(2)}, circuit_trip_after=1) as (agent, _, _):
        await agent.complete("Look.", tools=[look])
        run = await agent.run("Look.", tools=[look])
    assert [passed.transport for passed in run.passed_over] == ["openai"]
    assert [attempt.transport for attempt in run.attempts] == ["anthropic"] * 3


async def test_nudges_are_within_the_budget_of_retries() -> None:
    """A vendor of empty answers is not asked twice for ever: beyond the budget they are handed over at once."""
    async with opened({"openai": empty(99, steps(0)), "anthropic": steps(0)}) as (agent, players, _):
        for _ in range(10):
            assert (await agent.run("Look.", tools=[look])).is_fallback
        nudged = [request for _, request in players["openai"].asked if NUDGE in request.messages]
        assert 3 <= len(nudged) < 10


async def test_a_final_answer_is_forced_when_the_iterations_run_out() -> None:
    """One more turn is asked for, with the tools still defined but none to be called, and a word why."""

    async def play(request: Request) -> Response:
        if request.parameters.get("tool_choice") == "none":
            return said(request, "enough")
        return said(request, ToolCall(str(len(told(request))), "look", '{"step": 1}'))

    async with opened({"openai": play}) as (agent, players, _):
        run = await agent.run("Look.", tools=[look], max_iterations=2, tool_choice="required")
        last = players["openai"].asked[-1][1]
        assert [tool.name for tool in last.parameters["tools"]] == ["look"]  # type: ignore[union-attr]
        assert last.messages[-1] == LAST_WORD
    assert (run.text, run.iterations, run.is_cut_short, len(run.tool_calls)) == ("enough", 3, True, 2)
    assert LAST_WORD not in run.messages


@pytest.mark.parametrize("finish", ["tool_calls", "refusal", "content_filter"])
async def test_tools_that_are_asked_for_at_the_end_are_not_run(finish: FinishReason) -> None:
    """A model that calls tools all the same, and a refusal: the calls are answered, so the conversation can go on."""

    async def play(request: Request) -> Response:
        return said(request, "no", ToolCall(str(len(told(request))), "fail", '{"how": "?"}'), finish=finish)

    async with opened({"openai": play}) as (agent, players, _):
        run = await agent.run("Look.", tools=[fail], max_iterations=1)
        turns = 2 if finish == "tool_calls" else 1
        assert (len(players["openai"].asked), run.iterations, run.is_cut_short) == (turns, turns, turns == 2)
    assert run.tool_calls[-1].result == "not run: the run has ended"
    assert roles(run.messages).endswith("assistant tool")
    assert run.finish_reason == finish


@pytest.mark.parametrize("finish", ["tool_calls", "refusal", "content_filter"])
async def test_tools_that_are_asked_for_at_the_end_are_no_answer_of_a_shape(finish: FinishReason) -> None:
    """A run never ends well without the value that was wanted: the model is told once, unless it refuses."""

    async def play(request: Request) -> Response:
        return said(request, "no", ToolCall(str(len(request.messages)), "fail", '{"how": "?"}'), finish=finish)

    async with opened({"openai": play}) as (agent, players, _):
        with pytest.raises(ResponseInvalidError):
            await agent.run("Look.", tools=[fail], max_iterations=1, response_model=list[int])
        assert len(players["openai"].asked) == (3 if finish == "tool_calls" else 1)


async def test_an_answer_of_a_shape_counts_beside_calls_at_the_end() -> None:
    """The value is there; what is called beside it is not run."""

    async def play(request: Request) -> Response:
        return said(request, "[1, 2]", ToolCall(str(len(request.messages)), "look", '{"step": 1}'))

    async with opened({"openai": play}) as (agent, _, _):
        run = await agent.run("Look.", tools=[look], max_iterations=1, response_model=list[int])
    assert (run.response.parsed, run.is_cut_short, len(run.tool_calls)) == ([1, 2], True, 2)


async def test_calls_of_an_answer_that_was_cut_off_are_not_run() -> None:
    """Their arguments may be half; the model is told, and may ask again."""

    async def play(request: Request) -> Response:
        if told(request):
            return said(request, "sorry")
        return said(request, ToolCall("a", "look", '{"step": 1}'), finish="length")

    async with opened({"openai": play}) as (agent, _, _):
        run = await agent.run("Look.", tools=[look])
    (use,) = run.tool_calls
    assert use.is_error
    assert use.result == "not run: the answer was cut off before its end; ask again, with shorter arguments"
    assert (use.duration, run.text) == (0, "sorry")


async def test_every_call_has_an_id_of_its_own() -> None:
    """Servers that number the calls of each answer anew; a call that is repeated whole is one call."""
    one, other = ToolCall("call_0", "look", '{"step": 1}'), ToolCall("call_0", "look", '{"step": 2}')
    history = [
        user("Before."),
        understudy.assistant(ToolCall("call_0", "look", "{}")),
        tool("call_0", "x"),
        user("Now."),
    ]
    async with opened({"openai": scripted(("Wait.", one, other, one), (one,), ("done",))}) as (agent, _, _):
        run = await agent.run(history, tools=[look])
    assert [(use.call.id, use.result) for use in run.tool_calls] == [
        ("call_0_2", "seen 1"),
        ("call_0_3", "seen 2"),
        ("call_0_4", "seen 1"),
    ]
    answered = [block.call_id for message in run.messages for block in message.blocks if isinstance(block, ToolResult)]
    assert answered == ["call_0", "call_0_2", "call_0_3", "call_0_4"]
    response = Response((Text("a"), one), "m", "openai", "stop")
    assert distinct(response, set()) is response


def test_ids_are_made_distinct_in_linear_time() -> None:
    """Four times the calls of one id take about four times as long."""

    def once(calls: int) -> float:
        blocks = tuple(ToolCall("same", "look", f'{{"step": {number}}}') for number in range(calls))
        begin = time.process_time()
        found = distinct(Response(blocks, "m", "openai", "tool_calls", Usage()), {"same_3"})
        took = time.process_time() - begin
        assert len({call.id for call in found.tool_calls}) == calls
        return took

    assert min(once(4000) for _ in range(3)) < 8 * min(once(1000) for _ in range(3)) + 0.01


async def test_one_timeout_holds_for_a_tool() -> None:
    """A tool that takes longer is cancelled, and the error has the trail of all turns."""
    left: list[float] = []

    async def wait(step: int) -> str:
        try:
            await anyio.sleep(100 if step == 2 else 1)
        finally:
            left.append(anyio.current_time())
        return "waited"

    async with opened({"openai": steps(3)}) as (agent, _, _):
        with pytest.raises(TimeoutExceededError, match="no answer within the timeout of 10 s") as raised:
            await agent.run("Look.", tools=[Tool("look", run=wait)], timeout=10)
        assert left == [2, 10]
        assert anyio.current_time() == 10
    assert [(a.number, a.verdict) for a in raised.value.attempts] == [(1, "ok"), (2, "ok")]


async def test_one_timeout_holds_for_a_turn() -> None:
    """The attempt that it ended is the last of the trail, and the timeout named is that of the run."""
    async with opened({"openai": steps(9, after=4)}) as (agent, _, _):
        with pytest.raises(TimeoutExceededError, match="timeout of 10 s") as raised:
            await agent.run("Look.", tools=[look], timeout=10)
        assert anyio.current_time() == 10
    assert [(a.number, a.verdict, a.start) for a in raised.value.attempts] == [
        (1, "ok", 0),
        (2, "ok", 4),
        (3, "cut_short", 8),
    ]


async def test_no_turn_begins_when_the_time_is_over() -> None:
    """The callback's own waiting is not cut, but it counts."""

    async def slow(_: Iteration) -> None:
        await anyio.sleep(20)

    async with opened({"openai": steps(3)}) as (agent, players, _):
        with pytest.raises(TimeoutExceededError):
            await agent.run("Look.", tools=[look], timeout=10, on_iteration=slow)
        assert anyio.current_time() == 21
        assert len(players["openai"].asked) == 1


async def test_a_turn_that_nobody_answers_ends_the_run() -> None:
    """The error is that of the turn, with a note which one it was."""
    async with opened({"openai": Dying(3, dies_at=1), "anthropic": Dying(3, dies_at=1)}) as (agent, _, _):
        with pytest.raises(AllAttemptsFailedError) as raised:
            await agent.run("Look.", tools=[look])
    assert raised.value.__notes__ == ["in turn 2 of a tool run"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_each_turn_is_told(is_async: bool) -> None:
    """After each turn and its tools, with what another run could go on from."""
    turns: list[Iteration] = []

    def plain(turn: Iteration) -> None:
        turns.append(turn)

    async def waiting(turn: Iteration) -> None:
        await anyio.sleep(1)
        turns.append(turn)

    async with opened({"openai": steps(2, after=0)}) as (agent, _, _):
        run = await agent.run("Look.", tools=[look], on_iteration=waiting if is_async else plain)
        assert [(turn.number, len(turn.tool_calls), len(turn.messages)) for turn in turns] == [
            (1, 1, 3),
            (2, 2, 5),
            (3, 2, 6),
        ]
        assert turns[-1].messages == run.messages
        again = await agent.run(turns[0].messages, tools=[look])
        assert (again.text, again.iterations) == ("seen 1 seen 2", 2)


async def test_what_the_callback_raises_ends_the_run_as_it_is() -> None:
    """It is the caller's own."""

    def stop(_: Iteration) -> None:
        raise LookupError("enough")

    async with opened({"openai": steps(2)}) as (agent, _, _):
        with pytest.raises(LookupError, match="enough"):
            await agent.run("Look.", tools=[look], on_iteration=stop)


async def test_a_long_conversation_is_cut_but_not_forgotten() -> None:
    """Old turns are not sent, and then old results; the run still holds everything."""
    history = [system("s"), user("x" * 4000), understudy.assistant("y" * 4000), user("Look.")]

    async def show(step: int) -> str:
        return "z" * 2000

    sizes: list[str] = []

    async def play(request: Request) -> Response:
        sizes.append(roles(request.messages))
        if len(sizes) < 5:
            return said(request, ToolCall(str(len(sizes)), "show", '{"step": 1}'), usage=Usage(None, 1))
        return said(request, "done")

    async with opened({"openai": play}) as (agent, _, _):
        run = await agent.run(history, tools=[show], max_input_tokens=1300)
    assert sizes[0] == "system user"
    assert sizes[2] == "system user assistant tool assistant tool"
    assert sizes[4] == "system user assistant tool assistant tool"
    assert roles(run.messages) == "system user assistant user" + 4 * " assistant tool" + " assistant"


async def test_what_is_reported_corrects_the_estimate() -> None:
    """A provider that counts four times as many tokens is sent a fourth as much."""
    sizes: list[int] = []

    async def play(request: Request) -> Response:
        sizes.append(len(told(request)))
        plain = sum(len(block.content) for block in told(request)) or 100
        if len(sizes) < 7:
            return said(request, ToolCall(str(len(sizes)), "show", "{}"), usage=Usage(plain, 1))
        return said(request, "done")

    async def show() -> str:
        return "z" * 1000

    async with opened({"openai": play}) as (agent, _, _):
        await agent.run("Look.", tools=[show], max_input_tokens=3500)
    assert sizes == [0, 1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, TypeError, "run needs tools="),
        ({"tools": [Tool("x")]}, TypeError, r"the tool 'x' has nothing to run: Tool\(…, run=function\)"),
        ({"tools": [max]}, TypeError, "the parameters of max are not known"),
        ({"tools": [3]}, ValueError, "tools must be a list of Tool"),
        ({"tools": [look, look]}, ValueError, "different names"),
        ({"tools": [look], "max_iterations": 0}, ValueError, "max_iterations must be a whole number, at least 1"),
        ({"tools": [look], "tools_at_once": True}, ValueError, "tools_at_once must be"),
        ({"tools": [look], "max_input_tokens": 1.5}, ValueError, "max_input_tokens must be"),
        ({"tools": [look], "timeout": 0}, ValueError, "timeout must be a number of seconds above 0"),
        ({"tools": [look], "on_iteration": "print"}, TypeError, "on_iteration must be a function"),
        ({"tools": [look], "colour": 1}, TypeError, "unknown parameter 'colour'"),
    ],
)
async def test_what_is_impossible_is_said_before_anybody_is_asked(
    arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Each mistake names what is expected."""
    async with opened({"openai": steps(0)}) as (agent, players, _):
        with pytest.raises(error, match=said):
            await agent.run("Look.", **arguments)
        assert "openai" not in players or not players["openai"].asked


async def test_functions_are_tools_of_a_single_answer_too() -> None:
    """`complete` sends their schema, and runs nothing."""
    async with opened({"openai": steps(1)}) as (agent, players, _):
        response = await agent.complete("Look.", tools=[look], tool_choice="look")
        assert response.tool_calls[0].name == "look"
        (sent,) = players["openai"].asked[0][1].parameters["tools"]
        assert isinstance(sent, Tool)
        assert sent.parameters["properties"] == {"step": {"type": "integer"}}


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.sockets  # real threads: the clock waits for them
async def test_functions_that_wait_run_in_threads() -> None:
    """With the caller's context variables; what they raise is told, also what no future could hold; a coroutine that
    they make is awaited in place.
    """
    VARIABLE.set("set")
    home = threading.current_thread()

    def look(step: int) -> Any:
        if step == 2:
            raise StopIteration("over")
        if step == 3:
            return LOOK(step)
        return f"{VARIABLE.get()} {threading.current_thread() is home}"

    async with opened({"openai": steps(3)}) as (agent, _, _):
        run = await agent.run("Look.", tools=[look])
    assert [use.result for use in run.tool_calls] == ["set False", "StopIteration: over", "seen 3"]


@pytest.mark.sockets
async def test_nobody_waits_for_a_thread_that_does_not_end() -> None:
    """The timeout, and the caller who leaves, end the run; the thread goes on by itself."""
    go_on = threading.Event()

    def look(step: int) -> bool:
        return go_on.wait(10)

    try:
        async with opened({"openai": steps(3)}) as (agent, _, _):
            with pytest.raises(TimeoutExceededError):
                await agent.run("Look.", tools=[look], timeout=10)
            with anyio.move_on_after(5) as scope:
                await agent.run("Look.", tools=[look])
            assert scope.cancelled_caught
    finally:
        go_on.set()


@pytest.mark.sockets
async def test_threads_that_hang_keep_nobody_from_running() -> None:
    """However many functions nobody waits for any more, the next one runs."""
    go_on = threading.Event()
    most = int(anyio.to_thread.current_default_thread_limiter().total_tokens)

    def look(step: int) -> str:
        go_on.wait(10)
        return "late"

    def glance(step: int) -> str:
        return "seen"

    try:
        async with opened({"openai": steps(1)}) as (agent, _, _):
            with anyio.move_on_after(5):
                async with anyio.create_task_group() as tasks:
                    for _ in range(most + 5):
                        tasks.start_soon(partial(agent.run, "Look.", tools=[look]))
            run = await agent.run("Look.", tools=[Tool("look", run=glance)], timeout=10)
            assert run.text == "seen"
    finally:
        go_on.set()


def prepared(plays: Callable[[], dict[str, Play]]) -> Callable[[], AbstractAsyncContextManager[Stage]]:
    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        async with opened(plays()) as stage:
            yield stage

    return prepare


async def nap(step: int) -> str:
    """Sleep a little."""
    await anyio.sleep(1)
    return f"seen {step}"


TWO = (ToolCall("a", "look", '{"step": 1}'), ToolCall("b", "look", '{"step": 2}'))
STAGES: dict[str, tuple[Callable[[], dict[str, Play]], int]] = {
    "one by one": (lambda: {"openai": steps(2)}, 5),
    "together": (lambda: {"openai": scripted(TWO, ("done",), *(("next",),) * 9)}, 3),
    "handed over": (lambda: {"openai": Dying(2, dies_at=1), "anthropic": steps(2)}, 5),
    "nudged": (lambda: {"openai": empty(1, steps(1)), "anthropic": steps(1)}, 3),
}


async def rest(_: Iteration) -> None:
    await anyio.sleep(1)


async def act(stage: Stage) -> None:
    with suppress(UnderstudyError):
        await stage[0].run("Look.", tools=[Tool("look", run=nap)], tools_at_once=2, on_iteration=rest)


async def follow_up(stage: Stage) -> None:
    agent, players, supervisor = stage
    assert all(health.in_flight == 0 for health in supervisor.health().values())
    assert not any(player.in_flight for player in players.values())
    await anyio.sleep(60)
    await agent.complete("next")


@pytest.mark.parametrize("name", STAGES)
async def test_a_run_that_is_cancelled_anywhere_leaves_nothing(name: str) -> None:
    """No place taken, no tool that goes on, and the next request is answered."""
    plays, least = STAGES[name]
    assert await Everywhere(prepared(plays), act, follow_up).run(by_scope) >= least


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_run_that_is_cancelled_as_asyncio_does_it(name: str) -> None:
    """`Task.cancel()` leaves as little behind."""
    plays, least = STAGES[name]
    assert await Everywhere(prepared(plays), act, follow_up).run(by_task) >= least


class Unruly:
    """A vendor that does whatever a draw says: fails, says nothing, asks for tools in every wrong way, or answers."""

    def __init__(self, rand: random.Random) -> None:
        self.rand = rand

    async def __call__(self, request: Request) -> Response:
        rand = self.rand
        await anyio.sleep(rand.choice([0, 0.5, 3]))
        what = rand.choice(["down", "empty", "length", "refusal", "answer", *["calls"] * 8])
        if what == "down":
            raise failed(request)
        if what == "empty":
            raise failed(request, Verdict.EMPTY, 200)
        calls = [self.call() for _ in range(rand.randint(1, 4))]
        if what == "answer":
            return said(request, "done")
        return said(request, *calls, finish=None if what == "calls" else what)  # type: ignore[arg-type]

    def call(self) -> ToolCall:
        rand = self.rand
        arguments = rand.choice(['{"seconds": 0}', '{"seconds": 2}', '{"seconds": -1}', "{}", "{", '{"seconds": "x"}'])
        return ToolCall(f"call_{rand.randint(0, 2)}", rand.choice(["sleep", "sleep", "dream"]), arguments)


@pytest.mark.parametrize("seed", range(150))
async def test_whatever_models_do(seed: int) -> None:
    """Each call is answered once, in order, directly behind its message and by an id of its own; what was run is told;
    the trail counts on; and the timeout holds.
    """
    rand = random.Random(seed)
    ran = 0

    async def sleep(seconds: float) -> str:
        nonlocal ran
        ran += 1
        if seconds < 0:
            raise ValueError("no time")
        await anyio.sleep(seconds)
        return "slept"

    last: list[Iteration] = []
    terms: Any = {
        "max_iterations": rand.randint(1, 8),
        "tools_at_once": rand.randint(1, 3),
        "timeout": rand.choice([5, 20, 100]),
        "max_input_tokens": rand.choice([None, 60, 300]),
        "tool_choice": rand.choice([None, "required", "sleep"]),
    }
    plays: dict[str, Play] = {name: Unruly(rand) for name in ("openai", "anthropic", "gemini")[: rand.randint(1, 3)]}
    async with opened(plays) as (agent, players, _):
        with suppress(UnderstudyError):
            run = await agent.run([user("a" * 99), user("Go.")], tools=[sleep], on_iteration=last.append, **terms)
            assert [attempt.number for attempt in run.attempts] == list(range(1, len(run.attempts) + 1))
            starts = [attempt.start for attempt in run.attempts]
            assert starts == sorted(starts)
            assert run.messages == last[-1].messages
            assert run.iterations <= terms["max_iterations"] + 1
        assert anyio.current_time() <= terms["timeout"]
        for player in players.values():
            for _, request in player.asked:
                check_answered(request.messages)
    if last:
        check_answered(last[-1].messages)
        assert ran >= sum(not use.result.startswith(("not run", "there is no")) for use in last[-1].tool_calls)
        ids = [use.call.id for use in last[-1].tool_calls]
        assert len(ids) == len(set(ids))


def check_answered(messages: tuple[Message, ...]) -> None:
    """Each message with calls is followed by one with their results, and no result is anywhere else."""
    waiting: list[str] = []
    for message in messages:
        results = [block.call_id for block in message.blocks if isinstance(block, ToolResult)]
        assert results == waiting
        waiting = [block.id for block in message.blocks if isinstance(block, ToolCall)]
    assert not waiting


async def test_a_hundred_runs_through_an_outage() -> None:
    """Each ends with the answer to its own question, and no tool is run twice, whoever answered which turn."""
    outage = (5.0, 25.0)
    ran: list[str] = []

    async def note(nonce: str, step: int) -> str:
        ran.append(f"{nonce}/{step}")
        await anyio.sleep(0.5)
        return f"{nonce}/{step}"

    async def well(request: Request) -> Response:
        await anyio.sleep(1)
        nonce, results = request.messages[0].text, told(request)
        if len(results) < 6:
            arguments = f'{{"nonce": "{nonce}", "step": {len(results)}}}'
            return said(request, ToolCall("call_0", "note", arguments))
        return said(request, " ".join(result.content for result in results))

    async def ill(request: Request) -> Response:
        if outage[0] <= anyio.current_time() < outage[1]:
            raise failed(request)
        return await well(request)

    async with opened({"openai": ill, "anthropic": well}) as (agent, players, _):
        ended: dict[str, str] = {}

        async def one(number: int) -> None:
            await anyio.sleep(number / 5)
            run = await agent.run(f"nonce-{number}", tools=[note])
            ended[f"nonce-{number}"] = run.text

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(one, number)
        dead = [at for at, _ in players["openai"].asked if outage[0] <= at < outage[1]]
        assert len(dead) < 60
    assert ended == {nonce: " ".join(f"{nonce}/{step}" for step in range(6)) for nonce in ended}
    assert len(ended) == 100
    assert len(ran) == len(set(ran)) == 600


async def test_what_a_task_of_a_tool_raised_is_told_without_its_group() -> None:
    """The model learns what went wrong, not that tasks were in play; of several errors it learns how many."""

    async def look(books: int) -> str:
        """Look books up."""

        async def one() -> None:
            raise ValueError("no such book: try an ISBN")

        async with anyio.create_task_group() as tasks:
            for _ in range(books):
                tasks.start_soon(one)
        return "found"

    toolbox = Toolbox([as_tool(look)], ())
    alone = await toolbox.use(ToolCall("c", "look", '{"books": 1}'), 1)
    assert (alone.result, alone.is_error) == ("ValueError: no such book: try an ISBN", True)
    several = await toolbox.use(ToolCall("c", "look", '{"books": 2}'), 1)
    assert several.result.startswith("ExceptionGroup: ")
