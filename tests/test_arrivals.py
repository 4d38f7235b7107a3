"""Reading on an event loop of callbacks: nothing ahead, nothing lost, nothing left to be called."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from understudy.providers._arrivals import Arrivals, arrivals_of

LOOPS = {name: ("asyncio", {"use_uvloop": name == "uvloop"}) for name in ("asyncio", "uvloop")}

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", LOOPS.values(), ids=LOOPS)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give both ends of a connection, of which neither blocks."""
    ours, other = socket.socketpair()
    with ours, other:
        ours.setblocking(False)
        other.setblocking(False)
        yield ours, other


def watched(own: socket.socket) -> bool:
    """Say whether the running loop watches a socket; it does not after this."""
    return asyncio.get_running_loop().remove_reader(own.fileno())


def here(own: socket.socket) -> Arrivals:
    """Return what comes at a socket, on a loop of callbacks."""
    found = arrivals_of(own)
    assert found is not None
    return found


async def turns(count: int = 3) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_nobody_waits_for_stays_where_it_is(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing is read ahead, and a loop that has told once that there is something is not asked to tell again."""
    ours, other = ends
    arrivals = here(ours)
    assert not watched(ours)
    other.send(b"one")
    assert await arrivals.read(10) == b"one"
    other.send(b"two")
    await turns()
    assert not watched(ours)
    assert ours.recv(10, socket.MSG_PEEK) == b"two"
    assert await arrivals.read(2) == b"tw"
    assert await arrivals.read(2) == b"o"


class Told:
    """An event loop that remembers which sockets it was told to watch; or one that cannot."""

    def __init__(self, inner: Any, *, can_watch: bool = True) -> None:
        self._inner, self._can_watch, self.told = inner, can_watch, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_reader(self, number: int, call: Callable[[], None]) -> None:
        self.told.append(number)
        self._inner.add_reader(number, call)

    def remove_reader(self, number: int) -> bool:
        if not self._can_watch:
            raise NotImplementedError
        return bool(self._inner.remove_reader(number))


async def test_a_socket_that_is_read_again_and_again_is_watched_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """The kernel is not told for each read: that is what it is for."""
    ours, other = ends
    loop = Told(asyncio.get_running_loop())
    arrivals = Arrivals(ours, loop)
    for _ in range(5):
        task = asyncio.create_task(arrivals.read(10))
        await turns()
        other.send(b"x")
        assert await task == b"x"
    assert loop.told == [ours.fileno()]


async def test_a_socket_that_is_watched_on_keeps_nothing_of_whoever_read_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """A loop keeps the context in which it is told to watch: what a request left there would live as long as that."""

    class Held:
        """Something of one request's."""

    ours, other = ends
    arrivals, variable, gone = here(ours), ContextVar[Held]("variable"), list[weakref.ref[Held]]()

    async def read() -> None:
        variable.set(held := Held())
        gone.append(weakref.ref(held))
        other.send(b"x")
        assert await arrivals.read(10) == b"x"

    await asyncio.create_task(read())
    await turns()
    gc.collect()
    assert arrivals._is_watched
    assert gone[0]() is None


async def test_what_comes_as_its_reader_is_cancelled_is_not_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    """It was taken from the kernel already: the next read has it, and nothing comes before it."""
    ours, other = ends
    arrivals = here(ours)
    task = asyncio.create_task(arrivals.read(10))
    await turns()
    other.send(b"late")
    arrivals._come()  # as the loop calls it, in the same turn in which
    task.cancel()  # somebody cancels whoever waits
    with pytest.raises(asyncio.CancelledError):
        await task
    other.send(b"later")
    assert await arrivals.read(10) == b"late"
    assert await arrivals.read(10) == b"later"


async def test_who_was_cancelled_leaves_the_next_one_in_peace(ends: tuple[socket.socket, socket.socket]) -> None:
    """What comes afterwards is the next reader's, all of it."""
    ours, other = ends
    arrivals = here(ours)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await arrivals.read(10)
    assert scope.cancelled_caught
    other.send(b"x")
    assert await arrivals.read(10) == b"x"


async def test_only_one_waits_at_a_time(ends: tuple[socket.socket, socket.socket]) -> None:
    """A second one is told, and the first one gets what comes."""
    ours, other = ends
    arrivals = here(ours)
    task = asyncio.create_task(arrivals.read(10))
    await turns()
    with pytest.raises(anyio.BusyResourceError):
        await arrivals.read(10)
    other.send(b"x")
    assert await task == b"x"


async def test_closing_tells_whoever_waits_and_is_forgotten_by_the_loop(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """The number of the socket is free for another one then. Closing twice does nothing."""
    ours, _ = ends
    arrivals = here(ours)
    task = asyncio.create_task(arrivals.read(10))
    await turns()
    arrivals.close()
    arrivals.close()
    assert not watched(ours)
    assert await task is None


async def test_a_broken_connection_is_told_by_its_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """Without a traceback, whose frames would hold what holds the error."""
    ours, other = ends
    arrivals = here(ours)
    ours.send(b"never read")
    other.close()
    came = await arrivals.read(10)
    assert isinstance(came, ConnectionResetError)
    assert came.__traceback__ is None


async def test_a_connection_that_breaks_behind_its_last_bytes_is_told() -> None:
    """A loop may tell of both at once: who has read the bytes, and waits on, must not wait for good."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        ours.setblocking(False)
        arrivals, (other, _) = here(ours), listener.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        task = asyncio.create_task(arrivals.read(10))
        await turns()
        other.send(b"last")
        other.close()
        assert await task == b"last"
        with anyio.fail_after(5):
            assert isinstance(await arrivals.read(10), ConnectionResetError)
        arrivals.close()


async def test_a_false_alarm_wakes_nobody(ends: tuple[socket.socket, socket.socket]) -> None:
    """Somebody may have been faster, or the kernel may have dropped what came (select(2), bugs)."""
    ours, other = ends
    arrivals = here(ours)
    task = asyncio.create_task(arrivals.read(10))
    await turns()
    arrivals._come()
    await turns()
    assert not task.done()
    other.send(b"x")
    assert await task == b"x"


def test_a_loop_that_is_closed_is_not_asked(
    ends: tuple[socket.socket, socket.socket], anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    """Closing what outlives its loop does nothing more."""
    ours, other = ends

    async def read() -> Arrivals:
        arrivals = here(ours)
        other.send(b"x")
        assert await arrivals.read(10) == b"x"
        return arrivals

    name, options = anyio_backend
    anyio.run(read, backend=name, backend_options=options).close()


async def test_a_loop_that_cannot_watch_sockets_is_left_alone(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the proactor of Windows; then anyio waits, as on trio."""

    token = SimpleNamespace(native_token=Told(asyncio.get_running_loop(), can_watch=False))
    monkeypatch.setattr(anyio.lowlevel, "current_token", lambda: token)
    assert arrivals_of(ends[0]) is None
