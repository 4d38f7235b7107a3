"""Providers for tests that need one that does something no simulated vendor does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import anyio
import anyio.lowlevel

from understudy import Partial, Response, Text, TextDelta, Usage, Verdict
from understudy.providers import AttemptError, ContentEvent, Failure, Request, Upstream, attempt_error


class Fake:
    """A provider that a test makes its own by what it overrides."""

    async def complete(self, request: Request) -> Response:
        """Answer; overridden."""
        raise NotImplementedError

    async def stream(self, request: Request) -> Upstream:
        """Answer in pieces; overridden."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close nothing."""


Piece: TypeAlias = ContentEvent | Response | Exception | None
"""What comes: content, the end of the answer, an error, or a mere sign of life."""


class Pieces(Fake):
    """A provider whose streams bring `(seconds, piece)` one after the other; after the last one nothing more comes.

    Each request gets the next list, the last one again and again. `open` counts the streams that are not closed.
    """

    def __init__(self, *streams: Sequence[tuple[float, Piece]]) -> None:
        self._streams = list(streams)
        self.asked_at: list[float] = []
        self.open = self.abandoned = 0

    async def stream(self, request: Request) -> Upstream:
        """Answer in pieces; an error that is first comes instead of them."""
        self.asked_at.append(anyio.current_time())
        pieces = list(self._streams.pop(0) if len(self._streams) > 1 else self._streams[0])
        await anyio.lowlevel.checkpoint()
        return PiecesUpstream(self, request, pieces)


class PiecesUpstream:
    """One stream of `Pieces`."""

    def __init__(self, provider: Pieces, request: Request, pieces: list[tuple[float, Piece]]) -> None:
        self._provider, self._model, self._pieces = provider, request.model, pieces
        self._here: list[ContentEvent] = []
        self._text = ""
        self._is_open, self._is_left = True, False
        self._closed = anyio.Event()  # by whoever leaves it, or by a reader who was cancelled
        self.response: Response | None = None
        provider.open += 1

    @property
    def partial(self) -> Partial:
        return Partial("openai", self._model, self._text)

    def take(self) -> ContentEvent | None:
        return self._here.pop(0) if self._here else None

    async def read(self) -> None:
        assert not self._here, "read before all was taken"
        seconds, piece = self._pieces.pop(0) if self._pieces else (float("inf"), None)
        try:
            with anyio.move_on_after(seconds):
                await self._closed.wait()
        except BaseException:
            self._closed.set()
            raise
        if self._closed.is_set():
            raise anyio.ClosedResourceError
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, Response):
            self.response = piece
        elif piece is not None:
            self._here.append(piece)
            self._text += piece.text if isinstance(piece, TextDelta) else ""

    def abandon(self) -> None:
        assert self._is_open
        self._provider.abandoned += not self._is_left
        self._is_left = True
        self._closed.set()

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closed.set()
            self._provider.open -= 1
            if self.response is None:  # else it is at its end
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)


def said(*words: str, every: float = 1.0, after: float = 1.0) -> list[tuple[float, Piece]]:
    """Make the pieces of an answer that says words, the first after some seconds, and then ends."""
    pieces: list[tuple[float, Piece]] = [(every, TextDelta(word)) for word in words]
    pieces[0] = (after, pieces[0][1])
    answer = Response((Text("".join(words), "openai"),), "a-model", "openai", "stop", Usage(3, len(words)))
    return [*pieces, (0.0, answer)]


def broken(verdict: Verdict) -> AttemptError:
    """Make the error of an attempt that failed so."""
    return attempt_error(Failure(transport="openai", model="a-model", verdict=verdict, said="so", status=200))
