"""The log as JSON: one object on one line, for every logger of ours, and nobody else's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import understudy
from understudy import Settings
from understudy.providers import Line
from understudy.simulation import Answer, Phase, Script, Status, World
from understudy.telemetry._json_lines import LOGGERS, json_lines

from .scenario import ask, chain, opened

ROOT = Path(__file__).parent.parent

LINES: list[tuple[Line, str, dict[str, Any]]] = [
    (Line("closed"), "closed", {}),
    (Line("a", b=1, c=None, d=True, e=0.5), "a b=1 c=None d=True e=0.5", {"b": 1, "c": None, "d": True, "e": 0.5}),
    (Line("a", b="two\nlines \x1b[31m"), r"a b='two\nlines \x1b[31m'", {"b": "two\nlines \x1b[31m"}),
    (Line("a", b="\u202etxt"), r"a b='\u202etxt'", {"b": "\u202etxt"}),
    (Line("a", b=float("inf")), "a b=inf", {"b": "inf"}),
    (Line("a", b=KeyError), "a b=<class 'KeyError'>", {"b": "<class 'KeyError'>"}),
    (Line("a", "for people", b=1), "for people", {"b": 1}),
    (Line("a", "for\npeople\x1b"), r"for\npeople\x1b", {}),
]


@pytest.mark.parametrize(("line", "text", "fields"), LINES)
def test_a_line_has_two_forms(line: Line, text: str, fields: dict[str, Any]) -> None:
    """Both are one line of printable characters, whatever was said, and as JSON the values are as they were."""
    assert str(line) == text
    written = line.as_json()
    assert written.isprintable()
    assert written.isascii()
    assert json.loads(written) == {"event": line.name, **fields}


@contextmanager
def logged(level: int = logging.DEBUG) -> Iterator[list[dict[str, Any]]]:
    """Write what our loggers say as an application's handler does; give its lines when the block is left."""
    written, lines = io.StringIO(), list[dict[str, Any]]()
    handler, logger = logging.StreamHandler(written), logging.getLogger("understudy")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        lines += map(json.loads, written.getvalue().splitlines())


@pytest.mark.anyio
async def test_every_event_is_an_object() -> None:
    """With time, level, logger and event in front, and the fields of the event behind."""
    script = Script((Phase(Status(503), until=20),), Answer("lead"))
    with logged() as lines:
        async with opened({"openai": script, "anthropic": Script.always(Answer())}, log_format="json") as (agent, _, _):
            for _ in range(4):
                await ask(agent)
                await anyio.sleep(10)
    told = {line["event"]: line for line in lines}
    assert {"handed_over", "circuit_tripped", "returned", "request_ended"} <= told.keys()
    handed_over = told["handed_over"]
    assert told["circuit_tripped"]["level"] == "WARNING"
    assert list(handed_over) == ["time", "level", "logger", "event", "agent", "primary", "fallback", "reason"]
    assert (handed_over["level"], handed_over["logger"]) == ("WARNING", "understudy")
    assert handed_over["time"].endswith("+00:00")


@pytest.mark.anyio
async def test_so_is_what_is_ignored_and_a_crash() -> None:
    """Also the other loggers' lines; a traceback is a field, so that it breaks no line."""
    world = World({"openai": Script.always(Answer())})
    settings = Settings.in_code(agents={"deriver": chain("openai")}, log_format="json")

    def fails(_: object) -> None:
        raise KeyError("a hook")

    with logged(logging.INFO) as lines:
        async with understudy.open_supervisor(settings, connect=world.connect, hooks=[fails]) as supervisor:
            await supervisor.agent("deriver").complete("Who?")
        with json_lines():
            try:
                raise ValueError("two\nlines")
            except ValueError:
                logging.getLogger("understudy.settings").warning("%s", Line("ignored", "people's", a=1), exc_info=True)
    hook, crash = lines
    assert list(hook)[:4] == ["time", "level", "logger", "event"]
    assert (hook["logger"], hook["event"], hook["hook"]) == ("understudy.supervisor", "hook_failed", "fails")
    assert hook["traceback"].endswith("KeyError: 'a hook'")
    assert (crash["event"], crash["a"]) == ("ignored", 1)
    assert crash["traceback"].endswith("ValueError: two\nlines")


@pytest.mark.anyio
async def test_text_is_text_again_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    """A supervisor that wants text has it once no other one wants JSON; others' lines are never touched."""
    scripts = {"openai": Script.always(Status(401))}
    for log_format, start in (("json", "{"), ("text", "access_refused ")):
        caplog.clear()
        async with opened(scripts, log_format=log_format) as (agent, _, _):
            with pytest.raises(understudy.AccessRefusedError):
                await ask(agent)
            logging.getLogger("understudy.supervisor").warning("mine %s", "too")
        assert caplog.messages[0].startswith(start)
        assert caplog.messages[-1] == "mine too"


def test_every_logger_is_known() -> None:
    """Each logger that the code names is among those that are made JSON, and each line is a `Line`."""
    for path in ROOT.glob("[a-z]*/_*.py"):
        text = path.read_text(encoding="utf-8") if path.parent.name not in {"tests", "tools", "benchmarks"} else ""
        for part in text.split('getLogger("understudy')[1:]:
            assert part.partition('"')[0] in LOGGERS
        for level in ("debug", "info", "warning", "error", "critical"):
            assert f"_log.{level}(" not in text, path
