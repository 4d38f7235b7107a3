"""The OpenAI wire: what is sent is what the vendor's own types allow, and any answer is read or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from understudy.providers import (
    Block,
    FinishReason,
    Image,
    Message,
    Parameters,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Verdict,
    assistant,
    decode,
    encode,
    image,
    system,
    tool,
    user,
)
from understudy.providers._history import CONTINUED
from understudy.providers._wire import WireError
from understudy.providers._wire_openai import Dialect, read, render

COMMON = Dialect()
VENDOR = Dialect(token_limit="max_completion_tokens", unsupported=frozenset({"top_k"}))
GEMINI = Dialect(unsupported=frozenset({"top_k"}), budgets=True)
THOUGHTLESS = Dialect(efforts=())

SDK = TypeAdapter(CompletionCreateParamsNonStreaming)
ADD = Tool("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "number"}}})
HELLO = (user("hello"),)
UNTOLD = Usage()


def exhaust(value: object) -> None:
    """Look into every corner: pydantic checks what the SDK types as an iterable only when it is read."""
    if isinstance(value, Mapping):
        value = value.values()
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        return
    for part in value:
        exhaust(part)


def rendered(parameters: Parameters, dialect: Dialect = COMMON) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Render the parameters, and return what they add to the body, and what was dropped."""
    answer = render(Request("gpt", HELLO, parameters), dialect)
    assert answer.body.pop("model") == "gpt"
    assert answer.body.pop("messages") == [{"role": "user", "content": "hello"}]
    return answer.body, answer.dropped


CALL = ToolCall("call_1", "add", '{"a": 1}', "openai")
FUNCTION = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
PICTURES = [Image(url="https://x/y.png"), image(b"hi", "image/png"), Image(url="https://x/z.gif", detail="low")]
URLS = [
    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    {"type": "image_url", "image_url": {"url": "https://x/z.gif", "detail": "low"}},
]
FAILED = ToolResult("call_2", "boom", is_error=True)
THOUGHTS = [Reasoning("hm", signature="s", issuer="anthropic"), Reasoning("hm", issuer="openai")]


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("message", "turns"),
    [
        (system("be brief"), [{"role": "system", "content": "be brief"}]),
        (user("hello"), [{"role": "user", "content": "hello"}]),
        (assistant("hi"), [{"role": "assistant", "content": "hi"}]),
        (system(["be brief", "be kind"]), [{"role": "system", "content": [text("be brief"), text("be kind")]}]),
        (user(["what is it?", *PICTURES]), [{"role": "user", "content": [text("what is it?"), *URLS]}]),
        (assistant(["let me", " see"]), [{"role": "assistant", "content": "let me see"}]),
        (assistant([*THOUGHTS, "yes"]), [{"role": "assistant", "content": "yes"}]),
        # who says nothing
        (assistant(THOUGHTS), [{"role": "user", "content": CONTINUED}]),
        (assistant(""), [{"role": "user", "content": CONTINUED}]),
        (user(""), [{"role": "user", "content": CONTINUED}]),
        (user(["", ""]), [{"role": "user", "content": CONTINUED}]),
        (user(["", "a"]), [{"role": "user", "content": "a"}]),
        (system(""), [{"role": "user", "content": CONTINUED}]),
        (system(["", ""]), [{"role": "user", "content": CONTINUED}]),
    ],
)
def test_messages_of_every_role_are_rendered(message: Message, turns: list[dict[str, Any]]) -> None:
    """Each message becomes the turns the vendor's types know; reasoning has no place there, tool results one each."""
    body = render(Request("gpt", (message,)), COMMON).body
    assert body == {"model": "gpt", "messages": turns}
    exhaust(SDK.validate_python(body))


ANSWERS = [
    {"role": "tool", "tool_call_id": f"call_{number}", "content": content}
    for number, content in [(1, "42"), (2, "boom")]
]
SECOND = {**FUNCTION, "id": "call_2"}


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        (
            [assistant(["sure", CALL]), tool("call_1", "42")],
            [{"role": "assistant", "content": "sure", "tool_calls": [FUNCTION]}, ANSWERS[0]],
        ),
        (
            [assistant([CALL, replace(CALL, id="call_2")]), Message("tool", (ToolResult("call_1", "42"), FAILED))],
            [{"role": "assistant", "content": None, "tool_calls": [FUNCTION, SECOND]}, *ANSWERS],
        ),
    ],
)
def test_tool_calls_are_rendered_with_their_results(messages: list[Message], turns: list[dict[str, Any]]) -> None:
    """A call is part of the assistant's message, and each result a message of its own."""
    body = render(Request("gpt", tuple(messages)), COMMON).body
    assert body["messages"] == turns
    exhaust(SDK.validate_python(body))


@pytest.mark.parametrize(
    "message",
    [
        system(Image(url="https://x/y.png")),
        system(CALL),
        user(CALL),
        user(["x", Reasoning("hm")]),
        assistant(Image(url="https://x/y.png")),
        assistant(ToolResult("c", "r")),
        Message("tool", (Text("x"),)),
        Message("tool", (ToolResult("c", "r"), CALL)),
        system(ToolResult("c", "r")),
    ],
)
def test_a_block_in_the_wrong_message_is_refused(message: Message) -> None:
    """What the wire has no place for is said, not lost."""
    with pytest.raises(ValueError, match=type(message.blocks[-1]).__name__):
        render(Request("gpt", (message,)), COMMON)


def test_what_is_no_picture_is_no_image() -> None:
    """A PDF is refused where the image is made, with the reason."""
    with pytest.raises(ValueError, match="begins with 'image/': PDFs and other files are not supported"):
        image(b"%PDF-1.7", "application/pdf")


FUNCTION_OF_ADD = {"name": "add", "description": "Add two numbers.", "parameters": ADD.parameters}
FUNCTIONS = [{"type": "function", "function": FUNCTION_OF_ADD}]
NAMED = {"type": "function", "function": {"name": "add"}}


def gemini(budget: int) -> dict[str, Any]:
    return {"extra_body": {"google": {"thinking_config": {"thinking_budget": budget}}}}


BOTH = Parameters(thinking_budget_tokens=9, reasoning_effort="max", top_k=1)
SAMPLING = Parameters(temperature=0.5, top_p=0.9, frequency_penalty=1.0, presence_penalty=-1.0, seed=7)


@pytest.mark.parametrize(
    ("parameters", "dialect", "body", "dropped"),
    [
        (Parameters(), COMMON, {}, ()),
        (SAMPLING, COMMON, dict(SAMPLING), ()),
        (Parameters(top_k=5), COMMON, {"top_k": 5}, ()),
        (Parameters(top_k=5), VENDOR, {}, ("top_k",)),
        (Parameters(max_tokens=9), COMMON, {"max_tokens": 9}, ()),
        (Parameters(max_tokens=9), VENDOR, {"max_completion_tokens": 9}, ()),
        (Parameters(stop="END"), COMMON, {"stop": ["END"]}, ()),
        (Parameters(stop=("a", "b")), COMMON, {"stop": ["a", "b"]}, ()),
        (Parameters(stop=[]), COMMON, {}, ()),
        (Parameters(json_mode=True), COMMON, {"response_format": {"type": "json_object"}}, ()),
        (Parameters(json_mode=False), COMMON, {}, ()),
        # tools
        (Parameters(tools=[ADD]), COMMON, {"tools": FUNCTIONS}, ()),
        (Parameters(tools=[], tool_choice="auto", parallel_tool_calls=True), COMMON, {}, ()),
        (Parameters(tools=[ADD], tool_choice="none"), COMMON, {"tools": FUNCTIONS, "tool_choice": "none"}, ()),
        (Parameters(tools=[ADD], tool_choice="required"), COMMON, {"tools": FUNCTIONS, "tool_choice": "required"}, ()),
        (Parameters(tools=[ADD], tool_choice="add"), COMMON, {"tools": FUNCTIONS, "tool_choice": NAMED}, ()),
        (
            Parameters(tools=[ADD], parallel_tool_calls=False),
            COMMON,
            {"tools": FUNCTIONS, "parallel_tool_calls": False},
            (),
        ),
        # thinking
        (Parameters(reasoning_effort="high"), COMMON, {"reasoning_effort": "high"}, ()),
        (Parameters(reasoning_effort="high"), GEMINI, {"reasoning_effort": "high"}, ()),
        (Parameters(reasoning_effort="high"), THOUGHTLESS, {}, ("reasoning_effort",)),
        (Parameters(thinking_budget_tokens=0), COMMON, {"reasoning_effort": "none"}, ()),
        (Parameters(thinking_budget_tokens=1), COMMON, {"reasoning_effort": "low"}, ()),
        (Parameters(thinking_budget_tokens=2047), COMMON, {"reasoning_effort": "low"}, ()),
        (Parameters(thinking_budget_tokens=2048), COMMON, {"reasoning_effort": "medium"}, ()),
        (Parameters(thinking_budget_tokens=8192), VENDOR, {"reasoning_effort": "high"}, ()),
        (Parameters(thinking_budget_tokens=8192), THOUGHTLESS, {}, ("thinking_budget_tokens",)),
        (Parameters(thinking_budget_tokens=512), GEMINI, gemini(512), ()),
        (Parameters(thinking_budget_tokens=0, reasoning_effort="low"), GEMINI, gemini(0), ("reasoning_effort",)),
        (BOTH, VENDOR, {"reasoning_effort": "max"}, ("thinking_budget_tokens", "top_k")),
        (BOTH, THOUGHTLESS, {"top_k": 1}, ("reasoning_effort", "thinking_budget_tokens")),
        # the caller's own words come last; headers and query are no part of the body
        (
            Parameters(temperature=1, extra_body={"temperature": 0, "user": "u"}),
            COMMON,
            {"temperature": 0, "user": "u"},
            (),
        ),
        (Parameters(extra_headers={"x": "y"}, extra_query={"v": 1}), COMMON, {}, ()),
    ],
)
def test_parameters_are_mapped_or_dropped(
    parameters: Parameters, dialect: Dialect, body: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """Each dialect gets what it can express, in its own words; what it cannot is named, and not sent."""
    assert rendered(parameters, dialect) == (body, dropped)
    whole = render(Request("gpt", HELLO, parameters), dialect).body
    exhaust(SDK.validate_python(whole))
    assert set(whole) - set(CompletionCreateParamsNonStreaming.__annotations__) <= {"top_k", "extra_body"}


def answer(message: object = None, finish: object = "stop", **more: object) -> dict[str, Any]:
    """An answer as real servers send it."""
    message = {"role": "assistant", "content": "Goethe"} if message is None else message
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1754049600, "model": "gpt-5"}
    return {**head, "choices": [choice], **more}


def said(content: object, **more: object) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def reading(body: object) -> Response:
    return read(body if isinstance(body, bytes) else encode(body), "application/json", "openai")


def response(*blocks: Block, finish: FinishReason = "stop", usage: Usage = UNTOLD, model: str = "gpt-5") -> Response:
    return Response(blocks, model, "openai", finish, usage)


GOETHE, NO = Text("Goethe", "openai"), Text("I will not.", "openai")
THOUGHT = Reasoning("hm", issuer="openai")
ELSEWHERE = replace(THOUGHT, field="reasoning")
DETAILED = replace(ELSEWHERE, details='[{"id":1}]')
BY_OBJECT = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
NAMELESS = [{"function": {"name": "now"}}, {"id": "", "function": {"name": "now"}}]
PLAIN_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": None}
FULL_USAGE = {
    **PLAIN_USAGE,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 12},
}
NO_USAGE = {"prompt_tokens": -1, "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": "9"}}

GOOD: list[tuple[dict[str, Any], Response]] = [
    (answer(), response(GOETHE)),
    (answer(usage=FULL_USAGE), response(GOETHE, usage=Usage(100, 20, 64, None, 12))),
    (answer(usage=PLAIN_USAGE), response(GOETHE, usage=Usage(100, 20))),
    (answer(finish="length"), response(GOETHE, finish="length")),
    (answer(said(None), "length"), response(finish="length")),
    (answer(said(None), "content_filter"), response(finish="content_filter")),
    (answer(said(None, tool_calls=[FUNCTION]), "tool_calls"), response(CALL, finish="tool_calls")),
    (answer(said("Goethe", tool_calls=[FUNCTION])), response(GOETHE, CALL, finish="tool_calls")),
    (answer(said(None, refusal="I will not.", annotations=[])), response(NO, finish="refusal")),
    (answer(said("Goethe", reasoning_content="hm"), unknown={"field": [1]}), response(THOUGHT, GOETHE)),
    (answer(said("Goethe", reasoning="hm")), response(ELSEWHERE, GOETHE)),
    (answer(said("Goethe", reasoning="hm", reasoning_details=[{"id": 1}])), response(DETAILED, GOETHE)),
]
"""What the vendor sends, and what its relatives add."""

ODD: list[tuple[dict[str, Any], Response]] = [
    (answer(said([text("Goe"), {"type": "thinking"}, text("the")])), response(GOETHE)),
    (
        answer(said("", tool_calls=[BY_OBJECT]), None),
        response(ToolCall("c1", "add", '{"a":1}', "openai"), finish="tool_calls"),
    ),
    (
        answer(said(None, tool_calls=NAMELESS)),
        response(*(ToolCall(f"call_{n}", "now", "{}", "openai") for n in (0, 1)), finish="tool_calls"),
    ),
    ({"choices": [{"message": {"content": "Goethe"}}]}, response(GOETHE, finish="other", model="")),
    (answer(finish="eos", model=None, usage=None), response(GOETHE, finish="other", model="")),
    (answer(usage=NO_USAGE), response(GOETHE)),
    (answer(usage={"prompt_tokens": 0}), response(GOETHE, usage=Usage(0))),
]
"""What only some servers send, and the vendor's SDK would not take."""


@pytest.mark.parametrize(("body", "expected"), GOOD + ODD)
def test_an_answer_is_read(body: dict[str, Any], expected: Response) -> None:
    """Text, reasoning, calls, the finish and the tokens come out; a count that was not sent is None, never 0."""
    assert reading(body) == expected


@pytest.mark.parametrize("body", [body for body, _ in GOOD])
def test_the_vendors_own_parser_reads_the_same(body: dict[str, Any]) -> None:
    """For what the vendor sends, its SDK finds the same text, calls, model and tokens."""
    ours, theirs = reading(body), ChatCompletion.model_validate(decode(encode(body)))
    message = theirs.choices[0].message
    assert ours.text == (message.content or message.refusal or "")
    assert ours.model == theirs.model
    calls = [call for call in message.tool_calls or () if call.type == "function"]
    assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == [
        (call.id, call.function.name, call.function.arguments) for call in calls
    ]
    usage = theirs.usage
    assert ours.usage.input_tokens == (usage.prompt_tokens if usage else None)
    assert ours.usage.total_tokens == (usage.total_tokens if usage else None)


@pytest.mark.parametrize("body", [body for body, _ in GOOD + ODD])
def test_an_answer_can_be_sent_back(body: dict[str, Any]) -> None:
    """The message of an answer is a turn of the next request."""
    turns = (*HELLO, reading(body).message)
    exhaust(SDK.validate_python(render(Request("gpt", turns), VENDOR).body))


@pytest.mark.parametrize(
    ("body", "content_type", "what"),
    [
        (b"", "", "nothing"),
        (b"", "text/plain", "nothing (text/plain)"),
        (b"<!DOCTYPE html><html>", "text/html", "an HTML page (text/html): check the base URL"),
        (b"upstream timed out", "text/plain", "something that is not JSON (text/plain)"),
        (encode(answer())[:-9], "application/json", "something that is not JSON"),
        (b'{"choices": NaN}', "application/json", "something that is not JSON"),
        (b'{"model": "\xff"}', "application/json", "something that is not JSON"),
        (b'{"model": "\\ud800"}', "application/json", "something that is not JSON"),
        (b"[]", "application/json", "JSON, but no object"),
        (b'{"choices": []}', "text/html", "not said to be JSON (text/html)"),
        (b"null", "", "JSON, but no object"),
    ],
)
def test_what_is_not_a_json_object_is_malformed(body: bytes, content_type: str, what: str) -> None:
    """The error says what came instead, and its content type where that tells something."""
    with pytest.raises(WireError) as caught:
        read(body, content_type, "openai")
    assert (caught.value.verdict, caught.value.message) == (Verdict.MALFORMED, f"the answer is {what}")


MALFORMED: list[dict[str, Any]] = [
    {},
    {"error": {"message": "boom"}},
    answer(choices=None),
    answer(choices=[]),
    answer(choices=[None]),
    answer(choices="no"),
    answer(choices={"0": {}}),
    answer(choices=[{"message": None, "finish_reason": "content_filter"}]),
    answer(choices=[{"text": "Goethe"}]),
    answer(finish=["stop"]),
    answer(said([None])),
    answer(said([{"type": "text", "text": 5}])),
    answer(said(None, tool_calls=5)),
    answer(said(None, tool_calls=[None])),
    answer(said(None, tool_calls=[{"id": "c1", "function": {"arguments": "{}"}}])),
    answer(said(None, tool_calls=[{"id": "c1", "function": {"name": None}}])),
]
EMPTY: list[dict[str, Any]] = [
    answer(said(None)),
    answer(said("")),
    answer(said([])),
    answer(said(None, tool_calls=[]), "tool_calls"),
    answer(said(None), None),
    answer(said("", reasoning_content="hm, hm")),
    answer({}),
]


@pytest.mark.parametrize(
    ("body", "verdict"), [(body, Verdict.MALFORMED) for body in MALFORMED] + [(body, Verdict.EMPTY) for body in EMPTY]
)
def test_an_answer_that_says_nothing_is_none(body: dict[str, Any], verdict: Verdict) -> None:
    """Without a message to read an answer is malformed; finished without text or call it is empty."""
    with pytest.raises(WireError) as caught:
        reading(body)
    assert caught.value.verdict is verdict


def deep(levels: int) -> bytes:
    """A tool call whose arguments are an object nested deeper than can be written again."""
    arguments = b'{"a":' * levels + b"1" + b"}" * levels
    return b'{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":%b}}]}}]}' % arguments


def corruptions(body: object) -> Iterator[st.SearchStrategy[object]]:
    """Strategies for what may stand in the place of each part of a body."""
    junk: st.SearchStrategy[object] = st.sampled_from([None, True, -1, 1.5, "", "x", [], [None], {}, {"a": []}])
    yield junk
    if isinstance(body, dict):
        yield st.fixed_dictionaries(
            {key: st.one_of(st.just(value), *corruptions(value)) for key, value in body.items()}
        )
    elif isinstance(body, list):
        yield st.tuples(*(st.one_of(st.just(value), *corruptions(value)) for value in body)).map(list)


SPOILED = st.one_of(*(strategy for body, _ in GOOD + ODD for strategy in corruptions(body)))


@given(SPOILED.map(encode) | st.binary(max_size=64), st.text(max_size=8))
@example(deep(300), "application/json")
@example(deep(1020), "application/json")
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_answer_is_read_or_refused(body: bytes, content_type: str) -> None:
    """Whatever comes with a 200, there is a response that says something, or a `WireError`, and nothing else."""
    try:
        found = read(body, content_type, "openai")
    except WireError as error:
        verdict = error.verdict
    else:
        verdict = Verdict.OK
        assert found.text or found.tool_calls or found.finish_reason in {"length", "content_filter"}
    assert verdict in {Verdict.OK, Verdict.EMPTY, Verdict.MALFORMED}
