"""The application behind somebody else's server: the same answers, and the limits that can be kept there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest

from understudy.gateway import ASGIApplication, HTTPAnswer, HTTPRequest, Limits

from .gateway_clients import Told, parts_of, text

pytestmark = pytest.mark.anyio

Message = dict[str, Any]


def scope(*headers: tuple[bytes, bytes], method: str = "POST", host: bytes = b"localhost", **more: Any) -> Message:
    """Make a scope."""
    found = [(b"host", host), *headers] if host else [*headers]
    return {
        **{"type": "http", "method": method, "path": "/v1/x", "raw_path": b"/v1/x", "query_string": b""},
        **{"http_version": "1.1", "headers": found, "client": ("192.0.2.1", 5)},
        **more,
    }


class Play:
    """A server of ASGI that plays a script: what `receive` gives, one after the other; a number is seconds to wait."""

    def __init__(self, *script: Message | float, slow: float = 0.0) -> None:
        self._script, self._slow = [*script], slow
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """Give the next message; wait for ever behind the last."""
        while self._script:
            step = self._script.pop(0)
            if not isinstance(step, float):
                return step
            await anyio.sleep(step)
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, message: Any) -> None:
        """Take a message."""
        await anyio.sleep(self._slow)
        self.sent.append(dict(message))

    @property
    def status(self) -> int:
        """What was answered."""
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        """What was answered."""
        return b"".join(message["body"] for message in self.sent[1:])


def piece(body: bytes = b"", more: bool = False) -> Message:
    """Make a message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def test_a_client_of_httpx_is_answered() -> None:
    """Whole answers and streams, with the peer, the target and the body as over our own server."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.head.path == "/stream":
            return HTTPAnswer(200, (("content-type", "text/event-stream"),), parts=parts_of([b"one", b"", b"two"]))
        return text(f"{request.head.peer} {request.head.target} {request.body.decode()}")

    transport = httpx2.ASGITransport(ASGIApplication(Told(answering)), client=("192.0.2.7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        got = await client.post("/a%20b?c=d%2F", content=b"{}")
        assert (got.text, got.headers["content-length"]) == ("192.0.2.7 /a%20b?c=d%2F {}", "26")
        got = await client.get("/stream")
        assert (got.text, got.headers["content-type"]) == ("onetwo", "text/event-stream")
        got = await client.head("/a")
        assert (got.status_code, got.content) == (200, b"")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (scope(host=b""), 400),
        (scope((b"host", b"localhost")), 400),
        (scope(host=b"a/?x="), 400),
        (scope((b"content-length", b"2"), (b"transfer-encoding", b"chunked")), 400),
        (scope((b"content-length", b"2"), (b"content-length", b"2")), 400),
        (scope((b"content-length", b"+2")), 400),
        (scope((b"transfer-encoding", b"gzip, chunked")), 400),
        (scope((b"x", b"a\r\nb")), 400),
        (scope((b"x", b"a\0b")), 400),
        (scope(raw_path=b"v1"), 400),
        (scope((b"expect", b"tea")), 417),
        (scope((b"content-encoding", b"gzip")), 415),
        (scope((b"content-length", b"2000")), 413),
        (scope(*[(b"x", b"y")] * 100), 431),
        (scope((b"x", b"y" * 40_000)), 431),
    ],
    ids=repr,
)
async def test_what_can_be_told_from_a_scope_is(asked: Message, status: int) -> None:
    """As our own server does, before the body is read."""
    told, play = Told(), Play(piece(b"{}"))
    await ASGIApplication(told, limits=Limits(body_size=1000))(asked, play.receive, play.send)
    assert (play.status, told.asked) == (status, [])


async def test_a_server_that_keeps_no_raw_path_is_served() -> None:
    """It is an optional field; the path is encoded anew."""
    told, play = Told(), Play(piece())
    asked = scope(path="/a b\u00fc", query_string=b"c=d")
    del asked["raw_path"], asked["client"]
    await ASGIApplication(told)(asked, play.receive, play.send)
    assert (told.asked[0].head.target, told.asked[0].head.peer) == ("/a%20b%C3%BC?c=d", "")


async def test_a_refusal_does_not_read_the_body() -> None:
    """The answer is there before anything is received."""
    play = Play()
    application = ASGIApplication(Told(refusing=lambda head: text("no", 401, closes=True)))
    await application(scope(), play.receive, play.send)
    assert play.status == 401
    assert (b"connection", b"close") in play.sent[0]["headers"]


@pytest.mark.parametrize(
    ("script", "status", "after"),
    [
        ([piece(b"x" * 600, True), piece(b"x" * 600)], 413, 0),
        ([piece(b"x", True)], 408, 5),
        ([*[piece(b"x", True), 1.0] * 20], 408, 5),
        ([*[piece(b"x" * 20, True), 1.0] * 40], 408, 5.1),
        ([piece(b"x" * 600, True), 5.5, piece(b"y")], 200, 5.5),
    ],
)
async def test_a_body_has_its_limits(script: list[Any], status: int, after: float) -> None:
    """Of size, time and rate."""
    play, begun = Play(*script), anyio.current_time()
    await ASGIApplication(Told(), limits=Limits(body_size=1000))(scope(), play.receive, play.send)
    assert play.status == status
    assert anyio.current_time() - begun == pytest.approx(after, abs=0.2)


async def test_a_client_that_leaves_cancels_its_answer() -> None:
    """Before it begins, and in the middle."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.body == b"early":
            await anyio.sleep_forever()
        return HTTPAnswer(200, parts=parts_of([b"one", 100.0, b"two"]))

    told = Told(answering)
    for body in (b"early", b"late"):
        play, begun = Play(piece(body), 3.0, GONE), anyio.current_time()
        await ASGIApplication(told)(scope(), play.receive, play.send)
        assert anyio.current_time() - begun == 3
    assert (len(told.cancelled), told.open) == (2, 0)
    play = Play(piece(b"x", True), GONE)
    await ASGIApplication(told)(scope(), play.receive, play.send)
    assert (play.sent, len(told.asked)) == ([], 2)


async def test_a_client_that_does_not_read_loses_its_stream() -> None:
    """Where the server lets us wait for it."""
    told = Told()
    play = Play(piece(), slow=1000.0)
    await ASGIApplication(told)(scope(), play.receive, play.send)
    assert (anyio.current_time(), told.open) == (60, 0)


async def test_a_server_that_raises_for_a_client_that_left_is_understood() -> None:
    """So it is since ASGI 2.4."""

    async def send(message: Any) -> None:
        raise OSError

    told = Told()
    await ASGIApplication(told)(scope(), Play(piece()).receive, send)
    assert told.open == 0


async def test_a_mistake_of_the_application_is_a_500_or_breaks_the_answer_off() -> None:
    """The server is told by the error itself, once an answer has begun."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise ValueError("of the application")

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        if request.body == b"early":
            raise ValueError("of the application")
        return HTTPAnswer(200, parts=failing())

    play = Play(piece(b"early"))
    await ASGIApplication(Told(answering))(scope(), play.receive, play.send)
    assert (play.status, b"of the" in play.body) == (500, False)
    play = Play(piece())
    with pytest.raises(ValueError, match="of the application"):
        await ASGIApplication(Told(answering))(scope(), play.receive, play.send)
    assert [message.get("more_body") for message in play.sent] == [None, True]


async def test_only_so_many_are_answered_at_once() -> None:
    """As over our own server."""

    async def answering(request: HTTPRequest) -> HTTPAnswer:
        await anyio.sleep(5)
        return text("late")

    application = ASGIApplication(Told(answering), limits=Limits(in_flight=1, waiting=1, wait_for=2))
    plays = [Play(piece()) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for play in plays:
            tasks.start_soon(application, scope(), play.receive, play.send)
            await anyio.sleep(0.001)
    assert [play.status for play in plays] == [200, 503, 503]
    assert (b"retry-after", b"1") in plays[1].sent[0]["headers"]


async def test_the_life_of_the_server_is_followed() -> None:
    """Both messages are answered, and then it ends."""
    play = Play({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await ASGIApplication(Told())({"type": "lifespan"}, play.receive, play.send)
    assert [message["type"] for message in play.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_web_socket_is_turned_away() -> None:
    """Before it is accepted; what else there may be is an error, as ASGI wants it."""
    play = Play({"type": "websocket.connect"})
    await ASGIApplication(Told())({"type": "websocket"}, play.receive, play.send)
    assert play.sent == [{"type": "websocket.close"}]
    serve: Callable[..., Awaitable[None]] = ASGIApplication(Told())
    with pytest.raises(ValueError, match="over telegraph"):
        await serve({"type": "telegraph"}, play.receive, play.send)
