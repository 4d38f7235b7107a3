"""TensorZero's gateway, embedded: a model of two providers, routed in order, without observability or analytics."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tensorzero import AsyncTensorZeroGateway  # type: ignore[import-not-found]  # only in an environment of its own

from ._peer import FALLBACK, Asking, Turns, as_dicts, main

CONFIGURATION = """
[gateway]
disable_pseudonymous_usage_analytics = true
observability.enabled = false

[models.agent]
routing = ["primary", "second"]

[models.agent.providers.primary]
type = "openai"
model_name = "{model}"
api_base = "{url}/"
api_key_location = "none"

[models.agent.providers.second]
type = "openai"
model_name = "{fallback}"
api_base = "{url}/"
api_key_location = "none"
"""


@asynccontextmanager
async def opened(url: str, model: str, turns: Turns) -> AsyncIterator[Asking]:
    """Start the gateway within this process."""
    given: Any = {"messages": as_dicts(turns)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensorzero.toml"
        path.write_text(CONFIGURATION.format(model=model, url=url, fallback=FALLBACK))
        gateway = AsyncTensorZeroGateway.build_embedded(config_file=str(path), async_setup=False)

    async def complete() -> str:
        answer = await gateway.inference(model_name="agent", input=given)
        return str(answer.content[0].text)

    async def stream() -> str:
        said: list[str] = []
        async for chunk in await gateway.inference(model_name="agent", input=given, stream=True):
            said += [part.text for part in chunk.content]
        return "".join(said)

    yield Asking(complete, stream)


if __name__ == "__main__":
    main(opened, "tensorzero")
