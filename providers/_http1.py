"""HTTP/1.1 as a client sees it: the bytes of a request, and an answer as it comes, out of llhttp's parser. Pure.

llhttp is the parser of Node.js, and strict: what could be read in two ways (two lengths, a length beside chunks,
malformed headers) is a violation (RFC 9112 sections 5 and 6.3). Lines of a head that end in a mere line feed, headers
that are folded and spaces behind the size of a chunk are read, as by other clients: old servers and proxies send them,
and they have one meaning (sections 2.2, 5.2 and 7.1.1). What llhttp does not know is decided here: how much of a head
is read, where an answer without a length ends, and what may follow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import httptools

HEAD_LIMIT = 64 * 1024
"""Bytes of a head, with those of 1xx answers before it, and of trailers (R-LS-4; h11's limit is 100 KiB)."""

TOO_LONG = f"a head or a trailer is longer than {HEAD_LIMIT} bytes"

_BODILESS = frozenset({204, 304})

Header = tuple[bytes, bytes]


REQUEST_TIMEOUT = 408
_REQUEST_IDS = frozenset({b"request-id", b"x-request-id"})


@final
class ProtocolError(Exception):
    """What came is not HTTP/1.1."""


def head_of(method: bytes, target: bytes, headers: Iterable[Header]) -> bytes:
    """Return the head of a request.

    Raises:
        ProtocolError: A header holds what would end its line.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target), *(b"%b: %b" % header for header in headers), b"", b""]
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise ProtocolError("a header holds a line break or a NUL")
    return head


def is_crossing(status: int, headers: Iterable[Header], *, is_last: bool) -> bool:
    """Say whether an answer that came on a kept connection is none to the request that was sent on it.

    A server that closes an idle connection may say so by a 408, which then crosses the next request: that may be sent
    again on another connection (RFC 9110 section 15.5.9). It is taken for that where it is the `is_last` answer of its
    connection and names no request, as whoever has seen one does: a 408 of an application's own has an id.
    """
    return status == REQUEST_TIMEOUT and is_last and not any(name.lower() in _REQUEST_IDS for name, _ in headers)


@final
class Reader:
    """Reads the answers of one connection, one after the other.

        begin ──▶ head ──▶ body … ──▶ is_at_end ──▶ begin

    `feed` takes what has come, `take` gives what of a body is here. `is_at_end` says that the answer is whole, and
    `may_follow` that another request may be sent on this connection. What comes before a violation counts, however it
    was cut up: `failed` is for when all that was taken.
    """

    __slots__ = (
        *("_fed", "_is_delimited", "_keeps_alive", "_parser", "_parts", "failed", "has_extra", "headers", "is_at_end"),
        *("is_headed", "status"),
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,  # folded ones, and any character: a NUL is refused below
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self.failed: ProtocolError | None = None
        self.has_extra = False
        self.begin()

    def begin(self) -> None:
        """Expect the answer to another request."""
        self.status, self.headers = 0, list[Header]()
        self._parts: list[bytes] = []
        self.is_headed = self.is_at_end = self._keeps_alive = False
        self._is_delimited = True
        self._fed = 0

    @property
    def is_last(self) -> bool:
        """Say whether this answer says that it is the last one of its connection."""
        return not self._keeps_alive

    @property
    def may_follow(self) -> bool:
        """Say whether another request may be sent: this answer is whole, nothing came after it, and it keeps alive."""
        return self.is_at_end and self._keeps_alive and self.failed is None and not self.has_extra

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self.failed is not None or self._parser is None:
            return
        before = len(self._parts)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.is_at_end:
                self.has_extra = True
            else:
                self._fail(str(error))
        self._fed = 0 if len(self._parts) > before or self.is_at_end else self._fed + len(data)
        if self._fed > HEAD_LIMIT:  # since content came last: a head, hints before it, trailers, extensions of chunks
            self._fail(TOO_LONG)

    def _fail(self, why: str) -> None:
        if self.failed is None:  # the parser says the same of everything that follows
            self.failed = ProtocolError(why)

    def feed_eof(self) -> bool:
        """Take the end of the connection; say whether an answer ends with it."""
        if self.is_headed and not self.is_at_end and not self._is_delimited and self.failed is None:
            self.is_at_end = True
        return self.is_at_end

    def cut(self) -> None:
        """End an answer here, however much of it has come; nothing may follow it."""
        self.is_at_end, self.has_extra = self.is_headed, True

    def take(self) -> bytes:
        """Return what of the body is here."""
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of the parser, which holds this."""
        self._parser = None

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self.is_at_end:
            self.has_extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for trailers too, which say nothing that we want."""
        if not self.is_headed and not self.is_at_end:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        if parser is None or self.is_at_end:
            return
        status = parser.get_status_code()
        if status < 200:
            self.headers.clear()
            if status == 101:
                self._fail("the connection was switched to another protocol")
            elif status < 100:
                self._fail("the status is none")
            return
        self.status, self.is_headed = status, True
        self._keeps_alive = parser.should_keep_alive()
        if self._fed and sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT:
            self._fail(TOO_LONG)  # it came in several parts, the last one perhaps with content
        is_packed, self._is_delimited = False, status in _BODILESS
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"content-length":
                self._is_delimited = True
            elif lower == b"transfer-encoding":
                if is_packed or value.strip().lower() != b"chunked":
                    self._fail("the transfer encoding is none that was asked for")
                is_packed = self._is_delimited = True
            if b"\0" in value:
                self._fail("a header holds a NUL")

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if not self.is_at_end and self.failed is None:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser; after a 1xx answer, too."""
        if self.is_headed and self.failed is None:
            self.is_at_end = True
