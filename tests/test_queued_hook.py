"""`QueuedHook`: a hook that waits, behind a queue, at nobody's cost."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from understudy import QueuedHook
from understudy.events import Event, HandedOver, RequestEnded
from understudy.simulation import Answer, Script

from .scenario import ask, opened

pytestmark = pytest.mark.anyio

WELL = {"openai": Script.always(Answer())}


def told(number: int) -> Event:
    """Make an event that is like no other."""
    return HandedOver("deriver", "a", "b", str(number))


class Slow:
    """Takes `wait` seconds for each event, and fails for those of these numbers."""

    def __init__(self, wait: float = 0.0, *, fails: tuple[int, ...] = ()) -> None:
        self._wait, self._fails = wait, fails
        self.given: list[Event] = []

    async def __call__(self, event: Event) -> None:
        """Take one."""
        await anyio.sleep(self._wait)
        self.given.append(event)
        if len(self.given) in self._fails:
            raise KeyError("no")


async def test_no_request_waits_for_it() -> None:
    """Ten requests take no time, and all of them are told in their order, each after the one before it."""
    slow = Slow(0.1)
    async with QueuedHook(slow) as hook, opened(WELL, hooks=[hook]) as (agent, _, _):
        for _ in range(10):
            await ask(agent)
        assert (anyio.current_time(), slow.given) == (0, [])
        await anyio.sleep(0.55)
        assert len(slow.given) == 5
    assert anyio.current_time() == pytest.approx(1.0)
    assert [type(event) for event in slow.given] == [RequestEnded] * 10
    assert (hook.dropped, hook.failures) == (0, 0)


async def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    """The newest are dropped; the supervisor's metrics say how many."""
    slow = Slow(0.1)
    async with QueuedHook(slow, most=3) as hook, opened(WELL, hooks=[hook]) as (agent, supervisor, _):
        for number in range(8):
            hook(told(number))
        assert hook.dropped == 4
        await ask(agent)
        assert supervisor.metrics().total("understudy.dropped") == 5
    assert slow.given == [told(0), told(1), told(2), told(3)], "one at hand, three in the queue"


async def test_closing_waits_so_long_and_no_longer() -> None:
    """Two seconds; what still waits then is counted as dropped."""
    slow = Slow(0.75)
    async with QueuedHook(slow) as hook:
        for number in range(5):
            hook(told(number))
    assert anyio.current_time() == 2
    assert slow.given == [told(0), told(1)]
    assert hook.dropped == 2


async def test_an_error_of_the_block_leaves_as_it_came() -> None:
    """After what waits has been told: the last events before a crash are the ones that count."""
    slow = Slow(0.1)
    with pytest.raises(ZeroDivisionError):
        async with QueuedHook(slow) as hook:
            hook(told(1))
            raise ZeroDivisionError
    assert slow.given == [told(1)]


async def test_cancelled_it_ends_at_once() -> None:
    """Nothing more is told, and what waits is counted."""
    slow = Slow(5)
    with anyio.move_on_after(1):
        async with QueuedHook(slow) as hook:
            hook(told(1))
            hook(told(2))
            await anyio.sleep_forever()
    assert (anyio.current_time(), slow.given, hook.dropped) == (1, [], 1)


async def test_what_it_raises_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The next event is told all the same."""
    slow = Slow(fails=(1, 2))
    async with QueuedHook(slow) as hook:
        for number in range(3):
            hook(told(number))
    assert (hook.failures, len(slow.given)) == (2, 3)
    assert [text for _, level, text in caplog.record_tuples if level == logging.WARNING] == [
        "hook_failed hook='Slow' at='KeyError'"
    ]


async def test_outside_its_block_it_drops() -> None:
    """An event before or after is counted, not lost in silence; it may be entered again."""
    slow = Slow()
    hook = QueuedHook(slow)
    hook(told(0))
    for _ in range(2):
        async with hook:
            hook(told(1))
        hook(told(2))
    assert (hook.dropped, slow.given) == (3, [told(1), told(1)])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"handle": None}, TypeError),
        ({"most": 0}, ValueError),
        ({"close_within": -1}, ValueError),
        ({"close_within": float("inf")}, ValueError),
    ],
)
async def test_what_cannot_work_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """When it is made."""
    with pytest.raises(error):
        QueuedHook(**{"handle": Slow(), **arguments})
