"""Resolve the locks of the client families anew: `python -m tests.clients.lock [family ...]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools.lock import resolve_node

from .families import FAMILIES, FOLDER, ROOT, Family

HEADER = """\
# Exact versions with hashes, resolved by `python -m tests.clients.lock`. Do not edit by hand.
"""
TESTS = ("pytest", "setuptools", "trio", "wheel")
"""What runs the tests of every family, and installs the checkout."""


def main() -> None:
    """Resolve the lock of each family that is named, or of all of them.

    What stands in requirements.lock is locked in the same version, unless the framework does not get along with it.
    """
    asked = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
        for family in FAMILIES:
            if not asked or family.name in asked:
                resolve(family, folder)
                print(f"{family.name}: locked", flush=True)
    if not asked or "node" in asked:
        resolve_node(FOLDER / "node")
        print("node: locked", flush=True)


def resolve(family: Family, folder: Path) -> None:
    """Write the lock of a Python family, for every version of Python that understudy runs on."""
    wanted, resolved = folder / "wanted.in", folder / "resolved"
    wanted.write_text("\n".join([*family.wanted, *TESTS]))
    shutil.copy(ROOT / "requirements.lock", resolved)  # what stands there is kept wherever it may be
    options = ["--quiet", "--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    ours = ["pyproject.toml"] if family.has_understudy else []
    uv = str(folder / "bin" / "uv")
    compiling = [uv, "pip", "compile", str(wanted), *ours, *options, f"--output-file={resolved}"]
    subprocess.run(compiling, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    family.lock.write_text(HEADER + resolved.read_text())


if __name__ == "__main__":
    main()
