"""A gateway for tests: agents over simulated vendors, asked through the vendors' own SDKs, in process or over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anthropic
import httpx2
import openai

import understudy
from understudy import Supervisor
from understudy.gateway import Gateway, serve
from understudy.simulation import Script, SimulatedServer

from .over_sockets import Place, beside, opened

Way: TypeAlias = Literal["in process", "over HTTP"]
WAYS: tuple[Way, ...] = ("in process", "over HTTP")


@dataclass
class Door:
    """Where a test comes in: a client of each vendor, and the simulated vendors behind the agent `deriver`."""

    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic
    url: str
    supervisor: Supervisor
    servers: list[SimulatedServer]

    @property
    def http(self) -> httpx2.AsyncClient:
        """The HTTP client below the SDKs."""
        return self.openai._client


@asynccontextmanager
async def door(
    way: Way, *scripts: tuple[str, Script], aliases: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Door]:
    """Open a gateway in front of an agent whose routes are (transport, script)."""
    async with opened(*scripts, **options) as (_, supervisor, servers), door_of(way, supervisor, aliases) as both:
        yield Door(*both, supervisor, servers)


@asynccontextmanager
async def door_beside(place: Place, transport: str, fallback: str | None) -> AsyncIterator[Door]:
    """Open a gateway in front of an agent whose primary is at `place`; with a `fallback`, that one answers well."""
    async with (
        beside(place, transport, fallback) as (_, supervisor, servers),
        door_of("in process", supervisor) as both,
    ):
        yield Door(*both, supervisor, servers)


@asynccontextmanager
async def door_of(
    way: Way, supervisor: Supervisor, aliases: dict[str, str] | None = None
) -> AsyncIterator[tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic, str]]:
    """Open a gateway in front of a supervisor; give a client of each vendor, and its address if it has one."""
    async with AsyncExitStack() as stack:
        if way == "in process":
            first, second, url = understudy.openai_client(supervisor), understudy.anthropic_client(supervisor), ""
        else:
            server = await stack.enter_async_context(serve(Gateway(supervisor, aliases=aliases)))
            host, port = server.address
            url = f"http://{host}:{port}"
            first = openai.AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)
            second = anthropic.AsyncAnthropic(
                api_key="any", base_url=url, max_retries=0, open_telemetry={"traces": False, "propagation": False}
            )
        stack.push_async_callback(first.close)
        stack.push_async_callback(second.close)
        yield first, second, url
