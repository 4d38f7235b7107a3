"""The gateway's token: one that is given, or one that is made on the first start and kept in a file of our own.

The file is 0600, ours, and no link; it is made whole or not at all, by one process of those that start at once
(`credentials/_files.py`). Plain functions, run in a worker thread where somebody waits.

Source: R-GW-1, R-FS-1; RFC 6750 section 2.1 (what a token may consist of).
"""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

from pydantic import SecretStr

from ..credentials._files import UnsafeFileError, create_once, mend, read
from ..providers import ConfigurationError, Problem

VARIABLE = "UNDERSTUDY_TOKEN"
PATH_VARIABLE = "UNDERSTUDY_TOKEN_FILE"

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

    @property
    def weakness(self) -> str:
        """Why it could be guessed, in words that do not show it; empty if that is not seen."""
        return weakness(self.secret.get_secret_value())


def gateway_token(given: SecretStr | None, path: Path, *, beyond_loopback: bool = False) -> GatewayToken:
    """Return the token of this gateway: the one that is given, else that of the file, which is made if need be.

    Args:
        given: The value of `UNDERSTUDY_TOKEN`, if it is set.
        path: The file; `~` in it is the home folder.
        beyond_loopback: The gateway listens where others than this machine reach it: a weak token is refused.

    Raises:
        ConfigurationError: The token cannot be sent, is too weak for where it is used, or its file is not as private as
            it must be, or cannot be read or made.
    """
    token = _given(given) or _stored(path, _made)
    assert token is not None  # noqa: S101 - one is made where there is none
    return _strong(token) if beyond_loopback else token


def held_token(given: SecretStr | None, path: Path, *, beyond_loopback: bool = False) -> GatewayToken | None:
    """Return what `gateway_token` would, but make nothing: None where it would make one.

    Raises:
        ConfigurationError: As `gateway_token`, as far as that can be known before.
    """
    token = _given(given) or _stored(path, _held)
    return _strong(token) if beyond_loopback and token is not None else token


def _given(given: SecretStr | None) -> GatewayToken | None:
    return None if given is None else _sendable(given.get_secret_value(), VARIABLE)


def _stored(path: Path, look: Callable[[Path], bytes | None]) -> GatewayToken | None:
    """Return the token in a file, as `look` finds it there."""
    try:
        path = path.expanduser()
    except RuntimeError:
        raise _wrong(PATH_VARIABLE, "a file; the home folder is not known", "set it, or set HOME") from None
    try:
        held = look(path)
        return None if held is None else _sendable(held.decode("ascii").strip(), str(path))
    except UnsafeFileError as error:
        raise _wrong(str(path), "a file that only we can read", error.strerror or "name another one") from error
    except UnicodeDecodeError:
        raise _wrong(str(path), "a token in it", "remove the file, and another one is made") from None
    except OSError as error:
        raise _wrong(str(path), "a file that can be read and made", mend(error, path)) from error


def _made(path: Path) -> bytes:
    return create_once(path, secrets.token_urlsafe(RANDOM_BYTES).encode("ascii") + b"\n")


def _held(path: Path) -> bytes | None:
    """Return what a file holds; None if it can be made.

    Raises:
        OSError: It can neither be read nor made.
    """
    held = read(path, private=True)
    if held is None:
        folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return held


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


def _sendable(token: str, where: str) -> GatewayToken:
    if _TOKEN.fullmatch(token) is None:
        raise _wrong(where, "a token of letters, digits and -._~+/, with = at the end only", _MAKE)
    return GatewayToken(SecretStr(token), where)


def _strong(token: GatewayToken) -> GatewayToken:
    if found := token.weakness:
        expected = f"a token that nobody guesses, because others than this machine reach it: {found}"
        raise _wrong(token.source, expected, _MAKE)
    return token


def _wrong(variable: str, expected: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem(variable, expected, remedy)])
