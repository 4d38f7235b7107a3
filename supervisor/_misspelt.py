"""Misspelt variables: names that nothing reads, but that are so near to one that is read that nobody else's are meant.

A machine's environment is full of other programs' variables, and some of them begin with `LLM_` too; so a name without
a near match is left alone, and a near one stops no start: it is told, as whatever else is set without effect. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from ..providers import TRANSPORTS, Problem
from ._discovery import NO_AGENTS, meant_path, place, prefix_of

SHARED_PREFIX = "llm_"

_OTHER_PREFIXES = ("nous_", "langfuse_", "gateway_", "understudy_")
"""What other variables of ours begin with. Hermes Agent has many of its own that begin with `hermes_`."""

_SHARED_CUTOFF = 0.85
"""How alike a shared name must be (`difflib`; chosen: above LLM_VLLM_API_KEY and its like, below any one slip)."""

_MEANT: dict[str, str] = {
    "gateway_host": "GATEWAY_HOSTS' or 'understudy serve --host",
    **dict.fromkeys(("gateway_token", "understudy_gateway_token"), "UNDERSTUDY_TOKEN"),
    "gateway_alias": "GATEWAY_ALIASES",
}
"""What is like nothing that is read, and meant for it all the same. Not GATEWAY_PORT: Kubernetes sets that one for
whatever is called a gateway there (https://kubernetes.io/docs/concepts/containers/container-environment/)."""

_MARKER = "modelconfig"
_MARKER_CUTOFF = 0.8
"""How alike what stands before the field must be (chosen: above `config` or `model` alone)."""

_PARTS: dict[str, str] = {
    **dict.fromkeys(("key", "token", "api_token"), "api_key"),
    **dict.fromkeys(("url", "base", "api_base", "api_url", "host", "endpoint"), "base_url"),
}
"""What other programs call a transport's key and address."""


def misspelt(names: Iterable[str], shared: Iterable[str], known: Iterable[str]) -> list[Problem]:
    """Find the variables that are meant for us, but are not read.

    Args:
        names: The variables that are set, in lower case.
        shared: The variables of the shared settings, in lower case.
        known: The names of the fields of a route.
    """
    shared, known, found = frozenset(shared), frozenset(known), list[Problem]()
    for name in sorted(names):
        if place(name) is not None or name in shared:
            continue
        meant = _MEANT.get(name) or _meant_shared(name, shared) or _meant_agents(name, known)
        if meant is not None:
            found.append(Problem(name.upper(), "a known name", f"did you mean '{meant}'? As it is, it has no effect"))
    return found


def _meant_shared(name: str, shared: Iterable[str]) -> str | None:
    """Return the shared variable that is meant, such as LLM_OPENAI_API_KEY by LLM_OPENAI_APIKEY."""
    prefix = next((prefix for prefix in (SHARED_PREFIX, *_OTHER_PREFIXES) if name.startswith(prefix)), None)
    if prefix is None:
        return None
    rest = name.removeprefix(prefix)
    transport, _, part = rest.partition("_")
    if prefix == SHARED_PREFIX and transport in TRANSPORTS and part in _PARTS:
        return f"LLM_{transport}_{_PARTS[part]}".upper()
    rests = {known.removeprefix(prefix): known for known in shared if known.startswith(prefix)}
    if prefix == SHARED_PREFIX:  # LLM_NOUS_AUTH_MODE: the other variables of Nous have the prefix
        rests |= {known: known for known in shared if not known.startswith(prefix)}
    near = difflib.get_close_matches(rest, rests, n=1, cutoff=_SHARED_CUTOFF)
    return rests[near[0]].upper() if near else None


def _meant_agents(name: str, known: Iterable[str]) -> str | None:
    """Return the agent's variable that is meant, such as DERIVER_MODEL_CONFIG__MODEL by DERIVER_MODEL_CONFIG_MODEL.

    It is one if some agent's name is followed by something like the marker, however it is joined, and that by
    something like a field.
    """
    words = list(re.finditer(r"[a-z0-9]+", name))
    texts = [word.group() for word in words]
    places = {
        "".join(texts[i : i + width]): (i, i + width)
        for i in range(1, len(words))
        for width in (1, 2)
        if i + width < len(words)
    }
    near = difflib.get_close_matches(_MARKER, places, n=1, cutoff=_MARKER_CUTOFF)
    if not near:
        return None
    begin, end = places[near[0]]
    agent, path = _agent(texts[:begin]), meant_path(name[words[end].start() :].upper(), known)
    return None if path is None or agent in NO_AGENTS else prefix_of(agent) + path


def _agent(words: list[str]) -> str:
    """Return the name of an agent, of which `words` are spelled in a variable."""
    if words[0] == "dialectic" and words[1:2] in (["level"], ["levels"]) and words[2:]:
        return "dialectic." + "_".join(words[2:])
    return "_".join(words)
