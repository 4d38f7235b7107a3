"""Discovering agents: from flat variables to each agent's chain of routes, as raw texts. Pure.

`<AGENT>_MODEL_CONFIG__<FIELD>` makes agent `<agent>` in lower case, `DIALECTIC_LEVELS__<level>__MODEL_CONFIG__…` makes
`dialectic.<level>`; `EMBEDDING` is no agent. `FALLBACK__` before a field leads to the next route of the chain, and may
be repeated. What the fields mean is not known here; `_settings.py` reads them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ..providers import TRANSPORTS, Problem, suggestion

NO_AGENTS = frozenset({"embedding"})

_LEVEL = re.compile(r"dialectic_levels__(?P<level>[a-z0-9_]*?[a-z0-9])__model_config__(?P<path>.+)")
_AGENT = re.compile(r"(?!dialectic_levels__)(?P<agent>[a-z0-9_]*?[a-z0-9])_model_config__(?P<path>.+)")
_FALLBACK = "fallback__"
_LIKE_FALLBACK = re.compile(r"([A-Z]+)_+(?=.)")

_PATH_CUTOFF = 0.8
"""How alike a field must be to be taken for another's slip (`difflib`; chosen: one slip in the shortest name)."""

_SPELLINGS: dict[str, str] = {
    "overrides__base_url": "base_url",
    "overrides__api_key": "api_key",
    "overrides__api_key_env": "api_key_env",
    "overrides__provider_params": "provider_params",
    "reasoning_effort": "thinking_effort",
}
"""Other spellings of a field: the long form of an override, and a synonym."""

OBJECTS = ("extra_headers", "extra_query", "extra_body")
"""The parts of PROVIDER_PARAMS that are objects themselves; in the first, every value is a text."""

_PARAMS = ("overrides__provider_params__", "provider_params__")


@final
@dataclass(slots=True)
class RawRoute:
    """One route as the variables spell it: for each field the variable that set it, and its text."""

    prefix: str
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    variables: dict[str, str] = field(default_factory=dict)

    def variable(self, name: str) -> str:
        """Return the variable that set a field, or the one that would."""
        return self.variables.get(name, self.prefix + name.upper())


@final
@dataclass(frozen=True, slots=True)
class Discovered:
    """Every agent with its chain (the primary first), and every mistake in the names of the variables."""

    agents: dict[str, list[RawRoute]]
    problems: list[Problem]


def discover(variables: Mapping[str, str], known: Iterable[str]) -> Discovered:
    """Find the agents in `variables` (names in lower case; an empty value means missing).

    Args:
        known: The names of the fields of a route.
    """
    known = frozenset(known)
    found = Discovered({}, [])
    for name in sorted(variables):
        placed = place(name)
        if placed is None or not variables[name].strip():
            continue
        agent, prefix, path = placed
        depth = 0
        while path.startswith(_FALLBACK):
            depth, path, prefix = depth + 1, path.removeprefix(_FALLBACK), prefix + "FALLBACK__"
        chain = found.agents.setdefault(agent, [])
        while len(chain) <= depth:
            chain.append(RawRoute(prefix_of(agent) + "FALLBACK__" * len(chain)))
        _set(chain[depth], path, prefix + path.upper(), variables[name], known, found.problems)
    return found


def place(name: str) -> tuple[str, str, str] | None:
    """Return agent, prefix and the rest of a variable's name, or None if it configures no agent."""
    level = _LEVEL.fullmatch(name)
    if level is not None:
        agent = f"dialectic.{level['level']}"
        return agent, prefix_of(agent), level["path"]
    plain = _AGENT.fullmatch(name)
    if plain is None or plain["agent"] in NO_AGENTS:
        return None
    return plain["agent"], prefix_of(plain["agent"]), plain["path"]


def prefix_of(agent: str) -> str:
    """Return what the variables of an agent begin with."""
    group, dot, level = agent.partition(".")
    return f"DIALECTIC_LEVELS__{level}__MODEL_CONFIG__" if dot else f"{group.upper()}_MODEL_CONFIG__"


def _set(route: RawRoute, path: str, variable: str, text: str, known: frozenset[str], problems: list[Problem]) -> None:
    name = _SPELLINGS.get(path, path)
    for params in _PARAMS:
        if path.startswith(params):  # PROVIDER_PARAMS__EXTRA_HEADERS__X_TITLE: one value of a nested object
            name = "provider_params__" + path.removeprefix(params)
            break
    if name not in known and not name.startswith("provider_params__"):
        meant = meant_path(path.upper(), known)
        near = f"did you mean {meant!r}?" if meant else suggestion(path.upper(), _spelled(known)).lstrip("; ")
        remedy = near or "remove it; .env.template lists the names"
        problems.append(Problem(variable, "a known name", remedy))
        return
    before = route.variables.get(name)
    if before is not None and route.fields[name] != text:
        problems.append(
            Problem(variable, f"the same value as {before}, which sets the same thing", "remove one of the two")
        )
        return
    route.fields[name], route.variables[name] = text, variable


def _spelled(known: Iterable[str]) -> list[str]:
    return sorted(spelling.upper() for spelling in (*known, *_SPELLINGS))


def meant_path(path: str, known: Iterable[str]) -> str | None:
    """Return the path that a misspelt one means, in capitals as it is, such as FALLBACK__MODEL by FALLBACK_MODEL."""
    prefix = ""
    while True:
        if path.lower().startswith(_PARAMS):
            return prefix + path
        near = difflib.get_close_matches(path, _spelled(known), n=1, cutoff=_PATH_CUTOFF)
        if near:
            return prefix + near[0]
        step = _LIKE_FALLBACK.match(path)
        if step is None or not difflib.get_close_matches(step[1], ["FALLBACK"], cutoff=_PATH_CUTOFF):
            return None
        prefix, path = prefix + "FALLBACK__", path[step.end() :]


def split_model(fields: dict[str, str]) -> None:
    """Read `MODEL=anthropic/claude-…` as a transport and a model, where that is what is meant.

    It is when no transport and no base URL is set (a gateway's model names have slashes too) and the part before
    the slash is a transport.
    """
    if "transport" in fields or "base_url" in fields:
        return
    transport, slash, model = fields.get("model", "").partition("/")
    if slash and model and transport.lower() in TRANSPORTS:
        fields["transport"], fields["model"] = transport.lower(), model


def with_nested(raw: RawRoute, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Add what `PROVIDER_PARAMS__EXTRA_HEADERS__X_TITLE=…` and its like set, each one text inside the object.

    Returns:
        The whole object, and the variables that find no place in it.
    """
    whole, problems = dict(params), list[Problem]()
    for name in [name for name in raw.fields if name.startswith("provider_params__")]:
        *groups, last = name.removeprefix("provider_params__").split("__")
        top = (groups or [last])[0]
        place: Any = whole
        for group in groups if _has_place(top, groups, last) else [None]:
            place = place.setdefault(group, {}) if isinstance(place, dict) and group else None
        if isinstance(place, dict):
            place[last.replace("_", "-") if top == "extra_headers" else last] = raw.fields[name]
        else:
            expected = "one value inside an object, as PROVIDER_PARAMS__EXTRA_BODY__TOP_A is"
            problems.append(Problem(raw.variables[name], expected, "remove it, or what else is set in its place"))
    return whole, problems


def _has_place(top: str, groups: list[str], last: str) -> bool:
    if top == "extra_headers":
        return len(groups) == 1 and bool(last)
    return bool(last) and (top not in OBJECTS or bool(groups))
