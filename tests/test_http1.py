"""HTTP/1.1 as a client: what is an answer, what is none, and that it does not matter how it was cut up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.providers._http1 import HEAD_LIMIT, TOO_LONG, ProtocolError, Reader, head_of

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"content-length: 5\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n"


@dataclass(frozen=True)
class Read:
    """What became of some bytes: `ended` if an answer was whole, by itself or with the connection."""

    status: int
    body: bytes
    ended: bool
    may_follow: bool
    failed: str


def read(data: bytes, step: int, *, eof: bool = True) -> Read:
    """Feed data in pieces, and then the end of the connection."""
    reader, body = Reader(), b""
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        body += reader.take()
    may_follow = reader.may_follow
    ended = reader.feed_eof() if eof else reader.is_at_end
    return Read(reader.status, body, ended, may_follow, str(reader.failed or ""))


ANSWERS: list[tuple[str, bytes, bytes, bool]] = [
    ("a length", LENGTH + b"\r\nhello", b"hello", True),
    ("chunks", CHUNKED + b"\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n", b"hello", True),
    ("chunks and trailers", CHUNKED + b"\r\n5\r\nhello\r\n0\r\nx-late: 1\r\n\r\n", b"hello", True),
    ("the end of the connection", OK + b"\r\nhello", b"hello", False),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    ("not kept", LENGTH + b"connection: close\r\n\r\nhello", b"hello", False),
    ("nothing", OK + b"content-length: 0\r\n\r\n", b"", True),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("after 100", b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + b"\r\nhello", b"hello", True),
    ("after 103", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3 + LENGTH + b"\r\nhello", b"hello", True),
    ("no reason", b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    ("more than was asked for", LENGTH + b"\r\nhello" + LENGTH + b"\r\nagain", b"hello", False),
    ("rubbish behind it", LENGTH + b"\r\nhello rubbish", b"hello", False),
    ("an error", b"HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    ("line feeds alone", b"HTTP/1.1 200 OK\ncontent-length: 5\nx: 1\n\nhello", b"hello", True),
    ("line feeds among others", OK + b"content-length: 5\nx: 1\r\n\nhello", b"hello", True),
    ("line feeds in a trailer", CHUNKED + b"\r\n5\r\nhello\r\n0\r\nx: 1\n\n", b"hello", True),
    ("hints of line feeds", b"HTTP/1.1 103 Early Hints\nlink: x\n\n" + LENGTH + b"\r\nhello", b"hello", True),
    ("a folded header", LENGTH + b"x: 1\r\n 2\r\n\t3\r\n\r\nhello", b"hello", True),
    ("a folded length", OK + b"content-length:\r\n 5\r\n\r\nhello", b"hello", True),
    ("a folded packing", OK + b"transfer-encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello", True),
    ("a folded end", LENGTH + b"connection: x,\r\n close\r\n\r\nhello", b"hello", False),
    ("folded by line feeds", b"HTTP/1.1 200 OK\nx: 1\n 2\ncontent-length: 5\n\nhello", b"hello", True),
    ("spaces behind a chunk's size", CHUNKED + b"\r\n5  \r\nhello\r\n0 \r\n\r\n", b"hello", True),
    ("empty headers", OK + b"x:\r\ny: \r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    ("a kept HTTP/1.0", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    ("a switch that was none", LENGTH + b"upgrade: h2c\r\nconnection: upgrade\r\n\r\nhello", b"hello", True),
    ("obs-text", LENGTH + b"x: \xfc\r\n\r\nhello", b"hello", True),
]


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("data", "body", "follows"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_what_is_an_answer(data: bytes, body: bytes, follows: bool, step: int) -> None:
    """Its body, whether another request may follow on its connection, and no failure."""
    got = read(data, step)
    assert (got.body, got.ended, got.failed) == (body, True, "")
    if step == 10_000 or "again" not in repr(data):  # cut up, what follows has not come when the answer is taken
        assert got.may_follow == follows


@pytest.mark.parametrize("data", [row[1] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_it_does_not_matter_where_it_is_cut(data: bytes) -> None:
    """At any byte: status, headers and body are the same."""
    whole = Reader()
    whole.feed(data)
    body = whole.take()
    for cut in range(len(data) + 1):
        reader = Reader()
        reader.feed(data[:cut])
        came = reader.take()
        reader.feed(data[cut:])
        assert came + reader.take() == body
        assert (reader.status, reader.headers, reader.failed) == (whole.status, whole.headers, None)
        assert (reader.may_follow, reader.has_extra) == (whole.may_follow, whole.has_extra)


def test_a_folded_header_is_one() -> None:
    """Without the ends of its lines."""
    reader = Reader()
    reader.feed(LENGTH + b"x: 1\r\n 2\r\n\t3\r\ny: 4\r\n\r\nhello")
    assert reader.headers[1:] == [(b"x", b"1 2\t3"), (b"y", b"4")]


NO_ANSWERS: list[tuple[str, bytes, bytes]] = [
    ("two lengths", LENGTH + b"content-length: 6\r\n\r\nhello", b""),
    ("a length and chunks", LENGTH + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b""),
    ("a signed length", OK + b"content-length: +5\r\n\r\nhello", b""),
    ("a length of words", OK + b"content-length: five\r\n\r\nhello", b""),
    ("a huge length", OK + b"content-length: " + b"9" * 40 + b"\r\n\r\nhello", b""),
    ("a status that is none", b"HTTP/1.1 042 OK\r\ncontent-length: 5\r\n\r\nhello", b""),
    ("a carriage return alone", OK + b"x: 1\rcontent-length: 5\r\n\r\nhello", b""),
    ("carriage returns alone", b"HTTP/1.1 200 OK\rcontent-length: 5\r\rhello", b""),
    ("the same length twice", LENGTH + b"content-length: 5\r\n\r\nhello", b""),
    ("a length over two lines", OK + b"content-length: 5\r\n 6\r\n\r\nhello", b""),
    ("a packing over two lines", OK + b"transfer-encoding: gzip,\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b""),
    ("a blank before the colon", OK + b"x : 1\r\ncontent-length: 5\r\n\r\nhello", b""),
    ("a NUL", OK + b"x: a\0b\r\ncontent-length: 5\r\n\r\nhello", b""),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", b""),
    ("HTTP/2", b"HTTP/2 200\r\n\r\n", b""),
    ("a page of its own", b"<html></html>", b""),
    ("a bad chunk", CHUNKED + b"\r\n5\r\nhello\r\nzz\r\n", b"hello"),
    ("a chunk without its end", CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n", b"hello"),
    ("a chunk of line feeds", CHUNKED + b"\r\n5\nhello\n0\n\n", b""),
    ("packed", OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b""),
    ("a switch of protocols", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello", b""),
    ("an endless head", OK + b"x: " + b"y" * HEAD_LIMIT, b""),
    ("an endless trailer", CHUNKED + b"\r\n5\r\nhello\r\n0\r\nx: " + b"y" * 3 * HEAD_LIMIT, b"hello"),
    ("two packings", CHUNKED + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n", b""),
    ("endless hints", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 2000, b""),
]


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(("data", "body"), [row[1:] for row in NO_ANSWERS], ids=[row[0] for row in NO_ANSWERS])
def test_what_is_none(data: bytes, body: bytes, step: int) -> None:
    """It fails with a reason; what came before counts, and no other request follows."""
    if len(data) > 10_000 and step == 1:
        step = 13
    got = read(data, step)
    assert got.failed
    assert (got.body, got.ended, got.may_follow) == (body, False, False)


@pytest.mark.parametrize(
    "data", [LENGTH + b"\r\nhell", CHUNKED + b"\r\n5\r\nhello\r\n0\r\n", OK + b"x: y", b"HTT", b""]
)
def test_what_is_cut_off_has_not_ended(data: bytes) -> None:
    """The connection's end ends an answer only where nothing else says how long it is."""
    assert not read(data, 3).ended


@pytest.mark.parametrize("cut", [1, 30_000, 65_536, 69_990, 70_000])
def test_a_head_is_too_long_however_it_was_cut(cut: int) -> None:
    """Also where its end comes together with content."""
    data = LENGTH + b"x: " + b"y" * 70_000 + b"\r\n\r\nhello"
    reader = Reader()
    for part in (data[:cut], data[cut:]):
        reader.feed(part)
    assert (reader.take(), str(reader.failed)) == (b"", TOO_LONG)


def test_one_answer_after_the_other() -> None:
    """A reader that is begun anew has forgotten the one before."""
    reader = Reader()
    for number in range(3):
        reader.feed(LENGTH + b"x: %d\r\n\r\nhell%d" % (number, number))
        assert (reader.status, reader.take(), reader.may_follow) == (200, b"hell%d" % number, True)
        assert reader.headers[1:] == [(b"x", b"%d" % number)]
        reader.begin()
        assert (reader.is_headed, reader.is_at_end, reader.headers) == (False, False, [])


def test_closed_it_takes_nothing() -> None:
    """It has let go of its parser."""
    reader = Reader()
    reader.close()
    reader.feed(LENGTH + b"\r\nhello")
    assert (reader.take(), reader.is_at_end) == (b"", False)


def test_the_head_of_a_request() -> None:
    """A line for each header, as they are given."""
    head = head_of(b"POST", b"/v1?a=b", [(b"Host", b"here.test"), (b"x", b"\xfc y")])
    assert head == b"POST /v1?a=b HTTP/1.1\r\nHost: here.test\r\nx: \xfc y\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\r\n"])
def test_a_header_cannot_begin_another(value: bytes) -> None:
    """Whatever is in it: that is refused before anything is sent."""
    for header in ((b"x", value), (value, b"x")):
        with pytest.raises(ProtocolError, match="line break or a NUL"):
            head_of(b"POST", b"/", [header])


def by_h11(data: bytes) -> tuple[int, bytes, bool] | None:
    """Return what h11 makes of an answer: its status, its body, whether it was whole; None if it is none."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body, data_left = 0, b"", [data, b""]
    try:
        while True:
            event: Any = connection.next_event()
            if event is h11.NEED_DATA:
                if not data_left:
                    return status, body, False
                connection.receive_data(data_left.pop(0))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body, True
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return status, body, False
    except h11.RemoteProtocolError as error:
        return (status, body, False) if "complete message body" in str(error) else None


@given(
    status=st.sampled_from([200, 201, 204, 304, 400, 429, 503]),
    headers=st.lists(st.sampled_from([b"x: 1", b"X-Long: " + b"y" * 500, b"retry-after: 3", b"content-type: a/b"])),
    body=st.binary(max_size=300),
    form=st.sampled_from(["length", "chunks", "end"]),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    missing=st.integers(0, 30),
    bare=st.sets(st.integers(0, 12)),
    fold=st.booleans(),
)
def test_what_h11_reads_is_read_so_here(
    status: int, headers: list[bytes], body: bytes, form: str, cuts: list[int], missing: int, bare: set[int], fold: bool
) -> None:
    """Two parsers, one outcome, however an answer is cut up, and wherever it breaks off; also where some lines of its
    head end in a mere line feed, and one is folded.
    """
    if status in {204, 304}:
        body, form = b"", "length" if status == 304 else "end"
    lines, data = [b"HTTP/1.1 %d X" % status, *headers], body
    if form == "length" and status != 304:
        lines.append(b"content-length: %d" % len(body))
    if form == "chunks":
        lines.append(b"transfer-encoding: chunked")
        parts = [body[i : i + 50] for i in range(0, len(body), 50)]
        data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    if fold and len(lines) > 1:
        lines.insert(2, b"\t folded")
        lines[1] = b"x: 1"
    ends = [b"\n" if number in bare else b"\r\n" for number in range(len(lines) + 1)]
    whole = b"".join(line + end for line, end in zip([*lines, b""], ends, strict=True)) + data
    sent = whole[: len(whole) - missing] if missing < len(whole) else whole
    reader, read_body, at, turn = Reader(), b"", 0, 0
    while at < len(sent):
        step = cuts[turn % len(cuts)]
        reader.feed(sent[at : at + step])
        read_body += reader.take()
        at, turn = at + step, turn + 1
    ended = reader.feed_eof()
    expected = by_h11(sent)
    if expected is None or not expected[0]:
        assert not ended
    else:
        assert (reader.status, read_body, ended) == expected
