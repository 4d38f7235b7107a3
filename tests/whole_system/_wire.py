"""The world over the real wire code: what connects targets in earnest, over a network in memory that plays the scripts.

The SDK clients, the HTTP client, its pool and its parser are real; only what the pool takes for sockets is not. A
server here speaks bytes, closes no connection by itself, and lets nobody see before asking that one is gone.
"""

from __future__ import annotations

import errno
import json
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel
import httpcore2

from understudy.providers import Provider, Target, connect
from understudy.simulation import Answer, Hang, Raw, Refused, Reset, Script, Status
from understudy.simulation._answers import REQUEST_ID, Wire, answer, error, prompt
from understudy.simulation._memory import WALL_CLOCK
from understudy.simulation._script import Playback

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class WireWorld:
    """All providers that a supervisor can reach, as `World` has them, each behind a network of its own."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        self._begun, rand = anyio.current_time(), random.Random(0).random
        self._playbacks = {name: Playback(script, rand) for name, script in scripts.items()}
        self.providers: list[Network] = []

    def connect(self, target: Target) -> Provider:
        """Make the real provider of a target."""
        network = Network(self._playbacks[target.transport], self._begun)
        self.providers.append(network)
        with network.in_place():
            return connect(target)


class Network(httpcore2.AsyncNetworkBackend):
    """The way to one provider. `open` are connections, `in_flight` the requests that are being answered."""

    def __init__(self, playback: Playback, begun: float) -> None:
        self.playback, self._begun = playback, begun
        self.open = self.in_flight = 0

    @property
    def now(self) -> float:
        """Seconds since the scripts began."""
        return anyio.current_time() - self._begun

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let clients that are made in the body of a `with` speak over this network, and read no certificates, which
        would take longer than a seed does.
        """
        with (
            mock.patch("httpcore2._async.connection_pool.AutoBackend", return_value=self),
            mock.patch("httpx2._transports.default.create_ssl_context", return_value=_NO_CERTIFICATES),
        ):
            yield

    async def connect_tcp(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        """Make a connection, unless nobody listens."""
        await anyio.lowlevel.checkpoint()
        if self.playback.script.refuses(self.now):
            cause = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            raise httpcore2.ConnectError(str(cause)) from cause
        self.open += 1
        return _Connection(self)


class _Connection(httpcore2.AsyncNetworkStream):
    """One connection: what is written is a request, and what is then read is what the script makes of it."""

    def __init__(self, network: Network) -> None:
        self._network, self._sent, self._to_read, self._is_open = network, b"", list[bytes](), True

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await anyio.lowlevel.checkpoint()
        self._sent += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._sent:
            head, _, body = self._sent.partition(b"\r\n\r\n")
            self._sent = b""
            self._network.in_flight += 1
            try:
                self._to_read += await self._answered("anthropic" if b"/messages" in head else "openai", body)
            finally:
                self._network.in_flight -= 1
        await anyio.lowlevel.checkpoint()
        return self._to_read.pop(0) if self._to_read else b""

    async def aclose(self) -> None:
        self._network.open -= self._is_open
        self._is_open = False
        await anyio.lowlevel.checkpoint()

    async def _answered(self, wire: Wire, body: bytes) -> list[bytes]:
        """Return the parts that come in: none of them is empty, and after the last one the connection is closed."""
        request = json.loads(body)
        match self._network.playback.play(request["model"], self._network.now):
            case Answer(text, after):
                await anyio.sleep(after)
                asked = prompt(request)
                said = answer(wire, request["model"], asked if text is None else text, asked)
                return self._parts(wire, Status(200, body=said))
            case Status() as status:
                await anyio.sleep(status.after)
                return self._parts(wire, status)
            case Reset(after):
                await anyio.sleep(after)
                cause = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
                raise httpcore2.ReadError(str(cause)) from cause
            case Raw(data):
                return [data] if data else []
            case Refused():  # it was not so when the connection was made
                return []
            case Hang():
                await anyio.sleep_forever()
                raise AssertionError("unreachable")

    def _parts(self, wire: Wire, status: Status) -> list[bytes]:
        body = status.body if status.body is not None else error(wire, status.status)
        headers = {
            "content-type": status.content_type,
            "content-length": str(len(body)),
            "date": formatdate(WALL_CLOCK + self._network.now, usegmt=True),
            REQUEST_ID[wire]: "simulated",
            **status.headers,
        }
        lines = [f"HTTP/1.1 {status.status} Simulated", *(f"{name}: {value}" for name, value in headers.items())]
        return ["\r\n".join([*lines, "\r\n"]).encode("latin-1"), body]


@contextmanager
def pools_in_virtual_time() -> Iterator[None]:
    """Let pools keep a connection for so long in virtual time: by the real clock no two runs would be the same."""
    with mock.patch("httpcore2._async.http11.time", SimpleNamespace(monotonic=anyio.current_time)):
        yield
