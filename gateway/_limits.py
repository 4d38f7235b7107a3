"""How long, how much and how many: what the server puts up with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and numbers (R-GW-5, R-GW-6, R-LS-1, R-LS-4; what stands in none of these is chosen).

    Args:
        head_for: From the first byte of a head, or from when the connection was opened, until it is whole.
        body_for: For a whole body, whatever its length.
        body_grace: Before a body has to come at `body_rate`: a first piece may come a round trip late.
        body_rate: Bytes of a body in a second.
        idle_for: Between two requests of a connection.
        write_for: Until a client has taken a piece of an answer.
        wait_for: Until a request that waits is answered; then it is refused.
        linger_for: After the last answer, until the client has closed its side: closing before it has would let the
            kernel throw away what it has not read yet (RFC 9112 section 9.6).
        body_size: Bytes of a body.
        ahead: Bytes that are read while an answer is made: a request that was sent before its turn.
        piece: Bytes that are written at once.
        send_buffer: Bytes that the kernel keeps for one client; with a piece it makes what R-LS-4 allows.
        connections: Open at once.
        refusals: Connections beyond, that are kept a moment so that they read that they are refused.
        in_flight: Requests that are answered at once.
        waiting: Requests that wait until others are answered.
    """

    head_for: float = 5.0
    body_for: float = 30.0
    body_grace: float = 5.0
    body_rate: float = 1024.0
    idle_for: float = 15.0
    write_for: float = 60.0
    wait_for: float = 10.0
    linger_for: float = 1.0
    body_size: int = 32 * 1024 * 1024
    ahead: int = 64 * 1024
    piece: int = 64 * 1024
    send_buffer: int = 96 * 1024
    connections: int = 512
    refusals: int = 128
    in_flight: int = 512
    waiting: int = 512

    def body_due(self, since: float, received: int) -> float:
        """Return when a body that began at `since`, and of which so much has come, is too slow."""
        return since + min(self.body_for, self.body_grace + received / self.body_rate)
