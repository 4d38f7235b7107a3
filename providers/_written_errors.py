"""Errors as each dialect says them. Pure.

Sources: platform.openai.com/docs/guides/error-codes (and the answers of that API); platform.claude.com/docs/en/api/
errors, `anthropic.types.shared.ErrorObject` of the SDK 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping

from ._json import encode

_OPENAI: Mapping[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_ANTHROPIC: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def openai_kind(status: int) -> str:
    """Return the type of an error with this status."""
    return _OPENAI.get(status, "invalid_request_error" if status < 500 else "server_error")


def anthropic_kind(status: int) -> str:
    """Return the type of an error with this status."""
    return _ANTHROPIC.get(status, "invalid_request_error" if status < 500 else "api_error")


def openai_error(status: int, said: str, *, kind: str = "", code: str | None = None, param: str | None = None) -> bytes:
    """Return an error in the form of chat completions and of responses."""
    error = {"message": said, "type": kind or openai_kind(status), "param": param, "code": code}
    return encode({"error": error})


_DETAILS: Mapping[str, Mapping[str, object]] = {
    "thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
}
"""What is told beside the words where this field is at fault: their SDK then goes on without a thread (`ThreadState` of
`@anthropic-ai/sdk` 1.14, whose tool runner asks for one by itself).
"""


def anthropic_error(status: int, said: str, *, kind: str = "", param: str | None = None, name: str = "") -> bytes:
    """Return an error in the form of messages, which has a place neither for a code nor for a field."""
    error: dict[str, object] = {"type": kind or anthropic_kind(status), "message": said}
    if param is not None and param in _DETAILS:
        error["details"] = _DETAILS[param]
    return encode({"type": "error", "error": error, "request_id": f"req_{name}" if name else None})
