"""The HTTP client of an endpoint: what it may wait for, how much it may read, and whether a connection was stale.

It is an ordinary `httpx2.AsyncClient`, so that proxies and certificates from the environment work as everywhere; what
is ours is added by its event hooks.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar
from typing import Any, final
from urllib.request import getproxies

import anyio
import httpx2

from ._addresses import WHY, is_forbidden
from ._body import unpacked
from ._clean import cleaner, credentials_in
from ._cleaned import READ
from ._direct import LARGEST_BODY
from ._exchange import POOL_TIMEOUT
from ._http1 import is_crossing
from ._http_transport import Transport
from ._judge import EVIDENCE_LIMIT
from ._pool import Pool
from ._port import Target

SPARE_CONNECTIONS = 8
"""Connections beyond the bulkhead, so that the pool never becomes the queue (a pool that queues loses slots to
cancelled callers; chosen: enough for those that are just being closed)."""

GIVE_UP_WITHIN = 2.0
"""Seconds to close a connection whose handshake failed or was cancelled (R-CX-3); nothing is said in closing."""

KEPT_CLEANERS = 8
"""Keys whose cleaner is kept (chosen: a login has one token at a time, and for a while the one before)."""

_TRACE = "trace"


@final
class _Watch:
    """Watches one request: was its connection a new one, and did any byte of an answer come?

    It also keeps what the answer said out of the HTTP library's log at DEBUG: servers quote keys in headers, too. And
    it gives up a connection whose TLS handshake failed or was cancelled. The library leaves that to the garbage
    collector, and a tunnel through a proxy in the pool, as one that is busy for ever.
    """

    __slots__ = ("_client", "_stream", "_url", "has_crossed", "is_answered", "is_new")

    def __init__(self, client: httpx2.AsyncClient, url: httpx2.URL) -> None:
        self._client, self._url = client, url
        self.is_new = self.is_answered = self.has_crossed = False
        self._stream: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            self.is_new = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
            peer = self._stream.get_extra_info("server_addr")
            if isinstance(peer, tuple) and is_forbidden(peer[0]):
                await self._stream.aclose()
                raise httpx2.ConnectError(WHY)
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
class _NoCookies(CookieJar):
    """Takes no cookie: no API has a use for one, and a bad one would be sent with every later request, or break it."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Leave them where they are."""


@final
class _Cleaners:
    """What masks secrets in the head of an answer: the endpoint's own, and the keys that the very request has shown."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets, self._own = secrets, cleaner(secrets)
        self._by_shown: dict[frozenset[str], Callable[[str], str]] = {}

    def of(self, request: httpx2.Request) -> Callable[[str], str]:
        """Return what cleans the answer to a request."""
        shown = credentials_in((*request.headers.multi_items(), *request.url.params.multi_items()))
        if shown.issubset(self._secrets):
            return self._own
        clean = self._by_shown.get(shown)
        if clean is None:
            if len(self._by_shown) >= KEPT_CLEANERS:
                del self._by_shown[next(iter(self._by_shown))]  # the oldest: its login has had others since
            clean = self._by_shown[shown] = cleaner((*self._secrets, *shown))
        return clean


@final
@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP client of an endpoint, and the pool below it where that is ours: then requests may go past the
    client."""

    client: httpx2.AsyncClient
    pool: Pool | None = None


def http_client(target: Target, own: httpx2.AsyncClient | None = None) -> Http:
    """Make the HTTP client of an endpoint: no redirects, no retries, no cookies, a pool larger than the bulkhead.

    Reading has no time limit here, because the attempt's own limit, a cancel scope, rules it. A client of the user's
    `own` is taken as it is: only our reading of heads and bodies is added to it.

    Raises:
        TypeError: `own` is no client of httpx2.
        OSError: The trusted certificates cannot be read (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    """
    if own is None:
        http = _made(target)
    elif isinstance(own, httpx2.AsyncClient):
        http = Http(own)
    else:
        raise TypeError(f"http_client returns an httpx2.AsyncClient, not {type(own).__name__}")
    hooks = http.client.event_hooks
    http.client.event_hooks = {
        "request": [*hooks["request"], partial(_watch, http.client)],
        "response": [*hooks["response"], partial(_read, _Cleaners(target.secrets))],
    }
    return http


def _made(target: Target) -> Http:
    connections = target.max_concurrency + SPARE_CONNECTIONS
    transport = _transport(target, connections)
    client = httpx2.AsyncClient(
        transport=transport,
        timeout=httpx2.Timeout(None, connect=target.connect_timeout, write=target.write_timeout, pool=POOL_TIMEOUT),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={"Accept-Encoding": "gzip"},
        cookies=_NoCookies(),
        follow_redirects=False,
    )
    return Http(client, None if transport is None else transport.pool)


def _transport(target: Target, connections: int) -> Transport | None:
    """Return our own transport; None for the library's, which knows the way through a proxy."""
    if (
        target.http_transport != "understudy"
        or not hasattr(select, "poll")
        or any(name in getproxies() for name in ("http", "https", "all"))
    ):
        return None
    context = create_tls() if target.base_url.startswith("https:") else None
    return Transport(connections, target.connect_timeout, create_tls if context is None else lambda: context)


def create_tls() -> ssl.SSLContext:
    """Return what TLS needs, with the certificates that the environment names.

    Raises:
        OSError: They cannot be read.
    """
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _watch(client: httpx2.AsyncClient, request: httpx2.Request) -> None:
    request.extensions[_TRACE] = _Watch(client, request.url)


async def _read(cleaners: _Cleaners, response: httpx2.Response) -> None:
    """Put our own reading of head and body in the place of the client's.

    Of the head only what we read is left, and cleaned, for the SDKs log the whole of it. They also decode the body of
    an error, and fail where its charset does not fit.
    """
    is_error = response.status_code >= 400
    watch = response.request.extensions.get(_TRACE)
    if is_error and isinstance(watch, _Watch) and not watch.is_new:
        is_last = response.http_version == "HTTP/1.0" or "close" in response.headers.get("connection", "").lower()
        watch.has_crossed = is_crossing(response.status_code, response.headers.raw, is_last=is_last)
    response.encoding = "utf-8"
    response.stream = unpacked(response, EVIDENCE_LIMIT if is_error else LARGEST_BODY, cut=is_error)
    clean = cleaners.of(response.request)
    kept = [
        (name.encode(), clean(value).encode())  # bytes, because a `str` would have to be ASCII
        for name, value in response.headers.multi_items()
        if name in READ
    ]
    response.headers, response.extensions["reason_phrase"] = httpx2.Headers(kept, encoding="utf-8"), b""


def is_stale(request: httpx2.Request) -> bool:
    """Say whether a request that failed had been given a connection that was used before, and had no answer on it.

    The server had closed the connection, or was about to: the request may be sent again on another one.
    """
    watch = request.extensions.get(_TRACE)
    return isinstance(watch, _Watch) and not watch.is_new and not watch.is_answered


def has_crossed(request: httpx2.Request) -> bool:
    """Say whether the answer to a request was none to it, but the end of a kept connection; see `is_crossing`."""
    watch = request.extensions.get(_TRACE)
    return isinstance(watch, _Watch) and watch.has_crossed
