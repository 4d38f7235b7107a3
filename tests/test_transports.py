"""Our transport beside the library's: the same bytes on the wire, the same outcome, or a difference that is written.

Everything is asked through a provider, as agents do: what counts is the answer or the error, how often the server was
asked, and over how many connections.
"""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import AnyByteStream
from pydantic import SecretStr

from understudy.providers import AttemptError, Provider, Request, Target, connect, user
from understudy.simulation import simulated_server
from understudy.simulation._answers import answer

from .over_sockets import Behave, listening, reset
from .streams import close

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

OURS, LIBRARY = "understudy", "httpx2"
WAYS = (OURS, LIBRARY)
REQUEST = Request("a-model", (user("Who wrote Faust?"),))

BODY = answer("openai", "a-model", "Goethe.", "Who wrote Faust?")
GOOD, BAD = "Goethe.", "malformed"
JSON = b"content-type: application/json\r\n"
SIZED = b"content-length: %d\r\n" % len(BODY)
OK = b"HTTP/1.1 200 OK\r\n"
WELL = OK + JSON + SIZED + b"\r\n" + BODY
CHUNKED = OK + JSON + b"transfer-encoding: chunked\r\n"


def chunks(body: bytes, size: int = 40, *, end: bytes = b"\r\n", after: bytes = b"") -> bytes:
    """Return a body in chunks."""
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x%b%b%b\r\n" % (len(part), after, end, part) for part in parts) + b"0\r\n\r\n"


def sized(status: str, *lines: bytes, body: bytes = BODY, version: str = "1.1") -> bytes:
    """Return an answer with a length."""
    head = [f"HTTP/{version} {status}".encode(), *lines, b"content-length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


@dataclass(frozen=True)
class Row:
    """What a server sends for one request after the other, and what becomes of so many requests.

    Args:
        replies: The bytes, or in the end what it does; a `close` or `reset` behind bytes ends the connection.
        becomes: The text of each answer, or the verdict and status of each error.
        connections: How many were opened.
        library: What the library makes of it where that is something else, and over how many connections.
        why: Why that is so.
    """

    name: str
    replies: Sequence[bytes | tuple[bytes, Behave]]
    becomes: Sequence[str] = (GOOD, GOOD)
    connections: int = 1
    library: tuple[Sequence[str], int] | None = None
    why: str = ""

    def __str__(self) -> str:
        return self.name


async def end(stream: AnyByteStream) -> None:
    """The server says that it will send no more, and stays."""
    below: Any = getattr(stream, "transport_stream", stream)
    await below.send_eof()
    await anyio.sleep(1000)


async def silence(stream: AnyByteStream) -> None:
    """The server says nothing more, and waits until its client has left."""
    async for _ in stream:
        pass


LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n"
HAPROXY = b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n<html>"
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
ERROR = b'{"error": {"message": "no", "code": "x"}}'
PACKED = gzip.compress(BODY)

ROWS = [
    Row("a length", [WELL] * 2),
    Row("chunks", [CHUNKED + b"\r\n" + chunks(BODY)] * 2),
    Row("chunks with extensions", [CHUNKED + b"\r\n" + chunks(BODY, after=b';a=b;c="d;e"')] * 2),
    Row("chunks with spaces", [CHUNKED + b"\r\n" + chunks(BODY, after=b"  ")] * 2),
    Row("chunks with trailers", [CHUNKED + b"\r\n" + chunks(BODY)[:-2] + b"x-late: 1\r\ny: 2\r\n\r\n"] * 2),
    Row("chunks of one byte", [CHUNKED + b"\r\n" + chunks(BODY, 1)] * 2),
    Row("the end of the connection", [(OK + JSON + b"\r\n" + BODY, close)] * 2, connections=2),
    Row("gzip", [sized("200 OK", b"content-encoding: gzip", JSON[:-2], body=PACKED)] * 2),
    Row("gzip in chunks", [CHUNKED + b"Content-Encoding: GZIP\r\n\r\n" + chunks(PACKED)] * 2),
    Row("deflate, unasked", [sized("200 OK", b"content-encoding: deflate", body=zlib.compress(BODY))], [f"{BAD} None"]),
    Row("br, unasked", [sized("200 OK", b"content-encoding: br", body=b"xxxx")], [f"{BAD} None"]),
    Row("zstd, unasked", [sized("200 OK", b"content-encoding: zstd", body=b"xxxx")], [f"{BAD} None"]),
    Row("not kept", [sized("200 OK", JSON[:-2], b"connection: close")] * 2, connections=2),
    Row("not kept, in other words", [sized("200 OK", JSON[:-2], b"Connection: Keep-Alive, Close")] * 2, connections=2),
    Row("HTTP/1.0", [sized("200 OK", JSON[:-2], version="1.0")] * 2, connections=2),
    Row(
        "HTTP/1.0, kept",
        [sized("200 OK", JSON[:-2], b"connection: keep-alive", version="1.0")] * 2,
        library=((GOOD, GOOD), 2),
        why="h11 keeps no connection of HTTP/1.0; RFC 9112 section 9.3 does where the server says so",
    ),
    Row("100 before it", [b"HTTP/1.1 100 Continue\r\n\r\n" + WELL] * 2),
    Row("hints before it", [HINT * 3 + WELL] * 2),
    Row("102 with a length", [b"HTTP/1.1 102 Processing\r\ncontent-length: 5\r\n\r\n" + WELL] * 2),
    Row("no reason", [sized("200", JSON[:-2])] * 2),
    Row("bare line feeds", [WELL.replace(b"\r\n", b"\n")] * 2),
    Row("a folded header", [OK + b"x: 1\r\n 2\r\n\t3\r\n" + JSON + SIZED + b"\r\n" + BODY] * 2),
    Row("a folded length", [OK + JSON + SIZED.replace(b": ", b":\r\n ") + b"\r\n" + BODY] * 2),
    Row("empty headers", [OK + b"x:\r\ny: \r\n" + JSON + SIZED + b"\r\n" + BODY] * 2),
    Row("bytes beyond ASCII", [OK + b"x: \xfc\xff\r\n" + JSON + SIZED + b"\r\n" + BODY] * 2),
    Row("a head of 50 KB", [OK + b"x: %b\r\n" % (b"y" * 50_000) + JSON + SIZED + b"\r\n" + BODY] * 2),
    Row(
        "a head of 80 KB",
        [OK + b"x: %b\r\n" % (b"y" * 80_000) + JSON + SIZED + b"\r\n" + BODY] * 2,
        [f"{BAD} None"] * 2,
        2,
        ((GOOD, GOOD), 1),
        "our limit is 64 KiB, the library's 100",
    ),
    Row("a head of 300 KB", [OK + b"x: %b\r\n" % (b"y" * 300_000)] * 2, [f"{BAD} None"] * 2, 2),
    Row("a switch that was none", [sized("200 OK", b"upgrade: h2c", b"connection: upgrade", JSON[:-2])] * 2),
    Row("a second answer behind it", [WELL + WELL, WELL], connections=2),
    Row("rubbish behind it", [WELL + b"rubbish", WELL], connections=2),
    Row("closed behind it", [(WELL, close)] * 2, connections=2),
    Row("reset behind it", [(WELL, reset)] * 2, connections=2),
    Row("half closed behind it", [(WELL, end)] * 2, connections=2),
    Row("204", [b"HTTP/1.1 204 No Content\r\n\r\n"] * 2, [f"{BAD} 204"] * 2),
    Row("205", [b"HTTP/1.1 205 Reset\r\ncontent-length: 0\r\n\r\n"] * 2, [f"{BAD} 205"] * 2),
    Row("304", [b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"] * 2, ["misconfigured 304"] * 2),
    Row("302", [sized("302 Found", b"location: /elsewhere", body=b"")] * 2, ["misconfigured 302"] * 2),
    Row("a cookie", [sized("200 OK", JSON[:-2], b"set-cookie: a=b")] * 2),
    Row("an error", [sized("500 Broken", JSON[:-2], body=ERROR)] * 2, ["provider 500"] * 2),
    Row("an error in chunks", [CHUNKED.replace(b"200", b"500") + b"\r\n" + chunks(ERROR)], ["provider 500"]),
    Row("an error without end", [(b"HTTP/1.1 500 X\r\n\r\n" + ERROR, close)] * 2, ["provider 500"] * 2, 2),
    Row("an error cut short", [(b"HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n" + ERROR, close)], [f"{BAD} None"]),
    Row("421, and another connection", [sized("421 Misdirected"), WELL], ["stale_connection 421", GOOD], 2),
    Row("nothing", [(b"", close)], ["provider None"]),
    Row("a reset", [(b"", reset)], ["provider None"]),
    Row("a head cut short", [(OK + b"x: ", close)], ["provider None"]),
    Row("a body cut short", [(WELL[:-1], close)], [f"{BAD} None"]),
    Row("chunks cut short", [(CHUNKED + b"\r\n" + chunks(BODY)[:-1], close)], [f"{BAD} None"]),
    Row("a body reset", [(WELL[:-1], reset)], ["provider None"]),
    Row("a kept one is closed", [WELL, (b"", close), WELL], connections=2),
    Row("a kept one is reset", [WELL, (b"", reset), WELL], connections=2),
    Row("a kept one is half closed", [WELL, (b"", end), WELL], connections=2),
    Row(
        "a kept one is closed after a hint",
        [WELL, (HINT, close), WELL, WELL],
        (GOOD, "provider None", GOOD),
        2,
        ((GOOD, GOOD, GOOD), 2),
        "the library tells of an answer when its head is whole, so that the request is sent again for free",
    ),
    Row(
        "a kept one is closed in a head",
        [WELL, (b"HTTP/1.1", close), WELL, WELL],
        (GOOD, "provider None", GOOD),
        2,
        ((GOOD, GOOD, GOOD), 2),
        "as above",
    ),
    Row("408 crosses", [WELL, (LATE + b"\r\n", close), WELL], connections=2),
    Row("408 crosses, of HAProxy", [WELL, (HAPROXY, close), WELL], connections=2),
    Row("408 on a new connection", [(LATE + b"\r\n", close), WELL], ["timeout 408", GOOD], 2),
    Row("408 twice", [WELL, *[(LATE + b"\r\n", close)] * 2, WELL], [GOOD, "timeout 408", GOOD], 3),
    Row("408 that names a request", [WELL, LATE + b"x-request-id: r\r\n\r\n", WELL], [GOOD, "timeout 408", GOOD], 2),
    Row("408 that is kept", [WELL, sized("408 Timeout", body=b""), WELL], [GOOD, "timeout 408", GOOD]),
    Row("another error crosses", [WELL, sized("400 Bad", b"connection: close"), WELL], [GOOD, "caller 400", GOOD], 2),
    Row("not HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], [f"{BAD} None"]),
    Row("HTTP/2", [b"HTTP/2 200\r\n\r\n"], [f"{BAD} None"]),
    Row("a page of its own", [b"<html></html>\r\n\r\n"], [f"{BAD} None"]),
    Row("a status that is none", [sized("042 X")], [f"{BAD} None"]),
    Row("a NUL in a header", [sized("200 OK", b"x: a\0b")], [f"{BAD} None"]),
    Row("a blank before a colon", [sized("200 OK", b"x : 1")], [f"{BAD} None"]),
    Row("two lengths", [sized("200 OK", b"content-length: 3")], [f"{BAD} None"]),
    Row("no length", [sized("200 OK", b"content-length: x")], [f"{BAD} None"]),
    Row(
        "the same length twice",
        [sized("200 OK", JSON[:-2], SIZED[:-2])] * 2,
        [f"{BAD} None"] * 2,
        2,
        ((GOOD, GOOD), 1),
        "llhttp takes one length; RFC 9112 section 6.3 leaves it open",
    ),
    Row(
        "a length beside chunks",
        [CHUNKED + b"content-length: 5\r\n\r\n" + chunks(BODY)] * 2,
        [f"{BAD} None"] * 2,
        2,
        ((GOOD, GOOD), 1),
        "RFC 9112 section 6.3: it ought to be handled as an error",
    ),
    Row(
        "a blank before the first header",
        [OK + b" x: 1\r\n" + JSON + SIZED + b"\r\n" + BODY] * 2,
        library=([f"{BAD} None"] * 2, 2),
        why="llhttp cannot take folded headers without it; nobody reads the answer after us",
    ),
    Row("gzip, chunked", [OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"], [f"{BAD} None"]),
    Row("a chunk that is none", [CHUNKED + b"\r\nzz\r\n"], [f"{BAD} None"]),
    Row("a chunk of a bare line feed", [CHUNKED + b"\r\n" + chunks(BODY, end=b"\n")], [f"{BAD} None"]),
    Row("a huge chunk", [CHUNKED + b"\r\n" + b"f" * 30 + b"\r\n"], [f"{BAD} None"]),
    Row("bad gzip", [sized("200 OK", b"content-encoding: gzip")], [f"{BAD} None"]),
    Row("gzip cut short", [sized("200 OK", b"content-encoding: gzip", body=PACKED[:-4])], [f"{BAD} None"]),
    Row("gzip and more", [sized("200 OK", JSON[:-2], b"content-encoding: gzip", body=PACKED + b"more")] * 2),
]  # fmt: skip


async def read_request(stream: AnyByteStream) -> None:
    """Read one request."""
    came = b""
    while not came.endswith(b"}"):
        came += await stream.receive()


@dataclass
class Server:
    """Gives its replies one after the other, on whichever connection the next request comes."""

    replies: list[bytes | tuple[bytes, Behave]]
    requests: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def __call__(self, stream: AnyByteStream) -> None:
        while True:
            await read_request(stream)
            self.requests += 1
            reply = self.replies.pop(0)
            data, then = reply if isinstance(reply, tuple) else (reply, None)
            if data:
                await stream.send(data)
            if then is not None:
                await then(stream)
                return


@asynccontextmanager
async def provider_of(url: str, way: str, transport: str = "openai", **more: Any) -> AsyncIterator[Provider]:
    """Make a provider over one of the two, and close it."""
    provider = connect(Target(transport, url, SecretStr("sk-test-0123456789"), http_transport=way, **more))
    try:
        yield provider
    finally:
        await provider.aclose()


async def outcome(provider: Provider) -> str:
    """Ask once; return the text of the answer, or the verdict and status of the error."""
    try:
        return (await provider.complete(REQUEST)).text
    except AttemptError as error:
        return f"{error.verdict} {error.status}"


async def becomes(row: Row, way: str, tls: ssl.SSLContext | None = None) -> tuple[list[str], int]:
    """Return the outcome of each request, and how many connections there were."""
    server = Server(list(row.replies))
    async with listening(server, tls) as place:
        url = place.base_url("openai").replace("https://127.0.0.1", "https://localhost")
        async with provider_of(url, way) as provider:
            outcomes = []
            for _ in row.becomes:
                outcomes.append(await outcome(provider))
                await anyio.sleep(0.01)
        return outcomes, place.asked


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_what_a_server_sends(row: Row) -> None:
    """Over our connections what the row says; over the library's the same, or what the row says of it."""
    assert await becomes(row, OURS) == (list(row.becomes), row.connections)
    said, connections = row.library or (row.becomes, row.connections)
    assert await becomes(row, LIBRARY) == (list(said), connections)
    assert (row.library is None) == (not row.why)


@pytest.mark.parametrize("way", WAYS)
async def test_only_gzip_is_asked_for(way: str) -> None:
    """So that no other packing has to be unpacked."""
    async with simulated_server() as server, provider_of(server.openai_url, way) as provider:
        await provider.complete(REQUEST)
    assert server.received[0].headers["accept-encoding"] == "gzip"
