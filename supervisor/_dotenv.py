"""What of a `.env` is no line of one: python-dotenv passes over it with a warning, and so a setting would be lost."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from dotenv.parser import parse_stream

from ..providers import Problem


def broken_lines(files: Iterable[Path]) -> list[Problem]:
    """Return a problem for each statement that cannot be read, by its line, never its content.

    Only ordinary files are read: a pipe can be read once, and has been.

    Raises:
        OSError: A file cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    expected = "NAME=value, NAME='a value' with both its quotes, or a comment that begins with #"
    return [
        Problem(f"{file} line {line}", expected, "mend the line, or remove it")
        for file in files
        if file.is_file()
        for line in _broken(file.read_text(encoding="utf-8"))
    ]


def _broken(text: str) -> list[int]:
    """Return the numbers of the lines, from 1, on which what cannot be read begins."""
    lines: list[int] = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            given = binding.original.string
            empty = given[: len(given) - len(given.lstrip())]
            lines.append(binding.original.line + empty.count("\n"))
    return lines
