"""Prices: what an answer costs, the table that says so, and where the cost is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from understudy import AgentSettings, RouteSettings, Settings, Usage
from understudy._cli import cli
from understudy.events import RequestEnded
from understudy.providers import Price
from understudy.simulation import Answer, Breaks, Phase, Script, Status
from understudy.supervisor import load

from .scenario import ask, opened

PLAIN = Price(2.0, 10.0)
PLAIN_PRICE = Price(1, 2)
FULL = Price(2.0, 10.0, cache_read=0.2, cache_write=2.5, reasoning=20.0)


@pytest.mark.parametrize(
    ("price", "usage", "dollars"),
    [
        (PLAIN, Usage(1_000_000, 0), 2.0),
        (PLAIN, Usage(0, 1_000_000), 10.0),
        (PLAIN, Usage(1000, 100), 0.003),
        (PLAIN, Usage(1000, 100, cache_read_tokens=400, cache_write_tokens=100, reasoning_tokens=50), 0.003),
        (FULL, Usage(1000, 100, cache_read_tokens=400, cache_write_tokens=100, reasoning_tokens=50), 0.00283),
        (FULL, Usage(100, 10, cache_read_tokens=400), 0.00018),  # a provider that counts its cache on top
        (FULL, Usage(0, 10, reasoning_tokens=90), 0.0002),
        (PLAIN, Usage(1000, None), None),
        (PLAIN, Usage(None, 100), None),
        (Price(0, 0), Usage(1000, 100), 0.0),
    ],
)
def test_each_token_is_paid_once(price: Price, usage: Usage, dollars: float | None) -> None:
    """Cached tokens are taken out of the input and thinking out of the output; unknown tokens have no cost."""
    assert price.of(usage) == (None if dollars is None else pytest.approx(dollars, abs=1e-12))


def table(text: str) -> Path:
    """Write a table of prices."""
    path = Path("prices.toml")
    path.write_text(text, encoding="utf-8")
    return path


def plan_with(path: Path) -> Any:
    """Return the plan of one agent with that table."""
    route = RouteSettings(transport="lmstudio", model="qwen", base_url="http://qwen.test/v1")
    return load(Settings.in_code(agents={"deriver": AgentSettings(primary=route)}, prices=path))


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("[qwen]\ninput = 1\noutput = 2.5\n", Price(1, 2.5)),
        ('["lmstudio/qwen"]\ninput = 1\noutput = 2\n[qwen]\ninput = 8\noutput = 9\n', Price(1, 2)),
        ('["openai/qwen"]\ninput = 1\noutput = 2\n', None),
        ('["qwen-2.5"]\ninput = 1\noutput = 2\n', None),
        ("[qwen]\ninput = 1\noutput = 2\ncache_read = 0\n", Price(1, 2, cache_read=0)),
        ("", None),
    ],
)
def test_a_model_has_the_price_of_its_transport_or_else_its_own(text: str, price: Price | None) -> None:
    """A table may hold more models than are asked, and need not hold all."""
    plan = plan_with(table(text))
    assert plan.problems == ()
    assert plan.routes[0].price == price


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("[qwen]\ninput = 1\n", ["LLM_PRICES, ['qwen'] output"]),
        (
            "[qwen]\ninput = 'one'\noutput = -1\ncash_read = 1\n",
            ["LLM_PRICES, ['qwen'] input", "LLM_PRICES, ['qwen'] output", "LLM_PRICES, ['qwen'] cash_read"],
        ),
        ("[qwen]\ninput = nan\noutput = inf\n", ["LLM_PRICES, ['qwen'] input", "LLM_PRICES, ['qwen'] output"]),
        ("[qwen]\ninput = true\noutput = 1\n", ["LLM_PRICES, ['qwen'] input"]),
        ("qwen = 1\n", ["LLM_PRICES, ['qwen']"]),
        ("[qwen-2.5]\ninput = 1\noutput = 2\n", ["LLM_PRICES, ['qwen-2']"]),
        ('[models."qwen-2.5"]\ninput = 1\noutput = 2\n', ["LLM_PRICES, ['models']"]),
        ("input = 1\noutput = 2\n", ["LLM_PRICES, ['input']", "LLM_PRICES, ['output']"]),
        (f"[qwen]\ninput = 1{'0' * 400}\noutput = 1\n", ["LLM_PRICES, ['qwen'] input"]),
        (f"[qwen]\ninput = 1{'0' * 5000}\noutput = 1\n", ["LLM_PRICES"]),
        ('["a\\u001b"]\n"b\\n" = 1\ninput = 1\noutput = 1\n', ["LLM_PRICES, ['a\\x1b'] b\\n"]),
        ("[qwen\n", ["LLM_PRICES"]),
        ("a = " + "[" * 5000, ["LLM_PRICES"]),
    ],
)
def test_every_mistake_in_the_table_is_told_at_start(text: str, variables: list[str]) -> None:
    """All at once, each by its place."""
    problems = plan_with(table(text)).problems
    assert [problem.variable for problem in problems] == variables
    assert all(problem.expected and problem.remedy and str(problem).isprintable() for problem in problems)


def test_a_name_with_a_dot_stands_in_quotes() -> None:
    """The remedy says how to write it."""
    [problem] = plan_with(table("[qwen-2.5]\ninput = 1\noutput = 2\n")).problems
    assert problem.remedy == 'write ["qwen-2.5"]'


def test_a_table_that_cannot_be_read_is_a_mistake() -> None:
    """One that is missing, a folder, a pipe, too large, or not in UTF-8; a mark of UTF-8 in front is none."""
    Path("latin.toml").write_bytes(b"# \xfc\n")
    Path("large.toml").write_text("#" * 300_000)
    os.mkfifo("pipe.toml")
    for path in ("nowhere.toml", ".", "latin.toml", "large.toml", "pipe.toml"):
        [problem] = plan_with(Path(path)).problems
        assert problem.variable == "LLM_PRICES"
    Path("marked.toml").write_text("[qwen]\ninput = 1\noutput = 2\n", encoding="utf-8-sig")
    assert plan_with(Path("marked.toml")).routes[0].price == PLAIN_PRICE


@pytest.mark.anyio
async def test_an_answer_says_what_it_cost() -> None:
    """The route that answered counts, whatever was tried before; the event and the metrics say the same."""
    events, prices = list[Any](), table('["anthropic-model"]\ninput = 1\noutput = 1000\n')
    scripts = {"openai": Script.always(Status(500)), "anthropic": Script.always(Answer("one two three"))}
    async with opened(scripts, prices=prices, hooks=[events.append]) as (agent, supervisor, _):
        response = await ask(agent)
        tokens = response.usage
        assert (tokens.input_tokens, tokens.output_tokens) == (3, 3)
        assert response.cost == pytest.approx(0.003003)
        metrics = supervisor.metrics()
    [ended] = [event for event in events if isinstance(event, RequestEnded)]
    assert (ended.usage, ended.cost) == (tokens, response.cost)
    assert metrics.total("understudy.cost", transport="anthropic") == response.cost
    assert metrics.total("understudy.cost", transport="openai") == 0


@pytest.mark.anyio
async def test_failed_attempts_are_not_billed() -> None:
    """A stream that broke off and was begun anew costs what the answer cost that was given."""
    prices = table('["openai-model"]\ninput = 1\noutput = 1000\n["anthropic-model"]\ninput = 2\noutput = 2000\n')
    scripts = {
        "openai": Script((Phase(Breaks(Answer("one two three"), 2)),), Answer()),
        "anthropic": Script.always(Answer("one two three")),
    }
    async with opened(scripts, prices=prices) as (agent, supervisor, _):
        async with agent.stream("Who wrote Faust?", on_interrupt="restart") as stream:
            async for _ in stream:
                pass
        assert stream.response is not None
        assert stream.response.cost == pytest.approx(0.006006)
        assert supervisor.metrics().total("understudy.cost") == stream.response.cost


@pytest.mark.anyio
async def test_a_run_costs_what_its_turns_cost() -> None:
    """Their sum; where the price of any turn is not known, that of the run is not either."""

    async def look_up(place: str) -> str:
        """Look something up."""
        return place

    both = '["openai-model"]\ninput = 1\noutput = 1000\n["anthropic-model"]\ninput = 2\noutput = 2000\n'
    for text, known in ((both, True), (both.partition('["anthropic')[0], False)):
        scripts = {
            "openai": Script((Phase(Status(500), since=5),), Answer("hi", rounds=1, after=6)),
            "anthropic": Script.always(Answer("hi", rounds=1)),
        }
        async with opened(scripts, prices=table(text)) as (agent, supervisor, _):
            run = await agent.run("Where?", tools=[look_up])
            cost = supervisor.metrics().total("understudy.cost")
        assert run.iterations == 2
        assert [attempt.transport for attempt in run.attempts] == ["openai", "openai", "anthropic"]
        assert run.cost == (pytest.approx(cost) if known else None)


def test_check_says_which_models_have_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """For people in a line, for programs beside each route."""
    table("[qwen]\ninput = 1\noutput = 2\n")
    for name, value in (
        ("LLM_PRICES", "prices.toml"),
        ("DERIVER_MODEL_CONFIG__MODEL", "lmstudio/qwen"),
        ("DERIVER_MODEL_CONFIG__FALLBACK__MODEL", "lmstudio/other"),
    ):
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(cli, ["check"])
    assert (told.exit_code, "prices  none for lmstudio/other" in told.stdout) == (0, True)
    assert '"price": {"input": 1' in CliRunner().invoke(cli, ["check", "--json"]).stdout
    monkeypatch.setenv("DERIVER_MODEL_CONFIG__FALLBACK__MODEL", "lmstudio/qwen")
    assert "prices  for every route" in CliRunner().invoke(cli, ["check"]).stdout
