"""The Anthropic wire: what is sent is what the vendor's own types allow, and any answer is read or refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from anthropic.types import Message as SDKMessage
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import example, given, settings
from hypothesis import strategies as st
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
from understudy.providers._wire_anthropic import DEFAULT_MAX_TOKENS, read, render

from .test_wire_openai import corruptions, exhaust

SDK = TypeAdapter(MessageCreateParamsNonStreaming)
ADD = Tool("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "number"}}})
HELLO = (user("hello"),)
UNTOLD = Usage()


def sent(*messages: Message) -> dict[str, Any]:
    """Render the messages, check the body against the vendor's types, and return it without model and limit."""
    body = render(Request("claude", messages)).body
    exhaust(SDK.validate_python(body))
    assert (body.pop("model"), body.pop("max_tokens")) == ("claude", DEFAULT_MAX_TOKENS)
    return body


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def result(identity: str, content: str, **more: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


def use(identity: str, arguments: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "add", "input": arguments}


C1, C2 = ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "add", "")


def run(arguments: str) -> list[Message]:
    return [assistant(ToolCall("c1", "add", arguments)), tool("c1", "42")]


def ran(arguments: object) -> list[tuple[str, object]]:
    return [("assistant", [use("c1", arguments)]), ("user", [result("c1", "42")])]


OURS = Reasoning("hm", signature="s1", issuer="anthropic")
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s1"}
REDACTED = {"type": "redacted_thinking", "data": "r1"}
UNSIGNED = Reasoning("hm", issuer="anthropic")
FOREIGN = [Reasoning("hm", issuer="nous"), Reasoning("hm", signature="s", issuer="gemini"), Reasoning("", redacted="r")]
PICTURES = [Image(url="https://x/y.png", detail="low"), image(b"hi", "image/png"), image(b"hi", "image/jpg")]
SOURCES = [
    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}},
]


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([user("hello")], [("user", "hello")]),
        ([user(["a", "b"])], [("user", [text("a"), text("b")])]),
        ([user(["what is it?", *PICTURES])], [("user", [text("what is it?"), *SOURCES])]),
        ([user("a"), assistant("b"), user("c")], [("user", "a"), ("assistant", "b"), ("user", "c")]),
        # roles alternate: neighbours are merged, system turns and empty ones vanish
        ([user("a"), user("b")], [("user", [text("a"), text("b")])]),
        ([user("a"), system("x"), user("b")], [("user", [text("a"), text("b")])]),
        ([user("a"), assistant(""), user("b")], [("user", [text("a"), text("b")])]),
        (
            [user("a"), assistant("b"), assistant("c"), user("d")],
            [("user", "a"), ("assistant", [text("b"), text("c")]), ("user", "d")],
        ),
        # the user begins, and says something
        ([assistant("b"), user("c")], [("user", CONTINUED), ("assistant", "b"), ("user", "c")]),
        ([user("")], [("user", CONTINUED)]),
        ([user("a"), user(" \n"), user("b")], [("user", [text("a"), text("b")])]),
        ([user("a"), assistant("b"), user("")], [("user", "a"), ("assistant", "b"), ("user", CONTINUED)]),
        ([system("be brief")], [("user", CONTINUED)]),
        # an answer to be continued ends without whitespace
        ([user("a"), assistant("b: ")], [("user", "a"), ("assistant", "b:")]),
        # tools: results are part of the user's turn, first and in the order of the calls
        (
            [user("a"), assistant(["sure", C1, C2]), user("and?"), tool("c2", "boom", is_error=True), tool("c1", "42")],
            [
                ("user", "a"),
                ("assistant", [text("sure"), use("c1", {"a": 1}), use("c2", {})]),
                ("user", [result("c1", "42"), result("c2", "boom", is_error=True), text("and?")]),
            ],
        ),
        (
            [user("a"), assistant(C1), tool("c1", " "), assistant(C2), tool("c2", "", is_error=True)],
            [
                ("user", "a"),
                ("assistant", [use("c1", {"a": 1})]),
                ("user", [{"type": "tool_result", "tool_use_id": "c1"}]),
                ("assistant", [use("c2", {})]),
                ("user", [result("c2", "The tool failed.", is_error=True)]),
            ],
        ),
        # arguments that are no JSON object go back as the model wrote them
        ([user("a"), *run('{"a":')], [("user", "a"), *ran({"arguments": '{"a":'})]),
        ([user("a"), *run("[1]")], [("user", "a"), *ran({"arguments": "[1]"})]),
        # reasoning: what this issuer signed or hid, and nobody else's; a turn does not end with it
        (
            [user("a"), assistant([OURS, "yes"]), user("b")],
            [("user", "a"), ("assistant", [THINKING, text("yes")]), ("user", "b")],
        ),
        (
            [user("a"), assistant([Reasoning("", redacted="r1", issuer="anthropic"), "yes"]), user("b")],
            [("user", "a"), ("assistant", [REDACTED, text("yes")]), ("user", "b")],
        ),
        (
            [user("a"), assistant([*FOREIGN, UNSIGNED, "yes"]), user("b")],
            [("user", "a"), ("assistant", "yes"), ("user", "b")],
        ),
        ([user("a"), assistant(FOREIGN), user("b")], [("user", [text("a"), text("b")])]),
        ([user("a"), assistant(OURS), user("b")], [("user", [text("a"), text("b")])]),
        (
            [user("a"), assistant(["yes", OURS]), user("b")],
            [("user", "a"), ("assistant", "yes"), ("user", "b")],
        ),
    ],
)
def test_messages_become_alternating_turns(messages: list[Message], turns: list[tuple[str, object]]) -> None:
    """Each role finds its place in turns the vendor's types know, and only what this wire reads is sent."""
    assert sent(*messages)["messages"] == [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    ("messages", "instructions"),
    [
        ([system("be brief")], "be brief"),
        ([system("be brief"), user("a"), system(["be ", "kind"])], "be brief\n\nbe kind"),
        ([system(""), system("be brief")], "be brief"),
        ([system("")], None),
        ([system("be brief"), system(" \n")], "be brief"),
        ([], None),
    ],
)
def test_system_messages_are_the_instructions(messages: list[Message], instructions: str | None) -> None:
    """System messages, wherever they stand, become the one `system` field, which is never empty."""
    assert sent(*messages, *HELLO).get("system") == instructions


@pytest.mark.parametrize(
    "message",
    [
        system(["x", Image(url="https://x/y.png")]),
        user(ToolCall("c", "add", "{}")),
        assistant(Image(url="https://x/y.png")),
        assistant(image(b"hi", "image/png")),
        assistant(ToolResult("c", "r")),
        Message("tool", (ToolCall("c", "add", "{}"),)),
        Message("tool", (ToolResult("c", "r"), Text("x"))),
        user(["x", Reasoning("hm")]),
    ],
)
def test_a_block_in_the_wrong_message_is_refused(message: Message) -> None:
    """What the wire has no place for is said, not lost."""
    with pytest.raises(ValueError, match=type(message.blocks[-1]).__name__):
        render(Request("claude", (message,)))


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/gif", "image/webp"])
def test_pictures_of_the_four_kinds_are_sent(media_type: str) -> None:
    """What the vendor's types list goes as it is."""
    (turn,) = sent(user([image(b"hi", media_type)]))["messages"]
    assert turn["content"][0]["source"]["media_type"] == media_type


def test_a_picture_of_another_kind_is_refused_with_what_is_taken() -> None:
    """The error names the kinds that are taken and the one that was given."""
    with pytest.raises(ValueError, match=r"image/gif, image/jpeg, image/png, image/webp here, not image/bmp"):
        render(Request("claude", (user([image(b"hi", "image/bmp")]),)))


def test_no_two_calls_become_one() -> None:
    """An id that breaks the rules is rewritten: alike in call and result, and apart from every other."""
    broken = ["call:1", "call.1", "call_1", "", "é" * 80, "é" * 81, "a" * 64, "a" * 65, "\ud800"]
    calls = assistant([ToolCall(identity, "add", "{}") for identity in broken])
    turns = sent(user("a"), calls, *(tool(identity, "1") for identity in broken))["messages"]
    asked = [part["id"] for part in turns[1]["content"]]
    assert [part["tool_use_id"] for part in turns[2]["content"]] == asked
    assert len(set(asked)) == len(broken)
    assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", identity) for identity in asked)
    assert (asked[2], asked[6]) == ("call_1", "a" * 64)


def thinking(budget: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


EFFORT, BUDGET = "reasoning_effort", "thinking_budget_tokens"
TOOLS = {"tools": [{"name": "add", "description": "Add two numbers.", "input_schema": ADD.parameters}]}
PARALLEL = {"type": "auto", "disable_parallel_tool_use": False}
ALONE = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}
BIG = 100_000

SAMPLING_AND_TOOLS: list[tuple[Parameters, dict[str, Any], tuple[str, ...]]] = [
    (Parameters(), {}, ()),
    (Parameters(max_tokens=9), {"max_tokens": 9}, ()),
    (Parameters(temperature=1.0, top_p=0.9, top_k=5), {}, ("temperature", "top_k", "top_p")),
    (Parameters(extra_body={"temperature": 0.2}), {"temperature": 0.2}, ()),  # for servers that take it all the same
    (Parameters(frequency_penalty=1, presence_penalty=1), {}, ("frequency_penalty", "presence_penalty")),
    (Parameters(seed=7, json_mode=True), {}, ("json_mode", "seed")),
    (Parameters(stop="END"), {"stop_sequences": ["END"]}, ()),
    (Parameters(stop=["a", " \n", "b"]), {"stop_sequences": ["a", "b"]}, ("stop",)),
    (Parameters(stop=["\n"]), {}, ("stop",)),
    (Parameters(stop=[]), {}, ()),
    (Parameters(extra_body={"max_tokens": 7}, extra_headers={"x": "y"}), {"max_tokens": 7}, ()),
    (Parameters(tools=[Tool("now")]), {"tools": [{"name": "now", "input_schema": dict(Tool("now").parameters)}]}, ()),
    (Parameters(tools=[], tool_choice="auto"), {}, ()),
    (Parameters(tools=[ADD], tool_choice="auto"), {**TOOLS, "tool_choice": {"type": "auto"}}, ()),
    (Parameters(tools=[ADD], tool_choice="required"), {**TOOLS, "tool_choice": {"type": "any"}}, ()),
    (Parameters(tools=[ADD], parallel_tool_calls=True), {**TOOLS, "tool_choice": PARALLEL}, ()),
    (Parameters(tools=[ADD], tool_choice="add", parallel_tool_calls=False), {**TOOLS, "tool_choice": ALONE}, ()),
    (
        Parameters(tools=[ADD], tool_choice="none", parallel_tool_calls=False),
        {**TOOLS, "tool_choice": {"type": "none"}},
        (),
    ),
]

BUDGETS: list[tuple[Parameters, dict[str, Any], tuple[str, ...]]] = [
    (Parameters(max_tokens=BIG, reasoning_effort="none"), {}, ()),
    (Parameters(max_tokens=BIG, reasoning_effort="minimal"), thinking(1024), ()),
    (Parameters(max_tokens=BIG, reasoning_effort="low"), thinking(1024), ()),
    (Parameters(max_tokens=BIG, reasoning_effort="medium"), thinking(4096), ()),
    (Parameters(max_tokens=BIG, reasoning_effort="high"), thinking(16384), ()),
    (Parameters(max_tokens=BIG, reasoning_effort="max"), thinking(32768), ()),
    (Parameters(max_tokens=BIG, thinking_budget_tokens=5000), thinking(5000), ()),
    (Parameters(max_tokens=BIG, thinking_budget_tokens=0), {}, ()),
    (Parameters(max_tokens=BIG, thinking_budget_tokens=1), thinking(1024), ()),  # the least there is
    # both: the budget is the more exact one
    (Parameters(max_tokens=BIG, thinking_budget_tokens=5000, reasoning_effort="low"), thinking(5000), (EFFORT,)),
    (Parameters(max_tokens=BIG, thinking_budget_tokens=0, reasoning_effort="low"), {}, (EFFORT,)),
    # the limit holds: the budget gives way, or is not sent
    (Parameters(max_tokens=2000, thinking_budget_tokens=5000), thinking(1999), ()),
    (Parameters(max_tokens=1025, reasoning_effort="high"), thinking(1024), ()),
    (Parameters(max_tokens=1024, reasoning_effort="high"), {}, (EFFORT,)),
    (Parameters(max_tokens=1024, thinking_budget_tokens=5000, reasoning_effort="low"), {}, (EFFORT, BUDGET)),
    # without a limit of the caller's, the default leaves room for the answer
    (
        Parameters(thinking_budget_tokens=9999),
        {**thinking(9999), "max_tokens": DEFAULT_MAX_TOKENS + 9999},
        (),
    ),
    # a thinking model takes no sampling and cannot be forced to a tool
    (
        Parameters(max_tokens=BIG, reasoning_effort="low", temperature=1, top_p=1, top_k=1),
        thinking(1024),
        ("temperature", "top_k", "top_p"),
    ),
    (
        Parameters(max_tokens=BIG, reasoning_effort="low", tools=[ADD], tool_choice="add"),
        {**thinking(1024), **TOOLS, "tool_choice": {"type": "auto"}},
        ("tool_choice",),
    ),
    (
        Parameters(max_tokens=BIG, reasoning_effort="low", tools=[ADD], tool_choice="none"),
        {**thinking(1024), **TOOLS, "tool_choice": {"type": "none"}},
        (),
    ),
]


@pytest.mark.parametrize(("parameters", "body", "dropped"), SAMPLING_AND_TOOLS + BUDGETS)
def test_parameters_are_mapped_or_dropped(
    parameters: Parameters, body: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """The wire gets what it can express, in its own words; what it cannot is named, and not sent."""
    rendered = render(Request("claude", HELLO, parameters))
    limit = parameters.get("max_tokens", DEFAULT_MAX_TOKENS)
    plain = {"model": "claude", "max_tokens": limit, "messages": [{"role": "user", "content": "hello"}]}
    assert rendered.body == {**plain, **body}
    assert rendered.dropped == dropped
    exhaust(SDK.validate_python(rendered.body))


@given(st.integers(1, 40_000), st.none() | st.integers(0, 40_000), st.none() | st.sampled_from(["none", "low", "max"]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_budget_always_obeys_the_vendors_limits(limit: int, budget: int | None, effort: Any) -> None:
    """Whatever is asked for, a budget is at least 1,024 and below `max_tokens`, which stays as the caller set it."""
    asked = {"max_tokens": limit, BUDGET: budget, EFFORT: effort}
    parameters: Any = {name: value for name, value in asked.items() if value is not None}
    body = render(Request("claude", HELLO, parameters)).body
    assert body["max_tokens"] == limit
    if "thinking" in body:
        assert 1024 <= body["thinking"]["budget_tokens"] < limit


def answer(*content: object, stop: object = "end_turn", **more: object) -> dict[str, Any]:
    """An answer as the vendor sends it."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-5", "stop_sequence": None}
    usage = {"input_tokens": 10, "output_tokens": 5}
    return {**head, "content": list(content), "stop_reason": stop, "usage": usage, **more}


def reading(body: object) -> Response:
    return read(body if isinstance(body, bytes) else encode(body), "application/json", "anthropic")


TEN_AND_FIVE = Usage(10, 5)


def response(
    *blocks: Block, finish: FinishReason = "stop", usage: Usage = TEN_AND_FIVE, model: str = "claude-5"
) -> Response:
    return Response(blocks, model, "anthropic", finish, usage)


GOETHE, SAID = Text("Goethe", "anthropic"), text("Goethe")
CALL = ToolCall("c1", "add", '{"a":1}', "anthropic")
HIDDEN = Reasoning("", redacted="r1", issuer="anthropic")
SEARCHED = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Faust"}}
CACHED = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 20,
    "service_tier": "standard",
}

GOOD: list[tuple[dict[str, Any], Response]] = [
    (answer(SAID), response(GOETHE)),
    (answer(SAID, stop="stop_sequence", stop_sequence="END"), response(GOETHE)),
    (answer(SAID, stop="max_tokens"), response(GOETHE, finish="length")),
    (answer(stop="max_tokens"), response(finish="length")),
    (answer(SAID, stop="model_context_window_exceeded"), response(GOETHE, finish="length")),
    (answer(stop="refusal"), response(finish="refusal")),
    (answer(SAID, SAID, stop="pause_turn"), response(GOETHE, GOETHE, finish="other")),
    (answer(use("c1", {"a": 1}), stop="tool_use"), response(CALL, finish="tool_calls")),
    (answer(THINKING, REDACTED, SAID), response(OURS, HIDDEN, GOETHE)),
    (answer(SEARCHED, SAID, unknown={"field": [1]}), response(GOETHE)),
    (answer(SAID, usage=CACHED), response(GOETHE, usage=Usage(130, 5, 100, 20))),
]

ODD: list[tuple[dict[str, Any], Response]] = [
    ({"content": [SAID]}, response(GOETHE, finish="other", usage=UNTOLD, model="")),
    (answer(SAID, stop="eos", usage=None, model=None), response(GOETHE, finish="other", usage=UNTOLD, model="")),
    (answer(SAID, usage={"input_tokens": -1, "output_tokens": True}), response(GOETHE, usage=UNTOLD)),
    (answer(SAID, usage={"input_tokens": 0}), response(GOETHE, usage=Usage(0))),
    (answer(SAID, usage={"cache_read_input_tokens": 9}), response(GOETHE, usage=Usage(cache_read_tokens=9))),
    (answer({"type": "tool_use", "id": "c1", "name": "now"}), response(ToolCall("c1", "now", "{}", "anthropic"))),
    (answer({"type": "thinking", "thinking": "hm"}, SAID), response(UNSIGNED, GOETHE)),
    (answer({"type": "a_kind_nobody_knows"}, SAID), response(GOETHE)),
]
"""What only some servers send, and the vendor's SDK would not take."""


@pytest.mark.parametrize(("body", "expected"), GOOD + ODD)
def test_an_answer_is_read(body: dict[str, Any], expected: Response) -> None:
    """Text, thinking, calls, the finish and the tokens come out; a count that was not sent is None, never 0."""
    assert reading(body) == expected


@pytest.mark.parametrize("body", [body for body, _ in GOOD])
def test_the_vendors_own_parser_reads_the_same(body: dict[str, Any]) -> None:
    """For what the vendor sends, its SDK finds the same text, thinking, calls, model and tokens."""
    ours, theirs = reading(body), SDKMessage.model_validate(decode(encode(body)))
    assert ours.text == "".join(block.text for block in theirs.content if block.type == "text")
    assert ours.reasoning == "".join(block.thinking for block in theirs.content if block.type == "thinking")
    assert [(call.id, call.name, call.parse()) for call in ours.tool_calls] == [
        (block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"
    ]
    cached = (theirs.usage.cache_read_input_tokens or 0) + (theirs.usage.cache_creation_input_tokens or 0)
    assert ours.usage.input_tokens == theirs.usage.input_tokens + cached
    assert (ours.model, ours.usage.output_tokens) == (theirs.model, theirs.usage.output_tokens)


@pytest.mark.parametrize("body", [body for body, _ in GOOD + ODD])
def test_an_answer_can_be_sent_back(body: dict[str, Any]) -> None:
    """The message of an answer is a turn of the next request."""
    sent(*HELLO, reading(body).message)


MALFORMED: list[object] = [
    *(b"", b"<html>", b"upstream timed out", encode(answer(SAID))[:-9], b'{"content": NaN}', b'{"a": "\xff"}'),
    *([], "Goethe", None, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    *(answer(content=None), answer(content="Goethe"), answer(content={}), answer(None), answer("Goethe"), answer([])),
    *(answer({"type": "text"}), answer({"type": "text", "text": None}), answer({"type": "thinking", "thinking": 5})),
    *(answer({"type": "tool_use", "name": "add"}), answer({"type": "tool_use", "id": "c1", "name": None})),
    *(answer({"type": "redacted_thinking"}), answer(SAID, stop=["end_turn"]), answer(SAID, stop={})),
]
EMPTY: list[object] = [
    *(answer(), answer(text("")), answer(THINKING), answer(REDACTED), answer(SEARCHED), answer(stop="tool_use")),
    *(answer(stop=None), answer(stop="pause_turn"), answer({})),
]


@pytest.mark.parametrize(
    ("body", "verdict"), [(body, Verdict.MALFORMED) for body in MALFORMED] + [(body, Verdict.EMPTY) for body in EMPTY]
)
def test_an_answer_that_says_nothing_is_none(body: object, verdict: Verdict) -> None:
    """Without content to read an answer is malformed; finished without text or call it is empty."""
    with pytest.raises(WireError) as caught:
        reading(body)
    assert caught.value.verdict is verdict


def deep(levels: int) -> bytes:
    """A tool call whose input is nested deeper than can be written again."""
    nested = b'{"a":' * levels + b"1" + b"}" * levels
    return b'{"content":[{"type":"tool_use","id":"c","name":"f","input":%b}]}' % nested


SPOILED = st.one_of(*(strategy for body, _ in GOOD + ODD for strategy in corruptions(body)))


@given(SPOILED.map(encode) | st.binary(max_size=64), st.text(max_size=8))
@example(deep(300), "application/json")
@example(deep(1020), "application/json")
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_answer_is_read_or_refused(body: bytes, content_type: str) -> None:
    """Whatever comes with a 200, there is a response that says something, or a `WireError`, and nothing else."""
    try:
        found = read(body, content_type, "anthropic")
    except WireError as error:
        verdict = error.verdict
    else:
        verdict = Verdict.OK
        assert found.text or found.tool_calls or found.finish_reason in {"length", "refusal"}
    assert verdict in {Verdict.OK, Verdict.EMPTY, Verdict.MALFORMED}
