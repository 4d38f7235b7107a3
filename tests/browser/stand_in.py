"""A stand-in for the gateway: just enough HTTP for the page, over a real feed and a real supervisor.

The gateway's own server and application do the same for `serve`; here they are sixty lines, so that the page can be
tested by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream

from understudy import Supervisor
from understudy.gateway import Feed, HTTPAnswer, act, page_file, read_action
from understudy.providers import encode

JSON = (("content-type", "application/json"), ("cache-control", "no-store"))


class StandIn:
    """Serves one supervisor's page. `asked` are the paths it was asked for; while it is `down`, it answers nobody."""

    def __init__(self, supervisor: Supervisor, feed: Feed, token: str) -> None:
        self.supervisor, self.feed, self.token = supervisor, feed, token
        self.asked: list[str] = []
        self.streams = anyio.CancelScope()
        self.is_down = False

    @asynccontextmanager
    async def answer(self, method: str, path: str, token: str, body: bytes) -> AsyncIterator[HTTPAnswer]:
        """Answer a request."""
        if (page := page_file(path)) is not None:
            yield page
        elif token != f"Bearer {self.token}":
            yield HTTPAnswer(401, JSON, b'{"error": "token"}')
        elif path == "/status":
            yield HTTPAnswer(200, JSON, encode(self.feed.snapshot()))
        elif path == "/events":
            async with self.feed.subscribed() as lines:
                yield HTTPAnswer(
                    200, (("content-type", "text/event-stream"), ("cache-control", "no-store")), parts=lines
                )
        elif method == "POST" and path.startswith("/circuits/"):
            try:
                act(self.supervisor, unquote(path.removeprefix("/circuits/")), read_action(body))
            except ValueError as error:
                yield HTTPAnswer(400, JSON, encode({"error": str(error)}))
            else:
                yield HTTPAnswer(204)
        else:
            yield HTTPAnswer(404, JSON, b"{}")

    async def serve(self, stream: SocketStream) -> None:
        """Answer one request of a connection, and close it."""
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                await self._serve(stream, connection)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, h11.ProtocolError):
                return

    async def _serve(self, stream: SocketStream, connection: h11.Connection) -> None:
        body, request = b"", None
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return
        assert request is not None
        if self.is_down:
            return
        method, path = request.method.decode(), request.target.decode().partition("?")[0]
        self.asked.append(request.target.decode())
        token = dict(request.headers).get(b"authorization", b"").decode()
        async with self.answer(method, path, token, body) as answer:
            headers = [*answer.headers, ("connection", "close")]
            if answer.parts is None and answer.status != 204:
                headers.append(("content-length", str(len(answer.body))))
            await stream.send(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
            if answer.parts is None:
                await stream.send(connection.send(h11.Data(answer.body)) or b"")
                return
            with anyio.CancelScope() as self.streams:
                async for part in answer.parts:
                    await stream.send(connection.send(h11.Data(part)) or b"")


@asynccontextmanager
async def serving(stand_in: StandIn) -> AsyncIterator[str]:
    """Serve on a free port of loopback for the body of an `async with`; give the address."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, stand_in.serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()
    await listener.aclose()
