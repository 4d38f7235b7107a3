"""For whom wrong tokens are counted, where a proxy stands in front: in a table, and as the guard has it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import open_supervisor
from understudy._reach import access_of
from understudy._serve import _gateway
from understudy.gateway import Feed, Guard, Head
from understudy.gateway._askers import asker_of, counted_as, networks_of
from understudy.gateway._guard import FAILURES
from understudy.simulation import World

TOKEN = "Zm9yIGEgbG9uZyB0aW1lIEkgdXNlZCB0byBn"
PROXIES = networks_of(["10.0.0.5", "10.1.0.0/24", "2001:db8:1::/48", "127.0.0.1"])


def head(peer: str, *forwarded: str, token: str = "") -> Head:
    """Make a head with each X-Forwarded-For in a field of its own."""
    shown = (("authorization", f"Bearer {token}"),) if token else ()
    named = tuple(("x-forwarded-for", said) for said in forwarded)
    return Head("GET", "/v1/models", (("host", "localhost"), *named, *shown), peer)


@dataclass(frozen=True)
class Row:
    """Who is connected, what is said of whom they ask for, and who that is."""

    name: str
    peer: str
    asker: str
    forwarded: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.name


ROWS = [
    Row("nobody in between", "192.0.2.1", "192.0.2.1"),
    Row("a stranger's word", "192.0.2.1", "192.0.2.1", ("198.51.100.7",)),
    Row("a proxy's word", "10.0.0.5", "198.51.100.7", ("198.51.100.7",)),
    Row("one of a network", "10.1.0.77", "198.51.100.7", ("198.51.100.7",)),
    Row("beside the network", "10.1.1.77", "10.1.1.77", ("198.51.100.7",)),
    Row("what the client made up", "10.0.0.5", "198.51.100.7", ("203.0.113.9, 198.51.100.7",)),
    Row("made up to look like a proxy", "10.0.0.5", "198.51.100.7", ("10.0.0.5, 198.51.100.7",)),
    Row("two proxies", "10.0.0.5", "198.51.100.7", ("203.0.113.9, 198.51.100.7, 10.1.0.3",)),
    Row("two fields", "10.0.0.5", "198.51.100.7", ("203.0.113.9", "198.51.100.7, 10.1.0.3")),
    Row("without blanks", "10.0.0.5", "198.51.100.7", ("203.0.113.9,198.51.100.7",)),
    Row("nothing but proxies", "10.0.0.5", "10.0.0.5", ("10.1.0.4, 10.1.0.3",)),
    Row("nothing said", "10.0.0.5", "10.0.0.5"),
    Row("an empty field", "10.0.0.5", "10.0.0.5", ("",)),
    Row("no address", "10.0.0.5", "10.0.0.5", ("unknown",)),
    Row("a name", "10.0.0.5", "10.0.0.5", ("198.51.100.7, client.example",)),
    Row("no address in the middle", "10.0.0.5", "10.0.0.5", ("198.51.100.7, unknown, 10.1.0.3",)),
    Row("no address on the left", "10.0.0.5", "198.51.100.7", ("unknown, 198.51.100.7",)),
    Row("a comma at the end", "10.0.0.5", "10.0.0.5", ("198.51.100.7,",)),
    Row("a port", "10.0.0.5", "198.51.100.7", ("198.51.100.7:51234",)),
    Row("IPv6", "10.0.0.5", "2001:db8::7", ("2001:db8::7",)),
    Row("IPv6 with a port", "10.0.0.5", "2001:db8::7", ("[2001:db8::7]:51234",)),
    Row("a proxy of IPv6", "2001:db8:1::5", "2001:db8::7", ("2001:db8::7",)),
    Row("IPv4 in IPv6", "::ffff:192.0.2.1", "192.0.2.1", ("198.51.100.7",)),
    Row("a proxy as IPv4 in IPv6", "::ffff:10.0.0.5", "198.51.100.7", ("::ffff:198.51.100.7",)),
    Row("on this machine", "127.0.0.1", "198.51.100.7", ("198.51.100.7",)),
    Row("no address at all", "", "", ("198.51.100.7",)),
    Row("something else", "a socket", "a socket", ("198.51.100.7",)),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_who_asks(row: Row) -> None:
    """The rightmost address that is no trusted proxy's, where a trusted proxy says it; else the peer's own."""
    assert asker_of(head(row.peer, *row.forwarded), PROXIES) == row.asker


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_without_a_trusted_proxy_nobody_is_believed(row: Row) -> None:
    """That is how it is unless it is set."""
    assert asker_of(head(row.peer, *row.forwarded), ()) == row.peer.removeprefix("::ffff:")


@given(said=st.text(max_size=60), peer=st.sampled_from(["10.0.0.5", "192.0.2.1"]))
def test_whatever_is_said_somebody_asks(said: str, peer: str) -> None:
    """Nothing raises, and who is counted has a name."""
    assert counted_as(asker_of(head(peer, said), PROXIES))


def failing(guard: Guard, *askers: tuple[str, str]) -> list[int]:
    """Show no token, once for each peer and whom it asks for; return the answers."""
    answers = [guard.judge(head(peer, asker), 0) for peer, asker in askers]
    return [0 if answer is None else answer.status for answer in answers]


def test_one_behind_a_proxy_locks_no_other_out() -> None:
    """Ten wrong tokens, and it waits, a good one too; somebody else behind the same proxy is let in."""
    guard = Guard([TOKEN], proxies=["10.0.0.5"])
    assert failing(guard, *[("10.0.0.5", "198.51.100.7")] * 11) == [401] * FAILURES + [429]
    waits = guard.judge(head("10.0.0.5", "198.51.100.7", token=TOKEN), 0)
    assert waits is not None
    assert waits.status == 429
    assert guard.judge(head("10.0.0.5", "198.51.100.8", token=TOKEN), 0) is None


def test_nobody_gets_away_by_what_they_say() -> None:
    """Neither a stranger, nor a client of the proxy's, whatever either puts in front."""
    guard = Guard([TOKEN], proxies=["10.0.0.5"])
    assert failing(guard, *(("192.0.2.1", f"198.51.100.{n}") for n in range(11)))[-1] == 429
    assert failing(guard, *(("10.0.0.5", f"198.51.100.{n}, 203.0.113.9") for n in range(11)))[-1] == 429


def test_behind_a_proxy_on_this_machine_a_client_is_not_of_this_machine() -> None:
    """On the loopback a good token is always good: for its own programs, and for nobody whom the proxy asks for."""
    guard = Guard([TOKEN], proxies=["127.0.0.1"])
    failing(guard, *[("127.0.0.1", "198.51.100.7")] * 11)
    waits = guard.judge(head("127.0.0.1", "198.51.100.7", token=TOKEN), 0)
    assert waits is not None
    assert waits.status == 429
    failing(guard, *[("127.0.0.1", "")] * 11)
    assert guard.judge(head("127.0.0.1", token=TOKEN), 0) is None


def test_ipv4_in_ipv6_is_each_its_own() -> None:
    """A socket for both kinds shows all of IPv4 in one /64: they are no one customer."""
    guard = Guard([TOKEN])
    askers = [(f"::ffff:192.0.2.{number}", "") for number in range(20)]
    assert failing(guard, *askers) == [401] * 20
    assert failing(guard, *[("192.0.2.1", "")] * 10) == [401] * 9 + [429]


@pytest.mark.parametrize("proxy", ["10.0.0.5", "::ffff:10.0.0.5", "::ffff:10.0.0.0/104", "10.0.0.0/8"])
def test_a_proxy_is_the_same_however_it_is_written(proxy: str) -> None:
    """As on a socket for both kinds, whose peers read so; in the settings, too."""
    for peer in ("10.0.0.5", "::ffff:10.0.0.5"):
        assert asker_of(head(peer, "198.51.100.7"), networks_of([proxy])) == "198.51.100.7"
    assert asker_of(head("2001:db8::5", "198.51.100.7"), networks_of([proxy])) == "2001:db8::5"


def test_what_is_no_network_is_a_mistake() -> None:
    """Said where it is written."""
    with pytest.raises(ValueError, match="nginx"):
        Guard([TOKEN], proxies=["nginx"])


@pytest.mark.anyio
async def test_serve_takes_it_from_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_TRUSTED_PROXIES is what the guard of `understudy serve` goes by."""
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", "10.0.0.5, 10.1.0.0/24")
    monkeypatch.setenv("UNDERSTUDY_TOKEN", TOKEN)
    monkeypatch.setenv("DERIVER_MODEL_CONFIG__MODEL", "lmstudio/m")
    async with open_supervisor(connect=World({}).connect) as supervisor:
        assert access_of(supervisor.plan).proxies == ("10.0.0.5/32", "10.1.0.0/24")
        gateway = await _gateway(supervisor, Feed("1"), "127.0.0.1")
        for _ in range(11):
            refusal = gateway.refuse(head("10.1.0.3", "198.51.100.7"))
        assert refusal is not None
        assert refusal.status == 429
        assert gateway.refuse(head("10.1.0.3", "198.51.100.8", token=TOKEN)) is None
