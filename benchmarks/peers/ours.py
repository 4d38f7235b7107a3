"""This library: an agent with a fallback, circuits bar nobody: every call has to have the same fate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings, TextDelta, assistant, user

from ._peer import FALLBACK, KEY, Asking, Turns, main


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Open a supervisor of one agent."""
    primary = RouteSettings(transport="openai", model=model, base_url=url, api_key=SecretStr(KEY))
    fallback = RouteSettings(transport="lmstudio", model=FALLBACK, base_url=url)
    agents = {"agent": AgentSettings(primary=primary, fallbacks=(fallback,))}
    settings = Settings.in_code(agents=agents, circuit_observe_only=True)
    messages = [user(content) if role == "user" else assistant(content) for role, content in turns]
    async with understudy.open_supervisor(settings) as supervisor:
        agent = supervisor.agent("agent")

        async def complete() -> str:
            return (await agent.complete(messages)).text

        async def stream() -> str:
            async with agent.stream(messages) as events:
                return "".join([event.text async for event in events if type(event) is TextDelta])

        yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "understudy", "openai")
