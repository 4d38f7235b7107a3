"""Fixtures for tests of agents without a network; loaded only by `pytest_plugins = ["understudy.simulation.pytest"]`.

`anyio_backend` runs each test marked `anyio` on every backend that is installed, in virtual time. `world` makes
simulated providers, `understudy_supervisor` opens a supervisor over them. When a test ends, what it left open fails it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from ..supervisor import Hook, Settings, Supervisor, load, sound, supervise, without_keys
from ._clock import Backend, backends, virtual_backend
from ._memory import World
from ._script import Script

MakeWorld = Callable[[dict[str, Script]], World]
"""Makes a world of scripts, by transport or base URL. What has no script answers "Hello."."""


class OpenSupervisor(Protocol):
    """Opens a supervisor over a world, for the body of an `async with`."""

    def __call__(
        self, world: World, settings: Settings | None = None, *, hooks: Iterable[Hook] = ()
    ) -> AbstractAsyncContextManager[Supervisor]:
        """Open it.

        Args:
            settings: What is configured; default: what environment and `.env` say. Keys may be missing.
            hooks: Are told every event.

        Raises:
            ConfigurationError: The configuration cannot work; lists every mistake.
        """


@pytest.fixture(params=backends())
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run the test on each backend, with a clock of its own that begins at 0 and never really sleeps."""
    return virtual_backend(request.param)


@pytest.fixture
def world() -> Iterator[MakeWorld]:
    """A function that makes simulated providers, inside the test; its scripts begin at that instant."""
    made: list[World] = []

    def make(scripts: dict[str, Script]) -> World:
        made.append(World(scripts))
        return made[-1]

    yield make
    left = [provider for one in made for provider in one.providers if provider.open or provider.in_flight]
    if left:
        pytest.fail(f"{len(left)} simulated providers are still open: leave the supervisor's block", pytrace=False)


@pytest.fixture
def understudy_supervisor() -> OpenSupervisor:
    """A function that opens a supervisor over a world: no network, no keys, and the same chances in every run."""

    @asynccontextmanager
    async def opened(
        world: World, settings: Settings | None = None, *, hooks: Iterable[Hook] = ()
    ) -> AsyncIterator[Supervisor]:
        plan, rand = sound(without_keys(load(settings))), random.Random(0).random  # noqa: S311 - no secret
        async with supervise(plan, connect=world.connect, rand=rand, hooks=hooks) as supervisor:
            yield supervisor

    return opened
