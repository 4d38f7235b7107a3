"""HTTP/1.1 as a strict server sees it: requests out of bytes, however they were cut up, or a violation. Pure.

    head ──▶ body ──▶ head of the next request

What could be read in two ways by two parties is refused, not repaired: whoever stands before this server may have read
it in the other way, and what is smuggled past them would be a request of its own (RFC 9112 sections 2.2, 5.1, 5.2,
6.1, 6.3 and 11.2; R-GW-4). A head is looked at as bytes first, then llhttp, the parser of Node.js, has to agree, and
what the two leave open is decided from the fields. Chunks are decoded in `_chunks.py`, because llhttp does not tell
where a request ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import final

import httptools

from ._chunks import Chunks
from ._kept import DIGITS, Incoming, Kept
from ._values import Head, Headers
from ._violations import Violation

HEAD_LIMIT = 32 * 1024
"""Bytes of a head (R-GW-4)."""

FIELD_LIMIT = 100
"""Fields of a head (R-GW-4)."""

_ALLOWED = bytes([*range(0x20, 0x7F), *range(0x80, 0x100), 0x09, 0x0D, 0x0A])
_VISIBLE = bytes(sorted({*range(0x21, 0x7F)} - {ord("#")}))
"""What a target is made of (RFC 3986 section 2): a fragment is never sent."""

_BARE = re.compile(rb"\r[^\n]|[^\r]\n")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})
_VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rf"[0-9]{{1,{DIGITS}}}")


@final
class Reader:
    """Reads the requests of one connection, one after the other.

    `feed` takes what has come; `take_head` and `take_body` give what is whole, and otherwise None.
    """

    __slots__ = ("_buffer", "_chunks", "_is_blank_skipped", "_kept", "_length", "_limit", "_peer", "_seen")

    def __init__(self, peer: str = "") -> None:
        self._peer, self._buffer, self._seen = peer, bytearray(), 0
        self._is_blank_skipped, self._kept = False, Kept()
        self._length, self._limit = 0, 0
        self._chunks: Chunks | None = None

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not taken."""
        return len(self._buffer)

    @property
    def received(self) -> int:
        """Bytes that have come of the body that is being read."""
        return len(self._buffer) if self._chunks is None else self._chunks.received

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what has come."""
        self._buffer.clear()

    def take_head(self) -> Incoming | None:
        """Return the next request, once its head is whole.

        Raises:
            Violation: It is none. That is said as soon as it is known, of a head that is not whole too.
        """
        buffer = self._buffer
        if not buffer:
            return None
        if (again := self._kept.take(buffer)) is not None:
            self._seen, self._is_blank_skipped = 0, False
            return again
        if not self._is_blank_skipped and buffer.startswith(b"\r\n"):  # one is forgiven: RFC 9112 section 2.2
            self._is_blank_skipped, self._seen = True, 0
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._seen - 3))
        if (len(buffer) if end < 0 else end + 4) > HEAD_LIMIT:
            raise Violation(431, f"the head of the request is longer than {HEAD_LIMIT} bytes")
        if end < 0:
            _check_part(bytes(buffer[max(0, self._seen - 1) :]), is_first=self._seen == 0)
            self._seen = len(buffer)
            return None
        data = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._seen, self._is_blank_skipped = 0, False
        incoming = read_head(data, self._peer)
        self._kept.keep(data, incoming)
        return incoming

    def expect_body(self, incoming: Incoming, limit: int) -> None:
        """Begin the body of a request.

        Raises:
            Violation: It is announced to be longer than `limit` bytes.
        """
        if incoming.length is not None and incoming.length > limit:
            raise Violation(413, f"the body is longer than {limit} bytes")
        self._length, self._limit = incoming.length or 0, limit
        self._chunks = Chunks(limit) if incoming.length is None else None

    def skip_body(self, incoming: Incoming) -> bool:
        """Pass over a body that nobody wants; say whether it is all here, so that what follows is the next request."""
        if incoming.length is None or incoming.length > len(self._buffer) or (incoming.expects and incoming.length):
            return False
        del self._buffer[: incoming.length]
        return True

    def take_body(self) -> bytes | None:
        """Return the body, once it is whole.

        Raises:
            Violation: It is no body, or is longer than was allowed.
        """
        buffer, length = self._buffer, self._length
        if self._chunks is not None:
            body = self._chunks.take(buffer)
            if body is not None:
                self._chunks = None
            return body
        if not length:
            return b""
        if len(buffer) < length:
            return None
        whole = bytes(memoryview(buffer)[:length])
        del buffer[:length]
        return whole


@final
class _Fields:
    """What llhttp finds in a head."""

    __slots__ = ("is_whole", "names", "values")

    def __init__(self) -> None:
        self.names, self.values = list[bytes](), list[bytes]()
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.names.append(name)
        self.values.append(value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.is_whole = True


def read_head(data: bytes, peer: str = "") -> Incoming:
    """Return the request that a head announces, from its first line to its empty one.

    Raises:
        Violation: It is none, or could be read in more than one way.
    """
    _check_bytes(data)
    method, target, is_old = _request_line(data[: data.index(b"\r\n")])
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # nobody here speaks anything else: the field is ignored, as RFC 9110 section 7.8 allows
    except httptools.HttpParserError as error:
        raise Violation(400, f"the head of the request is malformed: {error}") from None
    if not fields.is_whole:
        raise Violation(400, "the head of the request is malformed")
    return read_fields(method, target, _text(fields), is_old=is_old, peer=peer)


def read_fields(method: str, target: str, headers: Headers, *, is_old: bool, peer: str) -> Incoming:
    """Return the request that the fields of a head announce: all that can be judged where somebody else parsed it.

    Raises:
        Violation: It could be read in more than one way.
    """
    head = Head(method, target, headers, peer)
    host = _host(head.all("host"))
    length = _length(head, is_old=is_old)
    said = ",".join(head.all("connection")).lower()
    closes = is_old or ("close" in said and "close" in [word.strip() for word in said.split(",")])
    path = _origin_form(target, method, host)
    return Incoming(
        head if path == target else Head(method, path, headers, peer),
        length,
        _expects(head.all("expect"), is_old=is_old) and length != 0,
        not closes,
        is_old,
        ",".join(head.all("content-encoding")).strip().lower(),
    )


def _check_part(data: bytes, *, is_first: bool) -> None:
    """See that the beginning of a head can become one; `data` is what is new, and the byte before it."""
    if data.translate(None, _ALLOWED) or _BARE.search(data) or (is_first and data[:1] in {b"\n", b" ", b"\t"}):
        raise Violation(400, "this is no request of HTTP/1.1")


def _check_bytes(data: bytes) -> None:
    """See that a head consists of lines, and of what may be in them (RFC 9112 sections 2.2 and 5.2)."""
    if data.translate(None, _ALLOWED):
        raise Violation(400, "a control character or a NUL is in the head")
    lines = data.count(b"\n")
    if data.count(b"\r\n") != lines or data.count(b"\r") != lines:
        raise Violation(400, "a line of the head ends in a bare CR or LF")
    if b"\r\n " in data or b"\r\n\t" in data:
        raise Violation(400, "a line of the head is folded")
    if lines - 2 > FIELD_LIMIT:
        raise Violation(431, f"the request has more than {FIELD_LIMIT} fields")


def _request_line(line: bytes) -> tuple[str, str, bool]:
    """Return the method, the target, and whether it is HTTP/1.0 that is spoken."""
    words = line.split(b" ")
    if len(words) != 3 or words[2] not in _VERSIONS:
        raise Violation(400, "the request line is not that of HTTP/1.1")
    method, target, version = words
    if not target or target.translate(None, _VISIBLE):
        raise Violation(400, "the target holds what belongs in none")
    if method not in _METHODS:
        if method != b"CONNECT" and not _TOKEN.fullmatch(method):
            raise Violation(400, "the method is none")
        raise Violation(501, "the method is not known here")
    return method.decode("ascii"), target.decode("ascii"), _VERSIONS[version]


def _text(fields: _Fields) -> Headers:
    """Return the fields as text, decoded together: that costs a fifth."""
    names = b"\n".join(fields.names).lower().decode("latin-1").split("\n") if fields.names else []
    values = b"\n".join(fields.values).decode("latin-1").split("\n")
    return tuple([(name, value.strip(" \t")) for name, value in zip(names, values, strict=False)])


def _host(said: Sequence[str]) -> str:
    """Return the one host that was asked (RFC 9112 section 3.2), also of HTTP/1.0."""
    if len(said) != 1:
        raise Violation(400, "a request names exactly one Host")
    if not is_host(said[0]):
        raise Violation(400, "the Host is not a name or an address, and perhaps a port")
    return said[0]


def is_host(text: str) -> bool:
    """Say whether a Host is a name or an address, and perhaps a port: RFC 3986 section 3.2.2, without what no name of a
    server holds.
    """
    return _HOST.fullmatch(text) is not None


def _length(head: Head, *, is_old: bool) -> int | None:
    """Return how long the body is; None if it comes in chunks (RFC 9112 section 6.3)."""
    lengths, encodings = head.all("content-length"), head.all("transfer-encoding")
    if encodings:
        if lengths:
            raise Violation(400, "the body has a length and a transfer encoding")
        if is_old or len(encodings) > 1 or encodings[0].lower() != "chunked":
            raise Violation(400, "the transfer encoding is none that is known here")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Violation(400, "the length of the body is not one number")
    return int(lengths[0])


def _expects(said: Sequence[str], *, is_old: bool) -> bool:
    """Say whether the client waits for a 100 (RFC 9110 section 10.1.1)."""
    if not said or is_old:
        return False
    if len(said) > 1 or said[0].lower() != "100-continue":
        raise Violation(417, "nothing is known here that could be expected, but 100-continue")
    return True


def _origin_form(target: str, method: str, host: str) -> str:
    """Return the target as a path and perhaps a query; a whole address has to name the Host (RFC 9112 section 3.2)."""
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target
    scheme, separator, rest = target.partition("://")
    cut = next((at for at, sign in enumerate(rest) if sign in "/?"), len(rest))
    authority, path = rest[:cut], rest[cut:]
    if not separator or scheme.lower() != "http" or _without_port(authority) != _without_port(host):
        raise Violation(400, "the target is no path, and no address of this Host")
    return path if path.startswith("/") else "/" + path


def _without_port(host: str) -> str:
    """Return a host in small letters, without the port that goes without saying."""
    return host.lower().removesuffix(":80")
