"""The other side of a wire: what a client asks in a dialect, and what it is answered. Pure.

A provider speaks a wire outward, a gateway inward: it reads requests and writes answers, streams and errors. Each
dialect is one module (`_inward_openai.py`, `_inward_anthropic.py`, `_inward_responses.py`) with one `Dialect` in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, final

from ._request import Neutral, Response
from ._stream import StreamEvent

DialectName: TypeAlias = Literal["openai", "anthropic", "responses"]


@final
class UnreadableError(ValueError):
    """A request that its dialect does not allow: `said` is for people, `field` is where in the body it is."""

    def __init__(self, said: str, field: str = "") -> None:
        super().__init__(said)
        self.said, self.field = said, field


@final
class Asked:
    """What a client asks.

    `model` is what it calls the model, `body` the request as it came, for a provider that speaks the same wire.
    `wants_usage` says that a stream is to tell the tokens, where a dialect asks for it.

    Args:
        read: Reads the rest of it.
    """

    __slots__ = ("_neutral", "_read", "body", "model", "streams", "wants_usage")

    def __init__(self, body: Mapping[str, Any], read: Callable[[], Neutral], *, wants_usage: bool) -> None:
        self.model: str = body["model"]
        self.streams, self.wants_usage = bool(body.get("stream")), wants_usage
        self.body, self._read = body, read
        self._neutral: Neutral | None = None

    def neutral(self) -> Neutral:
        """Return what is asked for a provider of any wire. It is read when somebody first needs it: where client and
        provider speak the same wire, nobody does.

        Raises:
            UnreadableError: It is none in this dialect.
        """
        if self._neutral is None:
            self._neutral = self._read()
        return self._neutral


class Writing(Protocol):
    """One streamed answer in a dialect, as server-sent events in bytes."""

    def event(self, event: StreamEvent) -> bytes:
        """Return what follows from an event. The first one brings what opens the stream, `Finished` what ends it.

        Raises:
            ValueError: It is `Restarted`, and something was written: these dialects cannot take it back.
        """
        ...

    def error(self, status: int, said: str, *, kind: str = "") -> bytes:
        """Return the dialect's own error event, after which there is no end (R-ST-2)."""
        ...


class Dialect(Protocol):
    """One dialect, as a gateway speaks it."""

    name: DialectName

    def read(self, body: Mapping[str, Any]) -> Asked:
        """Return what is asked.

        Raises:
            UnreadableError: It does not say what every request does, or names what a client may not choose.
        """
        ...

    def write(self, response: Response, asked: Asked, *, name: str, created: int) -> bytes:
        """Return a whole answer as JSON. `name` is a random one of 24 letters or digits, `created` a Unix time."""
        ...

    def writing(self, asked: Asked, *, name: str, created: int, model: str = "") -> Writing:
        """Return what writes a streamed answer. `model` is the one that answers: a stream names it before it ends."""
        ...

    def error(
        self,
        status: int,
        said: str,
        *,
        kind: str = "",
        code: str | None = None,
        param: str | None = None,
        name: str = "",
    ) -> bytes:
        """Return the JSON of an error. `kind` is the dialect's word for it, by default the one of the status; `name` is
        the request's, as for `write`, which not every dialect has a place for.
        """
        ...
