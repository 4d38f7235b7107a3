"""The plan: what settings come to, and which mistakes of the whole are told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pydantic import SecretStr

from understudy.providers import TRANSPORTS, ConfigurationError, Verdict
from understudy.supervisor import AgentSettings, Limits, Plan, Policy, RouteSettings, Settings, load, sound

P = "DERIVER_MODEL_CONFIG__"
F = P + "FALLBACK__"
KEYS = {f"LLM_{transport.upper()}_API_KEY": "k" for transport, row in TRANSPORTS.items() if row.needs_key}

Env: TypeAlias = Callable[[dict[str, str]], Plan]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Env:
    """Set variables and load the plan they make."""

    def loaded(variables: dict[str, str]) -> Plan:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)
        return load()

    return loaded


def coded(*routes: RouteSettings, **shared: Any) -> Plan:
    """Load the plan of one agent `deriver` made in code."""
    primary, *fallbacks = routes
    agent = AgentSettings(primary=primary, fallbacks=tuple(fallbacks))
    return load(Settings.in_code(agents={"deriver": agent}, **shared))


def variables_of(plan: Plan) -> list[str]:
    return [problem.variable for problem in plan.problems]


# ---- routes and endpoints


def test_a_chain_becomes_routes_in_order(env: Env) -> None:
    """Each route has its transport, model, address and key, the shared ones where it has none of its own."""
    plan = env(
        {
            P + "MODEL": "gpt",
            "LLM_OPENAI_API_KEY": "shared",
            F + "TRANSPORT": "anthropic",
            F + "MODEL": "claude",
            F + "API_KEY": "own",
            F + "BASE_URL": "HTTPS://Proxy.example/v1/",
            F + "FALLBACK__TRANSPORT": "lmstudio",
            F + "FALLBACK__MODEL": "qwen",
            "LLM_LMSTUDIO_BASE_URL": "http://studio:1234/v1",
        }
    )
    assert plan.problems == plan.ignored == ()
    routes = plan.agents["deriver"].routes
    assert [(route.transport, route.model, route.target.base_url, route.target.secrets) for route in routes] == [
        ("openai", "gpt", "https://api.openai.com/v1", ("shared",)),
        ("anthropic", "claude", "https://proxy.example", ("own",)),
        ("lmstudio", "qwen", "http://studio:1234/v1", ()),
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_has_its_own_address_by_default(env: Env, transport: str) -> None:
    """Without any base URL a route leads to its vendor, with the transport's shared key if there is one."""
    plan = env({**KEYS, P + "TRANSPORT": transport, P + "MODEL": "m"})
    [target] = sound(plan).targets
    assert (target.transport, target.base_url) == (transport, TRANSPORTS[transport].base_url)


@pytest.mark.parametrize(
    ("one", "other", "endpoints"),
    [
        ({}, {}, 1),
        ({"MODEL": "a"}, {"MODEL": "b", "TEMPERATURE": "1"}, 1),
        ({"BASE_URL": "https://api.openai.com/v1/"}, {}, 1),
        ({"BASE_URL": "HTTP://A/x"}, {"BASE_URL": "http://a/x/"}, 1),
        ({"API_KEY": "k"}, {}, 1),
        ({"API_KEY": "k2"}, {}, 2),
        ({"API_KEY": "k2"}, {"API_KEY_ENV": "SECOND_KEY"}, 1),
        ({"BASE_URL": "http://a"}, {}, 2),
        ({"BASE_URL": "http://a"}, {"BASE_URL": "http://b"}, 2),
        ({"TRANSPORT": "lmstudio"}, {"TRANSPORT": "openai"}, 2),
    ],
)
def test_an_endpoint_is_transport_address_and_key(
    env: Env, one: dict[str, str], other: dict[str, str], endpoints: int
) -> None:
    """Two agents share a target exactly if transport, normalised address and key are the same."""
    agents = {P + "MODEL": "m", "OTHER_MODEL_CONFIG__MODEL": "m"}
    agents |= {P + name: text for name, text in one.items()}
    agents |= {f"OTHER_MODEL_CONFIG__{name}": text for name, text in other.items()}
    plan = sound(env({**agents, "LLM_OPENAI_API_KEY": "k", "SECOND_KEY": "k2"}))

    assert len(plan.targets) == endpoints
    targets = {agent.routes[0].target for agent in plan.agents.values()}
    assert len(targets) == endpoints


def test_targets_stand_in_the_order_of_their_first_use(env: Env) -> None:
    """Every endpoint is there once, however many routes lead to it."""
    plan = env({**KEYS, P + "MODEL": "m", F + "MODEL": "nous/m", F + "FALLBACK__MODEL": "openai/n"})
    assert [target.transport for target in plan.targets] == ["openai", "nous"]


def test_an_endpoint_knows_its_bulkhead_and_its_limits(env: Env) -> None:
    """The shared limits of an endpoint arrive in its target."""
    limits = {"LLM_MAX_CONCURRENCY": "7", "LLM_CONNECT_TIMEOUT": "3", "LLM_WRITE_TIMEOUT": "4"}
    (target,) = env({**KEYS, P + "MODEL": "m", **limits}).targets
    assert (target.max_concurrency, target.connect_timeout, target.write_timeout) == (7, 3.0, 4.0)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (P + "MODEL", "LLM_OPENAI_BASE_URL", "LLM_OPENAI_API_KEY")),
        ({P + "BASE_URL": "http://a"}, (P + "MODEL", P + "BASE_URL", "LLM_OPENAI_API_KEY")),
        ({P + "OVERRIDES__BASE_URL": "http://a"}, (P + "MODEL", P + "OVERRIDES__BASE_URL", "LLM_OPENAI_API_KEY")),
        ({P + "API_KEY": "x"}, (P + "MODEL", "LLM_OPENAI_BASE_URL", P + "API_KEY")),
        ({P + "API_KEY_ENV": "MY_KEY"}, (P + "MODEL", "LLM_OPENAI_BASE_URL", P + "API_KEY_ENV")),
        ({P + "API_KEY_ENV": "MY_KEY", P + "API_KEY": "x"}, (P + "MODEL", "LLM_OPENAI_BASE_URL", P + "API_KEY")),
    ],
)
def test_a_route_knows_what_to_look_at_when_it_is_refused(
    env: Env, variables: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """The variables that set model, address and key are named as they are spelled, and the key is not shown."""
    plan = env({**KEYS, P + "MODEL": "m", "MY_KEY": "canary", **variables})
    [route] = plan.agents["deriver"].routes
    names = route.variables
    assert (names.model, names.base_url, names.key) == expected
    assert all(name in route.help for name in expected)
    assert "canary" not in route.help + repr(plan)


def test_a_route_made_in_code_is_named_by_the_variables_it_could_have() -> None:
    """Without variables of its own a route still has names for its help."""
    [route] = coded(RouteSettings(model="m", base_url="http://a", api_key=SecretStr("k"))).agents["deriver"].routes
    assert (route.variables.model, route.variables.base_url, route.variables.key) == (
        P + "MODEL",
        P + "BASE_URL",
        P + "API_KEY",
    )


# ---- parameters and limits


@pytest.mark.parametrize(
    ("fields", "shared", "expected"),
    [
        ({}, {}, {}),
        ({}, {"LLM_DEFAULT_MAX_TOKENS": "100"}, {"max_tokens": 100}),
        ({"MAX_OUTPUT_TOKENS": "7"}, {"LLM_DEFAULT_MAX_TOKENS": "100"}, {"max_tokens": 7}),
        ({"STOP_SEQUENCES": "END"}, {}, {"stop": ("END",)}),
        ({"THINKING_EFFORT": "low", "TOP_P": "0"}, {}, {"reasoning_effort": "low", "top_p": 0.0}),
        ({"TEMPERATURE": "0", "SEED": "0"}, {}, {"temperature": 0.0, "seed": 0}),
        (
            {"PROVIDER_PARAMS": '{"extra_query": {"v": "1"}, "store": true}'},
            {},
            {"extra_query": {"v": "1"}, "extra_body": {"store": True}},
        ),
        ({"CACHE_POLICY": "auto"}, {}, {"cache_policy": "auto"}),
        ({"STRUCTURED_OUTPUT_MODE": "tool"}, {}, {"structured_output_mode": "tool"}),
        ({"TIMEOUT": "9"}, {}, {}),
    ],
)
def test_a_route_has_the_parameters_that_are_set_for_it(
    env: Env, fields: dict[str, str], shared: dict[str, str], expected: dict[str, object]
) -> None:
    """What is set becomes parameters under their own names, zeros too; what is not set is not there."""
    plan = env({**KEYS, P + "MODEL": "m", **{P + name: text for name, text in fields.items()}, **shared})
    assert plan.agents["deriver"].routes[0].parameters == expected


@pytest.mark.parametrize(
    ("fields", "shared", "expected"),
    [
        ({}, {}, Limits(180, 60, 30)),
        ({}, {"DEFAULT_TIMEOUT": "90", "FIRST_TOKEN_TIMEOUT": "20", "STALL_TIMEOUT": "9"}, Limits(90, 20, 9)),
        ({}, {"DEFAULT_TIMEOUT": "40"}, Limits(40, 40, 30)),
        ({"TIMEOUT": "300"}, {}, Limits(300, 60, 30)),
        ({"TIMEOUT": "50"}, {}, Limits(50, 50, 30)),
        ({"TIMEOUT": "50", "FIRST_TOKEN_TIMEOUT": "7", "STALL_TIMEOUT": "8"}, {}, Limits(50, 7, 8)),
        ({"STALL_TIMEOUT": "8"}, {"STALL_TIMEOUT": "9"}, Limits(180, 60, 8)),
        ({"THINKING_EFFORT": "low"}, {}, Limits(180, 180, 30)),
        ({"REASONING_EFFORT": "max", "TIMEOUT": "300"}, {}, Limits(300, 300, 30)),
        ({"THINKING_EFFORT": "none"}, {}, Limits(180, 60, 30)),
        ({"THINKING_BUDGET_TOKENS": "1024"}, {}, Limits(180, 180, 30)),
        ({"THINKING_BUDGET_TOKENS": "0"}, {}, Limits(180, 60, 30)),
        ({"THINKING_EFFORT": "high", "FIRST_TOKEN_TIMEOUT": "7"}, {}, Limits(180, 7, 30)),
    ],
)
def test_a_route_has_its_limits(env: Env, fields: dict[str, str], shared: dict[str, str], expected: Limits) -> None:
    """A route's own limit wins over the shared one; where it thinks, the first token may take the whole attempt."""
    settings = {P + name: text for name, text in fields.items()} | {f"LLM_{k}": text for k, text in shared.items()}
    plan = env({**KEYS, P + "MODEL": "m", **settings})
    assert plan.problems == ()
    assert plan.agents["deriver"].routes[0].limits == expected


def test_a_fallback_has_its_own_limits_and_parameters(env: Env) -> None:
    """Nothing is inherited from the primary."""
    plan = env({**KEYS, P + "MODEL": "m", F + "MODEL": "nous/n", P + "TIMEOUT": "9", P + "SEED": "1"})
    primary, fallback = plan.agents["deriver"].routes
    assert (primary.limits.attempt, fallback.limits.attempt) == (9, 180)
    assert (primary.parameters, fallback.parameters) == ({"seed": 1}, {})


def test_the_rules_of_every_request_are_in_the_plan(env: Env) -> None:
    """Attempts, retries in place, refused keys and the timeout of the whole arrive where they are asked for."""
    assert env({**KEYS, P + "MODEL": "m"}).agents["deriver"].routes[0].policy == Policy()
    plan = env(
        {
            **KEYS,
            P + "MODEL": "m",
            P + "FALLBACK_ON_CONTEXT_LENGTH": "true",
            P + "FALLBACK_ON_CONTENT_POLICY": "false",
            F + "MODEL": "nous/n",
            F + "FALLBACK_ON_CONTENT_POLICY": "yes",
            "LLM_RETRY_ATTEMPTS": "5",
            "LLM_IN_PLACE_RETRIES": "1",
            "LLM_FALLBACK_ON_REFUSED": "never",
            "LLM_TOTAL_TIMEOUT": "70",
        }
    )
    shared = Policy(attempts=5, in_place_retries=1, hand_over_refused=False)
    primary, fallback = plan.agents["deriver"].routes
    assert primary.policy == replace(shared, opted_in=frozenset({Verdict.CAPABILITY}))
    assert fallback.policy == replace(shared, opted_in=frozenset({Verdict.POLICY}))
    assert plan.total_timeout == 70.0


# ---- mistakes of the whole


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({P + "MODEL": "m"}, ["LLM_OPENAI_API_KEY"]),
        ({P + "MODEL": "m", "LLM_OPENAI_API_KEY": "  "}, ["LLM_OPENAI_API_KEY"]),
        ({P + "MODEL": "anthropic/m"}, ["LLM_ANTHROPIC_API_KEY"]),
        ({P + "MODEL": "gemini/m", F + "MODEL": "nous/m"}, ["LLM_GEMINI_API_KEY", "LLM_NOUS_API_KEY"]),
        ({P + "MODEL": "m", P + "BASE_URL": "https://API.openai.com/v1/"}, ["LLM_OPENAI_API_KEY"]),
        ({P + "MODEL": "m", "LLM_OPENAI_API_KEY": "k"}, []),
        ({P + "MODEL": "m", P + "API_KEY": "k"}, []),
        ({P + "MODEL": "m", P + "BASE_URL": "http://localhost:8000/v1"}, []),
        ({P + "MODEL": "m", "LLM_OPENAI_BASE_URL": "http://localhost:8000/v1"}, []),
        ({P + "MODEL": "lmstudio/m"}, []),
        ({P + "MODEL": "m", P + "API_KEY_ENV": "QQ_NOT_SET"}, [P + "API_KEY_ENV"]),
        ({P + "MODEL": "m", P + "API_KEY_ENV": "QQ_NOT_SET", "LLM_OPENAI_API_KEY": "k"}, [P + "API_KEY_ENV"]),
        ({P + "MODEL": "m", "LLM_OPENAI_API_KEY": "two words"}, ["LLM_OPENAI_API_KEY"]),
        ({P + "MODEL": "m", "LLM_OPENAI_BASE_URL": "localhost:8000"}, ["LLM_OPENAI_BASE_URL"]),
        ({P + "MODEL": "m", P + "TEMPERATURE": "9"}, [P + "TEMPERATURE", "LLM_OPENAI_API_KEY"]),
    ],
)
def test_a_key_is_missed_only_where_the_vendor_wants_one(
    env: Env, variables: dict[str, str], expected: list[str]
) -> None:
    """Without a key a vendor's own address is a mistake, told once; somebody else's server may do without."""
    assert variables_of(env(variables)) == expected


def test_a_missing_key_names_the_route_and_both_ways_to_mend_it(env: Env) -> None:
    """The remedy has the shared variable, and the route's own at its true depth, past an ignored fallback."""
    plan = env({P + "MODEL": "lmstudio/m", F + "SEED": "1", F + "FALLBACK__MODEL": "nous/n"})
    [problem] = plan.problems
    assert problem.variable == "LLM_NOUS_API_KEY"
    assert F + "FALLBACK__MODEL" in problem.expected
    assert f"{F}FALLBACK__API_KEY" in problem.remedy


def test_a_missing_key_is_told_once_however_many_routes_want_it(env: Env) -> None:
    """One problem per key, with the first route that wants it and how many more there are; own servers do not count."""
    names = ("A", "B", "C", "D")
    plan = env({f"{name}_MODEL_CONFIG__MODEL": "m" for name in names} | {"D_MODEL_CONFIG__BASE_URL": "http://own/v1"})
    [problem] = plan.problems
    assert problem.expected == "a key for https://api.openai.com/v1, to which A_MODEL_CONFIG__MODEL and 2 more lead"
    assert problem.remedy == "set it, or A_MODEL_CONFIG__API_KEY for this route alone"
    assert [agent.routes[0].wants_key for agent in plan.agents.values()] == [True, True, True, False]


@pytest.mark.parametrize("source", ["environment", "dotenv"])
@pytest.mark.parametrize(
    ("transport", "name"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("gemini", "GOOGLE_API_KEY"),
        ("nous", "NOUS_API_KEY"),
    ],
)
def test_a_key_that_only_the_vendors_tools_read_is_pointed_at(env: Env, transport: str, name: str, source: str) -> None:
    """Where the key is missing but stands under the vendor's own name, the remedy says how to use it, and it works."""
    if source == "dotenv":
        Path(".env").write_text(f"{name}=canary\n", encoding="utf-8")
    plan = env({P + "MODEL": f"{transport}/m", **({} if source == "dotenv" else {name: "canary"})})
    [problem] = plan.problems
    shared = f"LLM_{transport.upper()}_API_KEY"
    assert problem.variable == shared
    assert problem.remedy == f"{name} is set but not read: set {shared} to its value, or {P}API_KEY_ENV={name}"

    mended = env({P + "API_KEY_ENV": name})
    assert mended.problems == ()
    assert mended.targets[0].secrets == ("canary",)


def test_a_vendors_variable_is_nobodys_business_where_the_key_is_set(env: Env) -> None:
    """`OPENAI_API_KEY` beside a key of ours is neither used nor spoken of."""
    plan = env({**KEYS, P + "MODEL": "m", "OPENAI_API_KEY": "canary"})
    assert plan.problems == plan.ignored == ()
    assert plan.targets[0].secrets == ("k",)


CERTIFICATE = str(Path(__file__).parent / "fixtures" / "self_signed.crt")
HTTP = {P + "BASE_URL": "http://own.test/v1"}


@pytest.mark.parametrize(
    ("variables", "expected", "reason"),
    [
        ({}, [], ""),
        ({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}, [], ""),
        ({"SSL_CERT_FILE": CERTIFICATE}, [], ""),
        ({"SSL_CERT_FILE": CERTIFICATE, "SSL_CERT_DIR": "/nowhere"}, [], ""),
        ({"SSL_CERT_DIR": "hashed"}, [], ""),
        ({"SSL_CERT_DIR": "/nowhere:hashed"}, [], ""),
        ({"SSL_CERT_DIR": "/nowhere", **HTTP}, [], ""),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, ["SSL_CERT_FILE"], "No such file or directory"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem", **HTTP}, ["SSL_CERT_FILE"], "No such file or directory"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem", "SSL_CERT_DIR": "hashed"}, ["SSL_CERT_FILE"], "No such file"),
        ({"SSL_CERT_FILE": CERTIFICATE[:-3] + "key"}, ["SSL_CERT_FILE"], "no certificate in it"),
        ({"SSL_CERT_FILE": "hashed"}, ["SSL_CERT_FILE"], "directory"),
        ({"SSL_CERT_DIR": "/nowhere"}, ["SSL_CERT_DIR"], "openssl rehash"),
        ({"SSL_CERT_DIR": "."}, ["SSL_CERT_DIR"], "openssl rehash"),
        ({"SSL_CERT_DIR": CERTIFICATE}, ["SSL_CERT_DIR"], "openssl rehash"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem", P + "SEED": "x"}, [P + "SEED", "SSL_CERT_FILE"], "No such file"),
    ],
)
def test_certificates_that_cannot_be_used_are_a_mistake(
    env: Env, variables: dict[str, str], expected: list[str], reason: str
) -> None:
    """What keeps clients from opening, or from trusting anybody, is told by its variable, together with all else."""
    Path("hashed").mkdir()
    Path("hashed", "0123abcd.0").touch()
    plan = env({**KEYS, P + "MODEL": "m", **variables})
    assert variables_of(plan) == expected
    assert reason in "".join(map(str, plan.problems))


def test_a_full_file_table_is_no_fault_of_the_certificates(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as it is: another SSL_CERT_FILE could not be opened either."""

    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pathlib.Path.read_bytes", full)
    with pytest.raises(OSError, match="Too many open files"):
        env({**KEYS, P + "MODEL": "m", "SSL_CERT_FILE": CERTIFICATE})


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({"agents": {}}, "dict"), ("gpt", "str"), (Settings, "the class Settings"), (RouteSettings(model="m"), "Route")],
)
def test_settings_of_another_kind_are_a_type_error(settings: Any, kind: str) -> None:
    """Whoever gives a dict learns what to give."""
    with pytest.raises(TypeError, match=rf"settings must be Settings, as Settings.in_code.* makes them, not {kind}"):
        load(settings)


def test_a_key_that_was_only_named_in_code_is_never_replaced_by_another() -> None:
    """`api_key_env` in code is looked up nowhere: that is a mistake, and the shared key is not taken silently."""
    plan = coded(RouteSettings(model="m", api_key_env="MY_KEY"), openai_api_key="shared")
    assert variables_of(plan) == [P + "API_KEY_ENV"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, []),
        ({"CONNECT": "61", "FIRST_TOKEN": "61"}, []),
        ({"CONNECT": "61", "FIRST_TOKEN": "60"}, ["LLM_CONNECT_TIMEOUT"]),
        ({"FIRST_TOKEN": "60", "TOTAL": "59"}, ["LLM_FIRST_TOKEN_TIMEOUT"]),
        ({"CONNECT": "60", "TOTAL": "59"}, ["LLM_CONNECT_TIMEOUT"]),
        ({"TOTAL": "3"}, []),
        ({"FIRST_TOKEN": "3"}, []),
        ({"CONNECT": "9", "FIRST_TOKEN": "8", "TOTAL": "7"}, ["LLM_CONNECT_TIMEOUT", "LLM_FIRST_TOKEN_TIMEOUT"]),
        ({"CONNECT": "7", "FIRST_TOKEN": "7", "TOTAL": "7"}, []),
    ],
)
def test_limits_are_in_order(env: Env, limits: dict[str, str], expected: list[str]) -> None:
    """Of the limits that are set, what is shorter by nature may not be longer (R-CFG-2); a default gives way."""
    plan = env({**KEYS, P + "MODEL": "m", **{f"LLM_{name}_TIMEOUT": text for name, text in limits.items()}})
    assert variables_of(plan) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["<AGENT>_MODEL_CONFIG__MODEL"]),
        ({"EMBEDDING_MODEL_CONFIG__MODEL": "m"}, ["<AGENT>_MODEL_CONFIG__MODEL"]),
        ({P + "MODEL": ""}, ["<AGENT>_MODEL_CONFIG__MODEL"]),
        ({P + "SEED": "1"}, [P + "MODEL"]),
        ({F + "MODEL": "nous/m", "LLM_NOUS_API_KEY": "k"}, [P + "MODEL"]),
    ],
)
def test_no_agent_at_all_is_a_mistake(env: Env, variables: dict[str, str], expected: list[str]) -> None:
    """Where nobody can ask anything, the variable to begin with is named."""
    assert variables_of(env(variables)) == expected


def test_mistakes_of_values_and_of_the_whole_are_told_together(env: Env) -> None:
    """A wrong value does not hide a missing key or limits out of order, in the same agent or another."""
    plan = env(
        {
            P + "MODEL": "m",
            P + "TEMPERATURE": "hot",
            P + "MODLE": "m",
            "OTHER_MODEL_CONFIG__MODEL": "nous/n",
            "OTHER_MODEL_CONFIG__FALLBACK__MODEL": "n",
            "LLM_STALL_TIMEOUT": "never",
            "LLM_CONNECT_TIMEOUT": "99",
            "LLM_TOTAL_TIMEOUT": "98",
        }
    )
    assert sorted(set(variables_of(plan))) == sorted(
        [
            P + "TEMPERATURE",
            P + "MODLE",
            "LLM_STALL_TIMEOUT",
            "LLM_CONNECT_TIMEOUT",
            "LLM_OPENAI_API_KEY",
            "LLM_NOUS_API_KEY",
        ]
    )
    assert [problem.variable for problem in plan.ignored] == ["OTHER_MODEL_CONFIG__FALLBACK__TRANSPORT"]
    with pytest.raises(ConfigurationError) as caught:
        sound(plan)
    assert caught.value.problems == plan.problems
    assert all(str(problem) in str(caught.value) for problem in plan.problems)


def test_routes_with_a_mistake_of_the_whole_can_still_be_shown(env: Env) -> None:
    """A chain without its key is in the plan, so that `understudy check` can print it."""
    plan = env({P + "MODEL": "m", F + "MODEL": "nous/n"})
    assert [route.model for route in plan.agents["deriver"].routes] == ["m", "n"]
    assert len(plan.problems) == 2


def test_an_agent_in_code_without_a_model_is_a_mistake() -> None:
    """A route made in code is held to the same rules, on every place of the chain."""
    plan = coded(RouteSettings(model=" "), RouteSettings(transport="nous"))
    assert variables_of(plan) == [P + "MODEL", F + "MODEL"]


def test_a_sound_plan_is_given_back_as_it_is(env: Env) -> None:
    """Without mistakes `sound` changes nothing; what is ignored does not count."""
    plan = env({**KEYS, P + "MODEL": "m", F + "SEED": "1"})
    assert sound(plan) is plan
    assert plan.ignored
