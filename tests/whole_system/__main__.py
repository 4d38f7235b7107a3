"""`python -m tests.whole_system`: the simulation of the whole system, seed after seed. Exit code 1 when it fails."""

from __future__ import annotations

import argparse
import sys

from understudy.simulation import World

from ._backends import Backend
from ._bugs import BUGS, planted
from ._campaign import campaign, regressions, smallest
from ._play import MakeWorld, play
from ._schedule import draw
from ._wire import WireWorld

CAUGHT_WITHIN = 1000
"""Seeds within which a planted bug has to be caught (requirements 3.3)."""


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.whole_system", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    parser.add_argument("--wire", action="store_true", help="over the real wire code, with a network in memory")
    parser.add_argument("--bug", choices=tuple(BUGS), help="plant a bug")
    parser.add_argument("--bugs", action="store_true", help="plant each bug in turn: every one has to be caught")
    options = parser.parse_args()
    make_world = WireWorld if options.wire else World
    if options.bugs:
        return _every_bug(options.backend, make_world)
    with planted(options.bug):
        return _seeds(range(options.first, options.first + options.seeds), options.backend, make_world)


def _seeds(seeds: range, backend: Backend, make_world: MakeWorld) -> int:
    once_failed = campaign(regressions(backend), backend, make_world=make_world)
    done = campaign(seeds, backend, make_world=make_world)
    print(done)
    for seed in [*once_failed.failed, *done.failed]:
        schedule = smallest(draw(seed), backend, make_world=make_world)
        print(f"\n{backend}, minimised from", schedule)
        for violation in play(schedule, backend, make_world).violations:
            print(f"  invariant {violation.number}: {violation.text}")
    return 0 if done.is_good and not once_failed.failed else 1


def _every_bug(backend: Backend, make_world: MakeWorld) -> int:
    missed = 0
    for bug in BUGS:
        with planted(bug):
            done = campaign(range(CAUGHT_WITHIN), backend, make_world=make_world, most_failures=1)
        missed += not done.failed
        for seed, run in done.failed.items():
            print(f"{bug}: seed {seed}, {run.violations[0]}", flush=True)
        if not done.failed:
            print(f"{bug}: NOT caught within {done.seeds} seeds", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
