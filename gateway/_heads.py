"""The head of an answer, and how its body is sent. Pure."""

from __future__ import annotations

from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import final

from ._values import HTTPAnswer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}
_BODILESS = frozenset({204, 304})
_OURS = frozenset({"connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding"})
"""Fields that the server says itself: whatever else is said there would tear an answer from its body."""


@final
class Framing(Enum):
    """How a client knows where a body ends (RFC 9112 section 6)."""

    NONE = auto()
    LENGTH = auto()
    CHUNKS = auto()
    CLOSE = auto()


@final
class AnswerError(Exception):
    """An answer that cannot be sent as it is."""


def framing_of(method: str, answer: HTTPAnswer, *, is_old: bool) -> Framing:
    """Return how the body of an answer is sent: not at all to HEAD, nor with 204 and 304 (RFC 9110 sections 9.3.2,
    15.3.5 and 15.4.5); HTTP/1.0 knows no chunks.
    """
    if method == "HEAD" or answer.status in _BODILESS:
        return Framing.NONE
    if answer.parts is None:
        return Framing.LENGTH
    return Framing.CLOSE if is_old else Framing.CHUNKS


def head_of(answer: HTTPAnswer, framing: Framing, *, date: str, closes: bool) -> bytes:
    """Return the head of an answer.

    Args:
        date: As `http_date` gives it.
        closes: The connection is not used again.

    Raises:
        AnswerError: A field holds what would end its line, or what no field can hold; or this is no final answer.
    """
    if answer.status < 200:
        raise AnswerError("an answer has a status of 200 or more")
    fields = [f"{name}: {value}\r\n" for name, value in answer.headers if name not in _OURS]
    text, ends = "".join(fields), len(fields)
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise AnswerError("a field of an answer holds a line break or a NUL")
    line, is_whole = _LINES.get(answer.status) or f"HTTP/1.1 {answer.status} ", framing is Framing.LENGTH
    if is_whole or (framing is Framing.NONE and answer.parts is None and answer.status not in _BODILESS):
        ours = f"content-length: {len(answer.body)}\r\n"
    else:
        ours = "transfer-encoding: chunked\r\n" if framing is Framing.CHUNKS else ""
    end = "connection: close\r\n\r\n" if closes or framing is Framing.CLOSE else "\r\n"
    try:
        return f"{line}\r\n{text}{ours}date: {date}\r\n{end}".encode("latin-1")
    except UnicodeEncodeError:
        raise AnswerError("a field of an answer holds what is not latin-1") from None


def fields_of(answer: HTTPAnswer, framing: Framing) -> list[tuple[bytes, bytes]]:
    """Return the fields of an answer whose framing, but for a length, is somebody else's.

    Raises:
        AnswerError: As for `head_of`.
    """
    head_of(answer, framing, date="", closes=False)
    fields = [(name, value) for name, value in answer.headers if name not in _OURS]
    if framing is Framing.LENGTH:
        fields.append(("content-length", str(len(answer.body))))
    if answer.closes:
        fields.append(("connection", "close"))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def chunk_of(part: bytes) -> bytes:
    """Return a part as a chunk; nothing for an empty one, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(part), part) if part else b""


def http_date(seconds: float) -> str:
    """Return an instant of the calendar as RFC 9110 section 5.6.7 writes it."""
    return formatdate(seconds, usegmt=True)
