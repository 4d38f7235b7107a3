"""Outages as they are written: what is read, and what is said of what cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from understudy import AgentSettings, ConfigurationError, RouteSettings, Settings
from understudy.providers import Problem
from understudy.simulation import (
    Answer,
    Hang,
    Outage,
    Refused,
    Reset,
    Simulation,
    Status,
    as_time,
    understood,
)
from understudy.simulation._outages import seconds
from understudy.supervisor import load, without_keys

LEAD, SECOND = "openai at http://lead.test/v1", "openai at http://second.test/v1"
CLAUDE, TWIN = "anthropic at https://api.anthropic.com", "anthropic at https://api.anthropic.com #2"
PLAN = without_keys(
    load(
        Settings.in_code(
            agents={
                "deriver": AgentSettings(
                    primary=RouteSettings(transport="openai", model="gpt", base_url="http://lead.test/v1"),
                    fallbacks=(
                        RouteSettings(transport="openai", model="gpt-old", base_url="http://second.test/v1"),
                        RouteSettings(transport="anthropic", model="claude"),
                    ),
                ),
                "summary": AgentSettings(
                    primary=RouteSettings(transport="anthropic", model="claude", api_key="another")
                ),
            }
        )
    )
)
S503 = Status(503, 0.1)


def test_a_duration_is_read_and_written() -> None:
    """Hours, minutes, seconds and milliseconds, each once and in this order; nothing else, and never 0."""
    good = {"500ms": 0.5, "10s": 10, "2m": 120, "1h": 3600, "1h30m": 5400, "1.5h": 5400, "1m0.5s": 60.5, "1h1s": 3601}
    assert {text: seconds(text) for text in good} == good
    for bad in ("", "10", "s", "10 s", "-1s", "0s", "1m1h", "1s1s", "1e3s", "nan", "1d", "10S", "1h30", "9999999h"):
        assert seconds(bad) is None, bad
    assert [as_time(x) for x in (0, 0.04, 7.5, 60, 90, 3600, 5401.26)] == [
        *("0s", "0s", "7.5s", "1m", "1m30s", "1h", "1h30m1.3s")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openai 503", {"endpoints": (LEAD, SECOND), "behaviour": S503}),
        ("OpenAI 503", {"endpoints": (LEAD, SECOND), "behaviour": S503}),
        ("http://lead.test/v1 503", {"endpoints": (LEAD,), "behaviour": S503}),
        ("HTTP://LEAD.test/v1/ 503", {"endpoints": (LEAD,), "behaviour": S503}),
        ("openai at http://second.test/v1 503", {"endpoints": (SECOND,), "behaviour": S503}),
        ("https://api.anthropic.com/v1 503", {"endpoints": (CLAUDE, TWIN), "behaviour": S503}),
        ("anthropic at https://api.anthropic.com 503", {"endpoints": (CLAUDE, TWIN), "behaviour": S503}),
        ("anthropic at https://api.anthropic.com #2 503", {"endpoints": (TWIN,), "behaviour": S503}),
        ("openai 503 from 10s for 1m", {"since": 10, "until": 70}),
        ("  openai   503  for 1m  from 10s", {"since": 10, "until": 70}),
        ("openai 503 from 0 for 1h30m", {"since": 0, "until": 5400}),
        ("openai 503 from 10s", {"since": 10, "until": math.inf}),
        ("openai 503 for 2.5s", {"since": 0, "until": 2.5}),
        ("openai hang", {"behaviour": Hang()}),
        ("openai reset", {"behaviour": Reset(0.1)}),
        ("openai refused for 5s", {"behaviour": Refused(), "until": 5}),
        ("openai slow 20s", {"behaviour": Answer(None, 20)}),
        ("openai 429 retry-after 30", {"behaviour": Status(429, 0.1, {"retry-after": "30"})}),
        ("openai 429 retry-after 2m for 5s", {"behaviour": Status(429, 0.1, {"retry-after": "120"}), "until": 5}),
        ("openai 50% 503", {"share": 0.5, "behaviour": S503}),
        ("openai 12.5% hang on gpt", {"share": 0.125, "behaviour": Hang(), "model": "gpt"}),
        ("openai 100% reset", {"share": 1.0}),
        ("openai 404 on gpt-old", {"behaviour": Status(404, 0.1), "model": "gpt-old"}),
    ],
)
def test_an_outage_is_read(text: str, expected: dict[str, Any]) -> None:
    """Each word has one meaning; what follows the fault may come in any order."""
    (outage,) = understood(Simulation([text]), PLAN).outages
    assert outage.text == text
    assert {name: getattr(outage, name) for name in expected} == expected


TARGETS = "a target: anthropic, http://lead.test/v1, http://second.test/v1, https://api.anthropic.com, openai"
FAULT = "a fault: a status from 400 to 599, hang, reset, refused or slow TIME"
TIME = "a duration such as 500ms, 10s, 2m or 1h30m"
NOBODY = "nobody listens, for whatever is asked: try reset"
CLAUSE = "from TIME, for TIME or on MODEL"


@pytest.mark.parametrize(
    ("text", "expected", "remedy"),
    [
        ("", TARGETS, "name one of them first"),
        ("503", TARGETS, "name one of them first"),
        ("opnai 503", TARGETS, "did you mean 'openai'?"),
        ("gemini 503", TARGETS, "name one of them first"),
        (
            "openai at http://lead.tst/v1 503",
            f"a target: {CLAUDE}, {TWIN}, {LEAD}, {SECOND}",
            f"did you mean {LEAD!r}?",
        ),
        ("openai", FAULT, "say what goes wrong"),
        ("openai hangs", FAULT, "did you mean 'hang'?"),
        ("openai 50x", FAULT, "did you mean '504'?"),
        ("openai 200", FAULT, "did you mean '500'?"),
        ("openai down", FAULT, "'down' is none"),
        ("openai 0% 503", "a share above 0% and up to 100%", "'0%' is none"),
        ("openai x% 503", "a share above 0% and up to 100%", "'x%' is none"),
        ("openai 101% 503", "a share above 0% and up to 100%", "'101%' is none"),
        ("openai 50%", FAULT, "say what goes wrong"),
        ("openai slow", f"{TIME} after 'slow'", "give one"),
        ("openai slow 20", f"{TIME} after 'slow'", "did you mean '20s'?"),
        ("openai 503 for 5min", f"{TIME} after 'for'", "did you mean '5m'?"),
        ("openai 503 for ever", f"{TIME} after 'for'", "give one"),
        ("openai 503 for 10 minutes", f"{TIME} after 'for'", "did you mean '10m'?"),
        ("openai 503 for 10 from 5m", f"{TIME} after 'for'", "did you mean '10s'?"),
        ("openai 503 for 0s", f"{TIME} after 'for'", "give one above 0"),
        ("openai 503 from -1s", f"{TIME} after 'from'", "give one above 0"),
        ("openai 503 from", f"{TIME} after 'from'", "give one"),
        ("openai 429 retry-after soon", f"{TIME} after 'retry-after'", "give one"),
        ("openai hang retry-after 3", CLAUSE, "did you mean 'retry-after'?"),
        ("openai 503 form 10s", CLAUSE, "did you mean 'for'?"),
        ("openai 503 until 10s", CLAUSE, "'until' is not understood"),
        ("openai 503 for 1s for 2s", "'for' once", "leave one out"),
        ("openai 503 on", "the name of a model after 'on'", "give one"),
        ("openai 503 on gtp", "a model: gpt, gpt-old", "did you mean 'gpt'?"),
        ("openai 503 on claude", "a model: gpt, gpt-old", "'claude' is not asked there"),
        (
            "openai refused on gpt",
            "no share and no model with refused",
            "nobody listens, for whatever is asked: try reset",
        ),
        ("openai 9% refused", "no share and no model with refused", "nobody listens, for whatever is asked: try reset"),
    ],
)
def test_a_wrong_outage_says_what_is_wrong(text: str, expected: str, remedy: str) -> None:
    """What was expected, and the nearest thing to what was written."""
    with pytest.raises(ConfigurationError) as caught:
        understood(Simulation([text, "openai 503"]), PLAN)
    assert caught.value.problems == (Problem(f"outage {text!r}", expected, remedy),)


def test_everything_wrong_is_told_at_once() -> None:
    """Agents, times and all outages: one error lists each of them."""
    simulation = Simulation(["opena 503", "openai 5x3"], ["derivr", "summary"], duration="5 min", every="0s")
    with pytest.raises(ConfigurationError) as caught:
        understood(simulation, PLAN)
    assert [(problem.variable, problem.remedy) for problem in caught.value.problems] == [
        ("agent 'derivr'", "did you mean 'deriver'?"),
        ("every '0s'", "give one above 0"),
        ("duration '5 min'", "did you mean '5m'?"),
        ("outage 'opena 503'", "did you mean 'openai'?"),
        ("outage 'openai 5x3'", "did you mean '503'?"),
    ]


@pytest.mark.parametrize(
    ("simulation", "what"),
    [
        (Simulation(["openai 503 from 5m"], duration="5m"), "an outage that begins before the end"),
        (Simulation(duration="1h", every="1ms"), "at most 200000 requests in all"),
    ],
)
def test_what_would_show_nothing_or_never_end_is_refused(simulation: Simulation, what: str) -> None:
    """An outage that nobody would live to see, and more requests than a patient user has time for."""
    with pytest.raises(ConfigurationError, match=what):
        understood(simulation, PLAN)


@pytest.mark.parametrize(
    ("simulation", "duration", "outage"),
    [
        (Simulation(), 300, (60, 120)),
        (Simulation(duration="10m"), 600, (120, 240)),
        (Simulation(["openai 503 from 1h for 10m"]), 4320, (3600, 4200)),
        (Simulation(["openai 503 from 1h"]), 3720, (3600, math.inf)),
        (Simulation(["openai 503 from 1s"]), 300, (1, math.inf)),
    ],
)
def test_what_is_not_said_is_sensible(simulation: Simulation, duration: float, outage: tuple[float, float]) -> None:
    """The first agent's primary is down in the second fifth; it lasts until a return can be seen."""
    scenario = understood(simulation, PLAN)
    assert scenario.duration == duration
    assert [(one.since, one.until) for one in scenario.outages] == [outage]
    assert LEAD in scenario.outages[0].endpoints


def test_an_outage_hits_what_it_names() -> None:
    """Its endpoints, and there its model or every one."""
    outage = Outage("", (LEAD,), Hang(), model="gpt")
    assert [outage.hits(*place) for place in [(LEAD, "gpt"), (LEAD, "x"), (SECOND, "gpt")]] == [True, False, False]


def test_only_the_agents_that_are_named_ask() -> None:
    """And only their endpoints can be hit."""
    scenario = understood(Simulation(agents=["Summary"]), PLAN)
    assert list(scenario.plan.agents) == ["summary"]
    with pytest.raises(ConfigurationError, match="expected a target: anthropic"):
        understood(Simulation(["openai 503"], agents=["summary"]), PLAN)
