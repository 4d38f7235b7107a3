"""`.env.template`: it names every setting, explains it, and is right as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from understudy.providers import TRANSPORTS
from understudy.supervisor import RouteSettings, Settings, load
from understudy.supervisor._values import variable_of

TEMPLATE = (Path(__file__).parent.parent / ".env.template").read_text(encoding="utf-8")
VARIABLE = re.compile(r"# (?P<name>\w+)=(?P<value>.*)")

SHARED = {variable_of(name) for name in Settings.model_fields.keys() - {"agents", "ignored"}}
FIELDS = {name.upper() for name in RouteSettings.model_fields.keys() - {"variables"}}
SPELLINGS = {f"OVERRIDES__{name}" for name in ("BASE_URL", "API_KEY", "API_KEY_ENV", "PROVIDER_PARAMS")}
PREFIX = re.compile(r"(DERIVER_|DIALECTIC_LEVELS__max__)MODEL_CONFIG__(FALLBACK__)*")


def variables() -> dict[str, str]:
    """Return every variable of the template with the value it has there."""
    found = [match for line in TEMPLATE.splitlines() if (match := VARIABLE.fullmatch(line))]
    return {match["name"]: match["value"] for match in found}


def uncommented() -> str:
    """Return the template with every variable in force."""
    return "".join(re.sub(r"^# (?=\w+=)", "", line) + "\n" for line in TEMPLATE.splitlines())


@pytest.mark.parametrize(
    "name", sorted(SHARED | {f"DERIVER_MODEL_CONFIG__{field}" for field in FIELDS | SPELLINGS | {"REASONING_EFFORT"}})
)
def test_every_setting_stands_in_the_template(name: str) -> None:
    """Each shared setting, and each field of a route in each of its spellings, has its line."""
    assert name in variables()


@pytest.mark.parametrize(
    "prefix", ["DERIVER_MODEL_CONFIG__FALLBACK__", "DERIVER_MODEL_CONFIG__FALLBACK__FALLBACK__"], ids=["one", "chain"]
)
def test_the_template_shows_a_whole_fallback(prefix: str) -> None:
    """A fallback, and a fallback of the fallback, stand there with what they need: a transport and a model."""
    assert {prefix + "TRANSPORT", prefix + "MODEL"} <= variables().keys()


@pytest.mark.parametrize("name", sorted(variables()))
def test_nothing_unknown_stands_in_the_template(name: str) -> None:
    """Whoever copies a line sets something that is read."""
    field = PREFIX.sub("", name, count=1)
    known = FIELDS | SPELLINGS | {"REASONING_EFFORT"}
    assert name in SHARED or (field != name and (field in known or field.startswith("PROVIDER_PARAMS__")))


def test_no_variable_stands_there_twice() -> None:
    """Each variable has one line, so that its one comment is all there is to know."""
    names = [match["name"] for line in TEMPLATE.splitlines() if (match := VARIABLE.fullmatch(line))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_variable_has_a_comment_right_above_it(name: str) -> None:
    """The line above a variable is prose."""
    lines = TEMPLATE.splitlines()
    above = lines[next(number for number, line in enumerate(lines) if line.startswith(f"# {name}=")) - 1]
    assert re.match(r"# \w", above)
    assert not VARIABLE.fullmatch(above)


def test_every_line_is_a_comment_as_it_stands() -> None:
    """A copy that nobody has touched sets nothing."""
    assert all(not line or line.startswith("#") for line in TEMPLATE.splitlines())


def test_the_defaults_in_the_template_are_the_defaults() -> None:
    """Where a shared setting has a default, also an address, the template shows it."""
    Path(".env").write_text(uncommented(), encoding="utf-8")
    shown, defaults = Settings(), Settings.in_code()
    for name in Settings.model_fields.keys() - {"agents", "ignored"}:
        default = getattr(defaults, name)
        if name.endswith("_base_url") and name.removesuffix("_base_url") in TRANSPORTS:
            default = TRANSPORTS[name.removesuffix("_base_url")].base_url
        assert default in (None, (), {}) or getattr(shown, name) == default


def test_the_template_loads_with_every_variable_in_force() -> None:
    """The template is valid dotenv, and all it sets goes together: no mistake, nothing ignored, every agent whole."""
    Path(".env").write_text(uncommented(), encoding="utf-8")
    Path("prices.toml").write_text('["gpt-4.1-mini"]\ninput = 0.4\noutput = 1.6\n')
    plan = load()

    assert plan.problems == ()
    assert plan.ignored == ()
    assert {name: [route.transport for route in agent.routes] for name, agent in plan.agents.items()} == {
        "deriver": ["openai", "anthropic", "lmstudio"],
        "dialectic.max": ["anthropic", "openai"],
    }


def test_the_template_sets_each_field_of_a_route() -> None:
    """Every field that the template gives the primary arrives there."""
    Path(".env").write_text(uncommented(), encoding="utf-8")
    primary = Settings().agents["deriver"].primary
    assert primary.model_fields_set == RouteSettings.model_fields.keys()
