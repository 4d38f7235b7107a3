"""The benchmarks: that what is written of them is what was measured, and that each of them still runs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as own
from benchmarks import complete, gateway, handover, memory, served, startup, stream, upstream
from benchmarks.document import setting, written
from benchmarks.load import Client, Load, Side, Spent, in_turn, is_right, is_whole, request
from benchmarks.measure import BACKENDS, Instant, Job, apart, at_once, interleaved, job, share
from benchmarks.peers import __main__ as peers
from benchmarks.peers import gateways
from benchmarks.plots import beside_peers, by_size, pictures
from benchmarks.record import load, over_the_limit, rounded, set_up
from benchmarks.runs import last_line
from benchmarks.tables import Table, calls, chunks, fates, gateway_tables, markdown, peer_tables, us
from benchmarks.tables import memory as table_of_memory

DOCS = Path(__file__).parent.parent / "docs"
RECORD = load()


def call(**more: Any) -> dict[str, Any]:
    """Make a row of whole answers."""
    row = {"backend": "asyncio", "wire": "openai", "messages": 1, "in_flight": 64, "delay": 0}
    return {**row, "bare": 1200.0, "httpx2": 900.0, "ours": 150.0, "upstream": 0.254, **more}


def peer(title: str, cpu: float, **more: Any) -> list[dict[str, Any]]:
    """Make the rows of a peer."""
    versions = {"versions": {"a-package": "1.0"}}
    rows = [{"what": what, "cpu": cpu, "upstream": 0.1, **versions} for what in ("call", "conversation", "stream")]
    rows += [{"what": "memory", "bytes": 20480.0, "connections": 1000.0, **versions}, {"what": "trio", "trio": False}]
    return [{"peer": title, **row, **more} for row in rows]


def test_the_document_has_the_figures_that_were_measured() -> None:
    """Its tables are those of docs/performance.json: `make figures` would change nothing."""
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert written(text, RECORD) == text


def test_the_pictures_are_those_of_the_figures() -> None:
    """Each has the mark of what was measured last, no date, and is shown in the document."""
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    for picture in pictures(RECORD):
        drawn = (DOCS / picture.name).read_text(encoding="utf-8")
        assert f"figures {picture.digest}" in drawn
        assert "<dc:date>" not in drawn
        assert "prefers-color-scheme:dark" in drawn
        assert f"]({picture.name})" in text


def test_no_figure_was_measured_against_an_upstream_at_its_limit() -> None:
    """What was written down is what the sides cost, not what the mock upstream could do."""
    rows = [row for part in RECORD.values() for rows in part.values() if isinstance(rows, list) for row in rows]
    assert over_the_limit(rows) == []


def test_a_busy_upstream_is_named() -> None:
    """With what was measured then, so that it can be measured anew."""
    assert over_the_limit([call(), {"what": "memory"}]) == []
    (said,) = over_the_limit([call(upstream=0.9)])
    assert said.startswith("90% of a core: backend asyncio, wire openai, messages 1, in_flight 64")
    (said,) = over_the_limit([{"what": "late", "upstream": 0.5, "load": 0.4}])
    assert said.startswith("90% of a core: what late")


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (6.55, "6.5 µs"), (19.96, "20.0 µs"), (150.4, "150 µs"), (6539.0, "6,539 µs")]
)
def test_microseconds_are_shown_with_the_digits_that_count(value: float | None, shown: str) -> None:
    """One digit after the point where there are few, none where there are many."""
    assert us(value) == shown


def test_the_table_of_calls() -> None:
    """One row for each scenario, asyncio first, and those that are answered at once before those that are not."""
    late = call(delay=50)
    del late["httpx2"]
    table = calls([call(backend="trio"), late, call(in_flight=1000)])
    assert [row[0] for row in table.rows] == ["asyncio", "asyncio", "trio"]
    assert table.rows[0][1:] == ("openai", "1", "1,000", "0 ms", "1,200 µs", "900 µs", "150 µs", "0.12x", "25%")
    assert table.rows[1][4:] == ("50 ms", "1,200 µs", "", "150 µs", "0.12x", "25%")


def test_the_tables_of_streams_of_hand_overs_and_of_memory() -> None:
    """A side that was not measured leaves its cells empty; the sides of a measure of memory meet in one row."""
    both = {"backend": "trio", "bare": 100.0, "ours": 5.0, "upstream": 0.0}
    (row,) = chunks([{**both, "wire": "anthropic", "pace": "burst"}]).rows
    assert row == ("trio", "anthropic", "100 at once", "100 µs", "5.0 µs", "0.05x", "0%")
    past = {"backend": "trio", "fate": "circuit open", "ours": 5.0, "fated": 5.1, "another": 5.0, "upstream": 0.0}
    (row,) = fates([past]).rows
    assert row == ("trio", "sent past its primary, whose circuit is open", "", "5.0 µs", "", "+2%", "0%")
    sides = [
        {"backend": "trio", "what": "call", "side": side, "bytes": n} for side, n in (("bare", 4096), ("ours", 1024))
    ]
    assert table_of_memory(sides).rows == [("trio", "a call", "4 KiB", "1 KiB", "0.25x")]


def test_the_tables_of_peers() -> None:
    """A peer without a fallback has an empty cell there; what runs on trio is said, and each version."""
    handed_over = {"what": "handover", "peer": "b", "cpu": 300.0, "upstream": 0.3}
    costs, more = peer_tables([*peer("a", 100.0), *peer("b", 200.0), handed_over])
    assert costs.rows == [
        ("a", "100 µs", "100 µs", "", "100 µs", "10%"),
        ("b", "200 µs", "200 µs", "300 µs", "200 µs", "30%"),
    ]
    assert more.rows[0] == ("a", "20 KiB", "1,000", "no", "a-package 1.0")


def relayed(**more: Any) -> list[dict[str, Any]]:
    """Make the rows of a gateway."""
    used = {"gateway": 0.98, "upstream": 0.2, "load": 0.3, **more}
    costs = {"openai": 200.0, "anthropic": 210.0, "translated": 300.0, **used}
    waits = {"direct p50": 51.0, "direct p95": 52.0, "gateway p50": 61.2, "gateway p95": 70.0, "rate": 4100.0, **used}
    return [
        {"what": "whole", "idle": 110 * 2.0**20, "after": 120 * 2.0**20, **costs},
        {"what": "stream", **costs, "openai": 1300.0},
        {"what": "late", **waits},
    ]


def test_the_tables_of_the_gateway() -> None:
    """What a request costs by the dialects, how long it takes beside the upstream itself, and memory."""
    cpu, late, idle = gateway_tables(relayed(backend="trio"))
    used = ("98%", "20%", "30%")
    assert cpu.rows[0] == ("trio", "a whole answer", "200 µs", "210 µs", "300 µs", *used)
    assert cpu.rows[1] == ("trio", "a stream of 100 chunks", "1,300 µs", "210 µs", "300 µs", *used)
    assert late.rows == [("trio", "51 ms", "52 ms", "61 ms", "70 ms", "1.20x", "4,100", *used)]
    assert (idle.head, idle.rows) == (
        ("event loop", "idle", "after the requests above"),
        [("trio", "110 MB", "120 MB")],
    )


def test_the_tables_of_other_gateways() -> None:
    """A dialect that one does not speak leaves its cell empty; versions are told."""
    rows = relayed(peer="a", versions={"a-package": "1.0"})
    del rows[0]["anthropic"]
    cpu, _, idle = gateway_tables(rows, "peer")
    assert cpu.rows[0][:5] == ("a", "a whole answer", "200 µs", "", "300 µs")
    assert idle.rows == [("a", "110 MB", "120 MB", "a-package 1.0")]


def test_the_figures_of_rounds() -> None:
    """Medians of the rounds; the shares are those of all the time that passed."""
    rounds = [Spent(cpu, 0.1, 0.2, 1.0, (0.01, 0.02, 0.03, 0.04)) for cpu in (0.4, 0.8, 0.6)]
    assert gateway.microseconds(rounds) == pytest.approx(150_000)
    assert gateway.milliseconds(rounds, 50) == pytest.approx(25)
    assert gateway.rate(rounds) == 4
    assert gateway.shares(rounds) == pytest.approx({"gateway": 0.6, "upstream": 0.1, "load": 0.2})
    idle = [Spent(0.9, 0.0, 0.1, 1.0, (0.01,))]
    assert gateway.busiest({"a": rounds, "b": idle}) == gateway.shares(rounds)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length:2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_when_an_answer_is_whole(answer: bytes, whole: bool) -> None:
    """By its length, or by its last chunk."""
    assert is_whole(answer) is whole


def test_an_error_is_no_answer() -> None:
    """Nor is a stream that broke off."""
    words = b"word " * 100
    assert is_right(b"HTTP/1.1 200 OK\r\n\r\n" + words, streamed=True)
    assert not is_right(b"HTTP/1.1 200 OK\r\n\r\n" + words[5:], streamed=True)
    assert not is_right(b"HTTP/1.1 500 No\r\n\r\nJohann Wolfgang", streamed=False)


@pytest.mark.anyio
@pytest.mark.processes
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("dialect", "streamed"), [("openai", False), ("anthropic", True)])
async def test_the_load_is_a_closed_loop(dialect: str, streamed: bool, at: upstream.Upstream) -> None:
    """Each connection asks as often as it should, and each answer is timed."""
    given = request(dialect, "a-model", {}, streamed=streamed)
    side = Side(gateway.direct(at.url).port, 0, given, streamed)
    spent = await in_turn({"upstream": side}, Load(3, 4, 2), at.process)
    assert [len(each.waits) for each in spent["upstream"]] == [12, 12]
    assert all(each.upstream > 0 and each.asked == 0 for each in spent["upstream"])


@pytest.mark.anyio
@pytest.mark.processes
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_load_does_not_count_errors(at: upstream.Upstream) -> None:
    """One wrong answer ends the run, with what was answered."""
    side = Side(gateway.direct(at.url).port, 0, request("openai", "down", {}))
    with pytest.raises(ValueError, match=r"HTTP/1\.1 500"):
        await in_turn({"upstream": side}, Load(2, 1, 1), at.process)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_that_is_lost_ends_the_run(anyio_backend: str) -> None:
    """Nobody waits for an answer that cannot come."""
    client = Client(Side(1, 0, b""))
    client.connection_made(Unwritten())
    asking = asyncio.ensure_future(client.ask(1))
    await asyncio.sleep(0)
    client.connection_lost(None)
    with pytest.raises(ConnectionError, match="before all was answered"):
        await asking


class Unwritten(asyncio.Transport):
    """A connection that takes everything."""

    def write(self, data: bytes | bytearray | memoryview[int] | memoryview) -> None:
        """Take it."""


@pytest.mark.processes
def test_a_gateway_that_does_not_start_says_why() -> None:
    """With the words of its process."""
    recipe = served.Recipe((sys.executable, "-c", "raise SystemExit('no luck')"))
    other = served.Gateway("other", lambda port, url: recipe, lambda name, url: served.Called(name, {}))
    with pytest.raises(RuntimeError, match="other does not listen; it said:\nno luck"), served.served(other, ""):
        raise AssertionError


def test_markdown() -> None:
    """A table stands under its title."""
    assert markdown(Table("What", ("a", "b"), [("1", "2")])) == "### What\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_document_without_marks_is_not_written() -> None:
    """Figures that would be lost are an error."""
    about = {"machine": "A", "cores": 2, "system": "Linux 6", "python": "3.11", "quick": False, "versions": {}}
    record = {"peers": {"about": about, "rows": peer("a", 1.0)}}
    with pytest.raises(ValueError, match="no marks for peers"):
        written("# Performance\n", record)
    text = written("before\n<!-- peers -->\nold\n<!-- end of peers -->\nafter\n", record)
    by = "Measured with `python -m benchmarks.peers libraries`"
    assert text.startswith(
        f"before\n<!-- peers -->\n{by}. A, 2 cores, Linux 6; Python 3.11.\n\n### CPU per call beside"
    )
    assert text.endswith("\n\n<!-- end of peers -->\nafter\n")
    assert written(text, record) == text


def test_figures_say_how_they_were_measured() -> None:
    """When, with what, and of how many rounds they are medians; a record without those is readable all the same."""
    about = {"machine": "A", "cores": 2, "system": "Linux 6", "python": "3.11", "quick": False, "versions": {}}
    machine = "A, 2 cores, Linux 6; Python 3.11"
    assert setting({**about, "versions": {"anyio": "4"}}, "x") == f"Measured with `x`. {machine}; anyio 4."
    when = {"date": "2026-11-27", "rounds": [3, 15]}
    assert setting({**about, **when}, "x") == f"Measured on 2026-11-27 with `x`, medians of 3 to 15 rounds. {machine}."
    assert "medians of 1 round. " in setting({**about, "rounds": [1, 1]}, "x")
    assert "quick run" in setting({**about, "quick": True}, "x")


def test_what_is_written_down_says_how_it_was_measured() -> None:
    """The day, and the fewest and most rounds; those that stand in the record are the benchmarks' own."""
    about = set_up((), (5, 3, 9), quick=False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
    assert about["rounds"] == [3, 9]
    assert set_up((), (5, 3, 9), quick=True)["rounds"] == [1, 1]
    assert (min(own.ROUNDS), max(own.ROUNDS)) == (3, 15)
    assert [part.name for part in own.PARTS.values()] == ["bench", "gateway"]


def test_the_picture_by_size() -> None:
    """One panel by calls in flight, one by messages, of those calls alone that differ in nothing else."""
    other = [call(backend="trio"), call(delay=50), call(wire="anthropic")]
    rows = [call(in_flight=1000, ours=300.0), call(), call(messages=41, bare=6000.0), *other]
    first, second = by_size(rows).panels
    assert (first.ticks, second.ticks) == (("64", "1,000"), ("1", "41"))
    assert [series.label for series in first.series] == ["bare SDK", "ours, over httpx2", "ours"]
    assert first.series[2].values == (150.0, 300.0)
    assert second.series[0].values == (1200.0, 6000.0)


def test_the_picture_of_peers() -> None:
    """The cheapest comes first, which is drawn at the bottom; other figures are another picture."""
    rows = [*peer("dear", 900.0), *peer("cheap", 100.0)]
    picture = beside_peers(rows)
    assert [panel.ticks for panel in picture.panels] == [("cheap", "dear")] * 2
    assert picture.panels[0].series[0].values == (100.0, 900.0)
    assert picture.digest == beside_peers(rows).digest != beside_peers(peer("cheap", 100.0)).digest
    assert [each.name for each in pictures({"peers": {"rows": rows}})] == ["performance-peers.svg"]


def test_figures_are_kept_with_four_digits() -> None:
    """More of them is noise, and a new record would differ from the old one in every line."""
    assert rounded({"a": [1234.567, 3], "b": "c"}) == {"a": [1235.0, 3], "b": "c"}


def test_the_middle_of_the_runs_of_a_peer() -> None:
    """Medians; but of the upstream's share the highest, for a single run at the limit is one too many."""
    rows = [{"cpu": cpu, "upstream": cpu / 10, "versions": {}} for cpu in (3.0, 1.0, 2.0)]
    assert peers.middle(rows) == {"cpu": 2.0, "upstream": 0.3, "versions": {}}


def test_the_share_of_the_upstream() -> None:
    """Of the time that passed, all spans together."""
    assert share([Instant(1, 1, 2), Instant(1, 2, 2)]) == 0.75
    assert share([]) == 0


def test_a_job_travels_on_a_command_line() -> None:
    """What a process reads is what it was given."""
    given = Job("trio", "http://127.0.0.1:1/v1", scenario=("openai", 1, 64, 0), quick=True)
    assert job(given.text()) == given
    assert given.address == "http://127.0.0.1:1"


@pytest.mark.anyio
async def test_sides_take_turns() -> None:
    """In each round each of them, the first round not counted; a round makes all of its calls."""
    made: list[str] = []

    async def make(side: str) -> None:
        made.append(side)

    work = {side: at_once(lambda side=side: make(side), 2, 2) for side in ("a", "b")}  # type: ignore[misc]
    figures = await interleaved(work, 4, rounds=1)
    assert made == [*"aaaabbbb"] * 2
    assert set(figures) == {"a", "b"}


@pytest.mark.anyio
@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_side_apart_takes_turns(anyio_backend: str, at: upstream.Upstream) -> None:
    """It does its work when it is asked to, in a process of its own, and ends with whoever asks."""
    scenario = complete.Scenario("openai", 1, 64, 0)
    given = Job(anyio_backend, at.url, process=at.process, scenario=scenario, quick=True)
    async with apart("benchmarks.complete", given, "ours") as turn:
        spent = [await turn(), await turn()]
    assert all(each.own > 0 and each.upstream > 0 for each in spent)


REQUESTS = [
    (b'"model":"a-model"', b"HTTP/1.1 200", 1, 0.0),
    (b'"model": "down", "stream": true', b"HTTP/1.1 500", 1, 0.0),
    (b'"model":"limited"', b"HTTP/1.1 429", 1, 0.0),
    (b'"model":"slow"', b"HTTP/1.1 200", 1, upstream.DELAY),
    (b'"model":"open","stream":true', b"HTTP/1.1 200", 1, 0.0),
    (b'"model":"trickle","stream":true', b"HTTP/1.1 200", upstream.TRICKLE + 1, 0.0),
]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(("body", "head", "parts", "after"), REQUESTS)
def test_the_upstream_answers_as_the_model_says(path: str, body: bytes, head: bytes, parts: int, after: float) -> None:
    """On both wires, however a client writes its JSON."""
    said = upstream.reply(b"POST %s HTTP/1.1\r\n\r\n{%s}" % (path.encode(), body))
    assert (said.parts[0][: len(head)], len(said.parts), said.after) == (head, parts, after)
    assert upstream.reply(b'POST / HTTP/1.1\r\n\r\n{"model":"hold"}').parts == ()


@pytest.fixture(scope="module")
def at() -> Iterator[upstream.Upstream]:
    """Run the upstream."""
    with upstream.running() as running:
        yield running


RUNS = [
    own.Step("complete", "trio", complete.Scenario("anthropic", 1, 64, 50)),
    own.Step("stream", "uvloop", stream.SCENARIOS[0]),
    own.Step("handover", "trio", ("hang",)),
    own.Step("memory", "asyncio", ("stream", "ours")),
    own.Step("startup", "asyncio", ("import understudy",)),
    own.Step("gateway", "asyncio", ("whole",)),
    own.Step("gateway", "trio", ("stream",)),
    own.Step("gateway", "asyncio", ("late",)),
]


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize("step", RUNS, ids=lambda step: f"{step.module}-{step.backend}")
def test_each_benchmark_runs(step: own.Step, at: upstream.Upstream) -> None:
    """With the fewest calls that go through all of it, in a process of its own."""
    row = own.measured(step, at, quick=True)
    assert row["backend"] == step.backend
    assert all(row[side] > 0 for side in ("bare", "ours", "upstream") if side in row)


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize(("module", "what"), [("bare", "handover"), ("ours", "stream")])
def test_a_peer_prints_what_it_costs(module: str, what: str, at: upstream.Upstream) -> None:
    """One object, on its last line. Those that have an environment of their own are not run here."""
    task = json.dumps({"url": at.url, "process": at.process, "what": what, "quick": True})
    found = last_line([sys.executable, "-m", f"benchmarks.peers.{module}", task])
    assert found["cpu"] > 0
    assert "openai" in found["versions"]


def test_every_step_is_one_that_there_is() -> None:
    """Each event loop has a name that anyio knows, and each scenario belongs to its benchmark."""
    known = {
        "complete": complete.FULL,
        "stream": stream.SCENARIOS,
        "handover": handover.SCENARIOS,
        "memory": memory.SCENARIOS,
        "startup": startup.SCENARIOS,
        "gateway": gateway.SCENARIOS,
    }
    steps = [step for part in own.PARTS.values() for step in part.steps]
    for step in steps:
        assert step.backend in BACKENDS
        assert step.scenario in known.get(step.module, ((),))
    assert len(set(steps)) == len(steps)


def test_each_peer_has_a_lock_and_a_module() -> None:
    """With exact versions, hashes, and the address of no index."""
    folder = Path(peers.__file__).parent
    named = {each.environment for each in peers.PEERS} - {""}
    assert named | {gateways.LITELLM.name} == {path.stem for path in folder.glob("*.lock")}
    for each in peers.PEERS:
        assert (folder / f"{each.module}.py").exists()
    for path in folder.glob("*.lock"):
        text = path.read_text()
        assert "://" not in text
        assert not re.search(r"^-", text, re.MULTILINE)


def test_the_lock_for_node_has_hashes_and_no_address() -> None:
    """Each package is known by what is in it, wherever it comes from."""
    lock = json.loads((Path(peers.__file__).parent / "portkey" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert "node_modules/@portkey-ai/gateway" in packages
    assert all("integrity" in package and "resolved" not in package for package in packages.values())


def test_how_other_gateways_are_started_and_called() -> None:
    """Over the same models; where a gateway has a token, a client shows it."""
    url = "http://127.0.0.1:1/v1"
    litellm, portkey = gateways.litellm(), gateways.portkey()
    recipe = litellm.recipe(7, url)
    models = json.loads(recipe.files["config.yaml"])["model_list"]
    assert {model["model_name"] for model in models} == set(served.TARGETS)
    assert [model["litellm_params"]["api_base"] for model in models] == [url, url.removesuffix("/v1"), url]
    assert litellm.called("slow", url).model == "slow"
    assert "--port=7" in portkey.recipe(7, url).command
    model, headers = portkey.called("anthropic", url)
    assert (model, headers["x-portkey-provider"], headers["x-portkey-custom-host"]) == ("a-model", "anthropic", url)


def test_our_gateway_has_an_agent_for_each_target() -> None:
    """With the token that clients show, and each target's own address."""
    environment = served.ours("trio").recipe(7, "http://127.0.0.1:1/v1").environment
    assert environment["ANTHROPIC_MODEL_CONFIG__BASE_URL"] == "http://127.0.0.1:1"
    assert environment["SLOW_MODEL_CONFIG__MODEL"] == "slow"
    assert served.TOKEN in served.ours("trio").called("slow", "").headers["authorization"]
