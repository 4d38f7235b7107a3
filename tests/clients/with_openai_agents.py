"""The OpenAI Agents SDK: its chat-completions model and its responses model. It runs on asyncio alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

import understudy

from .contract import Contract, Facts, Look, Said
from .doors import QUESTION, Door

set_tracing_disabled(True)  # they would go to the vendor


def said(run: Any) -> Said:
    """Return what a run has come to."""
    usage = run.context_wrapper.usage
    return Said(run.final_output, usage.input_tokens, usage.output_tokens)


class TestChatCompletionsModel(Contract):
    """Over chat completions."""

    shapes = ("json_schema",)
    unknown = openai.NotFoundError
    rejected = openai.BadRequestError
    down = openai.InternalServerError

    def client(self, at: Door) -> openai.AsyncOpenAI:
        """Make the client of the vendor's SDK."""
        if at.supervisor is not None:
            return understudy.openai_client(at.supervisor)
        return openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key="any", max_retries=0)

    def model(self, at: Door) -> Model:
        """Make the model."""
        return OpenAIChatCompletionsModel(at.model, openai_client=self.client(at))

    async def chat(self, at: Door) -> Said:
        return said(await Runner.run(Agent("reader", model=self.model(at)), QUESTION))

    async def stream(self, at: Door) -> AsyncIterator[str | Said]:
        settings = ModelSettings(include_usage=True)
        run = Runner.run_streamed(Agent("reader", model=self.model(at), model_settings=settings), QUESTION)
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    yield event.data.delta
            yield said(run)
        finally:
            run.cancel()  # its own way to leave a stream

    async def tools(self, at: Door, look: Look, *, streams: bool) -> str:
        tool = function_tool(look, name_override="look", description_override="Look it up.")
        agent = Agent("reader", model=self.model(at), tools=[tool])
        if not streams:
            return str((await Runner.run(agent, QUESTION)).final_output)
        run = Runner.run_streamed(agent, QUESTION)
        async for _ in run.stream_events():
            pass
        return str(run.final_output)

    async def shape(self, at: Door, how: str) -> Any:
        run = await Runner.run(Agent("reader", model=self.model(at), output_type=Facts), QUESTION)
        return run.final_output


class TestResponsesModel(TestChatCompletionsModel):
    """Over responses."""

    def model(self, at: Door) -> Model:
        return OpenAIResponsesModel(at.model, openai_client=self.client(at))
