"""What comes of a stream before its first content: a beginning, and signs of life. Pure.

Where a request is given on as it came, all of it is held back, for another provider may have to begin anew. So it has a
bound, and because a stream means the same whoever reads it, the bound is that of every stream.
"""

from __future__ import annotations

from typing import final

from ._relay import as_sent
from ._sse import Event
from ._wire import malformed

LARGEST_PRELUDE = 64 * 1024
"""Bytes that may come before the first content, as they are sent (R-LS-5)."""


@final
class Prelude:
    """What has come so far. An event that is the one before it over again says nothing new, however often it comes: so
    do servers say that they still think.
    """

    __slots__ = ("_last", "_size")

    def __init__(self) -> None:
        self._last: Event | None = None
        self._size = 0

    def add(self, event: Event) -> bool:
        """Take an event without content; say whether it is another one than the one before.

        Raises:
            WireError: With it there is more than may come; `MALFORMED`.
        """
        if event == self._last:
            return False
        self._last = event
        self._size += len(as_sent((event,)))
        if self._size > LARGEST_PRELUDE:
            raise malformed(f"more than {LARGEST_PRELUDE} bytes before its first content")
        return True
