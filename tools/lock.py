"""Resolve the locks anew: exact versions with hashes, no index address.

Without an argument `requirements.lock` and that of the pictures; with `peers` those of the libraries and gateways that
the benchmarks are held beside.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib

HEADER = """\
# Exact versions with hashes, resolved from pyproject.toml by `make {target}`. Do not edit by hand.
"""
PEER = "peer-"
"""What the names of the groups of dependencies of a peer begin with."""


def main() -> None:
    """Write the lock of everything: the package, all its extras, and the tools that check it. Beside it, with the same
    versions, those of the tools that draw the pictures in `docs/` and of the browser's, which nobody else needs. Or
    those of the peers.
    """
    groups = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["dependency-groups"]
    if sys.argv[1:] == ["peers"]:
        for name in groups:
            if name.startswith(PEER):
                resolve(f"benchmarks/peers/{name.removeprefix(PEER)}.lock", groups[name], target="lock-peers")
        resolve_node(pathlib.Path("benchmarks/peers/portkey"))
        return
    resolve("requirements.lock", groups["dev"], "pyproject.toml", "--all-extras")
    for name in ("pictures", "page"):
        resolve(f"tools/{name}.lock", groups[name], "--constraint", "requirements.lock")


def resolve(lock: str, wanted: list[str], *more: str, target: str = "lock") -> None:
    """Write the lock of what is wanted; `target` is the one of the Makefile that does."""
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
        pathlib.Path(lock).write_text(HEADER.format(target=target) + resolved.read_text())


def resolve_node(folder: pathlib.Path) -> None:
    """Write package-lock.json beside a package.json, without any address: `npm ci` finds packages by their names."""
    lock = folder / "package-lock.json"
    lock.unlink(missing_ok=True)
    subprocess.run(["npm", "install", "--package-lock-only", "--no-audit", "--no-fund"], check=True, cwd=folder)  # noqa: S607 - npm is looked up as everywhere
    resolved = json.loads(lock.read_text())
    for package in resolved["packages"].values():
        package.pop("resolved", None)
        package.pop("funding", None)
    lock.write_text(json.dumps(resolved, indent=2) + "\n")


if __name__ == "__main__":
    main()
