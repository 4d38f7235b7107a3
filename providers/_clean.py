"""Making what a provider said fit to show: cut, on one line, and without our secrets.

Servers quote the key they refuse, whole or half of it, and not always as it was sent: a gateway shows the
`Authorization` header that it made of it, a login page the address it was sent to, PHP's JSON a `\\/` for each slash.
So a text is read in several ways, and a secret is looked for in each of them, as itself and in base64.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import final

SHOWN = 500
"""Characters of a provider's message that are shown (chosen: a screenful; the request id leads to the rest)."""

_LOOKED_AT = 4096
"""Characters that are looked at (chosen: keys of 200 characters, escaped threefold, and what is shown beside them)."""

_WINDOW = 8
_LEAST = 4
"""Characters of a secret below which it is none (chosen): what servers that want no key are sent, such as `x` or `na`,
stands in half of all words.
"""

_MASK = "[secret]"

_BACKSLASH = re.compile(r"\\(?:u(?P<code>[0-9a-fA-F]{4})|x(?P<byte>[0-9a-fA-F]{2})|(?P<char>.))", re.DOTALL)
"""A character as JSON, JavaScript or Python escapes it."""

_PERCENT = re.compile(r"%(?P<code>)(?P<byte>[0-9a-fA-F]{2})")
"""A character as an address escapes it (RFC 3986 section 2.1)."""

_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization"})
"""The headers in which a credential is shown, whatever it looks like."""

_TELLING = ("auth", "cookie", "credential", "key", "password", "secret", "signature", "token")
"""What the names of others have in them; a value of theirs is taken for a secret if it is long enough for one."""


def credentials_in(fields: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return what headers, or the fields of a query, show of secrets, each without its scheme (`Bearer`, `Basic`)."""
    found = set[str]()
    for name, value in fields:
        lower = name.lower()
        if not any(word in lower for word in _TELLING):
            continue
        secret = value.partition(" ")[2].strip() or value
        if lower in _CREDENTIALS or len(secret) >= _WINDOW:
            found.add(secret)
    return frozenset(found)


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` on one line, at most 500 characters, escaped, with every piece of a secret masked.

    A piece is any run of eight or more characters that also stands in one of `secrets`, as it is, in base64 or escaped
    for JSON or an address; of one shorter than that, the whole, and nothing of one that is too short to be any.
    """
    return cleaner(secrets)(text)


def cleaner(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return `clean` for these secrets, for who has many texts to clean: the pieces are cut once."""
    pieces = {_alike(piece) for secret in secrets if secret for piece in _pieces(secret)}
    sought = _Sought(pieces)

    def clean(text: str) -> str:  # a closure, because no `repr` shows what it holds
        if not text:
            return ""
        masked = _mask(text[:_LOOKED_AT], sought) if pieces else text[:_LOOKED_AT]
        # ensure_ascii-like escapes only for what could forge or hide a line: controls, bidi marks, line separators
        shown = masked[:SHOWN]
        if not shown.isprintable():  # which no such character is
            shown = "".join(map(_escape, shown))
        return shown + "…" if len(masked) > SHOWN or len(text) > _LOOKED_AT else shown

    return clean


def _alike(text: str) -> str:
    """Return a text with `-` or `/` for the letters that another form of a secret has in their place: base64 in its two
    alphabets (RFC 4648 sections 4 and 5), a space in a form that was sent. Telling them apart would hide no more.
    """
    return text.replace(" ", "-").replace("+", "-").replace("_", "/")  # many times as fast as `translate`


def _escape(char: str) -> str:
    if char in "\n\r\t":
        return " "
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return f"\\u{ord(char):04x}"
    return char


@final
class _Sought:
    """The pieces to look for, and a quick way to see that a text holds none: most do not, and each answer is looked at.

    Every run of letters as long as the shortest piece holds one whole block that begins at a multiple of the stride,
    whatever the run begins at; so a text none of whose blocks is a piece's holds no piece.
    """

    __slots__ = ("_block", "_blocks", "_stride", "pieces", "sizes")

    def __init__(self, pieces: Set[str]) -> None:
        self.pieces, self.sizes = pieces, {len(piece) for piece in pieces}
        shortest = min(self.sizes, default=1)
        self._block = block = (shortest + 1) // 2
        self._stride = shortest - block + 1
        self._blocks = {piece[i : i + block] for piece in pieces for i in range(len(piece) - block + 1)}

    def may_be_in(self, letters: str) -> bool:
        """Say whether a piece may stand there; False is certain."""
        block = self._block
        return not self._blocks.isdisjoint([letters[i : i + block] for i in range(0, len(letters), self._stride)])


def _mask(text: str, sought: _Sought) -> str:
    """Return `text` with one mask for each run of characters that belong to a piece."""
    if "\\" not in text and "%" not in text and not sought.may_be_in(_alike(text)):
        return text  # read in one way only, and most hold nothing
    hidden, pieces = bytearray(len(text)), sought.pieces
    for reading in _readings(text):
        letters, begins = _alike(reading.text), reading.begins
        for size in sought.sizes if sought.may_be_in(letters) else ():
            for i in range(len(letters) - size + 1):
                if letters[i : i + size] in pieces:
                    hidden[begins[i] : begins[i + size]] = b"\1" * (begins[i + size] - begins[i])
    if not any(hidden):
        return text
    runs = re.finditer(b"\0+|\1+", hidden)
    return "".join(_MASK if run.group()[0] else text[run.start() : run.end()] for run in runs)


def _pieces(secret: str) -> Iterator[str]:
    """Every run of eight characters of a secret, and of its base64 wherever in a text it may begin."""
    if len(secret) < _WINDOW:
        yield from [secret] if len(secret) >= _LEAST else []
        return
    data = secret.encode("utf-8", "surrogatepass")
    for form in (secret, *(_base64(data, before) for before in range(3))):
        yield from (form[i : i + _WINDOW] for i in range(len(form) - _WINDOW + 1))


def _base64(data: bytes, before: int) -> str:
    """Return the letters of `data` in base64 where `before` bytes stand between it and the last multiple of three.

    Letters that it shares with those bytes are left out.
    """
    return b64encode(bytes(before) + data).decode("ascii").rstrip("=")[(0, 2, 3)[before] :]


@final
@dataclass(frozen=True, slots=True)
class _Reading:
    """A text as somebody may read it. `begins` says where in the original each character begins, and the last ends."""

    text: str
    begins: Sequence[int]


def _readings(text: str) -> Iterator[_Reading]:
    """Yield the text as it is, and without its escapes, two deep: an address in JSON, an address in an address."""
    layer = [_Reading(text, range(len(text) + 1))]
    yield from layer
    for _ in range(2):
        layer = [
            _unescaped(escape, reading)
            for reading in layer
            for mark, escape in (("\\", _BACKSLASH), ("%", _PERCENT))
            if mark in reading.text
        ]
        yield from layer


def _unescaped(escape: re.Pattern[str], reading: _Reading) -> _Reading:
    """Replace each escape by its character."""
    parts: list[str] = []
    begins: list[int] = []
    done = 0
    for found in escape.finditer(reading.text):
        parts += reading.text[done : found.start()], _char(found)
        begins += reading.begins[done : found.start() + 1]
        done = found.end()
    return _Reading("".join([*parts, reading.text[done:]]), [*begins, *reading.begins[done:]])


def _char(found: re.Match[str]) -> str:
    code = found["code"] or found["byte"]
    return chr(int(code, 16)) if code else found["char"]
