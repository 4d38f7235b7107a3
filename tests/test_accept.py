"""Accepting messages: neutral ones, a bare text, and dicts in OpenAI or Anthropic form, all become the same."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import (
    Image,
    Message,
    Messages,
    Reasoning,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    accept,
    assistant,
    image,
    system,
    tool,
    user,
)

LEGACY = ToolCall("call_add", "add", "{}")
SIGNED = ToolCall("c1", "add", "", "gemini", '{"google":{"thought_signature":"s"}}')


def test_neutral_messages_pass_through() -> None:
    """A `Message` is taken as it is, from any iterable."""
    messages = [system("be brief"), user("hello"), assistant("hi"), tool("call_1", "42")]
    assert accept(messages) == accept(iter(messages)) == tuple(messages)
    assert accept(messages)[1] is messages[1]


def test_a_bare_text_is_one_user_message() -> None:
    """A text is not taken for a list of characters."""
    assert accept("hello") == (user("hello"),)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # OpenAI
        ({"role": "system", "content": "be brief"}, [system("be brief")]),
        ({"role": "developer", "content": "be brief"}, [system("be brief")]),
        ({"role": "user", "content": "hello", "name": "ann"}, [user("hello")]),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            [user(["a", "b"])],
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}],
            },
            [user(Image(url="https://x/y.png", detail="low"))],
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            [user(image(b"hi", "image/png"))],
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/plain,hi"}}]},
            [user(Image(url="data:text/plain,hi"))],
        ),
        ({"role": "assistant", "content": None}, [Message("assistant", ())]),
        (
            {
                "role": "assistant",
                "content": "let me see",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "now"}},
                ],
            },
            [assistant(["let me see", ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "now", "")])],
        ),
        (
            {"role": "assistant", "content": None, "refusal": "I will not.", "annotations": [], "audio": None},
            [assistant("I will not.")],
        ),
        ({"role": "assistant", "content": "yes", "refusal": None}, [assistant("yes")]),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, [assistant("no")]),
        ({"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}}, [assistant(LEGACY)]),
        ({"role": "function", "name": "add", "content": "42"}, [tool("call_add", "42")]),
        ({"role": "assistant", "content": "yes", "reasoning_content": "hm"}, [assistant([Reasoning("hm"), "yes"])]),
        ({"role": "assistant", "reasoning": "hm"}, [assistant(Reasoning("hm", field="reasoning"))]),
        (
            {"role": "assistant", "content": "yes", "reasoning_details": [{"a": 1}], "reasoning_content": None},
            [assistant([Reasoning("", details='[{"a":1}]'), "yes"])],
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "function": {"name": "add"}, "extra_content": {"google": {"thought_signature": "s"}}},
                    {"id": "c2", "function": {"name": "add"}, "extra_content": {"own": 1}},
                ],
            },
            [assistant([SIGNED, ToolCall("c2", "add", "")])],
        ),
        ({"role": "tool", "tool_call_id": "c1", "content": "42"}, [tool("c1", "42")]),
        ({"role": "tool", "tool_call_id": "c1"}, [tool("c1", "")]),
        (
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}],
            },
            [tool("c1", "42")],
        ),
        # Anthropic
        (
            {"role": "assistant", "content": [{"type": "text", "text": "a", "citations": [{"cited_text": "b"}]}]},
            [assistant("a")],
        ),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]},
            [user(Image(url="https://x/y.png"))],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    {"type": "text", "text": "what is it?", "cache_control": {"type": "ephemeral"}},
                ],
            },
            [user([image(b"hi", "image/png"), "what is it?"])],
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s1"},
                    {"type": "redacted_thinking", "data": "r1"},
                    {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
                ],
            },
            [
                assistant(
                    [
                        Reasoning("hm", signature="s1", issuer="anthropic"),
                        Reasoning("", redacted="r1", issuer="anthropic"),
                        ToolCall("t1", "add", '{"a":1}', "anthropic"),
                        ToolCall("t2", "now", "{}", "anthropic"),
                    ]
                )
            ],
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "boom", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "noon"}]},
                    {"type": "text", "text": "and now?"},
                ],
            },
            [Message("tool", (ToolResult("t1", "boom", True), ToolResult("t2", "noon"))), user("and now?")],
        ),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}, [tool("t1", "")]),
    ],
)
def test_dicts_become_neutral_messages(given: dict[str, Any], expected: list[Message]) -> None:
    """Both forms are read; tool results leave the user's turn and stand before it; other fields are passed over."""
    assert accept([given]) == tuple(expected)


def part(**fields: object) -> dict[str, object]:
    return {"role": "user", "content": [fields]}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (None, "it is a NoneType"),
        ("hello", r"it is a str, write user\('…'\)$"),
        (Response((Text("hi"),), "m", "openai", "stop"), "it is a Response, give its .message$"),
        (["role", "user"], "it is a list"),
        ({}, "'role' is missing"),
        ({"role": "robot", "content": "x"}, "its role is none of system, developer, user, assistant, tool"),
        ({"role": ["user"], "content": "x"}, "unhashable"),
        ({"role": "user"}, "'content' is missing"),
        ({"role": "system"}, "'content' is missing"),
        ({"role": "assistant"}, "'content' is missing"),
        ({"role": "assistant", "tool_calls": []}, "'content' is missing"),
        ({"role": "user", "content": None}, "this user message is empty: it needs a text or a block"),
        ({"role": "user", "content": []}, "this user message is empty: it needs a text or a block"),
        ({"role": "user", "content": 5}, "not iterable"),
        ({"role": "user", "content": ["x"]}, "indices"),
        (part(text="x"), "'type' is missing"),
        (part(type="text"), "'text' is missing"),
        (part(type="text", text=None), "a NoneType stands where a text belongs"),
        (part(type="video", url="x"), "a part of type 'video' is not known"),
        (part(type="document", source={}), "a part of type 'document' is not supported: send its text"),
        (part(type="tool_result", tool_use_id="c", content=[{"type": "image"}]), "other parts are not supported"),
        ({"role": "function", "content": "x"}, "'name' is missing"),
        ({"role": "assistant", "content": "x", "reasoning_content": 5}, "a int stands where a text belongs"),
        (part(type="image_url", image_url={"url": 5}), "a int stands where a text belongs"),
        (part(type="image", source={"type": "url", "url": None}), "a NoneType stands where a text belongs"),
        (part(type="image", source={"type": "base64", "data": "aGk="}), "'media_type' is missing"),
        (part(type="tool_use", id=1, name="f"), "a int stands where a text belongs"),
        (part(type="tool_use", id="1", name="f", input={"a": {1, 2}}), "cannot be written as JSON"),
        (part(type="tool_result", content="x"), "'tool_use_id' is missing"),
        ({"role": "tool", "content": "x"}, "'tool_call_id' is missing"),
        ({"role": "tool", "tool_call_id": 7, "content": "x"}, "a int stands where a text belongs"),
        ({"role": "tool", "tool_call_id": "c", "content": [{"text": 7}]}, "a int stands where a text belongs"),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "'function' is missing"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            "a dict stands where a text belongs",
        ),
    ],
)
def test_what_cannot_be_understood_is_named_by_its_index(message: object, why: str) -> None:
    """The error says which message it is, counted from 0, and what is wrong with it."""
    with pytest.raises(ValueError, match=why) as caught:
        accept(cast("Messages", [user("fine"), {"role": "user", "content": "fine"}, message]))
    assert str(caught.value).startswith("messages[2] is neither a Message nor a dict in a known form: ")


@pytest.mark.parametrize("messages", [None, 5, b"hello", user("hello"), {"role": "user", "content": "hello"}])
def test_what_is_no_list_is_a_type_error(messages: object) -> None:
    """A single message is not taken for a list of them."""
    with pytest.raises(TypeError, match=r"^messages must be a list"):
        accept(cast("Messages", messages))


@pytest.mark.parametrize("nothing", [[], (), iter([]), "", " \n"], ids=repr)
def test_nothing_to_ask_is_an_error(nothing: Messages) -> None:
    """An empty list and a blank text are refused."""
    with pytest.raises(ValueError, match=r"^messages is empty"):
        accept(nothing)


BLOCKS = "(Text, Image, ToolCall, ToolResult, Reasoning)"


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda: user(cast("Any", 5)), TypeError, f"a user message is a text, a block {BLOCKS}, or a list of them"),
        (lambda: system(cast("Any", None)), TypeError, "a system message is a text, a block"),
        (lambda: assistant(cast("Any", b"hi")), TypeError, "not bytes"),
        (lambda: user(cast("Any", {"type": "text", "text": "hi"})), TypeError, "not dict"),
        (lambda: user(cast("Any", ["a", 5])), TypeError, "a user message is a text, a block"),
        (lambda: user(cast("Any", [user("a")])), TypeError, "not Message"),
        (lambda: user([]), ValueError, "this user message is empty: it needs a text or a block"),
        (lambda: Message(cast("Any", "robot"), (Text("a"),)), ValueError, "system, user, assistant, tool"),
        (lambda: Message(cast("Any", ["user"]), (Text("a"),)), ValueError, "system, user, assistant, tool"),
        (lambda: Message("user", cast("Any", "hello")), TypeError, "the blocks of a Message are a tuple: user(…)"),
        (lambda: Message("tool", ()), ValueError, "this tool message is empty"),
        (lambda: tool(cast("Any", 7), "42"), TypeError, "the call_id of a tool message is a text, not int"),
        (lambda: tool("c", cast("Any", 42)), TypeError, "the content of a tool message is a text, not int: str(…)"),
        (lambda: image(cast("Any", "a.png"), "image/png"), TypeError, "image(…) takes the bytes of a picture, not str"),
        (lambda: Image(data=cast("Any", b"a"), media_type="image/png"), TypeError, "not bytes: image(…) takes bytes"),
        (lambda: Image(url=cast("Any", 5)), TypeError, "the url of an Image is a text, not int"),
        (lambda: Image(), ValueError, "either a url or data"),
        (lambda: Tool(cast("Any", None)), TypeError, "the name and the description of a Tool are texts"),
        (lambda: Tool("a", cast("Any", {})), TypeError, "the name and the description of a Tool are texts"),
        (lambda: Tool("a", "", cast("Any", [])), TypeError, "the JSON schema of its arguments, a dict"),
        (lambda: Tool(""), ValueError, "a Tool needs a name"),
    ],
)
def test_a_message_of_the_wrong_things_is_not_made(make: Any, error: type[Exception], why: str) -> None:
    """What is no message fails where it is written, and the error names what was expected instead."""
    with pytest.raises(error, match=re.escape(why)) as caught:
        make()
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("arguments", "why"),
    [("not json", "are no JSON: "), ("[1]", "are no JSON object$"), ('"a"', "are no JSON object$")],
)
def test_arguments_that_make_no_sense_name_their_tool(arguments: str, why: str) -> None:
    """What is told to the model is one sentence of ours, without a decoder's copy of the whole text."""
    with pytest.raises(ValueError, match=f"^the arguments of 'add' {why}") as caught:
        ToolCall("c1", "add", arguments).parse()
    assert type(caught.value) is ValueError


def test_an_assistant_may_have_said_nothing() -> None:
    """An empty answer is appended to its conversation like every other."""
    assert assistant([]) == Message("assistant", ())


WORDS = ["text", "image", "image_url", "tool_use", "tool_result", "thinking", "redacted_thinking", "url", "base64"]
FIELDS = ["text", "image_url", "url", "source", "data", "media_type", "content", "id", "name", "input", "tool_use_id"]
FIELDS += ["function", "arguments", "thinking", "signature", "is_error"]
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", *FIELDS]), inner, max_size=5),
    max_leaves=8,
)
OFTEN_TEXT = st.just("x") | JSON_LIKE
PARTS = st.fixed_dictionaries({"type": st.sampled_from(WORDS)}, optional=dict.fromkeys(FIELDS, OFTEN_TEXT))
CALLS = st.fixed_dictionaries({"id": OFTEN_TEXT, "function": PARTS | JSON_LIKE})
ALMOST_MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]) | JSON_LIKE},
    optional={
        "content": st.lists(PARTS, max_size=2) | JSON_LIKE,
        "tool_calls": st.lists(CALLS, max_size=2) | JSON_LIKE,
        "tool_call_id": OFTEN_TEXT,
    },
)


@given(JSON_LIKE | st.lists(ALMOST_MESSAGES, max_size=3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_input_is_accepted_or_refused_in_words(messages: Any) -> None:
    """Whatever JSON is given, messages come out with texts where texts belong, or a `ValueError` or `TypeError`."""
    try:
        accepted = accept(messages)
    except (ValueError, TypeError):
        return
    assert accepted
    for block in (block for message in accepted for block in message.blocks):
        match block:
            case Text(text=said) | Reasoning(text=said):
                assert type(said) is str
            case ToolCall() as call:
                assert {type(call.id), type(call.name), type(call.arguments)} == {str}
            case ToolResult() as result:
                assert {type(result.call_id), type(result.content)} == {str}
            case Image() as picture:
                assert type(picture.data if picture.url is None else picture.url) is str
