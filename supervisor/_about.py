"""What a caller may say of a call beside its parameters: for its trace alone, and told to no provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from ..providers import Parameters
from ._tracing import NOTHING, About

LONGEST = 200
"""Characters of a name, an id or a tag (Langfuse drops longer ones)."""

_Check: TypeAlias = Callable[[Any], bool]


class CallParameters(Parameters, total=False):
    """`Parameters`, and what a call's trace says beside them: see `About`."""

    name: str
    user_id: str
    session_id: str
    tags: list[str] | tuple[str, ...]
    metadata: Mapping[str, Any]


def _short(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST


def _tags(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_short, value))


def _metadata(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_short, value))


_TEXT = f"a text of 1 to {LONGEST} characters"
_ABOUT: dict[str, tuple[_Check, str]] = {
    "name": (_short, _TEXT),
    "user_id": (_short, _TEXT),
    "session_id": (_short, _TEXT),
    "tags": (_tags, f"a list of texts of 1 to {LONGEST} characters"),
    "metadata": (_metadata, f"a dict whose keys are texts of 1 to {LONGEST} characters"),
}


def parted(given: CallParameters) -> tuple[Parameters, About]:
    """Return the parameters, which are not checked yet, and what is for the trace.

    Raises:
        ValueError: What is for the trace is impossible.
    """
    if _ABOUT.keys().isdisjoint(given):
        return given, NOTHING
    rest: dict[str, Any] = dict(given)
    said: dict[str, Any] = {}
    for name, (is_possible, expected) in _ABOUT.items():
        value = rest.pop(name, None)
        if value is None:
            continue
        if not is_possible(value):
            raise ValueError(f"{name} must be {expected}")
        said[name] = tuple(value) if name == "tags" else value
    return cast("Parameters", rest), About(**said)
