"""Streams over real sockets, through the real SDK clients: how they come in, how they end, and what they leave."""

from __future__ import annotations

import gc
import gzip
import logging
import os
import random
import re
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio.abc import AnyByteStream

from understudy.providers import AttemptError, Response, Usage, Verdict
from understudy.providers._body import _Connection, _Generators
from understudy.providers._exchange import PIECE
from understudy.providers._sdk import SDKProvider
from understudy.providers._stream import ContentEvent, TextDelta
from understudy.providers._upstream import Incoming
from understudy.simulation._answers import Wire

from .every_checkpoint import Cancelled, Everywhere, by_scope, by_task, by_task_again
from .over_sockets import Behave, later, reset
from .streams import (
    LAST,
    REQUEST,
    WIRES,
    Played,
    beginning,
    busy,
    chunk,
    close,
    ending,
    events_of,
    failing,
    framed,
    got,
    head,
    keep,
    opened,
    played,
    said,
    silence,
    stream_of,
)
from .test_secrets import CANARY, FORMS, assert_hidden, everything

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]
both_wires = pytest.mark.parametrize("wire", WIRES)

V = Verdict
TEXTS = ("Johann ", "Wolfgang", "\n\nvon Göthe")


def whole(wire: Wire) -> bytes:
    """All bytes of a stream that ends well."""
    return b"".join(framed(stream_of(wire, *TEXTS)))


def assert_whole(response: Response | None) -> None:
    """It is the answer that `whole` is."""
    assert response is not None
    assert (response.text, response.finish_reason) == ("".join(TEXTS), "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (5, 2)
    assert response.request_id == "r1"


@both_wires
async def test_a_stream_is_content_and_then_the_whole_answer(wire: Wire) -> None:
    """Events come in order, then the response with usage, reason and id; afterwards the connection serves again."""
    play = Played(wire, [whole(wire)])
    async with played(wire, play) as (provider, place):
        for _ in range(3):
            it = await got(provider)
            assert it.error is None
            assert it.events == [TextDelta(text) for text in TEXTS]
            assert it.upstream is not None
            assert_whole(it.upstream.response)
            await it.upstream.read()  # after the end there is nothing more, and no harm
            assert it.upstream.take() is None
            assert busy(provider) == 0
            await it.upstream.aclose()
        assert (await provider.complete(REQUEST)).text == "whole"
        assert place.asked == 1
    assert [body.get("stream") for body in play.bodies] == [True, True, True, None]
    wish = {"include_usage": True} if wire == "openai" else None
    assert [body.get("stream_options") for body in play.bodies] == [wish, wish, wish, None]


@both_wires
async def test_how_the_bytes_are_cut_up_changes_nothing(wire: Wire) -> None:
    """One byte at a time, and each of them in an HTTP chunk of its own, gives the same events."""
    body = b"".join(stream_of(wire, *TEXTS))
    bytes_of = [bytes([byte]) for byte in body]
    for parts in (framed(bytes_of), [bytes([byte]) for byte in whole(wire)]):
        async with played(wire, Played(wire, parts)) as (provider, place):
            it = await got(provider)
            assert it.events == [TextDelta(text) for text in TEXTS]
            assert it.upstream is not None
            assert_whole(it.upstream.response)
            await provider.complete(REQUEST)
            assert place.asked == 1


@dataclass(frozen=True)
class Row:
    """A stream that goes wrong: what is sent, what happens then, and what that is."""

    name: str
    parts: Callable[[Wire], Sequence[bytes]]
    after: Behave
    verdict: Verdict | None
    text: str = ""
    says: str = ""

    def __str__(self) -> str:
        return self.name


def begun(wire: Wire, *more: bytes) -> list[bytes]:
    """A stream of which two pieces of text came, and then more."""
    return [head(), b"".join(map(chunk, [*beginning(wire), said(wire, "a"), said(wire, "b")])), *map(chunk, more)]


UNSIZED = b"HTTP/1.1 200 OK\r\n\r\n"
GZIPPED = head("text/event-stream", "content-encoding: gzip")


def packed(data: bytes, *, cut: int | None = None) -> list[bytes]:
    """A stream in gzip."""
    return [GZIPPED, chunk(gzip.compress(data)[:cut]), LAST]


def error_at_once(wire: Wire) -> list[bytes]:
    return [head(), chunk(failing(wire, "overloaded_error", "too busy")), LAST]


def answered_as(content_type: str | None, body: bytes) -> Callable[[Wire], list[bytes]]:
    """An answer that is no stream."""
    return lambda wire: [head(content_type), chunk(body) if body else b"", LAST]


LIMITED = b'{"error": {"message": "not so fast", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}'
ROWS = [
    Row("error before content", error_at_once, keep, V.OVERLOADED, "", "too busy"),
    Row("error after content", lambda w: begun(w, failing(w, "overloaded_error", "busy")), keep, V.OVERLOADED, "ab"),
    Row("error in one part", lambda w: [b"".join(begun(w, failing(w, "api_error", "no")))], keep, V.PROVIDER, "ab"),
    Row("reset", begun, reset, V.PROVIDER, "ab"),
    Row("cut between chunks", begun, close, V.PROVIDER, "ab", "closed"),
    Row("cut in a chunk", lambda w: [*begun(w), b"ff\r\nda"], close, V.PROVIDER, "ab"),
    Row("clean end early", lambda w: [*begun(w), LAST], keep, V.TRUNCATED, "ab"),
    Row("clean end before all", lambda w: [head(), LAST], keep, V.TRUNCATED),
    Row("end without length", lambda w: [UNSIZED, *beginning(w), said(w, "a")], close, V.TRUNCATED, "a"),
    Row("keep-alive alone", lambda w: [head(), chunk(b": ping\n\n") * 9, LAST], keep, V.TRUNCATED),
    Row("bad JSON", lambda w: begun(w, b"data: {\n\n"), keep, V.MALFORMED, "ab"),
    Row("oversize event", lambda w: begun(w, b"data: " + b"x" * 20_000), keep, V.MALFORMED, "ab", "larger"),
    Row("oversize, in one", lambda w: [b"".join(begun(w, b":" + b"x" * 20_000))], keep, V.MALFORMED, "ab", "larger"),
    Row("bad chunk", lambda w: [b"".join([*begun(w), b"zz\r\n"])], keep, V.MALFORMED, "ab", "chunk (header|size)"),
    Row("gzip that is none", lambda w: [GZIPPED, chunk(b"data: {")], keep, V.MALFORMED),
    Row("gzip cut short", lambda w: packed(b"".join(stream_of(w, "a")[:-3]), cut=-4), keep, V.MALFORMED, "a", "short"),
    Row("packed otherwise", lambda w: [head(None, "content-encoding: br")], keep, V.MALFORMED),
    Row("HTML", answered_as("text/html", b"<html>log in"), keep, V.MALFORMED, "", "HTML page .*check the base URL"),
    Row("a long page", answered_as("text/html", b"<html>" + b"x" * 300_000), keep, V.MALFORMED, "", "HTML page"),
    Row("JSON", answered_as("application/json", b'{"choices": []}'), keep, V.MALFORMED, "", "JSON instead of a stream"),
    Row("an error as JSON", answered_as("application/json", LIMITED), keep, V.THROTTLED, "", "not so fast"),
    Row("nothing", answered_as("text/plain", b""), keep, V.MALFORMED, "", r"nothing \(text/plain\)"),
    Row("cut page", lambda w: [head("text/html"), b"ff\r\n<html>"], close, V.PROVIDER, "", "closed"),
    Row("nothing said", lambda w: framed(stream_of(w)), keep, V.EMPTY),
    Row("no content type", lambda w: [head(None), *framed(stream_of(w, "a"))[1:]], keep, None, "a"),
    Row("any parameters", lambda w: [head("Text/Event-Stream ;x=1"), *framed(stream_of(w, "a"))[1:]], keep, None, "a"),
    Row("in gzip", lambda w: packed(b"".join(stream_of(w, "a"))), keep, None, "a"),
    Row("content after the end", lambda w: framed([*stream_of(w, "a"), said(w, "b")]), keep, None, "a"),
    Row("error after the end", lambda w: framed([*stream_of(w, "a"), failing(w, "api_error", "x")]), keep, None, "a"),
    Row("reset after the end", lambda w: framed(stream_of(w, "a"))[:-1], reset, None, "a"),
    Row("silence after the end", lambda w: framed(stream_of(w, "a"))[:-1], silence, None, "a"),
]  # fmt: skip


@both_wires
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_how_a_stream_ends(wire: Wire, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way has its verdict; content before it arrives first; afterwards no connection is busy and a call works."""
    if row.name.startswith("oversize"):
        monkeypatch.setattr("understudy.providers._sse.LARGEST_EVENT", 10_000)
    async with played(wire, Played(wire, row.parts(wire), row.after, pause=0.001)) as (provider, _):
        it = await got(provider)
        assert it.text == row.text
        if row.verdict is None:
            assert it.error is None
            assert it.upstream is not None
            assert it.upstream.response is not None
            assert it.upstream.response.text == row.text
        else:
            assert it.error is not None
            assert it.error.verdict is row.verdict
            assert (it.error.status, it.error.request_id) == (200, "r1" if row.name != "end without length" else None)
            assert it.error.model == "a-model"
            assert re.search(row.says, str(it.error))
            if it.upstream is not None:
                assert it.upstream.response is None
                assert (it.upstream.partial.text, it.upstream.partial.transport) == (row.text, wire)
                with pytest.raises(anyio.ClosedResourceError):
                    await it.upstream.read()
        assert busy(provider) == 0
        assert (await provider.complete(REQUEST)).text == "whole"


@pytest.mark.parametrize("after", [keep, close, reset, silence])
@pytest.mark.parametrize("came", range(4))
async def test_an_answer_is_whole_once_its_reason_came(came: int, after: Behave) -> None:
    """On the OpenAI wire usage and `[DONE]` may follow within a second; what else happens there is no failure."""
    parts = framed(stream_of("openai", "a"))
    parts = parts[: len(parts) - 3 + came]  # reason, usage, [DONE], end
    async with played("openai", Played("openai", parts, after, pause=0.001)) as (provider, _):
        began_at = anyio.current_time()
        it = await got(provider)
        took = anyio.current_time() - began_at
        assert (it.error, it.text) == (None, "a")
        assert it.upstream is not None
        assert it.upstream.response is not None
        assert it.upstream.response.finish_reason == "stop"
        assert it.upstream.response.usage.output_tokens == (2 if came >= 1 else None)
        assert took < 0.2 if came >= 2 or after in {close, reset} else took == pytest.approx(1, abs=0.1)
        assert busy(provider) == 0


async def test_an_error_after_the_reason_is_no_failure() -> None:
    """The answer was whole."""
    parts = framed([*stream_of("openai", "a")[:-2], failing("openai", "server_error", "oh")])
    async with played("openai", Played("openai", parts)) as (provider, _):
        it = await got(provider)
        assert (it.error, it.text) == (None, "a")
        assert it.upstream is not None
        assert it.upstream.response is not None
        assert it.upstream.response.usage == Usage()


@pytest.mark.parametrize("after", [close, reset, silence])
async def test_an_answer_that_says_nothing_is_empty_however_it_ends(after: Behave) -> None:
    """What may fail to follow an answer does not hide that it was none."""
    parts = framed(stream_of("openai"))[:-3]
    async with played("openai", Played("openai", parts, after, pause=0.001)) as (provider, _):
        it = await got(provider)
        assert it.error is not None
        assert it.error.verdict is V.EMPTY


async def test_a_callers_slowness_is_not_the_waiting_for_usage() -> None:
    """Who takes an hour over the last word still gets the usage that has long been there."""
    first, last = stream_of("openai", "a")[:-2], stream_of("openai", "a")[-2:]
    parts = [head(), b"".join(map(chunk, first)), b"".join(map(chunk, last)), LAST]
    async with played("openai", Played("openai", parts, pause=0.1)) as (provider, _):
        upstream = await opened(provider)
        await upstream.read()
        assert upstream.take() == TextDelta("a")
        await anyio.sleep(3600)
        await events_of(upstream, [])
        assert upstream.response is not None
        assert upstream.response.usage.output_tokens == 2


@both_wires
async def test_a_stream_that_says_nothing_can_be_left(wire: Wire) -> None:
    """Comments alone are signs of life, and no content; reading has no limit of its own."""
    pings = [head(), *[chunk(b": ping\n\n")] * 1000]
    play = Played(wire, pings, silence, pause=1)
    async with played(wire, play) as (provider, _):
        upstream = await opened(provider)
        lives = 0
        with anyio.move_on_after(100.5):
            while True:
                await upstream.read()
                assert upstream.take() is None
                lives += 1
        assert 95 <= lives <= 101
        assert busy(provider) == 0
        await upstream.aclose()
        await anyio.sleep(3)
        assert play.left == 1


@both_wires
async def test_a_stream_goes_from_task_to_task(wire: Wire) -> None:
    """Opened in one, read in another under a deadline that ends in between, closed in a third."""
    async with played(wire, Played(wire, begun(wire), silence)) as (provider, _):
        streams, events = list[Incoming](), list[ContentEvent]()

        async def opens() -> None:
            with anyio.fail_after(5):
                streams.append(await opened(provider))

        async def reads() -> None:
            with anyio.fail_after(5):
                while len(events) < 2:
                    await streams[0].read()
                    while (event := streams[0].take()) is not None:
                        events.append(event)

        async def closes() -> None:
            await streams[0].aclose()

        for step in (opens, reads, closes):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)
        assert events == [TextDelta("a"), TextDelta("b")]
        assert busy(provider) == 0


@both_wires
async def test_closing_under_a_reader_blames_nobody(wire: Wire) -> None:
    """Who reads then learns that the stream was closed, and not that the provider failed."""
    for close_it in (Incoming.aclose, abandoned):
        async with played(wire, Played(wire, begun(wire), silence)) as (provider, _):
            upstream, told = await opened(provider), list[str]()

            async def reads(upstream: Incoming = upstream, told: list[str] = told) -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await events_of(upstream, [])
                told.append("closed")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reads)
                await anyio.sleep(1)
                await close_it(upstream)
            assert told == ["closed"]
            assert busy(provider) == 0


@both_wires
@pytest.mark.parametrize("source", [_Connection, _Generators])
async def test_over_the_library_a_reader_is_told_of_the_end_without_the_kernel(
    wire: Wire, source: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits end a read by abandoning the stream: who waits must not wait for good where no socket is to be found."""
    monkeypatch.setattr("understudy.providers._http._transport", lambda *_: None)
    if source is _Generators:
        monkeypatch.setattr("understudy.providers._body._TO_PARSER", ("nowhere",))
    async with played(wire, Played(wire, begun(wire), silence)) as (provider, _):
        upstream = await opened(provider)
        assert isinstance(upstream._body._source, source)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(later, 1, upstream.abandon)
            with anyio.fail_after(2), pytest.raises(anyio.ClosedResourceError):
                await events_of(upstream, [])
        await upstream.aclose()
        assert (await provider.complete(REQUEST)).text == "whole"
    gc.collect()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@both_wires
async def test_on_uvloop_a_connection_of_the_library_is_shut_down_too(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though what uvloop gives as its socket cannot be: the provider sees it at once, and nothing is raised."""
    monkeypatch.setattr("understudy.providers._http._transport", lambda *_: None)
    left = anyio.Event()

    async def hears(stream: AnyByteStream) -> None:
        with suppress(anyio.EndOfStream):
            await stream.receive()
        left.set()

    async with played(wire, Played(wire, begun(wire), hears)) as (provider, _):
        upstream = await opened(provider)
        assert isinstance(upstream._body._source, _Connection)
        upstream.abandon()
        with anyio.fail_after(5):
            await left.wait()
        await upstream.aclose()
        upstream.abandon()


async def abandoned(upstream: Incoming) -> None:
    """Abandon a stream, as an async function."""
    upstream.abandon()


@both_wires
async def test_without_a_way_to_the_parser_the_library_reads(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there today; where it is not, everything is as before, only dearer."""
    monkeypatch.setattr("understudy.providers._http._transport", lambda *_: None)
    async with played(wire, Played(wire, [head()], silence)) as (provider, _):
        upstream = await opened(provider)
        assert isinstance(upstream._body._source, _Connection)
        await upstream.aclose()
    monkeypatch.setattr("understudy.providers._body._TO_PARSER", ("nowhere",))
    for parts, after in ((framed(stream_of(wire, *TEXTS)), keep), (begun(wire), silence), (begun(wire), reset)):
        async with played(wire, Played(wire, parts, after)) as (provider, _):
            upstream, ended = await opened(provider), ""
            assert isinstance(upstream._body._source, _Generators)
            with anyio.move_on_after(1) as scope:
                try:
                    await events_of(upstream, [])
                    assert_whole(upstream.response)
                except AttemptError as error:
                    ended = error.verdict
            assert (scope.cancelled_caught, ended) == (after is silence, "provider" if after is reset else "")
            assert (await provider.complete(REQUEST)).text == "whole"
            upstream = await opened(provider)
            await upstream.read()
            await upstream.aclose()
    gc.collect()


@both_wires
async def test_nothing_is_read_ahead(wire: Wire) -> None:
    """However much has been sent, one read takes 64 KiB of it at most, also of what was packed to a thousandth."""
    body = b"".join([*beginning(wire), *[said(wire, "x" * 1000)] * 3000])
    for parts in ([head(), chunk(body)], [GZIPPED, chunk(gzip.compress(body))]):
        async with played(wire, Played(wire, parts, silence)) as (provider, _):
            upstream = await opened(provider)
            for _ in range(20):
                await upstream.read()
                text = 0
                while (event := upstream.take()) is not None:
                    assert isinstance(event, TextDelta)
                    text += len(event.text)
                assert text <= 64 * 1024 + 1000  # and what was begun before
            await upstream.aclose()


@both_wires
async def test_packed_events_come_as_they_are_sent(wire: Wire) -> None:
    """What a server has flushed is content, before the next arrives."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    events = [*beginning(wire), *(said(wire, text) for text in TEXTS), b"".join(ending(wire))]
    flushed = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in events]
    parts = [GZIPPED, *map(chunk, [*flushed, packer.flush()]), LAST]
    async with played(wire, Played(wire, parts, pause=10)) as (provider, place):
        upstream, came = await opened(provider), list[float]()
        while upstream.response is None:
            await upstream.read()
            while upstream.take() is not None:
                came.append(anyio.current_time())
        assert [later - earlier for earlier, later in pairwise(came)] == pytest.approx([10, 10], abs=0.1)
        assert_whole(upstream.response)
        assert place.asked == 1


@both_wires
async def test_much_in_little_gives_others_a_turn(wire: Wire) -> None:
    """A few packed bytes may be megabytes of nothing: they do not hold up the loop, nor the limits of their reader."""
    comments, turns = b": ping\n\n" * 500_000, 0
    async with played(wire, Played(wire, packed(comments))) as (provider, _), anyio.create_task_group() as tasks:

        async def others() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        tasks.start_soon(others)
        upstream = await opened(provider)
        turns = 0
        with pytest.raises(AttemptError):
            await events_of(upstream, [])
        tasks.cancel_scope.cancel()
    assert turns >= len(comments) / PIECE


@both_wires
@pytest.mark.parametrize("reads", range(5))
@pytest.mark.parametrize("how", ["close", "abandon", "cancel"])
async def test_a_stream_can_be_left_anywhere(wire: Wire, reads: int, how: str) -> None:
    """The provider sees it within a second, the connection is no longer busy, and closing again does nothing."""
    play = Played(wire, [head(), *map(chunk, stream_of(wire, *TEXTS)[:reads])], silence, pause=0.1)
    async with played(wire, play) as (provider, _):
        upstream = await opened(provider)
        for _ in range(reads):
            await upstream.read()
            upstream.take()
        await anyio.sleep(1)
        if how == "abandon":
            upstream.abandon()
        elif how == "cancel":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await upstream.read()
            assert scope.cancelled_caught
            assert busy(provider) == 0
        else:
            await upstream.aclose()
            assert busy(provider) == 0
        await anyio.sleep(1)
        assert play.left == 1
        with pytest.raises(anyio.ClosedResourceError):
            await upstream.read()
        await upstream.aclose()
        await upstream.aclose()
        upstream.abandon()
        assert busy(provider) == 0
        with pytest.raises(anyio.ClosedResourceError):
            await upstream.read()
        assert (await provider.complete(REQUEST)).text == "whole"


SEEDS = range(20 if os.environ.get("UNDERSTUDY_SOAK") else 1)
"""`make soak` takes many more interleavings."""


@pytest.mark.long
@both_wires
@pytest.mark.parametrize("seed", SEEDS)
async def test_two_hundred_streams_left_at_random_leave_nothing(wire: Wire, seed: int) -> None:
    """No connection, no place in the pool, and no warning, whoever leaves when and how."""
    rand = random.Random(seed)
    play = Played(wire, [head(), *map(chunk, stream_of(wire, *"abcdefgh")), LAST], pause=0.1)
    async with played(wire, play) as (provider, _):
        abandoned = list[Incoming]()

        async def leave(how: str, within: float) -> None:
            upstream = None
            with anyio.move_on_after(within):
                upstream = await opened(provider)
                await events_of(upstream, [])
            if upstream is None or how == "cancel":
                return
            if how == "close":
                await upstream.aclose()
            else:
                upstream.abandon()
                abandoned.append(upstream)

        async def leave_by_deadline(how: str, within: float, stop_at: float) -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(leave, how, within)
                    await anyio.sleep(stop_at)
                    scope.cancel()

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                how = rand.choice(["close", "abandon", "cancel"])
                tasks.start_soon(leave_by_deadline, how, rand.random() * 2, rand.random() * 4)
        for upstream in abandoned:
            await upstream.aclose()
        gc.collect()
        assert busy(provider) == 0
        assert (await provider.complete(REQUEST)).text == "whole"


@both_wires
@pytest.mark.parametrize("cancelled", [by_scope, by_task, by_task_again], ids=["scope", "task", "twice"])
async def test_a_cancellation_at_any_checkpoint_leaves_nothing(
    wire: Wire, cancelled: Cancelled, anyio_backend: tuple[str, object]
) -> None:
    """Opening, reading, the end and closing can all be interrupted; the next call works."""
    if cancelled is not by_scope and anyio_backend[0] == "trio":
        pytest.skip("a task of asyncio")

    @asynccontextmanager
    async def prepared() -> AsyncIterator[SDKProvider]:
        async with played(wire, Played(wire, framed(stream_of(wire, *TEXTS)), pause=0.01)) as (provider, _):
            yield provider

    async def act(provider: SDKProvider) -> None:
        upstream = await opened(provider)
        try:
            await events_of(upstream, [])
        finally:
            await upstream.aclose()

    async def follow_up(provider: SDKProvider) -> None:
        assert busy(provider) == 0
        assert (await provider.complete(REQUEST)).text == "whole"

    assert await Everywhere(prepared, act, follow_up).run(cancelled) > 8


@both_wires
async def test_a_connection_that_was_gone_costs_no_attempt(wire: Wire) -> None:
    """A reused connection on which nothing came is replaced once; a new one is not."""
    async with played(wire, Played(wire, [whole(wire)], serves=1)) as (provider, place):
        for connection in (1, 2, 3):
            assert (await got(provider)).error is None
            assert place.asked == connection
    async with played(wire, Played(wire, [], serves=0)) as (provider, place):
        lost = await got(provider)
        assert lost.error is not None
        assert lost.error.verdict is V.PROVIDER
        assert place.asked == 1


REFUSALS = [
    b'{"error": {"message": "Unrecognized argument: stream_options", "type": "invalid_request_error"}}',
    b'{"error": {"message": "unknown field", "param": "stream_options.include_usage"}}',
    b'{"error": {"message": "no", "code": "include_usage"}}',
    b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "not permitted"}]}',
]


def refusing(play: Played, refusal: bytes, *, status: int = 400, always: bool = False) -> Played:
    """Refuse each request that asks for usage, or each of all."""
    streamed = play._play

    async def send(stream: AnyByteStream) -> None:
        if always or "stream_options" in play.bodies[-1]:
            line = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {len(refusal)}\r\n\r\n"
            await stream.send(line.encode() + refusal)
        else:
            await streamed(stream)

    play._play = send  # type: ignore[method-assign]
    return play


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_who_refuses_to_tell_the_usage_is_not_asked_again(refusal: bytes, status: int) -> None:
    """The request goes out once more without, and every later one at once so."""
    play = refusing(Played("openai", [whole("openai")]), refusal, status=status)
    async with played("openai", play) as (provider, _):
        for _ in range(2):
            it = await got(provider)
            assert (it.error, it.text) == (None, "".join(TEXTS))
    assert ["stream_options" in body for body in play.bodies] == [True, False, False]


async def test_a_refusal_that_only_mentions_it_is_forgotten() -> None:
    """What is refused without the wish for usage, too, was refused for something else: both are said and done."""
    play = refusing(Played("openai", []), REFUSALS[0], always=True)
    async with played("openai", play) as (provider, _):
        for _ in range(2):
            it = await got(provider)
            assert it.error is not None
            assert it.error.verdict is V.CALLER
    assert ["stream_options" in body for body in play.bodies] == [True, False, True, False]


async def test_stream_options_of_the_callers_own_are_sent_as_they_are() -> None:
    """They win, and their refusal is the caller's."""
    own = REQUEST.__class__("a-model", REQUEST.messages, {"extra_body": {"stream_options": {"x": 1}}})
    play = refusing(Played("openai", []), REFUSALS[0])
    async with played("openai", play) as (provider, _):
        it = await got(provider, own)
        assert it.error is not None
        assert it.error.verdict is V.CALLER
    assert [body["stream_options"] for body in play.bodies] == [{"x": 1}]


@both_wires
async def test_a_key_in_a_stream_is_not_told(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """An error in a stream, or a page in its place, that quotes the key in any form shows none of it."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "anthropic", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    spoken = " ".join(FORMS)
    for parts in (
        begun(wire, failing(wire, "api_error", spoken)),
        begun(wire, b"data: %b\n\n" % spoken.encode()),
        [head("text/plain"), chunk(spoken.encode()), LAST],
        [head(spoken), chunk(spoken.encode()), LAST],
        [head("text/event-stream", f"request-id: {spoken}"), LAST],
    ):
        async with played(wire, Played(wire, parts), CANARY) as (provider, _):
            upstream, events, shown = None, list[ContentEvent](), list[str]()
            try:
                upstream = await opened(provider)
                await events_of(upstream, events)
            except AttemptError as error:
                shown.append(everything(error))
            assert len(shown) == 1
            assert_hidden("\n".join([*shown, repr(upstream), caplog.text]))


def requests_alive() -> list[httpx2.Request]:
    """Return every request that something holds."""
    gc.collect()
    return [held for held in gc.get_objects() if isinstance(held, httpx2.Request)]


@pytest.mark.long
@both_wires
async def test_a_closed_stream_holds_no_prompt(wire: Wire) -> None:
    """The request went with the connection: who keeps the stream, or its error, keeps no request alive."""
    for parts in (framed(stream_of(wire, "a")), begun(wire, failing(wire, "api_error", "no"))):
        others = {id(held) for held in requests_alive()}
        async with played(wire, Played(wire, parts)) as (provider, _):
            it = await got(provider)
            assert {id(held) for held in requests_alive()} <= others
            del it


@both_wires
async def test_what_comes_after_the_end_is_told_once(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored; the log says once that this endpoint sends it, and nothing of what it was."""
    body = b"".join([*stream_of(wire, "a"), said(wire, "more")])
    async with played(wire, Played(wire, framed([body]))) as (provider, _):
        with caplog.at_level("INFO", "understudy.providers"):
            for _ in range(3):
                it = await got(provider)
                assert it.error is None
    (told,) = [record.getMessage() for record in caplog.records if record.name == "understudy.providers"]
    assert told.startswith(f"after_the_end endpoint='{wire} at http://127.0.0.1:")


@both_wires
async def test_what_closing_raises_is_raised_as_it_is(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither lost in the task that closes, nor in a group."""
    async with played(wire, Played(wire, begun(wire), silence)) as (provider, _):
        upstream = await opened(provider)
        body: Any = upstream._body
        inner = body._inner

        async def fail() -> None:
            await inner.aclose()
            raise OSError("no room")

        monkeypatch.setattr(body, "_inner", SimpleNamespace(aclose=fail))
        with pytest.raises(OSError, match="no room"):
            await upstream.aclose()
