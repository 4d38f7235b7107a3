"""What real servers send when an answer is wanted as a stream: server-sent events, their data literal JSON.

Shapes after the vendors' API references (chat completion chunks; messages streaming), fields that we do not read
included. One piece of an answer is one event, with those around it that open and close its block.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, assert_never, final

from ..providers import ContentEvent, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from ._answers import SIGNATURE, Said, Wire, completion_usage, message_usage, named_error


@final
@dataclass(frozen=True, slots=True)
class Events:
    """A stream in order: what comes before any content, the content, what ends the answer, and what ends the stream.

    `more` is content that no stream has after its end.
    """

    opening: bytes
    pieces: tuple[bytes, ...]
    closing: bytes
    terminator: bytes
    more: bytes


PING: dict[Wire, bytes] = {
    "openai": b": keep-alive\n\n",
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
}
"""A sign of life. OpenAI sends none; servers that speak its wire, and routers before them, send comments."""

GARBAGE: dict[Wire, bytes] = {
    "openai": b'data: {"id": "chatcmpl-simulated", "choices": [{"index": 0, "delta": {"cont\n\n',
    "anthropic": b'event: content_block_delta\ndata: {"type": "content_block_delta", "ind\n\n',
}


def failing(wire: Wire, kind: str) -> bytes:
    """Return the event of an error of type `kind`."""
    said = b"data: " + named_error(wire, kind, f"simulated {kind}") + b"\n\n"
    return said if wire == "openai" else b"event: error\n" + said


def events(wire: Wire, model: str, said: Said, *, usage: bool) -> Events:
    """Return the events that say all of it.

    Args:
        usage: Whether an OpenAI server was asked to count; an Anthropic one always does.
    """
    return _messages(model, said) if wire == "anthropic" else _chunks(model, said, usage=usage)


def _chunks(model: str, said: Said, *, usage: bool) -> Events:
    def chunk(delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        made: dict[str, Any] = {
            "id": "chatcmpl-simulated",
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
            "choices": [choice] if delta is not None else [],
        }
        if usage:
            made["usage"] = completion_usage(said) if delta is None else None
        return b"data: " + json.dumps(made).encode() + b"\n\n"

    content = None if said.calls or said.thinking else ""
    return Events(
        chunk({"role": "assistant", "content": content, "refusal": None}),
        tuple(chunk(_delta(piece)) for piece in said.pieces),
        chunk({}, "tool_calls" if said.calls else "stop") + (chunk(None) if usage else b""),
        b"data: [DONE]\n\n",
        chunk({"content": "more"}),
    )


def _delta(piece: ContentEvent) -> dict[str, Any]:
    match piece:
        case TextDelta(text):
            return {"content": text}
        case ReasoningDelta(text):
            return {"reasoning_content": text}
        case ToolCallStarted(index, identity, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": identity, "type": "function", "function": function}]}
        case ToolCallDelta(index, arguments):
            return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
        case _:
            assert_never(piece)


def _messages(model: str, said: Said) -> Events:
    message: dict[str, Any] = {
        "id": "msg_01SIMULATED",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**message_usage(said), "output_tokens": 1},
    }
    end = {"stop_reason": "tool_use" if said.calls else "end_turn", "stop_sequence": None}
    counted = {name: count for name, count in message_usage(said).items() if name.endswith("_tokens")}
    blocks = _Blocks()
    pieces = tuple(blocks.piece(piece) for piece in said.pieces)
    return Events(
        _event("message_start", message=message),
        pieces,
        blocks.end() + _event("message_delta", delta=end, usage=counted),
        _event("message_stop"),
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "more"}),
    )


@final
class _Blocks:
    """The content blocks of a message: one is open at a time, and a ping follows the first one's beginning."""

    def __init__(self) -> None:
        self._index, self._open = -1, ""

    def piece(self, piece: ContentEvent) -> bytes:
        """Return the events of one piece."""
        match piece:
            case TextDelta(text):
                return self._in("text", text="") + self._delta("text_delta", text=text)
            case ReasoningDelta(text):
                begun = self._in("thinking", thinking="", signature="")
                return begun + self._delta("thinking_delta", thinking=text)
            case ToolCallStarted(_, identity, name):
                begun = self.end() + self._in("tool_use", id=identity, name=name, input={})
                return begun + self._delta("input_json_delta", partial_json="")
            case ToolCallDelta(_, arguments):
                return self._delta("input_json_delta", partial_json=arguments)
            case _:
                assert_never(piece)

    def end(self) -> bytes:
        """Return the events that close the open block, if one is open."""
        kind, self._open = self._open, ""
        signed = self._delta("signature_delta", signature=SIGNATURE) if kind == "thinking" else b""
        return signed + _event("content_block_stop", index=self._index) if kind else b""

    def _in(self, kind: str, **block: object) -> bytes:
        if kind == self._open:
            return b""
        ended = self.end()
        self._index, self._open = self._index + 1, kind
        begun = _event("content_block_start", index=self._index, content_block={"type": kind, **block})
        return ended + begun + (PING["anthropic"] if self._index == 0 else b"")

    def _delta(self, kind: str, **delta: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **delta})


def _event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
