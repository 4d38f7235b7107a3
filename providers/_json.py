"""JSON, strictly: what a wire may not carry is refused in both directions.

orjson refuses NaN, infinities, lone surrogates and nesting beyond 1,024 levels by itself
(the standard library lets the first three pass and answers the last with `RecursionError`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import orjson

JSONValue: TypeAlias = "dict[str, JSONValue] | list[JSONValue] | str | int | float | bool | None"


def encode(value: object) -> bytes:
    """Return `value` as JSON.

    Raises:
        ValueError: It holds something that JSON cannot express (a set, a lone surrogate, …); says what.
    """
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None


decode: Callable[[bytes], JSONValue] = orjson.loads
"""Return what bytes say. It is orjson's own function, because it is called for each event of a stream.

Raises:
    ValueError: They are not JSON, or not UTF-8.
"""
