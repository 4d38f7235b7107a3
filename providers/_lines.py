"""A line of the log: the name of what happened and its fields, as `name key='value' …` or as JSON. Pure.

Fields are in the order in which they are given, and have the same names in every release. Control characters are
escaped in both forms: a line stays one line, whatever a provider said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final


@final
class Line:
    """What is given to a logger, by `tell(_log.warning, Line("close_failed", endpoint=…))`; it is text when it is asked
    for. `said` is what people are shown, where that is not the fields.
    """

    __slots__ = ("_said", "fields", "name")

    def __init__(self, name: str, said: str = "", /, **fields: object) -> None:
        self.name, self.fields, self._said = name, fields, said

    def __str__(self) -> str:
        return escaped(self._said) or " ".join(
            (self.name, *(f"{name}={_text(value)!r}" for name, value in self.fields.items()))
        )

    def as_json(self, **before: object) -> str:
        """Return it as a JSON object in ASCII, with `before` in front, which counts where a field has the same name."""
        whole = {**before, "event": self.name, **self.fields, **before}
        return json.dumps({name: _plain(value) for name, value in whole.items()})


def tell(write: Callable[..., object], line: Line, *, error: BaseException | None = None) -> None:
    """Write a line with a method of a logger. What a handler or a filter of the application's raises is its own affair:
    it must not cost an answer.
    """
    with suppress(Exception):
        write("%s", line, exc_info=error, stacklevel=2)


def escaped(text: str) -> str:
    """Return a text on one line, what cannot be printed as its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _text(value: object) -> object:
    """Return a text of ours as a plain one: an enum would show its class."""
    return str(value) if isinstance(value, str) else value


def _plain(value: object) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value if value is None or isinstance(value, bool | int | float) else str(value)
