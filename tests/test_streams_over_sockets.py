"""Streams as agents have them, over real sockets and through the real clients: how they end, and how they are left."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import anyio
import pytest

from understudy import (
    Agent,
    AttemptError,
    Finished,
    Health,
    Partial,
    PartialCall,
    ReasoningDelta,
    RequestRejectedError,
    Response,
    Restarted,
    StreamEvent,
    StreamInterruptedError,
    Supervisor,
    TextDelta,
    Tool,
    ToolCallStarted,
    UnderstudyError,
    Usage,
    Verdict,
)
from understudy.actors import CircuitState
from understudy.simulation import Answer, Behaviour, Breaks, Script, Status
from understudy.simulation._answers import Called, Said, Wire, answer, named_error
from understudy.simulation._sse import Events, events

from .over_sockets import beside, listening, opened
from .streams import LAST, Played, chunk, failing, head

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

V = Verdict
PAIRS: list[tuple[Wire, Wire]] = [("openai", "anthropic"), ("anthropic", "openai")]
both_ways = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


def words(nonce: str, count: int = 60) -> str:
    """A text of so many words, no two of them alike."""
    return " ".join(f"{nonce}{number}" for number in range(count))


def first(text: str, count: int) -> str:
    """The first words of a text, as a stream brings them."""
    return "".join(f"{word} " for word in text.split(" ")[:count])


def health_of(supervisor: Supervisor, transport: str) -> Health:
    """The health of the endpoint of a transport."""
    (found,) = (health for name, health in supervisor.health().items() if name.startswith(transport))
    return found


@dataclass
class Got:
    """What came of a stream: its events, when they came, and how it ended."""

    events: list[StreamEvent] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: UnderstudyError | None = None
    ended_at: float = 0.0

    @property
    def text(self) -> str:
        """The text that is valid in the end: what follows the last restart."""
        text = ""
        for event in self.events:
            text = "" if isinstance(event, Restarted) else text + (event.text if isinstance(event, TextDelta) else "")
        return text

    @property
    def finished(self) -> list[Response]:
        """The answers that it ended with."""
        return [event.response for event in self.events if isinstance(event, Finished)]

    @property
    def response(self) -> Response:
        """The answer that it ended with; the only one, and last."""
        assert self.error is None, self.error
        (response,) = self.finished
        assert isinstance(self.events[-1], Finished)
        return response

    @property
    def interruption(self) -> StreamInterruptedError:
        """The error that cut it off."""
        assert isinstance(self.error, StreamInterruptedError), self.error
        assert not self.finished
        return self.error

    @property
    def verdicts(self) -> list[Verdict]:
        """The trail, in short."""
        attempts = self.response.attempts if self.error is None else getattr(self.error, "attempts", ())
        return [attempt.verdict for attempt in attempts]


async def read(agent: Agent, question: str = "Who wrote Faust?", **options: Any) -> Got:
    """Read a stream to its end, whatever that is."""
    got = Got()
    try:
        async with agent.stream(question, **options) as stream:
            async for event in stream:
                got.events.append(event)
                got.times.append(anyio.current_time())
            assert stream.response is got.response
    except UnderstudyError as error:
        got.error = error
    got.ended_at = anyio.current_time()
    return got


@both_ways
@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
async def test_an_error_before_content_is_never_seen(pair: tuple[Wire, Wire], on_interrupt: str) -> None:
    """The fallback's whole answer to each of twenty questions, to the character, one `Finished`; the trail tells."""
    broken = Script.always(Breaks(Answer(words("never")), 0, "error"))
    scripts = (pair[0], broken), (pair[1], Script.always(Answer(None)))
    async with opened(*scripts, circuit_trip_after=1000) as (agent, supervisor, servers):

        async def one(number: int) -> None:
            question = words(f"nonce{number}_")
            got = await read(agent, question, on_interrupt=on_interrupt)
            assert got.text == got.response.text == question
            assert [type(event) for event in got.events] == [TextDelta] * 60 + [Finished]
            assert got.verdicts == [V.OVERLOADED, V.OK]
            assert got.response.is_fallback

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        assert [len(server.log) for server in servers] == [20, 20]
        assert health_of(supervisor, pair[0]).failed == 20


TEXT, OTHER = words("primary"), words("fallback")
CUTS: dict[Any, Verdict] = {
    "reset": V.PROVIDER,
    "incomplete": V.PROVIDER,
    "cut": V.TRUNCATED,
    "garbage": V.MALFORMED,
    "error": V.OVERLOADED,
}


@both_ways
@pytest.mark.parametrize("how", CUTS)
async def test_a_stream_that_is_cut_off_keeps_what_had_come(pair: tuple[Wire, Wire], how: Any) -> None:
    """After 40 of 60 tokens: exactly those are in the error, with usage as far as it is known, cause and trail."""
    scripts = (pair[0], Script.always(Breaks(Answer(TEXT), 40, how))), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts) as (agent, supervisor, servers):
        got = await read(agent)
        assert health_of(supervisor, pair[0]).failed == 1
        assert [len(server.log) for server in servers] == [1, 0]
    error = got.interruption
    assert (len(got.events), got.text, error.partial.text) == (40, first(TEXT, 40), first(TEXT, 40))
    usage = Usage(3, 1, 0, 0) if pair[0] == "anthropic" else Usage()
    assert error.partial == Partial(pair[0], f"{pair[0]}-model", first(TEXT, 40), "", (), usage)
    assert isinstance(error.__cause__, AttemptError)
    assert error.__cause__.verdict is error.verdict is CUTS[how]
    (attempt,) = error.attempts
    assert (attempt.verdict, attempt.transport, attempt.status) == (CUTS[how], pair[0], 200)
    assert attempt.first_token is not None


@both_ways
async def test_a_call_that_is_cut_off_is_never_a_call(pair: tuple[Wire, Wire]) -> None:
    """What had come of its arguments is in the error, and says that it is a part; nobody can take it for the whole."""
    cut = Breaks(Answer("a question", rounds=1, calls=2, thinking="hm"), 4, "cut")
    look = Tool("look", "Look.", {"type": "object", "properties": {"what": {"type": "string"}}})
    async with opened((pair[0], Script.always(cut)), (pair[1], Script())) as (agent, _, _):
        got = await read(agent, "something", tools=[look])
    partial = got.interruption.partial
    assert (partial.text, partial.reasoning) == ("", "hm")
    (call,) = partial.tool_calls
    assert isinstance(call, PartialCall)
    assert (call.name, call.arguments) == ("look", '{"what":"somethi')
    assert [event for event in got.events if isinstance(event, ToolCallStarted)] == [
        ToolCallStarted(0, call.id, "look")
    ]


@both_ways
@pytest.mark.parametrize("how", CUTS)
async def test_a_stream_that_is_cut_off_starts_over(pair: tuple[Wire, Wire], how: Any) -> None:
    """40 tokens, the word that they are void, and then all 60 of the other vendor."""
    scripts = (pair[0], Script.always(Breaks(Answer(TEXT), 40, how))), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts) as (agent, _, _):
        got = await read(agent, on_interrupt="restart")
    assert [type(event) for event in got.events] == [TextDelta] * 40 + [Restarted] + [TextDelta] * 60 + [Finished]
    restarted = got.events[40]
    assert isinstance(restarted, Restarted)
    assert (restarted.transport, restarted.model) == (pair[1], f"{pair[1]}-model")
    assert got.text == got.response.text == OTHER
    assert got.verdicts == [CUTS[how], V.OK]


@both_ways
async def test_a_silent_stream_is_over_in_time(pair: tuple[Wire, Wire]) -> None:
    """Nothing after 20 tokens: within the stall limit and a second it is over, however the answer is asked for."""
    silent = Script.always(Breaks(Answer(TEXT, after=1, every=0.5), 20, "silence"))
    scripts = (pair[0], silent), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts, stall_timeout=5, circuit_trip_after=1000) as (agent, _, servers):
        got = await read(agent)
        assert got.interruption.partial.text == first(TEXT, 20)
        assert got.verdicts == [V.TIMEOUT]
        assert 5 <= got.ended_at - got.times[-1] <= 6
        again = await read(agent, on_interrupt="restart")
        assert again.text == OTHER
        assert 5 <= again.times[20] - again.times[19] <= 6
        begun = anyio.current_time()
        response = await agent.complete("Who?", stream_upstream=True)
        assert response.text == OTHER
        assert anyio.current_time() - begun == pytest.approx(1 + 19 * 0.5 + 5, abs=1)
        await anyio.sleep(1)
        assert (servers[0].left, servers[0].in_flight, servers[0].connections) == (3, 0, 0)


Blamed: TypeAlias = Literal["model", "credential", "nobody"]
FRUGAL = Answer("one two three four")


@dataclass(frozen=True)
class Row:
    """What goes wrong with a stream, the verdict on it, and who is blamed. `over` says that nobody else is asked."""

    name: str
    behaviour: Behaviour
    verdict: Verdict
    blamed: Blamed = "model"
    over: bool = False

    def __str__(self) -> str:
        return self.name


def erring(kind: str, after: int) -> Breaks:
    return Breaks(FRUGAL, after, "error", kind)


def rows(after: int) -> list[Row]:
    """What may happen before or after content alike."""
    return [
        Row("overloaded", erring("overloaded_error", after), V.OVERLOADED),
        Row("api error", erring("api_error", after), V.PROVIDER),
        Row("timeout error", erring("timeout_error", after), V.TIMEOUT),
        Row("unknown error", erring("an_unknown_error", after), V.MALFORMED),
        Row("rate limit", erring("rate_limit_error", after), V.THROTTLED, "nobody"),
        Row("invalid request", erring("invalid_request_error", after), V.CALLER, "nobody", over=True),
        Row("authentication", erring("authentication_error", after), V.AUTH, "credential"),
        Row("permission", erring("permission_error", after), V.AUTHZ, "nobody"),
        Row("billing", erring("billing_error", after), V.QUOTA, "credential"),
        Row("malformed chunk", Breaks(FRUGAL, after, "garbage"), V.MALFORMED),
        Row("reset", Breaks(FRUGAL, after, "reset"), V.PROVIDER),
        Row("incomplete body", Breaks(FRUGAL, after, "incomplete"), V.PROVIDER),
        Row("clean early end", Breaks(FRUGAL, after, "cut"), V.TRUNCATED),
        Row("silence", Breaks(FRUGAL, after, "silence"), V.TIMEOUT),
        Row("pings alone", Breaks(FRUGAL, after, "pings"), V.TIMEOUT),
    ]


def instead(wire: Wire) -> list[Row]:
    """What is no stream at all."""
    page, busy = b"<html><body>Log in</body></html>", named_error(wire, "overloaded_error", "busy")
    return [
        Row("HTML", Status(200, body=page, content_type="text/html; charset=utf-8"), V.MALFORMED),
        Row("an error as JSON", Status(200, body=busy), V.OVERLOADED),
        Row("a completion as JSON", Status(200, body=answer(wire, "a-model", "whole", "hi")), V.MALFORMED),
        Row("nothing", Status(200, body=b"", content_type="text/event-stream"), V.TRUNCATED),
        Row("nothing said", Answer(""), V.EMPTY, "nobody"),
    ]


BEFORE = [(pair, row) for pair in PAIRS for row in [*rows(0), *instead(pair[0])]]
AFTER = [(pair, row) for pair in PAIRS for row in rows(2)] + [
    (("anthropic", "openai"), Row("no message_stop", Breaks(FRUGAL, 2, "unterminated"), V.TRUNCATED))
]


def assert_blamed(supervisor: Supervisor, transport: str, row: Row) -> None:
    """Check that one failure counts where it should, and nowhere else."""
    health = health_of(supervisor, transport)
    assert (health.in_flight, health.waiting, health.succeeded) == (0, 0, 0)
    model = health.models[f"{transport}-model"]
    assert model.run == (row.blamed == "model")
    assert health.endpoint.run == 0
    assert health.endpoint.is_clear
    assert health.credential.is_clear == (row.blamed != "credential")
    held = row.verdict is V.THROTTLED
    assert (model.hold is CircuitState.OPEN) == held


@pytest.mark.parametrize(("pair", "row"), BEFORE, ids=lambda each: str(each) if isinstance(each, Row) else each[0])
async def test_what_goes_wrong_before_content(pair: tuple[Wire, Wire], row: Row) -> None:
    """The next route's whole answer, unless the request is at fault; the trail says why, and who is blamed."""
    scripts = (pair[0], Script.always(row.behaviour)), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts) as (agent, supervisor, servers):
        got = await read(agent)
        assert_blamed(supervisor, pair[0], row)
        assert [len(server.log) for server in servers] == [1, not row.over]
    if row.over:
        assert isinstance(got.error, RequestRejectedError)
        assert (got.error.verdict, got.events) == (row.verdict, [])
    else:
        assert got.text == got.response.text == OTHER
        assert got.verdicts == [row.verdict, V.OK]
        assert len(got.events) == 61


@pytest.mark.parametrize(("pair", "row"), AFTER, ids=lambda each: str(each) if isinstance(each, Row) else each[0])
async def test_what_goes_wrong_after_content(pair: tuple[Wire, Wire], row: Row) -> None:
    """It is raised with what had come; asked for whole, the answer is the next route's."""
    scripts = (pair[0], Script.always(row.behaviour)), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts) as (agent, supervisor, servers):
        got = await read(agent)
        assert_blamed(supervisor, pair[0], row)
        assert [len(server.log) for server in servers] == [1, 0]
        came = FRUGAL.text if row.name == "no message_stop" else first(str(FRUGAL.text), 2)
        assert (got.text, got.interruption.partial.text) == (came, came)
        assert (got.verdicts, got.interruption.verdict) == ([row.verdict], row.verdict)
        if not row.over:
            supervisor.reset(pair[0])
            response = await agent.complete("Who?", stream_upstream=True)
            assert_blamed(supervisor, pair[0], row)
            assert response.text == OTHER
            assert [attempt.verdict for attempt in response.attempts] == [row.verdict, V.OK]


@pytest.mark.parametrize(("pair", "how"), [(PAIRS[0], "unterminated"), *((pair, "more") for pair in PAIRS)])
async def test_what_is_no_failure(pair: tuple[Wire, Wire], how: Any) -> None:
    """A missing `[DONE]` after a reason to finish, and content after the end: the answer is whole."""
    scripts = (pair[0], Script.always(Breaks(FRUGAL, 2, how))), (pair[1], Script.always(Answer(OTHER)))
    async with opened(*scripts) as (agent, supervisor, servers):
        got = await read(agent)
        assert got.text == got.response.text == FRUGAL.text
        assert (got.verdicts, got.response.usage.output_tokens) == ([V.OK], 4)
        assert (await agent.complete("Who?", stream_upstream=True)).text == FRUGAL.text
        health = health_of(supervisor, pair[0])
        assert (health.succeeded, health.failed, health.in_flight) == (2, 0, 0)
        assert len(servers[1].log) == 0


CALLS = (Called("call_1", "look", '{"what": "é 日本 😀"}'), Called("call_2", "count", '{"to": 3}'))
SAID = {"text": Said("four  five\nsix é日本😀 ", 3, "let me see"), "calls": Said("", 3, "let me see", CALLS)}


def literal(data: bytes) -> bytes:
    """Undo the escapes of JSON for what is no ASCII: servers send it as it is."""
    text = data.decode()
    for character in "é日本😀":
        text = text.replace(json.dumps(character)[1:-1], character)
    return text.encode()


def bodies(wire: Wire) -> dict[str, bytes]:
    """Streams that end well, and ones that fail right after their content."""
    made: dict[str, Events] = {name: events(wire, "a-model", each, usage=True) for name, each in SAID.items()}
    whole = {name: b"".join([e.opening, *e.pieces, e.closing, e.terminator]) for name, e in made.items()}
    begun = b"".join([made["text"].opening, *made["text"].pieces])
    return {
        **{name: literal(data) for name, data in whole.items()},
        "crlf": literal(whole["text"]).replace(b"\n", b"\r\n"),
        "error": literal(begun) + failing(wire, "rate_limit_error", "not so fast"),
        "garbage": literal(begun) + b"data: {\n\n",
    }


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The data in parts, cut at these places."""
    return [data[begin:end] for begin, end in pairwise([0, *sorted(at), len(data)])]


def splits(body: bytes) -> dict[str, tuple[float, list[bytes]]]:
    """Ways to send a body, each with the seconds between two parts: in one, byte by byte, and at random places."""
    sent = head() + chunk(body) + LAST
    single = [bytes([byte]) for byte in body]
    made = {
        "in one part": (0.0, [sent]),
        "a byte at a time": (0.0, [bytes([byte]) for byte in sent]),
        "a byte in a chunk": (0.0, [head(), *map(chunk, single), LAST]),
        "behind the head": (0.001, [head(), chunk(body), LAST]),
    }
    for seed in range(3):
        rand = random.Random(seed)
        made[f"cut with seed {seed}"] = 0.001, cut(sent, rand.sample(range(1, len(sent)), rand.randint(1, 12)))
        parts = cut(body, rand.sample(range(1, len(body)), rand.randint(1, 12)))
        made[f"chunks with seed {seed}"] = 0.001, [head(), *map(chunk, parts), LAST]
    return made


def comparable(got: Got) -> tuple[object, ...]:
    """What must not depend on how the bytes were cut up."""
    plain = [event for event in got.events if not isinstance(event, Finished)]
    if got.error is None:
        response = got.response
        return plain, response.blocks, response.usage, response.finish_reason, got.verdicts
    return plain, got.interruption.partial, got.interruption.verdict, str(got.interruption.__cause__), got.verdicts


@pytest.mark.long
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("kind", ["text", "calls", "crlf", "error", "garbage"])
async def test_how_bytes_are_cut_up_changes_nothing(wire: Wire, kind: str) -> None:
    """The same events and the same answer, or the same verdict right behind the content, for any split."""
    body, play = bodies(wire)[kind], Played(wire, [])
    seen: dict[str, tuple[object, ...]] = {}
    async with listening(play) as place, beside(place, wire, None, retry_attempts=1) as (agent, supervisor, _):
        for name, (play.pause, play.parts) in splits(body).items():
            supervisor.reset(wire)
            got = await read(agent)
            seen[name] = comparable(got)
            assert (got.error is None) == (kind in {"text", "calls", "crlf"}), name
            reasoning = "".join(event.text for event in got.events if isinstance(event, ReasoningDelta))
            assert (got.text, reasoning) == ("" if kind == "calls" else SAID["text"].text, "let me see"), name
    assert {name for name, it in seen.items() if it != seen["in one part"]} == set()
