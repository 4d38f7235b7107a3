"""The gates of an endpoint: its own, its credential's and its models'. Pure: whoever asks says what time it is.

A call needs three of them: all are checked, then all are taken. How an attempt ended is filed here under what it
accuses: the model, the endpoint, the credential, or nobody. Places, clients and waiting belong to `_endpoint.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, final

from ..providers import Blame, Failure, Verdict
from ._events import EndpointEvent, Key, Layer
from ._gate import Bar, CircuitPolicy, Gate
from ._health import Refusal, Refused
from ._holds import GATEWAY_ERRORS, counts, hold
from ._network import Network

LEASE_FOR = 16.0
"""Seconds that a probe's place is kept where nobody names a limit: the longest limit of a probe and 1 s (R-CB-6)."""

EARLY_EVERY = 1.0
"""Seconds between attempts let through early because every route is barred (R-RT-5)."""

Tell: TypeAlias = Callable[[EndpointEvent], None]


def usual_lease() -> float:
    """Return the seconds that the place of a probe is kept where nobody says otherwise."""
    return LEASE_FOR


@final
class Gates:
    """All gates of one endpoint.

    Args:
        name: The endpoint's name in events.
        host: Whose network it is, whatever its keys.
        network: What is known of the way out, shared by all endpoints of a supervisor.
        rand: Draws uniformly from [0, 1): the spread of open times.
    """

    def __init__(
        self, name: str, host: str, *, policy: CircuitPolicy, network: Network, rand: Callable[[], float], tell: Tell
    ) -> None:
        self._name, self._host, self._policy, self._tell = name, host, policy, tell
        self.network, self._rand = network, rand
        self.endpoint, self.credential = self._make(Layer.ENDPOINT), self._make(Layer.CREDENTIAL)
        self.models: dict[str, Gate] = {}
        self._gateway_errors: set[str] = set()
        self._early_at = float("-inf")

    def of(self, model: str) -> Gate:
        """Return the gate of a model."""
        gate = self.models.get(model)
        if gate is None:
            gate = self.models[model] = self._make(Layer.MODEL, model)
        return gate

    def are_clear(self, model: Gate) -> bool:
        """Say whether nothing at all stands against a model: no circuit, no hold, no failure in a row."""
        return model.is_clear and self.endpoint.is_clear and self.credential.is_clear

    def refusal(self, model: Gate, now: float, *, lone: bool, early: bool = False) -> Refusal | None:
        """Return why an attempt may not go ahead at the instant `now`, None if it may; see `Gate.bar`."""
        gates = (self.endpoint, model, self.credential)
        barring = [gate for gate in gates if not gate.is_clear]
        bars = [bar for gate in barring if (bar := gate.bar(now, lone=lone, early=early)) is not None]
        if early and now - self._early_at < EARLY_EVERY:
            bars.append(Bar(self._early_at + EARLY_EVERY, Refused.CIRCUIT, "an early probe was let through"))
        if not bars:
            return None
        if len(bars) == 1:  # nearly always
            (bar,) = bars
            return Refusal(bar.why, max(bar.until - now, 0.0), bar.reason)
        last = max(bars, key=lambda bar: bar.until)
        told = next((bar for bar in bars if bar.why is not Refused.CIRCUIT), last)
        return Refusal(told.why, max(last.until - now, 0.0), told.reason)

    def take(
        self, model: Gate, ticket: int, now: float, lease_for: Callable[[], float], *, lone: bool, early: bool
    ) -> bool:
        """Take the place of each probe that the attempt with `ticket` is; say whether others wait for what it finds."""
        if early:
            self._early_at = now
        due = [gate for gate in (self.endpoint, model, self.credential) if gate.has_probe(now, early=early)]
        if not due:
            return False
        kept_for = lease_for()
        if lone and not self._policy.enforce_lone:  # whoever has a fallback waits for it, its like does not
            kept_for = min(kept_for, LEASE_FOR)
        for gate in due:
            gate.take(ticket, now, now + kept_for, early=early)
        return not self._policy.observe_only

    def answered(self, model: Gate, ticket: int, now: float) -> None:
        """Take note of an answer."""
        self.network.answered()
        self._gateway_errors.clear()
        for gate in (model, self.endpoint, self.credential):
            gate.succeeded(ticket, now)

    def waited(self, model: Gate, ticket: int, now: float, seconds: float, *, in_vain: bool = False) -> None:
        """Take note of how long the first content of a stream was waited for, or `in_vain` until the caller left."""
        if self._policy.slow_after is not None and not (in_vain and seconds <= self._policy.slow_after):
            model.waited(ticket, now, seconds, spread=0.8 + 0.4 * self._rand())

    def failed(self, model: Gate, ticket: int, now: float, verdict: Verdict, failure: Failure | None) -> bool:
        """File what a failed attempt says under what it accuses; say whether it counts against anybody."""
        hint, status = (failure.retry_after, failure.status) if failure is not None else (None, None)
        reason = failure.reason if failure is not None else str(verdict)
        blamed = self._blamed(model, counts(verdict, hint), status)
        of_account = failure is not None and failure.of_account
        is_held = self._policy.hold_refused or verdict is not Verdict.AUTH
        held = hold(verdict, hint, of_account=of_account) if is_held else None
        if status is not None:
            self.network.answered()
        elif verdict is Verdict.CONNECT:
            self.network.failed(self._host, now)
        whom, holding = (None, None) if held is None else (self._gate_of(held[0], model), held[1])
        for gate in (model, self.endpoint, self.credential):
            tripping = None
            if gate in blamed:
                tripping = gate.tripping(spread=0.8 + 0.4 * self._rand(), grows=not self.network.is_down)
            gate.ended(ticket, now, reason, tripping=tripping, holding=holding if gate is whom else None)
        return bool(blamed)

    def reset(self, model: str | None, ticket: int, now: float) -> None:
        """Forget what is held against a model, or with None against everybody; see `Gate.reset`."""
        every = (self.endpoint, self.credential, *self.models.values())
        for gate in every if model is None else (self.of(model),):
            gate.reset(ticket, now)
        self._gateway_errors.clear()

    def _blamed(self, model: Gate, blame: Blame, status: int | None) -> list[Gate]:
        """Return the gates that a failure counts against."""
        match blame:
            case Blame.ENDPOINT:
                return [self.endpoint]
            case Blame.MODEL:
                if status in GATEWAY_ERRORS:
                    self._gateway_errors.add(model.key.model or "")
                    if len(self._gateway_errors) > 1:
                        return [model, self.endpoint]
                return [model]
            case _:
                return []

    def _gate_of(self, blame: Blame, model: Gate) -> Gate | None:
        match blame:
            case Blame.MODEL:
                return model
            case Blame.ENDPOINT:
                return self.endpoint
            case Blame.CREDENTIAL:
                return self.credential
            case Blame.NOBODY:
                return None

    def _make(self, layer: Layer, model: str | None = None) -> Gate:
        return Gate(Key(self._name, layer, model), self._policy, self._tell)
