"""The application as a plain ASGI 3 application, for those who have a server already.

What a server has taken apart cannot be looked at any more. So these are its to keep, and many do not:

- the bytes of a head: obs-folds, bare CRs and LFs, blanks before a colon, absolute forms;
- the chunks of a body, and what follows it;
- the time until a head is whole, between two requests, and in which a connection may do nothing at all (M4);
- how many connections there are, and what is said to one too many;
- how much of an answer the server holds for a client that does not read: it waits in `send`, or it does not;
- `Expect`, and the end of a connection after a refusal.

What is kept: everything that can be told from the fields of a head; the time, the rate and the size of a body; how many
requests are answered and wait; that a client that leaves cancels its answer.

Source: asgi.readthedocs.io, specs/main and specs/www, 2.5 (`http.disconnect`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, final
from urllib.parse import quote

import anyio

from ._heads import Framing, fields_of, framing_of
from ._house import BUSY, House
from ._http1 import FIELD_LIMIT, HEAD_LIMIT, read_fields
from ._kept import Incoming
from ._limits import Limits
from ._values import Application, HTTPAnswer, HTTPRequest
from ._violations import Violation
from ._wire import Gone

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


@final
class ASGIApplication:
    """An application for any server of ASGI 3; what is not kept there stands above.

    Args:
        limits: Those of bodies, of requests, and of the time until a part of an answer is taken.
        wall_clock: Gives Unix time.
    """

    def __init__(
        self,
        application: Application,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._house = House(application, limits, wall_clock)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope: a request, or the life of the server.

        Raises:
            ValueError: The scope is of another kind; that is how ASGI wants it.
        """
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close"})  # before it is accepted: the handshake gets a 403
            case kind:
                raise ValueError(f"nothing is served here over {kind}")

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        incoming: Incoming | None = None
        method = str(scope["method"])
        try:
            incoming = incoming_of(scope)
            answer = self._house.refusal(incoming)
            if answer is None:
                await self._answer(HTTPRequest(incoming.head, await self._body(incoming, receive)), receive, send)
                return
        except Violation as violation:
            answer = self._house.broken(violation.status, violation.said, incoming.head if incoming else None)
        except Gone:
            return
        await self._send(answer, method, send)

    async def _body(self, incoming: Incoming, receive: Receive) -> bytes:
        """Return the body.

        Raises:
            Violation: It is too long, or too slow.
            Gone: The client has left.
        """
        limits, body, since = self._house.limits, bytearray(), anyio.current_time()
        if incoming.length is not None and incoming.length > limits.body_size:
            raise Violation(413, f"the body is longer than {limits.body_size} bytes")
        more = True
        while more:
            with anyio.CancelScope(deadline=limits.body_due(since, len(body))) as scope:
                message = await receive()
            if scope.cancelled_caught:
                raise Violation(408, "the request took too long to come")
            if message["type"] != "http.request":
                raise Gone
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limits.body_size:
                raise Violation(413, f"the body is longer than {limits.body_size} bytes")
        return bytes(body)

    async def _answer(self, request: HTTPRequest, receive: Receive, send: Send) -> None:
        """Answer a request; a client that leaves cancels it."""
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                await self._admitted(request, send)
            except Gone:
                pass
            except Exception as error:  # noqa: BLE001 - not in a group: the server is told of it below
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:  # so the server breaks the answer off: there is no other way to say it
            raise failed

    async def _admitted(self, request: HTTPRequest, send: Send) -> None:
        admission, method = self._house.admission, request.head.method
        if not admission.enter_nowait() and not await admission.wait(self._house.limits.wait_for):
            await self._send(self._house.broken(503, BUSY, request.head), method, send)
            return
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with self._house.application.answer(request) as answer:
                await self._send(answer, method, sending)
        except Gone:
            raise
        except Exception as error:
            self._house.crashed(error)
            if has_begun:
                raise
            await self._send(self._house.broken(500, "the gateway made a mistake", request.head), method, send)
        finally:
            admission.leave()

    async def _send(self, answer: HTTPAnswer, method: str, send: Send) -> None:
        """Send an answer, its head together with its first part."""
        framing = framing_of(method, answer, is_old=False)
        start = {"type": "http.response.start", "status": answer.status, "headers": fields_of(answer, framing)}
        if framing is Framing.CHUNKS and answer.parts is not None:
            has_begun = False
            async for part in answer.parts:
                if not has_begun:
                    has_begun = True
                    await self._give(start, send)
                if part:
                    await self._give({"type": "http.response.body", "body": part, "more_body": True}, send)
            if not has_begun:
                await self._give(start, send)
            body = b""
        else:
            await self._give(start, send)
            body = answer.body if framing is Framing.LENGTH else b""
        await self._give({"type": "http.response.body", "body": body, "more_body": False}, send)

    async def _give(self, message: Message, send: Send) -> None:
        """Hand a message to the server, which waits for a client that does not read, or does not."""
        with anyio.move_on_after(self._house.limits.write_for) as scope:
            try:
                await send(message)
            except OSError:  # ASGI 2.4: the client has left
                raise Gone from None
        if scope.cancelled_caught:
            raise Gone


def incoming_of(scope: Message) -> Incoming:
    """Return the request of a scope.

    Raises:
        Violation: It could be read in more than one way, or has too much of a head.
    """
    fields: list[tuple[bytes, bytes]] = [*scope["headers"]]
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query: bytes = scope.get("query_string", b"")
    target = (path + b"?" + query if query else path).decode("latin-1")
    if (
        len(fields) > FIELD_LIMIT
        or len(target) + sum(len(name) + len(value) + 4 for name, value in fields) > HEAD_LIMIT
    ):
        raise Violation(431, "the head of the request is too long, or has too many fields")
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")) for name, value in fields)
    if any(sign in value for _, value in headers for sign in "\r\n\0"):
        raise Violation(400, "a line of the head holds a line break or a NUL")
    client = scope.get("client")
    is_old = scope.get("http_version") == "1.0"
    return read_fields(str(scope["method"]), target, headers, is_old=is_old, peer=str(client[0]) if client else "")


async def _live(receive: Receive, send: Send) -> None:
    """Say that we are up, and down: nothing of ours lives as long as the server."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
