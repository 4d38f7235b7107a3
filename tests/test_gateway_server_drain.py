"""The gateway's server ends: nothing new is taken, what was asked is answered, and who cannot wait is told so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from understudy.gateway import HTTPAnswer, HTTPRequest

from .gateway_clients import ASKED, Client, Told, in_memory, parts_of, text

pytestmark = pytest.mark.anyio

CUT = b'data: {"error": "shutting down"}\n\n'


def taking(seconds: float) -> Told:
    """Make an application that takes so long for each answer."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        await anyio.sleep(seconds)
        return text(request.head.target)

    return Told(answering)


def streaming(*parts: bytes | float, cut: Callable[[], bytes] | None = lambda: CUT) -> Told:
    """Make an application that answers in parts."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, (("content-type", "text/event-stream"),), parts=parts_of(parts), cut=cut)

    return Told(answering)


async def test_what_is_in_flight_is_answered_and_its_connection_closed() -> None:
    """Draining returns when the last answer is out, not later."""
    async with in_memory(taking(20)) as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain)
        got = await client.read()
        assert (got.body, got.headers["connection"], anyio.current_time()) == (b"/v1/x", "close", 20)
        assert place.server.is_draining
        await client.leave()
    assert anyio.current_time() == pytest.approx(20, abs=0.1)


async def test_an_idle_connection_is_closed_and_one_who_asks_is_told() -> None:
    """A request that was on its way gets a 503 and no other chance on this connection."""
    async with in_memory(taking(20)) as place, anyio.create_task_group() as tasks:
        busy, idle, crossing = [await place.connect() for _ in range(3)]
        await busy.send(ASKED + ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain)
        await anyio.sleep(0.05)
        got = await crossing.ask()
        assert (got.status, got.headers["connection"], got.headers["retry-after"]) == (503, "close", "1")
        assert await idle.is_closed()
        assert anyio.current_time() == pytest.approx(1.1, abs=0.1)
        await crossing.leave()
        assert (await busy.read()).headers["connection"] == "close"
        assert await busy.is_closed()
        await busy.leave()
    assert len(place.application.asked) == 1


async def test_a_request_that_is_half_here_is_told() -> None:
    """It is not dropped without a word."""
    async with in_memory() as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED[:40])
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain)
        await anyio.sleep(1)
        got = await client.ask(ASKED[40:])
        assert (got.status, got.headers["connection"]) == (503, "close")
        await client.leave()


async def test_nobody_is_listened_to_any_more() -> None:
    """Who connects while the server drains finds nobody."""
    async with in_memory(taking(20)) as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain)
        await anyio.sleep(0.1)
        with pytest.raises((anyio.ClosedResourceError, anyio.BrokenResourceError)):
            await place.connect()
        await client.leave()


async def test_what_takes_too_long_is_cut_off_and_told() -> None:
    """A stream ends with the event that the application had ready; who has nothing yet gets a 503."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.head.target == "/slow":
            await anyio.sleep_forever()
        return HTTPAnswer(200, parts=parts_of([b"data: 1\n\n", 100.0, b"data: 2\n\n"]), cut=lambda: CUT)

    async with in_memory(Told(answering)) as place, anyio.create_task_group() as tasks:
        stream, slow, half = [await place.connect() for _ in range(3)]
        await stream.send(ASKED)
        await slow.send(ASKED.replace(b"/v1/x", b"/slow"))
        await half.send(ASKED[:-1])
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain, 3)
        cut = await stream.read()
        assert (cut.status, cut.body, cut.is_whole, anyio.current_time()) == (200, b"data: 1\n\n" + CUT, True, 4)
        assert [(await client.read()).status for client in (slow, half)] == [503, 503]
        for client in (stream, slow, half):
            await client.leave()
    assert sorted(place.application.cancelled) == [("/slow", 4), ("/v1/x", 4)]
    assert anyio.current_time() == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("count", [10, 10**9])
async def test_the_cut_follows_what_was_sent(count: int) -> None:
    """It is made when it is needed, by what was given; all of that is out, and behind the last part there is none."""
    given = 0

    async def all_there() -> AsyncIterator[bytes]:
        nonlocal given
        while given < count:
            given += 1
            yield b"data: %d\n\n" % given

    def cut() -> bytes:
        return b"" if given == count else b"cut after %d" % given

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=all_there(), cut=cut)

    async with in_memory(Told(answering)) as place, anyio.create_task_group() as tasks:
        client = await place.connect(room=180 if count == 10 else 1000)
        await client.send(ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain, 3)
        await anyio.sleep(3.5)
        got = await client.read()
        assert got.is_whole
        assert got.body == b"".join(b"data: %d\n\n" % number for number in range(1, given + 1)) + cut()
        assert 5 < given <= count
        await client.leave()


async def test_the_cut_does_not_follow_what_was_not_sent() -> None:
    """A part that came when the gateway had ended, and is not out: the answer must not look as if it were all."""
    is_over = False

    async def in_the_same_moment() -> AsyncIterator[bytes]:
        nonlocal is_over
        yield b"data: 1\n\n"
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)
        is_over = True
        yield b"data: [DONE]\n\n"

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=in_the_same_moment(), cut=lambda: b"" if is_over else CUT)

    async with in_memory(Told(answering)) as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain, 1)
        got = await client.read()
        assert (got.body, got.is_whole) == (b"data: 1\n\n", False)


async def test_a_stream_that_has_no_last_event_is_not_whole() -> None:
    """It is torn down: it must not look as if it were all."""
    async with in_memory(streaming(b"data: 1\n\n", 100.0, cut=None)) as place:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        await place.server.drain(0)
        got = await client.read()
        assert (got.status, got.body, got.is_whole) == (200, b"data: 1\n\n", False)


async def test_a_second_drain_cuts_off_now() -> None:
    """Both return when it is done."""
    async with in_memory(streaming(b"data: 1\n\n", 100.0)) as place, anyio.create_task_group() as tasks:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        tasks.start_soon(place.server.drain)
        tasks.start_soon(client.read)
        await anyio.sleep(2)
        await place.server.drain()
        assert (place.server.connections, place.server.in_flight) == (0, 0)
    assert anyio.current_time() <= 4.1


async def test_who_does_not_even_take_the_cut_is_dropped() -> None:
    """Within two seconds, whatever it does or does not."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=endless(), cut=lambda: CUT)

    async with in_memory(Told(answering)) as place:
        client = await place.connect(room=10_000)
        await client.send(ASKED)
        await anyio.sleep(1)
        await place.server.drain(3)
        assert anyio.current_time() == 6
        assert place.application.cancelled == [("/v1/x", 6)]


async def test_a_drain_that_is_cancelled_leaves_what_is_in_flight() -> None:
    """It is answered, and nothing new is taken."""
    async with in_memory(taking(20)) as place:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(1)
        with anyio.move_on_after(2):
            await place.server.drain()
        assert (await client.read()).body == b"/v1/x"
        await client.leave()


@pytest.mark.parametrize("how", ["end", "error", "cancelled"])
async def test_leaving_the_block_cuts_everything_off(how: str) -> None:
    """However it is left, no task is left, and an error comes out as it was. Those who wait are told; but where all is
    cancelled, their answers are not whole.
    """
    clients: list[Client] = []
    answers: list[tuple[bytes, bool]] = []

    async def play() -> None:
        async with in_memory(streaming(b"data: 1\n\n", 100.0)) as place:
            for _ in range(3):
                clients.append(await place.connect())
                await clients[-1].send(ASKED)
            await clients[0].stream.receive()
            await anyio.sleep(1)
            tasks.start_soon(read)
            if how == "error":
                raise ValueError("of the block")
            if how == "cancelled":
                scope.cancel()
                await anyio.sleep(1)

    async def read() -> None:
        for client in clients[1:]:
            got = await client.read()
            answers.append((got.body, got.is_whole))
            await client.leave()
        await clients[0].leave()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            if how == "error":
                with pytest.raises(ValueError, match="of the block"):
                    await play()
            else:
                await play()
    is_told = how != "cancelled"
    assert answers == [(b"data: 1\n\n" + (CUT if is_told else b""), is_told)] * 2
    assert anyio.current_time() <= 4
