"""Virtual time and fixtures as users have them, here in our own process; as a project: tests/test_pytest_plugin.py."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from understudy import AgentSettings, ConfigurationError, RouteSettings, Settings
from understudy.simulation import Answer, Script, backends, run_virtual, virtual_backend
from understudy.simulation.pytest import understudy_supervisor, world  # noqa: F401 - fixtures are found by name

SETTINGS = Settings.in_code(agents={"deriver": AgentSettings(primary=RouteSettings(transport="openai", model="gpt"))})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_week_takes_no_time(backend: str) -> None:
    """The clock begins at 0 and jumps, to the instant; arguments and result go through."""

    async def sleeper(seconds: float, add: float) -> float:
        async with anyio.create_task_group() as others:
            others.start_soon(anyio.sleep, seconds / 3)
            await anyio.sleep(seconds)
        return anyio.current_time() + add

    begun = time.monotonic()
    assert run_virtual(sleeper, 604800.0, 1.0, backend=backend) == 604801
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_raised_leaves_as_it_came(backend: str) -> None:
    """Nothing is put around it."""

    async def fails() -> None:
        await anyio.sleep(3)
        raise ZeroDivisionError(anyio.current_time())

    with pytest.raises(ZeroDivisionError, match="3"):
        run_virtual(fails, backend=backend)


def test_without_timers_a_thread_is_waited_for() -> None:
    """The clock stands still when there is nowhere to jump to."""

    async def threaded() -> float:
        await anyio.to_thread.run_sync(time.sleep, 0.01)
        return anyio.current_time()

    assert [run_virtual(threaded, backend=name) for name in backends()] == [0, 0]


def test_there_are_two_backends() -> None:
    """Another name is refused with those there are."""
    assert backends() == ("asyncio", "trio")
    with pytest.raises(ValueError, match="asyncio or trio"):
        virtual_backend("curio")


@pytest.mark.anyio
class TestFixtures:
    """What `understudy.simulation.pytest` has."""

    async def test_a_supervisor_over_a_world(self, request: pytest.FixtureRequest) -> None:
        """It answers as the script says, without keys, and tells its hooks."""
        make, opened = self.fixtures(request)
        events = list[object]()
        vendors = make({"openai": Script.always(Answer("Goethe.", after=7))})
        async with opened(vendors, SETTINGS, hooks=[events.append]) as supervisor:
            assert (await supervisor.agent("deriver").complete("Who wrote Faust?")).text == "Goethe."
        assert anyio.current_time() == 7
        assert [call.at for call in vendors.log("openai")] == [0]
        assert [type(event).__name__ for event in events] == ["RequestEnded"]

    async def test_what_cannot_work_is_an_error(self, request: pytest.FixtureRequest) -> None:
        """Without settings the environment's are read, and there are none."""
        make, opened = self.fixtures(request)
        with pytest.raises(ConfigurationError, match="at least one agent"):
            async with opened(make({})):
                pass

    def fixtures(self, request: pytest.FixtureRequest) -> tuple[Any, Any]:
        """Return both of them."""
        return request.getfixturevalue("world"), request.getfixturevalue("understudy_supervisor")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_with_some_grace_threads_are_waited_for(backend: str) -> None:
    """A function in a thread that takes a moment is not overtaken by a limit of minutes."""

    async def run() -> float:
        with anyio.fail_after(600):
            await anyio.to_thread.run_sync(threading.Event().wait, 0.01)
        await anyio.sleep(100)
        return anyio.current_time()

    assert run_virtual(run, backend=backend, grace=0.5) == 100
