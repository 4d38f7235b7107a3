"""instructor over the SDKs of OpenAI and Anthropic, on asyncio and on trio.

It insists on SDKs that are older than those that understudy needs, so it is asked over HTTP only. It runs no tools:
where it makes the model call one, that is a way to a shape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import instructor
import openai
import pytest
from instructor import Mode
from instructor.core.exceptions import InstructorRetryException

from .contract import Contract, Facts, Said
from .doors import QUESTION, Door, Way, door

GOETHE = Facts(name="Goethe", born=1749)


class Instructed(Contract):
    """What is the same for every SDK below it."""

    ways = ("over HTTP",)
    backends = ("asyncio", "trio")
    test_tools = None  # it has no such loop

    def client(self, at: Door, mode: Mode | None = None) -> Any:
        """Make its client."""
        raise NotImplementedError

    def said(self, whole: Any) -> Said:
        """Return what a completion says."""
        raise NotImplementedError

    async def chat(self, at: Door) -> Said:
        return self.said(await self.client(at).create(response_model=None, **self.asked(at)))

    def asked(self, at: Door) -> dict[str, Any]:
        """Return what is asked."""
        return {"model": at.model, "messages": [{"role": "user", "content": QUESTION}], "max_retries": 1}

    async def shape(self, at: Door, how: str) -> Any:
        facts = await self.client(at, Mode[how]).create(response_model=Facts, **self.asked(at))
        return Facts(**facts.model_dump())  # it makes a class of its own of it

    async def test_a_shape_in_the_making(self, way: Way, wire: str, how: str) -> None:
        """A partial object grows as the stream comes, and ends as the whole one; each of several comes by itself."""
        async with door(way, f"shaped.{wire}") as at:
            client = self.client(at, Mode[how])
            made = [facts async for facts in client.create_partial(response_model=Facts, **self.asked(at))]
            assert Facts(**made[-1].model_dump()) == GOETHE

    async def test_usage_beside_a_shape(self, way: Way, wire: str, how: str) -> None:
        """The whole completion stands beside the object."""
        async with door(way, f"shaped.{wire}") as at:
            facts, whole = await self.client(at, Mode[how]).create_with_completion(
                response_model=Facts, **self.asked(at)
            )
            assert Facts(**facts.model_dump()) == GOETHE
            assert self.said(whole).made == 4

    @pytest.mark.parametrize(("scenario", "status"), [("rejects", 400), ("lone", 503)])
    async def test_errors_in_place_of_a_shape(self, way: Way, wire: str, scenario: str, status: int) -> None:
        """Its own error comes of the SDK's, when it has tried as often as it may."""
        async with door(way, f"{scenario}.{wire}") as at:
            with pytest.raises(InstructorRetryException) as caught:
                await self.shape(at, "TOOLS")
            causes = list[BaseException]()
            cause: BaseException | None = caught.value
            while cause is not None:
                causes.append(cause)
                cause = cause.__cause__ or cause.__context__
            assert status in {getattr(each, "status_code", None) for each in causes}


class TestOpenAI(Instructed):
    """Over chat completions."""

    shapes = ("TOOLS", "JSON", "JSON_SCHEMA", "MD_JSON")
    unknown = openai.NotFoundError
    rejected = openai.BadRequestError
    down = openai.InternalServerError

    def client(self, at: Door, mode: Mode | None = None) -> Any:
        sdk = openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key="any", max_retries=0)
        return instructor.from_openai(sdk, mode=mode or Mode.TOOLS)

    def said(self, whole: Any) -> Said:
        return Said(whole.choices[0].message.content, whole.usage.prompt_tokens, whole.usage.completion_tokens)

    async def stream(self, at: Door) -> AsyncIterator[str | Said]:
        text, usage = "", None
        options = {"stream": True, "stream_options": {"include_usage": True}}
        async with await self.client(at).create(response_model=None, **options, **self.asked(at)) as chunks:
            async for chunk in chunks:
                usage = chunk.usage or usage
                piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
                text += piece
                yield piece
        assert usage is not None
        yield Said(text, usage.prompt_tokens, usage.completion_tokens)


class TestAnthropic(Instructed):
    """Over messages."""

    shapes = ("TOOLS", "JSON")
    unknown = anthropic.NotFoundError
    rejected = anthropic.BadRequestError
    down = anthropic.InternalServerError

    def client(self, at: Door, mode: Mode | None = None) -> Any:
        sdk = anthropic.AsyncAnthropic(base_url=at.url, api_key="any", max_retries=0)
        return instructor.from_anthropic(sdk, mode=mode or Mode.TOOLS)

    def asked(self, at: Door) -> dict[str, Any]:
        return {**super().asked(at), "max_tokens": 100}

    def said(self, whole: Any) -> Said:
        text = "".join(block.text for block in whole.content if block.type == "text")
        return Said(text, whole.usage.input_tokens, whole.usage.output_tokens)

    async def stream(self, at: Door) -> AsyncIterator[str | Said]:
        text, given, made = "", 0, 0
        async with await self.client(at).create(response_model=None, stream=True, **self.asked(at)) as events:
            async for event in events:
                if event.type == "message_start":
                    given = event.message.usage.input_tokens
                elif event.type == "message_delta":
                    given, made = event.usage.input_tokens or given, event.usage.output_tokens
                elif event.type == "content_block_delta":
                    text += event.delta.text
                    yield event.delta.text
        yield Said(text, given, made)
