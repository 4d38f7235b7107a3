"""Requests past the SDK: the head that its client would send is prepared once, and then only the content changes.

The SDK's client is asked for its request by a transport that keeps it and sends nothing: address, credential and
headers are its own, for each version of a credential and each set of headers. A client whose requests differ from one
to the next is left to send them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import httpx2

from ._body import Body
from ._cleaned import Cleaned
from ._exchange import POOL_TIMEOUT, Watch, exchanged
from ._http1 import head_of, is_crossing
from ._http_transport import origin_of, unframed
from ._judge import EVIDENCE_LIMIT
from ._pool import Origin, Pool
from ._settled import settle_client

LARGEST_BODY = 256 * 1024 * 1024
"""Bytes of an answer that are read (R-LS-5); of an error's body, 64 KiB."""

MISDIRECTED = 421
"""The status that says that this connection does not lead to that host: it is not used again (RFC 9110, 15.5.20)."""


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """Where a request goes, and its head up to the number of its content's bytes."""

    origin: Origin
    head: bytes = field(repr=False)  # it holds the key


@final
class _Keeps(httpx2.AsyncClient):
    """Keeps requests, sends none, and logs none."""

    requests: list[httpx2.Request]

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Keep a request."""
        self.requests.append(request)
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=b"{}", request=request)


async def prepare(client: Any, path: str, options: Mapping[str, Any], headers: httpx2.Headers) -> Prepared | None:
    """Return what a client sends before its content; None if that is not the same each time.

    Args:
        headers: What the HTTP client adds of its own.
    """
    kept = list[httpx2.Request]()
    async with _Keeps(transport=httpx2.MockTransport(_unsent), headers=headers, timeout=None, trust_env=False) as http:
        http.requests = kept
        copy = client.with_options(http_client=http)
        settle_client(copy, client._custom_headers)
        for is_stream in (False, True):
            await copy.post(path, cast_to=httpx2.Response, content=b"{}", options=dict(options), stream=is_stream)
    first, second = kept
    named = unframed(first.headers.raw)
    if named != unframed(second.headers.raw) or first.url != second.url:
        return None
    head = head_of(b"POST", first.url.raw_path, [*named, (b"Content-Length", b"")])
    return Prepared(origin_of(first.url), head.removesuffix(b"\r\n\r\n"))


def _unsent(_: httpx2.Request) -> httpx2.Response:
    raise AssertionError("nothing is sent")


@final
class Received:
    """An answer whose head has come: what is read of it, cleaned when it is read."""

    __slots__ = ("content", "headers", "status_code", "stream")

    def __init__(self, status: int, headers: Cleaned, stream: Body) -> None:
        self.status_code, self.headers, self.stream = status, headers, stream
        self.content = b""

    async def read(self) -> bytes:
        """Read the whole body, and give the connection back.

        Raises:
            BodyError: It is longer than may be, or not packed as it says.
            httpx2.TransportError: The connection failed.
        """
        body, parts = self.stream, list[bytes]()
        try:
            while not body.is_at_end:
                parts.append(await body.read())
        finally:
            await body.aclose()
        self.content = parts[0] if len(parts) == 1 else b"".join(parts)
        return self.content

    async def aclose(self) -> None:
        """Close the connection, unless the body was read to its end."""
        await self.stream.aclose()


def is_success(status: int) -> bool:
    """Say whether a status is no refusal: a redirect is one, too, for none is followed."""
    return 200 <= status < 300


async def posted(
    pool: Pool,
    prepared: Prepared,
    content: bytes,
    *,
    clean: Callable[[str], str],
    watch: Watch,
    write_within: float,
    fresh: bool,
) -> Received:
    """Send content, and return its answer; that of an error with its body, as far as it is evidence.

    Args:
        clean: Masks secrets in the head.
        fresh: The connection has to be a new one.

    After cancellation the connection is closed, and its place free.

    Raises:
        BodyError: An error's body is not packed as it says.
        httpx2.TransportError: The connection failed.
    """
    data = b"%b%d\r\n\r\n%b" % (prepared.head, len(content), content)
    connection, answer = await exchanged(
        pool, prepared.origin, data, watch=watch, place_within=POOL_TIMEOUT, write_within=write_within, fresh=fresh
    )
    reader = connection.reader
    if reader.status == MISDIRECTED:
        reader.has_extra = True
    is_error = not is_success(reader.status)
    if is_error and not watch.is_new:
        watch.has_crossed = is_crossing(reader.status, reader.headers, is_last=reader.is_last)
    encoding = b", ".join(value for name, value in reader.headers if name.lower() == b"content-encoding")
    body = Body(answer, encoding.decode("latin-1"), EVIDENCE_LIMIT if is_error else LARGEST_BODY, cut=is_error)
    received = Received(reader.status, Cleaned(reader.headers, clean), body)
    if is_error:
        await received.read()
    return received
