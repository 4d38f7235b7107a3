"""Connections of our own: kept, taken up again, never shared, never lost, whoever leaves whenever."""

from __future__ import annotations

import gc
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener

from understudy.providers import _pool
from understudy.providers._exchange import received
from understudy.providers._http1 import head_of
from understudy.providers._pool import IDLE_FOR, Connection, ConnectTimeoutError, Origin, PlaceTimeoutError, Pool

from .over_sockets import FIXTURES, later

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"


class Server:
    """Answers each request with the path that it asks for; `accepted` and `open` count connections."""

    def __init__(self) -> None:
        self.accepted = self.open = 0
        self.streams: list[SocketStream] = []
        self.origin: Origin = (b"http", b"127.0.0.1", 0)
        self.closing = b""
        self.delay = 0.0

    async def serve(self, stream: SocketStream) -> None:
        """Serve one connection."""
        self.accepted += 1
        self.open += 1
        self.streams.append(stream)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            async with stream:
                while True:
                    path = (await stream.receive()).split(b" ")[1]
                    await anyio.sleep(self.delay)
                    answer = ANSWER % (len(path), path)
                    await stream.send(answer.replace(b"\r\n\r\n", b"\r\n" + self.closing + b"\r\n", 1))
        self.open -= 1


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    """Run a server for the body of an `async with`."""
    server = Server()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=2048) as listener:
        server.origin = (b"http", b"127.0.0.1", listener.extra(SocketAttribute.local_port))  # noqa: S610
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, server.serve)
            yield server
            tasks.cancel_scope.cancel()


def no_tls() -> ssl.SSLContext:
    """There is none."""
    raise AssertionError


def pool_of(most: int = 100) -> Pool:
    """Make a pool."""
    return Pool(most, 5.0, no_tls)


async def asked(connection: Connection, path: bytes) -> bytes:
    """Ask over a connection, and return the whole answer."""
    await connection.stream.send(head_of(b"GET", path, [(b"host", b"x")]))
    while not connection.reader.is_at_end:
        connection.reader.feed(await connection.stream.receive())
    return connection.reader.take()


async def ask(pool: Pool, origin: Origin, path: bytes = b"/", *, wait_for: float = 2.0) -> bytes:
    """Ask once, and give the connection back, whatever happens."""
    connection = await pool.acquire(origin, wait_for=wait_for)
    try:
        return await asked(connection, path)
    finally:
        await pool.release(connection)


async def test_a_connection_is_used_again() -> None:
    """One after the other over one connection; two at once over two, of which the last is used first."""
    pool = pool_of()
    async with served() as server:
        for number in range(5):
            assert await ask(pool, server.origin, b"/%d" % number) == b"/%d" % number
        assert (server.accepted, pool.taken, pool.kept) == (1, 0, 1)
        first = await pool.acquire(server.origin, wait_for=1)
        second = await pool.acquire(server.origin, wait_for=1)
        assert (await asked(first, b"/a"), await asked(second, b"/b")) == (b"/a", b"/b")
        assert (pool.taken, pool.kept, first.uses, second.uses) == (2, 0, 6, 1)
        await pool.release(first)
        await pool.release(second)
        third = await pool.acquire(server.origin, wait_for=1)
        assert third is second
        await pool.release(third)
        await pool.aclose()
        await anyio.wait_all_tasks_blocked()
        assert (server.accepted, server.open, pool.kept) == (2, 0, 0)


async def test_origins_do_not_mix() -> None:
    """A connection to one server is not given to who wants another one."""
    pool = pool_of()
    async with served() as one, served() as other:
        for server in (one, other, one, other):
            await ask(pool, server.origin)
        assert (one.accepted, other.accepted, pool.kept) == (1, 1, 2)
        await pool.aclose()


async def close(stream: SocketStream) -> None:
    """The server closes."""
    await stream.aclose()


async def end(stream: SocketStream) -> None:
    """The server says that it will send no more."""
    await stream.send_eof()


async def speak(stream: SocketStream) -> None:
    """The server says something that nobody asked for: 408, as some do."""
    await stream.send(ANSWER % (2, b"no"))


@pytest.mark.parametrize("does", [close, end, speak])
async def test_a_stale_connection_is_not_used(does: Callable[[SocketStream], Awaitable[None]]) -> None:
    """What the server did meanwhile is seen before anything is sent."""
    pool = pool_of()
    async with served() as server:
        await ask(pool, server.origin)
        await anyio.wait_all_tasks_blocked()
        await does(server.streams[0])
        await anyio.sleep(0.01)
        assert await ask(pool, server.origin, b"/new") == b"/new"
        assert (server.accepted, pool.kept, pool.taken) == (2, 1, 0)
        await pool.aclose()


async def test_an_old_connection_is_closed() -> None:
    """Nobody knows what a load balancer has forgotten after half a minute."""
    pool = pool_of()
    async with served() as server:
        await ask(pool, server.origin)
        await anyio.sleep(IDLE_FOR - 1)
        await ask(pool, server.origin)
        await anyio.sleep(IDLE_FOR + 1)
        await ask(pool, server.origin)
        await anyio.sleep(0.01)
        assert (server.accepted, server.open, pool.kept) == (2, 1, 1)
        await pool.aclose()


async def test_one_that_may_not_follow_is_closed() -> None:
    """The server said so, or its answer was not read to its end."""
    pool = pool_of()
    async with served() as server:
        server.closing = b"connection: close\r\n"
        await ask(pool, server.origin)
        server.closing = b""
        connection = await pool.acquire(server.origin, wait_for=1)
        await connection.stream.send(head_of(b"GET", b"/", []))
        await pool.release(connection)
        await anyio.sleep(0.01)
        assert (server.accepted, server.open, pool.kept, pool.taken) == (2, 0, 0, 0)


async def test_one_that_is_dropped_is_shut_down_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is cancelled drops it before it is closed, and its server need not be told twice."""
    shut: list[object] = []
    monkeypatch.setattr(_pool, "shut_down", shut.append)
    async with served() as server:
        pool = pool_of()
        connection = await pool.acquire(server.origin, wait_for=2.0)
        connection.drop()
        await pool.release(connection)
        await pool.aclose()
    assert shut == [connection.stream]


async def test_who_finds_no_place_waits_in_turn() -> None:
    """In the order in which they came, and no longer than they said."""
    pool, order = pool_of(2), list[int]()
    async with served() as server:
        server.delay = 1.0

        async def one(number: int) -> None:
            await anyio.sleep(number / 100)
            with suppress(PlaceTimeoutError):
                await ask(pool, server.origin, wait_for=2.5)
                order.append(number)

        async with anyio.create_task_group() as callers:
            for number in range(8):
                callers.start_soon(one, number)
        assert order == [0, 1, 2, 3, 4, 5]  # the last two would have had to wait for three seconds
        assert anyio.current_time() == pytest.approx(3.01)
        assert (server.accepted, pool.taken, pool.kept) == (2, 0, 2)
        await pool.aclose()


async def test_room_is_made_for_another_server() -> None:
    """The connection that was idle for longest is closed, so that there are never more than may be."""
    pool = pool_of(2)
    async with served() as one, served() as other, served() as third:
        for server in (one, other, third):
            await ask(pool, server.origin)
            await anyio.sleep(1)
        assert (one.open, other.open, third.open, pool.kept) == (0, 1, 1, 2)
        await pool.aclose()


async def test_nobody_listens() -> None:
    """An error of the machine's, and the place is free again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pool = pool_of(1)
    for _ in range(3):
        with pytest.raises(OSError, match=r"."):
            await pool.acquire((b"http", b"127.0.0.1", port), wait_for=1)
    assert pool.taken == 0


async def test_a_handshake_that_hangs_ends_in_time() -> None:
    """It counts as opening, and its connection is closed."""
    context = ssl.create_default_context()
    pool = Pool(1, 3.0, lambda: context)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        seen = list[bytes]()

        async def hang(stream: SocketStream) -> None:
            async with stream:
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        seen.append(await stream.receive())
            seen.append(b"closed")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, hang)
            port = listener.extra(SocketAttribute.local_port)  # noqa: S610
            with pytest.raises(ConnectTimeoutError):
                await pool.acquire((b"https", b"127.0.0.1", port), wait_for=1)
            assert (anyio.current_time(), pool.taken) == (3, 0)
            await anyio.sleep(0.01)
            assert seen[-1] == b"closed"
            tasks.cancel_scope.cancel()


async def test_tls_with_a_certificate_that_is_trusted() -> None:
    """Over TLS a connection is kept and found quiet as well; with one that is not trusted there is none."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(FIXTURES / "self_signed.crt", FIXTURES / "self_signed.key")
    trusting = ssl.create_default_context(cafile=str(FIXTURES / "self_signed.crt"))
    trusting.check_hostname = False
    server = Server()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain:
        async with anyio.create_task_group() as tasks:
            handler: Any = server.serve
            tasks.start_soon(TLSListener(plain, serving, standard_compatible=False).serve, handler)
            origin = (b"https", b"127.0.0.1", plain.extra(SocketAttribute.local_port))  # noqa: S610
            pool = Pool(10, 5.0, lambda: trusting)
            for number in range(3):
                assert await ask(pool, origin, b"/%d" % number) == b"/%d" % number
            assert (server.accepted, pool.kept) == (1, 1)
            await pool.aclose()
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(Pool(10, 5.0, ssl.create_default_context), origin)
            tasks.cancel_scope.cancel()


async def test_without_what_tls_needs_no_connection_is_left() -> None:
    """Certificates that cannot be read are the machine's fault, and are told each time; the server sees an end."""

    def unreadable() -> ssl.SSLContext:
        raise FileNotFoundError("no such file: ca.pem")

    pool = Pool(10, 5.0, unreadable)
    async with served() as server:
        for _ in range(3):
            with pytest.raises(FileNotFoundError, match="no such file"):
                await ask(pool, (b"https", *server.origin[1:]))
        await anyio.sleep(0.01)
        assert (server.accepted, server.open, pool.taken) == (3, 0, 0)
        await pool.aclose()


class Silent(ByteStream):
    """A stream without a socket, on which nothing comes."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(self, item: bytes) -> None:
        """Take anything."""

    async def send_eof(self) -> None:
        """Not used."""

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_whoever_reads_is_told_of_the_end_without_a_socket_too() -> None:
    """The limits of a stream end its read by dropping its connection: whoever waits must not wait for good."""
    connection = Connection((b"http", b"a-host", 80), Silent())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later, 1, connection.drop)
        with anyio.fail_after(2), pytest.raises(httpx2.ReadError):
            await received(connection)


async def test_after_a_burst_the_old_ones_go() -> None:
    """Few are needed then, and the newest is used each time: the others are closed, two with each call."""
    pool = pool_of()
    async with served() as server:
        async with anyio.create_task_group() as burst:
            for _ in range(20):
                burst.start_soon(ask, pool, server.origin)
        assert pool.kept == 20
        await anyio.sleep(IDLE_FOR - 1)
        await ask(pool, server.origin)
        await anyio.sleep(2)
        for _ in range(10):
            await ask(pool, server.origin)
        await anyio.sleep(0.01)
        assert (pool.kept, server.open) == (1, 1)
        await pool.aclose()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_what_came_with_an_answer_is_not_the_next_one(is_tls: bool) -> None:
    """A second answer that nobody asked for, in one packet: in a record of its own, or beyond what a read takes."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(FIXTURES / "self_signed.crt", FIXTURES / "self_signed.key")
    trusting = ssl.create_default_context(cafile=str(FIXTURES / "self_signed.crt"))
    trusting.check_hostname = False
    body = b"hi" if is_tls else b"x" * (65_536 - len(ANSWER % (65_000, b"")))

    async def serve(stream: Any) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    await stream.receive()
                    answers = ANSWER % (len(body), body), ANSWER % (5, b"stale")
                    if not is_tls:
                        await stream.send(b"".join(answers))
                        continue
                    for answer in answers:
                        stream._ssl_object.write(answer)
                    await stream.transport_stream.send(stream._write_bio.read())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain:
        listener: Any = TLSListener(plain, serving, standard_compatible=False) if is_tls else plain
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            origin = b"https" if is_tls else b"http", b"127.0.0.1", plain.extra(SocketAttribute.local_port)  # noqa: S610
            pool = Pool(10, 5.0, lambda: trusting)
            for _ in range(3):
                assert await ask(pool, origin) == body
            await pool.aclose()
            tasks.cancel_scope.cancel()


async def test_closing_ends_whoever_waits() -> None:
    """Nothing is sent over a pool that is closed."""
    pool, ended = pool_of(1), list[str]()
    async with served() as server:
        held = await pool.acquire(server.origin, wait_for=1)

        async def wait() -> None:
            try:
                await pool.acquire(server.origin, wait_for=100)
            except anyio.ClosedResourceError:
                ended.append("closed")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await pool.aclose()
        await pool.release(held)
        assert (ended, pool.taken, anyio.current_time()) == (["closed"], 0, 1)


async def test_closed_it_opens_nothing() -> None:
    """What is in use is closed, too: its owner may never come back."""
    pool = pool_of()
    async with served() as server:
        connection = await pool.acquire(server.origin, wait_for=1)
        await asked(connection, b"/")
        await pool.aclose()
        await anyio.sleep(0.01)
        assert server.open == 0
        with pytest.raises((anyio.EndOfStream, anyio.ClosedResourceError)):
            await connection.stream.receive()
        await pool.release(connection)
        await anyio.sleep(0.01)
        assert (server.open, pool.taken, pool.kept) == (0, 0, 0)
        with pytest.raises(anyio.ClosedResourceError):
            await pool.acquire(server.origin, wait_for=1)


@pytest.mark.long
async def test_ten_thousand_cancellations_lose_nothing() -> None:
    """Callers twice the pool, cancelled at random: each answer is its own, and at the end every place is free."""
    pool, rand, whole, left = pool_of(20), random.Random(1), 0, 0
    async with served() as server:

        async def caller(number: int) -> None:
            nonlocal whole, left
            for turn in range(250):
                path = b"/%d-%d-%d" % (number, turn, rand.getrandbits(60))
                with anyio.move_on_after(rand.choice((0, 0.001, 0.002, 0.004, 0.01))) as scope:
                    try:
                        assert await ask(pool, server.origin, path) == path
                    except (anyio.BrokenResourceError, anyio.EndOfStream):  # the server is in the middle of closing
                        left += 1
                        continue
                left += scope.cancelled_caught
                whole += not scope.cancelled_caught

        async with anyio.create_task_group() as callers:
            for number in range(40):
                callers.start_soon(caller, number)
        assert whole + left == 10_000
        assert min(whole, left) > 500
        assert (pool.taken, len(pool._in_use), len(pool._waiting)) == (0, 0, 0)
        assert await ask(pool, server.origin, b"/last") == b"/last"
        await pool.aclose()
        await anyio.sleep(1)
        assert server.open == 0
    gc.collect()


async def test_closed_while_somebody_looks_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is about to close a stale one goes on to no other, and the count of those that are kept stays right."""
    pool, close = pool_of(), Connection.close
    async with served() as server:
        first, second = [await pool.acquire(server.origin, wait_for=1) for _ in range(2)]
        for connection in (first, second):
            await asked(connection, b"/")
            await pool.release(connection)
        for stream in server.streams:
            await stream.aclose()
        await anyio.sleep(0.01)

        async def closing(self: Connection) -> None:
            if not pool._is_closed:
                await pool.aclose()
            await close(self)

        monkeypatch.setattr(Connection, "close", closing)
        with pytest.raises(anyio.ClosedResourceError):
            await pool.acquire(server.origin, wait_for=1)
        assert (pool.taken, pool.kept) == (0, 0)
