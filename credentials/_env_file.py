"""`NOUS_WRITE_ENV_KEY`: the bearer in somebody's `.env`, for programs that read it there, where that was asked for.

Only a file that is there is written, never inside a container (its `.env` is the image's, or another's), and never a
refresh token.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ._files import mend, read, write

_MARKS = ("/.dockerenv", "/run/.containerenv")
_VARIABLES = ("KUBERNETES_SERVICE_HOST", "container")


def with_value(text: str, name: str, value: str) -> str:
    """Return the text of a `.env` in which `name` is set to `value`, with all else as it was.

    Every line that sets it is replaced; without one, a line is added at the end.
    """
    line = f"{name}={_quoted(value)}"
    setting = re.compile(rf"^(\s*(?:export\s+)?){re.escape(name)}\s*=[^\r\n]*", re.MULTILINE)
    if setting.search(text):
        return setting.sub(lambda found: found[1] + line, text)
    newline = "\r\n" if "\r\n" in text else "\n"
    return text + (newline if text and not text.endswith("\n") else "") + line + newline


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
        after = with_value(before.decode("utf-8-sig"), name, value).encode()
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
