"""Virtual time on both backends: a clock that begins at 0 and jumps to the next timer when nothing else is left to do.

Hours pass in a second, and every instant is exact. An entry point: the event loops are imported by the function that
needs one, and by nothing else in the library.
"""

from __future__ import annotations

import selectors
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, TypeVarTuple, final

import anyio

if TYPE_CHECKING:
    import asyncio

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

Backend: TypeAlias = tuple[str, dict[str, Any]]
"""A backend's name and its options, as `anyio.run` and the fixture `anyio_backend` take them."""


def backends() -> tuple[str, ...]:
    """Return the names of the backends that are installed: trio comes with an extra."""
    return tuple(name for name in ("asyncio", "trio") if find_spec(name) is not None)


def virtual_backend(name: str = "asyncio", *, grace: float = 0.0) -> Backend:
    """Return a backend with a clock of its own, for one run.

    Args:
        grace: Real seconds that the kernel and threads get before the clock jumps; needed where real sockets are in
            play, or functions in threads, such as tools that are not async.

    Raises:
        ValueError: There is no backend of that name.
    """
    match name:
        case "asyncio":
            return name, {"loop_factory": lambda: _virtual_loop(grace)}
        case "trio":
            import trio.testing

            return name, {"clock": trio.testing.MockClock(autojump_threshold=grace)}
        case _:
            raise ValueError("a backend is asyncio or trio")


def run_virtual(
    function: Callable[[*Arguments], Awaitable[Result]],
    *arguments: *Arguments,
    backend: str = "asyncio",
    grace: float = 0.0,
) -> Result:
    """Run an async function in virtual time, as `anyio.run` does in real time, and return what it returns.

    Args:
        grace: As for `virtual_backend`.

    Raises:
        ValueError: There is no backend of that name.
    """
    name, options = virtual_backend(backend, grace=grace)
    return anyio.run(function, *arguments, backend=name, backend_options=options)


@final
class _Clock(selectors.DefaultSelector):
    """The selector of a loop: where a real one would sleep until the next timer, its clock jumps there."""

    def __init__(self, grace: float) -> None:
        super().__init__()
        self.now, self.grace = 0.0, grace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # no timer: only the outside can wake us
            return super().select(None)
        ready = super().select(self.grace)
        if not ready:
            self.now += timeout
        return ready


def _virtual_loop(grace: float) -> asyncio.AbstractEventLoop:
    import asyncio

    clock = _Clock(grace)

    class Loop(asyncio.SelectorEventLoop):
        _clock_resolution: Any

        def __init__(self) -> None:
            super().__init__(clock)
            self._clock_resolution = 1e-9  # the real clock's is coarser than the instants of a virtual one

        def time(self) -> float:
            return clock.now

    return Loop()
