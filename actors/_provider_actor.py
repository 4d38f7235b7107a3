"""The provider actor: the task that owns one endpoint, and the messages it takes.

It opens the endpoint's client in its own task and serves its mailbox until it is stopped. It never waits for the
network in the loop: what takes time is its child. Requests do not pass here; they run in their callers' tasks under a
permit of the endpoint.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, assert_never, final

import anyio
from anyio.abc import TaskStatus

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


Message: TypeAlias = Drain | CloseAbandoned | Stop


@final
class ProviderActor:
    """One incarnation of the task that owns `endpoint`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._mailbox: Mailbox[Message] = Mailbox(endpoint.name)
        self._will_sweep = False

    async def ask(self, message: Message) -> None:
        """Post a message and wait until it has been carried out.

        Raises:
            MailboxFullError: Too many messages wait.
            ActorStoppedError: The actor ended before it could answer.
        """
        await self._mailbox.post(message).wait()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; `task_status` is told when the client is open.

        However it ends, every sender still waiting is answered. After cancellation the client is left open, for
        the next incarnation or for whoever cancelled to close.

        Raises:
            Exception: The client could not be opened, or a handler has a bug.
        """
        try:
            self._endpoint.open()
            task_status.started()
            self._endpoint.swept_by(self._post_sweep)
            async with anyio.create_task_group() as children:
                while True:
                    message, reply = await self._mailbox.receive()
                    match message:
                        case Drain(drain_for):
                            children.start_soon(self._drain, drain_for, reply)
                        case CloseAbandoned():
                            children.start_soon(self._close_abandoned, reply)
                        case Stop():
                            break
                        case _:
                            assert_never(message)
            await self._endpoint.close()
            self._answer(reply)
        finally:
            self._mailbox.close()

    def _post_sweep(self) -> None:
        """Have what was abandoned closed, by one message for all of it; where none can be posted, the end does it."""
        if self._will_sweep:
            return
        with suppress(MailboxFullError, ActorStoppedError):
            self._mailbox.post(CloseAbandoned())
            self._will_sweep = True

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
