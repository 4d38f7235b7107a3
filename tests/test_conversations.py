"""Whole conversations over real sockets and both vendors' clients: the provider changes in the middle.

What the simulated vendors received is held against the request types of their SDKs, and against the rules that those
types do not say.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic.types.message_create_params as anthropic_params
import anyio
import openai.types.chat.completion_create_params as openai_params
import pytest
from pydantic import BaseModel, TypeAdapter

from understudy import (
    Agent,
    Iteration,
    Reasoning,
    Restarted,
    Run,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verdict,
    image,
    user,
)
from understudy.simulation import Answer, Behaviour, Breaks, Phase, Script, SimulatedServer, Status
from understudy.simulation._answers import SIGNATURE, Wire

from .over_sockets import opened
from .test_portable_history import check_anthropic, check_openai
from .test_streams_over_sockets import PAIRS, both_ways
from .test_wire_openai import exhaust

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

V = Verdict
TYPES: dict[tuple[Wire, bool], TypeAdapter[Any]] = {
    ("openai", False): TypeAdapter(openai_params.CompletionCreateParamsNonStreaming),
    ("openai", True): TypeAdapter(openai_params.CompletionCreateParamsStreaming),
    ("anthropic", False): TypeAdapter(anthropic_params.MessageCreateParamsNonStreaming),
    ("anthropic", True): TypeAdapter(anthropic_params.MessageCreateParamsStreaming),
}


def check(wire: Wire, server: SimulatedServer) -> None:
    """Check that every request a vendor received is one that it takes."""
    assert server.received
    for received in server.received:
        body: Any = received.body
        exhaust(TYPES[wire, body.get("stream", False)].validate_python(body))
        if wire == "anthropic":
            check_anthropic(body["messages"], thinking=body.get("thinking", {}).get("type") == "enabled")
        else:
            check_openai(body["messages"])


@dataclass
class Tools:
    """Tools that count: no two uses give the same result, so that each one can be told from all others."""

    takes: float = 0.0
    used: list[tuple[str, str, int]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def look(self, what: str, again: int) -> str:
        """Look something up."""
        return await self._use("look", what, again)

    async def search(self, what: str, again: int) -> str:
        """Search for something."""
        return await self._use("search", what, again)

    async def _use(self, name: str, what: str, again: int) -> str:
        self.used.append((name, what, again))
        await anyio.sleep(self.takes)
        return f"{name} found {what} in round {again}: number {next(self._numbers)}"

    @property
    def both(self) -> list[Any]:
        """The tools, as a run takes them."""
        return [self.look, self.search]


def rounds_of(tools: Tools, question: str) -> list[int]:
    """The rounds in which the tools were used for a question, in order."""
    return [again for _, what, again in tools.used if what == question]


async def run(agent: Agent, question: Any, tools: Tools, how: str, **parameters: Any) -> Run:
    """Make a tool run in one of the ways there are."""
    options: dict[str, Any] = {"tools": tools.both, "tools_at_once": 4, **parameters}
    if how != "stream_run":
        return await agent.run(question, stream_upstream=how == "run streamed", **options)
    async with agent.stream_run(question, on_interrupt="restart", **options) as stream:
        said = ""
        async for event in stream:
            if isinstance(event, (Restarted, Iteration)):
                said = ""
            said += event.text if isinstance(event, TextDelta) else ""
        assert said == stream.run.text
        return stream.run


def assert_right(run: Run, question: str) -> None:
    """Check that the answer is to the question, with every result of every tool, each once and in its place."""
    results = [use.result for use in run.tool_calls]
    assert run.text.splitlines() == [question, *results]
    assert len(set(results)) == len(results)
    assert not any(use.is_error for use in run.tool_calls)


HOWS = ("run", "run streamed", "stream_run")
THINKS: dict[Wire, str] = {"openai": "as one ponders", "anthropic": "as another muses"}
ROUNDS = 4


def well(wire: Wire) -> Answer:
    """Four rounds of two calls of each of two tools, and then the answer, each time after some thought."""
    return Answer(None, rounds=ROUNDS, calls=2, thinking=THINKS[wire])


def deaths(wire: Wire) -> dict[str, Behaviour]:
    """How a primary may die in the middle of a run."""
    return {
        "refuses": Status(503),
        "breaks off in its thoughts": Breaks(well(wire), 1, "reset"),
        "breaks off in a call": Breaks(well(wire), 5, "cut"),
        "errs": Breaks(well(wire), 4, "error"),
    }


@both_ways
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("death", deaths("openai"))
async def test_a_run_goes_on_with_the_other_vendor(pair: tuple[Wire, Wire], how: str, death: str) -> None:
    """From the turn on in which the primary died: with a valid request, and without using a tool again; the dead one
    is not asked again in this run nor in the next, and is the first again once its circuit has closed.
    """
    primary, fallback = pair
    dies = deaths(primary)[death]
    lead = Script((Phase(well(primary), calls=2), Phase(dies, until=100)), well(primary))
    scripts = (primary, lead), (fallback, Script.always(well(fallback)))
    async with opened(*scripts, circuit_trip_after=1) as (agent, supervisor, servers):
        tools = Tools()
        got = await run(agent, "first question", tools, how, thinking_budget_tokens=2048)
        assert_right(got, "first question")
        assert rounds_of(tools, "first question") == [again for again in range(1, 5) for _ in range(4)]
        assert [len(server.log) for server in servers] == [3, 3]
        assert [attempt.transport for attempt in got.attempts] == [primary] * 3 + [fallback] * 3
        assert [attempt.verdict is V.OK for attempt in got.attempts] == [True, True, False, True, True, True]
        told = [len(results_in(fallback, received.body)) for received in servers[1].received]
        assert told == [8, 12, 16], "the fallback begins with the third turn, and knows what the tools gave before"
        assert_thoughts(pair, servers)
        bodies = [received.body for server in servers for received in server.received]
        assert {"thinking", "reasoning_effort"} & {name for body in bodies for name in body}, "thinking was asked for"

        again = await run(agent, [*got.messages, user("second question")], tools, how, thinking_budget_tokens=2048)
        assert_right(again, "second question")
        assert {attempt.transport for attempt in again.attempts} == {fallback}
        assert len(servers[0].log) == 3, "its circuit is open"

        await anyio.sleep(150)
        back = await run(agent, [*again.messages, user("third question")], tools, how, thinking_budget_tokens=2048)
        assert_right(back, "third question")
        assert {attempt.transport for attempt in back.attempts} == {primary}
        assert len(tools.used) == 3 * ROUNDS * 4
        assert len(back.messages) == 3 * (2 + 2 * ROUNDS)
        assert_thoughts(pair, servers)
        for wire, server in zip(pair, servers, strict=True):
            check(wire, server)
        assert all(health.in_flight == 0 for health in supervisor.health().values())


def parts_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content blocks of all messages."""
    contents = [message["content"] for message in body["messages"]]
    return [part for content in contents if isinstance(content, list) for part in content]


def results_in(wire: Wire, body: Mapping[str, Any]) -> list[str]:
    """The results of tools in a request."""
    if wire == "openai":
        return [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return [part["content"] for part in parts_of(body) if part["type"] == "tool_result"]


def thoughts_in(wire: Wire, body: Mapping[str, Any]) -> list[str]:
    """The reasoning in a request, which is its vendor's own and signed."""
    if wire == "openai":
        return [message["reasoning_content"] for message in body["messages"] if "reasoning_content" in message]
    thinking = [part for part in parts_of(body) if part["type"] == "thinking"]
    assert all(part["signature"] == SIGNATURE for part in thinking)
    return [part["thinking"] for part in thinking]


def assert_thoughts(pair: tuple[Wire, Wire], servers: list[SimulatedServer]) -> None:
    """Check that each vendor was told what it had thought in the turns with tools, and nothing of another's."""
    for wire, server in zip(pair, servers, strict=True):
        for received in server.received:
            assert set(thoughts_in(wire, received.body)) <= {THINKS[wire]}
            other = THINKS["openai" if wire == "anthropic" else "anthropic"]
            assert other not in json.dumps(received.body)
        assert len(thoughts_in(wire, server.received[1].body)) == 1, "the turn before was its own"


@pytest.mark.long
@both_ways
async def test_a_hundred_runs_through_an_outage(pair: tuple[Wire, Wire]) -> None:
    """Which also breaks streams midway: each run ends with the answer to its question, and no tool is used twice."""
    primary, fallback = pair
    whole = Answer(None, after=0.25, rounds=3, calls=2)
    since, until = 1.0, 8.0
    broken = (
        Phase(Breaks(whole, 3, "reset"), since=since, until=until, share=0.2),
        Phase(Breaks(whole, 5, "cut"), since=since, until=until, share=0.2),
        Phase(Breaks(whole, 0, "error"), since=since, until=until, share=0.2),
        Phase(Breaks(whole, 2, "silence"), since=since, until=until, share=0.2),
        Phase(Status(503), since=since, until=until, share=0.8),
    )
    scripts = (primary, Script(broken, whole)), (fallback, Script.always(whole))
    limits: dict[str, Any] = {"stall_timeout": 1, "default_timeout": 4, "circuit_open_for": 1, "circuit_open_max": 2}
    async with opened(*scripts, **limits) as (agent, supervisor, servers):
        tools, ended = Tools(takes=0.25), dict[str, Run]()
        rand = random.Random(0)

        async def one(number: int, begins: float) -> None:
            question = f"nonce-{number} {number * 7919}"
            await anyio.sleep(begins)
            ended[question] = await run(agent, question, tools, HOWS[number % len(HOWS)])
            assert_right(ended[question], question)
            assert rounds_of(tools, question) == [1] * 4 + [2] * 4 + [3] * 4

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(one, number, rand.randrange(32) / 4)
        assert len(ended) == 100
        assert len(tools.used) == 100 * 12
        failed = [attempt for run in ended.values() for attempt in run.attempts if attempt.verdict is not V.OK]
        assert len({attempt.verdict for attempt in failed}) >= 3, "the outage struck in several ways"
        assert any(attempt.first_token is not None for attempt in failed), "also streams that had begun"
        assert any(len({attempt.transport for attempt in run.attempts}) == 2 for run in ended.values())
        assert all((health.in_flight, health.waiting) == (0, 0) for health in supervisor.health().values())
        for wire, server in zip(pair, servers, strict=True):
            check(wire, server)
        await anyio.sleep(30)
        last = await run(agent, "afterwards", tools, "run")
        assert {attempt.transport for attempt in last.attempts} == {primary}


class Facts(BaseModel):
    """What is asked for."""

    author: str
    year: int


GOETHE = '{"author": "Goethe", "year": 1808}'


@both_ways
@pytest.mark.parametrize("mode", ["tool", "json_object", "json_schema"])
async def test_a_typed_answer_comes_as_text(pair: tuple[Wire, Wire], mode: str) -> None:
    """In pieces, also where a tool is forced: nobody sees that; and it survives a hand-over in its middle."""
    cut = Script.always(Breaks(Answer(GOETHE), 2, "reset"))
    scripts = (pair[0], cut), (pair[1], Script.always(Answer(GOETHE)))
    async with opened(*scripts, route={"structured_output_mode": mode}) as (agent, _, servers):
        async with agent.stream("Who wrote Faust?", response_model=Facts, on_interrupt="restart") as stream:
            events = [event async for event in stream]
        response = await agent.complete("Who wrote Faust?", response_model=Facts, stream_upstream=True)
        for wire, server in zip(pair, servers, strict=True):
            check(wire, server)
            forced = [bool(received.body.get("tools")) for received in server.received]
            assert set(forced) == {mode == "tool"}
    assert not any(isinstance(event, (ToolCallStarted, ToolCallDelta)) for event in events)
    at = next(number for number, event in enumerate(events) if isinstance(event, Restarted))
    before, after = (
        "".join(event.text for event in part if isinstance(event, TextDelta)) for part in (events[:at], events[at:])
    )
    assert before and before != GOETHE and GOETHE.startswith(before)  # noqa: PT018 - one thought
    assert after == GOETHE
    assert sum(isinstance(event, TextDelta) for event in events[at:]) > 1, "in pieces"
    for each in (stream.response, response):
        assert each.parsed == Facts(author="Goethe", year=1808)
        assert (json.loads(each.text), each.tool_calls, each.finish_reason) == (json.loads(GOETHE), (), "stop")


PNG = b"\x89PNG\r\n\x1a\n"


@both_ways
async def test_images_go_to_both(pair: tuple[Wire, Wire]) -> None:
    """Each vendor gets a picture in its own form, and the fallback the same as the primary."""
    scripts = (pair[0], Script.always(Breaks(Answer(), 0, "error"))), (pair[1], Script.always(Answer(None)))
    async with opened(*scripts) as (agent, _, servers):
        async with agent.stream([user(["What is this?", image(PNG, "image/png")])]) as stream:
            assert "".join([piece async for piece in stream.text_stream()]) == "What is this?"
        sent: dict[str, Any] = {}
        for wire, server in zip(pair, servers, strict=True):
            check(wire, server)
            sent[wire] = server.received[0].body["messages"][0]["content"][1]
    data = "iVBORw0KGgo="
    assert sent["openai"] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert sent["anthropic"] == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": data},
    }


@both_ways
@pytest.mark.parametrize("policy", ["auto", None])
async def test_marks_for_the_cache_are_for_one_vendor(pair: tuple[Wire, Wire], policy: str | None) -> None:
    """With the policy Anthropic is told what to keep, in every turn of a run; nobody else ever sees a mark."""
    scripts = [(wire, Script.sequence(well(wire), otherwise=Status(503))) for wire in pair]
    scripts[1] = pair[1], Script.always(well(pair[1]))
    async with opened(*scripts, route={"cache_policy": policy}) as (agent, _, servers):
        assert_right(await run(agent, "What?", Tools(), "run"), "What?")
        for wire, server in zip(pair, servers, strict=True):
            check(wire, server)
            marks = [json.dumps(received.body).count('"cache_control"') for received in server.received]
            assert all(bool(count) == (wire == "anthropic" and policy == "auto") for count in marks)
            assert max(marks) <= 4, "more are refused"


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("how", HOWS)
async def test_thoughts_go_back_to_who_had_them(pair: tuple[Wire, Wire], how: str) -> None:
    """They are in each answer of a run, and in each request of the turn, unchanged."""
    wire = pair[0]
    async with opened((wire, Script.always(well(wire)))) as (agent, _, servers):
        got = await run(agent, "What?", Tools(), how)
        assert_right(got, "What?")
        sent = [thoughts_in(wire, received.body) for received in servers[0].received]
        check(wire, servers[0])
    assert got.response.reasoning == THINKS[wire]
    assert sent == [[THINKS[wire]] * turn for turn in range(ROUNDS + 1)]
    blocks = [block for message in got.messages for block in message.blocks if isinstance(block, Reasoning)]
    assert [block.text for block in blocks] == [THINKS[wire]] * (ROUNDS + 1)
    assert all(block.signature == (SIGNATURE if wire == "anthropic" else None) for block in blocks)
