"""The gateway's token: one that is given, or one that is made on the first start and kept in a file of our own.

The file is 0600, ours, and no link; it is made whole or not at all, by one process of those that start at once
(`credentials/_files.py`). Plain functions, run in a worker thread where somebody waits.

Source: R-GW-1, R-FS-1; RFC 6750 section 2.1 (what a token may consist of).
"""

from __future__ import annotations

import math
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

from pydantic import SecretStr

from ..credentials._files import UnsafeFileError, create_once, mend
from ..providers import ConfigurationError, Problem

VARIABLE = "UNDERSTUDY_TOKEN"
PATH_VARIABLE = "UNDERSTUDY_TOKEN_FILE"
DEFAULT_PATH = "~/.understudy/gateway_token"

RANDOM_BYTES = 32
"""Of a token that is made (R-GW-1)."""

SHORTEST = 32
"""Characters of a token that is good enough beyond the loopback (R-GW-1)."""

LEAST_BITS = 80.0
"""Bits that its characters carry, by how often each occurs (chosen: 32 random hexadecimal digits have about 110)."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAKE = "make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


@final
@dataclass(frozen=True, slots=True)
class GatewayToken:
    """The token, and where it is from: the variable's name, or the file's. Its text is shown nowhere by itself."""

    secret: SecretStr
    source: str


def gateway_token(env: Mapping[str, str], *, beyond_loopback: bool = False) -> GatewayToken:
    """Return the token of this gateway: that of `UNDERSTUDY_TOKEN`, else that of the file, which is made if need be.

    Args:
        env: The environment. `UNDERSTUDY_TOKEN_FILE` names another file than `~/.understudy/gateway_token`.
        beyond_loopback: The gateway listens where others than this machine reach it: a weak token is refused.

    Raises:
        ConfigurationError: The token cannot be sent, is too weak for where it is used, or its file is not as private as
            it must be, or cannot be read or made.
    """
    given = env.get(VARIABLE, "")
    if given:
        _check(given, VARIABLE, beyond_loopback=beyond_loopback)
        return GatewayToken(SecretStr(given), VARIABLE)
    path = _path(env)
    try:
        held = create_once(path, secrets.token_urlsafe(RANDOM_BYTES).encode("ascii") + b"\n")
        text = held.decode("ascii").strip()
    except UnsafeFileError as error:
        raise _wrong(str(path), "a file that only we can read", error.strerror or "name another one") from error
    except UnicodeDecodeError:
        raise _wrong(str(path), "a token in it", "remove the file, and another one is made") from None
    except OSError as error:
        raise _wrong(str(path), "a file that can be read and made", mend(error, path)) from error
    _check(text, str(path), beyond_loopback=beyond_loopback)
    return GatewayToken(SecretStr(text), str(path))


def weakness(token: str) -> str:
    """Say why a token could be guessed, in words that do not show it; empty if that is not seen.

    What can be told from a text alone: that it is short, that its characters say little, that it repeats itself, or
    that it is a row of characters as they stand in the alphabet. That it was made by chance, nobody can see.
    """
    if len(token) < SHORTEST:
        return f"it has less than {SHORTEST} characters"
    if token in (token + token)[1:-1]:
        return "it repeats itself"
    steps = Counter(ord(after) - ord(before) for before, after in pairwise(token))
    if max(steps[step] for step in (-1, 0, 1)) > len(token) / 3:
        return "its characters follow one another"
    counts = Counter(token).values()
    bits = -sum(count * math.log2(count / len(token)) for count in counts)
    return "its characters are too few different ones" if bits < LEAST_BITS else ""


def _check(token: str, where: str, *, beyond_loopback: bool) -> None:
    if _TOKEN.fullmatch(token) is None:
        raise _wrong(where, "a token of letters, digits and -._~+/, with = at the end only", _MAKE)
    found = weakness(token) if beyond_loopback else ""
    if found:
        raise _wrong(where, f"a token that nobody guesses, because others than this machine reach it: {found}", _MAKE)


def _path(env: Mapping[str, str]) -> Path:
    """Return the file of the token."""
    named = env.get(PATH_VARIABLE) or DEFAULT_PATH
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise _wrong(PATH_VARIABLE, "a file; the home folder is not known", "set it, or set HOME") from None


def _wrong(variable: str, expected: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem(variable, expected, remedy)])
