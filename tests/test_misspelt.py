"""Misspelt variables: which names are told to be near one that is read, and which are left alone as somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.supervisor import RouteSettings, Settings
from understudy.supervisor._misspelt import misspelt
from understudy.supervisor._values import variable_of

SHARED = {variable_of(name).lower() for name in Settings.model_fields.keys() - {"agents", "ignored"}}
KNOWN = RouteSettings.model_fields.keys() - {"variables"}
D = "DERIVER_MODEL_CONFIG__"
FOREIGN = "GROQ_API_KEY VLLM_API_KEY VLLM_BASE_URL XAI_API_KEY MISTRAL_API_KEY COHERE_API_KEY AZURE_OPENAI_API_KEY"
FOREIGN += " OPENROUTER_API_KEY OLLAMA_BASE_URL EMBEDDING_PROVIDER MAX_TOOL_OUTPUT_CHARS PROVIDER MODEL TEMPERATURE"
FOREIGN += " API_KEY BASE_URL TIMEOUT MAX_TOKENS MAX_RETRIES OPENAI_MODEL OPENAI_ORGANIZATION AGENTS"
FOREIGN += " GATEWAY_PORT GATEWAY_SERVICE_HOST GATEWAY_SERVICE_PORT GATEWAY_PORT_80_TCP GATEWAY_PORT_80_TCP_ADDR"


def told(*names: str) -> list[tuple[str, str]]:
    """Return what is told of variables as they are written: each name, and the remedy."""
    problems = misspelt([name.lower() for name in names], SHARED, KNOWN)
    return [(problem.variable, problem.remedy) for problem in problems]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLM_RETRY_ATEMPTS", "LLM_RETRY_ATTEMPTS"),
        ("NOUS_AUTHMODE", "NOUS_AUTH_MODE"),
        ("NOUS_OAUTH_STATEPATH", "NOUS_OAUTH_STATE_PATH"),
        ("NOUS_REFRESHTOKEN", "NOUS_REFRESH_TOKEN"),
        ("LLM_NOUS_AUTH_MODE", "NOUS_AUTH_MODE"),
        ("LLM_NOUS_REFRESH_TOKEN", "NOUS_REFRESH_TOKEN"),
        ("LLM_NOUS_KEY", "LLM_NOUS_API_KEY"),
        ("GATEWAY_HOST", "GATEWAY_HOSTS' or 'understudy serve --host"),
        ("GATEWAY_TOKEN", "UNDERSTUDY_TOKEN"),
        ("UNDERSTUDY_GATEWAY_TOKEN", "UNDERSTUDY_TOKEN"),
        ("GATEWAY_ALIAS", "GATEWAY_ALIASES"),
        ("GATEWAY_ORIGIN", "GATEWAY_ORIGINS"),
        ("GATEWAY_TRUSTED_PROXY", "GATEWAY_TRUSTED_PROXIES"),
        ("LLM_RETRY_ATTEMPT", "LLM_RETRY_ATTEMPTS"),
        ("LLM_OPENAI_APIKEY", "LLM_OPENAI_API_KEY"),
        ("LLM_OPENIA_API_KEY", "LLM_OPENAI_API_KEY"),
        ("LLM__OPENAI_API_KEY", "LLM_OPENAI_API_KEY"),
        ("LLM_OPENAI_KEY", "LLM_OPENAI_API_KEY"),
        ("LLM_ANTHROPIC_TOKEN", "LLM_ANTHROPIC_API_KEY"),
        ("LLM_OPENAI_API_BASE", "LLM_OPENAI_BASE_URL"),
        ("LLM_OPENAI_URL", "LLM_OPENAI_BASE_URL"),
        ("LLM_LM_STUDIO_BASE_URL", "LLM_LMSTUDIO_BASE_URL"),
        ("LLM_TOTALTIMEOUT", "LLM_TOTAL_TIMEOUT"),
        ("LLM_STALL_TIMOUT", "LLM_STALL_TIMEOUT"),
        ("LLM_MAX_CONCURENCY", "LLM_MAX_CONCURRENCY"),
        ("DERIVER_MODEL_CONFIG_MODEL", D + "MODEL"),
        ("DERIVER_MODELCONFIG__MODEL", D + "MODEL"),
        ("DERIVER__MODEL_CONFIG__MODEL", D + "MODEL"),
        ("DERIVER_MODLE_CONFIG__MODEL", D + "MODEL"),
        ("DERIVER_MODEL_CONFIGS__MODEL", D + "MODEL"),
        ("DERIVER.MODEL_CONFIG__MODEL", D + "MODEL"),
        ("DERIVER_MODEL_CONFIG_MODLE", D + "MODEL"),
        ("DIALECTIC_LEVELS__MAX_MODEL_CONFIG__SEED", "DIALECTIC_LEVELS__max__MODEL_CONFIG__SEED"),
        ("DERIVER_MODEL_CONFIG_FALLBACK__MODEL", D + "FALLBACK__MODEL"),
        ("DERIVER_MODEL_CONFIG_FALLBACK_TRANSPORT", D + "FALLBACK__TRANSPORT"),
        ("DERIVER_MODEL_CONFIG_OVERRIDES_BASE_URL", D + "OVERRIDES__BASE_URL"),
        ("DERIVER_MODEL_CONFIG_PROVIDER_PARAMS__EXTRA_BODY__TOP_A", D + "PROVIDER_PARAMS__EXTRA_BODY__TOP_A"),
        ("MY-AGENT_MODEL_CONFIG__MODEL", "MY_AGENT_MODEL_CONFIG__MODEL"),
        ("DIALECTIC_LEVELS__MAX__MODEL_CONFIG_MODEL", "DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL"),
        ("DIALECTIC_LEVELS_MAX__MODEL_CONFIG__MODEL", "DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL"),
        ("DIALECTIC_LEVEL__VERY_LOW__MODEL_CONFIG__SEED", "DIALECTIC_LEVELS__very_low__MODEL_CONFIG__SEED"),
        ("LLM_MODEL_CONFIG_MODEL", "LLM_MODEL_CONFIG__MODEL"),
    ],
)
def test_a_near_miss_is_told_with_the_name_that_is_meant(name: str, meant: str) -> None:
    """One slip in a shared name, in the marker or in what joins the parts is named with its remedy."""
    assert told(name) == [(name, f"did you mean '{meant}'? As it is, it has no effect")]


@pytest.mark.parametrize(
    "name",
    [
        *(f"LLM_{name}" for name in FOREIGN.split()),
        *(name.upper() for name in SHARED),
        *(D + name.upper() for name in KNOWN),
        *("NOUS_API_KEY", "NOUS_BASE_URL", "NOUS_INFERENCE_BASE_URL", "HERMES_PORTAL_BASE_URL"),
        *("HERMES_NOUS_TIMEOUT_SECONDS", "HERMES_HOMES", "HERMES_OAUTH_TRACE"),
        "DERIVER_MODEL",
        "DERIVER_CONFIG__MODEL",
        "MODEL_CONFIG__MODEL",
        "MLFLOW_MODEL_CONFIG_PATH",
        "HF_MODEL_CONFIG_DIR",
        "EMBEDDING_MODEL_CONFIG_MODEL",
        "EMBEDDING_MODEL_CONFIG__DIMENSIONS",
        "DERIVER_MODEL_CONFIG",
        D + "QQQ",
        "",
        "_",
    ],
)
def test_what_is_read_or_somebody_elses_is_left_alone(name: str) -> None:
    """Other programs have variables that begin with LLM_ too, or speak of a model's configuration: nothing is said."""
    assert told(name) == []


def test_a_whole_env_of_another_system_has_no_near_miss() -> None:
    """Of all the names in the fixture none is taken for a slip."""
    text = (Path(__file__).parent / "fixtures" / "whole.env").read_text(encoding="utf-8")
    assert told(*(line.partition("=")[0] for line in text.splitlines())) == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.text(max_size=40) | st.from_regex(r"[a-z]{0,3}_{0,3}model_{0,2}config_{0,3}[a-z_]{0,9}"), max_size=5)
)
def test_whatever_the_names_are_nothing_is_raised(names: list[str]) -> None:
    """Any names at all are judged, each at most once."""
    assert len(told(*names)) <= len({name.lower() for name in names})
