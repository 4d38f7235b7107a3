"""The login of Nous in settings and plan: which credential routes to Nous use, and how every mistake is told."""

from __future__ import annotations

import json
import os
import pickle
import pwd
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from understudy._cli import cli
from understudy.credentials import Mode
from understudy.providers import TRANSPORTS, ConfigurationError, Problem
from understudy.supervisor import (
    AgentSettings,
    Plan,
    RouteSettings,
    Settings,
    load,
    login_source,
    sound,
    without_keys,
)

P = "DERIVER_MODEL_CONFIG__"
NOUS = {P + "MODEL": "nous/hermes"}
KEY = "LLM_NOUS_API_KEY"
CANARY = "canary-5f1e"
HOME = "HERMES_HOME"
NAMES = (
    *("NOUS_AUTH_MODE", "NOUS_AUTH_JSON_PATH", "NOUS_OAUTH_STATE_PATH", "NOUS_REFRESH_TOKEN", "NOUS_PORTAL_BASE_URL"),
    *("NOUS_WRITE_ENV_KEY", "NOUS_ALLOW_INSECURE_TLS", HOME, "HERMES_SHARED_AUTH_DIR", "HERMES_CA_BUNDLE"),
)
"""Every variable of the login."""

OWN = "home/.understudy/nous_oauth_state.json"
AUTH = "home/.hermes/auth.json"
SHARED = "home/hermes-shared/nous_auth.json"
PROFILE = "home/.hermes/profiles/x"

Env: TypeAlias = Callable[[Mapping[str, str]], Plan]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Env:
    """Set variables, in whose values `{here}` is the test's folder, and load the plan they make."""

    def loaded(variables: Mapping[str, str]) -> Plan:
        for name, text in variables.items():
            monkeypatch.setenv(name, text.format(here=Path.cwd()))
        return load()

    return loaded


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user whose home folder nobody knows, as some services do."""

    def nobody(*_: object) -> pwd.struct_passwd:
        raise KeyError("nobody")

    for name in ("HOME", "USERPROFILE", HOME, "HERMES_SHARED_AUTH_DIR", "NOUS_OAUTH_STATE_PATH"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def made(*files: str) -> None:
    """Make stores in the test's folder; what is in them does not count here."""
    for file in files:
        path = Path.cwd() / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")


def coded(**shared: Any) -> Plan:
    """Load the plan of an agent made in code whose one route leads to Nous."""
    agent = AgentSettings(primary=RouteSettings(transport="nous", model="hermes"))
    return load(Settings.in_code(agents={"deriver": agent}, **shared))


def mistakes() -> dict[str, Problem]:
    """Return the mistakes in what environment and `.env` say, by their variables; there must be one."""
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    return {problem.variable: problem for problem in caught.value.problems}


# ---- which credential it is


@pytest.mark.parametrize(
    ("files", "variables", "mode", "main"),
    [
        ([], {KEY: "k"}, Mode.STATIC, None),
        ([OWN], {}, Mode.OWN, OWN),
        ([OWN, AUTH, SHARED], {KEY: "k"}, Mode.OWN, OWN),
        ([AUTH], {}, Mode.HERMES, AUTH),
        ([AUTH], {KEY: "k", "NOUS_REFRESH_TOKEN": "r"}, Mode.HERMES, AUTH),
        ([SHARED], {}, Mode.HERMES, AUTH),
        ([AUTH], {HOME: "{here}/" + PROFILE}, Mode.HERMES, PROFILE + "/auth.json"),
        ([PROFILE + "/auth.json"], {HOME: "{here}/" + PROFILE}, Mode.HERMES, PROFILE + "/auth.json"),
        ([], {"NOUS_REFRESH_TOKEN": "r"}, Mode.OWN, OWN),
        ([], {KEY: "k", "NOUS_REFRESH_TOKEN": "r"}, Mode.OWN, OWN),
        ([OWN, AUTH], {KEY: "k", "NOUS_AUTH_MODE": "static"}, Mode.STATIC, None),
        ([OWN, AUTH], {"NOUS_AUTH_MODE": "hermes"}, Mode.HERMES, AUTH),
        ([OWN, AUTH], {"NOUS_AUTH_MODE": "own"}, Mode.OWN, OWN),
        ([OWN, AUTH], {"NOUS_AUTH_MODE": " "}, Mode.OWN, OWN),
        (["a/login.json"], {"NOUS_OAUTH_STATE_PATH": "{here}/a/login.json"}, Mode.OWN, "a/login.json"),
        (["a/auth.json"], {"NOUS_AUTH_JSON_PATH": "{here}/a/auth.json"}, Mode.HERMES, "a/auth.json"),
        (["b/nous_auth.json"], {"HERMES_SHARED_AUTH_DIR": "{here}/b"}, Mode.HERMES, AUTH),
        (["home/c/l.json"], {"NOUS_OAUTH_STATE_PATH": "~/c/l.json"}, Mode.OWN, "home/c/l.json"),
    ],
)
def test_what_is_there_decides_which_credential_it_is(
    env: Env, files: list[str], variables: dict[str, str], mode: Mode, main: str | None
) -> None:
    """NOUS_AUTH_MODE, else our own store, Hermes Agent's, a refresh token, a key; a login's routes have no key."""
    made(*files)
    plan = sound(env({**NOUS, **variables}))
    [target] = plan.targets
    if plan.login is None:
        assert (mode, main) == (Mode.STATIC, None)
        assert (target.secrets, target.credential) == (("k",), "")
    else:
        assert (plan.login.mode, plan.login.main) == (mode, Path.cwd() / str(main))
        assert (target.api_key, target.credential) == (None, "nous")


@pytest.mark.parametrize(
    ("files", "variables", "told"),
    [
        ([], {}, (KEY, "a key for https://inference-api.nousresearch.com/v1", "log in with `understudy login nous`")),
        ([OWN], {"NOUS_AUTH_MODE": "static"}, (KEY, "a key for ", "log in with `understudy login nous`")),
        ([AUTH], {"NOUS_AUTH_MODE": "own"}, ("NOUS_OAUTH_STATE_PATH", "{here}/" + OWN, "understudy login nous")),
        ([OWN], {"NOUS_AUTH_MODE": "hermes", KEY: "k"}, ("NOUS_AUTH_JSON_PATH", "{here}/" + AUTH, "log in there")),
        (
            [OWN],
            {"NOUS_AUTH_MODE": "hermes", "NOUS_AUTH_JSON_PATH": "{here}/a.json"},
            ("NOUS_AUTH_JSON_PATH", "{here}/a.json", "log in there"),
        ),
    ],
)
def test_what_is_missing_is_told_once(
    env: Env, files: list[str], variables: dict[str, str], told: tuple[str, str, str]
) -> None:
    """One mistake, however many routes want the credential: its variable, where it was looked for, and the remedy."""
    made(*files)
    [problem] = env(
        {**NOUS, P + "FALLBACK__MODEL": "nous/other", "B_MODEL_CONFIG__MODEL": "nous/b"} | variables
    ).problems
    variable, expected, remedy = told
    assert problem.variable == variable
    assert expected.format(here=Path.cwd()) in problem.expected
    assert remedy in problem.remedy
    assert problem.lacks_key


def test_a_store_that_cannot_be_looked_at_is_there(env: Env) -> None:
    """Its trouble belongs to whoever reads it: no other credential is taken in silence."""
    loop = Path.cwd() / "loop.json"
    loop.symlink_to(loop)
    login = sound(env({**NOUS, KEY: "k", "NOUS_OAUTH_STATE_PATH": str(loop)})).login
    assert login is not None
    assert login.mode is Mode.OWN


def test_a_folder_where_a_file_should_be_in_the_way_is_no_store(env: Env) -> None:
    """A path that leads through a file leads nowhere."""
    made("file")
    assert sound(env({**NOUS, KEY: "k", "NOUS_OAUTH_STATE_PATH": "{here}/file/login.json"})).login is None


@pytest.mark.parametrize(
    "variables",
    [
        {P + "MODEL": "lmstudio/qwen", "NOUS_AUTH_MODE": "own"},
        {**NOUS, P + "API_KEY": "own", "NOUS_AUTH_MODE": "own"},
        {**NOUS, P + "API_KEY_ENV": "MY_KEY", "MY_KEY": "own", "NOUS_AUTH_MODE": "hermes"},
    ],
    ids=["no route to Nous", "a key of its own", "a key of its own by name"],
)
def test_where_nobody_needs_a_login_none_is_looked_for(env: Env, variables: dict[str, str]) -> None:
    """Neither is there one in the plan, nor is one missed."""
    plan = sound(env(variables))
    assert plan.login is None
    assert [target.credential for target in plan.targets] == [""]


def test_a_key_of_its_own_beats_the_login_for_its_route_alone(env: Env) -> None:
    """The other routes to Nous keep the login."""
    made(OWN)
    routes = (
        sound(env({**NOUS, P + "FALLBACK__MODEL": "nous/b", P + "FALLBACK__API_KEY": "own"})).agents["deriver"].routes
    )
    assert [(route.target.secrets, route.target.credential) for route in routes] == [((), "nous"), (("own",), "")]


def test_agents_with_the_login_share_one_target(env: Env) -> None:
    """One login at one address is one endpoint, so that one actor renews it; another address is another endpoint."""
    made(AUTH)
    here = {**NOUS, "B_MODEL_CONFIG__MODEL": "nous/other"}
    assert len(sound(env(here)).targets) == 1
    elsewhere = {"TRANSPORT": "nous", "MODEL": "c", "BASE_URL": "https://else.example/v1"}
    targets = sound(env({**here, **{f"C_MODEL_CONFIG__{name}": text for name, text in elsewhere.items()}})).targets
    assert [target.credential for target in targets] == ["nous", "nous"]


def test_other_transports_know_nothing_of_the_login(env: Env) -> None:
    """Only routes of transport nous are asked with it."""
    made(OWN)
    plan = sound(env({**NOUS, P + "FALLBACK__MODEL": "openai/gpt", "LLM_OPENAI_API_KEY": "k"}))
    assert [(target.secrets, target.credential) for target in plan.targets] == [((), "nous"), (("k",), "")]


def test_a_server_of_ones_own_needs_neither_key_nor_login(env: Env) -> None:
    """Without a login, a route to another address goes without a key, as before."""
    assert sound(env({**NOUS, "LLM_NOUS_BASE_URL": "http://own.test/v1"})).login is None


def test_the_vendors_key_is_pointed_at(env: Env) -> None:
    """NOUS_API_KEY, which is not read, is the nearest remedy."""
    [problem] = env({**NOUS, "NOUS_API_KEY": CANARY}).problems
    assert problem.remedy.startswith(f"NOUS_API_KEY is set but not read: set {KEY} to its value")
    assert CANARY not in str(problem)


def test_who_is_refused_is_told_of_the_login(env: Env) -> None:
    """The words of a refusal name the login's file, where another route's name a variable."""
    made(OWN)
    [route] = sound(env(NOUS)).agents["deriver"].routes
    url = TRANSPORTS["nous"].base_url
    assert route.help == (f"check the login in {Path.cwd() / OWN}, {P}MODEL (hermes) and LLM_NOUS_BASE_URL ({url})")


def test_a_simulated_plan_has_no_login(env: Env) -> None:
    """Whoever simulates touches no token, and misses none."""
    made(OWN)
    plan = without_keys(env({**NOUS, P + "FALLBACK__MODEL": "lmstudio/qwen"}))
    assert plan.login is None
    assert [(target.transport, target.credential) for target in plan.targets] == [("nous", ""), ("lmstudio", "")]


@pytest.mark.parametrize("mode", ["static", "hermes", "own"])
def test_a_simulated_plan_lacks_no_login(env: Env, mode: str) -> None:
    """What is missing for a mode is no mistake there."""
    assert without_keys(env({**NOUS, "NOUS_AUTH_MODE": mode})).problems == ()


# ---- what a login is told


def test_all_that_is_set_arrives_in_the_login(env: Env) -> None:
    """Each variable has its place; LLM_NOUS_BASE_URL is the operator's word on inference."""
    plan = env(
        {
            **NOUS,
            "NOUS_AUTH_MODE": "own",
            "NOUS_OAUTH_STATE_PATH": "~/l.json",
            "NOUS_REFRESH_TOKEN": CANARY,
            "NOUS_PORTAL_BASE_URL": "http://localhost:8080/",
            "LLM_NOUS_BASE_URL": "http://localhost:9090/v1",
            "NOUS_WRITE_ENV_KEY": "~/x/.env",
            "NOUS_ALLOW_INSECURE_TLS": "true",
            "HERMES_CA_BUNDLE": "~/ca.pem",
        }
    )
    login, home = plan.login, Path.cwd() / "home"
    assert login is not None
    assert login.refresh_token is not None
    assert login.refresh_token.reveal() == CANARY
    assert (login.store, login.hermes) == (home / "l.json", None)
    assert (login.portal, login.inference) == ("http://localhost:8080", "http://localhost:9090/v1")
    assert (login.env_file, login.allow_insecure, login.ca_bundle) == (home / "x/.env", True, str(home / "ca.pem"))


def test_what_is_not_set_is_empty_in_the_login(env: Env) -> None:
    """No override, no bootstrap, nothing written elsewhere, and TLS is verified; a route's address is only its own."""
    made(AUTH)
    login = sound(env({P + "TRANSPORT": "nous", P + "MODEL": "h", P + "BASE_URL": "https://else.example/v1"})).login
    assert login is not None
    assert (login.portal, login.inference, login.ca_bundle) == ("", "", "")
    assert (login.refresh_token, login.env_file, login.allow_insecure) == (None, None, False)
    assert login.hermes is not None
    assert [str(path.relative_to(Path.cwd())) for path in (login.hermes.profile, login.hermes.shared)] == [AUTH, SHARED]


# ---- where settings come from


@pytest.mark.parametrize(
    ("argument", "environment", "dotenv", "expected"),
    [
        (None, None, None, None),
        (None, None, "own", "own"),
        (None, "static", "own", "static"),
        ("hermes", "static", "own", "hermes"),
        (None, "", "own", "own"),
        (None, " ", None, None),
    ],
)
def test_the_nearest_source_that_has_a_value_wins(
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    environment: str | None,
    dotenv: str | None,
    expected: str | None,
) -> None:
    """Arguments, then environment, then `.env`; an empty text is none."""
    if environment is not None:
        monkeypatch.setenv("NOUS_AUTH_MODE", environment)
    if dotenv is not None:
        Path(".env").write_text(f"NOUS_AUTH_MODE={dotenv}\n", encoding="utf-8")
    got = Settings() if argument is None else Settings(nous_auth_mode=argument)
    assert got.nous_auth_mode == expected


def test_only_the_plain_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """With LLM_ before it the name means nothing, and is told as misspelt."""
    monkeypatch.setenv("LLM_NOUS_AUTH_MODE", "own")
    got = Settings()
    assert got.nous_auth_mode is None
    assert [problem.variable for problem in got.ignored] == ["LLM_NOUS_AUTH_MODE"]


def test_programs_set_the_same_by_arguments() -> None:
    """Each name in small letters is an argument, and neither environment nor `.env` is read beside it."""
    Path(".env").write_text("NOUS_AUTH_MODE=static\n", encoding="utf-8")
    plan = coded(nous_auth_mode="own", nous_oauth_state_path="~/mine.json", nous_refresh_token=SecretStr(CANARY))
    assert plan.problems == ()
    assert plan.login is not None
    assert (plan.login.mode, plan.login.store) == (Mode.OWN, Path.cwd() / "home/mine.json")


def test_the_defaults_are_in_the_home_folder() -> None:
    """Our own file, and Hermes Agent's folder; nothing else is set."""
    got, home = Settings.in_code(), Path.cwd() / "home"
    assert got.nous_oauth_state_path == home / ".understudy/nous_oauth_state.json"
    assert got.hermes_home == home / ".hermes"
    rest = {name.lower() for name in NAMES} - {"nous_oauth_state_path", "hermes_home", "nous_allow_insecure_tls"}
    assert [getattr(got, name) for name in sorted(rest)] == [None] * len(rest)
    assert got.nous_allow_insecure_tls is False


# ---- mistakes


WRONG = {
    "NOUS_AUTH_MODE": ("canary", "static, hermes or own"),
    "NOUS_REFRESH_TOKEN": ("canary canary", "a key: printable ASCII without spaces"),
    "NOUS_PORTAL_BASE_URL": ("ftp://canary", "an address that starts with http:// or https://"),
    "NOUS_ALLOW_INSECURE_TLS": ("canary", "true or false"),
    "NOUS_AUTH_JSON_PATH": ("~canary/auth.json", "the path of a file"),
    "NOUS_OAUTH_STATE_PATH": ("~canary/login.json", "the path of a file"),
    "NOUS_WRITE_ENV_KEY": ("~canary/.env", "the path of a file"),
    "HERMES_CA_BUNDLE": ("~canary/ca.pem", "the path of a file"),
    HOME: ("~canary", "the path of a folder"),
    "HERMES_SHARED_AUTH_DIR": ("~canary", "the path of a folder"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The variable and what it must be, never what it is."""
    value, expected = WRONG[name]
    monkeypatch.setenv(name, value)
    [problem] = mistakes().values()
    assert problem.variable == name
    assert problem.expected.startswith(expected)
    assert "canary" not in str(problem)


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever mends them needs one look."""
    for name, (value, _) in WRONG.items():
        monkeypatch.setenv(name, value)
    assert mistakes().keys() == set(NAMES)


@pytest.mark.parametrize("value", ["a\0b", 3, ["a"]], ids=["NUL", "a number", "a list"])
def test_what_can_be_no_path_is_a_mistake_of_the_program(value: object) -> None:
    """The names of arguments are the variables' in small letters; the mistake names the variable."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.in_code(nous_auth_json_path=value)
    assert [problem.variable for problem in caught.value.problems] == ["NOUS_AUTH_JSON_PATH"]


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_about_the_login_is_the_only_one(env: Env, name: str) -> None:
    """While it is not known whose credential is meant, no other is asked for."""
    plan = env({**NOUS, name: WRONG[name][0]})
    assert [problem.variable for problem in plan.problems] == [name]


def test_a_mistake_about_the_login_hides_no_other(env: Env) -> None:
    """What is wrong elsewhere is told beside it."""
    plan = env({**NOUS, "NOUS_AUTH_MODE": CANARY, P + "FALLBACK__MODEL": "openai/gpt"})
    assert [problem.variable for problem in plan.problems] == ["NOUS_AUTH_MODE", "LLM_OPENAI_API_KEY"]


# ---- without a home folder


@pytest.mark.usefixtures("homeless")
def test_no_home_folder_is_needed_without_a_login(env: Env) -> None:
    """A service without one has its settings, also for a static key."""
    assert sound(env({**NOUS, KEY: "k"})).login is None


@pytest.mark.usefixtures("homeless")
def test_a_login_needs_a_place(env: Env) -> None:
    """Nothing is ever made in a folder called `~`: the variable that names the place has to be set."""
    plan = env({**NOUS, "NOUS_REFRESH_TOKEN": "r"})
    assert [(problem.variable, problem.remedy) for problem in plan.problems] == [
        ("NOUS_OAUTH_STATE_PATH", "set it: the home folder is not known")
    ]
    with pytest.raises(ConfigurationError, match="NOUS_OAUTH_STATE_PATH: expected the path of a file"):
        login_source()
    assert sound(env({"NOUS_OAUTH_STATE_PATH": "{here}/login.json"})).login == login_source()


# ---- where `understudy login nous` keeps a login


@pytest.mark.parametrize(
    ("files", "variables", "mode"),
    [
        ([], {}, Mode.OWN),
        ([], {KEY: "k"}, Mode.OWN),
        ([AUTH], {}, Mode.HERMES),
        ([AUTH, OWN], {}, Mode.OWN),
        ([AUTH], {"NOUS_AUTH_MODE": "static"}, Mode.OWN),
        ([], {"NOUS_AUTH_MODE": "hermes"}, Mode.HERMES),
        ([AUTH], {"NOUS_AUTH_MODE": "own"}, Mode.OWN),
        ([], {P + "MODEL": "", P + "SEED": CANARY}, Mode.OWN),
    ],
)
def test_a_login_begins_where_one_would_be_used(
    env: Env, files: list[str], variables: dict[str, str], mode: Mode
) -> None:
    """Hermes Agent's stores if they are in use, else our own file, whatever else is wrong with the settings."""
    made(*files)
    env(variables)
    assert login_source().mode is mode


def test_a_login_does_not_begin_with_a_mistake_of_its_own(env: Env) -> None:
    """Only the mistakes that matter for a login are told."""
    env({P + "SEED": CANARY, "NOUS_AUTH_MODE": CANARY})
    with pytest.raises(ConfigurationError) as caught:
        login_source()
    assert [problem.variable for problem in caught.value.problems] == ["NOUS_AUTH_MODE"]


# ---- secrets, and what people see


def test_no_secret_is_shown(env: Env) -> None:
    """Neither settings nor plan nor login show the refresh token, and none of them is pickled with it."""
    plan = env({**NOUS, "NOUS_REFRESH_TOKEN": CANARY})
    settings = Settings()
    assert settings.nous_refresh_token is not None
    assert plan.login is not None
    for shown in (settings, settings.nous_refresh_token, plan, plan.login, plan.login.refresh_token):
        assert CANARY not in f"{shown!r} {shown}"
    assert CANARY not in settings.model_dump_json()
    for kept in (settings, plan.login):
        with pytest.raises(TypeError):
            pickle.dumps(kept)


@pytest.mark.parametrize(("file", "shown"), [(OWN, "login (own)"), (AUTH, "login (hermes)")])
def test_check_shows_whose_login_it_is(file: str, shown: str) -> None:
    """In the table and in the object: of a login only whose it is, beside keys of which only that they are set."""
    made(file)
    variables = {**NOUS, P + "FALLBACK__MODEL": "nous/b", P + "FALLBACK__API_KEY": CANARY}
    plain = {**variables, "FORCE_COLOR": None, "TTY_COMPATIBLE": None}
    as_json = CliRunner().invoke(cli, ["check", "--json"], env=plain).stdout
    assert [route["credential"] for route in json.loads(as_json)["agents"]["deriver"]] == [shown, "set"]
    table = CliRunner().invoke(cli, ["check"], env=plain).stdout
    assert [shown in line for line in table.splitlines()[1:3]] == [True, False]
    assert CANARY not in as_json + table


# ---- the tests' own seat belt


def test_no_test_sees_the_logins_of_whoever_runs_it(tmp_path: Path) -> None:
    """Home folder and stores are in a fresh folder that nothing stands in, and no other variable leads elsewhere."""
    names = {name for name in os.environ if name.startswith(("NOUS_", "HERMES_"))}
    assert names == {"NOUS_OAUTH_STATE_PATH", HOME, "HERMES_SHARED_AUTH_DIR"}
    for name in (*names, "HOME", "USERPROFILE"):
        assert Path(os.environ[name]).is_relative_to(tmp_path)
    assert not (tmp_path / "home").exists()
    assert Path.home() == tmp_path / "home" != Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.anyio
@pytest.mark.commands
async def test_no_process_of_a_test_sees_them_either(tmp_path: Path) -> None:
    """What a test starts inherits the belt."""
    code = "from understudy.supervisor import login_source; print(login_source().main)"
    done = await anyio.run_process([sys.executable, "-c", code])
    assert done.stdout.decode().strip() == str(tmp_path / OWN)
