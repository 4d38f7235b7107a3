"""Cutting a conversation: whole turns, the oldest first, and never a call from its result."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import Image, Message, Reasoning, Text, Tool, ToolCall, ToolResult, assistant, system, tool, user
from understudy.supervisor._history_cut import PER_IMAGE, PER_MESSAGE, Estimate, beside, cut

PLAIN = Estimate()


def call(identity: str) -> Message:
    """An assistant message with one call, about ten tokens long."""
    return assistant(ToolCall(identity, "look", '{"where": "here"}'))


LONG = "x" * 400
TURNS = [system("s"), user(LONG + "1"), assistant(LONG + "2"), user(LONG + "3"), assistant(LONG + "4"), user("now")]
LOOP = [*TURNS, call("a"), tool("a", LONG + "5"), call("b"), tool("b", LONG + "6"), call("c"), tool("c", LONG + "7")]


def names(messages: Sequence[Message]) -> str:
    """Return the last letter of each message's content."""
    shown = []
    for message in messages:
        block = message.blocks[0]
        shown.append({Text: "text", ToolCall: "id", ToolResult: "content"}[type(block)])
    return "".join(getattr(m.blocks[0], name)[-1] for m, name in zip(messages, shown, strict=True))


@pytest.mark.parametrize(
    ("messages", "limit", "left"),
    [
        (TURNS, None, "s1234w"),
        (TURNS, 1000, "s1234w"),
        (TURNS, 400, "s34w"),
        (TURNS, 230, "s34w"),
        (TURNS, 200, "sw"),
        (TURNS, 1, "sw"),
        (LOOP, 600, "s34wa5b6c7"),
        (LOOP, 400, "swa5b6c7"),
        (LOOP, 300, "swb6c7"),
        (LOOP, 200, "swc7"),
        (LOOP, 1, "swc7"),
        ([user("1")], 1, "1"),
        ([assistant(LONG + "1"), user("2")], 5, "2"),
        ([call("a"), tool("a", LONG), call("b"), tool("b", "2")], 50, "b2"),
        ([system(LONG)], 1, "x"),
        ([tool("a", LONG), user("2")], 1, "2"),
        # a system message in the middle stays where it is
        ([user(LONG), system("s"), assistant(LONG), user("2")], 50, "s2"),
        # a result that comes late holds together what lies between
        ([user("1"), call("a"), user("2"), tool("a", "3"), user(LONG + "4")], 5, "4"),
        (
            [user(LONG + "1"), call("a"), call("b"), tool("b", "2"), user("3"), tool("a", "4"), user("5")],
            60,
            "5",
        ),
        ([user("1"), user("2"), call("a"), user("3"), tool("a", LONG + "4"), call("b"), tool("b", "5")], 40, "23b5"),
    ],
)
def test_what_is_left(messages: list[Message], limit: int | None, left: str) -> None:
    """Turns go first, oldest first, then the groups of the last turn; the last of these stays in any case."""
    assert names(cut(messages, limit, PLAIN)) == left


def test_a_message_of_results_begins_no_turn() -> None:
    """Results that a user's message holds stay with their calls."""
    results = Message("user", (ToolResult("a", "found"),))
    messages = [user("1"), call("a"), results, user("2")]
    assert cut(messages, 12, PLAIN) == (user("2"),)
    assert cut([user("2"), call("a"), results], 1, PLAIN) == (user("2"), call("a"), results)


def test_the_estimate_counts_what_is_sent() -> None:
    """A fourth of the bytes, and something for each message, picture and tool."""
    assert PLAIN.of([user("abcd")]) == PER_MESSAGE + 1
    assert PLAIN.of([user("\u4e2d\u6587")]) == PER_MESSAGE + 1.5
    assert PLAIN.of([user(["abcd", Image(url="https://x.test/a.png")])]) == PER_MESSAGE + 1 + PER_IMAGE
    assert PLAIN.of([assistant([Reasoning("abcd", "1234"), ToolCall("x", "abcd", "{}12", details="1234")])]) == 4 + 5
    assert PLAIN.of([tool("a", "abcdefgh")]) == PER_MESSAGE + 2
    with_tools = Estimate(beside([Tool("abcd", "1234", {"a": 1}), Tool("x", parameters={})]))
    assert with_tools.of([]) == 2 * PER_MESSAGE + 1 + 1 + 7 / 4 + 3 / 4


def test_the_estimate_learns_from_what_providers_report() -> None:
    """The next estimate of the same is what was reported; no report changes nothing, and no absurd one is believed."""
    messages = [user("x" * 400)]
    learnt = Estimate(10).learnt(messages, 228)
    assert learnt.of(messages) == pytest.approx(228)
    assert learnt.learnt(messages, None) is learnt
    assert learnt.learnt(messages, 0) is learnt
    assert learnt.learnt(messages, 10**9).factor == 8
    assert learnt.learnt(messages, 1).factor == 0.25
    assert learnt.learnt(messages, 114).of(messages) == pytest.approx(114)
    assert PLAIN.learnt([], 5) is PLAIN


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Conversations as they come: texts, pictures, several calls at once, results one by one or together."""
    messages: list[Message] = []
    number = 0
    for _ in range(draw(st.integers(1, 12))):
        text = "x" * draw(st.integers(1, 300))
        match draw(st.sampled_from(["user", "user", "assistant", "system", "loop", "loop"])):
            case "loop":
                ids = [f"call_{number + n}" for n in range(draw(st.integers(1, 3)))]
                number += len(ids) if draw(st.booleans()) else 0  # some servers number their calls anew
                messages.append(assistant([text, *(ToolCall(identity, "look", "{}") for identity in ids)]))
                if draw(st.booleans()):
                    messages += [tool(identity, text) for identity in ids]
                else:
                    messages.append(Message("tool", tuple(ToolResult(identity, text) for identity in ids)))
            case role:
                messages.append(Message(role, (Text(text),)))  # type: ignore[arg-type]
    return messages


def pairs(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Return which message asked for, and which one holds, each result, by their identity."""
    asked: dict[str, int] = {}
    found: list[tuple[int, int]] = []
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolCall):
                asked[block.id] = id(message)
            elif isinstance(block, ToolResult):
                found.append((asked.get(block.call_id, 0), id(message)))
    return found


@given(conversations(), st.integers(1, 2000), st.floats(0.25, 8))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_no_cut_parts_what_belongs_together(messages: list[Message], limit: int, factor: float) -> None:
    """Order is kept, no call is without its result and no result without its call, and what must stay stays."""
    estimate = Estimate(7, factor)
    left = cut(messages, limit, estimate)
    places = [next(n for n, m in enumerate(messages) if m is message) for message in left]
    assert places == sorted(places)
    kept = {id(message) for message in left}
    before = pairs(messages)
    assert pairs(left) == [pair for pair in before if set(pair) <= kept]
    assert all((asked in kept) == (answered in kept) for asked, answered in before)
    assert [m for m in left if m.role == "system"] == [m for m in messages if m.role == "system"]
    users = [m for m in messages if m.role == "user"]
    assert not users or id(users[-1]) in kept
    if estimate.of(messages) <= limit:
        assert left == tuple(messages)
    elif estimate.of(left) > limit:  # then nothing more could go
        assert len(cut(left, 1, estimate)) == len(left)
    first = next((m for m in left if m.role != "system"), None)
    assert not users or first is None or first.role == "user" or len(left) == len(messages)
