"""A stream: an answer that is coming in through an HTTP client of ours, from bytes to content.

One read of the network at a time, by whoever wants the next content: nothing is read ahead, so that a slow reader
slows the provider down and not this process. What the bytes mean stands in the wires' files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, cast, final

import anyio

from ._body import HasBody, body_of
from ._failures import Failed, Failures, Head
from ._http import GIVE_UP_WITHIN
from ._judge import EVIDENCE_LIMIT
from ._prelude import Prelude
from ._relay import DONE, as_sent
from ._request import Response
from ._sse import Event, SSEDecoder
from ._stream import ContentEvent, Partial, Relayed
from ._verdicts import Verdict
from ._wire import Reading, WireError, json_object


class Arrived(Head, HasBody, Protocol):
    """An answer whose head has come, and that is to be closed."""

    async def aclose(self) -> None:
        """Close the connection, unless the body was read to its end."""


AFTER_THE_ANSWER: Final = 1.0
"""Seconds of waiting for what may follow a whole answer (usage, the mark of the end; chosen: nobody should notice)."""

AFTER_THE_END: Final = 0.1
"""Seconds of waiting for the end of a body whose stream has ended, so that its connection can be used again (as
`openai` does)."""


@final
class GivenOn:
    """Events that are given on as they came. Until the first content they are held back: another provider may have to
    begin anew.

    Args:
        with_usage: The client asked for the tokens. If it did not, it is not told what we have asked for.
    """

    __slots__ = ("_events", "_has_begun", "_is_content", "_with_usage")

    def __init__(self, *, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._events: list[Event] = []
        self._is_content = self._has_begun = False

    def add(self, event: Event, *, is_content: bool, is_late: bool) -> None:
        """Take an event; a `late` one came after the answer was complete."""
        if not is_late or self._with_usage or event[1].strip() == DONE:
            self._events.append(event)
            self._is_content |= is_content

    def take(self, *, is_over: bool) -> Relayed | None:
        """Return what may be handed out, if there is any; once the answer is whole, all."""
        self._has_begun |= self._is_content or is_over
        if not self._events or not self._has_begun:
            return None
        relayed = Relayed(as_sent(self._events), self._is_content)
        self._events, self._is_content = [], False
        return relayed


@final
class Incoming:
    """See `Upstream`.

    Args:
        answer: The head of the answer; its body has not been read.
        reading: What the body means, so far.
        finish: Completes the response by what the body does not say.
        shown: What is handed out of some content.
        given_on: Whole events are handed out as they came, by these terms, in place of their content.
    """

    def __init__(
        self,
        answer: Arrived,
        reading: Reading,
        failures: Failures,
        model: str,
        finish: Callable[[Response], Response],
        *,
        shown: Callable[[Sequence[ContentEvent]], Sequence[ContentEvent]] | None = None,
        given_on: GivenOn | None = None,
    ) -> None:
        self._answer: Arrived | None = answer
        self._body, self._decoder, self._reading = body_of(answer), SSEDecoder(), reading
        self._failures, self._model, self._finish = failures, model, finish
        self._shown, self._given_on = shown, given_on
        self._prelude: Prelude | None = Prelude()  # until the first content
        self._events: deque[ContentEvent] = deque()
        self._response: Response | None = None
        self._failed: Failed | None = None
        self._is_closed = False
        self._patience = AFTER_THE_ANSWER

    @property
    def response(self) -> Response | None:
        """See `Upstream.response`."""
        return self._response

    @property
    def partial(self) -> Partial:
        """See `Upstream.partial`."""
        return replace(self._reading.partial, transport=self._failures.transport)  # the reading knows the issuer

    def take(self) -> ContentEvent | None:
        """See `Upstream.take`."""
        return self._events.popleft() if self._events else None

    async def read(self) -> None:
        """See `Upstream.read`. While there is content to take it does nothing.

        Raises:
            AttemptError: The answer failed.
            OSError: The machine is at fault.
            anyio.ClosedResourceError: The stream was closed before its end.
        """
        if self._events or self._response is not None:
            return
        if self._failed is None and not self._is_closed:
            await self._read()
            if self._events or self._response is not None:
                return
        failed, self._failed = self._failed, None  # kept, it would hold, by its frames, what holds it
        if failed is not None:
            self._is_closed = True
            failed.throw()
        if self._is_closed:
            raise anyio.ClosedResourceError

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        self._is_closed = True
        await self._release()

    def abandon(self) -> None:
        """Shut the connection down without waiting, where nobody can: the provider sees it at once.

        Its place in the pool is free after `aclose`.
        """
        self._is_closed = True
        if self._answer is not None:
            self._body.drop()

    async def _release(self) -> None:
        """Let go of the connection, and of the request with it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            with anyio.move_on_after(GIVE_UP_WITHIN, shield=True):
                await answer.aclose()

    async def _read(self) -> None:
        answer = self._answer
        assert answer is not None  # noqa: S101 - it is let go at the end, or when closed
        try:
            await self._read_on()
        except Exception as error:  # noqa: BLE001 - the border: whatever ends a stream gets a verdict
            self._failed = self._conclude(answer, error)
            await self._release()
        except BaseException:
            await self.aclose()
            raise
        else:
            if self._response is not None:
                await self._release()

    async def _read_on(self) -> None:
        reading, is_over = self._reading, False
        if reading.is_complete:
            is_over = not await self._read_the_rest()
        else:
            self._decode(await self._body.read())
        if reading.response is None and (is_over or self._body.is_at_end):
            self._end()
        if reading.response is not None:
            self._response = self._finish(reading.response)
            if not is_over:
                await self._read_to_the_end()

    def _decode(self, part: bytes) -> None:
        events = self._decoder.feed(part)
        if self._given_on is None:
            self._read_events(events)
        else:
            try:
                self._read_events(events, self._given_on)
            finally:  # what came before an error counts
                if (relayed := self._given_on.take(is_over=self._reading.response is not None)) is not None:
                    self._events.append(cast("ContentEvent", relayed))  # as its `Request` wants it
        if self._reading.response is None:
            self._decoder.check()

    def _read_events(self, events: Sequence[Event], given_on: GivenOn | None = None) -> None:
        reading, queue = self._reading, self._events.extend
        for number, (event, data) in enumerate(events, 1):
            is_complete, foreign = reading.is_complete, reading.foreign
            try:
                content = reading.feed(event, data)
            except WireError as error:
                self._take_foreign(error)
                content = ()
            is_content = bool(content) or reading.foreign > foreign
            if is_content:
                self._prelude = None
            is_new = self._prelude is None or self._prelude.add((event, data))
            if given_on is not None and is_new:
                given_on.add((event, data), is_content=is_content, is_late=is_complete)
            elif content:
                queue(content if self._shown is None else self._shown(content))
            if reading.response is not None:
                if reading.extra or number < len(events):
                    self._failures.tell_extra()
                return

    def _end(self) -> None:
        try:
            self._reading.end()
        except WireError as error:
            self._take_foreign(error)

    def _take_foreign(self, error: WireError) -> None:
        """Take an answer without anything that has a neutral form, where it is given on as it came.

        Raises:
            WireError: It is none, or is not given on.
        """
        if self._given_on is None or error.answer is None:
            raise error
        self._reading.response = error.answer

    async def _read_the_rest(self) -> bool:
        """Read more of what follows the answer; say whether it came in time."""
        began_at = anyio.current_time()
        with anyio.move_on_after(self._patience) as waiting:
            self._decode(await self._body.read())
        self._patience -= anyio.current_time() - began_at  # not the time that the reader takes
        return not waiting.cancelled_caught

    def _conclude(self, answer: Arrived, error: Exception) -> Failed | None:
        """Return what it means that the stream ended by `error`: nothing, once the answer is whole, which is kept."""
        reading = self._reading
        if reading.is_complete and self._response is None:
            try:
                self._end()
            except WireError as none:
                error = none
            if reading.response is not None:
                self._response = self._finish(reading.response)
        if self._response is not None or self._is_closed:
            return None
        return self._failures.interrupted(self._model, answer, error)

    async def _read_to_the_end(self) -> None:
        """Read the body's end, if it comes at once; what it holds is ignored."""
        with anyio.move_on_after(AFTER_THE_END):
            while not self._body.is_at_end:
                await self._body.read()


async def read_page(answer: Arrived) -> bytes:
    """Read of the body of an answer as much as is looked at, and close it.

    Raises:
        BodyError: It is not packed as it says.
        httpx2.TransportError: The connection failed.
    """
    body, read = body_of(answer), b""
    try:
        while not body.is_at_end and len(read) <= EVIDENCE_LIMIT:
            read += await body.read()
    finally:
        with anyio.move_on_after(GIVE_UP_WITHIN, shield=True):
            await answer.aclose()
    return read


def no_stream(content: bytes, content_type: str) -> WireError:
    """Say what came where a stream was asked for."""
    try:
        json_object(content, content_type)
    except WireError as error:
        return error
    return WireError(Verdict.MALFORMED, f"the answer is JSON instead of a stream ({content_type})")
