"""What real servers send, as literal JSON: never made by the codecs that it is there to test.

Shapes after the vendors' API references (chat completions; messages), fields that we do not read included.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ..providers import ContentEvent, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted

Wire: TypeAlias = Literal["openai", "anthropic"]

REQUEST_ID: dict[Wire, str] = {"openai": "x-request-id", "anthropic": "request-id"}
"""The header in which each vendor names a request."""

SIGNATURE = "c2ltdWxhdGVk"
"""What our simulated Claude signs its thoughts with."""

FRAGMENT = 8
"""Characters of a tool call's arguments that a stream brings at a time (chosen: several fragments for any of them)."""

_OPENAI_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
}

_ANTHROPIC_ERRORS: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def tokens(text: str) -> int:
    """Count tokens as our simulated models do: one per word."""
    return len(text.split())


def pieces(text: str) -> list[str]:
    """Cut a text into what a stream brings at a time: words, with the spaces that follow them."""
    return re.findall(r"\S+\s*|\s+", text)


@final
@dataclass(frozen=True, slots=True)
class Called:
    """A tool that a model asks for; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


@final
@dataclass(frozen=True, slots=True)
class Said:
    """What a simulated model says: a text, or calls of tools, after what it thinks. `given` are the tokens it read."""

    text: str
    given: int
    thinking: str = ""
    calls: tuple[Called, ...] = ()

    @property
    def thought(self) -> int:
        """The tokens that it thought."""
        return tokens(self.thinking)

    @property
    def made(self) -> int:
        """The tokens that it wrote, what it thought included."""
        return self.thought + tokens(self.text) + sum(tokens(call.arguments) for call in self.calls)

    @property
    def pieces(self) -> tuple[ContentEvent, ...]:
        """The answer as it comes in a stream."""
        said: list[ContentEvent] = [ReasoningDelta(word) for word in pieces(self.thinking)]
        said += [TextDelta(word) for word in pieces(self.text)]
        for index, call in enumerate(self.calls):
            said.append(ToolCallStarted(index, call.id, call.name))
            fragments = re.findall(rf".{{1,{FRAGMENT}}}", call.arguments, re.DOTALL)
            said += [ToolCallDelta(index, fragment) for fragment in fragments]
        return tuple(said)


def answer(wire: Wire, model: str, text: str, asked: str) -> bytes:
    """Return the body of a 200 that says `text`."""
    return whole(wire, model, Said(text, tokens(asked)))


def whole(wire: Wire, model: str, said: Said) -> bytes:
    """Return the body of a 200 that says all of it."""
    return _json(_message(model, said) if wire == "anthropic" else _completion(model, said))


def _message(model: str, said: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if said.thinking:
        content.append({"type": "thinking", "thinking": said.thinking, "signature": SIGNATURE})
    if said.calls:
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
            for call in said.calls
        ]
    else:
        content.append({"type": "text", "text": said.text})
    return {
        "id": "msg_01SIMULATED",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if said.calls else "end_turn",
        "stop_sequence": None,
        "usage": message_usage(said),
    }


def message_usage(said: Said) -> dict[str, Any]:
    """Return what an Anthropic server counts."""
    return {
        "input_tokens": said.given,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": said.made,
        "service_tier": "standard",
    }


def _completion(model: str, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    if said.thinking:
        message["reasoning_content"] = said.thinking
    finish = "tool_calls" if said.calls else "stop"
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": 1760000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": completion_usage(said),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def completion_usage(said: Said) -> dict[str, Any]:
    """Return what an OpenAI server counts."""
    return {
        "prompt_tokens": said.given,
        "completion_tokens": said.made,
        "total_tokens": said.given + said.made,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.thought, "audio_tokens": 0},
    }


def error(wire: Wire, status: int) -> bytes:
    """Return the body that the vendor of `wire` sends with `status`."""
    message = f"simulated {status}"
    if wire == "anthropic":
        kind = _ANTHROPIC_ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return named_error(wire, kind, message)
    kind, code = _OPENAI_ERRORS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    return named_error(wire, kind, message, code=code)


def named_error(wire: Wire, kind: str, message: str, *, code: str | None = None) -> bytes:
    """Return an error of that type, as it stands in the body of an answer and in an event of a stream."""
    if wire == "anthropic":
        return _json({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"})
    return _json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
