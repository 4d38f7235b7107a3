"""Checking parameters: an unknown name or an impossible value is the caller's mistake, said before anything is sent."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

from ._request import CACHE_POLICIES, EFFORTS, STRUCTURED_OUTPUT_MODES, Parameters, Shape, Tool, tools_of

_Check: TypeAlias = Callable[[Any], bool]


def number(value: object) -> bool:
    """Say whether `value` is a finite number (and no bool)."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _between(low: float, high: float) -> _Check:
    return lambda value: number(value) and low <= value <= high


def _sequences(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value))


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""A field name: a token, RFC 9110 section 5.6.2."""


def _header(text: object) -> bool:
    return isinstance(text, str) and text.isprintable() and text.isascii()


def _mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


OURS = frozenset({"model", "messages", "stream"})
"""What a body says of itself, and no parameter may: the trail, the circuit and the reader of the answer rely on it."""

CHECKS: dict[str, tuple[_Check, str]] = {
    "max_tokens": (lambda v: _integer(v) and v >= 1, "a whole number of tokens, at least 1"),
    "temperature": (_between(0, 2), "a number from 0 to 2"),
    "top_p": (_between(0, 1), "a number from 0 to 1"),
    "top_k": (lambda v: _integer(v) and v >= 1, "a whole number, at least 1"),
    "frequency_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "presence_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "seed": (_integer, "a whole number"),
    "stop": (_sequences, "a text, or a list of texts"),
    "reasoning_effort": (lambda v: v in EFFORTS, "one of " + ", ".join(EFFORTS)),
    "thinking_budget_tokens": (lambda v: _integer(v) and v >= 0, "a whole number of tokens, at least 0"),
    "tools": (
        lambda v: isinstance(v, (list, tuple)) and all(isinstance(tool, Tool) for tool in v),
        "a list of Tool or typed functions",
    ),
    "tool_choice": (lambda v: isinstance(v, str) and bool(v), "auto, none, required, or the name of a tool"),
    "parallel_tool_calls": (lambda v: isinstance(v, bool), "True or False"),
    "json_mode": (lambda v: isinstance(v, bool), "True or False"),
    "cache_policy": (lambda v: v in CACHE_POLICIES, "one of " + ", ".join(CACHE_POLICIES)),
    "shape": (lambda v: isinstance(v, Shape), "a Shape"),
    "structured_output_mode": (lambda v: v in STRUCTURED_OUTPUT_MODES, "one of " + ", ".join(STRUCTURED_OUTPUT_MODES)),
    "extra_body": (
        lambda v: _mapping(v) and OURS.isdisjoint(v),
        "a dict with text as keys, without model, messages and stream, which are said elsewhere",
    ),
    "extra_headers": (
        lambda v: _mapping(v) and all(_HEADER.fullmatch(name) and _header(text) for name, text in v.items()),
        "a dict of header names to texts on one line",
    ),
    "extra_query": (_mapping, "a dict with text as keys"),
}
"""For each parameter, what it must be, as a test and in words."""


def checked(parameters: Mapping[str, object]) -> Parameters:
    """Return `parameters` without those that are None (not given), all of them known and possible.

    Raises:
        TypeError: A name is unknown; names the nearest one.
        ValueError: A value is impossible, or says something of tools that are not there; says what is expected. The
            value itself is not repeated.
    """
    if not parameters:
        return Parameters()
    kept: dict[str, object] = {}
    for name, value in parameters.items():
        row = CHECKS.get(name)
        if row is None:
            raise TypeError(f"unknown parameter {name!r}{suggestion(name, CHECKS)}")
        if value is None:
            continue
        if not row[0](value):
            raise ValueError(f"{name} must be {row[1]}")
        kept[name] = value
    given = cast("Parameters", kept)
    _check_tools(given)
    return given


def _check_tools(given: Parameters) -> None:
    """Refuse what would be lost, or refused by the vendors: a word about tools that are not there."""
    choice = given.get("tool_choice", "auto")
    if "tools" not in given and "parallel_tool_calls" in given:
        raise ValueError("parallel_tool_calls must come with tools: give tools=[Tool(…)], or leave it out")
    names = [tool.name for tool in tools_of(given)]
    if len(set(names)) < len(names):
        raise ValueError("tools must have different names")
    if choice in {"auto", "none"}:
        return
    if not names:
        raise ValueError("tool_choice must come with tools, unless it is auto or none: give tools=[Tool(…)]")
    if choice != "required" and choice not in names:
        raise ValueError(f"tool_choice must be auto, none, required, or the name of a tool: {', '.join(names)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" for a name close to a known one, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
