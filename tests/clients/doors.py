"""Where a test comes in: an agent over HTTP, at the gateway that `__main__.py` runs, or in the test's own process."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anyio
import anyio.to_thread

Way: TypeAlias = Literal["over HTTP", "in process"]
QUESTION = "Who wrote Faust?"


@dataclass(frozen=True)
class Upstream:
    """What the providers of an agent have seen; see `agents.Upstream`."""

    asked: list[int]
    in_flight: int
    left: int


@dataclass(frozen=True)
class Door:
    """An agent to ask.

    Args:
        model: What a client calls it.
        url: Where the gateway is; "" in process.
        supervisor: The agent's own, in process; its type is unknown where understudy is not installed.
    """

    model: str
    url: str
    supervisor: Any
    look: Callable[[], Awaitable[dict[str, Any]]]

    async def upstream(self) -> Upstream:
        """Look at what the providers have seen."""
        return Upstream(**await self.look())

    async def left_within(self, seconds: float, before: Upstream) -> None:
        """Wait until the one request that is answered upstream has been left.

        Raises:
            TimeoutError: It still is, after so many seconds.
        """
        with anyio.fail_after(seconds):
            while (now := await self.upstream()).in_flight or now.left == before.left:  # noqa: ASYNC110 - in another process
                await anyio.sleep(0.02)


@asynccontextmanager
async def door(way: Way, agent: str, *, model: str = "") -> AsyncIterator[Door]:
    """Open the way to an agent; a client calls it `model`, by default by its own name."""
    if way == "over HTTP":
        at = os.environ["UNDERSTUDY_TEST_UPSTREAM"]

        def fetch() -> dict[str, Any]:
            with urllib.request.urlopen(f"{at}/{agent}") as answer:  # noqa: S310 - loopback
                told: dict[str, Any] = json.load(answer)
                return told

        async def look() -> dict[str, Any]:
            return await anyio.to_thread.run_sync(fetch)

        yield Door(model or agent, os.environ["UNDERSTUDY_TEST_GATEWAY"], None, look)
        return

    from .agents import staged

    async with staged([agent]) as stage:

        async def seen() -> dict[str, Any]:
            return stage.upstream(agent).as_json()

        yield Door(model or agent, "", stage.supervisor, seen)
