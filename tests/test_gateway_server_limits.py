"""The gateway's server: who is slow, or sends too much, is ended within a limit while others are served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import anyio
import pytest

from understudy.gateway import Head, HTTPAnswer, Limits

from .gateway_clients import ASKED, Client, MemoryStream, Told, in_memory

pytestmark = pytest.mark.anyio

PROMISED = ASKED.replace(b"length: 2", b"length: 100000")[:-2]
"""A request whose body is yet to come."""

Slow: TypeAlias = Callable[[Client], Awaitable[None]]


async def says_nothing(client: Client) -> None:
    """Connect, and nothing else."""
    await anyio.sleep_forever()


async def half_a_head(client: Client) -> None:
    """Send a part of a head."""
    await client.send(ASKED[:40])
    await anyio.sleep_forever()


async def drips_a_head(client: Client) -> None:
    """Send a head, a byte a second."""
    for at in range(len(ASKED)):
        await client.send(ASKED[at : at + 1])
        await anyio.sleep(1)


async def stalls_in_the_body(client: Client) -> None:
    """Send a head, and a part of the body."""
    await client.send(PROMISED + b"x" * 1000)
    await anyio.sleep_forever()


async def drips_a_body(client: Client) -> None:
    """Send a body, a byte a second."""
    await client.send(PROMISED)
    while True:
        await client.send(b"x")
        await anyio.sleep(1)


async def drips_a_body_in_chunks(client: Client) -> None:
    """Send a body, a chunk a second, with extensions that are longer than it."""
    await client.send(ASKED.replace(b"content-length: 2", b"transfer-encoding: chunked")[:-2])
    while True:
        await client.send(b"1;" + b"a" * 100 + b"\r\nx\r\n")
        await anyio.sleep(1)


async def is_slow_with_a_body(client: Client) -> None:
    """Send a body at twice the rate that is asked for, which takes longer than any body may."""
    await client.send(PROMISED)
    while True:
        await client.send(b"x" * 2048)
        await anyio.sleep(1)


async def drips_behind_an_answer(client: Client) -> None:
    """Ask once, as one does, then drip."""
    await client.ask()
    await drips_a_head(client)


async def is_idle_behind_an_answer(client: Client) -> None:
    """Ask once, and nothing else."""
    await client.ask()
    await anyio.sleep_forever()


SLOW: list[tuple[Slow, float, list[int]]] = [
    (says_nothing, 5, []),
    (half_a_head, 5, [408]),
    (drips_a_head, 5, [408]),
    (stalls_in_the_body, 6, [408]),
    (drips_a_body, 5.1, [408]),
    (drips_a_body_in_chunks, 5.1, [408]),
    (is_slow_with_a_body, 30, [408]),
    (drips_behind_an_answer, 5, [408]),
    (is_idle_behind_an_answer, 15, []),
]


async def test_a_slow_client_is_ended_within_its_limit() -> None:
    """Not sooner, and hardly later; who has begun to ask is told why. Two hundred others are served meanwhile."""
    served, ended = 0, dict[str, float]()

    async with in_memory() as place, anyio.create_task_group() as tasks:

        async def be_slow(slow: Slow) -> None:
            client, begun = await place.connect(), anyio.current_time()
            tasks.start_soon(watch, slow.__name__, place.listener.sides[-1], begun)
            with suppress(anyio.BrokenResourceError):  # it was closed meanwhile
                await slow(client)

        async def watch(name: str, side: MemoryStream, begun: float) -> None:
            while not side.is_closed:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.05)
            ended[name] = anyio.current_time() - begun
            if len(ended) == len(SLOW):
                tasks.cancel_scope.cancel()

        async def normal() -> None:
            nonlocal served
            client = await place.connect()
            for _ in range(5):
                assert (await client.ask()).body == b"/v1/x 2"
                served += 1
                await anyio.sleep(7)

        for slow, _, _ in SLOW:
            tasks.start_soon(be_slow, slow)
            await anyio.wait_all_tasks_blocked()
        for _ in range(200):
            tasks.start_soon(normal)
    assert served == 1000
    for slow, limit, _ in SLOW:  # a second to read the answer, and the watch looks 20 times a second
        assert limit - 0.01 <= ended[slow.__name__] <= limit + 1.2, slow.__name__
    assert [status for status, _ in place.application.said] == [408] * sum(len(said) for _, _, said in SLOW)


async def test_what_a_slow_client_is_told_is_read_by_it() -> None:
    """The server says why, closes its side, and waits a moment for the client to close the other."""
    async with in_memory() as place:
        client = await place.connect()
        await client.send(PROMISED)
        got = await client.read()
        assert (got.status, got.headers["connection"], round(anyio.current_time())) == (408, "close", 5)
        assert await client.is_closed()
        assert place.server.connections == 1
        await client.leave()
        await anyio.sleep(0.01)
        assert place.server.connections == 0


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_too_long_a_body_is_refused_before_it_is_read(chunked: bool) -> None:
    """As soon as it is known to be, and whatever has been sent by then; the answer arrives all the same."""
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: 40000000"
    async with in_memory(limits=Limits(body_size=1000)) as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED.replace(b"content-length: 2", framing)[:-2])

        async def pour() -> None:
            for _ in range(100):
                await client.send(b"1f4\r\n%b\r\n" % (b"x" * 500) if chunked else b"x" * 500)

        tasks.start_soon(pour)
        got = await client.read()
        assert (got.status, got.headers["connection"], place.application.asked) == (413, "close", [])
        tasks.cancel_scope.cancel()


async def test_a_body_of_every_length_up_to_the_limit_is_read() -> None:
    """To the last byte."""
    async with in_memory(limits=Limits(body_size=200_000)) as place:
        client = await place.connect()
        for size in (0, 1, 65_535, 65_536, 65_537, 200_000):
            got = await client.ask(ASKED.replace(b"length: 2", b"length: %d" % size)[:-2] + b"x" * size)
            assert got.body == b"/v1/x %d" % size


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"Deflate", b"identity, gzip"])
async def test_a_packed_body_is_refused(encoding: bytes) -> None:
    """Nothing is unpacked here."""
    async with in_memory() as place:
        client = await place.connect()
        got = await client.ask(ASKED.replace(b"\r\nhost", b"\r\ncontent-encoding: " + encoding + b"\r\nhost"))
        assert (got.status, place.application.asked) == (415, [])
        got = await client.ask(ASKED.replace(b"\r\nhost", b"\r\ncontent-encoding: identity\r\nhost"))
        assert got.status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (ASKED.replace(b"\r\nhost", b"\r\ntransfer-encoding: chunked\r\nhost"), 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"BREW / HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        (ASKED.replace(b"\r\nhost", b"\r\nexpect: tea\r\nhost"), 417),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_after_what_is_no_request_the_connection_is_closed(data: bytes, status: int) -> None:
    """Nobody knows where the next one would begin: what follows is not answered."""
    async with in_memory() as place:
        client = await place.connect()
        got = await client.ask(data + ASKED)
        assert (got.status, got.headers["connection"], place.application.asked) == (status, "close", [])
        assert await client.is_closed()


async def test_what_came_before_it_is_answered() -> None:
    """In order."""
    async with in_memory() as place:
        client = await place.connect()
        await client.send(ASKED + b"rubbish\r\n\r\n")
        assert [(await client.read()).status for _ in range(2)] == [200, 400]


async def test_the_application_knows_what_a_late_body_belonged_to() -> None:
    """`broken` is given the head, where there was one."""
    heads: list[Head | None] = []

    class Remembering(Told):
        def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
            heads.append(head)
            return super().broken(status, said, head)

    async with in_memory(Remembering()) as place:
        for data in (PROMISED, ASKED[:30]):
            client = await place.connect()
            assert (await client.ask(data)).status == 408
            await client.leave()
    assert [head and head.target for head in heads] == ["/v1/x", None]
