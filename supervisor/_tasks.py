"""A home for background tasks that does not change what its block raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """Give the body of an `async with` a task group, whose tasks are cancelled when the body ends.

    An exception of the body leaves as it came, never in a group.

    Raises:
        ExceptionGroup: A background task failed; the body was cancelled for it.
    """
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
