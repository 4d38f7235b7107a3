"""Foreign exceptions: each row of the rules for what never became an HTTP answer, as the SDKs raise it."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from collections.abc import Callable

import anthropic
import anyio
import h11
import httpx2
import openai
import pytest

from understudy.providers import Verdict
from understudy.providers._foreign import bare, judge_exception, place, root

V = Verdict
ASKED = httpx2.Request("POST", "https://api.example/v1/chat/completions", headers={"authorization": "Bearer sk-canary"})


def chain(*links: BaseException) -> BaseException:
    """Raise each exception from the one after it, and return the first: outermost first, as it is caught."""
    *above, below = links
    for link in reversed(above):
        try:
            raise link from below
        except type(link):
            below = link
    return below


def os_error(number: int) -> OSError:
    return OSError(number, "said by the system")


WRAPPINGS: dict[str, Callable[[BaseException], BaseException]] = {
    "bare": chain,
    "openai": lambda error: chain(openai.APIConnectionError(request=ASKED), error),
    "anthropic": lambda error: chain(anthropic.APIConnectionError(request=ASKED), error),
}

ROWS: list[tuple[Verdict, list[Callable[[], BaseException]]]] = [
    (
        V.CONNECT,
        [
            lambda: chain(httpx2.ConnectError("no"), socket.gaierror(socket.EAI_NONAME, "name")),
            lambda: chain(httpx2.ConnectError("no"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
            lambda: chain(httpx2.ConnectError("no"), os_error(errno.ENETUNREACH)),
            lambda: chain(httpx2.ConnectError("no"), ssl.SSLError(1, "handshake failure")),
            lambda: chain(httpx2.ConnectError("no"), PermissionError(errno.EACCES, "a local firewall")),
            lambda: chain(httpx2.ConnectTimeout("slow"), TimeoutError()),
            lambda: httpx2.ProxyError("502 from the proxy"),
            lambda: socket.gaierror(socket.EAI_AGAIN, "temporary"),
            lambda: ssl.SSLError(1, "handshake failure"),
            lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            lambda: os_error(errno.EHOSTUNREACH),
            lambda: os_error(errno.ENETDOWN),
            lambda: os_error(errno.EADDRNOTAVAIL),
        ],
    ),
    (
        V.TLS_TRUST,
        [
            lambda: ssl.SSLCertVerificationError(1, "self-signed certificate"),
            lambda: chain(httpx2.ConnectError("no"), ssl.SSLCertVerificationError(1, "expired")),
        ],
    ),
    (
        V.TIMEOUT,
        [
            lambda: httpx2.ReadTimeout("slow"),
            lambda: httpx2.WriteTimeout("slow"),
            lambda: TimeoutError(),
            lambda: chain(openai.APITimeoutError(request=ASKED), httpx2.ReadTimeout("slow")),
            lambda: chain(anthropic.APITimeoutError(request=ASKED), httpx2.ReadTimeout("slow")),
        ],
    ),
    (
        V.PROVIDER,
        [
            lambda: httpx2.ReadError("reset"),
            lambda: httpx2.WriteError("reset"),
            lambda: chain(httpx2.ReadError("reset"), ConnectionResetError(errno.ECONNRESET, "reset")),
            lambda: httpx2.RemoteProtocolError("Server disconnected without sending a response."),
            lambda: ConnectionResetError(errno.ECONNRESET, "reset"),
            lambda: BrokenPipeError(errno.EPIPE, "pipe"),
        ],
    ),
    (
        V.MALFORMED,
        [
            lambda: chain(httpx2.RemoteProtocolError("illegal"), h11.RemoteProtocolError("illegal status line")),
            lambda: h11.RemoteProtocolError("too much data"),
            lambda: httpx2.DecodingError("incorrect header check"),
            lambda: json.JSONDecodeError("no", "<html>", 0),
            lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            lambda: RecursionError(),
        ],
    ),
    (
        V.LOCAL_OVERLOAD,
        [
            lambda: httpx2.PoolTimeout("no connection is free"),
            lambda: os_error(errno.EMFILE),
            lambda: os_error(errno.ENFILE),
            lambda: os_error(errno.ENOMEM),
            lambda: chain(httpx2.ConnectError("no"), os_error(errno.EMFILE)),
            lambda: chain(
                httpx2.ConnectError("no"), OSError("all failed"), ExceptionGroup("", [os_error(errno.ENFILE)])
            ),
        ],
    ),
    (
        V.LOCAL_CONFIG,
        [
            lambda: PermissionError(errno.EACCES, "denied", "ca.pem"),
            lambda: FileNotFoundError(errno.ENOENT, "no such file", "ca.pem"),
            lambda: os_error(errno.ENOSPC),
            lambda: chain(httpx2.ConnectError("no"), os_error(errno.ENOSPC)),
            lambda: chain(httpx2.WriteError("no"), OSError("all failed"), os_error(errno.EROFS)),
        ],
    ),
    (V.MISCONFIGURED, [lambda: httpx2.UnsupportedProtocol("ftp"), lambda: httpx2.InvalidURL("port")]),
    (
        V.INTERNAL,
        [
            lambda: httpx2.LocalProtocolError("illegal header value"),
            lambda: ValueError("a bug"),
            lambda: AttributeError("a bug"),
            lambda: anyio.ClosedResourceError(),
            lambda: ExceptionGroup("bugs", [ValueError("one")]),
        ],
    ),
]
CASES = [(verdict, make) for verdict, makers in ROWS for make in makers]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize(("verdict", "make"), CASES, ids=[f"{v}-{make()!r:.40}" for v, make in CASES])
def test_an_exception_means_the_same_however_it_is_wrapped(
    wrapping: str, verdict: Verdict, make: Callable[[], BaseException]
) -> None:
    """Bare or inside either SDK's connection error, the type and the errno of what happened decide."""
    assert judge_exception(WRAPPINGS[wrapping](make()))[0] is verdict


@pytest.mark.parametrize(
    "error",
    [openai.APIConnectionError(request=ASKED), anthropic.APIConnectionError(request=ASKED)],
    ids=["openai", "anthropic"],
)
def test_an_sdk_error_without_a_cause_is_ours(error: Exception) -> None:
    """What nothing in the chain explains is `INTERNAL`, never taken for the provider's fault."""
    assert judge_exception(error) == (V.INTERNAL, error)


def test_the_exception_that_decided_is_named() -> None:
    """The judge gives back the link of the chain that its verdict rests on."""
    inner = ssl.SSLCertVerificationError(1, "expired")
    assert (
        judge_exception(chain(openai.APIConnectionError(request=ASKED), httpx2.ConnectError("no"), inner))[1] is inner
    )


def test_a_chain_that_bites_its_tail_is_read_once() -> None:
    """Causes in a circle end the search."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert judge_exception(first) == (V.INTERNAL, second)
    assert root(first) is None


def test_a_bug_is_the_innermost_exception() -> None:
    """What an SDK wraps it in says less; where it was raised is known until it is made bare."""
    bug = chain(KeyError("choices"))
    judged = judge_exception(chain(anthropic.APIConnectionError(request=ASKED), RuntimeError("no"), bug))
    assert judged == (V.INTERNAL, bug)
    bug.__context__ = RuntimeError("what was being handled when the bug struck")
    assert judge_exception(bug) == (V.INTERNAL, bug)
    assert place(bug) == ""  # nobody raised it
    try:
        raise bug
    except KeyError:
        assert place(bug).startswith("test_foreign.py:")
    assert place(bare(bug)) == ""


def test_the_root_is_bare() -> None:
    """The system's own error comes out without frames and without a chain, for both lead to headers and requests."""
    wrapped = chain(
        openai.APIConnectionError(request=ASKED), httpx2.ConnectError("no"), os_error(errno.ENETUNREACH), KeyError()
    )
    found = root(wrapped)
    assert found is not None
    assert found.errno == errno.ENETUNREACH
    assert (found.__traceback__, found.__cause__, found.__context__) == (None, None, None)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), httpx2.ReadTimeout("slow"), openai.APIConnectionError(request=ASKED)]
)
def test_without_an_error_of_the_system_there_is_no_root(error: Exception) -> None:
    """An HTTP library's or SDK's exception is never handed out in its place."""
    assert root(error) is None
