"""`understudy simulate`: a configuration against outages in virtual time, its report and its picture."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from understudy import AgentSettings, ConfigurationError, RouteSettings, Settings
from understudy._cli import cli
from understudy.simulation import Report, Simulation, draw, simulate

P = "DERIVER_MODEL_CONFIG__"
F = P + "FALLBACK__"
S = "SUMMARY_MODEL_CONFIG__"
KEYLESS = {
    P + "MODEL": "openai/gpt",
    P + "API_KEY_ENV": "MY_KEY",
    F + "TRANSPORT": "anthropic",
    F + "MODEL": "claude",
    S + "MODEL": "gemini/flash",
}
SETTINGS = Settings.in_code(
    agents={
        "deriver": AgentSettings(
            primary=RouteSettings(transport="openai", model="gpt"),
            fallbacks=(RouteSettings(transport="anthropic", model="claude"),),
        ),
        "<b>&summary": AgentSettings(primary=RouteSettings(transport="anthropic", model='cl"aud<e>')),
    }
)
SIMULATION = Simulation(("openai 503 from 10s for 40s", "anthropic 50% 529 from 60s for 20s"), duration="2m", seed=7)


def run(*arguments: str, variables: dict[str, str] | None = None) -> Result:
    """Run `understudy simulate` as in a pipe; it never shows a traceback."""
    plain = {"FORCE_COLOR": None, "TTY_COMPATIBLE": None, **(variables or {})}
    result = CliRunner().invoke(cli, ["simulate", *arguments], env=plain)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def run_json(*arguments: str, variables: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the one object on the one line of standard output."""
    result = run(*arguments, "--json", variables=variables)
    assert result.stderr == ""
    [line] = result.stdout.splitlines()
    return result.exit_code, json.loads(line)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_report_of_a_seed_is_always_the_same(backend: str) -> None:
    """Every instant of a short outage, on both backends: who served, who was asked, what the circuits did."""
    code, told = run_json(
        *("--outage", "openai 503 from 10s for 20s", "--duration", "1m", "--every", "5s", "--seed", "3"),
        *("--agents", "deriver", "--backend", backend),
        variables=KEYLESS,
    )
    assert code == 0
    assert told == json.loads((Path(__file__).parent / "fixtures" / "simulation.json").read_text())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_hours_pass_in_a_second_and_nothing_is_lost(backend: str) -> None:
    """Through two hours with two outages every request is answered, and a dead primary is hardly ever asked."""
    simulation = Simulation(["openai 503 from 10m for 30m", "openai hang from 1h for 20m"], duration="2h", every="10s")
    report = simulate(simulation, settings=SETTINGS, backend=backend)
    lead = report.models[0]
    assert (report.failed, report.requests) == ((), 1440)
    assert (lead.endpoint, lead.model) == ("openai at https://api.openai.com/v1", "gpt")
    assert lead.calls_in_outages < 0.4 * 300
    assert all(after is not None and after < 40 for one in report.outages for after in one.back_after.values())


def test_a_failed_request_says_why_and_who_was_well() -> None:
    """With exit code 1, for a CI job to notice; a fallback that was never hit is named."""
    code, told = run_json(
        "--outage",
        "openai 400 from 10s for 5s",
        "--outage",
        "gemini 503 for 20s",
        "--duration",
        "30s",
        variables=KEYLESS,
    )
    assert code == 1
    assert told["failed"] == len(told["failures"]) > 1
    first = next(failure for failure in told["failures"] if failure["agent"] == "deriver")
    assert first["error"] == "RequestRejectedError"
    assert first["well"] == ["anthropic/claude"]
    other = next(failure for failure in told["failures"] if failure["agent"] == "summary")
    assert other["well"] == []
    assert other["reasons"][0] == "gemini/flash: overloaded (HTTP 503): simulated 503"


def test_keys_may_be_missing_and_nothing_else() -> None:
    """Simulated providers ask for no key; every other mistake, and what is ignored, is told as `check` does."""
    assert run("--duration", "10s", variables=KEYLESS).exit_code == 0
    wrong = KEYLESS | {P + "SEED": "x", F + "MODEL": ""}
    done = run(variables=wrong)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "KEY" not in done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == [P + "SEED:", F + "MODEL:"]
    code, told = run_json(variables=wrong)
    assert code == 2
    assert [problem["variable"] for problem in told["error"]["problems"]] == [P + "SEED", F + "MODEL"]


def test_nothing_configured_is_an_example_and_says_so() -> None:
    """The agent of the README, through an outage of its primary; nothing fails."""
    done = run()
    assert done.exit_code == 0
    assert done.stdout.startswith("note  no agent is configured: this is an example; ")
    assert run_json()[1]["example"] is True
    assert run_json(variables=KEYLESS)[1]["example"] is False


def test_wrong_arguments_are_told_at_once() -> None:
    """All outages, agents and times, one line each, and exit code 2."""
    done = run(
        "--outage", "opena 503", "--outage", "openai 50x", "--agents", "deriver,x", "--every", "4", variables=KEYLESS
    )
    assert (done.exit_code, done.stdout) == (2, "")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        *("mistake  agent 'x'", "mistake  every '4'", "mistake  outage 'opena 503'", "mistake  outage 'openai 50x'")
    ]


def test_a_person_sees_who_served_when() -> None:
    """A timeline of sixty characters, the calls, the return, the events, and one line for failures of a kind."""
    done = run("--outage", "gemini 503 for 30s", "--outage", "openai reset from 1m for 1m", variables=KEYLESS)
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[:2] == ["outage 1  gemini 503 for 30s", "outage 2  openai reset from 1m for 1m"]
    assert re.match(r"deriver  1{12}2{12,14}1{34,36}  1 openai/gpt, 2 anthropic/claude$", lines[3].rstrip())
    assert re.match(r"summary  x{6,7}1{53,54}  1 gemini/flash, x nobody$", lines[4].rstrip())
    assert "outage 2: the primary of deriver was back " in done.stdout
    assert re.search(r"handed over +deriver  to anthropic/claude: ", done.stdout)
    assert re.search(r"\d failed  summary  A\w+Error: gemini/flash: overloaded", done.stdout)
    assert re.fullmatch(r"150 requests in 5m, \d failed\.", lines[-1])


def test_a_slow_model_and_a_refused_key_are_told_as_they_are() -> None:
    """Slowness is waited for, and fails nothing; a refused key moves the agent, and says what to mend."""
    slow = simulate(Simulation(["openai slow 20s for 8s"], duration="20s"), settings=SETTINGS)
    assert not slow.failed
    assert slow.longest_wait == pytest.approx(20)
    assert 0 < (slow.outages[0].back_after["deriver"] or 0) < 6
    refused = simulate(Simulation(["openai 401 for 8s"], duration="1m"), settings=SETTINGS)
    happened = [(event.what, event.about) for event in refused.events]
    assert happened[0] == ("access refused", "deriver")
    assert ("hold placed", "the credential of openai at https://api.openai.com/v1") in happened
    assert {span.what for span in refused.models[0].states} == {"closed", "half-open", "held"}


def test_much_is_cut_for_a_person_and_said_to_be() -> None:
    """Forty events are shown, the first and the last, as it ended; those between are counted."""
    done = run("--outage", "openai 503 for 28m", "--agents", "deriver", "--duration", "30m", variables=KEYLESS)
    events = done.stdout.partition("after its end\n")[2].splitlines()[:-1]
    assert [number for number, line in enumerate(events) if re.fullmatch(r"\d+ more events: see --json", line)] == [30]
    assert len(events) == 41
    assert "handed over" in events[0]
    assert "returned" in events[-1]


def test_nobody_comes_back_from_an_outage_without_an_end() -> None:
    """A primary that answered most requests all the while did not stay away: the outage is said to have lasted."""
    done = run("--outage", "openai 20% 503 from 1m", "--agents", "deriver", variables=KEYLESS)
    assert "outage 1 lasted to the end\n" in done.stdout
    assert "come back" not in done.stdout


def test_a_narrow_terminal_has_the_legend_below() -> None:
    """In eighty columns no timeline is cut, and no name of a model is broken into pieces."""
    narrow = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80", **KEYLESS}
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in run(variables=narrow).stdout.splitlines()]
    assert re.fullmatch(r"deriver  1{12}2{11,15}1{33,37}", lines[2])
    assert lines[4:6] == ["deriver: 1 openai/gpt, 2 anthropic/claude", "summary: 1 gemini/flash"]


def test_what_is_left_to_chance_is_left_to_the_seed() -> None:
    """The same seed gives the same report, another one another."""
    reports = [simulate(Simulation(["openai 50% 503"], seed=seed), settings=SETTINGS) for seed in (1, 1, 2)]
    assert reports[0].as_json() == reports[1].as_json()
    assert reports[0].as_json() != reports[2].as_json() | {"seed": 1}


def test_a_simulation_from_a_program_takes_the_configuration_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment and `.env`, without keys; what cannot work is an error."""
    with pytest.raises(ConfigurationError, match="at least one agent"):
        simulate()
    for name, value in KEYLESS.items():
        monkeypatch.setenv(name, value)
    assert [agent.name for agent in simulate().agents] == ["deriver", "summary"]


def test_twins_that_differ_in_their_key_alone_are_two() -> None:
    """An outage can hit one of them; an agent that goes from one to the other is seen to do so."""
    twins = [RouteSettings(transport="openai", model="gpt", api_key=key) for key in ("one", "two")]
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=twins[0], fallbacks=(twins[1],))})
    outage = "openai at https://api.openai.com/v1 503 for 20s"
    both = simulate(Simulation([outage]), settings=settings)
    assert len(both.failed) > 2
    second = "openai at https://api.openai.com/v1 #2"
    one = simulate(Simulation([f"{second} 503 for 20s"]), settings=settings)
    assert [(model.endpoint.endswith("#2"), model.calls) for model in one.models] == [(False, 75), (True, 0)]
    assert one.agents[0].routes == ("openai/gpt (1)", "openai/gpt (2)")


def picture() -> tuple[Report, str]:
    """Return a report with all there is to draw, and its picture."""
    report = simulate(SIMULATION, settings=SETTINGS)
    return report, draw(report)


def test_the_picture_is_the_same_for_the_same_seed() -> None:
    """Byte for byte, on both backends."""
    assert picture()[1] == draw(simulate(SIMULATION, settings=SETTINGS, backend="trio"))


def test_the_picture_holds_everything() -> None:
    """It is XML; each agent and model has its lane, each outage, hand-over, return, probe and failure its mark."""
    report, svg = picture()
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    shapes = [element.get("class") for element in root.iter()]
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    titles = [element.text or "" for element in root.iter() if element.tag.endswith("}title")]
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for words in ("<b>&summary", "deriver", "gpt", 'cl"aud<e>', "openai at api.openai.com/v1", *SIMULATION.outages):
        assert words in texts
    assert shapes.count("track") == 2
    assert shapes.count("outage") == 2
    assert shapes.count("mark") == 2 + 1 + 1  # two in the legend
    assert any(title.startswith("deriver handed over at 1") for title in titles)
    assert any(title.startswith("deriver returned to its primary at ") for title in titles)
    assert shapes.count("probe") == 1 + sum(len(model.probes) for model in report.models)
    assert {"r0", "r1", "nobody", "closed", "half-open", "open", "held", "hit"} <= set(shapes)
    assert "prefers-color-scheme:dark" in svg


def test_the_picture_stays_within_its_edges() -> None:
    """Nothing is drawn outside, also what goes on beyond the end; words in a lane have room there."""
    long = Simulation(("openai hang", "anthropic 30% 503 from 1h for 9h"), duration="90m", every="30s")
    for svg in (picture()[1], draw(simulate(long, settings=SETTINGS))):
        root = ElementTree.fromstring(svg)  # noqa: S314 - our own
        height = float(root.get("height", "0"))
        for element in root.iter():
            if element.tag.endswith("}rect"):
                x, width = float(element.get("x", "0")), float(element.get("width", "0"))
                y, tall = float(element.get("y", "0")), float(element.get("height", "0"))
                assert 0 <= x <= x + width <= 960
                assert 0 <= y <= y + tall <= height
            if element.tag.endswith("}text") and element.get("text-anchor") != "middle":
                assert float(element.get("x", "0")) + 6.6 * len(element.text or "") <= 960


def test_outages_that_begin_together_are_numbered_in_order() -> None:
    """Side by side above the lanes, whichever ends first; below them what each number means."""
    outages = ("openai hang from 10s for 40s", "anthropic 503 from 10s for 20s", "openai 503 from 5s")
    root = ElementTree.fromstring(draw(simulate(Simulation(outages), settings=SETTINGS)))  # noqa: S314 - our own
    numbers = [element for element in root.iter() if element.get("class") == "number"]
    above, below = numbers[:3], numbers[3:]
    assert [element.text for element in sorted(above, key=lambda one: float(one.get("x", "0")))] == ["3", "1", "2"]
    assert [element.text for element in below] == ["1", "2", "3"]


def test_the_command_writes_the_picture(tmp_path: Path) -> None:
    """Where it is told to; a file that cannot be written is an error of usage."""
    assert run("--svg", str(tmp_path / "a.svg"), variables=KEYLESS).exit_code == 0
    ElementTree.parse(tmp_path / "a.svg")  # noqa: S314 - our own
    done = run("--svg", str(tmp_path / "missing" / "a.svg"), variables=KEYLESS)
    assert done.exit_code == 2
    assert "cannot be written: No such file or directory" in done.stderr


def test_the_real_time_of_a_simulation_warns_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a machine where everything takes seconds, no hook is called slow: the time that counts is virtual."""
    ticks = itertools.count()
    monkeypatch.setattr("understudy.supervisor._hooks.time.perf_counter", lambda: float(next(ticks)))
    assert not simulate(Simulation(duration="10s"), settings=SETTINGS).failed
    assert next(ticks) > 0
    assert not caplog.records
