"""pydantic-ai: its chat-completions and responses models of OpenAI, and its Anthropic model.

An agent of its runs on asyncio alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

import understudy

from .contract import Contract, Facts, Look, Said
from .doors import QUESTION, Door

SHAPES = {"tool": ToolOutput, "native": NativeOutput, "prompted": PromptedOutput}


def said(text: str, usage: Any) -> Said:
    """Return what was said, and its usage."""
    return Said(text, usage.input_tokens, usage.output_tokens)


class Modelled(Contract):
    """What is the same for every model of pydantic-ai."""

    shapes = tuple(SHAPES)
    unknown = rejected = down = ModelHTTPError

    def model(self, at: Door) -> Model:
        """Make the model."""
        raise NotImplementedError

    async def chat(self, at: Door) -> Said:
        run = await Agent(self.model(at)).run(QUESTION)
        return said(run.output, run.usage)

    async def stream(self, at: Door) -> AsyncIterator[str | Said]:
        text = ""
        async with Agent(self.model(at)).run_stream(QUESTION) as run:
            async for piece in run.stream_text(delta=True, debounce_by=None):
                text += piece
                yield piece
            yield said(text, run.usage)

    async def tools(self, at: Door, look: Look, *, streams: bool) -> str:
        agent = Agent(self.model(at), tools=[look])
        if not streams:
            return (await agent.run(QUESTION)).output
        async with agent.run_stream(QUESTION) as run:
            return await run.get_output()

    async def shape(self, at: Door, how: str) -> Any:
        run = await Agent(self.model(at), output_type=SHAPES[how](Facts)).run(QUESTION)
        return run.output


class TestOpenAIChatModel(Modelled):
    """Over chat completions."""

    def provider(self, at: Door) -> OpenAIProvider:
        """Make the provider: of the gateway's address, or of the client that is in the process."""
        if at.supervisor is not None:
            return OpenAIProvider(openai_client=understudy.openai_client(at.supervisor))
        return OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key="any", max_retries=0))

    def model(self, at: Door) -> Model:
        return OpenAIChatModel(at.model, provider=self.provider(at))


class TestOpenAIResponsesModel(TestOpenAIChatModel):
    """Over responses."""

    def model(self, at: Door) -> Model:
        return OpenAIResponsesModel(at.model, provider=self.provider(at))


class TestAnthropicModel(Modelled):
    """Over messages."""

    def model(self, at: Door) -> Model:
        if at.supervisor is not None:
            client = understudy.anthropic_client(at.supervisor)
        else:
            client = anthropic.AsyncAnthropic(base_url=at.url, api_key="any", max_retries=0)
        profile = ModelProfile(supports_json_schema_output=True)  # it knows what a model can by its vendor's name
        return AnthropicModel(at.model, provider=AnthropicProvider(anthropic_client=client), profile=profile)
