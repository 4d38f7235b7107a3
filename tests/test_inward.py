"""All dialects alike: what a client may not choose, requests of any kind, and conversations that come back."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import (
    CHECKS,
    DIALECTS,
    Asked,
    DialectName,
    Reasoning,
    Request,
    Response,
    Text,
    ToolCall,
    UnreadableError,
    Usage,
    accept,
    checked,
    encode,
)
from understudy.providers._inward_anthropic import _FIELDS as ANTHROPIC
from understudy.providers._inward_fields import shown
from understudy.providers._inward_openai import _FIELDS as OPENAI
from understudy.providers._inward_refused import CONTENT, PREFIXES, REFUSED, is_refused
from understudy.providers._inward_responses import _FIELDS as RESPONSES
from understudy.providers._wire_anthropic import render as render_anthropic
from understudy.providers._wire_openai import Dialect as Server
from understudy.providers._wire_openai import render as render_openai

from .inward import HELLO, asked, merged, written
from .inward import RESPONSES as ANSWERS

NAMES: tuple[DialectName, ...] = get_args(DialectName)
TABLES = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES}


def test_each_name_has_its_dialect() -> None:
    """And nothing else is in the table."""
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in NAMES}


def camel(name: str) -> str:
    """A name in camel case."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "snake": str,
    "kebab": lambda name: name.replace("_", "-"),
    "camel": camel,
    "pascal": lambda name: camel(f"_{name}"),
    "shouted": str.upper,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("dialect", NAMES)
def test_what_a_client_may_not_choose_is_refused(dialect: DialectName, spelling: str) -> None:
    """At the top, whatever its value, in each spelling; the error names it as it was written."""
    for name in sorted(REFUSED) + [f"{prefix}x" for prefix in PREFIXES]:
        written = SPELLINGS[spelling](name)
        values: tuple[Any, ...] = ("http://evil.test", None, {}, 1)
        for value in values:
            with pytest.raises(UnreadableError) as caught:
                asked(dialect, **{written: value})
            assert caught.value.field == written
            assert caught.value.said == f"{written} cannot be chosen by a request: it is a setting of this server"


INSIDE: list[tuple[dict[str, Any], str]] = [
    ({"extra_body": {"api_base": "x"}}, "extra_body.api_base"),
    ({"extra_body": {"a": [{"b": {"c": {"Base-URL": "x"}}}]}}, "extra_body.a[0].b.c.Base-URL"),
    ({"unheard_of": {"a": {"b": {"c": {"d": {"apiKey": "x"}}}}}}, "unheard_of.a.b.c.d.apiKey"),
    ({"options": [[{"proxy": None}]]}, "options[0][0].proxy"),
    ({"tools": [{"type": "mcp", "server_url": "https://x"}]}, "tools[0].server_url"),
    ({"tools": [{}, {"type": "mcp", "connector_id": "c", "headers": {}}]}, "tools[1].headers"),
    ({"tools": [{"type": "mcp_toolset", "a": {"authorization_token": "x"}}]}, "tools[0].a.authorization_token"),
    ({"mcp_servers": []}, "mcp_servers"),
]


@pytest.mark.parametrize(("given", "field"), INSIDE, ids=lambda value: str(value)[:50])
@pytest.mark.parametrize("dialect", NAMES)
def test_it_is_refused_at_any_depth(dialect: DialectName, given: dict[str, Any], field: str) -> None:
    """Below what the dialect does not know, and in the definitions of MCP servers."""
    with pytest.raises(UnreadableError) as caught:
        asked(dialect, **given)
    assert caught.value.field == field


BAIT = {"api_base": "x", "base_url": "x", "headers": {"a": "b"}, "nested": [{"api_key": "x"}]}
SCHEMA = {"type": "object", "properties": {name: {"type": "string"} for name in BAIT}}
HARMLESS: dict[DialectName, dict[str, Any]] = {
    "openai": {
        "metadata": dict.fromkeys(BAIT, "x"),
        "tools": [{"type": "function", "function": {"name": "fetch", "parameters": SCHEMA}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": str(BAIT)}}],
            }
        ],
    },
    "anthropic": {
        "metadata": BAIT,
        "tools": [{"name": "fetch", "input_schema": SCHEMA}],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "fetch", "input": BAIT}]}
        ],
    },
    "responses": {
        "metadata": dict.fromkeys(BAIT, "x"),
        "tools": [{"type": "function", "name": "fetch", "parameters": SCHEMA}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
        "input": [{"type": "function_call", "call_id": "c", "name": "fetch", "arguments": str(BAIT)}],
    },
}


@pytest.mark.parametrize("dialect", NAMES)
def test_in_content_a_name_means_nothing(dialect: DialectName) -> None:
    """Messages, schemas and metadata may say what they want."""
    assert asked(dialect, **HARMLESS[dialect]).neutral().reason == ""


def test_where_a_user_is_may_be_said() -> None:
    """A search is told a region, by the API's own name for it: it is not that of a cloud."""
    place = {"type": "approximate", "approximate": {"country": "GB", "city": "London", "region": "London"}}
    read = asked("openai", web_search_options={"user_location": place})
    assert read.neutral().reason == "no other wire has an equal for web_search_options"


@pytest.mark.parametrize("dialect", NAMES)
def test_no_field_of_a_dialect_is_refused(dialect: DialectName) -> None:
    """What is refused is in no dialect; what is not looked into is known to some."""
    assert not [name for name in TABLES[dialect] if is_refused(name)]
    assert not [name for name in CHECKS if is_refused(name) and not name.startswith("extra_")]
    assert frozenset().union(*TABLES.values()) >= CONTENT


def test_deep_and_wide_fields_take_time_in_proportion() -> None:
    """A long name above many others is not copied for each of them."""
    began = time.perf_counter()
    asked("openai", unheard_of={"x" * 1_000_000: [{"a": {"b": 1}}] * 20_000})
    assert time.perf_counter() - began < 5


def test_what_a_client_wrote_is_shown_short_and_on_one_line() -> None:
    """So that a message about it is one line of a log."""
    assert shown("a" * 200) == "a" * 79 + "…"
    assert shown("a\nb\x1b[31m\u202e") == r"a\nb\x1b[31m\u202e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "role", "content", "text", "function", "name", "parameters", "input_schema", "schema"),
                    *("id", "tool_calls", "arguments", "properties", "image_url", "source", "json_schema", "format"),
                    *("input", "output", "summary", "call_id", "enum", "anyOf", "$ref", "effort", "allowed_tools"),
                ]
            )
            | st.text(max_size=4),
            inner
            | st.sampled_from(
                [
                    *(
                        "object",
                        "text",
                        "function",
                        "user",
                        "assistant",
                        "tool",
                        "json_schema",
                        "input_text",
                        "#/$defs/a",
                    ),
                    *("image", "image_url", "tool_use", "tool_result", "thinking", "enabled", "allowed_tools", "auto"),
                    *("message", "reasoning", "function_call", "function_call_output", "base64", "url", "data:,"),
                ]
            ),
            max_size=5,
        )
    ),
    max_leaves=15,
)

FULL: dict[DialectName, dict[str, Any]] = {
    "openai": {
        **{"model": "m", "stream": True, "stop": ["a"], "tool_choice": "auto", "stream_options": {}},
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "r",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    },
    "anthropic": {
        **{"model": "m", "max_tokens": 5, "stop_sequences": ["a"], "tool_choice": {"type": "auto"}},
        **{"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": ""},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]},
        ],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
    },
    "responses": {
        **{"model": "m", "instructions": "i", "tool_choice": "auto", "reasoning": {"effort": "low"}},
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}],
            },
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value, as the steps to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, part in inner for place in places(part, (*path, step)))]


@st.composite
def requests(draw: st.DrawFn, dialect: DialectName) -> Any:
    """A request with something else in some of its places, or with fields of any value."""
    body = copy.deepcopy(FULL[dialect])
    for _ in range(draw(st.integers(0, 3))):
        *steps, last = draw(st.sampled_from(places(body)[1:] or [("model",)]))
        part: Any = body
        for step in steps:
            part = part[step]
        if draw(st.booleans()):
            part[last] = draw(JSON)
        elif isinstance(part, dict):
            part[draw(st.sampled_from(sorted(TABLES[dialect])) | st.text(max_size=5))] = draw(JSON)
        else:
            del part[last]
    return body


def read_safely(dialect: DialectName, body: Any) -> Asked | None:
    """What is asked, or None where the request is none: nothing else may happen."""
    before = copy.deepcopy(body)
    try:
        read = DIALECTS[dialect].read(body)
        read.neutral()
        return read
    except UnreadableError as error:
        said = error.said
    finally:
        assert body == before
    assert said.isprintable()
    return None


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_request_is_read_or_refused(dialect: DialectName, data: st.DataObject) -> None:
    """Nothing but `UnreadableError` comes out; what is read can be rendered for any wire, and be answered."""
    body = data.draw(requests(dialect))
    read = read_safely(dialect, body)
    if read is None:
        return
    assert isinstance(read.model, str)
    assert read.neutral().reason.isprintable()
    assert checked(read.neutral().parameters) == read.neutral().parameters
    if not read.neutral().reason:
        assert accept(read.neutral().messages) == read.neutral().messages
        request = Request("some-model", read.neutral().messages, read.neutral().parameters)
        for render in (lambda r: render_openai(r, Server()), render_anthropic):
            try:
                encode(render(request).body)
            except ValueError:  # what a wire has no place for is said before anything is sent
                continue
    json.loads(written(dialect, Response((Text("a"),), "m", "t", "stop"), read))


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(body=JSON)
def test_anything_at_all_is_read_or_refused(dialect: DialectName, body: Any) -> None:
    """Whatever JSON comes, and be it no object."""
    read_safely(dialect, body)
    if isinstance(body, dict):
        read_safely(dialect, {**body, **HELLO[dialect]})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ANSWERS)
def test_an_answer_comes_back_with_the_next_question(response: Response) -> None:
    """What a client puts into its history is read as what was answered: texts, calls, thinking and its proof."""
    message = json.loads(written("openai", response, asked("openai")))["choices"][0]["message"]
    read = asked("openai", messages=[{"role": "user", "content": "q"}, message])
    assert (read.neutral().reason, set(read.neutral().left_out) - {"annotations"}) == ("", set())
    back = Response(read.neutral().messages[1].blocks, "", "", "stop")
    assert [(call.id, call.name, call.arguments) for call in back.tool_calls] == [
        (call.id, call.name, call.arguments) for call in response.tool_calls
    ]
    assert back.reasoning == response.reasoning
    assert back.text == response.text or response.finish_reason == "refusal"

    content = json.loads(written("anthropic", response, asked("anthropic")))["content"]
    if content:
        read = asked(
            "anthropic", messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
        )
        assert (read.neutral().reason, read.neutral().left_out) == ("", ())
        own = [
            Reasoning(block.text) if isinstance(block, Reasoning) and block.issuer != "anthropic" else block
            for block in response.blocks
        ]
        assert merged(read.neutral().messages[1].blocks) == merged(own)

    output = json.loads(written("responses", response, asked("responses")))["output"]
    read = asked("responses", input=[{"role": "user", "content": "q"}, *output])
    assert read.neutral().reason == ""
    calls = [block for message in read.neutral().messages for block in message.blocks if isinstance(block, ToolCall)]
    assert [(call.id, call.name, call.arguments) for call in calls] == [
        (call.id, call.name, call.arguments) for call in response.tool_calls
    ]


@pytest.mark.parametrize("dialect", NAMES)
def test_untold_tokens_are_no_zero_where_the_dialect_has_a_word_for_it(dialect: DialectName) -> None:
    """Null is "not told"; only Anthropic's dialect must have a number."""
    answer = json.loads(written(dialect, Response((Text("a"),), "m", "t", "stop", Usage()), asked(dialect)))
    assert answer["usage"] is None or (dialect == "anthropic" and answer["usage"]["cache_read_input_tokens"] is None)


@pytest.mark.parametrize("dialect", NAMES)
def test_a_model_without_a_name_answers_under_the_one_that_was_asked(dialect: DialectName) -> None:
    """Some servers do not say which of their models it was."""
    answer = json.loads(written(dialect, Response((Text("a"),), "", "t", "stop"), asked(dialect)))
    assert answer["model"] == "ours"
