"""What `understudy simulate` is about: the user's own configuration, or an example where there is none."""

from __future__ import annotations

from .providers import ConfigurationError
from .supervisor import NO_AGENT, AgentSettings, Plan, RouteSettings, Settings, load, without_keys

EXAMPLE = Settings.in_code(
    agents={
        "deriver": AgentSettings(
            primary=RouteSettings(transport="openai", model="gpt-5.4-mini"),
            fallbacks=(RouteSettings(transport="anthropic", model="claude-haiku-4-5"),),
        )
    }
)
"""The agent of the README."""


def plan_to_simulate() -> tuple[Plan, bool]:
    """Return the plan that environment and `.env` come to, and whether it is the example instead, as there is none.

    Keys may be missing: simulated providers ask for none. Everything else that `check` finds is a mistake here, too.

    Raises:
        ConfigurationError: There are mistakes, or settings that have no effect; lists them all.
    """
    plan = load()
    if plan.problems == (NO_AGENT,) and not plan.ignored:
        return without_keys(load(EXAMPLE)), True
    plan = without_keys(plan)
    if plan.problems or plan.ignored:
        raise ConfigurationError((*plan.problems, *plan.ignored))
    return plan, False
