"""`make check`: the stages named on the command line, one after the other, with the minutes that each one took.

Every stage is run, so that one run tells all that is wrong; the exit code is 1 if any failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 2
"""Processes side by side. A third would use the time in which each waits for the kernel; but then threads come late,
and a virtual clock that jumps after 5 ms jumps ahead of them.
"""

PARTS = 6
"""Into so many parts the tests are cut: whoever has done one takes the next, for no one knows how long each takes."""

ROOMS = ("actors", "credentials", "gateway", "providers", "simulation", "supervisor", "telemetry", "understudy")

PAGE = ("index.html", "page.css", "page.js")
"""Files of the gateway's page, which is no Python."""

IMPORT = """
import pathlib, sys, understudy
from understudy import Settings, open_supervisor, user
import understudy._cli
assert pathlib.Path(understudy.__file__).is_relative_to(sys.argv[1]), understudy.__file__
"""


def run(*command: str, cwd: str | None = None) -> bool:
    """Run a command; say whether it succeeded."""
    return subprocess.run(command, check=False, cwd=cwd).returncode == 0


def python(*arguments: str, cwd: str | None = None) -> bool:
    """Run this Python; say whether it succeeded."""
    return run(sys.executable, *arguments, cwd=cwd)


def beside(*commands: Sequence[str], **environment: str) -> bool:
    """Run this Python with each of these arguments, `AT_ONCE` at a time; print what they say. Have all succeeded?"""

    def one(number: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *commands[number]],
            check=False,
            env={**os.environ, **environment, "COVERAGE_FILE": f".coverage.{number}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    succeeded = True
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for done in pool.map(one, range(len(commands))):
            print(done.stdout, flush=True)
            succeeded = succeeded and done.returncode == 0
    return succeeded


PYTEST = ("pytest", "-q", "-p", "no:cacheprovider")


def cover() -> bool:
    """Run the tests with branch coverage of the real folders: those on asyncio, and of those that are not long."""
    rooms = [f"--cov={room}" for room in ROOMS]
    command = [*PYTEST, "-m", "not long", "-k", "not trio", *rooms, "--cov-branch", "--cov-report="]
    succeeded = beside(*([*command, *files] for files in parts()))
    measured = [f".coverage.{number}" for number in range(PARTS)]
    combined = python("-m", "coverage", "combine", "--quiet", *measured)
    return succeeded and combined and python("-m", "coverage", "report", "--fail-under=97")


def parts(marked: str = "") -> tuple[list[str], ...]:
    """Return the files of tests in parts of about the same length; with a `marked`, those that have it."""
    found: tuple[list[Path], ...] = tuple([] for _ in range(PARTS))
    mark = f"mark.{marked}" if marked else ""
    files = [path for path in Path("tests").glob("test_*.py") if mark in path.read_text()]
    for path in sorted(files, key=lambda path: -path.stat().st_size):
        min(found, key=lambda part: sum(each.stat().st_size for each in part)).append(path)
    return tuple(sorted(map(str, part)) for part in found if part)


def wheel() -> bool:
    """Build the wheel, look into it, and import it from an empty folder, where the checkout is not at hand."""
    shutil.rmtree("build", ignore_errors=True)  # what an earlier build left would be packed again
    with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory() as unpacked:
        if not python("-m", "build", "--wheel", "--no-isolation", "--outdir", built, "."):
            return False
        (path,) = Path(built).glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            archive.extractall(unpacked)
        foreign = [name for name in names if not name.startswith(("understudy/", "understudy-"))]
        missing = [room for room in ROOMS if not any(f"{room}/__init__.py" in name for name in names)]
        missing += [file for file in PAGE if f"understudy/gateway/page/{file}" not in names]
        if foreign or missing or "understudy/py.typed" not in names:
            print(f"the wheel has {foreign} and lacks {missing}")
            return False
        code = f"import sys; sys.path.insert(0, {unpacked!r}); sys.argv = ['', {unpacked!r}]\n{IMPORT}"
        return python("-W", "error", "-c", code, cwd=built)


WIRE = "test_every_invariant_holds_over_the_wire"
SIMULATIONS: tuple[tuple[str, ...], ...] = (
    ("tests.whole_system", "--backend", "trio", "--seeds", "1000"),
    ("tests.whole_system", "--backend", "asyncio", "--seeds", "1000"),
    ("pytest", "-q", "tests/test_gate_against_reference.py", f"tests/test_whole_system.py::{WIRE}"),
)
"""2,000 seeds of the whole system, 100 more over the real wire code, 1,000 lives of a gate."""


def rest() -> bool:
    """Run what coverage makes slow, and learns nothing of: the tests on trio, and those that are long."""
    trio = ((*PYTEST, "-m", "not long", "-k", "trio", *files) for files in parts())
    return beside(*trio, *((*PYTEST, "-m", "long", *files) for files in parts(marked="long")))


LIBRARY: tuple[tuple[str, ...], ...] = (
    ("tests/test_contract.py", "tests/test_kept_pairs.py"),
    ("tests/test_upstream.py", "tests/test_secrets.py"),
    ("tests/test_over_sockets.py", "tests/test_streams_over_sockets.py"),
)
"""The tests that go over the library's connections, too: what a caller sees of them, whole and in streams, in parts of
about the same length. The table of failures is asked over both by `tests/test_transports.py`."""


def library() -> bool:
    """Run tests over the connections of the library, which `LLM_HTTP_TRANSPORT=httpx2` chooses, on both backends."""
    chosen = "sockets and not long and not transports"
    return beside(*((*PYTEST, "-m", chosen, *files) for files in LIBRARY), UNDERSTUDY_TEST_TRANSPORT="httpx2")


def simulate() -> bool:
    """Run the simulations."""
    return beside(*SIMULATIONS, UNDERSTUDY_EXAMPLES="1000", UNDERSTUDY_WIRE_SEEDS="50")


STAGES: dict[str, Callable[[], bool]] = {
    "format": lambda: run("ruff", "format", "--check", "--quiet", "."),
    "lint": lambda: run("ruff", "check", "--quiet", "."),
    "types": lambda: python("-m", "mypy"),
    "cover": cover,
    "rest": rest,
    "library": library,
    "simulation": simulate,
    "wheel": wheel,
}


def main() -> None:
    """Run the stages and say how long each one took."""
    took: list[tuple[str, float, bool]] = []
    for name in sys.argv[1:]:
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        succeeded = STAGES[name]()
        took.append((name, time.monotonic() - begun, succeeded))
    for name, seconds, succeeded in took:
        print(f"{name:10} {seconds / 60:5.2f} min  {'ok' if succeeded else 'FAILED'}")
    sys.exit(0 if all(succeeded for _, _, succeeded in took) else 1)


if __name__ == "__main__":
    main()
