"""`understudy check`, and what the command line says about a configuration that is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from understudy._cli import cli

P = "DERIVER_MODEL_CONFIG__"
F = P + "FALLBACK__"
CANARY = "canary-5f1e"
SOUND = {
    P + "MODEL": "gpt",
    "LLM_OPENAI_API_KEY": CANARY,
    F + "TRANSPORT": "openai",
    F + "MODEL": "gpt-of-ours",
    F + "BASE_URL": "http://a-long-name-for-a-gateway.internal.example:8080/openai/v1",
    F + "API_KEY_ENV": "MY_KEY",
    "MY_KEY": CANARY,
    F + "FALLBACK__MODEL": "lmstudio/qwen",
    F + "FALLBACK__TIMEOUT": "12.5",
    "DIALECTIC_LEVELS__max__MODEL_CONFIG__MODEL": "lmstudio/qwen",
}
WRONG: list[tuple[str, dict[str, str], list[str], list[str]]] = [
    ("no agent", {}, ["<AGENT>_MODEL_CONFIG__MODEL"], []),
    ("a missing key", {P + "MODEL": "nous/hermes"}, ["LLM_NOUS_API_KEY"], []),
    ("a wrong value", SOUND | {P + "TEMPERATURE": CANARY}, [P + "TEMPERATURE"], []),
    ("a key where its variable's name belongs", SOUND | {F + "API_KEY_ENV": CANARY}, [F + "API_KEY_ENV"], []),
    ("an unknown name", SOUND | {F + "MODLE": CANARY}, [F + "MODLE"], []),
    (
        "limits out of order",
        SOUND | {"LLM_TOTAL_TIMEOUT": "30", "LLM_CONNECT_TIMEOUT": "99"},
        ["LLM_CONNECT_TIMEOUT"],
        [],
    ),
    ("half a fallback", SOUND | {F + "TRANSPORT": ""}, [], [F + "TRANSPORT"]),
    ("a shared name misspelt", SOUND | {"LLM_RETRY_ATEMPTS": CANARY}, [], ["LLM_RETRY_ATEMPTS"]),
    ("a key under a misspelt name", SOUND | {"LLM_OPENAI_APIKEY": CANARY}, [], ["LLM_OPENAI_APIKEY"]),
    ("the marker misspelt", SOUND | {"DERIVER_MODEL_CONFIG_SEED": "1"}, [], ["DERIVER_MODEL_CONFIG_SEED"]),
    ("a fallback misspelt", SOUND | {P + "FALLBACK_MODEL": CANARY}, [P + "FALLBACK_MODEL"], []),
    ("no certificates", SOUND | {"SSL_CERT_FILE": "/nowhere.pem"}, ["SSL_CERT_FILE"], []),
    (
        "several at once",
        SOUND | {F + "MODEL": "", P + "SEED": "x", "LLM_STALL_TIMEOUT": CANARY},
        [P + "SEED", "LLM_STALL_TIMEOUT"],
        [F + "MODEL"],
    ),
]
wrong = pytest.mark.parametrize(
    ("variables", "mistakes", "ignored"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)


def run(*arguments: str, variables: dict[str, str]) -> Result:
    """Run the command line; whatever it does, it shows no secret and no traceback."""
    plain = {"FORCE_COLOR": None, "TTY_COMPATIBLE": None}  # as in a pipe, wherever the tests run
    result = CliRunner().invoke(cli, list(arguments), env={**variables, **plain})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert CANARY not in result.output
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: str, variables: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the one object on the one line of standard output."""
    result = run(*arguments, "--json", variables=variables)
    [line] = result.stdout.splitlines()
    return result.exit_code, json.loads(line)


def test_check_prints_every_chain_as_json() -> None:
    """`check --json` is one object: every agent's routes with all that follows for them, no mistake, exit code 0."""
    vendor, gateway = "https://api.openai.com/v1", SOUND[F + "BASE_URL"]
    default = {"attempt": 180.0, "first_token": 60.0, "stall": 30.0}
    local = {"transport": "lmstudio", "model": "qwen", "base_url": "http://localhost:1234/v1", "price": None}
    code, told = run_json("check", variables=SOUND)
    assert code == 0
    routes = [route for agent in told["agents"].values() for route in agent]
    set_by = [sorted(route.pop("variables").values()) for route in routes]
    assert sorted(name for names in set_by for name in names) == sorted(SOUND.keys() - {"LLM_OPENAI_API_KEY", "MY_KEY"})
    assert told.pop("notes").keys() == told["agents"].keys()
    assert told == {
        "login": None,
        "langfuse": None,
        "gateway": None,
        "without_fallback": ["dialectic.max"],
        "agents": {
            "deriver": [
                {
                    "role": "primary",
                    "transport": "openai",
                    "model": "gpt",
                    "base_url": vendor,
                    "credential": "set",
                    "limits": default,
                    "price": None,
                },
                {
                    "role": "fallback",
                    "transport": "openai",
                    "model": "gpt-of-ours",
                    "base_url": gateway,
                    "credential": "set",
                    "limits": default,
                    "price": None,
                },
                {
                    "role": "fallback 2",
                    **local,
                    "credential": "not needed",
                    "limits": {"attempt": 12.5, "first_token": 12.5, "stall": 30.0},
                },
            ],
            "dialectic.max": [{"role": "primary", **local, "credential": "not needed", "limits": default}],
        },
        "mistakes": [],
        "ignored": [],
    }


def test_check_prints_every_chain_for_people() -> None:
    """`check` has a line per route with names and addresses whole, nothing on standard error, exit code 0."""
    result = run("check", variables=SOUND)
    assert (result.exit_code, result.stderr) == (0, "")

    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:6] == ["deriver", "primary", "openai", "gpt", "https://api.openai.com/v1", "set"]
    assert ["fallback", "openai", "gpt-of-ours", SOUND[F + "BASE_URL"], "set"] == rows[2][:5]
    assert rows[3][:7] == ["fallback", "2", "lmstudio", "qwen", "http://localhost:1234/v1", "not", "needed"]
    assert rows[4][:4] == ["dialectic.max", "primary", "lmstudio", "qwen"]


def test_limits_that_are_the_same_everywhere_are_said_once() -> None:
    """They leave their columns to addresses; where one route differs, each has its own."""
    same = {P + "MODEL": "lmstudio/qwen", F + "MODEL": "lmstudio/gemma"}
    shown = run("check", variables=same).stdout
    assert "limits (s)" not in shown
    assert "limits: 180 s for an attempt, 60 s for its first token, 30 s for a pause in a stream" in shown
    shown = run("check", variables=same | {F + "TIMEOUT": "12.5"}).stdout
    assert [line.split()[-5:] for line in shown.splitlines()[1:3]] == [
        ["180", "/", "60", "/", "30"],
        ["12.5", "/", "12.5", "/", "30"],
    ]


def test_check_says_where_a_chain_comes_from_within_a_terminal() -> None:
    """The beginning that a route's variables share is there once, and every line of the origin fits 80 columns."""
    terminal = {"COLUMNS": "80", "TTY_COMPATIBLE": "1", "FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1"}
    fields = ("TEMPERATURE", "TOP_P", "SEED", "MAX_OUTPUT_TOKENS", "TIMEOUT")
    extra = {F + name: "1" for name in fields} | {F + "OVERRIDES__BASE_URL": SOUND[F + "BASE_URL"], F + "BASE_URL": ""}
    shown = CliRunner().invoke(cli, ["check"], env={**SOUND, **extra, **terminal}).stdout
    origin = shown[shown.index("deriver primary is set by") :].splitlines()
    assert [line.rstrip() for line in origin] == [
        f"deriver primary is set by {P}* (MODEL)",
        f"deriver fallback is set by {F}* (API_KEY_ENV,",
        "MAX_OUTPUT_TOKENS, MODEL, OVERRIDES__BASE_URL, SEED, TEMPERATURE, TIMEOUT,",
        "TOP_P, TRANSPORT)",
        f"deriver fallback 2 is set by {F}FALLBACK__* (MODEL,",
        "TIMEOUT)",
        "dialectic.max primary is set by DIALECTIC_LEVELS__max__MODEL_CONFIG__* (MODEL)",
    ]


def test_an_agent_without_a_fallback_is_told() -> None:
    """All of them on one line, and no mistake; also one whose fallback is ignored."""
    lone = {"WRITER_MODEL_CONFIG__MODEL": "lmstudio/qwen"}
    result = run("check", variables=SOUND | lone)
    told = [line for line in result.stdout.splitlines() if "no fallback" in line]
    assert told == ["note  no fallback for dialectic.max, writer: what the primary cannot answer fails"]
    assert (result.exit_code, result.stderr) == (0, "")
    _, said = run_json("check", variables=lone | {"WRITER_MODEL_CONFIG__FALLBACK__MODEL": "qwen"})
    assert said["without_fallback"] == ["writer"]


GATEWAY = {
    "UNDERSTUDY_TOKEN": "pJ3v0nR8sXq1ZtLw5yBfKc7hAe2gUdMo9iNrTbVx4kE" + CANARY,
    "GATEWAY_HOSTS": "llm.test, [::2]",
    "GATEWAY_ORIGINS": "https://app.test:8443",
    "GATEWAY_ALIASES": "gpt-5=deriver, claude=dialectic.max",
}


def test_the_gateway_is_shown_where_any_of_it_is_set() -> None:
    """Where it listens, which token it has, and who may ask it; for people and as JSON."""
    result = run("check", variables=SOUND | GATEWAY)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    begin = lines.index("gateway")
    assert lines[begin : begin + 8] == [
        "gateway",
        "listens at 127.0.0.1, port 4100: serve --host and --port say otherwise",
        "token that of UNDERSTUDY_TOKEN",
        "hosts llm.test, [::2]",
        "origins https://app.test:8443",
        "aliases gpt-5 = deriver",
        "claude = dialectic.max",
        "note no fallback for dialectic.max: what the primary cannot answer fails",
    ]
    _, told = run_json("check", variables=SOUND | GATEWAY)
    assert told["gateway"] == {
        "host": "127.0.0.1",
        "port": 4100,
        "token": {"source": "UNDERSTUDY_TOKEN", "is_made": True},
        "hosts": ["llm.test", "[::2]"],
        "origins": ["https://app.test:8443"],
        "trusted_proxies": [],
        "aliases": {"gpt-5": "deriver", "claude": "dialectic.max"},
        "notes": [],
    }


def test_a_token_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    """It is said where it will be; nothing of a gateway is said to those who have none."""
    assert run_json("check", variables=SOUND)[1]["gateway"] is None
    path = tmp_path / "deep" / "token"
    code, told = run_json("check", variables=SOUND | {"UNDERSTUDY_TOKEN_FILE": str(path)})
    assert (code, told["gateway"]["token"]) == (0, {"source": str(path), "is_made": False})
    result = run("check", "--host", "::1", variables=SOUND)
    assert f"made at the first start, in {Path.home()}/.understudy/gateway_token" in result.stdout
    assert "listens at  ::1, port 4100" in result.stdout
    assert not path.parent.exists()
    assert not (Path.home() / ".understudy").exists()


def written(path: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """Make a file of a token; return the variable that names it."""
    path.write_text(text)
    path.chmod(mode)
    return {"UNDERSTUDY_TOKEN_FILE": str(path)}


def test_a_token_file_that_would_stop_the_gateway_is_a_mistake(tmp_path: Path) -> None:
    """With the file, what is wrong and what mends it, beside every other mistake; exit code 2."""
    path = tmp_path / "token"
    broken = {"LLM_STALL_TIMEOUT": "soon", "GATEWAY_HOSTS": "http://a.test", "GATEWAY_ALIASES": "gpt-5=nobody"}
    for text, mode, said in (
        (CANARY, 0o644, f"run: chmod 600 {path}"),
        (f"{CANARY} x", 0o600, "expected a token of letters, digits"),
        ("", 0o600, "expected a token of letters, digits"),
    ):
        result = run("check", variables=SOUND | broken | written(path, text, mode))
        assert result.exit_code == 2
        assert [line.split()[1] for line in result.stderr.splitlines()] == [
            *("GATEWAY_HOSTS:", "LLM_STALL_TIMEOUT:", "GATEWAY_ALIASES:", f"{path}:")
        ]
        assert said in result.stderr
        assert "token       has a mistake" in result.stdout
    code, told = run_json("check", variables=SOUND | written(path, CANARY, 0o640))
    assert (code, told["gateway"]["token"], [it["variable"] for it in told["mistakes"]]) == (2, None, [str(path)])


def test_a_mistake_of_the_token_is_told_once() -> None:
    """Where its variable is wrong, the file that would stand in for it is not looked at."""
    file = Path.home() / ".understudy" / "gateway_token"
    file.parent.mkdir(parents=True)
    written(file, "x", 0o644)
    for name, text in (("UNDERSTUDY_TOKEN", f"{CANARY} x"), ("UNDERSTUDY_TOKEN_FILE", "~nobody-of-that-name/token")):
        code, told = run_json("check", variables=SOUND | {name: text})
        assert (code, [it["variable"] for it in told["mistakes"]]) == (2, [name])
        assert told["gateway"]["token"] is None


def test_a_weak_token_is_a_mistake_beyond_loopback() -> None:
    """On loopback a note says so; where others reach the gateway it would not start."""
    result = run("check", variables=SOUND | {"UNDERSTUDY_TOKEN": CANARY})
    assert "note  gateway: its token could be guessed, for it has less than 32 characters" in result.stdout
    assert result.exit_code == 0
    result = run("check", "--host", "0.0.0.0", variables=SOUND | {"UNDERSTUDY_TOKEN": CANARY})  # noqa: S104 - nothing is bound
    assert result.exit_code == 2
    assert "UNDERSTUDY_TOKEN: expected a token that nobody guesses" in result.stderr
    assert "note  gateway: only loopback's names are answered: set GATEWAY_HOSTS" in result.stdout


def test_lines_of_dotenv_that_cannot_be_read_are_told_once() -> None:
    """Each is one mistake by its line, among all others, and nobody else speaks of it."""
    Path(".env").write_text(f"{P}MODEL=gpt\n{CANARY}: {CANARY}\n", encoding="utf-8")
    told = run("check", variables={}).stderr.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["mistake  .env line 2", "mistake  LLM_OPENAI_API_KEY"]


@pytest.mark.anyio
@pytest.mark.commands
async def test_what_is_ignored_is_a_plain_sentence_beside_an_answer() -> None:
    """`ask` says what has no effect as `check` does, on standard error, and goes on."""
    variables = {P + "MODEL": "qwen", P + "BASE_URL": "http://127.0.0.1:9", "LLM_RETRY_ATEMPTS": "1"}
    command = [sys.executable, "-m", "understudy", "ask", "deriver", "hi"]
    done = await anyio.run_process(command, check=False, env={**os.environ, **variables})
    told = done.stderr.decode().splitlines()
    sentence = "expected a known name; did you mean 'LLM_RETRY_ATTEMPTS'? As it is, it has no effect"
    assert told[0] == f"ignored  LLM_RETRY_ATEMPTS: {sentence}"
    assert told[1].startswith("AllAttemptsFailedError: ")


@wrong
def test_check_tells_every_mistake_as_json(variables: dict[str, str], mistakes: list[str], ignored: list[str]) -> None:
    """Every mistake and all that is ignored stand in the object with variable, expectation and remedy; exit code 2."""
    code, told = run_json("check", variables=variables)
    assert code == 2
    assert sorted(problem["variable"] for problem in told["mistakes"]) == sorted(mistakes)
    assert [problem["variable"] for problem in told["ignored"]] == ignored
    for problem in told["mistakes"] + told["ignored"]:
        assert problem.keys() == {"variable", "expected", "remedy"}
        assert all(problem.values())


@wrong
def test_check_tells_every_mistake_to_people(
    variables: dict[str, str], mistakes: list[str], ignored: list[str]
) -> None:
    """Every mistake is one line on standard error that begins with the variable's whole name; exit code 2."""
    result = run("check", variables=variables)
    assert result.exit_code == 2
    told = [line.split(":")[0].split() for line in result.stderr.splitlines()]
    assert sorted(told) == sorted([*(["mistake", name] for name in mistakes), *(["ignored", name] for name in ignored)])


@pytest.mark.parametrize(
    ("variables", "credential"),
    [
        ({P + "MODEL": "gpt", "LLM_OPENAI_API_KEY": CANARY}, "set"),
        ({P + "MODEL": "gpt", P + "API_KEY": CANARY}, "set"),
        ({P + "MODEL": "gpt"}, "missing"),
        ({P + "MODEL": "qwen", P + "BASE_URL": "http://own.test/v1"}, "no key"),
        ({P + "MODEL": "lmstudio/qwen"}, "not needed"),
        ({P + "MODEL": "lmstudio/qwen", "LLM_LMSTUDIO_API_KEY": CANARY}, "set"),
    ],
)
def test_check_says_whether_there_is_a_credential(variables: dict[str, str], credential: str) -> None:
    """Of a key, only that it is set, missing or not needed is told."""
    _, told = run_json("check", variables=variables)
    assert [route["credential"] for route in told["agents"]["deriver"]] == [credential]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for people", "json"])
def test_asking_an_unknown_agent_names_those_there_are(options: list[str]) -> None:
    """A name that is not configured is a mistake of the configuration: exit code 2, and the names that would do."""
    result = run("ask", "derivre", "hello", *options, variables=SOUND)
    assert result.exit_code == 2
    assert all(name in result.output for name in ("'derivre'", "'deriver'", "use one of: deriver, dialectic.max"))


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for people", "json"])
@wrong
def test_asking_with_a_wrong_configuration_tells_every_mistake(
    variables: dict[str, str], mistakes: list[str], ignored: list[str], options: list[str]
) -> None:
    """`ask` refuses to start with the same mistakes as `check`; what is only ignored does not hold it up, and is told
    on standard error alone."""
    if not mistakes:
        mistakes = ["NOBODY_MODEL_CONFIG__MODEL"]
    result = run("ask", "nobody", "hello", *options, variables=variables)
    assert result.exit_code == 2
    assert all(name in result.output for name in mistakes)
    assert not any(f"mistake  {name}" in result.stderr or name in result.stdout for name in ignored)
    assert all(f"ignored  {name}" in result.stderr for name in ignored if len(mistakes) == 1)


def test_asking_with_json_prints_the_mistakes_as_data() -> None:
    """`ask --json` gives a program each problem with its three parts."""
    code, told = run_json("ask", "deriver", "hello", variables={P + "MODEL": "gpt"})
    assert code == 2
    assert told["error"]["type"] == "ConfigurationError"
    assert [problem["variable"] for problem in told["error"]["problems"]] == ["LLM_OPENAI_API_KEY"]
