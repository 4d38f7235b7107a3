"""`understudy serve`: the gateway over a supervisor, from its start until SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ._open import open_supervisor
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
from .supervisor import GatewayAccess, Supervisor, load
from .telemetry import prometheus_text

HOST, PORT = "127.0.0.1", 4100

STOPPING = (signal.SIGTERM, signal.SIGINT)


async def run_gateway(host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve all configured agents until SIGTERM or Ctrl-C: then nothing new is taken, and what is asked has 30 s. A
    second signal ends it now.

    Args:
        announce: Is told, line by line, where the gateway listens and what it serves.

    Raises:
        ConfigurationError: Something cannot work; lists every mistake.
    """
    feed = Feed(__version__)
    async with open_supervisor(hooks=[feed], drain_for=0) as supervisor:
        feed.watch(supervisor)
        gateway = await _gateway(supervisor, feed, host)
        async with serve(gateway, host, port) as server:
            for line in announcement(server, supervisor, gateway.models):
                announce(line)
            await _until_stopped(server, gateway, feed)


async def _gateway(supervisor: Supervisor, feed: Feed, host: str) -> Gateway:
    access = access_of(supervisor)
    token = await anyio.to_thread.run_sync(
        partial(gateway_token, access.environment, beyond_loopback=not is_loopback(host))
    )
    guard = Guard(
        [token.secret.get_secret_value()],
        hosts=access.hosts,
        origins=(SELF, *access.origins),
        open_paths=files(),
    )

    def judge(head: Head) -> Refusal | None:
        return guard.judge(head, anyio.current_time())

    return Gateway(
        supervisor,
        aliases=access.aliases,
        guard=judge,
        metrics=lambda: prometheus_text(supervisor.metrics()),
        console=FeedConsole(supervisor, feed),
    )


def access_of(supervisor: Supervisor) -> GatewayAccess:
    """Return how the gateway of a supervisor's configuration is reached."""
    access = supervisor.plan.gateway
    assert access is not None  # noqa: S101 - every plan that is loaded has it
    return access


def token_of() -> str:
    """Return the gateway's token; one is made if there is none yet.

    Raises:
        ConfigurationError: It cannot be read or made.
    """
    access = load().gateway
    assert access is not None  # noqa: S101 - as above
    return gateway_token(access.environment).secret.get_secret_value()


def announcement(server: Server, supervisor: Supervisor, models: tuple[str, ...]) -> list[str]:
    """Return what is said once a gateway listens."""
    urls = [f"http://{_shown(host)}:{port}" for host, port in server.addresses]
    aliases = [model for model in models if model not in supervisor.agents]
    also = f", also called {', '.join(aliases)}" if aliases else ""
    return [
        f"listening on {' and '.join(urls)}",
        f"agents: {', '.join(supervisor.agents)}{also}",
        f"for clients: OPENAI_BASE_URL={urls[0]}/v1, ANTHROPIC_BASE_URL={urls[0]}, and the token of `understudy token`",
        f"what it does is shown at {urls[0]}/",
    ]


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _until_stopped(server: Server, gateway: Gateway, feed: Feed) -> None:
    """Wait for a signal, then for all that was asked; at a second signal for nothing."""
    with anyio.open_signal_receiver(*STOPPING) as signals:
        async with anyio.create_task_group() as tasks:
            is_stopping = False
            async for _ in signals:
                if is_stopping:
                    tasks.start_soon(server.drain)  # a second call ends it now
                    continue
                is_stopping = True
                gateway.drain()
                feed.close()
                tasks.start_soon(_drain, server, tasks)


async def _drain(server: Server, tasks: TaskGroup) -> None:
    await server.drain()
    tasks.cancel_scope.cancel()
