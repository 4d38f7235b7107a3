"""Resolve requirements.lock anew: exact versions with hashes, no index address."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import tomllib

HEADER = """\
# Exact versions with hashes, resolved from pyproject.toml by `make lock`. Do not edit by hand.
"""


def main() -> None:
    """Write the lock of everything: the package, all its extras, and the tools that check it. Beside it, with the same
    versions, those of the tools that draw the pictures in `docs/` and of the browser's, which nobody else needs.
    """
    groups = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["dependency-groups"]
    resolve("requirements.lock", groups["dev"], "pyproject.toml", "--all-extras")
    for name in ("pictures", "page"):
        resolve(f"tools/{name}.lock", groups[name], "--constraint", "requirements.lock")


def resolve(lock: str, wanted: list[str], *more: str) -> None:
    """Write the lock of what is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        resolved, tools = pathlib.Path(folder) / "resolved", pathlib.Path(folder) / "tools.in"
        tools.write_text("\n".join(wanted))
        subprocess.run(
            [
                *(sys.executable, "-m", "piptools", "compile", str(tools), *more),
                *("--quiet", "--generate-hashes", "--allow-unsafe"),
                *("--strip-extras", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
                *("--no-emit-trusted-host", "--no-emit-options", "--no-annotate"),
                *("--output-file", str(resolved)),
            ],
            check=True,
        )
        pathlib.Path(lock).write_text(HEADER + resolved.read_text())


if __name__ == "__main__":
    main()
