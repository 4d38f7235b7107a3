"""LiteLLM's Router with a fallback, without retries; its cooldowns are off: every call has to have the same fate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ._peer import FALLBACK, KEY, Asking, Turns, as_dicts, main

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks for a table of prices over the network

import litellm  # type: ignore[import-not-found]  # only in an environment of its own
from litellm import Router

litellm.telemetry = False
litellm.suppress_debug_info = True


def deployment(name: str, model: str, url: str) -> dict[str, Any]:
    """Return a row of its list of models."""
    return {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": url, "api_key": KEY}}


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Make a router of two models."""
    router = Router(
        model_list=[deployment("primary", model, url), deployment("second", FALLBACK, url)],
        fallbacks=[{"primary": ["second"]}],
        num_retries=0,
        disable_cooldowns=True,
    )
    messages = as_dicts(turns)

    async def complete() -> str:
        answer = await router.acompletion(model="primary", messages=messages)
        return str(answer.choices[0].message.content)

    async def stream() -> str:
        chunks = await router.acompletion(model="primary", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "litellm", "openai")
