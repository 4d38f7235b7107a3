"""Our transport beside the library's: the same bytes on the wire, the same outcome, or a difference that is written.

Everything is asked through a provider, as agents do: what counts is the answer or the error, how often the server was
asked, and over how many connections.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import warnings
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest
from anyio.abc import AnyByteStream, ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from pydantic import SecretStr

from understudy.providers import AttemptError, Provider, Request, Target, connect, user
from understudy.providers._pool import Connection
from understudy.simulation import Script, simulated_server
from understudy.simulation._answers import answer
from understudy.supervisor import background_tasks

from . import test_failure_table as table
from . import test_upstream as streams
from .over_sockets import FIXTURES, Behave, listening, reset, self_signed
from .streams import WIRES, Played, close

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sockets,
    pytest.mark.transports,
    pytest.mark.usefixtures("few_certificates"),
]

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


async def end_of(provider: Provider, *, is_stream: bool) -> tuple[Any, ...]:
    """Ask, and return what must not depend on what carried it: the text, or the facts of the error, not its words."""
    try:
        with anyio.move_on_after(60):
            if not is_stream:
                return ((await provider.complete(REQUEST)).text,)
            upstream, text = await provider.stream(REQUEST), ""
            try:
                while upstream.response is None:
                    await upstream.read()
                    while (event := upstream.take()) is not None:
                        text += getattr(event, "text", "")
            except AttemptError as error:
                return (*facts(error), text)
            finally:
                await upstream.aclose()
            return (text,)
    except AttemptError as error:
        return facts(error)
    return ("hangs",)


def facts(error: AttemptError) -> tuple[Any, ...]:
    """Return what an error says."""
    it = error.failure
    return type(error), it.verdict, it.status, it.request_id, it.retry_after, it.retry_forbidden, it.of_account, it.help


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("row", table.TABLE_A + table.TABLE_B, ids=lambda row: row.name)
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_every_fault_of_an_answer(transport: str, row: table.Row, is_stream: bool) -> None:
    """Tables A and B: class, verdict, status, id and hints are the same, and twice: the second request may go over the
    connection of the first.
    """
    found = list[list[tuple[Any, ...]]]()
    for way in WAYS:
        async with simulated_server(Script.always(row.on(transport))) as server:
            url = server.anthropic_url if transport == "anthropic" else server.openai_url
            async with provider_of(url, way, transport) as provider:
                found.append([await end_of(provider, is_stream=is_stream) for _ in range(2)])
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]
    assert is_stream or found[0][0] == ("hangs",) or found[0][0][:2] == (row.error, row.verdict)


@pytest.mark.parametrize("row", streams.ROWS, ids=str)
@pytest.mark.parametrize("wire", WIRES)
async def test_every_fault_of_a_stream(wire: Any, row: streams.Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table C: what came before the fault, and what the fault is."""
    if row.name.startswith("oversize"):
        monkeypatch.setattr("understudy.providers._sse.LARGEST_EVENT", 10_000)
    found = list[list[tuple[Any, ...]]]()
    for way in WAYS:
        play = Played(wire, row.parts(wire), row.after, pause=0.001)
        async with listening(play) as place, provider_of(place.base_url(wire), way, wire) as provider:
            found.append([await end_of(provider, is_stream=True) for _ in range(2)])
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]
    assert found[0][0][-1] == row.text or not row.text


@pytest.mark.parametrize("row", table.BELOW_HTTP, ids=lambda row: row.name)
async def test_every_fault_below_http(row: table.Below, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table B: what never became an answer, and when it is known."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIXTURES / "other_authority.crt"))
    request = Request("a-model", (user(table.LARGE if row.is_large else "hi"),))
    for way in WAYS:
        began_at = anyio.current_time()
        async with row.at() as place, provider_of(place.base_url("openai"), way) as provider:
            with pytest.raises(AttemptError) as failed:
                await provider.complete(request)
        assert (type(failed.value), failed.value.verdict) == (row.error, row.verdict)
        if row.after < 100:
            assert anyio.current_time() - began_at == pytest.approx(row.after, abs=0.5)


def resolve(monkeypatch: pytest.MonkeyPatch, hosts: Mapping[str, Sequence[str]]) -> None:
    """Let names lead to addresses, for the time of a test."""
    known = socket.getaddrinfo

    def resolved(host: Any, port: Any, *rest: Any, **more: Any) -> list[tuple[Any, ...]]:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in hosts:
            return known(host, port, *rest, **more)
        if not hosts[name]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        families = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in hosts[name]]
        return [(family, socket.SOCK_STREAM, 6, "", (address, int(port))) for family, address in families]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@dataclass(frozen=True)
class Trust:
    """Whom a client trusts, where it goes, and what becomes of it."""

    name: str
    authority: str
    host: str
    becomes: str

    def __str__(self) -> str:
        return self.name


@pytest.mark.parametrize(
    "row",
    [
        Trust("trusted", "self_signed.crt", "localhost", GOOD),
        Trust("trusted, by its address", "self_signed.crt", "127.0.0.1", GOOD),
        Trust("another authority", "other_authority.crt", "localhost", "tls_trust None"),
        Trust("another host", "self_signed.crt", "other.test", "tls_trust None"),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", WAYS)
async def test_whom_tls_trusts(way: str, row: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority has to be known and the host to be the certificate's; nothing is sent before."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIXTURES / row.authority))
    resolve(monkeypatch, {"other.test": ["127.0.0.1"]})
    server = Server([WELL] * 2)
    async with listening(server, self_signed()) as place:
        url = place.base_url("openai").replace("127.0.0.1", row.host)
        async with provider_of(url, way) as provider:
            assert [await outcome(provider) for _ in range(2)] == [row.becomes] * 2
    assert server.requests == (2 if row.becomes == GOOD else 0)


OVER_TLS = (
    "a length",
    "chunks",
    "the end",
    "not kept",
    "closed behind",
    "half closed",
    "a body cut",
    "a kept one",
    "408",
)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name.startswith(OVER_TLS)], ids=str)
async def test_what_a_server_sends_over_tls(row: Row) -> None:
    """As without; servers close without a word of TLS, and that is an end as good as any."""
    assert await becomes(row, OURS, self_signed()) == (list(row.becomes), row.connections)
    said, connections = row.library or (row.becomes, row.connections)
    assert await becomes(row, LIBRARY, self_signed()) == (list(said), connections)


def old() -> ssl.SSLContext:
    """Speak a TLS that nobody should."""
    context = self_signed()
    with warnings.catch_warnings(action="ignore"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def asking_back() -> ssl.SSLContext:
    """Want a certificate of the client's, which has none: in TLS 1.3 it learns so from its first read."""
    context = self_signed()
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(("make", "becomes"), [(old, "connect None"), (asking_back, "provider None")])
@pytest.mark.parametrize("way", WAYS)
async def test_tls_that_fails(way: str, make: Any, becomes: str) -> None:
    """In the handshake it is a connection that failed; after it, an answer that did not come."""

    async def refuse(stream: AnyByteStream) -> None:
        await stream.receive()

    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = plain.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's `extra`
    listener = QuietTLS(plain, make(), standard_compatible=False)
    async with listener, background_tasks() as tasks:
        tasks.start_soon(listener.serve, refuse)
        async with provider_of(f"https://localhost:{port}/v1", way) as provider:
            assert await outcome(provider) == becomes


class QuietTLS(TLSListener):
    """Leaves failed handshakes as they are."""

    @staticmethod
    async def handle_handshake_error(exc: BaseException, stream: AnyByteStream) -> None:
        """Close."""
        await anyio.aclose_forcefully(stream)


HELD: dict[str, bytes | Behave] = {"closed": close, "reset": reset, "half closed": end, "408": LATE + b"\r\n"}


@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_a_kept_connection_ends_as_it_is_taken_up(
    how: str, is_large: bool, is_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the look at it, and before the request: that costs no attempt, whatever end it was."""
    then = HELD[how]

    async def behave(stream: AnyByteStream) -> None:
        await read_request(stream)
        await stream.send(WELL)
        if place.asked > 1:
            await silence(stream)
        elif isinstance(then, bytes):
            await stream.send(then)
        else:
            await then(stream)

    request = Request("a-model", (user("x" * 5_000_000 if is_large else "hi"),))
    async with listening(behave, self_signed() if is_tls else None) as place:
        url = place.base_url("openai").replace("https://127.0.0.1", "https://localhost")
        async with provider_of(url, OURS) as provider:
            assert await outcome(provider) == GOOD
            await anyio.sleep(0.01)
            with monkeypatch.context() as blind:
                blind.setattr(Connection, "is_quiet", True)
                assert (await provider.complete(request)).text == GOOD
            assert place.asked == 2


ADDRESSES: dict[str, tuple[list[str], str, float]] = {
    "the second one listens": (["127.0.0.3", "127.0.0.1"], GOOD, 0.0),
    "IPv6 first, in vain": (["::1", "127.0.0.1"], GOOD, 0.0),
    "one listens of many": (["127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.1"], GOOD, 0.0),
    "nobody listens": (["127.0.0.3", "127.0.0.4"], "connect None", 0.0),
    "there is none": ([], "connect None", 0.0),
    "the first one hangs": (["127.0.0.9", "127.0.0.1"], GOOD, 0.25),
}


@pytest.mark.parametrize(("addresses", "becomes", "after"), ADDRESSES.values(), ids=ADDRESSES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_host_of_several_addresses(
    way: str, addresses: list[str], becomes: str, after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other is tried, the next one when one has failed or 250 ms have passed; of all, one is used."""
    resolve(monkeypatch, {"many.test": addresses})
    server = Server([WELL])
    async with listening(server) as place:
        port = int(place.origin.rpartition(":")[2])
        with socket.socket() as hanging, socket.socket() as only:
            hanging.bind(("127.0.0.9", port))
            hanging.listen(0)
            only.connect(hanging.getsockname())
            began_at = anyio.current_time()
            async with provider_of(f"http://many.test:{port}/v1", way) as provider:
                assert await outcome(provider) == becomes
            assert anyio.current_time() - began_at == pytest.approx(after, abs=0.05)
        assert (place.asked, server.requests) == ((1, 1) if becomes == GOOD else (0, 0))


SHORT = b'{"choices":[{"message":{"content":"G"},"finish_reason":"stop"}]}'
EVENTS = b'data: {"choices":[{"delta":{"content":"G"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
KIND = b"content-type: text/event-stream\r\n"
LENGTH = b"content-length: %d\r\n\r\n"
PARTS = CHUNKED + b"\r\n"
CUT: dict[str, tuple[bytes, bool]] = {
    "a length": (OK + JSON + LENGTH % len(SHORT) + SHORT, False),
    "chunks": (PARTS + chunks(SHORT, 20), False),
    "chunks, extensions, trailers": (PARTS + chunks(SHORT, 20, after=b";a=b")[:-2] + b"x: 1\r\n\r\n", False),
    "gzip in chunks": (CHUNKED + b"content-encoding: gzip\r\n\r\n" + chunks(gzip.compress(SHORT), 20), False),
    "hints": (HINT + HINT + OK + JSON + LENGTH % len(SHORT) + SHORT, False),
    "line feeds": ((OK + JSON + LENGTH % len(SHORT)).replace(b"\r\n", b"\n") + SHORT, False),
    "folded": (OK + b"x: 1\r\n 2\r\n" + JSON + LENGTH % len(SHORT) + SHORT, False),
    "an error": (sized("503 Busy", JSON[:-2], b"retry-after: 7", body=ERROR), False),
    "a bad chunk": (PARTS + chunks(SHORT, 20)[:-5] + b"zz\r\n", False),
    "a stream": (OK + KIND + b"transfer-encoding: chunked\r\n\r\n" + chunks(EVENTS, 30), True),
    "a stream in gzip": (OK + KIND + b"content-encoding: gzip\r\n" + LENGTH % 0, True),
}
PACKED_EVENTS = gzip.compress(EVENTS)
CUT["a stream in gzip"] = (
    OK + KIND + b"content-encoding: gzip\r\n" + LENGTH % len(PACKED_EVENTS) + PACKED_EVENTS,
    True,
)


class Memory(ByteStream):
    """A connection in memory: a request is answered by the `pieces`, one for each read, and then the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces, self._came = list(pieces), b""
        self._raw_socket = SimpleNamespace(setsockopt=lambda *_: None)  # what the library sets at its socket

    async def send(self, item: bytes) -> None:
        """Take a request."""
        await anyio.lowlevel.checkpoint()
        self._came += item

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Give the next piece."""
        await anyio.lowlevel.checkpoint()
        assert self._came.endswith(b"}")
        if not self._pieces:
            raise anyio.EndOfStream
        return self._pieces.pop(0)

    async def send_eof(self) -> None:
        """Not used."""

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.long
@pytest.mark.parametrize("name", CUT)
async def test_it_does_not_matter_where_an_answer_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two at every byte, and into single bytes, over both: one outcome."""
    data, is_stream = CUT[name]
    ways = [[data[:cut], data[cut:]] if cut else [data] for cut in range(len(data))]
    ways.append([data[i : i + 1] for i in range(len(data))])
    outcomes, pieces = set[tuple[Any, ...]](), list[bytes]()

    async def connected(*_: Any, **__: Any) -> Memory:
        return Memory(pieces)

    monkeypatch.setattr(anyio, "connect_tcp", connected)
    monkeypatch.setattr("understudy.providers._pool.open_stream", connected)
    for way in WAYS:
        async with provider_of("http://here.test/v1", way) as provider:
            if way == LIBRARY:
                made: Any = provider
                made._client._client._transport._pool._network_backend = httpcore2.AnyIOBackend()
            for pieces in ways:  # noqa: B007 - what `connected` gives
                outcomes.add(await end_of(provider, is_stream=is_stream))
    assert len(outcomes) == 1
    assert (outcomes == {("G",)}) == (name not in {"an error", "a bad chunk"})
