"""Who asks, by their address: the other side of the connection, or whoever a trusted proxy says it asks for. Pure.

    peer ── no proxy that is trusted ──▶ the peer
      │
      ▼
    X-Forwarded-For, from its right end ──▶ the first address that is no trusted proxy's; without one, the peer

Each proxy adds on the right the address that it was asked from; what stands on the left, anybody may have made up.

Source: RFC 7239 section 8.1 (what may be believed); RFC 4291 section 2.5.5.2 (IPv4-mapped addresses).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from ._values import Head

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FORWARDED = "x-forwarded-for"

_MAPPED = IPv6Network("::ffff:0:0/96")
"""Where addresses of IPv4 stand among those of IPv6."""


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that addresses and networks name.

    Raises:
        ValueError: One names none.
    """
    return tuple(_as_written(ip_network(text)) for text in texts)


def _as_written(network: Network) -> Network:
    """Return a network; one of IPv4 that is written as one of IPv6 is the former, as addresses are."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))


def asker_of(head: Head, proxies: tuple[Network, ...]) -> str:
    """Return the address of whoever asks; what a peer is called that has none is left as it is."""
    peer = _address(head.peer)
    if peer is None:
        return head.peer
    if not _is_among(peer, proxies):
        return str(peer)
    for said in reversed(",".join(head.all(FORWARDED)).split(",")):
        address = _address(_without_port(said.strip()))
        if address is None:
            break
        if not _is_among(address, proxies):
            return str(address)
    return str(peer)


def counted_as(asker: str) -> str:
    """Return whom failures are counted for: an address; of IPv6 its /64, all of which is one customer's (RFC 6177)."""
    address = _address(asker)
    if address is None or address.version == 4:
        return asker
    return str(ip_network((int(address) >> 64 << 64, 64)))


def _is_among(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """Return an address; one of IPv4 that is written as one of IPv6 is the former. None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


def _without_port(text: str) -> str:
    """Return an address without the port that some proxies add."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
