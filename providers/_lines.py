"""A line of the log: the name of what happened and its fields, as `name key='value' …` or as JSON. Pure.

Fields are in the order in which they are given, and have the same names in every release. Control characters are
escaped in both forms: a line stays one line, whatever a provider said.
"""

from __future__ import annotations

import json
import math
from typing import Any, final


@final
class Line:
    """What is given to a logger, as `_log.warning("%s", Line("close_failed", endpoint=…))`; it is text when it is
    asked for. `said` is what people are shown, where that is not the fields.
    """

    __slots__ = ("_said", "fields", "name")

    def __init__(self, name: str, said: str = "", /, **fields: object) -> None:
        self.name, self.fields, self._said = name, fields, said

    def __str__(self) -> str:
        return self._said or " ".join((self.name, *(f"{name}={_text(value)!r}" for name, value in self.fields.items())))

    def as_json(self, **before: object) -> str:
        """Return it as a JSON object in ASCII, with `before` in front of its fields."""
        whole = {**before, "event": self.name, **self.fields}
        return json.dumps({name: _plain(value) for name, value in whole.items()})


def _text(value: object) -> object:
    """Return a text of ours as a plain one: an enum would show its class."""
    return str(value) if isinstance(value, str) else value


def _plain(value: object) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value if value is None or isinstance(value, bool | int | float) else str(value)
