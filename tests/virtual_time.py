"""Virtual time for our own tests: the product's, and a moment for the kernel where a test speaks over sockets."""

from __future__ import annotations

from understudy.simulation._clock import Backend, virtual_backend

GRACE = 0.005
"""Real seconds in which something that was sent on loopback arrives."""


def socket_backend(name: str) -> Backend:
    """Return a backend in virtual time whose clock waits for the kernel."""
    return virtual_backend(name, grace=GRACE)
