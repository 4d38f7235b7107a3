"""A body in chunks, decoded as it comes and without forgiveness. Pure.

    size ──▶ data ──▶ end of the data ──▶ size … ──▶ trailers ──▶ whole

A size is hexadecimal digits, then perhaps an extension, then CR LF, and nothing else; data ends in CR LF and nothing
else: whoever takes two bytes there without looking can be made to read a second request out of the first
(CVE-2025-43859).
Trailers and extensions are checked, bounded, and forgotten: nothing here wants them.

Source: RFC 9112 sections 7.1 and 7.1.2.
"""

from __future__ import annotations

import re
from typing import Literal, final

from ._violations import Violation

LINE_LIMIT = 256
"""Bytes of a line that announces a chunk, its extension included (chosen: a size takes 8; R-GW-4)."""

EXTENSION_LIMIT = 16 * 1024
"""Bytes of all extensions of a body (chosen as Go's net/http does after CVE-2023-39326)."""

CHUNK_LIMIT = 65_536
"""Chunks of a body (chosen: 32 MiB in pieces of 512 bytes; each costs a turn of a loop, however small it is)."""

TRAILER_LIMIT = 8 * 1024
"""Bytes of all trailers (chosen)."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})((?:;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


@final
class Chunks:
    """Decodes one body of at most `limit` bytes. `received` counts what has come of it."""

    __slots__ = ("_body", "_chunks", "_extensions", "_left", "_limit", "_stage", "_trailers")

    def __init__(self, limit: int) -> None:
        self._limit, self._body = limit, bytearray()
        self._stage: Literal["size", "data", "end", "trailers"] = "size"
        self._left = self._chunks = self._extensions = self._trailers = 0

    @property
    def received(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    def take(self, buffer: bytearray) -> bytes | None:
        """Take what is the body's off the front of a buffer; return the body once it is whole.

        Raises:
            Violation: These are no chunks, or too many, or the body is too long.
        """
        at = 0
        while True:
            before, is_whole = (self._stage, at), False
            match self._stage:
                case "size":
                    at = self._size(buffer, at)
                case "data":
                    at = self._data(buffer, at)
                case "end":
                    at = self._end(buffer, at)
                case "trailers":
                    at, is_whole = self._trailer(buffer, at)
            if is_whole or before == (self._stage, at):
                del buffer[:at]
                return bytes(self._body) if is_whole else None

    def _size(self, buffer: bytearray, at: int) -> int:
        end = _line(buffer, at, LINE_LIMIT)
        if end < 0:
            return at
        found = _SIZE.fullmatch(buffer, at, end)
        self._chunks += 1
        if found is None or self._chunks > CHUNK_LIMIT:
            raise Violation(400, "a chunk's size is none" if found is None else "the body has too many chunks")
        self._extensions += len(found[2])
        if self._extensions > EXTENSION_LIMIT:
            raise Violation(400, "the extensions of the chunks are too long")
        self._left = int(found[1], 16)
        if len(self._body) + self._left > self._limit:
            raise Violation(413, f"the body is longer than {self._limit} bytes")
        self._stage = "data" if self._left else "trailers"
        return end + 2

    def _data(self, buffer: bytearray, at: int) -> int:
        with memoryview(buffer) as view:
            piece = view[at : at + self._left]
            self._body += piece
            taken = len(piece)
            piece.release()
        self._left -= taken
        if not self._left:
            self._stage = "end"
        return at + taken

    def _end(self, buffer: bytearray, at: int) -> int:
        end = buffer[at : at + 2]
        if not b"\r\n".startswith(end):
            raise Violation(400, "a chunk does not end where it should")
        if len(end) < 2:
            return at
        self._stage = "size"
        return at + 2

    def _trailer(self, buffer: bytearray, at: int) -> tuple[int, bool]:
        end = _line(buffer, at, TRAILER_LIMIT)
        if end < 0:
            return at, False
        if end == at:
            return at + 2, True
        self._trailers += end + 2 - at
        if self._trailers > TRAILER_LIMIT or _TRAILER.fullmatch(buffer, at, end) is None:
            raise Violation(400, "a trailer is too long, or is none")
        return end + 2, False


def _line(buffer: bytearray, at: int, limit: int) -> int:
    """Return where a line ends that begins at `at`; -1 if that is not known yet."""
    end = buffer.find(b"\n", at, at + limit + 2)
    if end < 0:
        if len(buffer) - at > limit:
            raise Violation(400, "a line between the chunks is too long")
        return -1
    if end == at or buffer[end - 1] != 0x0D:
        raise Violation(400, "a line between the chunks ends in a bare LF")
    return end - 1
