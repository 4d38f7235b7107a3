"""What a server and the gateway's application say to each other: a request's head, the request, an answer. Pure values.

    head ──▶ `refuse` ──▶ an answer, before the body is read        (who may ask, how large it may be)
      │
      ▼
    request ──▶ `answer` ──▶ an answer: a body, or its parts as they come

The server knows HTTP and sockets, and nothing of dialects; the application knows dialects, and nothing of sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, final

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names in lower case and values, in order."""

Methods: TypeAlias = tuple[str, ...]
"""What may be asked of a path."""


@final
@dataclass(frozen=True, slots=True)
class Head:
    """What stands before a request's body. `target` is as it was sent: a path, and perhaps a query; `peer` is the
    address of whoever asks, without its port. `path` is the target up to its query, nothing decoded: routes and rights
    go by it (R-GW-3). Its `repr` shows no header, because they hold tokens.
    """

    method: str
    target: str
    headers: Headers = field(repr=False)
    peer: str = ""
    path: str = field(init=False, repr=False, compare=False)
    notes: dict[object, Any] = field(init=False, repr=False, compare=False, default_factory=dict)
    _by_name: dict[str, list[str]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.target.partition("?")[0])
        by_name = self._by_name
        for name, value in self.headers:
            if name in by_name:
                by_name[name].append(value)
            else:
                by_name[name] = [value]

    def header(self, name: str) -> str | None:
        """Return the value of a header that comes once; None if there is none."""
        found = self.all(name)
        return found[0] if found else None

    def all(self, name: str) -> Sequence[str]:
        """Return each value of a header."""
        return self._by_name.get(name, ())

    def with_length(self, length: str) -> Head:
        """Return the head with another `content-length`, which is not 0, and with the same notes."""
        said = tuple([(name, length if name == "content-length" else value) for name, value in self.headers])
        head = Head(self.method, self.target, said, self.peer)
        object.__setattr__(head, "notes", self.notes)
        return head


@final
@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A whole request."""

    head: Head
    body: bytes = field(default=b"", repr=False)


@final
@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """An answer: `body` whole, or `parts` that follow one another. The server adds the length or the chunks, `date` and
    `connection`. With `closes` the connection is not used again.

    Parts end in one of three ways: they are all sent; or the server is told to end now, and sends what `cut` then gives
    in place of the others (an event of the dialect that says so, or nothing if none are left; the parts have to leave
    off where one may stand); or what makes them fails, and the client sees a body that is not whole. So it does where
    there is no `cut`.
    """

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    parts: AsyncIterator[bytes] | None = field(default=None, repr=False)
    cut: Callable[[], bytes] | None = field(default=None, repr=False)
    closes: bool = False


class Application(Protocol):
    """What a server serves."""

    def refuse(self, head: Head) -> HTTPAnswer | None:
        """Return the answer to a request whose body need not be read; None if it is to be answered.

        It does not wait.
        """
        ...

    def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
        """Return the answer to a request that is no proper HTTP, is too large or too slow, or that nobody has time for:
        `status` is 400, 408, 413, 415, 417, 429, 431, 500, 501 or 503, `said` is for people; without a `head` nobody
        knows what was asked for. It does not wait.
        """
        ...

    def answer(self, request: HTTPRequest) -> AbstractAsyncContextManager[HTTPAnswer]:
        """Give the answer to a request, for as long as its parts are sent. Whoever leaves early, or is cancelled, ends
        what is done for it. It does not raise for any request: a mistake of the gateway's own is a 500.

        It is cancelled when the client has left, and when the server is told to end now: then the client is sent the
        answer's `cut`, or what `broken` says of a 503 where nothing has been sent yet.
        """
        ...
