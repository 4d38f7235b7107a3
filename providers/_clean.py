"""Making what a provider said fit to show: cut, on one line, and without our secrets."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

SHOWN = 500
"""Characters of a provider's message that are shown (chosen: a screenful; the request id leads to the rest)."""

_WINDOW = 8
_MASK = "[secret]"


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` on one line, at most 500 characters, escaped, with every piece of a secret masked.

    A piece is any run of eight or more characters that also stands in one of `secrets`: servers like to quote
    the key they refuse, or half of it.
    """
    for secret in secrets:
        text = _mask(text, secret)
    shown = text[:SHOWN]
    # ensure_ascii-like escapes only for what could forge or hide a line: controls, bidi marks, line separators
    shown = "".join(_escape(char) for char in shown)
    return shown + "…" if len(text) > SHOWN else shown


def _escape(char: str) -> str:
    if char in "\n\r\t":
        return " "
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return f"\\u{ord(char):04x}"
    return char


def _mask(text: str, secret: str) -> str:
    if len(secret) < _WINDOW:
        return text.replace(secret, _MASK) if secret else text
    pieces = {secret[i : i + _WINDOW] for i in range(len(secret) - _WINDOW + 1)}
    hidden = [False] * len(text)
    for i in range(len(text) - _WINDOW + 1):
        if text[i : i + _WINDOW] in pieces:
            hidden[i : i + _WINDOW] = [True] * _WINDOW
    if not any(hidden):
        return text
    out: list[str] = []
    for char, hide in zip(text, hidden, strict=True):
        if not hide:
            out.append(char)
        elif not out or out[-1] != _MASK:
            out.append(_MASK)
    return "".join(out)
