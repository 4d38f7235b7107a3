"""What each peer is measured by: the standard library alone, for it runs in the environment of the peer.

A peer's module says how to open it, how a whole answer is asked for and how a stream is read. `python -m
benchmarks.peers.NAME TASK` measures one thing in a fresh process and prints one JSON object. CPU is that of all threads
of the process, however they were started.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

KEY = "sk-benchmark"
FALLBACK = "a-model"
"""The model of every fallback; it answers at once."""

CHUNKS = 100
"""Chunks of a stream, each a word."""

Turns = list[tuple[str, str]]
"""A conversation: who speaks, and what is said."""


@final
@dataclass(frozen=True, slots=True)
class Asking:
    """How a peer is asked, its conversation made ready in the peer's own types before; each returns what was said."""

    complete: Callable[[], Awaitable[str]]
    stream: Callable[[], Awaitable[str]]


Opened = Callable[[str, str, Turns], AbstractAsyncContextManager[Asking]]
"""Opens a peer whose primary is a model at a URL, to be asked a conversation."""


@final
@dataclass(frozen=True, slots=True)
class Task:
    """What is measured: the primary's model, messages, calls at once, and calls of the measured span."""

    model: str
    messages: int
    in_flight: int
    calls: int
    streamed: bool = False


TASKS = {
    "call": Task("a-model", 1, 64, 640),
    "conversation": Task("a-model", 41, 64, 256),
    "handover": Task("down", 1, 64, 256),
    "stream": Task("a-model", 1, 1, 30, streamed=True),
    "memory": Task("hold", 1, 1000, 0),
    "trio": Task("a-model", 1, 1, 1),
}
FEW = 20
"""Of calls whose memory is measured, those that are there before."""

QUIET, QUIET_FOR, AT_MOST = 0.05, 1.0, 60.0
"""All have sent their request when the process uses less than this share of a core for so long; in seconds."""


def conversation(length: int) -> Turns:
    """Make the conversation of `benchmarks.complete`, a question last."""
    turns = [
        ("user", "And then? " * 8) if n % 2 == 0 else ("assistant", "Then it went on. " * 8) for n in range(length)
    ]
    return [*turns[: length - 1], ("user", "Who wrote Faust?")]


def as_dicts(turns: Turns) -> Any:
    """Return a conversation as the OpenAI SDK, and who copies it, take it."""
    return [{"role": role, "content": content} for role, content in turns]


def cpu_of(process: int) -> float:
    """Return the seconds of CPU that another process has used; see `benchmarks.measure.cpu_of`."""
    return time.clock_gettime((~process << 3) | 2)


async def answered(asking: Asking) -> None:
    """Ask for a whole answer, and see that it came."""
    said = await asking.complete()
    assert said.startswith("Johann"), said


async def streamed(asking: Asking) -> None:
    """Read a stream, and see that all of it came."""
    said = await asking.stream()
    assert said.count("word") == CHUNKS, said


async def at_once(call: Callable[[], Awaitable[object]], in_flight: int, each: int) -> None:
    """Let so many callers make `each` calls."""

    async def caller() -> None:
        for _ in range(each):
            await call()

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def cost(asking: Asking, task: Task, process: int, quick: bool) -> dict[str, float]:
    """Return the microseconds of CPU of a call, or of a chunk, and the share of a core that the upstream used."""
    each = 1 if quick else task.calls // task.in_flight
    units = each * task.in_flight * (CHUNKS if task.streamed else 1)

    async def call() -> None:
        await (streamed if task.streamed else answered)(asking)

    await at_once(call, task.in_flight, 2)  # connections are opened, and caches filled
    gc.collect()
    own, upstream, wall = time.process_time(), cpu_of(process), time.perf_counter()
    await at_once(call, task.in_flight, each)
    wall = time.perf_counter() - wall
    share = (cpu_of(process) - upstream) / wall
    return {"cpu": (time.process_time() - own) / units * 1e6, "upstream": share}


def resident() -> int:
    """Return the bytes of memory that this process has resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def sockets() -> int:
    """Return how many sockets this process has open."""
    names = (os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
    return sum(name.startswith("socket:") for name in names)


async def quiet() -> None:
    """Wait until all that wait have come as far as they come."""
    until = time.monotonic() + AT_MOST
    while time.monotonic() < until:
        begun = time.process_time()
        await asyncio.sleep(QUIET_FOR)
        if time.process_time() - begun < QUIET * QUIET_FOR:
            return


async def memory(asking: Asking, task: Task, quick: bool) -> dict[str, float]:
    """Return by how much memory grows for each call that waits, and how many connections are open then."""
    count = 2 * FEW if quick else task.in_flight
    waiting = [asyncio.ensure_future(asking.complete()) for _ in range(FEW)]
    await quiet()
    gc.collect()
    before, open_before = resident(), sockets()
    waiting += [asyncio.ensure_future(asking.complete()) for _ in range(count - FEW)]
    await quiet()
    gc.collect()
    grown, connections = resident() - before, sockets() - open_before
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    return {"bytes": grown / (count - FEW), "connections": connections + FEW}


async def measured(opened: Opened, given: dict[str, Any]) -> dict[str, Any]:
    """Measure one thing."""
    task = TASKS[given["what"]]
    async with opened(given["url"], task.model, conversation(task.messages)) as asking:
        if given["what"] == "memory":
            return dict(await memory(asking, task, given["quick"]))
        return dict(await cost(asking, task, given["process"], given["quick"]))


def on_trio(opened: Opened, url: str) -> dict[str, Any]:
    """Ask once on trio; say whether that went well, and if not, what went wrong."""
    import trio

    async def once() -> None:
        with trio.fail_after(20):
            async with opened(url, FALLBACK, conversation(1)) as asking:
                await answered(asking)

    try:
        trio.run(once)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is why the peer does not run there
        return {"trio": False, "error": f"{type(error).__name__}: {error}"[:200]}
    return {"trio": True}


def main(opened: Opened, *packages: str) -> None:
    """Measure what the command line says, and print it with the versions of the packages that count."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    given = json.loads(sys.argv[1])
    trio = given["what"] == "trio"
    found = on_trio(opened, given["url"]) if trio else asyncio.run(measured(opened, given))
    print(json.dumps({**found, "versions": {package: version(package) for package in packages}}), flush=True)
    os._exit(0)  # a library that does not end by itself does not hold up the next one
