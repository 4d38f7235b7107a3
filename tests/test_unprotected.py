"""Plain HTTP beyond this machine is told once at the start, by the variable that asks for it (R-GW-9)."""

from __future__ import annotations

import json
import logging

import pytest
from pydantic import SecretStr

import understudy
from understudy import AgentSettings, RouteSettings, Settings
from understudy.simulation import Answer, Script, World
from understudy.supervisor import Unprotected, load, unprotected

CANARY = "sk-canary-0123456789"
P, F = "DERIVER_MODEL_CONFIG__", "DERIVER_MODEL_CONFIG__FALLBACK__"
SHARED = "LLM_LMSTUDIO_BASE_URL"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({P + "MODEL": "m", "LLM_OPENAI_API_KEY": CANARY}, []),
        ({P + "MODEL": "m", P + "BASE_URL": "https://own.test/v1"}, []),
        ({P + "MODEL": "lmstudio/m"}, []),
        ({P + "MODEL": "m", P + "BASE_URL": "http://[::1]:8000/v1"}, []),
        (
            {P + "MODEL": "m", P + "BASE_URL": f"HTTP://Own.test:8000/{CANARY}/v1", P + "API_KEY": CANARY},
            [Unprotected(P + "BASE_URL", "openai", "http://own.test:8000", ("deriver",))],
        ),
        (
            {P + "MODEL": "m", "LLM_OPENAI_API_KEY": CANARY, F + "MODEL": "lmstudio/m", SHARED: "http://192.168.1.5:1234/v1"},
            [Unprotected(SHARED, "lmstudio", "http://192.168.1.5:1234", ("deriver",))],
        ),
        (
            {
                P + "MODEL": "lmstudio/m",
                F + "MODEL": "lmstudio/n",
                "WRITER_MODEL_CONFIG__MODEL": "lmstudio/m",
                "READER_MODEL_CONFIG__MODEL": "m",
                "READER_MODEL_CONFIG__BASE_URL": "http://studio:1234/v1",
                SHARED: "http://studio:1234/v1",
            },
            [
                Unprotected(SHARED, "lmstudio", "http://studio:1234", ("deriver", "writer")),
                Unprotected("READER_MODEL_CONFIG__BASE_URL", "openai", "http://studio:1234", ("reader",)),
            ],
        ),
    ],
)  # fmt: skip
def test_what_goes_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[Unprotected]
) -> None:
    """Each variable once, for however many routes and agents; nothing of an address but where it is."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    found = unprotected(load().agents.values())
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert not any(CANARY in repr(each) + str(each) for each in found)


@pytest.mark.anyio
async def test_where_nothing_is_sent_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Simulated providers are asked in the process, whatever the address."""
    route = RouteSettings(model="m", base_url="http://own.test/v1", api_key=SecretStr(CANARY))
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    async with understudy.open_supervisor(settings, connect=World({"openai": Script.always(Answer())}).connect):
        pass
    assert not caplog.records


@pytest.mark.anyio
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_it_is_told_once_at_the_start(log_format: str, caplog: pytest.LogCaptureFixture) -> None:
    """As a WARNING with variable, transport, address and agents, and with no key."""
    route = RouteSettings(model="m", base_url="http://own.test/v1", api_key=SecretStr(CANARY))
    agents = {name: AgentSettings(primary=route, fallbacks=(route,)) for name in ("deriver", "writer")}
    async with understudy.open_supervisor(Settings.in_code(agents=agents, log_format=log_format)):
        pass
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in told] == ["understudy.settings"] * len(told)
    assert CANARY not in caplog.text
    said = [record.getMessage() for record in told]
    if log_format == "json":
        first = json.loads(said[0])
        assert first["event"] == "unprotected"
        assert (first["transport"], first["address"]) == ("openai", "http://own.test")
    else:
        assert said[0].startswith(
            "unprotected  DERIVER_MODEL_CONFIG__BASE_URL: openai at http://own.test is plain HTTP"
        )
