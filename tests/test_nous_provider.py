"""What the inference API of Nous refuses with, through the SDK over sockets: verdicts, blame, and keys per request."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from understudy import Verdict, user
from understudy.actors import CircuitState, GateHealth, Health
from understudy.providers import AttemptError, Request, Target, connect
from understudy.providers._sdk import SDKProvider
from understudy.simulation import NOUS_ERRORS, NousErrorName, Script, fingerprint, simulated_portal, simulated_server

from .test_nous_login import ASK, RULES, scene

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

CREDENTIAL, MODEL, NOBODY = "credential", "model", "nobody"

ROWS: list[tuple[NousErrorName, Verdict, bool, str]] = [
    ("billing", Verdict.QUOTA, True, CREDENTIAL),
    ("edge_block", Verdict.EDGE, True, NOBODY),
    ("permission", Verdict.AUTHZ, True, NOBODY),
    ("paid_model", Verdict.QUOTA, True, CREDENTIAL),
    ("not_on_free_tier", Verdict.NOT_FOUND, True, NOBODY),
    ("unknown_model", Verdict.NOT_FOUND, True, NOBODY),
    ("wrong_host", Verdict.CALLER, False, NOBODY),
    ("account_limit", Verdict.THROTTLED, True, CREDENTIAL),
    ("capacity", Verdict.THROTTLED, True, MODEL),
    ("rate_limited", Verdict.THROTTLED, True, MODEL),
    ("at_capacity", Verdict.THROTTLED, True, MODEL),
    ("model_not_free", Verdict.NOT_FOUND, True, NOBODY),
    ("policy", Verdict.AUTHZ, True, NOBODY),
    ("server", Verdict.PROVIDER, True, NOBODY),
    ("unavailable", Verdict.OVERLOADED, True, NOBODY),
]


def held(health: Health) -> str:
    """Return whose hold there is."""

    def is_held(gate: GateHealth) -> bool:
        return gate.hold is not CircuitState.CLOSED

    if is_held(health.credential):
        return CREDENTIAL
    return MODEL if any(map(is_held, health.models.values())) else NOBODY


@pytest.mark.parametrize(("name", "verdict", "hands_over", "whose"), ROWS, ids=[row[0] for row in ROWS])
async def test_what_is_refused_and_whom_it_holds(
    tmp_path: Path, name: NousErrorName, verdict: Verdict, hands_over: bool, whose: str
) -> None:
    """Each row: its verdict, whether the fallback is asked, whose hold it places; and none of them renews the login."""
    async with scene(tmp_path, script=Script.always(NOUS_ERRORS[name])) as s:
        if hands_over:
            response = await s.agent.complete(ASK)
            attempt = response.attempts[0]
            assert response.is_fallback
        else:
            with pytest.raises(AttemptError) as refused:
                await s.agent.complete(ASK)
            attempt = refused.value.attempts[0]
        assert attempt.verdict is verdict
        (health,) = (each for each in s.supervisor.health().values() if each.login is not None)
        assert held(health) == whose
        assert (s.posts, s.calls) == (0, 1)
    assert {row[0] for row in ROWS} == NOUS_ERRORS.keys() - {"invalid_token", "unknown_free_model"}


async def test_an_accounts_limit_is_kept_for_all_its_models(tmp_path: Path) -> None:
    """The other model of the account is passed over until the reset; capacity is the one model's."""
    for name, is_passed_over in (("account_limit", True), ("capacity", False)):
        folder = tmp_path / name
        script = Script.sequence(NOUS_ERRORS[name])  # type: ignore[index]
        async with scene(folder, script=script) as s:
            assert (await s.agent.complete(ASK)).is_fallback
            other = await s.supervisor.agent("other").complete(ASK)
            assert other.is_fallback is is_passed_over
            if is_passed_over:
                assert other.passed_over[0].retry_after == pytest.approx(900, abs=1)


async def test_each_request_shows_its_own_key() -> None:
    """Two keys over one client at once: each request carries the key of its own provider, and nothing is mixed up."""
    async with simulated_portal(RULES) as portal:
        keys = [portal.portal.issue_key() for _ in range(2)]
        provider = connect(Target("nous", portal.inference_url, None, "nous"))
        assert isinstance(provider, SDKProvider)
        keyed = [provider.keyed(key) for key in keys]
        request = Request("hermes", (user("one two"),))

        async def ask(number: int) -> None:
            for _ in range(10):
                await keyed[number].complete(request)
                upstream = await keyed[number].stream(request)
                while upstream.response is None:
                    if upstream.take() is None:
                        await upstream.read()
                await upstream.aclose()

        async with anyio.create_task_group() as tasks:
            for number in (0, 1):
                tasks.start_soon(ask, number)
        await keyed[0].aclose()  # does nothing: the connections are the provider's
        await keyed[1].complete(request)
        await provider.aclose()
        counts = portal.portal.counts.inference
        assert counts == {fingerprint(keys[0]): 20, fingerprint(keys[1]): 21}


async def test_a_keyed_provider_may_speak_to_another_address() -> None:
    """The address that a login names."""
    async with simulated_server() as first, simulated_server() as second:
        provider = connect(Target("nous", first.openai_url, None, "nous"))
        assert isinstance(provider, SDKProvider)
        request = Request("hermes", (user("one"),))
        await provider.keyed("k", base_url=second.openai_url).complete(request)
        await provider.keyed("k").complete(request)
        await provider.aclose()
        assert [len(server.log) for server in (first, second)] == [1, 1]
