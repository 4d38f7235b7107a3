"""A supervisor over real sockets: simulated vendors on loopback, the real SDK clients, no network."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from anyio.abc import AnyByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener
from pydantic import SecretStr

import understudy
from understudy import Agent, AgentSettings, RouteSettings, Settings, Supervisor
from understudy.simulation import Script, SimulatedServer, simulated_server
from understudy.supervisor import Hook, Tracer, background_tasks

FIXTURES = Path(__file__).parent / "fixtures"
KEY = "sk-test-0123456789"


def route_to(transport: str, server: SimulatedServer, *, key: str = KEY) -> RouteSettings:
    """Make a route to a simulated vendor."""
    url = server.anthropic_url if transport == "anthropic" else server.openai_url
    return RouteSettings(transport=transport, model=f"{transport}-model", base_url=url, api_key=SecretStr(key))


@asynccontextmanager
async def opened(
    *scripts: tuple[str, Script],
    route: dict[str, Any] | None = None,
    hooks: Iterable[Hook] = (),
    tracers: Iterable[Tracer] = (),
    **settings: Any,
) -> AsyncIterator[tuple[Agent, Supervisor, list[SimulatedServer]]]:
    """Open a supervisor with one agent whose routes are (transport, script), each with a server of its own."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(simulated_server(script)) for _, script in scripts]
        routes = [
            route_to(transport, server).model_copy(update=route or {})
            for (transport, _), server in zip(scripts, servers, strict=True)
        ]
        agent = AgentSettings(primary=routes[0], fallbacks=tuple(routes[1:]))
        configured = Settings.in_code(agents={"deriver": agent}, **settings)
        supervisor = await stack.enter_async_context(
            understudy.open_supervisor(configured, rand=lambda: 0.5, drain_for=2, hooks=hooks, tracers=tracers)
        )
        yield supervisor.agent("deriver"), supervisor, servers


@dataclass
class Place:
    """Something at an address that is no simulated vendor. `asked` counts what came in."""

    origin: str
    asked: int = 0

    def base_url(self, transport: str) -> str:
        """The base URL for a transport."""
        return self.origin if transport == "anthropic" else f"{self.origin}/v1"


Behave: TypeAlias = Callable[[AnyByteStream], Awaitable[None]]
"""What a place does with one connection."""


RECEIVES = 64 * 1024
"""Bytes that the kernel takes in for a server that does not read; by itself it would take as much as it likes."""


@asynccontextmanager
async def listening(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Place]:
    """Run a server that does `behave` with every connection, then closes it."""
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=100)
    port = plain.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - anyio's `extra`
    own = plain.listeners[0].extra(SocketAttribute.raw_socket)  # noqa: S610
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVES)
    place = Place(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    listener: Listener[Any] = TLSListener(plain, tls, standard_compatible=False) if tls else plain

    async def serve(stream: AnyByteStream) -> None:
        place.asked += 1
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                await behave(stream)

    async with listener, background_tasks() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield place


async def reset(stream: AnyByteStream) -> None:
    """Tear a connection down, with what it has not read yet."""
    own = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's `extra`
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


def self_signed() -> ssl.SSLContext:
    """Return what a server needs that has a certificate nobody vouches for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(FIXTURES / "self_signed.crt", FIXTURES / "self_signed.key")
    return context


@asynccontextmanager
async def deaf() -> AsyncIterator[Place]:
    """Listen at an address and accept nothing: the kernel connects whoever comes, and nobody reads what they write."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        yield Place(f"http://127.0.0.1:{listener.getsockname()[1]}")


@asynccontextmanager
async def full_backlog() -> AsyncIterator[Place]:
    """Listen at an address where as many wait as may: whoever knocks gets no answer at all."""
    with socket.socket() as listener, socket.socket() as only:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        only.connect(listener.getsockname())
        yield Place(f"http://127.0.0.1:{listener.getsockname()[1]}")


@asynccontextmanager
async def beside(
    place: Place, transport: str, fallback: str | None, **settings: Any
) -> AsyncIterator[tuple[Agent, Supervisor, list[SimulatedServer]]]:
    """Open a supervisor whose primary is at `place`; with a `fallback`, that transport answers well."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(simulated_server()) for _ in range(fallback is not None)]
        primary = RouteSettings(
            transport=transport,
            model=f"{transport}-model",
            base_url=place.base_url(transport),
            api_key=SecretStr(KEY),
        )
        fallbacks = tuple(route_to(fallback, server) for server in servers if fallback is not None)
        agent = AgentSettings(primary=primary, fallbacks=fallbacks)
        supervisor = await stack.enter_async_context(
            understudy.open_supervisor(
                Settings.in_code(agents={"deriver": agent}, **settings), rand=lambda: 0.5, drain_for=2
            )
        )
        yield supervisor.agent("deriver"), supervisor, servers


async def later(seconds: float, call: Callable[[], object]) -> None:
    """Call something after a while, as a task of its own."""
    await anyio.sleep(seconds)
    call()
