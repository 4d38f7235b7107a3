"""How actors talk: a bounded mailbox, and a reply that is given exactly once.

A message is posted without waiting; a full mailbox says so at once. Whoever asks waits on the reply, never on the
mailbox. When the actor ends, however it ends, everyone still waiting is answered with `ActorStoppedError`.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar, final

import anyio

from ..providers import ActorStoppedError, MailboxFullError

MessageT = TypeVar("MessageT")
AnswerT = TypeVar("AnswerT")

CAPACITY = 64
"""Messages that may wait (chosen; see R-LS-1: joining a renewal needs no message of its own)."""


@final
class Reply(Generic[AnswerT]):
    """The place for one answer. Putting it never waits and never raises; the first answer stands."""

    __slots__ = ("_answer", "_done", "_error")

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._answer: AnswerT | None = None
        self._error: Exception | None = None

    def put(self, answer: AnswerT) -> None:
        """Answer."""
        if not self._done.is_set():
            self._answer = answer
            self._done.set()

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    async def wait(self) -> AnswerT:
        """Wait for the answer and return it, or raise the error that it is. Several may wait."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]  # put() was called with an AnswerT


@final
class Mailbox(Generic[MessageT]):
    """A bounded queue of messages with one reader, each with the reply its sender waits for.

    Args:
        owner: The actor's name, for errors.
    """

    def __init__(self, owner: str, *, capacity: int = CAPACITY) -> None:
        self._owner, self._capacity = owner, capacity
        self._waiting: deque[tuple[MessageT, Reply[object]]] = deque()
        self._outstanding: set[Reply[object]] = set()
        self._arrived = anyio.Event()
        self._closed = False

    def post(self, message: MessageT) -> Reply[object]:
        """Leave a message and return the place where its answer will be.

        Raises:
            MailboxFullError: As many messages are waiting as the mailbox takes.
            ActorStoppedError: The actor has ended.
        """
        if self._closed:
            raise ActorStoppedError(self._owner)
        if len(self._waiting) >= self._capacity:
            raise MailboxFullError(self._owner, self._capacity)
        reply: Reply[object] = Reply()
        self._outstanding.add(reply)
        self._waiting.append((message, reply))
        self._arrived.set()
        return reply

    async def receive(self) -> tuple[MessageT, Reply[object]]:
        """Wait for the next message; returns it with the reply it is owed. Only the owner calls this."""
        while not self._waiting:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()

    def answered(self, reply: Reply[object]) -> None:
        """Forget a reply that has been given."""
        self._outstanding.discard(reply)

    def close(self) -> None:
        """Accept nothing more, and fail every reply that is still owed. Closing twice does nothing."""
        self._closed = True
        self._waiting.clear()
        outstanding, self._outstanding = self._outstanding, set()
        for reply in outstanding:
            reply.fail(ActorStoppedError(self._owner))
