"""Sockets that listen, and those of connections that are one too many."""

from __future__ import annotations

import errno
import math
import socket
from contextlib import suppress
from typing import Any, final

import anyio

from ..providers import ConfigurationError, Problem

BACKLOG = 1024
"""Connections that the kernel holds until they are accepted (chosen: a burst, not a crowd)."""

_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_TRIES = 5
"""How often a port is drawn that has to be free in two families (chosen)."""


async def bind(host: str, port: int, send_buffer: int) -> list[socket.socket]:
    """Listen at each address of a host; with the port 0, at one free port of all of them. What is accepted there sends
    at once, and the kernel keeps `send_buffer` bytes for it, as they reckon.

    Raises:
        ConfigurationError: Nobody can listen there, or somebody else does.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _unusable(f"an address of this machine; {host!r} is none", "name one, such as 127.0.0.1") from error
    places = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for left in reversed(range(_TRIES)):
        try:
            return _bound(places, port, send_buffer)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port == 0 and left:
                continue
            raise _refused(host, port, error) from error
    raise AssertionError("unreachable")


def _bound(places: list[tuple[Any, Any]], port: int, send_buffer: int) -> list[socket.socket]:
    """Bind to every place that exists here. Nothing is left open where one fails."""
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in places:
            try:
                bound.append(_listening(family, (address[0], port, *address[2:]), send_buffer))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
            else:
                port = bound[0].getsockname()[1]
        if not bound:
            raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _listening(family: int, address: Any, send_buffer: int) -> socket.socket:
    own = socket.socket(family, socket.SOCK_STREAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it, and the next, hold for what is accepted
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if family == socket.AF_INET6:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        own.setblocking(False)
        own.bind(address)
        own.listen(BACKLOG)
    except BaseException:
        own.close()
        raise
    return own


def _refused(host: str, port: int, error: OSError) -> ConfigurationError:
    where = f"port {port} of {host}"
    match error.errno:
        case errno.EADDRINUSE:
            return _unusable(f"a free port; {where} is in use", "stop what listens there, or choose another port")
        case errno.EACCES | errno.EPERM:
            return _unusable(f"a port that may be used; {where} may not", "choose one from 1024 on")
        case _:
            return _unusable(f"an address of this machine: {where}: {error.strerror}", "name one, such as 127.0.0.1")


def _unusable(expected: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem("the address to listen at", expected, remedy)])


@final
class Refused:
    """Connections that were told that there are too many: kept until they are `due`, because closing at once would let
    the kernel throw away what they have not read yet. The oldest go first.
    """

    def __init__(self, most: int) -> None:
        self._most, self._kept, self.due = most, list[socket.socket](), math.inf

    def refuse(self, own: socket.socket, said: bytes) -> None:
        """Tell one, without waiting."""
        with suppress(OSError):  # who has left already need not be told
            own.send(said)
            own.shutdown(socket.SHUT_WR)
        self._kept.append(own)
        while len(self._kept) > self._most:
            self._close(self._kept.pop(0))

    def expire(self) -> None:
        """Close all of them."""
        kept, self._kept = self._kept, []
        for own in kept:
            self._close(own)

    def _close(self, own: socket.socket) -> None:
        with suppress(OSError):
            own.recv(65536)  # what was asked: unread, it makes closing a reset
        own.close()
