"""The Anthropic Messages wire, streamed: events to content, and to one whole answer. Pure.

    message_start   (content_block_start   content_block_delta*   content_block_stop)*   message_delta*   message_stop

What has come is kept in the shape of an answer that is sent whole, and concluded by the same rules. Pings, unknown
events, and blocks and deltas of unknown kinds are ignored; only `message_stop` makes the answer complete.

Source: docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from ._json import decode
from ._messages import Reasoning
from ._request import Response
from ._stream import ContentEvent, Partial, PartialCall, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from ._wire import malformed, reported, truncated
from ._wire_anthropic import KNOWN, conclude, read_block, read_input, read_usage

_CONTENT = {"text": "text", "thinking": "thinking", "tool_use": "input"}
"""Where the kinds of block whose content comes in deltas have it when they are sent whole."""

_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
"""To which kind of block each kind of delta belongs, and where it has its content."""


@final
@dataclass(slots=True)
class _Block:
    """A content block: as it began, and what came since. `number` counts tool calls from 0."""

    start: Mapping[str, Any]
    kind: str
    number: int
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    is_open: bool = True


@final
class AnthropicReading:
    """One answer that comes in events; see `Reading`. `model` is the one that was asked for."""

    def __init__(self, transport: str, model: str) -> None:
        self.response: Response | None = None
        self.is_complete = self.extra = False
        self.choices, self.foreign = 1, 0
        self._transport, self._model = transport, model
        self._blocks: dict[int, _Block] = {}
        self._last, self._calls = -1, 0
        self._stop_reason: object = None
        self._usage: dict[str, object] = {}

    @property
    def partial(self) -> Partial:
        """What has come so far."""
        blocks = self._blocks.values()
        text, thought = (
            "".join("".join(block.pieces) for block in blocks if block.kind == kind) for kind in ("text", "thinking")
        )
        calls = tuple(
            PartialCall(block.start["id"], block.start["name"], "".join(block.pieces))
            for block in blocks
            if block.kind == "tool_use"
        )
        return Partial(self._transport, self._model, text, thought, calls, read_usage(self._usage))

    def feed(self, event: str, data: bytes) -> Sequence[ContentEvent]:
        """Return the content in one event; see `Reading.feed`."""
        if self.is_complete:
            self.extra = True
            return ()
        if event == "error":
            raise reported(data)
        try:
            told: Any = decode(data)
        except ValueError:
            if data.strip():
                raise malformed("something that is not JSON") from None
            return ()
        try:
            kind = told.get("type", event)
            return self._delta(told) if kind == "content_block_delta" else self._other(kind, told, data)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise malformed("an event that cannot be read") from None

    def end(self) -> None:
        """Take note that the stream has ended; see `Reading.end`."""
        if not self.is_complete:
            raise truncated("message_stop")

    def _delta(self, told: Mapping[str, Any]) -> Sequence[ContentEvent]:
        block, delta = self._blocks.get(told["index"]), told["delta"]
        if block is None or not block.is_open:
            raise malformed("more of a block that is not open")
        kind = delta["type"]
        if kind == "text_delta" and block.kind == "text" and type(text := delta["text"]) is str and text:
            block.pieces.append(text)  # nearly all of them
            return (TextDelta(text),)
        if kind not in _DELTAS or block.kind not in _CONTENT:
            self.foreign += 1
            return ()
        owner, name = _DELTAS[kind]
        if owner != block.kind:
            raise malformed(f"{kind} in a block of another kind")
        if name != "signature":
            return _more(block, delta[name])
        block.signature = _string(delta[name])
        self.foreign += 1  # until the block ends
        return ()

    def _other(self, kind: object, told: Mapping[str, Any], data: bytes) -> Sequence[ContentEvent]:
        match kind:
            case "content_block_start":
                return self._start(told["index"], told["content_block"])
            case "content_block_stop":
                block = self._blocks[told["index"]]
                return [*(_proof(block, self._transport) if block.is_open else ()), *_close(block)]
            case "message_start":
                message = told["message"]
                if isinstance(model := message.get("model"), str) and model:
                    self._model = model
                self._count(message.get("usage"))
            case "message_delta":
                self._stop_reason = (told.get("delta") or {}).get("stop_reason") or self._stop_reason
                self._count(told.get("usage"))
            case "message_stop":
                return self._stop()
            case _ if kind == "error" or told.get("error"):
                raise reported(data)
        return ()

    def _start(self, index: object, start: Mapping[str, Any]) -> Sequence[ContentEvent]:
        if type(index) is not int or index <= self._last:
            raise malformed("a block out of order")
        self._last, kind = index, _string(start["type"])
        self.foreign += kind not in KNOWN or bool(start.get(_PROOFS.get(kind, "")))
        block = _Block(start, kind, self._calls)
        events: Sequence[ContentEvent] = ()
        if kind == "tool_use":
            self._calls += 1
            events = (ToolCallStarted(block.number, _string(start["id"]), _string(start["name"])),)
        elif kind in _CONTENT:
            events = _more(block, start.get(_CONTENT[kind]) or "")
        self._blocks[index] = block
        return events

    def _stop(self) -> Sequence[ContentEvent]:
        events = [event for block in self._blocks.values() for event in _close(block)]
        self.is_complete = True
        answer = {
            "content": [_whole(block) for block in self._blocks.values()],
            "stop_reason": self._stop_reason,
            "model": self._model,
            "usage": self._usage,
        }
        self.response = conclude(answer, self._transport)
        return events

    def _count(self, usage: object) -> None:
        """Take the tokens told of; later counts are sums, and replace earlier ones of the same name."""
        if isinstance(usage, Mapping):
            self._usage |= {name: count for name, count in usage.items() if count is not None}


def _more(block: _Block, piece: object) -> Sequence[ContentEvent]:
    text = _string(piece)
    if not text:
        return ()
    block.pieces.append(text)
    if block.kind == "text":
        return (TextDelta(text),)
    return (ReasoningDelta(text),) if block.kind == "thinking" else (ToolCallDelta(block.number, text),)


def _close(block: _Block) -> Sequence[ContentEvent]:
    """End a block. A tool call that came whole, with its start, is told of now: before, more might have replaced it."""
    is_whole = block.kind == "tool_use" and not block.pieces and block.start.get("input")
    block.is_open = False
    return _more(block, read_input(block.start["input"])) if is_whole else ()


def _proof(block: _Block, issuer: str) -> Sequence[ContentEvent]:
    """Tell of thinking that has ended what its issuer wants back with it."""
    if block.kind not in _PROOFS or not (block.signature or block.start.get(_PROOFS[block.kind])):
        return ()
    thought = read_block(_whole(block), issuer)
    return (ReasoningDelta("", thought),) if isinstance(thought, Reasoning) else ()


_PROOFS = {"thinking": "signature", "redacted_thinking": "data"}
"""Where the kinds of thinking have what only their issuer can read."""


def _whole(block: _Block) -> Mapping[str, Any]:
    """Return the block as an answer holds it that is sent whole."""
    if block.kind not in _CONTENT:
        return block.start
    content: object = "".join(block.pieces)
    if block.kind == "tool_use":
        content = _input(str(content))
    return {**block.start, _CONTENT[block.kind]: content, **({"signature": block.signature} if block.signature else {})}


def _input(text: str) -> object:
    """Return what a tool call's input says; a text that says none stays as the model wrote it."""
    try:
        return decode(text.encode())
    except ValueError:
        return text.strip() and text


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
