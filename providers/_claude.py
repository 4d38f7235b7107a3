"""How each line of Claude models is told to think, what it costs to force a tool on it, and to answer in a shape. Pure.

Three forms exist, and the wrong one is a 400: a budget (`thinking.type=enabled`), an effort (`output_config.effort`
with `thinking.type=adaptive`), and, to think not at all, another `thinking.type` or none. The model's name decides.

Source: platform.claude.com/docs/en/build-with-claude/effort, …/thinking, …/extended-thinking and the migration guides
in …/models; `anthropic._data` (which models warn) and `anthropic.types.ThinkingTypes` of the SDK 2.11. See
docs/decisions/0008-thinking.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from ._request import Effort, Parameters, StructuredOutputMode
from ._wire import effort_for, nearest

LEAST_BUDGET = 1024
"""The smallest thinking budget the API accepts, in tokens."""

_BUDGETS: dict[Effort, int] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 4096, "high": 16384}
"""Thinking tokens for an effort; above `high` it is twice that (chosen: a quarter apart, as on the other wire)."""


@final
@dataclass(frozen=True, slots=True)
class Claude:
    """What a line of models knows of thinking.

    `efforts` are its levels, rising; a model without any takes budgets. `off` is the `thinking.type` that stops its
    thinking: empty if it thinks only when asked to, `never` if nothing does. Where `disabled` does not stop it, a tool
    cannot be forced either. `modes` are the ways to an answer in a shape that it knows, the best first.
    """

    efforts: tuple[Effort, ...] = ()
    budgets: bool = False
    off: Literal["", "disabled", "between_tools", "never"] = ""
    modes: tuple[StructuredOutputMode, ...] = ("json_schema", "tool", "json_object")


_FOUR: tuple[Effort, ...] = ("low", "medium", "high", "max")
_FIVE: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")

_BUDGETS_ONLY = Claude(budgets=True)
_OLDER = Claude(budgets=True, modes=("tool", "json_object"))
"""Claude answers by a schema since 4.5: platform.claude.com/docs/en/build-with-claude/structured-outputs."""

_ELSEWHERE = Claude(budgets=True, modes=("tool", "json_schema", "json_object"))
"""Tools belonged to this wire from the beginning, `output_config.format` did not."""

_LATEST = Claude(_FIVE, off="never")

_CLAUDES: tuple[tuple[str, Claude], ...] = (
    ("claude-opus-5-5", Claude(_FIVE, off="never")),
    ("claude-fable-", Claude(_FIVE, off="never")),
    ("claude-mythos-", Claude(_FIVE, off="never")),
    ("claude-sonnet-5-5", Claude(_FIVE, off="between_tools")),
    ("claude-haiku-5", Claude(_FIVE, off="disabled")),
    ("claude-sonnet-5", Claude(_FIVE, off="disabled")),
    ("claude-opus-5", Claude(_FIVE, off="disabled")),
    ("claude-opus-4-8", Claude(_FIVE)),
    ("claude-opus-4-7", Claude(_FIVE)),
    ("claude-opus-4-6", Claude(_FOUR, budgets=True)),
    ("claude-sonnet-4-6", Claude(_FOUR, budgets=True)),
    ("claude-opus-4-5", _BUDGETS_ONLY),
    ("claude-sonnet-4-5", _BUDGETS_ONLY),
    ("claude-haiku-4", _BUDGETS_ONLY),
    ("claude-opus-4", _OLDER),
    ("claude-sonnet-4", _OLDER),
    ("claude-3", _OLDER),
    ("claude-", _LATEST),
)
"""By the beginning of the name, the first that fits; a line that is not known yet is taken for the strictest."""


def claude_of(model: str) -> Claude:
    """Return what is known of a model by its name, with or without a vendor before it (`us.anthropic.claude-…`).

    What is no Claude stands on somebody else's server that speaks this wire; such servers know the budget.
    """
    name = model.lower().replace(".", "-")
    start = name.find("claude-")
    if start < 0:
        return _ELSEWHERE
    return next(claude for beginning, claude in _CLAUDES if name.startswith(beginning, start))


def room(claude: Claude, parameters: Parameters) -> int:
    """Return the tokens to be left for thinking where the caller set no limit."""
    effort, budget = parameters.get("reasoning_effort"), parameters.get("thinking_budget_tokens")
    if effort is None and budget is None:
        return _BUDGETS["high"] if claude.off else 0
    if _by_budget(claude, parameters):
        return _budget(effort, budget)
    wanted = effort or effort_for(budget or 0)
    return _tokens("low" if wanted == "none" and claude.off == "never" else wanted)


def thinking(claude: Claude, parameters: Parameters, max_tokens: int) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of the body that say how to think, and the names of what cannot be said.

    A budget is part of `max_tokens`, which the caller meant as a limit: so the budget gives way, not the limit.
    """
    effort, budget = parameters.get("reasoning_effort"), parameters.get("thinking_budget_tokens")
    both = effort is not None and budget is not None
    if effort is None and budget is None:
        return {}, []
    if not _by_budget(claude, parameters):
        return _adaptive(claude, effort or effort_for(budget or 0)), ["thinking_budget_tokens"] if both else []
    dropped = ["reasoning_effort"] if both else []
    wanted = _budget(effort, budget)
    if wanted == 0:
        return {}, dropped
    given = min(wanted, max_tokens - 1)
    if given < LEAST_BUDGET:
        return {}, [name for name in ("reasoning_effort", "thinking_budget_tokens") if name in parameters]
    return {"thinking": {"type": "enabled", "budget_tokens": given}}, dropped


def forcing(claude: Claude, said: dict[str, Any]) -> dict[str, Any] | None:
    """Return what must be said of thinking so that a tool may be forced; None where it may not be.

    A model that thinks cannot be forced to a tool. It is asked not to where nobody asked it to think.

    Args:
        said: The fields of `thinking`.
    """
    if claude.off in {"never", "between_tools"} or said.get("thinking", {}).get("type") in {"enabled", "adaptive"}:
        return None
    return {"thinking": {"type": claude.off}} if claude.off else {}


def _by_budget(claude: Claude, parameters: Parameters) -> bool:
    """Say whether a budget tells it: the more exact one of the two where a model knows both."""
    return not claude.efforts or (claude.budgets and "thinking_budget_tokens" in parameters)


def _adaptive(claude: Claude, effort: Effort) -> dict[str, Any]:
    if effort == "none" and claude.off != "never":
        return {"thinking": {"type": claude.off}} if claude.off else {}
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": nearest(effort, claude.efforts)}}


def _budget(effort: Effort | None, budget: int | None) -> int:
    """Return the thinking tokens that are asked for, by number or by effort; 0 for none."""
    wanted = _tokens(effort or "none") if budget is None else budget
    return max(wanted, LEAST_BUDGET) if wanted else 0


def _tokens(effort: Effort) -> int:
    return _BUDGETS.get(effort, 2 * _BUDGETS["high"])
