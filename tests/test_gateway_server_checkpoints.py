"""The gateway's server, cancelled at every checkpoint: of a connection, and of the end of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import pytest
from anyio.abc import TaskGroup

from understudy.gateway import HTTPAnswer, HTTPRequest, Limits
from understudy.gateway._connection import Connection
from understudy.gateway._house import House
from understudy.gateway._wire import Wire

from .every_checkpoint import Cancelled, Everywhere, by_scope, by_task, by_task_again
from .gateway_clients import ASKED, Client, MemoryStream, Pipe, Place, Told, in_memory, parts_of, text

pytestmark = pytest.mark.anyio

ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


async def answering(request: HTTPRequest) -> HTTPAnswer:
    """Answer after a while: whole, or in parts."""
    await anyio.sleep(1)
    if request.head.target == "/stream":
        return HTTPAnswer(200, parts=parts_of([b"one", 1.0, b"x" * 200_000, b"two"]), cut=lambda: b"cut")
    return text("answered")


@dataclass
class Stage:
    """A house, and a connection in it whose client is at work."""

    house: House
    told: Told
    connection: Connection
    client: Client
    side: MemoryStream
    tasks: TaskGroup


Asking: TypeAlias = Callable[[Client], Awaitable[None]]


async def asks(client: Client) -> None:
    """Ask twice, one ahead."""
    await client.send(ASKED + ASKED)
    await client.read()
    await client.read()
    await client.leave()


async def asks_in_pieces(client: Client) -> None:
    """Wait for a 100, and send a body in two."""
    await client.send(ASKED.replace(b"\r\nhost", b"\r\nexpect: 100-continue\r\nhost")[:-2])
    await client.stream.receive()
    await client.send(b"{")
    await anyio.sleep(1)
    await client.send(b"}")
    await client.read()
    await client.leave()


async def asks_for_a_stream(client: Client) -> None:
    """Ask for a stream, and read it."""
    await client.ask(ASKED.replace(b"/v1/x", b"/stream"))
    await client.leave()


async def leaves(client: Client) -> None:
    """Ask, and leave."""
    await client.send(ASKED)
    await anyio.sleep(0.5)
    await client.leave()


async def asks_nonsense(client: Client) -> None:
    """Ask nothing that is a request."""
    await client.ask(b"nonsense\r\n\r\n")
    await client.leave()


async def waits(client: Client) -> None:
    """Find every place taken, and wait."""
    await client.ask()
    await client.leave()


ASKING = [asks, asks_in_pieces, asks_for_a_stream, leaves, asks_nonsense, waits]


def a_connection(asking: Asking) -> Everywhere[Stage]:
    """Set the stage for a connection whose client does as told."""

    @asynccontextmanager
    async def prepare() -> AsyncIterator[Stage]:
        told = Told(answering)
        house = House(told, Limits(in_flight=1), lambda: 0.0)
        there, back = Pipe(10_000), Pipe(10_000)
        side, client = MemoryStream(there, back), Client(MemoryStream(back, there))

        async def take_the_place() -> None:
            house.admission.enter_nowait()
            await anyio.sleep(2)
            house.admission.leave()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.watch.run)
            if asking is waits:
                tasks.start_soon(take_the_place)
                await anyio.sleep(0.1)
            yield Stage(house, told, Connection(Wire(side), house), client, side, tasks)
            tasks.cancel_scope.cancel()

    async def act(stage: Stage) -> None:
        async def play() -> None:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await asking(stage.client)

        stage.tasks.start_soon(play)
        await stage.connection.run()

    async def follow_up(stage: Stage) -> None:
        await anyio.sleep(10)
        admission = stage.house.admission
        assert (admission.in_flight, admission.waiting, stage.told.open) == (0, 0, 0)
        assert not stage.house.watch._watched
        assert stage.side.is_closed
        assert admission.enter_nowait()

    return Everywhere(prepare, act, follow_up)


@pytest.mark.parametrize("asking", ASKING)
async def test_a_connection_cancelled_anywhere_leaves_nothing(asking: Asking) -> None:
    """No place taken, no answer open, nothing watched; and the next request is taken."""
    assert await a_connection(asking).run() > 3


@ON_ASYNCIO
@pytest.mark.parametrize("by", [by_task, by_task_again])
@pytest.mark.parametrize("asking", ASKING)
async def test_a_connection_cancelled_as_asyncio_does_it_leaves_nothing(asking: Asking, by: Cancelled) -> None:
    """`Task.cancel()` arrives from outside of every scope."""
    assert await a_connection(asking).run(by) > 3


@pytest.mark.parametrize("by", [by_scope], ids=["scope"])
async def test_a_drain_cancelled_anywhere_leaves_a_server_that_can_end(by: Cancelled) -> None:
    """What is in flight is answered or told, and everything is closed when the block ends."""

    @asynccontextmanager
    async def prepare() -> AsyncIterator[tuple[Place, list[Client]]]:
        async with in_memory(Told(answering)) as place:
            clients = [await place.connect() for _ in range(3)]
            await clients[0].send(ASKED)
            await clients[1].send(ASKED.replace(b"/v1/x", b"/stream"))
            await anyio.sleep(0.1)
            yield place, clients
            for client in clients:
                await client.leave()

    async def act(stage: tuple[Place, list[Client]]) -> None:
        await stage[0].server.drain(2)

    async def follow_up(stage: tuple[Place, list[Client]]) -> None:
        assert (await stage[1][0].read()).status == 200
        assert stage[0].server.is_draining

    assert await Everywhere(prepare, act, follow_up).run(by) > 3
