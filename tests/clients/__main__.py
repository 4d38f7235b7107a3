"""Try the gateway on the clients that people use: `python -m tests.clients [family ...]`, or `make test-clients`.

Each family has an environment of its own, made from its lock when that has changed, and a gateway of its own, run in
the environment that this runs in. One line tells how each went; the exit code is 1 if any failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .families import ENVIRONMENTS, FAMILIES, FOLDER, ROOT, Family

NODE = FOLDER / "node"
LONGEST = 600
"""The most seconds that a family's tests may take: what hangs, fails (chosen; they take less than a minute)."""


def main() -> int:
    """Try every family that is named, or all of them; return the exit code."""
    families: dict[str, Callable[[], bool]] = {family.name: partial(try_python, family) for family in FAMILIES}
    families["node"] = try_node
    unknown = set(sys.argv[1:]) - families.keys()
    if unknown:
        print(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(families)}")
        return 2
    told, failed = list[str](), False
    for name in sys.argv[1:] or families:
        print(f"---- {name}", flush=True)
        begun = time.monotonic()
        try:
            is_well = families[name]()
        except (OSError, subprocess.SubprocessError) as error:
            is_well = False
            print(error)
        told.append(f"{name:<22}{'ok' if is_well else 'FAILED':<8}{time.monotonic() - begun:.0f}s")
        failed = failed or not is_well
    print("", *told, sep="\n")
    return 1 if failed else 0


def try_python(family: Family) -> bool:
    """Run the tests of a framework in Python; say whether all went well."""
    python = str(family.environment / "bin" / "python")
    with made(family.environment, [family.lock.read_bytes()]) as is_new:
        if is_new:
            venv.create(family.environment, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*install, "--require-hashes", "-r", str(family.lock)], check=True)
            if family.has_understudy:
                subprocess.run([*install, "--no-build-isolation", "--editable", str(ROOT)], check=True)
    options = [
        f"--config-file={FOLDER / 'families.ini'}",
        f"--rootdir={ROOT}",
        f"--confcutdir={FOLDER}",
        "-p",
        "no:cacheprovider",
    ]
    return served_with([python, "-m", "pytest", "--quiet", *options, str(family.tests)], ROOT)


def try_node() -> bool:
    """Run the tests of the SDKs for Node; say whether all went well."""
    environment = ENVIRONMENTS / "node"
    with made(environment, [(NODE / name).read_bytes() for name in ("package.json", "package-lock.json")]) as is_new:
        if is_new:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE / name, environment)
            npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(npm, check=True, cwd=environment)
    for test in NODE.glob("*.mjs"):  # beside node_modules, where imports are looked for
        shutil.copy(test, environment)
    return served_with(["node", "--test", *sorted(path.name for path in NODE.glob("*.test.mjs"))], environment)


@contextmanager
def made(environment: Path, sources: list[bytes]) -> Iterator[bool]:
    """Say whether an environment has to be made anew, and, once that is done, what it was made from."""
    stamp, wanted = environment / ".made-from", hashlib.sha256(b"\0".join(sources)).hexdigest()
    is_new = not stamp.is_file() or stamp.read_text() != wanted
    if is_new:
        shutil.rmtree(environment, ignore_errors=True)
        environment.mkdir(parents=True)
    yield is_new
    stamp.write_text(wanted)


def served_with(command: Sequence[str], folder: Path) -> bool:
    """Run a command beside a gateway, whose addresses it finds in its environment; say whether it went well."""
    ours = (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "LLM_",
        "OPENAI_",
        "ANTHROPIC_",
        "LANGFUSE_",
        "LANGSMITH_",
        "LANGCHAIN_",
        "NOUS_",
        "PYTHON",
    )
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    clean["SSL_CERT_FILE"] = str(ROOT / "tests" / "fixtures" / "self_signed.crt")  # it is short: nothing is verified
    gateway = subprocess.Popen(
        [sys.executable, "-m", "tests.clients.gateway"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean,
    )
    with gateway:  # its input ends with the block, and so does it
        assert gateway.stdout is not None
        addresses = json.loads(gateway.stdout.readline() or "{}")
        if not addresses:
            return False
        given = {f"UNDERSTUDY_TEST_{name.upper()}": url for name, url in addresses.items()}
        return subprocess.run(command, cwd=folder, env=clean | given, timeout=LONGEST).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
