"""The responses dialect, as far as it needs no memory: each field has its place, and OpenAI's SDK reads the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response as SDKResponse
from openai.types.responses import ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from pydantic import TypeAdapter

from understudy.providers import (
    DIALECTS,
    Finished,
    Image,
    Message,
    Reasoning,
    ReasoningDelta,
    Response,
    Restarted,
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
from understudy.providers._inward_responses import _FIELDS
from understudy.providers._written import REFUSED

from .inward import CREATED, HELLO, NAME, RESPONSES, asked, frames, merged, objects, streamed, written

DIALECT = DIALECTS["responses"]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FUNCTION = {"type": "function", "name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": True}
LOOK = {"type": "function", "name": "look", "parameters": None, "strict": None}
BOTH: dict[str, Any] = {"tools": [FUNCTION, LOOK]}
ADD = Tool("add", "Adds.", SCHEMA)
NONE = "no other wire has an equal for "
FORMAT = {"type": "json_schema", "name": "fact", "schema": SCHEMA, "strict": True}

MAPPED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"max_output_tokens": 20}, {"max_tokens": 20}),
    ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    ({"reasoning": None}, {}),
    ({"text": {"format": {"type": "text"}}}, {}),
    ({"text": {"format": {"type": "json_object"}}}, {"json_mode": True}),
    (BOTH, {"tools": [ADD, Tool("look")]}),
    ({**BOTH, "tool_choice": "required"}, {"tools": [ADD, Tool("look")], "tool_choice": "required"}),
    (
        {**BOTH, "tool_choice": {"type": "function", "name": "look"}},
        {"tools": [ADD, Tool("look")], "tool_choice": "look"},
    ),
    (
        {
            **BOTH,
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "look"}],
            },
        },
        {"tools": [Tool("look")], "tool_choice": "required"},
    ),
    ({**BOTH, "parallel_tool_calls": False}, {"tools": [ADD, Tool("look")], "parallel_tool_calls": False}),
    ({"parallel_tool_calls": True, "truncation": "disabled", "background": False, "top_logprobs": 0}, {}),
    ({"previous_response_id": None, "conversation": None, "include": [], "stream": False}, {}),
]


@pytest.mark.parametrize(("given", "expected"), MAPPED, ids=lambda value: json.dumps(value, default=str)[:60])
def test_what_is_a_neutral_parameter(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """It is one, on any wire; nothing is left out, and nothing speaks against another wire."""
    read = asked("responses", **given)
    assert (read.neutral().parameters, read.neutral().reason, read.neutral().left_out) == (expected, "", ())
    assert read.body == {**HELLO["responses"], **given}


def test_a_schema_is_a_shape() -> None:
    """Its name and the schema."""
    shape = asked("responses", text={"format": FORMAT}).neutral().parameters["shape"]
    assert (shape.name, shape.schema) == ("fact", SCHEMA)


LEFT_OUT: dict[str, Any] = {
    "metadata": {"a": "b"},
    "client_metadata": {"project": "p"},
    "store": True,
    "user": "u",
    "service_tier": "flex",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "implicit"},
    "safety_identifier": "s",
    "include": ["reasoning.encrypted_content"],
    "max_tool_calls": 3,
    "stream_options": {"include_obfuscation": False},
    "image": {"context_compression": "auto"},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_harmless_to_leave_out(name: str) -> None:
    """It is noted, and speaks against no other wire."""
    read = asked("responses", **{name: LEFT_OUT[name]})
    assert (read.neutral().left_out, read.neutral().reason, read.neutral().parameters) == ((name,), "", {})
    assert asked("responses", text={"verbosity": "low"}).neutral().left_out == ("verbosity",)


INEXPRESSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"truncation": "auto"}, "truncation"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"include": ["message.output_text.logprobs"]}, "include (message.output_text.logprobs)"),
    ({"context_management": []}, "context_management"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"unheard_of": 0}, "unheard_of"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"text": {"verbosity": "endless"}}, "text.verbosity (endless)"),
    ({"tools": [{"type": "custom", "name": "grep"}]}, "tools[0] (custom)"),
    ({"tools": [{"type": "local_shell"}]}, "tools[0] (local_shell)"),
    ({"input": [{"type": "web_search_call", "id": "ws"}]}, "input[0] (web_search_call)"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "input[0].content[0] (input_file)",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}]},
        "input[0].output[0] (input_image)",
    ),
]


@pytest.mark.parametrize(("given", "named"), INEXPRESSIBLE, ids=lambda value: str(value)[:60])
def test_what_has_no_equal_on_another_wire(given: dict[str, Any], named: str) -> None:
    """It is named, and is in the body."""
    read = asked("responses", **given)
    assert read.neutral().reason == NONE + named
    assert read.body == {**HELLO["responses"], **given}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id is not supported: nothing is kept between requests;"),
    ({"conversation": "conv_1"}, "conversation is not supported: nothing is kept between requests;"),
    ({"background": True}, "background is not supported: nothing is kept between requests; leave it out"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt is not supported: nothing is kept between requests; send its text"),
    ({"tools": [{"type": "web_search"}]}, "tools[0] (web_search) is not supported: no tool runs on this server"),
    ({"tools": [{"type": "mcp", "connector_id": "c"}]}, "tools[0] (mcp) is not supported"),
    ({"tools": [{"type": "code_interpreter"}]}, "tools[0] (code_interpreter) is not supported"),
    ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0] refers to an item, and none is kept here"),
    ({"input": [{"id": "i"}]}, "input[0] refers to an item, and none is kept here"),
]

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model is missing"),
    ({"input": None}, "input is missing"),
    ({"input": " "}, "input is empty: there is nothing to ask"),
    ({"input": []}, "input is empty: there is nothing to ask"),
    ({"input": 3}, "input must be a text, or a list of items"),
    ({"input": [3]}, "input[0] must be an object"),
    ({"input": [{"type": 3}]}, "input[0].type must be a text"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role must be one of user, assistant"),
    ({"input": [{"role": "user"}]}, "input[0].content is missing"),
    ({"input": [{"role": "user", "content": []}]}, "input holds a message that cannot be understood"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text is missing"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:text/plain;base64,eA=="}]}]},
        "input[0] must be what it says it is: an Image's media_type begins with 'image/'",
    ),
    (
        {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]}]},
        "a message of the system cannot hold Image",
    ),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "n"}]}, "input[0].arguments is missing"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id is missing"),
    ({"instructions": 3}, "instructions must be a text"),
    ({"max_output_tokens": "x"}, "max_output_tokens must be a whole number"),
    ({"text": "json"}, "text must be an object"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema is missing"),
    ({"tools": [{"name": "x"}]}, "tools[0].type is missing"),
    ({"tools": [{"type": "function"}]}, "tools[0].name must be a text"),
    ({"stream": "yes"}, "stream must be true or false"),
    ({"include": "x"}, "include must be a list"),
]


@pytest.mark.parametrize(("given", "said"), REFUSALS + WRONG, ids=lambda value: str(value)[:60])
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    """What needs memory or tools of a server, and what is no such request: it is said which field, and why."""
    with pytest.raises(UnreadableError) as caught:
        asked("responses", **given)
    assert caught.value.said.startswith(said)
    assert caught.value.field


def test_every_field_of_the_sdk_has_its_place() -> None:
    """What the vendor's SDK can send is in the table."""
    others = {"client_metadata"}  # of Codex, which uses no SDK
    assert set(ResponseCreateParamsBase.__annotations__) | {"stream"} | others == set(_FIELDS)


def test_items_become_messages() -> None:
    """What the assistant thought, said and called is one turn; so are the results."""
    read = asked(
        "responses",
        instructions="Be kind.",
        input=[
            {"role": "developer", "content": "Be brief."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "q"},
                    {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                ],
            },
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "status": None},
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"},
            {
                "type": "message",
                "id": "msg",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
            },
            {"type": "function_call", "id": "fc", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "4"}]},
            {"role": "user", "content": "and?"},
        ],
    )
    assert read.neutral().reason == ""
    assert set(read.neutral().left_out) == {"encrypted_content", "annotations", "logprobs"}
    assert read.neutral().messages == (
        Message("system", (Text("Be kind."),)),
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("q"), Image(url="https://x/y.png", detail="low"))),
        Message("assistant", (Reasoning("hm"), Text("a"), ToolCall("c1", "add", "{}"), ToolCall("c2", "look", "{}"))),
        Message("tool", (ToolResult("c1", "3"), ToolResult("c2", "4"))),
        Message("user", (Text("and?"),)),
    )


ANSWER = Response(
    (Reasoning("hm", issuer="x"), Text("hello"), ToolCall("c1", "add", '{"a":1}')),
    "gpt-5-2026",
    "openai",
    "tool_calls",
    Usage(10, 5, 3, 2, 1),
)


def test_a_whole_answer() -> None:
    """Every field is there; that nothing is stored is said, whatever was asked for."""
    request = asked("responses", **BOTH, store=True, metadata={"a": "b"}, instructions="Be kind.", temperature=0.5)
    assert json.loads(written("responses", ANSWER, request)) == {
        "id": f"resp_{NAME}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Be kind.",
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {"a": "b"},
        "model": "gpt-5-2026",
        "output": [
            {
                "id": f"rs_{NAME}_0",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": None,
            },
            {
                "id": f"msg_{NAME}_1",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
            },
            {
                "id": f"fc_{NAME}_2",
                "type": "function_call",
                "status": "completed",
                "arguments": '{"a":1}',
                "call_id": "c1",
                "name": "add",
            },
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [FUNCTION, LOOK],
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 15,
        },
        "user": None,
    }


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tools": {**BOTH, "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": False},
    "shape": {"text": {"format": FORMAT, "verbosity": "low"}, "reasoning": {"effort": "high", "summary": "auto"}},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_was_asked_is_repeated_as_the_sdk_takes_it(name: str) -> None:
    """What is repeated of the request is of the types that an answer has."""
    body = written("responses", ANSWER, asked("responses", **REQUESTS[name]))
    read = SDKResponse.model_validate_json(body, strict=True)
    assert read.output_text == "hello"


def said(response: Response) -> list[tuple[Any, ...]]:
    """What an answer says, as this dialect can say it: thinking without proofs."""
    bare = [
        Reasoning(block.text) if isinstance(block, Reasoning) else block
        for block in response.blocks
        if not (isinstance(block, Reasoning) and not block.text) and not (isinstance(block, Text) and not block.text)
    ]
    return [part[:2] if part[0] == "thinking" else part for part in merged(bare)]


def found(answer: SDKResponse) -> list[tuple[Any, ...]]:
    """The same, read from the SDK's own types."""
    parts: list[tuple[Any, ...]] = []
    for item in answer.output:
        match item.type:
            case "reasoning":
                parts.append(("thinking", "".join(part.text for part in item.summary)))
            case "message":
                parts += [("text", part.text) for part in item.content if part.type == "output_text"]
            case "function_call":
                parts.append(("call", item.call_id, item.name, item.arguments))
    return parts


def refused(answer: SDKResponse) -> list[str]:
    """What an answer refuses to say."""
    parts = [part for item in answer.output if item.type == "message" for part in item.content]
    return [part.refusal for part in parts if part.type == "refusal"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_whole_answer_is_read_by_the_sdk(response: Response) -> None:
    """The SDK's types take it strictly, and it says the same."""
    answer = SDKResponse.model_validate_json(written("responses", response, asked("responses")), strict=True)
    assert found(answer) == said(response)
    assert answer.model == (response.model or "ours")
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(response.finish_reason)
    assert (answer.incomplete_details and answer.incomplete_details.reason) == reason
    assert answer.status == ("incomplete" if reason else "completed")
    assert refused(answer) == ([response.text or REFUSED] if response.finish_reason == "refusal" else [])
    assert (answer.usage is None) == (response.usage == Usage())
    if answer.usage is not None:
        assert answer.usage.input_tokens == (response.usage.input_tokens or 0)
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert len({item.id for item in answer.output}) == len(answer.output)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RESPONSES)
def test_a_stream_is_read_by_the_sdk(response: Response) -> None:
    """Each event is one of the SDK's, numbers rise by one, and all of them together are the answer as sent whole."""
    request = asked("responses", stream=True)
    told = objects(streamed("responses", response, request))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in told:
        state.handle_event(EVENT.validate_json(json.dumps(event), strict=True))
    assert told[-1]["response"] == json.loads(written("responses", response, request))
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]
    added = [event["output_index"] for event in told if event["type"] == "response.output_item.added"]
    assert added == list(range(len(done)))
    for item, index in zip(done, added, strict=True):
        pieces = [event for event in told if event.get("output_index") == index and "delta" in event]
        told_so = "".join(event["delta"] for event in pieces if "refusal" not in event["type"])
        assert told_so == (item.get("arguments") or _text(item))


def _text(item: dict[str, Any]) -> str:
    parts = [*item.get("summary", ()), *item.get("content", ())]
    return "".join(part.get("text", "") for part in parts)


def test_a_stream() -> None:
    """The names of the events, in their order."""
    stream = streamed("responses", ANSWER, asked("responses", stream=True))
    names = [name.removeprefix("response.") for name, _ in frames(stream)]
    assert [f"response.{name}" for name in names] == [event["type"] for event in objects(stream)]
    assert names == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, "invalid_prompt", Verdict.POLICY),
        (429, "rate_limit_exceeded", Verdict.THROTTLED),
        (500, "server_error", Verdict.PROVIDER),
        (529, "server_error", Verdict.OVERLOADED),
    ],
)
def test_errors(status: int, code: str, verdict: Verdict) -> None:
    """An answer that has begun fails, in one of the few words for it; before that an error is all there is."""
    assert json.loads(DIALECT.error(status, "no")) == json.loads(DIALECTS["openai"].error(status, "no"))
    writing = DIALECT.writing(asked("responses"), name=NAME, created=1)
    (event,) = objects(writing.error(status, "no"))
    EVENT.validate_json(json.dumps(event), strict=True)
    assert (event["type"], event["message"], event["sequence_number"]) == ("error", "no", 0)
    assert verdict is Verdict.POLICY or judge(read_evidence(200, json.dumps(event).encode(), None)) is verdict
    writing = DIALECT.writing(asked("responses"), name=NAME, created=1)
    begun = objects(writing.event(TextDelta("a")))
    (event,) = objects(writing.error(status, "no"))
    EVENT.validate_json(json.dumps(event), strict=True)
    failed = event["response"]
    assert (event["type"], event["sequence_number"], failed["status"]) == ("response.failed", len(begun), "failed")
    assert (failed["error"]["code"], failed["error"]["message"]) == (code, "no")


def test_an_answer_cannot_begin_anew() -> None:
    """Before anything was written that says nothing; afterwards it is a mistake of whoever writes."""
    writing = DIALECT.writing(asked("responses"), name=NAME, created=1)
    restarted = Restarted("anthropic", "m", "stalled")
    assert writing.event(restarted) == b""
    writing.event(TextDelta("a"))
    with pytest.raises(ValueError, match="cannot begin anew"):
        writing.event(restarted)


def test_pieces_of_an_earlier_call_are_a_mistake() -> None:
    """Items do not overlap: what would go into another item is not written."""
    writing = DIALECT.writing(asked("responses"), name=NAME, created=1)
    writing.event(ToolCallStarted(0, "a", "add"))
    writing.event(ReasoningDelta("hm"))
    with pytest.raises(ValueError, match="after something else"):
        writing.event(ToolCallDelta(0, "{}"))
    assert objects(writing.event(Finished(ANSWER)))[-1]["type"] == "response.completed"
