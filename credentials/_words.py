"""What is said of a credential that is not served: why, and what to do. Pure: one line for each reason."""

from __future__ import annotations

from ._credential_values import STOPPED, Why

LOG_IN = "understudy login nous"
"""The command that begins a new login."""

_SAID: dict[Why, str] = {
    Why.BUSY: "another process holds the lock of the login",
    Why.UNREACHABLE: "the Portal did not renew the login",
    Why.UNCLEAR: "the Portal's answer to a renewal was lost, so it is asked again only when the token is over",
    Why.TOO_OFTEN: "five renewals within a minute were posted",
    Why.UNREADABLE: "the stored login cannot be read",
    Why.UNWRITABLE: "the stored login cannot be written, so it is not renewed",
    Why.UNSAVED: "the renewed login is not on disk yet, so it is not renewed again",
    Why.REFUSED: "a token that was just renewed is refused",
    Why.UNPAID: "the account cannot get a key",
    Why.MISCONFIGURED: "the Portal refuses the client id or the scope of the login",
    Why.NO_REFRESH: "the stored login has no refresh token",
    Why.LOGGED_OUT: "nobody is logged in",
    Why.GUEST: "the stored login is an anonymous one",
    Why.REVOKED: "the Portal says that the login is over",
    Why.LOST: "the login was lost: the answer to a renewal never came, and the Portal says that the login is over",
    Why.SPENT: "the stored refresh token was used before, and its successor is nowhere",
    Why.NO_BEARER: "the login's token is of no use for inference",
    Why.NO_KEYS: "the Portal mints no more keys, and the login's token is of no use without one",
}

_MENDED_BY_LOGIN = STOPPED


def untrusting(error: OSError, bundle: str) -> str:
    """Return in one line that the trusted certificates cannot be read, and where they are named."""
    where = f"{bundle} (HERMES_CA_BUNDLE, or the stored login)" if bundle else "SSL_CERT_FILE or SSL_CERT_DIR"
    reason = error.strerror or type(error).__name__
    return f"the trusted certificates cannot be read from {where}: {reason}; name a file that can be"


def said(why: Why, problem: str = "") -> str:
    """Return why a credential is not served, and the command that mends it where there is one.

    Args:
        problem: What was in the way on this machine, with its own remedy.
    """
    text = f"{_SAID[why]}: {problem}" if problem else _SAID[why]
    return f"{text}; run `{LOG_IN}`" if why in _MENDED_BY_LOGIN else text
