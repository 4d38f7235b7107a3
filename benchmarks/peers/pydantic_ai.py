"""pydantic-ai: an `Agent` over a `FallbackModel`, its clients without retries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent  # type: ignore[import-not-found]  # only in an environment of its own
from pydantic_ai.messages import (  # type: ignore[import-not-found]  # as above
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.models.fallback import FallbackModel  # type: ignore[import-not-found]  # as above
from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found]  # as above
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]  # as above

from ._peer import FALLBACK, KEY, Asking, Turns, main


def message(role: str, content: str) -> Any:
    """Return a turn in its types."""
    return ModelRequest([UserPromptPart(content)]) if role == "user" else ModelResponse([TextPart(content)])


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Make an agent of a model with a fallback."""
    async with AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        provider = OpenAIProvider(openai_client=client)
        agent = Agent(FallbackModel(*(OpenAIChatModel(name, provider=provider) for name in (model, FALLBACK))))
        *before, (_, question) = turns
        history = [message(role, content) for role, content in before]

        async def complete() -> str:
            return str((await agent.run(question, message_history=history)).output)

        async def stream() -> str:
            async with agent.run_stream(question, message_history=history) as answer:
                return "".join([text async for text in answer.stream_text(delta=True, debounce_by=None)])

        yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "pydantic-ai-slim", "openai")
