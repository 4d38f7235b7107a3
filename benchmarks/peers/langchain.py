"""LangChain: `ChatOpenAI(…).with_fallbacks([…])`, without retries."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ._peer import FALLBACK, KEY, Asking, Turns, main

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_core.messages import AIMessage, HumanMessage  # type: ignore[import-not-found]  # as below
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]  # only in an environment of its own


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Make a model with a fallback."""
    first, second = (
        ChatOpenAI(model=name, base_url=url, api_key=KEY, max_retries=0, use_responses_api=False)
        for name in (model, FALLBACK)
    )
    chain = first.with_fallbacks([second])
    messages = [(HumanMessage if role == "user" else AIMessage)(content) for role, content in turns]

    async def complete() -> str:
        return str((await chain.ainvoke(messages)).content)

    async def stream() -> str:
        return "".join([str(chunk.content) async for chunk in chain.astream(messages)])

    yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "langchain-openai", "langchain-core", "openai")
