"""Connections over sockets of our own: waiting, sending in part, closing, and the race between addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute

from understudy.providers import _sockets
from understudy.providers._exchange import sent
from understudy.providers._pool import Connection
from understudy.providers._sockets import NEXT_AFTER, Address, Socket, addresses_of, connected, open_stream

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Socket, socket.socket]]:
    """Give a connection, and the socket at its other end."""
    ours, other = socket.socketpair()
    with other:
        ours.setblocking(False)
        stream = Socket(ours, "the other end")
        try:
            yield stream, other
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()


async def test_what_comes_is_read_as_it_comes() -> None:
    """Up to as much as is wanted; then the end."""
    async with pair() as (stream, other):
        other.sendall(b"abcdef")
        assert [await stream.receive(4), await stream.receive(4)] == [b"abcd", b"ef"]
        other.close()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_what_the_kernel_does_not_take_waits() -> None:
    """All of it is sent, in order, when the other side reads."""
    sent = bytes(range(256)) * 20_000
    async with pair() as (stream, other), anyio.create_task_group() as tasks:
        other.setblocking(False)
        tasks.start_soon(stream.send, sent)
        came = bytearray()
        while len(came) < len(sent):
            await anyio.wait_readable(other)
            came += other.recv(1 << 20)
        assert bytes(came) == sent


async def test_who_is_cancelled_sends_nothing() -> None:
    """A request that nobody waits for any more is not begun."""
    async with pair() as (stream, other):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await sent(Connection((b"http", b"a-host", 80), stream), b"never", 1.0)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(10)


async def test_who_waits_learns_that_it_was_closed() -> None:
    """At once; and so does whoever comes later. Closing twice does nothing."""
    async with pair() as (stream, _), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()
        await stream.aclose()
        for again in (stream.receive, lambda: stream.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await again()
        await stream.send_eof()


async def test_whose_number_is_used_again_hurts_nobody() -> None:
    """Where a socket is closed while somebody waits for it, the next one may get its number at once. Whoever waits for
    that one is not forgotten with those who waited for the first.
    """
    async with pair() as (stream, _), anyio.create_task_group() as tasks:
        came: list[bytes] = []

        async def first() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async def second() -> None:
            async with pair() as (next_one, other):
                other.sendall(b"x")
                with anyio.move_on_after(10):
                    came.append(await next_one.receive())

        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(stream.aclose)
        tasks.start_soon(second)
    assert came == [b"x"]
    assert stream.extra(SocketAttribute.raw_socket).fileno() < 0  # noqa: S610 - anyio's `extra`


async def test_a_reset_is_told() -> None:
    """To whoever reads, and to whoever writes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stream = await open_stream("127.0.0.1", port)
        other, _ = listener.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        other.close()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")
        assert stream.extra(SocketAttribute.remote_address) == ("127.0.0.1", port)  # noqa: S610 - anyio's `extra`
        await stream.aclose()


async def test_a_refusal_has_its_number() -> None:
    """It is the kernel's own error, by which it is judged."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as refused:
        await open_stream("127.0.0.1", port)
    assert refused.value.errno == errno.ECONNREFUSED


V4, V6 = (
    [(socket.AF_INET, (f"192.0.2.{n}", 1)) for n in range(3)],
    [(socket.AF_INET6, (f"2001:db8::{n}", 1, 0, 0)) for n in range(3)],
)


@pytest.mark.parametrize(
    ("resolved", "order"),
    [
        (V4[:2], V4[:2]),
        ([*V6[:2], *V4[:2]], [V6[0], V4[0], V6[1], V4[1]]),
        ([V4[0], *V6], [V4[0], V6[0], *V6[1:]]),
        ([V6[0], V6[0], V4[0]], [V6[0], V4[0]]),
    ],
)
async def test_families_take_turns(
    resolved: list[tuple[int, object]], order: list[tuple[int, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver's first one first (RFC 8305 section 4); none twice."""

    async def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in resolved]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    assert await addresses_of("many.test", 1) == order


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(host: str, family: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where it says."""
    monkeypatch.delattr(anyio, "getaddrinfo")
    assert await addresses_of(host, 80) == [Address(family, (host, 80))]


class Racing:
    """Addresses that answer after some seconds, or fail; `begun` says when each was tried."""

    def __init__(self, behaves: dict[str, float | OSError], monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: dict[str, float] = {}
        self.sockets: dict[str, socket.socket] = {}
        self._behaves = behaves
        monkeypatch.setattr(_sockets, "addresses_of", self._addresses)
        monkeypatch.setattr(_sockets, "connected", self._connected)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        return [Address(socket.AF_INET, (name, port)) for name in self._behaves]

    async def _connected(self, address: Address) -> socket.socket:
        name = address.place[0]
        self.begun[name] = anyio.current_time()
        behaves = self._behaves[name]
        await anyio.sleep(0.0 if isinstance(behaves, OSError) else behaves)
        if isinstance(behaves, OSError):
            raise behaves
        own = self.sockets[name] = socket.socket()
        return own


async def test_the_next_address_is_tried_while_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second later; the first that answers wins, and the others are left."""
    racing = Racing({"a": 10.0, "b": 10.0, "c": 0.1}, monkeypatch)
    began_at = anyio.current_time()
    stream = await open_stream("many.test", 1)
    assert stream.extra(SocketAttribute.remote_address) == ("c", 1)  # noqa: S610 - anyio's `extra`
    assert [at - began_at for at in racing.begun.values()] == pytest.approx([0, NEXT_AFTER, 2 * NEXT_AFTER])
    assert anyio.current_time() - began_at == pytest.approx(2 * NEXT_AFTER + 0.1)
    assert list(racing.sockets) == ["c"]
    await stream.aclose()


async def test_the_next_address_is_tried_at_once_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """And if all fail, each says why."""
    refused, unreachable = ConnectionRefusedError(111, "refused"), OSError(101, "unreachable")
    racing = Racing({"a": refused, "b": unreachable}, monkeypatch)
    began_at = anyio.current_time()
    with pytest.raises(OSError, match="all connection attempts failed") as failed:
        await open_stream("many.test", 1)
    assert anyio.current_time() == began_at
    assert len(racing.begun) == 2
    cause = failed.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert cause.exceptions == (refused, unreachable)


async def test_two_that_answer_at_once_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is closed."""
    racing = Racing({"a": NEXT_AFTER, "b": 0.0}, monkeypatch)
    stream = await open_stream("many.test", 1)
    won = stream.extra(SocketAttribute.remote_address)[0]  # noqa: S610 - anyio's `extra`
    assert {name for name, own in racing.sockets.items() if own.fileno() >= 0} == {won}
    await stream.aclose()


async def test_cancelled_while_they_race_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the very instant in which one has answered."""
    racing = Racing({"a": 0.1, "b": 10.0}, monkeypatch)
    for after in (0.05, 0.1):
        with anyio.move_on_after(after) as limit:
            stream = await open_stream("many.test", 1)
            await stream.aclose()
        assert after == 0.1 or limit.cancelled_caught
        assert all(own.fileno() < 0 for own in racing.sockets.values())


async def test_cancelled_while_it_connects_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket does not outlive whoever wanted it."""
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *given: int) -> None:
            super().__init__(*given)
            made.append(self)

    async def for_ever(_: object) -> None:
        await anyio.sleep(1000)

    monkeypatch.setattr(anyio, "wait_writable", for_ever)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket, "socket", Kept)
        with anyio.move_on_after(1):
            await connected(Address(socket.AF_INET, listener.getsockname()))
    assert made[-1].fileno() < 0
