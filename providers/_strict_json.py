"""The body of a request, read strictly: what two readers could understand differently is refused (R-GW-6). Pure.

orjson refuses NaN, infinities, lone surrogates and what is not UTF-8; it does not mind a name that stands twice in one
object (RFC 8259 section 4: "unpredictable"), reads whole numbers of more than 64 bits as others, and goes 1,024 levels
deep. Of nearly all bodies this is found out without reading the text again:

    fewer brackets than levels                   or the depth of what was read
    and written as orjson would write it         but for blanks: without them two texts that are the same have the same
                                                 members and numbers, so what was read has lost none
    else as many colons as names                 outside of texts
    and no long row of digits                    or one that is no such number

Only a body that is refused is read slowly, to say where.
"""

from __future__ import annotations

import re
from typing import Any

from ._inward import UnreadableError
from ._json import decode, encode

DEEPEST = 64
"""Objects and lists within each other (R-GW-6); what SDKs send has about ten."""


def decode_body(body: bytes) -> dict[str, Any]:
    """Return the object that a request's body is. It takes time in proportion to the body.

    Raises:
        UnreadableError: It is none, or not strictly so; says what is wrong and where, and repeats nothing of it.
    """
    try:
        read: Any = decode(body)
    except ValueError as error:
        raise _no_json(body, error) from None
    if type(read) is not dict:
        raise UnreadableError("the body must be a JSON object")
    if body.count(b"{") + body.count(b"[") > DEEPEST and _measured(read)[1] > DEEPEST:
        raise _where(body)
    written = encode(read)
    if written == body or written.translate(None, _BLANKS) == body.translate(None, _BLANKS):
        return read
    if _ROW in body.translate(_DIGITS_ALIKE) and _LONG.search(body) is not None:
        _check_numbers(_TEXT.sub(_blank, body))
    if _measured(read)[0] != _members(body):
        raise _where(body)
    return read


_BLANKS = b" \t\n\r"
"""What may stand between two tokens (RFC 8259 section 2); of these only a space may stand in a text as it is."""

_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_ROW = b"0" * 19


def _no_json(body: bytes, error: ValueError) -> UnreadableError:
    """Return the error for what orjson refuses; its own words repeat nothing."""
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return UnreadableError(f"the body is not UTF-8: byte {wrong.start}")
    if not body.strip():
        return UnreadableError("the body is empty: a JSON object belongs there")
    what, place = getattr(error, "msg", "no JSON"), getattr(error, "pos", 0)
    if "depth" in str(what):
        return _where(body)
    return UnreadableError(f"the body is no JSON: {str(what).partition(': ')[0]}, at character {place}")


def _measured(top: dict[str, Any]) -> tuple[int, int]:
    """Return how many names there are, and how many levels; with too many levels the rest is not looked at."""
    names = depth = 0
    level: list[Any] = [top]
    while level and depth <= DEEPEST:
        depth += 1
        below: list[Any] = []
        for part in level:
            if type(part) is dict:
                names += len(part)
                part = part.values()
            below += [inner for inner in part if type(inner) is dict or type(inner) is list]
        level = below
    return names, depth


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def _members(body: bytes) -> int:
    """Return how many members the objects of a JSON text have, as written."""
    return _TEXT.sub(b"", body).count(b":")


_LONG = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")
"""A whole number that may not fit into 64 bits: it would go on as another one (RFC 8259 section 6)."""


def _blank(text: re.Match[bytes]) -> bytes:
    return b"_" * len(text[0])


def _check_numbers(body: bytes) -> None:
    """Refuse whole numbers that orjson reads as others; `body` has no texts."""
    for found in _LONG.finditer(body):
        if len(found[0]) > _DIGITS or not -(2**63) <= int(found[0]) < 2**64:
            raise UnreadableError(f"the body has a whole number of more than 64 bits, at byte {found.start()}")


_DIGITS = 20
"""Of a number of 64 bits, or those of one with a sign and the sign."""


_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[\[\]{}]', re.DOTALL)


def _where(body: bytes) -> UnreadableError:
    """Return the error for what is too deep, or named twice."""
    names: list[set[object]] = []
    for token in _TOKEN.finditer(body):
        match body[token.start()]:
            case 0x7B | 0x5B:
                names.append(set())
                if len(names) > DEEPEST:
                    return UnreadableError(f"the body is nested more than {DEEPEST} deep, at byte {token.start()}")
            case 0x7D | 0x5D:
                names.pop()
            case _ if token[1] is not None:
                name = decode(token[0][: token.start(1) - token.start()])
                if name in names[-1]:
                    return UnreadableError(f"the body has a name twice in one object, at byte {token.start()}")
                names[-1].add(name)
    return UnreadableError("the body is no JSON that can be read in one way only")
