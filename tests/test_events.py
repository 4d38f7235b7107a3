"""Events: what hooks are told, how often, and what the log makes of it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import fields
from typing import Any, get_args

import anyio
import pytest
from pydantic import SecretStr

from understudy import ActorStoppedError, UnderstudyError
from understudy.actors import (
    CircuitClosed,
    CircuitTripped,
    Forced,
    HoldEnded,
    HoldPlaced,
    Key,
    Layer,
    ProbeStarted,
)
from understudy.credentials import (
    CredentialDied,
    CredentialEnding,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
)
from understudy.simulation import Answer, Behaviour, Hang, Phase, Refused, Reset, Script, Status
from understudy.supervisor import AccessRefused, ActorRestarted, Event, HandedOver, RequestEnded, Returned
from understudy.telemetry import LoggingHook

from . import over_sockets
from .scenario import ask, opened

pytestmark = pytest.mark.anyio

WELL = Script.always(Answer("understudy"))
LEAD, UNDERSTUDY = "openai/openai-model", "anthropic/anthropic-model"


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_each_change_of_who_serves_is_told_once() -> None:
    """One hand-over and one return, with reason and time, however many requests the fallback answers."""
    events = list[Event]()
    script = Script((Phase(Status(503), since=10, until=40),), Answer("lead"))
    async with opened({"openai": script, "anthropic": WELL}, hooks=[events.append]) as (agent, _, _):
        for _ in range(30):
            async with anyio.create_task_group() as callers:
                for _ in range(5):
                    callers.start_soon(ask, agent)
            await anyio.sleep(2)
    changes = [event for event in events if isinstance(event, (HandedOver, Returned))]
    assert changes == [
        HandedOver("deriver", LEAD, UNDERSTUDY, "overloaded (HTTP 503): simulated 503"),
        Returned("deriver", LEAD, 30),
    ]
    assert len(of(RequestEnded, events)) == 150


async def test_stragglers_are_no_change() -> None:
    """An answer to a request older than the last change says nothing of who serves now, whoever gave it."""
    events = list[Event]()
    slow_lead = Script(
        (Phase(Answer("lead", 9), until=1), Phase(Status(503), since=1, until=20)), Answer("lead", after=1)
    )
    slow = Script.always(Answer("understudy", 6))
    async with opened({"openai": slow_lead, "anthropic": slow}, hooks=[events.append], circuit_trip_after=1) as (
        agent,
        _,
        _,
    ):
        async with anyio.create_task_group() as callers:
            for at in (0, 2, 3, 4, 22, 22.5, 30):

                async def call(at: float = at) -> None:
                    await anyio.sleep(at)
                    await ask(agent)

                callers.start_soon(call)
    assert [type(event) for event in events if isinstance(event, (HandedOver, Returned))] == [HandedOver, Returned]


async def test_the_reason_of_a_hand_over_is_the_primarys() -> None:
    """Also when the primary failed and a route after it was passed over."""
    events = list[Event]()
    scripts = {"openai": Script.sequence(Answer("lead"), Status(500)), "gemini": WELL, "anthropic": WELL}
    async with opened(scripts, hooks=[events.append]) as (agent, supervisor, _):
        await ask(agent)
        supervisor.force_open("gemini", reason="maintenance")
        await ask(agent)
    (change,) = of(HandedOver, events)
    assert (change.fallback, change.reason) == (UNDERSTUDY, "provider (HTTP 500): simulated 500")


ENDS: dict[str, tuple[dict[str, Behaviour], str, int]] = {
    "answered": ({"openai": Answer()}, "", 1),
    "by the fallback": ({"openai": Reset(), "anthropic": Answer()}, "", 2),
    "one attempt": ({"openai": Status(400)}, "RequestRejectedError", 1),
    "all attempts": ({"openai": Status(500), "anthropic": Status(401)}, "AllAttemptsFailedError", 2),
    "timeout": ({"openai": Hang(), "anthropic": Hang()}, "TimeoutExceededError", 2),
    "cancelled": ({"openai": Hang()}, "cancelled", 1),
}


@pytest.mark.parametrize("end", ENDS)
async def test_every_end_of_a_request_is_told_once(end: str) -> None:
    """With who answered, the trail and the name of the error; a caller that leaves is told as cancelled."""
    behaviours, error, attempts = ENDS[end]
    events = list[Event]()
    scripts = {name: Script.always(behaviour) for name, behaviour in behaviours.items()}
    async with opened(scripts, hooks=[events.append]) as (agent, _, _):
        with anyio.move_on_after(100), suppress(UnderstudyError):
            await ask(agent, timeout=1000 if end == "cancelled" else 60)
    (told,) = of(RequestEnded, events)
    assert (told.agent, told.error, len(told.attempts)) == ("deriver", error, attempts)
    answered = {"answered": ("openai", "openai-model"), "by the fallback": ("anthropic", "anthropic-model")}
    assert (told.transport, told.model) == answered.get(end, (None, None))
    assert told.is_fallback == (end == "by the fallback")
    assert told.duration == {"timeout": 60, "cancelled": 100}.get(end, 0)


async def test_the_end_of_a_request_that_nobody_took_is_told() -> None:
    """All routes closed, a stopped supervisor, and an error of this machine are ends as well."""
    events = list[Event]()
    async with opened({"openai": WELL}, hooks=[events.append]) as (agent, supervisor, world):
        supervisor.force_open("openai", reason="maintenance")
        with pytest.raises(UnderstudyError):
            await ask(agent)
        supervisor.reset("openai")

        async def unreadable(_: object) -> Any:
            await anyio.lowlevel.checkpoint()
            raise PermissionError(13, "Permission denied")

        world.providers[0].complete = unreadable  # type: ignore[assignment, method-assign]
        with pytest.raises(PermissionError):
            await ask(agent)
        await supervisor.stop(0)
        with pytest.raises(ActorStoppedError):
            await ask(agent)
    assert [event.error for event in of(RequestEnded, events)] == [
        *("AllRoutesClosedError", "PermissionError", "ActorStoppedError")
    ]


async def test_hooks_are_told_in_order_and_one_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told all the same, every request is answered, and the log says it once."""
    told = list[tuple[int, str]]()

    def first(event: Event) -> None:
        told.append((1, type(event).__name__))
        raise KeyError("mine")

    def second(event: Event) -> None:
        told.append((2, type(event).__name__))

    scripts = {"openai": Script.always(Status(503)), "anthropic": WELL}
    async with opened(scripts, hooks=[first, second], circuit_trip_after=1) as (agent, supervisor, _):
        for _ in range(3):
            assert (await ask(agent)).text == "understudy"
        assert supervisor.health()["openai at http://openai.test/v1"].failed == 1
    assert [name for number, name in told if number == 1] == [name for number, name in told if number == 2]
    assert [number for number, _ in told] == [1, 2] * (len(told) // 2)
    failed = [text for text in caplog.messages if text.startswith("hook_failed")]
    assert failed == ["hook_failed hook='first' on='CircuitTripped'"]
    assert "KeyError: 'mine'" in caplog.text


async def test_a_slow_hook_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up the event loop: the log names it, once."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(event: Event) -> None:
        clock[0] += 0.02

    async with opened({"openai": WELL}, hooks=[slow]) as (agent, _, _):
        for _ in range(3):
            await ask(agent)
    told = [text for text in caplog.messages if text.startswith("hook_")]
    assert told == ["hook_slow hook='slow' on='RequestEnded'"]


async def test_what_a_hook_causes_is_told_after_what_it_was_told_of() -> None:
    """All hooks are told in the same order, the one that acts and those behind it."""
    acts, behind = list[str](), list[str]()

    def act(event: Event) -> None:
        acts.append(type(event).__name__)
        if isinstance(event, CircuitTripped):
            supervisor.force_open(event.key.endpoint, reason="drill", lasts_for=5)

    scripts = {"openai": Script.always(Status(503)), "anthropic": WELL}
    hooks = [act, lambda event: behind.append(type(event).__name__)]
    async with opened(scripts, hooks=hooks, circuit_trip_after=1) as (agent, supervisor, _):
        await ask(agent)
    assert acts == behind == ["CircuitTripped", "Forced", "HandedOver", "RequestEnded"]


async def test_a_hook_that_causes_its_own_event_comes_to_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of once in the log; no request hangs for it, and the others are still told of what comes."""
    told = Counter[str]()

    def act(event: Event) -> None:
        told[type(event).__name__] += 1
        if isinstance(event, Forced):
            supervisor.force_closed(event.key.endpoint, reason="again", lasts_for=5)

    async with opened({"openai": WELL}, hooks=[act]) as (agent, supervisor, _):
        for _ in range(2):
            supervisor.force_closed("openai", reason="drill", lasts_for=5)
        assert (await ask(agent)).text == "understudy"
    assert told == {"Forced": 2002, "RequestEnded": 1}
    assert [text for text in caplog.messages if "hooks_" in text] == ["hooks_without_end on='Forced'"]


async def test_hooks_see_what_has_already_happened_and_may_act_on_it() -> None:
    """An event is told outside of the change: a hook may look at the health, and even reset what it is told of."""
    seen = list[str]()

    def act(event: Event) -> None:
        if isinstance(event, CircuitTripped):
            seen.append(supervisor.health()["openai at http://openai.test/v1"].models["openai-model"].circuit)
            supervisor.reset("openai", "openai-model")

    scripts = {"openai": Script.sequence(Status(503), Answer("lead")), "anthropic": WELL}
    async with opened(scripts, hooks=[act], circuit_trip_after=1) as (agent, supervisor, _):
        assert (await ask(agent)).text == "understudy"
        assert (await ask(agent)).text == "lead"
    assert seen == ["open"]


KEY = Key("openai at http://lead/v1", Layer.MODEL, "lead-1")
TEXTS: list[tuple[Event, int, str]] = [
    (
        HandedOver("deriver", "openai/a", "anthropic/b", "HTTP 503"),
        logging.WARNING,
        "handed_over agent='deriver' primary='openai/a' fallback='anthropic/b' reason='HTTP 503'",
    ),
    (Returned("deriver", "openai/a", 12.34), logging.INFO, "returned agent='deriver' primary='openai/a' after=12.3"),
    (
        AccessRefused("deriver", "openai", "a", "set X"),
        logging.ERROR,
        "access_refused agent='deriver' transport='openai' model='a' reason='set X'",
    ),
    (
        CircuitTripped(KEY, "HTTP 503", 9.96, 2),
        logging.WARNING,
        "circuit_tripped key='lead-1 of openai at http://lead/v1' open_for=10.0 openings=2 reason='HTTP 503'",
    ),
    (CircuitClosed(KEY, 31.0), logging.INFO, "circuit_closed key='lead-1 of openai at http://lead/v1' after=31.0"),
    (
        HoldPlaced(Key("openai at http://lead/v1", Layer.CREDENTIAL), "HTTP 402", 900.0),
        logging.WARNING,
        "hold_placed key='the credential of openai at http://lead/v1' hold_for=900.0 reason='HTTP 402'",
    ),
    (
        HoldEnded(Key("openai at http://lead/v1", Layer.ENDPOINT), 5.0),
        logging.INFO,
        "hold_ended key='openai at http://lead/v1' after=5.0",
    ),
    (ProbeStarted(KEY), logging.INFO, "probe_started key='lead-1 of openai at http://lead/v1' early=False"),
    (
        Forced(KEY, "open", "by me", 60.0),
        logging.WARNING,
        "forced key='lead-1 of openai at http://lead/v1' state='open' lasts_for=60.0 reason='by me'",
    ),
    (
        CredentialRenewed("own login in /a", 3599.96, adopted=False),
        logging.INFO,
        "credential_renewed login='own login in /a' lives_for=3600.0 adopted=False",
    ),
    (
        CredentialTroubled("own login in /a", "the Portal did not renew the login", None),
        logging.WARNING,
        "credential_troubled login='own login in /a' retry_in=None reason='the Portal did not renew the login'",
    ),
    (
        CredentialDied("own login in /a", "run `understudy login nous`"),
        logging.WARNING,
        "credential_died login='own login in /a' reason='run `understudy login nous`'",
    ),
    (CredentialRevived("own login in /a"), logging.INFO, "credential_revived login='own login in /a'"),
    (
        CredentialUnsaved("own login in /a", "/a: No space left"),
        logging.CRITICAL,
        "credential_unsaved login='own login in /a' reason='/a: No space left'",
    ),
    (CredentialSaved("own login in /a"), logging.WARNING, "credential_saved login='own login in /a'"),
    (
        CredentialEnding("own login in /a", 7, "run it"),
        logging.WARNING,
        "credential_ending login='own login in /a' days=7 reason='run it'",
    ),
    (
        ActorRestarted("openai at http://lead/v1", KeyError("x"), 0.12, dead=False),
        logging.ERROR,
        "actor_crashed endpoint='openai at http://lead/v1' error='KeyError' restart_in=0.1 dead=False",
    ),
    (
        RequestEnded("deriver", "openai", "a", False, 1.23456, (), ()),
        logging.DEBUG,
        "request_ended agent='deriver' transport='openai' model='a' is_fallback=False attempts=0 passed_over=0 "
        "duration=1.235 error=''",
    ),
]


@pytest.mark.parametrize(("event", "level", "text"), TEXTS, ids=lambda value: type(value).__name__)
async def test_each_event_is_one_line(event: Event, level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its name, its fields, its level; and nothing at all where that level is off."""
    caplog.set_level(level, "understudy")
    LoggingHook()(event)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("understudy", level, text)
    caplog.clear()
    caplog.set_level(level + 1, "understudy")
    LoggingHook()(event)
    assert not caplog.records


async def test_every_event_has_its_line() -> None:
    """A new event cannot be forgotten."""
    kinds = {kind for member in get_args(Event) for kind in (get_args(member) or (member,))}
    assert {type(event) for event, _, _ in TEXTS} == kinds


async def test_a_flood_is_ten_lines_a_second_and_its_count(caplog: pytest.LogCaptureFixture) -> None:
    """For each kind apart; what was left out is counted in the next line of that kind."""
    caplog.set_level(logging.DEBUG, "understudy")
    hook = LoggingHook()
    await anyio.sleep(7)
    for _ in range(1000):
        hook(ProbeStarted(KEY))
    hook(CircuitClosed(KEY, 1.0))
    assert len(caplog.messages) == 11
    caplog.clear()
    await anyio.sleep(3)
    hook(ProbeStarted(KEY))
    hook(ProbeStarted(KEY))
    hook(CircuitClosed(KEY, 1.0))
    assert [text.partition("early=False")[2] for text in caplog.messages[:2]] == [" left_out=990", ""]
    assert "left_out" not in caplog.messages[2]


@pytest.mark.parametrize("nasty", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\x00b", "a\x85b"])
async def test_a_line_stays_one_line(nasty: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a provider, a model or an operator's reason holds, it cannot begin a line or turn one round."""
    caplog.set_level(logging.DEBUG, "understudy")
    hook, key = LoggingHook(), Key(nasty, Layer.MODEL, nasty)
    for event in (
        *(HandedOver(nasty, nasty, nasty, nasty), Returned(nasty, nasty, 1), AccessRefused(nasty, nasty, nasty, nasty)),
        *(CircuitTripped(key, nasty, 1, 1), CircuitClosed(key, 1), HoldPlaced(key, nasty, 1), HoldEnded(key, 1)),
        *(ProbeStarted(key), Forced(key, nasty, nasty, 1), RequestEnded(nasty, nasty, nasty, True, 1, (), (), nasty)),
    ):
        hook(event)
    assert len(caplog.messages) == 10
    assert all(text.isprintable() for text in caplog.messages)


async def test_neither_keys_nor_prompts_nor_answers_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """No event of any request holds them, whatever becomes of it; neither does any line of the log."""
    caplog.set_level(logging.DEBUG, "understudy")
    events = list[Event]()
    key, prompt, answer = "sk-canary-0123456789", "canary prompt", "canary answer"
    behaviours = (Status(503), Status(429), Status(401), Refused(), Reset(), Answer(answer), Hang())
    for behaviour in behaviours:
        script = Script.sequence(Answer(answer), behaviour, behaviour) if not isinstance(behaviour, Refused) else None
        async with opened(
            {"openai": script or Script.always(behaviour), "anthropic": Script.always(Answer(answer))},
            hooks=[events.append],
            route={"api_key": SecretStr(key)},
            circuit_trip_after=1,
        ) as (agent, supervisor, _):
            for _ in range(4):
                await agent.complete(prompt)
            supervisor.force_open("openai", reason="drill")
            await agent.complete(prompt)
    said = "\n".join([*(repr(event) for event in events), *caplog.messages])
    assert len(events) > 30
    for canary in (key, prompt, answer):
        assert canary not in said


@pytest.mark.sockets
@pytest.mark.parametrize("transport", ["openai", "anthropic"])
async def test_a_vendor_that_quotes_the_key_is_told_without_it(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason of a refusal stands in four events and their lines; the key that was sent stands in none."""
    caplog.set_level(logging.DEBUG, "understudy")
    events = list[Event]()
    quoting = Status(401, body=f'{{"error": {{"message": "bad key {over_sockets.KEY}"}}}}'.encode())
    chain = (transport, Script.always(quoting)), ("gemini", Script.always(Answer("understudy")))
    async with over_sockets.opened(*chain, hooks=[events.append]) as (agent, _, _):
        await ask(agent)
    assert [type(event) for event in events] == [AccessRefused, HoldPlaced, HandedOver, RequestEnded]
    assert "bad key" in caplog.text
    assert over_sockets.KEY not in repr(events) + caplog.text


def test_events_are_frozen_and_hashable_by_field() -> None:
    """Hooks may keep them: nobody changes an event that was told."""
    for event, _, _ in TEXTS:
        name = fields(event)[0].name
        with pytest.raises(AttributeError):
            setattr(event, name, "other")


class Undone(BaseException):
    """What a hook may raise that is no error: asyncio's CancelledError is of this kind."""


@pytest.mark.parametrize("raised", [Undone(), ValueError("mine")], ids=["undone", "error"])
async def test_whatever_a_hook_raises_the_answer_is_given(raised: BaseException) -> None:
    """Also what no `except Exception` would catch, and where an application's own handler of the log fails."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(28, "No space left on device")

    def fails(_: Event) -> None:
        raise raised

    handler, logger = Full(), logging.getLogger("understudy")
    logger.addHandler(handler)
    try:
        scripts = {"openai": Script.always(Status(503)), "anthropic": WELL}
        async with opened(scripts, hooks=[fails], circuit_trip_after=1) as (agent, supervisor, _):
            assert (await ask(agent)).text == "understudy"
            assert supervisor.metrics().total("understudy.requests", error="") == 1
    finally:
        logger.removeHandler(handler)


async def waits(_: Event) -> None:
    """Wait."""


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (waits, r"write hooks=\[waits\]"),
        ([waits], r"put it behind a queue, as QueuedHook\(waits\)"),
        ([LoggingHook], "a hook is a function of an event"),
        ([17], "a hook is a function of an event"),
    ],
    ids=["no list", "async", "a class", "a number"],
)
async def test_what_is_no_hook_is_refused(hooks: Any, said: str) -> None:
    """When the supervisor is opened, with the way to write it."""
    with pytest.raises(TypeError, match=said):
        async with opened({"openai": WELL}, hooks=hooks):
            pass


async def test_what_is_no_tracer_is_refused() -> None:
    """The same for tracers."""
    for tracers in (LoggingHook(), [LoggingHook()], [LoggingHook]):
        with pytest.raises(TypeError, match="tracer"):
            async with opened({"openai": WELL}, tracers=tracers):  # type: ignore[arg-type]
                pass


async def test_a_request_that_is_interrupted_is_told() -> None:
    """Ctrl-C in its task, or a coroutine that is closed and never goes on, is an end, too."""
    events = list[Event]()
    async with opened({"openai": Script.always(Hang())}, hooks=[events.append]) as (agent, _, _):
        for is_closed in (True, False):
            call = agent.complete("Who?")
            with suppress(BaseException):
                call.send(None)
            with suppress(BaseException):
                call.close() if is_closed else call.throw(KeyboardInterrupt())
    assert [event.error for event in of(RequestEnded, events)] == ["cancelled", "cancelled"]
