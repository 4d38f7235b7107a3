"""What the inference API of Nous refuses with, through the SDK over sockets: verdicts, blame, and keys per request."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from understudy import AgentSettings, RouteSettings, Settings, Verdict, user
from understudy.actors import CircuitState, GateHealth, Health
from understudy.providers import AttemptError, Request, Target, cleaner, connect
from understudy.providers._http import KEPT_CLEANERS
from understudy.providers._sdk import SDKProvider
from understudy.simulation import (
    NOUS_ERRORS,
    NousErrorName,
    Script,
    Status,
    World,
    fingerprint,
    simulated_portal,
    simulated_server,
)
from understudy.supervisor import load, sound, supervise

from .nous import flat, host_of, put
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


@pytest.mark.parametrize("name", NOUS_ERRORS)
async def test_in_memory_each_refusal_is_what_it_is_over_sockets(name: NousErrorName) -> None:
    """One script has one outcome: the verdict, the time to wait, and whether it is the account's."""
    request, script = Request("hermes", (user("one"),)), Script.always(NOUS_ERRORS[name])
    async with simulated_server(script) as server:
        failures = []
        for provider in (
            connect(Target("nous", server.openai_url, None)),
            World({"nous": script}).connect(Target("nous", "http://one.test", None)),
        ):
            with pytest.raises(AttemptError) as refused:
                await provider.complete(request)
            await provider.aclose()
            failures.append(refused.value.failure)
    over_sockets, in_memory = [(f.verdict, f.retry_after, f.of_account, f.status, f.said) for f in failures]
    assert in_memory == over_sockets


async def test_a_login_is_shown_to_simulated_models_too(tmp_path: Path) -> None:
    """A supervisor over a world in memory asks with the token of the moment, as it would over sockets."""
    async with simulated_portal(RULES) as portal:
        login, store = portal.log_in(), tmp_path / "ours" / "login.json"
        put(store, flat(login))
        primary, world = RouteSettings(transport="nous", model="hermes"), World({"nous": Script.sequence(Status(401))})
        settings = Settings.in_code(
            agents={"deriver": AgentSettings(primary=primary)},
            nous_oauth_state_path=store,
            nous_portal_base_url=portal.portal_url,
        )
        async with supervise(sound(load(settings)), connect=world.connect, host=host_of(portal)) as supervisor:
            await supervisor.agent("deriver").complete(ASK)
        renewed = portal.portal.live(0)
        assert renewed is not None
        assert world.providers[0].keys == [login.access_token, renewed.access_token]


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


async def test_each_answer_is_cleaned_of_the_key_it_was_asked_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys there were: in its head and its body; the keys of the moment are prepared for, no others."""
    made = list[tuple[str, ...]]()

    def counted(secrets: tuple[str, ...]) -> object:
        made.append(secrets)
        return cleaner(secrets)

    for room in ("_http", "_failures"):
        monkeypatch.setattr(f"understudy.providers.{room}.cleaner", counted)
    keys = [f"canary-{number:02}-" + f"{number * 7919:05}" * 4 for number in range(2 * KEPT_CLEANERS)]
    script = Script.sequence(*(quoting(key) for key in (*keys, *keys[-2:] * 3)))
    async with simulated_server(script) as server:
        provider = connect(Target("nous", server.openai_url, None, "nous"))
        assert isinstance(provider, SDKProvider)
        keyed = {key: provider.keyed(key) for key in keys}
        for key in (*keys, *keys[-2:] * 3):
            with pytest.raises(AttemptError) as refused:
                await keyed[key].complete(Request("hermes", (user("one"),)))
            shown = f"{refused.value!r} {refused.value.failure!r}"
            assert shown.count("[secret]") >= 2
            assert not any(key[i : i + 8] in shown for i in range(len(key) - 7))
        await provider.aclose()
        assert [call.headers["authorization"] for call in server.received[-2:]] == [f"Bearer {k}" for k in keys[-2:]]
        assert all(call.headers["user-agent"] for call in server.received)
    assert {key: made.count((key,)) for key in keys}.keys() == set(keys)
    assert max(made.count((key,)) for key in keys) <= 2


def quoting(key: str) -> Status:
    """Refuse, and show the key in the head and in the body."""
    return Status(403, 0.0, {"x-request-id": key}, f'{{"status": 403, "message": "no: {key}"}}'.encode())


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
