"""What every client must get from the gateway, whichever way it asks and whichever wire the provider speaks.

A family says in a subclass of `Contract` how its framework does each thing; `conftest.py` asks it in every way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import anyio
import pytest
from pydantic import BaseModel

from .doors import QUESTION, Door, Way, door

FAUST = "Johann Wolfgang von Goethe."
ENDS_WITHIN = 1.0
"""Seconds in which a request ends upstream when its caller has left."""


class Facts(BaseModel, frozen=True):
    """An answer in a shape."""

    name: str
    born: int


MADE_UP = Facts(name=QUESTION, born=1)
"""What the simulated model says where it is made to call some tool, but none by name."""


@dataclass(frozen=True)
class Said:
    """A whole answer, and the tokens that were counted for it."""

    text: str
    given: int
    made: int


Look: TypeAlias = Callable[[str], str]
"""The tool that the model has."""


class Contract:
    """What must be true of a client.

    Attributes:
        ways: How it can ask.
        backends: The event loops that its framework runs on.
        shapes: The framework's ways to an answer in a shape.
        is_stream_counted: Whether the framework tells what a stream has cost.
        unknown: What it raises for a model that is none, `rejected` for a request that the provider refuses with a 400,
            `down` for a lone provider that answers 503: whatever it raises for the vendor.
    """

    pytestmark = pytest.mark.anyio
    ways: ClassVar[tuple[Way, ...]] = ("over HTTP", "in process")
    backends: ClassVar[tuple[str, ...]] = ("asyncio",)
    shapes: ClassVar[tuple[str, ...]]
    is_stream_counted: ClassVar[bool] = True
    unknown: ClassVar[type[Exception]]
    rejected: ClassVar[type[Exception]]
    down: ClassVar[type[Exception]]

    # ---- how the framework does it

    async def chat(self, at: Door) -> Said:
        """Ask the question, and return the whole answer."""
        raise NotImplementedError

    def stream(self, at: Door) -> AsyncIterator[str | Said]:
        """Ask the question, and return the pieces of the answer's text, then all that was said. Closing it leaves."""
        raise NotImplementedError

    async def tools(self, at: Door, look: Look, *, streams: bool) -> str:
        """Ask the question with a tool `look(of: str)`, run the whole loop, and return the text at its end."""
        raise NotImplementedError

    async def shape(self, at: Door, how: str) -> Any:
        """Ask for `Facts` in one of the ways, and return them."""
        raise NotImplementedError

    def status(self, error: Any) -> int:
        """Return the HTTP status that an error of the framework's tells."""
        status: int = error.status_code
        return status

    # ---- what must be true

    async def test_a_chat(self, way: Way, wire: str) -> None:
        """The text, and the usage as the provider counted it."""
        async with door(way, f"well.{wire}") as at:
            assert await self.chat(at) == Said(FAUST, 3, 4)

    async def test_a_stream(self, way: Way, wire: str) -> None:
        """Piece by piece, and the same usage."""
        async with door(way, f"well.{wire}") as at:
            *pieces, said = await everything(self.stream(at))
            assert len([piece for piece in pieces if piece]) > 1
            assert "".join(map(str, pieces)) == FAUST
            assert said == (Said(FAUST, 3, 4) if self.is_stream_counted else Said(FAUST, 0, 0))

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    async def test_tools(self, way: Way, wire: str, streams: bool) -> None:
        """The model asks for a tool, the tool is run once, and the model answers with what it gave."""
        calls = list[str]()

        def look(of: str) -> str:
            calls.append(of)
            return "Goethe"

        async with door(way, f"tools.{wire}") as at:
            before = await at.upstream()
            assert await self.tools(at, look, streams=streams) == f"{QUESTION}\nGoethe"
            assert calls == [QUESTION]
            assert sum((await at.upstream()).asked) - sum(before.asked) == 2

    async def test_a_shape(self, way: Way, wire: str, how: str) -> None:
        """The answer is an object of the type that was asked for."""
        async with door(way, f"shaped.{wire}") as at:
            assert await self.shape(at, how) in {Facts(name="Goethe", born=1749), MADE_UP}

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    async def test_a_model_that_is_none(self, way: Way, wire: str, streams: bool) -> None:
        """It is a 404 that says which models there are, and no provider is asked."""
        async with door(way, f"well.{wire}", model="nobody") as at:
            before = await at.upstream()
            with pytest.raises(self.unknown) as caught:
                await self._ask(at, streams=streams)
            assert self.status(caught.value) == 404
            assert f"well.{wire}" in str(caught.value)
            assert await at.upstream() == before

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    async def test_a_request_at_fault(self, way: Way, wire: str, streams: bool) -> None:
        """What the provider refuses with a 400 is one for the client, too."""
        async with door(way, f"rejects.{wire}") as at:
            with pytest.raises(self.rejected) as caught:
                await self._ask(at, streams=streams)
            assert self.status(caught.value) == 400

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    async def test_a_lone_provider_that_is_down(self, way: Way, wire: str, streams: bool) -> None:
        """Its 503 is one for the client, too."""
        async with door(way, f"lone.{wire}") as at:
            with pytest.raises(self.down) as caught:
                await self._ask(at, streams=streams)
            assert self.status(caught.value) == 503

    async def test_a_hand_over_is_not_seen(self, way: Way, wire: str) -> None:
        """The primary is down: a whole answer and a stream come from the fallback, and nothing tells."""
        async with door(way, f"down.{wire}") as at:
            before = await at.upstream()
            assert await self.chat(at) == Said(FAUST, 3, 4)
            *pieces, _ = await everything(self.stream(at))
            assert "".join(map(str, pieces)) == FAUST
            after = await at.upstream()
            assert [now - then for now, then in zip(after.asked, before.asked, strict=True)] == [2, 2]

    async def test_leaving_a_stream(self, way: Way, wire: str) -> None:
        """Who closes a stream in its middle ends the request upstream, within a second."""
        async with door(way, f"slow.{wire}") as at:
            before = await at.upstream()
            with anyio.fail_after(10):
                async with aclosing(self.stream(at)) as stream:  # type: ignore[type-var] # a generator, in every family
                    assert str(await anext(content(stream))).strip() == "one"
                    assert (await at.upstream()).in_flight == 1
                await at.left_within(ENDS_WITHIN, before)

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    async def test_being_cancelled(self, way: Way, wire: str, streams: bool) -> None:
        """Who is cancelled while they wait for an answer, or for the next piece of one, ends the request upstream."""
        async with door(way, f"slow.{wire}") as at:
            before = await at.upstream()
            with anyio.move_on_after(10) as leaving:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._leave_when_asked, at, leaving)
                    await self._ask(at, streams=streams)
            assert leaving.cancel_called
            await at.left_within(ENDS_WITHIN, before)

    async def _ask(self, at: Door, *, streams: bool) -> None:
        if streams:
            await everything(self.stream(at))
        else:
            await self.chat(at)

    async def _leave_when_asked(self, at: Door, leaving: anyio.CancelScope) -> None:
        while not (await at.upstream()).in_flight:  # noqa: ASYNC110 - it happens in another process
            await anyio.sleep(0.02)
        await anyio.sleep(0.3)  # so that a stream is in its middle
        leaving.cancel()


async def everything(stream: AsyncIterator[str | Said]) -> list[str | Said]:
    """Read a stream to its end."""
    return [piece async for piece in stream]


async def content(stream: AsyncIterator[str | Said]) -> AsyncIterator[str | Said]:
    """Read the pieces that are not empty."""
    async for piece in stream:
        if piece:
            yield piece
