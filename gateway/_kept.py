"""Heads that are said again: what a client sends ahead of each request is the same but for its body's length. Pure.

    POST /v1/messages HTTP/1.1 … content-length:| 512 |… the empty line
    └──────────────── before ─────────────────┘       └──── after ────┘

What came between these very bytes once, and was no violation, is none with another number of as many digits at most: a
head that is the same is read once. Whoever judges it by what it says alone leaves a note on it (`Head.notes`), and need
not judge it again. It is kept for its connection alone, because a head holds a token.
"""

from __future__ import annotations

import re
from typing import NamedTuple, final

from ._values import Head

KEPT = 4
"""Heads that are kept of a connection (chosen: those of a client that asks in two dialects, and streams or not)."""

LARGEST = 2048
"""Bytes of a head that is kept (chosen: those of the vendors' SDKs have 700)."""

DIGITS = 15
"""Of a length, at most (chosen: a petabyte)."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,%d})[ \t]*\r\n" % DIGITS, re.IGNORECASE)


@final
class Incoming(NamedTuple):
    """A request whose head is here, and how its body comes: `length` bytes of it, or chunks if there is none. `expects`
    says that the client waits for a 100 before it sends the body, `is_old` that it speaks HTTP/1.0, `encoding` how the
    body is packed.
    """

    head: Head
    length: int | None = 0
    expects: bool = False
    keeps_alive: bool = True
    is_old: bool = False
    encoding: str = ""


@final
class _Known(NamedTuple):
    """A head that was read: its length as it was said, the bytes around that, and what was announced."""

    before: bytes
    digits: bytes
    after: bytes
    incoming: Incoming


@final
class Kept:
    """The last heads of one connection. It has no `repr` of its own, and shows none of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: list[_Known] = []

    def keep(self, data: bytes, incoming: Incoming) -> None:
        """Keep a head that was read, if it announces a body: what is said of one may depend on whether there is any."""
        found = _LENGTH.search(data) if incoming.length and len(data) <= LARGEST else None
        if found is not None:
            start, end = found.span(1)
            self._known = [_Known(data[:start], found[1], data[end:], incoming), *self._known[: KEPT - 1]]

    def take(self, buffer: bytearray) -> Incoming | None:
        """Take a head that is kept out of what has come; None if none of them is there, whole and with a body."""
        for number, (before, known, after, incoming) in enumerate(self._known):
            if not buffer.startswith(before):
                continue
            start = len(before)
            end = buffer.find(after, start, start + DIGITS + len(after))
            digits = bytes(buffer[start:end]) if end >= 0 else b""
            if not digits.isdigit() or not digits.strip(b"0"):
                continue
            del buffer[: end + len(after)]
            if number:
                self._known.insert(0, self._known.pop(number))
            return incoming if digits == known else _with_length(incoming, digits.decode("ascii"))
        return None


def _with_length(incoming: Incoming, digits: str) -> Incoming:
    """Return the same head with a body of another length."""
    head, _, expects, keeps_alive, is_old, encoding = incoming
    return Incoming(head.with_length(digits), int(digits), expects, keeps_alive, is_old, encoding)
