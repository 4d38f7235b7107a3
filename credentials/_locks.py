"""Advisory locks between processes, as Hermes Agent takes them: `flock` on files that nobody ever removes.

A lock is asked for without waiting, every 50 ms, on the event loop: opening a file and asking takes microseconds, and
a `flock` that waits in a thread could not be cancelled. The kernel frees what a process held when it dies. POSIX only.

Source: github.com/NousResearch/hermes-agent, `hermes_cli/auth.py` and `auth/store.py`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio

from ._folders import make_folder

POLL_EVERY = 0.05
"""Seconds between two tries (as Hermes Agent does)."""

_BUSY = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
"""What a lock says that somebody else holds; all else is an error."""


@asynccontextmanager
async def locked(paths: Sequence[Path], *, within: float) -> AsyncIterator[bool]:
    """Hold all of these locks for the body of an `async with`, taken in this order; the body gets False without them.

    Two tasks of one process exclude each other, too. While it is held, the file names the holder's process.

    Args:
        within: Seconds to wait for all of them together.

    After cancellation nothing is held.

    Raises:
        OSError: A lock file cannot be opened, or not be locked for another reason than that it is held.
    """
    with ExitStack() as held:
        with anyio.move_on_after(within) as waiting:
            for path in paths:
                await _take(path, held)
        if waiting.cancelled_caught:
            held.close()
        yield not waiting.cancelled_caught


def busy(paths: Sequence[Path], within: float) -> str:
    """Return in words for people that these locks were not to be had."""
    return f"{paths[-1]} was held by another process for {within:g} s"


async def _take(path: Path, held: ExitStack) -> None:
    """Open a lock file and wait until it is ours; `held` gives it back."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, descriptor)
    while not _locks(descriptor):  # noqa: ASYNC110 - no event tells what another process does
        await anyio.sleep(POLL_EVERY)
    held.callback(_release, descriptor)
    with suppress(OSError):  # it only helps whoever looks
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _release(descriptor: int) -> None:
    """Unlock by name: a child that was forked meanwhile has a copy of the descriptor, and would hold it on."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
