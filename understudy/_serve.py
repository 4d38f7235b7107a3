"""`understudy serve`: the gateway over a supervisor, from its start until SIGTERM."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ._open import open_supervisor
from ._reach import access_of
from ._version import __version__
from .gateway import (
    SELF,
    Feed,
    FeedConsole,
    Gateway,
    Guard,
    Head,
    Refusal,
    Server,
    files,
    gateway_token,
    is_loopback,
    serve,
)
from .providers import Line, tell
from .supervisor import Supervisor, without_fallback
from .telemetry import prometheus_text

_log = logging.getLogger("understudy")

STOPPING = (signal.SIGTERM, signal.SIGINT)

EVERYWHERE: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are read, not bound
"""Addresses that mean every one of a machine's, and by which of them its own programs call it."""


def loop_options(backend: str) -> dict[str, Any]:
    """Return what `anyio.run` is told for a gateway: asyncio runs on uvloop's loop where that is installed, as it is
    with the extra `gateway`. A request then costs up to a tenth less.
    """
    return {"use_uvloop": True} if backend == "asyncio" and find_spec("uvloop") is not None else {}


SELDOM = (20_000, 20, 20)
"""Objects more than there were before garbage is looked for, and how often the older ones are looked at (chosen: some
hundred requests). A request leaves no cycles behind, so there is hardly any; looking for it at Python's own pace took a
tenth of the gateway's CPU (docs/decisions/0019-gateway.md).
"""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage seldom in the body of a `with`, and not among what there is now: in a process of our own."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def run_gateway(host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve all configured agents until SIGTERM or Ctrl-C: then nothing new is taken, and what is asked has 30 s. A
    second signal ends it now. What happens is written to standard error, as `LLM_LOG_FORMAT` says.

    Args:
        announce: Is told, line by line, where the gateway listens and what it serves; a log of objects tells it itself.

    Raises:
        ConfigurationError: Something cannot work; lists every mistake.
    """
    feed = Feed(__version__)
    with anyio.open_signal_receiver(*STOPPING) as signals:  # from before it listens until all is closed
        async with open_supervisor(hooks=[feed], drain_for=0) as supervisor:
            feed.watch(supervisor)
            gateway = await _gateway(supervisor, feed, host)
            is_json = supervisor.plan.json_logs
            with _logged(is_json=is_json), collecting_seldom():
                async with serve(gateway, host, port) as server:
                    said = announcement(server, supervisor, gateway.models)
                    if is_json:
                        tell(_log.info, Line("listening", at=said.at, agents=said.agents))
                    for line in () if is_json else said.lines:
                        announce(line)
                    await _until_stopped(signals, server, gateway, feed)


@contextmanager
def _logged(*, is_json: bool) -> Iterator[None]:
    """Write what is logged to standard error: a command is its own application."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s" if is_json else "%(asctime)s %(levelname)s %(message)s"))
    before = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


async def _gateway(supervisor: Supervisor, feed: Feed, host: str) -> Gateway:
    access = access_of(supervisor.plan)
    token = await anyio.to_thread.run_sync(
        partial(gateway_token, access.token, access.token_path, beyond_loopback=not is_loopback(host))
    )
    guard = Guard(
        [token.secret.get_secret_value()],
        hosts=access.hosts,
        origins=(SELF, *access.origins),
        open_paths=files(),
        proxies=access.proxies,
    )

    def judge(head: Head) -> Refusal | None:
        return None if guard.knows(head) else guard.judge(head, anyio.current_time())

    return Gateway(
        supervisor,
        aliases=access.aliases,
        guard=judge,
        metrics=lambda: prometheus_text(supervisor.metrics()),
        console=FeedConsole(supervisor, feed),
    )


@final
@dataclass(frozen=True, slots=True)
class Announcement:
    """What is said once a gateway listens: on which addresses, for whom, and how this machine's own clients call it."""

    at: str
    agents: str
    url: str

    @property
    def lines(self) -> tuple[str, ...]:
        """It for people; a log of objects has one more of them instead."""
        return (
            f"listening on {self.at}",
            f"agents: {self.agents}",
            f"for clients: OPENAI_BASE_URL={self.url}/v1, ANTHROPIC_BASE_URL={self.url}, "
            "and the token of `understudy token`",
            f"what it does is shown at {self.url}/",
        )


def announcement(server: Server, supervisor: Supervisor, models: tuple[str, ...]) -> Announcement:
    """Return what is said once a gateway listens."""
    bound = server.addresses
    urls = [f"http://{_shown(host)}:{port}" for host, port in bound]
    aliases = [model for model in models if model not in supervisor.agents]
    also = f", also called {', '.join(aliases)}" if aliases else ""
    lone = without_fallback(supervisor.plan.agents.values())
    without = f"; no fallback for {', '.join(lone)}" if lone else ""
    is_local = all(is_loopback(host) for host, _ in bound)
    everywhere = " and on this machine's other addresses" if any(host in EVERYWHERE for host, _ in bound) else ""
    hosts = (
        ""
        if is_local or access_of(supervisor.plan).hosts
        else "; set GATEWAY_HOSTS: only loopback's names are answered"
    )
    at, agents = f"{' and '.join(urls)}{everywhere}{hosts}", f"{', '.join(supervisor.agents)}{also}{without}"
    return Announcement(at, agents, urls[0])


def _shown(host: str) -> str:
    """Return how a client on this machine calls an address; that of every interface is none."""
    named = EVERYWHERE.get(host, host)
    return f"[{named}]" if ":" in named else named


async def _until_stopped(signals: AsyncIterable[object], server: Server, gateway: Gateway, feed: Feed) -> None:
    """Wait for a signal, then for all that was asked; at a second signal for nothing."""
    async with anyio.create_task_group() as tasks:
        is_stopping = False
        async for _ in signals:
            if is_stopping:
                tasks.start_soon(server.drain)  # a second call ends it now
                continue
            is_stopping = True
            tell(_log.info, Line("stopping", in_flight=server.in_flight))
            gateway.drain()
            feed.close()
            tasks.start_soon(_drain, server, tasks)


async def _drain(server: Server, tasks: TaskGroup) -> None:
    await server.drain()
    tasks.cancel_scope.cancel()
