"""The bytes of one connection, over any stream of anyio's, of which one over a socket of our own costs least."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from typing import Any, final

import anyio
from anyio.abc import ByteStream, SocketAttribute

READ = 64 * 1024
"""Bytes that are read at once."""

_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all: closing sends a reset
_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


@final
class Gone(Exception):
    """The other side has closed the connection, or it is broken."""


@final
class Wire:
    """A connection as a server uses it: one task reads, one writes. `peer` is the address of the other side.

    Args:
        stream: What it goes over, and closes.
    """

    __slots__ = ("_stream", "peer")

    def __init__(self, stream: ByteStream) -> None:
        address: Any = stream.extra(SocketAttribute.remote_address, None)  # noqa: S610 - anyio's `extra`
        self._stream, self.peer = stream, peer_of(address)

    async def receive(self) -> bytes:
        """Wait for bytes, and return them.

        Raises:
            Gone: No more will come.
        """
        try:
            return await self._stream.receive(READ)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Gone from None

    async def send(self, data: bytes) -> None:
        """Send bytes; wait only as long as the other side, or the kernel, does not take them.

        Over a socket of our own what is taken at once is sent, also where it is cancelled in the same moment: the last
        word of a server that ends can follow it.

        Raises:
            Gone: They will not arrive. Where it is cancelled, nobody knows how many will.
        """
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Gone from None

    async def send_end(self) -> None:
        """Say that no more is coming."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send_eof()

    def has_hung_up(self) -> bool:
        """Say whether the other side has closed, also where bytes that nobody has read hide it; without a socket nobody
        can tell.
        """
        own: Any = self._stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610
        return own is not None and hangs_up(own)

    def reset_on_close(self) -> None:
        """Let closing be a reset, so that what was sent does not look as if it were all."""
        own: Any = self._stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610
        if own is not None:
            with suppress(OSError):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)

    async def aclose(self) -> None:
        """Close it; nobody reads or writes any more."""
        await anyio.aclose_forcefully(self._stream)


def peer_of(address: Any) -> str:
    """Return the address of a socket's other side without its port and zone; empty where there is none."""
    return str(address[0]).partition("%")[0] if isinstance(address, tuple) else ""


def hangs_up(own: Any) -> bool:
    """Say whether the other side of a socket has closed."""
    if own.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(own.fileno(), _HUNG_UP)
    return bool(poll.poll(0))
