"""Portable history: any conversation is a valid request everywhere, and each vendor gets its own reasoning back.

The vendors' types say much, but not all: `check_openai` and `check_anthropic` hold the rules that their types do not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, final

import anthropic.types
import openai.types.chat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter

from understudy.providers import (
    TRANSPORTS,
    Block,
    Image,
    Message,
    Parameters,
    Reasoning,
    Request,
    Target,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    accept,
    as_anthropic,
    as_openai,
    assistant,
    connect,
    decode,
    encode,
    image,
    system,
    tool,
    user,
)
from understudy.providers._dialects import issuer_of, render
from understudy.providers._history import CONTINUED, NOT_RUN, settled
from understudy.simulation import Script, Status, simulated_server

from .test_wire_openai import exhaust

OPENAI: TypeAdapter[Any] = TypeAdapter(list[openai.types.chat.ChatCompletionMessageParam])
ANTHROPIC: TypeAdapter[Any] = TypeAdapter(list[anthropic.types.MessageParam])

OWN, PROXY = "http://own.test/v1", "http://proxy.test"
DEEPSEEK, KIMI = "https://api.deepseek.com", "https://api.moonshot.ai/v1"


@final
@dataclass(frozen=True)
class Place:
    """An endpoint and a model there."""

    transport: str
    base_url: str
    model: str

    @property
    def issuer(self) -> str:
        return issuer_of(self.transport, self.base_url)


def at_home(transport: str, model: str) -> Place:
    return Place(transport, TRANSPORTS[transport].base_url, model)


TARGETS: dict[str, Place] = {
    "openai": at_home("openai", "gpt-5"),
    "own": Place("openai", OWN, "qwen3"),
    "deepseek": Place("openai", DEEPSEEK, "deepseek-v4-pro"),
    "kimi": Place("openai", KIMI, "kimi-k2.6"),
    "gemini-2.5": at_home("gemini", "gemini-2.5-flash"),
    "gemini": at_home("gemini", "gemini-3-flash-preview"),
    "lmstudio": at_home("lmstudio", "qwen3"),
    "nous": at_home("nous", "Hermes-4-70B"),
    "claude-4.5": at_home("anthropic", "claude-haiku-4-5"),
    "claude-5": at_home("anthropic", "claude-opus-5"),
    "proxy": Place("anthropic", PROXY, "claude-haiku-4-5"),
}
CLAUDES = ("claude-4.5", "claude-5", "proxy")
STRICT = {"deepseek": "", "kimi": "."}
REASONS = ("own", "nous", *STRICT)
"""Who wants its own reasoning back on the OpenAI wire."""

ISSUERS: list[str | None] = [None, *(target.issuer for target in TARGETS.values())]


def body_of(name: str, messages: Sequence[Message], **parameters: Any) -> dict[str, Any]:
    target = TARGETS[name]
    request = Request(target.model, tuple(messages), cast(Parameters, parameters))
    return render(target.transport, target.base_url, request).body


def sent(name: str, *messages: Message, **parameters: Any) -> list[dict[str, Any]]:
    """Return the messages as they are sent, checked."""
    body = body_of(name, messages, **parameters)
    check(name, body)
    found: list[dict[str, Any]] = body["messages"]
    return found


def check(name: str, body: dict[str, Any]) -> None:
    messages = decode(encode(body["messages"]))  # as they arrive
    if name in CLAUDES:
        exhaust(ANTHROPIC.validate_python(messages))
        check_anthropic(messages, thinking=body.get("thinking", {}).get("type") == "enabled")
    else:
        exhaust(OPENAI.validate_python(messages))
        check_openai(messages)


def check_openai(messages: Any) -> None:
    """The rules beyond the types: each call is answered right away, once, by its id; nobody says nothing."""
    assert messages
    open_calls: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
            continue
        assert not open_calls
        content, calls = message["content"], message.get("tool_calls", [])
        assert content or calls
        if isinstance(content, list):
            assert all(part["type"] != "text" or part["text"] for part in content)
        for call in calls:
            assert isinstance(decode(call["function"]["arguments"].encode()), dict)
            assert call["id"] not in seen
            seen.add(call["id"])
        open_calls = [call["id"] for call in calls]
    assert not open_calls


def check_anthropic(turns: Any, *, thinking: bool) -> None:
    """The rules beyond the types: roles alternate from the user on; results come first and answer all calls."""
    assert [turn["role"] for turn in turns] == [("user", "assistant")[number % 2] for number in range(len(turns))]
    asked: list[str] = []
    seen: set[str] = set()
    for turn in turns:
        content = turn["content"]
        assert content
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert all(part["type"] != "text" or part["text"].strip() for part in parts)
        kinds = [part["type"] for part in parts]
        answered = [part["tool_use_id"] for part in parts if part["type"] == "tool_result"]
        assert answered == asked
        assert kinds[: len(answered)] == ["tool_result"] * len(answered)
        assert all(part.get("content", "x").strip() for part in parts if part["type"] == "tool_result")
        asked = [part["id"] for part in parts if part["type"] == "tool_use"]
        assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", identity) for identity in asked)
        assert not seen & set(asked)
        assert len(set(asked)) == len(asked)
        seen.update(asked)
        assert not kinds[-1].endswith("thinking")
    assert not asked
    last = turns[-1]
    if last["role"] == "assistant":
        text = last["content"] if isinstance(last["content"], str) else last["content"][-1]["text"]
        assert text == text.rstrip()
    if thinking:
        check_thinking(turns)


def check_thinking(turns: Any) -> None:
    """A turn that goes on through tool calls began with thinking."""
    assert turns[-1]["role"] == "user"
    first = len(turns) - 1
    while isinstance(content := turns[first]["content"], list) and content[-1]["type"] == "tool_result":
        first -= 2
    if first < len(turns) - 1:
        assert turns[first + 1]["content"][0]["type"] in {"thinking", "redacted_thinking"}


FIELDS = ("reasoning", "reasoning_content", "reasoning_details")
STAND_IN = {"google": {"thought_signature": "skip_thought_signature_validator"}}

# --- any history ---

TEXTS = st.sampled_from(["", " ", "\n", "yes", "see: ", "é"]) | st.text(st.characters(codec="utf-8"), max_size=8)
IDS = st.sampled_from(["call_0", "call_1", "call_0_2", "", "a.b:0", "é" * 50, "x" * 41, "x" * 65])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1}', '{"a":', "[1]", '{"arguments": 2}'])
DETAILS = st.none() | st.sampled_from(['[{"type":"reasoning.text","text":"hm"}]', "[]", '{"google":{"a":1}}'])
MAYBE = st.none() | st.sampled_from(["s1", "s2"])
BY = st.sampled_from(ISSUERS)

WORDS = st.builds(Text, TEXTS, BY)
PICTURES = st.sampled_from([Image(url="https://x/y.png", detail="low"), image(b"hi", "image/png")])
REASONINGS = st.builds(
    Reasoning, TEXTS, MAYBE, MAYBE, BY, DETAILS, st.none() | st.sampled_from(["reasoning", "reasoning_content"])
)
CALLS = st.builds(ToolCall, IDS, st.sampled_from(["add", "now"]), ARGUMENTS, BY, DETAILS)
RESULTS = st.builds(ToolResult, IDS, TEXTS, st.booleans())

ASSISTANTS = st.lists(REASONINGS | WORDS | CALLS, max_size=4).map(assistant)
ALONE = (
    st.builds(user, st.lists(WORDS | PICTURES | RESULTS, min_size=1, max_size=3))
    | st.builds(system, TEXTS)
    | st.lists(RESULTS, min_size=1, max_size=2).map(lambda results: Message("tool", tuple(results)))
)


@st.composite
def loops(draw: st.DrawFn) -> list[Message]:
    """A few rounds of one tool loop as an agent keeps it, mostly answered, in any order."""
    told: list[Message] = [user(draw(TEXTS))]
    for _ in range(draw(st.integers(1, 3))):
        by = draw(BY)
        calls = [replace(call, issuer=by) for call in draw(st.lists(CALLS, min_size=1, max_size=3))]
        thoughts = [replace(thought, issuer=by) for thought in draw(st.lists(REASONINGS, max_size=2))]
        told.append(assistant([*thoughts, *draw(st.lists(WORDS, max_size=1)), *calls]))
        results = [tool(call.id, draw(TEXTS), is_error=draw(st.booleans())) for call in calls]
        told += draw(st.permutations(results))[: len(results) - draw(st.sampled_from([0, 0, 0, 1]))]
    return told


HISTORIES = st.lists(ASSISTANTS.map(lambda one: [one]) | ALONE.map(lambda one: [one]) | loops(), max_size=5).map(
    lambda parts: tuple(message for part in parts for message in part)
)
THINKING: list[dict[str, Any]] = [{}, {"reasoning_effort": "low"}, {"thinking_budget_tokens": 2048}]


def ends_with_the_assistant(messages: Sequence[Message]) -> bool:
    """Whether, to Claude, the assistant has the last word."""
    return as_anthropic(messages)["messages"][-1]["role"] == "assistant" if messages else False


@given(HISTORIES, st.sampled_from(THINKING), st.sampled_from(["none", "auto"]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_history_is_a_valid_request_everywhere(
    history: tuple[Message, ...], thinking: dict[str, Any], policy: str
) -> None:
    """Whoever made it, it fits the vendors' types and the rules beyond them; only Claude 5 wants the last word."""
    more = {**thinking, "cache_policy": policy, "tools": [Tool("add"), Tool("now")], "max_tokens": 9000}
    for name in TARGETS:
        if name == "claude-5" and ends_with_the_assistant(history):
            with pytest.raises(ValueError, match="let the last message be the user's"):
                body_of(name, history, **more)
            continue
        body = body_of(name, history, **more)
        check(name, body)
        assert str(body).count("'cache_control'") <= (4 if policy == "auto" and name in CLAUDES else 0)


@given(HISTORIES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_nobody_gets_what_another_issued(history: tuple[Message, ...]) -> None:
    """Thinking, signatures and details go to their issuer alone, where it takes them back, and unchanged."""
    asked = (*history, user("go on"))
    for name, target in TARGETS.items():
        readable = {target.issuer, None} if name in STRICT else {target.issuer}
        blocks = [block for message in history for block in message.blocks]
        own = [b for b in blocks if isinstance(b, Reasoning) and b.issuer in readable]
        details = [
            decode(b.details.encode()) for b in blocks if isinstance(b, ToolCall) and b.details and b.issuer in readable
        ]
        for turn in body_of(name, asked)["messages"]:
            if name in CLAUDES:
                parts = turn["content"] if isinstance(turn["content"], list) else []
                signed = {(part["thinking"], part["signature"]) for part in parts if part["type"] == "thinking"}
                assert signed <= {(b.text, b.signature) for b in own}
                hidden = {part["data"] for part in parts if part["type"] == "redacted_thinking"}
                assert hidden <= {b.redacted for b in own}
                continue
            given_back = {field: turn[field] for field in FIELDS if field in turn}
            assert not given_back or name in REASONS
            assert own or not any(given_back.values()) or [*given_back.values()] == [STRICT.get(name)]
            for call in turn.get("tool_calls", []):
                assert call.get("extra_content", STAND_IN) in [STAND_IN, *details]


@given(HISTORIES, HISTORIES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_conversation_that_grows_keeps_its_beginning(history: tuple[Message, ...], more: tuple[Message, ...]) -> None:
    """What stood there is rendered as before, whatever follows: caches hold, and the thinking that is bound to it."""
    asked = (*history, user("and?"))
    for name in TARGETS:
        later = (*asked, assistant("3"), *(message for message in more if message.role != "system"))
        later = (*later, user("go on")) if name in CLAUDES else later
        before, after = body_of(name, asked)["messages"], body_of(name, later)["messages"]
        assert after[: len(before)] == before


@given(HISTORIES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_an_export_is_valid_and_comes_back(history: tuple[Message, ...]) -> None:
    """Exported and accepted again, a history says the same in that form, and fits the SDK's types."""
    if not history:
        return
    for_openai, for_anthropic = as_openai(history), as_anthropic(history)
    exhaust(OPENAI.validate_python(for_openai))
    check_openai(for_openai)
    assert as_openai(accept(for_openai)) == for_openai
    exhaust(ANTHROPIC.validate_python(for_anthropic["messages"]))
    check_anthropic(for_anthropic["messages"], thinking=False)
    instructions = [system(for_anthropic["system"])] if "system" in for_anthropic else []
    assert as_anthropic([*instructions, *for_anthropic["messages"]]) == for_anthropic
    assert [*OPENAI.validate_python(as_openai(for_anthropic["messages"]))]


@given(HISTORIES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_is_settled_stays_so(history: tuple[Message, ...]) -> None:
    """Settling twice is settling once, and what was said is still said."""
    once = settled(history)
    assert list(settled(tuple(once))) == list(once)
    assert "".join(m.text for m in once if m.role == "assistant") == "".join(
        m.text for m in history if m.role == "assistant"
    )
    said = "".join(f"{block.content}" for m in once for block in m.blocks if isinstance(block, ToolResult))
    told = "".join(m.text for m in once if m.role == "user")
    for result in (block for m in history for block in m.blocks if isinstance(block, ToolResult)):
        assert result.content in said or result.content in told


# --- one by one ---

ASK = user("what is 1 + 2?")
CALL, OTHER = ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "add", "{}")


def roles(messages: Sequence[Message]) -> list[str]:
    return [message.role for message in messages]


def test_a_call_that_was_cut_off_gets_a_result_that_says_so() -> None:
    """The run ended between call and result: the model hears that the tool was not run."""
    messages = settled([ASK, assistant([CALL, OTHER]), tool("c2", "3"), user("and now?")])
    answers = Message("tool", (ToolResult("c1", NOT_RUN, is_error=True), ToolResult("c2", "3")))
    assert messages == [ASK, assistant([CALL, OTHER]), answers, user("and now?")]
    assert settled([ASK, assistant(CALL)])[-1] == tool("c1", NOT_RUN, is_error=True)


def test_a_result_without_its_call_is_told_by_the_user() -> None:
    """The beginning was cut away: what the tool said is not lost, and the conversation is valid."""
    messages = settled([tool("c0", "41"), user("go on"), assistant(CALL), tool("c1", "1"), tool("c1", "2")])
    assert roles(messages) == ["user", "user", "assistant", "tool", "user"]
    assert messages[0].text == "The result of the tool call 'c0': 41"
    assert messages[-1].text == "The result of the tool call 'c1': 2"


def test_results_come_first_whatever_was_said_in_between() -> None:
    """A system's or a user's word between call and result follows the results."""
    messages = settled([ASK, assistant(CALL), system("be kind"), user("hurry"), tool("c1", "3")])
    assert roles(messages) == ["user", "assistant", "tool", "system", "user"]


def test_an_assistant_who_spoke_on_did_so_in_one_message() -> None:
    """A call and more words of the assistant are one turn: its results stand behind both."""
    messages = settled([ASK, assistant(CALL), assistant("wait"), tool("c1", "3")])
    assert messages == [ASK, assistant([CALL, "wait"]), tool("c1", "3")]


def test_calls_with_one_id_are_told_apart() -> None:
    """A server that counts anew in each answer: later calls get another id, their results with them."""
    round_one, round_two = (
        [assistant([CALL, CALL]), tool("c1", "a"), tool("c1", "b")],
        [assistant(CALL), tool("c1", "c")],
    )
    messages = settled([ASK, *round_one, assistant(replace(CALL, id="c1_3")), tool("c1_3", "x"), *round_two])
    calls = [block.id for m in messages for block in m.blocks if isinstance(block, ToolCall)]
    results = [(block.call_id, block.content) for m in messages for block in m.blocks if isinstance(block, ToolResult)]
    assert calls == ["c1", "c1_2", "c1_3", "c1_4"]
    assert results == [("c1", "a"), ("c1_2", "b"), ("c1_3", "x"), ("c1_4", "c")]


def test_a_conversation_without_tools_is_left_as_it_is() -> None:
    """Nothing is copied where there is nothing to settle."""
    messages = (ASK, assistant("3"))
    assert settled(messages) is messages


def test_settling_takes_linear_time() -> None:
    """Four times the parallel calls take about four times as long, in whatever order their results come."""

    def once(calls: int) -> float:
        names = [f"c{number}" for number in range(calls)]
        history = [
            ASK,
            assistant([replace(CALL, id=name) for name in names]),
            *(tool(name, "1") for name in names[::-1]),
        ]
        begin = time.process_time()
        assert len(settled(history)[-1].blocks) == calls
        return time.process_time() - begin

    assert min(once(4000) for _ in range(3)) < 8 * min(once(1000) for _ in range(3)) + 0.01


def thought(by: str, text: str = "hm", **more: Any) -> Reasoning:
    return Reasoning(text, issuer=TARGETS[by].issuer, **more)


def loop(by: str, *thoughts: Reasoning, details: str | None = None) -> list[Message]:
    call = replace(CALL, issuer=TARGETS[by].issuer, details=details)
    return [ASK, assistant([*thoughts, call]), tool("c1", "3")]


SIGNED = thought("claude-4.5", signature="s1")
BUDGET: dict[str, Any] = {"thinking_budget_tokens": 2048, "max_tokens": 9000}


@pytest.mark.parametrize(
    ("messages", "thinks"),
    [
        ([ASK], True),
        (loop("claude-4.5", SIGNED), True),
        (loop("claude-4.5", Reasoning("", redacted="r", issuer="anthropic")), True),
        # begun by itself, and gone on with by another
        ([*loop("claude-4.5", SIGNED), assistant(OTHER), tool("c2", "4")], True),
        # begun by another
        (loop("openai"), False),
        (loop("gemini", thought("gemini", signature="s")), False),
        (loop("proxy", thought("proxy", signature="s")), False),
        (loop("claude-4.5", Reasoning("hm", issuer="anthropic")), False),
        ([*loop("openai"), assistant([SIGNED, OTHER]), tool("c2", "4")], False),
        ([*loop("openai"), assistant("3"), user("thanks")], True),
        # the user said something along with a result: from there on it may be another turn
        ([*loop("claude-4.5", SIGNED), user("hurry"), assistant(OTHER), tool("c2", "4")], False),
        ([*loop("openai"), user("hurry"), assistant([SIGNED, OTHER]), tool("c2", "4")], False),
        # an answer to be continued
        ([ASK, assistant("it is")], False),
    ],
)
def test_a_budget_waits_for_the_end_of_a_turn_that_began_without_thinking(
    messages: list[Message], thinks: bool
) -> None:
    """Claude with a budget refuses to think in a tool loop that another began: then it does not, and that is told."""
    request = Request("claude-haiku-4-5", tuple(messages), cast(Parameters, BUDGET))
    rendered = render("anthropic", TRANSPORTS["anthropic"].base_url, request)
    assert ("thinking" in rendered.body, rendered.dropped) == (thinks, () if thinks else ("thinking_budget_tokens",))


def test_thinking_by_effort_goes_on_in_any_turn() -> None:
    """Adaptive thinking does not ask how a turn began."""
    assert "thinking" in body_of("claude-5", loop("openai"), reasoning_effort="low")


def test_thinking_before_a_later_system_message_is_left_out_where_it_is_bound() -> None:
    """The instructions stand before everything: what was thought under others is a 400 with newer models."""
    messages = [system("a"), *loop("claude-5", SIGNED), system("b"), assistant([SIGNED, OTHER]), tool("c2", "4")]
    kinds = [[part["type"] for part in turn["content"]] for turn in sent("claude-5", *messages)[1::2]]
    assert kinds == [["tool_use"], ["thinking", "tool_use"]]
    assert sent("claude-4.5", *messages)[1]["content"][0]["type"] == "thinking"


def test_claude_does_not_continue_an_answer() -> None:
    """From 4.6 on the last word is the user's: the error says so before anything is sent, and 4.5 continues."""
    with pytest.raises(ValueError, match="does not continue an assistant message: let the last message be the user's"):
        body_of("claude-5", [ASK, assistant("it is ")])
    assert sent("claude-4.5", ASK, assistant("it is "))[-1] == {"role": "assistant", "content": "it is"}


@pytest.mark.parametrize("name", REASONS)
def test_reasoning_goes_back_to_its_server_in_turns_with_tools(name: str) -> None:
    """It stands in the field that it came in, from the first call on; turns without tools go without."""
    turns = [
        user("hi"),
        assistant([thought(name), "hello"]),
        *loop(name, thought(name)),
        assistant([thought(name), "3"]),
    ]
    assert [turn.get("reasoning_content") for turn in sent(name, *turns) if turn["role"] == "assistant"] == [
        None,
        "hm",
        "hm",
    ]
    elsewhere = loop(name, thought(name, field="reasoning"))
    assert sent(name, *elsewhere)[1]["reasoning"] == "hm"
    detailed = loop(name, thought(name, details='[{"a":1}]'), thought(name, details='[{"b":2}]'))
    assert sent(name, *detailed)[1]["reasoning_details"] == [{"a": 1}, {"b": 2}]


def test_what_was_thought_before_the_call_of_the_turn_goes_back_too() -> None:
    """All of a turn with tools is one train of thought."""
    turns = [ASK, assistant([thought("own", "first"), "let me see"]), *loop("own", thought("own", "then"))[1:]]
    assert [turn.get("reasoning_content") for turn in sent("own", *turns)[1:3]] == ["first", "then"]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in {*REASONS, *CLAUDES}])
def test_who_takes_no_reasoning_gets_none(name: str) -> None:
    """Not even its own: these servers refuse the fields, or ignore them."""
    turn = sent(name, *loop(name, thought(name, details="[1]")))[1]
    assert turn.keys() == {"role", "content", "tool_calls"}


@pytest.mark.parametrize("name", STRICT)
def test_who_refuses_a_call_without_reasoning_gets_a_stand_in(name: str) -> None:
    """Calls of others have none that may be sent; a dict's reasoning, which has no issuer, is good enough there."""
    assert sent(name, *loop("openai"))[1]["reasoning_content"] == STRICT[name]
    mine = [ASK, assistant([Reasoning("hm"), CALL]), tool("c1", "3")]
    assert sent(name, *mine)[1]["reasoning_content"] == "hm"
    assert "reasoning_content" not in sent("own", *mine)[1]


def test_gemini_gets_its_signatures_back_and_a_stand_in_for_others() -> None:
    """From 3 on a call needs a signature: its own, or, for the first of a foreign turn's, the documented one."""
    own = '{"google":{"thought_signature":"s"}}'
    assert sent("gemini", *loop("gemini", details=own))[1]["tool_calls"][0]["extra_content"] == decode(own.encode())
    foreign = [ASK, assistant([CALL, OTHER]), tool("c1", "3"), tool("c2", "4")]
    assert [call.get("extra_content") for call in sent("gemini", *foreign)[1]["tool_calls"]] == [STAND_IN, None]
    assert "extra_content" not in sent("gemini-2.5", *foreign)[1]["tool_calls"][0]
    for name in ("openai", "own", "nous", "lmstudio"):
        assert "extra_content" not in sent(name, *loop("gemini", details=own))[1]["tool_calls"][0]


def test_servers_of_one_wire_are_different_issuers() -> None:
    """What is signed by a server that speaks like a vendor stays away from the vendor, and the other way round."""
    for name in CLAUDES:
        for other in CLAUDES:
            (_, turn, _) = sent(name, ASK, assistant([thought(other, signature="s"), "yes"]), user("go on"))
            assert isinstance(turn["content"], list) is (TARGETS[name].issuer == TARGETS[other].issuer)
    assert TARGETS["claude-5"].issuer == "anthropic"
    assert TARGETS["proxy"].issuer == "anthropic http://proxy.test"


SPOKEN = {
    "choices": [{"message": {"content": "3", "reasoning_content": "hm"}, "finish_reason": "stop"}],
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "3"}],
}


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_an_answer_names_the_address_that_can_read_it(transport: str) -> None:
    """Its blocks remember the endpoint, by transport and address, and a request to the same one has them again."""
    async with simulated_server(Script.always(Status(200, body=encode(SPOKEN)))) as server:
        url = server.anthropic_url if transport == "anthropic" else server.openai_url
        provider = connect(Target(transport, url, SecretStr("k")))
        try:
            response = await provider.complete(Request("m", (ASK,)))
        finally:
            await provider.aclose()
    assert response.transport == transport
    assert {getattr(block, "issuer", None) for block in response.blocks} == {f"{transport} {url}"}
    messages = (ASK, Message("assistant", (*response.blocks, CALL)), tool("c1", "3"))
    for base_url, comes_back in [(url, True), ("http://other.test/v1", False)]:
        body = render(transport, base_url, Request("m", messages)).body
        assert ("hm" in str(body)) is comes_back


def test_back_at_the_first_vendor_its_own_thinking_is_unchanged() -> None:
    """Claude, then OpenAI in the middle of the loop, then Claude: its blocks are there as it gave them."""
    blocks: list[Block] = [SIGNED, Reasoning("", redacted="r1", issuer="anthropic"), Text("hm"), CALL]
    began = [ASK, assistant(blocks), tool("c1", "3")]
    went_on = [*began, assistant([thought("openai"), replace(OTHER, issuer="openai")]), tool("c2", "4")]
    sent("openai", *went_on)
    first, back = sent("claude-4.5", *began, **BUDGET), sent("claude-4.5", *went_on, **BUDGET)
    assert back[: len(first)] == first
    assert back[1]["content"][:2] == [
        {"type": "thinking", "thinking": "hm", "signature": "s1"},
        {"type": "redacted_thinking", "data": "r1"},
    ]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in CLAUDES])
def test_arguments_are_json_everywhere(name: str) -> None:
    """What a model wrote wrong is shown to the next one inside of JSON; what it wrote right, as it wrote it."""
    asked = [replace(CALL, id=f"c{n}", arguments=text) for n, text in enumerate(["", '{"a":', "[1]", '{"a" : 1}'])]
    turn = sent(name, ASK, assistant(asked))[1]
    assert [call["function"]["arguments"] for call in turn["tool_calls"]] == [
        "{}",
        '{"arguments":"{\\"a\\":"}',
        '{"arguments":"[1]"}',
        '{"a" : 1}',
    ]


MARK = {"cache_control": {"type": "ephemeral"}}


def test_marks_for_the_cache_stand_at_the_ends_of_what_stays() -> None:
    """The tools, the instructions, and the user's last two turns: four at most, and on nothing of the assistant's."""
    messages = [system("be brief"), user("a"), assistant("b"), *loop("claude-4.5", SIGNED), user("go on")]
    body = body_of("claude-4.5", messages, cache_policy="auto", tools=[Tool("add"), Tool("now")])
    check("claude-4.5", body)
    assert [part.get("cache_control") for part in body["tools"]] == [None, {"type": "ephemeral"}]
    assert body["system"] == [{"type": "text", "text": "be brief", **MARK}]
    users = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
    assert users[0] == "a"
    assert users[1] == [{"type": "text", "text": ASK.text, **MARK}]
    assert users[2][0].keys() == {"type", "tool_use_id", "content"}
    assert users[2][1] == {"type": "text", "text": "go on", **MARK}
    assert str(body).count("cache_control") == 4


@pytest.mark.parametrize("name", TARGETS)
def test_without_the_policy_nothing_is_marked(name: str) -> None:
    """The default and `none` are the same request, and `auto` changes nothing where servers cache by themselves."""
    plain = body_of(name, [ASK])
    assert body_of(name, [ASK], cache_policy="none") == plain
    if name not in CLAUDES:
        assert body_of(name, [ASK], cache_policy="auto") == plain


def test_an_export_holds_what_its_form_can() -> None:
    """For OpenAI no reasoning and no word of an error; for Anthropic both, and the instructions beside the messages."""
    messages = [system("be brief"), *loop("claude-4.5", SIGNED)[:-1], tool("c1", "boom", is_error=True)]
    function = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert as_openai(messages) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": ASK.text},
        {"role": "assistant", "content": None, "tool_calls": [function]},
        {"role": "tool", "tool_call_id": "c1", "content": "boom"},
    ]
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s1"}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "boom", "is_error": True}
    assert as_anthropic(messages) == {
        "system": "be brief",
        "messages": [
            {"role": "user", "content": ASK.text},
            {
                "role": "assistant",
                "content": [thinking, {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}],
            },
            {"role": "user", "content": [result]},
        ],
    }
    assert as_anthropic("hello") == {"messages": [{"role": "user", "content": "hello"}]}
    assert as_anthropic([assistant("hello")])["messages"][0] == {"role": "user", "content": CONTINUED}
