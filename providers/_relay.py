"""A request that is given on as it came: a client of the gateway and a provider speak the same wire. Pure.

Fields that nobody here knows survive. Only the model is ours, and what is set for the route stands in for what the
client does not say. Of the answer the bytes are kept as well; of a stream whole events, because one that is cut in the
middle could not be followed by the word that it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._request import Response, Usage
from ._turns_anthropic import goes_on_unthinking
from ._verdicts import Verdict
from ._wire import WireError, json_object, whole

DONE = b"[DONE]"
"""What ends a stream of the OpenAI wire."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one thing: a server that gets both refuses."""


def relayed(body: Mapping[str, Any], model: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that a provider is sent: the client's, for `model`, over what is set for the route.

    A field that is null says nothing, as in every dialect.
    """
    said = {name for name, value in body.items() if value is not None}
    taken = said | (_LIMITS if not _LIMITS.isdisjoint(said) else frozenset())
    missing = {name: value for name, value in defaults.items() if name not in taken}
    if "thinking" in missing and not _may_think(missing["thinking"], body):
        del missing["thinking"]
    return {**body, **missing, "model": model}


def read_count(body: bytes, content_type: str, transport: str) -> Response:
    """Return what says how many tokens a request has: an answer without content.

    Raises:
        WireError: It does not; `MALFORMED`.
    """
    tokens = whole(json_object(body, content_type).get("input_tokens"))
    if tokens is None:
        raise WireError(Verdict.MALFORMED, "the answer does not say how many tokens there are")
    return Response((), "", transport, "other", Usage(tokens))


def _may_think(thinking: Any, body: Mapping[str, Any]) -> bool:
    """Say whether thinking that is set for a route fits to what a client says: a budget has to be below its limit, and
    not in the middle of a turn that began without; and no tool may be forced.

    Source: platform.claude.com/docs/en/build-with-claude/extended-thinking, "Tool use with extended thinking".
    """
    if not isinstance(thinking, Mapping) or thinking.get("type") not in {"enabled", "adaptive"}:
        return True
    choice, limit = body.get("tool_choice"), body.get("max_tokens")
    if isinstance(choice, Mapping) and choice.get("type") in {"any", "tool"}:
        return False
    if thinking["type"] == "adaptive":
        return True
    is_below = not isinstance(limit, int) or thinking.get("budget_tokens", 0) < limit
    return is_below and not goes_on_unthinking(body.get("messages") or ())


def choices_in(body: Mapping[str, Any]) -> int:
    """Return how many answers a client asks for at once."""
    wanted = body.get("n")
    return wanted if type(wanted) is int and wanted > 1 else 1


def as_sent(events: Iterable[tuple[str, bytes]]) -> bytes:
    """Return events as a server sends them."""
    return b"".join(map(_as_sent, events))


def _as_sent(event: tuple[str, bytes]) -> bytes:
    name, data = event
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data) if name else b"data: %b\n\n" % data
