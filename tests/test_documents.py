"""README and examples say what is true: their code is run, and what they name exists."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from understudy import events
from understudy._cli import cli
from understudy.simulation import Answer, Breaks, Script, Status, simulated_server
from understudy.supervisor import FAMILIES
from understudy.supervisor._price_table import price_table

from .test_front_door import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    """Return the code blocks of a document in a language; without one, of the README."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


DOCUMENT = (ROOT / "docs/using.md").read_text()


def programs(text: str) -> list[tuple[str, str, str]]:
    """Return the programs of a document: the section that each stands in, its code, and what it prints."""
    return [
        (section.partition("\n")[0], code, printed)
        for section in text.split("\n## ")[1:]
        for code, printed in re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", section, re.DOTALL)
    ]


USING = programs(DOCUMENT)
TELEMETRY_TEXT = (ROOT / "docs/telemetry.md").read_text()
TELEMETRY = programs(TELEMETRY_TEXT)
GATEWAY_TEXT = (ROOT / "docs/gateway.md").read_text()
GATEWAY = programs(GATEWAY_TEXT)
PROGRAMS = USING + TELEMETRY + GATEWAY


def variables(text: str = README) -> dict[str, str]:
    """Return the configuration that a document shows."""
    (block,) = blocks("sh", text)
    return dict(line.split("=", 1) for line in block.splitlines())


LOGGED = ("handed_over ", "circuit_tripped ", "hook_slow ")
"""What is logged of an outage, and of a machine so busy that a hook takes long."""


def unexpected(err: str) -> list[str]:
    """Return the lines that a program wrote to standard error, but for what is logged."""
    return [line for line in err.splitlines() if not line.startswith(LOGGED)]


@pytest.mark.anyio
@pytest.mark.commands
async def test_the_code_in_the_readme_runs() -> None:
    """With the README's own configuration, pointed at simulated vendors, its ten lines print what they promise."""
    (code,) = blocks("python")
    async with (
        simulated_server(Script.always(Status(503))) as lead,
        simulated_server(Script.always(Answer("Goethe."))) as second,
    ):
        environment = {
            **variables(),
            "LLM_OPENAI_BASE_URL": lead.openai_url,
            "LLM_ANTHROPIC_BASE_URL": second.anthropic_url,
        }
        exit_code, out, err = await run("-c", code, environment=environment)
    assert (exit_code, unexpected(err)) == (0, [])
    answer, first, last = out.splitlines()
    assert answer == "Goethe. claude-haiku-4-5 True"
    assert first.startswith("openai gpt-5.4-mini overloaded 0.")
    assert last.startswith("anthropic claude-haiku-4-5 ok 0.")


CALL = {"id": "c1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 17, "b": 23}'}}
ASKS = {"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
ASKS_FOR_A_TOOL = Status(200, body=json.dumps({"model": "gpt", "choices": [ASKS]}).encode())
SAYS_SO = Answer("Goethe wrote it.")
BREAKS_OFF = Breaks(SAYS_SO, after=2)
FAUST, ODYSSEY = (Answer(f'{{"author": "{author}", "year": {year}}}') for author, year in (("Goethe", 1808), ("?", 0)))
LEADS = (
    ("multiply", Script.sequence(ASKS_FOR_A_TOOL, otherwise=Answer("17 * 23 is 391."))),
    ("look_up", Script.always(Answer("Goethe wrote it.", rounds=1))),
    ("text_stream", Script.sequence(SAYS_SO, BREAKS_OFF)),
    ('Egmont?", on_interrupt', Script.always(BREAKS_OFF)),
    ("stream_upstream", Script.always(BREAKS_OFF)),
    ("response_model", Script.sequence(ODYSSEY, FAUST, otherwise=ODYSSEY)),
)
"""What the README's primary does, for the program that has these words in it; for any other one it answers."""


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize(("code", "printed"), [row[1:] for row in PROGRAMS], ids=[row[0] for row in PROGRAMS])
async def test_the_programs_in_the_docs_print_what_stands_under_them(code: str, printed: str, tmp_path: Path) -> None:
    """Each is a whole program, and says what the document says, with the README's variables and simulated vendors."""
    goethe = Script.always(Answer("Goethe."))
    script = next((script for words, script in LEADS if words in code), goethe)
    (tmp_path / "chart.png").write_bytes(b"\x89PNG")
    async with simulated_server(script) as lead, simulated_server(goethe) as second:
        urls = {"LLM_OPENAI_BASE_URL": lead.openai_url, "LLM_ANTHROPIC_BASE_URL": second.anthropic_url}
        exit_code, out, err = await run("-c", code, environment={**variables(), **urls})
    assert (exit_code, out, unexpected(err)) == (0, printed, [])
    if "multiply" in code:
        assert lead.received[1].body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "391"}


@pytest.mark.anyio
@pytest.mark.commands
async def test_the_program_about_circuits_runs() -> None:
    """It shows what is known of each endpoint, and closes one by hand."""
    (code,) = blocks("python", (ROOT / "docs" / "circuits.md").read_text())
    async with simulated_server() as lead, simulated_server() as second:
        urls = {"LLM_OPENAI_BASE_URL": lead.openai_url, "LLM_ANTHROPIC_BASE_URL": second.anthropic_url}
        exit_code, out, err = await run("-c", code, environment={**variables(), **urls})
    known, forced, again = out.splitlines()
    assert known == f"openai at {lead.openai_url} gpt-5.4-mini closed closed None"
    assert (forced, again) == ("True ['closed by hand: maintenance']", "False")
    told = [line.partition(" ")[0] for line in err.splitlines() if not line.startswith("hook_slow ")]
    assert (exit_code, told) == (0, ["forced", "handed_over", "forced", "forced", "forced"])


def test_the_document_has_a_program_for_each_matter() -> None:
    """None of them is lost because its form is not the one that the test above looks for."""
    assert len(USING) == DOCUMENT.count("```python") == 11
    assert len(TELEMETRY) == TELEMETRY_TEXT.count("anyio.run(main)") == 2
    assert len(GATEWAY) == GATEWAY_TEXT.count("anyio.run(main)") == 1


def test_the_document_names_each_metric_and_each_event() -> None:
    """With what it is and the labels it has; nothing that there is not."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TELEMETRY_TEXT.splitlines() if "|" in line]
    metrics = {row[0].strip("`"): row[1:] for row in rows if len(row) == 3 and row[0].startswith("`")}
    assert metrics == {
        name: [family.help, ", ".join(f"`{label}`" for label in family.labels)] for name, family in FAMILIES.items()
    }
    told = {name for row in rows if len(row) == 2 for name in re.findall(r"`([A-Z]\w+)`", row[0])}
    assert told == set(events.__all__) - {"Event", "Key", "Layer"}


def test_the_table_of_prices_in_the_document_is_one(tmp_path: Path) -> None:
    """It can be read as it stands."""
    (text,) = blocks("toml", TELEMETRY_TEXT)
    path = tmp_path / "prices.toml"
    path.write_text(text)
    prices, problems = price_table(path)
    assert (list(prices), problems) == (["gpt-5.4-mini", "nous/hermes-4-405b"], ())


def test_the_readme_shows_what_check_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table in the README is the command's own, for the configuration above it."""
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    printed = CliRunner().invoke(cli, ["check"], env={"COLUMNS": "120"})
    assert printed.exit_code == 0
    (shown,) = (block for block in blocks("console") if block.startswith("$ understudy check"))
    expected = [line.rstrip() for line in printed.output.splitlines()]
    assert [line.rstrip() for line in shown.splitlines()[1:]] == expected


def test_the_simulation_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What docs/simulation.md prints, and the picture in it, are what its command makes of its configuration."""
    text = (ROOT / "docs" / "simulation.md").read_text()
    for name, value in variables(text).items():
        monkeypatch.setenv(name, value)
    (shown,) = blocks("console", text)
    command, output = shown.replace("\\\n", "").split("\n", 1)
    arguments = shlex.split(command.removeprefix("$ understudy "))
    printed = CliRunner().invoke(cli, arguments, env={"FORCE_COLOR": None, "TTY_COMPATIBLE": None})
    assert [line.rstrip() for line in printed.output.splitlines()] == output.splitlines()
    assert printed.exit_code == 1
    picture = (tmp_path / arguments[-1]).read_bytes()
    assert (ROOT / "docs" / arguments[-1]).read_bytes() == picture


@pytest.mark.anyio
@pytest.mark.commands
async def test_the_code_in_the_docs_runs() -> None:
    """The programs in docs/testing.md end well; its pytest project is run by tests/test_pytest_plugin.py."""
    every = blocks("python", (ROOT / "docs" / "testing.md").read_text())
    programs = [block for block in every if not re.match(r"# \w+\.py\n", block)]
    assert len(programs) == 6
    for program in programs:
        exit_code, _, err = await run("-c", program, environment={"PYTHONPATH": str(ROOT)})
        assert (exit_code, unexpected(err)) == (0, [])


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document names something that exists."""
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
async def test_examples_run(example: Path) -> None:
    """Every example ends well, offline, and says something."""
    done = await anyio.run_process([sys.executable, "-W", "error", str(example)])
    assert done.stdout
    assert not unexpected(done.stderr.decode())
