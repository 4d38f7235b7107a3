"""The OpenAI chat-completions dialect: how a client is answered. Pure.

    role   (content | reasoning_content | tool_calls)*   finish_reason   usage, where it is asked for   [DONE]

What the model thinks goes into `reasoning_content`, as DeepSeek and others write it. What only an issuer can read is
written as the issuer does: `reasoning_details` (OpenRouter) and, with a tool call, `extra_content` (Gemini). A stream
tells it at its end, because it is known only then; of several tool calls only the last one can still get its own.

A refusal is told twice: its text is content as of any answer, because a stream does not know yet, and `refusal` says
at the end that it was one.

Source: platform.openai.com/docs/api-reference/chat, as of the SDK `openai` 3.52.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from ._inward import Asked
from ._json import decode, encode
from ._messages import Block, Reasoning, ToolCall
from ._request import FinishReason, Response, Usage
from ._stream import Finished, ReasoningDelta, Restarted, StreamEvent, TextDelta, ToolCallDelta, ToolCallStarted
from ._turns_openai import REASONING
from ._written import Object, data_of, ended, refusal, refuse_restart
from ._written_errors import openai_error

_FINISH: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "other": "stop",
}

_DONE = b"data: [DONE]\n\n"


def whole(response: Response, asked: Asked, *, name: str, created: int) -> bytes:
    """Return a whole answer; see `Dialect.write`."""
    message: Object = {"role": "assistant", "content": response.text or None, "refusal": refusal(response)}
    if thought := response.reasoning:
        message[REASONING] = thought
    if details := details_of(response.blocks):
        message["reasoning_details"] = details
    if calls := [_call(call) for call in response.tool_calls]:
        message["tool_calls"] = calls
    message["annotations"] = []
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[ended(response)]}
    return encode(
        {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion",
            "created": created,
            "model": response.model or asked.model,
            "choices": [choice],
            "usage": usage_of(response.usage),
            "service_tier": None,
            "system_fingerprint": None,
        }
    )


def _call(call: ToolCall) -> Object:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **_extra(call)}


def _extra(call: ToolCall) -> Object:
    extra = _opaque(call.details)
    return {"extra_content": extra} if isinstance(extra, dict) else {}


def details_of(blocks: Sequence[Block]) -> list[Any]:
    """Return what only the issuers of the thinking can read, as one list."""
    told = [_opaque(block.details) for block in blocks if isinstance(block, Reasoning)]
    return [part for some in told if isinstance(some, list) for part in some]


def _opaque(details: str | None) -> Any:
    try:
        return None if details is None else decode(details.encode())
    except ValueError:
        return None


def usage_of(usage: Usage) -> Object | None:
    """Return the tokens of an answer; None where none are told. One that is not told beside others counts as 0."""
    if usage == Usage():
        return None
    taken, given = usage.input_tokens or 0, usage.output_tokens or 0
    prompt: Object = {"cached_tokens": usage.cache_read_tokens, "audio_tokens": None}
    if usage.cache_write_tokens is not None:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    completion = {
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": None,
        "accepted_prediction_tokens": None,
        "rejected_prediction_tokens": None,
    }
    return {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


@final
class OpenAIWriting:
    """One streamed answer; see `Writing`."""

    def __init__(self, asked: Asked, *, name: str, created: int, model: str = "") -> None:
        self._wants_usage = asked.wants_usage
        self._head: Object = {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model or asked.model,
            "service_tier": None,
            "system_fingerprint": None,
        }
        self._is_open = False
        self._before, self._after = self._frame()

    def _frame(self) -> tuple[bytes, bytes]:
        """Return what stands around a delta: nearly all chunks are the same but for it."""
        choice = {"index": 0, "delta": None, "logprobs": None, "finish_reason": None}
        told = {"usage": None} if self._wants_usage else {}
        before, _, after = encode({**self._head, "choices": [choice], **told}).partition(b'"delta":null')
        return b'data: %b"delta":' % before, after + b"\n\n"

    def event(self, event: StreamEvent) -> bytes:
        """Return the chunks for an event; see `Writing.event`."""
        if isinstance(event, Restarted):
            if self._is_open:
                raise refuse_restart(event)
            return b""
        opening = b"" if self._is_open else self._delta({"role": "assistant", "content": "", "refusal": None})
        self._is_open = True
        if isinstance(event, ReasoningDelta) and not event.text:
            return opening
        if isinstance(event, Finished):
            return opening + self._end(event.response)
        return opening + self._delta(_delta(event))

    def error(self, status: int, said: str, *, kind: str = "") -> bytes:
        """Return a chunk that reports an error; no `[DONE]` follows."""
        return b"data: %b\n\n" % openai_error(status, said, kind=kind)

    def _delta(self, delta: Object) -> bytes:
        return b"%b%b%b" % (self._before, encode(delta), self._after)

    def _end(self, response: Response) -> bytes:
        late = _late(response)
        written = self._delta(late) if late else b""
        head = {**self._head, "model": response.model or self._head["model"]}
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _FINISH[ended(response)]}
        told = {"usage": None} if self._wants_usage else {}
        written += data_of({**head, "choices": [choice], **told})
        if self._wants_usage:
            written += data_of({**head, "choices": [], "usage": usage_of(response.usage)})
        return written + _DONE


def _delta(event: StreamEvent) -> Object:
    match event:
        case TextDelta(text):
            return {"content": text}
        case ReasoningDelta(text):
            return {REASONING: text}
        case ToolCallStarted(index, identity, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": identity, "type": "function", "function": function}]}
        case ToolCallDelta(index, arguments):
            return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
        case _:
            raise ValueError(f"{type(event).__name__} is no piece of an answer")


def _late(response: Response) -> Object:
    """Return what is known only at the end."""
    late: Object = {}
    if (said := refusal(response)) is not None:
        late["refusal"] = said
    if details := details_of(response.blocks):
        late["reasoning_details"] = details
    calls = response.tool_calls
    if calls and (extra := _extra(calls[-1])):
        late["tool_calls"] = [{"index": len(calls) - 1, **extra}]
    return late
