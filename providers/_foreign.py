"""Translating foreign exceptions at the border: what never became an HTTP answer, judged by type.

Both SDKs wrap what their HTTP library raises (and the Anthropic one wraps everything), so the whole chain of
causes is looked at, outermost first, against a table. Texts and class names are never compared.
"""

from __future__ import annotations

import errno
import json
import socket
import ssl
from collections.abc import Callable, Iterator
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

Test: TypeAlias = Callable[[BaseException], bool]


def _is(*types: type[BaseException]) -> Test:
    return lambda error: isinstance(error, types)


def _errno(numbers: frozenset[int]) -> Test:
    return lambda error: isinstance(error, OSError) and error.errno in numbers


_ANYWHERE: tuple[tuple[Test, Verdict], ...] = (
    (_is(ssl.SSLCertVerificationError), Verdict.TLS_TRUST),
    (_errno(_OUT_OF_ROOM), Verdict.LOCAL_OVERLOAD),
    (_errno(_DISK), Verdict.LOCAL_CONFIG),
    (_is(h11.RemoteProtocolError, ProtocolError, BodyError), Verdict.MALFORMED),
)
"""What decides wherever in the chain it stands: the cause is more exact than what wraps it."""

_OUTERMOST: tuple[tuple[Test, Verdict], ...] = (
    (_is(httpx2.PoolTimeout), Verdict.LOCAL_OVERLOAD),
    (_is(httpx2.ConnectTimeout, httpx2.ConnectError, httpx2.ProxyError), Verdict.CONNECT),
    (_is(httpx2.TimeoutException), Verdict.TIMEOUT),
    (_is(httpx2.UnsupportedProtocol, httpx2.InvalidURL), Verdict.MISCONFIGURED),
    (_is(httpx2.LocalProtocolError), Verdict.INTERNAL),
    (_is(httpx2.RemoteProtocolError, httpx2.NetworkError), Verdict.PROVIDER),
    (_is(httpx2.DecodingError, json.JSONDecodeError, UnicodeDecodeError, RecursionError), Verdict.MALFORMED),
    (_is(socket.gaierror, ssl.SSLError, ConnectionRefusedError), Verdict.CONNECT),
    (_is(ConnectionError), Verdict.PROVIDER),
    (_is(TimeoutError), Verdict.TIMEOUT),
    (_errno(_NETWORK), Verdict.CONNECT),
    (_is(OSError), Verdict.LOCAL_CONFIG),
)
"""The first row that fits the outermost exception that any row fits."""


def judge_exception(error: BaseException) -> tuple[Verdict, BaseException]:
    """Say what an exception out of an SDK means, and which exception in its chain says so.

    Unknown ones are `INTERNAL`: ours, and what went wrong is the cause below them. `LOCAL_CONFIG` is an `OSError` that
    should be raised as it is.
    """
    chain = list(_chain(error))
    for test, verdict in _ANYWHERE:
        for link in chain:
            if test(link):
                return verdict, link
    for link in chain:
        for test, verdict in _OUTERMOST:
            if test(link):
                return verdict, link
    return Verdict.INTERNAL, next(link for link in chain if link.__cause__ is None or link is chain[-1])


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


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [after for after in (link.__cause__, link.__context__) if after is not None]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
