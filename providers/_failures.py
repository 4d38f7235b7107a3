"""Failed attempts: what an SDK, its HTTP library or a wire said of a failure, as an error of ours.

Nothing of an SDK's or HTTP library's exceptions gets through here: they hold requests, and so prompts and credentials.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, final

import httpx2

from ._clean import cleaner
from ._errors import AttemptError, Failure, attempt_error
from ._exchange import CutError, Watch
from ._foreign import bare, judge_exception, place, remedy, root
from ._hints import retry_after
from ._http import is_stale
from ._judge import judge, read_evidence
from ._judge_nous import Judged
from ._lines import Line, tell
from ._port import Target
from ._verdicts import Verdict
from ._wire import WireError

JudgeAnswer: TypeAlias = Callable[[int, bytes, Mapping[str, str]], Judged]
"""Says what an HTTP error means, by its status, its body, and its headers by lower-case name."""

_log = logging.getLogger("understudy.providers")


class Head(Protocol):
    """An answer whose head has come, by the SDK or directly; its `content` is there once its body has been read."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Any:
        """Its headers by their names: a mapping with a `get_list`."""
        ...

    @property
    def content(self) -> bytes:
        """Its body."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed: the error, what caused it, and what may be tried again without it being an attempt.

    `is_stale` blames the connection, not the provider; `refuses_usage` says that asking for the usage was at fault.
    """

    error: AttemptError
    cause: BaseException | None = None
    is_stale: bool = False
    refuses_usage: bool = False

    def throw(self) -> NoReturn:
        """Raise the error, or what caused it where the machine is at fault. Not to be called in an except block: the
        chain would lead back into the SDK.
        """
        if self.error.verdict is Verdict.LOCAL_CONFIG and isinstance(self.cause, OSError):
            raise self.cause
        raise self.error from self.cause


_UNREACHED = (Verdict.CONNECT, Verdict.TLS_TRUST)
"""What is found out before anybody has answered: then it matters where nobody did."""


@final
class Failures:
    """Makes the errors of one endpoint.

    Args:
        request_id: The header that names a request.
        judge_answer: Judges an HTTP error by what only its vendor says; None: as for everybody.
    """

    def __init__(self, target: Target, request_id: str, judge_answer: JudgeAnswer | None = None) -> None:
        self.transport, self._request_id = target.transport, request_id
        self._judge_answer = judge_answer
        self._secrets = target.secrets
        self.clean, self._endpoint, self._told_extra = cleaner(target.secrets), target.name, False
        self._address = target.base_url

    def hiding(self, secrets: Iterable[str]) -> Failures:
        """Return what makes the same errors, with these secrets masked, too."""
        made = copy(self)
        made.clean = cleaner((*self._secrets, *secrets))
        return made

    def failed(self, model: str, verdict: Verdict, said: str, **facts: Any) -> AttemptError:
        """Say that an attempt failed; `said` is cleaned."""
        said = self.clean(said)
        return attempt_error(Failure(transport=self.transport, model=model, verdict=verdict, said=said, **facts))

    def lost(self, model: str, error: Exception, *, watch: Watch | None = None, **facts: Any) -> Failed:
        """Judge what never became an answer.

        Args:
            watch: Of a request that was sent directly; what the SDK has sent is in its exception.
        """
        verdict, link = judge_exception(error)
        stale = verdict is Verdict.PROVIDER and _is_stale(error, watch)
        if verdict is Verdict.INTERNAL:
            said = f"{type(link).__name__}: {link}".removesuffix(": ") + f" (at {place(link)})"
            return Failed(self.failed(model, verdict, said, **facts), None if _request_of(link) else bare(link))
        below = root(error)
        told = below if below is not None and below.errno is not None else link
        said = f"{type(link).__name__}: {told}".removesuffix(": ")
        if verdict in _UNREACHED:
            said += f" (at {self._address})"
        return Failed(self.failed(model, verdict, said, help=remedy(told), **facts), below, stale)

    def interrupted(self, model: str, answer: Head, error: Exception) -> Failed:
        """Judge what ended an answer whose head had come."""
        facts = self._head(answer)
        if isinstance(error, WireError):
            return Failed(self.failed(model, error.verdict, error.message, **facts))
        if isinstance(error, CutError):  # a violation of the protocol, too, but the connection's
            return Failed(self.failed(model, Verdict.PROVIDER, str(error), **facts))
        return self.lost(model, error, **facts)

    def refused(self, model: str, answer: Head) -> AttemptError:
        """Judge an HTTP error, whose body has been read."""
        status, body, headers = answer.status_code, answer.content, answer.headers
        evidence = read_evidence(status, body, headers.get("x-should-retry"))
        judged = Judged(judge(evidence)) if self._judge_answer is None else self._judge_answer(status, body, headers)
        failure = Failure(
            transport=self.transport,
            model=model,
            verdict=judged.verdict,
            said=self.clean(evidence.message),
            status=status,
            request_id=self.request_id(answer),
            retry_after=_hint(answer) if judged.retry_after is None else judged.retry_after,
            retry_forbidden=evidence.should_retry is False,
            help="check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY" if status == 407 else "",
            of_account=judged.of_account,
            codes=tuple([self.clean(code) for code in evidence.codes]),
            parameter=self.clean(evidence.parameter),
        )
        return attempt_error(failure)

    def unreadable(self, model: str, answer: Head, content: bytes, error: WireError) -> AttemptError:
        """Judge a 200 that is no answer: by its inner code if it holds an error, else by what the wire said."""
        evidence = read_evidence(answer.status_code, content, None)
        tells = error.verdict is Verdict.MALFORMED and bool(evidence.codes or evidence.message) and not evidence.is_page
        return self.failed(
            model,
            judge(evidence) if tells else error.verdict,
            evidence.message if tells and evidence.message else error.message,
            **self._head(answer),
        )

    def tell_extra(self) -> None:
        """Tell in the log, once, that this endpoint sends more after the end of a stream; it is ignored."""
        if not self._told_extra:
            self._told_extra = True
            tell(_log.info, Line("after_the_end", endpoint=self._endpoint))

    def request_id(self, answer: Head) -> str | None:
        """Return the provider's name for a request, as cleaned by the HTTP client."""
        return next(filter(None, answer.headers.get_list(self._request_id)), None)

    def _head(self, answer: Head) -> dict[str, Any]:
        """Return the facts that the head of an answer holds."""
        return {
            "status": answer.status_code,
            "request_id": self.request_id(answer),
            "retry_after": _hint(answer),
        }


def _is_stale(error: Exception, watch: Watch | None) -> bool:
    sent = _request_of(error)
    return is_stale(sent) if sent is not None else watch is not None and not (watch.is_new or watch.is_answered)


def _request_of(error: BaseException) -> httpx2.Request | None:
    """Return the request that an exception holds, if it holds one."""
    try:
        sent = getattr(error, "request", None)
    except RuntimeError:  # httpx2 has the attribute, but nothing in it
        return None
    return sent if isinstance(sent, httpx2.Request) else None


def _hint(answer: Head) -> float | None:
    headers = answer.headers
    if "retry-after-ms" not in headers and "retry-after" not in headers:
        return None
    milliseconds, seconds = headers.get_list("retry-after-ms"), headers.get_list("retry-after")
    return retry_after(milliseconds, seconds, date=headers.get("date"), wall_clock=time.time())
