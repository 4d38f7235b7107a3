"""CPU that a login adds to a call, beside the same provider asked with a key of its own.

`python -m benchmarks.credential JOB` prints one JSON object, in microseconds of CPU: reading the token of the
moment (the look in admission, and taking what it found), and all that `RenewingProvider` adds to a call.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import anyio

from understudy import Response, Text
from understudy.actors._renewing import RenewingProvider
from understudy.credentials import Host, Keeper, LoginSource, Mode
from understudy.providers import Provider, Request, Upstream

from .measure import Job, main

ROUNDS, CALLS = 15, 20_000


class Instant:
    """A provider that answers at once, with whatever key."""

    async def complete(self, request: Request) -> Response:
        """Answer."""
        return _ANSWER

    async def stream(self, request: Request) -> Upstream:
        """Not asked for here."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close nothing."""

    def keyed(self, key: str, *, base_url: str = "") -> Provider:
        """Return this one."""
        return self


_ANSWER = Response((Text("hi"),), "a-model", "nous", "stop")


async def cpu_of(call: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of CPU per call."""
    begun = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - begun) / CALLS * 1e6


def cpu_of_token(keeper: Keeper) -> float:
    """Return the microseconds of CPU per reading of the token."""
    now, begun = anyio.current_time(), time.process_time()
    for _ in range(CALLS):
        assert keeper.bar(now) is None
        assert keeper.at_hand is not None
    return (time.process_time() - begun) / CALLS * 1e6


async def measure(job: Job) -> dict[str, Any]:
    """Measure each of them, interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "login.json"
        store.write_text(json.dumps({"access_token": "a.e30.c", "refresh_token": "r", "scope": "inference:invoke",
                                     "expires_at": time.time() + 36000}))  # fmt: skip
        store.chmod(0o600)
        keeper = Keeper(LoginSource(Mode.OWN, store), Host(), lambda event: None)
        await keeper.open()
        bare, request = Instant(), Request("a-model", ())
        renewing = RenewingProvider(bare, keeper, "nous", follows=False)
        figures: dict[str, list[float]] = {"token": [], "call": []}
        for _ in range(1 if job.quick else ROUNDS):
            figures["token"].append(cpu_of_token(keeper))
            alone = await cpu_of(lambda: bare.complete(request))
            figures["call"].append(await cpu_of(lambda: renewing.complete(request)) - alone)
    return {name: median(rounds) for name, rounds in figures.items()}


if __name__ == "__main__":
    main(measure)
