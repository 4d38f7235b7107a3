"""The OpenAI chat-completions wire, streamed: chunks to content, and to one whole answer. Pure.

What has come is kept in the shape of an answer that is sent whole, and concluded by the same rules. The answer is
complete with its `finish_reason`; tokens may follow it, and `[DONE]` ends the stream, where a server sends it.

Source: platform.openai.com/docs/api-reference/chat-streaming; openrouter.ai/docs/api-reference/streaming (errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from ._fragments import Calls, Details
from ._json import decode
from ._relay import DONE
from ._request import Response
from ._stream import ContentEvent, Partial, ReasoningDelta, TextDelta
from ._turns_openai import REASONING
from ._wire import malformed, reported, truncated
from ._wire_openai import check_end, conclude, is_custom, is_foreign, read_content, read_thought, read_usage


@final
class OpenAIReading:
    """One answer that comes in chunks; see `Reading`. `model` is the one that was asked for."""

    def __init__(self, transport: str, model: str) -> None:
        self.response: Response | None = None
        self.is_complete = self.extra = False
        self.choices, self.foreign = 1, 0
        self._transport, self._model, self._is_named = transport, model, False
        self._text: list[str] = []
        self._field, self._thought = REASONING, list[str]()
        self._details, self._calls = Details(), Calls()
        self._foreign: Mapping[str, Any] = {}
        self._has_content = self._is_refused = False
        self._finish_reason: object = None
        self._others: dict[object, bool] = {}  # further choices by their index, and whether each has ended
        self._usage: object = None

    @property
    def partial(self) -> Partial:
        """What has come so far."""
        return Partial(
            self._transport,
            self._model,
            "".join(self._text),
            "".join(self._thought),
            self._calls.partial(),
            read_usage(self._usage),
        )

    def feed(self, event: str, data: bytes) -> Sequence[ContentEvent]:
        """Return the content in one event; see `Reading.feed`."""
        if self.is_complete:
            self._late(data)
            return ()
        try:
            chunk = decode(data)
        except ValueError:
            self._no_json(event, data)
            return ()
        try:
            return self._read(event, chunk, data)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise malformed("a chunk that cannot be read") from None

    def end(self) -> None:
        """Take note that the stream has ended; see `Reading.end`."""
        if self.response is None:
            if not (self.is_complete or (self._finish_reason and all(self._others.values()))):
                raise truncated("a finish_reason and [DONE]")
            self._conclude()

    def _no_json(self, event: str, data: bytes) -> None:
        said = data.strip()
        if event == "error":
            raise reported(data)
        if said == DONE:
            self.is_complete = True
            self._conclude()
        elif said:
            raise malformed("something that is not JSON")

    def _late(self, data: bytes) -> None:
        """Take the tokens and the end that may follow a complete answer; whatever else comes is of no matter."""
        if self.response is None and data.strip() == DONE:
            self._conclude()
            return
        try:
            chunk: Any = decode(data)
            self._usage = chunk.get("usage") or self._usage
            choice = _first(chunk) or {}
            self.extra |= bool(chunk.get("error")) or _says(choice.get("delta") or {})
        except (LookupError, TypeError, AttributeError, ValueError):
            self.extra |= bool(data.strip())

    def _read(self, event: str, chunk: Any, data: bytes) -> Sequence[ContentEvent]:
        if event or type(chunk) is not dict or "error" in chunk or "choices" not in chunk:
            _check_errors(event, chunk, data)
        if usage := chunk.get("usage"):  # with the last chunk, or after it; by some servers with each
            self._usage = usage
        if not self._is_named and isinstance(model := chunk.get("model"), str) and model:
            self._model, self._is_named = model, True
        if self.choices > 1:
            self._see_others(chunk)
        choice = _first(chunk)
        if choice is None:
            return ()
        delta = choice.get("delta")
        events = self._content(delta) if delta else ()
        if finish_reason := choice.get("finish_reason"):
            check_end(finish_reason)
            self._finish_reason = finish_reason
            self.is_complete = self._have_others_ended()
        return events

    def _see_others(self, chunk: Mapping[str, Any]) -> None:
        """Take note of which of the further choices have ended: nothing else is read of them."""
        for choice in chunk.get("choices") or ():
            if index := choice.get("index"):
                self._others[index] = bool(choice.get("finish_reason")) or self._others.get(index, False)
                self.foreign += _says(choice.get("delta") or {})
        self.is_complete = self._finish_reason is not None and self._have_others_ended()

    def _have_others_ended(self) -> bool:
        return self.choices == 1 or sum(self._others.values()) >= self.choices - 1

    def _content(self, delta: Mapping[str, Any]) -> list[ContentEvent]:
        if len(delta) == 1 and type(text := delta.get("content")) is str and text:  # nearly all of them
            self._has_content = True
            self._text.append(text)
            return [TextDelta(text)]
        events: list[ContentEvent] = []
        field, thought = read_thought(delta)
        if thought:
            self._field = field
            self._thought.append(thought)
            events.append(ReasoningDelta(thought))
        if isinstance(details := delta.get("reasoning_details"), list):
            self.foreign += bool(details)
            for fragment in details:
                self._details.add(fragment)
        if text := read_content(delta.get("content")):
            self._has_content = True
            self._text.append(text)
            events.append(TextDelta(text))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._is_refused = True
            if not self._has_content:  # as in an answer that is sent whole, where the content goes first
                self._text.append(refusal)
                events.append(TextDelta(refusal))
        for call in delta.get("tool_calls") or ():
            if not is_custom(call):
                events += self._calls.add(call)
        if is_foreign(delta):
            self.foreign += 1
            self._foreign = delta
        return events

    def _conclude(self) -> None:
        message = {
            "refusal" if self._is_refused else "content": "".join(self._text),
            self._field: "".join(self._thought),
            "reasoning_details": self._details.whole(),
            "tool_calls": [*self._calls.whole(), *filter(is_custom, self._foreign.get("tool_calls") or ())],
            "function_call": self._foreign.get("function_call"),
            "audio": self._foreign.get("audio"),
            "images": self._foreign.get("images"),
        }
        choice = {"message": message, "finish_reason": self._finish_reason}
        self.response = conclude({"choices": [choice], "model": self._model, "usage": self._usage}, self._transport)


def _first(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the chunk says of the first answer; of others, should there be any, nothing is read."""
    choices = chunk.get("choices")
    if not choices:
        return None
    choice: Mapping[str, Any] = choices[0]
    return choice if not choice.get("index") else next((other for other in choices if not other.get("index")), None)


def _says(delta: Mapping[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "role")


def _check_errors(event: str, chunk: Any, data: bytes) -> None:
    """Raise the error that a chunk reports, in any of the shapes that `read_evidence` knows.

    Raises:
        WireError: It reports one; or it is no object, `MALFORMED`.
    """
    inner = chunk[0] if isinstance(chunk, list) and chunk else chunk
    if event == "error" or (isinstance(inner, dict) and _is_error(inner)):
        raise reported(data)
    if not isinstance(chunk, dict):
        raise malformed("JSON that is no object")


def _is_error(chunk: Mapping[str, object]) -> bool:
    if chunk.get("error") or "error" in (chunk.get("type"), chunk.get("object")):
        return True
    return "choices" not in chunk and bool(chunk.get("detail"))
