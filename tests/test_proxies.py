"""Proxies of the environment: whom they are asked for, and whom not."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.abc import AnyByteStream

from understudy import (
    AgentSettings,
    AttemptError,
    ConfigurationError,
    ConnectionFailedError,
    RouteSettings,
    Settings,
    UnderstudyError,
    open_supervisor,
)
from understudy.providers._http import SPARE_CONNECTIONS
from understudy.simulation import Script, Status, simulated_server

from .over_sockets import KEY, listening

NOBODY = "http://127.0.0.1:9/v1"
PROXIES = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]


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


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("socks5://user:pass-canary@127.0.0.1:9", ["pip install socksio, or name another proxy in ALL_PROXY"]),
        ("ftp://user:pass-canary@127.0.0.1:9", ["check its base URL, ALL_PROXY", "ftp"]),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named(
    proxy: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client opens behind it, so it is a mistake of the configuration: the proxy's, not the address's."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError) as caught:
        await ask()
    assert all(words in str(caught.value) for words in told), str(caught.value)
    assert "None" not in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.sockets
async def test_a_proxy_that_wants_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 407 comes from the proxy, so its variables are what to look at."""
    async with simulated_server(Script.always(Status(407))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(AttemptError, match=r"HTTP 407\).*; check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY$"):
            await ask()


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["cancelled", "failed"])
async def test_a_tunnel_without_tls_at_its_end_takes_no_place(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many handshakes through a proxy fail or are cancelled, the next call gets a connection."""

    async def tunnel(stream: AnyByteStream) -> None:
        await stream.receive()  # CONNECT
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await stream.receive()  # the client's hello
        if said:
            await stream.send(said)
        while True:
            await stream.receive()

    route = RouteSettings(transport="openai", model="m", base_url="https://vendor.example/v1", api_key=KEY)
    agents = {"deriver": AgentSettings(primary=route)}
    calls = SPARE_CONNECTIONS + 3
    async with listening(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        async with open_supervisor(Settings.in_code(agents=agents, max_concurrency=1, retry_attempts=1)) as supervisor:
            for _ in range(calls):
                with anyio.move_on_after(1), suppress(UnderstudyError):
                    await supervisor.agent("deriver").complete("Who wrote Faust?")
        assert proxy.asked == calls
