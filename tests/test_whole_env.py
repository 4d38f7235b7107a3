"""A complete `.env` of the system that the names come from, every line active: it works unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

from understudy.supervisor import load

WHOLE = Path(__file__).parent / "fixtures" / "whole.env"


def test_a_whole_env_works_unchanged() -> None:
    """No mistake, nothing ignored; each agent has its chain, and what is not ours is left alone."""
    shutil.copy(WHOLE, ".env")
    plan = load()
    assert plan.problems == ()
    assert plan.ignored == ()
    chains = {
        name: [(route.transport, route.model, route.target.base_url) for route in agent.routes]
        for name, agent in plan.agents.items()
    }
    openai, anthropic = "https://api.openai.com/v1", "https://api.anthropic.com"
    assert chains == {
        "deriver": [("openai", "gpt-5.4-mini", openai), ("anthropic", "claude-haiku-4-5", anthropic)],
        "summary": [
            ("openai", "qwen/qwen3-32b", "http://localhost:8000/v1"),
            ("gemini", "gemini-2.5-flash", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ],
        "dream_deduction": [("openai", "gpt-5.4-mini", openai)],
        "dream_induction": [("anthropic", "claude-haiku-4-5", anthropic)],
        "dialectic.minimal": [("openai", "gpt-5.4-mini", openai)],
        "dialectic.max": [("anthropic", "claude-sonnet-4-5", anthropic), ("openai", "gpt-5.4", openai)],
    }


def test_its_values_arrive() -> None:
    """Keys, parameters and the shared limit are those of the file."""
    shutil.copy(WHOLE, ".env")
    agents = load().agents
    primary, fallback = agents["deriver"].routes
    assert primary.parameters == {
        "temperature": 0.7,
        "max_tokens": 4096,
        "reasoning_effort": "minimal",
        "thinking_budget_tokens": 1024,
        "structured_output_mode": "json_object",
    }
    assert fallback.parameters == {"temperature": 0.3, "max_tokens": 2500}
    own, other = agents["summary"].routes
    assert [route.target.secrets for route in (own, other)] == [("key-of-vllm",), ("another-key",)]
    assert own.parameters["extra_body"] == {"chat_template_kwargs": {"enable_thinking": False}}
