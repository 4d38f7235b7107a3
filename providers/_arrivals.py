"""Waiting for bytes on an event loop of callbacks, such as asyncio's and uvloop's.

Whoever waits as anyio does tells the kernel twice for each read, and each time the loop looks its registers through.
Here a socket is watched for as long as it is read again and again: a trickle then costs half. It is read when there
is something to read and somebody waits for it; where nobody does, it is not watched any more.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol, TypeAlias, final

import anyio
import anyio.lowlevel

Outcome: TypeAlias = bytes | OSError | None
"""What a read comes to: bytes, none of them at the end; why there are none; None where the socket was closed here."""


class CallbackLoop(Protocol):
    """What we use of an event loop of callbacks."""

    def create_future(self) -> Any:
        """Return something to wait for."""

    def add_reader(self, number: int, call: Callable[[], None]) -> None:
        """Have something called whenever there is something to read."""

    def remove_reader(self, number: int) -> bool:
        """Have it called no more."""

    def is_closed(self) -> bool:
        """Say whether the loop is no more."""


def arrivals_of(own: socket.socket) -> Arrivals | None:
    """Return what comes at a socket, where the running event loop has callbacks; trio needs none, and the proactor of
    Windows cannot watch a socket.
    """
    loop: Any = anyio.lowlevel.current_token().native_token
    if hasattr(loop, "add_reader"):
        with suppress(NotImplementedError):
            loop.remove_reader(own.fileno())
            return Arrivals(own, loop)
    return None


@final
class Arrivals:
    """What comes at a socket that does not block. One task at a time waits for it."""

    __slots__ = ("_is_watched", "_kept", "_looks_first", "_loop", "_most", "_number", "_own", "_waiting")

    def __init__(self, own: socket.socket, loop: CallbackLoop) -> None:
        self._own, self._number, self._loop, self._most = own, own.fileno(), loop, 0
        self._is_watched, self._looks_first = False, not type(loop).__module__.startswith("asyncio.")
        self._waiting: Any = None
        self._kept: Outcome = None  # what was received, and is still to be handed out

    async def read(self, most: int) -> Outcome:
        """Wait until something has come, at most so many bytes.

        After cancellation nothing is lost: the next read returns what has come.

        Raises:
            anyio.BusyResourceError: Somebody waits already.
        """
        if self._waiting is not None:
            raise anyio.BusyResourceError("reading from")
        self._most = most
        if self._looks_first and self._is_watched and self._kept is None:
            self._kept = self._received()  # uvloop goes on to watch a broken connection, and tells nothing more
        if self._kept is not None:
            await anyio.lowlevel.checkpoint()
            kept, self._kept = self._kept, None
            return kept
        if not self._is_watched:
            empty = Context()  # the loop keeps the one in which it is told, and what a request has left there
            empty.run(self._loop.add_reader, self._number, self._come)
            self._is_watched = True
        self._waiting = waiting = self._loop.create_future()
        try:
            came: Outcome = await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                self._kept = waiting.result()
            raise
        finally:
            self._waiting = None
        return came

    def close(self) -> None:
        """Watch the socket no more, before it is closed; whoever waits learns so."""
        self._unwatch()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _come(self) -> None:
        """Read what there is, if somebody waits; one who has something already is about to take it."""
        waiting = self._waiting
        if waiting is None:
            self._unwatch()
        elif not waiting.done() and (came := self._received()) is not None:
            waiting.set_result(came)

    def _received(self) -> Outcome:
        """Return what there is; None where there is nothing."""
        try:
            return self._own.recv(self._most)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            return error.with_traceback(None)  # the frame would hold what holds it

    def _unwatch(self) -> None:
        if self._is_watched and not self._loop.is_closed():
            self._loop.remove_reader(self._number)
        self._is_watched = False
