"""LangChain: `ChatOpenAI`, over chat completions and over responses, and `ChatAnthropic`.

LangChain itself runs on asyncio alone. In process `ChatOpenAI` takes the vendor's client; `ChatAnthropic` takes none,
and is given ours in place of the one that it would make.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import anthropic
import anyio
import anyio.to_thread
import openai
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.chat_models import AnthropicAPIError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI

import understudy

from .contract import FAUST, Contract, Facts, Look, Said
from .doors import QUESTION, Door, door


def said(message: AIMessage, text: str | None = None) -> Said:
    """Return what a message says."""
    usage: Any = message.usage_metadata or {}
    told = str(message.text) if text is None else text
    return Said(told, usage.get("input_tokens", 0), usage.get("output_tokens", 0))


class Chat(Contract):
    """What is the same for every chat model of LangChain."""

    def model(self, at: Door) -> BaseChatModel:
        """Make the chat model."""
        raise NotImplementedError

    async def chat(self, at: Door) -> Said:
        return said(await self.model(at).ainvoke(QUESTION))

    async def stream(self, at: Door) -> AsyncIterator[str | Said]:
        whole: Any = None
        async with aclosing(self.model(at).astream(QUESTION)) as chunks:
            async for chunk in chunks:
                whole = chunk if whole is None else whole + chunk
                yield str(chunk.text)
        yield said(whole)

    async def tools(self, at: Door, look: Look, *, streams: bool) -> str:
        tool = StructuredTool.from_function(look, name="look", description="Look it up.")
        model = self.model(at).bind_tools([tool])
        messages: list[BaseMessage] = [HumanMessage(QUESTION)]
        while True:
            answer: Any = None
            if streams:
                async for chunk in model.astream(messages):
                    answer = chunk if answer is None else answer + chunk
            else:
                answer = await model.ainvoke(messages)
            if not answer.tool_calls:
                return str(answer.text)
            results = [await tool.ainvoke(call) for call in answer.tool_calls]
            assert all(isinstance(result, ToolMessage) for result in results)
            messages += [answer, *results]

    async def shape(self, at: Door, how: str) -> Any:
        return await self.model(at).with_structured_output(Facts, method=how).ainvoke(QUESTION)

    async def test_from_a_thread(self, wire: str) -> None:
        """LangChain's synchronous calls are as well answered, over HTTP."""
        async with door("over HTTP", f"well.{wire}") as at:
            model = self.model(at)
            answer = await anyio.to_thread.run_sync(model.invoke, QUESTION)
            assert said(answer) == Said(FAUST, 3, 4)
            pieces = await anyio.to_thread.run_sync(lambda: [chunk.text for chunk in model.stream(QUESTION)])
            assert "".join(pieces) == FAUST


class TestChatOpenAI(Chat):
    """Over chat completions."""

    shapes = ("json_schema", "function_calling", "json_mode")
    unknown = openai.NotFoundError
    rejected = openai.BadRequestError
    down = openai.InternalServerError
    more: ClassVar[dict[str, Any]] = {}

    def model(self, at: Door) -> BaseChatModel:
        if at.supervisor is None:
            where: dict[str, Any] = {"base_url": f"{at.url}/v1", "max_retries": 0}
        else:
            client = understudy.openai_client(at.supervisor)
            where = {"async_client": client.chat.completions, "root_async_client": client}
        return ChatOpenAI(model=at.model, api_key="any", stream_usage=True, **where, **self.more)


class TestChatOpenAIOverResponses(TestChatOpenAI):
    """Over responses."""

    more: ClassVar = {"use_responses_api": True}


class TestChatAnthropic(Chat):
    """Over messages."""

    shapes = ("json_schema", "function_calling")
    unknown = anthropic.NotFoundError
    rejected = anthropic.BadRequestError
    down = AnthropicAPIError

    def model(self, at: Door) -> BaseChatModel:
        model = ChatAnthropic(
            model_name=at.model, api_key="any", base_url=at.url or None, max_retries=0, stream_usage=True
        )
        if at.supervisor is not None:
            model.__dict__["_async_client"] = understudy.anthropic_client(at.supervisor)
        return model
