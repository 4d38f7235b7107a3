"""The world over the real wire code: what connects targets in earnest, over a network in memory that plays the scripts.

The SDK clients, our pool, its parser and the way past the SDK are real; only what the pool takes for sockets is not. A
server here speaks bytes, closes no connection by itself, and lets nobody see before asking that one is gone.
"""

from __future__ import annotations

import errno
import json
import random
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from understudy.providers import Provider, Target, connect
from understudy.simulation import Answer, Breaks, Hang, Raw, Refused, Reset, Script, Status
from understudy.simulation._answers import REQUEST_ID, Wire, error
from understudy.simulation._memory import WALL_CLOCK
from understudy.simulation._reply import Ending, Part, Reply, reply
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


class Network:
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
            mock.patch("understudy.providers._pool.open_stream", self.open_stream),
            mock.patch("understudy.providers._http.create_tls", return_value=_NO_CERTIFICATES),
        ):
            yield

    async def open_stream(self, host: str, port: int) -> ByteStream:
        """Make a connection, unless nobody listens."""
        await anyio.lowlevel.checkpoint()
        if self.playback.script.refuses(self.now):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        self.open += 1
        return _Connection(self)


class _Connection(ByteStream):
    """One connection: what is written is a request, and what is then read is what the script makes of it."""

    def __init__(self, network: Network) -> None:
        self._network, self._sent, self._is_open, self._is_answering = network, b"", True, False
        self._parts: Iterator[Part] = iter(())
        self._part: Part | None = None
        self._ending: Ending = "close"

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}  # no socket: nobody sees from it whether the other end is there

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._sent += item

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            if self._sent:
                head, _, body = self._sent.partition(b"\r\n\r\n")
                self._sent, self._is_answering = b"", True
                self._network.in_flight += 1
                self._parts = await self._answered("anthropic" if b"/messages" in head else "openai", body)
                self._go_on()
            return await self._next()
        except BaseException:
            self._end()
            raise

    async def _next(self) -> bytes:
        """Return the next part that comes in, or what is read after the last one."""
        while self._part is not None:
            wait, data = self._part
            await anyio.sleep(wait)
            self._go_on()
            if data:
                return data
        if self._ending == "reset":
            raise _reset()
        if self._ending == "hang":
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        raise anyio.EndOfStream

    def _go_on(self) -> None:
        """Get the next part ready; after the last one, the request has been answered, unless the server just stops."""
        self._part = next(self._parts, None)
        if self._part is None and self._ending != "hang":
            self._end()

    def _end(self) -> None:
        self._network.in_flight -= self._is_answering
        self._is_answering, self._part = False, None

    async def aclose(self) -> None:
        self._end()
        self._network.open -= self._is_open
        self._is_open = False
        await anyio.lowlevel.checkpoint()

    async def _answered(self, wire: Wire, body: bytes) -> Iterator[Part]:
        """Return the parts that come in, none of them empty, and note what follows the last one."""
        request, self._ending = json.loads(body), "close"
        match self._network.playback.play(request["model"], self._network.now):
            case Answer() | Breaks() as answer:
                return self._replied(wire, reply(wire, answer, request))
            case Status() as status:
                await anyio.sleep(status.after)
                return self._refused(wire, status)
            case Reset(after):
                await anyio.sleep(after)
                raise _reset()
            case Raw(data):
                return iter([(0.0, data)] if data else [])
            case Refused():  # it was not so when the connection was made
                return iter(())
            case Hang():
                await anyio.sleep_forever()
                raise AssertionError("unreachable")

    def _replied(self, wire: Wire, answer: Reply) -> Iterator[Part]:
        framing = {"content-length": str(answer.length)}
        if answer.length is None:
            framing = {"transfer-encoding": "chunked"}
        head = self._head(wire, 200, {"content-type": answer.content_type, **framing})
        self._ending = answer.ending
        for wait, data in answer.parts:
            if head:
                yield wait, head
                wait, head = 0.0, b""
            yield wait, _framed(data, answer)
        if answer.length is None and answer.ending == "end":
            yield 0.0, b"0\r\n\r\n"

    def _refused(self, wire: Wire, status: Status) -> Iterator[Part]:
        body = status.body if status.body is not None else error(wire, status.status)
        headers = {"content-type": status.content_type, "content-length": str(len(body)), **status.headers}
        return iter([(0.0, self._head(wire, status.status, headers)), (0.0, body)])

    def _head(self, wire: Wire, status: int, headers: dict[str, str]) -> bytes:
        date = formatdate(WALL_CLOCK + self._network.now, usegmt=True)
        every = {"date": date, REQUEST_ID[wire]: "simulated", **headers}
        lines = [f"HTTP/1.1 {status} Simulated", *(f"{name}: {value}" for name, value in every.items())]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def _framed(data: bytes, answer: Reply) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if answer.length is None and data else data


def _reset() -> anyio.BrokenResourceError:
    error = anyio.BrokenResourceError()
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    return error
