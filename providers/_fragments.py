"""Putting together what the OpenAI wire sends in fragments: tool calls, and thinking that only its issuer reads. Pure.

Servers differ in how they tell one tool call from the next. OpenAI counts them by `index`; some leave the index out and
begin each with an id or a name; Gemini's endpoint sends whole calls, all with index 0 and each with an id of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ._stream import ContentEvent, PartialCall, ToolCallDelta, ToolCallStarted
from ._wire import whole
from ._wire_openai import missing_id, read_arguments


@final
@dataclass(slots=True)
class _Call:
    """A tool call so far: `index` is the server's, `number` ours. It has begun when its name is known."""

    index: int | None
    number: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: object = None


@final
class Calls:
    """The tool calls of one answer."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, fragment: Mapping[str, Any]) -> list[ContentEvent]:
        """Take a fragment, and return what can be told of it.

        Raises:
            ValueError, TypeError, AttributeError: It is none, or belongs to no call.
        """
        function: Mapping[str, Any] = fragment.get("function") or {}
        index, identity, name = whole(fragment.get("index")), _text(fragment.get("id")), _text(function.get("name"))
        call = self._call_of(index, identity, name)
        call.extra = fragment.get("extra_content") or call.extra
        arguments = function.get("arguments")
        piece = read_arguments(arguments) if isinstance(arguments, str) or arguments else None
        if piece is not None:
            call.arguments.append(piece)
        if call.name:
            return [ToolCallDelta(call.number, piece)] if piece else []
        call.id, call.name = call.id or identity, name
        return _begin(call) if name else []

    def _call_of(self, index: int | None, identity: str, name: str) -> _Call:
        last = self._calls[-1] if self._calls else None
        if last is not None and not _is_another(last, index, identity, name):
            return last
        if not identity and not name:
            raise ValueError("a fragment of a tool call that never began")
        call = _Call(index, len(self._calls))
        self._calls.append(call)
        return call

    def whole(self) -> list[dict[str, Any]]:
        """Return the calls as an answer holds them that is sent whole."""
        return [
            {
                "id": call.id,
                "function": {
                    "name": call.name or None,
                    "arguments": "".join(call.arguments) if call.arguments else None,
                },
                "extra_content": call.extra,
            }
            for call in self._calls
        ]

    def partial(self) -> tuple[PartialCall, ...]:
        """Return what came of the calls that have begun."""
        return tuple(PartialCall(call.id, call.name, "".join(call.arguments)) for call in self._calls if call.name)


def _begin(call: _Call) -> list[ContentEvent]:
    call.id = call.id or missing_id(call.number)
    came = "".join(call.arguments)
    begun: list[ContentEvent] = [ToolCallStarted(call.number, call.id, call.name)]
    return [*begun, ToolCallDelta(call.number, came)] if came else begun


def _is_another(last: _Call, index: int | None, identity: str, name: str) -> bool:
    """Say whether a fragment begins another call than the last one."""
    is_new = bool(identity) and identity != last.id
    if index is None or last.index is None:
        return is_new if identity else bool(name)
    if index < last.index:
        raise ValueError("tool calls out of order")
    return index > last.index or (is_new and bool(name))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@final
class Details:
    """`reasoning_details`, as OpenRouter sends them: pieces of one text are one entry again, as if sent whole.

    The index alone does not tell one entry from the next: it may be 0 for all of them. Pieces of text follow each other
    and are of one type; the signature comes with the last one, or alone.

    Source: openrouter.ai/docs/use-cases/reasoning-tokens; how OpenRouter's own client (`ai-sdk-provider`) joins them.
    """

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._pieces: list[str] = []  # of the last entry's text

    def add(self, fragment: object) -> None:
        """Take a fragment; what is not known is kept as it is."""
        last = self._entries[-1] if self._entries else None
        if not isinstance(fragment, dict):
            self._join()
            self._entries.append(fragment)
            return
        name = _TEXTS.get(str(fragment.get("type")), "")
        if name and isinstance(last, dict) and _is_same(last, fragment):
            last.update({key: value for key, value in fragment.items() if key != name and last.get(key) is None})
        else:
            self._join()
            self._entries.append(dict(fragment))
        if name:
            self._pieces.append(_text(fragment.get(name)))

    def whole(self) -> list[Any]:
        """Return the entries as an answer holds them that is sent whole."""
        self._join()
        return self._entries

    def _join(self) -> None:
        if text := "".join(self._pieces):
            last = self._entries[-1]
            last[_TEXTS[last["type"]]] = text
        self._pieces = []


_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Where each type that comes in pieces keeps its text."""


def _is_same(last: Mapping[str, object], fragment: Mapping[str, object]) -> bool:
    """Say whether the fragment continues the last entry: of one type, and nothing else tells them apart."""
    told = [(last.get(key), fragment.get(key)) for key in ("id", "index")]
    return last.get("type") == fragment["type"] and all(
        ours == theirs or None in (ours, theirs) for ours, theirs in told
    )
