"""Answers for the tests of the dialects: any there may be, whole and as a stream tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, get_args

from hypothesis import strategies as st

from understudy.providers import (
    DIALECTS,
    Asked,
    Block,
    ContentEvent,
    DialectName,
    Finished,
    FinishReason,
    Reasoning,
    ReasoningDelta,
    Response,
    StreamEvent,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from understudy.providers._sse import Event, SSEDecoder

NAME = "a1b2c3d4e5f6a7b8c9d0e1f2"
CREATED = 1_800_000_000

HELLO: dict[DialectName, dict[str, Any]] = {
    "openai": {"model": "ours", "messages": [{"role": "user", "content": "hi"}]},
    "anthropic": {"model": "ours", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "ours", "input": "hi"},
}
"""The shortest request of each dialect."""


def asked(dialect: DialectName, **more: Any) -> Asked:
    """A request with more in it, all of which can be read."""
    read = DIALECTS[dialect].read({**HELLO[dialect], **more})
    read.neutral()
    return read


COUNTS = st.none() | st.integers(0, 10**6)
USAGES = st.builds(
    lambda fresh, output, read, write, thought: Usage(
        None if fresh is None else fresh + (read or 0) + (write or 0), output, read, write, thought
    ),
    *[COUNTS] * 5,
)
WORDS = st.text(max_size=12)
ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers(-9, 9) | st.text(max_size=4), max_size=3).map(
    lambda arguments: json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
)
ISSUERS = st.sampled_from(["openai", "anthropic", "lmstudio"])
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, WORDS, ISSUERS),
    st.builds(Reasoning, WORDS, issuer=ISSUERS),
    st.builds(Reasoning, WORDS, signature=st.just("s1gn"), issuer=ISSUERS),
    st.builds(Reasoning, st.just(""), redacted=st.just("h1dden"), issuer=ISSUERS),
    st.builds(ToolCall, st.just("id"), st.sampled_from(["add", "look_up"]), ARGUMENTS, ISSUERS),
)


def _told_apart(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Each tool call under an id of its own."""
    return tuple(
        replace(block, id=f"call_{number}") if isinstance(block, ToolCall) else block
        for number, block in enumerate(blocks)
    )


RESPONSES = st.builds(
    Response,
    st.lists(BLOCKS, max_size=6).map(_told_apart),
    st.sampled_from(["gpt-5", "claude-x", ""]),
    st.just("somewhere"),
    st.sampled_from(get_args(FinishReason)),
    USAGES,
)


def is_own(block: Block) -> bool:
    """Thinking that Anthropic's dialect can prove."""
    return isinstance(block, Reasoning) and block.issuer == "anthropic" and bool(block.signature or block.redacted)


def events_of(response: Response, size: int = 3) -> Iterator[StreamEvent]:
    """An answer as a provider's stream tells it, in pieces of so many characters."""
    calls = 0
    for block in response.blocks:
        match block:
            case Text(text=text):
                yield from (TextDelta(piece) for piece in pieces(text, size))
            case Reasoning(text=text):
                yield from (ReasoningDelta(piece) for piece in pieces(text, size))
                if block.signature or block.redacted:
                    yield ReasoningDelta("", block)
            case ToolCall(id=identity, name=name, arguments=arguments):
                yield ToolCallStarted(calls, identity, name)
                yield from (ToolCallDelta(calls, piece) for piece in pieces(arguments, size))
                calls += 1
    yield Finished(response)


def pieces(text: str, size: int) -> list[str]:
    """A text in pieces."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def streamed(dialect: DialectName, response: Response, request: Asked) -> bytes:
    """A whole stream."""
    writing = DIALECTS[dialect].writing(request, name=NAME, created=CREATED, model=response.model)
    return b"".join(map(writing.event, events_of(response)))


def written(dialect: DialectName, response: Response, request: Asked) -> bytes:
    """A whole answer."""
    return DIALECTS[dialect].write(response, request, name=NAME, created=CREATED)


def frames(stream: bytes) -> list[Event]:
    """The events of a stream, each with its name and its data."""
    decoder = SSEDecoder()
    found = decoder.feed(stream)
    assert stream.endswith(b"\n\n") or not stream
    return found


def objects(stream: bytes) -> list[dict[str, Any]]:
    """What the events of a stream hold, without the mark of the end."""
    return [json.loads(data) for _, data in frames(stream) if data != b"[DONE]"]


def merged(blocks: Iterable[Block]) -> list[tuple[Any, ...]]:
    """What blocks say, as a stream can say it: neighbours of a kind are one, unless a proof stands between them."""
    said: list[tuple[Any, ...]] = []
    for block in blocks:
        match block:
            case Text(text=text) if text:
                if said and said[-1][0] == "text":
                    text = said.pop()[1] + text
                said.append(("text", text))
            case Reasoning(redacted=str(redacted)):
                said.append(("redacted", redacted))
            case Reasoning(text=text, signature=signature) if text or signature:
                if said and said[-1][0] == "thinking" and not said[-1][2]:
                    text = said.pop()[1] + text
                said.append(("thinking", text, signature or ""))
            case ToolCall(id=identity, name=name, arguments=arguments):
                said.append(("call", identity, name, arguments))
            case _:
                continue
    return said


def content(events: Iterable[StreamEvent]) -> list[ContentEvent]:
    """The content among events, as it is known to all dialects."""
    return [
        event
        for event in events
        if isinstance(event, (TextDelta, ToolCallStarted, ToolCallDelta))
        or (isinstance(event, ReasoningDelta) and event.text)
    ]


def joined(events: Iterable[ContentEvent]) -> list[tuple[str, str]]:
    """Which kinds of content follow each other, and what they say together."""
    return [
        (kind.__name__, "".join(getattr(event, "text", "") or getattr(event, "arguments", "") for event in group))
        for kind, group in groupby(events, type)
    ]
