"""A request that is given on as it came: a client of the gateway and a provider speak the same wire. Pure.

Fields that nobody here knows survive. Only the model is ours, and what is set for the route stands in for what the
client does not say. Of the answer the bytes are kept as well; of a stream whole events, because one that is cut in the
middle could not be followed by the word that it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._request import Response, Usage
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
    thinking, limit = missing.get("thinking"), body.get("max_tokens")
    if isinstance(thinking, Mapping) and isinstance(limit, int) and thinking.get("budget_tokens", 0) >= limit:
        del missing["thinking"]  # a budget has to be below the limit, and the limit is the client's
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
