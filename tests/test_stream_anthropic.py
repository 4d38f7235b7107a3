"""The Anthropic wire, streamed: an answer in events says what it would say whole, and a broken one is none."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from understudy.providers import (
    Block,
    FinishReason,
    PartialCall,
    Reasoning,
    ReasoningDelta,
    Response,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Verdict,
)
from understudy.providers._stream_anthropic import AnthropicReading
from understudy.providers._wire_anthropic import read

from .streamed import Came, come, consistent, cut, outcome
from .test_wire_openai import corruptions

TOLD = Usage(10, 5)
SDK: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
Events = list[dict[str, Any]]


def begin(**usage: object) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-5", "content": []}
    return {"type": "message_start", "message": {**message, "usage": usage or {"input_tokens": 10, "output_tokens": 1}}}


def start(index: object, kind: object, **more: object) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}


def delta(index: object, kind: object, **more: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index: object) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(reason: object = "end_turn", **usage: object) -> Events:
    told = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage or {"output_tokens": 5}}
    return [told, {"type": "message_stop"}]


def say(index: int, *pieces: str) -> Events:
    return [start(index, "text", text=""), *(delta(index, "text_delta", text=piece) for piece in pieces), stop(index)]


def think(index: int, *pieces: str, signature: str = "") -> Events:
    signed = [delta(index, "signature_delta", signature=signature)] if signature else []
    thoughts = [delta(index, "thinking_delta", thinking=piece) for piece in pieces]
    return [start(index, "thinking", thinking="", signature=""), *thoughts, *signed, stop(index)]


def use(index: int, *pieces: str, identity: str = "c1", name: str = "add", **more: object) -> Events:
    opened = start(index, "tool_use", id=identity, name=name, **{"input": {}, **more})
    return [opened, *(delta(index, "input_json_delta", partial_json=piece) for piece in pieces), stop(index)]


def sent(*events: object) -> bytes:
    """The stream of these, each under its own name; texts are sent as they are."""
    stream = ""
    for event in events:
        named = isinstance(event, dict) and "type" in event
        stream += f"event: {event['type']}\n" if isinstance(event, dict) and named else ""
        stream += f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n"
    return stream.encode()


def coming(stream: bytes, *at: int) -> Came:
    return come(AnthropicReading("anthropic", "asked"), cut(stream, at))


def response(*blocks: Block, finish: FinishReason = "stop", usage: Usage = TOLD, model: str = "claude-5") -> Response:
    return Response(blocks, model, "anthropic", finish, usage)


def text(said: str) -> Text:
    return Text(said, "anthropic")


def tool(arguments: str, identity: str = "c1", name: str = "add") -> ToolCall:
    return ToolCall(identity, name, arguments, "anthropic")


def thought(said: str, signature: str | None = None) -> Reasoning:
    return Reasoning(said, signature=signature, issuer="anthropic")


PING = {"type": "ping"}
HI, SAID = say(0, "hi"), (TextDelta("hi"),)
STARTED = ToolCallStarted(0, "c1", "add")
GREETED = response(text("hi"))
SEARCH = start(1, "server_tool_use", id="s1", name="web_search", input={})

READ: list[tuple[str, bytes, tuple[object, ...], Response]] = [
    (
        "plain",
        sent(begin(), *say(0, "Goe", "the"), *ending()),
        (TextDelta("Goe"), TextDelta("the")),
        response(text("Goethe")),
    ),
    ("length", sent(begin(), *HI, *ending("max_tokens")), SAID, response(text("hi"), finish="length")),
    ("cut off at once", sent(begin(), *ending("max_tokens")), (), response(finish="length")),
    ("refused", sent(begin(), *ending("refusal")), (), response(finish="refusal")),
    ("another end", sent(begin(), *HI, *ending("pause_turn")), SAID, response(text("hi"), finish="other")),
    (
        "no end told",
        sent(begin(), *HI, {"type": "message_stop"}),
        SAID,
        response(text("hi"), finish="other", usage=Usage(10, 1)),
    ),
    ("an end without more", sent(begin(), *HI, {"type": "message_delta"}, *ending()), SAID, GREETED),
    (
        "two texts",
        sent(begin(), *HI, *say(1, "ho"), *ending()),
        (*SAID, TextDelta("ho")),
        response(text("hi"), text("ho")),
    ),
    ("an empty text", sent(begin(), *say(0), *say(1, "", "hi"), *ending()), SAID, response(text(""), text("hi"))),
    (
        "a text at the start",
        sent(begin(), start(0, "text", text="h"), delta(0, "text_delta", text="i"), *ending()),
        (TextDelta("h"), TextDelta("i")),
        GREETED,
    ),
    ("no stop of a block", sent(begin(), *HI[:-1], *ending()), SAID, GREETED),
    ("two stops", sent(begin(), *HI, stop(0), *ending()), SAID, GREETED),
    (
        "no start of it all",
        sent(*HI, *ending(input_tokens=10, output_tokens=5)),
        SAID,
        response(text("hi"), model="asked"),
    ),
    (
        "no model",
        sent({"type": "message_start", "message": {"model": 5, "usage": None}}, *HI, *ending()),
        SAID,
        response(text("hi"), model="asked", usage=Usage(None, 5)),
    ),
    ("no names", sent(begin(), *HI, *ending()).replace(b"event: ", b"id: "), SAID, GREETED),
    ("names alone", sent(begin(), *HI, *ending()).replace(b'"type": "message_stop"', b""), SAID, GREETED),
    (
        "pings and unknown things",
        b": hello\n\n"
        + sent(
            PING, begin(), PING, {"type": "new", "error": None}, *HI[:2], "", delta(0, "new"), "{}", *ending()
        ).replace(b"d_event", b"d"),
        SAID,
        GREETED,
    ),
    (
        "blocks of other kinds",
        sent(
            begin(),
            *HI,
            SEARCH,
            delta(1, "input_json_delta", partial_json="{"),
            stop(1),
            start(2, "new", text=5),
            delta(2, "text_delta", text="no"),
            *ending(),
        ),
        SAID,
        GREETED,
    ),
    (
        "deltas of other kinds",
        sent(begin(), *HI[:2], delta(0, "citations_delta", citation={}), stop(0), *ending()),
        SAID,
        GREETED,
    ),
    # thinking
    (
        "thinking",
        sent(begin(), *think(0, "h", "m", signature="s"), *say(1, "hi"), *ending()),
        (ReasoningDelta("h"), ReasoningDelta("m"), ReasoningDelta("", thought("hm", "s")), *SAID),
        response(thought("hm", "s"), text("hi")),
    ),
    (
        "thinking unsigned",
        sent(begin(), *think(0, "hm"), *say(1, "hi"), *ending()),
        (ReasoningDelta("hm"), *SAID),
        response(thought("hm"), text("hi")),
    ),
    (
        "thinking left out",
        sent(begin(), *think(0, signature="s"), *say(1, "hi"), *ending()),
        (ReasoningDelta("", thought("", "s")), *SAID),
        response(thought("", "s"), text("hi")),
    ),
    (
        "thinking at the start",
        sent(begin(), start(0, "thinking", thinking="hm", signature="s"), *say(1, "hi"), *ending()),
        (ReasoningDelta("hm"), *SAID),
        response(thought("hm", "s"), text("hi")),
    ),
    (
        "thinking hidden",
        sent(begin(), start(0, "redacted_thinking", data="r"), stop(0), *say(1, "hi"), *ending()),
        (ReasoningDelta("", Reasoning("", redacted="r", issuer="anthropic")), *SAID),
        response(Reasoning("", redacted="r", issuer="anthropic"), text("hi")),
    ),
    # tool calls
    (
        "a call",
        sent(begin(), *use(0, "", '{"a"', ": 1}"), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, '{"a"'), ToolCallDelta(0, ": 1}")),
        response(tool('{"a":1}'), finish="tool_calls"),
    ),
    (
        "two calls",
        sent(begin(), *HI, *use(1), *use(3, "{}", identity="c2", name="now"), *ending("tool_use")),
        (*SAID, STARTED, ToolCallStarted(1, "c2", "now"), ToolCallDelta(1, "{}")),
        response(text("hi"), tool("{}"), tool("{}", "c2", "now"), finish="tool_calls"),
    ),
    (
        "an input at the start",
        sent(begin(), *use(0, input={"a": 1}), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, '{"a":1}')),
        response(tool('{"a":1}'), finish="tool_calls"),
    ),
    (
        "an input, and never a stop",
        sent(begin(), *use(0, input={"a": 1})[:-1], *ending("tool_use")),
        (STARTED, ToolCallDelta(0, '{"a":1}')),
        response(tool('{"a":1}'), finish="tool_calls"),
    ),
    (
        "an input, then another",
        sent(begin(), *use(0, "{}", input={"a": 1}), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, "{}")),
        response(tool("{}"), finish="tool_calls"),
    ),
    (
        "an input that is text",
        sent(begin(), *use(0, input='{"a": 1}'), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, '{"a": 1}')),
        response(tool('{"a":1}'), finish="tool_calls"),
    ),
    (
        "no input",
        sent(begin(), *use(0, input=None), *ending("tool_use")),
        (STARTED,),
        response(tool("{}"), finish="tool_calls"),
    ),
    (
        "an input that does not parse",
        sent(begin(), *use(0, '{"a'), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, '{"a')),
        response(tool('{"a'), finish="tool_calls"),
    ),
    (
        "an input that is no object",
        sent(begin(), *use(0, "[1]"), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, "[1]")),
        response(tool("[1]"), finish="tool_calls"),
    ),
    (
        "an input of null",
        sent(begin(), *use(0, "null"), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, "null")),
        response(tool("{}"), finish="tool_calls"),
    ),
    (
        "an input of blanks",
        sent(begin(), *use(0, " "), *ending("tool_use")),
        (STARTED, ToolCallDelta(0, " ")),
        response(tool("{}"), finish="tool_calls"),
    ),
    # tokens
    (
        "a cache",
        sent(begin(input_tokens=1, cache_read_input_tokens=100, cache_creation_input_tokens=20), *HI, *ending()),
        SAID,
        response(text("hi"), usage=Usage(121, 5, 100, 20)),
    ),
    (
        "tokens told again",
        sent(begin(input_tokens=0, output_tokens=0), *HI, *ending(input_tokens=10, output_tokens=5)),
        SAID,
        GREETED,
    ),
    ("tokens that are none", sent(begin(), *HI, *ending(input_tokens=None, output_tokens=5)), SAID, GREETED),
    (
        "no tokens",
        sent(begin(x=1), *HI, {**ending()[0], "usage": None}, *ending(x=1)),
        SAID,
        response(text("hi"), usage=Usage()),
    ),
]


@pytest.mark.parametrize(("stream", "events", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_an_answer_is_read(stream: bytes, events: tuple[object, ...], expected: Response) -> None:
    """The content comes out piece by piece and, at the end, whole; as it would if it had been sent whole."""
    came = coming(stream)
    assert came.events == events
    assert came.response == expected
    assert consistent(came)
    assert coming(stream, *range(len(stream))) == came


BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
NO_JSON = "the stream holds something that is not JSON"
UNREADABLE = "the stream holds an event that cannot be read"
NOT_OPEN = "the stream holds more of a block that is not open"
OUT_OF_ORDER = "the stream holds a block out of order"
NO_STOP = "the stream ended without message_stop"
SAYS_NOTHING = "the answer is finished, but has no text and no tool call"
BEGUN: Events = [begin(), *HI]
MORE = delta(0, "text_delta", text="more")

BROKEN: list[object] = [
    *("5", "null", "[]", "[5]", '"x"'),
    {"type": "message_start"},
    {"type": "message_start", "message": 5},
    {"type": "message_delta", "delta": 5},
    *({"type": "content_block_start"}, {"type": "content_block_delta"}, {"type": "content_block_stop"}),
    *(start(1, None), {"type": "content_block_start", "index": 1, "content_block": 5}),
    *(start(1, "text", text=5), start(1, "thinking", thinking=["x"])),
    *(start(1, "tool_use"), start(1, "tool_use", id=5, name="add"), start(1, "tool_use", id="c1", name=None)),
    *(stop(1), stop([])),
    delta([], "text_delta"),
]
FAILED: list[tuple[str, bytes, Verdict, str]] = [
    ("an error", sent(*BEGUN, BUSY), Verdict.OVERLOADED, "busy"),
    ("at once", sent(BUSY), Verdict.OVERLOADED, "busy"),
    ("by its name alone", sent(*BEGUN) + b"event: error\ndata: boom\n\n", Verdict.MALFORMED, "boom"),
    ("by its type alone", sent(*BEGUN, BUSY).replace(b"event: error", b"id: 1"), Verdict.OVERLOADED, "busy"),
    ("of another wire", sent(*BEGUN, {"error": {"code": 429, "message": "slow"}}), Verdict.THROTTLED, "slow"),
    (
        "without a word",
        sent(*BEGUN, {"type": "error"}),
        Verdict.MALFORMED,
        "the stream reports an error, but not which",
    ),
    ("no JSON", sent(*BEGUN, "{"), Verdict.MALFORMED, NO_JSON),
    ("no UTF-8", sent(*BEGUN) + b'data: {"type": "\xff"}\n\n', Verdict.MALFORMED, NO_JSON),
    ("too deep", sent(*BEGUN, "[" * 2000 + "]" * 2000), Verdict.MALFORMED, NO_JSON),
    *((f"unreadable-{number}", sent(*BEGUN, bad), Verdict.MALFORMED, UNREADABLE) for number, bad in enumerate(BROKEN)),
    ("a text that is none", sent(*HI[:1], delta(0, "text_delta", text=5)), Verdict.MALFORMED, UNREADABLE),
    ("no delta", sent(HI[0], MORE | {"delta": None}), Verdict.MALFORMED, UNREADABLE),
    ("never began", sent(begin(), MORE), Verdict.MALFORMED, NOT_OPEN),
    ("began elsewhere", sent(*HI[:2], delta(1, "text_delta", text="x")), Verdict.MALFORMED, NOT_OPEN),
    ("after its stop", sent(*BEGUN, MORE), Verdict.MALFORMED, NOT_OPEN),
    ("twice", sent(*BEGUN, *HI), Verdict.MALFORMED, OUT_OF_ORDER),
    ("backwards", sent(*say(2, "hi"), *say(1, "ho")), Verdict.MALFORMED, OUT_OF_ORDER),
    ("below nothing", sent(*say(-1, "hi")), Verdict.MALFORMED, OUT_OF_ORDER),
    ("no number", sent(start("0", "text", text="")), Verdict.MALFORMED, OUT_OF_ORDER),
    (
        "mixed up",
        sent(HI[0], delta(0, "thinking_delta", thinking="x")),
        Verdict.MALFORMED,
        "the stream holds thinking_delta in a block of another kind",
    ),
    (
        "mixed up again",
        sent(use(0)[0], MORE),
        Verdict.MALFORMED,
        "the stream holds text_delta in a block of another kind",
    ),
    ("nothing", b"", Verdict.TRUNCATED, NO_STOP),
    ("no end", sent(*BEGUN), Verdict.TRUNCATED, NO_STOP),
    ("half an end", sent(*BEGUN, ending()[0]), Verdict.TRUNCATED, NO_STOP),
    ("half a call", sent(begin(), *use(0, '{"a": 1}'), ending("tool_use")[0]), Verdict.TRUNCATED, NO_STOP),
    ("JSON, not a stream", json.dumps(BUSY).encode(), Verdict.TRUNCATED, NO_STOP),
    ("a page", b"<html>\n\n</html>\n\n", Verdict.TRUNCATED, NO_STOP),
    ("empty", sent(begin(), *ending()), Verdict.EMPTY, SAYS_NOTHING),
    ("empty text", sent(begin(), *say(0), *ending()), Verdict.EMPTY, SAYS_NOTHING),
    ("nothing but thinking", sent(begin(), *think(0, "hm"), *ending("eos")), Verdict.EMPTY, SAYS_NOTHING),
    ("no call", sent(begin(), *ending("tool_use")), Verdict.EMPTY, SAYS_NOTHING),
    (
        "an end that is none",
        sent(*BEGUN, *ending(["x"])),
        Verdict.MALFORMED,
        "the answer has no content that can be read",
    ),
    (
        "hidden thinking without",
        sent(start(0, "redacted_thinking"), *ending()),
        Verdict.MALFORMED,
        "the answer has no content that can be read",
    ),
]


@pytest.mark.parametrize(("stream", "verdict", "message"), [row[1:] for row in FAILED], ids=[row[0] for row in FAILED])
def test_what_is_no_answer_is_a_failure(stream: bytes, verdict: Verdict, message: str) -> None:
    """Errors under a 200, broken events, and a stream that ends too soon: each its verdict, and what had come."""
    came = coming(stream)
    assert (came.verdict, came.message, came.response) == (verdict, message, None)
    assert consistent(came)
    assert coming(stream, *range(len(stream))) == came


@pytest.mark.parametrize(
    ("late", "extra"),
    [
        (b"", False),
        (b": hello\n\n", False),
        (sent(PING), True),
        (sent(MORE), True),
        (sent(BUSY), True),
        (sent("{"), True),
        (sent(*ending()), True),
    ],
)
def test_what_comes_after_the_end_is_ignored(late: bytes, extra: bool) -> None:
    """An answer that is complete stays as it is, whatever follows; but it is told that something did."""
    came = coming(sent(*BEGUN, *ending()) + late)
    assert (came.events, came.response, came.extra) == (SAID, GREETED, extra)


def test_what_has_come_can_be_seen() -> None:
    """At any time there is a partial answer: text, thinking, tool calls that have begun, and tokens."""
    partial = coming(sent(begin(), *think(0, "hm"), *say(1, "Goe"), *use(2, '{"a')[:-1])).partial
    assert (partial.transport, partial.model, partial.usage) == ("anthropic", "claude-5", Usage(10, 1))
    assert (partial.text, partial.reasoning) == ("Goe", "hm")
    assert partial.tool_calls == (PartialCall("c1", "add", '{"a'),)


WORDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), max_size=4)
INPUTS = st.dictionaries(st.text("ab", max_size=2), st.integers(-(2**60), 2**60) | st.text(max_size=3), max_size=2)
PARTS: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    st.tuples(st.just("text"), WORDS)
    | st.tuples(st.just("thinking"), WORDS)
    | st.tuples(st.just("tool_use"), st.tuples(INPUTS, st.lists(st.integers(0, 9), max_size=3))),
    max_size=4,
)
ENDS = st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[dict[str, Any], Events]:
    """An answer that is sent whole, and the same in events; the last one is its end."""
    events: Events = [begin(), PING]
    content: Events = []
    for index, (kind, said) in enumerate(draw(PARTS)):
        if kind == "text":
            content.append({"type": kind, "text": "".join(said)})
            events += say(index, *said)
        elif kind == "thinking":
            content.append({"type": kind, "thinking": "".join(said), "signature": "s"})
            events += think(index, *said, signature="s")
        else:
            given_input, at = said
            content.append({"type": kind, "id": f"c{index}", "name": "add", "input": given_input})
            pieces = [piece.decode() for piece in cut(json.dumps(given_input).encode(), at)]
            events += use(index, *pieces, identity=f"c{index}")
    reason, usage = draw(ENDS), {"input_tokens": 10, "output_tokens": 5}
    body = {"model": "claude-5", "content": content, "stop_reason": reason, "usage": usage}
    return body, [*events, *ending(reason)]


@given(answers(), st.lists(st.integers(0, 4000), max_size=20))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_stream_says_what_the_whole_answer_says(made: tuple[dict[str, Any], Events], at: list[int]) -> None:
    """However an answer is cut into events (the vendor's) and bytes, it is the same response or failure."""
    body, events = made
    assert all(SDK.validate_python(event) for event in events if event != PING)
    came = coming(sent(*events), *at)
    expected, verdict = outcome(read, body)
    assert (came.response, came.verdict) == (expected, verdict)
    if expected:
        assert [json.loads(call[2]) for call in came.calls] == [call.parse() for call in expected.tool_calls]
    assert consistent(came)


@given(answers(), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_stream_that_breaks_off_is_no_answer(made: tuple[dict[str, Any], Events], data: st.DataObject) -> None:
    """Up to its last byte, a stream that ends is truncated; what it gave is a beginning."""
    whole = sent(*made[1])
    came, all_of_it = coming(whole[: data.draw(st.integers(0, len(whole) - 1))]), coming(whole)
    assert (came.verdict, came.response) == (Verdict.TRUNCATED, None)
    assert all_of_it.events[: len(came.events)] == came.events
    assert consistent(came)


EACH = [*BEGUN, *think(1, "hm", signature="s"), *use(2, "{}", input={"a": 1}), *ending(), BUSY]
SPOILED = st.lists(st.one_of(*(spoiled for each in EACH for spoiled in corruptions(each))), max_size=8)
SPOILED_ANSWER = st.tuples(*(st.one_of(st.just(each), *corruptions(each)) for each in EACH[:-1])).map(list)
BYTES = st.tuples(st.sampled_from([row[1] for row in READ + FAILED]), st.integers(0, 999), st.binary(max_size=9)).map(
    lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :]
)


@given((SPOILED | SPOILED_ANSWER).map(lambda told: sent(*told)) | BYTES, st.lists(st.integers(0, 999)))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_whatever_comes_is_an_answer_or_a_verdict(stream: bytes, at: list[int]) -> None:
    """No bytes raise anything but a `WireError`, and where they are cut makes no difference."""
    came = coming(stream)
    assert (came.response is None) is (came.verdict is not Verdict.OK)
    assert coming(stream, *at) == came


def test_time_is_linear() -> None:
    """Four times the events take about four times as long: of one block, and of many."""

    def once(times: int) -> float:
        stream = [
            sent(HI[0]),
            *[sent(MORE)] * times,
            *(sent(start(index, "text", text="x")) for index in range(1, times)),
        ]
        began = time.process_time()
        assert come(AnthropicReading("anthropic", "asked"), stream).verdict is Verdict.TRUNCATED
        return time.process_time() - began

    assert min(once(8000) for _ in range(3)) < 8 * min(once(2000) for _ in range(3)) + 0.01
