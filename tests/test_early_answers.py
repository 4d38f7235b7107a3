"""A server that answers before it has read all of a large request: what it says counts, at once, however it goes on."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.abc import AnyByteStream
from pydantic import SecretStr

from understudy.providers import AttemptError, Request, RequestRejectedError, Target, Verdict, connect, user
from understudy.providers._pool import Connection
from understudy.providers._sdk import SDKProvider
from understudy.simulation._answers import answer

from .every_checkpoint import Cancelled, Everywhere, by_scope, by_task, by_task_again
from .over_sockets import FIXTURES, Behave, Place, deaf, listening, self_signed

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.transports]

LARGE = Request("a-model", (user("x" * 12_000_000),))
"""More than the kernel takes before anybody has read."""

BODY = b'{"error": {"message": "too large for us"}}'
REFUSAL = b"HTTP/1.1 413 Content Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
KEPT, LAST = REFUSAL % (len(BODY), b""), REFUSAL % (len(BODY), b"connection: close\r\n")
WELL = answer("openai", "a-model", "Goethe.", "Who?")
FOUND = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WELL)


async def read_head(stream: AnyByteStream) -> int:
    """Read a request until its head is there; return how many bytes of its content are still to come."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += await stream.receive()
    below: Any = getattr(stream, "transport_stream", stream)
    if hasattr(below, "_transport"):  # asyncio's reads on by itself, whoever wants it
        below._transport.pause_reading()
    head, _, content = came.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(length.partition(b":")[2]) - len(content)


async def read_rest(stream: AnyByteStream, missing: int) -> None:
    """Read the content of a request."""
    while missing > 0:
        missing -= len(await stream.receive())


async def refuse_and_close(stream: AnyByteStream) -> None:
    """What was not read makes a reset of the closing."""
    await read_head(stream)
    await stream.send(LAST + BODY)


async def refuse_and_close_later(stream: AnyByteStream) -> None:
    """The head comes first, then the body, and then the reset."""
    await read_head(stream)
    await stream.send(LAST)
    await anyio.sleep(0.01)
    await stream.send(BODY)
    await anyio.sleep(0.01)


async def refuse_in_half(stream: AnyByteStream) -> None:
    """The body never comes to its end: what it would have said in the rest is not known."""
    await read_head(stream)
    await stream.send(LAST + b'{"error": ')


async def refuse_and_stay(stream: AnyByteStream) -> None:
    """It reads no more, and does not close."""
    await read_head(stream)
    await stream.send(KEPT + BODY)
    await anyio.sleep(1000)


async def refuse_after_a_hint(stream: AnyByteStream) -> None:
    """An answer of 100 is none."""
    await read_head(stream)
    await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await anyio.sleep(0.01)
    await stream.send(KEPT + BODY)
    await anyio.sleep(1000)


async def refuse_and_read_on(stream: AnyByteStream) -> None:
    """It reads the rest of whoever goes on sending."""
    await read_head(stream)
    await stream.send(KEPT + BODY)
    async for _ in stream:
        pass


async def rubbish(stream: AnyByteStream) -> None:
    """It says what is no HTTP."""
    await read_head(stream)
    await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await anyio.sleep(1000)


async def answer_well(stream: AnyByteStream) -> None:
    """It begins to answer, and reads the rest because it needs it; whoever stops sending gets no more."""
    while True:
        missing = await read_head(stream)
        half = len(FOUND) + 10
        await stream.send((FOUND + WELL)[:half])
        await read_rest(stream, missing)
        await stream.send((FOUND + WELL)[half:])


async def end(stream: AnyByteStream) -> None:
    """It says that it will send nothing, and reads no more."""
    await read_head(stream)
    below: Any = getattr(stream, "transport_stream", stream)
    await below.send_eof()
    await anyio.sleep(1000)


@asynccontextmanager
async def provider_at(place: Place, way: str) -> AsyncIterator[SDKProvider]:
    """Give a provider of a place."""
    url = place.base_url("openai").replace("https://127.0.0.1", "https://localhost")
    provider = connect(Target("openai", url, SecretStr("sk-1"), http_transport=way))
    assert isinstance(provider, SDKProvider)
    try:
        yield provider
    finally:
        await provider.aclose()


@asynccontextmanager
async def asking(behave: Behave, way: str, *, is_tls: bool = False) -> AsyncIterator[tuple[SDKProvider, Place]]:
    """Give a provider of a place that behaves so."""
    async with listening(behave, self_signed() if is_tls else None) as place, provider_at(place, way) as provider:
        yield provider, place


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the certificate of the tests, whatever host it is for."""
    context = ssl.create_default_context(cafile=str(FIXTURES / "self_signed.crt"))
    context.check_hostname = False
    monkeypatch.setattr("understudy.providers._http.create_tls", lambda: context)


REFUSING = [
    *(refuse_and_close, refuse_and_close_later, refuse_in_half),
    *(refuse_and_stay, refuse_after_a_hint, refuse_and_read_on),
]


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("behave", REFUSING)
async def test_a_refusal_comes_through_at_once(behave: Behave, is_tls: bool) -> None:
    """Whether the server closes, reads on or does nothing more; its connection is not used again."""
    async with asking(behave, "understudy", is_tls=is_tls) as (provider, place):
        for number in (1, 2):
            began_at = anyio.current_time()
            with pytest.raises(RequestRejectedError) as refused:
                await provider.complete(LARGE)
            assert (refused.value.status, refused.value.verdict) == (413, Verdict.CAPABILITY)
            assert ("too large for us" in str(refused.value)) == (behave is not refuse_in_half)
            assert anyio.current_time() - began_at < 1
            pool = provider._http.pool
            assert pool is not None
            assert (place.asked, pool.taken, pool.kept) == (number, 0, 0)


@pytest.mark.parametrize("behave", [refuse_and_close, refuse_and_read_on])
async def test_the_library_hears_the_same(behave: Behave, anyio_backend_name: str) -> None:
    """Where its own way can: on asyncio it loses the answer of a server that closes."""
    async with asking(behave, "httpx2") as (provider, _):
        with pytest.raises(AttemptError) as refused:
            await provider.complete(LARGE)
    if behave is refuse_and_read_on or anyio_backend_name == "trio":
        assert (refused.value.status, refused.value.verdict) == (413, Verdict.CAPABILITY)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_an_answer_that_needs_the_rest_gets_it(is_tls: bool) -> None:
    """A 2xx says nothing against the request: it is sent to its end, and its connection is kept."""
    async with asking(answer_well, "understudy", is_tls=is_tls) as (provider, place):
        for _ in range(2):
            assert (await provider.complete(LARGE)).text == "Goethe."
        assert place.asked == 1


async def test_rubbish_ends_it() -> None:
    """What is no HTTP will not become any."""
    async with asking(rubbish, "understudy") as (provider, _):
        with pytest.raises(AttemptError) as refused:
            await provider.complete(LARGE)
        assert (refused.value.verdict, anyio.current_time() < 1) == (Verdict.MALFORMED, True)


async def test_who_will_not_answer_is_not_sent_the_rest() -> None:
    """The end of the connection is known at once; on one that was used before, the request is sent again for free."""
    async with asking(end, "understudy") as (provider, place):
        with pytest.raises(AttemptError) as refused:
            await provider.complete(LARGE)
        assert (refused.value.verdict, anyio.current_time() < 1) == (Verdict.PROVIDER, True)
        assert place.asked == 1


@dataclass
class Turns:
    """Behaves in turn, on whichever connection the next request comes."""

    turns: list[Behave]
    seen: list[str] = field(default_factory=list)

    async def __call__(self, stream: AnyByteStream) -> None:
        while self.turns:
            behave = self.turns.pop(0)
            self.seen.append(getattr(behave, "__name__", ""))
            if behave is answer_well:
                await read_rest(stream, await read_head(stream))
                await stream.send(FOUND + WELL)
            else:
                await behave(stream)
                return


@pytest.mark.parametrize(("behave", "verdict"), [(end, None), (refuse_in_half, Verdict.CAPABILITY)])
async def test_on_a_kept_connection(behave: Behave, verdict: Verdict | None) -> None:
    """Gone before a byte of an answer, it costs no attempt; with one, the answer is the server's word."""
    turns = Turns([answer_well, behave, answer_well])
    async with asking(turns, "understudy") as (provider, place):
        await provider.complete(LARGE)
        if verdict is None:
            assert (await provider.complete(LARGE)).text == "Goethe."
            assert place.asked == 2
            return
        with pytest.raises(AttemptError) as refused:
            await provider.complete(LARGE)
        assert (refused.value.verdict, place.asked) == (verdict, 1)


async def test_who_takes_nothing_is_waited_for_within_the_limit() -> None:
    """An answer that does not come changes nothing of the limit for writing."""
    async with deaf() as place, provider_at(place, "understudy") as provider:
        with pytest.raises(AttemptError, match="WriteTimeout") as late:
            await provider.complete(LARGE)
        assert late.value.verdict is Verdict.TIMEOUT
        assert anyio.current_time() == pytest.approx(30, abs=0.5)


async def test_an_error_that_trickles_is_cut_at_the_limit() -> None:
    """Its head is there, and its status is what counts."""

    async def trickle(stream: AnyByteStream) -> None:
        await read_head(stream)
        await stream.send(KEPT)
        await anyio.sleep(1000)

    async with asking(trickle, "understudy") as (provider, _):
        with pytest.raises(RequestRejectedError) as refused:
            await provider.complete(LARGE)
        assert refused.value.status == 413
        assert anyio.current_time() == pytest.approx(30, abs=0.5)


@pytest.mark.long
@pytest.mark.parametrize("cancelled", [by_scope, by_task, by_task_again], ids=["scope", "task", "twice"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.usefixtures("trusting")
async def test_cancelled_anywhere_nothing_is_left(
    cancelled: Cancelled, is_tls: bool, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it sends, and while the error comes in: the connection is closed, and its place free."""
    if anyio_backend_name == "trio" and cancelled is not by_scope:
        pytest.skip("a task of asyncio")
    monkeypatch.setattr(Connection, "takes", 0)
    request = Request("a-model", (user("x" * 100_000),))

    @asynccontextmanager
    async def prepare() -> AsyncIterator[SDKProvider]:
        async with asking(refuse_and_close_later, "understudy", is_tls=is_tls) as (provider, _):
            yield provider

    async def act(provider: SDKProvider) -> None:
        with suppress(AttemptError):
            await provider.complete(request)

    async def follow_up(provider: SDKProvider) -> None:
        pool = provider._http.pool
        assert pool is not None
        assert (pool.taken, pool.kept, len(pool._in_use), len(pool._waiting)) == (0, 0, 0, 0)
        with pytest.raises(RequestRejectedError, match="too large for us"):
            await provider.complete(request)

    assert await Everywhere(prepare, act, follow_up).run(cancelled) >= 5
