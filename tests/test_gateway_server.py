"""The gateway's server: requests answered in order, answers framed as they have to be, clients that leave."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from understudy.gateway import Head, HTTPAnswer, HTTPRequest, Limits

from .gateway_clients import ASKED, Client, Told, in_memory, parts_of, text

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def never(request: HTTPRequest) -> HTTPAnswer:
    """Answer nothing."""
    await anyio.sleep_forever()
    return text("never")


def streaming(*parts: bytes | float, cut: bytes = b"") -> Told:
    """Make an application that answers in parts."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(
            200, (("content-type", "text/event-stream"),), parts=parts_of(parts), cut=(lambda: cut) if cut else None
        )

    return Told(answering)


async def test_an_answer_is_what_the_application_said() -> None:
    """Its status, headers and body; the server adds a length and a date, and names no software."""
    async with in_memory() as place:
        got = await (await place.connect()).ask()
    assert (got.status, got.body, got.is_whole) == (200, b"/v1/x 2", True)
    assert got.headers == {
        "content-type": "text/plain",
        "content-length": "7",
        "date": "Thu, 01 Jan 1970 00:00:00 GMT",
    }


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """One after the other, for as long as nobody closes it; then it is closed."""
    async with in_memory() as place:
        client = await place.connect()
        for _ in range(3):
            assert (await client.ask()).status == 200
        got = await client.ask(ASKED.replace(b"\r\nhost", b"\r\nconnection: Keep-Alive , CLOSE\r\nhost"))
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert await client.is_closed()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Also when they all come at once, and while an answer is made: who asks ahead has not left."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        await anyio.sleep(1)
        return text(request.head.target)

    async with in_memory(Told(answering)) as place:
        client = await place.connect()
        await client.send(GET + GET.replace(b"/a", b"/b"))
        await anyio.sleep(0.5)
        await client.send(GET.replace(b"/a", b"/c"))
        assert [(await client.read("GET")).body for _ in range(3)] == [b"/a", b"/b", b"/c"]
        assert anyio.current_time() == 3
    assert place.application.cancelled == []


@pytest.mark.parametrize("step", [1, 7])
async def test_it_does_not_matter_how_a_request_is_cut_up(step: int) -> None:
    """Byte by byte it is the same request."""
    body = b"5\r\nhello\r\n0\r\n\r\n"
    sent = b"POST /c HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" + body + ASKED
    async with in_memory() as place:
        client = await place.connect()
        for at in range(0, len(sent), step):
            await client.send(sent[at : at + step])
        assert [(await client.read()).body for _ in range(2)] == [b"/c 5", b"/v1/x 2"]
    assert [request.body for request in place.application.asked] == [b"hello", b"{}"]


async def test_a_stream_is_sent_part_by_part() -> None:
    """In chunks, the head with the first part, each part at the moment it is there."""
    async with in_memory(streaming(1.0, b"one", 1.0, b"", b"two", 1.0)) as place:
        client = await place.connect()
        await client.send(ASKED)
        first = await client.stream.receive()
        assert anyio.current_time() == 1
        assert first.endswith(
            b"\r\ntransfer-encoding: chunked\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n3\r\none\r\n"
        )
        assert await client.stream.receive() == b"3\r\ntwo\r\n"
        assert anyio.current_time() == 2
        assert await client.stream.receive() == b"0\r\n\r\n"
        assert (await client.ask()).body == b"onetwo"


async def test_a_stream_without_parts_is_an_empty_body() -> None:
    """And the connection is kept."""
    async with in_memory(streaming()) as place:
        client = await place.connect()
        for _ in range(2):
            got = await client.ask()
            assert (got.status, got.body, got.is_whole) == (200, b"", True)


async def test_a_client_of_http_1_0_gets_its_stream_until_the_end_of_the_connection() -> None:
    """It knows no chunks."""
    async with in_memory(streaming(b"one", b"two")) as place:
        client = await place.connect()
        got = await client.ask(ASKED.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (got.status, got.body, got.headers["connection"]) == (200, b"onetwo", "close")
        assert "transfer-encoding" not in got.headers


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        ("HEAD", text("hello"), ("5", b"")),
        ("HEAD", HTTPAnswer(200, parts=parts_of([b"x"])), (None, b"")),
        ("GET", HTTPAnswer(204), (None, b"")),
        ("GET", HTTPAnswer(304, (("etag", '"x"'),)), (None, b"")),
        ("GET", HTTPAnswer(200), ("0", b"")),
        ("OPTIONS", HTTPAnswer(599, body=b"odd"), ("3", b"odd")),
    ],
)
async def test_what_has_no_body_has_none(method: str, answer: HTTPAnswer, expected: tuple[str | None, bytes]) -> None:
    """A HEAD, a 204 and a 304 are heads alone, and the connection goes on behind them."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return answer if request.head.method == method else text("next", 418)

    async with in_memory(Told(answering)) as place:
        client = await place.connect()
        got = await client.ask(GET.replace(b"GET", method.encode()), method)
        assert (got.headers.get("content-length"), got.body, got.status) == (*expected, answer.status)
        assert (await client.ask()).body == b"next"


async def test_a_field_that_would_begin_another_is_not_sent() -> None:
    """Nor one that is not latin-1, nor a status that is none: it is a mistake of the application's, answered as one."""
    bad = [(("x", "a\r\nb: c"),), (("x", "\u20ac"),), (("x\n", "a"),)]

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, bad.pop()) if bad else HTTPAnswer(100)

    async with in_memory(Told(answering)) as place:
        for _ in range(4):
            client = await place.connect()
            assert (await client.ask()).status == 500
            assert await client.is_closed()


async def test_the_application_does_not_frame_its_answers() -> None:
    """What it says of lengths and connections is the server's to say."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, (("content-length", "99"), ("connection", "close"), ("transfer-encoding", "x")), b"ok")

    async with in_memory(Told(answering)) as place:
        got = await (await place.connect()).ask()
        assert (got.headers["content-length"], got.body, "connection" in got.headers) == ("2", b"ok", False)


async def test_a_mistake_of_the_application_ends_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Before it begins, it is a 500; in the middle, the body is not whole. Nobody else is bothered, and it is told."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise ValueError("what nobody should read")

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.head.target == "/a":
            raise ValueError("what nobody should read")
        return HTTPAnswer(200, parts=failing())

    async with in_memory(Told(answering)) as place:
        first, second = await place.connect(), await place.connect()
        got = await first.ask(GET, "GET")
        assert (got.status, b"nobody" in got.body) == (500, False)
        got = await second.ask()
        assert (got.status, got.body, got.is_whole) == (200, b"one", False)
    assert [record.message for record in caplog.records] == ["gateway_crashed error='ValueError'"] * 2


@pytest.mark.parametrize("how", ["close", "half"])
async def test_a_client_that_leaves_while_its_answer_is_made_cancels_it(how: str) -> None:
    """At that very moment, whether it closes the connection or only its side of it."""
    async with in_memory(Told(never)) as place:
        client = await place.connect()
        await client.send(ASKED)
        await anyio.sleep(3)
        assert place.server.in_flight == 1
        await (client.leave() if how == "close" else client.stream.send_eof())
        await anyio.sleep(0.01)
        assert (place.application.cancelled, place.server.in_flight) == ([("/v1/x", 3)], 0)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_it() -> None:
    """Also when nothing is being sent: it is the connection that is watched, not what is written to it."""
    async with in_memory(streaming(b"one", 100.0, b"two")) as place:
        client = await place.connect()
        await client.send(ASKED)
        await client.stream.receive()
        await anyio.sleep(5)
        await client.leave()
        await anyio.sleep(0.01)
        assert place.application.cancelled == [("/v1/x", 5)]


async def test_a_client_that_has_its_answer_leaves_nothing_undone() -> None:
    """Leaving at once after the last byte cancels nothing."""
    for _ in range(20):
        async with in_memory() as place:
            client = await place.connect()
            assert (await client.ask()).is_whole
            await client.leave()
            await anyio.sleep(0.01)
        assert place.application.cancelled == []


async def test_what_is_read_ahead_is_bounded() -> None:
    """A client that sends more while its answer is made is not read: what it sends stays with it."""
    async with in_memory(Told(never), Limits(ahead=1000)) as place:
        client = await place.connect(room=500)
        await client.send(ASKED)
        with anyio.move_on_after(10) as scope:
            await client.send(b"x" * 100_000)
        assert scope.cancelled_caught
        assert place.application.cancelled == []


async def test_a_client_that_does_not_read_holds_the_stream_up_and_then_loses_it() -> None:
    """Parts are not asked for beyond what the connection holds; after 60 s in which nothing was taken, it is over."""
    given = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 10_000

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, parts=parts())

    async with in_memory(Told(answering)) as place:
        client = await place.connect(room=192 * 1024)
        await client.send(ASKED)
        await anyio.sleep(59)
        assert given * 10_000 <= 256 * 1024
        assert place.server.in_flight == 1
        await anyio.sleep(1.5)
        assert (place.server.in_flight, place.server.connections) == (0, 0)
        assert place.application.cancelled == [("/v1/x", 60)]


async def test_a_client_that_reads_slowly_gets_all() -> None:
    """As long as it takes a piece in time."""
    body = bytes(range(256)) * 4000

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        return HTTPAnswer(200, body=body)

    async with in_memory(Told(answering)) as place:
        client = await place.connect(room=1000)
        await client.send(ASKED)
        received = b""
        while not received.endswith(body):
            await anyio.sleep(0.5)
            received += await client.stream.receive()


async def test_a_refused_request_is_answered_before_its_body_is_read() -> None:
    """The connection ends there, because the body would be taken for a request; one that is here is passed over."""
    async with in_memory(Told(refusing=lambda head: text("no", 401))) as place:
        client = await place.connect()
        assert (await client.ask()).status == 401
        assert (await client.ask()).status == 401
        got = await client.ask(ASKED.replace(b"length: 2", b"length: 20000000"))
        assert (got.status, got.headers["connection"]) == (401, "close")
        await client.send(b"x" * 100_000)
        assert await client.is_closed()
        client = await place.connect()  # neither is it said of a stranger's body how long it may be
        assert (await client.ask(ASKED.replace(b"length: 2", b"length: 99999999")[:-2])).status == 401
        client = await place.connect()
        got = await client.ask(ASKED.replace(b"content-length: 2", b"transfer-encoding: chunked")[:-2] + b"rubbish")
        assert (got.status, got.headers["connection"]) == (401, "close")
    assert place.application.asked == []


async def test_who_asks_for_much_at_once_does_not_keep_others_waiting() -> None:
    """Between two requests of one connection everybody else has a turn."""
    order: list[str] = []

    def refusing(head: Head) -> HTTPAnswer:
        order.append(head.target)
        return text("no", 401)

    async with in_memory(Told(refusing=refusing)) as place:
        greedy, modest = await place.connect(), await place.connect()
        await greedy.send(GET * 500)
        await modest.send(GET.replace(b"/a", b"/b"))
        assert (await modest.read("GET")).status == 401
        assert order.index("/b") < 50
        for _ in range(500):
            assert (await greedy.read("GET")).status == 401


async def test_who_expects_a_100_gets_it_before_the_body_is_read() -> None:
    """And not where the answer is known without the body."""
    expecting = ASKED.replace(b"\r\nhost", b"\r\nexpect: 100-continue\r\nhost")[:-2]
    refused = False
    async with in_memory(Told(refusing=lambda head: text("no", 401) if refused else None)) as place:
        client = await place.connect()
        await client.send(expecting)
        assert await client.stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"{}")).body == b"/v1/x 2"
        assert (await client.ask(expecting + b"{}")).body == b"/v1/x 2"
        refused = True
        got = await client.ask(expecting)
        assert (got.status, got.headers["connection"]) == (401, "close")


async def test_only_so_many_are_answered_and_only_so_many_wait() -> None:
    """The others are told at once to come again; who waits for longest is next, and who leaves gives up its place."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        await anyio.sleep(4)
        return text(request.head.target)

    async with in_memory(Told(answering), Limits(in_flight=2, waiting=4, wait_for=9)) as place:
        clients = [await place.connect() for _ in range(7)]
        for number, client in enumerate(clients[:6]):
            await client.send(GET.replace(b"/a", b"/%d" % number))
            await anyio.sleep(0.001)
        assert (place.server.in_flight, place.server.waiting) == (2, 4)
        before = anyio.current_time()
        got = await clients[6].ask()
        assert (got.status, got.headers["retry-after"], anyio.current_time()) == (503, "1", before)
        await clients[3].leave()
        await anyio.sleep(0.001)
        assert place.server.waiting == 3
        assert [(await client.read("GET")).status for client in clients[:3]] == [200] * 3
        assert [round(anyio.current_time())] == [8]
        assert [(await clients[4].read("GET")).status, (await clients[5].read("GET")).status] == [200, 200]


async def test_who_waits_too_long_is_told_to_come_again() -> None:
    """And keeps the connection."""

    async with in_memory(Told(never), Limits(in_flight=1, wait_for=2)) as place:
        first, second = await place.connect(), await place.connect()
        await first.send(ASKED)
        await anyio.sleep(0.1)
        for _ in range(2):
            assert (await second.ask()).status == 503
        assert round(anyio.current_time(), 1) == 4.1


async def test_one_connection_too_many_is_told_so() -> None:
    """With a 503 that says when to come again; when another has gone, there is room."""
    async with in_memory(limits=Limits(connections=2)) as place:
        first, second = await place.connect(), await place.connect()
        assert (await first.ask()).status == (await second.ask()).status == 200
        third = await place.connect()
        got = await third.read()
        assert (got.status, got.headers["retry-after"], got.headers["connection"]) == (503, "1", "close")
        await first.leave()
        await anyio.sleep(0.01)
        fourth: Client = await place.connect()
        assert (await fourth.ask()).status == 200
