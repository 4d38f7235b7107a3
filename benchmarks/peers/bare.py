"""The OpenAI SDK alone, without retries; its fallback is an `except`, as a program would write it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai

from ._peer import FALLBACK, KEY, Asking, Turns, as_dicts, main


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Open a client for each route."""
    messages = as_dicts(turns)
    async with (
        openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as first,
        openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as second,
    ):

        async def complete() -> str:
            try:
                answer = await first.chat.completions.create(model=model, messages=messages)
            except openai.APIError:
                answer = await second.chat.completions.create(model=FALLBACK, messages=messages)
            return answer.choices[0].message.content or ""

        async def stream() -> str:
            async with await first.chat.completions.create(model=model, messages=messages, stream=True) as chunks:
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

        yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "openai")
