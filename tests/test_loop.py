"""The event loop, found once: its clock and its events."""

from __future__ import annotations

import anyio
import pytest

from understudy.providers import Loop


@pytest.mark.anyio
async def test_its_instants_are_those_of_anyio() -> None:
    """Also while time passes."""
    loop = Loop()
    for _ in range(3):
        assert loop.now() == anyio.current_time()
        await anyio.sleep(5)


@pytest.mark.anyio
async def test_its_events_are_those_of_anyio() -> None:
    """Whoever waits is woken up."""
    event = Loop().event()
    assert type(event) is type(anyio.Event())
    woken: list[float] = []

    async def wait() -> None:
        await event.wait()
        woken.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(2)
        event.set()
    assert woken == [2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_outside_of_a_loop_there_is_none(backend: str) -> None:
    """The error is that of anyio, by which those know it who clean up behind a loop that has ended."""
    with pytest.raises(anyio.NoEventLoopError):
        Loop()

    async def make() -> Loop:
        return Loop()

    loop = anyio.run(make, backend=backend)
    with pytest.raises(anyio.NoEventLoopError):
        loop.now()
