"""Answers of a shape: validated, repaired once, and never anything else, whoever answers and in whatever way."""

from __future__ import annotations

import dataclasses
import datetime
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

import understudy
from understudy import (
    ActorStoppedError,
    Agent,
    AttemptError,
    Message,
    Response,
    ResponseInvalidError,
    Text,
    TimeoutExceededError,
    Tool,
    ToolCall,
    Usage,
    Verdict,
    user,
)
from understudy.providers import (
    TRANSPORTS,
    Failure,
    FinishReason,
    Parameters,
    Reasoning,
    Request,
    Shape,
    attempt_error,
)
from understudy.providers._dialects import render
from understudy.providers._shape import as_text
from understudy.simulation import Script, Status, World
from understudy.supervisor._structured import Flaw, wanted

from .over_sockets import opened as opened_over_sockets
from .scenario import opened
from .test_mapping import SDK
from .test_wire_openai import exhaust


class Facts(BaseModel):
    """What is known of a book."""

    title: str
    year: int = Field(ge=1000)
    tags: list[str] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


class Person(TypedDict):
    name: str
    born: datetime.date


SCHEMA = {
    "title": "Year",
    "type": "object",
    "properties": {"year": {"type": "integer", "minimum": 1000}, "on": {"type": "string", "format": "date"}},
    "required": ["year"],
}
FAUST = '{"title": "Faust", "year": 1808}'
NO_YEAR = '{"title": "Faust"}'
TOO_EARLY = '{"title": "Faust", "year": 8}'


def answered(text: str, finish: FinishReason = "stop", *others: Any, **fields: Any) -> Response:
    return Response((Text(text), *others), "m", "openai", finish, Usage(10, 5), **fields)


GOOD: list[tuple[str, Any, str, Any]] = [
    ("plain", Facts, FAUST, Facts(title="Faust", year=1808)),
    ("fenced", Facts, f"```json\n{FAUST}\n```", Facts(title="Faust", year=1808)),
    ("fenced without a name", Facts, f"Here:\n```\n{FAUST}\n```\nDone {{}}.", Facts(title="Faust", year=1808)),
    ("behind other code", Facts, f"```py\nx = 1\n```\n{FAUST}", Facts(title="Faust", year=1808)),
    ("in prose", Facts, f"Sure! {FAUST} That is {{all}}.", Facts(title="Faust", year=1808)),
    ("with a fence inside", Facts, '{"title": "```", "year": 1808}', Facts(title="```", year=1808)),
    ("null for what is left out", Facts, '{"title": "F", "year": 1808, "tags": null}', Facts(title="F", year=1808)),
    ("dataclass", Point, '{"x": 1, "y": null}', Point(1)),
    ("typed dict", Person, '{"name": "G", "born": "1749-08-28"}', {"name": "G", "born": datetime.date(1749, 8, 28)}),
    ("list", list[int], '{"value": [1, 2]}', [1, 2]),
    ("list, bare", list[int], "Well: [1, 2]", [1, 2]),
    ("number", int, '{"value": 3}', 3),
    ("union", Facts | Point, '{"value": {"x": 2, "y": 3}}', Point(2, 3)),
    ("literal", Literal["a", "b"], '{"value": "a"}', "a"),
    ("no hash", Annotated[list[int], Field(json_schema_extra={"examples": [[1]]})], '{"value": [7]}', [7]),
    ("schema", SCHEMA, '{"year": 1808}', {"year": 1808}),
    ("schema, null for what is left out", SCHEMA, '{"year": 1808, "on": null}', {"year": 1808}),
    ("schema of a list", {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "integer"}}},
     '{"value": [1]}', [1]),
    ("schema of itself", {"type": "array", "items": {"$ref": "#"}}, '{"value": [[], [[]]]}', [[], [[]]]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "text", "expected"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_what_is_valid_is_parsed(model: Any, text: str, expected: Any) -> None:
    """Whatever stands around it: the value is what the type says, and the text stays as it came."""
    response = answered(text)
    found = wanted(model).finish(response)
    assert isinstance(found, Response), found
    assert found.parsed == expected
    assert type(found.parsed) is type(expected)
    assert found == dataclasses.replace(response, parsed=expected)


BAD: list[tuple[str, Any, str, str]] = [
    ("prose", Facts, "I do not know.", "it is no JSON"),
    ("cut", Facts, '{"title": "Fau', "it is no JSON"),
    ("nothing in the fence", Facts, "```json\n```", "it is no JSON"),
    ("missing", Facts, NO_YEAR, "year: Field required"),
    ("too small", Facts, TOO_EARLY, "year: Input should be greater than or equal to 1000"),
    ("two", Facts, '{"year": "x"}', "title: Field required; year: Input should be a valid integer, unable to parse "
     "string as an integer"),
    ("no object", Facts, "[1]", "Input should be an object"),
    ("schema", SCHEMA, '{"year": 8}', "year: minimum must be 1000"),
    ("schema, missing", SCHEMA, "{}", 'required must be ["year"]'),
    ("schema, format", SCHEMA, '{"year": 1808, "on": "soon"}', 'on: format must be "date"'),
    ("deep", {"type": "array", "items": {"$ref": "#"}}, "[" * 900 + "]" * 900, "it is nested too deep"),
    ("too deep for JSON", Facts, "[" * 100_000, "it is nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "text", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_not_valid_says_where_and_why(model: Any, text: str, reason: str) -> None:
    """The place and the rule, which the model can mend it by; what the answer says is not repeated."""
    assert wanted(model).finish(answered(text)) == Flaw(reason, repairable=True)


@given(text=st.text() | st.text(alphabet='{}[]"`:,0 \n\\aNI-.') | st.text().map(lambda inner: f"```json\n{inner}```"))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_any_text_is_an_answer_or_says_why_not(text: str) -> None:
    """Whatever a model writes: a value of the type, or a flaw."""
    for model in (Facts, list[int], SCHEMA):
        found = wanted(model).finish(answered(text))
        assert isinstance(found, (Response, Flaw))


def test_what_is_wrong_is_cut() -> None:
    """A long answer with many mistakes makes no long error."""
    many = json.dumps({"value": ["canary"] * 500})
    found = wanted(list[int]).finish(answered(many))
    assert isinstance(found, Flaw)
    assert len(found.reason) == 1000
    assert "canary" not in found.reason
    long = {"type": "object", "properties": {"a": {"enum": ["x" * 200]}}}
    assert wanted(long).finish(answered('{"a": 1}')) == Flaw(f'a: enum must be ["{"x" * 97}…', repairable=True)


@pytest.mark.parametrize(
    ("finish", "word"), [("refusal", "refused"), ("content_filter", "content filter"), ("length", "max_tokens")]
)
def test_a_refusal_and_an_answer_cut_off_are_not_repaired(finish: FinishReason, word: str) -> None:
    """To ask again would mend neither, even where what came happens to be valid."""
    found = wanted(Facts).finish(answered(FAUST, finish))
    assert isinstance(found, Flaw)
    assert not found.repairable
    assert word in found.reason


def test_a_users_own_check_is_told_and_its_bug_is_his() -> None:
    """A ValueError of a validator is part of what is wrong; any other error arrives as it is."""

    class Checked(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def _known(cls, name: str) -> str:
            if name == "bug":
                raise KeyError(name)
            raise ValueError("nobody of that name")

    want = wanted(Checked)
    assert want.finish(answered('{"name": "x"}')) == Flaw("name: Value error, nobody of that name", repairable=True)
    with pytest.raises(KeyError):
        want.finish(answered('{"name": "bug"}'))


def test_a_strict_model_reads_json_as_json() -> None:
    """A date is a text there, also for a model that would take no text in Python."""

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        on: datetime.date

    found = wanted(Strict).finish(answered('{"on": "2026-01-01"}'))
    assert isinstance(found, Response)
    assert found.parsed == Strict(on=datetime.date(2026, 1, 1))


NO_SCHEMAS: list[tuple[Any, str]] = [
    ("Facts", "is no type"),
    (Facts(title="Faust", year=1808), "an object of Facts is nothing that pydantic"),
    (3, r"an object of int is nothing .* TypedDict; before Python 3.12 that of typing_extensions"),
    (Script.sequence.__class__, "method is nothing that pydantic makes a JSON schema of"),
    (dataclasses.make_dataclass("Odd", [("f", "Nowhere")]), "Odd is nothing"),
    ({}, "without a type, properties or another keyword"),
    ({"name": "string"}, "without a type"),
    ({"type": "json_schema", "json_schema": {}}, "is no JSON schema: type: "),
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "refers to '#/\\$defs/b', which is not in it"),
    ({"type": "object", "properties": {"a": {"$ref": "http://e.test/b"}}}, "refers to 'http://e.test/b'"),
    ({"type": {1, 2}}, "is a dict that is no JSON schema"),
]


@pytest.mark.parametrize(("model", "message"), NO_SCHEMAS, ids=range(len(NO_SCHEMAS)))
def test_what_is_no_schema_is_the_callers_mistake(model: Any, message: str) -> None:
    """Said before anything is sent, with the remedy."""
    with pytest.raises(TypeError, match=message):
        wanted(model)


def test_a_type_is_read_once() -> None:
    """pydantic takes milliseconds to make a schema: the same type has the same shape. A dict may change."""
    assert wanted(Facts).shape is wanted(Facts).shape
    schema: Any = {"type": "object", "properties": {}}
    before = wanted(schema).shape.schema
    schema["properties"]["a"] = {"type": "string"}
    assert before == {"type": "object", "properties": {}}
    assert wanted(schema).shape.schema == schema


def test_neither_pydantic_nor_the_validator_is_loaded_before_it_is_needed() -> None:
    """`import understudy` costs next to nothing; a JSON schema's validator is only for those who give one."""
    code = (
        "import sys, understudy; assert not {'pydantic', 'jsonschema'} & sys.modules.keys();"
        "from understudy.supervisor._structured import wanted; wanted(int); assert 'jsonschema' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


OTHER = ToolCall("2", "add", "{}")


@pytest.mark.parametrize(
    ("blocks", "finish", "expected", "ended"),
    [
        ((ToolCall("1", "Facts", FAUST, "openai"),), "tool_calls", (Text(FAUST, "openai"),), "stop"),
        ((Reasoning("hm"), Text("Here:"), ToolCall("1", "Facts", FAUST)), "tool_calls", (Reasoning("hm"), Text(FAUST)),
         "stop"),
        ((ToolCall("1", "Facts", FAUST), ToolCall("2", "Facts", "{}")), "tool_calls", (Text(FAUST),), "stop"),
        ((ToolCall("1", "Facts", '{"ti'),), "length", (Text('{"ti'),), "length"),
        ((ToolCall("1", "Facts", FAUST), OTHER), "tool_calls", (OTHER,), "tool_calls"),
        ((OTHER,), "tool_calls", (OTHER,), "tool_calls"),
        ((Text(FAUST),), "stop", (Text(FAUST),), "stop"),
    ],
)  # fmt: skip
def test_the_call_that_gives_the_answer_is_its_text(blocks: Any, finish: Any, expected: Any, ended: Any) -> None:
    """Callers and histories see text; while other tools are asked for, the answer is not final."""
    given = Response(blocks, "m", "openai", finish)
    parameters = Parameters(shape=wanted(Facts).shape, tools=[Tool("add")])
    assert as_text(given, parameters) == dataclasses.replace(given, blocks=expected, finish_reason=ended)
    assert as_text(given, {}) is given


# Scenarios: whole requests, on both backends.


class Provided:
    """What the providers of a world are to answer, in order; each request that came is kept."""

    def __init__(self, world: World) -> None:
        self.requests: list[tuple[str, Request]] = []
        self._world, self._answers = world, dict[str, Iterator[Any]]()

    def answers(self, transport: str, *answers: Any) -> None:
        self._answers[transport] = iter(answers)
        for provider in self._world.providers:
            if provider._target.transport == transport:
                provider.complete = self._complete(transport)  # type: ignore[method-assign]

    def _complete(self, transport: str) -> Any:
        async def complete(request: Request) -> Response:
            self.requests.append((transport, request))
            await anyio.sleep(1)
            answer = next(self._answers[transport])
            if isinstance(answer, Verdict):
                raise attempt_error(Failure(transport=transport, model="m", verdict=answer))
            if answer is None:
                await anyio.sleep_forever()
            response = answer if isinstance(answer, Response) else answered(answer)
            return dataclasses.replace(response, transport=transport)

        return complete

    @property
    def asked(self) -> list[str]:
        """The transports that were asked, in order."""
        return [transport for transport, _ in self.requests]


@contextmanager
def checked_bodies(provided: Provided) -> Iterator[None]:
    """Check at the end that every request that was made can be sent, as the vendors' own types say."""
    yield
    for transport, request in provided.requests:
        body = render(transport, TRANSPORTS[transport].base_url, request).body
        exhaust(SDK[transport == "anthropic"].validate_python(body))


async def ask(agent: Agent, timeout: float = 60, **parameters: Any) -> Response:
    return await agent.complete("Tell me of Faust.", timeout=timeout, response_model=Facts, **parameters)


HELLO = Script()
PAIR = {"openai": HELLO, "anthropic": HELLO}

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_valid_answer_is_parsed_at_once(transport: str) -> None:
    """One call, the value beside the text, and a trail of one attempt."""
    async with opened({transport: HELLO}) as (agent, _, world):
        provided = Provided(world)
        provided.answers(transport, FAUST)
        with checked_bodies(provided):
            response = await ask(agent)
    assert response.parsed == Facts(title="Faust", year=1808)
    assert response.text == FAUST
    assert [attempt.number for attempt in response.attempts] == [1]
    assert provided.requests[0][1].parameters["shape"].name == "Facts"


async def test_without_a_model_nothing_is_parsed() -> None:
    """An answer that happens to be JSON stays text."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        Provided(world).answers("openai", FAUST)
        assert (await agent.complete("Hello.")).parsed is None


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", [None, "json_schema", "tool", "json_object"])
async def test_an_answer_that_is_not_valid_is_repaired(transport: str, mode: str | None) -> None:
    """It goes back with what is wrong; trail and tokens are those of both rounds. Both can be sent, in every mode."""
    async with opened({transport: HELLO}, route={"structured_output_mode": mode}) as (agent, _, world):
        provided = Provided(world)
        provided.answers(transport, TOO_EARLY, dataclasses.replace(answered(FAUST), request_id="second"))
        with checked_bodies(provided):
            response = await ask(agent, max_tokens=500)
        ended_at = anyio.current_time()
    assert response.parsed == Facts(title="Faust", year=1808)
    assert (response.usage, response.request_id, ended_at) == (Usage(20, 10), "second", 2)
    assert [(attempt.number, attempt.start, attempt.duration) for attempt in response.attempts] == [
        (1, 0, 1),
        (2, 1, 1),
    ]
    (_, first), (_, second) = provided.requests
    assert second.parameters == first.parameters
    assert second.messages[:2] == (user("Tell me of Faust."), Message("assistant", (Text(TOO_EARLY),)))
    assert "year: Input should be greater than or equal to 1000" in second.messages[2].text


async def test_a_repair_that_fails_is_an_error_with_the_answer() -> None:
    """After the second round it is over; the error holds the last answer and the whole trail, and not its words."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", NO_YEAR, TOO_EARLY, FAUST)
        with pytest.raises(ResponseInvalidError, match="greater than or equal to 1000") as caught:
            await ask(agent)
    error = caught.value
    assert provided.asked == ["openai"] * 2
    assert error.response.text == TOO_EARLY
    assert error.response.usage == Usage(20, 10)
    assert len(error.attempts) == len(error.response.attempts) == 2
    assert "Faust" not in str(error)
    assert error.agent == "deriver"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (answered("I will not.", "refusal"), "refused"),
        (answered("", "content_filter"), "content filter"),
        (answered('{"title": "Fau', "length"), "cut off"),
    ],
)
async def test_what_asking_again_does_not_mend_is_said_at_once(answer: Response, word: str) -> None:
    """One call only; the error tells a refusal, a filter and a limit apart, and holds what came."""
    async with opened(PAIR) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", answer)
        with pytest.raises(ResponseInvalidError, match=word) as caught:
            await ask(agent)
    assert provided.asked == ["openai"]
    assert caught.value.response.text == answer.text
    assert len(caught.value.attempts) == 1


async def test_the_shape_survives_a_hand_over() -> None:
    """The primary dies, the fallback is told the same in its own words."""
    async with opened(PAIR) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", Verdict.PROVIDER)
        provided.answers("anthropic", FAUST)
        with checked_bodies(provided):
            response = await ask(agent)
    assert (response.parsed, response.is_fallback) == (Facts(title="Faust", year=1808), True)
    (_, first), (_, second) = provided.requests
    assert first.parameters["shape"] is second.parameters["shape"]


async def test_a_repair_is_handed_over_like_anything_else() -> None:
    """The primary answers wrong and is gone: the fallback gets the answer, what is wrong with it, and the shape."""
    async with opened(PAIR) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", NO_YEAR, Verdict.PROVIDER)
        provided.answers("anthropic", FAUST)
        with checked_bodies(provided):
            response = await ask(agent)
    assert provided.asked == ["openai", "openai", "anthropic"]
    assert response.parsed == Facts(title="Faust", year=1808)
    assert response.is_fallback
    assert [(a.number, a.start, a.verdict) for a in response.attempts] == [
        (1, 0, Verdict.OK),
        (2, 1, Verdict.PROVIDER),
        (3, 2, Verdict.OK),
    ]
    body = render("anthropic", "https://api.anthropic.com", provided.requests[2][1]).body
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


async def test_a_repair_begins_at_the_route_that_answered() -> None:
    """A dead primary is not asked again for it."""
    async with opened(PAIR) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", Verdict.PROVIDER)
        provided.answers("anthropic", NO_YEAR, FAUST)
        response = await ask(agent)
    assert provided.asked == ["openai", "anthropic", "anthropic"]
    assert response.is_fallback


async def test_a_timeout_holds_for_both_rounds() -> None:
    """What is left of it is the second round's; the error says the whole of it, and has the whole trail."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", NO_YEAR, None)
        with pytest.raises(TimeoutExceededError, match="within the timeout of 5 s") as caught:
            await ask(agent, timeout=5)
        assert anyio.current_time() == pytest.approx(5)
    assert [attempt.number for attempt in caught.value.attempts] == [1, 2]


async def test_nobody_to_correct_it_is_an_invalid_answer() -> None:
    """The caller has an answer, though not a valid one; why nobody corrected it is the cause."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        provided = Provided(world)
        provided.answers("openai", NO_YEAR, Verdict.CALLER)
        with pytest.raises(ResponseInvalidError, match="year: Field required; nobody could be asked") as caught:
            await ask(agent)
    assert isinstance(caught.value.__cause__, AttemptError)
    assert caught.value.response.text == NO_YEAR
    assert [attempt.verdict for attempt in caught.value.attempts] == [Verdict.OK, Verdict.CALLER]


async def test_a_first_round_that_fails_fails_as_ever() -> None:
    """No answer at all is the error of the attempt."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        Provided(world).answers("openai", *[Verdict.PROVIDER] * 3)
        with pytest.raises(understudy.AllAttemptsFailedError):
            await ask(agent)


async def test_closing_in_the_second_round_says_so() -> None:
    """A supervisor that closes is no invalid answer."""
    async with anyio.create_task_group() as tasks:
        async with opened({"openai": HELLO}, drain_for=0.5) as (agent, _, world):
            Provided(world).answers("openai", NO_YEAR, None)

            async def one() -> None:
                with pytest.raises(ActorStoppedError):
                    await ask(agent)

            tasks.start_soon(one)
            await anyio.sleep(1.5)
    assert anyio.current_time() == 2


async def test_tool_calls_come_back_unparsed() -> None:
    """They are no answer yet; the next turn brings it."""
    call = ToolCall("1", "add", "{}")
    async with opened({"openai": HELLO}) as (agent, _, world):
        Provided(world).answers("openai", Response((call,), "m", "openai", "tool_calls"))
        response = await ask(agent, tools=[Tool("add")])
    assert (response.tool_calls, response.parsed) == ((call,), None)


async def test_bad_input_is_refused_before_anything_is_sent() -> None:
    """A model that is none, and two words for one thing."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        with pytest.raises(TypeError, match="give a pydantic model"):
            await agent.complete("Hello.", response_model="Facts")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="give one of them"):
            await ask(agent, shape=Shape("a", {"type": "object"}))
        assert world.log("openai") == []


async def test_a_repair_leaves_no_knot_behind() -> None:
    """Errors let go of what they hold by themselves, as everywhere."""
    async with opened({"openai": HELLO}) as (agent, _, world):
        Provided(world).answers("openai", NO_YEAR, Verdict.CALLER)
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(ResponseInvalidError):
                await ask(agent)
            errors = [found for found in gc.get_objects() if isinstance(found, ResponseInvalidError)]
            assert not [error for error in errors if error.response.text == NO_YEAR]
        finally:
            gc.enable()


def body_of(transport: str, text: str) -> bytes:
    """Return an answer on a wire that calls the answer's tool."""
    if transport == "anthropic":
        part = {"type": "tool_use", "id": "1", "name": "Facts", "input": json.loads(text)}
        return json.dumps({"content": [part], "stop_reason": "tool_use", "model": "m"}).encode()
    call = {"id": "1", "type": "function", "function": {"name": "Facts", "arguments": text}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}], "model": "m"}).encode()


@pytest.mark.sockets
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_forced_tool_gives_the_answer_over_the_wire(transport: str) -> None:
    """Through the real clients: the call is the answer's text, and a wrong one is repaired like any other."""
    script = Script.sequence(Status(200, body=body_of(transport, NO_YEAR)), Status(200, body=body_of(transport, FAUST)))
    route = {"structured_output_mode": "tool"}
    async with opened_over_sockets((transport, script), route=route) as (agent, _, servers):
        response = await ask(agent)
        assert len(servers[0].log) == 2
    assert json.loads(response.text) == json.loads(FAUST)
    assert (response.parsed, response.finish_reason) == (Facts(title="Faust", year=1808), "stop")
    assert response.tool_calls == ()
