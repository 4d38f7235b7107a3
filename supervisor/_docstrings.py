"""What a docstring says of a function and of each of its arguments, in Google's, NumPy's or Sphinx' way. Pure.

Sources: google.github.io/styleguide/pyguide.html 3.8; numpydoc.readthedocs.io/en/latest/format.html; Sphinx, "Python
domain", info field lists. What follows none of them is a description without arguments, never an error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

_ARGUMENTS = frozenset({"args", "arguments", "parameters", "params", "other parameters", "keyword args"}) | {
    "keyword arguments"
}
_SECTIONS = _ARGUMENTS | frozenset(
    {"returns", "return", "yields", "yield", "receives", "raises", "except", "warns", "warnings"}
    | {"attributes", "methods", "example", "examples", "note", "notes", "see also", "references", "source"}
)

_FIELD = re.compile(r":[a-z]+(?:\s[^:]*)?:")
_PARAM = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)")
_NAMES = re.compile(r"\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*")


@final
@dataclass(frozen=True, slots=True)
class Described:
    """What is said before the first section, and of each argument, by its name."""

    summary: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


def read_docstring(text: str) -> Described:
    """Return what a docstring says."""
    lines = inspect.cleandoc(text).splitlines()
    summary: list[str] = []
    arguments: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        if _FIELD.match(line):
            end = _end_of_field(lines, number)
            if found := _PARAM.match(line):
                arguments[found[1]] = _joined([found[2], *lines[number + 1 : end]])
        elif _is_numpy_header(lines, number):
            end = next((n for n in range(number + 2, len(lines)) if _is_numpy_header(lines, n)), len(lines))
            if line.strip().lower() in _ARGUMENTS:
                arguments.update(_numpy(lines[number + 2 : end]))
        elif line.endswith(":") and line[:-1].strip().lower() in _SECTIONS:
            end = next((n for n in range(number + 1, len(lines)) if lines[n][:1].strip()), len(lines))
            if line[:-1].strip().lower() in _ARGUMENTS:
                arguments.update(_google(lines[number + 1 : end]))
        else:
            end = number + 1
            if number == len(summary):  # else it stands behind a section
                summary.append(line)
        number = end
    return Described("\n".join(summary).strip(), {name: said for name, said in arguments.items() if said})


def _is_numpy_header(lines: list[str], number: int) -> bool:
    if number + 1 >= len(lines) or lines[number].strip().lower() not in _SECTIONS:
        return False
    rule = lines[number + 1].strip()
    return len(rule) >= 3 and set(rule) == {"-"}


def _end_of_field(lines: list[str], begin: int) -> int:
    """A field goes on until an empty line or the next field."""
    following = range(begin + 1, len(lines))
    return next((n for n in following if not lines[n].strip() or _FIELD.match(lines[n])), len(lines))


def _google(body: list[str]) -> Iterator[tuple[str, str]]:
    """Entries are indented alike, `name (type): text`; what is indented further goes on with the text."""
    filled = [line for line in body if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in filled), default=0)
    name, said = "", list[str]()
    for line in filled:
        found = _ENTRY.fullmatch(line[indent:]) if line[indent : indent + 1].strip() else None
        if found is None:
            said.append(line)
            continue
        if name:
            yield name, _joined(said)
        name, said = found[1], [found[2]]
    if name:
        yield name, _joined(said)


def _numpy(body: list[str]) -> Iterator[tuple[str, str]]:
    """Entries are not indented, `name : type` or `one, other : type`; their text is."""
    names, said = list[str](), list[str]()
    for line in body:
        if not line[:1].strip():
            said.append(line)
            continue
        yield from ((name, _joined(said)) for name in names)
        head = line.partition(":")[0].strip()
        names = [name.strip().lstrip("*") for name in head.split(",")] if _NAMES.fullmatch(head) else []
        said = []
    yield from ((name, _joined(said)) for name in names)


def _joined(lines: list[str]) -> str:
    return " ".join(stripped for line in lines if (stripped := line.strip()))
