"""Server-sent events: the same ones come out however the bytes are cut, and as the standard says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import anthropic._streaming
import openai._streaming
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import Verdict, _sse
from understudy.providers._sse import Event, SSEDecoder
from understudy.providers._wire import WireError

BOM = b"\xef\xbb\xbf"


def events_of(*parts: bytes) -> list[Event]:
    """Feed one decoder, and return all that it finds."""
    decoder = SSEDecoder()
    return [event for part in parts for event in decoder.feed(part)]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Return the data in parts, cut at these places."""
    return [data[begin:end] for begin, end in pairwise([0, *sorted(min(place, len(data)) for place in at), len(data)])]


def by_the_standard(stream: bytes) -> list[Event]:
    """Read a whole stream line by line, as the WHATWG writes it down."""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))[:-1]
    events: list[Event] = []
    name, data = b"", b""
    for line in lines:
        if not line:
            if data:
                events.append((name.decode("utf-8", "replace"), data[:-1]))
            name, data = b"", b""
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
    return events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"\n\n\n\n", []),
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\n\n", [("", b"a")]),
        (b"data:  a\n\n", [("", b" a")]),
        (b"data: a\r\n\r\n", [("", b"a")]),
        (b"data: a\r\r", [("", b"a")]),
        (b"data: a\n\r\n", [("", b"a")]),
        (b"data: a\r\n\r", [("", b"a")]),
        (b"\r\n\rdata: a\n\n\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
        (b"event: ping\ndata: {}\n\n", [("ping", b"{}")]),
        (b"data: {}\nevent: ping\n\ndata: a\n\n", [("ping", b"{}"), ("", b"a")]),
        (b"event: a\nevent: b\ndata: c\n\n", [("b", b"c")]),
        (b"event: \xff\ndata: a\n\n", [("\ufffd", b"a")]),
        (b"data: a\ndata: b\ndata:\n\n", [("", b"a\nb\n")]),
        (b"data\n\ndata\ndata\n\ndata:", [("", b""), ("", b"\n")]),
        (b": hello\n\n:\n\ndata: a\n: more\n\n", [("", b"a")]),
        (b"id: 1\nretry: 5\ndata: a\nfoo: bar\nbaz\n data: x\nDATA: y\n\n", [("", b"a")]),
        (b"event: ping\n\ndata: a\n\n", [("", b"a")]),  # without data it is no event, and its name is forgotten
        (BOM + b"data: a\n\n", [("", b"a")]),
        (BOM + b"\ndata: a\n\n", [("", b"a")]),
        (b"data: a\n\n" + BOM + b"data: b\n\n", [("", b"a")]),
        (BOM + BOM + b"data: a\n\n", []),
        (b"data: a: b\n\n", [("", b"a: b")]),
        (b"data: \xff\xfe\n\n", [("", b"\xff\xfe")]),
        (b"data: a\n\ndata: b\n", [("", b"a")]),
        (b"data: a\n\ndata: b", [("", b"a")]),
        (b'{"choices": []}\n\n', []),
        (b"<html>\n\n</html>\n\n", []),
    ],
)
def test_events_are_found(stream: bytes, events: list[Event]) -> None:
    """Line ends of every kind, names, lines of data, comments, the mark at the start: whole, or byte by byte."""
    assert events_of(stream) == events
    assert events_of(*cut(stream, list(range(len(stream))))) == events
    assert by_the_standard(stream) == events


BITS = [b"\n", b"\r", b"\r\n", b"\n\n", b"data: ", b"data", b"event", b": ", b":", b" ", b"id: 1", BOM, b"\xc3", b"x"]
STREAMS = st.lists(st.sampled_from(BITS) | st.binary(max_size=3), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 60), max_size=12)


@given(STREAMS, CUTS)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_cut_gives_the_same_events(stream: bytes, at: list[int]) -> None:
    """However the bytes come in, the events are those that the standard finds in the whole, and no byte is lost."""
    assert events_of(stream) == events_of(*cut(stream, at)) == by_the_standard(stream)


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
NAMES = st.none() | st.text("abc_", min_size=1, max_size=5)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def written(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A stream as a good server writes it, and what it holds."""
    end, stream, events = draw(ENDS), "", []
    for name, data in draw(st.lists(st.tuples(NAMES, st.lists(LINES, min_size=1, max_size=3)), max_size=6)):
        if draw(st.booleans()):
            stream += f": keep-alive{end}"
        stream += f"event: {name}{end}" if name else ""
        stream += "".join(f"data: {line}{end}" for line in data) + end
        events.append((name or "", "\n".join(data).encode()))
    return stream.encode(), events


SDKS = [openai._streaming.SSEDecoder, anthropic._streaming.SSEDecoder]


def theirs(decoder: Any, *parts: bytes) -> list[Event]:
    return [(event.event or "", event.data.encode()) for event in decoder().iter_bytes(iter(parts))]


@pytest.mark.parametrize("sdk", SDKS, ids=["openai", "anthropic"])
@given(written(), CUTS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_vendors_decoders_find_the_same(sdk: Any, made: tuple[bytes, list[Event]], at: list[int]) -> None:
    """In what a good server writes, the vendors' own decoders find the same events as ours."""
    stream, events = made
    assert events_of(*cut(stream, at)) == events
    assert theirs(sdk, stream) == events


DIFFERENCES: list[tuple[str, bytes, list[Event], list[Event], list[Event]]] = [
    ("a byte order mark", BOM + b"data: a\n\n", [("", b"a")], [], []),
    ("an event without data", b"event: ping\n\n", [], [("ping", b"")], [("ping", b"")]),
    ("an id, which they keep", b"id: 1\ndata: a\n\n\n", [("", b"a")], [("", b"a"), ("", b"")], [("", b"a"), ("", b"")]),
    ("a time to retry", b"retry: 5\n\n", [], [("", b"")], [("", b"")]),
]
"""What comes, and what is found by us, by OpenAI's decoder, and by Anthropic's. We are with the standard."""


@pytest.mark.parametrize(("stream", "ours", "openais", "anthropics"), [row[1:] for row in DIFFERENCES])
def test_where_the_vendors_decoders_differ(
    stream: bytes, ours: list[Event], openais: list[Event], anthropics: list[Event]
) -> None:
    """The differences are known, each of them."""
    assert events_of(stream) == by_the_standard(stream) == ours
    assert [theirs(sdk, stream) for sdk in SDKS] == [openais, anthropics]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that a test reaches."""
    monkeypatch.setattr(_sse, "LARGEST_EVENT", 20)
    return 20


def until_too_large(parts: list[bytes]) -> tuple[list[Event], WireError | None]:
    """Feed a decoder until it refuses, and return what it found before, and the refusal."""
    decoder, found = SSEDecoder(), list[Event]()
    for part in [*parts, b""]:
        try:
            found += decoder.feed(part)
        except WireError as error:
            with pytest.raises(WireError):
                decoder.feed(b"data: a\n\n")
            return found, error
    return found, None


@pytest.mark.parametrize(
    ("stream", "events", "is_refused"),
    [
        (b"data: " + b"x" * 14 + b"\n\n", 1, False),
        (b"data: " + b"x" * 14 + b"\r\n\r\n", 1, False),
        (b"data: " + b"x" * 15 + b"\n\n", 0, True),
        (b"data: a\n\ndata: " + b"x" * 15 + b"\n\ndata: b\n\n", 1, True),
        (b"data: a\n\ndata: " + b"x" * 16, 1, True),
        (b": " + b"x" * 30, 0, True),
        (b"data: a\ndata: b\ndata: c\n\n", 0, True),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_an_event_that_is_too_large_is_refused(
    small: int, stream: bytes, events: int, is_refused: bool, step: int
) -> None:
    """What came before it is given out, what comes after it is not, however the bytes come in."""
    found, refused = until_too_large(cut(stream, list(range(0, len(stream), step))))
    assert (len(found), refused is not None) == (events, is_refused)
    if refused:
        assert (refused.verdict, "larger than 20 bytes" in refused.message) == (Verdict.MALFORMED, True)


def test_sixteen_mebibytes_are_taken_in_small_parts() -> None:
    """An event of the largest size comes through; the work grows with its bytes, not with their square."""
    assert _sse.LARGEST_EVENT == 16 * 1024 * 1024
    part = b"x" * 1024
    parts = [b"data: ", *[part] * (16 * 1024 - 1), b"\n\n"]
    (event,) = events_of(*parts)
    assert len(event[1]) == len(part) * (16 * 1024 - 1)


def timed(parts: Iterator[bytes]) -> float:
    decoder, begin = SSEDecoder(), time.process_time()
    for part in parts:
        decoder.feed(part)
    return time.process_time() - begin


@pytest.mark.long
@pytest.mark.parametrize("piece", [b"x", b"\n", b"\r", b"data: x\n", b"data: x\n\n"])
def test_time_is_linear(piece: bytes) -> None:
    """Four times the bytes, one at a time, take about four times as long: quadratic would be sixteen times."""

    def once(times: int) -> float:
        stream = b"data: " + piece * times
        return min(timed(stream[i : i + 1] for i in range(len(stream))) for _ in range(3))

    size = 20_000 // len(piece)
    assert once(4 * size) < 8 * once(size) + 0.01
