"""What is no proper request: which status says so, and the words for people. Pure."""

from __future__ import annotations

from typing import final


@final
class Violation(Exception):
    """A request that is not answered by the application: `status` is what it gets, `said` is for people. After it the
    connection is closed: nobody knows where the next request would begin.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said
