"""One task for the time of many: who is due, and when that is found out."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from understudy.supervisor import Watch

pytestmark = pytest.mark.anyio


class Dated:
    """Something that has a time, and notes when it was over."""

    def __init__(self) -> None:
        self.due, self.expired_at = math.inf, list[float]()

    def expire(self) -> None:
        self.expired_at.append(anyio.current_time())


@asynccontextmanager
async def watching(apart: float = 0.0) -> AsyncIterator[Watch]:
    """Give a watch that runs."""
    watch = Watch(apart)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.wait_all_tasks_blocked()
        yield watch
        tasks.cancel_scope.cancel()


async def test_each_expires_at_its_instant_and_once() -> None:
    """In whichever order they were armed."""
    late, soon = Dated(), Dated()
    async with watching() as watch:
        watch.arm(late, 3.5)
        watch.arm(soon, 1.25)
        await anyio.sleep(10)
    assert (soon.expired_at, late.expired_at) == ([1.25], [3.5])


async def test_an_instant_that_is_moved_counts_where_it_is() -> None:
    """Later or earlier; by `arm`, or, if later, by an assignment."""
    put_off, brought_forward, assigned = Dated(), Dated(), Dated()
    async with watching() as watch:
        for each in (put_off, brought_forward, assigned):
            watch.arm(each, 2.0)
        await anyio.sleep(1)
        watch.arm(put_off, 5.0)
        watch.arm(brought_forward, 1.5)
        assigned.due = 7.0
        await anyio.sleep(10)
    assert [each.expired_at for each in (put_off, brought_forward, assigned)] == [[5.0], [1.5], [7.0]]


async def test_who_is_forgotten_or_waits_for_nothing_does_not_expire() -> None:
    """And nobody else is kept from it."""
    forgotten, idle, other = Dated(), Dated(), Dated()
    async with watching() as watch:
        for each in (forgotten, idle, other):
            watch.arm(each, 2.0)
        watch.forget(forgotten)
        idle.due = math.inf
        await anyio.sleep(10)
    assert (forgotten.expired_at, idle.expired_at, other.expired_at) == ([], [], [2.0])


async def test_who_cannot_expire_keeps_nobody_else_from_it(caplog: pytest.LogCaptureFixture) -> None:
    """It is a mistake of ours, and told as such; the limits of all others go on."""

    class Broken(Dated):
        def expire(self) -> None:
            super().expire()
            raise RuntimeError("a bug")

    broken, other, later = Broken(), Dated(), Dated()
    async with watching() as watch:
        for each, due in ((broken, 1.0), (other, 1.0), (later, 2.0)):
            watch.arm(each, due)
        await anyio.sleep(10)
    assert [each.expired_at for each in (broken, other, later)] == [[1.0], [1.0], [2.0]]
    assert [record.getMessage() for record in caplog.records] == ["watch_failed error='RuntimeError'"]


async def test_looks_may_be_apart() -> None:
    """Then a limit comes that much later at most."""
    first, second = Dated(), Dated()
    async with watching(apart=0.5) as watch:
        watch.arm(first, 1.0)
        watch.arm(second, 1.25)
        await anyio.sleep(10)
    assert (first.expired_at, second.expired_at) == ([1.0], [1.5])
