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
from collections.abc import Callable
from pathlib import Path

ROOMS = ("actors", "credentials", "providers", "simulation", "supervisor", "telemetry", "understudy")

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


def cover() -> bool:
    """Run the tests with branch coverage of the real folders, in two processes: it is what takes longest."""
    rooms = [f"--cov={room}" for room in ROOMS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rooms, "--cov-branch", "--cov-report="]
    with tempfile.TemporaryFile("w+") as first, tempfile.TemporaryFile("w+") as second:
        outputs = (first, second)
        runs = [
            subprocess.Popen(
                [*command, *files],
                env={**os.environ, "COVERAGE_FILE": f".coverage.{number}"},
                stdout=outputs[number],
                stderr=subprocess.STDOUT,
            )
            for number, files in enumerate(halves())
        ]
        codes = [run.wait() for run in runs]
        for output in outputs:
            output.seek(0)
            print(output.read(), flush=True)
    measured = python("-m", "coverage", "combine", "--quiet", ".coverage.0", ".coverage.1")
    return not any(codes) and measured and python("-m", "coverage", "report", "--fail-under=97")


def halves() -> tuple[list[str], list[str]]:
    """Return the files of tests in two parts of about the same length."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    for path in sorted(Path("tests").glob("test_*.py"), key=lambda path: -path.stat().st_size):
        min(parts, key=lambda part: sum(each.stat().st_size for each in part)).append(path)
    return sorted(map(str, parts[0])), sorted(map(str, parts[1]))


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
        if foreign or missing or "understudy/py.typed" not in names:
            print(f"the wheel has {foreign} and lacks {missing}")
            return False
        code = f"import sys; sys.path.insert(0, {unpacked!r}); sys.argv = ['', {unpacked!r}]\n{IMPORT}"
        return python("-W", "error", "-c", code, cwd=built)


WIRE = "test_every_invariant_holds_over_the_wire"
SIMULATIONS: tuple[tuple[str, ...], ...] = (
    ("tests.whole_system", "--backend", "trio", "--seeds", "5000"),
    ("tests.whole_system", "--backend", "trio", "--seeds", "2000", "--from", "5000"),
    ("tests.whole_system", "--backend", "asyncio", "--seeds", "3000"),
    ("pytest", "-q", "tests/test_gate_against_reference.py", f"tests/test_whole_system.py::{WIRE}"),
)
"""What takes long under coverage, and needs none: 10,000 seeds of the whole system, 300 more over the real wire code,
2,000 lives of a gate.
"""


def simulate() -> bool:
    """Run the simulations, side by side."""
    environment = {**os.environ, "UNDERSTUDY_EXAMPLES": "2000", "UNDERSTUDY_WIRE_SEEDS": "150"}
    runs = [subprocess.Popen([sys.executable, "-m", *arguments], env=environment) for arguments in SIMULATIONS]
    codes = [run.wait() for run in runs]
    return not any(codes)


STAGES: dict[str, Callable[[], bool]] = {
    "format": lambda: run("ruff", "format", "--check", "--quiet", "."),
    "lint": lambda: run("ruff", "check", "--quiet", "."),
    "types": lambda: python("-m", "mypy"),
    "cover": cover,
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
