"""What real servers send, as literal JSON: never made by the codecs that it is there to test.

Shapes after the vendors' API references (chat completions; messages), fields that we do not read included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Wire: TypeAlias = Literal["openai", "anthropic"]

REQUEST_ID: dict[Wire, str] = {"openai": "x-request-id", "anthropic": "request-id"}
"""The header in which each vendor names a request."""

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


def prompt(body: Mapping[str, Any]) -> str:
    """Return the text of the last message of a request, on either wire."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def answer(wire: Wire, model: str, text: str, asked: str) -> bytes:
    """Return the body of a 200 that says `text`."""
    given, made = tokens(asked), tokens(text)
    if wire == "anthropic":
        return _json(
            {
                "id": "msg_01SIMULATED",
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {
                    "input_tokens": given,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": made,
                    "service_tier": "standard",
                },
            }
        )
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return _json(
        {
            "id": "chatcmpl-simulated",
            "object": "chat.completion",
            "created": 1760000000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": given,
                "completion_tokens": made,
                "total_tokens": given + made,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }
    )


def error(wire: Wire, status: int) -> bytes:
    """Return the body that the vendor of `wire` sends with `status`."""
    message = f"simulated {status}"
    if wire == "anthropic":
        kind = _ANTHROPIC_ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return _json({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"})
    kind, code = _OPENAI_ERRORS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    return _json({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
