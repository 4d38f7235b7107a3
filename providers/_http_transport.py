"""Our own transport under an HTTP client of httpx2: its requests over our connections (`_pool.py`), its exceptions.

It is given to the SDKs' clients through their public `http_client=`, so that addresses, credentials and headers are
theirs as ever. What it saves is what the library's own pool costs, which looks at every connection for each request.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Any, final

import httpx2

from ._exchange import POOL_TIMEOUT, exchanged
from ._http1 import Header, ProtocolError, head_of
from ._pool import Origin, Pool

PORTS = {b"http": 80, b"https": 443}


@final
class Transport(httpx2.AsyncBaseTransport):
    """Sends requests over connections of our own.

    Args:
        most: Connections at once.
        connect_within: Seconds to open one.
        tls: Makes what TLS needs.
    """

    def __init__(self, most: int, connect_within: float, tls: Callable[[], ssl.SSLContext]) -> None:
        self.pool = Pool(most, connect_within, tls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and return its answer with the body still to come.

        After cancellation the connection is closed, and its place free.

        Raises:
            httpx2.TransportError: As the library's own transport.
        """
        limits: dict[str, Any] = request.extensions.get("timeout", {})
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous client has no other
        content = b"".join([part async for part in request.stream])
        headers = framed(request.headers.raw, len(content))
        try:
            head = head_of(request.method.encode("ascii"), request.url.raw_path, headers)
        except ProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        connection, answer = await exchanged(
            self.pool,
            origin_of(request.url),
            head + content,
            watch=request.extensions.get("trace"),
            place_within=limits.get("pool") or POOL_TIMEOUT,
            write_within=limits.get("write"),
        )
        reader = connection.reader
        return httpx2.Response(
            reader.status,
            headers=reader.headers,
            stream=answer,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": b""},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()


def framed(headers: Iterable[Header], length: int) -> list[Header]:
    """Return headers with the length of the content that follows, whatever they said of it: we send it whole."""
    return [*unframed(headers), (b"Content-Length", b"%d" % length)]


def unframed(headers: Iterable[Header]) -> list[Header]:
    """Return headers without what they say of the content's length."""
    return [(name, value) for name, value in headers if name.lower() not in {b"content-length", b"transfer-encoding"}]


def origin_of(url: httpx2.URL) -> Origin:
    """Return scheme, host and port of an address."""
    scheme = url.raw_scheme
    return scheme, url.raw_host, url.port or PORTS[scheme]
