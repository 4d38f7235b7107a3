"""`make bench-peers`: the peers beside the bare SDK and this library, each figure from fresh processes in turn.

Peers whose environments are there (`make peers`) are measured; then other gateways beside ours, under the same load.
`libraries` or `gateways` on the command line measures those alone. With `--save` the figures go into
`docs/performance.json`. It fails where the mock upstream was so busy that it may have been the limit. `--quick` makes
the fewest calls that show that all works.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .. import gateway, upstream
from ..document import TABLES
from ..measure import Job
from ..record import over_the_limit, save, set_up, show
from ..runs import ROOT, last_line
from ..tables import MEASURES, Row
from .gateways import LOADS, installed

ENVIRONMENTS = ROOT / ".peers"


class Peer(NamedTuple):
    """A peer: its module, what it is called, its environment, and whether it has a fallback of its own."""

    module: str
    title: str
    environment: str = ""
    falls_back: bool = True


PEERS = (
    Peer("bare", "bare SDK"),
    Peer("ours", "ours"),
    Peer("litellm", "LiteLLM", "litellm", falls_back=False),
    Peer("litellm_router", "LiteLLM Router", "litellm"),
    Peer("langchain", "LangChain", "langchain"),
    Peer("pydantic_ai", "pydantic-ai", "pydantic-ai"),
    Peer("tensorzero", "TensorZero", "tensorzero"),
)
ROUNDS = {"call": 3, "conversation": 3, "handover": 3, "stream": 3, "memory": 3, "trio": 1}
"""What is measured of each, and in how many fresh processes."""


def python(peer: Peer) -> Path:
    """Return the Python of its environment."""
    return ENVIRONMENTS / peer.environment / "bin" / "python" if peer.environment else Path(sys.executable)


def middle(rows: list[Row]) -> Row:
    """Return the median of each figure; of the upstream's share the highest."""
    return {
        name: max(row[name] for row in rows)
        if name == "upstream"
        else median(row[name] for row in rows)
        if type(rows[0][name]) in (int, float)
        else rows[0][name]
        for name in rows[0]
    }


def all_measured(peers: list[Peer], *, quick: bool = False) -> list[Row]:
    """Return the figures of each peer, all taking turns, telling on standard error how far it is."""
    rows: list[Row] = []
    with upstream.running() as at:
        for what, rounds in ROUNDS.items():
            took: dict[Peer, list[Row]] = {peer: [] for peer in peers if peer.falls_back or what != "handover"}
            for _ in range(1 if quick else rounds):
                for peer, runs in took.items():
                    begun = time.monotonic()
                    task: dict[str, Any] = {"url": at.url, "process": at.process, "what": what, "quick": quick}
                    runs.append(
                        last_line([str(python(peer)), "-m", f"benchmarks.peers.{peer.module}", json.dumps(task)])
                    )
                    print(f"{what}, {peer.title}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
            rows += [{"what": what, "peer": peer.title, **middle(runs)} for peer, runs in took.items()]
    return rows


def gateways_measured(*, quick: bool = False) -> list[Row]:
    """Return the figures of the gateways that are installed, which take turns."""
    rows: list[Row] = []
    with upstream.running() as at:
        for scenario in gateway.SCENARIOS:
            begun = time.monotonic()
            job = Job("asyncio", at.url, at.refused, at.process, scenario, quick)
            rows += last_line([sys.executable, "-m", "benchmarks.peers.gateways", job.text()])["rows"]
            print(f"gateways, {scenario[0]}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure everything and print it; write it down where that is asked for."""
    quick, keep = "--quick" in sys.argv, "--save" in sys.argv
    parts = [part for part in ("libraries", "gateways") if part in sys.argv] or ["libraries", "gateways"]
    if "libraries" in parts:
        rows = all_measured(libraries(), quick=quick)
        told("peers", rows, [ROUNDS[what] for what in MEASURES], quick=quick, keep=keep)
    if "gateways" in parts:
        _, missing = installed()
        name_missing(missing)
        rows = gateways_measured(quick=quick)
        told("gateways", rows, [load.rounds for load in LOADS.values()], quick=quick, keep=keep)


def libraries() -> list[Peer]:
    """Return the libraries whose environments are there, naming the others."""
    peers = [peer for peer in PEERS if python(peer).exists()]
    name_missing([peer.title for peer in PEERS if peer not in peers])
    return peers


def name_missing(titles: list[str]) -> None:
    """Say which peers are left out."""
    if titles:
        print("no environment (make peers):", ", ".join(titles), file=sys.stderr)


def told(part: str, rows: list[Row], rounds: Iterable[int], *, quick: bool, keep: bool) -> None:
    """Print what was measured; write it down if it is to be kept."""
    show(TABLES[part]({"rows": rows}))
    if busy := over_the_limit(rows):
        sys.exit("the mock upstream may have been the limit:\n" + "\n".join(busy))
    if keep:
        save(part, {"about": set_up((), rounds, quick=quick), "rows": rows})


if __name__ == "__main__":
    main()
