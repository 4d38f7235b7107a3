"""LiteLLM as its documentation shows it: `acompletion`, without retries."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ._peer import KEY, Asking, Turns, as_dicts, main

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks for a table of prices over the network

import litellm  # type: ignore[import-not-found]  # only in an environment of its own

litellm.telemetry = False
litellm.suppress_debug_info = True


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Open nothing: its clients are kept by the module."""
    given = {"model": f"openai/{model}", "api_base": url, "api_key": KEY, "num_retries": 0, "max_retries": 0}
    messages = as_dicts(turns)

    async def complete() -> str:
        answer = await litellm.acompletion(messages=messages, **given)
        return str(answer.choices[0].message.content)

    async def stream() -> str:
        chunks = await litellm.acompletion(messages=messages, stream=True, **given)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "litellm", "openai")
