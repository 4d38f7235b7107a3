"""Proxies of the environment: whom they are asked for, and whom not."""

from __future__ import annotations

import pytest

from understudy import AgentSettings, ConnectionFailedError, RouteSettings, Settings, open_supervisor
from understudy.simulation import simulated_server

NOBODY = "http://127.0.0.1:9/v1"
PROXIES = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


async def ask() -> str:
    """Ask an address where nobody listens."""
    route = RouteSettings(transport="lmstudio", model="m", base_url=NOBODY)
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)}, retry_attempts=1)
    async with open_supervisor(settings) as supervisor:
        return (await supervisor.agent("deriver").complete("Who wrote Faust?")).text


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_is_asked_for_loopback_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy gets the whole address, and answers in the vendor's place."""
    async with simulated_server() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await ask() == "Hello."
        assert [received.path for received in proxy.received] == [f"{NOBODY}/chat/completions"]


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("hosts", ["127.0.0.1", "localhost,127.0.0.1", "*"])
async def test_who_is_named_in_no_proxy_is_asked_directly(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the address itself is asked, where nobody listens here."""
    async with simulated_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", hosts)
        with pytest.raises(ConnectionFailedError):
            await ask()
        assert proxy.accepted == 0
