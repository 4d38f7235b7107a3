"""The HTTP client of an endpoint: what it may wait for, how much it may read, and whether a connection was stale.

It is an ordinary `httpx2.AsyncClient`, so that proxies and certificates from the environment work as everywhere; what
is ours is added by its event hooks.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from http.cookiejar import CookieJar
from typing import Any, final

import anyio
import h11
import httpx2

from ._clean import cleaner
from ._judge import EVIDENCE_LIMIT
from ._port import Target

SPARE_CONNECTIONS = 8
"""Connections beyond the bulkhead, so that the pool never becomes the queue (a pool that queues loses slots to
cancelled callers; chosen: enough for those that are just being closed)."""

GIVE_UP_WITHIN = 2.0
"""Seconds to close a connection whose handshake failed or was cancelled (R-CX-3); nothing is said in closing."""

POOL_TIMEOUT = 2.0
"""Seconds for a place in the pool, should it ever be full (as for a place at a full endpoint): that is our own trouble,
and must not end as a slow answer of the provider's."""

LARGEST_BODY = 256 * 1024 * 1024
"""Bytes of an answer that are read (R-LS-5); of an error's body, 64 KiB."""

_HEADERS = frozenset(
    {"content-type", "date", "request-id", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"}
)
"""The headers of an answer that are read."""

_TRACE = "trace"
_GZIP = 16 + zlib.MAX_WBITS


@final
class BodyError(Exception):
    """The body of an answer is too long, or not encoded as it says."""


@final
class _Watch:
    """Watches one request: was its connection a new one, and did any byte of an answer come?

    It also keeps what the answer said out of the HTTP library's log at DEBUG: servers quote keys in headers, too. And
    it gives up a connection whose TLS handshake failed or was cancelled. The library leaves that to the garbage
    collector, and a tunnel through a proxy in the pool, as one that is busy for ever.
    """

    __slots__ = ("_client", "_stream", "_url", "is_answered", "is_new")

    def __init__(self, client: httpx2.AsyncClient, url: httpx2.URL) -> None:
        self._client, self._url = client, url
        self.is_new = self.is_answered = False
        self._stream: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            self.is_new = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("start_tls.failed"):
            with anyio.move_on_after(GIVE_UP_WITHIN, shield=True):
                await self._give_up()
        elif event.endswith("receive_response_headers.complete"):
            self.is_answered = True
        if ".receive_" in event and not event.endswith(".started"):
            info.clear()  # what is left of it is logged

    async def _give_up(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
        pool: Any = getattr(self._client._transport_for_url(self._url), "_pool", None)
        for asked in list(getattr(pool, "_requests", ())):  # nothing public leads there; a test sees when this does not
            if asked.request.extensions.get(_TRACE) is self and asked.connection is not None:
                await asked.connection.aclose()


@final
class _Body(httpx2.AsyncByteStream):
    """A body, unpacked, of at most `limit` bytes: what is longer is an error, or is cut where only evidence is wanted.

    It unpacks gzip itself, so that a small body cannot become a large one, and because an error in the middle must not
    leave the generators within to the garbage collector, which would warn about each of them on trio.
    """

    def __init__(
        self, inner: httpx2.AsyncByteStream, limit: int, *, cut: bool, encoding: str, at_end: Callable[[], None]
    ) -> None:
        self._inner, self._limit, self._cut, self._encoding, self._at_end = inner, limit, cut, encoding, at_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came, read, unpacker = 0, 0, zlib.decompressobj(_GZIP) if self._encoding == "gzip" else None
        parts = aiter(self._inner)
        if self._encoding not in {"", "identity", "gzip"}:
            await self._abandon(parts)
            if self._cut:
                return
            raise BodyError("the answer is packed in a way that was not asked for")
        async for part in parts:
            came += len(part)
            if unpacker is not None:
                try:  # what follows the end is not fed: it would be kept, and copied with every further part
                    part = unpacker.decompress(part, self._limit + 1) if not unpacker.eof else b""
                except zlib.error:
                    await self._abandon(parts)
                    if self._cut:
                        return
                    raise BodyError("the answer is not the gzip that it says it is") from None
            read += len(part)
            if max(came, read) > self._limit:  # gzip can also be long and say nothing
                await self._abandon(parts)
                if self._cut:
                    return
                raise BodyError(f"the answer is longer than {self._limit} bytes")
            yield part
        self._at_end()
        if unpacker is not None and not unpacker.eof and not self._cut:
            raise BodyError("the answer is gzip that was cut short")

    async def _abandon(self, parts: AsyncIterator[bytes]) -> None:
        """Close the connection, then let the generators within run into that, to their end: no more can arrive."""
        await self._inner.aclose()
        with suppress(Exception):
            async for _ in parts:
                pass

    async def aclose(self) -> None:
        await self._inner.aclose()


@final
class _NoCookies(CookieJar):
    """Takes no cookie: no API has a use for one, and a bad one would be sent with every later request, or break it."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Leave them where they are."""


def http_client(target: Target) -> httpx2.AsyncClient:
    """Make the HTTP client of an endpoint: no redirects, no retries, no cookies, a pool larger than the bulkhead.

    Reading has no time limit here, because the attempt's own limit, a cancel scope, rules it.

    Raises:
        OSError: The trusted certificates cannot be read (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    """
    connections = target.max_concurrency + SPARE_CONNECTIONS
    client = httpx2.AsyncClient(
        timeout=httpx2.Timeout(None, connect=target.connect_timeout, write=target.write_timeout, pool=POOL_TIMEOUT),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={"Accept-Encoding": "gzip"},
        cookies=_NoCookies(),
        follow_redirects=False,
    )
    client.event_hooks = {
        "request": [partial(_watch, client)],
        "response": [partial(_read, cleaner(target.secrets))],
    }
    return client


async def _watch(client: httpx2.AsyncClient, request: httpx2.Request) -> None:
    request.extensions[_TRACE] = _Watch(client, request.url)


async def _read(clean: Callable[[str], str], response: httpx2.Response) -> None:
    """Put our own reading of head and body in the place of the client's.

    Of the head only what we read is left, and cleaned, for the SDKs log the whole of it. They also decode the body of
    an error, and fail where its charset does not fit.
    """
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an asynchronous client has no other
    is_error = response.status_code >= 400
    limit, encoding = EVIDENCE_LIMIT if is_error else LARGEST_BODY, response.headers.get("content-encoding", "")
    response.encoding = "utf-8"
    at_end = partial(_drop_if_followed, response, response.stream)
    response.stream = _Body(response.stream, limit, cut=is_error, encoding=encoding.strip().lower(), at_end=at_end)
    kept = [
        (name.encode(), clean(value).encode())  # bytes, because a `str` would have to be ASCII
        for name, value in response.headers.multi_items()
        if name in _HEADERS
    ]
    response.headers, response.extensions["reason_phrase"] = httpx2.Headers(kept, encoding="utf-8"), b""


def is_stale(request: httpx2.Request) -> bool:
    """Say whether a request that failed had been given a connection that was used before, and had no answer on it.

    The server had closed the connection, or was about to: the request may be sent again on another one.
    """
    watch = request.extensions.get(_TRACE)
    return isinstance(watch, _Watch) and not watch.is_new and not watch.is_answered


_TO_PARSER = ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state")
"""The way from a body to the parser of its connection. Nothing public leads there; a test sees when this does not."""


def _drop_if_followed(response: httpx2.Response, body: object) -> None:
    """Give up a connection on which more came than the answer: the next request would take that for its own."""
    for name in _TO_PARSER:
        body = getattr(body, name, None)
    if isinstance(body, h11.Connection) and body.trailing_data[0]:
        drop_connection(response)


def drop_connection(response: httpx2.Response) -> None:
    """Shut the connection down that an answer came on: the pool then sees that it is gone, and takes another one."""
    stream = response.extensions.get("network_stream")
    own: Any = stream.get_extra_info("socket") if stream is not None else None
    if own is not None:
        with suppress(OSError):  # it is gone already
            own.shutdown(socket.SHUT_RDWR)
