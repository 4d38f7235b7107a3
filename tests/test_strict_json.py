"""The body of a request, read strictly: the same objects as a slow reader, and none that it would refuse."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import UnreadableError, decode_body

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the body is empty: a JSON object belongs there"),
    "blank": (b" \n", "the body is empty: a JSON object belongs there"),
    "a list": (b"[]", "the body must be a JSON object"),
    "a text": (b'"a"', "the body must be a JSON object"),
    "cut": (b'{"a":', "the body is no JSON: unexpected end of data, at character 5"),
    "NaN": (b'{"a":NaN}', "the body is no JSON: unexpected character, expected a JSON value, at character 5"),
    "infinity": (b'{"a":-Infinity}', "the body is no JSON: no digit after sign, at character 6"),
    "a number without end": (b'{"a":1e999}', "the body is no JSON: number is infinity when parsed as double, at"),
    "a lone surrogate": (b'{"a":"\\ud800"}', "the body is no JSON: no low surrogate in string, at character 6"),
    "another": (b'{"a":"\\udc00"}', "the body is no JSON: invalid high surrogate in string, at character 6"),
    "no UTF-8": (b'{"a":"\xff"}', "the body is not UTF-8: byte 6"),
    "a surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "the body is not UTF-8: byte 6"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "the body is no JSON: UTF-8 byte order mark (BOM) is not supported"),
    "a name twice": (b'{"a":1,"a":2}', "the body has a name twice in one object, at byte 7"),
    "a name twice, escaped": (b'{"a":1,"\\u0061":2}', "the body has a name twice in one object, at byte 7"),
    "a name twice, before a space": (b'{"a" :1,"a":2}', "the body has a name twice in one object, at byte 8"),
    "a name twice, with a space": (b'{"a b": 1, "a b": 2}', "the body has a name twice in one object, at byte 11"),
    "a name twice, behind a lookalike": (b'{"ab": 1, "a b": 2, "ab": 3}', "the body has a name twice in one object"),
    "a name twice, of a backslash": (b'{"\\\\":1,"\\\\":2}', "the body has a name twice in one object, at byte 8"),
    "a name twice, far inside": (b'{"a":[{"b":"\\"c\\":"},{"b":1,"b":1}]}', "the body has a name twice in one"),
    "too deep": (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "the body is nested more than 64 deep, at byte 68"),
    "much too deep": (b'{"a":' * 2000 + b"1" + b"}" * 2000, "the body is nested more than 64 deep, at byte 320"),
    "a number too long": (b'{"a":"1", "b":18446744073709551616}', "the body has a whole number of more than 64 bits"),
    "a number too long, below 0": (
        b'{"b": -9223372036854775809}',
        "the body has a whole number of more than 64 bits, at",
    ),
    "a number much too long": (
        b'{"b": [' + b"1" * 300 + b"]}",
        "the body has a whole number of more than 64 bits, at",
    ),
    "deep beyond all": (b"[" * 10**6, "the body is nested more than 64 deep, at byte 64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """It is said what is wrong, and where."""
    body, said = REFUSED[name]
    with pytest.raises(UnreadableError) as caught:
        decode_body(body)
    assert caught.value.said.startswith(said)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' {"a" : [ {"b":1}, {"b":2} ] }\n',
        b'{"a":{"a":{"a":1}}}',
        b'{"a": ":", "b": ": \\u00e9", ":": [":", ":x"]}',
        b'{"a b": 1, "ab": 2, "a  b" :[ 3 , 4 ]}',
        b'{"a": "\\\\ \\" : ", "b": 1234567890123456789}',
        b'{"a":"\\":\\\\\\":","b\\\\":"x\\\\\\":"}',
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":"' + b"[{" * 99 + b'"}',
        b'{"a":1.0,"b":1e2,"c":-0,"d":"\\ud83d\\ude00"}',
    ],
)
def test_what_is_read(body: bytes) -> None:
    """What can be read in one way only is read."""
    assert decode_body(body) == json.loads(body)


def slow(body: bytes) -> dict[str, Any]:
    """The reference: the standard library, told of each pair."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def no(constant: str) -> NoReturn:
        raise ValueError(constant)

    read = json.loads(body.decode(), object_pairs_hook=once, parse_constant=no)
    if not isinstance(read, dict) or depth(read) > 64:
        raise ValueError("no object")
    json.dumps(read, ensure_ascii=False).encode()
    return read


def depth(value: Any) -> int:
    """How many objects and lists are within each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


NAMES = st.sampled_from(["a", "b", "a b", "ab ", '"', "\\", '\\"', ":", '":', " :", "ä", "{", "\u2028"]) | st.text(
    max_size=3
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(max_size=6) | NAMES
)


class Pairs(list[tuple[str, Any]]):
    """An object as it is written, whose names may stand there twice."""


def written(value: Any, colon: str, comma: str, *, ascii_only: bool) -> str:
    """The text of a value."""
    if isinstance(value, Pairs):
        inner = (
            f"{json.dumps(name, ensure_ascii=ascii_only)}{colon}{written(v, colon, comma, ascii_only=ascii_only)}"
            for name, v in value
        )
        return f"{{{comma.join(inner)}}}"
    if isinstance(value, list):
        return f"[{comma.join(written(v, colon, comma, ascii_only=ascii_only) for v in value)}]"
    return json.dumps(value, ensure_ascii=ascii_only)


VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(NAMES, inner), max_size=4).map(Pairs)
        | st.tuples(inner, st.integers(1, 80)).map(lambda both: nested(*both))
    ),
    max_leaves=12,
)


def nested(value: Any, levels: int) -> Any:
    """A value in so many lists."""
    for _ in range(levels):
        value = [value]
    return value


BODIES = st.builds(
    lambda pairs, colon, comma, ascii_only: written(Pairs(pairs), colon, comma, ascii_only=ascii_only),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from([":", ": ", " : ", "\n:", "\t:\r"]),
    st.sampled_from([",", ", ", "\n,"]),
    st.booleans(),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(BODIES.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_it_reads_what_the_slow_reader_reads(body: bytes) -> None:
    """Both read the same object, or both refuse."""
    try:
        expected = slow(body)
    except ValueError:
        with pytest.raises(UnreadableError):
            decode_body(body)
    else:
        assert decode_body(body) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text('{}[]":,\\ \n1aeu0d8', max_size=40).map(str.encode))
def test_nothing_else_is_raised(body: bytes) -> None:
    """Whatever comes is an object or an `UnreadableError`; and what is read, the slow reader reads."""
    try:
        read = decode_body(body)
    except UnreadableError:
        return
    assert read == slow(body)


@pytest.mark.parametrize(
    "piece",
    [b"[", b'{"a":', b'"\\"\\":",', b"{},", b'{"a" :1},', b'"\\\\",'],
    ids=["lists", "objects", "texts", "empty", "odd", "backslashes"],
)
def test_the_time_is_in_proportion_to_the_body(piece: bytes) -> None:
    """Eight times as much takes no more than thirty times as long (it would be sixty-four, were it quadratic)."""

    def taken(times: int) -> float:
        body = b'{"a" :[' + piece * times + b"1]}"
        best = 1e9
        for _ in range(3):
            begun = time.perf_counter()
            with contextlib.suppress(UnreadableError):
                decode_body(body)
            best = min(best, time.perf_counter() - begun)
        return best

    assert taken(80_000) < 30 * taken(10_000) + 0.01


def test_a_refusal_repeats_nothing() -> None:
    """What is in the body, its names included, is in no message."""
    for body in (b'{"canary":1,"canary":2}', b'{"canary": canary}', b'{"a":"canary\xff"}'):
        with pytest.raises(UnreadableError) as caught:
            decode_body(body)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 18446744073709551615, "b": -9223372036854775808}',
        b'{"a": "99999999999999999999", "b" : 1.00000000000000000000001, "c": 1e-00000000000000000000001}',
        b'{"99999999999999999999": 0.99999999999999999999}',
    ],
)
def test_what_fits_is_no_number_too_long(body: bytes) -> None:
    """Nor are digits in a text, or behind a point."""
    assert decode_body(body) == json.loads(body)
