"""The gateway that clients are tried on, as a process: `python -m tests.clients.gateway`.

It prints one line of JSON when it serves, `{"gateway": URL, "upstream": URL}`, and serves until its standard input
ends: whoever started it cannot leave it behind. `GET /{agent}` at the second address tells what the agent's providers
see.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import final

import anyio
import anyio.to_thread

from understudy.gateway import Gateway, Head, HTTPAnswer, HTTPRequest, serve

from .agents import AGENTS, Stage, staged

JSON = (("content-type", "application/json"),)


@final
class Watched:
    """An application that tells what the providers of an agent see."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def refuse(self, head: Head) -> HTTPAnswer | None:
        """Let everybody in who asks for an agent."""
        return None if head.path.removeprefix("/") in AGENTS else HTTPAnswer(404, JSON, b"{}")

    def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
        """Say what is wrong with a request."""
        return HTTPAnswer(status, JSON, json.dumps({"error": said}).encode(), closes=True)

    def answer(self, request: HTTPRequest) -> AbstractAsyncContextManager[HTTPAnswer]:
        """Tell of an agent."""
        return self._answer(request)

    @asynccontextmanager
    async def _answer(self, request: HTTPRequest) -> AsyncIterator[HTTPAnswer]:
        upstream = self._stage.upstream(request.head.path.removeprefix("/"))
        yield HTTPAnswer(200, JSON, json.dumps(upstream.as_json()).encode())


async def main() -> None:
    """Serve until standard input ends."""
    async with staged() as stage, serve(Gateway(stage.supervisor)) as gateway, serve(Watched(stage)) as watched:
        addresses = {"gateway": gateway.address, "upstream": watched.address}
        print(json.dumps({name: f"http://{host}:{port}" for name, (host, port) in addresses.items()}), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    anyio.run(main)
