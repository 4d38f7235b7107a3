"""Settings: where they come from, what wins, and how every mistake is told."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from understudy.providers import ConfigurationError, Problem
from understudy.supervisor import EXPECTED, AgentSettings, RouteSettings, Settings
from understudy.supervisor._values import SHOWN, variable_of

P = "DERIVER_MODEL_CONFIG__"
F = P + "FALLBACK__"
WHOLE = {P + "MODEL": "gpt", F + "TRANSPORT": "anthropic", F + "MODEL": "claude"}
CANARY = "canary-5f1e"
REMEDY = "set it to that, or remove it"
MANY = "a list with a RouteSettings for each fallback"


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)


def write_env(variables: dict[str, str]) -> None:
    Path(".env").write_text("".join(f"{name}='{text}'\n" for name, text in variables.items()), encoding="utf-8")


def mistakes() -> tuple[Problem, ...]:
    """Return the mistakes in what environment and `.env` say; there must be one."""
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    return caught.value.problems


def revealed(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


# ---- where settings come from


@pytest.mark.parametrize(
    ("argument", "environment", "dotenv", "expected"),
    [
        (None, None, None, 600.0),
        (None, None, "70", 70.0),
        (None, "80", "70", 80.0),
        (90.0, "80", "70", 90.0),
        (90.0, None, None, 90.0),
        (None, "", "70", 70.0),
        (None, "", "", 600.0),
        (None, " ", None, 600.0),
    ],
)
def test_arguments_win_over_the_environment_which_wins_over_dotenv(
    monkeypatch: pytest.MonkeyPatch,
    argument: float | None,
    environment: str | None,
    dotenv: str | None,
    expected: float,
) -> None:
    """The nearest source that has a value wins, and an empty one has none."""
    if environment is not None:
        monkeypatch.setenv("LLM_TOTAL_TIMEOUT", environment)
    if dotenv is not None:
        write_env({"LLM_TOTAL_TIMEOUT": dotenv})
    got = Settings() if argument is None else Settings(total_timeout=argument)
    assert got.total_timeout == expected


def test_an_agent_is_merged_from_both_sources_variable_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment changes one field of an agent that `.env` configures, and leaves the others."""
    write_env({**WHOLE, P + "TEMPERATURE": "0.1", P + "SEED": "1"})
    set_all(monkeypatch, {P + "TEMPERATURE": "0.9", P + "SEED": " "})
    agent = Settings().agents["deriver"]

    assert (agent.primary.model, agent.primary.temperature, agent.primary.seed) == ("gpt", 0.9, 1)
    assert [route.model for route in agent.fallbacks] == ["claude"]


def test_names_may_be_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capitals do not matter in the names of variables."""
    set_all(monkeypatch, {"llm_total_timeout": "70", "deriver_Model_Config__model": "gpt"})
    got = Settings()
    assert (got.total_timeout, got.agents["deriver"].primary.model) == (70.0, "gpt")


@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_api_key_env_is_looked_up_in_the_merged_sources(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """The variable that holds the key may stand in the environment or in `.env`, wherever its name stands."""
    monkeypatch.setenv(P + "MODEL", "gpt")
    here, there = ({P + "API_KEY_ENV": "MY_KEY"}, {"MY_KEY": CANARY})
    set_all(monkeypatch, here if source == "dotenv" else there)
    write_env(there if source == "dotenv" else here)
    assert revealed(Settings().agents["deriver"].primary.api_key) == CANARY


def test_the_environment_wins_where_api_key_env_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that a variable holds follows the same precedence as everything else."""
    write_env({P + "MODEL": "gpt", P + "API_KEY_ENV": "MY_KEY", "MY_KEY": "from-dotenv"})
    monkeypatch.setenv("MY_KEY", "from-environment")
    assert revealed(Settings().agents["deriver"].primary.api_key) == "from-environment"


def test_a_key_of_its_own_wins_over_the_one_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are set, `API_KEY` is the key."""
    set_all(monkeypatch, {**WHOLE, P + "API_KEY": "own", P + "API_KEY_ENV": "MY_KEY", "MY_KEY": "named"})
    assert revealed(Settings().agents["deriver"].primary.api_key) == "own"


def test_space_around_a_key_does_not_belong_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A final newline, as a file with a key has it, is no part of the key."""
    set_all(monkeypatch, {**WHOLE, "LLM_OPENAI_API_KEY": " shared\n", P + "API_KEY": "own\n"})
    got = Settings()
    assert revealed(got.openai_api_key) == "shared"
    assert revealed(got.agents["deriver"].primary.api_key) == "own"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TRANSPORT", "OpenAI", "openai"),
        ("BASE_URL", " https://gateway.example/v1 ", "https://gateway.example/v1"),
        ("BASE_URL", "http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("TEMPERATURE", "0.5", 0.5),
        ("TOP_P", "1", 1.0),
        ("TOP_K", "40", 40),
        ("FREQUENCY_PENALTY", "-2", -2.0),
        ("PRESENCE_PENALTY", "2", 2.0),
        ("SEED", "-1", -1),
        ("MAX_OUTPUT_TOKENS", "1", 1),
        ("STOP_SEQUENCES", "a, b", ("a, b",)),
        ("STOP_SEQUENCES", '["a", "b"]', ("a", "b")),
        ("THINKING_EFFORT", "high", "high"),
        ("THINKING_BUDGET_TOKENS", "0", 0),
        ("STRUCTURED_OUTPUT_MODE", "json_schema", "json_schema"),
        ("CACHE_POLICY", "auto", "auto"),
        ("TIMEOUT", "0.5", 0.5),
        ("FIRST_TOKEN_TIMEOUT", "1e1", 10.0),
        ("STALL_TIMEOUT", "7", 7.0),
        ("PROVIDER_PARAMS", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_every_field_of_a_route_is_read(monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: Any) -> None:
    """Each variable arrives in its field with its type, on primary and fallback alike."""
    set_all(monkeypatch, {**WHOLE, P + name: text, F + name: text})
    agent = Settings().agents["deriver"]
    assert [getattr(route, name.lower()) for route in (agent.primary, *agent.fallbacks)] == [expected, expected]


def test_provider_params_are_one_object_from_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON object and the single values inside it make one object, and one set of parameters."""
    whole = '{"extra_body": {"top_a": 0.1}, "store": false}'
    set_all(monkeypatch, {**WHOLE, P + "PROVIDER_PARAMS": whole, P + "PROVIDER_PARAMS__EXTRA_HEADERS__X_TITLE": "T"})
    primary = Settings().agents["deriver"].primary

    assert primary.provider_params == {
        "extra_body": {"top_a": 0.1},
        "store": False,
        "extra_headers": {"x-title": "T"},
    }
    assert primary.parameters == {"extra_headers": {"x-title": "T"}, "extra_body": {"top_a": 0.1, "store": False}}


def test_a_nested_variable_changes_one_route_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value inside the primary's object is not in the fallback's: nothing is inherited."""
    set_all(monkeypatch, {**WHOLE, P + "PROVIDER_PARAMS__A": "x", P + "TEMPERATURE": "0.5"})
    [fallback] = Settings().agents["deriver"].fallbacks
    assert (fallback.provider_params, fallback.temperature) == ({}, None)


@pytest.mark.parametrize("name", ["LLM_AGENTS", "LLM_IGNORED", "LLM_PROBLEMS", "LLM_UNREAD"])
@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_variables_that_only_look_like_settings_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    """The fields that discovery fills cannot be set by a variable, nor broken by one."""
    (write_env if source == "dotenv" else lambda variables: set_all(monkeypatch, variables))({name: "{"})
    got = Settings()
    assert (got.agents, got.ignored) == ({}, ())


# ---- incomplete fallbacks


@pytest.mark.parametrize(
    ("variables", "missing", "left"),
    [
        ({F + "TRANSPORT": "anthropic"}, [F + "MODEL"], []),
        ({F + "MODEL": "claude"}, [F + "TRANSPORT"], []),
        ({F + "SEED": "1"}, [F + "MODEL", F + "TRANSPORT"], []),
        ({F + "TRANSPORT": "anthropic", F + "MODEL": ""}, [F + "MODEL"], []),
        ({F + "MODEL": "anthropic/claude"}, [], ["claude"]),
        ({F + "MODEL": "c", F + "FALLBACK__MODEL": "d", F + "FALLBACK__TRANSPORT": "nous"}, [F + "TRANSPORT"], ["d"]),
        ({F + "FALLBACK__MODEL": "d", F + "FALLBACK__TRANSPORT": "nous"}, [], ["d"]),
        ({F + "FALLBACK__MODEL": "d"}, [F + "FALLBACK__TRANSPORT"], []),
    ],
)
def test_an_incomplete_fallback_is_ignored_and_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], missing: list[str], left: list[str]
) -> None:
    """A fallback without transport or model does not stop the start, but is named; the rest of the chain remains."""
    set_all(monkeypatch, {P + "MODEL": "gpt", **variables})
    got = Settings()

    assert [problem.variable for problem in got.ignored] == missing
    assert all(problem.remedy == "set it; until then this fallback is ignored" for problem in got.ignored)
    assert [route.model for route in got.agents["deriver"].fallbacks] == left


# ---- misspelt names


def test_near_misses_stop_no_start_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is nearly one of ours has no effect, from either source, and is listed beside ignored fallbacks."""
    set_all(monkeypatch, {**WHOLE, "LLM_RETRY_ATEMPTS": CANARY, "LLM_SOMEBODY_ELSES": CANARY})
    write_env({"DERIVER_MODEL_CONFIG_SEED": CANARY, F + "FALLBACK__MODEL": "n", "LLM_OPENAI_APIKEY": ""})
    got = Settings()
    names = ["DERIVER_MODEL_CONFIG_SEED", F + "FALLBACK__TRANSPORT", "LLM_RETRY_ATEMPTS"]
    assert sorted(problem.variable for problem in got.ignored) == names
    assert CANARY not in repr(got.ignored)


def test_a_name_that_api_key_env_names_is_no_near_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second key may well be called almost like the first."""
    set_all(monkeypatch, {**WHOLE, P + "API_KEY_ENV": "LLM_OPENAI_API_KEY2", "llm_openai_api_key2": CANARY})
    got = Settings()
    assert got.ignored == ()
    assert revealed(got.agents["deriver"].primary.api_key) == CANARY


# ---- settings made in code


AGENT = AgentSettings(
    primary=RouteSettings(model="gpt", api_key=SecretStr(CANARY)),
    fallbacks=(RouteSettings(transport="anthropic", model="claude"),),
)


def test_agents_can_be_made_in_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent from an argument is there as it is, beside those of the environment."""
    monkeypatch.setenv("SUMMARY_MODEL_CONFIG__MODEL", "small")
    got = Settings(agents={"deriver": AGENT})
    assert got.agents["deriver"] is AGENT
    assert got.agents["summary"].primary.model == "small"


def test_an_agent_in_code_sets_its_namesake_in_the_environment_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment's agent of that name remains, neither fields nor fallbacks nor wrong values."""
    alone = AgentSettings(primary=RouteSettings(model="other"))
    set_all(monkeypatch, {**WHOLE, P + "TEMPERATURE": "99", F + "FALLBACK__MODEL": "x"})
    got = Settings(agents={"deriver": alone})
    assert got.agents == {"deriver": alone}
    assert got.ignored == ()


def test_in_code_reads_neither_environment_nor_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made in code alone are the same on every machine, even where the environment is wrong."""
    set_all(monkeypatch, {**WHOLE, "LLM_TOTAL_TIMEOUT": "never", "LLM_OPENAI_API_KEY": "k"})
    Path(".env").write_bytes(b"LLM_STALL_TIMEOUT=1\n\xff\n")
    got = Settings.in_code(agents={"mine": AGENT}, connect_timeout=2)

    assert dict(got.agents) == {"mine": AGENT}
    assert (got.total_timeout, got.stall_timeout, got.connect_timeout) == (600.0, 30.0, 2.0)
    assert got.openai_api_key is None


@pytest.mark.parametrize(
    ("values", "path", "remedy"),
    [
        ({"total_timout": CANARY}, "total_timout", "did you mean 'total_timeout'?"),
        ({"problems": [CANARY]}, "problems", "remove it"),
        ({"total_timeout": CANARY}, "LLM_TOTAL_TIMEOUT", "set it to that, or remove it"),
        ({"agents": {"a": {"primary": {}, "fallback": []}}}, "agents.a.fallback", "did you mean 'fallbacks'?"),
        ({"agents": CANARY}, "agents", "set it to that, or remove it"),
        ({"agents": 5}, "agents", "set it to that, or remove it"),
        ({"agents": [CANARY]}, "agents", "set it to that, or remove it"),
        ({"agents": {"a": CANARY}}, "agents.a", "set it to that, or remove it"),
        ({"agents": {"a": {}}}, "agents.a.primary", "set it"),
        ({"agents": {"a": {"primary": {"modle": CANARY}}}}, "agents.a.primary.modle", "did you mean 'model'?"),
        (
            {"agents": {"a": {"primary": {"temperature": 9}}}},
            "agents.a.primary.temperature",
            "set it to that, or remove it",
        ),
        (
            {"agents": {"a": {"primary": {}, "fallbacks": [{"base_url": CANARY}]}}},
            "agents.a.fallbacks.0.base_url",
            "set it to that, or remove it",
        ),
    ],
)
@pytest.mark.parametrize("make", [Settings, Settings.in_code], ids=["all sources", "in code"])
def test_mistakes_in_code_are_told_by_their_path(make: Any, values: dict[str, Any], path: str, remedy: str) -> None:
    """A wrong argument is a `ConfigurationError` that names where it is and what to do, never the value."""
    with pytest.raises(ConfigurationError) as caught:
        make(**values)
    assert [(problem.variable, problem.remedy) for problem in caught.value.problems] == [(path, remedy)]
    assert CANARY not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (RouteSettings, {"modle": CANARY}, [("modle", "a known name", "did you mean 'model'?")]),
        (RouteSettings, {"qqq": CANARY}, [("qqq", "a known name", "remove it")]),
        (
            RouteSettings,
            {"temperature": CANARY, "api_key": f"{CANARY} x", "timeout": 0, "base_url": CANARY, "model": 5},
            [(name, EXPECTED[name], REMEDY) for name in ("model", "base_url", "api_key", "temperature", "timeout")],
        ),
        (RouteSettings, {"stop_sequences": [5]}, [("stop_sequences.0", EXPECTED["stop_sequences"], REMEDY)]),
        (AgentSettings, {}, [("primary", "a RouteSettings", "set it")]),
        (AgentSettings, {"primary": CANARY}, [("primary", "a RouteSettings", REMEDY)]),
        (
            AgentSettings,
            {"primary": {"modle": CANARY}, "fallbacks": [{"seed": CANARY}], "fallback": CANARY},
            [
                ("primary.modle", "a known name", "did you mean 'model'?"),
                ("fallbacks.0.seed", EXPECTED["seed"], REMEDY),
                ("fallback", "a known name", "did you mean 'fallbacks'?"),
            ],
        ),
        *(
            (AgentSettings, {"primary": {}, "fallbacks": wrong}, [("fallbacks", MANY, REMEDY)])
            for wrong in (RouteSettings(model=CANARY), CANARY, 5)
        ),
        (AgentSettings, {"primary": {}, "fallbacks": [CANARY]}, [("fallbacks.0", MANY, REMEDY)]),
    ],
)
def test_routes_and_agents_in_code_tell_every_mistake(
    kind: Any, values: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    """What is wrong with one is told at once, by field, in the words for variables, and no value is kept."""
    with pytest.raises(ConfigurationError) as caught:
        kind(**values)
    told = [(problem.variable, problem.expected, problem.remedy) for problem in caught.value.problems]
    assert sorted(told) == sorted(expected)
    assert CANARY not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None


def test_a_key_in_code_is_a_text_or_a_secret_and_held_as_a_secret() -> None:
    """Either type is taken, by type checkers too; what is held is masked."""
    for route in (RouteSettings(model="m", api_key=CANARY), RouteSettings(model="m", api_key=SecretStr(CANARY))):
        assert isinstance(route.api_key, SecretStr)
        assert revealed(route.api_key) == CANARY
        assert CANARY not in repr(route) + str(route) + route.model_dump_json()


def test_lists_in_code_are_held_as_tuples() -> None:
    """Fallbacks and stop sequences may be given as lists, by type checkers too; what is held cannot change."""
    agent = AgentSettings(primary=RouteSettings(stop_sequences=["a"]), fallbacks=[RouteSettings(model="m")])
    assert (agent.primary.stop_sequences, type(agent.fallbacks)) == (("a",), tuple)


# ---- mistakes

SECONDS = ["0", "-1", "nan", "inf", "1e999", "soon"]
URLS = ["example.com", "ftp://example.com", "https://", "http://:80", "http://[::1", "http://h:port", "http://h:70000"]
URLS += [
    "https://api.openai.com/v1/chat/completions",
    "http://h/v1/messages/",
    "http://user@h",
    "http://h?q=1",
    "http://h#f",
    "http://h/a b",
    "http://h\\x",
    "http://h/\x1b",
    "http://h:0",
]
KEYS = ["two words", "ключ", "a\tb", "\x7f"]

MISTAKES: list[tuple[str, str]] = [
    *((name, text) for name in ("LLM_TOTAL_TIMEOUT", P + "TIMEOUT", F + "STALL_TIMEOUT") for text in SECONDS),
    *((name, "soon") for name in ("LLM_DEFAULT_TIMEOUT", "LLM_CONNECT_TIMEOUT", "LLM_FIRST_TOKEN_TIMEOUT")),
    *(
        (name, "0")
        for name in ("LLM_STALL_TIMEOUT", "LLM_WRITE_TIMEOUT", P + "FIRST_TOKEN_TIMEOUT", P + "STALL_TIMEOUT")
    ),
    *((name, text) for name in ("LLM_RETRY_ATTEMPTS", "LLM_MAX_CONCURRENCY") for text in ("0", "1.5", "many")),
    *(("LLM_IN_PLACE_RETRIES", text) for text in ("-1", "2", "yes")),
    *(("LLM_CIRCUIT_TRIP_AFTER", text) for text in ("0", "1.5", "never")),
    *((f"LLM_CIRCUIT_{name}", text) for name in ("OPEN_FOR", "OPEN_MAX", "WINDOW") for text in ("0", "soon", "inf")),
    *(("LLM_CIRCUIT_PASSES", text) for text in ("0", "6")),
    *(("LLM_CIRCUIT_WINDOW_CALLS", text) for text in ("9", "1001", "all")),
    *(("LLM_CIRCUIT_LONE_ROUTES", text) for text in ("yes", "open")),
    ("LLM_CIRCUIT_OBSERVE_ONLY", "perhaps"),
    ("NOUS_AUTH_MODE", "automatic"),
    ("NOUS_REFRESH_TOKEN", "with a blank"),
    ("NOUS_PORTAL_BASE_URL", "portal.nousresearch.com"),
    *(("LANGFUSE_PUBLIC_KEY", text) for text in ("pk lf", "pk:lf", "pk-ü")),
    ("LANGFUSE_SECRET_KEY", "sk lf"),
    *((f"LANGFUSE_{name}", "cloud.langfuse.com") for name in ("BASE_URL", "HOST")),
    ("LANGFUSE_CAPTURE_CONTENT", "perhaps"),
    ("LANGFUSE_TRACING_ENABLED", "perhaps"),
    *(("LANGFUSE_SAMPLE_RATE", text) for text in ("-0.1", "1.5", "half")),
    *(("NAMESPACE", text) for text in ("two\nlines", "x" * 201)),
    ("NOUS_ALLOW_INSECURE_TLS", "perhaps"),
    *(("GATEWAY_ALIASES", text) for text in ("gpt-5", "=deriver", "gpt-5=", "a=b, c")),
    *(("GATEWAY_HOSTS", text) for text in ("http://a.test", "a.test/b", "a b.test")),
    *(("GATEWAY_ORIGINS", text) for text in ("a.test", "https://a.test/path", "https://", "https://user@a.test")),
    *(
        ("GATEWAY_TRUSTED_PROXIES", text)
        for text in (
            "proxy",
            "10.0.0.300",
            "10.0.0.5/24",
            "10.0.0.5, nginx",
            "10.0.0.0/33",
            "::ffff:10.0.0.5",
            "10.0.0.5:80",
        )
    ),
    *(("UNDERSTUDY_TOKEN", text) for text in ("y" * 40 + " z", "ü" * 40)),
    ("LLM_CIRCUIT_SLOW_AFTER", "0"),
    ("LLM_LOG_FORMAT", "xml"),
    ("LLM_HTTP_TRANSPORT", "aiohttp"),
    ("LLM_CONTENT_STALL_TIMEOUT", "never"),
    (P + "STREAM_UPSTREAM", "sometimes"),
    *(("LLM_DEFAULT_MAX_TOKENS", text) for text in ("0", "all")),
    *(("LLM_FALLBACK_ON_REFUSED", text) for text in ("sometimes", "Always", "true")),
    *(("LLM_OPENAI_BASE_URL", text) for text in URLS),
    *((P + "BASE_URL", text) for text in URLS),
    *((P + "OVERRIDES__BASE_URL", text) for text in URLS[:2]),
    *((f"LLM_{name}_BASE_URL", "/v1") for name in ("ANTHROPIC", "GEMINI", "LMSTUDIO", "NOUS")),
    *((f"LLM_{name}_API_KEY", "a b") for name in ("ANTHROPIC", "GEMINI", "LMSTUDIO", "NOUS")),
    *((name, text) for name in ("LLM_OPENAI_API_KEY", P + "API_KEY", F + "OVERRIDES__API_KEY") for text in KEYS),
    *((name, "QQ_NOT_SET") for name in (P + "API_KEY_ENV", F + "API_KEY_ENV", P + "OVERRIDES__API_KEY_ENV")),
    *((P + "TRANSPORT", text) for text in ("opnai", "open ai", "https")),
    *((P + "TEMPERATURE", text) for text in ("warm", "-0.1", "2.1", "nan", "inf")),
    *((P + "TOP_P", text) for text in ("1.1", "-1", "all")),
    *((P + "TOP_K", text) for text in ("0", "1.5", "few")),
    *((name, text) for name in (P + "FREQUENCY_PENALTY", P + "PRESENCE_PENALTY") for text in ("2.5", "-3", "x")),
    *((P + "SEED", text) for text in ("1.5", "random", "9" * 5000)),
    *((P + f"FALLBACK_ON_{name}", "sometimes") for name in ("CONTEXT_LENGTH", "CONTENT_POLICY")),
    *((P + "MAX_OUTPUT_TOKENS", text) for text in ("0", "-5", "lots")),
    *((P + "STOP_SEQUENCES", text) for text in ("[1]", '["a"', "[" * 100_000)),
    *((P + "THINKING_EFFORT", text) for text in ("hard", "High")),
    *((P + "CACHE_POLICY", text) for text in ("always", "Auto")),
    (P + "REASONING_EFFORT", "hard"),
    *((P + "THINKING_BUDGET_TOKENS", text) for text in ("-1", "some")),
    *((P + "STRUCTURED_OUTPUT_MODE", text) for text in ("json", "JSON_SCHEMA")),
    *((P + "PROVIDER_PARAMS", text) for text in ("{", "[]", "5", '"text"', "[" * 100_000)),
    *((P + "PROVIDER_PARAMS", f'{{"{name}": 5}}') for name in ("extra_body", "extra_headers", "extra_query")),
    (P + "PROVIDER_PARAMS", '{"extra_headers": {"x-n": 5}}'),
    *((P + "PROVIDER_PARAMS", text) for text in ('{"stream": true}', '{"extra_body": {"model": "m"}}')),
    (P + "PROVIDER_PARAMS__EXTRA_BODY", "5"),
    (P + "OVERRIDES__PROVIDER_PARAMS__EXTRA_HEADERS__A__B", "5"),
    *((name, "x") for name in (P + "MODLE", F + "TRANSPROT", P + "OVERRIDES__MODEL", P + "FALLBACK", P + "QQQ")),
    *((P + "MODEL", text) for text in ("", f"gpt\n{CANARY}", "\x1b[31mgpt", "gpt\udcff", "gpt\u2028x")),
]


@pytest.mark.parametrize(("name", "text"), MISTAKES, ids=lambda text: text[:60].encode("unicode_escape").decode())
def test_each_mistake_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """One wrong value or name is one problem, with the variable that set it, what was expected, and what to do."""
    set_all(monkeypatch, {**WHOLE, name: text})
    [problem] = mistakes()
    assert problem.variable == name
    assert problem.expected
    assert problem.remedy
    assert len(problem.expected + problem.remedy) < 300


UNFIT: list[tuple[str, str, str]] = [
    (
        "GATEWAY_HOSTS",
        "a.test, http://b.test, c.test:80",
        "'http://b.test', 'c.test:80' are none: mend it, or remove it",
    ),
    ("GATEWAY_HOSTS", "a\tb", r"'a\tb' is none: mend it, or remove it"),
    ("GATEWAY_HOSTS", "-" + "a" * 99, f"'-{'a' * 59}…' is none: mend it, or remove it"),
    ("GATEWAY_ORIGINS", "https://a.test, b.test", "'b.test' is none: mend it, or remove it"),
    ("GATEWAY_ORIGINS", f"https://me:{CANARY}@a.test", "'…a.test' is none: mend it, or remove it"),
    ("GATEWAY_ORIGINS", f"https://a.test?key={CANARY}", "'https://a.test?…' is none: mend it, or remove it"),
    ("GATEWAY_ALIASES", "gpt-5=deriver, claude", "'claude' is none: mend it, or remove it"),
    ("GATEWAY_ALIASES", "gpt-5=deriver, GPT-5=writer", "'GPT-5=writer' is none: mend it, or remove it"),
    ("UNDERSTUDY_TOKEN", f"{CANARY} x", "set it to that, or remove it"),
    ("LLM_RETRY_ATTEMPTS", CANARY, "set it to that, or remove it"),
    (P + "BASE_URL", CANARY, "set it to that, or remove it"),
]


@pytest.mark.parametrize(("name", "text", "remedy"), UNFIT)
def test_a_mistake_in_a_list_names_the_item(monkeypatch: pytest.MonkeyPatch, name: str, text: str, remedy: str) -> None:
    """Of a list that is no secret what is wrong in it is shown, but for what an address may hide; of nothing else."""
    set_all(monkeypatch, {**WHOLE, name: text})
    [problem] = mistakes()
    assert (problem.variable, problem.remedy) == (name, remedy)


def test_the_table_of_mistakes_is_long_enough() -> None:
    """At least forty mistakes are in the table, and every setting that can be wrong is (R-CFG-1)."""
    assert len(MISTAKES) >= 40
    tried = {name for name, _ in MISTAKES}
    anything = {"MODEL"}
    fields = {name.upper() for name in RouteSettings.model_fields} - {"VARIABLES"} - anything
    assert {P + name for name in fields} <= tried
    paths = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}
    shared = Settings.model_fields.keys() - {"agents", "ignored"} - paths  # any text is a path
    assert {variable_of(name) for name in shared} <= tried


def test_every_setting_has_words_for_what_it_must_be() -> None:
    """No mistake ends in "another kind of value": each field has its own expectation."""
    fields = Settings.model_fields.keys() | RouteSettings.model_fields.keys()
    assert EXPECTED.keys() == fields - {"agents", "ignored", "variables"}


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong values, wrong names, conflicts and missing things, in shared settings and all agents: one error."""
    wrong = {
        "LLM_TOTAL_TIMEOUT": CANARY,
        "LLM_OPENAI_BASE_URL": CANARY,
        P + "TEMPERATURE": CANARY,
        P + "SEED": CANARY,
        P + "MODLE": CANARY,
        P + "API_KEY_ENV": CANARY,
        P + "PROVIDER_PARAMS__EXTRA_BODY": CANARY,
        F + "BASE_URL": CANARY,
        "OTHER_MODEL_CONFIG__TOP_P": CANARY,
        "DIALECTIC_LEVELS__max__MODEL_CONFIG__TRANSPORT": CANARY,
    }
    missing = {"OTHER_MODEL_CONFIG__MODEL", "DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL"}
    set_all(monkeypatch, {**WHOLE, **wrong, P + "BASE_URL": "http://a", P + "OVERRIDES__BASE_URL": "http://b"})

    told = [problem.variable for problem in mistakes()]
    assert sorted(told) == sorted({*wrong, *missing, P + "OVERRIDES__BASE_URL"})


SECRETIVE = sorted({name for name, _ in MISTAKES if name.lower() not in SHOWN})


@pytest.mark.parametrize("name", SECRETIVE)
@pytest.mark.parametrize("text", [CANARY, f"\x07{CANARY}", f'{{"{CANARY}', f"[{CANARY}", f"http://{CANARY}@h"])
def test_an_error_never_shows_a_value(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Whatever a variable holds, even a key in the wrong place, neither error nor cause shows it."""
    set_all(monkeypatch, {**WHOLE, name: text, P + "CANARY": "x"})
    with pytest.raises(ConfigurationError) as caught:
        Settings()

    error = caught.value
    shown = [str(error), repr(error), repr(error.problems), repr(error.__cause__), repr(error.__context__)]
    assert not any(CANARY in text for text in shown)
    assert error.__context__ is None


@pytest.mark.parametrize(
    "content", [b"LLM_OPENAI_API_KEY=canary-5f1e\xff\n", b"\xff\xfeL\x00"], ids=["latin", "utf-16"]
)
def test_a_dotenv_that_is_no_text_is_a_mistake(content: bytes) -> None:
    """A `.env` in another encoding is named, and nothing of it is shown or kept in the error."""
    Path(".env").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert [problem.variable for problem in caught.value.problems] == [".env"]
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)


def test_a_full_file_table_is_no_fault_of_the_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as it is: to save `.env` anew, or to mend its permissions, would mend nothing."""
    Path(".env").write_text("LLM_TOTAL_TIMEOUT=70\n", encoding="utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", ".env")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match="Too many open files"):
        Settings()


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("", []),
        ("# a comment\n\nexport A=1\n'B' = 'two\nlines' # and a comment\nC\nD=\n", []),
        (f"LLM_OPENAI_API_KEY: {CANARY}\n", [1]),
        (f"A=1\n\n  \n# c\n{CANARY} B=2\n", [5]),
        (f"A='{CANARY}\nB=1\n", [1]),
        (f"A=1\r\n\r\nB=\"{CANARY}\r\nC='{CANARY}' {CANARY}\r\n", [3, 4]),
        (f"\ufeffset A={CANARY}\n=5\n", [1, 2]),
    ],
)
def test_lines_of_dotenv_that_cannot_be_read_are_mistakes(
    monkeypatch: pytest.MonkeyPatch, content: str, lines: list[int]
) -> None:
    """Each is told by its line, never its content, together with whatever else is wrong."""
    Path(".env").write_text(content, encoding="utf-8", newline="")
    monkeypatch.setenv("LLM_TOTAL_TIMEOUT", "never")
    problems = mistakes()
    assert [problem.variable for problem in problems] == [*(f".env line {n}" for n in lines), "LLM_TOTAL_TIMEOUT"]
    assert CANARY not in repr(problems)


def test_a_pipe_as_dotenv_is_read_once(tmp_path: Path) -> None:
    """Tools that keep secrets give them as a pipe: what is in it can be read once only, and that is enough."""
    os.mkfifo(tmp_path / ".env")
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit((tmp_path / ".env").write_text, "LLM_TOTAL_TIMEOUT=70\n", encoding="utf-8")
        assert Settings().total_timeout == 70.0
        writing.result(timeout=10)


# ---- secrets


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is a `SecretStr`, and no representation of the settings holds one, nor what providers get besides."""
    shared = {f"LLM_{name}_API_KEY": CANARY for name in ("OPENAI", "ANTHROPIC", "GEMINI", "LMSTUDIO", "NOUS")}
    own = {P + "API_KEY": CANARY, F + "API_KEY_ENV": "MY_KEY", "MY_KEY": CANARY}
    params = {P + "PROVIDER_PARAMS": f'{{"a": "{CANARY}"}}', F + "PROVIDER_PARAMS__EXTRA_HEADERS__X_KEY": CANARY}
    set_all(monkeypatch, {**WHOLE, **shared, **own, **params})
    got = Settings()
    agent = got.agents["deriver"]

    keys = [getattr(got, name.removeprefix("LLM_").lower()) for name in shared]
    keys += [agent.primary.api_key, agent.fallbacks[0].api_key]
    assert all(isinstance(key, SecretStr) and revealed(key) == CANARY for key in keys)
    assert CANARY not in repr(got) + str(got) + repr(agent) + str(agent)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(sorted({name for name, _ in MISTAKES})),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
        | st.sampled_from([text for _, text in MISTAKES if len(text) < 100]),
        max_size=6,
    )
)
def test_whatever_the_values_are_there_are_settings_or_mistakes(variables: dict[str, str]) -> None:
    """Any values make settings or a `ConfigurationError`, never another exception."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_all(monkeypatch, variables)
        try:
            agents = Settings().agents
        except ConfigurationError as error:
            told = error.problems
        else:
            assert all(isinstance(agent.primary.parameters, dict) for agent in agents.values())
            told = ()
        assert all(problem.expected and problem.remedy for problem in told)
