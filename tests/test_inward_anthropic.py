"""The messages dialect: each field has its place, and what is answered Anthropic's own SDK and ours understand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as SDKMessage
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsBase
from anthropic.types.shared import ErrorResponse
from hypothesis import given, settings
from pydantic import TypeAdapter

from understudy.providers import (
    DIALECTS,
    Block,
    Finished,
    Image,
    Message,
    Reasoning,
    ReasoningDelta,
    Response,
    Restarted,
    StreamEvent,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    UnreadableError,
    Usage,
    Verdict,
    judge,
    read_evidence,
)
from understudy.providers._inward_anthropic import _FIELDS
from understudy.providers._stream_anthropic import AnthropicReading
from understudy.providers._wire import WireError
from understudy.providers._wire_anthropic import read

from .inward import (
    HELLO,
    NAME,
    RESPONSES,
    asked,
    content,
    events_of,
    frames,
    is_own,
    joined,
    merged,
    objects,
    streamed,
    written,
)

ANTHROPIC = DIALECTS["anthropic"]
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
GIVEN = {"name": "add", "description": "Adds.", "input_schema": SCHEMA}
ADD = Tool("add", "Adds.", SCHEMA)
WEB = {"type": "web_search_20260209", "name": "web_search"}
CACHED = {"cache_control": {"type": "ephemeral"}}
NONE = "no other wire has an equal for "
BOTH: dict[str, Any] = {"tools": [GIVEN, {"name": "look", "input_schema": {"type": "object"}}]}
TOOLS: dict[str, Any] = {"tools": [ADD, Tool("look", "", {"type": "object"})]}

MAPPED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"temperature": 0.5, "top_p": 1, "top_k": 3}, {"temperature": 0.5, "top_p": 1, "top_k": 3}),
    ({"stop_sequences": ["."]}, {"stop": ["."]}),
    ({"stop_sequences": []}, {}),
    ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"thinking_budget_tokens": 2048}),
    ({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "high"}),
    ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ({"output_config": {"effort": "max"}}, {"reasoning_effort": "max"}),
    ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {"reasoning_effort": "none"}),
    ({"output_config": {"effort": "low"}, "thinking": {"type": "between_tools"}}, {"reasoning_effort": "none"}),
    ({"tools": []}, {}),
    (BOTH, TOOLS),
    ({**BOTH, "tool_choice": {"type": "auto"}}, {**TOOLS, "tool_choice": "auto"}),
    ({**BOTH, "tool_choice": {"type": "any"}}, {**TOOLS, "tool_choice": "required"}),
    ({**BOTH, "tool_choice": {"type": "none"}}, {**TOOLS, "tool_choice": "none"}),
    ({**BOTH, "tool_choice": {"type": "tool", "name": "look"}}, {**TOOLS, "tool_choice": "look"}),
    (
        {**BOTH, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {**TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
    ),
    (
        {**BOTH, "tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
        {**TOOLS, "tool_choice": "required", "parallel_tool_calls": True},
    ),
    ({"tool_choice": {"type": "auto"}}, {}),
]


@pytest.mark.parametrize(("given", "expected"), MAPPED, ids=lambda value: json.dumps(value, default=str)[:60])
def test_what_is_a_neutral_parameter(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """It is one, on any wire; nothing is left out, and nothing speaks against another wire."""
    read = asked("anthropic", **given)
    assert (read.neutral().parameters, read.neutral().reason, read.neutral().left_out) == (
        {"max_tokens": 9, **expected},
        "",
        (),
    )
    assert read.body == {**HELLO["anthropic"], **given}


@pytest.mark.parametrize(
    "given",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_a_schema_is_a_shape(given: dict[str, Any]) -> None:
    """Wherever it stands; it has no name in this dialect."""
    read = asked("anthropic", **given)
    assert (read.neutral().parameters["shape"].schema, read.neutral().reason) == (SCHEMA, "")


LEFT_OUT: dict[str, Any] = {
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "speed": "fast",
    "context_management": {"edits": []},
    "diagnostics": {},
    "user_profile_id": "u",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_harmless_to_leave_out(name: str) -> None:
    """It is noted, stays in the body, and speaks against no other wire."""
    read = asked("anthropic", **{name: LEFT_OUT[name]})
    assert (read.neutral().left_out, read.neutral().reason) == ((name,), "")
    assert read.body[name] == LEFT_OUT[name]


@pytest.mark.parametrize(
    "given",
    [
        CACHED,
        {"system": [{"type": "text", "text": "s", **CACHED}]},
        {"tools": [{**GIVEN, **CACHED}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", **CACHED}]}]},
    ],
    ids=["at the top", "instructions", "tools", "messages"],
)
def test_a_cache_is_wished_for(given: dict[str, Any]) -> None:
    """Where exactly is left out, that it is wished for is not."""
    read = asked("anthropic", **given)
    assert (read.neutral().left_out, read.neutral().reason) == (("cache_control",), "")
    assert read.neutral().parameters["cache_policy"] == "auto"


INEXPRESSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 0}, "max_tokens (0)"),
    ({"container": "c"}, "container"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"compaction": {}}, "compaction"),
    ({"unheard_of": 0}, "unheard_of"),
    ({"output_config": {"effort": "ultra"}}, "output_config.effort (ultra)"),
    ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    ({"thinking": {"type": "dreaming"}}, "thinking.type (dreaming)"),
    ({"tools": [WEB]}, "tools[0] (web_search_20260209)"),
    ({"tools": [{**GIVEN, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": [{**GIVEN, "allowed_callers": ["code_execution_20260120"]}]}, "tools[0].allowed_callers"),
    ({**BOTH, "tool_choice": {"type": "perhaps"}}, "tool_choice.type (perhaps)"),
    ({"system": [{"type": "text", "text": "s", "mood": 1}]}, "system[0].mood"),
]


@pytest.mark.parametrize(("given", "named"), INEXPRESSIBLE, ids=lambda value: str(value)[:60])
def test_what_has_no_equal_on_another_wire(given: dict[str, Any], named: str) -> None:
    """It is named, and is in the body for a provider of the same wire."""
    read = asked("anthropic", **given)
    assert read.neutral().reason == NONE + named
    assert read.body == {**HELLO["anthropic"], **given}


def turn(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    """A request of one message with these parts."""
    return {"messages": [{"role": role, "content": list(parts)}]}


USE = {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}, "caller": {"type": "direct"}}

MESSAGES: list[tuple[dict[str, Any], tuple[Message, ...], str]] = [
    ({"system": "s"}, (Message("system", (Text("s"),)), Message("user", (Text("hi"),))), ""),
    (
        {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": " "}, {"type": "text", "text": "b"}]},
        (Message("system", (Text("a\n\nb"),)), Message("user", (Text("hi"),))),
        "",
    ),
    ({"system": ""}, (Message("user", (Text("hi"),)),), ""),
    (
        turn({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}),
        (Message("user", (Image(data="aGk=", media_type="image/png"),)),),
        "",
    ),
    (
        turn({"type": "thinking", "thinking": "hm", "signature": "s"}, USE, role="assistant"),
        (
            Message(
                "assistant",
                (
                    Reasoning("hm", signature="s", issuer="anthropic"),
                    ToolCall("c", "add", '{"a":1}', "anthropic"),
                ),
            ),
        ),
        "",
    ),
    (
        turn({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "3"}], "is_error": True}),
        (Message("tool", (ToolResult("c", "3", is_error=True),)),),
        "",
    ),
    (turn({"type": "document", "source": {}}), (), "messages[0].content[0] (document)"),
    (
        turn({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        (),
        "messages[0].content[0].source.type (file)",
    ),
    (turn({"type": "server_tool_use", "id": "s"}, role="assistant"), (), "messages[0].content[0] (server_tool_use)"),
    (
        turn({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": {}}]}),
        (),
        "messages[0].content[0].content[0] (image)",
    ),
    (turn({**USE, "caller": {"type": "code"}}, role="assistant"), (), "messages[0].content[0].caller"),
]


@pytest.mark.parametrize(("given", "messages", "named"), MESSAGES, ids=lambda value: str(value)[:60])
def test_messages(given: dict[str, Any], messages: tuple[Message, ...], named: str) -> None:
    """They become neutral ones; what has no equal in them is named with its place."""
    read = asked("anthropic", **given)
    assert (read.neutral().messages, read.neutral().reason) == (messages, NONE + named if named else "")


def test_thinking_that_nobody_signed_comes_back_as_nobodys() -> None:
    """It is the answer of another model, as it was written: Anthropic would refuse it, so that it is not relayed."""
    foreign = {"type": "thinking", "thinking": "hm", "signature": ""}
    own = {"type": "thinking", "thinking": "hm", "signature": "s"}
    question = {"role": "user", "content": "hi"}
    read = asked(
        "anthropic",
        messages=[
            question,
            {"role": "assistant", "content": [foreign, {"type": "text", "text": "a"}]},
            question,
            {"role": "assistant", "content": [foreign]},
            question,
            {"role": "assistant", "content": [own, {"type": "text", "text": "b"}]},
        ],
    )
    assert [message["content"] for message in read.body["messages"]] == [
        "hi",
        [{"type": "text", "text": "a"}],
        "hi",
        "hi",
        [own, {"type": "text", "text": "b"}],
    ]
    assert read.neutral().messages[1].blocks[0] == Reasoning("hm")
    assert read.neutral().messages[5].blocks[0] == Reasoning("hm", signature="s", issuer="anthropic")


def test_a_turn_of_another_model_goes_back_as_anthropic_takes_it() -> None:
    """In the middle of a tool run that another model began: its ids may be others, and thinking by a budget is a 400.

    Source of such ids: huggingface.co/moonshotai/Kimi-K2-Instruct, docs/tool_call_guidance.md.
    """
    identity = "functions.add:0"
    use = {"type": "tool_use", "id": identity, "name": "add", "input": {}}
    result = {"type": "tool_result", "tool_use_id": identity, "content": "3"}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    foreign = {"type": "thinking", "thinking": "hm", "signature": ""}
    within = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [foreign, use]},
        {"role": "user", "content": [result]},
    ]

    relayed = asked("anthropic", messages=within, thinking=thinking, max_tokens=4096).body
    (sent,), (answered,) = (message["content"] for message in relayed["messages"][1:])
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", sent["id"])
    assert sent["id"] == answered["tool_use_id"]
    assert "thinking" not in relayed

    after = [*within, {"role": "assistant", "content": "3"}, {"role": "user", "content": "go on"}]
    assert asked("anthropic", messages=after, thinking=thinking, max_tokens=4096).body["thinking"] == thinking


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": 3}, "model must be the name of a model, a text", "model"),
    ({"max_tokens": None}, "max_tokens is missing", "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens must be a whole number", "max_tokens"),
    ({"messages": "hi"}, "messages must be a list of objects", "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role must be one of assistant,", "messages[0]"),
    (turn({"type": "tool_use", "id": "c", "name": "n", "input": 1}), "messages[0].content[0].input must be an", "mess"),
    (
        turn({"type": "thinking", "thinking": "x", "signature": 1}, role="assistant"),
        "messages[0].content[0].sig",
        "mes",
    ),
    (turn(USE), "a message of the user cannot hold ToolCall", "messages"),
    ({"system": 3}, "system must be a text, or a list of parts", "system"),
    ({"system": [{"type": "text"}]}, "system[0].text is missing", "system[0].text"),
    ({"stop_sequences": "x"}, "stop_sequences must be a list", "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences must be a text, or a list of texts", "stop_sequences"),
    ({"thinking": "on"}, "thinking must be an object", "thinking"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens is missing", "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens must be a whole", "thinking.b"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema is missing", "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name must be a text", "tools[0].name"),
    ({"tool_choice": "auto"}, "tool_choice must be an object", "tool_choice"),
    ({"tool_choice": {"type": "any"}}, "tool_choice must come with tools", "tool_choice"),
    ({**BOTH, "tool_choice": {"type": "tool"}}, "tool_choice.name is missing", "tool_choice.name"),
    ({"stream": 1}, "stream must be true or false", "stream"),
]


@pytest.mark.parametrize(("given", "said", "field"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_said_with_its_field(given: dict[str, Any], said: str, field: str) -> None:
    """The field, and what was expected."""
    with pytest.raises(UnreadableError) as caught:
        asked("anthropic", **given)
    assert caught.value.said.startswith(said)
    assert caught.value.field.startswith(field)


def test_every_field_of_the_sdk_has_its_place() -> None:
    """What the vendor's SDK can send is in the table, or is refused: whose account pays is no client's choice."""
    known = set(MessageCreateParamsBase.__annotations__) | {"stream"}
    assert known - set(_FIELDS) == {"workspace_id"}


ANSWER = Response(
    (
        Reasoning("hm", signature="s", issuer="anthropic"),
        Text("hello"),
        ToolCall("c1", "add", '{"a":1}'),
    ),
    "claude-x",
    "anthropic",
    "tool_calls",
    Usage(10, 5, 3, 2, 1),
)


def test_a_whole_answer() -> None:
    """Every field is there, in Anthropic's own form; the input is told without what a cache had to do with."""
    assert json.loads(written("anthropic", ANSWER, asked("anthropic"))) == {
        "id": f"msg_{NAME}",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 3,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


def readable(blocks: tuple[Block, ...]) -> list[Block]:
    """Blocks as this dialect can say them: proofs are Anthropic's own, or none."""
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Reasoning) and not is_own(block):
            block = Reasoning(block.text)
        if not isinstance(block, (Text, Reasoning)) or block.text or is_own(block):
            kept.append(replace(block, issuer="anthropic") if not isinstance(block, (Image, ToolResult)) else block)
    return kept


def ending(response: Response) -> str:
    """Why the answer ended, as this dialect says it."""
    finish = response.finish_reason
    if response.tool_calls and finish in {"stop", "other"}:
        return "tool_calls"
    if finish in {"tool_calls", "other"} and not response.tool_calls:
        return "stop"
    return "refusal" if finish == "content_filter" else finish


def counted(usage: Usage) -> Usage:
    """Tokens as this dialect can tell them."""
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    return replace(usage, input_tokens=max(usage.input_tokens or 0, cached), output_tokens=usage.output_tokens or 0)


def is_none(response: Response) -> bool:
    """Whether the answer holds nothing, which is no answer to a reader."""
    return not response.text and not response.tool_calls and ending(response) == "stop"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_whole_answer_is_read_by_the_sdk_and_by_us(response: Response) -> None:
    """The SDK's types take it strictly, and our own reader finds the same answer in it."""
    body = written("anthropic", response, asked("anthropic"))
    SDKMessage.model_validate_json(body, strict=True)
    if is_none(response):
        with pytest.raises(WireError) as caught:
            read(body, "application/json", "anthropic")
        assert caught.value.verdict is Verdict.EMPTY
        return
    again = read(body, "application/json", "anthropic")
    assert list(again.blocks) == readable(response.blocks)
    assert (again.finish_reason, again.model) == (ending(response), response.model or "ours")
    assert again.usage == counted(response.usage)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_stream_is_read_by_the_sdk_and_by_us(response: Response) -> None:
    """The SDK puts together the same answer as is sent whole; our reader finds the same content and the same end."""
    request = asked("anthropic", stream=True)
    stream = streamed("anthropic", response, request)
    snapshot, buffers = None, dict[int, bytes]()
    for told in objects(stream):
        event = EVENT.validate_json(json.dumps(told), strict=True)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    whole = Response(tuple(readable(response.blocks)), response.model, "", response.finish_reason, response.usage)
    sent = json.loads(written("anthropic", whole, request))
    together = snapshot.to_dict()
    assert _merged(together.pop("content")) == _merged(sent.pop("content"))
    assert _told(together) == _told(sent)
    reading = AnthropicReading("anthropic", "asked for")
    if is_none(response):
        with pytest.raises(WireError, match="no text and no tool call"):
            _ = [reading.feed(name, data) for name, data in frames(stream)]
        return
    came = [event for name, data in frames(stream) for event in reading.feed(name, data)]
    assert joined(content(came)) == joined(content(events_of(response)))
    assert reading.response is not None
    assert merged(reading.response.blocks) == merged(readable(response.blocks))
    assert (reading.response.finish_reason, reading.response.usage) == (ending(response), counted(response.usage))


def _told(value: Any) -> Any:
    """What is not null."""
    if not isinstance(value, dict):
        return value
    return {name: _told(inner) for name, inner in value.items() if inner is not None}


def _merged(parts: Any) -> list[Any]:
    """Blocks with neighbours put together, as a stream has them."""
    result: list[Any] = []
    for part in parts:
        part = {name: value for name, value in part.items() if value is not None}
        kind = part["type"]
        if result and result[-1]["type"] == kind == "text":
            result[-1] = {**part, "text": result[-1]["text"] + part["text"]}
        elif result and result[-1]["type"] == kind == "thinking" and not result[-1]["signature"]:
            result[-1] = {**part, "thinking": result[-1]["thinking"] + part["thinking"]}
        else:
            result.append(part)
    return result


def test_a_stream() -> None:
    """The names of the events, their order, and rising indices."""
    stream = streamed("anthropic", ANSWER, asked("anthropic", stream=True))
    told = objects(stream)
    assert [name for name, _ in frames(stream)] == [event["type"] for event in told]
    assert [(event["type"], event.get("index")) for event in told] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert told[3]["delta"] == {"type": "signature_delta", "signature": "s"}
    assert told[0]["message"]["model"] == "claude-x"
    assert told[-2]["usage"]["input_tokens"] == 5


def test_arguments_that_are_no_object_are_shown_in_one() -> None:
    """This dialect has objects only; the model sees its own mistake when it comes back."""
    response = Response((ToolCall("c", "add", "[1"),), "m", "openai", "tool_calls")
    block = json.loads(written("anthropic", response, asked("anthropic")))["content"][0]
    assert block["input"] == {"arguments": "[1"}


def test_pieces_of_an_earlier_call_are_a_mistake() -> None:
    """Blocks do not overlap: what would go into another block is not written."""
    writing = ANTHROPIC.writing(asked("anthropic"), name=NAME, created=1)
    writing.event(ToolCallStarted(0, "a", "add"))
    writing.event(ToolCallStarted(1, "b", "add"))
    with pytest.raises(ValueError, match="after something else"):
        writing.event(ToolCallDelta(0, "{}"))


def test_proofs_that_come_too_late_are_left_out() -> None:
    """A signature belongs to the block that it signs, and what a foreign server hides is nobody's."""
    own = Reasoning("hm", signature="s", issuer="anthropic")
    writing = ANTHROPIC.writing(asked("anthropic"), name=NAME, created=1)
    hidden = Reasoning("", redacted="r", issuer="elsewhere")
    events: list[StreamEvent] = [
        *(ReasoningDelta("hm"), TextDelta("a"), ReasoningDelta("", own), ReasoningDelta("", hidden)),
        Finished(Response((own,), "m", "t", "stop")),
    ]
    stream = b"".join(map(writing.event, events))
    assert b"signature_delta" not in stream
    assert b"redacted" not in stream


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (400, "invalid_request_error", Verdict.CALLER),
        (401, "authentication_error", Verdict.AUTH),
        (402, "billing_error", Verdict.QUOTA),
        (403, "permission_error", Verdict.AUTHZ),
        (404, "not_found_error", Verdict.NOT_FOUND),
        (408, "timeout_error", Verdict.TIMEOUT),
        (413, "request_too_large", Verdict.CAPABILITY),
        (422, "invalid_request_error", Verdict.CALLER),
        (429, "rate_limit_error", Verdict.THROTTLED),
        (500, "api_error", Verdict.PROVIDER),
        (503, "overloaded_error", Verdict.OVERLOADED),
        (504, "timeout_error", Verdict.TIMEOUT),
        (529, "overloaded_error", Verdict.OVERLOADED),
    ],
)
def test_errors(status: int, kind: str, verdict: Verdict) -> None:
    """The words are Anthropic's, and mean to our own reader what the status does, in a stream too."""
    body = ANTHROPIC.error(status, "no", name=NAME)
    error = {"type": kind, "message": "no"}
    assert json.loads(body) == {"type": "error", "error": error, "request_id": f"req_{NAME}"}
    assert json.loads(ANTHROPIC.error(status, "no")) == {"type": "error", "error": error, "request_id": None}
    if kind != "request_too_large":  # which the errors page lists, and the SDK's type does not
        ErrorResponse.model_validate_json(body, strict=True)
    event = ANTHROPIC.writing(asked("anthropic"), name=NAME, created=1).error(status, "no")
    (name, data), *rest = frames(event)
    assert (name, data, rest) == ("error", body, [])
    assert judge(read_evidence(200, data, None)) is verdict


def test_an_answer_cannot_begin_anew() -> None:
    """Before anything was written that says nothing; afterwards it is a mistake of whoever writes."""
    writing = ANTHROPIC.writing(asked("anthropic"), name=NAME, created=1)
    restarted = Restarted("anthropic", "m", "stalled")
    assert writing.event(restarted) == b""
    writing.event(TextDelta("a"))
    with pytest.raises(ValueError, match="cannot begin anew"):
        writing.event(restarted)
