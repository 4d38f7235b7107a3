"""The gateway of the page's tests: the real server, guard and application.

It can be stopped, and started again at the same address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from understudy import Supervisor
from understudy.gateway import SELF, Feed, FeedConsole, Gateway, Guard, Head, Refusal, files, serve


class House:
    """Serves one supervisor. `asked` are the targets that it was asked for."""

    def __init__(self, supervisor: Supervisor, feed: Feed, token: str) -> None:
        self.feed = feed
        self._guard = Guard([token], origins=[SELF], open_paths=files())
        self.asked: list[str] = []
        self._gateway = Gateway(supervisor, guard=self._refusal, console=FeedConsole(supervisor, feed))
        self._stopping, self._starting = anyio.Event(), anyio.Event()

    def _refusal(self, head: Head) -> Refusal | None:
        self.asked.append(head.target)
        return self._guard.judge(head, anyio.current_time())

    def stop(self) -> None:
        """Cut off whoever is served, and listen no more."""
        self._starting = anyio.Event()
        self._stopping.set()

    def start(self) -> None:
        """Listen again."""
        self._stopping = anyio.Event()
        self._starting.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Serve for the body of an `async with`; give the address."""
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(self._run)
            yield f"http://127.0.0.1:{port}"
            tasks.cancel_scope.cancel()

    async def _run(self, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        port = 0
        while True:
            async with serve(self._gateway, port=port) as server:
                if not port:
                    port = server.address[1]
                    task_status.started(port)
                await self._stopping.wait()
            await self._starting.wait()
