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
    """Write the lock of everything: the package, all its extras, and the tools that check it."""
    with tempfile.TemporaryDirectory() as folder:
        resolved, tools = pathlib.Path(folder) / "resolved", pathlib.Path(folder) / "tools.in"
        project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
        tools.write_text("\n".join(project["dependency-groups"]["dev"]))
        subprocess.run(
            [
                *(sys.executable, "-m", "piptools", "compile", "pyproject.toml", str(tools)),
                *("--quiet", "--all-extras", "--generate-hashes", "--allow-unsafe"),
                *("--strip-extras", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
                *("--no-emit-trusted-host", "--no-emit-options", "--no-annotate"),
                *("--output-file", str(resolved)),
            ],
            check=True,
        )
        pathlib.Path("requirements.lock").write_text(HEADER + resolved.read_text())


if __name__ == "__main__":
    main()
