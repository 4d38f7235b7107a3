"""A wait that is ended from outside, by a cancel scope of its own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar, final

import anyio
import httpx2

ResultT = TypeVar("ResultT")


@final
class Wait:
    """What is waited for where no socket leads to whoever waits, so that it can be ended from outside."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None

    async def until(self, come: Awaitable[ResultT]) -> ResultT:
        """Wait for something.

        Raises:
            httpx2.ReadError: It was ended.
        """
        try:
            with anyio.CancelScope() as self._scope:
                return await come
        finally:
            self._scope = None
        raise httpx2.ReadError("the connection was shut down")

    def end(self) -> None:
        """End it, if anything is waited for."""
        if self._scope is not None:
            self._scope.cancel()
