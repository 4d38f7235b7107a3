"""The gateway's server in real time, over real sockets: slow clients, and far more requests than it takes."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import suppress

import anyio
import pytest

from understudy.gateway import HTTPAnswer, HTTPRequest, Limits, Server, serve

from .gateway_clients import ASKED, Client, Told, text
from .test_gateway_server_limits import SLOW, Slow

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.processes]  # the last one for a clock that is real


async def connect(server: Server) -> Client:
    """Connect to a server."""
    return Client(await anyio.connect_tcp(*server.address))


async def test_slow_clients_are_ended_while_others_are_served() -> None:
    """Each of them within its limit; two hundred others never notice."""
    limits, ended, served = Limits(body_for=12), dict[str, float](), 0

    async def be_slow(slow: Slow) -> None:
        client, begun = await connect(server), time.monotonic()
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    while True:
                        await client.stream.receive()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            with suppress(anyio.BrokenResourceError):
                await slow(client)
        ended[slow.__name__] = time.monotonic() - begun
        await client.leave()

    async def normal() -> None:
        nonlocal served
        client = await connect(server)
        for _ in range(12):
            assert (await client.ask()).status == 200
            served += 1
            await anyio.sleep(1)
        await client.leave()

    async with serve(Told(), limits=limits) as server, anyio.create_task_group() as tasks:
        for slow, _, _ in SLOW:
            if "behind" not in slow.__name__:  # those read for themselves
                tasks.start_soon(be_slow, slow)
        for _ in range(200):
            tasks.start_soon(normal)
    assert served == 2400
    for slow, limit, _ in SLOW:
        if slow.__name__ in ended:
            assert min(limit, 12) - 0.5 <= ended[slow.__name__] <= min(limit, 12) + 1.5, slow.__name__


async def test_far_more_than_it_takes_is_refused_at_once() -> None:
    """At ten times what it can answer, a refusal takes milliseconds, and what it takes is answered as ever."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        await anyio.sleep(0.1)
        return text("ok")

    rand, refused, answered = random.Random(3), list[float](), 0
    end = time.monotonic() + 4

    async def ask() -> None:
        nonlocal answered
        client = await connect(server)
        while time.monotonic() < end:
            await anyio.sleep(rand.uniform(0, 0.4))
            begun = time.perf_counter()
            got = await client.ask(ASKED)
            if got.status == 503:
                refused.append(time.perf_counter() - begun)
            else:
                answered += 1
        await client.leave()

    limits = Limits(in_flight=4, waiting=4)  # 40 answers a second
    async with serve(Told(answering), limits=limits) as server, anyio.create_task_group() as tasks:
        for _ in range(100):  # about 400 requests a second
            tasks.start_soon(ask)
    assert answered >= 0.9 * 40 * 4
    assert len(refused) > 500
    assert statistics.median(refused) < 0.005
