"""Discovery: which agents flat variables make, and what of each route they set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.supervisor import RouteSettings
from understudy.supervisor._discovery import Discovered, RawRoute, discover, split_model, with_nested

KNOWN = RouteSettings.model_fields.keys() - {"variables"}
P = "DERIVER_MODEL_CONFIG__"


def found(variables: dict[str, str]) -> Discovered:
    """Discover among variables as they are written, in whatever case."""
    return discover({name.lower(): text for name, text in variables.items()}, KNOWN)


def chains(variables: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Return the fields of every agent's routes; there must be no mistake."""
    got = found(variables)
    assert got.problems == []
    return {agent: [route.fields for route in chain] for agent, chain in got.agents.items()}


def mistakes(variables: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(problem.variable, problem.expected, problem.remedy) for problem in found(variables).problems]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({P + "MODEL": "m"}, {"deriver": [{"model": "m"}]}),
        ({"deriver_model_config__model": "m"}, {"deriver": [{"model": "m"}]}),
        ({"MY_AGENT_2_MODEL_CONFIG__MODEL": "m"}, {"my_agent_2": [{"model": "m"}]}),
        (
            {P + "MODEL": "m", "SUMMARY_MODEL_CONFIG__MODEL": "n"},
            {"deriver": [{"model": "m"}], "summary": [{"model": "n"}]},
        ),
        ({"DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL": "m"}, {"dialectic.max": [{"model": "m"}]}),
        ({"DIALECTIC_LEVELS__very_low__MODEL_CONFIG__MODEL": "m"}, {"dialectic.very_low": [{"model": "m"}]}),
        ({"DIALECTIC_MODEL_CONFIG__MODEL": "m"}, {"dialectic": [{"model": "m"}]}),
        ({"EMBEDDING_MODEL_CONFIG__MODEL": "m", "EMBEDDING_MODEL_CONFIG__DIMENSIONS": "3"}, {}),
        ({"EMBEDDINGS_MODEL_CONFIG__MODEL": "m"}, {"embeddings": [{"model": "m"}]}),
        ({"_MODEL_CONFIG__MODEL": "m", "MODEL_CONFIG__MODEL": "m"}, {}),
        ({"LLM_OPENAI_API_KEY": "k", "PATH": "/bin", "DERIVER_MODEL": "m", "DERIVER_MODEL_CONFIG_MODEL": "m"}, {}),
        ({"DERIVER__MODEL_CONFIG__MODEL": "m", "DIALECTIC_LEVELS_max__MODEL_CONFIG__MODEL": "m"}, {}),
        ({P + "MODEL": "", P + "SEED": " \t"}, {}),
        ({P + "MODEL": "m", P + "SEED": ""}, {"deriver": [{"model": "m"}]}),
        ({P + "MODEL": " m "}, {"deriver": [{"model": " m "}]}),
        ({P + "MODEL": "m", P + "FALLBACK__MODEL": "n"}, {"deriver": [{"model": "m"}, {"model": "n"}]}),
        (
            {P + "MODEL": "m", P + "FALLBACK__MODEL": "n", P + "FALLBACK__FALLBACK__MODEL": "o"},
            {"deriver": [{"model": "m"}, {"model": "n"}, {"model": "o"}]},
        ),
        ({P + "FALLBACK__FALLBACK__MODEL": "o"}, {"deriver": [{}, {}, {"model": "o"}]}),
        (
            {"DIALECTIC_LEVELS__max__MODEL_CONFIG__FALLBACK__FALLBACK__SEED": "1"},
            {"dialectic.max": [{}, {}, {"seed": "1"}]},
        ),
    ],
)
def test_agents_and_their_chains_are_found(
    variables: dict[str, str], expected: dict[str, list[dict[str, str]]]
) -> None:
    """Every agent that the variables make is found, each route at its place in the chain, and nothing else."""
    assert chains(variables) == expected


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("BASE_URL", "base_url"),
        ("OVERRIDES__BASE_URL", "base_url"),
        ("API_KEY", "api_key"),
        ("OVERRIDES__API_KEY", "api_key"),
        ("API_KEY_ENV", "api_key_env"),
        ("OVERRIDES__API_KEY_ENV", "api_key_env"),
        ("PROVIDER_PARAMS", "provider_params"),
        ("OVERRIDES__PROVIDER_PARAMS", "provider_params"),
        ("THINKING_EFFORT", "thinking_effort"),
        ("REASONING_EFFORT", "thinking_effort"),
        ("PROVIDER_PARAMS__EXTRA_BODY__TOP_A", "provider_params__extra_body__top_a"),
        ("OVERRIDES__PROVIDER_PARAMS__EXTRA_BODY__TOP_A", "provider_params__extra_body__top_a"),
    ],
)
@pytest.mark.parametrize("prefix", [P, P + "FALLBACK__", "DIALECTIC_LEVELS__max__MODEL_CONFIG__"])
def test_every_spelling_sets_its_field_and_is_remembered(prefix: str, path: str, field: str) -> None:
    """Both spellings of a field set the same one, on every route, and the variable's own name is kept for errors."""
    got = found({prefix + path: "x"})
    route = next(iter(got.agents.values()))[-1]
    assert (route.fields, route.variables) == ({field: "x"}, {field: prefix + path})
    assert got.problems == []


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("BASE_URL", "OVERRIDES__BASE_URL"),
        ("API_KEY", "OVERRIDES__API_KEY"),
        ("API_KEY_ENV", "OVERRIDES__API_KEY_ENV"),
        ("PROVIDER_PARAMS", "OVERRIDES__PROVIDER_PARAMS"),
        ("PROVIDER_PARAMS__A", "OVERRIDES__PROVIDER_PARAMS__A"),
        ("THINKING_EFFORT", "REASONING_EFFORT"),
    ],
)
def test_two_spellings_must_agree(short: str, long: str) -> None:
    """Both spellings may be set to the same; two values for one thing are a mistake that names both variables."""
    assert mistakes({P + short: "x", P + long: "x"}) == []

    [(variable, expected, remedy)] = mistakes({P + short: "canary-1", P + long: "canary-2"})
    assert P + short in (variable + expected)
    assert P + long in (variable + expected)
    assert remedy == "remove one of the two"
    assert "canary" not in variable + expected


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("MODLE", "did you mean 'MODEL'?"),
        ("TEMPRATURE", "did you mean 'TEMPERATURE'?"),
        ("MAX_TOKENS", "did you mean 'MAX_OUTPUT_TOKENS'?"),
        ("OVERRIDES__BASEURL", "did you mean 'OVERRIDES__BASE_URL'?"),
        ("FALLBACK__TRANSPROT", "did you mean 'TRANSPORT'?"),
        ("FALLBACK__FALLBACK__API_KEYS", "did you mean 'API_KEY'?"),
        ("FALLBACK_MODEL", "did you mean 'FALLBACK__MODEL'?"),
        ("FALLBACKS__MODEL", "did you mean 'FALLBACK__MODEL'?"),
        ("FALBACK__MODEL", "did you mean 'FALLBACK__MODEL'?"),
        ("FALLBCAK__FALBACK_SED", "did you mean 'FALLBACK__FALLBACK__SEED'?"),
        ("FALLBACK_FALLBACK_MODLE", "did you mean 'FALLBACK__FALLBACK__MODEL'?"),
        ("FALLBACK__FALLBACK_MODEL", "did you mean 'FALLBACK__MODEL'?"),
        ("FALLBACK_OVERRIDES_BASE_URL", "did you mean 'FALLBACK__OVERRIDES__BASE_URL'?"),
        ("FALLBACK_PROVIDER_PARAMS__A", "did you mean 'FALLBACK__PROVIDER_PARAMS__A'?"),
        ("FALLBACK_ON_CONTENT_POLCY", "did you mean 'FALLBACK_ON_CONTENT_POLICY'?"),
        ("QQQ", "remove it; .env.template lists the names"),
        ("VARIABLES", "remove it; .env.template lists the names"),
        ("FALLBACK", "remove it; .env.template lists the names"),
        ("FALLBACK__", "remove it; .env.template lists the names"),
    ],
)
def test_an_unknown_name_is_a_mistake_with_a_suggestion(path: str, remedy: str) -> None:
    """A name that means nothing is reported as it is written, with the nearest name that would."""
    assert mistakes({P + path: "canary"}) == [(P + path, "a known name", remedy)]


def test_every_mistake_in_the_names_is_found_at_once() -> None:
    """Unknown names of several agents and routes stand in one list."""
    names = [P + "MODLE", P + "FALLBACK__SED", "OTHER_MODEL_CONFIG__QQQ"]
    assert sorted(variable for variable, _, _ in mistakes(dict.fromkeys(names, "x"))) == sorted(names)


def test_a_field_that_is_not_set_is_called_as_it_would_be_spelled() -> None:
    """An error about a missing field can name the variable to set, at its true depth in the chain."""
    chain = found({P + "FALLBACK__SEED": "1"}).agents["deriver"]
    assert [route.variable("model") for route in chain] == [P + "MODEL", P + "FALLBACK__MODEL"]
    level = found({"DIALECTIC_LEVELS__max__MODEL_CONFIG__SEED": "1"}).agents["dialectic.max"]
    assert level[0].variable("model") == "DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL"


def test_a_raw_route_does_not_show_its_values() -> None:
    """What the variables hold may be a key, so no representation shows it."""
    assert "canary" not in repr(found({P + "API_KEY": "canary", P + "PROVIDER_PARAMS__A": "canary"}))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "anthropic/claude"}, {"transport": "anthropic", "model": "claude"}),
        ({"model": "OpenAI/gpt"}, {"transport": "openai", "model": "gpt"}),
        ({"model": "nous/Hermes/4"}, {"transport": "nous", "model": "Hermes/4"}),
        ({"model": "meta/llama"}, {"model": "meta/llama"}),
        ({"model": "gpt"}, {"model": "gpt"}),
        ({"model": "openai/"}, {"model": "openai/"}),
        ({"model": "/gpt"}, {"model": "/gpt"}),
        ({}, {}),
        (
            {"model": "anthropic/claude", "transport": "openai"},
            {"model": "anthropic/claude", "transport": "openai"},
        ),
        (
            {"model": "anthropic/claude", "base_url": "http://gateway"},
            {"model": "anthropic/claude", "base_url": "http://gateway"},
        ),
    ],
)
def test_a_model_is_split_only_where_a_transport_is_meant(fields: dict[str, str], expected: dict[str, str]) -> None:
    """The part before the slash is a transport only if it is one, and neither transport nor base URL is set."""
    split_model(fields)
    assert fields == expected


@pytest.mark.parametrize(
    ("nested", "before", "after"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": "x"}, {}, {"a": "x"}),
        ({"a": "x"}, {"a": 1, "b": 2}, {"a": "x", "b": 2}),
        ({"extra_body__top_a": "0.5"}, {"extra_body": {"b": 1}}, {"extra_body": {"b": 1, "top_a": "0.5"}}),
        ({"extra_body__a__b_c": "x"}, {}, {"extra_body": {"a": {"b_c": "x"}}}),
        (
            {"extra_headers__x_title": "T", "extra_query__v_1": "2"},
            {},
            {"extra_headers": {"x-title": "T"}, "extra_query": {"v_1": "2"}},
        ),
    ],
)
def test_nested_values_find_their_place(nested: dict[str, str], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Each nested variable sets one text inside the object; in the name of a header, `_` is `-`."""
    raw = RawRoute(P, {f"provider_params__{name}": text for name, text in nested.items()})
    assert with_nested(raw, before) == (after, [])


@pytest.mark.parametrize(
    ("nested", "before"),
    [
        (["extra_body"], {}),
        (["extra_query"], {}),
        (["extra_headers"], {}),
        (["extra_headers__a__b"], {}),
        (["a__b"], {"a": 1}),
        (["a__b__c"], {"a": {"b": "text"}}),
        ([""], {}),
        (["a__"], {}),
        (["__a"], {}),
        (["a____b"], {}),
    ],
)
def test_a_nested_value_without_a_place_is_a_mistake(nested: list[str], before: dict[str, Any]) -> None:
    """What would stand inside something that is no object is reported under its own variable."""
    names = {f"provider_params__{name}": P + f"PROVIDER_PARAMS__{name.upper()}" for name in nested}
    _, problems = with_nested(RawRoute(P, dict.fromkeys(names, "canary"), names), before)
    assert [problem.variable for problem in problems] == list(names.values())
    assert "canary" not in repr(problems)


PARTS = ["deriver", "embedding", "dialectic_levels__max_", "model_config", "fallback", "overrides", "provider_params"]
PARTS += ["extra_body", "extra_headers", "model", "transport", "seed", "", "_", "a"]
names = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("__".join),
    st.lists(st.sampled_from(PARTS), max_size=5).map(lambda parts: "deriver_model_config__" + "__".join(parts)),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(names, st.text(max_size=20), max_size=12))
def test_whatever_the_variables_are_nothing_is_raised(variables: dict[str, str]) -> None:
    """Any names and values make agents or mistakes, never an exception, and every non-empty one is accounted for."""
    got = discover(variables, KNOWN)

    for chain in got.agents.values():
        assert chain
        for route in chain:
            assert route.fields.keys() == route.variables.keys()
            assert all(text.strip() for text in route.fields.values())
            with_nested(route, {})
            split_model(route.fields)
    told = {problem.variable.lower() for problem in got.problems}
    used = {
        variable.lower() for chain in got.agents.values() for route in chain for variable in route.variables.values()
    }
    assert not told & used
