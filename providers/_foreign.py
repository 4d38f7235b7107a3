"""Translating foreign exceptions at the border: what never became an HTTP answer, judged by type.

Both SDKs wrap what their HTTP library raises (and the Anthropic one wraps everything), so the whole chain of
causes is looked at, outermost first, against a table. Texts and class names are never compared.
"""

from __future__ import annotations

import errno
import json
import socket
import ssl
from pathlib import PurePath
from typing import TypeAlias

import h11
import httpx2

from ._body import BodyError
from ._http1 import ProtocolError
from ._machine import OUT_OF_FILES, out_of_files
from ._verdicts import Verdict

_OUT_OF_ROOM = OUT_OF_FILES | {errno.ENOMEM, errno.ENOBUFS}
_NETWORK = frozenset(
    {
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        errno.EADDRNOTAVAIL,
    }
)
"""Errnos that have no exception class of their own."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errnos that no network gives, even if an HTTP library takes every `OSError` for a failed connection."""

Row: TypeAlias = tuple[tuple[type[BaseException], ...], frozenset[int] | None, Verdict]
"""The classes of an exception, its errnos if only some of them count, and what it means."""

_ANYWHERE: tuple[Row, ...] = (
    ((ssl.SSLCertVerificationError,), None, Verdict.TLS_TRUST),
    ((OSError,), _OUT_OF_ROOM, Verdict.LOCAL_OVERLOAD),
    ((OSError,), _DISK, Verdict.LOCAL_CONFIG),
    ((h11.RemoteProtocolError, ProtocolError, BodyError), None, Verdict.MALFORMED),
)
"""What decides wherever in the chain it stands: the cause is more exact than what wraps it."""

_OUTERMOST: tuple[Row, ...] = (
    ((httpx2.PoolTimeout,), None, Verdict.LOCAL_OVERLOAD),
    ((httpx2.ConnectTimeout, httpx2.ConnectError, httpx2.ProxyError), None, Verdict.CONNECT),
    ((httpx2.TimeoutException,), None, Verdict.TIMEOUT),
    ((httpx2.UnsupportedProtocol, httpx2.InvalidURL), None, Verdict.MISCONFIGURED),
    ((httpx2.LocalProtocolError,), None, Verdict.INTERNAL),
    ((httpx2.RemoteProtocolError, httpx2.NetworkError), None, Verdict.PROVIDER),
    ((httpx2.DecodingError, json.JSONDecodeError, UnicodeDecodeError, RecursionError), None, Verdict.MALFORMED),
    ((socket.gaierror, ssl.SSLError, ConnectionRefusedError), None, Verdict.CONNECT),
    ((ConnectionError,), None, Verdict.PROVIDER),
    ((TimeoutError,), None, Verdict.TIMEOUT),
    ((OSError,), _NETWORK, Verdict.CONNECT),
    ((OSError,), None, Verdict.LOCAL_CONFIG),
)
"""The first row that fits the outermost exception that any row fits."""


def judge_exception(error: BaseException) -> tuple[Verdict, BaseException]:
    """Say what an exception out of an SDK means, and which exception in its chain says so.

    Unknown ones are `INTERNAL`: ours, and what went wrong is the cause below them. `LOCAL_CONFIG` is an `OSError` that
    should be raised as it is.
    """
    chain = _chain(error)
    for row in _ANYWHERE:
        for link in chain:
            if _fits(link, row):
                return row[2], link
    for link in chain:
        for row in _OUTERMOST:
            if _fits(link, row):
                return row[2], link
    return Verdict.INTERNAL, next(link for link in chain if link.__cause__ is None or link is chain[-1])


def _fits(error: BaseException, row: Row) -> bool:
    classes, numbers, _ = row
    return isinstance(error, classes) and (numbers is None or getattr(error, "errno", None) in numbers)


def remedy(error: BaseException) -> str:
    """Return how to mend on this machine what `error` says, or "" where that is not known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "if it is to be trusted, name its issuer's certificate in SSL_CERT_FILE"
    return "allow more with ulimit -n" if out_of_files(error) else ""


def place(error: BaseException) -> str:
    """Return where an exception was raised, as "file:line", or "" if that is not known: it loses its frames here."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return f"{PurePath(frames.tb_frame.f_code.co_filename).name}:{frames.tb_lineno}" if frames is not None else ""


def bare(error: BaseException) -> BaseException:
    """Return an exception without frames and chain: those of an HTTP library and of ours hold headers and prompts."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def root(error: BaseException) -> OSError | None:
    """Return the operating system's own error below `error`, bare: no frames, no chain, no request.

    One that has an errno says more than one that says that all attempts failed.
    """
    errors = [link for link in _chain(error) if isinstance(link, OSError)]
    found = next((link for link in errors if link.errno is not None), errors[0] if errors else None)
    if found is not None:
        bare(found)
    return found


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and all that it came from, breadth first."""
    chain, seen = [error], {id(error)}
    for link in chain:  # which grows meanwhile
        group = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        for below in (link.__cause__, link.__context__, *group):
            if below is not None and id(below) not in seen:
                seen.add(id(below))
                chain.append(below)
    return chain
