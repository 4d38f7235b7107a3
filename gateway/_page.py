"""The page's files, and the headers that they are sent with. They hold no data, so anybody may have them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ._values import Headers, HTTPAnswer

_FOLDER = Path(__file__).parent / "page"

FILES: dict[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Every path, the file that it is, and what that holds. There are no others: a path is looked up, never opened."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""No code but ours, no host but ours, and no text that becomes markup (W3C, Content Security Policy Level 3; Trusted
Types)."""

SAFE: Headers = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)


def files() -> tuple[str, ...]:
    """Return the path of every file."""
    return tuple(FILES)


def page_file(path: str) -> HTTPAnswer | None:
    """Return the file of the page that has this path; None if none has."""
    if path not in FILES:
        return None
    name, content_type = FILES[path]
    return HTTPAnswer(200, (("content-type", content_type), *SAFE), _read(name))


@cache
def _read(name: str) -> bytes:
    """Return a file, read once: a handful of kilobytes each."""
    return (_FOLDER / name).read_bytes()
