"""The provider actor: the task that owns one endpoint, and the messages it takes.

It opens the endpoint's client in its own task and serves its mailbox until it is stopped. It never waits for the
network in the loop: what takes time is its child. Requests do not pass here; they run in their callers' tasks under a
permit of the endpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, assert_never, final

import anyio
from anyio.abc import TaskStatus

from ..credentials import Keeper
from ..providers import ActorStoppedError, MailboxFullError
from ._endpoint import Endpoint
from ._mailbox import Mailbox, Reply


@final
@dataclass(frozen=True, slots=True)
class Drain:
    """Refuse new work and end what is in flight after `drain_for` seconds. Answered when nothing is in flight."""

    drain_for: float


@final
@dataclass(frozen=True, slots=True)
class Stop:
    """Close the client and end. Answered when it is closed."""


@final
@dataclass(frozen=True, slots=True)
class CloseAbandoned:
    """Close the streams that nobody has any more. Answered when they are closed."""


@final
@dataclass(frozen=True, slots=True)
class Renew:
    """Carry out the renewal of that number. Answered when it is over, however it ended."""

    number: int


Message: TypeAlias = Drain | CloseAbandoned | Renew | Stop


@final
class ProviderActor:
    """One incarnation of the task that owns `endpoint`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._mailbox: Mailbox[Message] = Mailbox(endpoint.name)
        self._will_sweep = self._has_crashed = False
        self._posted: set[int] = set()

    async def ask(self, message: Message) -> None:
        """Post a message and wait until it has been carried out.

        Raises:
            MailboxFullError: Too many messages wait.
            ActorStoppedError: The actor ended before it could answer.
        """
        await self._mailbox.post(message).wait()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; `task_status` is told when the client is open.

        However it ends, every sender still waiting is answered, and a renewal whose token was posted is carried to its
        end. After cancellation the client is left open, for the next incarnation or for whoever cancelled to close.

        Raises:
            Exception: The client could not be opened, or a handler has a bug.
        """
        keeper, leave = self._endpoint.keeper, None
        try:
            if keeper is not None:
                await keeper.open()
            self._endpoint.open()
            task_status.started()
            self._endpoint.swept_by(self._post_sweep)
            async with anyio.create_task_group() as children, anyio.create_task_group() as renewals:
                if keeper is not None:
                    leave = keeper.owned_by(self._post_renewal, self._endpoint.token_changed)
                    renewals.start_soon(self._child, keeper.watch)
                while True:
                    message, reply = await self._received()
                    match message:
                        case Drain(drain_for):
                            children.start_soon(self._child, self._drain, drain_for, reply)
                        case CloseAbandoned():
                            children.start_soon(self._child, self._close_abandoned, reply)
                        case Renew(number):
                            renewals.start_soon(self._child, self._renew, number, reply)
                        case Stop():
                            renewals.cancel_scope.cancel()  # not what has been posted
                            break
                        case _:
                            assert_never(message)
            await self._endpoint.close()
            self._answer(reply)
        finally:
            if leave is not None:
                leave()
            self._mailbox.close()
            for number in self._posted:
                self._renewed_by().lost(number)

    async def _child(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a task of ours, and take note if it crashes."""
        try:
            await work(*arguments)
        except Exception:
            self._has_crashed = True
            raise

    async def _received(self) -> tuple[Message, Reply[object]]:
        """Return the next message. Cancelled from outside, calls in flight end at once, though a renewal may take a
        while to its end; cancelled by a crash of one of our own tasks, they go on.
        """
        try:
            return await self._mailbox.receive()
        except anyio.get_cancelled_exc_class():
            # Which scope was cancelled does not tell: a task that is cancelled cancels its own.
            if not self._has_crashed:
                self._endpoint.stop_calls()
            raise

    def _post_sweep(self) -> None:
        """Have what was abandoned closed, by one message for all of it; where none can be posted, the end does it."""
        if self._will_sweep:
            return
        with suppress(MailboxFullError, ActorStoppedError):
            self._mailbox.post(CloseAbandoned())
            self._will_sweep = True

    def _post_renewal(self, number: int) -> None:
        """Have a renewal carried out."""
        self._mailbox.post(Renew(number))
        self._posted.add(number)

    async def _renew(self, number: int, reply: Reply[object]) -> None:
        self._posted.discard(number)
        await self._renewed_by().renew(number)
        self._answer(reply)

    def _renewed_by(self) -> Keeper:
        keeper = self._endpoint.keeper
        assert keeper is not None  # noqa: S101 - nobody else posts renewals
        return keeper

    async def _close_abandoned(self, reply: Reply[object]) -> None:
        self._will_sweep = False
        await self._endpoint.close_abandoned()
        self._answer(reply)

    async def _drain(self, drain_for: float, reply: Reply[object]) -> None:
        await self._endpoint.drain(drain_for)
        self._answer(reply)

    def _answer(self, reply: Reply[object]) -> None:
        reply.put(None)
        self._mailbox.answered(reply)
