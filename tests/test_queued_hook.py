"""`QueuedHook`: a hook that waits, behind a queue, at nobody's cost."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.to_thread
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
        await anyio.wait_all_tasks_blocked()
        for number in range(8):
            hook(told(number))
        assert hook.dropped == 4
        await ask(agent)
        assert supervisor.metrics().total("understudy.dropped") == 5
    assert slow.given == [told(0), told(1), told(2), told(3)], "one at hand, three in the queue"


async def test_closing_waits_so_long_and_no_longer() -> None:
    """Two seconds; what still waits then is counted as dropped, and so is what was not told to its end."""
    slow = Slow(0.75)
    async with QueuedHook(slow) as hook:
        for number in range(5):
            hook(told(number))
    assert anyio.current_time() == 2
    assert slow.given == [told(0), told(1)]
    assert hook.dropped == 3


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
    assert (anyio.current_time(), slow.given, hook.dropped) == (1, [], 2)


async def test_what_it_raises_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The next event is told all the same."""
    slow = Slow(fails=(1, 2))
    async with QueuedHook(slow) as hook:
        for number in range(3):
            hook(told(number))
    assert (hook.failures, len(slow.given)) == (2, 3)
    assert [text for _, level, text in caplog.record_tuples if level == logging.WARNING] == [
        "hook_failed hook='Slow' on='HandedOver'"
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
        ({"most": 1.5}, ValueError),
        ({"close_within": -1}, ValueError),
        ({"close_within": float("inf")}, ValueError),
    ],
)
async def test_what_cannot_work_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """When it is made."""
    with pytest.raises(error):
        QueuedHook(**{"handle": Slow(), **arguments})


async def test_a_plain_function_will_do_as_well() -> None:
    """It is called in the queue's task, where it holds up nobody's request."""
    given = list[Event]()
    async with QueuedHook(given.append) as hook:
        hook(told(1))
    assert (given, hook.failures) == ([told(1)], 0)


async def test_it_is_entered_once_at_a_time() -> None:
    """A second entry, and an exit without one, are refused: they would take each other's tasks along."""
    hook = QueuedHook(Slow())
    async with hook:
        with pytest.raises(RuntimeError, match="enter it once, around all supervisors"):
            await hook.__aenter__()
    with pytest.raises(RuntimeError, match="is not entered"):
        await QueuedHook(Slow()).__aexit__(None, None, None)


async def test_what_a_function_was_cancelled_with_is_its_own_failure(anyio_backend_name: str) -> None:
    """On asyncio a function may raise the CancelledError of another task: the block goes on, and the queue too."""
    if anyio_backend_name != "asyncio":
        return  # on trio nobody can raise one

    import asyncio

    given = list[Event]()

    async def gives_up(event: Event) -> None:
        given.append(event)
        task = asyncio.ensure_future(asyncio.sleep(9))
        task.cancel()
        await task

    async with QueuedHook(gives_up) as hook:
        hook(told(1))
        await anyio.sleep(1)
        hook(told(2))
        await anyio.sleep(1)
        assert (given, hook.failures) == ([told(1), told(2)], 2)


async def test_asyncios_own_cancellation_is_not_waited_out(anyio_backend_name: str) -> None:
    """It is told once only: nothing may be waited for then."""
    if anyio_backend_name != "asyncio":
        return

    import asyncio

    slow = Slow(100)

    async def run() -> None:
        async with QueuedHook(slow) as hook:
            hook(told(1))
            hook(told(2))
            await anyio.sleep_forever()

    task = asyncio.ensure_future(run())
    await anyio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (anyio.current_time(), slow.given) == (1, [])


async def test_another_event_loops_events_are_dropped() -> None:
    """They could neither wake it nor be told in time; they are counted, and the log says why."""
    slow = Slow()
    async with QueuedHook(slow) as hook:
        await anyio.to_thread.run_sync(anyio.run, called, hook)
    assert (hook.dropped, slow.given) == (1, [])


async def called(hook: QueuedHook) -> None:
    """Tell a hook something."""
    hook(told(1))


async def test_why_something_is_dropped_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that was never entered, and one that is full."""
    hook = QueuedHook(Slow(1), most=1)
    for _ in range(3):
        hook(told(1))
    async with hook:
        await anyio.wait_all_tasks_blocked()
        for _ in range(4):
            hook(told(1))
    assert caplog.messages == ["queued_hook_not_entered hook='Slow'", "queued_hook_full hook='Slow'"]
