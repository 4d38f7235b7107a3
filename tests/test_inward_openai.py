"""The chat-completions dialect: each field has its place, and what is answered OpenAI's own SDK and ours understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from understudy.providers import (
    DIALECTS,
    Asked,
    Block,
    Finished,
    Image,
    Message,
    Reasoning,
    Response,
    Restarted,
    Shape,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolResult,
    UnreadableError,
    Usage,
    Verdict,
    judge,
    read_evidence,
)
from understudy.providers._inward_openai import _FIELDS
from understudy.providers._stream_openai import OpenAIReading
from understudy.providers._wire import WireError
from understudy.providers._wire_openai import read
from understudy.providers._written import REFUSED

from .inward import CREATED, HELLO, NAME, RESPONSES, asked, content, events_of, frames, objects, streamed, written

OPENAI = DIALECTS["openai"]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FUNCTION = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
ADD = Tool("add", "Adds.", SCHEMA)
LOOK = {"type": "function", "function": {"name": "look"}}
CUSTOM = {"type": "custom", "custom": {"name": "grep"}}
NONE = "no other wire has an equal for "


def format_of(**schema: Any) -> dict[str, Any]:
    """A `response_format` with a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def choice(mode: str, *names: str, **more: Any) -> dict[str, Any]:
    """Tools, and which of them may be called."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}, **more}


BOTH = {"tools": [FUNCTION, LOOK]}

MAPPED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"max_completion_tokens": 6}, {"max_tokens": 6}),
    ({"max_completion_tokens": 6, "max_tokens": 5}, {"max_tokens": 6}),
    ({"max_tokens": None}, {}),
    ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
    ({"frequency_penalty": -1, "presence_penalty": 1}, {"frequency_penalty": -1, "presence_penalty": 1}),
    ({"seed": -3}, {"seed": -3}),
    ({"stop": "."}, {"stop": "."}),
    ({"stop": [".", "!"]}, {"stop": [".", "!"]}),
    ({"stop": []}, {}),
    ({"reasoning_effort": "xhigh"}, {"reasoning_effort": "xhigh"}),
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": {"type": "json_object"}}, {"json_mode": True}),
    ({"tools": []}, {}),
    ({"tools": [FUNCTION]}, {"tools": [ADD]}),
    ({"tools": [LOOK]}, {"tools": [Tool("look")]}),
    ({**BOTH, "tool_choice": "auto"}, {"tools": [ADD, Tool("look")], "tool_choice": "auto"}),
    ({**BOTH, "tool_choice": "none"}, {"tools": [ADD, Tool("look")], "tool_choice": "none"}),
    ({**BOTH, "tool_choice": "required"}, {"tools": [ADD, Tool("look")], "tool_choice": "required"}),
    (
        {**BOTH, "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tools": [ADD, Tool("look")], "tool_choice": "look"},
    ),
    (choice("required", "look", **BOTH), {"tools": [Tool("look")], "tool_choice": "required"}),
    (choice("auto", "add", **BOTH), {"tools": [ADD], "tool_choice": "auto"}),
    ({**BOTH, "parallel_tool_calls": False}, {"tools": [ADD, Tool("look")], "parallel_tool_calls": False}),
    ({"parallel_tool_calls": True}, {}),
    ({"tool_choice": "none"}, {}),
]


@pytest.mark.parametrize(("given", "expected"), MAPPED, ids=lambda value: json.dumps(value, default=str)[:60])
def test_what_is_a_neutral_parameter(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """It is one, on any wire; nothing is left out, and nothing speaks against another wire."""
    read = asked("openai", **given)
    assert (read.neutral().parameters, read.neutral().reason, read.neutral().left_out) == (expected, "", ())
    assert read.body == {**HELLO["openai"], **given}


def test_a_schema_is_a_shape() -> None:
    """Its name and the schema, whether strict or not."""
    read = asked("openai", **format_of(name="fact", schema=SCHEMA, strict=True))
    shape = read.neutral().parameters["shape"]
    assert isinstance(shape, Shape)
    assert (shape.name, shape.schema, read.neutral().left_out, read.neutral().reason) == (
        "fact",
        SCHEMA,
        ("strict",),
        "",
    )


LEFT_OUT: dict[str, Any] = {
    "user": "u",
    "metadata": {"a": "b", "api_key": "in metadata a name means nothing"},
    "store": True,
    "service_tier": "flex",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "implicit"},
    "safety_identifier": "s",
    "verbosity": "low",
    "prediction": {"type": "content", "content": "x"},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_harmless_to_leave_out(name: str) -> None:
    """It is noted, stays in the body, and speaks against no other wire."""
    read = asked("openai", **{name: LEFT_OUT[name]})
    assert (read.neutral().left_out, read.neutral().reason, read.neutral().parameters) == ((name,), "", {})
    assert read.body[name] == LEFT_OUT[name]


NOTHING: list[dict[str, Any]] = [
    *({"n": 1}, {"logprobs": False}, {"top_logprobs": 0}, {"stream": False}, {"modalities": ["text"]}),
    *({"logit_bias": {}}, {"functions": []}, {"audio": None}, {"unheard_of": None}, {"stream_options": None}),
]


@pytest.mark.parametrize("given", NOTHING, ids=str)
def test_what_asks_for_nothing_is_nothing(given: dict[str, Any]) -> None:
    """A value that changes nothing speaks against no other wire."""
    read = asked("openai", **given)
    assert (read.neutral().reason, read.neutral().left_out, read.neutral().parameters) == ("", (), {})


INEXPRESSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"n": True}, "n"),
    ({"logprobs": True, "top_logprobs": 3}, "logprobs, top_logprobs"),
    ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}, "modalities, audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"functions": [{"name": "f"}], "function_call": "auto"}, "functions, function_call"),
    ({"unheard_of": 0}, "unheard_of"),
    ({"extra_body": {"google": {"thinking_config": {"thinking_budget": 1}}}}, "extra_body"),
    ({"a\nb": 1}, r"a\nb"),
    ({f"u{number}": number for number in range(7)}, "u0, u1, u2, u3, u4 and 2 more"),
    ({"reasoning_effort": "ultra"}, "reasoning_effort (ultra)"),
    ({"response_format": {"type": "grammar"}}, "response_format.type (grammar)"),
    (format_of(name="n"), "response_format.json_schema (without a schema)"),
    (format_of(name="n", schema={"type": "array"}), "response_format.json_schema.schema"),
    ({"tools": [CUSTOM]}, "tools[0].type (custom)"),
    ({"tools": [FUNCTION, CUSTOM], "tool_choice": "required"}, "tools[1].type (custom)"),
    ({"tools": [{**FUNCTION, "defer": 1}]}, "tools[0].defer"),
    ({**BOTH, "tool_choice": "sometimes"}, "tool_choice (sometimes)"),
    ({**BOTH, "tool_choice": {"type": "custom", "custom": {}}}, "tool_choice.type (custom)"),
    (
        {
            "tools": [{"type": "function", "function": {"name": "auto"}}],
            "tool_choice": {"type": "function", "function": {"name": "auto"}},
        },
        "tool_choice.function.name (auto)",
    ),
    ({"stream_options": {"chunk": 1}}, "stream_options.chunk"),
    (
        {**BOTH, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CUSTOM]}}},
        "tool_choice.allowed_tools.tools[0] (custom)",
    ),
    (choice("never", "add", **BOTH), "tool_choice.allowed_tools.mode (never)"),
]


@pytest.mark.parametrize(("given", "named"), INEXPRESSIBLE, ids=lambda value: str(value)[:60])
def test_what_has_no_equal_on_another_wire(given: dict[str, Any], named: str) -> None:
    """It is named, and is in the body for a provider of the same wire."""
    read = asked("openai", **given)
    assert read.neutral().reason == NONE + named
    assert read.body == {**HELLO["openai"], **given}


def saying(*parts: dict[str, Any], role: str = "user", **more: Any) -> dict[str, Any]:
    """A request whose first message holds these parts."""
    return {"messages": [{"role": role, "content": list(parts), **more}]}


CALLS = [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}]

MESSAGES: list[tuple[dict[str, Any], tuple[Message, ...], str]] = [
    ({"messages": [{"role": "developer", "content": "d"}]}, (Message("system", (Text("d"),)),), ""),
    (saying({"type": "text", "text": "t"}, name="bob"), (Message("user", (Text("t"),)),), ""),
    (
        saying({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}),
        (Message("user", (Image(url="https://x/y.png", detail="low"),)),),
        "",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": CALLS, "reasoning_content": "hm", "audio": None},
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "3"}]},
            ]
        },
        (
            Message("assistant", (Reasoning("hm"), ToolCall("c", "add", "{}"))),
            Message("tool", (ToolResult("c", "3"),)),
        ),
        "",
    ),
    (saying({"type": "input_audio", "input_audio": {}}), (), "messages[0].content[0] (input_audio)"),
    (saying({"type": "file", "file": {"file_id": "f"}}), (), "messages[0].content[0] (file)"),
    (saying({"type": "text", "text": "t", "mood": 1}), (), "messages[0].content[0].mood"),
    (saying({"type": "text", "text": "t"}, mood=1), (), "messages[0].mood"),
    (saying(role="assistant", audio={"id": "a"}), (), "messages[0].audio"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]},
        (),
        "messages[0].tool_calls[0].type (custom), messages[0].tool_calls[0].custom",
    ),
]


@pytest.mark.parametrize(("given", "messages", "named"), MESSAGES, ids=lambda value: str(value)[:60])
def test_messages(given: dict[str, Any], messages: tuple[Message, ...], named: str) -> None:
    """They become neutral ones; what has no equal in them is named with its place."""
    read = asked("openai", **given)
    assert (read.neutral().messages, read.neutral().reason) == (messages, NONE + named if named else "")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "model is missing", "model"),
    ({"model": ""}, "model must be the name of a model, a text", "model"),
    ({"messages": None}, "messages is missing", "messages"),
    ({"messages": {}}, "messages must be a list of objects", "messages"),
    ({"messages": []}, "messages is empty: there is nothing to ask", "messages"),
    ({"messages": ["hi"]}, "messages[0] must be an object", "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role is missing", "messages[0].role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content must be a text, or a list", "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0] is neither a Message nor a dict in a known form", "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0] is neither", "messages"),
    (saying({"text": "x"}), "messages[0].content[0].type is missing", "messages[0].content[0].type"),
    (saying({"type": "text", "text": 1}), "messages[0].content[0].text must be a text", "messages[0].content[0].text"),
    (
        saying({"type": "image_url", "image_url": {"url": "u"}}, role="system"),
        "a message of the system cannot hold Image",
        "messages",
    ),
    ({"max_tokens": "5"}, "max_tokens must be a whole number of tokens, at least 1", "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens must be a whole", "max_completion_tokens"),
    ({"temperature": "hot"}, "temperature must be a number from 0 to 2", "temperature"),
    ({"stop": [1]}, "stop must be a text, or a list of texts", "stop"),
    ({"stream": "yes"}, "stream must be true or false", "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage must be true or false", "stream_options"),
    ({"metadata": {"a": 1}}, "metadata must be an object of texts", "metadata"),
    ({"reasoning_effort": 3}, "reasoning_effort must be a text", "reasoning_effort"),
    ({"tools": [{"type": "function"}]}, "tools[0].function is missing", "tools[0].function"),
    ({"tools": [{"type": "function", "function": 1}]}, "tools[0].function must be an object", "tools[0].function"),
    ({"tools": [LOOK, LOOK]}, "tools must have different names", "tools"),
    ({"tool_choice": "required"}, "tool_choice must come with tools", "tools"),
    ({**BOTH, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice must be auto", "tools"),
    (choice("auto", "x", **BOTH), "tool_choice.allowed_tools.tools names x, which is not among tools", "tool_choice"),
    ({**BOTH, "tool_choice": {"type": "function", "function": {"name": 1}}}, "tool_choice.function.name must", "tool"),
    ({**BOTH, "tool_choice": {"type": "function", "function": 1}}, "tool_choice.function.name must", "tool_choice"),
    ({**BOTH, "parallel_tool_calls": "no"}, "parallel_tool_calls must be true or false", "parallel_tool_calls"),
    (format_of(name="n", schema={"type": "object", "properties": {"a": {"enum": 5}}}), "response_format", "response_"),
    (format_of(schema=SCHEMA), "response_format.json_schema.name is missing", "response_format.json_schema.name"),
]


@pytest.mark.parametrize(("given", "said", "field"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_said_with_its_field(given: dict[str, Any], said: str, field: str) -> None:
    """The field, and what was expected."""
    with pytest.raises(UnreadableError) as caught:
        asked("openai", **given)
    assert caught.value.said.startswith(said)
    assert caught.value.field.startswith(field)


def test_every_field_of_the_sdk_has_its_place() -> None:
    """What the vendor's SDK can send is in the table: mapped, left out, or known to have no equal."""
    known = set(CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert known - set(_FIELDS) == set()


REQUIRED = {"id", "object", "created", "model", "choices", "usage"}

ANSWER = Response(
    (Reasoning("hm", issuer="x"), Text("hello"), ToolCall("c1", "add", '{"a":1}')),
    "gpt-5-2026",
    "openai",
    "tool_calls",
    Usage(10, 5, 3, 2, 1),
)


def test_a_whole_answer() -> None:
    """Every field is there, in OpenAI's own form."""
    assert json.loads(written("openai", ANSWER, asked("openai"))) == {
        "id": f"chatcmpl-{NAME}",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-5-2026",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
                    ],
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": None, "cache_write_tokens": 2},
            "completion_tokens_details": {
                "reasoning_tokens": 1,
                "audio_tokens": None,
                "accepted_prediction_tokens": None,
                "rejected_prediction_tokens": None,
            },
        },
        "service_tier": None,
        "system_fingerprint": None,
    }


def expected(response: Response) -> Response | None:
    """An answer as this dialect can say it; None if it is none."""
    said = response.text or (REFUSED if response.finish_reason == "refusal" else "")
    calls = response.tool_calls
    finish = response.finish_reason
    if calls and finish in {"stop", "other"}:
        finish = "tool_calls"
    if not calls and finish in {"tool_calls", "other"}:
        finish = "stop"
    if not said and not calls and finish == "stop":
        return None
    usage = response.usage
    if usage != Usage():
        usage = replace(usage, input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0)
    thought = [Reasoning(response.reasoning, issuer="openai")] if response.reasoning else []
    text = [Text(said, "openai")] if said else []
    blocks: list[Block] = [*thought, *text, *(replace(call, issuer="openai") for call in calls)]
    return Response(tuple(blocks), response.model or "ours", "openai", finish, usage)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_whole_answer_is_read_by_the_sdk_and_by_us(response: Response) -> None:
    """The SDK's types take it strictly, and our own reader finds the same answer in it."""
    body = written("openai", response, asked("openai"))
    ChatCompletion.model_validate_json(body, strict=True)
    assert json.loads(body).keys() >= REQUIRED
    if (same := expected(response)) is None:
        with pytest.raises(WireError) as caught:
            read(body, "application/json", "openai")
        assert caught.value.verdict is Verdict.EMPTY
    else:
        assert read(body, "application/json", "openai") == same


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_stream_is_read_by_the_sdk_and_by_us(response: Response) -> None:
    """The SDK puts together the same answer as is sent whole; our reader finds the same content and the same end."""
    request = asked("openai", stream=True, stream_options={"include_usage": True})
    stream = streamed("openai", response, request)
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in objects(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True))
    together = state.current_completion_snapshot.to_dict()
    whole = ChatCompletion.model_validate_json(written("openai", response, request)).to_dict()
    assert _bare(together) == _bare(whole)
    reading = OpenAIReading("openai", "asked for")
    came = [event for name, data in frames(stream)[:-1] for event in _fed(reading, name, data)]
    assert came == content(events_of(response)) or response.finish_reason == "refusal"
    if (same := expected(response)) is None:
        with pytest.raises(WireError):
            reading.feed("", b"[DONE]")
    else:
        reading.feed("", b"[DONE]")
        assert reading.response == same
        assert not reading.extra


def _fed(reading: OpenAIReading, name: str, data: bytes) -> Any:
    return reading.feed(name, data)


def _bare(completion: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without what a stream says in another way: nulls and nothing."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {name: bare(inner) for name, inner in value.items() if name not in {"object", "parsed", "index"}}
            return {name: inner for name, inner in kept.items() if inner not in (None, "", [], {})}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    result: dict[str, Any] = bare(completion)
    for choice in result["choices"]:
        for call in choice["message"].get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
    return result


def test_a_stream() -> None:
    """The role, the content, the end, the tokens, the mark."""
    request = asked("openai", stream=True, stream_options={"include_usage": True})
    response = Response((Text("hi"),), "gpt-5", "openai", "stop", Usage(3, 1))
    chunks = objects(streamed("openai", response, request))
    assert [chunk["choices"][0]["delta"] if chunk["choices"] else None for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "hi"},
        {},
        None,
    ]
    assert [chunk["choices"][0]["finish_reason"] if chunk["choices"] else None for chunk in chunks] == [
        *(None, None, "stop", None)
    ]
    assert [chunk["usage"] and chunk["usage"]["total_tokens"] for chunk in chunks] == [None, None, None, 4]
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{NAME}"}
    assert {chunk["model"] for chunk in chunks} == {"gpt-5"}


def test_without_being_asked_for_no_tokens_are_told() -> None:
    """Then no chunk comes without choices, which older clients cannot read."""
    stream = streamed("openai", ANSWER, asked("openai", stream=True))
    assert all(chunk["choices"] and "usage" not in chunk for chunk in objects(stream))
    assert stream.endswith(b"data: [DONE]\n\n")


def test_what_only_issuers_read_comes_back_to_them() -> None:
    """OpenRouter's details and Gemini's signatures are written as they write them, whole and in a stream."""
    details, extra = '[{"type":"reasoning.text","text":"hm"}]', '{"google":{"thought_signature":"s"}}'
    blocks = (Reasoning("hm", issuer="o", details=details), ToolCall("c", "add", "{}", "gemini", extra))
    response = Response(blocks, "m", "gemini", "tool_calls")
    message = json.loads(written("openai", response, asked("openai")))["choices"][0]["message"]
    assert message["reasoning_details"] == json.loads(details)
    assert message["tool_calls"][0]["extra_content"] == json.loads(extra)
    late = objects(streamed("openai", response, asked("openai")))[-2]["choices"][0]["delta"]
    assert late["reasoning_details"] == json.loads(details)
    assert late["tool_calls"] == [{"index": 0, "extra_content": json.loads(extra)}]
    again = DIALECTS["openai"].read({"model": "m", "messages": [{"role": "user", "content": "q"}, message]})
    assert again.neutral().reason == ""
    assert again.neutral().messages[1].blocks[-1] == ToolCall("c", "add", "{}", "gemini", extra)


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (400, "invalid_request_error", Verdict.CALLER),
        (401, "authentication_error", Verdict.AUTH),
        (402, "insufficient_quota", Verdict.QUOTA),
        (403, "permission_error", Verdict.AUTHZ),
        (404, "not_found_error", Verdict.NOT_FOUND),
        (408, "timeout_error", Verdict.TIMEOUT),
        (413, "invalid_request_error", Verdict.CALLER),
        (429, "rate_limit_error", Verdict.THROTTLED),
        (500, "server_error", Verdict.PROVIDER),
        (502, "server_error", Verdict.PROVIDER),
        (503, "service_unavailable_error", Verdict.OVERLOADED),
        (504, "timeout_error", Verdict.TIMEOUT),
        (529, "overloaded_error", Verdict.OVERLOADED),
    ],
)
def test_errors(status: int, kind: str, verdict: Verdict) -> None:
    """The words are OpenAI's, and mean to our own reader what the status does, in a stream too."""
    said = json.loads(OPENAI.error(status, "no", param="n", code="c"))
    assert said == {"error": {"message": "no", "type": kind, "param": "n", "code": "c"}}
    event = OPENAI.writing(asked("openai"), name=NAME, created=1).error(status, "no")
    (name, data), *rest = frames(event)
    assert (name, rest) == ("", [])
    assert judge(read_evidence(200, data, None)) is verdict
    reading = OpenAIReading("openai", "m")
    with pytest.raises(WireError) as caught:
        reading.feed(name, data)
    assert (caught.value.verdict, caught.value.message) == (verdict, "no")


def test_an_answer_cannot_begin_anew() -> None:
    """Before anything was written that says nothing; afterwards it is a mistake of whoever writes."""
    writing = OPENAI.writing(asked("openai"), name=NAME, created=1)
    restarted = Restarted("anthropic", "m", "stalled")
    assert writing.event(restarted) == b""
    writing.event(TextDelta("a"))
    with pytest.raises(ValueError, match="cannot begin anew"):
        writing.event(restarted)


def test_what_only_an_issuer_reads_is_left_out_where_it_cannot_be_read() -> None:
    """Details that are no JSON were never a server's."""
    response = Response((Text("a"), Reasoning("hm", details="no JSON")), "m", "t", "stop")
    message = json.loads(written("openai", response, asked("openai")))["choices"][0]["message"]
    assert "reasoning_details" not in message


def test_a_refusal_is_told_as_one() -> None:
    """Its text is content, and it is said that it was a refusal."""
    response = Response((Text("I won't."),), "m", "anthropic", "refusal")
    choice = json.loads(written("openai", response, asked("openai")))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("I won't.", "I won't.")
    assert choice["finish_reason"] == "stop"


def test_what_is_asked_is_in_no_repr() -> None:
    """Logs show the model, not the request."""
    read: Asked = asked("openai", user="canary", messages=[{"role": "user", "content": "canary"}])
    assert "canary" not in repr(read)
    assert Finished(ANSWER).response is ANSWER
