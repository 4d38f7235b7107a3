"""The gateway's server over real sockets: addresses, clients that tear connections down, bytes that nobody can read."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from understudy.gateway import HTTPAnswer, HTTPRequest, Limits, Server, serve, serve_listeners
from understudy.gateway import _server as module
from understudy.providers import ConfigurationError

from .gateway_clients import ASKED, Client, Told, parts_of, text

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]


async def connect(server: Server) -> Client:
    """Connect to a server."""
    return Client(await anyio.connect_tcp(*server.address))


async def tear_down(client: Client) -> None:
    """Reset a connection."""
    assert isinstance(client.stream, SocketStream)
    own = client.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's `extra`
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(client.stream)


async def never(request: HTTPRequest) -> HTTPAnswer:
    """Answer nothing."""
    await anyio.sleep_forever()
    return text("never")


async def test_a_real_client_is_answered() -> None:
    """One that keeps connections, compresses nothing and reads streams as they come."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.head.target == "/stream":
            return HTTPAnswer(200, parts=parts_of([b"one", 0.1, b"two"]))
        return text(f"{request.head.peer} {request.body.decode()}")

    told = Told(answering)
    async with serve(told) as server:
        url = "http://{}:{}".format(*server.address)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for number in range(3):
                assert (await client.post("/", json=number)).text == f"127.0.0.1 {number}"
            assert (await client.get("/stream")).text == "onetwo"
            assert server.connections == 1
    assert (server.connections, told.open) == (0, 0)


async def test_a_large_body_and_a_large_answer_are_whole() -> None:
    """Longer than any buffer on the way."""
    body = random.Random(1).randbytes(3_000_000)

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, body=request.body)

    async with serve(Told(answering)) as server:
        client = await connect(server)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, ASKED.replace(b"length: 2", b"length: %d" % len(body))[:-2] + body)
            got = await client.read()
        assert got.body == body
        await client.leave()


@pytest.mark.parametrize("how", ["close", "half", "reset"])
@pytest.mark.parametrize("ahead", [b"", ASKED, b"x" * 60_000], ids=["nothing", "one more", "too much"])
async def test_a_client_that_leaves_is_noticed(how: str, ahead: bytes) -> None:
    """Within a second, also behind bytes that nobody has read; sooner, where there are none."""
    told = Told(never)
    async with serve(told, limits=Limits(ahead=10_000)) as server:
        client = await connect(server)
        await client.send(ASKED + ahead)
        await anyio.sleep(0.1)
        assert server.in_flight == 1
        left = anyio.current_time()
        match how:
            case "close":
                await client.leave()
            case "half":
                await client.stream.send_eof()
            case _:
                await tear_down(client)
        with anyio.fail_after(1):
            while server.in_flight:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
        assert anyio.current_time() - left <= (0.05 if len(ahead) < 10_000 else 0.5)
        await client.leave()
    assert [target for target, _ in told.cancelled] == ["/v1/x"]


async def test_the_cut_follows_what_came_in_the_same_moment() -> None:
    """A part that is there when the server ends is sent, and then the client is told: nobody is torn off for it."""
    ready = anyio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        await ready.wait()
        yield b"two "
        await anyio.sleep_forever()

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=parts(), cut=lambda: b"cut")

    async with serve(Told(answering)) as server:
        client = await connect(server)
        await client.send(ASKED)
        await anyio.sleep(0.1)
        (connection,) = server._connections
        ready.set()
        connection.cut()
        got = await client.read()
        assert (got.body, got.is_whole) == (b"one two cut", True)
        await client.leave()


async def test_a_client_that_does_not_read_does_not_fill_memory() -> None:
    """What is held for it, by us and by the kernel, is bounded; then no more parts are asked for."""
    given = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 10_000

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=parts())

    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serve(Told(answering)) as server:
            own.connect(server.address)
            own.send(ASKED)
            await anyio.sleep(0.2)
            held = given * 10_000
            await anyio.sleep(10)
            assert given * 10_000 == held <= 256 * 1024 + 8192


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_it_listens_at_each_address_of_a_host(host: str) -> None:
    """At one port, which was free in all of them."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if host == "::1":
            pytest.skip("no IPv6 here")
    async with serve(Told(), host) as server:
        assert len({port for _, port in server.addresses}) == 1
        for address, port in server.addresses:
            client = Client(await anyio.connect_tcp(address, port))
            assert (await client.ask()).status == 200
            await client.leave()


async def test_a_port_in_use_is_told_with_what_to_do() -> None:
    """And so is an address that is not this machine's, or none."""
    async with serve(Told()) as server:
        port = server.address[1]
        with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 is in use; stop what listens there"):
            async with serve(Told(), port=port):
                raise AssertionError
    with pytest.raises(ConfigurationError, match="an address of this machine"):
        async with serve(Told(), "192.0.2.1"):
            raise AssertionError
    async with serve(Told(), port=port) as server:  # it is free again at once
        assert server.address == ("127.0.0.1", port)


async def test_listeners_of_anyio_are_served() -> None:
    """Those that somebody else has made."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = listener.listeners[0].extra(SocketAttribute.local_address)  # noqa: S610 - anyio's `extra`
    told = Told(never)
    async with serve_listeners(told, [listener]) as server:
        client = Client(await anyio.connect_tcp(str(address[0]), int(address[1])))
        await client.send(ASKED)
        await anyio.sleep(0.1)
        assert (server.in_flight, told.asked[0].head.peer) == (1, "127.0.0.1")
        await tear_down(client)
        await anyio.sleep(0.05)
        assert server.in_flight == 0


async def test_too_many_connections_are_told_so_at_once() -> None:
    """Ten times as many as there is room for: each of them reads a 503, and those inside are served."""
    async with serve(Told(), limits=Limits(connections=10, refusals=200)) as server:
        inside = [await connect(server) for _ in range(10)]
        assert [(await client.ask()).status for client in inside] == [200] * 10
        beyond = [await connect(server) for _ in range(90)]
        for client in beyond:
            with suppress(anyio.BrokenResourceError):
                await client.send(ASKED)
            got = await client.read()
            assert (got.status, got.headers["retry-after"], got.is_whole) == (503, "1", True)
            await client.leave()
        assert [(await client.ask()).status for client in inside] == [200] * 10
        assert server.connections == 10
        for client in inside:
            await client.leave()


async def test_who_waits_to_be_accepted_is_accepted_before_the_end() -> None:
    """A request that the kernel holds for us when we end is answered, by a 503."""
    told = Told()
    with socket.socket() as own:
        async with serve(told) as server:
            await anyio.sleep(0.01)
            own.connect(server.address)
            own.send(ASKED)
            await server.drain()
        assert own.recv(65536).startswith(b"HTTP/1.1 503 ")


async def test_a_process_without_files_accepts_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is accepted when a file is free again."""
    tries = 0

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            if tries <= 3:
                raise OSError(24, "Too many open files")
            return super().accept()

    async def bound(host: str, port: int, send_buffer: int) -> list[socket.socket]:
        own = Exhausted()
        own.setblocking(False)
        own.bind((host, port))
        own.listen()
        return [own]

    monkeypatch.setattr(module, "bind", bound)
    async with serve(Told()) as server:
        client = await connect(server)
        assert (await client.ask()).status == 200
        assert anyio.current_time() >= 0.3
        await client.leave()


async def test_no_bytes_bring_it_down() -> None:
    """Nonsense, and requests with something in them changed: each connection ends, by an answer that is no 500 or by
    nothing, and afterwards everybody else is served.
    """
    rand = random.Random(7)
    told = Told()
    async with serve(told) as server:
        for _ in range(300):
            data = bytearray(ASKED * rand.randint(1, 3))
            for _ in range(rand.randint(1, 6)):
                at = rand.randrange(len(data))
                match rand.randint(0, 3):
                    case 0:
                        data[at] = rand.randrange(256)
                    case 1:
                        del data[at : at + rand.randint(1, 20)]
                    case 2:
                        data[at:at] = rand.choice([b"\r\n", b"\n", b"\0", b" ", b":", b"\r", b"chunked", b"9" * 20])
                    case _:
                        data[at:at] = rand.randbytes(rand.randint(1, 30))
            client = await connect(server)
            with suppress(anyio.BrokenResourceError):
                await client.send(bytes(data))
                await client.stream.send_eof()
            received = b""
            with anyio.fail_after(40), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    received += await client.stream.receive()
            assert b"HTTP/1.1 500" not in received
            await client.leave()
        client = await connect(server)
        assert (await client.ask()).status == 200
        await client.leave()
    assert told.open == 0
