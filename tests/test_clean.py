"""Cleaning: what a provider said can be shown without forging a line or giving a secret away."""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

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


@pytest.mark.parametrize("key", ["x", "na", "key"])
def test_what_is_too_short_for_a_key_is_not_masked(key: str) -> None:
    """Servers that want none are sent some word: it would stand in half of what they say."""
    assert clean("unknown key in the index", [key]) == "unknown key in the index"
    assert clean(f"{key} and s3cr3t", [key, "s3cr3t"]) == f"{key} and [secret]"


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


Form = Callable[[str], str]


def as_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def slashed(text: str) -> str:
    return as_json(text).replace("/", "\\/")


def in_address(text: str) -> str:
    return quote(text, safe="")


def in_base64(before: int, encode: Callable[[bytes], bytes]) -> Form:
    return lambda text: encode(b"u" * before + text.encode()).decode()


def each(escape: str) -> Form:
    return lambda text: "".join(escape.format(ord(char)) for char in text)


def then(first: Form, second: Form) -> Form:
    return lambda text: second(first(text))


FORMS: dict[str, Form] = {
    "json": as_json,
    "json, slashes escaped": slashed,
    "json, all escaped": each("\\u{:04x}"),
    "json, all escaped, upper case": each("\\u{:04X}"),
    "json in json": then(as_json, as_json),
    "python": lambda text: repr(text.encode())[2:-1],
    "hexadecimal escapes": each("\\x{:02x}"),
    "address": in_address,
    "address, lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), in_address(text)),
    "address, all escaped": each("%{:02x}"),
    "form": quote_plus,
    "address in an address": then(in_address, in_address),
    "address in json": then(in_address, slashed),
    "json in an address": then(as_json, in_address),
}
for before in range(3):
    for encode in (b64encode, urlsafe_b64encode):
        name, form = f"{encode.__name__} after {before}", in_base64(before, encode)
        FORMS |= {name: form, f"{name} in an address": then(form, in_address), f"{name} in json": then(form, slashed)}


def surviving(shown: str, secret: str) -> list[str]:
    """Return the forms in which eight characters in a row of a secret stand in what is shown."""
    pieces = [secret[i : i + 8] for i in range(len(secret) - 7)]
    found = [name for name, form in FORMS.items() if "b64" not in name and any(form(p) in shown for p in pieces)]
    for before, first in ((0, 0), (1, 2), (2, 3)):  # a piece of eight bytes has ten letters that are its own
        for encode in (b64encode, urlsafe_b64encode):
            letters = [in_base64(before, encode)(piece)[first : first + 10] for piece in pieces]
            found += [f"{encode.__name__} after {before}" for letter in letters if letter in shown]
    return found


def test_a_survivor_is_found() -> None:
    """The judge of the next test sees each form of a secret that is not masked."""
    for name, form in FORMS.items():
        if " in " not in name:
            assert surviving("seen: " + form(KEY)[1:] + "!", KEY), name


@pytest.mark.parametrize("form", FORMS)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=200),
    around=st.tuples(st.text(max_size=30), st.text(max_size=30)),
    ends=st.tuples(st.integers(0, 199), st.integers(1, 200)),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_form_of_a_secret_gets_through(
    form: str, secret: str, around: tuple[str, str], ends: tuple[int, int]
) -> None:
    """Escaped, in an address or in base64, alone or one in the other, whole or in part: eight characters never show."""
    before, after = around
    quoted = FORMS[form](secret[min(ends) : max(ends)])
    assert not surviving(clean(f"{before} {quoted} {after}", [secret]), secret)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Basic " + b64encode(f"user:{KEY}".encode()).decode(), "Basic dXNlcjp[secret]=="),
        (f"at /login?key={quote(KEY, safe='')}&next=/", "at /login?key=[secret]&next=/"),
        (f"at /login?key={KEY.replace('-', '%2d')}", "at /login?key=[secret]"),
        ("nothing of it: %41%42 \\u0041 \\/ c2stQ2F", "nothing of it: %41%42 \\u0041 \\/ c2stQ2F"),
    ],
)
def test_a_form_is_masked_with_its_escapes(text: str, shown: str) -> None:
    """What is masked is what was quoted; the text around it stays as the server wrote it."""
    assert clean(text, [KEY]) == shown


@given(secret=st.text("abcdefghijklmnop0123456789", min_size=4, max_size=20), before=st.integers(0, 20), data=st.data())
def test_a_piece_is_found_wherever_it_stands(secret: str, before: int, data: st.DataObject) -> None:
    """Where in a text a piece begins, and how long the shortest piece is, makes no difference: every eight characters
    of a secret are masked, or the whole of a shorter one."""
    size = min(len(secret), 8)
    begin = data.draw(st.integers(0, len(secret) - size))

    assert clean("!" * before + secret[begin : begin + size] + "?", [secret]) == "!" * before + "[secret]?"
    assert clean("!" * before + secret[begin : begin + size - 1] + "?", [secret]) == (
        "!" * before + secret[begin : begin + size - 1] + "?"
    )
