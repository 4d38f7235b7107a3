"""The Anthropic messages dialect: how a client is answered. Pure.

    message_start   (content_block_start   content_block_delta*   content_block_stop)*   message_delta   message_stop

Blocks do not overlap, and their indices rise by one. The tokens are known at the end: `message_delta` tells all of
them, and its sums replace those of `message_start`, which are 0.

Thinking is signed only where Anthropic itself has signed it, because only that signature means something to those who
check it; otherwise the field is there and empty, for the SDKs' types demand it.

Source: platform.claude.com/docs/en/build-with-claude/streaming, as of the SDK `anthropic` 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from ._inward import Asked
from ._json import encode
from ._messages import Block, Reasoning, Text, ToolCall
from ._request import FinishReason, Response, Usage
from ._stream import Finished, ReasoningDelta, Restarted, StreamEvent, TextDelta, ToolCallDelta, ToolCallStarted
from ._written import Object, ended, event_of, refuse_restart
from ._written_errors import anthropic_error

_FINISH: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "other": "end_turn",
}

ISSUER = "anthropic"
"""Whose signatures are passed on: Anthropic's own, at its own address."""


def whole(response: Response, asked: Asked, *, name: str) -> bytes:
    """Return a whole answer; see `Dialect.write`."""
    content = [block for part in response.blocks if (block := _block(part)) is not None]
    return encode(
        {
            **_message(name, response.model or asked.model, usage_of(response.usage)),
            "content": content,
            "stop_reason": _FINISH[ended(response)],
        }
    )


def _message(name: str, model: str, usage: Object) -> Object:
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _block(block: Block) -> Object | None:
    """Return a block as it is written whole; None for what says nothing, or nothing to anybody but a foreign issuer."""
    match block:
        case Text(text=text) if text:
            return {"type": "text", "text": text}
        case ToolCall(id=identity, name=name):
            return {"type": "tool_use", "id": identity, "name": name, "input": _input(block)}
        case Reasoning(redacted=str(redacted), issuer=issuer):
            return {"type": "redacted_thinking", "data": redacted} if issuer == ISSUER else None
        case Reasoning(text=text) if text or signature_of(block):
            return {"type": "thinking", "thinking": text, "signature": signature_of(block)}
        case _:
            return None


def signature_of(block: Reasoning) -> str:
    """Return what proves the thinking to Anthropic, or nothing."""
    return block.signature or "" if block.issuer == ISSUER else ""


def _input(call: ToolCall) -> Mapping[str, Any]:
    """Return the arguments as the object that they are here; what is none is put into one, so that it can be seen."""
    try:
        return call.parse()
    except ValueError:
        return {"arguments": call.arguments}


def usage_of(usage: Usage) -> Object:
    """Return the tokens of an answer; what is not told is 0 where a number must stand, else null.

    Here `input_tokens` are those that neither came from a cache nor went into one.
    """
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    told: Object = {
        "input_tokens": max((usage.input_tokens or 0) - cached, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens or 0,
    }
    if usage.reasoning_tokens is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told


_STARTS: Mapping[str, Object] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


@final
class AnthropicWriting:
    """One streamed answer; see `Writing`. `_kind` is that of the open block, empty if none is."""

    def __init__(self, asked: Asked, *, name: str, model: str = "") -> None:
        self._name, self._model = name, model or asked.model
        self._is_begun = False
        self._index, self._kind, self._call = -1, "", -1

    def event(self, event: StreamEvent) -> bytes:
        """Return the events for an event; see `Writing.event`."""
        if isinstance(event, Restarted):
            if self._is_begun:
                raise refuse_restart(event)
            return b""
        if self._is_begun:
            return self._more(event)
        self._is_begun = True
        message = _message(self._name, self._model, usage_of(Usage()))
        return _told("message_start", message=message) + self._more(event)

    def error(self, status: int, said: str, *, kind: str = "") -> bytes:
        """Return the event that reports an error; no `message_stop` follows."""
        return b"event: error\ndata: %b\n\n" % anthropic_error(status, said, kind=kind, name=self._name)

    def _more(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text):
                return self._in("text") + self._delta({"type": "text_delta", "text": text})
            case ReasoningDelta(ended=Reasoning() as ended):
                return self._thought(ended)
            case ReasoningDelta(text):
                return self._in("thinking") + self._delta({"type": "thinking_delta", "thinking": text})
            case ToolCallStarted(index, identity, name):
                self._call = index
                start = {"type": "tool_use", "id": identity, "name": name, "input": {}}
                return self._stop() + self._start("tool_use", start)
            case ToolCallDelta(index, arguments):
                if self._kind != "tool_use" or index != self._call:
                    raise ValueError("more of a tool call after something else")
                return self._delta({"type": "input_json_delta", "partial_json": arguments})
            case Finished(response):
                return self._end(response)
            case _:
                raise ValueError(f"{type(event).__name__} is no piece of an answer")

    def _in(self, kind: str) -> bytes:
        """Return what opens a block of a kind, if none is open."""
        return b"" if self._kind == kind else self._stop() + self._start(kind, _STARTS[kind])

    def _start(self, kind: str, block: Object) -> bytes:
        self._index, self._kind = self._index + 1, kind
        return _told("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: Object) -> bytes:
        return _told("content_block_delta", index=self._index, delta=delta)

    def _stop(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        return _told("content_block_stop", index=self._index)

    def _end(self, response: Response) -> bytes:
        delta = {"stop_reason": _FINISH[ended(response)], "stop_sequence": None}
        return b"".join(
            (
                self._stop(),
                _told("message_delta", delta=delta, usage=usage_of(response.usage)),
                _told("message_stop"),
            )
        )

    def _thought(self, ended: Reasoning) -> bytes:
        """End the thinking with what proves it; what only its issuer can read is a block of its own."""
        if ended.redacted is not None:
            whole = _block(ended)
            return b"" if whole is None else self._stop() + self._start("redacted_thinking", whole) + self._stop()
        signature = signature_of(ended)
        if not signature or (ended.text and self._kind != "thinking"):
            return self._stop()
        return self._in("thinking") + self._delta({"type": "signature_delta", "signature": signature}) + self._stop()


def _told(kind: str, **fields: object) -> bytes:
    return event_of(kind, {"type": kind, **fields})
