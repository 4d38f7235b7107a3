"""What `understudy check` tells of a chain that works, so that its fallback surprises nobody."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import AgentSettings, RouteSettings, Settings
from understudy.providers import CHECKS, TRANSPORTS, inexpressible, left_out
from understudy.supervisor import load, notes


def told(*routes: dict[str, Any], **settings: Any) -> str:
    """Return the notes on an agent with these routes, one a line."""
    made = [RouteSettings(**{"model": "m", "base_url": "https://own.test/v1", **route}) for route in routes]
    agent = AgentSettings(primary=made[0], fallbacks=tuple(made[1:]))
    plan = load(Settings.in_code(agents={"deriver": agent}, **settings))
    return "\n".join(notes(plan.agents["deriver"]))


OPENAI, ANTHROPIC, LMSTUDIO = ({"transport": name} for name in ("openai", "anthropic", "lmstudio"))


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([OPENAI], ""),
        ([OPENAI, OPENAI], ""),
        ([{**ANTHROPIC, "seed": 3}], "anthropic m: SEED cannot be expressed there, and is not sent"),
        ([{**LMSTUDIO, "thinking_effort": "low"}],
         "lmstudio m: THINKING_EFFORT cannot be expressed there, and is not sent"),
        (
            [{**OPENAI, "max_output_tokens": 9, "temperature": 1.0}, {**OPENAI, "temperature": 0.5}],
            "openai m: MAX_OUTPUT_TOKENS is set for the primary only; a fallback inherits nothing",
        ),
        (
            [{**OPENAI, "max_output_tokens": 9, "seed": 3}, OPENAI],
            "openai m: MAX_OUTPUT_TOKENS, SEED are set for the primary only; a fallback inherits nothing",
        ),
        (
            [{**ANTHROPIC, "seed": 3, "frequency_penalty": 1.0}],
            "anthropic m: FREQUENCY_PENALTY, SEED cannot be expressed there, and are not sent",
        ),
        (
            [OPENAI, ANTHROPIC],
            "anthropic m: a request's frequency_penalty, json_mode, presence_penalty, seed, temperature, top_k, top_p "
            "are lost there; the primary takes it",
        ),
        ([ANTHROPIC, OPENAI], ""),
        (
            [{**OPENAI, "model": "gpt-5", "base_url": "https://api.openai.com/v1", "temperature": 0.5}],
            "openai gpt-5: TEMPERATURE cannot be expressed there, and is not sent",
        ),
        ([OPENAI] * 4, "4 routes are more than LLM_RETRY_ATTEMPTS=3: each is tried, none twice"),
    ],
)  # fmt: skip
def test_notes_name_what_would_surprise(routes: list[dict[str, Any]], expected: str) -> None:
    """What is not sent, what is not inherited, what the fallback cannot be told, and more routes than attempts."""
    assert told(*routes) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MODEL": "gpt-4.1"}, []),
        ({"MODEL": "claude-haiku-4-5"}, ["a model of that name is anthropic's; TRANSPORT=anthropic leads there"]),
        ({"MODEL": "anthropic/gpt-4.1"}, ["a model of that name is openai's; TRANSPORT=openai leads there"]),
        ({"MODEL": "nous/claude-haiku-4-5"}, ["a model of that name is anthropic's; TRANSPORT=anthropic leads there"]),
        ({"MODEL": "claude-haiku-4-5", "BASE_URL": "https://own/v1"}, []),
        ({"MODEL": "m", "BASE_URL": "https://own:8000"},
         ["https://own:8000 has no path; most servers that speak like OpenAI want https://own:8000/v1"]),
        ({"MODEL": "m", "BASE_URL": "https://own:8000", "TRANSPORT": "anthropic"}, []),
        ({"MODEL": "m", "BASE_URL": "http://own:8000/path/v1"},
         ["http://own:8000 (DERIVER_MODEL_CONFIG__BASE_URL) is plain HTTP beyond this machine: "
          "whoever is on the way reads key, prompts and answers"]),
        ({"MODEL": "m", "BASE_URL": "http://127.0.0.1:8000/v1"}, []),
    ],
)  # fmt: skip
def test_notes_name_a_route_that_seems_to_lead_elsewhere(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    """Another vendor's model, or an address without the usual path, is a note: it may well be meant so."""
    for name, text in variables.items():
        monkeypatch.setenv(f"DERIVER_MODEL_CONFIG__{name}", text)
    assert [note.partition(": ")[2] for note in notes(load().agents["deriver"])] == expected


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_inexpressible_is_a_parameter(transport: str) -> None:
    """Every name is a parameter's; the vendor's own host may know less than a server that speaks its wire."""
    own = inexpressible(transport, "http://own.test/v1", "m")
    vendor = inexpressible(transport, TRANSPORTS[transport].base_url, "m")
    assert own <= vendor <= CHECKS.keys()
    assert left_out(transport, "http://own.test/v1", "m", {}) == ()


def test_the_vendors_own_host_is_stricter() -> None:
    """OpenAI itself knows no `top_k`, and its reasoning models less; servers that speak its wire mostly do."""
    vendor, reasoning = "https://api.openai.com/v1", {"temperature", "top_p", "frequency_penalty", "presence_penalty"}
    assert inexpressible("openai", vendor, "m") == {"top_k"}
    assert inexpressible("openai", vendor, "gpt-4o") == {"top_k", "reasoning_effort", "thinking_budget_tokens"}
    assert inexpressible("openai", vendor, "gpt-5") == {"top_k", "stop"} | reasoning
    assert inexpressible("openai", "http://localhost:8000/v1", "gpt-5") == frozenset()
