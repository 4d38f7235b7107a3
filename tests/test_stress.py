"""Thousands of calls cancelled anywhere, over few connections to a server that fails as servers do: nothing is lost.

No place and no connection, no task and no file; and no answer reaches another request: each one carries a word that has
to be its request's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.lowlevel
from anyio.abc import AnyByteStream
from pydantic import SecretStr

from understudy.providers import AttemptError, Request, Target, connect, user
from understudy.providers._sdk import SDKProvider
from understudy.simulation._answers import answer

from .every_checkpoint import Stepped, by_scope, by_task, by_task_again
from .over_sockets import listening, reset
from .streams import LAST, chunk, head, stream_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sockets,
    pytest.mark.transports,
    pytest.mark.usefixtures("few_certificates"),
]

CANCELLATIONS = int(os.environ.get("UNDERSTUDY_CANCELLATIONS", "5000"))
"""On each backend; `make soak` asks for more."""

PLACES = 20
CALLERS = 2 * PLACES
STEPS = 10
"""A call gives others a turn some five times; one that would be cancelled later comes to its end."""

WORD = re.compile(rb"nonce-\d+-\d+")


class Server:
    """Answers each request with the word that it holds, whole or as a stream; or fails in one of the ways of servers.

    `sent` counts what it did.
    """

    def __init__(self, seed: int) -> None:
        self._rand, self.sent = random.Random(seed), Counter[str]()
        self._ways: list[Callable[[AnyByteStream, list[bytes]], Awaitable[bool]]] = [
            *[self.well] * 12,
            *[self.in_pieces] * 6,
            *(self.late, self.and_close, self.and_more, self.cut, self.reset),
            *(self.crossed, self.refused, self.kept_error),
        ]  # fmt: skip

    async def __call__(self, stream: AnyByteStream) -> None:
        goes_on = True
        while goes_on:
            came = b""
            while not came.endswith(b"}"):
                came += await stream.receive()
            (word,) = set(WORD.findall(came))
            way = self._rand.choice(self._ways)
            self.sent[way.__name__] += 1
            goes_on = await way(stream, self._parts(word.decode(), is_stream=b'"stream":true' in came))

    def _parts(self, word: str, *, is_stream: bool) -> list[bytes]:
        if is_stream:
            return [head(), *map(chunk, stream_of("openai", word[:5], word[5:])), LAST]
        body = answer("openai", "a-model", word, "hi")
        return [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body), body]

    async def well(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await stream.send(b"".join(parts))
        return True

    async def in_pieces(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        for part in parts:
            await stream.send(part)
            await anyio.lowlevel.checkpoint()
        return True

    async def late(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await anyio.sleep(0.01)
        return await self.well(stream, parts)

    async def and_close(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await self.well(stream, parts)
        return False

    async def and_more(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        """A second answer, which nobody asked for."""
        return await self.well(stream, [*parts, *self._parts("nonce-0-0", is_stream=False)])

    async def cut(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await stream.send(b"".join(parts)[:-9])
        return False

    async def reset(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await reset(stream)
        return False

    async def crossed(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await stream.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        return False

    async def refused(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await stream.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        return False

    async def kept_error(self, stream: AnyByteStream, parts: list[bytes]) -> bool:
        await stream.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}")
        return True


async def ask(provider: SDKProvider, word: str, *, is_stream: bool) -> str:
    """Ask with a word, and return what came; an error is an end as good as any."""
    request = Request("a-model", (user(word),))
    if not is_stream:
        return (await provider.complete(request)).text
    upstream, text = await provider.stream(request), ""
    try:
        while upstream.response is None:
            await upstream.read()
            while (event := upstream.take()) is not None:
                text += getattr(event, "text", "")
    finally:
        await upstream.aclose()
    return text


def tasks_alive() -> int:
    """How many tasks there are."""
    with suppress(RuntimeError):
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def files_open() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.long
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts files as Linux shows them")
@pytest.mark.parametrize("way", ["understudy", "httpx2"])
async def test_cancelled_anywhere_thousands_of_times(way: str, anyio_backend_name: str) -> None:
    """Callers twice the places, cancelled at random steps, over our connections; a twentieth over the library's."""
    goal = CANCELLATIONS if way == "understudy" else CANCELLATIONS // 20
    rand, left, ends = random.Random(7), 0, Counter[str]()
    under_way = list[anyio.CancelScope]()
    tasks, files = tasks_alive(), files_open()
    server = Server(5)
    async with listening(server) as place:
        target = Target(
            "openai", place.base_url("openai"), SecretStr("sk-1"), max_concurrency=PLACES - 8, http_transport=way
        )
        provider = connect(target)
        assert isinstance(provider, SDKProvider)

        async def call(word: str, ended: list[str]) -> None:
            try:
                text = await ask(provider, word, is_stream=rand.random() < 0.4)
            except AttemptError as error:
                ended.append(str(error.verdict))
            else:
                assert text == word
                ended.append("answered")

        async def by_another(coroutine: Coroutine[Any, Any, object], step: int) -> Stepped:
            """Let whoever ends a call cancel this one, perhaps just as it gets a place from there."""
            stepped = Stepped(coroutine, 0, bool)
            with anyio.CancelScope() as scope:
                under_way.append(scope)
                await stepped
            under_way.remove(scope)
            return stepped

        async def caller(number: int) -> None:
            nonlocal left
            turn, hows = 0, [by_scope, by_another, by_another]
            if anyio_backend_name == "asyncio":
                hows += [by_task, by_task_again]
            while left < goal:
                turn += 1
                ended = list[str]()
                await rand.choice(hows)(call(f"nonce-{number}-{turn}", ended), rand.randrange(1, STEPS))
                left += not ended
                ends.update(ended)
                for scope in rand.sample(under_way, len(under_way) // 8):
                    scope.cancel()

        async with anyio.create_task_group() as callers:
            for number in range(1, CALLERS + 1):
                callers.start_soon(caller, number)
        for _ in range(20):
            await call("nonce-0-1", [])
        pool = provider._http.pool
        if pool is not None:
            assert (pool.taken, pool._opening, len(pool._in_use), len(pool._waiting)) == (0, 0, 0, 0)
            assert pool.kept <= PLACES
        await provider.aclose()
        if pool is not None:
            assert pool.kept == 0
    await anyio.sleep(1)
    gc.collect()
    assert (tasks_alive(), files_open()) == (tasks, files)
    assert left >= goal
    assert ends["answered"] > left // 20 or way == "httpx2"
    assert min(server.sent.values()) > goal // 200 or way == "httpx2"
