"""`python -m understudy`, and the `understudy` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from ._cli import cli

    cli(prog_name="understudy")


if __name__ == "__main__":
    main()
