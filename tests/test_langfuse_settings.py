"""Langfuse in settings, plan and `understudy check`: when it is on, and what is said of every mistake."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from understudy._cli import cli
from understudy.supervisor import Plan, load

MODEL = {"DERIVER_MODEL_CONFIG__MODEL": "lmstudio/qwen"}
PUBLIC, SECRET = "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"
KEYS = {PUBLIC: "pk-lf-1", SECRET: "sk-lf-canary-0815"}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Plan:
    """Load the plan that the test's variables make."""
    for name, value in {**MODEL, **request.param}.items():
        monkeypatch.setenv(name, value)
    return load()


@pytest.mark.parametrize("plan", [{}, {"LANGFUSE_HOST": "http://here.test"}], indirect=True)
def test_without_keys_it_is_off(plan: Plan) -> None:
    """An address alone is no wish for traces."""
    assert (plan.langfuse, plan.ignored, plan.problems) == (None, (), ())


@pytest.mark.parametrize(
    ("plan", "url", "content", "rate", "namespace"),
    [
        (KEYS, "https://cloud.langfuse.com", True, 1.0, ""),
        ({**KEYS, "LANGFUSE_HOST": "http://here.test"}, "http://here.test", True, 1.0, ""),
        (
            {**KEYS, "LANGFUSE_HOST": "http://here.test", "LANGFUSE_BASE_URL": "http://there.test"},
            "http://there.test",
            True,
            1.0,
            "",
        ),
        (
            {**KEYS, "LANGFUSE_CAPTURE_CONTENT": "false", "LANGFUSE_SAMPLE_RATE": "0.25", "NAMESPACE": "memory"},
            "https://cloud.langfuse.com",
            False,
            0.25,
            "memory",
        ),
    ],
    indirect=["plan"],
)
def test_with_both_keys_it_is_on(plan: Plan, url: str, content: bool, rate: float, namespace: str) -> None:
    """What is set is what holds."""
    access = plan.langfuse
    assert access is not None
    assert (access.public_key, access.base_url, access.capture_content) == ("pk-lf-1", url, content)
    assert (access.sample_rate, access.namespace) == (rate, namespace)
    assert (plan.ignored, plan.problems) == ((), ())


@pytest.mark.parametrize(
    ("plan", "missing"), [({PUBLIC: "pk-lf-1"}, SECRET), ({SECRET: "sk-lf-12345678"}, PUBLIC)], indirect=["plan"]
)
def test_one_key_alone_is_told(plan: Plan, missing: str) -> None:
    """Somebody meant to have traces: what is missing is named, and requests are answered all the same."""
    (ignored,) = plan.ignored
    assert (ignored.variable, plan.langfuse, plan.problems) == (missing, None, ())
    assert "no traces" in ignored.remedy


@pytest.mark.parametrize("plan", [{**KEYS, "LANGFUSE_TRACING_ENABLED": "false"}], indirect=True)
def test_it_can_be_switched_off(plan: Plan) -> None:
    """By the SDK's own variable, as with the SDK alone."""
    assert (plan.langfuse, plan.ignored, plan.problems) == (None, (), ())


@pytest.mark.parametrize("plan", [{**KEYS, "LANGFUSE_BASEURL": "http://here.test"}], indirect=True)
def test_a_misspelt_name_is_told(plan: Plan) -> None:
    """What the SDK knows and we do not is none."""
    (ignored,) = plan.ignored
    assert (ignored.variable, "LANGFUSE_BASE_URL" in ignored.remedy) == ("LANGFUSE_BASEURL", True)


@pytest.mark.parametrize("plan", [KEYS], indirect=True)
def test_a_missing_sdk_is_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr("understudy.supervisor._langfuse_access.find_spec", lambda _: None)
    again = load()
    (ignored,) = again.ignored
    assert (again.langfuse, ignored.expected) == (None, "the package 'langfuse'")
    assert "pip install 'langfuse>=5,<6'" in ignored.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LANGFUSE_HOST", "here.test"),
        ("LANGFUSE_BASE_URL", "ftp://here.test"),
        ("LANGFUSE_CAPTURE_CONTENT", "perhaps"),
        ("LANGFUSE_SAMPLE_RATE", "2"),
        (SECRET, "sk lf"),
    ],
)
def test_a_value_that_is_none_is_a_mistake(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable, and shows no value."""
    for variable, text in {**MODEL, **KEYS, name: value}.items():
        monkeypatch.setenv(variable, text)
    (problem,) = load().problems
    assert problem.variable == name
    assert value not in str(problem).replace(name, "")


@pytest.mark.parametrize("plan", [{**KEYS, "LANGFUSE_CAPTURE_CONTENT": "false"}], indirect=True)
def test_check_shows_where_traces_go(plan: Plan) -> None:
    """Never the secret key."""
    done = CliRunner().invoke(cli, ["check"])
    assert "traces  Langfuse at https://cloud.langfuse.com, without prompts and answers\n" in done.stdout
    shown = CliRunner().invoke(cli, ["check", "--json"]).stdout
    assert json.loads(shown)["langfuse"] == {
        "public_key": "pk-lf-1",
        "base_url": "https://cloud.langfuse.com",
        "capture_content": False,
        "sample_rate": 1.0,
        "namespace": "",
    }
    assert KEYS[SECRET] not in done.stdout + shown + repr(plan)
