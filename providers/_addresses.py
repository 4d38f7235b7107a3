"""Addresses that no provider has: what answers there gives a machine's own credentials to whoever asks; and those that
are this machine's.

Clouds serve them to their machines at link-local addresses, and at a few others that nobody routes. A base URL that
leads there is a mistake, or an attack by way of a name.

Source: RFC 3927 and RFC 4291 section 2.5.6 (link-local); the clouds' own pages on instance metadata: AWS, Google, Azure
and DigitalOcean at 169.254.169.254, AWS at fd00:ec2::254, Alibaba at 100.100.100.200, Oracle at 192.0.0.192.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

WHY = "the address is link-local or metadata: nobody is asked there"

METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))


def is_forbidden(address: str) -> bool:
    """Say whether nobody may be asked at a numeric address, in whichever way it is written; a name is no address."""
    found = _numeric(address)
    return found is not None and (found.is_link_local or found in METADATA)


def is_this_machine(host: str) -> bool:
    """Say whether what is sent to a host stays on this machine: a numeric address in whichever way it is written, or a
    name for the loopback (RFC 6761 section 6.3).
    """
    name = host.lower().rstrip(".")
    found = _numeric(host)
    if found is None:
        return name == "localhost" or name.endswith(".localhost")
    return found.is_loopback or found.is_unspecified


def _numeric(address: str) -> IPv4Address | IPv6Address | None:
    text = address.strip("[]").partition("%")[0]
    try:
        found = ip_address(text)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(text.rstrip(".")))  # hexadecimal, octal, with fewer dots, as C reads it
        except (OSError, UnicodeEncodeError):
            return None
    return _inner(found) if isinstance(found, IPv6Address) else found


def _inner(address: IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for (RFC 4291 2.5.5, RFC 3056, RFC 6052), or itself."""
    packed = address.packed
    if packed[:12] in {bytes(12), bytes.fromhex("0064ff9b") + bytes(8)} and int(address) > 1:
        return IPv4Address(packed[12:])
    return address.ipv4_mapped or address.sixtofour or address
