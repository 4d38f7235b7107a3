"""`NOUS_WRITE_ENV_KEY`: the bearer in somebody's `.env`, for programs that read it there, where that was asked for.

Only a file that is there is written, never inside a container (its `.env` is the image's, or another's), and never a
refresh token.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from ._files import mend, read, write

_MARKS = ("/.dockerenv", "/run/.containerenv")
_VARIABLES = ("KUBERNETES_SERVICE_HOST", "container")

_AROUND = re.compile(r"(\s*(?:export[^\S\r\n]+)?).*?([\r\n]*)", re.DOTALL)
"""What stays of a setting: what is before its name, and the end of its line."""

_MARK = b"\xef\xbb\xbf"
"""How some editors begin a file in UTF-8; it stays there."""


def with_value(text: str, name: str, value: str) -> str:
    """Return the text of a `.env` in which `name` is set to `value`, with all else as it was.

    Everything that sets it is replaced, with its comment; without that, a line is added at the end. What sets it is
    for python-dotenv's parser to say: a value in quotes goes over lines, and what looks like a setting there is none.
    """
    line = f"{name}={_quoted(value)}"
    parts, is_there = list[str](), False
    for binding in parse_stream(io.StringIO(text, newline="")):
        part = binding.original.string
        if binding.key == name and (around := _AROUND.fullmatch(part)):
            part, is_there = around[1] + line + around[2], True
        parts.append(part)
    changed = "".join(parts)
    if is_there:
        return changed
    newline = "\r\n" if "\r\n" in text else "\n"
    return changed + (newline if text and not text.endswith(("\n", "\r")) else "") + line + newline


def in_container(env: Mapping[str, str], exists: Callable[[str], bool]) -> bool:
    """Say whether this process runs inside a container, as far as one can see."""
    return any(map(exists, _MARKS)) or any(env.get(name) for name in _VARIABLES)


def write_key(path: Path, name: str, value: str, env: Mapping[str, str]) -> str:
    """Set a variable in a `.env` that is there; return why not, or nothing if that is done. It ends as 0600."""
    if in_container(env, os.path.exists):
        return f"{path} is not written inside a container"
    try:
        before = read(path, private=False)
        if before is None:
            return f"{path} is not there; it is never created"
        mark = _MARK if before.startswith(_MARK) else b""
        after = mark + with_value(before.removeprefix(mark).decode(), name, value).encode()
        os.chmod(path, 0o600)
        if after != before:
            write(path, after, private=False)
    except UnicodeDecodeError:
        return f"{path} is not UTF-8"
    except OSError as error:
        return mend(error, path)
    return ""


def _quoted(value: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9._~+/=-]+", value)
    return value if plain else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
