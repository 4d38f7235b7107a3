"""The OpenAI wire, streamed: an answer in chunks says what it would say whole, and a broken one is none."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

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
from understudy.providers._stream_openai import OpenAIReading
from understudy.providers._wire_openai import read

from .streamed import Came, come, consistent, cut, outcome
from .test_wire_openai import corruptions

UNTOLD = Usage()
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1754049600, "model": "gpt-5"}
DONE = "[DONE]"
STOP: dict[str, Any] = {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def chunk(finish: object = None, **delta: object) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def call(index: object = 0, name: object = None, arguments: object = None, **more: object) -> dict[str, Any]:
    """A fragment of a tool call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"index": index, "function": function, **more} if index is not None else {"function": function, **more}


def calling(*calls: object) -> dict[str, Any]:
    return chunk(tool_calls=list(calls))


def sent(*chunks: object) -> bytes:
    """The stream of these: objects as JSON, texts as they are."""
    told = [part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in chunks]
    return "".join(f"data: {data}\n\n" for data in told).encode()


def coming(stream: bytes, *at: int) -> Came:
    return come(OpenAIReading("openai", "asked"), cut(stream, at))


def response(*blocks: Block, finish: FinishReason = "stop", usage: Usage = UNTOLD, model: str = "gpt-5") -> Response:
    return Response(blocks, model, "openai", finish, usage)


def tool(number: int = 0, identity: str = "c1", name: str = "add", arguments: str = "", **more: Any) -> ToolCall:
    return ToolCall(identity, name, arguments, "openai", **more)


def thought(text: str, *details: object) -> Reasoning:
    kept = json.dumps(details, separators=(",", ":")) if details else None
    return Reasoning(text, issuer="openai", details=kept)


HI, GO, THE = Text("hi", "openai"), chunk(content="Goe"), chunk(content="the")
GOETHE = Text("Goethe", "openai")
PIECES = (TextDelta("Goe"), TextDelta("the"))
COUNTED = {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 4},
}
USAGE = Usage(9, 2, 4)
ROLE = chunk(role="assistant", content="", refusal=None)
ADDED = tool(arguments='{"a": 1}')
STARTED = ToolCallStarted(0, "c1", "add")

TEXTS: list[tuple[str, bytes, tuple[object, ...], Response]] = [
    ("plain", sent(ROLE, GO, THE, STOP, DONE), PIECES, response(GOETHE)),
    ("no [DONE]", sent(GO, THE, STOP), PIECES, response(GOETHE)),
    ("[DONE] alone", sent(GO, THE, DONE), PIECES, response(GOETHE, finish="other")),
    ("[DONE] with spaces", sent(GO, THE, STOP, " [DONE] "), PIECES, response(GOETHE)),
    ("all in one", sent(chunk("stop", content="hi")), (TextDelta("hi"),), response(HI)),
    ("length", sent(GO, THE, chunk("length"), DONE), PIECES, response(GOETHE, finish="length")),
    ("cut off at once", sent(chunk("length"), DONE), (), response(finish="length")),
    ("filtered", sent(GO, THE, chunk("content_filter")), PIECES, response(GOETHE, finish="content_filter")),
    ("another end", sent(GO, THE, chunk("eos")), PIECES, response(GOETHE, finish="other")),
    ("empty ends before", sent({**chunk("", content="hi")}, STOP), (TextDelta("hi"),), response(HI)),
    (
        "tokens last",
        sent(GO, THE, STOP, {**HEAD, "choices": [], "usage": COUNTED}, DONE),
        PIECES,
        response(GOETHE, usage=USAGE),
    ),
    ("tokens with the end", sent(GO, THE, {**STOP, "usage": COUNTED}), PIECES, response(GOETHE, usage=USAGE)),
    (
        "tokens all along",
        sent(
            {**GO, "usage": {"prompt_tokens": 9}},
            {**THE, "usage": {}},
            {**STOP, "usage": COUNTED},
            {**STOP, "usage": None},
        ),
        PIECES,
        response(GOETHE, usage=USAGE),
    ),
    (
        "no model",
        sent({"choices": [{"delta": {"content": "hi"}}]}, STOP | {"model": ""}),
        (TextDelta("hi"),),
        response(HI, model="asked"),
    ),
    (
        "refused",
        sent(chunk(refusal="I w"), chunk(refusal="ill not."), STOP),
        (TextDelta("I w"), TextDelta("ill not.")),
        response(Text("I will not.", "openai"), finish="refusal"),
    ),
    (
        "refused after all",
        sent(GO, THE, chunk(refusal="No."), chunk(refusal="No."), STOP),
        PIECES,
        response(GOETHE, finish="refusal"),
    ),
    (
        "parts",
        sent(chunk(content=[{"type": "text", "text": "hi"}, {"type": "x"}]), STOP),
        (TextDelta("hi"),),
        response(HI),
    ),
    (
        "another answer too",
        sent(
            {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]},
            {"choices": [{"index": 1}, chunk(content="hi")["choices"][0]]},
            STOP,
        ),
        (TextDelta("hi"),),
        response(HI),
    ),
    (
        "no delta",
        sent(chunk(content="hi"), {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}),
        (TextDelta("hi"),),
        response(HI),
    ),
    (
        "unknown things",
        sent(
            {"choices": [], "prompt_filter_results": [1]},
            {"type": "ping"},
            chunk(content="hi", odd=[1]),
            {"error": None, **STOP},
        ),
        (TextDelta("hi"),),
        response(HI),
    ),
    (
        "comments, names and nothing",
        b": hello\n\nevent: message\n" + sent(chunk(content="hi"), "", " ", STOP),
        (TextDelta("hi"),),
        response(HI),
    ),
]
THOUGHTS: list[tuple[str, bytes, tuple[object, ...], Response]] = [
    (
        "reasoning_content",
        sent(chunk(content=None, reasoning_content="h"), chunk(reasoning_content="m"), chunk(content="hi"), STOP),
        (ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("hi")),
        response(thought("hm"), HI),
    ),
    (
        "reasoning",
        sent(chunk(reasoning="hm", content="hi", reasoning_details=None), STOP),
        (ReasoningDelta("hm"), TextDelta("hi")),
        response(replace(thought("hm"), field="reasoning"), HI),
    ),
    (
        "in between",
        sent(GO, chunk(reasoning="hm"), THE, STOP),
        (TextDelta("Goe"), ReasoningDelta("hm"), TextDelta("the")),
        response(replace(thought("hm"), field="reasoning"), GOETHE),
    ),
    (
        "no text of it",
        sent(chunk(reasoning={"a": 1}, reasoning_details="x", refusal=5), chunk(content="hi"), STOP),
        (TextDelta("hi"),),
        response(HI),
    ),
]


def details(*fragments: object) -> bytes:
    return sent(*(chunk(reasoning_details=[fragment]) for fragment in fragments), chunk(content="hi"), STOP)


def piece(kind: str = "text", **more: object) -> dict[str, object]:
    return {"type": f"reasoning.{kind}", **more}


JOINED: list[tuple[str, list[object], list[object]]] = [
    (
        "texts",
        [piece(text="h", index=0, format=None), piece(text="m", index=0, format="f")],
        [piece(text="hm", index=0, format="f")],
    ),
    (
        "a signature alone",
        [piece(text="hm", index=0), piece(signature="s", index=0)],
        [piece(text="hm", index=0, signature="s")],
    ),
    ("two signatures", [piece(text="h", signature="s"), piece(signature="t")], [piece(text="h", signature="s")]),
    ("nothing but a signature", [piece(signature="s"), piece(id="x")], [piece(signature="s", id="x")]),
    ("summaries", [piece("summary", summary="h"), piece("summary", summary="m")], [piece("summary", summary="hm")]),
    (
        "another index",
        [piece(text="h", index=0), piece(text="m", index=1)],
        [piece(text="h", index=0), piece(text="m", index=1)],
    ),
    (
        "another id",
        [piece(text="h", id="a"), piece(text="m", id="b")],
        [piece(text="h", id="a"), piece(text="m", id="b")],
    ),
    (
        "another kind",
        [piece(text="h"), piece("summary", summary="m"), piece(text="o")],
        [piece(text="h"), piece("summary", summary="m"), piece(text="o")],
    ),
    (
        "secrets",
        [piece("encrypted", data="a", index=0), piece("encrypted", data="b", index=0)],
        [piece("encrypted", data="a", index=0), piece("encrypted", data="b", index=0)],
    ),
    (
        "unknown",
        [5, {"type": 5, "": "x"}, piece(text="h"), None, piece(text="m"), {}],
        [5, {"type": 5, "": "x"}, piece(text="h"), None, piece(text="m"), {}],
    ),
    ("no text", [piece(text=None), piece(text="m")], [piece(text="m")]),
]
"""Fragments of `reasoning_details`, and what they are together."""

TWO = (tool(arguments='{"a": 1}'), tool(identity="c2", name="now", arguments="{}"))
BOTH = (STARTED, ToolCallDelta(0, '{"a": 1}'), ToolCallStarted(1, "c2", "now"), ToolCallDelta(1, "{}"))
FIRST, SECOND = call(0, "add", '{"a": 1}', id="c1"), call(1, "now", "{}", id="c2")
GROWN = (STARTED, ToolCallDelta(0, '{"a"'), ToolCallDelta(0, ": 1}"))
CALLS_END = chunk("tool_calls")

CALLS: list[tuple[str, bytes, tuple[object, ...], tuple[ToolCall, ...]]] = [
    (
        "in fragments",
        sent(
            calling(call(0, "add", "", id="c1")), calling(call(0, arguments='{"a"')), calling(call(0, arguments=": 1}"))
        ),
        GROWN,
        (ADDED,),
    ),
    ("whole", sent(calling(FIRST, SECOND)), BOTH, TWO),
    ("one after the other", sent(calling(FIRST), calling(SECOND)), BOTH, TWO),
    ("counted from one", sent(calling({**FIRST, "index": 1}), calling({**SECOND, "index": 7})), BOTH, TWO),
    ("all with index 0", sent(calling(FIRST), calling({**SECOND, "index": 0})), BOTH, TWO),
    (
        "without index, by id",
        sent(
            calling(call(None, "add", '{"a"', id="c1")),
            calling(call(None, arguments=": 1}", id="c1")),
            calling(call(None, arguments="{}", id="c2", name="now")),
        ),
        (*GROWN, *BOTH[2:]),
        TWO,
    ),
    (
        "without index, by name",
        sent(
            calling(call(None, "add", '{"a"')), calling(call(None, arguments=": 1}")), calling(call(None, "now", "{}"))
        ),
        (ToolCallStarted(0, "call_0", "add"), *GROWN[1:], ToolCallStarted(1, "call_1", "now"), BOTH[3]),
        (tool(identity="call_0", arguments='{"a": 1}'), tool(identity="call_1", name="now", arguments="{}")),
    ),
    (
        "id and name repeated, without index",
        sent(calling(call(None, "add", '{"a"', id="c1")), calling(call(None, "add", ": 1}", id="c1"))),
        GROWN,
        (ADDED,),
    ),
    (
        "id and name repeated",
        sent(calling(call(0, "add", '{"a"', id="c1")), calling(call(0, "add", ": 1}", id="c1"))),
        GROWN,
        (ADDED,),
    ),
    (
        "name repeated",
        sent(calling(call(0, "add", '{"a"', id="c1")), calling(call(0, "add", ": 1}", id=""))),
        GROWN,
        (ADDED,),
    ),
    (
        "another id each time",
        sent(calling(call(0, "add", '{"a"', id="c1")), calling(call(0, arguments=": 1}", id="c9"))),
        GROWN,
        (ADDED,),
    ),
    (
        "no id",
        sent(calling(call(0, "add", '{"a": 1}', id=None))),
        (ToolCallStarted(0, "call_0", "add"), BOTH[1]),
        (tool(identity="call_0", arguments='{"a": 1}'),),
    ),
    (
        "the name late",
        sent(calling(call(0, arguments='{"a"', id="c1")), calling(call(0, "add", ": 1}"))),
        (STARTED, ToolCallDelta(0, '{"a": 1}')),
        (ADDED,),
    ),
    (
        "an object",
        sent(calling(call(0, "add", {"a": 1}, id="c1"))),
        (STARTED, ToolCallDelta(0, '{"a":1}')),
        (tool(arguments='{"a":1}'),),
    ),
    (
        "an empty object first",
        sent(calling(call(0, "add", {}, id="c1")), calling(call(0, arguments='{"a": 1}'))),
        BOTH[:2],
        (ADDED,),
    ),
    ("no arguments", sent(calling(call(0, "add", id="c1"))), (STARTED,), (tool(arguments="{}"),)),
    ("empty arguments", sent(calling(call(0, "add", "", id="c1"))), (STARTED,), (tool(),)),
    (
        "arguments that do not parse",
        sent(calling(call(0, "add", '{"a', id="c1"))),
        (STARTED, ToolCallDelta(0, '{"a')),
        (tool(arguments='{"a'),),
    ),
    (
        "what Gemini wants back",
        sent(
            calling({**FIRST, "extra_content": {"google": {"thought_signature": "s"}}}),
            calling(call(0, extra_content=None)),
        ),
        BOTH[:2],
        (tool(arguments='{"a": 1}', details='{"google":{"thought_signature":"s"}}'),),
    ),
]


READ: list[tuple[str, bytes, tuple[object, ...], Response]] = [
    *TEXTS,
    *THOUGHTS,
    *((name, details(*came), (TextDelta("hi"),), response(thought("", *whole), HI)) for name, came, whole in JOINED),
    *(
        (f"{name}-{number}", stream + sent(end, DONE), events, response(*calls, finish="tool_calls"))
        for name, stream, events, calls in CALLS
        for number, end in enumerate((CALLS_END, STOP))
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


NO_JSON = "the stream holds something that is not JSON"
NO_OBJECT = "the stream holds JSON that is no object"
UNREADABLE = "the stream holds a chunk that cannot be read"
NO_MESSAGE = "the answer has no choices[0].message that can be read"
NO_END = "the stream ended without a finish_reason and [DONE]"
SAYS_NOTHING = "the answer is finished, but has no text and no tool call"
ERROR = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
BROKEN: list[dict[str, Any]] = [
    {"choices": "no"},
    {"choices": {"a": 1}},
    {"choices": [5]},
    {"choices": [{"delta": "no"}]},
    chunk(content=[5]),
    chunk(tool_calls=5),
    chunk(tool_calls=[5]),
    chunk(tool_calls=[{"function": 5}]),
    calling(call(0, arguments="{}")),
    calling(call(None, arguments="{}")),
]
"""Chunks that cannot be read; the last two belong to a call that never began."""

EMPTY: list[list[object]] = [
    [STOP, DONE],
    [ROLE, STOP],
    [DONE],
    [chunk(reasoning="hm"), STOP],
    [CALLS_END, DONE],
    [chunk("eos")],
]

FAILED: list[tuple[str, bytes, Verdict, str]] = [
    ("an error", sent(GO, ERROR), Verdict.THROTTLED, "slow down"),
    ("with a chunk", sent(GO, {**THE, "error": {"code": 502, "message": "gone"}}), Verdict.PROVIDER, "gone"),
    ("as a text", sent(GO, {"error": "no memory"}), Verdict.MALFORMED, "no memory"),
    ("in a list", sent(GO, [ERROR]), Verdict.THROTTLED, "slow down"),
    ("of vLLM", sent(GO, {"object": "error", "message": "boom", "code": 500}), Verdict.PROVIDER, "boom"),
    (
        "of Anthropic",
        sent(GO, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        Verdict.OVERLOADED,
        "busy",
    ),
    ("of FastAPI", sent(GO, {"detail": "boom"}), Verdict.MALFORMED, "boom"),
    ("by name", sent(GO) + b'event: error\ndata: {"message": "boom", "code": 503}\n\n', Verdict.OVERLOADED, "boom"),
    ("by name, in words", sent(GO) + b"event: error\ndata: boom\n\n", Verdict.MALFORMED, "boom"),
    (
        "without a word",
        sent(GO) + b"event: error\ndata: {}\n\n",
        Verdict.MALFORMED,
        "the stream reports an error, but not which",
    ),
    ("a text by name", sent(GO) + b'event: error\ndata: "boom"\n\n', Verdict.MALFORMED, "boom"),
    ("an end of that kind", sent(GO, chunk("error"), THE, DONE), Verdict.PROVIDER, "the answer ended with an error"),
    ("no JSON", sent(GO, "{"), Verdict.MALFORMED, NO_JSON),
    ("no UTF-8", sent(GO) + b'data: {"choices": "\xff"}\n\n', Verdict.MALFORMED, NO_JSON),
    ("too deep", sent(GO, "[" * 2000 + "]" * 2000), Verdict.MALFORMED, NO_JSON),
    ("no object", sent(GO, 5), Verdict.MALFORMED, NO_OBJECT),
    ("an empty list", sent(GO, []), Verdict.MALFORMED, NO_OBJECT),
    *((f"unreadable-{number}", sent(GO, bad), Verdict.MALFORMED, UNREADABLE) for number, bad in enumerate(BROKEN)),
    (
        "index going backwards",
        sent(calling(FIRST), calling(SECOND), calling(call(0, arguments=" "))),
        Verdict.MALFORMED,
        UNREADABLE,
    ),
    (
        "a call without a name",
        sent(calling(call(0, arguments="{}", id="c1")), CALLS_END, DONE),
        Verdict.MALFORMED,
        NO_MESSAGE,
    ),
    ("an end that is none", sent(GO, chunk(["stop"]), DONE), Verdict.MALFORMED, NO_MESSAGE),
    ("nothing", b"", Verdict.TRUNCATED, NO_END),
    ("no end", sent(GO), Verdict.TRUNCATED, NO_END),
    ("half an end", sent(GO) + b"data: [DONE]\n", Verdict.TRUNCATED, NO_END),
    ("JSON, not a stream", json.dumps(STOP).encode(), Verdict.TRUNCATED, NO_END),
    ("a page", b"<html>\n\n</html>\n\n", Verdict.TRUNCATED, NO_END),
    *((f"empty-{number}", sent(*chunks), Verdict.EMPTY, SAYS_NOTHING) for number, chunks in enumerate(EMPTY)),
]


@pytest.mark.parametrize(("stream", "verdict", "message"), [row[1:] for row in FAILED], ids=[row[0] for row in FAILED])
def test_what_is_no_answer_is_a_failure(stream: bytes, verdict: Verdict, message: str) -> None:
    """Errors under a 200, broken chunks, and a stream that ends too soon: each its verdict, and what had come."""
    came = coming(stream)
    assert (came.verdict, came.message, came.response, came.extra) == (verdict, message, None, False)
    assert consistent(came)
    assert coming(stream, *range(len(stream))) == came


@pytest.mark.parametrize(
    ("late", "extra"),
    [
        (sent(DONE), False),
        (sent({**HEAD, "choices": []}, DONE), False),
        (sent(STOP, ROLE, "", DONE), False),
        (sent({"choices": None, "error": None}), False),
        (sent(THE), True),
        (sent(DONE, THE), True),
        (sent(DONE, DONE), True),
        (sent(calling(SECOND)), True),
        (sent(ERROR), True),
        (sent("{", DONE), True),
        (sent(5, {"choices": {"a": 1}}, {"choices": [{"delta": 5}]}, DONE), True),
        (b"event: error\ndata: boom\n\n", True),
    ],
)
def test_what_comes_after_the_end_is_ignored(late: bytes, extra: bool) -> None:
    """An answer that is complete stays as it is, whatever follows; but it is told that something did."""
    came = coming(sent(GO, STOP) + late)
    assert (came.events, came.response) == (PIECES[:1], response(Text("Goe", "openai")))
    assert came.extra is extra


def test_what_has_come_can_be_seen() -> None:
    """At any time there is a partial answer: text, thinking, tool calls that have begun, and tokens."""
    stream = sent(
        chunk(reasoning="hm"),
        {**GO, "usage": {"prompt_tokens": 9}},
        calling(call(0, "add", '{"a', id="c1")),
        calling(call(1, arguments="x", id="c2")),
    )
    partial = coming(stream).partial
    assert (partial.transport, partial.model, partial.usage) == ("openai", "gpt-5", Usage(9))
    assert (partial.text, partial.reasoning) == ("Goe", "hm")
    assert partial.tool_calls == (PartialCall("c1", "add", '{"a'),)
    assert "Goe" not in repr(partial)


WORDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), max_size=4)
ARGUMENTS = st.dictionaries(st.text("ab", max_size=2), st.integers() | st.text(max_size=3), max_size=2).map(json.dumps)
NAMED = st.tuples(st.sampled_from(["add", "now"]), ARGUMENTS, st.lists(st.integers(0, 9), max_size=3))
ENDS = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An answer that is sent whole, and the same in chunks; the last one holds the end."""
    thoughts, words, calls = draw(WORDS), draw(WORDS), draw(st.lists(NAMED, max_size=3))
    chunks = [chunk(role="assistant", content=None)]
    chunks += [chunk(reasoning_content=word) for word in thoughts] + [chunk(content=word) for word in words]
    whole = []
    for number, (name, arguments, at) in enumerate(calls):
        chunks.append(calling(call(number, name, "", id=f"c{number}")))
        chunks += [calling(call(number, arguments=part.decode())) for part in cut(arguments.encode(), at)]
        whole.append({"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}})
    end, usage = draw(ENDS), draw(st.none() | st.just(COUNTED))
    message = {
        "role": "assistant",
        "content": "".join(words),
        "reasoning_content": "".join(thoughts),
        "tool_calls": whole,
    }
    choice = {"index": 0, "message": message, "finish_reason": end}
    return {**HEAD, "choices": [choice], "usage": usage}, [*chunks, {**chunk(end), "usage": usage}]


@given(answers(), st.lists(st.integers(0, 4000), max_size=20))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_stream_says_what_the_whole_answer_says(
    made: tuple[dict[str, Any], list[dict[str, Any]]], at: list[int]
) -> None:
    """However an answer is cut into chunks (the vendor's) and bytes, it is the same response or failure."""
    body, chunks = made
    assert all(ChatCompletionChunk.model_validate(each) for each in chunks)
    came = coming(sent(*chunks, DONE), *at)
    expected, verdict = outcome(read, body)
    assert (came.response, came.verdict) == (expected, verdict)
    if expected:
        assert came.calls == [(call.id, call.name, call.arguments) for call in expected.tool_calls]
    assert consistent(came)


@given(answers(), st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_stream_that_breaks_off_is_no_answer(
    made: tuple[dict[str, Any], list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Up to the byte before its end is told, a stream that ends is truncated; what it gave is a beginning."""
    *chunks, end = made[1]
    before, whole = sent(*chunks), sent(*chunks, end, DONE)
    length = data.draw(st.integers(0, len(before) + len(sent(end)) - 2))
    came, all_of_it = coming(whole[:length]), coming(whole)
    assert (came.verdict, came.response) == (Verdict.TRUNCATED, None)
    assert all_of_it.events[: len(came.events)] == came.events
    assert consistent(came)


@given(answers(), st.integers(0, 99))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_stream_that_is_cut_after_its_end_is_an_answer(
    made: tuple[dict[str, Any], list[dict[str, Any]]], more: int
) -> None:
    """Once the end is told nothing is missing but, maybe, the tokens."""
    whole = sent(*made[1])
    came, cut_short = coming(whole + sent(DONE)), coming(whole + sent({"choices": []}, DONE)[:more])
    assert (cut_short.response, cut_short.verdict) == (came.response, came.verdict)


ALL = [row[1] for row in READ] + [row[1] for row in FAILED]
CHUNKS = [chunk(content="hi"), calling(FIRST, SECOND), chunk(reasoning_details=[piece(text="h", index=0)]), STOP, ERROR]
SPOILED = st.lists(st.one_of(*(spoiled for each in CHUNKS for spoiled in corruptions(each))), max_size=6)
BYTES = st.tuples(st.sampled_from(ALL), st.integers(0, 999), st.binary(max_size=9)).map(
    lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :]
)


@given(SPOILED.map(lambda chunks: sent(*chunks, DONE)) | BYTES | st.binary(max_size=99), st.lists(st.integers(0, 999)))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_whatever_comes_is_an_answer_or_a_verdict(stream: bytes, at: list[int]) -> None:
    """No bytes raise anything but a `WireError`, and where they are cut makes no difference."""
    came = coming(stream)
    assert (came.response is None) is (came.verdict is not Verdict.OK)
    assert coming(stream, *at) == came


@pytest.mark.long
def test_time_is_linear() -> None:
    """Four times the chunks take about four times as long, of every kind."""

    def once(times: int) -> float:
        kinds = [GO, calling(call(0, "add", "x", id="c1")), chunk(reasoning_details=[piece(text="h")], reasoning="h")]
        parts, begin = [sent(each) for each in kinds], time.process_time()
        came = come(OpenAIReading("openai", "asked"), (part for part in parts for _ in range(times)))
        assert came.verdict is Verdict.TRUNCATED
        return time.process_time() - begin

    assert min(once(8000) for _ in range(3)) < 8 * min(once(2000) for _ in range(3)) + 0.01
