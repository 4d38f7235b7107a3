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

from .over_sockets import opened

Way: TypeAlias = Literal["in process", "over HTTP"]
WAYS: tuple[Way, ...] = ("in process", "over HTTP")


@dataclass
class Door:
    """Where a test comes in: a client of each vendor, and the simulated vendors behind the agent `deriver`."""

    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic
    supervisor: Supervisor
    servers: list[SimulatedServer]
    url: str = ""

    @property
    def http(self) -> httpx2.AsyncClient:
        """The HTTP client below the SDKs."""
        return self.openai._client


@asynccontextmanager
async def door(
    way: Way, *scripts: tuple[str, Script], aliases: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Door]:
    """Open a gateway in front of an agent whose routes are (transport, script)."""
    async with AsyncExitStack() as stack:
        _, supervisor, servers = await stack.enter_async_context(opened(*scripts, **options))
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
        yield Door(first, second, supervisor, servers, url)
