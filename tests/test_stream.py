"""Streams as agents have them: exact times, what follows an interruption, and how they are left."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest

import understudy
from understudy import (
    ActorStoppedError,
    AllAttemptsFailedError,
    AttemptError,
    AttemptTimeoutError,
    Finished,
    Health,
    Restarted,
    Settings,
    StreamEvent,
    StreamInterruptedError,
    Supervisor,
    TextDelta,
    TimeoutExceededError,
    Verdict,
)
from understudy.actors import CircuitState
from understudy.providers import Target
from understudy.simulation import virtual_backend
from understudy.supervisor import Event, RequestEnded

from .every_checkpoint import Everywhere
from .fakes import Fake, Pieces, broken, said
from .scenario import chain

pytestmark = pytest.mark.anyio

FAILED = broken(Verdict.OVERLOADED)
HELLO = said("Hel", "lo", ".")


class Stage:
    """A supervisor over providers of pieces, and what happened."""

    def __init__(self, supervisor: Supervisor, told: list[Event]) -> None:
        self.supervisor, self.told = supervisor, told
        self.agent = supervisor.agent("deriver")

    @property
    def ended(self) -> list[str]:
        """How each request ended."""
        return [event.error for event in self.told if isinstance(event, RequestEnded)]

    def health(self, transport: str = "openai") -> Health:
        """The health of an endpoint."""
        (found,) = (h for name, h in self.supervisor.health().items() if name.startswith(transport))
        return found


@asynccontextmanager
async def opened(route: dict[str, Any] | None = None, /, **given: Any) -> AsyncIterator[Stage]:
    """Open a supervisor of one agent with a route to each provider, in order; nothing may be left of any stream."""
    providers = {name: provider for name, provider in given.items() if isinstance(provider, Fake)}
    settings = {name: value for name, value in given.items() if name not in providers}
    told: list[Event] = []

    def connect(target: Target) -> Fake:
        fake: Fake = providers[target.transport]
        return fake

    configured = Settings.in_code(agents={"deriver": chain(*providers, **(route or {}))}, **settings)
    async with understudy.open_supervisor(
        configured, connect=connect, rand=lambda: 0.5, hooks=[told.append], drain_for=0
    ) as supervisor:
        stage = Stage(supervisor, told)
        yield stage
        await anyio.wait_all_tasks_blocked()
        assert all(health.in_flight == 0 for health in supervisor.health().values())
    assert all(provider.open == 0 for provider in providers.values() if isinstance(provider, Pieces))


async def read(stage: Stage, **options: Any) -> list[StreamEvent]:
    """Read a whole stream."""
    async with stage.agent.stream("Who?", **options) as stream:
        return [event async for event in stream]


def text(events: list[StreamEvent]) -> str:
    """Return what was said, after the last restart."""
    words: list[str] = []
    for event in events:
        if isinstance(event, Restarted):
            words.clear()
        words += [event.text] if isinstance(event, TextDelta) else []
    return "".join(words)


async def test_an_answer_comes_in_pieces_and_ends_once() -> None:
    """Every piece comes when it is there; `Finished` is last and holds the whole answer, its trail and its times."""
    async with opened(openai=Pieces(HELLO)) as stage, stage.agent.stream("Who?") as stream:
        assert anyio.current_time() == 1  # entering waits for the first content
        times = [(anyio.current_time(), event) async for event in stream]
        assert [(at, type(event).__name__) for at, event in times] == [
            (1, "TextDelta"),
            (2, "TextDelta"),
            (3, "TextDelta"),
            (3, "Finished"),
        ]
        response = stream.response
        assert times[-1][1] == Finished(response)
        assert (response.text, response.first_token, response.is_fallback) == ("Hello.", 1, False)
        (attempt,) = response.attempts
        assert (attempt.verdict, attempt.first_token, attempt.duration) == (Verdict.OK, 1, 3)
        assert stage.health().in_flight == 0, "finished: the place is free before the block is left"
    assert stage.ended == [""]


async def test_text_alone_for_the_impatient() -> None:
    """`text_stream` gives nothing but text; the response is there when it ends."""
    async with opened(openai=Pieces(HELLO)) as stage, stage.agent.stream("Who?") as stream:
        assert [piece async for piece in stream.text_stream()] == ["Hel", "lo", "."]
        assert stream.response.text == "Hello."


@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
async def test_before_the_commit_point_nobody_sees_a_hand_over(on_interrupt: str) -> None:
    """An error before content: the fallback's whole answer, one `Finished`, and the trail alone tells."""
    first = Pieces([(1, None), (1, FAILED)])
    async with opened(openai=first, anthropic=Pieces(HELLO)) as stage:
        events = await read(stage, on_interrupt=on_interrupt)
        assert anyio.current_time() == pytest.approx(5, abs=0.02)
    assert [type(event) for event in events] == [TextDelta] * 3 + [Finished]
    assert text(events) == "Hello."
    finished = events[-1]
    assert isinstance(finished, Finished)
    response = finished.response
    assert response.is_fallback
    assert response.first_token == pytest.approx(3, abs=0.02)
    assert [attempt.verdict for attempt in response.attempts] == [Verdict.OVERLOADED, Verdict.OK]
    assert stage.ended == [""]


async def test_an_interruption_is_raised_with_what_had_come() -> None:
    """After the commit point an answer that is cut off is never taken for a whole one."""
    cut = [*said("Hel", "lo")[:2], (1.0, FAILED)]
    async with opened(openai=Pieces(cut), anthropic=Pieces(HELLO)) as stage:
        with pytest.raises(StreamInterruptedError, match="cut off: overloaded") as caught:
            await read(stage)
        assert anyio.current_time() == pytest.approx(3.01)
        error = caught.value
        assert (error.partial.text, error.verdict) == ("Hello", Verdict.OVERLOADED)
        assert isinstance(error.__cause__, AttemptError)
        (attempt,) = error.attempts
        assert (attempt.first_token, attempt.duration) == (1, 3)
        assert stage.health().failed == 1, "it counts at the end of the stream, not at its opening"
    assert stage.ended == ["StreamInterruptedError"]


async def test_an_interruption_restarts_where_that_is_wanted() -> None:
    """`Restarted` says that what came is void; then comes the whole answer of the next route, and no more."""
    cut = [*said("Good", "bye")[:2], (1.0, FAILED)]
    async with opened(openai=Pieces(cut), anthropic=Pieces(HELLO)) as stage:
        events = await read(stage, on_interrupt="restart")
    kinds = [type(event) for event in events]
    assert kinds == [TextDelta, TextDelta, Restarted, TextDelta, TextDelta, TextDelta, Finished]
    restarted, finished = events[2], events[-1]
    assert isinstance(restarted, Restarted)
    assert (restarted.transport, restarted.model) == ("anthropic", "anthropic-model")
    assert "overloaded" in restarted.reason
    assert isinstance(finished, Finished)
    assert finished.response.text == text(events) == "Hello."
    assert [attempt.verdict for attempt in finished.response.attempts] == [Verdict.OVERLOADED, Verdict.OK]
    assert stage.ended == [""]


async def test_a_restart_that_nobody_answers_is_an_interruption() -> None:
    """The partial answer is not lost with the last route; the cause says who else was asked."""
    cut = [*said("Good", "bye")[:2], (1.0, FAILED)]
    async with opened(openai=Pieces(cut), anthropic=Pieces([(1.0, broken(Verdict.PROVIDER))])) as stage:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(stage, on_interrupt="restart")
        assert caught.value.partial.text == "Goodbye"
        assert isinstance(caught.value.__cause__, AllAttemptsFailedError)
        assert len(caught.value.attempts) > 1
    assert stage.ended == ["StreamInterruptedError"]


async def test_a_restart_on_the_last_route_asks_it_again() -> None:
    """Where there is nobody else, the same route answers anew after a backoff, as any request is tried again."""
    cut = [*said("Good", "bye")[:2], (1.0, FAILED)]
    async with opened(openai=Pieces(cut, HELLO)) as stage:
        events = await read(stage, on_interrupt="restart")
    assert text(events) == "Hello."
    assert sum(isinstance(event, Restarted) for event in events) == 1


@pytest.mark.parametrize(
    ("pieces", "limits", "ends_at", "says"),
    [
        ([(1.0, TextDelta("a"))], {}, 31, "after 30 s: nothing more came"),
        ([(1.0, TextDelta("a")), (20.0, TextDelta("b"))], {}, 51, "after 30 s: nothing more came"),
        ([(1.0, TextDelta("a")), *[(20.0, None)] * 20], {}, 121, "after 120 s: nothing but signs of life came"),
        (
            [(1.0, TextDelta("a")), *[(20.0, None)] * 5, (1.0, TextDelta("b")), *[(20.0, None)] * 20],
            {},
            222,
            "after 120 s: nothing but signs of life came",
        ),
        ([(1.0, TextDelta("a"))], {"stall_timeout": 3}, 4, "after 3 s: nothing more came"),
        (
            [(1.0, TextDelta("a")), *[(2.0, None)] * 20],
            {"stall_timeout": 3, "content_stall_timeout": 5},
            6,
            "after 5 s: nothing but signs of life came",
        ),
    ],
)
async def test_a_silent_stream_is_over_within_its_limits(
    pieces: list[Any], limits: dict[str, float], ends_at: float, says: str
) -> None:
    """Nothing at all for the stall limit, or only signs of life for the longer one, is a failure of the provider's."""
    async with opened(openai=Pieces(pieces), **limits) as stage:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(stage)
        assert anyio.current_time() == pytest.approx(ends_at, abs=0.02)
        assert isinstance(caught.value.__cause__, AttemptTimeoutError)
        assert str(caught.value).endswith(says)
        assert stage.health().failed == 1


async def test_the_time_of_the_callers_own_code_is_nobodys_silence() -> None:
    """Limits rule only while something is waited for: a caller may take as long as it likes with what has come."""
    async with opened(openai=Pieces(HELLO), total_timeout=10_000) as stage, stage.agent.stream("Who?") as stream:
        pieces = []
        async for event in stream:
            pieces.append(event)
            await anyio.sleep(500)
        assert text(pieces) == "Hello."


async def test_no_first_token_in_time_is_handed_over() -> None:
    """Signs of life are no content: the limit for the first token hands over, unseen."""
    never = Pieces([(10.0, None)] * 100)
    async with opened(openai=never, anthropic=Pieces(HELLO)) as stage:
        events = await read(stage)
        assert anyio.current_time() == pytest.approx(63, abs=0.02)
    assert text(events) == "Hello."
    assert stage.ended == [""]


async def test_the_timeout_of_the_request_ends_a_stream_too() -> None:
    """The caller's own timeout is told as such, with what had come, and blames nobody."""
    slow = Pieces(said(*"abcdefghij"))
    async with opened(openai=slow, anthropic=Pieces(HELLO)) as stage:
        with pytest.raises(TimeoutExceededError) as caught:
            await read(stage, timeout=3.5)
        assert anyio.current_time() == pytest.approx(3.51)
        assert caught.value.partial is not None
        assert caught.value.partial.text == "abc"
        assert caught.value.attempts[0].reason == "cut_short after 3.5 s"
        assert (stage.health().failed, stage.health().neutral) == (0, 1)
    assert stage.ended == ["TimeoutExceededError"]


async def test_what_is_here_already_puts_no_timeout_off() -> None:
    """A caller that takes longer than the provider never waits, and still gets nothing after its own timeout."""
    quick = Pieces(said(*"abcdefghij", every=0.0))
    async with opened(openai=quick) as stage:
        came = list[StreamEvent]()
        with pytest.raises(TimeoutExceededError):
            async with stage.agent.stream("Who?", timeout=3.5) as stream:
                async for event in stream:
                    came.append(event)
                    await anyio.sleep(1)
        assert anyio.current_time() == pytest.approx(4.01)
        assert text(came) == "abc"
        assert (stage.health().failed, stage.health().neutral) == (0, 1)


class OwnError(Exception):
    """An exception of the program's own."""


async def test_leaving_early_closes_the_stream_and_blames_nobody() -> None:
    """`break` gives the place back and closes the connection."""
    async with opened(openai=Pieces(HELLO)) as stage:
        async with stage.agent.stream("Who?") as stream:
            async for _ in stream:
                break
        assert anyio.current_time() == pytest.approx(1.01)
        assert (stage.health().failed, stage.health().neutral, stage.health().in_flight) == (0, 1, 0)
    assert stage.ended == ["cancelled"]


async def test_a_stream_that_is_left_is_in_the_trail() -> None:
    """Whoever listens learns who served it, since when, and that nobody is to blame; a whole answer is one."""
    async with opened(openai=Pieces([(0.0, FAILED)]), anthropic=Pieces(said("a", after=2.0))) as stage:
        async with stage.agent.stream("Who?") as stream:
            await anyio.sleep(50)
            assert await anext(stream) == TextDelta("a")
        (ended,) = [event for event in stage.told if isinstance(event, RequestEnded)]
        assert [(attempt.verdict, attempt.first_token) for attempt in ended.attempts] == [
            (Verdict.OVERLOADED, None),
            (Verdict.NO_VERDICT, pytest.approx(2)),
        ]
    whole = [(1.0, TextDelta("a")), said("a")[-1]]
    provider = Pieces(whole)
    async with opened(openai=provider) as stage:
        async with stage.agent.stream("Who?") as stream:
            await anext(stream)
            assert stream._live is not None
            await stream._live.read()
        (ended,) = [event for event in stage.told if isinstance(event, RequestEnded)]
        assert (ended.error, ended.model, ended.attempts[0].verdict) == ("", "a-model", Verdict.OK)
        assert stage.health().succeeded == 1


async def test_the_timeout_runs_from_entering() -> None:
    """A stream that is made ahead of time loses none of it."""
    async with opened(openai=Pieces(HELLO)) as stage:
        stream = stage.agent.stream("Who?", timeout=4)
        await anyio.sleep(100)
        async with stream:
            assert len([event async for event in stream]) == 4


async def test_an_exception_of_the_callers_own_leaves_as_it_is() -> None:
    """Neither wrapped, nor in a group, nor anybody's fault."""
    async with opened(openai=Pieces(HELLO)) as stage:
        with pytest.raises(OwnError):
            async with stage.agent.stream("Who?") as stream:
                async for _ in stream:
                    raise OwnError
        assert stage.health().neutral == 1
    assert stage.ended == ["cancelled"]


async def test_a_stream_that_is_dropped_is_closed_by_its_actor() -> None:
    """Whoever forgets a stream leaks neither its place nor its connection: the garbage collector is enough."""
    provider = Pieces(said("a", "b", every=100))
    async with opened(openai=provider) as stage:
        streams = [stage.agent.stream("Who?") for _ in range(100)]
        for stream in streams:
            await stream.__aenter__()
        assert stage.health().in_flight == 100
        del stream, streams
        gc.collect()
        await anyio.wait_all_tasks_blocked()
        assert (stage.health().in_flight, stage.health().neutral) == (0, 100)
        assert provider.abandoned == 100
        await anyio.sleep(1.01)
        assert provider.open == 0
    assert stage.ended == ["cancelled"] * 100


async def test_a_stream_that_a_bug_restarted_is_gone_when_it_is_dropped() -> None:
    """What failed before does not keep it alive: no garbage collector has to come first."""
    bad: list[tuple[float, Any]] = [(1.0, TextDelta("a")), (1.0, ZeroDivisionError("a bug"))]
    async with opened(openai=Pieces(bad), anthropic=Pieces(HELLO)) as stage:
        stream = stage.agent.stream("Who?", on_interrupt="restart")
        await stream.__aenter__()
        assert await anext(stream) == TextDelta("a")
        assert isinstance(await anext(stream), Restarted)
        assert stage.health("anthropic").in_flight == 1
        gc.disable()
        try:
            del stream
            await anyio.wait_all_tasks_blocked()
            assert stage.health("anthropic").in_flight == 0
        finally:
            gc.enable()
        await anyio.sleep(1)
    assert stage.ended == ["cancelled"]


async def test_a_stream_may_be_dropped_in_any_thread() -> None:
    """The garbage collector runs where it likes, and in the middle of anything: what it finds is ended in the loop."""
    provider = Pieces(said("a", "b", every=100))
    async with opened(openai=provider) as stage:
        held = [stage.agent.stream("Who?")]
        await held[0].__aenter__()
        await anyio.to_thread.run_sync(held.clear)
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(1)
        assert (stage.health().in_flight, provider.abandoned, provider.open) == (0, 1, 0)
    assert stage.ended == ["cancelled"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_that_outlives_its_loop_is_let_go(backend: str) -> None:
    """Nothing is left to be done then, and nothing is complained of."""
    provider, kept = Pieces(said("a", "b", every=0)), list[understudy.Stream]()

    async def run() -> None:
        settings = Settings.in_code(agents={"deriver": chain("openai")})
        async with understudy.open_supervisor(settings, connect=lambda _: provider, drain_for=0) as supervisor:
            kept.append(supervisor.agent("deriver").stream("Who?"))
            await kept[0].__aenter__()

    name, options = virtual_backend(backend)
    anyio.run(run, backend=name, backend_options=options)
    kept.clear()
    gc.collect()
    assert provider.abandoned == 1


async def test_a_coroutine_that_is_closed_leaves_its_stream_to_the_actor() -> None:
    """A block that is ended by `GeneratorExit` must not wait any more, and does not."""
    provider = Pieces(HELLO)

    async with opened(openai=provider) as stage:

        async def consume() -> AsyncIterator[StreamEvent]:
            async with stage.agent.stream("Who?") as stream:
                async for event in stream:
                    yield event

        events = consume()
        assert await anext(events) == TextDelta("Hel")
        await events.aclose()  # type: ignore[attr-defined]
        await anyio.wait_all_tasks_blocked()
        assert stage.health().in_flight == 0
        await anyio.sleep(0.1)
        assert provider.open == 0


async def test_a_supervisor_that_closes_ends_the_streams() -> None:
    """What is in flight when the drain is over ends as stopped, and keeps what had come."""
    caught: list[ActorStoppedError] = []

    async def consume(stage: Stage) -> None:
        try:
            await read(stage)
        except ActorStoppedError as error:
            caught.append(error)

    async with anyio.create_task_group() as tasks:
        async with opened(openai=Pieces(said(*"abcdef"))) as stage:
            tasks.start_soon(consume, stage)
            await anyio.sleep(2.5)
            await stage.supervisor.stop(0)
    (error,) = caught
    assert error.partial is not None
    assert error.partial.text == "ab"


async def test_a_supervisor_that_closes_ends_the_streams_that_nobody_is_reading() -> None:
    """Whoever reads on afterwards learns why there is no more, and what had come is there."""
    async with opened(openai=(provider := Pieces(said(*"abcdef")))) as stage, stage.agent.stream("Who?") as stream:
        assert await anext(stream) == TextDelta("a")
        await stage.supervisor.stop(0)
        with pytest.raises(ActorStoppedError) as caught:
            await anext(stream)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
    assert provider.open == 0


async def test_a_probe_passes_with_its_first_content() -> None:
    """Others come back to the primary while the probe's answer is still coming in."""
    primary = Pieces([(0.0, FAILED)], said("a", "b", every=100))
    async with opened(openai=primary, anthropic=Pieces(HELLO), circuit_trip_after=1) as stage:
        await read(stage)
        assert stage.health().models["openai-model"].circuit is CircuitState.OPEN
        await anyio.sleep(30)
        async with stage.agent.stream("Who?") as stream:
            assert stage.health().models["openai-model"].circuit is CircuitState.CLOSED
            async with stage.agent.stream("Who?") as other:
                assert await anext(other) == TextDelta("a")
            assert await anext(stream) == TextDelta("a")


async def test_a_probe_that_breaks_off_after_its_first_content_counts_as_one_failure() -> None:
    """It has passed; what comes later is judged like any other answer."""
    primary = Pieces([(0.0, FAILED)], [(0.0, FAILED)], [(1.0, TextDelta("a")), (1.0, FAILED)])
    async with opened(openai=primary, anthropic=Pieces(HELLO)) as stage:
        await read(stage)
        await read(stage)
        await anyio.sleep(30)
        with pytest.raises(StreamInterruptedError):
            await read(stage)
        model = stage.health().models["openai-model"]
        assert (model.circuit, model.run) == (CircuitState.CLOSED, 1)


async def test_a_probe_must_begin_in_15_seconds_while_there_is_somebody_else() -> None:
    """Whoever is the probe is not kept from the fallback for the whole limit of a first token (R-CB-6)."""
    primary = Pieces([(0.0, FAILED)], [(10.0, None)] * 9)
    async with opened(openai=primary, anthropic=Pieces(HELLO), circuit_trip_after=1) as stage:
        await read(stage)
        await anyio.sleep(30)
        begun = anyio.current_time()
        async with stage.agent.stream("Who?") as stream:
            assert anyio.current_time() - begun == pytest.approx(16, abs=0.02)
            assert await anext(stream) == TextDelta("Hel")


async def test_a_model_whose_streams_mostly_begin_late_counts_as_down() -> None:
    """`LLM_CIRCUIT_SLOW_AFTER`: 80 % of at least ten streams."""
    slow, quick = said("a", after=6.0), said("a", after=1.0)
    streams = [quick, quick, *[slow] * 8]
    async with opened(openai=Pieces(*streams), anthropic=Pieces(HELLO), circuit_slow_after=5) as stage:
        for _ in range(9):
            await read(stage)
        assert stage.health().models["openai-model"].circuit is CircuitState.CLOSED
        await read(stage)
        model = stage.health().models["openai-model"]
        assert model.circuit is CircuitState.OPEN
        assert model.reason == "slow: the first content of 8 of 10 streams took over 5 s"


async def test_a_stream_that_begins_in_time_makes_no_model_count_as_down() -> None:
    """It is the slow ones that do, however many of them there were before it."""
    slow, quick = said("a", after=6.0), said("a", after=1.0)
    streams = [*[slow] * 8, quick, quick, slow]
    async with opened(openai=Pieces(*streams), anthropic=Pieces(HELLO), circuit_slow_after=5) as stage:
        for _ in range(10):
            await read(stage)
        assert stage.health().models["openai-model"].circuit is CircuitState.CLOSED
        await read(stage)
        assert stage.health().models["openai-model"].circuit is CircuitState.OPEN


async def test_callers_who_leave_after_a_long_wait_have_seen_that_it_is_slow() -> None:
    """Nobody is blamed for their leaving, but a model from which all turn away does not begin in time."""
    async with opened(openai=Pieces([]), anthropic=Pieces(HELLO), circuit_slow_after=5) as stage:
        for wait in [1.0] * 5 + [6.0] * 10:
            with anyio.move_on_after(wait):
                await read(stage)
        assert stage.health().models["openai-model"].circuit is CircuitState.OPEN


class TestWholeAnswersOverStreams:
    """`complete(stream_upstream=True)`: the limits of streams, and every interruption repaired."""

    @pytest.mark.parametrize("by", ["request", "route"])
    async def test_an_interruption_is_never_seen(self, by: str) -> None:
        """An answer that is cut off is asked of the next route; nothing of it is left in the answer."""
        cut = [*said("Good", "bye")[:2], (1.0, FAILED)]
        route = {"stream_upstream": True} if by == "route" else {}
        async with opened(route, openai=Pieces(cut), anthropic=Pieces(HELLO)) as stage:
            response = await stage.agent.complete("Who?", stream_upstream=by == "request")
        assert (response.text, response.is_fallback) == ("Hello.", True)
        assert [attempt.first_token for attempt in response.attempts] == [1, 1]
        assert stage.ended == [""]

    async def test_a_silent_answer_is_handed_over(self) -> None:
        """The stall limit guards it, long before the limit of a whole attempt."""
        silent = Pieces([(1.0, TextDelta("a"))])
        async with opened(openai=silent, anthropic=Pieces(HELLO)) as stage:
            response = await stage.agent.complete("Who?", stream_upstream=True)
            assert anyio.current_time() == pytest.approx(34, abs=0.02)
        assert response.text == "Hello."

    async def test_a_long_answer_is_not_a_silent_one(self) -> None:
        """Content is a sign of more than life: however long an answer takes in all, it is never without content."""
        long = Pieces(said(*"abcdefghij", every=20.0))
        async with opened(openai=long, anthropic=Pieces(HELLO)) as stage:
            response = await stage.agent.complete("Who?", stream_upstream=True, timeout=1000)
            assert anyio.current_time() == pytest.approx(181, abs=0.02)
        assert (response.text, response.is_fallback) == ("abcdefghij", False)

    async def test_no_route_takes_more_than_its_share_of_the_timeout(self) -> None:
        """A stream that never ends leaves the next route its half."""
        endless = Pieces([(1.0, TextDelta("a"))] * 100)
        async with opened(openai=endless, anthropic=Pieces(HELLO)) as stage:
            response = await stage.agent.complete("Who?", stream_upstream=True, timeout=20)
            assert anyio.current_time() == pytest.approx(13, abs=0.02)
        assert [attempt.verdict for attempt in response.attempts] == [Verdict.CUT_SHORT, Verdict.OK]
        assert stage.health().failed == 0


class TestMisuse:
    """What is done wrong is said clearly, and loses nothing."""

    async def test_it_is_used_in_its_block_and_once(self) -> None:
        """Before, after and twice are mistakes of the program."""
        async with opened(openai=Pieces(HELLO)) as stage:
            stream = stage.agent.stream("Who?")
            with pytest.raises(RuntimeError, match="async with"):
                await anext(stream)
            async with stream:
                with pytest.raises(RuntimeError, match="not finished"):
                    _ = stream.response
                assert stream.partial is not None
            with pytest.raises(RuntimeError, match="it was left"):
                await anext(stream)
            with pytest.raises(RuntimeError, match="entered once"):
                await stream.__aenter__()
            assert stream.partial is None

    async def test_it_is_read_by_one_task_at_a_time(self) -> None:
        """Two readers would each get half of an answer."""
        async with opened(openai=Pieces(HELLO)) as stage, stage.agent.stream("Who?") as stream:
            await anext(stream)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, stream)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(RuntimeError, match="one task"):
                    await anext(stream)

    @pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
    async def test_left_by_one_task_it_ends_for_the_one_that_reads(self, on_interrupt: Any) -> None:
        """The reader learns that it was left; the request ends once, and nobody is blamed, asked or paid twice."""
        other = Pieces(HELLO)
        async with opened(openai=Pieces(said("a", "b", every=9)), anthropic=other) as stage:
            async with anyio.create_task_group() as tasks:
                async with stage.agent.stream("Who?", on_interrupt=on_interrupt) as stream:

                    async def reads() -> None:
                        with pytest.raises(RuntimeError, match="not open: it was left"):
                            async for _ in stream:
                                pass

                    tasks.start_soon(reads)
                    await anyio.wait_all_tasks_blocked()
            assert (stage.ended, other.asked_at) == (["cancelled"], [])
            assert (stage.health().neutral, stage.health().failed) == (1, 0)

    async def test_left_while_it_restarts_nothing_is_left_of_the_restart(self) -> None:
        """The next answer is closed as soon as it begins."""
        first, second = Pieces([(1, TextDelta("a")), (1, FAILED)]), Pieces(HELLO)
        async with opened(openai=first, anthropic=second) as stage, anyio.create_task_group() as tasks:
            async with stage.agent.stream("Who?", on_interrupt="restart") as stream:

                async def reads() -> None:
                    with pytest.raises(RuntimeError, match="not open: it was left"):
                        async for _ in stream:
                            pass

                tasks.start_soon(reads)
                await anyio.sleep(1.5)
            await anyio.sleep(2)
            assert (second.open, stage.ended) == (0, ["cancelled"])

    @pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
    async def test_a_read_that_was_cancelled_is_its_last(self, on_interrupt: Any) -> None:
        """What comes after it might lack a piece: so nothing does, what had come can be had, and nobody is blamed."""
        other = Pieces(HELLO)
        async with opened(openai=Pieces(said("a", "b", every=9)), anthropic=other) as stage:
            async with stage.agent.stream("Who?", on_interrupt=on_interrupt) as stream:
                await anext(stream)
                with anyio.move_on_after(1):
                    await anext(stream)
                with pytest.raises(RuntimeError, match="not open: it was cancelled"):
                    await anext(stream)
                assert stream.partial is not None
                assert stream.partial.text == "a"
            with pytest.raises(RuntimeError, match="not open: it was left"):
                await anext(stream)
            assert (stage.ended, other.asked_at) == (["cancelled"], [])

    async def test_after_the_end_nothing_more_comes(self) -> None:
        """An iterator that is at its end stays there."""
        async with opened(openai=Pieces(HELLO)) as stage, stage.agent.stream("Who?") as stream:
            assert len([event async for event in stream]) == 4
            assert [event async for event in stream] == []

    async def test_text_that_was_given_cannot_be_taken_back(self) -> None:
        """Never doubled text: a stream that may restart has no plain text."""
        async with opened(openai=Pieces(HELLO)) as stage:
            async with stage.agent.stream("Who?", on_interrupt="restart") as stream:
                with pytest.raises(ValueError, match="take back"):
                    stream.text_stream()
            with pytest.raises(ValueError, match="on_interrupt"):
                stage.agent.stream("Who?", on_interrupt="retry")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="unknown parameter"):
                stage.agent.stream("Who?", temprature=1)  # type: ignore[call-arg]


CUT = [*said("Good", "bye")[:2], (1.0, FAILED)]


@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
@pytest.mark.parametrize("primary", [HELLO, CUT, [(1.0, FAILED)]], ids=["well", "cut", "failed"])
async def test_cancelled_anywhere_nothing_is_left(primary: Any, on_interrupt: str) -> None:
    """At every checkpoint, also exactly at the commit point and in closing: no stream, no place, one event each."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Stage]:
        async with opened(openai=Pieces(primary), anthropic=Pieces(HELLO)) as opened_stage:
            yield opened_stage
            assert len(opened_stage.ended) == 2, "the one that was cancelled, and the one that followed"

    async def act(on: Stage) -> None:
        with suppress(StreamInterruptedError):
            await read(on, on_interrupt=on_interrupt)

    async def follow_up(on: Stage) -> None:
        with suppress(StreamInterruptedError):
            await read(on, on_interrupt=on_interrupt)

    points = await Everywhere(stage, act, follow_up).run()
    assert points >= 5
