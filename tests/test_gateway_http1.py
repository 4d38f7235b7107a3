"""HTTP/1.1 as a strict server: what is a request, what is none, and that it does not matter how it was cut up."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.gateway._chunks import CHUNK_LIMIT, EXTENSION_LIMIT, TRAILER_LIMIT, Chunks
from understudy.gateway._http1 import FIELD_LIMIT, HEAD_LIMIT, Reader
from understudy.gateway._kept import Incoming
from understudy.gateway._violations import Violation

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 1000


Found: TypeAlias = list[tuple[Incoming, bytes]]


def read_all(data: bytes, step: int = 1_000_000) -> tuple[Found, int]:
    """Return the requests that bytes hold, and the status of the violation behind them; 0 if there is none."""
    reader, found = Reader("peer"), Found()
    incoming: Incoming | None = None
    try:
        for at in range(0, len(data), step):
            reader.feed(data[at : at + step])
            while True:
                if incoming is None:
                    incoming = reader.take_head()
                    if incoming is None:
                        break
                    reader.expect_body(incoming, LIMIT)
                body = reader.take_body()
                if body is None:
                    break
                found.append((incoming, body))
                incoming = None
    except Violation as violation:
        return found, violation.status
    return found, 0


def read(data: bytes, step: int = 1_000_000) -> Found | int:
    """Return the requests that bytes hold; the status of the violation, if they hold one."""
    found, status = read_all(data, step)
    return status or found


REQUESTS: list[tuple[str, bytes, str, bytes]] = [
    ("no body", GET + b"\r\n", "/", b""),
    ("a query", b"GET /a?b=c%20d HTTP/1.1\r\n" + HOST + b"\r\n", "/a?b=c%20d", b""),
    ("a length", POST + b"Content-Length: 5\r\n\r\nhello", "/", b"hello"),
    ("a length of nothing", POST + b"Content-Length: 0\r\n\r\n", "/", b""),
    ("chunks", CHUNKED + b"2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n", "/", b"hello"),
    (
        "chunks of a capital",
        POST + b"transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "/",
        b"0123456789",
    ),
    ("chunks and extensions", CHUNKED + b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n', "/", b"hello"),
    ("chunks and trailers", CHUNKED + b"5\r\nhello\r\n0\r\nx-a: 1\r\nx-b:\r\n\r\n", "/", b"hello"),
    ("an empty line before it", b"\r\n" + GET + b"\r\n", "/", b""),
    ("an address in full", b"GET http://LOCALHOST:80/a?b HTTP/1.1\r\n" + HOST + b"\r\n", "/a?b", b""),
    ("an address without a path", b"GET HTTP://localhost?b HTTP/1.1\r\n" + HOST + b"\r\n", "/?b", b""),
    ("an asterisk", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", "*", b""),
    ("an upgrade, which is ignored", GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "/", b""),
    ("a web socket, which is ignored", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "/", b""),
    ("an address of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/", b""),
    ("obs-text in a value", GET + b"X: \xfc\r\n\r\n", "/", b""),
    ("colons in a value", GET + b"X: a : b:c\r\n\r\n", "/", b""),
    ("an empty value", GET + b"X:\r\n\r\n", "/", b""),
    ("as many fields as may be", GET + b"X: 1\r\n" * (FIELD_LIMIT - 1) + b"\r\n", "/", b""),
    ("as long as may be", GET + b"X: " + b"y" * (HEAD_LIMIT - len(GET) - 7) + b"\r\n\r\n", "/", b""),
    ("as much as may be", POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, "/", b"x" * 1000),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", "/", b""),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000_000])
@pytest.mark.parametrize(("data", "target", "body"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_what_is_a_request(data: bytes, target: str, body: bytes, step: int) -> None:
    """Its target and its body, and behind it the next one."""
    found = read(data * 3, step)
    assert isinstance(found, list)
    assert [(incoming.head.target, said) for incoming, said in found] == [(target, body)] * 3
    assert {incoming.head.peer for incoming, _ in found} == {"peer"}


BREACHES: list[tuple[str, int, bytes]] = [
    # M5 and R-GW-4
    ("a length beside chunks", 400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks beside a length", 400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths that differ", 400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("the same length twice", 400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("the same length in a list", 400, POST + b"Content-Length: 5, 5\r\n\r\nhello"),
    ("a Host that is a path", 400, b"GET / HTTP/1.1\r\nHost: a/?x=\r\n\r\n"),
    ("a folded field", 400, GET + b"X: 1\r\n 2\r\n\r\n"),
    ("a field folded by a tab", 400, GET + b"X: 1\r\n\t2\r\n\r\n"),
    ("a first field that is folded", 400, b"GET / HTTP/1.1\r\n X: 1\r\n" + HOST + b"\r\n"),
    ("a chunk that ends in XX", 400, CHUNKED + b"5\r\nhelloXX0\r\n\r\n"),
    ("a chunk that ends in LF", 400, CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    ("a chunk that is longer than it says", 400, CHUNKED + b"4\r\nhello\r\n0\r\n\r\n"),
    ("two Hosts", 400, GET + b"Host: localhost\r\n\r\n"),
    ("no Host", 400, b"GET / HTTP/1.1\r\nX: 1\r\n\r\n"),
    ("no field at all", 400, b"GET / HTTP/1.1\r\n\r\n"),
    ("no Host of HTTP/1.0", 400, b"GET / HTTP/1.0\r\nX: 1\r\n\r\n"),
    ("packed chunks", 400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown packing", 400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("identity", 400, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    ("chunks twice", 400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks in a list", 400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunks by a vertical tab", 400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("an empty packing", 400, POST + b"Transfer-Encoding:\r\n\r\n"),
    ("chunks of HTTP/1.0", 400, CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"),
    ("a blank before the colon", 400, GET + b"X : 1\r\n\r\n"),
    ("a blank before the colon of a length", 400, POST + b"Content-Length : 5\r\n\r\nhello"),
    ("a tab before the colon", 400, GET + b"X\t: 1\r\n\r\n"),
    ("bare LFs", 400, b"GET / HTTP/1.1\nHost: localhost\n\n"),
    ("one bare LF", 400, GET + b"X: 1\nY: 2\r\n\r\n"),
    ("a bare CR", 400, GET + b"X: 1\rY: 2\r\n\r\n"),
    ("two CRs", 400, GET + b"X: 1\r\r\n\r\n"),
    ("a NUL in a value", 400, GET + b"X: a\0b\r\n\r\n"),
    ("a NUL in a name", 400, GET + b"X\0: a\r\n\r\n"),
    ("a control character", 400, GET + b"X: a\x1bb\r\n\r\n"),
    ("another address", 400, b"GET http://elsewhere/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("another port", 400, b"GET http://localhost:81/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("an address with a user", 400, b"GET http://a@localhost/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("an address of TLS", 400, b"GET https://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a file", 400, b"GET file:///etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a target that is no path", 400, b"GET a HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("an asterisk that is read", 400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a fragment", 400, b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a target of bytes", 400, b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a tunnel", 501, b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a method nobody knows", 501, b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a method in small letters", 501, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a method that is none", 400, b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/1.2", 400, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    ("HTTP/0.9", 400, b"GET /\r\n\r\n"),
    ("http in small letters", 400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    ("two blanks", 400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a tab in the line", 400, b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a blank behind the line", 400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    ("two empty lines before it", 400, b"\r\n\r\n" + GET + b"\r\n"),
    ("TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("another protocol", 400, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("an answer", 400, b"HTTP/1.1 200 OK\r\n\r\n"),
    ("a field without a colon", 400, GET + b"X\r\n\r\n"),
    ("a field without a name", 400, GET + b": 1\r\n\r\n"),
    ("a name with a blank", 400, GET + b"X Y: 1\r\n\r\n"),
    ("a name with a bracket", 400, GET + b"X(: 1\r\n\r\n"),
    ("a name of bytes", 400, GET + b"X\xfc: 1\r\n\r\n"),
    ("a Host with a user", 400, b"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n"),
    ("a Host with a blank", 400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("two Hosts in one", 400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("an empty Host", 400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a Host with a port that is none", 400, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("a signed length", 400, POST + b"Content-Length: +5\r\n\r\nhello"),
    ("a length below 0", 400, POST + b"Content-Length: -5\r\n\r\nhello"),
    ("a length in hexadecimal", 400, POST + b"Content-Length: 0x5\r\n\r\nhello"),
    ("a length of another script", 400, POST + "Content-Length: \u0665\r\n\r\n".encode()),
    ("an empty length", 400, POST + b"Content-Length:\r\n\r\n"),
    ("a length with a blank", 400, POST + b"Content-Length: 5 5\r\n\r\n"),
    ("a length beyond all", 400, POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
    ("too long a length", 413, POST + b"Content-Length: 1001\r\n\r\n"),
    ("too much in chunks", 413, CHUNKED + b"3e9\r\n"),
    ("too much in many chunks", 413, CHUNKED + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 2 + b"1\r\n"),
    ("too large a chunk", 400, CHUNKED + b"fffffffff\r\n"),
    ("a size that is none", 400, CHUNKED + b"g\r\n"),
    ("a size in hexadecimal of another kind", 400, CHUNKED + b"0x5\r\nhello\r\n"),
    ("a signed size", 400, CHUNKED + b"+5\r\nhello\r\n"),
    ("no size", 400, CHUNKED + b"\r\nhello\r\n"),
    ("a blank behind a size", 400, CHUNKED + b"5 \r\nhello\r\n"),
    ("a blank before a size", 400, CHUNKED + b" 5\r\nhello\r\n"),
    ("a size that ends in LF", 400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    ("a NUL in an extension", 400, CHUNKED + b"5;a\0\r\nhello\r\n"),
    ("a CR in an extension", 400, CHUNKED + b"5;a\rb\r\nhello\r\n"),
    ("an extension that is too long", 400, CHUNKED + b"5;" + b"a" * 300),
    ("a trailer that is none", 400, CHUNKED + b"0\r\nno trailer\r\n\r\n"),
    ("a trailer that is folded", 400, CHUNKED + b"0\r\nx: 1\r\n 2\r\n\r\n"),
    ("a trailer that is too long", 400, CHUNKED + b"0\r\nx: " + b"y" * TRAILER_LIMIT + b"\r\n\r\n"),
    ("too many trailers", 400, CHUNKED + b"0\r\n" + b"x: 1\r\n" * (TRAILER_LIMIT // 6 + 1) + b"\r\n"),
    ("a trailer that ends in LF", 400, CHUNKED + b"0\r\nx: 1\n\r\n"),
    ("an end in LF", 400, CHUNKED + b"0\r\n\n"),
    ("another expectation", 417, POST + b"Expect: a-pony\r\nContent-Length: 5\r\n\r\nhello"),
    ("one field too many", 431, GET + b"X: 1\r\n" * FIELD_LIMIT + b"\r\n"),
    ("one byte too many", 431, GET + b"X: " + b"y" * (HEAD_LIMIT - len(GET) - 6) + b"\r\n\r\n"),
    ("an endless target", 431, b"GET /" + b"a" * HEAD_LIMIT),
    ("an endless field", 431, GET + b"X: " + b"y" * HEAD_LIMIT),
]


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize(("status", "data"), [row[1:] for row in BREACHES], ids=[row[0] for row in BREACHES])
def test_what_is_none(status: int, data: bytes, step: int) -> None:
    """It is refused, whatever follows, and however it was cut up."""
    if len(data) > 5000 and step == 1:
        step = 13
    assert read(data, step) == status
    assert read(data + GET + b"\r\n", step) == status


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\nHost: x", b"\x16\x03\x01", b"G\0", b"\n", b" GET", b"GET /\r\r"])
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes) -> None:
    """Nobody waits for the rest of it."""
    assert read(data) == read(data, 1) == 400


@pytest.mark.parametrize(("_", "data", "target", "body"), REQUESTS)
def test_what_is_not_whole_is_waited_for(_: str, data: bytes, target: str, body: bytes) -> None:
    """No beginning of a request is one, or a violation."""
    for end in range(0, len(data), max(1, len(data) // 200)):
        assert read(data[:end]) == []


def test_many_chunks_are_bounded_however_small() -> None:
    """Each costs a turn of a loop; extensions cost room that does not count as the body's."""
    buffer = bytearray(b"1\r\nx\r\n" * CHUNK_LIMIT)
    chunks = Chunks(CHUNK_LIMIT)
    assert chunks.take(buffer) is None
    assert (chunks.received, len(buffer)) == (CHUNK_LIMIT, 0)
    with pytest.raises(Violation, match="too many"):
        chunks.take(bytearray(b"0\r\n"))
    chunks = Chunks(10_000)
    with pytest.raises(Violation, match="extensions"):
        chunks.take(bytearray((b"1;" + b"a" * 200 + b"\r\nx\r\n") * (EXTENSION_LIMIT // 200 + 1)))


def test_a_head_costs_what_it_is_long() -> None:
    """Byte by byte, twice as much takes about twice as long: nothing is looked at again and again."""

    def cost(size: int) -> float:
        data, best = GET + b"X: " + b"y" * size, 9.0
        for _ in range(3):
            begun, reader = time.process_time(), Reader()
            for at in range(len(data)):
                reader.feed(data[at : at + 1])
                assert reader.take_head() is None
            best = min(best, time.process_time() - begun)
        return best

    assert cost(24_000) < 6 * cost(8_000) + 0.05


def test_what_a_request_says_of_itself() -> None:
    """How it is to be answered, and who waits for a 100."""

    def one(data: bytes) -> Incoming:
        found = read(data)
        assert isinstance(found, list)
        return found[0][0]

    assert one(GET + b"\r\n").keeps_alive
    assert not one(GET + b"Connection: x, Close\r\n\r\n").keeps_alive
    assert not one(GET + b"Connection: x\r\nConnection: close\r\n\r\n").keeps_alive
    assert one(GET + b"Connection: closely\r\n\r\n").keeps_alive
    old = one(b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n")
    assert (old.keeps_alive, old.is_old) == (False, True)
    expecting = b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n{}"
    assert one(POST + expecting).expects
    assert not one(POST.replace(b"1.1", b"1.0") + expecting).expects
    assert not one(POST + b"Expect: 100-continue\r\n\r\n").expects
    assert one(POST + b"Content-Encoding: GZIP\r\n\r\n").encoding == "gzip"
    assert one(GET + b"X-A:  b \t\r\nx-a: c\r\n\r\n").head.all("x-a") == ["b", "c"]
    assert "secret" not in repr(one(GET + b"Authorization: Bearer secret\r\n\r\n"))


Asked: TypeAlias = tuple[str, str, list[tuple[str, str]], bytes]
"""Method, target, headers in any order, body."""


def by_h11(data: bytes) -> tuple[list[Asked], bool]:
    """Return the requests that h11 finds in bytes, and whether it would read more behind them."""
    connection, found = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT), list[Asked]()
    connection.receive_data(data)
    request, body = None, b""
    while True:
        try:
            event: Any = connection.next_event()
        except h11.RemoteProtocolError:
            return found, True
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = sorted((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
            found.append((request.method.decode(), request.target.decode("latin-1"), headers, body))
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return found, False
            connection.start_next_cycle()
        else:  # it needs more, or will read no more
            return found, event is h11.NEED_DATA


PIECES = [
    *(b"GET", b"POST", b"HEAD", b"G\x00T", b" ", b"  ", b"/", b"/a?b=c", b"*", b"http://localhost/x", b"#"),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
        b"\x0b",
        b"\xff",
        b"\x7f",
    ),
    *(b"Host", b"host: localhost", b"Host: x, y", b":", b": ", b" : ", b"Content-Length: 3", b"content-length: 03"),
    *(b"Content-Length: 3, 3", b"Transfer-Encoding: chunked", b"transfer-encoding: gzip", b"Connection: close"),
    *(
        b"x-y: z",
        b"x",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nt: u\r\n\r\n",
        b"3;a=b\r\nabc\r\n",
        b"3 \r\nabc\r\n",
    ),
    *(b"5\r\nabc", b"ffffffffffffffff\r\n", b"Expect: 100-continue", b"Upgrade: h2c", b"Connection: upgrade"),
]
TAILS = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)
FIELDS = st.lists(
    st.sampled_from([piece for piece in PIECES if b":" in piece and b"\r" not in piece]), max_size=4, unique=True
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(PIECES), st.booleans()), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw something that is nearly a request, or two."""
    fields = draw(FIELDS)
    if draw(st.integers(0, 9)):
        fields = [b"Host: localhost", *fields]
    line = b" ".join([draw(st.sampled_from([b"GET", b"POST"])), draw(st.sampled_from([b"/", b"/a?b"])), b"HTTP/1.1"])
    data = b"\r\n".join([line, *fields, b"", b""]) + draw(TAILS)
    for at, piece, replaces in draw(MUTATIONS):
        data = data[:at] + piece + data[at + (len(piece) if replaces else 0) :]
    return data


@given(data=requests(), step=st.integers(1, 50))
@example(data=GET + b"\r\n\r\n : ", step=2)
@example(
    data=b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" * 2, step=9
)
def test_what_is_a_request_here_h11_reads_so_too(data: bytes, step: int) -> None:
    """Whatever is found here, h11 finds, and finds the same: ours is the stricter of the two, or they agree. And it
    does not depend on how it was cut up.
    """
    ours, status = read_all(data)
    again, status_again = read_all(data, step)
    assert (again, status_again) == (ours, status)
    theirs, would_read_more = by_h11(data)
    assert len(ours) <= len(theirs) or not would_read_more
    for (incoming, body), (method, target, headers, their_body) in zip(ours, theirs, strict=False):
        assert (incoming.head.method, sorted(incoming.head.headers), body) == (method, headers, their_body)
        assert incoming.head.target == target.removeprefix("http://localhost")


@given(data=st.binary(max_size=300), step=st.integers(1, 40))
def test_any_bytes_are_read_or_refused(data: bytes, step: int) -> None:
    """Whatever comes, there is no other outcome, and it does not depend on how it was cut up."""
    assert read(data, step) == read(data)
    assert read(GET + data, step) == read(GET + data)
    assert read(CHUNKED + data, step) == read(CHUNKED + data)
