"""SIGTERM in a command that owns its process: what runs is cancelled, and ends as it wants to."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from understudy import _signals
from understudy._signals import TerminatedError, until_terminated

pytestmark = [pytest.mark.anyio, pytest.mark.processes]


async def double(number: int) -> int:
    """Return twice the number."""
    await anyio.lowlevel.checkpoint()
    return number * 2


async def test_without_a_signal_nothing_is_different() -> None:
    """What the function returns is returned, what it raises leaves as it came."""
    assert await until_terminated(double, 21) == 42

    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await until_terminated(fail)


async def test_sigterm_cancels_and_waits() -> None:
    """What cannot be cancelled is waited for."""
    ended: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep(30)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                ended.append("in order")

    with anyio.fail_after(10):
        with pytest.raises(TerminatedError):
            await until_terminated(work)
    assert ended == ["in order"]


async def test_a_second_sigterm_grants_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After them the process ends, with the same code."""
    codes: list[int] = []
    monkeypatch.setattr(_signals, "GRANTED_FOR", 0.1)
    monkeypatch.setattr(os, "_exit", codes.append)

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            while not codes:  # noqa: ASYNC110 - the end of the process is all there is to wait for
                await anyio.sleep(0.02)
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(10):
        with pytest.raises(TerminatedError):
            await until_terminated(work)
    assert codes == [143]
