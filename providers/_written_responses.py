"""The OpenAI responses dialect: how a client is answered whole, and the items of an answer. Pure.

    reasoning      what the model thought, as a summary: that is what this dialect shows of it
    message        text; a refusal is a part of its own, behind the text
    function_call  a tool call

Source: platform.openai.com/docs/api-reference/responses/object, as of the SDK `openai` 3.52.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ._inward import Asked
from ._json import encode
from ._messages import Reasoning, ToolCall
from ._request import Response, Usage
from ._written import Object, refusal, runs

Kind: TypeAlias = Literal["reasoning", "message", "function_call"]

_IDS: Mapping[Kind, str] = {"reasoning": "rs", "message": "msg", "function_call": "fc"}

_ENDINGS: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by its finish reason."""


@final
@dataclass(frozen=True, slots=True)
class About:
    """What all of one answer has in common: what was asked, the random part of its ids, and a Unix time."""

    asked: Asked
    name: str
    created: int

    def item_id(self, kind: Kind, index: int) -> str:
        """Return the id of an item of the output."""
        return f"{_IDS[kind]}_{self.name}_{index}"


def response_object(about: About, model: str, status: str, **more: object) -> Object:
    """Return an answer's object, with what was asked as far as it is to be repeated."""
    body = about.asked.body
    reasoning: Mapping[str, Any] = body.get("reasoning") or {}
    summary = reasoning.get("summary") or reasoning.get("generate_summary")
    return {
        "id": f"resp_{about.name}",
        "object": "response",
        "created_at": about.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": summary},
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **_given(body.get("text"))},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
        **more,
    }


def _given(fields: Mapping[str, Any] | None) -> Object:
    return {name: value for name, value in (fields or {}).items() if value is not None}


def whole(response: Response, asked: Asked, *, name: str, created: int) -> bytes:
    """Return a whole answer; see `Dialect.write`."""
    about = About(asked, name, created)
    return encode(finished(about, response, list(items(about, response))))


def finished(about: About, response: Response, output: list[Object]) -> Object:
    """Return the object of an answer that has ended."""
    reason = _ENDINGS.get(response.finish_reason)
    return response_object(
        about,
        response.model or about.asked.model,
        "completed" if reason is None else "incomplete",
        incomplete_details=None if reason is None else {"reason": reason},
        output=output,
        usage=usage_of(response.usage),
    )


def is_cut(response: Response) -> bool:
    """Say whether the answer is incomplete, and with it its last item."""
    return response.finish_reason in _ENDINGS


def items(about: About, response: Response) -> Iterator[Object]:
    """Yield the output of a whole answer."""
    parts = list(runs(response))
    said = refusal(response)
    for index, run in enumerate(parts):
        is_last = index == len(parts) - 1
        status = "incomplete" if is_last and is_cut(response) else "completed"
        if run.kind is Reasoning:
            yield reasoning_item(about.item_id("reasoning", index), run.text)
        elif isinstance(call := run.blocks[0], ToolCall):
            yield call_item(about.item_id("function_call", index), call.id, call.name, call.arguments, status)
        else:
            content = [text_part(run.text), *([refusal_part(said)] if said and is_last else [])]
            said = None if is_last else said
            yield message_item(about.item_id("message", index), content, status)
    if said:
        yield message_item(about.item_id("message", len(parts)), [refusal_part(said)], "completed")


def reasoning_item(identity: str, text: str) -> Object:
    """Return what the model thought."""
    summary = [summary_part(text)] if text else []
    return {"id": identity, "type": "reasoning", "summary": summary, "encrypted_content": None}


def summary_part(text: str) -> Object:
    """Return the one part of a summary."""
    return {"type": "summary_text", "text": text}


def call_item(identity: str, call_id: str, name: str, arguments: str, status: str) -> Object:
    """Return a tool call."""
    call = {"arguments": arguments, "call_id": call_id, "name": name}
    return {"id": identity, "type": "function_call", "status": status, **call}


def message_item(identity: str, content: list[Object], status: str) -> Object:
    """Return a message of the assistant."""
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str) -> Object:
    """Return a part of a message that is text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Object:
    """Return a part of a message that is a refusal."""
    return {"type": "refusal", "refusal": text}


def usage_of(usage: Usage) -> Object | None:
    """Return the tokens of an answer; None where none are told. Beside others each must be a number."""
    if usage == Usage():
        return None
    taken, given = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": taken,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": taken + given,
    }
