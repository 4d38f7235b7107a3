"""Gateways as processes of their own: how each is started over the mock upstream, and what a client calls there.

A gateway has the first core for itself; upstream and load generator share the last one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, final

from .measure import QUIET, QUIET_FOR, cpu_of
from .runs import ROOT

TOKEN = "pJ3v0nR8sXq1ZtLw5yBfKc7hAe2gUdMo9iNrTbVx4kE"
KEY = "sk-benchmark"
STARTING, IDLING, ENDING = 120.0, 20.0, 10.0
"""Seconds that a gateway may take to listen, to come to rest, and to end; chosen: the slowest takes half a minute."""


class Target(NamedTuple):
    """What stands behind a gateway: a model of the upstream, over one of its wires."""

    wire: str
    model: str


TARGETS = {
    "openai": Target("openai", "a-model"),
    "anthropic": Target("anthropic", "a-model"),
    "slow": Target("openai", "slow"),
}
"""What a client of a gateway can call, by its name there."""


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """How a gateway is started: its command, its environment, and the files that stand in its folder."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Called(NamedTuple):
    """How a client calls a target: the model it names, and the headers it sends."""

    model: str
    headers: Mapping[str, str]


@final
@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway: its title, its recipe for a port and the address of the upstream, and how a target is called there, by
    its name and the address of the upstream.
    """

    title: str
    recipe: Callable[[int, str], Recipe]
    called: Callable[[str, str], Called]


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that runs."""

    gateway: Gateway
    port: int
    process: int


def base(target: Target, url: str) -> str:
    """Return the address of the upstream as the wire's own clients want it."""
    return url if target.wire == "openai" else url.removesuffix("/v1")


def ours(backend: str) -> Gateway:
    """Return `understudy serve`: guard, metrics, page and all."""

    def recipe(port: int, url: str) -> Recipe:
        command = (sys.executable, "-m", "understudy", "serve", "--port", str(port), "--backend", backend)
        agents = {
            f"{name.upper()}_MODEL_CONFIG__{setting}": value
            for name, target in TARGETS.items()
            for setting, value in (
                ("TRANSPORT", target.wire),
                ("MODEL", target.model),
                ("BASE_URL", base(target, url)),
                ("API_KEY", KEY),
            )
        }
        return Recipe(command, {**agents, "UNDERSTUDY_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)})

    return Gateway("ours", recipe, lambda name, _: Called(name, {"authorization": f"Bearer {TOKEN}"}))


def cores() -> tuple[int, int]:
    """Return the core of the gateway, and that of upstream and load; the same, where there is but one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def pinned(core: int, *processes: int) -> Iterator[None]:
    """Keep this thread, what it starts, and other processes on one core for the body of a `with`."""
    before = {process: os.sched_getaffinity(process) for process in (0, *processes)}
    try:
        for process in before:
            os.sched_setaffinity(process, {core})
        yield
    finally:
        for process, allowed in before.items():
            os.sched_setaffinity(process, allowed)


@contextmanager
def served(gateway: Gateway, url: str) -> Iterator[Served]:
    """Run a gateway for the body of a `with`, on the first core, until it listens and has come to rest.

    Raises:
        RuntimeError: It has ended, or does not listen; with what it said last.
    """
    port = free_port()
    recipe = gateway.recipe(port, url)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in recipe.files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        with Path(folder, "said").open("w+b") as said, pinned_start(recipe, folder, said) as process:
            try:
                _wait_until_it_listens(gateway, process, port, said)
                _wait_until_at_rest(process.pid)
                yield Served(gateway, port, process.pid)
            finally:
                _end(process)


def pinned_start(recipe: Recipe, folder: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a gateway on the first core, without what this environment says to its libraries."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    environment = {**kept, "HOME": folder, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **recipe.environment}
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
    with pinned(cores()[0]):
        return subprocess.Popen(recipe.command, cwd=folder, env=environment, **how)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_until_it_listens(gateway: Gateway, process: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    until = time.monotonic() + STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                said.seek(0)
                text = said.read()[-4000:].decode(errors="replace")
                raise RuntimeError(f"{gateway.title} does not listen; it said:\n{text}") from error
            time.sleep(0.05)
        else:
            return


def _wait_until_at_rest(process: int) -> None:
    until = time.monotonic() + IDLING
    while time.monotonic() < until:
        begun = cpu_of(process)
        time.sleep(QUIET_FOR)
        if cpu_of(process) - begun < QUIET * QUIET_FOR:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
