"""The OpenAI responses dialect: how a client is answered in a stream. Pure.

    response.created   response.in_progress
      (output_item.added   … pieces …   output_item.done)*
    response.completed | response.incomplete | response.failed

One item is open at a time. Each event carries a number that rises by one, and the last one the whole answer.

Source: platform.openai.com/docs/api-reference/responses-streaming, as of the SDK `openai` 3.52.
"""

from __future__ import annotations

from typing import final

from ._inward import Asked
from ._request import Response
from ._stream import Finished, ReasoningDelta, Restarted, StreamEvent, TextDelta, ToolCallDelta, ToolCallStarted
from ._written import Object, event_of, refusal, refuse_restart
from ._written_errors import openai_kind
from ._written_responses import (
    About,
    Kind,
    call_item,
    finished,
    is_cut,
    message_item,
    reasoning_item,
    refusal_part,
    response_object,
    summary_part,
    text_part,
)


@final
class _Item:
    """The open item: where it is, and what has come of it."""

    def __init__(self, kind: Kind, about: About, index: int, call: ToolCallStarted | None = None) -> None:
        self.kind, self.index, self.call = kind, index, call
        self.id = about.item_id(kind, index)
        self.pieces: list[str] = []
        self.content: list[Object] = []  # of a message: its parts that are whole

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def place(self) -> Object:
        return {"item_id": self.id, "output_index": self.index}

    def whole(self, status: str) -> Object:
        if self.kind == "reasoning":
            return reasoning_item(self.id, self.text)
        if self.call is None:
            return message_item(self.id, self.content, status)
        return call_item(self.id, self.call.id, self.call.name, self.text, status)


@final
class ResponsesWriting:
    """One streamed answer; see `Writing`."""

    def __init__(self, asked: Asked, *, name: str, created: int, model: str = "") -> None:
        self._about, self._model = About(asked, name, created), model or asked.model
        self._number = 0
        self._item: _Item | None = None
        self._output: list[Object] = []

    def event(self, event: StreamEvent) -> bytes:
        """Return the events for an event; see `Writing.event`."""
        if isinstance(event, Restarted):
            if self._number:
                raise refuse_restart(event)
            return b""
        return (b"" if self._number else self._begin()) + self._more(event)

    def error(self, status: int, said: str, *, kind: str = "") -> bytes:
        """Return the event that reports an error: of the answer that failed, if it has begun."""
        kind = kind or openai_kind(status)
        if not self._number:
            return self._tell("error", code=kind, message=said, param=None)
        error = {"code": _error_code(status), "message": said, "type": kind}
        return self._tell(
            "response.failed",
            response=response_object(self._about, self._model, "failed", error=error, output=self._output),
        )

    def _begin(self) -> bytes:
        begun = response_object(self._about, self._model, "in_progress")
        return self._tell("response.created", response=begun) + self._tell("response.in_progress", response=begun)

    def _more(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text):
                item, opened = self._in("message")
                item.pieces.append(text)
                place = {**item.place, "content_index": 0}
                return opened + self._tell("response.output_text.delta", **place, delta=text, logprobs=[])
            case ReasoningDelta(""):
                return b""
            case ReasoningDelta(text):
                item, opened = self._in("reasoning")
                item.pieces.append(text)
                place = {**item.place, "summary_index": 0}
                return opened + self._tell("response.reasoning_summary_text.delta", **place, delta=text)
            case ToolCallStarted():
                return self._close("completed") + self._open("function_call", event)
            case ToolCallDelta(index, arguments):
                item = self._calling(index)
                item.pieces.append(arguments)
                return self._tell("response.function_call_arguments.delta", **item.place, delta=arguments)
            case Finished(response):
                return self._end(response)
            case _:
                raise ValueError(f"{type(event).__name__} is no piece of an answer")

    def _in(self, kind: Kind) -> tuple[_Item, bytes]:
        """Return the open item, which is of a kind, and what opens it."""
        if self._item is not None and self._item.kind == kind:
            return self._item, b""
        opened = self._close("completed") + self._open(kind)
        assert self._item is not None  # noqa: S101 - for the type: it was opened right now
        return self._item, opened

    def _calling(self, index: int) -> _Item:
        if self._item is None or self._item.call is None or self._item.call.index != index:
            raise ValueError("more of a tool call after something else")
        return self._item

    def _open(self, kind: Kind, call: ToolCallStarted | None = None) -> bytes:
        self._item = item = _Item(kind, self._about, len(self._output), call)
        added = self._tell("response.output_item.added", output_index=item.index, item=_begun(item))
        match kind:
            case "message":
                place = {**item.place, "content_index": 0}
                return added + self._tell("response.content_part.added", **place, part=text_part(""))
            case "reasoning":
                place = {**item.place, "summary_index": 0}
                return added + self._tell("response.reasoning_summary_part.added", **place, part=summary_part(""))
            case _:
                return added

    def _close(self, status: str, refused: str | None = None) -> bytes:
        item = self._item
        if item is None:
            return b""
        self._item = None
        told = self._done(item)
        if refused is not None:
            told += self._refused(item, refused)
        whole = item.whole(status)
        self._output.append(whole)
        return told + self._tell("response.output_item.done", output_index=item.index, item=whole)

    def _done(self, item: _Item) -> bytes:
        """Return what ends the part of an item that is open."""
        text, place = item.text, item.place
        match item.kind:
            case "message":
                place, part = {**place, "content_index": 0}, text_part(text)
                item.content.append(part)
                done = self._tell("response.output_text.done", **place, text=text, logprobs=[])
                return done + self._tell("response.content_part.done", **place, part=part)
            case "reasoning":
                place = {**place, "summary_index": 0}
                done = self._tell("response.reasoning_summary_text.done", **place, text=text)
                return done + self._tell("response.reasoning_summary_part.done", **place, part=summary_part(text))
            case "function_call":
                name = "" if item.call is None else item.call.name
                return self._tell("response.function_call_arguments.done", **place, name=name, arguments=text)

    def _refused(self, item: _Item, said: str) -> bytes:
        place = {**item.place, "content_index": len(item.content)}
        item.content.append(refusal_part(said))
        return b"".join(
            (
                self._tell("response.content_part.added", **place, part=refusal_part("")),
                self._tell("response.refusal.delta", **place, delta=said),
                self._tell("response.refusal.done", **place, refusal=said),
                self._tell("response.content_part.done", **place, part=refusal_part(said)),
            )
        )

    def _end(self, response: Response) -> bytes:
        told, said = b"", refusal(response)
        if said is not None and (self._item is None or self._item.kind != "message"):
            told = self._close("completed") + self._alone(said)
        told += self._close("incomplete" if is_cut(response) else "completed", said)
        whole = finished(self._about, response, self._output)
        return told + self._tell(f"response.{whole['status']}", response=whole)

    def _alone(self, said: str) -> bytes:
        """Return a message that is nothing but a refusal."""
        item = _Item("message", self._about, len(self._output))
        added = self._tell("response.output_item.added", output_index=item.index, item=_begun(item))
        told = added + self._refused(item, said)
        whole = item.whole("completed")
        self._output.append(whole)
        return told + self._tell("response.output_item.done", output_index=item.index, item=whole)

    def _tell(self, kind: str, **fields: object) -> bytes:
        told = event_of(kind, {"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return told


def _begun(item: _Item) -> Object:
    return item.whole("in_progress")


def _error_code(status: int) -> str:
    """Return the code of a failed answer, of which there are few: `openai.types.responses.ResponseError`."""
    if status in {402, 429}:
        return "rate_limit_exceeded"
    return "invalid_prompt" if status < 500 else "server_error"
