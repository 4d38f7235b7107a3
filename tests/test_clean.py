"""Cleaning: what a provider said can be shown without forging a line or giving a secret away."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import clean
from understudy.providers._clean import SHOWN

KEY = "sk-CanaryKey-0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain, with ümlauts and 漢字 and 🦉", "plain, with ümlauts and 漢字 and 🦉"),
        ("one\ntwo\r\nthree\tfour", "one two  three four"),
        ("\x1b[31mred\x1b[0m", "\\u001b[31mred\\u001b[0m"),
        ("\x00\x07\x7f\x85\x9b", "\\u0000\\u0007\\u007f\\u0085\\u009b"),
        ("abc\u202egnp.exe\u2066\u200f", "abc\\u202egnp.exe\\u2066\\u200f"),  # bidi marks
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028paragraph\u2029", "line\\u2028paragraph\\u2029"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("x" * SHOWN, "x" * SHOWN),
        ("x" * (SHOWN + 1), "x" * SHOWN + "…"),
        ("\n" * 100_000, " " * SHOWN + "…"),
    ],
)
def test_text_is_one_short_line_without_tricks(text: str, shown: str) -> None:
    """Line ends become spaces, what could forge or hide is escaped, and what is too long is cut."""
    assert clean(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: [secret]."),
        (f"key {KEY[:8]}… refused", "key [secret]… refused"),
        (f"key …{KEY[-8:]}", "key …[secret]"),
        (f"{KEY}{KEY}", "[secret]"),
        (f"{KEY[:9]} and {KEY[5:20]}", "[secret] and [secret]"),
        (f"key {KEY[:7]}", f"key {KEY[:7]}"),  # seven characters give nobody a key
        ("x" * (SHOWN - 4) + KEY, "x" * (SHOWN - 4) + "[sec…"),  # masked first, cut afterwards
        ("nothing of it", "nothing of it"),
        ("the other one: pw123", "the other one: [secret]"),
    ],
)
def test_every_piece_of_a_secret_is_masked(text: str, shown: str) -> None:
    """Eight characters in a row that stand in a secret never show; a secret shorter than that is masked whole."""
    assert clean(text, [KEY, "pw123", ""]) == shown


@given(st.text(max_size=700))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_text_breaks_a_log_line(text: str) -> None:
    """Whatever a server says, the result can be written as UTF-8, is one line, below 4 KiB, and has no hidden parts."""
    shown = clean(text)
    assert len(shown.encode()) < 4096
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text("abcABC019-_", min_size=8, max_size=40), st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_eight_characters_of_a_secret_get_through(secret: str, data: st.DataObject) -> None:
    """However a text quotes a secret, whole or in pieces, no eight characters of it are left."""
    starts = st.integers(0, len(secret) - 1)
    pieces = st.lists(st.tuples(starts, starts).map(lambda ends: secret[min(ends) : max(ends) + 1]), max_size=5)
    between = st.text("ab c\n.", max_size=3)
    text = "".join(piece + data.draw(between) for piece in data.draw(pieces))
    shown = clean(text, [secret])
    assert not [i for i in range(len(secret) - 7) if secret[i : i + 8] in shown]
