"""The feed over a real supervisor: events as they come, in virtual time, and circuits set from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest

from understudy import Supervisor
from understudy.gateway import Action, CrowdedError, Feed, act, merged, page_file
from understudy.gateway._feed import BEAT, SUBSCRIBERS
from understudy.simulation import Answer, Phase, Script, Status

from .scenario import Opened, ask, opened

pytestmark = pytest.mark.anyio

UNIX = 1767225600.0
ENDPOINT = "openai at http://openai.test/v1"
MODEL = f"{ENDPOINT} / openai-model"
OUTAGE = Script((Phase(Status(503), since=10, until=20),), Answer(after=0.5))


@asynccontextmanager
async def watched(**scripts: Script) -> AsyncIterator[tuple[Feed, Opened]]:
    """Open a supervisor that a feed watches."""
    begun = anyio.current_time()
    feed = Feed("1.2.3", wall_clock=lambda: UNIX + anyio.current_time() - begun)
    async with opened(
        scripts or {"openai": OUTAGE, "anthropic": Script.always(Answer(after=0.5))}, hooks=[feed]
    ) as got:
        feed.watch(got[1])
        yield feed, got


def read(event: bytes) -> tuple[str, dict[str, Any]]:
    """Return an event's name and what it holds."""
    name, data, *rest = event.decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_subscriber_sees_an_outage_as_it_happens() -> None:
    """First everything; then who serves, the circuit and the hand-over, a quarter of a second later at most."""
    async with watched() as (feed, (agent, _, _)), feed.subscribed() as lines:
        begun = anyio.current_time()
        name, whole = read(await anext(lines))
        assert (name, whole["now"], whole["version"]) == ("snapshot", UNIX, "1.2.3")
        assert whole["agents"][0]["serving"] == 0
        assert anyio.current_time() == begun
        await ask(agent)
        await anyio.sleep_until(begun + 10)
        await ask(agent)
        await ask(agent)
        name, change = read(await anext(lines))
        assert name == "update"
        assert anyio.current_time() - begun <= 11.25
        whole = merged(whole, change)
        assert whole["agents"][0]["serving"] == 1
        assert [row["at"] - UNIX for row in whole["handovers"]] == [10.5]
        assert [len(row["attempts"]) for row in whole["failures"]] == [2, 2]
        states = {row["key"]: row["state"] for row in whole["circuits"]}
        assert states[MODEL] == "open"
        assert whole == {**feed.snapshot(), "now": whole["now"], "uptime": whole["uptime"]}


async def test_updates_come_four_times_a_second_at_most() -> None:
    """Whatever happens meanwhile is told together."""
    async with watched(openai=Script.always(Answer(after=0.01))) as (feed, (agent, _, _)):
        times: list[float] = []

        async def listen() -> None:
            async with feed.subscribed() as lines:
                while True:
                    assert await anext(lines)
                    times.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            begun = anyio.current_time()
            for _ in range(300):
                await ask(agent)
            took = anyio.current_time() - begun
            tasks.cancel_scope.cancel()
        assert len(times) == pytest.approx(4 * took, abs=2)
        assert all(later - sooner >= 0.2 for sooner, later in pairwise(times[1:]))
    assert feed.subscribers == 0


async def test_a_quiet_feed_beats_every_ten_seconds() -> None:
    """Where nothing happens, a comment says that somebody is there."""
    async with watched() as (feed, _), feed.subscribed() as lines:
        await anext(lines)
        begun = anyio.current_time()
        for number in (1, 2):
            assert await anext(lines) == BEAT
            assert anyio.current_time() - begun == pytest.approx(10 * number, abs=0.6)


async def test_a_slow_subscriber_has_a_new_snapshot_and_holds_up_nobody() -> None:
    """Whoever was away for half a minute begins anew; nothing was kept for it."""
    async with watched(openai=Script.always(Answer())) as (feed, (agent, _, _)), feed.subscribed() as lines:
        await anext(lines)
        for _ in range(100):
            await ask(agent)
            await anyio.sleep(0.4)
        name, whole = read(await anext(lines))
        assert (name, whole["totals"]["answered"]) == ("snapshot", 100)
        await ask(agent)
        name, change = read(await anext(lines))
        assert (name, change["totals"]["answered"]) == ("update", 101)


async def test_numbers_that_no_event_tells_of_are_looked_at_once_a_second() -> None:
    """A request in flight is shown before it is over."""
    async with watched(openai=Script.always(Answer(after=5))) as (feed, (agent, _, _)), feed.subscribed() as lines:
        await anext(lines)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, agent)
            _, change = read(await anext(lines))
            assert [row["in_flight"] for row in change["endpoints"]] == [1]
            assert "rates" not in change


async def test_subscribers_are_bounded() -> None:
    """One more than 64 is told so, and one that leaves makes room."""
    async with watched() as (feed, _), anyio.create_task_group() as tasks:

        async def stay() -> None:
            async with feed.subscribed():
                await anyio.sleep_forever()

        for _ in range(SUBSCRIBERS):
            tasks.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(CrowdedError):
            async with feed.subscribed():
                pass
        tasks.cancel_scope.cancel()
    assert feed.subscribers == 0


async def test_a_feed_that_watches_nobody_says_so() -> None:
    """There is nothing to show yet; what happens is kept all the same."""
    feed = Feed("1.2.3")
    with pytest.raises(RuntimeError, match="call watch"):
        feed.snapshot()
    with pytest.raises(RuntimeError, match="call watch"):
        async with feed.subscribed():
            pass


def state(feed: Feed, key: str = MODEL) -> tuple[str, float | None]:
    """Return how a circuit is, and for how many seconds more."""
    status = feed.snapshot()
    row = next(row for row in status["circuits"] if row["key"] == key)
    return row["state"], None if row["until"] is None else row["until"] - status["now"]


async def test_circuits_are_set_from_outside() -> None:
    """Open, closed and reset, a model or a whole endpoint; the trail says by whom."""
    async with watched(openai=Script.always(Answer()), anthropic=Script.always(Answer())) as (feed, (agent, here, _)):
        act(here, MODEL, Action("open", 60))
        assert state(feed) == ("forced_open", 60)
        response = await ask(agent)
        assert response.is_fallback
        assert "by hand, through the gateway" in response.passed_over[0].reason
        act(here, MODEL, Action("closed", 30))
        assert state(feed) == ("forced_closed", 30)
        act(here, ENDPOINT, Action("open", 10))
        assert state(feed, ENDPOINT) == ("forced_open", 10)
        act(here, ENDPOINT, Action("reset"))
        assert state(feed, ENDPOINT) == state(feed) == ("closed", None)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("openai", "no endpoint named 'openai'"),
        (f"{ENDPOINT} / other", "not 'other'"),
        (f"credential of {ENDPOINT}", "reset with its endpoint"),
        ("", "named by its endpoint"),
    ],
)
async def test_what_is_no_circuit_cannot_be_set(key: str, said: str) -> None:
    """A key has to be one that the status shows, to the letter."""
    async with watched() as (_, (_, here, _)):
        assert isinstance(here, Supervisor)
        for action in (Action("open", 1), Action("closed", 1), Action("reset")):
            with pytest.raises(ValueError, match=said):
                act(here, key, action)


def test_the_page_has_three_files_and_strict_headers() -> None:
    """They are found by their paths alone, hold no code in their markup, and ask no other host."""
    for path, kind in {"/": "text/html", "/page/page.css": "text/css", "/page/page.js": "text/javascript"}.items():
        answer = page_file(path)
        assert answer is not None
        headers = dict(answer.headers)
        assert headers["content-type"] == f"{kind}; charset=utf-8"
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        body = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in body
        assert not any(
            word in body
            for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick=")
        )
    for path in ("/page", "/page/", "/page/index.html", "/page/../_feed.py", "/page/page.js/", "//", "/page/%70age.js"):
        assert page_file(path) is None
