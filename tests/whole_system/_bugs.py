"""Planted bugs: the simulation is worth what it finds. Each is a patch, and has to be caught within 1,000 seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import anyio

from understudy import Response, Text
from understudy.actors import Endpoint, Permit, Refused
from understudy.actors import _gate as gate_module
from understudy.actors import _gates as gates_module
from understudy.actors._circuit import Circuit, Closed, HalfOpen, Open, Standing, Tripping
from understudy.actors._gate import Gate
from understudy.providers import Blame, Failure, Verdict
from understudy.simulation._upstream import ScriptedUpstream
from understudy.supervisor import _course as course_module
from understudy.supervisor import _stream as stream_module
from understudy.supervisor import _supervisor as supervisor_module
from understudy.supervisor._course import Course
from understudy.supervisor._dispatch import Dispatch
from understudy.supervisor._live import Live
from understudy.supervisor._restarts import Pause, Restarts
from understudy.supervisor._stream import Stream
from understudy.supervisor._tool_run import ToolRun
from understudy.supervisor._toolbox import Toolbox

_Patch = AbstractContextManager[Any]


def _around(owner: Any, name: str, wrap: Callable[..., Any]) -> _Patch:
    """Patch a function with one that is given the original first."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrap(original, *args, **kwargs)

    return mock.patch.object(owner, name, wrapped)


def _no_generation_check() -> _Patch:
    def settle(original: Any, circuit: Circuit, ticket: int, *args: Any) -> Circuit:
        after: Circuit = original(circuit, max(ticket, circuit.since), *args)
        return after

    return _around(gate_module, "settle", settle)


def _permit_leak_on_cancel() -> _Patch:
    def settle(original: Any, permit: Permit, verdict: Verdict, failure: Failure | None = None) -> None:
        if verdict is not Verdict.NO_VERDICT:
            original(permit, verdict, failure)

    return _around(Permit, "settle", settle)


def _count_400s() -> _Patch:
    def counts(original: Any, verdict: Verdict, hint: float | None) -> Blame:
        blame: Blame = original(verdict, hint)
        return Blame.MODEL if verdict is Verdict.CALLER else blame

    return _around(gates_module, "counts", counts)


def _shorten_open_time() -> _Patch:
    return _around(Tripping, "opens_for", lambda original, *args: original(*args) / 2)


def _shorten_hold() -> _Patch:
    def extend(original: Any, circuit: Circuit, ticket: int, until: float) -> Circuit:
        return replace(circuit, until=until) if isinstance(circuit, Open) else circuit

    return _around(gate_module, "extend", extend)


def _two_probes() -> _Patch:
    def standing(original: Any, circuit: Circuit, now: float) -> Standing:
        found: Standing = original(circuit, now)
        return Standing.PROBE if isinstance(circuit, HalfOpen) else found

    return _around(gate_module, "standing", standing)


def _hold_ignored() -> _Patch:
    def bar(original: Any, gate: Gate, now: float, **kwargs: Any) -> Any:
        found = original(gate, now, **kwargs)
        return None if found is not None and found.why is Refused.HOLD else found

    return _around(Gate, "bar", bar)


def _lone_route_enforced() -> _Patch:
    return _around(Gate, "bar", lambda original, gate, now, **kwargs: original(gate, now, **{**kwargs, "lone": False}))


def _neutral_counted() -> _Patch:
    def ended(original: Any, gate: Gate, *args: Any, tripping: Any = None, holding: Any = None) -> None:
        original(gate, *args, tripping=tripping or gate.tripping(), holding=holding)

    return _around(Gate, "ended", ended)


def _retry_not_budgeted() -> _Patch:
    return _around(Endpoint, "may_retry", lambda original, endpoint: True)


def _early_probe_unbounded() -> _Patch:
    return mock.patch.object(gates_module, "EARLY_EVERY", 0.0)


def _waiter_not_served() -> _Patch:
    return _around(Endpoint, "_serve_waiters", lambda original, endpoint: None)


def _circuit_reset_on_restart() -> _Patch:
    def open_(original: Any, endpoint: Endpoint) -> None:
        original(endpoint)
        for gate in (endpoint.gate(), endpoint.gate(credential=True), *endpoint._gates.models.values()):
            gate.circuit = Closed()
            gate._look()

    return _around(Endpoint, "open", open_)


def _probe_never_freed() -> _Patch:
    def settle(original: Any, circuit: Circuit, ticket: int, outcome: Any, *args: Any) -> Circuit:
        after: Circuit = original(circuit, ticket, outcome, *args)
        is_freed = isinstance(after, HalfOpen) and isinstance(circuit, HalfOpen) and after.probe is None
        return replace(circuit, lease_until=math.inf) if is_freed and isinstance(circuit, HalfOpen) else after

    return _around(gate_module, "settle", settle)


def _bulkhead_too_wide() -> _Patch:
    def init(original: Any, endpoint: Endpoint, *args: Any, **kwargs: Any) -> None:
        original(endpoint, *args, **kwargs)
        endpoint._capacity += 1

    return _around(Endpoint, "__init__", init)


def _share_ignored() -> _Patch:
    return _around(
        course_module, "share", lambda original, limit, remaining, routes_left: original(limit, remaining, 1)
    )


def _one_attempt_more() -> _Patch:
    def after(original: Any, failed: Any, progress: Any, policy: Any, *args: Any) -> Any:
        return original(failed, replace(progress, attempts=max(progress.attempts - 1, 0)), policy, *args)

    return _around(course_module, "after", after)


def _restarts_unbounded() -> _Patch:
    return _around(supervisor_module, "after_crash", lambda original, *args: (Restarts(), Pause(0.1, dead=False)))


def _never_trips() -> _Patch:
    return _around(Tripping, "trips", lambda original, terms, run, recent: False)


def _early_probe_through_a_hold() -> _Patch:
    def bar(original: Any, gate: Gate, now: float, *, lone: bool, early: bool = False) -> Any:
        return None if early else original(gate, now, lone=lone)

    return _around(Gate, "bar", bar)


def _level_forgotten() -> _Patch:
    return _around(Tripping, "level_after_success", lambda original, terms, level: 0)


def _hint_not_told() -> _Patch:
    def bar(original: Any, gate: Gate, now: float, **kwargs: Any) -> Any:
        gate.told_until = 0.0
        return original(gate, now, **kwargs)

    return _around(Gate, "bar", bar)


def _truncated_is_whole() -> _Patch:
    def take_in(original: Any, upstream: ScriptedUpstream, come: Any) -> None:
        if isinstance(come, Failure) and come.verdict is Verdict.TRUNCATED and upstream.partial.text:
            partial = upstream.partial
            come = Response((Text(partial.text, partial.transport),), partial.model, partial.transport, "stop")
        original(upstream, come)

    return _around(ScriptedUpstream, "_take_in", take_in)


def _permit_leak_on_leaving() -> _Patch:
    async def left(original: Any, dispatch: Dispatch, live: Live) -> None:
        await live.close()
        dispatch.ended(error="cancelled")

    return _around(Dispatch, "left", left)


def _appended_without_a_word() -> _Patch:
    async def interrupted(original: Any, stream: Stream, live: Live, error: Exception) -> Any:
        stream._live = None
        stream._live, _ = await stream._dispatch.interrupted(live, error, restarts=True)
        stream._is_busy = False
        return await anext(stream)

    return _around(Stream, "_interrupted", interrupted)


def _pings_are_content() -> _Patch:
    async def read(original: Any, live: Live) -> None:
        await original(live)
        live._only_signs_for = 0.0

    return _around(Live, "read", read)


def _content_is_a_sign_of_life() -> _Patch:
    return _around(Live, "take", lambda original, live: live.upstream.take() if live._first is None else original(live))


def _settled_at_opening() -> _Patch:
    def began(original: Any, permit: Permit, now: float) -> None:
        original(permit, now)
        permit.settle(Verdict.OK)

    def settle(original: Any, permit: Permit, verdict: Verdict, failure: Failure | None = None) -> None:
        if not permit._settled:
            original(permit, verdict, failure)

    return _both(_around(Permit, "began", began), _around(Permit, "settle", settle))


def _limits_rule_the_caller() -> _Patch:
    read_at = WeakKeyDictionary[Any, float]()

    async def read(original: Any, live: Live) -> None:
        since = anyio.current_time() - read_at.get(live.upstream, live.permit.began_at or 0.0)
        live._only_signs_for = since
        await original(live)
        read_at[live.upstream] = anyio.current_time()

    return _around(Live, "read", read)


def _dropped_never_closed() -> _Patch:
    return _around(Endpoint, "abandon", lambda original, endpoint, upstream: None)


def _abandoned_never_swept() -> _Patch:
    return _around(Endpoint, "swept_by", lambda original, endpoint, sweep: None)


def _passes_at_the_end() -> _Patch:
    def began(original: Any, endpoint: Endpoint, permit: Permit, after: float) -> None:
        passed, permit.passed = permit.passed, True
        original(endpoint, permit, after)
        permit.passed = passed

    return _around(Endpoint, "began", began)


def _leaving_is_slow() -> _Patch:
    def waited(original: Any, gates: Any, *args: Any, in_vain: bool = False) -> None:
        original(gates, *args[:3], args[3] + 5 if in_vain else args[3])

    return _around(gates_module.Gates, "waited", waited)


def _first_token_unlimited() -> _Patch:
    def bounds(original: Any, course: Course, served: Any, now: float, **kwargs: Any) -> Any:
        with mock.patch.object(Course, "streams", return_value=False):
            return original(course, served, now, **kwargs)

    return _around(Course, "bounds", bounds)


def _run_forgets_its_route() -> _Patch:
    return _around(ToolRun, "question", lambda original, run: replace(original(run), first=0))


def _tool_run_twice() -> _Patch:
    async def use(original: Any, toolbox: Toolbox, *args: Any) -> Any:
        await original(toolbox, *args)
        return await original(toolbox, *args)

    return _around(Toolbox, "use", use)


def _results_forgotten() -> _Patch:
    async def answered(original: Any, run: ToolRun, response: Response, place: int) -> Any:
        if place:
            run._messages = [message for message in run._messages if message.role == "user"]
        return await original(run, response, place)

    return _around(ToolRun, "answered", answered)


def _kept_by_its_traceback() -> _Patch:
    return _around(stream_module, "_forget_frame", lambda original, error: None)


@contextmanager
def _both(*patches: _Patch) -> Iterator[None]:
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


BUGS: dict[str, Callable[[], _Patch]] = {
    "no-generation-check": _no_generation_check,
    "permit-leak-on-cancel": _permit_leak_on_cancel,
    "count-400s": _count_400s,
    "shorten-open-time": _shorten_open_time,
    "shorten-hold": _shorten_hold,
    "two-probes": _two_probes,
    "hold-ignored": _hold_ignored,
    "lone-route-enforced": _lone_route_enforced,
    "neutral-counted": _neutral_counted,
    "retry-not-budgeted": _retry_not_budgeted,
    "early-probe-unbounded": _early_probe_unbounded,
    "waiter-not-served": _waiter_not_served,
    "circuit-reset-on-restart": _circuit_reset_on_restart,
    "probe-never-freed": _probe_never_freed,
    "bulkhead-too-wide": _bulkhead_too_wide,
    "share-ignored": _share_ignored,
    "one-attempt-more": _one_attempt_more,
    "restarts-unbounded": _restarts_unbounded,
    "never-trips": _never_trips,
    "early-probe-through-a-hold": _early_probe_through_a_hold,
    "level-forgotten": _level_forgotten,
    "hint-not-told": _hint_not_told,
    "truncated-is-whole": _truncated_is_whole,
    "permit-leak-on-leaving": _permit_leak_on_leaving,
    "appended-without-a-word": _appended_without_a_word,
    "pings-are-content": _pings_are_content,
    "content-is-a-sign-of-life": _content_is_a_sign_of_life,
    "settled-at-opening": _settled_at_opening,
    "limits-rule-the-caller": _limits_rule_the_caller,
    "dropped-never-closed": _dropped_never_closed,
    "abandoned-never-swept": _abandoned_never_swept,
    "passes-at-the-end": _passes_at_the_end,
    "leaving-is-slow": _leaving_is_slow,
    "first-token-unlimited": _first_token_unlimited,
    "run-forgets-its-route": _run_forgets_its_route,
    "tool-run-twice": _tool_run_twice,
    "results-forgotten": _results_forgotten,
    "kept-by-its-traceback": _kept_by_its_traceback,
}
"""By name: each makes its patch."""


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug for the body of a `with`; None plants none.

    Raises:
        KeyError: There is no bug of that name.
    """
    if name is None:
        yield
        return
    with BUGS[name]():
        yield
