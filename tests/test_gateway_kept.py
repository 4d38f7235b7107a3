"""Heads that are said again: they are read once, and nothing gets in by it that would not have got in before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.gateway import Guard, Head, HTTPAnswer
from understudy.gateway._http1 import Reader
from understudy.gateway._kept import KEPT, LARGEST, Incoming
from understudy.gateway._violations import Violation

from .gateway_clients import Client, Got, Told, in_memory

TOKEN = "Zm9yIGEgbG9uZyB0aW1lIEkgdXNlZCB0byBn"

ASKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\nAccept-Encoding: gzip\r\n"
    b"authorization: Bearer %b\r\ncontent-type: application/json\r\nContent-Length: 12\r\nx-last: 1\r\n\r\n"
) % TOKEN.encode()


def take(reader: Reader, data: bytes) -> Incoming | int | None:
    """Return what a reader takes bytes for: the status of a violation, if they are one."""
    reader.feed(data)
    try:
        return reader.take_head()
    except Violation as violation:
        return violation.status


def warm(head: bytes = ASKED) -> Reader:
    """Return a reader that has read a head."""
    reader = Reader("peer")
    assert isinstance(take(reader, head), Incoming)
    return reader


def taken(reader: Reader, data: bytes) -> Incoming:
    """Return the request that a reader finds."""
    found = take(reader, data)
    assert isinstance(found, Incoming)
    return found


def test_the_same_head_is_read_once() -> None:
    """What is noted on it is found again, whatever the length of the body; the length is told as it was said."""
    reader = Reader("peer")
    first = taken(reader, ASKED)
    first.head.notes["found"] = True
    assert taken(reader, ASKED) is first
    for digits in ("13", "0012", "1", "123456789012345"):
        other = taken(reader, ASKED.replace(b" 12\r", f" {digits}\r".encode()))
        assert other == Incoming(other.head, int(digits))
        assert other.head.all("content-length") == [digits]
        assert [pair for pair in other.head.headers if pair not in first.head.headers] == (
            [] if digits == "12" else [("content-length", digits)]
        )
        assert (other.head.method, other.head.target, other.head.peer) == ("POST", "/v1/chat/completions", "peer")
        assert other.head.notes == {"found": True}


@pytest.mark.parametrize(
    "other",
    [
        ASKED.replace(b" 12\r", b" 0\r"),
        ASKED.replace(b" 12\r", b" 000\r"),
        ASKED.replace(b"x-last: 1", b"x-last: 2"),
        ASKED.replace(TOKEN.encode(), TOKEN[:-1].encode() + b"m"),
        ASKED.replace(b"localhost", b"localhosu"),
        ASKED.replace(b"gzip\r\n", b"gzip\r\nx-more: 1\r\n"),
    ],
)
def test_another_head_is_read_anew(other: bytes) -> None:
    """One that differs in a byte, or has no body: nothing that was noted is found."""
    reader = warm()
    first = taken(reader, ASKED)
    first.head.notes["found"] = True
    found = taken(reader, other)
    assert found == taken(Reader("peer"), other)
    assert found.head.notes == {}


LENGTHS = [b"", b"-1", b"+1", b"1_0", b"0x10", b"1 2", b"12,12", b"1234567890123456", b"\xb2", b"12\r\n 3"]


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_no_length_is_none_of_a_head_that_is_kept(length: bytes) -> None:
    """It is refused as it always is."""
    assert take(warm(), ASKED.replace(b" 12\r", b" " + length + b"\r")) == 400


@settings(deadline=None)
@given(at=st.integers(0, len(ASKED)), cut=st.integers(0, 3), put=st.binary(max_size=3), step=st.integers(1, 400))
@example(at=len(ASKED) - 2, cut=2, put=b"\r\n\r", step=400)
@example(at=ASKED.index(b" 12\r"), cut=1, put=b"\t", step=400)
@example(at=0, cut=0, put=b"\r\n", step=1)
@example(at=ASKED.index(b"12\r\n"), cut=0, put=b"0", step=1)
def test_whoever_has_read_a_head_reads_every_other_as_before(at: int, cut: int, put: bytes, step: int) -> None:
    """A head with some bytes changed is the same request, or the same violation, as on a new connection."""
    data = ASKED[:at] + put + ASKED[at + cut :]
    kept, new = warm(), Reader("peer")
    for begin in range(0, len(data), step):
        part = data[begin : begin + step]
        found = take(kept, part)
        assert found == take(new, part)
        assert kept.waiting == new.waiting
        if isinstance(found, int):
            return


def test_what_follows_a_head_that_is_kept_is_its_body() -> None:
    """Framing is that of the length that was said this time, also where requests come at once."""
    reader = warm()
    reader.clear()
    reader.feed(ASKED.replace(b" 12\r", b" 3\r") + b"abc" + ASKED.replace(b" 12\r", b" 5\r") + b"hello")
    for body in (b"abc", b"hello"):
        incoming = reader.take_head()
        assert incoming is not None
        reader.expect_body(incoming, 10)
        assert reader.take_body() == body
    assert reader.waiting == 0
    long = taken(reader, ASKED)
    with pytest.raises(Violation) as raised:
        reader.expect_body(long, 10)
    assert raised.value.status == 413


def test_only_so_many_heads_are_kept_and_only_small_ones() -> None:
    """The last few of a connection; the one that was said longest ago goes first."""
    heads = [ASKED.replace(b"x-last: 1", b"x-last: %d" % number) for number in range(KEPT + 1)]
    reader = Reader()
    found = [taken(reader, head) for head in heads]
    assert taken(reader, heads[1]) is found[1]  # it is the last again
    assert taken(reader, heads[0]) is not found[0]
    assert taken(reader, heads[1]) is found[1]
    assert len(reader._kept._known) == KEPT
    large = ASKED.replace(b"x-last: 1", b"x-last: " + b"1" * LARGEST)
    assert taken(reader, large) is not taken(reader, large)


def test_no_secret_is_shown() -> None:
    """Neither by what keeps a head nor by what it announced."""
    reader = warm()
    taken(reader, ASKED)
    assert TOKEN not in repr((reader, reader._kept, taken(reader, ASKED)))


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[Client, list[Head]]]:
    """Serve behind a guard; give a client, and the heads that were looked at."""
    guard, looked_at = Guard([TOKEN], proxies=["127.0.0.1"]), list[Head]()

    def refuse(head: Head) -> HTTPAnswer | None:
        if guard.knows(head):
            return None
        looked_at.append(head)
        why = guard.judge(head, anyio.current_time())
        return None if why is None else HTTPAnswer(why.status, why.headers, why.said.encode())

    async with in_memory(Told(refusing=refuse)) as place:
        yield await place.connect(), looked_at


async def ask(client: Client, head: bytes) -> Got:
    """Ask with a body."""
    return await client.ask(head + b'{"hi":"all"}')


@pytest.mark.anyio
async def test_a_good_head_is_judged_once_and_any_other_anew() -> None:
    """Another token, Host, page or kind of body is refused on a connection that was let in before."""
    async with guarded() as (client, looked_at):
        assert [(await ask(client, ASKED)).status for _ in range(3)] == [200] * 3
        assert len(looked_at) == 1
    for other, status in (
        (ASKED.replace(TOKEN.encode(), TOKEN[:-1].encode() + b"m"), 401),
        (ASKED.replace(b"Bearer", b"Basic "), 401),
        (ASKED.replace(b"localhost", b"evilhosts"), 421),
        (ASKED.replace(b"x-last: 1", b"origin: https://evil.example"), 403),
        (ASKED.replace(b"application/json", b"text/plain"), 415),
    ):
        async with guarded() as (client, looked_at):
            assert (await ask(client, ASKED)).status == 200
            assert (await ask(client, other)).status == status
            assert len(looked_at) == 2


@pytest.mark.anyio
async def test_a_good_head_is_not_known_to_another_connection_or_guard() -> None:
    """Nothing outlives the connection; and one guard's judgement is none of another's."""
    async with guarded() as (client, looked_at):
        assert (await ask(client, ASKED)).status == 200
    head = looked_at[0]
    assert Guard([TOKEN]).judge(head, 0) is None
    assert not Guard(["another"]).knows(head)
    refusal = Guard(["another"]).judge(head, 0)
    assert refusal is not None
    assert refusal.status == 401


def test_a_good_head_has_to_wait_like_any_other_once_its_peer_has_failed() -> None:
    """What failed since it was judged counts: a head that is good is looked at again."""
    guard = Guard([TOKEN])
    good = Head("GET", "/v1/models", (("host", "localhost"), ("x-api-key", TOKEN)), "192.0.2.1")
    bad = Head("GET", "/v1/models", (("host", "localhost"), ("x-api-key", "no")), "192.0.2.1")
    assert guard.judge(good, 0) is None
    assert guard.knows(good)
    for second in range(10):
        assert guard.judge(bad, second) is not None
        assert not guard.knows(bad)
    assert not guard.knows(good)
    refusal = guard.judge(good, 10)
    assert refusal is not None
    assert refusal.status == 429
    assert guard.judge(good, 100) is None
    assert guard.knows(good)
