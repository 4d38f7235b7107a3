"""`python -m understudy`, and the `understudy` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from ._cli import cli
    except KeyboardInterrupt:  # before there was anybody to answer it
        sys.exit(130)
    cli(prog_name="understudy")


if __name__ == "__main__":
    main()
