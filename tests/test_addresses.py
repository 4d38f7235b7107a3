"""Addresses of instance metadata and of the link: no base URL leads there, however it is written, nor does a name."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.abc import AnyByteStream
from pydantic import SecretStr

from understudy import (
    AgentSettings,
    ConfigurationError,
    ConnectionFailedError,
    RouteSettings,
    Settings,
    open_supervisor,
)
from understudy.providers import is_forbidden, is_this_machine

from .over_sockets import listening

FORBIDDEN = [
    "169.254.169.254",
    "169.254.1.2",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "::ffff:169.254.169.254",
    "[::ffff:a9fe:a9fe]",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::a9fe:a9fe",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_every_way_to_write_it(address: str) -> None:
    """Decimal, hexadecimal, octal, with fewer dots, within an IPv6 address: it is what it leads to that counts."""
    assert is_forbidden(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "localhost", "api.openai.com", "::"],
)
def test_what_is_no_such_address(address: str) -> None:
    """Loopback, private networks and names are where providers may be."""
    assert not is_forbidden(address)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.1", True),
        ("2130706433", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 - it is read, not bound
        ("::", True),
        ("192.168.1.1", False),
        ("10.0.0.1", False),
        ("fd00::1", False),
        ("own.test", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("host.docker.internal", False),
        ("", False),
    ],
)
def test_what_stays_on_this_machine(host: str, expected: bool) -> None:
    """The loopback, however it is written, and its names; a private network is another machine's."""
    assert is_this_machine(host) is expected


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "0xA9FEA9FE"])
def test_a_base_url_is_refused_at_start(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each variable that holds one, without its value."""
    monkeypatch.setenv("LLM_OPENAI_BASE_URL", f"http://{host}/v1")
    monkeypatch.setenv("DERIVER_MODEL_CONFIG__MODEL", "a-model")
    with pytest.raises(ConfigurationError, match="LLM_OPENAI_BASE_URL") as caught:
        Settings()
    assert host not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.usefixtures("few_certificates")
@pytest.mark.parametrize("transport", ["understudy", "httpx2"])
async def test_a_name_that_leads_there_is_not_asked(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may mean another address each time: what counts is who was connected to, before anything is sent."""
    received: list[bytes] = []

    async def behave(stream: AnyByteStream) -> None:
        with suppress(anyio.EndOfStream):
            received.append(await stream.receive())

    def is_ours(address: str) -> bool:
        return address == "127.0.0.1"

    for module in ("_pool", "_http"):
        monkeypatch.setattr(f"understudy.providers.{module}.is_forbidden", is_ours)
    async with listening(behave) as place:
        route = RouteSettings(
            transport="openai", model="m", base_url=place.base_url("openai"), api_key=SecretStr("sk-0123456789")
        )
        settings = Settings.in_code(
            agents={"deriver": AgentSettings(primary=route)}, http_transport=transport, retry_attempts=1
        )
        async with open_supervisor(settings) as supervisor:
            with pytest.raises(ConnectionFailedError, match="link-local or metadata"):
                await supervisor.agent("deriver").complete("hi", timeout=5)
    assert not received
